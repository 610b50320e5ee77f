//! ntpd's `ntp.conf`, of the reference implementation (4.2.8) and of ntpsec.
//!
//! ntpd serves everybody who is not restricted; its `restrict` lines decide who is.

use super::draft::{Draft, Table, list};
use super::source::{Meaning, source};
use super::{Line, lines, number};

/// Why a directive needs no equivalent.
const NEEDLESS: &[(&[&str], &str)] = &[
    (
        &["driftfile"],
        "the frequency is kept in [state] directory, /var/lib/ntpd-rs if unset",
    ),
    (
        &["logconfig", "logfile"],
        "log lines go to the journal, or to [observability] log-path",
    ),
    (
        &["trustedkey"],
        "every key of the file is trusted where a source or a client names it",
    ),
    (
        &["requestkey", "controlkey", "mru"],
        "there is no control over the network, and modes 6 and 7 do not exist",
    ),
    (
        &["pidfile", "rlimit", "saveconfigdir"],
        "a matter of the service unit",
    ),
    (
        &["mdnstries"],
        "the server is not announced by multicast DNS",
    ),
];

/// Why a directive has no equivalent.
const LEFT: &[(&[&str], &str)] = &[
    (
        &["statsdir", "statistics", "filegen"],
        "every measurement can be recorded with [observability] record-path, and read with `ntp-ctl replay`",
    ),
    (
        &["discard"],
        "how often a client may ask is said by rate-limiting-cutoff-ms and rate-limiting-burst of [[server]]",
    ),
    (&["refclock"], "reference clocks are not in this version"),
    (
        &["autokey", "crypto", "keysdir", "ntpsigndsocket"],
        "keys are named by the sources and servers that use them; there is no control over the network",
    ),
    (
        &[
            "broadcast",
            "broadcastclient",
            "multicastclient",
            "manycastclient",
            "manycastserver",
            "broadcastdelay",
        ],
        "broadcast and multicast cannot be protected and are not supported",
    ),
    (
        &["peer"],
        "symmetric mode is not supported: write each of the two as a server of the other",
    ),
    (
        &["includefile"],
        "migrate that file too; ntpd-rs reads drop-ins from /etc/ntpd-rs/ntp.toml.d",
    ),
    (
        &[
            "disable",
            "enable",
            "tick",
            "calldelay",
            "reset",
            "setvar",
            "ttl",
            "dscp",
            "pollskewlist",
            "phone",
        ],
        "there is nothing that corresponds",
    ),
];

/// Draft of the file.
pub(super) fn draft(text: &str) -> Draft {
    let mut draft = Draft::default();
    let mut access = Access::default();
    let mut minimum = 1;
    let mut nts = Nts::default();
    for line in lines(text, &['#']) {
        match line.directive.as_str() {
            "server" | "pool" => upstream(&mut draft, &line),
            "fudge" => fudge(&mut draft, &line),
            "restrict" => access.restrict(&mut draft, &line),
            "keys" => match line.words.first() {
                Some(path) => {
                    let path = path.trim_matches('"').to_owned();
                    draft.key_file = Some((line.number, line.text.into(), path));
                }
                None => draft.leave(line.number, line.text, "names no file"),
            },
            "leapfile" => match line.words.first() {
                Some(path) => draft.leap.set_text("list", path.trim_matches('"')),
                None => draft.leave(line.number, line.text, "names no file"),
            },
            "leapsmearinterval" => {
                draft.leap.set_text("handling", "smear");
                draft
                    .leap
                    .remark("smeared from noon to noon; ntpd's interval was another");
            }
            "interface" | "nic" => access.interface(&mut draft, &line),
            "disable" | "enable"
                if line.words.iter().all(|word| {
                    matches!(*word, "monitor" | "stats" | "ntp" | "kernel" | "mode7")
                }) =>
            {
                draft.need_not(
                    line.number,
                    line.text,
                    "there are no modes 6 and 7, and no monitoring by strangers",
                );
            }
            "tos" => minimum = tos(&mut draft, &line).unwrap_or(minimum),
            "tinker" => tinker(&mut draft, &line),
            "nts" => nts.take(&mut draft, &line),
            directive => {
                let why = |known: &'static [(&[&str], &str)]| {
                    let found = known.iter().find(|(names, _)| names.contains(&directive));
                    found.map(|(_, why)| *why)
                };
                match why(NEEDLESS) {
                    Some(why) => draft.need_not(line.number, line.text, why),
                    None => draft.leave(line.number, line.text, why(LEFT).unwrap_or("not known")),
                }
            }
        }
    }
    share_out(&mut draft);
    draft
        .synchronization
        .set("minimum-agreeing-sources", minimum);
    draft.synchronization.remark(
        "ntpd steps the clock whenever it is off by more than 0.128 s for 15 minutes; ntpd-rs steps in its first updates and slews later",
    );
    access.write(&mut draft);
    nts.write(&mut draft);
    draft
        .observability
        .set_text("observation-path", "/run/ntpd-rs/observe");
    draft
}

/// ntpd fills up to ten sources from all of its pools together, where each of ours is filled for itself.
fn share_out(draft: &mut Draft) {
    const ALL: usize = 10;
    let pools = draft
        .sources
        .iter()
        .filter(|source| source.is_pool())
        .count();
    if pools > 2 {
        for pool in draft.sources.iter_mut().filter(|source| source.is_pool()) {
            pool.set("count", (ALL / pools).max(1));
        }
    }
}

fn upstream(draft: &mut Draft, line: &Line<'_>) {
    let host = line.words.iter().find(|word| !word.starts_with('-'));
    match host {
        Some(host) if host.starts_with("127.127.1.") => {
            // The undisciplined local clock, a source of last resort: ours is a mode of the server.
            draft.synchronization.set("local-stratum", 5);
            draft.synchronization.remark(format!(
                "line {}: the local clock is not a source here; it is served at local-stratum while there is none",
                line.number
            ));
        }
        Some(host) if host.starts_with("127.127.") => draft.leave(
            line.number,
            line.text,
            "reference clocks are not in this version",
        ),
        _ => match source(line, line.directive == "pool", option) {
            Some(table) => draft.sources.push(table),
            None => draft.leave(line.number, line.text, "names no server"),
        },
    }
}

fn option(name: &str) -> Option<Meaning> {
    Some(match name {
        "iburst" | "burst" | "preempt" | "dynamic" | "xmtnonce" => {
            Meaning::Needless { value: false }
        }
        "minpoll" => Meaning::MinPoll,
        "maxpoll" => Meaning::MaxPoll,
        "prefer" => Meaning::Flag("prefer"),
        "noselect" => Meaning::Flag("noselect"),
        "true" => Meaning::Flag("trust"),
        "xleave" => Meaning::Flag("interleaved"),
        "key" => Meaning::Value("key"),
        "nts" => Meaning::Nts,
        "port" => Meaning::Port,
        "version" | "mode" | "ttl" | "subtype" => Meaning::Missing {
            value: true,
            why: "not supported",
        },
        "ca" | "cert" | "aead" | "ask" | "require" => Meaning::Missing {
            value: true,
            why: "see certificate-authority in the manual",
        },
        "bias" => Meaning::Missing {
            value: true,
            why: "a constant offset of a source cannot be corrected",
        },
        "autokey" | "noval" => Meaning::Missing {
            value: false,
            why: "not supported",
        },
        _ => return None,
    })
}

fn fudge(draft: &mut Draft, line: &Line<'_>) {
    let local = line
        .words
        .first()
        .is_some_and(|host| host.starts_with("127.127.1."));
    match value_of(line, "stratum").filter(|_| local) {
        Some(stratum) => draft
            .synchronization
            .set("local-stratum", stratum.clamp(1.0, 15.0) as u8),
        None => draft.leave(
            line.number,
            line.text,
            "only the stratum of the local clock is carried over",
        ),
    }
}

/// Number behind a word.
fn value_of(line: &Line<'_>, name: &str) -> Option<f64> {
    let at = line.words.iter().position(|word| *word == name)?;
    number(line.words.get(at + 1)?)
}

fn tos(draft: &mut Draft, line: &Line<'_>) -> Option<u32> {
    for pair in line.words.chunks(2) {
        match pair {
            ["minsane" | "minclock", _] => {}
            ["orphan", stratum] => {
                let stratum = stratum.parse().unwrap_or(10u8).clamp(1, 15);
                draft.synchronization.set("local-stratum", stratum);
                draft.synchronization.remark(format!(
                    "line {}: orphan mode becomes local mode; give each orphan a stratum of its own",
                    line.number
                ));
            }
            _ => draft.need_not(
                line.number,
                &format!("tos {}", pair.join(" ")),
                "ntpd-rs weighs its sources by itself",
            ),
        }
    }
    value_of(line, "minsane").map(|minimum| minimum.max(1.0) as u32)
}

fn tinker(draft: &mut Draft, line: &Line<'_>) {
    for pair in line.words.chunks(2) {
        let value = pair.get(1).and_then(|word| number(word));
        match (pair.first().copied(), value) {
            (Some("panic"), Some(0.0)) => {
                draft
                    .synchronization
                    .set("single-step-panic-threshold", "\"inf\"");
                draft
                    .synchronization
                    .set("startup-step-panic-threshold", "\"inf\"");
            }
            (Some("panic"), Some(limit)) => {
                draft
                    .synchronization
                    .set("single-step-panic-threshold", limit);
            }
            (Some("step"), Some(0.0)) => draft.leave(
                line.number,
                "tinker step 0",
                "never to step: ntpd-rs steps in its first updates only",
            ),
            (Some("step"), Some(threshold)) => draft.algorithm.set("step-threshold", threshold),
            _ => draft.need_not(
                line.number,
                &format!("tinker {}", pair.join(" ")),
                "ntpd-rs learns the oscillator and the network by itself",
            ),
        }
    }
}

/// NTS of ntpsec's server.
#[derive(Default)]
struct Nts {
    certificate: Option<String>,
    key: Option<String>,
}

impl Nts {
    fn take(&mut self, draft: &mut Draft, line: &Line<'_>) {
        for pair in line.words.chunks(2) {
            match pair {
                ["enable"] => {}
                ["cert", path] => self.certificate = Some((*path).to_owned()),
                ["key", path] => self.key = Some((*path).to_owned()),
                _ => draft.leave(
                    line.number,
                    line.text,
                    "see [keyset] and [[nts-ke-server]] in the manual",
                ),
            }
        }
    }

    fn write(self, draft: &mut Draft) {
        if let (Some(certificate), Some(key)) = (self.certificate, self.key) {
            let mut table = Table::default();
            table.set_text("listen", "[::]:4460");
            table.set_text("certificate-chain-path", &certificate);
            table.set_text("private-key-path", &key);
            draft.key_exchange.push(table);
        }
    }
}

/// Who is served: `restrict default` for all, other lines for networks.
#[derive(Default)]
struct Access {
    everybody_refused: bool,
    limited: bool,
    served: Vec<String>,
    refused: Vec<String>,
    /// Addresses to serve at; all if there are none.
    listen: Vec<std::net::IpAddr>,
}

impl Access {
    fn restrict(&mut self, draft: &mut Draft, line: &Line<'_>) {
        let mut words: Vec<&str> = line
            .words
            .iter()
            .copied()
            .filter(|word| !matches!(*word, "-4" | "-6"))
            .collect();
        if words.is_empty() {
            return draft.leave(line.number, line.text, "names nobody");
        }
        let who = words.remove(0);
        let mut length = None;
        if words.first() == Some(&"mask") && words.len() >= 2 {
            length = mask_length(words[1]);
            if length.is_none() {
                return draft.leave(line.number, line.text, "the mask is not understood");
            }
            words.drain(..2);
        }
        let refused = words
            .iter()
            .any(|flag| matches!(*flag, "ignore" | "noserve" | "notrust"));
        if who == "default" {
            self.everybody_refused |= refused;
            self.limited |= words.contains(&"limited");
            return;
        }
        if who == "source" {
            return draft.need_not(
                line.number,
                line.text,
                "only answers to our own requests are listened to",
            );
        }
        let (address, slash) = match who.split_once('/') {
            Some((address, length)) => (address, length.parse::<u8>().ok()),
            None => (who, None),
        };
        let Ok(address) = address.parse::<std::net::IpAddr>() else {
            return draft.leave(
                line.number,
                line.text,
                "name networks by address, for example 192.0.2.0/24",
            );
        };
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let length = length.or(slash).unwrap_or(bits).min(bits);
        let network = format!("{address}/{length}");
        if refused {
            self.refused.push(network);
        } else {
            self.served.push(network);
        }
    }

    fn interface(&mut self, draft: &mut Draft, line: &Line<'_>) {
        match line.words.as_slice() {
            ["listen", address] if let Ok(address) = address.parse() => self.listen.push(address),
            ["ignore" | "drop", "wildcard" | "all"] => draft.need_not(
                line.number,
                line.text,
                "what is served is said by [[server]] listen",
            ),
            _ => draft.leave(
                line.number,
                line.text,
                "write the addresses to serve at as [[server]] listen",
            ),
        }
    }

    fn write(self, draft: &mut Draft) {
        let loopback_only = self
            .served
            .iter()
            .all(|network| network.starts_with("127.") || network.starts_with("::1"));
        if self.everybody_refused && loopback_only {
            return;
        }
        let mut table = Table::default();
        if self.everybody_refused {
            let networks = list(self.served.iter().map(String::as_str));
            table.set(
                "allowlist",
                format!("{{ filter = {networks}, action = \"ignore\" }}"),
            );
        } else {
            table.remark("ntpd serves time to everybody who is not restricted; remove this section to be a client only");
        }
        if !self.refused.is_empty() {
            let networks = list(self.refused.iter().map(String::as_str));
            table.set(
                "denylist",
                format!("{{ filter = {networks}, action = \"ignore\" }}"),
            );
        }
        if self.limited {
            // ntpd's default: 2 s between packets of one client.
            table.set("rate-limiting-cache-size", 16_384);
            table.set("rate-limiting-cutoff-ms", 2000);
        }
        let at = match self.listen.is_empty() {
            true => vec!["[::]:123".to_owned()],
            false => self
                .listen
                .iter()
                .map(|address| std::net::SocketAddr::from((*address, 123)).to_string())
                .collect(),
        };
        for address in at {
            let mut server = Table::default();
            server.set_text("listen", &address);
            draft.servers.push(server.followed_by(table.clone()));
        }
    }
}

/// Length of a contiguous mask.
fn mask_length(text: &str) -> Option<u8> {
    let (bits, ones, zeros) = match text.parse().ok()? {
        std::net::IpAddr::V4(mask) => {
            let mask = mask.to_bits();
            (32, mask.leading_ones(), mask.trailing_zeros())
        }
        std::net::IpAddr::V6(mask) => {
            let mask = mask.to_bits();
            (128, mask.leading_ones(), mask.trailing_zeros())
        }
    };
    (ones + zeros >= bits)
        .then(|| u8::try_from(ones).ok())
        .flatten()
}
