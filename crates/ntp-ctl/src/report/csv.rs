//! A report as comma-separated values: one row for each day, and one for all.
//!
//! Times are seconds. Fields never contain commas or quotes.

use ntp_history::Report;
use ntp_history::report::Summary;
use ntp_time::NtpDuration;

/// Returns the header and the rows.
pub(super) fn text(report: &Report) -> String {
    let limits = report.overall.outside.iter();
    let limits: String = limits
        .map(|outside| format!(",seconds_outside_{}", seconds(outside.limit)))
        .collect();
    let mut text = format!(
        "day,seconds_recorded,seconds_not_recorded,seconds_synchronized,largest_bound,bound_p999,\
         largest_estimated_error,estimated_error_p999{limits},steps,losses\n"
    );
    for summary in report.days.iter().chain([&report.overall]) {
        text += &row(summary);
    }
    text
}

fn row(summary: &Summary) -> String {
    let optional = |value: Option<NtpDuration>| value.map_or(String::new(), seconds);
    let mut fields = vec![
        summary.date.clone(),
        seconds(summary.covered),
        seconds(summary.uncovered),
        seconds(summary.synchronized),
        optional(summary.largest_bound),
        optional(summary.bound_p999),
        optional(summary.largest_estimated_error),
        optional(summary.estimated_error_p999),
    ];
    fields.extend(summary.outside.iter().map(|outside| seconds(outside.time)));
    fields.push(summary.steps.to_string());
    fields.push(summary.losses.to_string());
    fields.join(",") + "\n"
}

/// Formats seconds without trailing zeros.
fn seconds(time: NtpDuration) -> String {
    let text = format!("{:.9}", time.as_seconds_f64());
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
