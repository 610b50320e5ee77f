//! Corrections of a server's clock that the server reports (NTPv5, monotonic receive timestamp).
//!
//! # Problem
//! When a server steps or slews its clock, its samples move. Without further knowledge that is taken for
//! an outlier, for a jump of our clock, or for a frequency of our oscillator: a slew of 500 ppm looks
//! like an oscillator that runs wrong by 500 ppm. A server of NTPv5 also sends the time of a clock that
//! it does not correct in phase; the change of the difference of its two clocks is the correction.
//!
//! # Idea
//! A known correction is no information about our oscillator. So the frequency of every filter is kept,
//! and the correction is entered as an exact move of the server's bias. Nothing becomes uncertain by
//! it. By the convention of `centre`, the median of the biases is zero; what the correction changes in
//! the median moves the phase, at once. A single server is followed at once, as it must be; one of
//! three moves nothing, and remains the falseticker that it has become.
//!
//! # Limit
//! The frequency learnt is that against the server's uncorrected clock. A server that holds its time
//! by phase corrections alone, with a wrong frequency, passes that frequency on; the phase follows its
//! corrections nevertheless.
//!
//! # The other shape
//! A second series of samples, by the server's uncorrected clock and with a bias for each of its epochs, shows
//! the same. It needs a second slot in the joint state for each server, that is four times the
//! multiplications, and both series have the same packets, so their noise is not independent.

use ntp_time::NtpDuration;

use super::{Discipline, SourceKey};

/// Largest correction that is entered as such: the step threshold of RFC 5905 section 13. A server that
/// moves further was wrong or is wrong now, and the usual tests of its samples decide about it.
const LARGEST: NtpDuration = NtpDuration::from_millis(128);

impl Discipline {
    /// Accounts for a correction of the clock of source `key` by `by` since its last measurement;
    /// positive if the server's clock was set forward. Call it before the next measurement.
    pub fn follow_server_correction(&mut self, key: SourceKey, by: NtpDuration) {
        if by == NtpDuration::ZERO || by.abs() > LARGEST {
            return;
        }
        self.prediction.take();
        let Some(index) = self.index(key) else {
            return;
        };
        // The phase is ours minus the server's.
        let moved = -by;
        let seconds = moved.as_seconds_f64();
        self.sources[index].shift(moved);
        self.pairs.shift(key, seconds);
        let (Some(slot), Some(now)) = (self.sources[index].slot, self.filter_time) else {
            return;
        };
        if self.slots_used < 2 {
            self.bank
                .for_each(|filter| filter.move_source(slot, seconds, seconds));
            return;
        }
        let before = self.median_bias(now);
        self.bank
            .for_each(|filter| filter.move_source(slot, seconds, 0.0));
        let change = self.median_bias(now).zip(before);
        let centre = change.map_or(0.0, |(after, before)| after - before);
        self.bank
            .for_each(|filter| filter.move_source(slot, 0.0, centre));
    }
}

#[cfg(test)]
mod tests {
    use super::super::testworld::World;

    /// How a server's clock is corrected, every hour by 4 ms to and fro.
    #[derive(Clone, Copy, Debug)]
    enum Correction {
        Step,
        /// At this rate, s/s.
        Slew(f64),
    }

    const PERIOD: i64 = 3600;
    const HEIGHT: f64 = 4e-3;

    fn server_error(correction: Correction, second: i64) -> f64 {
        let into = (second % PERIOD) as f64;
        let moved = match correction {
            Correction::Step => HEIGHT,
            Correction::Slew(rate) => (into * rate).min(HEIGHT),
        };
        if second / PERIOD % 2 == 0 {
            moved
        } else {
            HEIGHT - moved
        }
    }

    /// RMS errors of the estimated frequency (s/s) and of the phase against the server's (s), over
    /// ten hours.
    fn errors(servers: usize, correction: Correction, reports: bool) -> (f64, f64) {
        let (mut frequency, mut phase, mut count) = (0.0, 0.0, 0.0);
        for seed in 1..=3 {
            let mut world = World::new(seed, 1e-9);
            world.check_every = 0;
            for _ in 0..servers {
                let link = world.link(1e-3, 1e-4, 6);
                world.links[link].reports = reports;
            }
            for second in 0..11 * PERIOD {
                let error = server_error(correction, second);
                for link in &mut world.links {
                    link.server_error = error;
                }
                world.run(1);
                if second >= PERIOD && second % 16 == 0 {
                    let Some(estimate) = world.discipline.estimate(world.now()) else {
                        panic!("there is an estimate");
                    };
                    let rate = estimate.frequency.as_ratio();
                    frequency += (rate - world.frequency).powi(2);
                    phase += (world.error() - error).powi(2);
                    count += 1.0;
                }
            }
        }
        ((frequency / count).sqrt(), (phase / count).sqrt())
    }

    #[test]
    fn frequency_is_learnt_through_steps_and_slews_of_the_server() {
        for servers in [1, 3] {
            for correction in [
                Correction::Step,
                Correction::Slew(5e-4),
                Correction::Slew(1e-5),
            ] {
                let (without, _) = errors(servers, correction, false);
                let (with, _) = errors(servers, correction, true);
                assert!(
                    with < without / 4.0,
                    "{servers} servers, {correction:?}: {with:e} instead of {without:e}"
                );
            }
        }
    }

    #[test]
    fn one_of_three_servers_cannot_move_the_clock_by_a_report() {
        let mut world = World::new(1, 1e-9);
        for _ in 0..3 {
            let link = world.link(1e-3, 1e-4, 6);
            world.links[link].reports = true;
        }
        world.run(20_000);
        world.forget_statistics();
        for step in 1..=20 {
            world.links[0].server_error = 5e-3 * f64::from(step);
            world.run(500);
        }
        assert!(world.statistics.worst < 3e-4, "{}", world.statistics.worst);
        assert_eq!(world.statistics.outside_bound, 0);
    }

    #[test]
    #[ignore = "prints RMS errors of frequency and clock for all cases"]
    fn print_what_reports_are_worth() {
        for servers in [1, 3] {
            for correction in [
                Correction::Step,
                Correction::Slew(5e-4),
                Correction::Slew(1e-5),
            ] {
                for reports in [false, true] {
                    let (frequency, phase) = errors(servers, correction, reports);
                    println!(
                        "{servers} servers, {correction:?}, reports {reports}: \
                         {:.4} ppm, {:.1} us",
                        frequency * 1e6,
                        phase * 1e6
                    );
                }
            }
        }
    }
}
