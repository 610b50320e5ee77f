//! Everything that a worker needs to know to answer: the state of the clock, policy and keys.

use std::sync::Arc;

use ntp_time::{
    Frequency, LeapIndicator, NtpDuration, NtpShort, NtpTimestamp, ReferenceId, Stratum,
    SystemTime, Timescale,
};

use super::Policy;
use crate::nts::Keyset;
use crate::reference_ids::BloomFilter;

/// Snapshot of the state that one listening address serves. Publishing a new one costs a copy and a
/// reference count.
#[derive(Clone, Debug)]
pub struct ServerView {
    /// State of the clock; changes with every clock update.
    pub claim: Claim,
    /// Which requests are answered, and how; changes with the configuration.
    pub policy: Arc<Policy>,
    /// Keys that seal and open NTS cookies; change with every rotation. `None` if NTS is not
    /// served; empty while its keys are not known yet.
    pub keyset: Option<Arc<Keyset>>,
    /// IDs of this server and of those whose time it follows, for clients of version 5. Changes
    /// with the selected sources. `None` if they are not known.
    pub reference_ids: Option<Arc<BloomFilter>>,
}

impl ServerView {
    /// A view with this claim, the default policy and no keys: all clients are served without
    /// limits.
    pub fn unrestricted(claim: Claim) -> Self {
        Self {
            claim,
            policy: Arc::default(),
            keyset: None,
            reference_ids: None,
        }
    }
}

/// The server's system variables, from which every reply is filled (RFC 5905 section 7.3).
///
/// A claim stays in use until the next one is published. Meanwhile the root dispersion grows, and
/// with it the root distance (half the delay, plus the dispersion). When that exceeds
/// [`limit`](Self::limit), replies are those of [`local`](Self::local), even if the engine has
/// stopped publishing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Claim {
    /// Announced leap second, or that the clock is not synchronised.
    pub leap: LeapIndicator,
    /// Distance from a reference clock; 16 while not synchronised.
    pub stratum: Stratum,
    /// Precision of the clock in log2 seconds.
    pub precision: i8,
    /// Round-trip delay to the reference clock.
    pub root_delay: NtpDuration,
    /// Dispersion to the reference clock, as a function of time.
    pub root_dispersion: RootDispersion,
    /// Identifies the source of the time.
    pub reference_id: ReferenceId,
    /// When the clock was corrected last.
    pub reference_timestamp: NtpTimestamp,
    /// Largest root distance at which the fields above are sent. [`NtpDuration::MAX`] means no
    /// limit.
    pub limit: NtpDuration,
    /// Local mode, used beyond the limit.
    pub local: LocalMode,
    /// Changes whenever the clock is stepped, which invalidates earlier timestamps.
    pub epoch: u32,
    /// Scale of the clock, for version 5: smeared UTC if leap seconds are smeared, else UTC.
    pub timescale: Timescale,
    /// TAI - UTC in seconds, for version 5. `None` if it is not known, or the clock is not in UTC.
    pub tai_offset: Option<i32>,
    /// Leap second in the next 14 days, for version 5; [`leap`](Self::leap) announces it a day
    /// before.
    pub leap_ahead: LeapIndicator,
    /// The clock without phase corrections, for version 5. `None` if it is not known.
    pub phase_free: Option<PhaseFreeClock>,
}

impl Claim {
    /// The claim of a server that is not synchronised yet.
    pub const UNSYNCHRONIZED: Self = Self {
        leap: LeapIndicator::Unsynchronized,
        stratum: Stratum::UNSYNCHRONIZED,
        precision: 0,
        root_delay: NtpDuration::ZERO,
        root_dispersion: RootDispersion {
            value: NtpDuration::MAX,
            at: SystemTime::from_nanos(0),
            growth: Frequency::ZERO,
        },
        reference_id: ReferenceId::XNON,
        reference_timestamp: NtpTimestamp::ZERO,
        limit: NtpDuration::MAX,
        local: LocalMode::NONE,
        epoch: 0,
        timescale: Timescale::Utc,
        tai_offset: None,
        leap_ahead: LeapIndicator::None,
        phase_free: None,
    };

    /// The claim of a server without sources: local mode from the start.
    pub const fn local(local: LocalMode, precision: i8) -> Self {
        Self {
            precision,
            limit: NtpDuration::ZERO,
            local,
            ..Self::UNSYNCHRONIZED
        }
    }

    /// Whether replies at `now` have a synchronised leap indicator.
    pub fn is_synchronized(&self, now: SystemTime) -> bool {
        self.system_variables(now, NtpTimestamp::ZERO).leap != LeapIndicator::Unsynchronized
    }

    /// System variables for a reply at `now` to a request that arrived at `received`.
    #[inline(always)]
    pub(super) fn system_variables(
        &self,
        now: SystemTime,
        received: NtpTimestamp,
    ) -> SystemVariables {
        let root_dispersion = self.root_dispersion.at(now);
        if self.root_delay.half() + root_dispersion > self.limit {
            return self.local.system_variables(received);
        }
        SystemVariables {
            leap: self.leap,
            stratum: self.stratum,
            root_delay: self.root_delay,
            root_dispersion,
            reference_id: self.reference_id,
            reference_timestamp: self.reference_timestamp,
        }
    }
}

/// The clock as it would read without phase corrections: steps and slews are undone, corrections
/// of its frequency are not. Clients of version 5 learn from it how fast the clock runs while its
/// phase is being corrected.
///
/// A line over the system clock, valid until the next claim:
/// `t + ahead - slew * (t - at)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PhaseFreeClock {
    /// Another number if the clock has lost its continuity: it was changed by an unknown amount.
    pub epoch: u32,
    /// System time of `ahead`.
    pub at: SystemTime,
    /// This clock minus the system clock.
    pub ahead: NtpDuration,
    /// Rate of the phase correction in progress, in seconds of correction per second of the system
    /// clock.
    pub slew: Frequency,
}

impl PhaseFreeClock {
    /// Reading of this clock when the system clock reads `system`.
    #[inline]
    pub fn read(&self, system: SystemTime) -> SystemTime {
        let corrected = (system - self.at).scaled(self.slew.as_ratio());
        system + (self.ahead - corrected)
    }
}

/// Local mode: the system variables of a server whose sources are lost or missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalMode {
    /// [`LeapIndicator::Unsynchronized`] if there is no local mode; any other value serves the
    /// clock as it is.
    pub leap: LeapIndicator,
    /// Stratum of the replies.
    pub stratum: Stratum,
    /// Reference ID of the replies.
    pub reference_id: ReferenceId,
    /// Root dispersion of the replies.
    pub root_dispersion: NtpShort,
}

impl LocalMode {
    /// No local mode: unsynchronised, stratum 16, and a root dispersion larger than any client
    /// accepts.
    pub const NONE: Self = Self {
        leap: LeapIndicator::Unsynchronized,
        stratum: Stratum::UNSYNCHRONIZED,
        reference_id: ReferenceId::XNON,
        root_dispersion: NtpShort::MAX,
    };

    fn system_variables(&self, received: NtpTimestamp) -> SystemVariables {
        /// The reference timestamp is the last full multiple of 128 s: the clock is its own
        /// reference.
        const MASK: u64 = !((128 << 32) - 1);
        let reference_timestamp = match self.leap {
            LeapIndicator::Unsynchronized => NtpTimestamp::ZERO,
            _ => NtpTimestamp::from_bits(received.to_bits() & MASK),
        };
        SystemVariables {
            leap: self.leap,
            stratum: self.stratum,
            root_delay: NtpDuration::ZERO,
            root_dispersion: self.root_dispersion.to_duration(),
            reference_id: self.reference_id,
            reference_timestamp,
        }
    }
}

/// Fields of a reply that describe the server (RFC 5905 section 11.1, system variables).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SystemVariables {
    pub(super) leap: LeapIndicator,
    pub(super) stratum: Stratum,
    pub(super) root_delay: NtpDuration,
    pub(super) root_dispersion: NtpDuration,
    pub(super) reference_id: ReferenceId,
    pub(super) reference_timestamp: NtpTimestamp,
}

impl SystemVariables {
    /// Those of a kiss-o'-death (RFC 5905 section 7.4): the kiss code and no time.
    pub(super) const fn kiss(code: [u8; 4]) -> Self {
        Self {
            leap: LeapIndicator::Unsynchronized,
            stratum: Stratum::KISS,
            root_delay: NtpDuration::ZERO,
            root_dispersion: NtpDuration::ZERO,
            reference_id: ReferenceId::new(code),
            reference_timestamp: NtpTimestamp::ZERO,
        }
    }
}

/// Root dispersion as a linear function of time: `value + growth * (t - at)`, never below `value`.
///
/// `growth` is the maximum drift of the clock while it is not corrected (RFC 5905 calls it PHI and
/// sets it to 15 ppm); the engine has a better value for its own oscillator.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RootDispersion {
    /// Dispersion at `at`.
    pub value: NtpDuration,
    /// When `value` was calculated.
    pub at: SystemTime,
    /// Growth in s/s; a negative one counts as zero.
    pub growth: Frequency,
}

impl RootDispersion {
    /// The dispersion at `now`, rounded up, as an error bound must be.
    pub fn at(&self, now: SystemTime) -> NtpDuration {
        /// Units of 2^-32 s per nanosecond.
        const UNITS: f64 = 4.294_967_296;
        // After a backward step of the clock the dispersion must not become smaller.
        let age = now.as_nanos().saturating_sub(self.at.as_nanos()).max(0);
        let growth = age as f64 * UNITS * self.growth.as_ratio().max(0.0);
        // The cast rounds down and saturates; adding one unit, a quarter of a nanosecond, rounds
        // up.
        let whole = growth as i64;
        let growth = NtpDuration::from_bits(whole.saturating_add(i64::from(growth > whole as f64)));
        self.value + growth
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EPOCH: SystemTime = SystemTime::from_nanos(1_700_000_000_000_000_000);

    #[test]
    fn dispersion_grows_with_age_and_never_shrinks() {
        let dispersion = RootDispersion {
            value: NtpDuration::from_millis(1),
            at: EPOCH,
            growth: Frequency::from_ppm(15.0),
        };
        let after = |seconds| dispersion.at(EPOCH + NtpDuration::from_seconds(seconds));
        assert_eq!(after(-100), after(0));
        assert_eq!(after(0), NtpDuration::from_millis(1));
        let grown = after(1000) - after(0) - NtpDuration::from_millis(15);
        assert!(grown >= NtpDuration::ZERO && grown < NtpDuration::from_nanos(2));
    }

    #[test]
    fn invalid_growth_does_not_reduce_dispersion() {
        for ratio in [-1.0, f64::NAN, f64::NEG_INFINITY] {
            let dispersion = RootDispersion {
                value: NtpDuration::from_seconds(1),
                at: EPOCH,
                growth: Frequency::from_ratio(ratio),
            };
            let later = dispersion.at(EPOCH + NtpDuration::from_seconds(100));
            assert_eq!(later, NtpDuration::from_seconds(1));
        }
        let unsynchronized = Claim::UNSYNCHRONIZED.root_dispersion;
        assert_eq!(unsynchronized.at(EPOCH), NtpDuration::MAX);
        let without_bound = RootDispersion {
            growth: Frequency::from_ratio(f64::INFINITY),
            ..unsynchronized
        };
        assert_eq!(without_bound.at(EPOCH), NtpDuration::MAX);
    }

    fn synchronized(local: LocalMode) -> Claim {
        Claim {
            leap: LeapIndicator::None,
            stratum: Stratum::new(2),
            precision: -20,
            root_delay: NtpDuration::from_millis(200),
            root_dispersion: RootDispersion {
                value: NtpDuration::from_millis(100),
                at: EPOCH,
                growth: Frequency::from_ppm(100.0),
            },
            reference_id: ReferenceId::new([192, 0, 2, 1]),
            reference_timestamp: EPOCH.to_ntp(),
            limit: NtpDuration::from_seconds(1),
            local,
            ..Claim::UNSYNCHRONIZED
        }
    }

    fn variables_after(claim: &Claim, seconds: i64) -> SystemVariables {
        let now = EPOCH + NtpDuration::from_seconds(seconds);
        claim.system_variables(now, now.to_ntp())
    }

    #[test]
    fn replies_are_unsynchronized_beyond_the_root_distance_limit() {
        let claim = synchronized(LocalMode::NONE);
        // 100 ms of delay, 100 ms of dispersion: 800 ms remain, at 100 us per second.
        let last = variables_after(&claim, 7_990);
        assert_eq!((last.leap, last.stratum), (claim.leap, claim.stratum));
        let lost = variables_after(&claim, 8_010);
        assert_eq!(lost.leap, LeapIndicator::Unsynchronized);
        assert_eq!(lost.stratum, Stratum::UNSYNCHRONIZED);
        assert_eq!(lost.root_dispersion, NtpShort::MAX.to_duration());
        assert_eq!(lost.reference_id, ReferenceId::XNON);
    }

    #[test]
    fn local_mode_applies_without_sources_and_after_their_loss() {
        let local = LocalMode {
            leap: LeapIndicator::None,
            stratum: Stratum::new(10),
            reference_id: ReferenceId::new(*b"LOCL"),
            root_dispersion: NtpShort::ZERO,
        };
        for claim in [Claim::local(local, -20), synchronized(local)] {
            let system = variables_after(&claim, 100_000);
            assert_eq!(system.leap, LeapIndicator::None);
            assert_eq!(system.stratum, Stratum::new(10));
            assert_eq!(system.reference_id, local.reference_id);
            let now = EPOCH + NtpDuration::from_seconds(100_000);
            let age = now.to_ntp() - system.reference_timestamp;
            assert!(age >= NtpDuration::ZERO && age < NtpDuration::from_seconds(128));
        }
        assert_eq!(
            variables_after(&synchronized(local), 0).stratum,
            Stratum::new(2)
        );
    }
}
