//! What the sources of chronyd and ntpd have in common: a name, options with and without a value.

use core::fmt::Write as _;

use super::Line;
use super::draft::Table;

/// Log2 of the shortest and the longest poll interval that a source can have.
const POLL: core::ops::RangeInclusive<i32> = 0..=17;
/// Both daemons' defaults, 64 s and 1024 s.
const DEFAULT_POLL: (i32, i32) = (6, 10);

/// What an option of another daemon becomes.
pub(super) enum Meaning {
    /// A flag of ours.
    Flag(&'static str),
    /// A number or word that is the value of a key of ours.
    Value(&'static str),
    /// The shortest or the longest poll interval.
    MinPoll,
    MaxPoll,
    /// Port of the server.
    Port,
    /// Port of its key exchange, which counts with NTS.
    KeyExchangePort,
    /// Members of a pool.
    Count,
    /// Authenticated by NTS.
    Nts,
    /// Nothing is needed, whether a value follows or not.
    Needless {
        value: bool,
    },
    /// There is nothing like it, and the reader should know.
    Missing {
        value: bool,
        why: &'static str,
    },
}

/// A source as another daemon's line describes it.
pub(super) fn source(
    line: &Line<'_>,
    pool: bool,
    meaning: fn(&str) -> Option<Meaning>,
) -> Option<Table> {
    let mut table = Table::default();
    let mut words = line.words.iter().copied();
    let host = words.find(|word| !matches!(*word, "-4" | "-6" | "ipv4" | "ipv6"))?;
    let (mut nts, mut port, mut ke_port) = (false, None, None);
    let mut polls = DEFAULT_POLL;
    let mut count = None;
    while let Some(word) = words.next() {
        let option = word.to_ascii_lowercase();
        let mut number = || words.next().and_then(|value| value.parse::<i32>().ok());
        match meaning(&option) {
            Some(Meaning::Flag(key)) => table.set(key, true),
            Some(Meaning::Value(key)) => {
                if let Some(value) = number() {
                    table.set(key, value);
                }
            }
            Some(Meaning::MinPoll) => polls.0 = number().unwrap_or(polls.0),
            Some(Meaning::MaxPoll) => polls.1 = number().unwrap_or(polls.1),
            Some(Meaning::Port) => port = number(),
            Some(Meaning::KeyExchangePort) => ke_port = number(),
            Some(Meaning::Count) => count = number(),
            Some(Meaning::Nts) => nts = true,
            Some(Meaning::Needless { value }) => {
                if value {
                    let _ = words.next();
                }
            }
            Some(Meaning::Missing { value, why }) => {
                let mut said = option.clone();
                if value && let Some(value) = words.next() {
                    let _ = write!(said, " {value}");
                }
                table.remark(format!("line {}: left out `{said}`: {why}", line.number));
            }
            None => table.remark(format!(
                "line {}: left out `{word}`: not known",
                line.number
            )),
        }
    }
    if nts && table.remove("key") {
        table.remark(format!(
            "line {}: left out `key`: NTS protects this source",
            line.number
        ));
    }
    if nts && pool {
        table.remark(format!(
            "line {}: one server of the pool; name others as sources of their own",
            line.number
        ));
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
            table.remark(format!(
                "line {}: intervals from 2^{} to 2^{} s, as close as possible to what was asked for",
                line.number, min, max
            ));
        }
        head.set(
            "poll-interval-limits",
            format!("{{ min = {min}, max = {max} }}"),
        );
    }
    Some(head.followed_by(table))
}

/// A host and, where it is not the usual one, a port; IPv6 addresses need brackets then.
fn address(host: &str, port: Option<i32>) -> String {
    match port {
        Some(port) if host.contains(':') => format!("[{host}]:{port}"),
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}
