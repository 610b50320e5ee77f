//! The state as upstream names and encodes it, and its conversion from [`Status`].

use std::net::SocketAddr;

use ntp_time::{
    LeapIndicator, NtpDuration, NtpTimestamp, PollInterval, ReferenceId, StampSource, SystemTime,
};
use ntp_types::source::SourceState;
use ntp_types::statistics::{ServerDetails, ServerStatistics};
use ntp_types::status::{ServerStatus, SourceStatus, Status};
use serde::{Deserialize, Serialize};

use super::{RootVariance, encoding};

/// State of the daemon.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// The daemon process.
    pub program: Program,
    /// The system clock and its estimated errors.
    pub system: System,
    /// The time sources in use, in no particular order.
    pub sources: Vec<Source>,
    /// The addresses on which time is served, in no particular order.
    pub servers: Vec<Server>,
}

impl State {
    /// Converts the status of a daemon that was built from the commit `build_commit` of
    /// `build_commit_date`.
    pub fn from_status(status: &Status, build_commit: &str, build_commit_date: &str) -> Self {
        let program = &status.program;
        Self {
            program: Program {
                version: program.version.clone(),
                build_commit: build_commit.to_owned(),
                build_commit_date: build_commit_date.to_owned(),
                uptime_seconds: program.uptime.as_seconds_f64(),
                now: program.now.to_ntp(),
            },
            system: System::from_status(status),
            sources: status.sources.iter().map(Source::from_status).collect(),
            servers: status.servers.iter().map(Server::from_status).collect(),
        }
    }

    /// Returns the sources in display order: by name, then by identifier.
    pub fn sorted_sources(&self) -> Vec<&Source> {
        let mut sources: Vec<_> = self.sources.iter().collect();
        sources.sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
        sources
    }

    /// Returns the servers by address.
    pub fn sorted_servers(&self) -> Vec<&Server> {
        let mut servers: Vec<_> = self.servers.iter().collect();
        servers.sort_by_key(|server| server.address);
        servers
    }

    /// Returns the root dispersion at the time of the observation.
    pub fn root_dispersion(&self) -> NtpDuration {
        self.system.root_variance.dispersion_at(self.program.now)
    }
}

/// The daemon process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Program {
    /// Version.
    pub version: String,
    /// Commit of the build, `-` if unknown.
    pub build_commit: String,
    /// Date of that commit, `-` if unknown.
    pub build_commit_date: String,
    /// Seconds since the start.
    #[serde(with = "encoding")]
    pub uptime_seconds: f64,
    /// System time at the time of the observation.
    #[serde(with = "encoding")]
    pub now: NtpTimestamp,
}

/// The system clock and its estimated errors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct System {
    /// Number of hops to the primary reference; 16 if there is none.
    pub stratum: u8,
    /// Reference ID; a number in the JSON, its first octet the highest.
    #[serde(with = "encoding")]
    pub reference_id: ReferenceId,
    /// Limit of `accumulated_steps`, if configured.
    #[serde(with = "encoding::optional", default)]
    pub accumulated_steps_threshold: Option<NtpDuration>,
    /// Resolution of the clock.
    #[serde(with = "encoding")]
    pub precision: NtpDuration,
    /// Round-trip delay to the primary reference.
    #[serde(with = "encoding")]
    pub root_delay: NtpDuration,
    /// Growth of the root dispersion.
    #[serde(flatten)]
    pub root_variance: RootVariance,
    /// Leap status.
    pub leap_indicator: Leap,
    /// Sum of the magnitudes of all steps after start-up.
    #[serde(with = "encoding")]
    pub accumulated_steps: NtpDuration,
    /// Additions of this implementation.
    #[serde(flatten)]
    pub details: SystemDetails,
}

/// Members of [`System`] that upstream does not have.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SystemDetails {
    /// Whether the clock follows its sources and its error bound is below the limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub synchronized: Option<bool>,
    /// Estimated correction that the clock still needs.
    #[serde(with = "encoding::optional", skip_serializing_if = "Option::is_none")]
    pub offset: Option<NtpDuration>,
    /// Frequency error of the uncorrected oscillator in parts per million, positive if it runs
    /// fast.
    #[serde(with = "encoding::optional", skip_serializing_if = "Option::is_none")]
    pub frequency_ppm: Option<f64>,
    /// Standard deviation of `frequency_ppm`.
    #[serde(with = "encoding::optional", skip_serializing_if = "Option::is_none")]
    pub frequency_uncertainty_ppm: Option<f64>,
    /// Estimated error: the clock stays within it 99.9 % of the time.
    #[serde(with = "encoding::optional", skip_serializing_if = "Option::is_none")]
    pub estimated_error: Option<NtpDuration>,
    /// Maximum error: true time is never further away, as long as most sources are right.
    #[serde(with = "encoding::optional", skip_serializing_if = "Option::is_none")]
    pub error_bound: Option<NtpDuration>,
    /// Dispersion accumulated from the primary reference, at the time of the observation.
    #[serde(with = "encoding::optional", skip_serializing_if = "Option::is_none")]
    pub root_dispersion: Option<NtpDuration>,
    /// Number of sources in the agreeing majority.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agreeing_sources: Option<u64>,
    /// Number of sources that take part in the selection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub candidate_sources: Option<u64>,
    /// The clock that is disciplined: `system`, `virtual` or `none`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock_kind: Option<String>,
    /// Local clock minus UTC due to the smearing of a leap second.
    #[serde(with = "encoding::optional", skip_serializing_if = "Option::is_none")]
    pub smear: Option<NtpDuration>,
    /// TAI - UTC in seconds, from a valid leap second list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tai_offset: Option<i64>,
    /// Expiry of the leap second list in seconds since 1970; absent without a list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leap_list_expires: Option<i64>,
    /// Time of the last clock update from a source; absent before the first.
    #[serde(with = "encoding::optional", skip_serializing_if = "Option::is_none")]
    pub reference_time: Option<NtpTimestamp>,
    /// Earliest expiry of the certificates of our NTS key exchange servers in seconds since 1970;
    /// absent without such a server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nts_certificate_expiry: Option<u64>,
    /// Connections to our NTS key exchange servers; absent, like the next five, without such a
    /// server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nts_ke_connections: Option<u64>,
    /// Of these: key exchanges that succeeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nts_ke_granted: Option<u64>,
    /// Of these: refused with an error, because the request was invalid or there was no cookie key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nts_ke_refused: Option<u64>,
    /// Of these: closed by timeout.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nts_ke_timed_out: Option<u64>,
    /// Of these: closed in favour of new connections.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nts_ke_evicted: Option<u64>,
    /// Of these: failed or did not speak the protocol.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nts_ke_failed: Option<u64>,
    /// Number of sources left out because the frame would exceed its limit; the control socket has
    /// no such limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sources_omitted: Option<u64>,
    /// Virtual clock minus the clock below it: the true error of the virtual clock, if the clock
    /// below is right.
    #[serde(with = "encoding::optional", skip_serializing_if = "Option::is_none")]
    pub true_offset: Option<NtpDuration>,
}

/// Dispersion without a source: the largest that NTP can express (RFC 5905 section 7.3, MAXDISP).
const MAX_DISPERSION: NtpDuration = NtpDuration::from_seconds(16);

impl System {
    fn from_status(status: &Status) -> Self {
        let system = &status.system;
        let root_dispersion = system.root_dispersion.unwrap_or(MAX_DISPERSION);
        Self {
            stratum: system.stratum.get(),
            reference_id: system.reference_id,
            accumulated_steps_threshold: system.accumulated_steps_limit,
            precision: NtpDuration::from_seconds_f64(2f64.powi(system.precision.into())),
            root_delay: system.root_delay,
            root_variance: RootVariance::growing(
                status.program.now.to_ntp(),
                root_dispersion,
                system.dispersion_rate,
            ),
            leap_indicator: system.leap.into(),
            accumulated_steps: system.accumulated_steps,
            details: SystemDetails::from_status(status),
        }
    }
}

impl SystemDetails {
    fn from_status(status: &Status) -> Self {
        let system = &status.system;
        let key_exchange = status.key_exchange.as_ref();
        let exchanges = key_exchange.map(|server| server.connections);
        Self {
            synchronized: Some(system.synchronized),
            offset: Some(system.offset.unwrap_or_default()),
            // Turns -0.0 into 0.0.
            frequency_ppm: Some(system.frequency.as_ppm() + 0.0),
            frequency_uncertainty_ppm: Some(system.frequency_uncertainty.as_ppm()),
            estimated_error: Some(system.estimated_error.unwrap_or(MAX_DISPERSION)),
            error_bound: Some(system.error_bound.unwrap_or(MAX_DISPERSION)),
            root_dispersion: Some(system.root_dispersion.unwrap_or(MAX_DISPERSION)),
            agreeing_sources: Some(system.agreeing),
            candidate_sources: Some(system.candidates),
            clock_kind: Some(status.clock.kind.clone()),
            smear: Some(system.smear),
            tai_offset: system.tai_offset.map(i64::from),
            leap_list_expires: system.leap_list_expires.map(unix_seconds),
            reference_time: system.reference_time.map(SystemTime::to_ntp),
            nts_certificate_expiry: key_exchange.and_then(|server| {
                let expiries = server.certificates.iter().map(|it| it.expires);
                expiries.flatten().min().and_then(expiry)
            }),
            nts_ke_connections: exchanges.map(|count| count.connections),
            nts_ke_granted: exchanges.map(|count| count.granted),
            nts_ke_refused: exchanges.map(|count| count.refused),
            nts_ke_timed_out: exchanges.map(|count| count.timed_out),
            nts_ke_evicted: exchanges.map(|count| count.evicted),
            nts_ke_failed: exchanges.map(|count| count.failed),
            sources_omitted: None,
            true_offset: status.clock.true_offset,
        }
    }
}

/// Leap status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Leap {
    /// No leap second announced.
    NoWarning,
    /// The last minute will have 61 seconds.
    Leap61,
    /// The last minute will have 59 seconds.
    Leap59,
    /// Synchronised, but leap seconds are unknown (NTP version 5).
    Unknown,
    /// Not synchronised.
    Unsynchronized,
}

impl From<LeapIndicator> for Leap {
    fn from(leap: LeapIndicator) -> Self {
        match leap {
            LeapIndicator::None => Self::NoWarning,
            LeapIndicator::Insert => Self::Leap61,
            LeapIndicator::Delete => Self::Leap59,
            LeapIndicator::Unsynchronized => Self::Unsynchronized,
        }
    }
}

/// A time source: an association with one server address, or a device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// Time of the source minus local time; zero before the first measurement.
    #[serde(with = "encoding")]
    pub offset: NtpDuration,
    /// Uncertainty of the offset; [`NtpDuration::MAX`] before the first measurement, like the
    /// next three.
    #[serde(with = "encoding")]
    pub uncertainty: NtpDuration,
    /// Round-trip delay to the source.
    #[serde(with = "encoding")]
    pub delay: NtpDuration,
    /// Root delay of the source.
    #[serde(with = "encoding")]
    pub remote_delay: NtpDuration,
    /// Root dispersion of the source.
    #[serde(with = "encoding")]
    pub remote_uncertainty: NtpDuration,
    /// Time of the last measurement.
    #[serde(with = "encoding")]
    pub last_update: NtpTimestamp,
    /// Polls since the last reply, at most 8.
    pub unanswered_polls: u32,
    /// Poll interval in use.
    #[serde(with = "encoding")]
    pub poll_interval: PollInterval,
    /// Number of NTS cookies available, at most 8; absent if the source does not use NTS.
    pub nts_cookies: Option<u64>,
    /// Configured name, `host:port` for a server.
    pub name: String,
    /// Address in use, `ip:port` for a server, a path for a device.
    pub address: String,
    /// Identifier; distinguishes sources of the same name.
    pub id: u64,
    /// Additions of this implementation.
    #[serde(flatten)]
    pub details: SourceDetails,
}

impl Source {
    fn from_status(source: &SourceStatus) -> Self {
        let measured = source.measurement.as_ref();
        let or_unknown = |known: Option<NtpDuration>| known.unwrap_or(NtpDuration::MAX);
        Self {
            offset: measured.map_or(NtpDuration::ZERO, |measured| measured.offset),
            uncertainty: or_unknown(measured.and_then(|measured| measured.uncertainty)),
            delay: or_unknown(measured.and_then(|measured| measured.delay)),
            remote_delay: or_unknown(measured.map(|measured| measured.root_delay)),
            remote_uncertainty: or_unknown(measured.map(|measured| measured.root_dispersion)),
            last_update: measured.map_or(NtpTimestamp::ZERO, |measured| measured.at.to_ntp()),
            unanswered_polls: source.unanswered,
            poll_interval: source.poll,
            nts_cookies: source.nts_cookies,
            name: source.name.clone(),
            address: source.address.to_string(),
            id: source.id.0.into(),
            details: SourceDetails::from_status(source),
        }
    }
}

impl SourceDetails {
    fn from_status(source: &SourceStatus) -> Self {
        let measured = source.measurement.as_ref();
        let packets = &source.packets;
        Self {
            state: Some(source.state.to_string()),
            stratum: measured.map(|measured| measured.stratum.get()),
            reference_id: measured.map(|measured| measured.reference_id.to_string()),
            leap_indicator: measured.map(|measured| measured.leap.into()),
            reach: Some(source.reach),
            jitter: source.path.map(|path| path.jitter),
            transmit_stamp: (measured.and_then(|measured| measured.transmit_stamp))
                .map(|stamp| stamp.to_string()),
            receive_stamp: measured.map(|measured| measured.receive_stamp.to_string()),
            packets_sent: Some(packets.sent),
            packets_received: Some(packets.received),
            packets_accepted: Some(packets.accepted),
            packets_bogus: Some(packets.bogus),
            packets_unusable: Some(packets.unusable),
            crypto_naks: Some(packets.crypto_naks),
            nts_naks: source.nts_cookies.map(|_| packets.nts_naks),
            nts_certificate_expiry: source.certificate_expires.and_then(expiry),
            authentication: Some(source.authentication.clone()),
            interleaved: Some(source.interleaved),
        }
    }
}

/// Members of [`Source`] that upstream does not have.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SourceDetails {
    /// State in the selection: one of [`SOURCE_STATES`]. Later versions may add states.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Stratum of the source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stratum: Option<u8>,
    /// Reference ID of the source: a code (`GPS`) or an address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference_id: Option<String>,
    /// Leap status of the source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leap_indicator: Option<Leap>,
    /// Reachability register: the last eight polls, the newest in the lowest bit; 1 is a reply
    /// (RFC 5905 section 9.2, `peer.reach`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reach: Option<u8>,
    /// Standard deviation of a typical measurement.
    #[serde(with = "encoding::optional", skip_serializing_if = "Option::is_none")]
    pub jitter: Option<NtpDuration>,
    /// Origin of the transmit timestamp of the last answered request: one of [`STAMP_KINDS`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transmit_stamp: Option<String>,
    /// Origin of the receive timestamp of the last reply: one of [`STAMP_KINDS`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receive_stamp: Option<String>,
    /// Requests sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packets_sent: Option<u64>,
    /// Datagrams received.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packets_received: Option<u64>,
    /// Replies that led to a measurement.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packets_accepted: Option<u64>,
    /// Datagrams that match no request or fail authentication.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packets_bogus: Option<u64>,
    /// Valid replies without usable time: kiss-o'-death packets, NAKs and replies of an
    /// unsynchronised source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packets_unusable: Option<u64>,
    /// Unusable replies that are crypto-NAKs: the source does not accept the symmetric key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crypto_naks: Option<u64>,
    /// Unusable replies that are NTS NAKs: the source cannot decrypt the cookie.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nts_naks: Option<u64>,
    /// Expiry of the certificate chain of the last NTS key exchange in seconds since 1970; absent
    /// without NTS and while keys of an earlier run are in use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nts_certificate_expiry: Option<u64>,
    /// Authentication method: `none`, or for example `key 7 (AES128)`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authentication: Option<String>,
    /// Whether the last reply was in interleaved mode (RFC 9769).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interleaved: Option<bool>,
}

/// The [`SourceDetails::state`] of a source that is part of the agreeing majority.
pub const SELECTED: &str = SourceState::Selected.as_str();

/// Values of [`SourceDetails::state`].
pub const SOURCE_STATES: &[&str] = &{
    let mut names = [""; SourceState::ALL.len()];
    let mut index = 0;
    while index < names.len() {
        names[index] = SourceState::ALL[index].as_str();
        index += 1;
    }
    names
};

/// Values of [`SourceDetails::transmit_stamp`] and [`SourceDetails::receive_stamp`], in order of
/// accuracy.
pub const STAMP_KINDS: &[&str] = &[
    StampSource::Daemon.as_str(),
    StampSource::Kernel.as_str(),
    StampSource::Hardware.as_str(),
];

/// An address on which time is served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// Address.
    pub address: SocketAddr,
    /// Counters.
    pub stats: ServerStatistics,
    /// Additions of this implementation; absent as a whole.
    #[serde(flatten)]
    pub details: Option<ServerDetails>,
}

impl Server {
    fn from_status(server: &ServerStatus) -> Self {
        Self {
            address: server.address.0,
            stats: server.requests,
            details: Some(server.details),
        }
    }
}

/// Returns whole seconds since 1970.
fn unix_seconds(time: SystemTime) -> i64 {
    time.as_nanos() / 1_000_000_000
}

/// Returns the expiry of a certificate; `None` before 1970.
fn expiry(time: SystemTime) -> Option<u64> {
    u64::try_from(unix_seconds(time)).ok()
}
