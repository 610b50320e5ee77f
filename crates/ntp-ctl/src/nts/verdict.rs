//! What is wrong, who can change it, and the exit code that says so to scripts.

use std::path::Path;

use ntp_config::Address;
use ntp_nts_ke::failure::{Failure as Trouble, Stage};
use ntp_proto::client::Rejection;
use serde::Serialize;

use super::findings::{Server, Shown};
use crate::asking::NoTime;
use crate::figures::duration;

/// A clock that is this much off, in seconds, is told from the delays of a network.
const NOTICEABLE: f64 = 1.0;

/// Every kind of problem: its exit code, its word in JSON, and what it means.
const CLASSES: &[(Class, &str, &str)] = &[
    (
        Class::Here,
        "here",
        "the check could not be made: a wrong argument, an unreadable file",
    ),
    (
        Class::Lookup,
        "lookup",
        "a name has no address: the host's, or that of the NTP server that it names",
    ),
    (
        Class::Connect,
        "connect",
        "no TCP connection: refused, no answer, no route",
    ),
    (
        Class::Tls,
        "tls",
        "TLS 1.3 cannot be agreed on, or what listens there is not TLS",
    ),
    (
        Class::Alpn,
        "alpn",
        "it speaks TLS, but not key exchange (ALPN ntske/1)",
    ),
    (Class::Name, "name", "the certificate is for other names"),
    (Class::Expired, "expired", "a certificate has expired"),
    (
        Class::NotYetValid,
        "not-yet-valid",
        "a certificate is not valid yet",
    ),
    (
        Class::Issuer,
        "issuer",
        "no authority that we believe stands behind the certificate",
    ),
    (
        Class::Certificate,
        "certificate",
        "something else is wrong with the certificate",
    ),
    (
        Class::Response,
        "response",
        "the key exchange was refused, or its response is faulty",
    ),
    (
        Class::NoReply,
        "no-reply",
        "keys, but no reply to NTP requests: UDP is blocked, or no server runs",
    ),
    (
        Class::Nak,
        "nak",
        "the NTP server does not know the cookies' key (NTSN)",
    ),
    (
        Class::Unauthenticated,
        "unauthenticated",
        "the NTP server's replies are not authenticated",
    ),
    (
        Class::Unusable,
        "unusable",
        "an authenticated reply without usable time",
    ),
];

/// Kinds of problems, with the exit code of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Class {
    Here = 1,
    Lookup = 2,
    Connect = 3,
    Tls = 4,
    Alpn = 5,
    Name = 6,
    Expired = 7,
    NotYetValid = 8,
    Issuer = 9,
    Certificate = 10,
    Response = 11,
    NoReply = 12,
    Nak = 13,
    Unauthenticated = 14,
    Unusable = 15,
}

/// The table of exit codes, for the help text.
pub(crate) fn exit_codes() -> String {
    let mut text = String::from("Exit codes:\n   0                  NTS works\n");
    for (class, word, meaning) in CLASSES {
        text.push_str(&format!("  {:2}  {word:<15} {meaning}\n", *class as u8));
    }
    text.push_str("The words are those of `problem.class` in JSON.");
    text
}

/// What is wrong.
#[derive(Debug, Serialize)]
pub(super) struct Problem {
    pub(super) class: &'static str,
    pub(super) exit_code: u8,
    pub(super) text: String,
    /// What to do.
    pub(super) advice: String,
}

/// Why the keys led to no time.
#[derive(Debug)]
pub(super) enum Missing {
    /// The NTP server that the exchange named has no address; what the resolver says.
    Address(String),
    /// No request was answered as it should be.
    Time(NoTime),
}

impl Problem {
    fn new(class: Class, text: String, advice: String) -> Self {
        let word = (CLASSES.iter()).find(|(other, ..)| *other == class);
        Self {
            class: word.map_or("", |(_, word, _)| word),
            exit_code: class as u8,
            text,
            advice,
        }
    }

    /// What is wrong with a key exchange.
    pub(super) fn of_exchange(
        trouble: &Trouble,
        address: &Address,
        authority: Option<&Path>,
    ) -> Self {
        let (host, port) = (&address.host, address.port);
        let (class, advice) = match trouble {
            Trouble::BadHost(_) => (Class::Here, "Write a host name, or an IPv6 address in brackets if a port follows.".into()),
            Trouble::Trust(_) => (Class::Here, "The check needs authorities to believe.".into()),
            Trouble::Lookup(_) | Trouble::Timeout(Stage::Lookup) | Trouble::Broken(Stage::Lookup, _) => (
                Class::Lookup,
                format!("Is the name right, and does this machine resolve names at all? Try: getent hosts {host}"),
            ),
            Trouble::Connect(_) | Trouble::Timeout(Stage::Connect) | Trouble::Broken(Stage::Connect, _) => (
                Class::Connect,
                format!(
                    "Key exchange needs TCP port {port} (4460 by RFC 8915). Is it allowed out of here and in there by the firewalls, \
                     and does this server give out NTS keys at all?"
                ),
            ),
            Trouble::Tls(_) | Trouble::Timeout(Stage::Handshake) | Trouble::Broken(Stage::Handshake, _) => (
                Class::Tls,
                "Key exchange is TLS 1.3 (RFC 8915 section 3). Is this the right port? If so, the server's operator has to look; a \
                 middlebox that breaks TLS can cause it, too."
                    .into(),
            ),
            Trouble::Alpn => (
                Class::Alpn,
                format!(
                    "Find out the port of its key exchange (4460 by RFC 8915; this was {port}). If this is it, the server's software has to agree on \
                     the protocol ntske/1."
                ),
            ),
            Trouble::Name { names, .. } => (
                Class::Name,
                match names.iter().find(|name| !name.contains('*')) {
                    Some(name) => format!(
                        "If one of these is the server you mean, use that name: ntp-ctl nts check {name}. Otherwise its operator has to \
                         get a certificate for {host} too."
                    ),
                    None => format!("The server's operator has to get a certificate for {host}."),
                },
            ),
            Trouble::Expired { .. } => (
                Class::Expired,
                "If our clock is right (compare it with another one), the server's operator has to renew the certificate.".into(),
            ),
            Trouble::NotYetValid { .. } => (
                Class::NotYetValid,
                "Is our clock right? Compare it with another one. The daemon gets over a clock that is wrong at boot by itself \
                 (certificate-time-leniency in [synchronization])."
                    .into(),
            ),
            Trouble::UnknownIssuer(_) | Trouble::ForeignSignature(_) => (
                Class::Issuer,
                match authority {
                    None => "If the authority is one of your own: --ca FILE with its certificate (PEM), and certificate-authority in \
                             [[source]]. If it is a public one, update this system's certificates (package ca-certificates), or have the \
                             operator send the whole chain."
                        .into(),
                    Some(path) => format!(
                        "The authority in {} did not sign it. Is it the right file, and does the server send its intermediate certificates?",
                        path.display()
                    ),
                },
            ),
            Trouble::AuthorityAsServer | Trouble::NoCertificate | Trouble::Certificate(_) => (
                Class::Certificate,
                "The server's operator has to replace it.".into(),
            ),
            Trouble::Response(_) | Trouble::Timeout(Stage::Exchange) | Trouble::Broken(Stage::Exchange, _) => (
                Class::Response,
                "The certificate is fine; the server's operator finds the reason in the server's log. A server of a fleet (shared-secret-path) \
                 has no keys to give before its clock is synchronised."
                    .into(),
            ),
        };
        Self::new(class, trouble.to_string(), advice)
    }

    /// A certificate is out of time by our clock: says whether it is by the server's, which is `offset` seconds ahead.
    pub(super) fn blame_clock(&mut self, chain: &[Shown], clock: u64, offset: f64) {
        let its = clock as f64 + offset;
        let valid = chain.iter().all(|certificate| {
            (certificate.not_before as f64..=certificate.not_after as f64).contains(&its)
        });
        let away = duration(offset);
        let hint = if offset.abs() < NOTICEABLE {
            "The server's own clock agrees with ours, so it is the certificate that is wrong."
                .into()
        } else if valid {
            let place = if offset > 0.0 { "behind" } else { "ahead" };
            format!(
                "By the server's own clock the certificate is valid: ours is probably {place} by {} (nobody vouches for that as long as the certificate \
                 does not stand).",
                away.trim_start_matches('-')
            )
        } else {
            format!(
                "The server's own clock is {away} ahead of ours, and the certificate is not valid by that one either."
            )
        };
        self.advice = format!("{} {hint}", self.advice);
    }
}

impl Missing {
    /// What is wrong with the NTP server that is `server`.
    pub(super) fn into_problem(self, server: Option<&Server>) -> Problem {
        let (place, port) = server.map_or((String::new(), 0), |server| {
            let address = server.address.map(|address| address.to_string());
            (address.unwrap_or_else(|| server.host.clone()), server.port)
        });
        let problem = match self {
            Self::Address(problem) => {
                return Problem::new(
                    Class::Lookup,
                    format!("keys were exchanged, but the NTP server that goes with them ({place}) has no address: {problem}"),
                    "The operator of the key exchange has to name one that this machine can resolve (ntp-server in [[nts-ke-server]], ntsntpserver in chrony).".into(),
                );
            }
            Self::Time(problem) => problem,
        };
        let (class, what, advice) = match &problem {
            NoTime::Silence(Some(Rejection::NtsNak)) => (
                Class::Nak,
                "does not know the key of the cookies that the key exchange gave (NTSN)",
                "Both have to share their cookie keys: shared-secret-path in [keyset] on all servers of a fleet, or one daemon for both. After a restart \
                 a server without key-storage-path has new ones, but those would be in new cookies: this was tried just now.",
            ),
            NoTime::Silence(Some(_)) => (
                Class::Unauthenticated,
                "answers, but nothing proves that it was this server",
                "Either the server that answers knows nothing of NTS (is the NTP server that the key exchange names the right one?), or somebody \
                 on the way answers in its place.",
            ),
            NoTime::Silence(None) | NoTime::Unreachable(_) | NoTime::NotSent(_) => (
                Class::NoReply,
                "does not answer",
                "The key exchange works, so it is UDP. Does a firewall here, there or on the way drop UDP port 123, or only its longer packets (those of NTS \
                 have 200 octets and more)? Does the NTP server run? Without NTS: ntp-ctl query",
            ),
            NoTime::Kiss(_) | NoTime::Unusable(_) => (
                Class::Unusable,
                "answers under seal, but with no usable time",
                "NTS itself works. The server's operator has to look after its clock, or after whom it serves.",
            ),
        };
        let advice = match class {
            Class::NoReply => {
                let advice = advice.replace("UDP port 123", &format!("UDP port {port}"));
                format!("{advice} {place}")
            }
            _ => advice.to_owned(),
        };
        let text = format!("keys were exchanged, but the NTP server {place} {what}: {problem}");
        Problem::new(class, text, advice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_has_its_own_code_and_stands_in_the_help() {
        for (place, (class, word, _)) in CLASSES.iter().enumerate() {
            assert_eq!(usize::from(*class as u8), place + 1, "{word}");
            assert!(exit_codes().contains(word));
        }
    }

    #[test]
    fn a_clock_is_blamed_only_if_the_certificate_is_valid_by_the_other() {
        let chain = [Shown {
            subject: String::new(),
            names: Vec::new(),
            issuer: String::new(),
            not_before: 1_000_000,
            not_after: 2_000_000,
            days_left: 0.0,
        }];
        let advice = |clock, offset| {
            let mut problem = Problem::new(Class::Expired, String::new(), String::new());
            problem.blame_clock(&chain, clock, offset);
            problem.advice
        };
        assert!(advice(500_000, 1_000_000.0).contains("ours is probably behind by 1000000 s"));
        assert!(advice(2_500_000, -1_000_000.0).contains("ours is probably ahead by 1000000 s"));
        assert!(advice(2_500_000, 0.01).contains("agrees with ours"));
        assert!(advice(2_500_000, 100.0).contains("not valid by that one either"));
    }
}
