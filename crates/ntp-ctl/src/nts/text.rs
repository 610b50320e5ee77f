//! Plain text of the report of `ntp-ctl nts check`.

use ntp_nts_ke::certificate::Date;

use super::report::{Certificate, CheckReport, Server};
use crate::format::{duration, provider_text, signed};
use crate::layout::Page;
use crate::query_client::Measurement;

/// Formats the report.
pub(super) fn format(report: &CheckReport) -> String {
    let mut page = Page::new(16);
    let host = &report.host;
    page.line(
        "Key exchange",
        match report.peer {
            Some(peer) => format!("{host} ({peer})"),
            None => format!("{host}, TCP port {}", report.port),
        },
    );
    page.optional("SRV record", report.target.as_ref());
    for failed in &report.failed {
        page.line("Failed", format!("{}: {}", failed.address, failed.problem));
    }
    let group = report.group.map(|group| format!("group {group}; "));
    let provider = provider_text(report.provider, report.fips);
    page.line("TLS", format!("{}{provider}", group.unwrap_or_default()));
    for (index, certificate) in report.certificates.iter().enumerate() {
        self::certificate(&mut page, index, certificate);
    }
    if let Some(version) = &report.version {
        let draft = version.draft.map(|name| format!(" ({name})"));
        page.line(
            "NTP version",
            format!("{}{}", version.number, draft.unwrap_or_default()),
        );
    }
    if let Some(aead) = &report.aead {
        page.line("AEAD", format!("{} ({})", aead.name, aead.id));
    }
    if let Some(cookies) = &report.cookies {
        page.line(
            "Cookies",
            format!("{} of {} octets", cookies.count, cookies.octets),
        );
    }
    if let Some(server) = &report.ntp_server {
        ntp_server(&mut page, server);
    }
    let timings = &report.timings;
    for (label, time) in [
        ("Name resolution", timings.lookup),
        ("TCP connection", timings.connect),
        ("TLS handshake", timings.tls),
        ("Key exchange", timings.exchange),
        ("NTP round trip", timings.ntp_round_trip),
    ] {
        page.optional(label, time.map(duration));
    }
    if let Some(measured) = &report.time {
        measurement(&mut page, measured);
    }
    for note in &report.notes {
        page.line("Note", note);
    }
    page.line(
        "Result",
        match &report.problem {
            None => "NTS works".into(),
            Some(problem) => format!("NTS does not work ({})", problem.class),
        },
    );
    page.into_text()
}

fn measurement(page: &mut Page, it: &Measurement) {
    page.line(
        "Offset",
        format!(
            "{} ± {} (if the server is right)",
            signed(it.offset),
            duration(it.uncertainty)
        ),
    );
    let (sent, received) = it.stamps;
    page.line("Timestamps", format!("{sent}, {received}"));
    page.line("Stratum", it.stratum);
}

fn ntp_server(page: &mut Page, server: &Server) {
    let origin = if server.named {
        "named by the key exchange"
    } else {
        "address of the key exchange"
    };
    let address = server
        .address
        .filter(|address| address.ip().to_string() != server.host)
        .map_or_else(String::new, |address| format!(" ({address})"));
    page.line(
        "NTP server",
        format!(
            "{}, UDP port {}{address}; {origin}",
            server.host, server.port
        ),
    );
}

fn certificate(page: &mut Page, index: usize, certificate: &Certificate) {
    let label = if index == 0 {
        "Certificate".to_owned()
    } else {
        format!("Issuer {index}")
    };
    page.line(&label, &certificate.subject);
    if index == 0 {
        let names = if certificate.names.is_empty() {
            "no name (subjectAltName is missing)".into()
        } else {
            certificate.names.join(", ")
        };
        page.line("  for", names);
    }
    page.line("  signed by", &certificate.issuer);
    let left = certificate.days_left;
    let left = if left < 0.0 {
        format!("{:.0} days ago", -left)
    } else {
        format!("{left:.0} days left")
    };
    let (from, until) = (Date(certificate.not_before), Date(certificate.not_after));
    page.line("  valid", format!("from {from} until {until} ({left})"));
}
