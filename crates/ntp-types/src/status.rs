//! The state of the daemon as any reader may show it, as plain data of one moment.
//!
//! The JSON of these types is what `GetStatus` and `Monitor` of the Varlink interface return. The observation
//! socket, metrics and tables are made from them by adapters. The [crate] documents units and signs.

use std::net::IpAddr;

use ntp_time::{
    Frequency, LeapIndicator, NtpDuration, PollInterval, ReferenceId, StampSource, Stratum,
    SystemTime,
};

use crate::event::KeyExchangeFailure;
use crate::hop_limit::HopLimitDifference;
use crate::path::ListenAddress;
use crate::record;
use crate::refclock::RefClockStatus;
use crate::source::{SelectionOptions, SourceAddress, SourceId, SourceState, VersionOrigin};
use crate::statistics::{KeStatistics, PacketCounters, ServerDetails, ServerStatistics};

/// The parts of [`Status`] that the engine knows.
#[derive(Clone, Debug, PartialEq)]
pub struct EngineStatus {
    /// What is known and claimed about the time.
    pub system: SystemStatus,
    /// The sources in use, in the order in which they were added.
    pub sources: Vec<SourceStatus>,
    /// The configured sources.
    pub configured: Vec<ConfiguredSource>,
}

/// The estimate that a majority of the sources supports, when the clock is set once without the daemon.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OneShotReading {
    /// Reading of the clock.
    pub clock: SystemTime,
    /// Correction to add to the clock.
    pub correction: NtpDuration,
    /// Largest error of the clock after the correction.
    pub bound: NtpDuration,
    /// A time that an earlier run saved as past, if the sources show an earlier one.
    pub contradicted_time: Option<SystemTime>,
    /// Whether more than one source shows that: several sources, or one and the clock.
    pub contradiction_confirmed: bool,
}

record! {
    /// The whole state of the daemon.
    Status {
        /// The program.
        program: ProgramStatus,
        /// The clock that is disciplined.
        clock: DisciplinedClock,
        /// What is known and claimed about the time.
        system: SystemStatus,
        /// The sources in use, in the order in which they were added.
        sources: Vec<SourceStatus>,
        /// The configured sources. Each has one source in use, or several if it is a pool.
        configured: Vec<ConfiguredSource>,
        /// The addresses at which time is served.
        servers: Vec<ServerStatus>,
        /// The NTS key exchange server; absent if there is none.
        key_exchange: Option<KeServerStatus>,
        /// Addresses of time and of key exchange that are not served before their device exists; absent if there
        /// are none.
        waiting_servers: Option<Vec<ListenAddress>>,
        /// Number of events since the start, for those that occurred.
        events: Vec<EventCount>,
    }

    /// How often an event occurred.
    EventCount {
        /// Its stable name, as in the log.
        name: String,
        /// Number of occurrences.
        count: u64,
    }

    /// The daemon.
    ProgramStatus {
        /// Its version.
        version: String,
        /// Time since it started.
        uptime: NtpDuration,
        /// Reading of its clock.
        now: SystemTime,
        /// Its main configuration file; absent if it runs on defaults.
        config_path: Option<String>,
        /// What `mode = "platform"` found; absent without it.
        platform: Option<PlatformStatus>,
        /// What provides the cryptography of the NTS key exchange; absent if the program was built without NTS.
        provider: Option<ProviderStatus>,
    }

    /// The library that provides the cryptography of the NTS key exchange. NTS packets do not use it.
    ProviderStatus {
        /// `ring`, `aws-lc-rs`, `aws-lc-fips` or `openssl`.
        name: String,
        /// Whether it is in a FIPS 140-3 mode.
        fips: bool,
    }

    /// What the cloud or the hypervisor of this machine offers.
    PlatformStatus {
        /// Its name.
        name: String,
        /// Names of the sources that were added for it.
        sources: Vec<String>,
        /// Why these were chosen.
        reason: String,
    }

    /// The clock that is disciplined.
    DisciplinedClock {
        /// `system`, `virtual` or `none`.
        kind: String,
        /// How far a virtual clock is ahead of the clock that it is laid over: its true error, if that clock is right.
        true_offset: Option<NtpDuration>,
    }

    /// What is known and claimed about the time.
    SystemStatus {
        /// Whether the clock follows its sources and the error bound is below the limit.
        synchronized: bool,
        /// Announced leap second: none, insert, delete; or unsynchronized.
        leap: LeapIndicator,
        /// Number of hops to the primary reference, 16 without one.
        stratum: Stratum,
        /// Reference ID: four characters, or an address.
        reference_id: ReferenceId,
        /// The source with the smallest root distance, while synchronised.
        reference: Option<SourceId>,
        /// When the clock was last updated from a source.
        reference_time: Option<SystemTime>,
        /// Binary logarithm of the clock's resolution in seconds (RFC 5905 section 7.3).
        precision: i8,
        /// What is still to be added to the clock by the best estimate; absent before there is one.
        offset: Option<NtpDuration>,
        /// How far the last update from a source moved the estimate of the offset.
        last_offset: Option<NtpDuration>,
        /// Root mean square of these, over about the last ten updates.
        rms_offset: Option<NtpDuration>,
        /// Time between the last two updates.
        update_interval: Option<NtpDuration>,
        /// Frequency error of the oscillator without our corrections; positive if it runs fast.
        frequency: Frequency,
        /// Standard deviation of the frequency.
        frequency_uncertainty: Frequency,
        /// Error that the clock stays within 99.9 % of the time if paths are symmetric.
        estimated_error: Option<NtpDuration>,
        /// Guaranteed error, as long as most sources are right within what they state and the oscillator drifts no
        /// faster than the drift allowance.
        error_bound: Option<NtpDuration>,
        /// Round trip to the primary reference.
        root_delay: NtpDuration,
        /// Error accumulated on the way from the primary reference.
        root_dispersion: Option<NtpDuration>,
        /// Error that the clock may have, if configured.
        accuracy_target: Option<NtpDuration>,
        /// How fast the root dispersion grows (drift allowance).
        dispersion_rate: Frequency,
        /// Sum of the magnitudes of all steps after start-up.
        accumulated_steps: NtpDuration,
        /// Limit of that sum, if configured.
        accumulated_steps_limit: Option<NtpDuration>,
        /// The step that a panic threshold forbids: the clock is not steered; absent otherwise.
        refused_step: Option<RefusedStepStatus>,
        /// Shortest time until the clock is stepped to the new time that the sources hold; absent if no step is pending.
        step_wait: Option<NtpDuration>,
        /// A time that an earlier run saved as past, if the sources show an earlier one.
        contradicted_time: Option<SystemTime>,
        /// Number of sources in the majority.
        agreeing: u64,
        /// Number of sources that are candidates for it.
        candidates: u64,
        /// Number of sources that must agree (minimum-agreeing-sources, and more than half).
        required: u64,
        /// Whether those that agree are enough to steer the clock.
        majority: bool,
        /// How far the clock is deliberately ahead of UTC while a leap second is smeared.
        smear: NtpDuration,
        /// TAI - UTC in seconds, while the list of leap seconds is valid.
        tai_offset: Option<i32>,
        /// Until when the list of leap seconds is complete; absent without a list.
        leap_list_expires: Option<SystemTime>,
        /// Since when local time is served, because no source is available (`[local]`); absent otherwise.
        local_since: Option<SystemTime>,
        /// Since when sources with `fallback` are used, because too few others are usable; absent
        /// otherwise.
        fallback_since: Option<SystemTime>,
        /// The times that an operator has entered, the oldest first; absent while none can be entered.
        manual: Option<Vec<ManualEntry>>,
    }

    /// A step that a panic threshold forbids.
    RefusedStepStatus {
        /// The key of the threshold in `[synchronization]`.
        threshold: String,
        /// Its value.
        limit: NtpDuration,
        /// What the sources would add to the clock.
        correction: NtpDuration,
        /// Since when the clock is not steered.
        since: SystemTime,
    }

    /// A time that an operator has entered. Offsets are the entered time minus the clock.
    #[derive(Copy)]
    ManualEntry {
        /// The time.
        time: SystemTime,
        /// Its offset from the clock as it runs now.
        slewed: NtpDuration,
        /// Its offset from the clock when it was entered.
        original: NtpDuration,
        /// Its distance from the line through all entries.
        residual: NtpDuration,
    }

    /// A source in use: an association with one server address, or a reference clock.
    SourceStatus {
        /// Its number, never reused in this run.
        id: SourceId,
        /// The configured name, host:port for an NTP server.
        name: String,
        /// The address in use, or the device.
        address: SourceAddress,
        /// The NTP server that a key exchange named, if it is a member of an NTS pool.
        member: Option<String>,
        /// Result of selection: selected, outranked, falseticker, no-majority, too-uncertain, no-samples, stale,
        /// unreachable, duplicate or unusable.
        state: SourceState,
        /// The source that votes for its server, if it is a duplicate.
        duplicate_of: Option<SourceId>,
        /// Whether it is polled; false after OfflineSource.
        online: bool,
        /// Our address towards it; absent for a reference clock, and before the first request.
        local_address: Option<IpAddr>,
        /// How packets are authenticated: none, key 7 (AES128), NTS (AES-SIV-CMAC-256).
        authentication: String,
        /// The key that authenticates them, without the secret.
        key: Option<KeyStatus>,
        /// Whether the newest reply was in interleaved mode (RFC 9769).
        interleaved: bool,
        /// The protocol version of its requests; absent for a reference clock.
        protocol: Option<ProtocolStatus>,
        /// Selection options: prefer, trust, require, noselect, fallback.
        options: SelectionOptions,
        /// The poll interval in use.
        poll: PollInterval,
        /// The shortest poll interval allowed.
        poll_min: PollInterval,
        /// The longest poll interval allowed.
        poll_max: PollInterval,
        /// Time until the next poll, if it is online.
        next_poll: Option<NtpDuration>,
        /// Result of the last eight polls, the newest in the lowest bit; 1 is an answer (RFC 5905 section 9.2).
        reach: u8,
        /// Number of polls since the last answer, at most 8.
        unanswered: u32,
        /// What was wrong with the last request or reply; absent again after a usable reply.
        last_error: Option<String>,
        /// The newest measurement.
        measurement: Option<MeasurementStatus>,
        /// The learnt model of the path.
        path: Option<PathStatus>,
        /// The line through its newest measurements; absent with fewer than three.
        trend: Option<TrendStatus>,
        /// What only a reference clock has; absent for an NTP server.
        reference_clock: Option<RefClockStatus>,
        /// Packet counters.
        packets: PacketCounters,
        /// Hop limit (TTL) with which the last authenticated reply arrived; without authentication, the last reply.
        /// Absent for a reference clock, before the first reply, and if the operating system does not report it.
        hop_limit: Option<u8>,
        /// Hop limits of the last rejected datagram and of authenticated replies; absent if they are the same, and
        /// without authentication.
        rejected_hop_limit: Option<HopLimitDifference>,
        /// Number of unused NTS cookies, at most 8; absent without NTS.
        nts_cookies: Option<u64>,
        /// When the first certificate of the chain expires that its key exchange server showed last; absent without NTS, and
        /// while keys of an earlier run are in use.
        certificate_expires: Option<SystemTime>,
        /// The group of the last key exchange with its server, for example X25519MLKEM768; absent without NTS, and while keys
        /// of an earlier run are in use.
        key_exchange_group: Option<String>,
    }

    /// The protocol version of the requests to a source.
    ProtocolStatus {
        /// The version.
        version: u8,
        /// How it is known: configured, negotiated or key-exchange.
        origin: VersionOrigin,
        /// Number of times that NTPv5 was given up, because two polls in a row were not answered.
        fallbacks: u64,
        /// The versions that the server states it supports; empty if it states none.
        server_versions: Vec<u8>,
    }

    /// The newest measurement of a source.
    #[derive(Copy)]
    MeasurementStatus {
        /// When it was taken.
        at: SystemTime,
        /// The source's time minus ours in the middle of that exchange, or at the pulse. Slews since then are not
        /// taken into account, steps are.
        offset: NtpDuration,
        /// Half width of the source's correctness interval when it was taken; absent if it is unbounded.
        uncertainty: Option<NtpDuration>,
        /// Round trip; absent for a reference clock.
        delay: Option<NtpDuration>,
        /// The server's own root delay.
        root_delay: NtpDuration,
        /// The server's own root dispersion.
        root_dispersion: NtpDuration,
        /// The server's stratum.
        stratum: Stratum,
        /// The server's reference ID: four characters, or an address.
        reference_id: ReferenceId,
        /// The server's leap indicator: none, insert, delete or unsynchronized.
        leap: LeapIndicator,
        /// NTP version of the reply; absent for a reference clock.
        version: Option<u8>,
        /// Binary logarithm of the resolution of the server's clock in seconds; absent for a reference clock.
        precision: Option<i8>,
        /// When the server's clock was last updated; absent if it does not say so.
        reference_time: Option<SystemTime>,
        /// How long the server took to reply; absent for a reference clock.
        response_time: Option<NtpDuration>,
        /// Who timestamped the request: daemon, kernel or hardware; absent for a reference clock.
        transmit_stamp: Option<StampSource>,
        /// Who timestamped the reply, or the pulse.
        receive_stamp: StampSource,
    }

    /// The key that authenticates the packets of a source, without the secret.
    KeyStatus {
        /// Number of a symmetric key; absent with NTS.
        id: Option<u32>,
        /// Its type: AES128, SHA1, AES-SIV-CMAC-256 and others.
        algorithm: String,
        /// Its length in bits.
        bits: u64,
        /// Length of the next NTS cookie in octets; absent with a symmetric key, and if there is no cookie.
        cookie_length: Option<u64>,
    }

    /// The straight line through the newest measurements of a source, at most 32. Long round trips weigh less, and older
    /// measurements that lie on no line with the newer ones are dropped. It is for readers only.
    #[derive(Copy)]
    TrendStatus {
        /// Number of measurements.
        samples: u64,
        /// Time between the oldest and the newest of them.
        span: NtpDuration,
        /// Frequency error of the oscillator as this source alone shows it; positive if it runs fast.
        frequency: Frequency,
        /// Standard deviation of this frequency.
        frequency_uncertainty: Frequency,
        /// Standard deviation from the line of a measurement with the shortest round trip.
        deviation: NtpDuration,
    }

    /// The learnt model of the path to a source.
    #[derive(Copy)]
    PathStatus {
        /// Delay of the idle path.
        base_delay: NtpDuration,
        /// Median excess over the idle path.
        typical_excess: NtpDuration,
        /// Standard deviation of a typical measurement.
        jitter: NtpDuration,
        /// Estimated bias of the source's offset, mostly the path's asymmetry.
        bias: NtpDuration,
        /// Standard deviation of the bias.
        bias_uncertainty: NtpDuration,
        /// Best estimate minus newest measurement.
        residual: NtpDuration,
        /// Whether it is part of the joint estimate; if not, sixteen better sources are.
        combined: bool,
        /// Its share of the information of the joint estimate, from 0 to 1.
        weight: Option<f64>,
        /// Number of consecutive outliers.
        consecutive_outliers: u32,
    }

    /// A configured source.
    ConfiguredSource {
        /// Its name, host:port for an NTP server.
        name: String,
        /// Number of sources in use that it should have.
        wanted: u64,
        /// Number of sources in use that it has.
        present: u64,
        /// Whether it is polled; false after OfflineSource.
        online: bool,
        /// Whether the server denies access (DENY or RSTR), so that no source is in use.
        denied: bool,
        /// Time until a server that denies access is tried again.
        retry: Option<NtpDuration>,
        /// Why no server is in use: access denied, or the last look-up or key exchange failed.
        last_error: Option<String>,
        /// Its NTS key exchanges; absent without NTS.
        key_exchange: Option<KeyExchangeStatus>,
    }

    /// NTS key exchanges of a configured source (RFC 8915 section 4).
    KeyExchangeStatus {
        /// Number of key exchanges started.
        exchanges: u64,
        /// Time since the last one succeeded.
        age: Option<NtpDuration>,
        /// Time until the next one, if one is due.
        next: Option<NtpDuration>,
        /// Why the last one failed; absent if it succeeded or none has ended.
        error: Option<String>,
        /// The same as the stable name that the event key_exchange_failed has.
        reason: Option<KeyExchangeFailure>,
    }

    /// An address at which time is served.
    ServerStatus {
        /// The listening address.
        address: ListenAddress,
        /// Requests by result.
        requests: ServerStatistics,
        /// Subsets of these, and latency.
        details: ServerDetails,
        /// Maximum number of clients that are remembered (client-list-size); 0 if none.
        client_list_size: u64,
    }

    /// A client in the list of one listening address.
    ClientStatus {
        /// Address.
        address: String,
        /// Listening address that it sent requests to.
        server: String,
        /// Number of its datagrams: an upper bound.
        requests: u64,
        /// Maximum error of `requests`: the count inherited from an evicted entry (Space-Saving).
        overcount: u64,
        /// Requests answered with time.
        answered: u64,
        /// Requests denied by an access list or because NTS is required.
        denied: u64,
        /// Requests over the rate limit.
        rate_limited: u64,
        /// Mean time between requests; absent before the second request.
        interval: Option<NtpDuration>,
        /// Time of the first request in the list.
        first_seen: SystemTime,
        /// Time of the last request.
        last_seen: SystemTime,
    }

    /// The NTS key exchange server (RFC 8915 section 4).
    KeServerStatus {
        /// Its addresses.
        addresses: Vec<String>,
        /// Connections by result.
        connections: KeStatistics,
        /// Number of the key that encrypts new cookies; absent while there is none, as in a fleet before the clock
        /// is synchronised.
        cookie_key: Option<u64>,
        /// The certificates that clients are shown.
        certificates: Vec<CertificateStatus>,
    }

    /// A certificate.
    CertificateStatus {
        /// Its file.
        path: String,
        /// Names and addresses that it is valid for.
        names: Vec<String>,
        /// When it, or another certificate of its chain, expires.
        expires: Option<SystemTime>,
    }
}
