//! The host names under which requests are answered.
//!
//! # Problem
//! A browser lets a page of `attacker.example` read what `http://attacker.example:9975/` serves. Its
//! owner can make that name resolve to this machine, even to the loopback address (DNS rebinding), and
//! so read the state of a daemon that only this machine may read.
//!
//! # Idea
//! A browser states the name in the `Host` header (RFC 9110 section 7.2). A request is answered if the
//! header is absent (no browser), or has an address, `localhost`, the name of this machine or a
//! configured name: none of them is a name that a stranger can register.

use std::cell::Cell;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use hyper::Request;
use hyper::header::HOST;
use tokio::time::Instant;

use crate::log;

/// Minimum interval of log lines about refused names: any page that a user visits can cause them.
const LOG_INTERVAL: Duration = Duration::from_secs(3600);
/// Number of characters that a reply or a log line shows of a refused name; DNS permits 253.
const SHOWN: usize = 253;

/// Names that are answered, in lower case.
#[derive(Debug)]
pub(crate) struct Hosts {
    names: Vec<String>,
    logged: Cell<Option<Instant>>,
}

impl Hosts {
    /// Permits `machine`, the name of this machine, also without its domain, and the `configured` names.
    pub(crate) fn new(machine: &str, configured: &[String]) -> Self {
        let label = machine.split('.').next().unwrap_or_default();
        let own = ["localhost", machine, label].map(str::to_owned);
        let names = own.iter().chain(configured);
        let names = names.map(|name| name.to_ascii_lowercase());
        Self {
            names: names.filter(|name| !name.is_empty()).collect(),
            logged: Cell::new(None),
        }
    }

    /// Returns the text of the refusal if `request` is for a name that is not permitted.
    pub(crate) fn refusal<T>(&self, request: &Request<T>) -> Option<String> {
        let authority = request.uri().authority().map(|it| it.as_str().as_bytes());
        let headers = request.headers().get_all(HOST).iter();
        let mut hosts = authority.into_iter().chain(headers.map(AsRef::as_ref));
        let refused = hosts.find(|host| !self.permits(host))?;
        let refused = String::from_utf8_lossy(refused);
        let shown: String = refused.chars().take(SHOWN).collect();
        let shown = shown.escape_default();
        self.log(&shown.to_string());
        Some(format!(
            "Host name \"{shown}\" refused, as a protection against DNS rebinding.\n\
             If it is a name of this machine, add it to `metrics-exporter-hosts` in [observability] \
             of ntp.toml and restart ntp-metrics-exporter.\n\
             Addresses, localhost and the name of this machine need no configuration.\n"
        ))
    }

    /// Whether a value of the header, a host with an optional port, is permitted. An empty one is no name.
    fn permits(&self, host: &[u8]) -> bool {
        let Ok(host) = str::from_utf8(host) else {
            return false;
        };
        if let Some((address, _)) = host.strip_prefix('[').and_then(|it| it.split_once(']')) {
            return address.parse::<Ipv6Addr>().is_ok();
        }
        let name = host.split_once(':').map_or(host, |(name, _)| name);
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        name.is_empty()
            || name.parse::<Ipv4Addr>().is_ok()
            || name.ends_with(".localhost")
            || self.names.contains(&name)
    }

    fn log(&self, shown: &str) {
        let now = Instant::now();
        let recently = |at: Instant| now.duration_since(at) < LOG_INTERVAL;
        if !self.logged.get().is_some_and(recently) {
            self.logged.set(Some(now));
            log::warn(format_args!(
                "request for host name \"{shown}\" refused (see [observability] metrics-exporter-hosts)"
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(uri: &str, hosts: &[&str]) -> Option<String> {
        let mut request = Request::builder().uri(uri);
        for host in hosts {
            request = request.header(HOST, *host);
        }
        let configured = ["Ntp.Example".to_owned()];
        Hosts::new("Box.lan", &configured).refusal(&request.body(()).unwrap())
    }

    #[test]
    fn addresses_own_names_and_configured_names_are_answered() {
        for host in [
            "127.0.0.1",
            "192.0.2.1:9975",
            "[::1]:9975",
            "[2001:db8::1]",
            "localhost:9975",
            "LOCALHOST.",
            "page.localhost",
            "box:9975",
            "box.lan",
            "ntp.example:80",
            "NTP.EXAMPLE.",
            "",
        ] {
            assert_eq!(refusal("/", &[host]), None, "{host}");
        }
        assert_eq!(refusal("/", &[]), None);
        assert_eq!(refusal("http://127.0.0.1/metrics", &["box"]), None);
    }

    #[test]
    fn names_that_a_stranger_can_register_are_refused_by_a_text_that_names_the_key() {
        for host in [
            "attacker.example",
            "attacker.example:9975",
            "box.attacker.example",
            "localhost.attacker.example",
            "127.0.0.1.attacker.example",
            "box.lan.attacker.example",
            "[attacker.example]",
            "[::1",
            "xlocalhost",
        ] {
            let text = refusal("/metrics", &[host]).expect(host);
            assert!(text.contains("`metrics-exporter-hosts`"), "{text}");
        }
        assert!(refusal("/", &["box", "attacker.example"]).is_some());
        assert!(refusal("http://attacker.example/", &["box"]).is_some());
        let text = refusal("/", &["a\u{202e}b"]).unwrap();
        assert!(text.is_ascii(), "{text}");
    }
}
