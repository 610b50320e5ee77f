//! How often to ask.
//!
//! # Problem
//! A shorter poll interval buys accuracy with packets. In a noisy network the purchase is poor,
//! because the error falls only as the 3/8th power of the rate; with a restless oscillator and a
//! quiet network it is excellent.
//!
//! # Law
//! In the steady state of a filter with wander W that gets information `i` (1/s^2) per sample and
//! asks every T seconds, the mean square error of the phase is
//!
//! ```text
//! e(T) = sqrt(2 W) (T/i)^(3/4) + 0.18 W^2 T^3
//! ```
//!
//! (steady state of the Riccati equation, and what wander adds between samples). The bank averages
//! its logarithm over the hypotheses: the small chance that the frequency is about to jump must not rule.
//!
//! # Choice
//! While noise dominates, doubling the interval multiplies e by 2^(3/4) = 1.68: less than the
//! factor 2 that the packets saved would have bought by mere averaging, so we double. Once wander
//! shows between samples the factor climbs towards 8. We stop doubling when it exceeds 1.74, that is
//! when wander between samples makes up 1 % of the error. So packets are never spent below the
//! price of averaging and never saved where they are cheap; over the grid of simulated worlds this
//! is more accurate at longer intervals than the fixed tolerances that were tried (twice the error
//! of the shortest interval: too lazy in a LAN, too eager in a WAN).
//!
//! The interval lengthens by one step per four samples and shortens at once.

use ntp_time::{PollInterval, PollLimits};

use super::bank::Bank;
use super::math;

/// Doubling the interval may multiply the mean square error by this: 2^(3/4) is noise alone, and wander
/// between samples that makes up a hundredth of the error adds 0.06. With 1.8 (two hundredths) cells of the grid
/// came within 5 % of the best peer, at a tenth of its packets; at 1.72 packets double for a twentieth less error.
const FAIR_PRICE: f64 = 1.74;
/// Share of W^2 T^3 that the mean square error gains between samples.
const GROWTH: f64 = 0.18;
/// Samples per lengthening.
pub(super) const SAMPLES_PER_STEP: u32 = 4;
/// While the present variance exceeds the steady state's this many times, learning is not over.
pub(super) const UNSETTLED: f64 = 4.0;

/// Mean square error in s^2 if every source is asked each `interval`; `information` is the sum over
/// the sources.
pub(super) fn mean_square(bank: &Bank, information: f64, interval: PollInterval) -> f64 {
    let seconds = interval.to_duration().as_seconds_f64();
    let sparsity = math::powf(seconds / information.max(f64::MIN_POSITIVE), 0.75);
    let steady =
        |wander: f64| (2.0 * wander).sqrt() * sparsity + GROWTH * wander * wander * seconds.powi(3);
    math::exp(bank.mix_wander(|wander| math::ln(steady(wander))))
}

/// The longest interval that is worth its packets.
pub(super) fn worthwhile(
    limits: PollLimits,
    mean_square: impl Fn(PollInterval) -> f64,
) -> PollInterval {
    let mut interval = limits.clamp(limits.min);
    while interval < limits.max
        && mean_square(interval.longer()) < FAIR_PRICE * mean_square(interval)
    {
        interval = interval.longer();
    }
    interval
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: PollLimits = PollLimits {
        min: PollInterval::from_log2(4),
        max: PollInterval::from_log2(10),
    };

    fn choice(information: f64, wander: f64) -> i8 {
        worthwhile(LIMITS, |interval| {
            let t = interval.to_duration().as_seconds_f64();
            (2.0 * wander).sqrt() * (t / information).powf(0.75)
                + GROWTH * wander * wander * t.powi(3)
        })
        .as_log2()
    }

    #[test]
    fn noise_asks_for_patience_and_wander_for_haste() {
        // Samples good to 1 ms, 100 us, 10 us and 1 us.
        assert_eq!(choice(1e6, 1e-9), 10);
        assert_eq!(choice(1e8, 1e-8), 8);
        assert_eq!(choice(1e10, 1e-8), 5);
        assert_eq!(choice(1e12, 1e-8), 4);
    }
}
