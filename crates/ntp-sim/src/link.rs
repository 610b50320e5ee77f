//! A path there and back.
//!
//! A packet takes `length + queue` seconds in each direction, the queue by one of several laws, independently of the other
//! direction. On top come what networks do besides: packets are lost or doubled, a few are held back for long and so overtaken by
//! others, and congestion comes in spells. A route change is a new [`Direction`] from some moment on.

use crate::{Chance, TrueTime};

/// Both directions of a path.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Link {
    /// From us to the server.
    pub there: Direction,
    /// From the server to us.
    pub back: Direction,
}

/// One direction of a path.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Direction {
    /// Delay of an idle path, seconds.
    pub length: f64,
    /// What waiting adds.
    pub queue: Queue,
    /// Probability that a packet is lost.
    pub loss: f64,
    /// Probability that it arrives twice.
    pub duplication: f64,
    /// Probability that it is held back, and the mean of that in seconds (exponential).
    pub late: (f64, f64),
    /// Spells of congestion.
    pub congestion: Option<Congestion>,
}

/// The law of waiting times, seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Queue {
    /// None.
    Idle,
    /// Exponential with this mean.
    Exponential(f64),
    /// Normal with this standard deviation, cut off at three of them below its mean.
    Normal(f64),
    /// Uniform from zero to this.
    Uniform(f64),
    /// This times the product of three exponentials: a mean as usual, and a long tail.
    HeavyTail(f64),
    /// Log-normal: this median, and this standard deviation of the logarithm.
    LogNormal(f64, f64),
    /// Lomax's law, a Pareto tail from zero: this scale and this exponent. With an exponent below 2 there is no variance.
    Pareto(f64, f64),
}

impl Queue {
    fn wait(self, chance: &mut Chance) -> f64 {
        match self {
            Self::Idle => 0.0,
            Self::Exponential(mean) => mean * chance.exponential(),
            Self::Normal(sigma) => (sigma * (3.0 + chance.normal())).max(0.0),
            Self::Uniform(width) => width * chance.uniform(),
            Self::HeavyTail(scale) => {
                scale * chance.exponential() * chance.exponential() * chance.exponential()
            }
            Self::LogNormal(median, sigma) => median * (sigma * chance.normal()).exp(),
            Self::Pareto(scale, exponent) => scale * (chance.exponential() / exponent).exp_m1(),
        }
    }
}

/// Spells in which the path is congested.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Congestion {
    /// Mean time between two spells, seconds.
    pub every: f64,
    /// Mean length of a spell, seconds.
    pub lasting: f64,
    /// Mean of the additional waiting, seconds.
    pub queue: f64,
}

impl Direction {
    /// A path of this length and law, without faults.
    pub const fn new(length: f64, queue: Queue) -> Self {
        Self {
            length,
            queue,
            loss: 0.0,
            duplication: 0.0,
            late: (0.0, 0.0),
            congestion: None,
        }
    }
}

impl Link {
    /// The same in both directions, each independently.
    pub const fn symmetric(direction: Direction) -> Self {
        Self {
            there: direction,
            back: direction,
        }
    }

    /// `length` seconds each way, exponential queues of mean `queue`.
    pub const fn exponential(length: f64, queue: f64) -> Self {
        Self::symmetric(Direction::new(length, Queue::Exponential(queue)))
    }

    /// The same path with `change` made to both directions.
    #[must_use]
    pub fn with(mut self, change: impl Fn(&mut Direction)) -> Self {
        change(&mut self.there);
        change(&mut self.back);
        self
    }

    /// The same path, longer in both directions; negative is shorter.
    #[must_use]
    pub fn longer(self, by: f64) -> Self {
        self.with(|direction| direction.length = (direction.length + by).max(0.0))
    }

    /// The same path with `by` seconds moved from the way back to the way there: what no client can see.
    #[must_use]
    pub fn asymmetric(mut self, by: f64) -> Self {
        self.there.length += by;
        self.back.length = (self.back.length - by).max(0.0);
        self
    }
}

/// One direction at work.
#[derive(Clone, Debug)]
pub(crate) struct Pipe {
    pub(crate) law: Direction,
    chance: Chance,
    congested: bool,
    changes: TrueTime,
}

impl Pipe {
    pub(crate) fn new(law: Direction, chance: Chance) -> Self {
        Self {
            law,
            chance,
            congested: true,
            changes: TrueTime::ZERO,
        }
    }

    /// A packet enters at `now`: when it comes out, none, one or two times.
    pub(crate) fn carry(&mut self, now: TrueTime) -> impl Iterator<Item = TrueTime> + use<> {
        let lost = self.chance.happens(self.law.loss);
        let doubled = self.chance.happens(self.law.duplication);
        let first = self.delay(now);
        let second = if doubled { Some(self.delay(now)) } else { None };
        let arrivals = if lost {
            (None, second)
        } else {
            (Some(first), second)
        };
        [arrivals.0, arrivals.1]
            .into_iter()
            .flatten()
            .map(move |delay| now + delay)
    }

    fn delay(&mut self, now: TrueTime) -> f64 {
        let mut delay = self.law.length + self.law.queue.wait(&mut self.chance);
        let (share, mean) = self.law.late;
        if self.chance.happens(share) {
            delay += mean * self.chance.exponential();
        }
        if let Some(congestion) = self.law.congestion {
            while self.changes <= now {
                self.congested = !self.congested;
                let mean = if self.congested {
                    congestion.lasting
                } else {
                    congestion.every
                };
                // At least a millisecond, so that this ends whatever the means are.
                self.changes = self.changes + (mean * self.chance.exponential()).max(1e-3);
            }
            if self.congested {
                delay += congestion.queue * self.chance.exponential();
            }
        }
        delay
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrivals(law: Direction) -> Vec<f64> {
        let mut pipe = Pipe::new(law, Chance::new(1, 0));
        (0..10_000)
            .flat_map(|second| {
                let now = TrueTime::from_seconds(f64::from(second));
                pipe.carry(now).map(move |at| at - now).collect::<Vec<_>>()
            })
            .collect()
    }

    #[test]
    fn nothing_is_faster_than_the_path() {
        for queue in [
            Queue::Idle,
            Queue::Exponential(1e-3),
            Queue::Normal(1e-3),
            Queue::Uniform(1e-3),
            Queue::HeavyTail(1e-3),
            Queue::LogNormal(1e-3, 1.0),
            Queue::Pareto(1e-3, 1.5),
        ] {
            let delays = arrivals(Direction::new(0.01, queue));
            assert_eq!(delays.len(), 10_000);
            assert!(
                delays.iter().all(|delay| *delay >= 0.01 - 1e-9),
                "{queue:?}"
            );
        }
    }

    #[test]
    fn loses_doubles_and_congests_as_often_as_it_should() {
        let law = Direction {
            loss: 0.3,
            duplication: 0.1,
            ..Direction::new(0.01, Queue::Idle)
        };
        let count = arrivals(law).len();
        assert!((7_800..8_200).contains(&count), "{count}");
        let congestion = Some(Congestion {
            every: 300.0,
            lasting: 100.0,
            queue: 0.05,
        });
        let delays = arrivals(Direction {
            congestion,
            ..Direction::new(0.01, Queue::Idle)
        });
        let congested = delays.iter().filter(|delay| **delay > 0.0101).count();
        assert!((1_500..3_500).contains(&congested), "{congested}");
    }
}
