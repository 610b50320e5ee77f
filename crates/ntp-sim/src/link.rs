//! A network path in both directions.
//!
//! A packet takes `length + queue` seconds in each direction. The queueing delay follows one of
//! several distributions, independently of the other direction. Packets can also be lost,
//! duplicated or delayed for long and so reordered, and there are periods of congestion. A route
//! change replaces the [`Direction`].

use crate::{Rng, TrueTime};

/// Both directions of a path.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Link {
    /// From the client to the server.
    pub outbound: Direction,
    /// From the server to the client.
    pub inbound: Direction,
}

/// One direction of a path.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Direction {
    /// Delay of an idle path, seconds.
    pub length: f64,
    /// Distribution of the queueing delay.
    pub queue: Queue,
    /// Probability of loss.
    pub loss: f64,
    /// Probability of duplication.
    pub duplication: f64,
    /// Probability of an additional delay, and its mean in seconds (exponential).
    pub late: (f64, f64),
    /// Periods of congestion.
    pub congestion: Option<Congestion>,
}

/// Distribution of queueing delays, in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Queue {
    /// No delay.
    Idle,
    /// Exponential with this mean.
    Exponential(f64),
    /// Normal with this standard deviation, truncated at three of them below its mean.
    Normal(f64),
    /// Uniform from zero to this.
    Uniform(f64),
    /// This times the product of three exponentials: an ordinary mean and a long tail.
    HeavyTail(f64),
    /// Log-normal: this median, and this standard deviation of the logarithm.
    LogNormal(f64, f64),
    /// Lomax distribution, a Pareto tail from zero: this scale and this exponent. With an exponent
    /// below 2 the variance is infinite.
    Pareto(f64, f64),
}

impl Queue {
    fn sample(self, rng: &mut Rng) -> f64 {
        match self {
            Self::Idle => 0.0,
            Self::Exponential(mean) => mean * rng.exponential(),
            Self::Normal(sigma) => (sigma * (3.0 + rng.normal())).max(0.0),
            Self::Uniform(width) => width * rng.uniform(),
            Self::HeavyTail(scale) => {
                scale * rng.exponential() * rng.exponential() * rng.exponential()
            }
            Self::LogNormal(median, sigma) => median * (sigma * rng.normal()).exp(),
            Self::Pareto(scale, exponent) => scale * (rng.exponential() / exponent).exp_m1(),
        }
    }
}

/// Periods in which the path is congested.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Congestion {
    /// Mean time between two periods, seconds.
    pub every: f64,
    /// Mean length of a period, seconds.
    pub lasting: f64,
    /// Mean of the additional delay, seconds.
    pub queue: f64,
}

impl Direction {
    /// A path of this length and distribution, without faults.
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
    /// The same parameters in both directions, each independently.
    pub const fn symmetric(direction: Direction) -> Self {
        Self {
            outbound: direction,
            inbound: direction,
        }
    }

    /// `length` seconds in each direction, exponential queues of mean `queue`.
    pub const fn exponential(length: f64, queue: f64) -> Self {
        Self::symmetric(Direction::new(length, Queue::Exponential(queue)))
    }

    /// Changes both directions.
    #[must_use]
    pub fn with(mut self, change: impl Fn(&mut Direction)) -> Self {
        change(&mut self.outbound);
        change(&mut self.inbound);
        self
    }

    /// Lengthens both directions by this many seconds; negative shortens.
    #[must_use]
    pub fn longer(self, by: f64) -> Self {
        self.with(|direction| direction.length = (direction.length + by).max(0.0))
    }

    /// Moves `by` seconds from the inbound to the outbound direction, which no client can
    /// observe.
    #[must_use]
    pub fn asymmetric(mut self, by: f64) -> Self {
        self.outbound.length += by;
        self.inbound.length = (self.inbound.length - by).max(0.0);
        self
    }
}

/// Running state of one direction.
#[derive(Clone, Debug)]
pub(crate) struct Channel {
    pub(crate) model: Direction,
    rng: Rng,
    congested: bool,
    next_change: TrueTime,
}

impl Channel {
    pub(crate) fn new(model: Direction, rng: Rng) -> Self {
        Self {
            model,
            rng,
            congested: true,
            next_change: TrueTime::ZERO,
        }
    }

    /// Returns the times at which a packet that enters at `now` arrives: none, one or two.
    pub(crate) fn transmit(&mut self, now: TrueTime) -> impl Iterator<Item = TrueTime> + use<> {
        let lost = self.rng.bernoulli(self.model.loss);
        let doubled = self.rng.bernoulli(self.model.duplication);
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
        let mut delay = self.model.length + self.model.queue.sample(&mut self.rng);
        let (share, mean) = self.model.late;
        if self.rng.bernoulli(share) {
            delay += mean * self.rng.exponential();
        }
        if let Some(congestion) = self.model.congestion {
            while self.next_change <= now {
                self.congested = !self.congested;
                let mean = if self.congested {
                    congestion.lasting
                } else {
                    congestion.every
                };
                // At least a millisecond, so that this ends whatever the means are.
                self.next_change = self.next_change + (mean * self.rng.exponential()).max(1e-3);
            }
            if self.congested {
                delay += congestion.queue * self.rng.exponential();
            }
        }
        delay
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrivals(model: Direction) -> Vec<f64> {
        let mut channel = Channel::new(model, Rng::new(1, 0));
        (0..10_000)
            .flat_map(|second| {
                let now = TrueTime::from_seconds(f64::from(second));
                channel
                    .transmit(now)
                    .map(move |at| at - now)
                    .collect::<Vec<_>>()
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
        let model = Direction {
            loss: 0.3,
            duplication: 0.1,
            ..Direction::new(0.01, Queue::Idle)
        };
        let count = arrivals(model).len();
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
