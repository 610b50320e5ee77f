//! State of the engine at one moment, as plain data for all readers.

use std::net::SocketAddr;

use ntp_time::{
    Frequency, LeapIndicator, Monotonic, NtpDuration, PollInterval, PollLimits, ReferenceId,
    StampSource, Stratum, SystemTime,
};

use super::{KeyExchangeError, LastError, Now, SourceError, SourceId};
use crate::client::{Authentication, Counters, Reach};
use crate::discipline::{Opinion, SourceState, SourceStatus};

/// State of the engine at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Time of the snapshot.
    pub now: Now,
    /// State of the clock.
    pub system: SystemSnapshot,
    /// The associations, oldest first.
    pub sources: Vec<SourceSnapshot>,
    /// The configured sources. Each has one or more associations.
    pub configured: Vec<ConfiguredSnapshot>,
}

/// State of the clock and its error estimates.
#[derive(Clone, Copy, Debug)]
pub struct SystemSnapshot {
    /// Whether the clock is synchronised: it follows its sources, and the error bound is below its
    /// limit.
    pub synchronized: bool,
    /// Announced leap second, or `Unsynchronized`.
    pub leap: LeapIndicator,
    /// Intended offset of the clock from UTC while a leap second is smeared; positive if ahead.
    pub smear: NtpDuration,
    /// TAI - UTC in seconds according to the list of leap seconds. `None` without a valid list.
    pub tai_offset: Option<i32>,
    /// Expiry time of the list of leap seconds. `None` without a list.
    pub leap_list_expires: Option<SystemTime>,
    /// Stratum.
    pub stratum: Stratum,
    /// Reference ID.
    pub reference_id: ReferenceId,
    /// Time of the last update from a source.
    pub reference_time: Option<SystemTime>,
    /// Base-2 logarithm of the clock resolution in seconds.
    pub precision: i8,
    /// Estimated offset of the system clock from true time (remaining correction); positive if
    /// ahead.
    pub offset: NtpDuration,
    /// Estimated frequency error of the oscillator.
    pub frequency: Frequency,
    /// 1-sigma uncertainty of `frequency`.
    pub frequency_uncertainty: Frequency,
    /// Estimated error of the clock: not exceeded 99.9 % of the time.
    pub estimated_error: NtpDuration,
    /// Error bound: guaranteed maximum error of the clock.
    pub bound: NtpDuration,
    /// Round-trip delay to the primary reference.
    pub root_delay: NtpDuration,
    /// Dispersion relative to the primary reference, at the time of the snapshot.
    pub root_dispersion: NtpDuration,
    /// Growth rate of the dispersion, in seconds per second.
    pub dispersion_rate: Frequency,
    /// Sum of the magnitudes of all steps after start-up.
    pub accumulated_steps: NtpDuration,
    /// Configured limit of `accumulated_steps`.
    pub accumulated_steps_threshold: Option<NtpDuration>,
    /// Number of sources in the largest agreeing group.
    pub agreeing: usize,
    /// Number of candidate sources.
    pub candidates: usize,
    /// Whether the agreeing sources are a sufficient majority.
    pub majority: bool,
}

/// State of the key exchanges of a source with NTS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyExchangeSnapshot {
    /// Number of key exchanges started.
    pub exchanges: u64,
    /// Result of the last finished key exchange.
    pub outcome: KeyExchangeOutcome,
    /// Time since the last success.
    pub age: Option<NtpDuration>,
    /// Time until the next key exchange. `None` if none is scheduled or one is in progress.
    pub next: Option<NtpDuration>,
}

/// Result of a key exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyExchangeOutcome {
    /// No key exchange has finished yet.
    None,
    /// Keys and cookies were received.
    Succeeded,
    /// The key exchange failed.
    Failed(KeyExchangeError),
}

/// State of a configured source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfiguredSnapshot {
    /// Configured name, `host:port`.
    pub name: String,
    /// Number of associations to maintain.
    pub wanted: usize,
    /// Number of existing associations.
    pub present: usize,
    /// Whether the source is polled.
    pub online: bool,
    /// Key exchanges, if the source uses NTS.
    pub key_exchange: Option<KeyExchangeSnapshot>,
    /// Whether the server refused service permanently (DENY or RSTR).
    pub denied: bool,
    /// Error of the last name lookup or key exchange, if it failed.
    pub last_error: Option<SourceError>,
}

/// State of an association.
#[derive(Clone, Debug)]
pub struct SourceSnapshot {
    /// ID of the association.
    pub id: SourceId,
    /// Configured name, `host:port`.
    pub name: String,
    /// Address in use.
    pub address: SocketAddr,
    /// Authentication of its packets.
    pub authentication: Authentication,
    /// Whether the last reply was in interleaved mode (RFC 9769).
    pub interleaved: bool,
    /// Selection state.
    pub state: SourceState,
    /// Last measurement.
    pub measured: Option<MeasuredSnapshot>,
    /// Poll interval in use.
    pub poll: PollInterval,
    /// Configured range of the poll interval.
    pub limits: PollLimits,
    /// Whether the source is polled; false after the command `offline`.
    pub online: bool,
    /// Time of the next poll. `None` while offline.
    pub next_poll: Option<Monotonic>,
    /// Selection options.
    pub selection: Opinion,
    /// Estimates of the discipline about the source.
    pub status: Option<SourceStatus>,
    /// Error of the last request or reply. `None` after the next usable reply.
    pub last_error: Option<LastError>,
    /// The reach register.
    pub reach: Reach,
    /// Packet counts.
    pub counters: Counters,
}

/// Last measurement of a source.
#[derive(Clone, Copy, Debug)]
pub struct MeasuredSnapshot {
    /// System clock minus the clock of the server at the last measurement, corrected for steps of the
    /// system clock since then.
    pub offset: NtpDuration,
    /// Half width of the correctness interval.
    pub uncertainty: NtpDuration,
    /// Round-trip delay.
    pub delay: NtpDuration,
    /// Root delay of the server.
    pub remote_delay: NtpDuration,
    /// Root dispersion of the server.
    pub remote_dispersion: NtpDuration,
    /// Stratum of the server.
    pub stratum: Stratum,
    /// Leap indicator of the server.
    pub leap: LeapIndicator,
    /// Reference ID of the server.
    pub reference_id: ReferenceId,
    /// Time of the measurement.
    pub at: SystemTime,
    /// Origin of the transmit timestamp.
    pub transmit_stamp: StampSource,
    /// Origin of the receive timestamp.
    pub receive_stamp: StampSource,
}
