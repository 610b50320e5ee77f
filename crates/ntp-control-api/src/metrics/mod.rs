//! State of the daemon as metrics.
//!
//! `ntp-ctl status --format prometheus` and the metrics exporter share one table of families:
//! [`UPSTREAM`] has those of ntpd-rs 1.9, with its names, types, labels and order, because
//! dashboards and alerts depend on them; [`OURS`] has the additions of this implementation.
//! [`prometheus_text`] formats a state for a Prometheus server; [`Text`] writes metrics of any
//! origin in either of the two [`Format`]s.
//!
//! No metrics library is used: a library keeps families whose values are updated by events, while
//! here a complete state is formatted once, and upstream's layout conforms exactly to neither of
//! the two standard formats.

mod families;
mod state;
mod text;

use ntp_time::NtpDuration;

pub use families::{OURS, UPSTREAM};
pub use state::{prometheus_text, write_state};
pub use text::{Format, Text};

use crate::observation::{Latency, Server, Source, State, seconds};

/// A metric family.
///
/// To add a metric:
///
/// | file | change |
/// |---|---|
/// | `ntp-types/src/status.rs` or `statistics.rs` | a member of the status |
/// | where the status is built | its value |
/// | `observation/state.rs` | a member of the JSON, and a line in the conversion from the status |
/// | `metrics/families.rs` | a row of the table |
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// Full name, with the suffixes of its unit and type.
    pub name: &'static str,
    /// Help text: one line without a full stop.
    pub help: &'static str,
    /// Type.
    pub kind: Kind,
    /// Object and value of each sample.
    pub samples: Samples,
}

/// Type of a metric family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A value that can go up and down.
    Gauge,
    /// A count since the start of the daemon; it never decreases.
    Counter,
    /// Cumulative counts of observations in buckets.
    Histogram,
}

impl Kind {
    /// Returns the name of the type, the same in both formats.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gauge => "gauge",
            Self::Counter => "counter",
            Self::Histogram => "histogram",
        }
    }
}

/// Objects that a family has samples of, with a getter of the value; `None` if it does not apply or
/// is unknown.
#[derive(Clone, Copy, Debug)]
pub enum Samples {
    /// The daemon process; labels `version`, `build_commit`, `build_commit_date`.
    Program(fn(&State) -> Number),
    /// The clock; no labels.
    System(fn(&State) -> Option<Number>),
    /// Each source; labels `name`, `address`, `id`.
    Source(fn(&Source) -> Option<Number>),
    /// Each source and each of its possible states (a state set): 1 for the current one, 0 for the
    /// others. The labels of a source, and one more for the state.
    SourceStateSet {
        /// Name of that label.
        label: &'static str,
        /// Known states; an unknown current one gets a sample of its own.
        states: &'static [&'static str],
        /// Returns the current state.
        current: fn(&Source) -> Option<&str>,
    },
    /// Each server; label `listen_address`.
    Server(fn(&Server) -> Option<Number>),
    /// Each server, as a histogram: samples `_bucket` with the further label `le`, `_sum` and
    /// `_count`.
    ServerLatency(fn(&Server) -> Option<Latency>),
}

/// Value of a sample. Counts keep all of their 64 bits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// A count.
    Whole(u64),
    /// A measured value.
    Real(f64),
}

impl From<u64> for Number {
    fn from(count: u64) -> Self {
        Self::Whole(count)
    }
}

macro_rules! number_from {
    ($($variant:ident: $($type:ty)*;)*) => {
        $($(impl From<$type> for Number {
            fn from(value: $type) -> Self {
                Self::$variant(value.into())
            }
        })*)*
    };
}

number_from! {
    Whole: u32 u8 bool;
    Real: f64;
}

/// A count that may be negative; exact up to 2^53.
impl From<i64> for Number {
    fn from(count: i64) -> Self {
        Self::Real(count as f64)
    }
}

/// Seconds, with the same digits as on the observation socket.
impl From<NtpDuration> for Number {
    fn from(duration: NtpDuration) -> Self {
        Self::Real(seconds(duration))
    }
}
