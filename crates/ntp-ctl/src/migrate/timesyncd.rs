//! systemd-timesyncd's `timesyncd.conf`.
//!
//! timesyncd polls one server of its list at a time. ntpd-rs polls all of them and follows the
//! majority.

use super::draft::{Draft, Table};
use super::lines;

/// Pool of the packaged configuration.
const POOL: &str = "ntpd-rs.pool.ntp.org";

/// Converts the file.
pub(super) fn draft(text: &str) -> Draft {
    let mut draft = Draft::default();
    let (mut servers, mut fallback) = (Vec::new(), Vec::new());
    let mut fallback_line = (0, String::new());
    let (mut shortest, mut longest) = (None, None);
    for line in lines(text, &['#', ';']) {
        if line.text.starts_with('[') {
            if !line.text.eq_ignore_ascii_case("[time]") {
                draft.unsupported(&line, "unknown directive");
            }
            continue;
        }
        let Some((key, value)) = line.text.split_once('=') else {
            draft.unsupported(&line, "invalid line");
            continue;
        };
        let (key, value) = (key.trim(), value.trim());
        match key {
            "NTP" => add(&mut servers, value),
            "FallbackNTP" => {
                add(&mut fallback, value);
                fallback_line = (line.number, line.text.to_owned());
            }
            "PollIntervalMinSec" => shortest = log2_seconds(value),
            "PollIntervalMaxSec" => longest = log2_seconds(value),
            "RootDistanceMaxSec" | "ConnectionRetrySec" => {
                draft.not_needed(&line, "weighting and retries of sources are automatic");
            }
            "SaveIntervalSec" => draft.not_needed(
                &line,
                "persistent state is saved in [state] directory when it changes",
            ),
            _ => draft.unsupported(&line, "unknown directive"),
        }
    }
    if servers.is_empty() {
        servers = fallback;
    } else if !fallback.is_empty() {
        draft.unsupported_text(
            fallback_line.0,
            &fallback_line.1,
            "timesyncd uses these only without NTP=; add them as [[source]] if needed",
        );
    }
    add_sources(&mut draft, &servers, shortest, longest);
    draft
}

/// Adds a source for each server, or a pool if there is none.
fn add_sources(draft: &mut Draft, servers: &[String], shortest: Option<i32>, longest: Option<i32>) {
    for name in servers {
        let mut table = Table::default();
        table.set_text("mode", "server");
        table.set_text("address", name);
        if shortest.is_some() || longest.is_some() {
            // timesyncd's defaults, 32 s and 2048 s.
            let (min, max) = (shortest.unwrap_or(5), longest.unwrap_or(11));
            table.set(
                "poll-interval-limits",
                format!("{{ min = {min}, max = {} }}", max.max(min)),
            );
        }
        draft.sources.push(table);
    }
    if servers.is_empty() {
        let mut pool = Table::default();
        pool.comment("no server configured: timesyncd uses those of the network or built-in ones; this is a public pool");
        pool.set_text("mode", "pool");
        pool.set_text("address", POOL);
        draft.sources.push(pool);
    } else {
        draft
            .synchronization
            .comment("timesyncd follows a single server");
        draft.synchronization.set("minimum-agreeing-sources", 1);
    }
}

/// Adds the names of a value; an empty value clears the list, as everywhere in systemd.
fn add(names: &mut Vec<String>, value: &str) {
    if value.is_empty() {
        names.clear();
    }
    names.extend(value.split_whitespace().map(str::to_owned));
}

/// Parses a time span of systemd with a common unit; returns log2 seconds, rounded up.
fn log2_seconds(text: &str) -> Option<i32> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let number: f64 = text[..digits].parse().ok()?;
    let unit = match text[digits..].trim() {
        "" | "s" | "sec" | "second" | "seconds" => 1.0,
        "min" | "m" | "minute" | "minutes" => 60.0,
        "h" | "hr" | "hour" | "hours" => 3600.0,
        _ => return None,
    };
    let seconds = number * unit;
    (seconds >= 1.0).then(|| (seconds.log2().ceil() as i32).clamp(0, 17))
}
