//! The daemon's state as metrics.
//!
//! `ntp-ctl status --format prometheus` and the metrics exporter show the same families, so they
//! stand here, in one table: [`UPSTREAM`] has those of ntpd-rs 1.9, with its names, types,
//! labels and order, because dashboards and alerts are written for them; [`OURS`] has what this
//! daemon tells beyond. [`prometheus_text`] turns a state into the text that a Prometheus server
//! scrapes; [`Text`] writes the same, and whatever else a program adds, in either of the two
//! [`Format`]s.
//!
//! The text is written here and not by a metrics library. A library keeps families whose values
//! are set as things happen; here a whole state arrives at once and is shown once, and upstream's
//! layout is neither of the two standard ones to the letter.

mod families;
mod state;
mod text;

use ntp_time::NtpDuration;

pub use families::{OURS, UPSTREAM};
pub use state::{prometheus_text, write_state};
pub use text::{Format, Text};

use crate::observation::{Latency, Server, Source, State, seconds};

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

/// What the numbers of a family are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A level, which goes up and down.
    Gauge,
    /// A count since the daemon began, which only grows.
    Counter,
    /// Counts of what was no more than each of several bounds.
    Histogram,
}

impl Kind {
    /// The word for it, the same in both formats.
    pub fn word(self) -> &'static str {
        match self {
            Self::Gauge => "gauge",
            Self::Counter => "counter",
            Self::Histogram => "histogram",
        }
    }
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
    /// Each source and each word that may be said of it: 1 for the one that is, 0 for the others.
    /// The labels of a source, and one more for the word.
    SourceWord {
        /// That label.
        label: &'static str,
        /// The words; one that is not among them gets a sample of its own.
        words: &'static [&'static str],
        /// The one that is true.
        is: fn(&Source) -> Option<&str>,
    },
    /// Each server; label `listen_address`.
    Server(fn(&Server) -> Option<Number>),
    /// Each server, as a histogram: samples `_bucket` with the further label `le`, `_sum` and `_count`.
    ServerLatency(fn(&Server) -> Option<Latency>),
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
