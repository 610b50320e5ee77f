//! The findings of `ntp-ctl nts check`, for people.

use std::fmt::{Display, Write as _};

use ntp_nts_ke::certificate::Date;

use super::findings::{Findings, Shown};
use crate::figures::{duration, signed};

pub(super) fn text(findings: &Findings) -> String {
    let mut page = Page::default();
    let host = &findings.host;
    page.line(
        "Key exchange",
        match findings.peer {
            Some(peer) => format!("{host} ({peer})"),
            None => format!("{host}, TCP port {}", findings.port),
        },
    );
    for failed in &findings.failed {
        page.line("Tried", format!("{} {}", failed.address, failed.problem));
    }
    for (place, certificate) in findings.certificates.iter().enumerate() {
        page.certificate(place, certificate);
    }
    if let Some(aead) = &findings.aead {
        page.line("AEAD", format!("{} ({})", aead.name, aead.id));
    }
    if let Some(cookies) = &findings.cookies {
        page.line(
            "Cookies",
            format!("{} of {} octets", cookies.count, cookies.octets),
        );
    }
    if let Some(server) = &findings.ntp_server {
        let origin = if server.named {
            "named by the key exchange"
        } else {
            "where the key exchange is"
        };
        let address = server.address.map_or_else(String::new, |address| {
            if address.ip().to_string() == server.host {
                String::new()
            } else {
                format!(" ({address})")
            }
        });
        page.line(
            "NTP server",
            format!(
                "{}, UDP port {}{address}; {origin}",
                server.host, server.port
            ),
        );
    }
    let timings = &findings.timings;
    for (label, time) in [
        ("Name look-up", timings.lookup),
        ("TCP connection", timings.connect),
        ("TLS handshake", timings.tls),
        ("Keys", timings.exchange),
        ("NTP round trip", timings.ntp_round_trip),
    ] {
        if let Some(time) = time {
            page.line(label, duration(time));
        }
    }
    if let Some(time) = &findings.time {
        let measured = &time.measured;
        page.line(
            "Offset",
            format!(
                "{}, ± {} at most if the server is right (stamps: {}, {})",
                signed(measured.offset),
                duration(time.uncertainty),
                measured.stamps.0,
                measured.stamps.1
            ),
        );
        page.line("Stratum", measured.stratum);
    }
    for note in &findings.notes {
        page.line("Note", note);
    }
    page.line(
        "Result",
        match &findings.problem {
            None => "NTS works with this server".into(),
            Some(problem) => format!("NTS does not work ({})", problem.class),
        },
    );
    page.0
}

#[derive(Default)]
struct Page(String);

impl Page {
    fn line(&mut self, label: &str, value: impl Display) {
        let _ = writeln!(self.0, "{label:<16}: {value}");
    }

    fn certificate(&mut self, place: usize, certificate: &Shown) {
        let label = if place == 0 {
            "Certificate".to_owned()
        } else {
            format!("Issuer {place}")
        };
        self.line(&label, &certificate.subject);
        if place == 0 {
            let names = if certificate.names.is_empty() {
                "no name (subjectAltName is missing)".into()
            } else {
                certificate.names.join(", ")
            };
            self.line("  for", names);
        }
        self.line("  signed by", &certificate.issuer);
        let left = certificate.days_left;
        let left = if left < 0.0 {
            format!("{:.0} days ago", -left)
        } else {
            format!("{left:.0} days left")
        };
        let (from, until) = (Date(certificate.not_before), Date(certificate.not_after));
        self.line("  valid", format!("from {from} until {until} ({left})"));
    }
}
