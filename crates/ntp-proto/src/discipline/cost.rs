//! Cost of a measurement: no allocation after the start, and its duration.

use ntp_time::{FreeTime, NtpDuration};

use super::testworld::Rng;
use super::{Config, Discipline, Measurement, NoiseLaw, SourceKey};

const SOURCES: usize = 8;

struct Bench {
    discipline: Discipline,
    keys: Vec<SourceKey>,
    rng: Rng,
    measured: usize,
}

impl Bench {
    fn new() -> Self {
        let mut discipline = Discipline::new(Config::default(), None);
        Self {
            keys: (0..SOURCES)
                .map(|_| discipline.add_source(NoiseLaw::Queue))
                .collect(),
            discipline,
            rng: Rng::new(1),
            measured: 0,
        }
    }

    /// Adds measurements of sources 20 ms away in turn, each every 64 s.
    fn measure(&mut self, count: usize) {
        for _ in 0..count {
            let at = FreeTime::from_nanos(self.measured as i64 * 8_000_000_000);
            let (there, back) = (self.rng.exponential(), self.rng.exponential());
            let measurement = Measurement {
                at,
                phase: NtpDuration::from_seconds_f64(1e-4 * (there - back) / 2.0),
                delay: Some(NtpDuration::from_seconds_f64(0.02 + 1e-4 * (there + back))),
                stamp_noise: 1e-6,
                root_delay: NtpDuration::ZERO,
                root_dispersion: NtpDuration::ZERO,
            };
            let key = self.keys[self.measured % SOURCES];
            self.discipline.add_measurement(key, &measurement);
            self.discipline.error_figures(at, NtpDuration::ZERO);
            self.measured += 1;
        }
    }
}

#[test]
fn measurements_allocate_nothing_after_the_start() {
    let mut bench = Bench::new();
    bench.measure(2 * SOURCES);
    let after = allocation_counter::measure(|| bench.measure(1000));
    assert_eq!(after.count_total, 0);
}

#[test]
fn eight_sources_fit_into_a_quarter_of_a_megabyte() {
    let mut bench = None;
    let taken = allocation_counter::measure(|| {
        let mut new = Bench::new();
        new.measure(2 * SOURCES);
        bench = Some(new);
    });
    let all = taken.bytes_current as usize + size_of::<Discipline>();
    assert!(all < 256 * 1024, "{all} bytes");
}

#[test]
#[ignore = "prints what a measurement costs; run it with --release"]
#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn print_the_cost_of_a_measurement() {
    let mut bench = Bench::new();
    bench.measure(1000);
    let count = 20_000;
    let begun = std::time::Instant::now();
    bench.measure(count);
    let each = begun.elapsed().as_secs_f64() / count as f64;
    println!("{SOURCES} sources: {:.1} us per measurement", each * 1e6);
}
