//! chronyd's `chrony.conf` (chrony 4).

use ntp_proto::server::ClientList;

use super::draft::{Draft, Table, list};
use super::source::{Meaning, source};
use super::{Line, lines, number};

/// Why a directive needs no equivalent.
const NEEDLESS: &[(&[&str], &str)] = &[
    (
        &["driftfile", "dumpdir", "dumponexit", "ntsdumpdir"],
        "the frequency, keys and cookies are kept in [state] directory, /var/lib/ntpd-rs if unset",
    ),
    (
        &["logdir", "logbanner"],
        "log lines go to the journal, or to [observability] log-path",
    ),
    (
        &["cmdport", "bindcmdaddress", "cmdratelimit", "cmddeny"],
        "there is no control over the network; the control socket is protected by file permissions ([control])",
    ),
    (
        &["initstepslew"],
        "the clock is set at start by itself, if it is off by more than a slew can mend quickly",
    ),
    (
        &["leapsectz"],
        "a list of leap seconds is read from /usr/share/zoneinfo/leap-seconds.list if it is there ([leap] list)",
    ),
    (
        &["pidfile", "user"],
        "a matter of the service unit, which runs ntpd-rs as a user of its own",
    ),
    (
        &[
            "maxupdateskew",
            "maxdrift",
            "maxjitter",
            "corrtimeratio",
            "stratumweight",
            "combinelimit",
            "reselectdist",
            "maxclockerror",
            "fallbackdrift",
        ],
        "ntpd-rs weighs sources and learns the oscillator by itself (docs/algorithm.md)",
    ),
    (
        &["rtcsync"],
        "the kernel copies a synchronised clock to the battery clock by itself, every 11 minutes",
    ),
    (
        &[
            "rtcfile",
            "rtcautotrim",
            "rtcdevice",
            "rtconutc",
            "hwclockfile",
        ],
        "the battery clock is left to the kernel",
    ),
];

/// Why a directive has no equivalent.
const LEFT: &[(&[&str], &str)] = &[
    (
        &["maxdistance"],
        "how far a source may be from true time is decided by comparing all of them",
    ),
    (
        &["log"],
        "every measurement can be recorded with [observability] record-path, and read with `ntp-ctl replay`",
    ),
    (
        &["logchange", "mailonchange"],
        "every step is logged; alarms are a matter of the metrics (docs/monitoring.md)",
    ),
    (
        &["lock_all", "sched_priority"],
        "a matter of the service unit: systemctl edit ntpd-rs",
    ),
    (
        &["cmdallow", "opencommands"],
        "there is no control over the network; the control socket is protected by file permissions ([control])",
    ),
    (
        &["confdir", "include"],
        "migrate those files too; ntpd-rs reads drop-ins from /etc/ntpd-rs/ntp.toml.d",
    ),
    (
        &["sourcedir"],
        "migrate those files too; ntpd-rs reads sources from /etc/ntpd-rs/sources.d",
    ),
    (&["refclock"], "reference clocks are not in this version"),
    (
        &["hwtimestamp"],
        "kernel timestamps are used; hardware timestamps are not in this version",
    ),
    (
        &["manual", "settime"],
        "time cannot be entered by hand; see `ntp-ctl step`",
    ),
    (
        &["broadcast"],
        "broadcast cannot be authenticated and is not supported",
    ),
    (
        &["peer"],
        "symmetric mode is not supported: write each of the two as a server of the other",
    ),
    (&["tempcomp"], "temperature compensation is not supported"),
    (
        &["smoothtime"],
        "served time is smoothed over leap seconds only ([leap] handling)",
    ),
    (
        &["ntsratelimit"],
        "the number of key exchanges at a time is bounded instead; see [[nts-ke-server]] in the manual",
    ),
    // Others are.
    (&["clientloglimit"], "not understood"),
    (&["dscp"], "packets are not marked"),
    (
        &[
            "bindacqaddress",
            "acquisitionport",
            "bindacqdevice",
            "binddevice",
        ],
        "requests leave from a fresh port each, by the route that the kernel chooses",
    ),
    (
        &[
            "ntsprocesses",
            "ntsrotate",
            "ntsaeads",
            "ntsrefresh",
            "maxntsconnections",
            "ntsntpserver",
        ],
        "see [keyset] and [[nts-ke-server]] in the manual",
    ),
    (
        &["authselectmode"],
        "authenticated and other sources are compared alike: name only authenticated ones to trust no others",
    ),
    (
        &["nosystemcert"],
        "the system's authorities are always believed; certificate-authority of a source adds to them",
    ),
    (
        &["nocerttimecheck"],
        "a clock that is wrong at start is met by certificate-time-leniency in [synchronization]",
    ),
];

/// Draft of the file.
pub(super) fn draft(text: &str) -> Draft {
    let mut draft = Draft::default();
    let mut serving = Serving::default();
    let mut stepping = None;
    let mut minimum = None;
    let (mut leap, mut smooth) = (None, false);
    let mut trusted = Trusted::default();
    for line in lines(text, &['#', '!', ';', '%']) {
        let word = |index: usize| line.words.get(index).copied();
        let number = |index: usize| word(index).and_then(number);
        match line.directive.as_str() {
            "server" | "pool" => match source(&line, line.directive == "pool", option) {
                Some(table) => draft.sources.push(table),
                None => draft.leave(line.number, line.text, "names no server"),
            },
            "makestep" => stepping = Some((number(0), number(1), line.number)),
            "maxchange" => match number(0) {
                Some(limit) => {
                    draft
                        .synchronization
                        .set("single-step-panic-threshold", limit);
                    draft.synchronization.remark(format!(
                        "line {}: a larger correction stops the daemon; the clock is left as it is",
                        line.number
                    ));
                }
                None => draft.leave(line.number, line.text, "not understood"),
            },
            "maxslewrate" => match number(0) {
                // Ours is a fraction; the kernel allows a tenth.
                Some(ppm) => draft
                    .algorithm
                    .set("slew-maximum-frequency-offset", (ppm * 1e-6).min(0.1)),
                None => draft.leave(line.number, line.text, "not understood"),
            },
            "minsources" => minimum = number(0),
            "local" => local(&mut draft, &line),
            "keyfile" => match word(0) {
                Some(path) => {
                    draft.key_file = Some((line.number, line.text.into(), path.to_owned()));
                }
                None => draft.leave(line.number, line.text, "names no file"),
            },
            "leapseclist" => match word(0) {
                Some(path) => draft.leap.set_text("list", path),
                None => draft.leave(line.number, line.text, "names no file"),
            },
            "leapsecmode" => leap = word(0).map(str::to_owned),
            // chronyd smears by slewing its own clock and smoothing what it serves.
            "smoothtime" if line.words.contains(&"leaponly") => smooth = true,
            "ntstrustedcerts" => trusted.add(&line),
            _ if serving.take(&line) => {}
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
    trusted.write(&mut draft);
    leap_seconds(&mut draft, leap.as_deref(), smooth);
    steps(&mut draft, stepping);
    // chronyd follows a single source; ntpd-rs waits for three unless it is told.
    draft
        .synchronization
        .set("minimum-agreeing-sources", minimum.unwrap_or(1.0).max(1.0));
    serving.write(&mut draft);
    draft
        .observability
        .set_text("observation-path", "/run/ntpd-rs/observe");
    draft
}

fn option(name: &str) -> Option<Meaning> {
    const LEARNED: &str = "ntpd-rs learns what delays are usual";
    Some(match name {
        "iburst" | "burst" | "presend" | "offline" | "auto_offline" => Meaning::Needless {
            value: name == "presend",
        },
        "minsamples" | "maxsamples" | "polltarget" | "filter" => Meaning::Needless { value: true },
        "minpoll" => Meaning::MinPoll,
        "maxpoll" => Meaning::MaxPoll,
        "maxsources" => Meaning::Count,
        "prefer" => Meaning::Flag("prefer"),
        "noselect" => Meaning::Flag("noselect"),
        "trust" => Meaning::Flag("trust"),
        "require" => Meaning::Flag("require"),
        "xleave" => Meaning::Flag("interleaved"),
        "key" => Meaning::Value("key"),
        "nts" => Meaning::Nts,
        "ntsport" => Meaning::KeyExchangePort,
        "port" => Meaning::Port,
        "maxdelay" | "maxdelayratio" | "maxdelaydevratio" | "maxdelayquant" | "mindelay" => {
            Meaning::Missing {
                value: true,
                why: LEARNED,
            }
        }
        "asymmetry" => Meaning::Missing {
            value: true,
            why: "the asymmetry of jitter is learned",
        },
        "offset" => Meaning::Missing {
            value: true,
            why: "a constant offset of a source cannot be corrected",
        },
        "minstratum" => Meaning::Missing {
            value: true,
            why: "strata are taken as servers say them",
        },
        "version" => Meaning::Missing {
            value: true,
            why: "requests are of version 4",
        },
        // Found again by `Trusted`, which knows the sets.
        "certset" => Meaning::Value(CERTIFICATE_SET),
        "extfield" | "maxunreach" => Meaning::Missing {
            value: true,
            why: "not supported",
        },
        "copy" => Meaning::Missing {
            value: false,
            why: "not supported",
        },
        "ipv4" | "ipv6" => Meaning::Missing {
            value: false,
            why: "the resolver's order is followed",
        },
        _ => return None,
    })
}

/// A key that no configuration has: the number of a source's set of authorities, until that is replaced by their file.
const CERTIFICATE_SET: &str = "certset";

/// Certificate authorities by the numbers of their sets; sources without a number use set 0.
#[derive(Default)]
struct Trusted {
    sets: Vec<(String, String)>,
    unclear: Vec<(usize, String)>,
}

impl Trusted {
    fn add(&mut self, line: &Line<'_>) {
        let (set, path) = match line.words.as_slice() {
            [path] => ("0", path),
            [set, path] => (*set, path),
            _ => return self.unclear.push((line.number, line.text.into())),
        };
        if self.sets.iter().any(|(known, _)| known == set) {
            self.unclear.push((line.number, line.text.into()));
        } else {
            self.sets.push((set.to_owned(), (*path).to_owned()));
        }
    }

    fn write(self, draft: &mut Draft) {
        for (number, text) in &self.unclear {
            draft.leave(
                *number,
                text,
                "a source has one file of authorities: put all certificates into it",
            );
        }
        for source in &mut draft.sources {
            let set = source.take(CERTIFICATE_SET).unwrap_or_else(|| "0".into());
            let found = self.sets.iter().find(|(known, _)| *known == set);
            if let Some((_, path)) = found.filter(|_| source.is_authenticated_by_certificate()) {
                source.set_text("certificate-authority", path);
            }
        }
    }
}

/// What becomes of the clock at a leap second.
fn leap_seconds(draft: &mut Draft, mode: Option<&str>, smooth: bool) {
    match (mode, smooth) {
        (Some("slew"), false) => draft.leap.set_text("handling", "slew"),
        (Some("slew" | "ignore"), true) => {
            draft.leap.set_text("handling", "smear");
            draft
                .leap
                .remark("smeared from noon to noon; chronyd's interval was another");
        }
        (Some("ignore"), false) => draft.leap.remark(
            "chronyd was told to ignore leap seconds; here the kernel makes them, as `handling` says",
        ),
        _ => {}
    }
}

fn local(draft: &mut Draft, line: &Line<'_>) {
    let stratum = line
        .words
        .iter()
        .position(|word| *word == "stratum")
        .and_then(|at| line.words.get(at + 1))
        .and_then(|word| word.parse::<u8>().ok());
    // chronyd's default.
    draft
        .synchronization
        .set("local-stratum", stratum.unwrap_or(10).clamp(1, 15));
    for word in [
        "orphan",
        "distance",
        "activate",
        "waitsynced",
        "waitunsynced",
    ] {
        if line.words.contains(&word) {
            draft.synchronization.remark(format!(
                "line {}: left out `{word}`: not supported",
                line.number
            ));
        }
    }
}

/// When chronyd steps. It does not at all unless it is told; ntpd-rs does at start.
fn steps(draft: &mut Draft, stepping: Option<(Option<f64>, Option<f64>, usize)>) {
    match stepping {
        Some((Some(threshold), Some(limit), number)) if limit < 0.0 => {
            draft.algorithm.set("step-threshold", threshold);
            draft.algorithm.remark(format!("line {number}: offsets above it are stepped at any time"));
        }
        Some((.., number)) => draft.synchronization.remark(format!(
            "line {number}: the clock is stepped in its first updates only, as ntpd-rs does by itself"
        )),
        None => draft.synchronization.remark(
            "chronyd without `makestep` never steps; ntpd-rs steps a wrong clock in its first updates",
        ),
    }
}

/// What chronyd's memory limit counts for each client, about.
const CLIENT_OCTETS: usize = 128;

/// Everything about the server side, which chronyd spreads over many directives.
#[derive(Default)]
struct Serving {
    allow: Option<Vec<String>>,
    deny: Vec<String>,
    addresses: Vec<String>,
    port: Option<u16>,
    limit: Option<Vec<(String, f64)>>,
    certificate: Option<String>,
    private_key: Option<String>,
    ke_port: Option<u16>,
    /// The line that says how many clients are remembered, and the number.
    clients: Option<(usize, String, usize)>,
    unclear: Vec<(usize, String)>,
}

impl Serving {
    /// Takes the line if it is about serving.
    fn take(&mut self, line: &Line<'_>) -> bool {
        let words: Vec<&str> = line
            .words
            .iter()
            .copied()
            .filter(|word| *word != "all")
            .collect();
        match line.directive.as_str() {
            "allow" => {
                let allowed = self.allow.get_or_insert_default();
                match words.first() {
                    None => allowed.extend(["0.0.0.0/0".into(), "::/0".into()]),
                    Some(word) => match network(word) {
                        Some(networks) => allowed.extend(networks),
                        None => self.unclear.push((line.number, line.text.into())),
                    },
                }
            }
            "deny" => match words.first().map(|word| network(word)) {
                None => self.deny.extend(["0.0.0.0/0".into(), "::/0".into()]),
                Some(Some(networks)) => self.deny.extend(networks),
                Some(None) => self.unclear.push((line.number, line.text.into())),
            },
            "bindaddress" => self
                .addresses
                .extend(words.first().map(ToString::to_string)),
            "port" => self.port = words.first().and_then(|word| word.parse().ok()),
            "ratelimit" => {
                let pairs = words
                    .chunks_exact(2)
                    .filter_map(|pair| Some((pair[0].to_owned(), number(pair[1])?)));
                self.limit = Some(pairs.collect());
            }
            "ntsservercert" => self.certificate = words.first().map(ToString::to_string),
            "ntsserverkey" => self.private_key = words.first().map(ToString::to_string),
            // It wins, whatever else is said.
            "noclientlog" => self.clients = Some((line.number, line.text.into(), 0)),
            "clientloglimit" => match words.first().and_then(|word| word.parse::<usize>().ok()) {
                Some(octets) if self.clients.as_ref().is_none_or(|(.., size)| *size > 0) => {
                    let size = (octets / CLIENT_OCTETS).clamp(1, ClientList::MOST);
                    self.clients = Some((line.number, line.text.into(), size));
                }
                Some(_) => {}
                None => return false,
            },
            "ntsport" => self.ke_port = words.first().and_then(|word| word.parse().ok()),
            _ => return false,
        }
        true
    }

    fn write(self, draft: &mut Draft) {
        for (number, text) in &self.unclear {
            draft.leave(
                *number,
                text,
                "name networks by address, for example 192.0.2.0/24",
            );
        }
        if let (Some(certificate), Some(key)) = (&self.certificate, &self.private_key) {
            let mut table = Table::default();
            table.set_text("listen", &format!("[::]:{}", self.ke_port.unwrap_or(4460)));
            table.set_text("certificate-chain-path", certificate);
            table.set_text("private-key-path", key);
            draft.key_exchange.push(table);
        }
        // Without `allow`, or with port 0, chronyd is a client only.
        let Some(allow) = self.allow.filter(|_| self.port != Some(0)) else {
            if let Some((number, text, _)) = &self.clients {
                draft.need_not(*number, text, "no time is served, so there are no clients");
            }
            return;
        };
        let port = self.port.unwrap_or(123);
        let listen = if self.addresses.is_empty() {
            vec![format!("[::]:{port}")]
        } else {
            let with_port = |address: &String| match address.contains(':') {
                true => format!("[{address}]:{port}"),
                false => format!("{address}:{port}"),
            };
            self.addresses.iter().map(with_port).collect()
        };
        for address in listen {
            let mut table = Table::default();
            table.set_text("listen", &address);
            if !(allow.contains(&"0.0.0.0/0".into()) && allow.contains(&"::/0".into())) {
                let networks = list(allow.iter().map(String::as_str));
                table.set(
                    "allowlist",
                    format!("{{ filter = {networks}, action = \"ignore\" }}"),
                );
            }
            if !self.deny.is_empty() {
                table.remark("chronyd takes the most specific of `allow` and `deny`; here a denied network is denied, whatever is allowed");
                let networks = list(self.deny.iter().map(String::as_str));
                table.set(
                    "denylist",
                    format!("{{ filter = {networks}, action = \"ignore\" }}"),
                );
            }
            if let Some(limit) = &self.limit {
                // log2 of seconds; 8 s unless it is said.
                let interval = limit
                    .iter()
                    .find(|(name, _)| name == "interval")
                    .map_or(3.0, |(_, value)| *value);
                table.set("rate-limiting-cache-size", 16_384);
                let milliseconds = (interval.clamp(-10.0, 12.0).exp2() * 1000.0).ceil() as u64;
                table.set("rate-limiting-cutoff-ms", milliseconds);
                let burst = limit.iter().find(|(name, _)| name == "burst");
                let burst = burst.map_or(8.0, |(_, value)| *value).clamp(1.0, 255.0);
                table.set("rate-limiting-burst", burst as u8);
            }
            if let Some((.., size)) = &self.clients {
                table.set("client-list-size", size);
            }
            draft.servers.push(table);
        }
    }
}

/// chronyd's networks, which may leave out trailing octets of IPv4 addresses.
fn network(text: &str) -> Option<Vec<String>> {
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length.parse::<u8>().ok()?)),
        None => (text, None),
    };
    if let Ok(address) = address.parse::<std::net::Ipv6Addr>() {
        return Some(vec![format!(
            "{address}/{}",
            length.filter(|length| *length <= 128).unwrap_or(128)
        )]);
    }
    let octets: Vec<u8> = address
        .trim_end_matches('.')
        .split('.')
        .map(str::parse)
        .collect::<Result<_, _>>()
        .ok()?;
    if octets.is_empty() || octets.len() > 4 {
        return None;
    }
    let given = octets.len() * 8;
    let mut full = [0; 4];
    full[..octets.len()].copy_from_slice(&octets);
    let length = length.map_or(given, usize::from);
    (length <= 32).then(|| vec![format!("{}/{length}", std::net::Ipv4Addr::from(full))])
}
