//! Choice of the poll interval.
//!
//! # Problem
//! A shorter poll interval costs packets and improves accuracy. In a noisy network the gain is
//! small, because the error falls with a power of the rate below one; with a wandering
//! oscillator and a quiet network it is large.
//!
//! # Law
//! In the steady state of a filter with wander W that gets information `i` (1/s^2) per sample every
//! T seconds, the mean square error of the phase is
//!
//! ```text
//! e(T) = sqrt(2 W) (T/i)^(3/4) + 0.18 W^2 T^3
//! ```
//!
//! (steady state of the Riccati equation, and what wander adds between samples). The bank averages
//! its logarithm over the hypotheses, so that the small chance of a frequency jump does not
//! dominate. It is the law of normal noise. Where queues bound the phase, errors are smaller than
//! this, and in the grid they fall with the power 0.5 to 0.75 of the rate instead of 3/8. A law with
//! that power, k (W/i)^(2/3) T, was tried: with the same number of packets the errors are the same.
//!
//! # Choice
//! While noise dominates, doubling the interval multiplies e by 2^(3/4) = 1.68, less than the
//! factor 2 of mere averaging, so we double. Once wander shows between samples the factor rises
//! towards 8. We stop doubling when it exceeds 1.74, that is when wander between samples makes up 1
//! % of the error. So a packet is spent only where it improves more than averaging would. Over the
//! grid of simulated worlds this is more accurate at longer intervals than the fixed tolerances
//! that were tried (twice the error of the shortest interval: too long in a LAN, too short in a
//! WAN).
//!
//! If an accuracy target is configured, the interval is instead the longest one for which four
//! standard deviations, sqrt(e), stay below the target.
//!
//! The interval lengthens by one step per four samples and shortens at once. While the frequency is
//! uncertain, as after the start, the error grows fast between samples: the interval is then the
//! longest one after which the variance is at most [`unsettled_ratio`] times that of the steady state.

use ntp_time::{PollInterval, PollLimits};

use super::bank::Bank;
use super::confidence::CLAIM;
use super::math;

/// Largest factor by which doubling the interval may multiply the mean square error: 2^(3/4) is
/// noise alone, and wander between samples that makes up a hundredth of the error adds 0.06. With
/// 1.8 (two hundredths) cells of the grid came within 5 % of the best peer, at a tenth of its
/// packets; with 1.72 packets double for a twentieth less error.
const MAX_ERROR_RATIO: f64 = 1.74;
/// Factor of W^2 T^3 in the mean square error: growth between samples, averaged over them.
const GROWTH: f64 = 0.18;
/// Number of samples before the interval lengthens by a step. A smaller number saves packets, a
/// larger one reacts faster to changes that follow. Validated by simulation only.
pub(super) const SAMPLES_PER_STEP: u32 = 4;
/// The filters are still learning while the variance at the next sample would exceed this multiple
/// of the steady state's: twice the error. With the present variance instead, a wrong saved
/// frequency was learnt in 380 s instead of 4 s, and the grid had 1.12 times the error. A smaller value holds short intervals in worlds whose wander varies, a
/// larger one lengthens the interval before the frequency is known.
const UNSETTLED_RATIO: f64 = 4.0;
/// The same during the first half hour, in which packets are few and improve the clock most. With
/// queues of 100 us the error stays below 100 us after 197 s instead of 353 s and is 8 % smaller from
/// 2000 to 4000 s, for 36 packets instead of 32; with 1.7 after 169 s, for 39.
const STARTING_RATIO: f64 = 2.0;
/// Seconds after the start.
const STARTING_TIME: f64 = 1800.0;

/// Multiple of the steady state's variance up to which the interval may grow, this many seconds after
/// the start.
pub(super) fn unsettled_ratio(age: f64) -> f64 {
    if age < STARTING_TIME {
        STARTING_RATIO
    } else {
        UNSETTLED_RATIO
    }
}

/// Predicted mean square error in s^2 if every source is polled at `interval`; `information` is the
/// sum over the sources, 1/s^2.
pub(super) fn mean_square(bank: &Bank, information: f64, interval: PollInterval) -> f64 {
    let seconds = interval.to_duration().as_seconds_f64();
    let sparsity = math::powf(seconds / information.max(f64::MIN_POSITIVE), 0.75);
    let steady =
        |wander: f64| (2.0 * wander).sqrt() * sparsity + GROWTH * wander * wander * seconds.powi(3);
    math::exp(bank.mix_wander(|wander| math::ln(steady(wander))))
}

/// Returns the longest interval that is worth it, see the module.
pub(super) fn longest_worthwhile(
    limits: PollLimits,
    mean_square: impl Fn(PollInterval) -> f64,
) -> PollInterval {
    let mut interval = limits.clamp(limits.min);
    let mut error = mean_square(interval);
    while interval < limits.max {
        let longer = mean_square(interval.longer());
        if longer >= MAX_ERROR_RATIO * error {
            break;
        }
        (interval, error) = (interval.longer(), longer);
    }
    interval
}

/// Returns the longest interval with which the error stays below `target` seconds, or the shortest
/// interval if none does.
pub(super) fn longest_within(
    limits: PollLimits,
    target: f64,
    mean_square: impl Fn(PollInterval) -> f64,
) -> PollInterval {
    let mut interval = limits.clamp(limits.min);
    let enough = (target / CLAIM).powi(2);
    while interval < limits.max && mean_square(interval.longer()) <= enough {
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
        longest_worthwhile(LIMITS, |interval| {
            let t = interval.to_duration().as_seconds_f64();
            (2.0 * wander).sqrt() * (t / information).powf(0.75)
                + GROWTH * wander * wander * t.powi(3)
        })
        .as_log2()
    }

    #[test]
    fn noise_lengthens_the_interval_and_wander_shortens_it() {
        // Samples good to 1 ms, 100 us, 10 us and 1 us.
        assert_eq!(choice(1e6, 1e-9), 10);
        assert_eq!(choice(1e8, 1e-8), 8);
        assert_eq!(choice(1e10, 1e-8), 5);
        assert_eq!(choice(1e12, 1e-8), 4);
    }

    #[test]
    fn a_target_permits_long_intervals_or_demands_short_ones() {
        let error = |interval: PollInterval| {
            let seconds = interval.to_duration().as_seconds_f64();
            (1e-6 * seconds).powi(2)
        };
        let chosen = |target| longest_within(LIMITS, target, error).as_log2();
        assert_eq!([chosen(1.0), chosen(1e-3), chosen(1e-9)], [10, 7, 4]);
    }
}
