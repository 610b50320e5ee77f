//! ntpd's listening addresses, and the key exchange of ntpsec's server.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ntp_config::{NTS_KE_PORT, Subnet};

use crate::migrate::access::Rules;
use crate::migrate::draft::{Draft, KEY_EXCHANGE, SOURCE, Table};
use crate::migrate::lines::Line;
use crate::migrate::table::{OptionFate, OptionRow, convert_options};

/// `interface`: which addresses are opened; all unless a line excludes some.
pub(super) struct Interfaces {
    ipv4: bool,
    ipv6: bool,
    addresses: Vec<IpAddr>,
}

impl Default for Interfaces {
    fn default() -> Self {
        let (ipv4, ipv6, addresses) = (true, true, Vec::new());
        Self {
            ipv4,
            ipv6,
            addresses,
        }
    }
}

impl Interfaces {
    pub(super) fn add(&mut self, draft: &mut Draft, line: &Line<'_>) {
        let opened = match line.words.first() {
            Some(&"listen") => true,
            Some(&("ignore" | "drop")) => false,
            _ => return draft.unsupported(line, "use [[server]] listen with an address"),
        };
        match line.words.get(1..).unwrap_or_default() {
            ["all"] => (self.ipv4, self.ipv6) = (opened, opened),
            ["ipv4"] => self.ipv4 = opened,
            ["ipv6"] => self.ipv6 = opened,
            ["wildcard"] => {}
            [address] if let Ok(address) = address.parse() => {
                if opened {
                    if !self.addresses.contains(&address) {
                        self.addresses.push(address);
                    }
                    return;
                }
                let why = "all other addresses are opened, too: use [[server]] listen";
                return draft.unsupported(line, why);
            }
            _ => return draft.unsupported(line, "use [[server]] listen with an address"),
        }
        draft.not_needed(line, "[[server]] listen sets the listening addresses");
    }

    /// Line of the servers' sections: ntpd serves without one.
    pub(super) fn origin(&self) -> (usize, &'static str) {
        (0, "(ntpd serves by default)")
    }

    /// Addresses that are opened, and the rules of each. None if nobody but this machine is served.
    pub(super) fn addresses(&self, rules: &Rules) -> Vec<(IpAddr, Rules)> {
        let loopback = [
            Subnet::new(Ipv4Addr::LOCALHOST.into(), 8),
            Subnet::new(Ipv6Addr::LOCALHOST.into(), 128),
        ];
        let loopback: Vec<Subnet> = loopback.into_iter().flatten().collect();
        let all = match (self.addresses.is_empty(), self.ipv4, self.ipv6) {
            (false, ..) => {
                let each = self.addresses.iter();
                each.map(|it| (*it, rules.clone())).collect()
            }
            (true, true, true) => vec![(Ipv6Addr::UNSPECIFIED.into(), rules.clone())],
            (true, true, false) => vec![(Ipv4Addr::UNSPECIFIED.into(), rules.clone())],
            (true, false, true) => {
                let only_ipv6 = rules.without(Subnet::ALL_IPV4);
                vec![(Ipv6Addr::UNSPECIFIED.into(), only_ipv6)]
            }
            (true, false, false) => Vec::new(),
        };
        let served = all.into_iter();
        let served = served.filter(|(_, rules)| rules.serves_outside(&loopback));
        served.collect()
    }
}

/// `nts` of ntpsec.
#[derive(Default)]
pub(in crate::migrate) struct NtsServer {
    enabled: bool,
    certificate: Option<String>,
    key: Option<String>,
    authorities: Option<String>,
    lines: Vec<(usize, String)>,
}

const SEE_MANUAL: &str = "see [keyset] and [[nts-ke-server]] in the manual";

/// Options of `nts`.
#[rustfmt::skip]
pub(in crate::migrate) const NTS_OPTIONS: &[OptionRow<NtsServer>] = &[
    ("enable", 0, OptionFate::Converted(|it, _| { it.enabled = true; Ok(()) })),
    ("cert", 1, OptionFate::Converted(|it, value| { it.certificate = Some(value.into()); Ok(()) })),
    ("key", 1, OptionFate::Converted(|it, value| { it.key = Some(value.into()); Ok(()) })),
    ("ca", 1, OptionFate::Converted(|it, value| { it.authorities = Some(value.into()); Ok(()) })),
    ("cookie", 1, OptionFate::NotNeeded("cookie keys are kept in the state directory; see [keyset]")),
    ("disable", 0, OptionFate::Unsupported(SEE_MANUAL)),
    ("aead mintls maxtls ciphers ciphersuites tlsciphersuites tlsecdhcurves port require", 1, OptionFate::Unsupported(SEE_MANUAL)),
    ("tlscipherserverpreference", 0, OptionFate::Unsupported(SEE_MANUAL)),
];

impl NtsServer {
    pub(super) fn add(&mut self, draft: &mut Draft, line: &Line<'_>) {
        let remarks = convert_options(self, line, &line.words, NTS_OPTIONS);
        draft.remarks.append(remarks);
        self.lines.push((line.number, line.text.to_owned()));
    }

    /// Sets the authorities of sources that have none of their own.
    pub(super) fn set_authorities(&self, draft: &mut Draft) {
        let Some(path) = &self.authorities else {
            return;
        };
        let mut used = false;
        for source in draft.tables(SOURCE).filter(|it| it.has_mode("nts")) {
            used = true;
            if source.get("certificate-authority").is_none() {
                source.set_text("certificate-authority", path);
            }
        }
        if !used {
            let why = "no source with `nts` uses these certificates";
            self.not_needed(draft, "ca", why);
        }
    }

    fn not_needed(&self, draft: &mut Draft, option: &str, why: &str) {
        let has = |text: &str| text.split_whitespace().any(|word| word == option);
        for (line, text) in self.lines.iter().filter(|(_, text)| has(text)) {
            draft.remarks.not_needed(*line, text, why);
        }
    }

    pub(super) fn write(&self, draft: &mut Draft, serves: bool) {
        let pair = self.certificate.as_ref().zip(self.key.as_ref());
        match pair.filter(|_| self.enabled && serves) {
            Some((certificate, key)) => {
                let mut table = Table::default();
                let listen = SocketAddr::from((Ipv6Addr::UNSPECIFIED, NTS_KE_PORT));
                table.set_text("listen", &listen.to_string());
                table.set_text("certificate-chain-path", certificate);
                table.set_text("private-key-path", key);
                let line = self.lines.first().map_or(0, |(line, _)| *line);
                draft.push(KEY_EXCHANGE, (line, "nts"), table);
            }
            None => {
                let why =
                    "no key exchange: it needs `enable`, a certificate and a key, and clients";
                for option in ["enable", "cert", "key"] {
                    self.not_needed(draft, option, why);
                }
            }
        }
    }
}
