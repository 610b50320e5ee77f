//! `ntp-ctl sources` and `ntp-ctl source NAME`: the sources and their state.

use std::fmt::Write as _;

use ntp_types::source::SourceState;
use ntp_types::status::{MeasurementStatus, PathStatus, SourceStatus, Status};

use crate::console::Failure;
use crate::format::{age, duration, or_unknown, signed, timestamp, validity};
use crate::layout::{Column, Page, if_room, or_dash, table};

/// Meaning of the symbols before the names.
const LEGEND: &str = "\
* reference  + selected  - outranked by a `prefer` source  x falseticker
. no majority  ~ too uncertain  ? no reply  ! unusable  o offline
";
/// The symbol and the name, with which every table of sources begins.
const SYMBOL: Column<SourceStatus> = Column::left("", |status, it| symbol(status, it).to_string());
const NAME: Column<SourceStatus> = Column::name("Source", |_, it| name(it));

/// Columns of `sources`.
const SOURCES: [Column<SourceStatus>; 13] = [
    SYMBOL,
    NAME,
    Column::right("St", |_, it| {
        or_dash(it.measurement.as_ref().map(|it| it.stratum))
    }),
    Column::right("Poll", |_, it| age(it.poll)),
    Column::right("Reach", |_, it| format!("{:o}", it.reach)),
    Column::right("Last", last),
    Column::right("    Offset", |_, it| {
        or_dash(it.measurement.as_ref().map(|it| signed(it.offset)))
    }),
    Column::right("Max error", |_, it| {
        let uncertainty = it.measurement.as_ref().and_then(|it| it.uncertainty);
        or_dash(uncertainty.map(duration))
    }),
    if_room(
        2,
        Column::right("Delay", |_, it| {
            or_dash(
                it.measurement
                    .as_ref()
                    .and_then(|it| it.delay)
                    .map(duration),
            )
        }),
    ),
    if_room(
        1,
        Column::right("Jitter", |_, it| {
            or_dash(it.path.map(|it| duration(it.jitter)))
        }),
    ),
    Column::left(" State", |_, it| format!(" {}", state(it))),
    if_room(
        3,
        Column::left("Authentication", |_, it| it.authentication.clone()),
    ),
    if_room(4, Column::left("Options", |_, it| options(it))),
];

/// Returns the source that the clock is synchronised to.
pub(crate) fn reference(status: &Status) -> Option<&SourceStatus> {
    let id = status.system.reference?;
    status.sources.iter().find(|source| source.id == id)
}

/// Returns the name of the reference source, or the reference ID.
pub(crate) fn reference_name(status: &Status) -> String {
    reference(status).map_or_else(
        || status.system.reference_id.to_string(),
        |source| source.name.clone(),
    )
}

/// Returns the state of a source, or `offline`: then it is not polled, whatever its state was.
pub(crate) fn state(source: &SourceStatus) -> &'static str {
    if source.online {
        source.state.as_str()
    } else {
        "offline"
    }
}

/// Returns the symbol of the state of a source.
pub(crate) fn symbol(status: &Status, source: &SourceStatus) -> char {
    if !source.online {
        return 'o';
    }
    match source.state {
        SourceState::Selected if status.system.reference == Some(source.id) => '*',
        SourceState::Selected => '+',
        SourceState::Outranked => '-',
        SourceState::Falseticker => 'x',
        SourceState::TooUncertain => '~',
        SourceState::NoSamples | SourceState::Stale | SourceState::Unreachable => '?',
        SourceState::NoMajority => '.',
        SourceState::Unusable => '!',
    }
}

fn host(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.trim_matches(['[', ']'])
}

/// Returns the table of `sources`.
pub(crate) fn plain(status: &Status, width: usize, coloured: bool) -> String {
    let mut text = format!("{LEGEND}\n");
    text += &rows(&SOURCES, status, width, coloured);
    text += &without_addresses(status);
    text
}

/// Returns a table of the sources in use, `width` columns wide; `coloured` enables colours.
fn rows(columns: &[Column<SourceStatus>], status: &Status, width: usize, coloured: bool) -> String {
    let mut text = String::new();
    for line in table(width, columns, status, &status.sources).lines() {
        match line.chars().next() {
            Some(symbol) if coloured => {
                text += &coloured_symbol(symbol);
                text += &line[symbol.len_utf8()..];
            }
            _ => text += line,
        }
        text.push('\n');
    }
    text
}

/// Lists the configured sources of which none is in use.
fn without_addresses(status: &Status) -> String {
    let mut text = String::new();
    for configured in status.configured.iter().filter(|it| it.present == 0) {
        let reason = match (configured.denied, configured.online) {
            (_, false) => "offline".to_owned(),
            (true, _) => configured.retry.map_or_else(
                || "access denied".to_owned(),
                |wait| format!("access denied, next attempt in {}", age(wait)),
            ),
            _ => "no address yet".to_owned(),
        };
        let _ = writeln!(text, "? {}: {reason}", configured.name);
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

fn name(source: &SourceStatus) -> String {
    let address = source.address.to_string();
    if source.name == address {
        return address;
    }
    format!("{} ({})", host(&source.name), host(&address))
}

fn last(status: &Status, source: &SourceStatus) -> String {
    or_dash(
        source
            .measurement
            .as_ref()
            .map(|it| age(status.program.now - it.at)),
    )
}

/// Formats the selection options.
fn options(source: &SourceStatus) -> String {
    let names: Vec<_> = source.options.names().collect();
    if names.is_empty() {
        return "none".into();
    }
    names.join(", ")
}

/// Returns the sources with this configured name, host, address or identifier.
pub(crate) fn find<'s>(status: &'s Status, name: &str) -> Result<Vec<&'s SourceStatus>, Failure> {
    let matches = |source: &&SourceStatus| {
        let address = source.address.to_string();
        source.name == name
            || address == name
            || host(&source.name) == name
            || host(&address) == name
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
pub(crate) fn details(status: &Status, source: &SourceStatus) -> String {
    let mut page = Page::new(18);
    let now = status.program.now;
    page.line("Source", &source.name);
    page.line("Address", &source.address);
    page.line("ID", source.id);
    page.line("State", state(source));
    page.line("Authentication", &source.authentication);
    let cookies = source.nts_cookies;
    page.optional("  Cookies", cookies.map(|count| format!("{count} of 8")));
    let expires = source.certificate_expires;
    page.optional("  Certificate", expires.map(|end| validity(end, now)));
    page.line("Options", options(source));
    page.line(
        "Poll interval",
        format_args!(
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
        format_args!(
            "{:o} (octal; {} polls since the last reply)",
            source.reach, source.unanswered
        ),
    );
    page.optional("Last error", source.last_error.as_ref());
    match &source.measurement {
        Some(it) => {
            let ago = age(now - it.at);
            let at = timestamp(it.at);
            page.line("Last measurement", format_args!("{at} ({ago} ago)"));
            measurement(&mut page, it);
        }
        None => page.line("Last measurement", "none"),
    }
    if let Some(it) = &source.path {
        path(&mut page, it);
    }
    let packets = &source.packets;
    page.line(
        "Packets",
        format_args!("{} sent, {} received", packets.sent, packets.received),
    );
    page.line(
        "  Replies",
        format_args!(
            "{} accepted, {} unusable, {} bogus",
            packets.accepted, packets.unusable, packets.bogus
        ),
    );
    page.into_text()
}

fn measurement(page: &mut Page, it: &MeasurementStatus) {
    page.line(
        "  Offset",
        format_args!("{} ± {}", signed(it.offset), or_unknown(it.uncertainty)),
    );
    page.optional("  Delay", it.delay.map(duration));
    page.line("  Stratum", it.stratum);
    page.line("  Reference", it.reference_id);
    page.line("  Root delay", duration(it.root_delay));
    page.line("  Root dispersion", duration(it.root_dispersion));
    page.line("  Leap status", it.leap);
    let receive = it.receive_stamp;
    match it.transmit_stamp {
        Some(transmit) => page.line(
            "  Timestamps",
            format_args!("{transmit} (transmit), {receive} (receive)"),
        ),
        None => page.line("  Timestamps", receive),
    }
}

fn path(page: &mut Page, it: &PathStatus) {
    page.line(
        "Path delay",
        format_args!(
            "{} minimum, {} typical excess",
            duration(it.base_delay),
            duration(it.typical_excess)
        ),
    );
    page.line("  Jitter", duration(it.jitter));
    page.line(
        "  Asymmetry",
        format_args!("{} ± {}", signed(it.bias), duration(it.bias_uncertainty)),
    );
    page.line("  Residual", signed(it.residual));
    page.line("  In estimate", if it.combined { "yes" } else { "no" });
    page.line(
        "  Outliers",
        format_args!("{} consecutive", it.consecutive_outliers),
    );
}

#[cfg(test)]
mod tests {
    use ntp_time::{NtpDuration, PollInterval, StampSource, Stratum};
    use ntp_types::source::{SourceAddress, SourceId};
    use ntp_types::status::ConfiguredSource;

    use super::*;

    #[test]
    fn the_table_fits_the_width_and_truncates_names() {
        let source = SourceStatus {
            name: "a-server-with-a-long-name.example.org:123".into(),
            address: "[2001:db8:1234:5678:9abc:def0:1234:5678]:123"
                .parse()
                .unwrap(),
            state: SourceState::TooUncertain,
            online: true,
            poll: PollInterval::from_log2(17),
            reach: 0o377,
            measurement: Some(MeasurementStatus {
                offset: NtpDuration::from_millis(-123_456),
                uncertainty: Some(NtpDuration::from_millis(100_500)),
                stratum: Stratum::new(15),
                ..MeasurementStatus::default()
            }),
            ..SourceStatus::default()
        };
        let status = Status {
            sources: vec![source],
            configured: vec![ConfiguredSource {
                present: 1,
                ..ConfiguredSource::default()
            }],
            ..Status::default()
        };
        for width in [80, 120, 200] {
            let text = plain(&status, width, false);
            let longest = text.lines().map(|line| line.chars().count()).max();
            assert!(longest.is_some_and(|longest| longest <= width), "{text}");
            assert_eq!(text.contains("Authentication"), width == 200, "{text}");
        }
    }

    #[test]
    fn details_show_who_took_the_timestamps() {
        let details_with = |transmit_stamp| {
            let source = SourceStatus {
                measurement: Some(MeasurementStatus {
                    transmit_stamp,
                    receive_stamp: StampSource::Kernel,
                    ..MeasurementStatus::default()
                }),
                ..SourceStatus::default()
            };
            details(&Status::default(), &source)
        };
        let network = details_with(Some(StampSource::Daemon));
        assert!(
            network.contains(": daemon (transmit), kernel (receive)\n"),
            "{network}"
        );
        let device = details_with(None);
        assert!(device.contains(": kernel\n"), "{device}");
    }

    #[test]
    fn the_reference_is_the_selected_source_with_its_identifier() {
        let source = |id: u32, state| SourceStatus {
            id: SourceId(id),
            // The same address twice: identifiers tell them apart.
            address: SourceAddress::Device("/dev/pps0".into()),
            name: format!("pulse {id}"),
            state,
            online: true,
            ..SourceStatus::default()
        };
        let mut status = Status {
            sources: vec![
                source(3, SourceState::Selected),
                source(4, SourceState::Selected),
                source(5, SourceState::Stale),
            ],
            ..Status::default()
        };
        status.system.reference = Some(SourceId(4));
        status.sources[2].online = false;
        let symbols: String = (status.sources.iter())
            .map(|source| symbol(&status, source))
            .collect();
        assert_eq!(symbols, "+*o");
        assert_eq!(reference_name(&status), "pulse 4");
        assert_eq!(state(&status.sources[2]), "offline");
        status.system.reference = None;
        assert_eq!(reference_name(&status), "0.0.0.0");
    }
}
