//! Metrics under the names of chrony_exporter, for its dashboards and alerts (`--chrony-names`).
//!
//! Only values with the same meaning are exported. Signs differ: chrony's "system time" is clock
//! minus true time; its frequency is that of the uncorrected clock, as ours. Sources have the
//! labels of chrony_exporter, with the configured name as `source_name`.

use ntp_control_api::metrics::{Kind, Number, Text};
use ntp_control_api::observation::{SELECTED, Source, State};
use ntp_time::NtpDuration;

/// A family of gauges: name, help text, and value for an object of type `T`.
type Gauge<T> = (&'static str, &'static str, fn(&T) -> Option<Number>);

#[rustfmt::skip]
const TRACKING: &[Gauge<State>] = &[
    ("chrony_up", "Whether the state of the daemon could be read",
        |_| Some(true.into())),
    ("chrony_tracking_stratum", "Stratum of the local clock",
        |state| Some(state.system.stratum.into())),
    ("chrony_tracking_system_time_seconds", "Local clock minus estimated true time",
        |state| state.system.details.offset.map(|offset| (-offset).into())),
    ("chrony_tracking_last_offset_seconds", "Local clock minus estimated true time",
        |state| state.system.details.offset.map(|offset| (-offset).into())),
    ("chrony_tracking_frequency_ppms", "Frequency error of the uncorrected oscillator, positive if it runs fast",
        |state| state.system.details.frequency_ppm.map(Number::from)),
    ("chrony_tracking_skew_ppms", "Standard deviation of the frequency error",
        |state| state.system.details.frequency_uncertainty_ppm.map(Number::from)),
    ("chrony_tracking_root_delay_seconds", "Round-trip delay to the primary reference",
        |state| Some(state.system.root_delay.into())),
    ("chrony_tracking_root_dispersion_seconds", "Dispersion accumulated from the primary reference",
        |state| Some(state.root_dispersion().into())),
];

#[rustfmt::skip]
const SOURCES: &[Gauge<Source>] = &[
    ("chrony_sources_stratum", "Stratum of the source",
        |source| source.details.stratum.map(Number::from)),
    ("chrony_sources_polling_interval_seconds", "Poll interval in use",
        |source| Some(source.poll_interval.to_duration().as_seconds_f64().into())),
    ("chrony_sources_reachability_ratio", "Fraction of the last eight polls that were answered",
        |source| source.details.reach.map(|reach| (f64::from(reach.count_ones()) / 8.0).into())),
    ("chrony_sources_reachability_success", "Whether the last poll was answered",
        |source| source.details.reach.map(|reach| (reach & 1 == 1).into())),
    ("chrony_sources_last_sample_offset_seconds", "Local clock minus time of the source at the last measurement",
        |source| measured(source).then(|| (-source.offset).into())),
    ("chrony_sources_last_sample_error_margin_seconds", "Uncertainty of the last measurement",
        |source| measured(source).then(|| source.uncertainty.into())),
];

fn measured(source: &Source) -> bool {
    source.uncertainty < NtpDuration::MAX
}

pub(crate) fn write(text: &mut Text, state: &State) {
    for (name, help, value) in TRACKING {
        if let Some(value) = value(state) {
            text.declare(name, Kind::Gauge, help);
            text.sample(name, "", value);
        }
    }
    let sources = state.sorted_sources();
    for (name, help, value) in SOURCES {
        text.declare(name, Kind::Gauge, help);
        for source in &sources {
            if let Some(value) = value(source) {
                text.sample(name, format_args!("{{{}}}", labels(source)), value);
            }
        }
    }
    let name = "chrony_sources_state_info";
    text.declare(name, Kind::Gauge, "State of the source in the selection");
    for source in &sources {
        let (labels, state) = (labels(source), state_name(source));
        let labels = format_args!("{{{labels},source_state=\"{state}\"}}");
        text.sample(name, labels, true.into());
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

/// Returns the labels of a source. Addresses and names of the configuration contain no quotes; they are escaped
/// as a precaution.
fn labels(source: &Source) -> String {
    let address = source.address.rsplit_once(':');
    let address = address.map_or(source.address.as_str(), |(host, _port)| host);
    let address = address.trim_matches(['[', ']']).escape_default();
    let name = source.name.escape_default();
    format!("source_address=\"{address}\",source_name=\"{name}\"")
}
