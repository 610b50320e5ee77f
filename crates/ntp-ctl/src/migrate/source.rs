//! Sources of the other daemons: a name, and options with and without a value.

use super::Line;
use super::draft::Table;

/// Permitted poll intervals in log2 seconds.
const POLL: core::ops::RangeInclusive<i32> = 0..=17;
/// Default poll intervals of chronyd and ntpd, 64 s and 1024 s, in log2 seconds.
const DEFAULT_POLL: (i32, i32) = (6, 10);

/// Conversion of an option of another daemon.
pub(super) enum Mapping {
    /// A boolean key.
    Flag(&'static str),
    /// A key whose value is the number that follows.
    Value(&'static str),
    /// Minimum poll interval.
    MinPoll,
    /// Maximum poll interval.
    MaxPoll,
    /// Port of the server.
    Port,
    /// Port of the key exchange, used with NTS.
    KeyExchangePort,
    /// Number of servers of a pool.
    Count,
    /// Authentication by NTS.
    Nts,
    /// Not needed; the number of words that follow.
    NotNeeded(usize),
    /// No equivalent; the number of words that follow, and the reason.
    Unsupported(usize, &'static str),
}

/// Options of a source that several keys depend on.
struct Options {
    nts: bool,
    port: Option<i32>,
    ke_port: Option<i32>,
    count: Option<i32>,
    polls: (i32, i32),
    /// Other options, converted one by one.
    table: Table,
}

/// Converts a line of another daemon to a source.
pub(super) fn source(
    line: &Line<'_>,
    pool: bool,
    mapping: fn(&str) -> Option<Mapping>,
) -> Option<Table> {
    let mut words = line.words.iter().copied();
    let host = words.find(|word| !matches!(*word, "-4" | "-6" | "ipv4" | "ipv6"))?;
    let Options {
        nts,
        port,
        ke_port,
        count,
        polls,
        mut table,
    } = options(line.number, words, mapping);
    let comment = |table: &mut Table, text: &str| {
        table.comment(format!("line {}: {text}", line.number));
    };
    if nts && table.remove("key") {
        comment(
            &mut table,
            "omitted `key`: this source is authenticated by NTS",
        );
    }
    if nts && pool {
        comment(
            &mut table,
            "one server of the pool; add others as separate sources",
        );
    }
    let mode = match (nts, pool) {
        (true, _) => "nts",
        (false, true) => "pool",
        (false, false) => "server",
    };
    let mut head = Table::default();
    head.set_text("mode", mode);
    head.set_text("address", &address(host, if nts { ke_port } else { port }));
    if let Some(count) = count.filter(|count| pool && !nts && *count > 0) {
        head.set("count", count);
    }
    if polls != DEFAULT_POLL {
        let clamped = |poll: i32| poll.clamp(*POLL.start(), *POLL.end());
        let (min, max) = (clamped(polls.0), clamped(polls.1.max(polls.0)));
        if (min, max) != polls {
            let text = format!("poll intervals limited to 2^{min} to 2^{max} s");
            comment(&mut table, &text);
        }
        head.set(
            "poll-interval-limits",
            format!("{{ min = {min}, max = {max} }}"),
        );
    }
    Some(head.followed_by(table))
}

/// Converts the words after the host.
fn options<'a>(
    number: usize,
    mut words: impl Iterator<Item = &'a str>,
    mapping: fn(&str) -> Option<Mapping>,
) -> Options {
    let mut all = Options {
        nts: false,
        port: None,
        ke_port: None,
        count: None,
        polls: DEFAULT_POLL,
        table: Table::default(),
    };
    while let Some(word) = words.next() {
        let option = word.to_ascii_lowercase();
        let mut value = || words.next().and_then(|value| value.parse::<i32>().ok());
        match mapping(&option) {
            Some(Mapping::Flag(key)) => all.table.set(key, true),
            Some(Mapping::Value(key)) => {
                if let Some(value) = value() {
                    all.table.set(key, value);
                }
            }
            Some(Mapping::MinPoll) => all.polls.0 = value().unwrap_or(all.polls.0),
            Some(Mapping::MaxPoll) => all.polls.1 = value().unwrap_or(all.polls.1),
            Some(Mapping::Port) => all.port = value(),
            Some(Mapping::KeyExchangePort) => all.ke_port = value(),
            Some(Mapping::Count) => all.count = value(),
            Some(Mapping::Nts) => all.nts = true,
            Some(Mapping::NotNeeded(values)) => {
                let _ = words.by_ref().take(values).count();
            }
            Some(Mapping::Unsupported(values, why)) => {
                let mut text = option;
                for value in words.by_ref().take(values) {
                    text = format!("{text} {value}");
                }
                (all.table).comment(format!("line {number}: omitted `{text}`: {why}"));
            }
            None => {
                (all.table).comment(format!("line {number}: omitted `{word}`: unknown option"));
            }
        }
    }
    all
}

/// Formats a host with an optional port; an IPv6 address with a port needs brackets.
fn address(host: &str, port: Option<i32>) -> String {
    match port {
        Some(port) if host.contains(':') => format!("[{host}]:{port}"),
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}
