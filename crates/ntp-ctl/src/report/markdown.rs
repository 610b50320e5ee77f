//! A report as Markdown, which is readable as text, too.

use std::fmt::Write as _;

use ntp_history::report::Summary;
use ntp_history::{Occurrence, Report};
use ntp_time::{NtpDuration, SystemTime};

use crate::format::{duration, or_unknown};

/// Returns the whole report.
pub(super) fn text(report: &Report) -> String {
    let mut text = String::from("# Accuracy of the clock\n\n");
    let (from, to) = (moment(report.from), moment(report.to));
    let _ = writeln!(text, "From {from} to {to}, UTC.\n\n{}\n", report.condition);
    overall(&mut text, report);
    days(&mut text, report);
    if !report.gaps.is_empty() {
        text += "## Times without a history\n\nThe daemon did not run, the machine slept, or the clock was set.\n\n";
        for gap in &report.gaps {
            let (from, to) = (moment(gap.from), moment(gap.to));
            let _ = writeln!(text, "- {from} to {to} ({})", span(gap.to - gap.from));
        }
        text.push('\n');
    }
    events(&mut text, "Events", &report.events);
    events(&mut text, "Changes of the configuration", &report.changes);
    if report.events_not_recorded > 0 {
        let count = report.events_not_recorded;
        let _ = writeln!(
            text,
            "{count} more events were not recorded: too many in a quarter of an hour.\n"
        );
    }
    integrity(&mut text, report);
    text
}

fn overall(text: &mut String, report: &Report) {
    let all = &report.overall;
    *text += "| figure | value |\n|---|---|\n";
    let mut row = |name: &str, value: String| {
        let _ = writeln!(text, "| {name} | {value} |");
    };
    row("time with a history", span(all.covered));
    row("time without", span(all.uncovered));
    row("synchronised", part(all.synchronized, all.covered));
    row("largest error bound", or_unknown(all.largest_bound));
    row(
        "error bound, 99.9 % of the time",
        or_unknown(all.bound_p999),
    );
    row(
        "largest estimated error",
        or_unknown(all.largest_estimated_error),
    );
    row(
        "estimated error, 99.9 % of the time",
        or_unknown(all.estimated_error_p999),
    );
    for outside in &all.outside {
        row(
            &format!(
                "error bound over {}, or not synchronised",
                duration(outside.limit)
            ),
            part(outside.time, all.covered),
        );
    }
    row("steps of the clock", all.steps.to_string());
    row("losses of synchronisation", all.losses.to_string());
    let sources: Vec<&str> = all.sources.iter().map(String::as_str).collect();
    row("sources used", sources.join(", ").replace('|', "\\|"));
    let versions: Vec<&str> = report.versions.iter().map(String::as_str).collect();
    row("version of ntp-daemon", versions.join(", "));
    text.push('\n');
}

fn days(text: &mut String, report: &Report) {
    let limits = report.overall.outside.iter();
    let limits = limits.map(|outside| format!(" over {} |", duration(outside.limit)));
    let limits: String = limits.collect();
    let _ = writeln!(
        text,
        "## Days\n\n| day (UTC) | history | synchronised | largest bound | bound 99.9 % | estimated error 99.9 % |{limits} steps | losses |\n\
         |---|---|---|---|---|---|{}---|---|",
        "---|".repeat(report.overall.outside.len())
    );
    for day in &report.days {
        *text += &row(day);
    }
    text.push('\n');
}

fn row(day: &Summary) -> String {
    let outside = day.outside.iter();
    let outside = outside.map(|outside| format!(" {} |", span(outside.time)));
    format!(
        "| {} | {} | {} | {} | {} | {} |{} {} | {} |\n",
        day.date,
        span(day.covered),
        span(day.synchronized),
        or_unknown(day.largest_bound),
        or_unknown(day.bound_p999),
        or_unknown(day.estimated_error_p999),
        outside.collect::<String>(),
        day.steps,
        day.losses
    )
}

fn events(text: &mut String, title: &str, events: &[Occurrence]) {
    if events.is_empty() {
        return;
    }
    let _ = writeln!(text, "## {title}\n");
    for event in events {
        let fields = event.fields.replace('`', "'");
        let _ = writeln!(text, "- {} {} `{fields}`", moment(event.at), event.event);
    }
    text.push('\n');
}

fn integrity(text: &mut String, report: &Report) {
    let integrity = &report.integrity;
    *text += "## Integrity of the history\n\n";
    if integrity.intact {
        let _ = writeln!(
            text,
            "All {} lines continue the chain of hashes.",
            integrity.lines
        );
    } else {
        *text +=
            "**The history was changed.** These lines do not continue the chain of hashes:\n\n";
        for fault in &integrity.faults {
            let _ = writeln!(text, "- {}: {}", fault.place, fault.problem);
        }
        text.push('\n');
    }
    if let Some(number) = integrity.last_number {
        let _ = writeln!(
            text,
            "The last line is number {number}, SHA-256 {}.\n\
             Compare it with the events `history_recorded` in a log that is kept elsewhere: root can make a chain anew.",
            integrity.last_hash
        );
    }
}

/// Formats a time to the second.
fn moment(time: SystemTime) -> String {
    let text = time.to_string().replace('T', " ");
    text.split('.').next().unwrap_or_default().to_owned()
}

/// Formats a length of time that may be days or milliseconds.
fn span(time: NtpDuration) -> String {
    let seconds = time.as_seconds_f64();
    if seconds < 100.0 {
        return duration(time);
    }
    let whole = seconds.round() as u64;
    let (days, hours, minutes) = (whole / 86_400, whole / 3600 % 24, whole / 60 % 60);
    match (days, hours) {
        (0, 0) => format!("{minutes} min {} s", whole % 60),
        (0, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h {minutes} min"),
    }
}

/// Formats a part of a time, with its percentage.
fn part(time: NtpDuration, whole: NtpDuration) -> String {
    let share = time.as_seconds_f64() / whole.as_seconds_f64().max(1e-9) * 100.0;
    format!("{} ({share:.3} %)", span(time))
}
