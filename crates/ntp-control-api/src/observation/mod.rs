//! The daemon's state as the observation socket shows it.
//!
//! Whoever connects to the socket (`observation-path`, a Unix stream socket) is sent one frame
//! and then the end of the stream; the daemon reads nothing. A frame is a length, 64 bits in
//! network order, and that many bytes of JSON: one [`State`]. See [`write_frame`] and
//! [`read_frame`].
//!
//! The form is that of ntpd-rs 1.9, so that its `ntp-ctl`, its exporter and readers made by
//! others work with this daemon, and ours with theirs. From that follow
//!
//! * the members: all of theirs, with their names, in their order; readers fail on a missing one;
//! * the forms of numbers, some of which are odd (see [`seconds`]);
//! * where ours go: what this daemon tells beyond them stands in [`SystemDetails`],
//!   [`SourceDetails`] and [`ServerDetails`], whose members lie flat among the others in the JSON. Readers ignore
//!   members that they do not know. Ours are all optional, because a daemon of another make
//!   does not send them: absent means "not told", never zero or false.
//!
//! Signs: an offset is what would have to be added to our clock, true (or the server's) time minus
//! ours, as in RFC 5905 section 8. Positive means that our clock is behind. The exception is
//! [`SystemDetails::true_offset`], which is no estimate but an error.

mod client;
mod form;
mod frame;
mod latency;
mod root_variance;

use std::net::SocketAddr;

use ntp_time::{LeapIndicator, NtpDuration, NtpTimestamp, PollInterval, ReferenceId};
use serde::{Deserialize, Serialize};

pub use client::{FetchError, fetch};
pub use form::seconds;
pub use frame::{MAX_FRAME, ReadError, WriteError, encode_frame, read_frame, write_frame};
pub use latency::Latency;
pub use root_variance::RootVariance;

/// Where the socket is if the configuration does not say.
pub const DEFAULT_PATH: &str = "/var/run/ntpd-rs/observe";

/// Everything that the socket tells.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// The program that tells it.
    pub program: Program,
    /// The clock and what the daemon claims about it.
    pub system: System,
    /// The time sources in use, in no particular order.
    pub sources: Vec<Source>,
    /// The addresses on which time is served, in no particular order.
    pub servers: Vec<Server>,
}

impl State {
    /// The sources in the order in which people see them: by name, then by identifier.
    pub fn sorted_sources(&self) -> Vec<&Source> {
        let mut sources: Vec<_> = self.sources.iter().collect();
        sources.sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
        sources
    }

    /// The servers by address.
    pub fn sorted_servers(&self) -> Vec<&Server> {
        let mut servers: Vec<_> = self.servers.iter().collect();
        servers.sort_by_key(|server| server.address);
        servers
    }

    /// The root dispersion at the moment of the observation.
    pub fn root_dispersion(&self) -> NtpDuration {
        self.system.root_variance.dispersion_at(self.program.now)
    }
}

/// The program that tells its state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Program {
    /// Its version.
    pub version: String,
    /// The commit that it was built from, `-` if not known.
    pub build_commit: String,
    /// The date of that commit, `-` if not known.
    pub build_commit_date: String,
    /// For how many seconds it has been running.
    #[serde(with = "form")]
    pub uptime_seconds: f64,
    /// Its clock at the moment of the observation.
    #[serde(with = "form")]
    pub now: NtpTimestamp,
}

/// The clock and what the daemon claims about it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct System {
    /// Hops to the primary reference; 16 without one.
    pub stratum: u8,
    /// What the daemon takes its time from; a number in the JSON, its first octet the highest.
    #[serde(with = "form")]
    pub reference_id: ReferenceId,
    /// The limit on `accumulated_steps`, if one is configured.
    #[serde(with = "form::optional", default)]
    pub accumulated_steps_threshold: Option<NtpDuration>,
    /// The resolution of the clock.
    #[serde(with = "form")]
    pub precision: NtpDuration,
    /// Round trip to the primary reference.
    #[serde(with = "form")]
    pub root_delay: NtpDuration,
    /// How the root dispersion grows.
    #[serde(flatten)]
    pub root_variance: RootVariance,
    /// Announced leap second, or that there is no time to announce one for.
    pub leap_indicator: Leap,
    /// Sum of the magnitudes of all steps after start-up.
    #[serde(with = "form")]
    pub accumulated_steps: NtpDuration,
    /// What only this daemon tells.
    #[serde(flatten)]
    pub details: SystemDetails,
}

/// What this daemon tells about its clock beyond upstream's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SystemDetails {
    /// Whether the clock follows its sources and its error bound is below the limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub synchronized: Option<bool>,
    /// What is still to be added to the clock by the best estimate.
    #[serde(with = "form::optional", skip_serializing_if = "Option::is_none")]
    pub offset: Option<NtpDuration>,
    /// By how much the bare oscillator runs fast, in parts per million.
    #[serde(with = "form::optional", skip_serializing_if = "Option::is_none")]
    pub frequency_ppm: Option<f64>,
    /// The standard deviation of that.
    #[serde(with = "form::optional", skip_serializing_if = "Option::is_none")]
    pub frequency_uncertainty_ppm: Option<f64>,
    /// The error that the clock stays within 99.9 % of the time.
    #[serde(with = "form::optional", skip_serializing_if = "Option::is_none")]
    pub estimated_error: Option<NtpDuration>,
    /// The guaranteed error: true time is never further away.
    #[serde(with = "form::optional", skip_serializing_if = "Option::is_none")]
    pub error_bound: Option<NtpDuration>,
    /// Error accumulated on the way from the primary reference, at the moment of the observation.
    #[serde(with = "form::optional", skip_serializing_if = "Option::is_none")]
    pub root_dispersion: Option<NtpDuration>,
    /// Sources in the agreeing majority.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agreeing_sources: Option<u64>,
    /// Sources that have a say in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub candidate_sources: Option<u64>,
    /// The clock that is disciplined: `system`, `virtual` or `none`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock_kind: Option<String>,
    /// How far the clock is deliberately ahead of UTC, because a leap second is being smeared.
    #[serde(with = "form::optional", skip_serializing_if = "Option::is_none")]
    pub smear: Option<NtpDuration>,
    /// TAI - UTC in seconds, by a list of leap seconds that is valid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tai_offset: Option<i64>,
    /// Until when the list of leap seconds is complete, in seconds since 1970; absent without a list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leap_list_expires: Option<i64>,
    /// When the clock was last updated from a source; absent before that.
    #[serde(with = "form::optional", skip_serializing_if = "Option::is_none")]
    pub reference_time: Option<NtpTimestamp>,
    /// When the first of the certificates of our NTS key exchange servers expires, in seconds since 1970; absent without such
    /// a server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nts_certificate_expiry: Option<u64>,
    /// Connections to our NTS key exchange servers; absent, like the next five, without such a server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nts_ke_connections: Option<u64>,
    /// Of these: ended with keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nts_ke_granted: Option<u64>,
    /// Of these: ended with a refusal, because the request was faulty, or because there was no key to make cookies with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nts_ke_refused: Option<u64>,
    /// Of these: took too long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nts_ke_timed_out: Option<u64>,
    /// Of these: had to make room for others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nts_ke_evicted: Option<u64>,
    /// Of these: broke, or never spoke the protocol.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nts_ke_failed: Option<u64>,
    /// Sources that are not among those told, because a frame with all of them would be too long; the control socket has no such limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sources_omitted: Option<u64>,
    /// How far a virtual clock is ahead of the clock it is laid over: its true error, if that one is right.
    #[serde(with = "form::optional", skip_serializing_if = "Option::is_none")]
    pub true_offset: Option<NtpDuration>,
}

/// The leap status as the socket spells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Leap {
    /// No leap second announced.
    NoWarning,
    /// The last minute will have 61 seconds.
    Leap61,
    /// The last minute will have 59 seconds.
    Leap59,
    /// There is time, but leap seconds are not known (NTP version 5).
    Unknown,
    /// There is no time.
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

/// One time source: an association with one server address, or a device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// What this source would have us add to our clock; zero before there is a measurement.
    #[serde(with = "form")]
    pub offset: NtpDuration,
    /// The uncertainty of that; [`NtpDuration::MAX`] before there is a measurement, like the
    /// next three.
    #[serde(with = "form")]
    pub uncertainty: NtpDuration,
    /// Round trip to the source.
    #[serde(with = "form")]
    pub delay: NtpDuration,
    /// The source's own root delay.
    #[serde(with = "form")]
    pub remote_delay: NtpDuration,
    /// The source's own root dispersion.
    #[serde(with = "form")]
    pub remote_uncertainty: NtpDuration,
    /// When it was last measured.
    #[serde(with = "form")]
    pub last_update: NtpTimestamp,
    /// Polls since the last answer, at most 8.
    pub unanswered_polls: u32,
    /// The poll interval in use.
    #[serde(with = "form")]
    pub poll_interval: PollInterval,
    /// NTS cookies at hand, at most 8; absent if the source does not use NTS.
    pub nts_cookies: Option<u64>,
    /// The configured name, `host:port` for a server.
    pub name: String,
    /// The address in use, `ip:port` for a server, a path for a device.
    pub address: String,
    /// Distinguishes sources of the same name.
    pub id: u64,
    /// What only this daemon tells.
    #[serde(flatten)]
    pub details: SourceDetails,
}

/// What this daemon tells about a source beyond upstream's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SourceDetails {
    /// Where the source stands in the selection, in one word: one of [`SOURCE_STATES`].
    /// Later versions may add words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// The source's stratum.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stratum: Option<u8>,
    /// The source's reference: a code (`GPS`) or an address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference_id: Option<String>,
    /// The source's leap status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leap_indicator: Option<Leap>,
    /// The last eight polls, the newest in the lowest bit; 1 is an answer
    /// (RFC 5905 section 9.2, `peer.reach`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reach: Option<u8>,
    /// Standard deviation that a typical measurement of it has.
    #[serde(with = "form::optional", skip_serializing_if = "Option::is_none")]
    pub jitter: Option<NtpDuration>,
    /// Who timestamped the last request that was answered: one of [`STAMP_KINDS`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transmit_stamp: Option<String>,
    /// Who timestamped the last answer: one of [`STAMP_KINDS`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receive_stamp: Option<String>,
    /// Requests sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packets_sent: Option<u64>,
    /// Datagrams received.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packets_received: Option<u64>,
    /// Replies that gave usable time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packets_accepted: Option<u64>,
    /// Datagrams that answered no request of ours, or lacked the proof that the source's key asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packets_bogus: Option<u64>,
    /// Replies without usable time: kisses, crypto-NAKs, and what the source says of itself when it has no time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packets_unusable: Option<u64>,
    /// Of these: crypto-NAKs, by which the source says that it does not accept our key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crypto_naks: Option<u64>,
    /// Of the unusable: NTS NAKs, by which the source says that it cannot read our cookie.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nts_naks: Option<u64>,
    /// When the first certificate expires of the chain that the source's key exchange showed last, in seconds since 1970; absent without NTS, and while
    /// keys of an earlier run are in use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nts_certificate_expiry: Option<u64>,
    /// How packets are authenticated: `none`, or for example `key 7 (AES128)`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authentication: Option<String>,
    /// Whether the newest reply was in interleaved mode (RFC 9769).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interleaved: Option<bool>,
}

/// The [`SourceDetails::state`] of a source that is part of the agreeing majority.
pub const SELECTED: &str = "selected";

/// The words of [`SourceDetails::state`].
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

/// The words of [`SourceDetails::transmit_stamp`] and [`SourceDetails::receive_stamp`]; the later, the closer to the wire.
pub const STAMP_KINDS: &[&str] = &["daemon", "kernel", "hardware"];

/// One address on which time is served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// The address.
    pub address: SocketAddr,
    /// What happened there.
    pub stats: ServerStats,
    /// What only this daemon tells.
    #[serde(flatten)]
    pub details: ServerDetails,
}

/// What this daemon tells about a server beyond upstream's: shares of the numbers in [`ServerStats`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServerDetails {
    /// Of the ignored: no NTP packet, or of a version that is not spoken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub malformed_packets: Option<u64>,
    /// Of the accepted: with a symmetric key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authenticated_packets: Option<u64>,
    /// Of the denied: with a key that is not known, or a wrong digest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bad_authentication_packets: Option<u64>,
    /// Of the accepted: in interleaved mode.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interleaved_packets: Option<u64>,
    /// Of the rate limited: answered with a RATE kiss.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_kisses: Option<u64>,
    /// How long answered requests were with us.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency: Option<Latency>,
}

/// What became of the datagrams that came to one address, since the daemon began.
///
/// `received` = `accepted` + `denied` + `ignored` + `rate_limited` + `nts_nak`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerStats {
    /// All datagrams.
    pub received_packets: u64,
    /// Answered with time.
    pub accepted_packets: u64,
    /// Refused with a kiss, by configuration.
    pub denied_packets: u64,
    /// Dropped without an answer: malformed, of a mode or version not served, or by configuration.
    pub ignored_packets: u64,
    /// Over the rate limit.
    pub rate_limited_packets: u64,
    /// Answers that could not be sent.
    pub response_send_errors: u64,
    /// With NTS extension fields that could be judged.
    pub nts_received_packets: u64,
    /// Of these: answered with time.
    pub nts_accepted_packets: u64,
    /// Of these: refused with a kiss, by configuration.
    pub nts_denied_packets: u64,
    /// Of these: over the rate limit.
    pub nts_rate_limited_packets: u64,
    /// Of these: their cookie or authentication failed.
    pub nts_nak_packets: u64,
}

#[cfg(test)]
pub(crate) mod tests;
