//! ntpd's `ntp.conf`, of the reference implementation (4.2.8) and of ntpsec.
//!
//! ntpd serves all clients except those that `restrict` lines exclude.

use ntp_config::NTS_KE_PORT;

use super::draft::{Draft, Table};
use super::source::{Mapping, source};
use super::{Line, lines, number};

/// Directives that need no equivalent, with the reason; one group in each line.
const NOT_NEEDED: &str = "\
driftfile => the frequency is kept in [state] directory, /var/lib/ntpd-rs if unset
logconfig logfile => log lines go to the journal, or to [observability] log-path
trustedkey => all keys of the file are trusted
requestkey controlkey mru => no remote control over the network; modes 6 and 7 are not supported
pidfile rlimit saveconfigdir => set in the service unit
mdnstries => multicast DNS is not supported
";

/// Directives without an equivalent, with the reason; one group in each line.
const UNSUPPORTED: &str = "\
statsdir statistics filegen => \
    use [observability] record-path to record measurements, and `ntp-ctl replay` to read them
discard => use rate-limiting-cutoff-ms and rate-limiting-burst of [[server]]
refclock => reference clocks are not in this version
autokey crypto keysdir ntpsigndsocket => not supported: set keys in the sources and servers that use them
broadcast broadcastclient multicastclient manycastclient manycastserver broadcastdelay => \
    broadcast and multicast cannot be authenticated and are not supported
peer => symmetric mode is not supported: configure each host as a server of the other
includefile => migrate this file separately; drop-ins are in /etc/ntpd-rs/ntp.toml.d
disable enable tick calldelay reset setvar ttl dscp pollskewlist phone => no equivalent
";

/// Converts the file.
pub(super) fn draft(text: &str) -> Draft {
    let mut draft = Draft::default();
    let mut access = Access::default();
    let mut minimum = 1;
    let mut nts = Nts::default();
    for line in lines(text, &['#']) {
        match line.directive.as_str() {
            "server" | "pool" => add_source(&mut draft, &line),
            "fudge" => fudge(&mut draft, &line),
            "restrict" => access.restrict(&mut draft, &line),
            "keys" => match line.words.first() {
                Some(path) => {
                    let path = path.trim_matches('"').to_owned();
                    draft.key_file = Some((line.number, line.text.into(), path));
                }
                None => draft.unsupported(&line, "no file given"),
            },
            "leapfile" => match line.words.first() {
                Some(path) => draft.leap.set_text("list", path.trim_matches('"')),
                None => draft.unsupported(&line, "no file given"),
            },
            "leapsmearinterval" => {
                draft.leap.set_text("handling", "smear");
                draft
                    .leap
                    .comment("smeared from noon to noon; ntpd uses another interval");
            }
            "interface" | "nic" => access.interface(&mut draft, &line),
            "disable" | "enable"
                if line.words.iter().all(|word| {
                    matches!(*word, "monitor" | "stats" | "ntp" | "kernel" | "mode7")
                }) =>
            {
                draft.not_needed(
                    &line,
                    "modes 6 and 7 and remote monitoring are not supported",
                );
            }
            "tos" => minimum = tos(&mut draft, &line).unwrap_or(minimum),
            "tinker" => tinker(&mut draft, &line),
            "nts" => nts.add_line(&mut draft, &line),
            _ => draft.by_table(&line, NOT_NEEDED, UNSUPPORTED),
        }
    }
    set_pool_sizes(&mut draft);
    draft
        .synchronization
        .set("minimum-agreeing-sources", minimum);
    draft.synchronization.comment(
        "ntpd steps offsets over 0.128 s after 15 minutes; ntpd-rs steps in the first updates and slews later",
    );
    access.write(&mut draft);
    nts.write(&mut draft);
    draft
}

/// Sets the sizes of the pools: ntpd uses up to ten sources of all pools together, ntpd-rs a number
/// for each pool.
fn set_pool_sizes(draft: &mut Draft) {
    const MAX_SOURCES: usize = 10;
    let pools = draft
        .sources
        .iter()
        .filter(|source| source.is_pool())
        .count();
    if pools > 2 {
        for pool in draft.sources.iter_mut().filter(|source| source.is_pool()) {
            pool.set("count", (MAX_SOURCES / pools).max(1));
        }
    }
}

fn add_source(draft: &mut Draft, line: &Line<'_>) {
    let host = line.words.iter().find(|word| !word.starts_with('-'));
    match host {
        Some(host) if host.starts_with("127.127.1.") => {
            // The undisciplined local clock as a source of last resort: local mode of the server
            // here.
            draft.synchronization.set("local-stratum", 5);
            draft.synchronization.comment(format!(
                "line {}: the local clock is not a source; without sources it is served at local-stratum",
                line.number
            ));
        }
        Some(host) if host.starts_with("127.127.") => {
            draft.unsupported(line, "reference clocks are not in this version");
        }
        _ => match source(line, line.directive == "pool", option) {
            Some(table) => draft.sources.push(table),
            None => draft.unsupported(line, "no server given"),
        },
    }
}

fn option(name: &str) -> Option<Mapping> {
    Some(match name {
        "iburst" | "burst" | "preempt" | "dynamic" | "xmtnonce" => Mapping::NotNeeded(0),
        "minpoll" => Mapping::MinPoll,
        "maxpoll" => Mapping::MaxPoll,
        "prefer" => Mapping::Flag("prefer"),
        "noselect" => Mapping::Flag("noselect"),
        "true" => Mapping::Flag("trust"),
        "xleave" => Mapping::Flag("interleaved"),
        "key" => Mapping::Value("key"),
        "nts" => Mapping::Nts,
        "port" => Mapping::Port,
        "version" | "mode" | "ttl" | "subtype" => Mapping::Unsupported(1, "not supported"),
        "ca" | "cert" | "aead" | "ask" | "require" => {
            Mapping::Unsupported(1, "see certificate-authority in the manual")
        }
        "bias" => Mapping::Unsupported(1, "correction of a constant offset is not supported"),
        "autokey" | "noval" => Mapping::Unsupported(0, "not supported"),
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
        None => draft.unsupported(line, "only the stratum of the local clock is converted"),
    }
}

/// Returns the number after a word.
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
                draft.synchronization.comment(format!(
                    "line {}: orphan mode converted to local mode; give each host a different stratum",
                    line.number
                ));
            }
            _ => draft.not_needed_text(
                line.number,
                &format!("tos {}", pair.join(" ")),
                "ntpd-rs weights its sources automatically",
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
            (Some("step"), Some(0.0)) => draft.unsupported_text(
                line.number,
                "tinker step 0",
                "disables steps: ntpd-rs steps in the first updates only",
            ),
            (Some("step"), Some(threshold)) => draft.algorithm.set("step-threshold", threshold),
            _ => draft.not_needed_text(
                line.number,
                &format!("tinker {}", pair.join(" ")),
                "ntpd-rs models the oscillator and the network automatically",
            ),
        }
    }
}

/// NTS settings of ntpsec's server.
#[derive(Default)]
struct Nts {
    certificate: Option<String>,
    key: Option<String>,
}

impl Nts {
    fn add_line(&mut self, draft: &mut Draft, line: &Line<'_>) {
        for pair in line.words.chunks(2) {
            match pair {
                ["enable"] => {}
                ["cert", path] => self.certificate = Some((*path).to_owned()),
                ["key", path] => self.key = Some((*path).to_owned()),
                _ => draft.unsupported(line, "see [keyset] and [[nts-ke-server]] in the manual"),
            }
        }
    }

    fn write(self, draft: &mut Draft) {
        if let (Some(certificate), Some(key)) = (self.certificate, self.key) {
            draft.add_key_exchange(NTS_KE_PORT, &certificate, &key);
        }
    }
}

/// Access control: `restrict default` for all clients, other lines for networks.
#[derive(Default)]
struct Access {
    denied_by_default: bool,
    rate_limited: bool,
    allowed: Vec<String>,
    denied: Vec<String>,
    /// Listening addresses; any if empty.
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
            return draft.unsupported(line, "no address given");
        }
        let host = words.remove(0);
        let mut length = None;
        if words.first() == Some(&"mask") && words.len() >= 2 {
            length = mask_length(words[1]);
            if length.is_none() {
                return draft.unsupported(line, "invalid mask");
            }
            words.drain(..2);
        }
        let denied = words
            .iter()
            .any(|flag| matches!(*flag, "ignore" | "noserve" | "notrust"));
        if host == "default" {
            self.denied_by_default |= denied;
            self.rate_limited |= words.contains(&"limited");
            return;
        }
        if host == "source" {
            return draft.not_needed(line, "only replies to own requests are accepted");
        }
        let (address, slash) = match host.split_once('/') {
            Some((address, length)) => (address, length.parse::<u8>().ok()),
            None => (host, None),
        };
        let Ok(address) = address.parse::<std::net::IpAddr>() else {
            return draft.unsupported(line, "use addresses of networks, for example 192.0.2.0/24");
        };
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let length = length.or(slash).unwrap_or(bits).min(bits);
        let network = format!("{address}/{length}");
        if denied {
            self.denied.push(network);
        } else {
            self.allowed.push(network);
        }
    }

    fn interface(&mut self, draft: &mut Draft, line: &Line<'_>) {
        match line.words.as_slice() {
            ["listen", address] if let Ok(address) = address.parse() => self.listen.push(address),
            ["ignore" | "drop", "wildcard" | "all"] => {
                draft.not_needed(line, "[[server]] listen sets the listening addresses");
            }
            _ => draft.unsupported(line, "use [[server]] listen with an address"),
        }
    }

    fn write(self, draft: &mut Draft) {
        let loopback_only = self
            .allowed
            .iter()
            .all(|network| network.starts_with("127.") || network.starts_with("::1"));
        if self.denied_by_default && loopback_only {
            return;
        }
        let mut table = Table::default();
        if self.denied_by_default {
            table.set_filter("allowlist", &self.allowed);
        } else {
            table.comment("ntpd serves all clients that are not restricted; remove this section for a client only");
        }
        if !self.denied.is_empty() {
            table.set_filter("denylist", &self.denied);
        }
        if self.rate_limited {
            // Default of ntpd: 2 s between packets of one client.
            table.set("rate-limiting-cache-size", 16_384);
            table.set("rate-limiting-cutoff-ms", 2000);
        }
        let addresses = match self.listen.is_empty() {
            true => vec!["[::]:123".to_owned()],
            false => self
                .listen
                .iter()
                .map(|address| std::net::SocketAddr::from((*address, 123)).to_string())
                .collect(),
        };
        for address in addresses {
            let mut server = Table::default();
            server.set_text("listen", &address);
            draft.servers.push(server.followed_by(table.clone()));
        }
    }
}

/// Returns the prefix length of a contiguous mask.
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
