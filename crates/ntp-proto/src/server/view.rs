//! What a server says about itself, and what it does for whom: all that a worker has to know.

use std::sync::Arc;

use ntp_time::{
    Frequency, LeapIndicator, NtpDuration, NtpShort, NtpTimestamp, ReferenceId, Stratum, SystemTime,
};

use super::Policy;
use crate::nts::Keyset;

/// One listening address's view of the world. Publishing a new one costs a copy and a reference count.
#[derive(Clone, Debug)]
pub struct ServerView {
    /// What is said about time; changes with every update of the clock.
    pub claim: Claim,
    /// Who is served, and how; changes with the configuration.
    pub policy: Arc<Policy>,
    /// What opens and makes NTS cookies; changes with every rotation. `None` where there is no NTS, and an empty one while its keys are
    /// not known yet.
    pub keyset: Option<Arc<Keyset>>,
}

impl ServerView {
    /// A server that makes this claim to everybody, without limits and without keys.
    pub fn open(claim: Claim) -> Self {
        Self {
            claim,
            policy: Arc::default(),
            keyset: None,
        }
    }
}

/// The server's own state, as it goes into every reply (RFC 5905 section 7.3).
///
/// A claim outlives its making: as the root dispersion grows, so does the root distance (half the delay, plus the dispersion). When it
/// passes [`limit`](Self::limit), replies say what [`local`](Self::local) says instead, even if nobody publishes anything
/// any more.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Claim {
    /// Leap second announced, or that we are not synchronised.
    pub leap: LeapIndicator,
    /// Our distance from a reference clock; 16 while not synchronised.
    pub stratum: Stratum,
    /// Precision of our clock in log2 seconds.
    pub precision: i8,
    /// Round-trip delay to the reference clock.
    pub root_delay: NtpShort,
    /// Dispersion to the reference clock, growing with time.
    pub root_dispersion: RootDispersion,
    /// What we take our time from.
    pub reference_id: ReferenceId,
    /// When our clock was last corrected.
    pub reference_timestamp: NtpTimestamp,
    /// The largest root distance at which all of the above is said. [`NtpDuration::MAX`] sets no limit.
    pub limit: NtpDuration,
    /// What is said beyond the limit.
    pub local: Local,
    /// Changes whenever the clock was stepped, and stamps from before are worth nothing.
    pub epoch: u32,
}

impl Claim {
    /// The claim of a server that has no time to give yet.
    pub const UNSYNCHRONIZED: Self = Self {
        leap: LeapIndicator::Unsynchronized,
        stratum: Stratum::UNSYNCHRONIZED,
        precision: 0,
        root_delay: NtpShort::ZERO,
        root_dispersion: RootDispersion {
            value: NtpDuration::MAX,
            at: SystemTime::from_nanos(0),
            growth: Frequency::ZERO,
        },
        reference_id: ReferenceId::XNON,
        reference_timestamp: NtpTimestamp::ZERO,
        limit: NtpDuration::MAX,
        local: Local::NONE,
        epoch: 0,
    };

    /// The claim of a server that never had a source: local mode from the start.
    pub const fn local(local: Local, precision: i8) -> Self {
        Self {
            precision,
            limit: NtpDuration::ZERO,
            local,
            ..Self::UNSYNCHRONIZED
        }
    }

    /// Whether clients are told a time that they may believe, at `now`.
    pub fn is_synchronized(&self, now: SystemTime) -> bool {
        self.statement(now, NtpTimestamp::ZERO).leap != LeapIndicator::Unsynchronized
    }

    /// What is to be said in a reply to a request that was `received`, at `now`.
    #[inline]
    pub(super) fn statement(&self, now: SystemTime, received: NtpTimestamp) -> Statement {
        let root_dispersion = self.root_dispersion.at(now);
        let distance =
            u64::from(self.root_delay.to_bits()) / 2 + u64::from(root_dispersion.to_bits());
        // 16.16 as 32.32, which cannot overflow: both are below 2^33.
        if i64::try_from(distance << 16).is_ok_and(|distance| distance > self.limit.to_bits()) {
            return self.local.statement(received);
        }
        Statement {
            leap: self.leap,
            stratum: self.stratum,
            root_delay: self.root_delay,
            root_dispersion,
            reference_id: self.reference_id,
            reference_timestamp: self.reference_timestamp,
        }
    }
}

/// What a server says when its sources do not tell it the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Local {
    /// [`LeapIndicator::Unsynchronized`], or another to offer the clock as it is.
    pub leap: LeapIndicator,
    /// Stratum to offer it at.
    pub stratum: Stratum,
    /// Name to offer it under.
    pub reference_id: ReferenceId,
    /// Dispersion to admit.
    pub root_dispersion: NtpShort,
}

impl Local {
    /// No local mode: unsynchronised, stratum 16, and a root dispersion beyond what any client accepts.
    pub const NONE: Self = Self {
        leap: LeapIndicator::Unsynchronized,
        stratum: Stratum::UNSYNCHRONIZED,
        reference_id: ReferenceId::XNON,
        root_dispersion: NtpShort::MAX,
    };

    fn statement(&self, received: NtpTimestamp) -> Statement {
        /// The clock counts as set at full multiples of 128 s, and is its own reference.
        const SET: u64 = !((128 << 32) - 1);
        let reference_timestamp = match self.leap {
            LeapIndicator::Unsynchronized => NtpTimestamp::ZERO,
            _ => NtpTimestamp::from_bits(received.to_bits() & SET),
        };
        Statement {
            leap: self.leap,
            stratum: self.stratum,
            root_delay: NtpShort::ZERO,
            root_dispersion: self.root_dispersion,
            reference_id: self.reference_id,
            reference_timestamp,
        }
    }
}

/// The fields of a reply that are about the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Statement {
    pub(super) leap: LeapIndicator,
    pub(super) stratum: Stratum,
    pub(super) root_delay: NtpShort,
    pub(super) root_dispersion: NtpShort,
    pub(super) reference_id: ReferenceId,
    pub(super) reference_timestamp: NtpTimestamp,
}

impl Statement {
    /// A kiss-o'-death (RFC 5905 section 7.4): no time, and why.
    pub(super) const fn kiss(code: [u8; 4]) -> Self {
        Self {
            leap: LeapIndicator::Unsynchronized,
            stratum: Stratum::KISS,
            root_delay: NtpShort::ZERO,
            root_dispersion: NtpShort::ZERO,
            reference_id: ReferenceId::new(code),
            reference_timestamp: NtpTimestamp::ZERO,
        }
    }
}

/// Root dispersion as a line over time: `value + growth * (t - at)`, and never below `value`.
///
/// The growth is how fast the clock may drift while nothing corrects it (RFC 5905 calls it PHI and takes 15 ppm);
/// the engine knows better for its own oscillator.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RootDispersion {
    /// Dispersion at `at`.
    pub value: NtpDuration,
    /// When it was calculated.
    pub at: SystemTime,
    /// Growth in s/s; a negative one counts as none.
    pub growth: Frequency,
}

impl RootDispersion {
    /// The dispersion at `now`, rounded up as an error figure must be.
    pub fn at(&self, now: SystemTime) -> NtpShort {
        /// Units of 2^-32 s in a nanosecond.
        const UNITS: f64 = 4.294_967_296;
        // A clock that was stepped back since must not make the claim better.
        let age = now.as_nanos().saturating_sub(self.at.as_nanos()).max(0);
        let growth = age as f64 * UNITS * self.growth.as_ratio().max(0.0);
        // The cast rounds down and saturates; one unit more, a quarter of a nanosecond, makes up for the first.
        let whole = growth as i64;
        let growth = NtpDuration::from_bits(whole.saturating_add(i64::from(growth > whole as f64)));
        NtpShort::from_duration_ceil(self.value + growth)
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
        assert!(after(0).to_duration() >= NtpDuration::from_millis(1));
        let grown = after(1000).to_duration() - after(0).to_duration();
        assert!((grown - NtpDuration::from_millis(15)).abs() < NtpDuration::from_micros(31));
    }

    #[test]
    fn a_senseless_growth_does_not_make_the_claim_better() {
        for ratio in [-1.0, f64::NAN, f64::NEG_INFINITY] {
            let dispersion = RootDispersion {
                value: NtpDuration::from_seconds(1),
                at: EPOCH,
                growth: Frequency::from_ratio(ratio),
            };
            let later = dispersion.at(EPOCH + NtpDuration::from_seconds(100));
            assert_eq!(later.to_duration(), NtpDuration::from_seconds(1));
        }
        let unsynchronized = Claim::UNSYNCHRONIZED.root_dispersion;
        assert_eq!(unsynchronized.at(EPOCH), NtpShort::MAX);
        let without_bound = RootDispersion {
            growth: Frequency::from_ratio(f64::INFINITY),
            ..unsynchronized
        };
        assert_eq!(without_bound.at(EPOCH), NtpShort::MAX);
    }

    fn synchronized(local: Local) -> Claim {
        Claim {
            leap: LeapIndicator::None,
            stratum: Stratum::new(2),
            precision: -20,
            root_delay: NtpShort::from_duration_ceil(NtpDuration::from_millis(200)),
            root_dispersion: RootDispersion {
                value: NtpDuration::from_millis(100),
                at: EPOCH,
                growth: Frequency::from_ppm(100.0),
            },
            reference_id: ReferenceId::new([192, 0, 2, 1]),
            reference_timestamp: EPOCH.to_ntp(),
            limit: NtpDuration::from_seconds(1),
            local,
            epoch: 0,
        }
    }

    fn said(claim: &Claim, seconds: i64) -> Statement {
        let now = EPOCH + NtpDuration::from_seconds(seconds);
        claim.statement(now, now.to_ntp())
    }

    #[test]
    fn time_is_claimed_until_its_bound_passes_the_limit() {
        let claim = synchronized(Local::NONE);
        // 100 ms of delay, 100 ms of dispersion: 800 ms are left, at 100 us a second.
        let last = said(&claim, 7_990);
        assert_eq!((last.leap, last.stratum), (claim.leap, claim.stratum));
        let lost = said(&claim, 8_010);
        assert_eq!(lost.leap, LeapIndicator::Unsynchronized);
        assert_eq!(lost.stratum, Stratum::UNSYNCHRONIZED);
        assert_eq!(lost.root_dispersion, NtpShort::MAX);
        assert_eq!(lost.reference_id, ReferenceId::XNON);
    }

    #[test]
    fn local_mode_needs_no_source_and_outlives_the_last_one() {
        let local = Local {
            leap: LeapIndicator::None,
            stratum: Stratum::new(10),
            reference_id: ReferenceId::new(*b"LOCL"),
            root_dispersion: NtpShort::ZERO,
        };
        for claim in [Claim::local(local, -20), synchronized(local)] {
            let statement = said(&claim, 100_000);
            assert_eq!(statement.leap, LeapIndicator::None);
            assert_eq!(statement.stratum, Stratum::new(10));
            assert_eq!(statement.reference_id, local.reference_id);
            let now = EPOCH + NtpDuration::from_seconds(100_000);
            let age = now.to_ntp() - statement.reference_timestamp;
            assert!(age >= NtpDuration::ZERO && age < NtpDuration::from_seconds(128));
        }
        assert_eq!(said(&synchronized(local), 0).stratum, Stratum::new(2));
    }
}
