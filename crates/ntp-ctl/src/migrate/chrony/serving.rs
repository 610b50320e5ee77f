//! chronyd's settings of the server, which it has in several directives.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use ntp_config::{NTP_PORT, NTS_KE_PORT, Subnet};
use ntp_proto::server::ClientList;

use super::access::AllowDeny;
use crate::migrate::access::Rules;
use crate::migrate::draft::{Draft, KEY_EXCHANGE, SERVER, Table, quoted};
use crate::migrate::lines::Line;
use crate::migrate::table::{INVALID, OptionFate, OptionRow, convert_options};

/// Approximate memory in octets that chronyd uses for each client.
const CLIENT_OCTETS: usize = 128;

/// Number and text of a line.
type Origin = (usize, String);

/// Whether a line was understood, or why not.
type Understood = Result<(), &'static str>;

/// Reads a line with one directive.
pub(super) type Part = fn(&mut Serving, &mut Draft, &Line<'_>) -> Understood;

/// Settings of the server.
#[derive(Default)]
pub(super) struct Serving {
    lines: Vec<Origin>,
    access: AllowDeny,
    allow: Option<Origin>,
    ipv4: Option<Ipv4Addr>,
    ipv6: Option<Ipv6Addr>,
    port: Option<u16>,
    limit: Option<RateLimit>,
    clients: Option<usize>,
    certificates: Vec<(Origin, String)>,
    private_keys: Vec<(Origin, String)>,
    key_exchange_port: Option<u16>,
    /// Other settings of the key exchange, in TOML syntax.
    key_exchange: Vec<(&'static str, String)>,
}

/// `ratelimit`, with chronyd's defaults.
pub(in crate::migrate) struct RateLimit {
    /// In log2 seconds.
    interval: i32,
    burst: u8,
    leak: u8,
    kod: u8,
}

/// Options of `ratelimit`.
#[rustfmt::skip]
pub(in crate::migrate) const RATE_LIMIT_OPTIONS: &[OptionRow<RateLimit>] = &[
    ("interval", 1, OptionFate::Converted(|it, value| within(value, -19, 12).map(|value| it.interval = value))),
    ("burst", 1, OptionFate::Converted(|it, value| within(value, 1, 255).map(|value| it.burst = value))),
    ("leak", 1, OptionFate::Converted(|it, value| within(value, 1, 4).map(|value| it.leak = value))),
    ("kod", 1, OptionFate::Converted(|it, value| within(value, 0, 4).map(|value| it.kod = value))),
];

fn within<T: FromStr + PartialOrd>(value: &str, least: T, most: T) -> Result<T, &'static str> {
    let value = value.parse::<T>().ok();
    let value = value.filter(|value| (least..=most).contains(value));
    value.ok_or(INVALID)
}

impl Serving {
    /// Adds a line with a setting of the server, which `part` reads.
    pub(super) fn add(&mut self, draft: &mut Draft, line: &Line<'_>, part: Part) {
        match part(self, draft, line) {
            Ok(()) => self.lines.push(origin(line)),
            Err(why) => draft.unsupported(line, why),
        }
    }

    pub(super) fn access(&mut self, _: &mut Draft, line: &Line<'_>) -> Understood {
        let allowed = line.directive == "allow";
        if !self.access.add(allowed, &line.words) {
            return Err("use addresses of networks, for example 192.0.2.0/24");
        }
        if allowed {
            self.allow = Some(origin(line));
        }
        Ok(())
    }

    pub(super) fn bind_address(&mut self, _: &mut Draft, line: &Line<'_>) -> Understood {
        match parse(line)? {
            IpAddr::V4(address) => self.ipv4 = Some(address),
            IpAddr::V6(address) => self.ipv6 = Some(address),
        }
        Ok(())
    }

    pub(super) fn port(&mut self, _: &mut Draft, line: &Line<'_>) -> Understood {
        self.port = Some(parse(line)?);
        Ok(())
    }

    pub(super) fn rate_limit(&mut self, draft: &mut Draft, line: &Line<'_>) -> Understood {
        let mut limit = RateLimit {
            interval: 3,
            burst: 8,
            leak: 2,
            kod: 0,
        };
        let remarks = convert_options(&mut limit, line, &line.words, RATE_LIMIT_OPTIONS);
        draft.remarks.append(remarks);
        self.limit = Some(limit);
        Ok(())
    }

    /// Has precedence over [`client_log_limit`](Self::client_log_limit).
    pub(super) fn no_client_log(&mut self, _: &mut Draft, _: &Line<'_>) -> Understood {
        self.clients = Some(0);
        Ok(())
    }

    pub(super) fn client_log_limit(&mut self, _: &mut Draft, line: &Line<'_>) -> Understood {
        let octets: usize = parse(line)?;
        if self.clients != Some(0) {
            self.clients = Some((octets / CLIENT_OCTETS).clamp(1, ClientList::MAX_ENTRIES));
        }
        Ok(())
    }

    pub(super) fn certificate(&mut self, _: &mut Draft, line: &Line<'_>) -> Understood {
        self.certificates
            .push((origin(line), word(line)?.to_owned()));
        Ok(())
    }

    pub(super) fn private_key(&mut self, _: &mut Draft, line: &Line<'_>) -> Understood {
        self.private_keys
            .push((origin(line), word(line)?.to_owned()));
        Ok(())
    }

    pub(super) fn key_exchange_port(&mut self, _: &mut Draft, line: &Line<'_>) -> Understood {
        self.key_exchange_port = Some(parse(line)?);
        Ok(())
    }

    pub(super) fn ntp_server(&mut self, _: &mut Draft, line: &Line<'_>) -> Understood {
        self.key_exchange.push(("ntp-server", quoted(word(line)?)));
        Ok(())
    }

    pub(super) fn connections(&mut self, _: &mut Draft, line: &Line<'_>) -> Understood {
        let most: u32 = parse(line)?;
        self.key_exchange
            .push(("concurrent-connections", most.to_string()));
        Ok(())
    }

    /// Adds the sections of the servers.
    pub(super) fn write(self, draft: &mut Draft) {
        // Without `allow`, or with port 0, chronyd is a client only.
        let (rules, differ) = self.access.clone().into_rules();
        let Some(allow) =
            (self.allow.as_ref()).filter(|_| self.port != Some(0) && rules.serves_outside(&[]))
        else {
            let why = "no server configured: with these lines chronyd answers no client";
            for (number, text) in &self.lines {
                draft.remarks.not_needed(*number, text, why);
            }
            return;
        };
        let port = self.port.unwrap_or(NTP_PORT);
        for (address, rules) in self.addresses(&rules) {
            let mut server = Table::default();
            if differ {
                server.comment(
                    "chronyd stores networks in steps of four bits; these are its decisions",
                );
            }
            server.set_text("listen", &SocketAddr::from((address, port)).to_string());
            if let Some(limit) = &self.limit {
                limit.write(&mut server);
            }
            if let Some(size) = &self.clients {
                server.set("client-list-size", size);
            }
            rules.write(&mut server);
            draft.push(SERVER, (allow.0, &allow.1), server);
        }
        self.write_key_exchange(draft, &rules);
    }

    /// The listening addresses with their rules. chronyd has one socket for each family, so an
    /// address of one family leaves the other one open.
    fn addresses(&self, rules: &Rules) -> Vec<(IpAddr, Rules)> {
        let (only_ipv4, only_ipv6) = (
            rules.without(Subnet::ALL_IPV6),
            rules.without(Subnet::ALL_IPV4),
        );
        if self.ipv4.is_none() && self.ipv6.is_none() {
            return vec![(Ipv6Addr::UNSPECIFIED.into(), rules.clone())];
        }
        let ipv4 = self.ipv4.unwrap_or(Ipv4Addr::UNSPECIFIED);
        let ipv6 = self.ipv6.unwrap_or(Ipv6Addr::UNSPECIFIED);
        let all = [
            (ipv4.into(), only_ipv4, self.ipv4.is_some()),
            (ipv6.into(), only_ipv6, self.ipv6.is_some()),
        ];
        // A bound address is kept, the other family only if it has clients. The rules of a bound
        // address need no mention of the family that cannot reach it.
        let served = all
            .into_iter()
            .filter(|(_, of_family, bound)| *bound || of_family.serves_outside(&[]));
        let served = served.map(|(address, of_family, bound)| match bound {
            true => (address, rules.clone()),
            false => (address, of_family),
        });
        served.collect()
    }

    fn write_key_exchange(self, draft: &mut Draft, rules: &Rules) {
        let pairs = self.certificates.len().min(self.private_keys.len());
        let single = self.certificates[pairs..]
            .iter()
            .chain(&self.private_keys[pairs..]);
        for ((number, text), _) in single {
            let why = "a certificate and its private key are a pair: one of them is missing";
            draft.remarks.unsupported(*number, text, why);
        }
        let mut all = self.certificates.iter().zip(&self.private_keys);
        let Some(((origin, certificate), (_, private_key))) = all.next() else {
            let why = "no key exchange without a certificate and a private key";
            let only = ["ntsport", "ntsntpserver", "maxntsconnections"];
            for (number, text) in self.lines.iter().filter(|(_, text)| {
                let directive = text.split_whitespace().next().unwrap_or_default();
                only.iter().any(|it| directive.eq_ignore_ascii_case(it))
            }) {
                draft.remarks.not_needed(*number, text, why);
            }
            return;
        };
        let port = self.key_exchange_port.unwrap_or(NTS_KE_PORT);
        let more: Vec<_> = all.collect();
        for (address, _) in self.addresses(rules) {
            let mut table = Table::default();
            table.set_text("listen", &SocketAddr::from((address, port)).to_string());
            table.set_text("certificate-chain-path", certificate);
            table.set_text("private-key-path", private_key);
            for (key, value) in &self.key_exchange {
                table.set(key, value);
            }
            for ((_, certificate), (_, private_key)) in &more {
                let mut pair = Table::default();
                pair.set_text("certificate-chain-path", certificate);
                pair.set_text("private-key-path", private_key);
                table.push("[[nts-ke-server.additional-certificates]]", pair);
            }
            if let Some(port) = self.port.filter(|port| *port != NTP_PORT) {
                table.set("ntp-port", port);
            }
            draft.push(KEY_EXCHANGE, (origin.0, &origin.1), table);
        }
    }
}

fn origin(line: &Line<'_>) -> Origin {
    (line.number, line.text.to_owned())
}

/// First word after the directive.
fn word<'l>(line: &Line<'l>) -> Result<&'l str, &'static str> {
    let word = line.words.first().copied();
    word.filter(|word| !word.is_empty()).ok_or(INVALID)
}

/// Value of the first word after the directive.
fn parse<T: FromStr>(line: &Line<'_>) -> Result<T, &'static str> {
    word(line)?.parse().map_err(|_| INVALID)
}

impl RateLimit {
    fn write(&self, table: &mut Table) {
        // The shortest cutoff is a millisecond.
        let milliseconds = (f64::from(self.interval).exp2() * 1000.0).ceil() as u64;
        table.set("rate-limiting-cache-size", 16_384);
        table.set("rate-limiting-cutoff-ms", milliseconds);
        table.set("rate-limiting-burst", self.burst);
        table.set("rate-limiting-leak", 1u32 << self.leak);
        let kiss = match self.kod {
            0 => 0,
            kod => 1u32 << kod,
        };
        table.set("rate-limiting-kiss", kiss);
    }
}
