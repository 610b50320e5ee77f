//! Linux's representation of a frequency, and the conversion of a correction to it.
//!
//! # The kernel's arithmetic
//! The length of a second is a sum (`ntp_update_frequency` in the kernel's `kernel/time/ntp.c`):
//!
//! ```text
//! second = tick * USER_HZ  [us]  +  freq * 2^-16  [ppm, i.e. us per s]
//! ```
//!
//! so the two parts **add**; they are not multiplied. `tick` (`ADJ_TICK`) is a whole number of
//! microseconds near `10^6 / USER_HZ`: at the usual USER_HZ = 100 it is nominally 10000, its range
//! is 9000 to 11000, and one unit is 100 ppm. `freq` (`ADJ_FREQUENCY`) counts 2^-16 ppm and is
//! clamped to +-500 ppm. Together: +-100500 ppm, in steps of 1.5e-11. The result of the kernel's
//! own division is exact to 3e-16, far below that step.
//!
//! # The rule
//! A correction within +-500 ppm leaves the tick nominal: the fine part can represent it alone, and
//! tools that look at `freq` only show the correct value. Beyond, the nearest tick is chosen and
//! the fine part holds the remainder, at most half a tick. The rule has no state, so equal requests
//! give equal settings, and since the sum is rounded once to whole units of 2^-16 ppm, a larger
//! request never gives a smaller rate. Since Linux 4.20 both parts change the clock's rate at once,
//! before that at the next timer tick.

use ntp_time::Frequency;

use crate::syscall;

/// Units of `freq` in one ppm.
const UNITS_PER_PPM: i64 = 1 << 16;
/// Range of `ADJ_FREQUENCY`: 500 ppm.
const FINE_LIMIT: i64 = 500 * UNITS_PER_PPM;

/// A frequency correction in the kernel's two fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Microseconds per user-space clock tick (`timex.tick`).
    pub tick: i64,
    /// Fine correction in units of 2^-16 ppm (`timex.freq`).
    pub fine: i64,
}

/// A system's ticks: their number per second and nominal length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TickScale {
    hz: i64,
}

impl TickScale {
    /// `hz` ticks a second; at least 1.
    pub(crate) const fn new(hz: i64) -> Self {
        Self {
            hz: if hz < 1 { 1 } else { hz },
        }
    }

    /// Reads the value of this system.
    pub(crate) fn system() -> Self {
        Self::new(syscall::ticks_per_second())
    }

    /// Nominal tick in microseconds, rounded as the kernel rounds it.
    const fn nominal_tick(self) -> i64 {
        (1_000_000 + self.hz / 2) / self.hz
    }

    /// Range of the tick that the kernel accepts.
    const fn tick_limits(self) -> (i64, i64) {
        (
            900_000 / self.hz + (900_000 % self.hz != 0) as i64,
            1_100_000 / self.hz,
        )
    }

    /// One microsecond of tick is `hz` microseconds a second, in units of `freq`.
    const fn units_per_tick(self) -> i64 {
        self.hz * UNITS_PER_PPM
    }

    /// Returns the setting nearest to `frequency`, clamped to the kernel's range.
    pub(crate) fn to_rate(self, frequency: Frequency) -> Rate {
        let nominal = self.nominal_tick();
        let (slowest, fastest) = self.tick_limits();
        let total = (frequency.as_ppm() * UNITS_PER_PPM as f64).round() as i64;
        let total = total.clamp(
            (slowest - nominal) * self.units_per_tick() - FINE_LIMIT,
            (fastest - nominal) * self.units_per_tick() + FINE_LIMIT,
        );
        if total.abs() <= FINE_LIMIT {
            return Rate {
                tick: nominal,
                fine: total,
            };
        }
        let half = self.units_per_tick() / 2;
        let ticks = (total + half).div_euclid(self.units_per_tick());
        let tick = (nominal + ticks).clamp(slowest, fastest);
        // Half a tick is within the range of the fine part up to USER_HZ = 1000; the clamp is for
        // 1024.
        let fine = total - (tick - nominal) * self.units_per_tick();
        Rate {
            tick,
            fine: fine.clamp(-FINE_LIMIT, FINE_LIMIT),
        }
    }

    /// Returns the correction of a setting.
    pub(crate) fn to_frequency(self, rate: Rate) -> Frequency {
        let coarse = (rate.tick - self.nominal_tick()).saturating_mul(self.units_per_tick());
        let total = coarse.saturating_add(rate.fine);
        Frequency::from_ppm(total as f64 / UNITS_PER_PPM as f64)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const USUAL: TickScale = TickScale::new(100);

    fn ppm(value: f64) -> Frequency {
        Frequency::from_ppm(value)
    }

    proptest! {
        #[test]
        fn every_rate_is_accepted_by_the_kernel(value in -1e7f64..1e7, hz in prop::sample::select(vec![100i64, 1000, 1024])) {
            let scale = TickScale::new(hz);
            let rate = scale.to_rate(ppm(value));
            prop_assert!(rate.tick >= (900_000 + hz - 1) / hz && rate.tick <= 1_100_000 / hz);
            prop_assert!(rate.fine.abs() <= FINE_LIMIT, "{rate:?}");
        }

        #[test]
        fn in_range_the_error_is_half_a_unit(value in -100_400f64..100_400.0) {
            let kept = USUAL.to_frequency(USUAL.to_rate(ppm(value))).as_ppm();
            prop_assert!((kept - value).abs() <= 0.5001 / 65536.0, "{kept} for {value}");
        }

        #[test]
        fn quantised_rates_are_stable(value in -200_000f64..200_000.0) {
            let rate = USUAL.to_rate(ppm(value));
            prop_assert_eq!(USUAL.to_rate(USUAL.to_frequency(rate)), rate);
        }

        #[test]
        fn rates_are_monotonic(a in -120_000f64..120_000.0, b in -120_000f64..120_000.0) {
            let (low, high) = (a.min(b), a.max(b));
            let kept = |value| USUAL.to_frequency(USUAL.to_rate(ppm(value))).as_ppm();
            prop_assert!(kept(low) <= kept(high));
        }

        #[test]
        fn the_tick_stays_nominal_while_it_can(value in -500f64..500.0) {
            prop_assert_eq!(USUAL.to_rate(ppm(value)).tick, 10_000);
        }
    }

    #[test]
    fn corrections_split_as_documented() {
        assert_eq!(
            USUAL.to_rate(ppm(-12.5)),
            Rate {
                tick: 10_000,
                fine: -819_200
            }
        );
        assert_eq!(
            USUAL.to_rate(ppm(530.0)),
            Rate {
                tick: 10_005,
                fine: 30 * 65536
            }
        );
        assert_eq!(
            USUAL.to_rate(ppm(-100_000.0)),
            Rate {
                tick: 9000,
                fine: 0
            }
        );
        assert_eq!(
            USUAL.to_rate(ppm(1e9)),
            Rate {
                tick: 11_000,
                fine: FINE_LIMIT
            }
        );
        assert_eq!(
            USUAL.to_rate(ppm(f64::NAN)),
            Rate {
                tick: 10_000,
                fine: 0
            }
        );
    }
}
