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
    /// Not needed.
    Ignored,
    /// Not needed, and a value follows.
    IgnoredValue,
    /// No equivalent, with the reason.
    Omitted(&'static str),
    /// No equivalent, with the reason, and a value follows.
    OmittedValue(&'static str),
}

/// Converts a line of another daemon to a source.
pub(super) fn source(
    line: &Line<'_>,
    pool: bool,
    mapping: fn(&str) -> Option<Mapping>,
) -> Option<Table> {
    let mut table = Table::default();
    let omitted = |table: &mut Table, option: &str, why: &str| {
        table.comment(format!("line {}: omitted `{option}`: {why}", line.number));
    };
    let mut words = line.words.iter().copied();
    let host = words.find(|word| !matches!(*word, "-4" | "-6" | "ipv4" | "ipv6"))?;
    let (mut nts, mut port, mut ke_port) = (false, None, None);
    let mut polls = DEFAULT_POLL;
    let mut count = None;
    while let Some(word) = words.next() {
        let option = word.to_ascii_lowercase();
        let mut number = || words.next().and_then(|value| value.parse::<i32>().ok());
        match mapping(&option) {
            Some(Mapping::Flag(key)) => table.set(key, true),
            Some(Mapping::Value(key)) => {
                if let Some(value) = number() {
                    table.set(key, value);
                }
            }
            Some(Mapping::MinPoll) => polls.0 = number().unwrap_or(polls.0),
            Some(Mapping::MaxPoll) => polls.1 = number().unwrap_or(polls.1),
            Some(Mapping::Port) => port = number(),
            Some(Mapping::KeyExchangePort) => ke_port = number(),
            Some(Mapping::Count) => count = number(),
            Some(Mapping::Nts) => nts = true,
            Some(Mapping::Ignored) => {}
            Some(Mapping::IgnoredValue) => drop(words.next()),
            Some(Mapping::Omitted(why)) => omitted(&mut table, &option, why),
            Some(Mapping::OmittedValue(why)) => {
                let value = words.next().map(|value| format!(" {value}"));
                omitted(&mut table, &(option + &value.unwrap_or_default()), why);
            }
            None => omitted(&mut table, word, "unknown option"),
        }
    }
    if nts && table.remove("key") {
        omitted(&mut table, "key", "this source is authenticated by NTS");
    }
    if nts && pool {
        table.comment(format!(
            "line {}: one server of the pool; add others as separate sources",
            line.number
        ));
    }
    let without_nts = if pool { "pool" } else { "server" };
    let mut head = Table::default();
    head.set_text("mode", if nts { "nts" } else { without_nts });
    head.set_text("address", &address(host, if nts { ke_port } else { port }));
    if let Some(count) = count.filter(|count| pool && !nts && *count > 0) {
        head.set("count", count);
    }
    if polls != DEFAULT_POLL {
        let clamped = |poll: i32| poll.clamp(*POLL.start(), *POLL.end());
        let (min, max) = (clamped(polls.0), clamped(polls.1.max(polls.0)));
        if (min, max) != polls {
            let number = line.number;
            table.comment(format!(
                "line {number}: poll intervals limited to 2^{min} to 2^{max} s"
            ));
        }
        head.set_poll_limits(min, max);
    }
    Some(head.followed_by(table))
}

/// Formats a host with an optional port; an IPv6 address with a port needs brackets.
fn address(host: &str, port: Option<i32>) -> String {
    match port {
        Some(port) if host.contains(':') => format!("[{host}]:{port}"),
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}
