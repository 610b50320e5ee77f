//! What the server says about itself, as the engine last published it.

use ntp_time::{
    Frequency, LeapIndicator, NtpDuration, NtpShort, NtpTimestamp, ReferenceId, Stratum, SystemTime,
};

/// The server's own state, as it goes into every reply (RFC 5905 section 7.3).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ServerView {
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
}

impl ServerView {
    /// The view of a server that has no time to give yet.
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
    };
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
        // A clock that was stepped back since must not make the claim better.
        let age = (now - self.at).max(NtpDuration::ZERO);
        let growth = age.scaled(self.growth.as_ratio().max(0.0));
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
        assert_eq!(
            ServerView::UNSYNCHRONIZED.root_dispersion.at(EPOCH),
            NtpShort::MAX
        );
    }
}
