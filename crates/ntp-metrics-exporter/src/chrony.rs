//! Metrics under the names of chrony_exporter, for its dashboards and alerts (`--chrony-names`).
//!
//! Only values with the same meaning are exported. Signs differ: chrony's "system time" is clock
//! minus true time; its frequency is that of the uncorrected clock, as ours. Sources have the
//! labels of chrony_exporter, with the configured name as `source_name`.

use std::fmt;

use ntp_control_api::metrics::{Kind, Number, Text};
use ntp_control_api::observation::{SELECTED, Source, State, seconds};

struct Tracking {
    name: &'static str,
    help: &'static str,
    value: fn(&State) -> Option<Number>,
}

struct PerSource {
    name: &'static str,
    help: &'static str,
    value: fn(&Source) -> Option<Number>,
}

#[rustfmt::skip]
const TRACKING: &[Tracking] = &[
    Tracking { name: "chrony_up", help: "Whether the daemon told its state",
        value: |_| Some(true.into()) },
    Tracking { name: "chrony_tracking_stratum", help: "Stratum of this machine",
        value: |state| Some(state.system.stratum.into()) },
    Tracking { name: "chrony_tracking_system_time_seconds", help: "How far the clock is ahead of true time by the best estimate",
        value: |state| state.system.details.offset.map(|offset| (-offset).into()) },
    Tracking { name: "chrony_tracking_last_offset_seconds", help: "How far the clock is ahead of true time by the best estimate",
        value: |state| state.system.details.offset.map(|offset| (-offset).into()) },
    Tracking { name: "chrony_tracking_frequency_ppms", help: "How fast the clock would run uncorrected",
        value: |state| state.system.details.frequency_ppm.map(Number::from) },
    Tracking { name: "chrony_tracking_skew_ppms", help: "Uncertainty of that",
        value: |state| state.system.details.frequency_uncertainty_ppm.map(Number::from) },
    Tracking { name: "chrony_tracking_root_delay_seconds", help: "Round trip to the primary reference",
        value: |state| Some(state.system.root_delay.into()) },
    Tracking { name: "chrony_tracking_root_dispersion_seconds", help: "Error accumulated on the way from the primary reference",
        value: |state| Some(state.root_dispersion().into()) },
];

#[rustfmt::skip]
const SOURCES: &[PerSource] = &[
    PerSource { name: "chrony_sources_stratum", help: "Stratum of the source",
        value: |source| source.details.stratum.map(Number::from) },
    PerSource { name: "chrony_sources_polling_interval_seconds", help: "Time between two requests",
        value: |source| Some(source.poll_interval.to_duration().as_seconds_f64().into()) },
    PerSource { name: "chrony_sources_reachability_ratio", help: "Share of the last eight requests that were answered",
        value: |source| source.details.reach.map(|reach| (f64::from(reach.count_ones()) / 8.0).into()) },
    PerSource { name: "chrony_sources_reachability_success", help: "Whether the last request was answered",
        value: |source| source.details.reach.map(|reach| (reach & 1 == 1).into()) },
    PerSource { name: "chrony_sources_last_sample_offset_seconds", help: "How far the clock is ahead of the source",
        value: |source| measured(source).then(|| (-source.offset).into()) },
    PerSource { name: "chrony_sources_last_sample_error_margin_seconds", help: "How wrong that can be",
        value: |source| measured(source).then(|| source.uncertainty.into()) },
];

fn measured(source: &Source) -> bool {
    seconds(source.uncertainty) < seconds(ntp_time::NtpDuration::MAX)
}

pub(crate) fn write(text: &mut Text, state: &State) {
    for family in TRACKING {
        if let Some(value) = (family.value)(state) {
            text.declare(family.name, Kind::Gauge, family.help);
            text.sample(family.name, "", value);
        }
    }
    for family in SOURCES {
        text.declare(family.name, Kind::Gauge, family.help);
        for source in state.sorted_sources() {
            if let Some(value) = (family.value)(source) {
                text.sample(family.name, Labels(source, None), value);
            }
        }
    }
    let name = "chrony_sources_state_info";
    text.declare(
        name,
        Kind::Gauge,
        "Where the source stands in the selection",
    );
    for source in state.sorted_sources() {
        text.sample(name, Labels(source, Some(state_name(source))), true.into());
    }
}

/// Returns chrony's name of the state of a source.
fn state_name(source: &Source) -> &'static str {
    match source.details.state.as_deref() {
        Some(SELECTED) => "sync",
        Some("falseticker") => "falseticker",
        Some("outranked") => "outlier",
        Some("too-uncertain") => "jittery",
        _ => "unreach",
    }
}

struct Labels<'a>(&'a Source, Option<&'static str>);

impl fmt::Display for Labels<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Addresses and names of the configuration contain no quotes; they are escaped as a
        // precaution.
        let (address, port) = self
            .0
            .address
            .rsplit_once(':')
            .unwrap_or((&self.0.address, ""));
        let _ = port;
        let address = address.trim_matches(['[', ']']).escape_default();
        let name = self.0.name.escape_default();
        write!(f, "{{source_address=\"{address}\",source_name=\"{name}\"")?;
        if let Some(state) = self.1 {
            write!(f, ",source_state=\"{state}\"")?;
        }
        f.write_str("}")
    }
}
