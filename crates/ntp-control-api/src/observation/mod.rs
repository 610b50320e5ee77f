//! State of the daemon on the observation socket.
//!
//! The socket (`observation-path`) is a Unix stream socket. The daemon sends one frame to each
//! client and closes the connection; it reads nothing. A frame is a length, 64 bits in
//! network order, and that many bytes of JSON: one [`State`]. See [`write_frame`] and
//! [`read_frame`].
//!
//! The format is that of ntpd-rs 1.9, so that its `ntp-ctl`, its exporter and third-party readers
//! work with this daemon, and ours with theirs. This determines
//!
//! * the members: all of upstream's, with their names, in their order; readers fail on a missing
//!   one;
//! * the encoding of numbers (see [`seconds`] for an oddity);
//! * our additions: [`SystemDetails`], [`SourceDetails`] and [`ServerDetails`], whose members are
//!   flat among the others in the JSON. Readers ignore unknown members. Ours are all optional, because
//!   other daemons do not send them: absent means "unknown", never zero or false.
//!
//! Signs: an offset is the correction that the local clock needs, true (or the server's) time minus
//! local time, as in RFC 5905 section 8. Positive means that the local clock is behind. The
//! exception is [`SystemDetails::true_offset`], which is not an estimate but an error.

mod client;
mod encoding;
mod frame;
mod latency;
mod root_variance;

use std::net::SocketAddr;

use ntp_time::{LeapIndicator, NtpDuration, NtpTimestamp, PollInterval, ReferenceId};
use serde::{Deserialize, Serialize};

pub use client::{FetchError, fetch};
pub use encoding::seconds;
pub use frame::{MAX_FRAME, ReadError, WriteError, encode_frame, read_frame, write_frame};
pub use latency::Latency;
pub use root_variance::RootVariance;

/// Default path of the socket.
pub const DEFAULT_PATH: &str = "/var/run/ntpd-rs/observe";

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
pub const SELECTED: &str = "selected";

/// Values of [`SourceDetails::state`].
pub const SOURCE_STATES: &[&str] = &[
    SELECTED,
    "outranked",
    "falseticker",
    "no-majority",
    "too-uncertain",
    "no-samples",
    "stale",
    "unreachable",
    "unusable",
];

/// Values of [`SourceDetails::transmit_stamp`] and [`SourceDetails::receive_stamp`], in order of
/// accuracy.
pub const STAMP_KINDS: &[&str] = &["daemon", "kernel", "hardware"];

/// An address on which time is served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// Address.
    pub address: SocketAddr,
    /// Counters.
    pub stats: ServerStats,
    /// Additions of this implementation.
    #[serde(flatten)]
    pub details: ServerDetails,
}

/// Members of [`Server`] that upstream does not have: subsets of the counters in [`ServerStats`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServerDetails {
    /// Of the ignored: not an NTP packet, or of an unsupported version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub malformed_packets: Option<u64>,
    /// Of the accepted: with a symmetric key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authenticated_packets: Option<u64>,
    /// Of the denied: with an unknown key or a wrong digest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bad_authentication_packets: Option<u64>,
    /// Of the accepted: in interleaved mode.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interleaved_packets: Option<u64>,
    /// Of the rate limited: answered with kiss code RATE.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_kisses: Option<u64>,
    /// Latency of the answered requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency: Option<Latency>,
}

/// Counters of the datagrams to one address since the start of the daemon.
///
/// `received` = `accepted` + `denied` + `ignored` + `rate_limited` + `nts_nak`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerStats {
    /// Datagrams received.
    pub received_packets: u64,
    /// Requests answered with time.
    pub accepted_packets: u64,
    /// Requests denied with a kiss-o'-death by configuration.
    pub denied_packets: u64,
    /// Datagrams dropped: malformed, of an unsupported mode or version, or by configuration.
    pub ignored_packets: u64,
    /// Requests over the rate limit.
    pub rate_limited_packets: u64,
    /// Replies that could not be sent.
    pub response_send_errors: u64,
    /// Requests with NTS extension fields that could be checked.
    pub nts_received_packets: u64,
    /// Of these: answered with time.
    pub nts_accepted_packets: u64,
    /// Of these: denied with a kiss-o'-death by configuration.
    pub nts_denied_packets: u64,
    /// Of these: over the rate limit.
    pub nts_rate_limited_packets: u64,
    /// Of these: with an invalid cookie or failed authentication.
    pub nts_nak_packets: u64,
}

#[cfg(test)]
pub(crate) mod tests;
