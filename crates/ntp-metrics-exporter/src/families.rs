//! Metrics of the exporter and of the daemon's process; those of the state are in
//! `ntp_control_api::metrics`.

use ntp_control_api::metrics::{Kind, Number, Text, write_state};

use crate::chrony;
use crate::daemon::{ProblemKind, Reading};

/// A metric family of the exporter.
#[derive(Clone, Copy, Debug)]
pub struct OwnFamily {
    /// Full name.
    pub name: &'static str,
    /// Help text: one line without a full stop.
    pub help: &'static str,
    /// Type.
    pub kind: Kind,
    value: fn(&Reading) -> Option<Number>,
}

/// The families, each with one sample at most.
#[rustfmt::skip]
pub const OWN: &[OwnFamily] = &[
    OwnFamily { name: "ntp_up", kind: Kind::Gauge,
        help: "Whether the state of the daemon could be read, 1 or 0; if 0, ntp_exporter_observation has the reason and all other families are absent",
        value: |reading| Some(reading.state.is_ok().into()) },
    OwnFamily { name: "ntp_exporter_observation_duration_seconds", kind: Kind::Gauge,
        help: "Time to read the state of the daemon",
        value: |reading| Some(reading.duration.as_secs_f64().into()) },
    OwnFamily { name: "ntp_process_cpu_seconds_total", kind: Kind::Counter,
        help: "Processor time used by the daemon",
        value: |reading| reading.process.map(|process| process.cpu_seconds.into()) },
    OwnFamily { name: "ntp_process_resident_memory_bytes", kind: Kind::Gauge,
        help: "Resident memory of the daemon",
        value: |reading| reading.process.map(|process| process.resident_bytes.into()) },
    OwnFamily { name: "ntp_process_threads", kind: Kind::Gauge,
        help: "Threads of the daemon",
        value: |reading| reading.process.map(|process| process.threads.into()) },
];

/// Name of the family with the outcome of reading the state.
pub const OBSERVATION: &str = "ntp_exporter_observation";

/// Writes all families.
pub(crate) fn write(text: &mut Text, reading: &Reading, chrony_names: bool) {
    if let Ok(state) = &reading.state {
        write_state(text, state);
        if chrony_names {
            chrony::write(text, state);
        }
    }
    for family in OWN {
        if let Some(value) = (family.value)(reading) {
            text.declare(family.name, family.kind, family.help);
            text.sample(family.name, "", value);
        }
    }
    text.declare(
        OBSERVATION,
        Kind::Gauge,
        "Outcome of reading the state of the daemon: 1 for the current one, 0 for the others",
    );
    let current = reading.state.as_ref().err().map(|problem| problem.kind);
    let outcomes = [None].into_iter().chain(ProblemKind::ALL.map(Some));
    for outcome in outcomes {
        let name = outcome.map_or("ok", ProblemKind::name);
        text.sample(
            OBSERVATION,
            format_args!("{{outcome=\"{name}\"}}"),
            (outcome == current).into(),
        );
    }
}
