//! Tables of the sources: `sources`, and what `chronyc` shows as `sourcestats`, `selectdata`,
//! `authdata` and `activity`.

use std::fmt::Write as _;

use ntp_time::{Frequency, NtpDuration};
use ntp_types::escape::escape_lines;
use ntp_types::source::SourceState;
use ntp_types::status::{KeyExchangeStatus, SourceStatus, Status};
use serde_json::{Value, json};

use crate::console::{self, Failure};
pub(crate) use ntp_control_api::explain::reference_name;

use crate::format::{age, duration, signed};
use crate::layout::{Column, if_room, or_dash, table};

/// Meaning of the symbols before the names.
const LEGEND: &str = "\
* reference  + selected  - outranked (`prefer`, `trust`)  x falseticker
. no majority  ~ too uncertain  ? no reply  ! unusable  = duplicate  o offline
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
        SourceState::Duplicate => '=',
        SourceState::Standby => '/',
        SourceState::Unusable => '!',
    }
}

fn host(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.trim_matches(['[', ']'])
}

/// Columns of `sourcestats`.
const STATISTICS: [Column<SourceStatus>; 10] = [
    SYMBOL,
    NAME,
    Column::right("N", |_, it| or_dash(it.trend.map(|it| it.samples))),
    Column::right("Span", |_, it| or_dash(it.trend.map(|it| age(it.span)))),
    Column::right("Frequency", |status, it| {
        // As chronyc: of the corrected clock, not of the oscillator.
        let residual = |frequency: Frequency| (frequency - status.system.frequency).as_ppm();
        or_dash(
            it.trend
                .map(|it| format!("{:+.3} ppm", residual(it.frequency))),
        )
    }),
    Column::right("Skew", |_, it| {
        let skew = it.trend.map(|it| it.frequency_uncertainty.as_ppm());
        or_dash(skew.map(|skew| format!("{skew:.3} ppm")))
    }),
    Column::right("Bias", |_, it| or_dash(it.path.map(|it| signed(it.bias)))),
    Column::right("Std dev", |_, it| {
        or_dash(it.trend.map(|it| duration(it.deviation)))
    }),
    if_room(
        1,
        Column::right("Jitter", |_, it| {
            or_dash(it.path.map(|it| duration(it.jitter)))
        }),
    ),
    if_room(
        2,
        Column::right("Outliers", |_, it| {
            or_dash(it.path.map(|it| it.consecutive_outliers))
        }),
    ),
];

/// Columns of `selectdata`.
const SELECTION: [Column<SourceStatus>; 11] = [
    SYMBOL,
    NAME,
    Column::left("Auth", |_, it| {
        if it.key.is_some() { "yes" } else { "no" }.into()
    }),
    Column::left("Opts", option_letters),
    Column::right("Last", last),
    Column::right("Weight", |_, it| {
        let weight = it.path.and_then(|it| it.weight);
        or_dash(weight.map(|weight| format!("{:.1}%", 100.0 * weight)))
    }),
    Column::right("From", |_, it| {
        or_dash(interval(it).map(|(from, _)| signed(from)))
    }),
    Column::right("To", |_, it| {
        or_dash(interval(it).map(|(_, to)| signed(to)))
    }),
    if_room(
        1,
        Column::left("Leap", |_, it| {
            or_dash(it.measurement.as_ref().map(|it| it.leap))
        }),
    ),
    Column::left("State", |_, it| state(it).to_owned()),
    if_room(
        2,
        Column::left("Last error", |_, it| or_dash(it.last_error.as_ref())),
    ),
];

/// Columns of `authdata`.
const AUTHENTICATION: [Column<SourceStatus>; 10] = [
    SYMBOL,
    NAME,
    Column::left("Mode", |_, it| {
        let mode = it
            .key
            .as_ref()
            .map(|key| if key.id.is_some() { "key" } else { "NTS" });
        or_dash(mode)
    }),
    Column::right("Key", |_, it| {
        or_dash(it.key.as_ref().and_then(|key| key.id))
    }),
    Column::left("Type", |_, it| {
        or_dash(it.key.as_ref().map(|key| &key.algorithm))
    }),
    Column::right("Bits", |_, it| or_dash(it.key.as_ref().map(|key| key.bits))),
    Column::right("Last", |status, it| {
        or_dash(key_exchange(status, it).and_then(|it| it.age).map(age))
    }),
    Column::right("KE", |status, it| {
        or_dash(key_exchange(status, it).map(|it| it.exchanges))
    }),
    Column::right("NAK", |_, it| {
        (it.packets.nts_naks + it.packets.crypto_naks).to_string()
    }),
    Column::right("Cookies", |_, it| {
        let length = it.key.as_ref().and_then(|key| key.cookie_length);
        or_dash(it.nts_cookies.map(|count| match length {
            Some(length) => format!("{count} of {length}"),
            None => count.to_string(),
        }))
    }),
];

/// A table of the sources in use.
#[derive(Clone, Copy, Debug)]
pub(crate) enum View {
    Statistics,
    Selection,
    Authentication,
}

/// Returns the table, `width` columns wide; `coloured` enables colours.
pub(crate) fn view(view: View, status: &Status, width: usize, coloured: bool) -> String {
    match view {
        View::Statistics => rows(&STATISTICS, status, width, coloured),
        View::Selection => rows(&SELECTION, status, width, coloured),
        View::Authentication => rows(&AUTHENTICATION, status, width, coloured),
    }
}

/// The options as chronyc abbreviates them: N, P, T, R for noselect, prefer, trust, require; F in
/// place of N is `fallback`.
fn option_letters(_: &Status, source: &SourceStatus) -> String {
    let options = source.options;
    let excluding = if options.noselect { 'N' } else { 'F' };
    [
        (excluding, options.noselect || options.fallback),
        ('P', options.prefer),
        ('T', options.trust),
        ('R', options.require),
    ]
    .iter()
    .map(|(letter, set)| if *set { *letter } else { '-' })
    .collect()
}

/// The correctness interval at the newest measurement.
fn interval(source: &SourceStatus) -> Option<(NtpDuration, NtpDuration)> {
    let measured = source.measurement.as_ref()?;
    let half = measured.uncertainty?;
    Some((measured.offset - half, measured.offset + half))
}

/// Key exchanges of the configured source.
fn key_exchange<'s>(status: &'s Status, source: &SourceStatus) -> Option<&'s KeyExchangeStatus> {
    let configured = status.configured.iter().find(|it| it.name == source.name);
    configured?.key_exchange.as_ref()
}

/// Returns the numbers of sources, as JSON.
pub(crate) fn activity(status: &Status) -> Value {
    let count = |online| {
        status
            .sources
            .iter()
            .filter(|it| it.online == online)
            .count()
    };
    let missing = status.configured.iter().filter(|it| it.present == 0);
    json!({
        "online": count(true),
        "offline": count(false),
        "without_address": missing.clone().filter(|it| it.online && !it.denied).count(),
        "not_asked": missing.filter(|it| !it.online || it.denied).count(),
    })
}

/// Returns the numbers of sources, one in each line.
pub(crate) fn activity_text(status: &Status) -> String {
    let counts = activity(status);
    let line = |(name, text)| format!("{} {text}\n", counts[name]);
    [
        ("online", "sources online"),
        ("offline", "sources offline"),
        (
            "without_address",
            "configured sources without an address yet",
        ),
        (
            "not_asked",
            "configured sources not polled: offline or denied by the server",
        ),
    ]
    .map(line)
    .concat()
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
    // Before the colours, which the console does not escape.
    let table = escape_lines(&table(width, columns, status, &status.sources));
    for line in table.lines() {
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
        '*' | '+' => console::GREEN,
        'x' | '!' => console::RED,
        '?' | '~' | '.' => console::YELLOW,
        _ => return symbol.to_string(),
    };
    format!("{colour}{symbol}{}", console::DEFAULT_COLOUR)
}

fn name(source: &SourceStatus) -> String {
    let address = source.address.to_string();
    if source.name == address {
        return address;
    }
    // A device is part of the name.
    if let Some((server, device)) = source.name.rsplit_once('%')
        && !device.contains(']')
    {
        let server = if server == address {
            host(server).to_owned()
        } else {
            format!("{} ({})", host(server), host(&address))
        };
        return format!("{server}%{device}");
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
pub(crate) fn options(source: &SourceStatus) -> String {
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

#[cfg(test)]
mod tests {
    use ntp_time::{PollInterval, Stratum};
    use ntp_types::source::{SourceAddress, SourceId};
    use ntp_types::status::{
        ConfiguredSource, KeyStatus, MeasurementStatus, PathStatus, TrendStatus,
    };

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
            key: Some(KeyStatus {
                id: Some(1_234_567),
                algorithm: "AES-SIV-CMAC-512".into(),
                bits: 512,
                cookie_length: Some(168),
            }),
            nts_cookies: Some(8),
            trend: Some(TrendStatus {
                samples: 32,
                span: NtpDuration::from_seconds(86_400),
                frequency: Frequency::from_ppm(1234.567),
                frequency_uncertainty: Frequency::from_ppm(123.456),
                deviation: NtpDuration::from_millis(99),
            }),
            path: Some(PathStatus {
                bias: NtpDuration::from_millis(-123),
                weight: Some(1.0),
                ..PathStatus::default()
            }),
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
            for chosen in [View::Statistics, View::Selection, View::Authentication] {
                let text = view(chosen, &status, width, false);
                let longest = text.lines().map(|line| line.chars().count()).max();
                assert!(longest.is_some_and(|longest| longest <= width), "{text}");
            }
        }
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
