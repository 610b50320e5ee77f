//! Everything that any reader may show, as plain data taken at one moment.

use core::fmt;
use std::net::SocketAddr;

use ntp_time::{
    Frequency, LeapIndicator, Monotonic, NtpDuration, PollInterval, PollLimits, ReferenceId,
    StampSource, Stratum, SystemTime,
};

use super::{Now, SendError, SourceId};
use crate::client::{Authentication, Counters, Kiss, Reach, Rejection};
use crate::discipline::{Opinion, SourceState, SourceStatus};

/// The state of the daemon's mind.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// When it was taken.
    pub now: Now,
    /// The clock.
    pub system: SystemSnapshot,
    /// The associations, in the order in which they began.
    pub sources: Vec<SourceSnapshot>,
    /// The configured sources, each of which wants one association or several.
    pub configured: Vec<ConfiguredSnapshot>,
}

/// The clock and what we claim about it.
#[derive(Clone, Copy, Debug)]
pub struct SystemSnapshot {
    /// Whether the clock follows its sources and the bound is below its limit.
    pub synchronized: bool,
    /// Announced leap second, or that the clock is not synchronised.
    pub leap: LeapIndicator,
    /// How far the clock is deliberately ahead of UTC, because a leap second is being smeared.
    pub smear: NtpDuration,
    /// TAI - UTC in seconds by the list of leap seconds, while that is valid.
    pub tai_offset: Option<i32>,
    /// Until when the list of leap seconds is complete; None without a list.
    pub leap_list_expires: Option<SystemTime>,
    /// Our stratum.
    pub stratum: Stratum,
    /// What we take our time from.
    pub reference_id: ReferenceId,
    /// When the clock was last updated from a source.
    pub reference_time: Option<SystemTime>,
    /// Log2 of the clock's resolution in seconds.
    pub precision: i8,
    /// How far the system clock is ahead of true time by our best estimate (what is left to slew).
    pub offset: NtpDuration,
    /// The oscillator's own frequency error.
    pub frequency: Frequency,
    /// The 1-sigma uncertainty of that.
    pub frequency_uncertainty: Frequency,
    /// The error that the clock stays within 99.9 % of the time.
    pub estimated_error: NtpDuration,
    /// The guaranteed error.
    pub bound: NtpDuration,
    /// Round trip to the primary reference.
    pub root_delay: NtpDuration,
    /// Error accumulated on the way from the primary reference, now.
    pub root_dispersion: NtpDuration,
    /// How fast the dispersion grows, in seconds per second.
    pub dispersion_rate: Frequency,
    /// Sum of the magnitudes of all steps after start-up.
    pub accumulated_steps: NtpDuration,
    /// The limit on that, if configured.
    pub accumulated_steps_threshold: Option<NtpDuration>,
    /// Sources in the agreeing majority.
    pub agreeing: usize,
    /// Sources that are candidates for it.
    pub candidates: usize,
    /// Whether they are enough to steer by.
    pub majority: bool,
}

/// How the key exchanges of a source with NTS stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyExchangeSnapshot {
    /// How many were begun.
    pub exchanges: u64,
    /// What became of the last one that ended.
    pub outcome: KeyExchangeOutcome,
    /// How long ago the last one succeeded.
    pub age: Option<NtpDuration>,
    /// When the next one is due, if one is wanted and not going on.
    pub next: Option<NtpDuration>,
}

/// What became of a key exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyExchangeOutcome {
    /// None has ended yet.
    None,
    /// It gave keys and cookies.
    Succeeded,
    /// It did not, for this reason.
    Failed(String),
}

/// One configured source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfiguredSnapshot {
    /// Its name, `host:port`.
    pub name: String,
    /// Associations wanted.
    pub wanted: usize,
    /// Associations there are.
    pub present: usize,
    /// Whether it is being asked.
    pub online: bool,
    /// Its key exchanges, if it uses NTS.
    pub key_exchange: Option<KeyExchangeSnapshot>,
    /// Whether the server behind the name refused us for good.
    pub denied: bool,
    /// Why the last look-up or key exchange failed, if it did.
    pub trouble: Option<String>,
}

/// What was wrong with an association's last request or reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The request could not be sent, or was refused on its way.
    Send(SendError),
    /// The server's reply could not be used.
    Reply(Rejection),
    /// The server sent a kiss code instead of the time.
    Kiss(Kiss),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Send(error) => write!(f, "{error}"),
            Self::Reply(rejection) => write!(f, "its answer is ignored: {rejection}"),
            Self::Kiss(kiss) => write!(f, "it answers with the kiss code {kiss:?}"),
        }
    }
}

/// One association.
#[derive(Clone, Debug)]
pub struct SourceSnapshot {
    /// The association.
    pub id: SourceId,
    /// Configured name, `host:port`.
    pub name: String,
    /// Address in use.
    pub address: SocketAddr,
    /// How its packets are authenticated.
    pub authentication: Authentication,
    /// Whether its newest reply was in interleaved mode (RFC 9769).
    pub interleaved: bool,
    /// What the discipline thinks of it.
    pub state: SourceState,
    /// The newest measurement, if there is one.
    pub measured: Option<MeasuredSnapshot>,
    /// Poll interval in use.
    pub poll: PollInterval,
    /// The configured range of it.
    pub limits: PollLimits,
    /// Whether it is being asked; the operator may have taken it offline.
    pub online: bool,
    /// When it will be asked next, if it is online.
    pub next_poll: Option<Monotonic>,
    /// What the operator thinks of it.
    pub opinion: Opinion,
    /// What the discipline has learnt about it.
    pub learnt: Option<SourceStatus>,
    /// What was wrong last, until an answer is of use again.
    pub trouble: Option<Trouble>,
    /// The reach register.
    pub reach: Reach,
    /// Packet counts.
    pub counters: Counters,
}

/// What the last measurements of a source say.
#[derive(Clone, Copy, Debug)]
pub struct MeasuredSnapshot {
    /// System clock minus the server's clock at the newest measurement; steps of the clock since then are taken into account.
    pub offset: NtpDuration,
    /// Half width of its correctness interval now.
    pub uncertainty: NtpDuration,
    /// Round trip of the newest measurement.
    pub delay: NtpDuration,
    /// The server's own root delay.
    pub remote_delay: NtpDuration,
    /// The server's own root dispersion.
    pub remote_dispersion: NtpDuration,
    /// The server's stratum.
    pub stratum: Stratum,
    /// The server's leap indicator.
    pub leap: LeapIndicator,
    /// The server's reference.
    pub reference_id: ReferenceId,
    /// When the newest measurement was taken.
    pub at: SystemTime,
    /// Who timestamped the request.
    pub transmit_stamp: StampSource,
    /// Who timestamped the reply.
    pub receive_stamp: StampSource,
}
