//! The gate: what to do with a sample that nobody expected.
//!
//! A single wild sample says nothing; three in a row say that the world changed, be they of one
//! source or of most of several. What changed is told by how the samples are wrong:
//!
//! * the delay of this path moved lately, and the surprise is no larger than what the new path can
//!   hide: the **path** has a new asymmetry. It may exceed the move: a path that becomes 4 ms shorter there and
//!   2 ms longer back moves by 2 and hides 3;
//! * there are several sources and most of them are content: this **server** (or its path) moved;
//! * else it was our own **clock**: it was stepped, or its frequency jumped.
//!
//! Only what is to blame becomes uncertain. The weights of the hypotheses are left alone: a jump is
//! not wander (resetting them was worse).
//!
//! A slow change hides below the gate: an oscillator that jumps by 1 ppm is 64 us off at the next
//! poll, and the gate may be 300 us wide. So four samples in a row are also judged together. If
//! their weighted mean cannot be chance, something *leans* away, and the same question is asked:
//! path, server or clock? No sample is dropped for it; what is to blame is given room by what has
//! built up.
//!
//! If several sources keep blaming the clock without a calm stretch between, they contradict the
//! model itself and the filter starts again.

use ntp_time::FreeTime;

use super::bank::Innovation;

/// A sample this many sigmas off is a surprise. At 5 a false one comes once in 10^6 samples; 8 was
/// no better in quiet worlds.
const SIGMAS: f64 = 5.0;
/// Surprises in a row before the world is held to have changed. Two would react one poll sooner and
/// fall for a pair of late packets.
pub(super) const STRIKES: u32 = 3;
/// The first samples may not be judged: nothing is known to judge by.
pub(super) const SAMPLES_BEFORE_JUDGING: u64 = 4;
/// A path change explains surprises for this many samples.
pub(super) const ROUTE_MEMORY: u32 = 16;
/// Samples that make a trend ...
const TREND: usize = 4;
/// ... if together they are this many sigmas off. With four, frequency flips of 1 ppm cost 36 %
/// less RMS than without trends, quiet worlds notice nothing (one false alarm in 10^4 samples at
/// most); at five sigmas, or with six samples, half of the gain is lost.
const LEAN_SIGMAS: f64 = 4.0;
/// A trend of another source counts as support from here on.
const SUPPORT_SIGMAS: f64 = 3.0;
/// Clock blames that contradict the model.
const CONTRADICTIONS: u32 = 3;
/// Calm samples per source that clear them.
const CALM_PER_SOURCE: u32 = 4;

/// What a series of surprises was put down to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// The path's asymmetry changed together with its delay.
    Path,
    /// The server changed its mind about the time.
    Server,
    /// Our own clock was stepped or changed its frequency.
    Clock,
}

impl Innovation {
    /// Its size in standard deviations, squared.
    fn sigmas_squared(&self) -> f64 {
        self.mean * self.mean / self.variance
    }

    pub(super) fn is_milder_than(&self, other: &Self) -> bool {
        self.sigmas_squared() < other.sigmas_squared()
    }

    /// Whether it lies outside the gate.
    pub(super) fn is_surprise(&self) -> bool {
        self.sigmas_squared() > SIGMAS * SIGMAS
    }
}

/// The last few deviations of one source that were no surprise by themselves.
#[derive(Clone, Debug, Default)]
pub(super) struct Trend {
    deviations: [(FreeTime, Innovation); TREND],
    len: usize,
}

/// What a trend amounts to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lean {
    /// The newest deviation, seconds: the size of what has built up.
    pub(super) deviation: f64,
    /// How long it has been building up, seconds.
    pub(super) over: f64,
}

impl Trend {
    pub(super) fn push(&mut self, at: FreeTime, deviation: Innovation) {
        self.deviations.rotate_left(1);
        self.deviations[TREND - 1] = (at, deviation);
        self.len = (self.len + 1).min(TREND);
    }

    /// Whether all of them together point one way beyond `sigmas`: their mean, weighted by how good
    /// the samples were, against its own standard deviation.
    fn exceeds(&self, sigmas: f64) -> bool {
        let known = &self.deviations[TREND - self.len..];
        let pull: f64 = known.iter().map(|(_, d)| d.mean / d.variance).sum();
        let grip: f64 = known.iter().map(|(_, d)| d.variance.recip()).sum();
        self.len == TREND && pull * pull > sigmas * sigmas * grip
    }

    /// The trend, if it cannot be chance.
    pub(super) fn lean(&self) -> Option<Lean> {
        let ((begun, _), (now, newest)) = (self.deviations[0], self.deviations[TREND - 1]);
        // It began one sample before the first that shows it.
        let steps = TREND as f64;
        let over = (now - begun).as_seconds_f64() * steps / (steps - 1.0);
        self.exceeds(LEAN_SIGMAS).then_some(Lean {
            deviation: newest.mean,
            over: over.max(1.0),
        })
    }

    /// Whether the trend supports another source's.
    pub(super) fn agrees(&self) -> bool {
        self.exceeds(SUPPORT_SIGMAS)
    }
}

/// What is known when the third strike falls.
#[derive(Clone, Copy, Debug)]
pub(super) struct Evidence {
    /// Mean innovation, seconds.
    pub(super) surprise: f64,
    /// Whether the path changed its length within the last [`ROUTE_MEMORY`] samples.
    pub(super) rerouted: bool,
    /// Largest credible variance of the path's asymmetry.
    pub(super) asymmetry_cap: f64,
    /// Sources in the joint state.
    pub(super) sources: usize,
    /// Those of them with a strike open, this one included.
    pub(super) striking: usize,
}

impl Evidence {
    pub(super) fn blame(&self) -> Blame {
        let hidden_by_route =
            self.rerouted && self.surprise * self.surprise <= SIGMAS * SIGMAS * self.asymmetry_cap;
        if hidden_by_route {
            Blame::Path
        } else if self.sources > 1 && 2 * self.striking <= self.sources {
            Blame::Server
        } else {
            Blame::Clock
        }
    }
}

/// Counts how often the clock was blamed without peace between.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Contradiction {
    blames: u32,
    calm: u32,
}

impl Contradiction {
    /// The clock was blamed; true if that was once too often.
    pub(super) fn blamed(&mut self, sources: usize) -> bool {
        self.blames += 1;
        self.calm = 0;
        sources > 1 && self.blames >= CONTRADICTIONS
    }

    pub(super) fn calm(&mut self, sources: usize) {
        self.calm = self.calm.saturating_add(1);
        if u64::from(self.calm) >= u64::from(CALM_PER_SOURCE) * sources as u64 {
            self.blames = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALONE: Evidence = Evidence {
        surprise: 2e-3,
        rerouted: false,
        asymmetry_cap: 0.0,
        sources: 1,
        striking: 1,
    };

    #[test]
    fn a_lone_source_without_a_new_route_accuses_the_clock() {
        assert_eq!(ALONE.blame(), Blame::Clock);
    }

    #[test]
    fn a_new_route_explains_what_it_can_hide() {
        let cap = 5e-3 * 5e-3 / 12.0;
        let rerouted = Evidence {
            rerouted: true,
            asymmetry_cap: cap,
            ..ALONE
        };
        assert_eq!(rerouted.blame(), Blame::Path);
        let too_large = Evidence {
            surprise: 8e-3,
            ..rerouted
        };
        assert_eq!(too_large.blame(), Blame::Clock);
    }

    #[test]
    fn the_minority_is_to_blame() {
        let one_of_four = Evidence {
            sources: 4,
            ..ALONE
        };
        assert_eq!(one_of_four.blame(), Blame::Server);
        let three_of_four = Evidence {
            striking: 3,
            ..one_of_four
        };
        assert_eq!(three_of_four.blame(), Blame::Clock);
    }

    fn trend(means: [f64; 5]) -> Trend {
        let mut trend = Trend::default();
        for (index, mean) in (0i64..).zip(means) {
            let at = FreeTime::from_nanos(64_000_000_000 * index);
            let variance = 1.0;
            trend.push(at, Innovation { mean, variance });
        }
        trend
    }

    #[test]
    fn small_deviations_to_one_side_are_a_trend() {
        let lean = trend([0.0, 1.0, 2.0, 3.0, 4.0]).lean().unwrap();
        assert_eq!((lean.deviation, lean.over), (4.0, 256.0));
        assert!(trend([0.0, 1.0, -2.0, 3.0, 4.0]).lean().is_none());
        assert!(trend([9.0, 1.0, 2.0, 2.0, 2.0]).agrees());
    }

    #[test]
    fn three_samples_are_no_trend() {
        let mut short = Trend::default();
        for index in 0..3 {
            let deviation = Innovation {
                mean: 4.9,
                variance: 1.0,
            };
            short.push(FreeTime::from_nanos(index), deviation);
            assert!(short.lean().is_none());
        }
    }

    #[test]
    fn peace_clears_contradictions() {
        let mut contradiction = Contradiction::default();
        assert!(!contradiction.blamed(2));
        assert!(!contradiction.blamed(2));
        for _ in 0..8 {
            contradiction.calm(2);
        }
        assert!(!contradiction.blamed(2));
        assert!(!contradiction.blamed(2));
        assert!(contradiction.blamed(2));
    }
}
