//! `ntp-ctl tracking`: one screen about the clock.

use std::fmt::Write as _;

use ntp_control_api::control::types::{Status, System};

use crate::figures::{age, duration, known, moment, signed};

pub(crate) fn plain(status: &Status) -> String {
    let System {
        synchronized,
        stratum,
        reference_id,
        reference,
        reference_time,
        leap,
        offset,
        frequency,
        frequency_sigma,
        estimated_error,
        error_bound,
        root_delay,
        root_dispersion,
        accumulated_steps,
        agreeing,
        candidates,
        needed,
        clock,
        true_offset,
        ..
    } = &status.system;
    let mut text = String::new();
    let mut line = |label: &str, value: String| {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{label:<16}: {value}");
    };
    let answer = if *synchronized { "yes" } else { "no" };
    line("Synchronised", answer.into());
    let name = reference.as_ref().map(|name| format!(" ({name})"));
    line(
        "Reference",
        format!("{reference_id}{}", name.unwrap_or_default()),
    );
    line("Stratum", stratum.to_string());
    let updated = reference_time.map(|at| {
        let ago = age(status.program.now - at);
        format!("{} ({ago} ago)", moment(at))
    });
    line("Last update", updated.unwrap_or_else(|| "never".into()));
    line("Clock now", moment(status.program.now));
    let correction = offset.map_or_else(
        || "unknown".into(),
        |offset| format!("{} to be added", signed(offset)),
    );
    line("Offset", correction);
    line(
        "Error",
        format!("{} (99.9 % of the time)", known(*estimated_error)),
    );
    line(
        "Error bound",
        format!("{} (guaranteed)", known(*error_bound)),
    );
    line(
        "Frequency",
        format!("{frequency:+.3} ppm, ±{frequency_sigma:.3} ppm (the bare oscillator)"),
    );
    line("Root delay", duration(*root_delay));
    line("Root dispersion", known(*root_dispersion));
    line("Leap second", leap.clone());
    line(
        "Sources",
        format!("{agreeing} of {candidates} agree, {needed} must"),
    );
    line(
        "Steps",
        format!("{} in sum since the start-up", duration(*accumulated_steps)),
    );
    line("Clock kind", clock.clone());
    if let Some(error) = true_offset {
        line(
            "True error",
            format!("{} (of the virtual clock)", signed(*error)),
        );
    }
    text
}
