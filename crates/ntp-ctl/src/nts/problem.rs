//! Classes of problems, with exit codes and advice.

use std::path::PathBuf;

use ntp_config::Address;
use ntp_nts_ke::failure::{Failure as KeFailure, Stage};
use ntp_proto::client::Rejection;
use serde::Serialize;

use super::report::{Certificate, Server};
use crate::format::duration;
use crate::query_client::QueryError;

/// Offset in seconds above which the clock is wrong, and not only the network slow.
const SIGNIFICANT_OFFSET: f64 = 1.0;

/// All classes with their names in JSON and their meaning.
const CLASSES: &[(Class, &str, &str)] = &[
    (
        Class::Here,
        "here",
        "check not possible: invalid argument or unreadable file",
    ),
    (
        Class::Connect,
        "connect",
        "TCP connection failed: refused, timeout, no route",
    ),
    (
        Class::Tls,
        "tls",
        "TLS 1.3 handshake failed, or the port does not speak TLS",
    ),
    (
        Class::Alpn,
        "alpn",
        "TLS without NTS key exchange (ALPN ntske/1)",
    ),
    (Class::Name, "name", "certificate for other names"),
    (Class::Expired, "expired", "certificate expired"),
    (
        Class::NotYetValid,
        "not-yet-valid",
        "certificate not yet valid",
    ),
    (
        Class::Issuer,
        "issuer",
        "certificate not signed by a trusted authority",
    ),
    (
        Class::Certificate,
        "certificate",
        "certificate invalid for another reason",
    ),
    (
        Class::Response,
        "response",
        "key exchange refused, or its response invalid",
    ),
    (
        Class::NoReply,
        "no-reply",
        "no reply to NTP requests: UDP blocked, or no server",
    ),
    (
        Class::Nak,
        "nak",
        "NTP server cannot decrypt the cookies (NTSN)",
    ),
    (
        Class::Unauthenticated,
        "unauthenticated",
        "replies of the NTP server not authenticated",
    ),
    (
        Class::Unusable,
        "unusable",
        "authenticated reply without usable time",
    ),
    (
        Class::Lookup,
        "lookup",
        "name resolution failed, of the host or of the NTP server that it names",
    ),
];

/// Classes of problems; the values are exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Class {
    Here = 1,
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
    // Not 2, which is an invalid command line.
    Lookup = 16,
}

/// Returns the table of exit codes, for the help text.
pub(crate) fn exit_codes() -> String {
    let mut text = String::from("Exit codes:\n   0                  NTS works\n");
    for (class, name, meaning) in CLASSES {
        text.push_str(&format!("  {:2}  {name:<15} {meaning}\n", *class as u8));
    }
    text.push_str("The names are the values of `problem.class` in JSON.");
    text
}

/// A problem with its class and advice.
#[derive(Debug, Serialize)]
pub(super) struct Problem {
    pub(super) class: &'static str,
    pub(super) exit_code: u8,
    pub(super) text: String,
    /// Remedy.
    pub(super) advice: String,
}

/// Why the NTP request after the key exchange failed.
#[derive(Debug)]
pub(super) enum NtpFailure {
    /// The name of the NTP server cannot be resolved; error of the resolver.
    Address(String),
    /// No request got a usable reply.
    Query(QueryError),
}

impl Problem {
    fn new(class: Class, text: String, advice: String) -> Self {
        let found = (CLASSES.iter()).find(|(other, ..)| *other == class);
        Self {
            class: found.map_or("", |(_, name, _)| name),
            exit_code: class as u8,
            text,
            advice,
        }
    }

    /// Creates the problem of a failed key exchange.
    pub(super) fn of_exchange(
        failure: &KeFailure,
        address: &Address,
        authorities: &[PathBuf],
    ) -> Self {
        let (host, port) = (&address.host.to_string(), address.port);
        let (class, advice) = match failure {
            KeFailure::BadHost(_) => (Class::Here, "Use a host name, or an IPv6 address in brackets if a port follows.".into()),
            KeFailure::Trust(_) => (Class::Here, "The check requires trusted certificate authorities.".into()),
            KeFailure::Lookup(_) | KeFailure::Timeout(Stage::Lookup) | KeFailure::Broken(Stage::Lookup, _) => (
                Class::Lookup,
                format!("Check the name and the name resolution of this machine: getent hosts {host}"),
            ),
            KeFailure::NoOtherTarget => (
                Class::Response,
                "The SRV records name fewer servers than requested: request fewer members.".into(),
            ),
            KeFailure::Connect(_) | KeFailure::Timeout(Stage::Connect) | KeFailure::Broken(Stage::Connect, _) => (
                Class::Connect,
                format!(
                    "Check that firewalls pass TCP port {port} (4460 by RFC 8915), and that the server offers NTS key exchange."
                ),
            ),
            KeFailure::NotTls | KeFailure::TlsVersion | KeFailure::Tls(_) | KeFailure::Timeout(Stage::Handshake) | KeFailure::Broken(Stage::Handshake, _) => (
                Class::Tls,
                "Key exchange requires TLS 1.3 (RFC 8915 section 3). Check the port; if it is right, contact the operator of the \
                 server. A middlebox that breaks TLS is another possible cause."
                    .into(),
            ),
            KeFailure::Alpn => (
                Class::Alpn,
                format!(
                    "Check the port of the key exchange (4460 by RFC 8915; this was {port}). If it is right, the server must negotiate \
                     the protocol ntske/1."
                ),
            ),
            KeFailure::Name { names, .. } => (
                Class::Name,
                name_advice(names, host),
            ),
            KeFailure::Expired { .. } => (
                Class::Expired,
                "If the local clock is right (compare it with another one), the operator of the server must renew the certificate.".into(),
            ),
            KeFailure::NotYetValid { .. } => (
                Class::NotYetValid,
                "Compare the local clock with another one. The daemon tolerates a clock that is wrong at boot \
                 (certificate-time-leniency in [synchronization])."
                    .into(),
            ),
            KeFailure::UnknownIssuer(_) | KeFailure::BadSignature(_) => (
                Class::Issuer,
                issuer_advice(authorities),
            ),
            KeFailure::AuthorityAsServer | KeFailure::NoCertificate | KeFailure::Certificate(_) => (
                Class::Certificate,
                "The operator of the server must replace it.".into(),
            ),
            KeFailure::Response(_) | KeFailure::Timeout(Stage::Exchange) | KeFailure::Broken(Stage::Exchange, _) => (
                Class::Response,
                "The certificate is valid; the log of the server has the reason. A server with shared-secret-path \
                 has no keys before its clock is synchronised."
                    .into(),
            ),
        };
        Self::new(class, failure.to_string(), advice)
    }

    /// Adds advice whether the certificates are valid by the clock of the server, which is `offset`
    /// seconds ahead.
    pub(super) fn compare_clocks(&mut self, chain: &[Certificate], clock: u64, offset: f64) {
        let server_time = clock as f64 + offset;
        let valid = chain.iter().all(|certificate| {
            (certificate.not_before as f64..=certificate.not_after as f64).contains(&server_time)
        });
        let difference = duration(offset);
        let hint = if offset.abs() < SIGNIFICANT_OFFSET {
            "The clock of the server agrees with the local clock, so the certificate is wrong."
                .into()
        } else if valid {
            let direction = if offset > 0.0 { "behind" } else { "ahead" };
            format!(
                "By the clock of the server the certificate is valid: the local clock is probably {direction} by {} (not authenticated, as the certificate \
                 is not valid).",
                difference.trim_start_matches('-')
            )
        } else {
            format!(
                "The clock of the server is {difference} ahead of the local clock, and the certificate is not valid by either."
            )
        };
        self.advice = format!("{} {hint}", self.advice);
    }
}

/// Returns what to do if the certificate is for other names.
fn name_advice(names: &[String], host: &str) -> String {
    match names.iter().find(|name| !name.contains('*')) {
        Some(name) => format!(
            "If one of these names is the intended server, use it: ntp-ctl nts check {name}. Otherwise its operator must \
             get a certificate for {host}."
        ),
        None => format!("The operator of the server must get a certificate for {host}."),
    }
}

/// Returns what to do if no trusted authority signed the certificate.
fn issuer_advice(authorities: &[PathBuf]) -> String {
    if authorities.is_empty() {
        return "For a private authority, use --ca FILE with its certificate (PEM), and certificate-authority in \
                [[source]]. For a public one, update the certificates of this system (package ca-certificates), or have the \
                operator send the complete chain."
            .into();
    }
    let paths: Vec<_> = authorities
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    format!(
        "Not signed by an authority in {}. Check the files, and that the server sends its intermediate certificates.",
        paths.join(" or ")
    )
}

impl NtpFailure {
    /// Converts the failure to a problem of `server`.
    pub(super) fn into_problem(self, server: Option<&Server>) -> Problem {
        let (name, port) = server.map_or((String::new(), 0), |server| {
            let address = server.address.map(|address| address.to_string());
            (address.unwrap_or_else(|| server.host.clone()), server.port)
        });
        let problem = match self {
            Self::Address(problem) => {
                return Problem::new(
                    Class::Lookup,
                    format!("key exchange works, but its NTP server {name} has no address: {problem}"),
                    "The key exchange must name a server that this machine can resolve (ntp-server in [[nts-ke-server]], ntsntpserver in chrony).".into(),
                );
            }
            Self::Query(error) => error,
        };
        let (class, what, advice) = match &problem {
            QueryError::NoReply(Some(Rejection::NtsNak)) => (
                Class::Nak,
                "cannot decrypt the cookies of the key exchange (NTSN)",
                "Both must share their cookie keys: use shared-secret-path in [keyset] on all servers, or one daemon for both. \
                 A restart of the server is not the cause: the cookies are new.",
            ),
            QueryError::NoReply(Some(Rejection::PlainReply)) => (
                Class::Unauthenticated,
                "is answered for without NTS",
                "UDP port 123 is redirected to another server by a device on the path, or the server that the key exchange names \
                 does not support NTS. `ntp-ctl query` from another network shows which. Do not use the time of such replies.",
            ),
            QueryError::NoReply(Some(_)) => (
                Class::Unauthenticated,
                "sends replies that are not authenticated",
                "Either the NTP server does not support NTS (check the server that the key exchange names), or another host \
                 on the path replies in its place.",
            ),
            QueryError::NoReply(None) | QueryError::Unreachable(_) | QueryError::NotSent(_) => (
                Class::NoReply,
                "does not reply",
                "The key exchange works, so the problem is UDP. Check that firewalls pass UDP port 123, including long packets (NTS packets \
                 have 200 octets and more), and that the NTP server runs. Test without NTS: ntp-ctl query",
            ),
            QueryError::Kiss(_) | QueryError::Unusable(_) => (
                Class::Unusable,
                "sends authenticated replies without usable time",
                "NTS works. The operator of the server must check its clock or its access control.",
            ),
        };
        let advice = match class {
            Class::NoReply => {
                let advice = advice.replace("UDP port 123", &format!("UDP port {port}"));
                format!("{advice} {name}")
            }
            _ => advice.to_owned(),
        };
        let text = format!("key exchange works, but the NTP server {name} {what}: {problem}");
        Problem::new(class, text, advice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_has_its_own_code_and_is_in_the_help() {
        // 2 is an invalid command line.
        let codes = (1..=16).filter(|code| *code != 2);
        assert!(codes.eq(CLASSES.iter().map(|(class, ..)| *class as u8)));
        for (_, name, _) in CLASSES {
            assert!(exit_codes().contains(name));
        }
    }

    #[test]
    fn the_local_clock_is_suspected_only_if_the_certificate_is_valid_by_the_servers() {
        let chain = [Certificate {
            subject: String::new(),
            names: Vec::new(),
            issuer: String::new(),
            not_before: 1_000_000,
            not_after: 2_000_000,
            days_left: 0.0,
        }];
        let advice = |clock, offset| {
            let mut problem = Problem::new(Class::Expired, String::new(), String::new());
            problem.compare_clocks(&chain, clock, offset);
            problem.advice
        };
        assert!(advice(500_000, 1_000_000.0).contains("probably behind by 1000000 s"));
        assert!(advice(2_500_000, -1_000_000.0).contains("probably ahead by 1000000 s"));
        assert!(advice(2_500_000, 0.01).contains("agrees with the local clock"));
        assert!(advice(2_500_000, 100.0).contains("not valid by either"));
    }
}
