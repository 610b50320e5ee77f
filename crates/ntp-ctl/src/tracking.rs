//! `ntp-ctl tracking`: the state of the clock on one screen.

use std::fmt::Write as _;

use ntp_control_api::control::types::{Status, System};

use crate::format::{age, duration, or_unknown, signed, timestamp};

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
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{label:<16}: {value}");
    };
    let yes_or_no = if *synchronized { "yes" } else { "no" };
    line("Synchronised", yes_or_no.into());
    let name = reference.as_ref().map(|name| format!(" ({name})"));
    line(
        "Reference",
        format!("{reference_id}{}", name.unwrap_or_default()),
    );
    line("Stratum", stratum.to_string());
    let updated = reference_time.map(|at| {
        let ago = age(status.program.now - at);
        format!("{} ({ago} ago)", timestamp(at))
    });
    line("Last update", updated.unwrap_or_else(|| "never".into()));
    line("System time", timestamp(status.program.now));
    let correction = offset.map_or_else(
        || "unknown".into(),
        |offset| format!("{} (true time minus system time)", signed(offset)),
    );
    line("Offset", correction);
    line(
        "Estimated error",
        format!("{} (99.9 % of the time)", or_unknown(*estimated_error)),
    );
    line(
        "Error bound",
        format!("{} (if most sources are right)", or_unknown(*error_bound)),
    );
    line(
        "Frequency",
        format!("{frequency:+.3} ppm ± {frequency_sigma:.3} ppm (positive: oscillator is fast)"),
    );
    line("Root delay", duration(*root_delay));
    line("Root dispersion", or_unknown(*root_dispersion));
    line("Leap status", leap.clone());
    line(
        "Sources",
        format!("{agreeing} of {candidates} agree ({needed} required)"),
    );
    line(
        "Steps",
        format!("{} in total since the start", duration(*accumulated_steps)),
    );
    line("Clock", clock.clone());
    if let Some(error) = true_offset {
        line("True error", format!("{} (virtual clock)", signed(*error)));
    }
    text
}
