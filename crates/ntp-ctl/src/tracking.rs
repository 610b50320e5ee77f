//! `ntp-ctl tracking`: the state of the clock on one screen.

use ntp_types::status::{Status, SystemStatus};
use serde_json::{Value, json};

use crate::format::{age, duration, or_unknown, signed, timestamp};
use crate::layout::Page;
use crate::sources::reference;

/// Returns the state as JSON, with the clock and the name of the reference beside it.
pub(crate) fn data(status: &Status) -> Value {
    let mut value = json!(status.system);
    value["reference_name"] = json!(reference(status).map(|source| &source.name));
    value["clock"] = json!(status.clock);
    value
}

pub(crate) fn plain(status: &Status) -> String {
    let mut page = Page::new(16);
    let system = &status.system;
    let now = status.program.now;
    page.line(
        "Synchronised",
        if system.synchronized { "yes" } else { "no" },
    );
    let name = match system.local_since {
        Some(_) => Some(" (local)".to_owned()),
        None => reference(status).map(|source| format!(" ({})", source.name)),
    };
    page.line(
        "Reference",
        format_args!("{}{}", system.reference_id, name.unwrap_or_default()),
    );
    page.line("Stratum", system.stratum);
    let updated = system.reference_time;
    let updated = updated.map(|at| format!("{} ({} ago)", timestamp(at), age(now - at)));
    page.line("Last update", updated.unwrap_or_else(|| "never".into()));
    let local = system.local_since;
    let local = local.map(|at| format!("served for {}: no source is available", age(now - at)));
    page.optional("Local time", local);
    let fallback = system.fallback_since;
    let fallback =
        fallback.map(|at| format!("used for {}: too few others are usable", age(now - at)));
    page.optional("Fallback", fallback);
    page.line("System time", timestamp(now));
    errors(&mut page, system);
    page.optional("Last offset", system.last_offset.map(signed));
    page.optional("RMS offset", system.rms_offset.map(duration));
    page.optional("Update interval", system.update_interval.map(duration));
    page.line("Leap status", system.leap);
    page.line(
        "Sources",
        format_args!(
            "{} of {} agree ({} required)",
            system.agreeing, system.candidates, system.required
        ),
    );
    page.line(
        "Steps",
        format_args!(
            "{} in total since the start",
            duration(system.accumulated_steps)
        ),
    );
    page.line("Clock", &status.clock.kind);
    let true_error = status.clock.true_offset.map(signed);
    page.optional(
        "True error",
        true_error.map(|it| format!("{it} (virtual clock)")),
    );
    page.into_text()
}

/// Adds what is known about time and frequency, and how well.
fn errors(page: &mut Page, system: &SystemStatus) {
    let offset = system.offset.map(signed);
    let offset = offset.map(|it| format!("{it} (true time minus system time)"));
    page.line("Offset", offset.unwrap_or_else(|| "unknown".into()));
    page.line(
        "Estimated error",
        format_args!(
            "{} (99.9 % of the time if paths are symmetric)",
            or_unknown(system.estimated_error)
        ),
    );
    page.line(
        "Error bound",
        format_args!(
            "{} (if most sources are right, drift < {:.1} ppm)",
            or_unknown(system.error_bound),
            system.dispersion_rate.as_ppm()
        ),
    );
    page.line(
        "Frequency",
        format_args!(
            "{:+.3} ppm ± {:.3} ppm (positive: oscillator is fast)",
            system.frequency.as_ppm(),
            system.frequency_uncertainty.as_ppm()
        ),
    );
    page.line("Root delay", duration(system.root_delay));
    page.line("Root dispersion", or_unknown(system.root_dispersion));
}

#[cfg(test)]
mod tests {
    use ntp_time::{Frequency, NtpDuration};
    use ntp_types::source::SourceId;
    use ntp_types::status::{DisciplinedClock, SourceStatus};

    use super::*;

    #[test]
    fn errors_state_their_conditions_in_80_columns() {
        let mut status = Status::default();
        let long = Some(NtpDuration::from_nanos(123_456_789));
        status.system.error_bound = long;
        status.system.estimated_error = long;
        status.system.dispersion_rate = Frequency::from_ppm(15.0);
        let text = plain(&status);
        assert!(text.contains("drift < 15.0 ppm"), "{text}");
        assert!(
            text.lines().all(|line| line.chars().count() <= 80),
            "{text}"
        );
    }

    #[test]
    fn the_reference_is_named_and_a_virtual_clock_has_its_true_error() {
        let mut status = Status {
            clock: DisciplinedClock {
                kind: "virtual".into(),
                true_offset: Some(NtpDuration::from_micros(-25)),
            },
            sources: vec![SourceStatus {
                id: SourceId(7),
                name: "pulse".into(),
                ..SourceStatus::default()
            }],
            ..Status::default()
        };
        status.system.reference = Some(SourceId(7));
        let text = plain(&status);
        for line in [
            "Synchronised    : no\n",
            "Reference       : 0.0.0.0 (pulse)\n",
            "Offset          : unknown\n",
            "True error      : -25.0 us (virtual clock)\n",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        let value = data(&status);
        assert_eq!(value["reference_name"], "pulse");
        assert_eq!(value["clock"]["kind"], "virtual");
        assert_eq!(value["stratum"], 16);
    }
}
