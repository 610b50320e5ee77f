//! `ntp-ctl sources` and `ntp-ctl source NAME`: whom we ask, and what they say.

use std::fmt::Write as _;

use ntp_control_api::control::types::{Source, Status};

use crate::console::Failure;
use crate::figures::{age, duration, known, moment, signed, until};

/// What the marks before the names mean.
const LEGEND: &str = "\
* reference  + selected  - outranked by a preferred source  x disagrees with the majority
~ too uncertain  ? no answer yet, or none any more  ! unusable  o offline  . not in a majority
";

/// The mark of a source.
pub(crate) fn mark(source: &Source, reference: Option<&str>) -> char {
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

/// The address of the source that is the reference.
pub(crate) fn reference(status: &Status) -> Option<&str> {
    let system = &status.system;
    let ours = |source: &&Source| {
        Some(&source.name) == system.reference.as_ref() && source.state == "selected"
    };
    let mut candidates = status.sources.iter().filter(ours);
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

/// The table. `painted` marks states with colours.
pub(crate) fn plain(status: &Status, painted: bool) -> String {
    let reference = reference(status);
    let mut text = String::from(LEGEND);
    let _ = writeln!(
        text,
        "\n  {:<30} {:>2} {:>5} {:>5} {:>5} {:>10}  {:<10} State",
        "Source", "St", "Poll", "Reach", "Last", "Offset", "± at most"
    );
    for source in &status.sources {
        row(&mut text, source, reference, status.program.now, painted);
    }
    for configured in &status.configured {
        if configured.present > 0 {
            continue;
        }
        let why = match (configured.denied, configured.online) {
            (true, _) => "the server refused us",
            (_, false) => "offline",
            _ => "no address yet",
        };
        let _ = writeln!(text, "? {:<30} {why}", configured.name);
    }
    if status.configured.is_empty() {
        text.push_str("no sources are configured: add `[[source]]` to the configuration, or `ntp-ctl source add`\n");
    }
    text
}

fn row(text: &mut String, source: &Source, reference: Option<&str>, now: f64, painted: bool) {
    let mark = mark(source, reference);
    let colour = match mark {
        '*' | '+' => "\x1b[32m",
        'x' | '!' => "\x1b[31m",
        '?' | '~' | '.' => "\x1b[33m",
        _ => "",
    };
    let (begin, end) = if painted && !colour.is_empty() {
        (colour, "\x1b[0m")
    } else {
        ("", "")
    };
    let name = if source.name == source.address {
        source.name.clone()
    } else {
        format!("{} ({})", host(&source.name), host(&source.address))
    };
    let measured = source.measurement.as_ref();
    let column = |value: Option<String>| value.unwrap_or_else(|| "-".into());
    let _ = writeln!(
        text,
        "{begin}{mark}{end} {:<30} {:>2} {:>5} {:>5} {:>5} {:>10}  {:<10} {}",
        fit(&name, 30),
        column(measured.map(|it| it.stratum.to_string())),
        age(source.poll),
        format!("{:o}", source.reach),
        column(measured.map(|it| age(now - it.at))),
        column(measured.map(|it| signed(it.offset))),
        column(measured.and_then(|it| it.uncertainty).map(duration)),
        source.state,
    );
}

/// A text cut to a width, with a sign that it was.
fn fit(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    format!("{kept}…")
}

/// The sources that somebody calls `name`.
pub(crate) fn called<'s>(status: &'s Status, name: &str) -> Result<Vec<&'s Source>, Failure> {
    let is_called = |source: &&Source| {
        source.name == name
            || source.address == name
            || host(&source.name) == name
            || host(&source.address) == name
            || source.id.to_string() == name
    };
    let found: Vec<_> = status.sources.iter().filter(is_called).collect();
    if found.is_empty() {
        let known: Vec<_> = status
            .configured
            .iter()
            .map(|it| it.name.as_str())
            .collect();
        let known = if known.is_empty() {
            "there are none".to_owned()
        } else {
            format!("there are {}", known.join(", "))
        };
        return Err(Failure::Told(format!(
            "no source is called {name}; {known}"
        )));
    }
    Ok(found)
}

/// Everything about one source.
pub(crate) fn everything(status: &Status, source: &Source) -> String {
    let mut text = String::new();
    let mut line = |label: &str, value: String| {
        let _ = writeln!(text, "{label:<18}: {value}");
    };
    line("Source", source.name.clone());
    line("Address", source.address.clone());
    line("Number", source.id.to_string());
    line("State", source.state.clone());
    line("Authentication", source.authentication.clone());
    if let Some(cookies) = source.nts_cookies {
        line("  Cookies", format!("{cookies} of 8"));
    }
    if let Some(expires) = source.certificate_expires {
        line("  Certificate", until(expires, status.program.now));
    }
    let marks = source.marks.join(", ");
    line(
        "Marks",
        if marks.is_empty() {
            "none".into()
        } else {
            marks
        },
    );
    line(
        "Poll interval",
        format!(
            "{} (between {} and {})",
            age(source.poll),
            age(source.poll_min),
            age(source.poll_max)
        ),
    );
    let next = source.next_poll.map(|wait| format!("in {}", age(wait)));
    line(
        "Next poll",
        next.unwrap_or_else(|| "none: it is offline".into()),
    );
    line(
        "Reach",
        format!(
            "{:o} ({} polls since the last answer)",
            source.reach, source.unanswered
        ),
    );
    if let Some(it) = &source.measurement {
        line(
            "Last measurement",
            format!(
                "{} ({} ago)",
                moment(it.at),
                age(status.program.now - it.at)
            ),
        );
        line(
            "  Offset",
            format!("{}, ± {}", signed(it.offset), known(it.uncertainty)),
        );
        line("  Delay", duration(it.delay));
        line("  Stratum", it.stratum.to_string());
        line("  Reference", it.reference_id.clone());
        line("  Root delay", duration(it.root_delay));
        line("  Root dispersion", duration(it.root_dispersion));
        line("  Leap second", it.leap.clone());
    } else {
        line("Last measurement", "none".into());
    }
    if let Some(it) = &source.path {
        line(
            "Path",
            format!(
                "{} when idle, typically {} more",
                duration(it.base_delay),
                duration(it.typical_excess)
            ),
        );
        line("  Jitter", duration(it.jitter));
        line(
            "  Asymmetry",
            format!("{}, ± {}", signed(it.bias), duration(it.bias_sigma)),
        );
        line("  Residual", signed(it.residual));
        line(
            "  In the estimate",
            if it.seated { "yes" } else { "no" }.into(),
        );
        line("  Surprises", format!("{} in a row", it.strikes));
    }
    let packets = &source.packets;
    line(
        "Packets",
        format!(
            "{} sent, {} received: {} with time, {} unusable, {} bogus",
            packets.sent, packets.received, packets.accepted, packets.unusable, packets.bogus
        ),
    );
    text
}
