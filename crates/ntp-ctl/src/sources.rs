//! `ntp-ctl sources` and `ntp-ctl source NAME`: the sources and their state.

use std::fmt::{Display, Write as _};

use ntp_control_api::control::types::{Measurement, Path, Source, Status};

use crate::console::Failure;
use crate::format::{age, duration, or_unknown, signed, timestamp, validity};

/// Meaning of the symbols before the names.
const LEGEND: &str = "\
* reference  + selected  - outranked by a `prefer` source  x falseticker
. no majority  ~ too uncertain  ? no reply  ! unusable  o offline
";
/// Width of all columns of the table but the name.
const COLUMNS: usize = 57;
/// Maximum width of a name.
const MAX_NAME: usize = 60;

/// Returns the symbol of the state of a source.
pub(crate) fn symbol(source: &Source, reference: Option<&str>) -> char {
    match source.state.as_str() {
        "selected" if reference == Some(source.address.as_str()) => '*',
        "selected" => '+',
        "outranked" => '-',
        "falseticker" => 'x',
        "too-uncertain" => '~',
        "no-samples" | "stale" | "unreachable" => '?',
        "offline" => 'o',
        "no-majority" => '.',
        _ => '!',
    }
}

/// Returns the address of the source that is the reference.
pub(crate) fn reference(status: &Status) -> Option<&str> {
    let system = &status.system;
    let by_name = |source: &&Source| {
        Some(&source.name) == system.reference.as_ref() && source.state == "selected"
    };
    let mut candidates = status.sources.iter().filter(by_name);
    let by_address = |source: &&Source| host(&source.address) == system.reference_id;
    let exact = candidates.clone().find(by_address);
    exact
        .or_else(|| candidates.next())
        .map(|source| source.address.as_str())
}

fn host(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.trim_matches(['[', ']'])
}

/// Returns the table, `width` columns wide; `coloured` enables colours.
pub(crate) fn plain(status: &Status, width: usize, coloured: bool) -> String {
    let reference = reference(status);
    let name_width = width.saturating_sub(COLUMNS).min(MAX_NAME);
    let mut text = String::from(LEGEND);
    let _ = writeln!(
        text,
        "\n  {:<name_width$} {:>2} {:>4} {:>5} {:>4} {:>10} {:>9}  State",
        "Source", "St", "Poll", "Reach", "Last", "Offset", "Max error"
    );
    for source in &status.sources {
        let symbol = symbol(source, reference);
        if coloured {
            text.push_str(&coloured_symbol(symbol));
        } else {
            text.push(symbol);
        }
        row(&mut text, source, name_width, status.program.now);
    }
    for configured in status.configured.iter().filter(|it| it.present == 0) {
        let reason = match (configured.denied, configured.online) {
            (true, _) => "denied by the server",
            (_, false) => "offline",
            _ => "no address yet",
        };
        let _ = writeln!(text, "? {:<name_width$} {reason}", configured.name);
    }
    if status.configured.is_empty() {
        text.push_str(
            "No sources configured; add one with `ntp-ctl source add ADDRESS` or [[source]]\n",
        );
    }
    text
}

fn coloured_symbol(symbol: char) -> String {
    let colour = match symbol {
        '*' | '+' => "\x1b[32m",
        'x' | '!' => "\x1b[31m",
        '?' | '~' | '.' => "\x1b[33m",
        _ => return symbol.to_string(),
    };
    format!("{colour}{symbol}\x1b[0m")
}

/// Appends the row of a source after its symbol.
fn row(text: &mut String, source: &Source, name_width: usize, now: f64) {
    let name = if source.name == source.address {
        source.name.clone()
    } else {
        format!("{} ({})", host(&source.name), host(&source.address))
    };
    let measured = source.measurement.as_ref();
    let column = |value: Option<String>| value.unwrap_or_else(|| "-".into());
    let _ = writeln!(
        text,
        " {:<name_width$} {:>2} {:>4} {:>5} {:>4} {:>10} {:>9}  {}",
        truncate(&name, name_width),
        column(measured.map(|it| it.stratum.to_string())),
        age(source.poll),
        format!("{:o}", source.reach),
        column(measured.map(|it| age(now - it.at))),
        column(measured.map(|it| signed(it.offset))),
        column(measured.and_then(|it| it.uncertainty).map(duration)),
        source.state,
    );
}

/// Truncates `text` to `width` characters, the last one an ellipsis.
fn truncate(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    format!("{kept}…")
}

/// Returns the sources with this configured name, host, address or identifier.
pub(crate) fn find<'s>(status: &'s Status, name: &str) -> Result<Vec<&'s Source>, Failure> {
    let matches = |source: &&Source| {
        source.name == name
            || source.address == name
            || host(&source.name) == name
            || host(&source.address) == name
            || source.id.to_string() == name
    };
    let found: Vec<_> = status.sources.iter().filter(matches).collect();
    if found.is_empty() {
        let names: Vec<_> = status
            .configured
            .iter()
            .map(|it| it.name.as_str())
            .collect();
        let names = if names.is_empty() {
            "none".to_owned()
        } else {
            names.join(", ")
        };
        return Err(Failure::Error(format!(
            "Unknown source {name:?}; configured: {names}"
        )));
    }
    Ok(found)
}

/// Returns all details of one source.
pub(crate) fn details(status: &Status, source: &Source) -> String {
    let mut page = Page::default();
    let now = status.program.now;
    page.line("Source", &source.name);
    page.line("Address", &source.address);
    page.line("ID", source.id);
    page.line("State", &source.state);
    page.line("Authentication", &source.authentication);
    if let Some(cookies) = source.nts_cookies {
        page.line("  Cookies", format!("{cookies} of 8"));
    }
    if let Some(expires) = source.certificate_expires {
        page.line("  Certificate", validity(expires, now));
    }
    let options = source.selection_options.join(", ");
    page.line(
        "Options",
        if options.is_empty() { "none" } else { &options },
    );
    page.line(
        "Poll interval",
        format!(
            "{} (min {}, max {})",
            age(source.poll),
            age(source.poll_min),
            age(source.poll_max)
        ),
    );
    let next = source.next_poll.map(|wait| format!("in {}", age(wait)));
    page.line("Next poll", next.unwrap_or_else(|| "none (offline)".into()));
    page.line(
        "Reach",
        format!(
            "{:o} (octal; {} polls since the last reply)",
            source.reach, source.unanswered
        ),
    );
    if let Some(error) = &source.last_error {
        page.line("Last error", error);
    }
    match &source.measurement {
        Some(measurement) => page.measurement(measurement, now),
        None => page.line("Last measurement", "none"),
    }
    if let Some(path) = &source.path {
        page.path(path);
    }
    let packets = &source.packets;
    page.line(
        "Packets",
        format!("{} sent, {} received", packets.sent, packets.received),
    );
    page.line(
        "  Replies",
        format!(
            "{} accepted, {} unusable, {} bogus",
            packets.accepted, packets.unusable, packets.bogus
        ),
    );
    page.0
}

#[derive(Default)]
struct Page(String);

impl Page {
    fn line(&mut self, label: &str, value: impl Display) {
        let _ = writeln!(self.0, "{label:<18}: {value}");
    }

    fn measurement(&mut self, it: &Measurement, now: f64) {
        self.line(
            "Last measurement",
            format!("{} ({} ago)", timestamp(it.at), age(now - it.at)),
        );
        self.line(
            "  Offset",
            format!("{} ± {}", signed(it.offset), or_unknown(it.uncertainty)),
        );
        self.line("  Delay", duration(it.delay));
        self.line("  Stratum", it.stratum);
        self.line("  Reference", &it.reference_id);
        self.line("  Root delay", duration(it.root_delay));
        self.line("  Root dispersion", duration(it.root_dispersion));
        self.line("  Leap status", &it.leap);
    }

    fn path(&mut self, it: &Path) {
        self.line(
            "Path delay",
            format!(
                "{} minimum, {} typical excess",
                duration(it.base_delay),
                duration(it.typical_excess)
            ),
        );
        self.line("  Jitter", duration(it.jitter));
        self.line(
            "  Asymmetry",
            format!("{} ± {}", signed(it.bias), duration(it.bias_sigma)),
        );
        self.line("  Residual", signed(it.residual));
        self.line(
            "  In estimate",
            if it.in_joint_estimate { "yes" } else { "no" },
        );
        self.line(
            "  Outliers",
            format!("{} consecutive", it.consecutive_outliers),
        );
    }
}

#[cfg(test)]
mod tests {
    use ntp_control_api::control::types::ConfiguredSource;

    use super::*;

    #[test]
    fn the_table_fits_the_width_and_truncates_names() {
        let source = Source {
            name: "a-server-with-a-long-name.example.org:123".into(),
            address: "[2001:db8:1234:5678:9abc:def0:1234:5678]:123".into(),
            state: "too-uncertain".into(),
            poll: 131_072.0,
            reach: 0o377,
            measurement: Some(Measurement {
                offset: -123.456,
                uncertainty: Some(100.5),
                stratum: 15,
                ..Measurement::default()
            }),
            ..Source::default()
        };
        let status = Status {
            sources: vec![source],
            configured: vec![ConfiguredSource {
                present: 1,
                ..ConfiguredSource::default()
            }],
            ..Status::default()
        };
        for width in [80, 120] {
            let text = plain(&status, width, false);
            let longest = text.lines().map(|line| line.chars().count()).max();
            assert_eq!(longest, Some(width.min(COLUMNS + MAX_NAME)), "{text}");
        }
    }
}
