//! The types that replies are made of: the state of the daemon, in plain numbers.
//!
//! Durations are seconds, frequencies parts per million, times seconds since 1970 (UTC, as the
//! disciplined clock reads). A value that is not known is absent. An offset is the correction that
//! the local clock needs: true (or the server's) time minus local time, positive if the local clock
//! is behind (RFC 5905 section 8).

use super::schema::record;

record! {
    /// The state of the daemon.
    Status {
        /// The daemon process.
        program: Program,
        /// The system clock and its estimated errors.
        system: System,
        /// The associations: one for each server address in use.
        sources: Vec<Source>,
        /// The configured sources; each has one or more associations.
        configured: Vec<ConfiguredSource>,
        /// The addresses on which time is served.
        servers: Vec<Server>,
        /// The NTS key exchange server; absent if there is none.
        key_exchange: Option<KeyExchange>,
    }

    /// The daemon process.
    Program {
        /// Version.
        version: String,
        /// Time since the start.
        uptime: f64,
        /// System time at the moment of the reply.
        now: f64,
        /// Main configuration file; absent if the daemon runs on defaults.
        config_path: Option<String>,
    }

    /// The system clock and its estimated errors.
    System {
        /// Whether the clock follows its sources and the error bound is below its limit.
        synchronized: bool,
        /// Number of hops to the primary reference; 16 if there is none.
        stratum: u32,
        /// Reference ID: four characters or an address.
        reference_id: String,
        /// Name of the source that is the reference.
        reference: Option<String>,
        /// Time of the last clock update from a source.
        reference_time: Option<f64>,
        /// Announced leap second: none, insert, delete or unsynchronized.
        leap: String,
        /// Estimated correction that the clock still needs.
        offset: Option<f64>,
        /// Frequency error of the uncorrected oscillator in parts per million, positive if it runs
        /// fast.
        frequency: f64,
        /// Standard deviation of `frequency`.
        frequency_sigma: f64,
        /// Estimated error: the clock stays within it 99.9 % of the time.
        estimated_error: Option<f64>,
        /// Maximum error: true time is never further away, as long as most sources are right.
        error_bound: Option<f64>,
        /// Round-trip delay to the primary reference.
        root_delay: f64,
        /// Dispersion accumulated from the primary reference.
        root_dispersion: Option<f64>,
        /// Sum of the magnitudes of all steps after start-up.
        accumulated_steps: f64,
        /// Limit of `accumulated_steps`, if configured.
        accumulated_steps_limit: Option<f64>,
        /// Number of sources whose correctness intervals intersect.
        agreeing: u64,
        /// Number of sources that take part in the selection.
        candidates: u64,
        /// Number of sources that must agree (minimum-agreeing-sources).
        needed: u64,
        /// Whether enough sources agree to steer the clock.
        majority: bool,
        /// The clock that is disciplined: system, virtual or none.
        clock: String,
        /// Virtual clock minus the clock below it: the true error of the virtual clock, if the
        /// clock below is right.
        true_offset: Option<f64>,
    }

    /// An association with one server address.
    Source {
        /// Identifier, unique within one run of the daemon.
        id: u64,
        /// Configured name, host:port.
        name: String,
        /// Address in use.
        address: String,
        /// State in the selection: selected, outranked, falseticker, no-majority, too-uncertain,
        /// no-samples, stale, unreachable, unusable or offline. Later versions may add words.
        state: String,
        /// Whether the source is polled.
        online: bool,
        /// Authentication method: none, key or nts.
        authentication: String,
        /// Selection options of the operator: prefer, trust, require, noselect.
        selection_options: Vec<String>,
        /// Poll interval in use.
        poll: f64,
        /// Shortest permitted poll interval.
        poll_min: f64,
        /// Longest permitted poll interval.
        poll_max: f64,
        /// Time until the next poll.
        next_poll: Option<f64>,
        /// Reachability register: the last eight polls, the newest in the lowest bit; 1 is a reply.
        reach: u64,
        /// Polls since the last reply, at most 8.
        unanswered: u64,
        /// Why the last request or reply failed, as text; absent after a usable reply.
        last_error: Option<String>,
        /// The newest measurement.
        measurement: Option<Measurement>,
        /// Estimated properties of the network path.
        path: Option<Path>,
        /// Packet counters.
        packets: Packets,
        /// Number of NTS cookies available, at most 8; absent if the source does not use NTS.
        nts_cookies: Option<u64>,
        /// Expiry of the certificate chain of the last NTS key exchange; absent while keys of an
        /// earlier run are in use.
        certificate_expires: Option<f64>,
    }

    /// The newest measurement of a source.
    Measurement {
        /// Time of the measurement.
        at: f64,
        /// Server time minus local time.
        offset: f64,
        /// Half width of the interval that contains the true offset.
        uncertainty: Option<f64>,
        /// Round-trip delay.
        delay: f64,
        /// Root delay of the server.
        root_delay: f64,
        /// Root dispersion of the server.
        root_dispersion: f64,
        /// Stratum of the server.
        stratum: u32,
        /// Reference ID of the server: four characters or an address.
        reference_id: String,
        /// Leap status of the server: none, insert, delete or unsynchronized.
        leap: String,
    }

    /// Estimated properties of the network path to a source.
    Path {
        /// Minimum round-trip delay of the unloaded path.
        base_delay: f64,
        /// Median of the round-trip delay in excess of `base_delay`.
        typical_excess: f64,
        /// Standard deviation of a typical measurement.
        jitter: f64,
        /// Estimated offset error due to path asymmetry.
        bias: f64,
        /// Standard deviation of `bias`.
        bias_sigma: f64,
        /// Residual of the newest measurement: estimate minus measurement.
        residual: f64,
        /// Whether the source is part of the joint estimate, which has a limited number of slots
        /// for the best sources.
        in_joint_estimate: bool,
        /// Number of consecutive outliers.
        consecutive_outliers: u64,
    }

    /// Packet counters of a source.
    Packets {
        /// Requests sent.
        sent: u64,
        /// Datagrams received.
        received: u64,
        /// Replies that led to a measurement.
        accepted: u64,
        /// Valid replies without usable time.
        unusable: u64,
        /// Datagrams that match no request.
        bogus: u64,
        /// Unusable replies that are crypto-NAKs: the server does not accept the symmetric key. Not
        /// authenticated, so possibly forged.
        crypto_naks: u64,
        /// Unusable replies that are NTS NAKs: the server cannot decrypt the cookie. Not
        /// authenticated, so possibly forged.
        nts_naks: u64,
    }

    /// A configured source.
    ConfiguredSource {
        /// Name, host:port.
        name: String,
        /// Number of associations that the configuration requests.
        wanted: u64,
        /// Number of associations in use.
        present: u64,
        /// Whether the source is polled.
        online: bool,
        /// Whether the server denied access (kiss code DENY or RSTR), so that polling has stopped.
        denied: bool,
        /// Why the last name resolution or key exchange failed, as text; absent if it succeeded.
        last_error: Option<String>,
    }

    /// An address on which time is served.
    Server {
        /// Address.
        address: String,
        /// Datagrams received: the sum of the next five.
        received: u64,
        /// Requests answered with time.
        accepted: u64,
        /// Requests denied by configuration.
        denied: u64,
        /// Datagrams dropped: malformed, of an unsupported mode or version, or by configuration.
        ignored: u64,
        /// Requests over the rate limit.
        rate_limited: u64,
        /// Requests whose NTS cookie or authentication failed.
        nts_nak: u64,
        /// Replies that could not be sent.
        send_errors: u64,
        /// Capacity of the client list (client-list-size); 0 if it is disabled.
        client_list_size: u64,
    }

    /// A client in the list of one listening address.
    Client {
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
        interval: Option<f64>,
        /// Time of the first request in the list.
        first_seen: f64,
        /// Time of the last request.
        last_seen: f64,
    }

    /// The NTS key exchange server (RFC 8915 section 4).
    KeyExchange {
        /// Listening addresses.
        addresses: Vec<String>,
        /// Connections accepted; each closed one is counted in one of the next five.
        connections: u64,
        /// Key exchanges that succeeded.
        granted: u64,
        /// Requests refused with an error.
        refused: u64,
        /// Connections closed by timeout.
        timed_out: u64,
        /// Connections closed in favour of new ones.
        evicted: u64,
        /// Connections that failed or did not speak the protocol.
        failed: u64,
        /// Number of the key that encrypts new cookies; absent while there is none, as with a
        /// shared secret before the clock is synchronised.
        cookie_key: Option<u64>,
        /// Certificates in use.
        certificates: Vec<Certificate>,
    }

    /// A certificate.
    Certificate {
        /// File.
        path: String,
        /// Names and addresses that it is valid for.
        names: Vec<String>,
        /// Earliest expiry in its chain.
        expires: Option<f64>,
    }

    /// A section of the active configuration with the keys that are set explicitly.
    Section {
        /// Name, for example source.
        name: String,
        /// Whether the section can be repeated.
        repeated: bool,
        /// Where the section was defined or last changed.
        origin: Origin,
        /// Keys.
        settings: Vec<Setting>,
    }

    /// A configuration key and its value.
    Setting {
        /// Key, with the names of enclosing tables, joined by dots.
        key: String,
        /// Value in TOML syntax.
        value: String,
        /// Where the value was set.
        origin: Origin,
    }

    /// Where a section or value was set.
    Origin {
        /// file, runtime (changed by a command) or command-line.
        kind: String,
        /// File.
        file: Option<String>,
        /// Line in the file.
        line: Option<u64>,
        /// User or process that made the change at run time.
        by: Option<String>,
        /// Time of the change at run time.
        at: Option<f64>,
    }

    /// A source or server of a configuration file that is removed, replaced or disabled.
    Disabled {
        /// source or server.
        section: String,
        /// Address.
        name: String,
        /// Where it is defined; absent if only the `[disabled]` entry is known.
        defined_at: Option<Origin>,
        /// What disabled it: a change at run time, or `[disabled]` in a later file.
        origin: Origin,
    }
}
