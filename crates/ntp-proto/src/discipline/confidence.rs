//! Confidence levels: the number of standard deviations that each test and each claim allows.
//!
//! Tests that ask the same question share one level, so changing the question changes it
//! everywhere. The probabilities are those of a normal distribution, two-sided.
//!
//! | level | probability beyond | question |
//! |---|---|---|
//! | [`OUTLIER`] 5 | 6e-7 | Is this one value impossible under the model? |
//! | [`CLAIM`] 4 | 6e-5 | What do we promise about our own errors? |
//! | [`DRIFT`] 4 | 6e-5 | Do several small deviations together prove a drift? |
//! | [`DRIFT_SUPPORT`] 3 | 3e-3 | Does another source confirm a drift that is already proven? |
//! | [`STAMP`] 3 | 3e-3 | How much timestamp noise does a correctness interval include? |
//! | [`STEP`] 3 | 3e-3 | Can a step make the clock worse? |

/// A value this far from its prediction is not chance: the gate rejects the sample, a delay below
/// the baseline is another route, a gap is a jump, a deviation right after the start is not the
/// oscillator.
///
/// A false outlier comes once in 10^6 samples. 8 instead of 5 was no better in quiet worlds and
/// lets larger errors pass.
pub(super) const OUTLIER: f64 = 5.0;

/// A delay this many standard deviations of the phase below zero is the server's fault. The delay
/// carries twice the noise of the phase, so this is [`OUTLIER`] of its own standard deviations.
pub(super) const NEGATIVE_DELAY: f64 = 2.0 * OUTLIER;

/// Level of the errors that we report: the estimated error, the frequency error that widens
/// correctness intervals with age, the frequency prior right after the start, and the uncertainty
/// of a known disturbance.
///
/// 3.3 would be 99.9 % of a normal distribution; wander that has just risen needs more.
pub(super) const CLAIM: f64 = 4.0;

/// Level at which the weighted mean of several deviations is a drift. With four samples, frequency
/// jumps of 1 ppm cost 36 % less RMS error than without the test, and quiet worlds do not change
/// (at most one false alarm in 10^4 samples). At 5, half of the gain is lost.
pub(super) const DRIFT: f64 = 4.0;

/// Level at which the drift of another source counts as support. Lower than [`DRIFT`], because the
/// question is only whether a proven drift is shared: a lower level attributes more drifts to the
/// clock, a higher one attributes more to single servers. Validated by simulation only.
pub(super) const DRIFT_SUPPORT: f64 = 3.0;

/// Timestamp noise inside a correctness interval. Less than [`CLAIM`], because the interval also
/// contains half of the delay, which is rarely all error, and its width decides the selection.
pub(super) const STAMP: f64 = 3.0;

/// A gap is stepped only beyond this level. The first sample's standard deviation is d/sqrt(8) for
/// a round trip d, and its error is d/2 at most: beyond three sigmas, 1.06 d, a step cannot make
/// the clock worse. A smaller gap waits for the next sample of the burst.
pub(super) const STEP: f64 = 3.0;

/// Student's t for two-sided 99.9 % and at least one degree of freedom; beyond 15, that of 15.
pub(super) fn student(freedom: usize) -> f64 {
    const FACTORS: [f64; 15] = [
        636.6, 31.60, 12.92, 8.61, 6.87, 5.96, 5.41, 5.04, 4.78, 4.59, 4.44, 4.32, 4.22, 4.14, 4.07,
    ];
    FACTORS[freedom.clamp(1, FACTORS.len()) - 1]
}
