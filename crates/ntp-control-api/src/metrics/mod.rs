//! State of the daemon as metrics.
//!
//! `ntp-ctl status --format prometheus` and the metrics exporter share one table of families:
//! [`UPSTREAM`] has those of ntpd-rs 1.9, with its names, types, labels and order, because
//! dashboards and alerts depend on them; [`ours`] returns the additions of this implementation.
//! [`prometheus_text`] formats a state for a Prometheus server; [`Text`] writes metrics of any
//! origin in either of the two [`Format`]s.
//!
//! No metrics library is used: a library keeps families whose values are updated by events, while
//! here a complete state is formatted once, and upstream's layout conforms exactly to neither of
//! the two standard formats.

mod families;
mod state;
mod text;

pub use families::{UPSTREAM, ours};
pub use state::{prometheus_text, write_state};
pub use text::{Format, Text};

pub use crate::figure::{Kind, Number};

use std::collections::BTreeMap;

use crate::observation::{
    Latency, Server, ServerDetails, Source, SourceDetails, State, SystemDetails,
};

/// A metric family.
///
/// To add a metric:
///
/// | file | change |
/// |---|---|
/// | `ntp-types/src/status.rs` or `statistics.rs` | a member of the status |
/// | where the status is built | its value |
/// | `observation/details.rs` | one row: a member of the JSON, its value and its metric |
/// | `docs/figures.md` | unit, sign, condition, formula |
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

/// Objects that a family has samples of, with a getter of the value; `None` if it does not apply or
/// is unknown.
#[derive(Clone, Copy, Debug)]
pub enum Samples {
    /// The daemon process; labels `version`, `build_commit`, `build_commit_date`.
    Program(fn(&State) -> Number),
    /// The clock; no labels.
    System(fn(&State) -> Option<Number>),
    /// The clock, from a member that upstream does not have; no labels.
    SystemDetails(fn(&SystemDetails) -> Option<Number>),
    /// Named counts; one label. A name without a count counts 0, an unknown name has a sample, too.
    Counts {
        /// Name of the label.
        label: &'static str,
        /// Known names.
        names: &'static [&'static str],
        /// Returns the counts; `None` if the daemon does not count.
        counts: fn(&State) -> Option<&BTreeMap<String, u64>>,
    },
    /// Each source; labels `name`, `address`, `id`.
    Source(fn(&Source) -> Option<Number>),
    /// Each source, from a member that upstream does not have; the labels of a source.
    SourceDetails(fn(&SourceDetails) -> Option<Number>),
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
    /// Named counts of each source that has any; the labels of a source, and one more for the name.
    SourceCounts {
        /// Name of that label.
        label: &'static str,
        /// Returns the counts.
        counts: fn(&SourceDetails) -> Option<&BTreeMap<String, u64>>,
    },
    /// Each server; label `listen_address`.
    Server(fn(&Server) -> Option<Number>),
    /// Each server and protocol version, with the further label `version`.
    ServerVersions(fn(&Server) -> Option<[u64; ServerDetails::VERSIONS]>),
    /// Each server, as a histogram: samples `_bucket` with the further label `le`, `_sum` and
    /// `_count`.
    ServerLatency(fn(&Server) -> Option<Latency>),
}
