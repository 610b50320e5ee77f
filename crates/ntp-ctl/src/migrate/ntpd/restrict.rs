//! ntpd's `restrict`: the most specific entry decides; lines for one entry add their flags.

use std::net::{IpAddr, SocketAddr};

use ntp_config::{AccessDecision, NTP_PORT, Subnet};

use crate::migrate::access::Rules;
use crate::migrate::draft::{Draft, Table};
use crate::migrate::lines::{Line, number};
use crate::migrate::table::{INVALID, OptionFate, OptionRow, convert_options};

/// Flags of an entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::migrate) struct Flags {
    refused: bool,
    limited: bool,
    kod: bool,
    /// The entry applies to packets from port 123 only.
    from_ntp_port: bool,
}

/// Flags of `restrict`.
#[rustfmt::skip]
pub(in crate::migrate) const RESTRICT_FLAGS: &[OptionRow<Flags>] = &[
    ("ignore noserve", 0, OptionFate::Converted(|it, _| { it.refused = true; Ok(()) })),
    ("notrust", 0, OptionFate::Converted(|it, _| {
        it.refused = true;
        Err("clients with a valid key are refused, too")
    })),
    ("limited", 0, OptionFate::Converted(|it, _| { it.limited = true; Ok(()) })),
    ("kod", 0, OptionFate::Converted(|it, _| { it.kod = true; Ok(()) })),
    ("ntpport", 0, OptionFate::Converted(|it, _| { it.from_ntp_port = true; Ok(()) })),
    ("nomodify noquery nomrulist notrap lowpriotrap", 0, OptionFate::NotNeeded("modes 6 and 7 are not supported")),
    ("nopeer noepeer epeer", 0, OptionFate::NotNeeded("an unknown host never becomes a peer")),
    ("ippeerlimit", 1, OptionFate::NotNeeded("an unknown host never becomes a peer")),
    ("version", 0, OptionFate::Unsupported("use accept-ntp-versions of [[server]]")),
    ("flake", 0, OptionFate::Unsupported("no packet is dropped at random")),
    ("mssntp", 0, OptionFate::Unsupported("Microsoft's authentication (MS-SNTP) is not supported")),
    ("serverresponse", 1, OptionFate::Unsupported("timestamps are not made inexact")),
];

/// `limit` of ntpsec.
#[derive(Default)]
pub(in crate::migrate) struct Limit {
    /// Packets a second.
    average: Option<f64>,
    burst: Option<u8>,
}

#[rustfmt::skip]
pub(in crate::migrate) const LIMIT_OPTIONS: &[OptionRow<Limit>] = &[
    ("average", 1, OptionFate::Converted(|it, value| {
        it.average = Some(number(value).filter(|it| *it > 1e-6).ok_or(INVALID)?);
        Ok(())
    })),
    ("burst", 1, OptionFate::Converted(|it, value| {
        let burst = number(value).filter(|it| *it >= 0.0).ok_or(INVALID)?;
        it.burst = Some(burst.clamp(1.0, 255.0) as u8);
        Ok(())
    })),
    ("kod", 1, OptionFate::Unsupported("use rate-limiting-kiss of [[server]]")),
];

/// All entries.
#[derive(Default)]
pub(super) struct Restrictions {
    entries: Vec<(Subnet, Flags)>,
    /// Line number and text of each line.
    lines: Vec<(usize, String)>,
    limit: Option<Limit>,
    limit_lines: Vec<(usize, String)>,
}

const NO_NAMES: &str = "use addresses of networks, for example 192.0.2.0/24";

impl Restrictions {
    pub(super) fn restrict(&mut self, draft: &mut Draft, line: &Line<'_>) {
        let Some((networks, flags)) = self.parse(draft, line) else {
            return;
        };
        if flags.from_ntp_port {
            let why = "applies to packets from port 123 only: omitted, because ports are not distinguished";
            return draft.unsupported(line, why);
        }
        for network in networks {
            let entry = self.entry(network);
            entry.refused |= flags.refused;
            entry.limited |= flags.limited;
            entry.kod |= flags.kod;
        }
        self.lines.push((line.number, line.text.to_owned()));
    }

    /// Removes the flags of an entry; without flags, the entry.
    pub(super) fn unrestrict(&mut self, draft: &mut Draft, line: &Line<'_>) {
        let Some((networks, flags)) = self.parse(draft, line) else {
            return;
        };
        for network in networks {
            if flags == Flags::default() {
                self.entries.retain(|(it, _)| *it != network);
            } else {
                let entry = self.entry(network);
                entry.refused &= !flags.refused;
                entry.limited &= !flags.limited;
                entry.kod &= !flags.kod;
            }
        }
        self.lines.push((line.number, line.text.to_owned()));
    }

    pub(super) fn limit(&mut self, draft: &mut Draft, line: &Line<'_>) {
        let limit = self.limit.get_or_insert_default();
        let remarks = convert_options(limit, line, &line.words, LIMIT_OPTIONS);
        draft.remarks.append(remarks);
        self.limit_lines.push((line.number, line.text.to_owned()));
    }

    fn entry(&mut self, network: Subnet) -> &mut Flags {
        let at = self.entries.iter().position(|(it, _)| *it == network);
        let at = at.unwrap_or_else(|| {
            self.entries.push((network, Flags::default()));
            self.entries.len() - 1
        });
        &mut self.entries[at].1
    }

    fn parse(&self, draft: &mut Draft, line: &Line<'_>) -> Option<(Vec<Subnet>, Flags)> {
        let is_family = |word: &&&str| matches!(**word, "-4" | "-6" | "--ipv4" | "--ipv6");
        let families = line.words.iter().take_while(is_family).count();
        let family = line.words[..families]
            .last()
            .map(|word| word.ends_with('4'));
        let Some((host, mut words)) = line.words[families..].split_first() else {
            draft.unsupported(line, "no address given");
            return None;
        };
        let mut mask = None;
        if let ["mask", given, rest @ ..] = words {
            mask = Some(*given);
            words = rest;
        }
        if *host == "source" {
            draft.not_needed(line, "only replies to own requests are accepted");
            return None;
        }
        let networks = match networks(host, mask, family) {
            Ok(networks) => networks,
            Err(why) => {
                draft.unsupported(line, why);
                return None;
            }
        };
        let mut flags = Flags::default();
        let remarks = convert_options(&mut flags, line, words, RESTRICT_FLAGS);
        draft.remarks.append(remarks);
        Some((networks, flags))
    }

    /// The decisions about clients. ntpd gives refused clients no reply.
    pub(super) fn rules(&self) -> Rules {
        let mut rules = Rules::new(AccessDecision::Allow);
        for (network, flags) in &self.entries {
            let decision = match flags.refused {
                true => AccessDecision::Ignore,
                false => AccessDecision::Allow,
            };
            rules.set(*network, decision);
        }
        rules
    }

    fn defaults(&self) -> impl Iterator<Item = &Flags> {
        let all = [Subnet::ALL_IPV4, Subnet::ALL_IPV6];
        let defaults = self.entries.iter().filter(move |it| all.contains(&it.0));
        defaults.map(|(_, flags)| flags)
    }

    fn limits_by_default(&self) -> bool {
        self.defaults().any(|flags| flags.limited)
    }

    /// The section of a server.
    pub(super) fn server(&self, address: IpAddr, rules: &Rules) -> Table {
        let mut server = Table::default();
        server.comment(
            "ntpd serves all clients that are not restricted; remove this section for a client only",
        );
        let listen = SocketAddr::from((address, NTP_PORT));
        server.set_text("listen", &listen.to_string());
        if self.limits_by_default() {
            // Default of ntpd: 2 s between packets of one client.
            let average = self.limit.as_ref().and_then(|it| it.average);
            let milliseconds = average.map_or(2000, |average| (1000.0 / average).ceil() as u64);
            server.set("rate-limiting-cache-size", 16_384);
            server.set("rate-limiting-cutoff-ms", milliseconds.max(1));
            if let Some(burst) = self.limit.as_ref().and_then(|it| it.burst) {
                server.set("rate-limiting-burst", burst);
            }
            if self.defaults().any(|flags| flags.limited && flags.kod) {
                // ntpd sends a kiss now and then, too.
                server.set("rate-limiting-kiss", 4);
            }
        }
        rules.write(&mut server);
        server
    }

    /// Names the lines if no server is configured.
    pub(super) fn explain_closed(&self, draft: &mut Draft) {
        let why = "no server configured: with these lines ntpd answers this machine only";
        for (number, text) in self.lines.iter().chain(&self.limit_lines) {
            draft.remarks.not_needed(*number, text, why);
        }
    }

    /// Names flags that a server as a whole has or has not.
    pub(super) fn write_remarks(&self, draft: &mut Draft) {
        let limited = self.limits_by_default();
        let loopback = |network: &Subnet| network.address().is_loopback();
        let all = [Subnet::ALL_IPV4, Subnet::ALL_IPV6];
        let others = self.entries.iter();
        let others = others.filter(|(it, flags)| {
            !all.contains(it) && !loopback(it) && !flags.refused && flags.limited != limited
        });
        for (network, _) in others {
            let flag = if limited { "" } else { " limited" };
            let text = format!("restrict {network}{flag}");
            let line = self.line_of(network);
            let why = match limited {
                true => "the rate limit applies to all clients, also to these",
                false => "no rate limit: it would apply to all clients, not only to these",
            };
            draft.remarks.unsupported(line, &text, why);
        }
        let kod = self
            .entries
            .iter()
            .filter(|(_, flags)| flags.kod && !flags.limited);
        for (network, _) in kod {
            let text = "restrict kod";
            let why = "without `limited`, no kiss is sent: refused clients get no reply";
            let line = self.line_of(network);
            draft.remarks.not_needed(line, text, why);
        }
        if !limited {
            for (number, text) in &self.limit_lines {
                draft
                    .remarks
                    .not_needed(*number, text, "no client is `limited`");
            }
        }
    }

    /// The first line for a network.
    fn line_of(&self, network: &Subnet) -> usize {
        let names = |text: &str| {
            let mut words = text.split_whitespace();
            words.any(|word| {
                let host = word.split('/').next().unwrap_or_default();
                let address = host.parse::<IpAddr>();
                address.is_ok_and(|address| network.contains(address)) || host == "default"
            })
        };
        let found = self.lines.iter().find(|(_, text)| names(text));
        found.map_or(0, |(line, _)| *line)
    }
}

/// The networks of an entry; `family` is IPv4 if true.
fn networks(
    host: &str,
    mask: Option<&str>,
    family: Option<bool>,
) -> Result<Vec<Subnet>, &'static str> {
    if host == "default" {
        return Ok(match family {
            Some(true) => vec![Subnet::ALL_IPV4],
            Some(false) => vec![Subnet::ALL_IPV6],
            None => vec![Subnet::ALL_IPV4, Subnet::ALL_IPV6],
        });
    }
    let (address, slash) = match host.split_once('/') {
        Some((address, length)) => (address, Some(length.parse::<u8>().map_err(|_| INVALID)?)),
        None => (host, None),
    };
    let address = address.trim_matches(['[', ']']);
    let address = address.parse::<IpAddr>().map_err(|_| NO_NAMES)?;
    let bits = if address.is_ipv4() { 32 } else { 128 };
    let mask = mask.map(|mask| mask_length(mask, address.is_ipv4()));
    let length = match mask {
        Some(mask) => mask.ok_or("a mask without a prefix length cannot be expressed")?,
        None => slash.unwrap_or(bits),
    };
    let network = Subnet::new(address, length).map_err(|_| INVALID)?;
    Ok(vec![network])
}

/// Returns the prefix length of a contiguous mask of a family.
fn mask_length(text: &str, ipv4: bool) -> Option<u8> {
    let (bits, ones, zeros) = match text.trim_matches(['[', ']']).parse().ok()? {
        IpAddr::V4(mask) if ipv4 => {
            let mask = mask.to_bits();
            (32, mask.leading_ones(), mask.trailing_zeros())
        }
        IpAddr::V6(mask) if !ipv4 => {
            let mask = mask.to_bits();
            (128, mask.leading_ones(), mask.trailing_zeros())
        }
        _ => return None,
    };
    (ones + zeros >= bits)
        .then(|| u8::try_from(ones).ok())
        .flatten()
}
