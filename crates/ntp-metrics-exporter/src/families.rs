//! The metrics that are about the exporter and about the daemon's process; the daemon's own state is in `ntp_control_api::metrics`.

use ntp_control_api::metrics::{Kind, Number, Text, write_state};

use crate::chrony;
use crate::daemon::{ProblemKind, Reading};

/// A family of this table.
#[derive(Clone, Copy, Debug)]
pub struct OwnFamily {
    /// The full name.
    pub name: &'static str,
    /// What it tells: one line without a full stop.
    pub help: &'static str,
    /// What the number is.
    pub kind: Kind,
    value: fn(&Reading) -> Option<Number>,
}

/// The families, each with one sample at most.
#[rustfmt::skip]
pub const OWN: &[OwnFamily] = &[
    OwnFamily { name: "ntp_up", kind: Kind::Gauge,
        help: "Whether the daemon told its state, 1 or 0; if 0, ntp_exporter_observation says why and all other families are absent",
        value: |reading| Some(reading.state.is_ok().into()) },
    OwnFamily { name: "ntp_exporter_observation_duration_seconds", kind: Kind::Gauge,
        help: "How long the daemon took to tell its state",
        value: |reading| Some(reading.took.as_secs_f64().into()) },
    OwnFamily { name: "ntp_process_cpu_seconds_total", kind: Kind::Counter,
        help: "Processor time that the daemon has used",
        value: |reading| reading.process.map(|process| process.cpu_seconds.into()) },
    OwnFamily { name: "ntp_process_resident_memory_bytes", kind: Kind::Gauge,
        help: "Memory that the daemon occupies",
        value: |reading| reading.process.map(|process| process.resident_bytes.into()) },
    OwnFamily { name: "ntp_process_threads", kind: Kind::Gauge,
        help: "Threads of the daemon",
        value: |reading| reading.process.map(|process| process.threads.into()) },
];

/// The family that says what became of the question to the daemon.
pub const OBSERVATION: &str = "ntp_exporter_observation";

/// Everything that a scrape gets.
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
        "What became of the question to the daemon: 1 for what did, 0 for the others",
    );
    let is = reading.state.as_ref().err().map(|problem| problem.kind);
    let outcomes = [None].into_iter().chain(ProblemKind::ALL.map(Some));
    for outcome in outcomes {
        let word = outcome.map_or("ok", ProblemKind::word);
        text.sample(
            OBSERVATION,
            format_args!("{{outcome=\"{word}\"}}"),
            (outcome == is).into(),
        );
    }
}
