//! `ntp-ctl servers`: listening addresses of NTP and NTS key exchange, with counters.

use ntp_time::SystemTime;
use ntp_types::statistics::KeStatistics;
use ntp_types::status::{KeServerStatus, ServerStatus, Status};

use crate::format::validity;
use crate::layout::{Column, Page, left, right, table};

/// Output if the daemon serves no time.
pub(crate) const NONE: &str =
    "No servers configured; add one with `ntp-ctl server add ADDRESS` or [[server]]\n";

pub(crate) fn plain(status: &Status) -> String {
    let mut text = if status.servers.is_empty() {
        NONE.into()
    } else {
        table(&COLUMNS, status.servers.iter().map(row))
    };
    if let Some(exchange) = &status.key_exchange {
        text.push('\n');
        text += &key_exchange(exchange, status.program.now);
    }
    text
}

fn key_exchange(exchange: &KeServerStatus, now: SystemTime) -> String {
    let mut page = Page::new(17);
    let KeStatistics {
        connections,
        granted,
        refused,
        timed_out,
        evicted,
        failed,
    } = exchange.connections;
    page.line("NTS key exchange", exchange.addresses.join(", "));
    page.line("  Connections", connections);
    page.line(
        "  Keys granted",
        format_args!(
            "{granted} ({refused} refused, {timed_out} timed out, {evicted} evicted, {failed} failed)"
        ),
    );
    page.line(
        "  Cookie key",
        match exchange.cookie_key {
            Some(number) => format!("number {number}"),
            None => "none (derived from the time; clock not synchronised yet)".into(),
        },
    );
    for certificate in &exchange.certificates {
        page.line("  Certificate", &certificate.path);
        page.line("    for", certificate.names.join(", "));
        let valid = certificate.expires.map(|end| validity(end, now));
        page.line("    validity", valid.unwrap_or_else(|| "unreadable".into()));
    }
    page.into_text()
}

const COLUMNS: [Column; 7] = [
    left("Address", 24),
    right("Received", 10),
    right("Answered", 10),
    right("Denied", 8),
    right("Ignored", 8),
    right("Limited", 8),
    right("Failed", 6),
];

fn row(server: &ServerStatus) -> Vec<String> {
    let requests = &server.requests;
    let counts = [
        requests.received,
        requests.accepted,
        requests.denied,
        requests.ignored,
        requests.rate_limited,
        requests.send_errors,
    ];
    let counts = counts.iter().map(ToString::to_string);
    std::iter::once(server.address.to_string())
        .chain(counts)
        .collect()
}
