//! chronyd's `chrony.conf` (chrony 4).

use ntp_config::NTS_KE_PORT;
use ntp_proto::server::ClientList;

use super::draft::{Draft, Table};
use super::source::{Mapping, source};
use super::{Line, lines, number};

/// Directives that need no equivalent, with the reason; one group in each line.
const NOT_NEEDED: &str = "\
driftfile dumpdir dumponexit ntsdumpdir => \
    the frequency, keys and cookies are kept in [state] directory, /var/lib/ntpd-rs if unset
logdir logbanner => log lines go to the journal, or to [observability] log-path
cmdport bindcmdaddress cmdratelimit cmddeny => \
    no remote control over the network; file permissions protect the control socket ([control])
initstepslew => ntpd-rs steps the clock at start if the offset is too large to slew
leapsectz => the leap second list /usr/share/zoneinfo/leap-seconds.list is used if it exists ([leap] list)
pidfile user => set in the service unit, which runs ntpd-rs as its own user
maxupdateskew maxdrift maxjitter corrtimeratio stratumweight combinelimit reselectdist maxclockerror fallbackdrift => \
    ntpd-rs weights sources and models the oscillator automatically (docs/algorithm.md)
rtcsync => the kernel copies a synchronised clock to the real-time clock every 11 minutes
rtcfile rtcautotrim rtcdevice rtconutc hwclockfile => the kernel maintains the real-time clock
";

/// Directives without an equivalent, with the reason; one group in each line.
const UNSUPPORTED: &str = "\
maxdistance => sources are judged by comparison with each other, not by their root distance
log => use [observability] record-path to record measurements, and `ntp-ctl replay` to read them
logchange mailonchange => steps are logged; use the metrics for alerts (docs/monitoring.md)
lock_all sched_priority => set in the service unit: systemctl edit ntpd-rs
cmdallow opencommands => no remote control over the network; file permissions protect the control socket ([control])
confdir include => migrate these files separately; drop-ins are in /etc/ntpd-rs/ntp.toml.d
sourcedir => migrate these files separately; sources are in /etc/ntpd-rs/sources.d
refclock => reference clocks are not in this version
hwtimestamp => kernel timestamps are used; hardware timestamps are not in this version
manual settime => manual time input is not supported; see `ntp-ctl step`
broadcast => broadcast cannot be authenticated and is not supported
peer => symmetric mode is not supported: configure each host as a server of the other
tempcomp => temperature compensation is not supported
smoothtime => served time is smoothed over leap seconds only ([leap] handling)
ntsratelimit => the number of concurrent key exchanges is limited instead; see [[nts-ke-server]] in the manual
clientloglimit => invalid value
dscp => not supported
bindacqaddress acquisitionport bindacqdevice binddevice => each request has a new port; the kernel chooses the route
ntsprocesses ntsrotate ntsaeads ntsrefresh maxntsconnections ntsntpserver => \
    see [keyset] and [[nts-ke-server]] in the manual
authselectmode => authenticated sources have no precedence: configure only authenticated ones to use no others
nosystemcert => the authorities of the system are always trusted; certificate-authority of a source adds to them
nocerttimecheck => use certificate-time-leniency in [synchronization] for clocks that are wrong at start
";

/// Converts the file.
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
                None => draft.unsupported(&line, "no server given"),
            },
            "makestep" => stepping = Some((number(0), number(1), line.number)),
            "maxchange" => match number(0) {
                Some(limit) => {
                    draft
                        .synchronization
                        .set("single-step-panic-threshold", limit);
                    draft.synchronization.comment(format!(
                        "line {}: a larger correction stops the daemon without a change of the clock",
                        line.number
                    ));
                }
                None => draft.unsupported(&line, "invalid value"),
            },
            "maxslewrate" => match number(0) {
                // A fraction in ntp.toml; the kernel's maximum is 0.1.
                Some(ppm) => draft
                    .algorithm
                    .set("slew-maximum-frequency-offset", (ppm * 1e-6).min(0.1)),
                None => draft.unsupported(&line, "invalid value"),
            },
            "minsources" => minimum = number(0),
            "local" => local(&mut draft, &line),
            "keyfile" => match word(0) {
                Some(path) => {
                    draft.key_file = Some((line.number, line.text.into(), path.to_owned()));
                }
                None => draft.unsupported(&line, "no file given"),
            },
            "leapseclist" => match word(0) {
                Some(path) => draft.leap.set_text("list", path),
                None => draft.unsupported(&line, "no file given"),
            },
            "leapsecmode" => leap = word(0).map(str::to_owned),
            // chronyd smears leap seconds by slewing its clock and smoothing the served time.
            "smoothtime" if line.words.contains(&"leaponly") => smooth = true,
            "ntstrustedcerts" => trusted.add(&line),
            _ if serving.add_line(&line) => {}
            _ => draft.by_table(&line, NOT_NEEDED, UNSUPPORTED),
        }
    }
    trusted.write(&mut draft);
    leap_seconds(&mut draft, leap.as_deref(), smooth);
    steps(&mut draft, stepping);
    // chronyd follows a single source; the default of ntpd-rs is three.
    draft
        .synchronization
        .set("minimum-agreeing-sources", minimum.unwrap_or(1.0).max(1.0));
    serving.write(&mut draft);
    draft
}

fn option(name: &str) -> Option<Mapping> {
    const AUTOMATIC: &str = "ntpd-rs estimates typical delays automatically";
    Some(match name {
        "iburst" | "burst" | "offline" | "auto_offline" => Mapping::NotNeeded(0),
        "presend" | "minsamples" | "maxsamples" | "polltarget" | "filter" => Mapping::NotNeeded(1),
        "minpoll" => Mapping::MinPoll,
        "maxpoll" => Mapping::MaxPoll,
        "maxsources" => Mapping::Count,
        "prefer" => Mapping::Flag("prefer"),
        "noselect" => Mapping::Flag("noselect"),
        "trust" => Mapping::Flag("trust"),
        "require" => Mapping::Flag("require"),
        "xleave" => Mapping::Flag("interleaved"),
        "key" => Mapping::Value("key"),
        "nts" => Mapping::Nts,
        "ntsport" => Mapping::KeyExchangePort,
        "port" => Mapping::Port,
        "maxdelay" | "maxdelayratio" | "maxdelaydevratio" | "maxdelayquant" | "mindelay" => {
            Mapping::Unsupported(1, AUTOMATIC)
        }
        "asymmetry" => {
            Mapping::Unsupported(1, "the asymmetry of jitter is estimated automatically")
        }
        "offset" => Mapping::Unsupported(1, "correction of a constant offset is not supported"),
        "minstratum" => Mapping::Unsupported(1, "the stratum of the server is used"),
        "version" => Mapping::Unsupported(1, "requests have version 4"),
        // Replaced by `Trusted`, which has the sets.
        "certset" => Mapping::Value(CERTIFICATE_SET),
        "extfield" | "maxunreach" => Mapping::Unsupported(1, "not supported"),
        "copy" => Mapping::Unsupported(0, "not supported"),
        "ipv4" | "ipv6" => {
            Mapping::Unsupported(0, "addresses are used in the order of the resolver")
        }
        _ => return None,
    })
}

/// Temporary key with the certificate set of a source, until it is replaced by the file of
/// authorities.
const CERTIFICATE_SET: &str = "certset";

/// Certificate authorities by set number; sources without a number use set 0.
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
            draft.unsupported_text(
                *number,
                text,
                "a source has a single file of authorities: put all certificates into it",
            );
        }
        for source in &mut draft.sources {
            let set = source.take(CERTIFICATE_SET).unwrap_or_else(|| "0".into());
            let found = self.sets.iter().find(|(known, _)| *known == set);
            if let Some((_, path)) = found.filter(|_| source.is_nts()) {
                source.set_text("certificate-authority", path);
            }
        }
    }
}

/// Converts the handling of leap seconds.
fn leap_seconds(draft: &mut Draft, mode: Option<&str>, smooth: bool) {
    match (mode, smooth) {
        (Some("slew"), false) => draft.leap.set_text("handling", "slew"),
        (Some("slew" | "ignore"), true) => {
            draft.leap.set_text("handling", "smear");
            draft
                .leap
                .comment("smeared from noon to noon; chronyd uses another interval");
        }
        (Some("ignore"), false) => draft
            .leap
            .comment("chronyd ignored leap seconds; here the kernel inserts them, see `handling`"),
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
            draft.synchronization.comment(format!(
                "line {}: omitted `{word}`: not supported",
                line.number
            ));
        }
    }
}

/// Converts `makestep`. By default, chronyd never steps; ntpd-rs steps at start.
fn steps(draft: &mut Draft, stepping: Option<(Option<f64>, Option<f64>, usize)>) {
    match stepping {
        Some((Some(threshold), Some(limit), number)) if limit < 0.0 => {
            draft.algorithm.set("step-threshold", threshold);
            draft.algorithm.comment(format!(
                "line {number}: larger offsets are stepped at any time"
            ));
        }
        Some((.., number)) => draft.synchronization.comment(format!(
            "line {number}: steps only in the first updates, the default of ntpd-rs"
        )),
        None => draft
            .synchronization
            .comment("chronyd without `makestep` never steps; ntpd-rs steps in the first updates"),
    }
}

/// Approximate memory in octets that chronyd uses for each client.
const CLIENT_OCTETS: usize = 128;

/// Settings of the server, which chronyd has in several directives.
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
    /// Line number, text and value of the directive with the size of the client list.
    clients: Option<(usize, String, usize)>,
    unclear: Vec<(usize, String)>,
}

impl Serving {
    /// Adds the line and returns true if it is a setting of the server.
    fn add_line(&mut self, line: &Line<'_>) -> bool {
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
            // Has precedence over `clientloglimit`.
            "noclientlog" => self.clients = Some((line.number, line.text.into(), 0)),
            "clientloglimit" => match words.first().and_then(|word| word.parse::<usize>().ok()) {
                Some(octets) if self.clients.as_ref().is_none_or(|(.., size)| *size > 0) => {
                    let size = (octets / CLIENT_OCTETS).clamp(1, ClientList::MAX_ENTRIES);
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
            draft.unsupported_text(
                *number,
                text,
                "use addresses of networks, for example 192.0.2.0/24",
            );
        }
        if let (Some(certificate), Some(key)) = (&self.certificate, &self.private_key) {
            draft.add_key_exchange(self.ke_port.unwrap_or(NTS_KE_PORT), certificate, key);
        }
        // Without `allow`, or with port 0, chronyd is a client only.
        let Some(allow) = self.allow.filter(|_| self.port != Some(0)) else {
            if let Some((number, text, _)) = &self.clients {
                draft.not_needed_text(
                    *number,
                    text,
                    "no server configured, so there are no clients",
                );
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
                table.set_filter("allowlist", &allow);
            }
            if !self.deny.is_empty() {
                table.comment("chronyd uses the most specific of `allow` and `deny`; here `denylist` has precedence");
                table.set_filter("denylist", &self.deny);
            }
            if let Some(limit) = &self.limit {
                rate_limit(&mut table, limit);
            }
            if let Some((.., size)) = &self.clients {
                table.set("client-list-size", size);
            }
            draft.servers.push(table);
        }
    }
}

/// Converts `ratelimit`; `limit` has the words with their numbers.
fn rate_limit(table: &mut Table, limit: &[(String, f64)]) {
    let value = |key: &str| {
        let found = limit.iter().find(|(name, _)| name == key);
        found.map(|(_, value)| *value)
    };
    // In log2 seconds; the default is 8 s.
    let interval = value("interval").unwrap_or(3.0).clamp(-10.0, 12.0);
    let milliseconds = (interval.exp2() * 1000.0).ceil() as u64;
    table.set("rate-limiting-cache-size", 16_384);
    table.set("rate-limiting-cutoff-ms", milliseconds);
    let burst = value("burst").unwrap_or(8.0).clamp(1.0, 255.0);
    table.set("rate-limiting-burst", burst as u8);
}

/// Parses a network in chronyd's syntax, which allows to omit trailing octets of IPv4 addresses.
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
