//! The daemon's state as metrics.
//!
//! `ntp-ctl status --format prometheus` and the metrics exporter show the same families, so they
//! stand here, in one table: [`UPSTREAM`] has those of ntpd-rs 1.9, with its names, types,
//! labels and order, because dashboards and alerts are written for them; [`OURS`] has what this
//! daemon tells beyond. [`prometheus_text`] turns a state into the text that a Prometheus server
//! scrapes.

mod families;
mod text;

use ntp_time::NtpDuration;

pub use families::{OURS, UPSTREAM};
pub use text::prometheus_text;

use crate::observation::{Server, Source, State, seconds};

/// Samples of one meaning.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// The full name, with the suffixes that its unit and kind ask for.
    pub name: &'static str,
    /// What it tells, for people: one line without a full stop.
    pub help: &'static str,
    /// What the numbers are.
    pub kind: Kind,
    /// What there is a sample of, and where its value is.
    pub samples: Samples,
}

impl Family {
    /// The unit, where there is one that Prometheus knows.
    pub fn unit(&self) -> Option<&'static str> {
        self.name.ends_with("_seconds").then_some("seconds")
    }
}

/// What the numbers of a family are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A level, which goes up and down.
    Gauge,
    /// A count since the daemon began, which only grows.
    Counter,
}

/// What a family has a sample of, and how to get its value; `None` where it does not apply or is not told.
#[derive(Clone, Copy, Debug)]
pub enum Samples {
    /// The program; labels `version`, `build_commit`, `build_commit_date`.
    Program(fn(&State) -> Number),
    /// The clock; no labels.
    System(fn(&State) -> Option<Number>),
    /// Each source; labels `name`, `address`, `id`.
    Source(fn(&Source) -> Option<Number>),
    /// Each server; label `listen_address`.
    Server(fn(&Server) -> Number),
}

/// The value of a sample: counts keep all of their 64 bits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// A count.
    Whole(u64),
    /// A measured quantity.
    Real(f64),
}

impl From<u64> for Number {
    fn from(count: u64) -> Self {
        Self::Whole(count)
    }
}

impl From<u32> for Number {
    fn from(count: u32) -> Self {
        Self::Whole(count.into())
    }
}

impl From<u8> for Number {
    fn from(count: u8) -> Self {
        Self::Whole(count.into())
    }
}

impl From<bool> for Number {
    fn from(truth: bool) -> Self {
        Self::Whole(truth.into())
    }
}

impl From<f64> for Number {
    fn from(quantity: f64) -> Self {
        Self::Real(quantity)
    }
}

/// Seconds, with the same digits as on the observation socket.
impl From<NtpDuration> for Number {
    fn from(duration: NtpDuration) -> Self {
        Self::Real(seconds(duration))
    }
}
