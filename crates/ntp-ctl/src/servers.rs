//! `ntp-ctl servers`: listening addresses of NTP and NTS key exchange, with counters.

use std::fmt::Write as _;

use ntp_control_api::control::types::{KeyExchange, Status};

use crate::format::validity;

/// Output if the daemon serves no time.
pub(crate) const NONE: &str =
    "No servers configured; add one with `ntp-ctl server add ADDRESS` or [[server]]\n";

pub(crate) fn plain(status: &Status) -> String {
    let mut text = if status.servers.is_empty() {
        NONE.into()
    } else {
        table(status)
    };
    if let Some(exchange) = &status.key_exchange {
        key_exchange(&mut text, exchange, status.program.now);
    }
    text
}

fn key_exchange(text: &mut String, exchange: &KeyExchange, now: f64) {
    text.push('\n');
    let mut line = |label: &str, value: String| {
        let _ = writeln!(text, "{label:<17}: {value}");
    };
    line("NTS key exchange", exchange.addresses.join(", "));
    line("  Connections", exchange.connections.to_string());
    line(
        "  Keys granted",
        format!(
            "{} ({} refused, {} timed out, {} evicted, {} failed)",
            exchange.granted,
            exchange.refused,
            exchange.timed_out,
            exchange.evicted,
            exchange.failed
        ),
    );
    line(
        "  Cookie key",
        match exchange.cookie_key {
            Some(number) => format!("number {number}"),
            None => "none (derived from the time; clock not synchronised yet)".into(),
        },
    );
    for certificate in &exchange.certificates {
        line("  Certificate", certificate.path.clone());
        line("    for", certificate.names.join(", "));
        let valid = certificate.expires.map(|end| validity(end, now));
        line("    validity", valid.unwrap_or_else(|| "unreadable".into()));
    }
}

fn table(status: &Status) -> String {
    let mut text = format!(
        "{:<24} {:>10} {:>10} {:>8} {:>8} {:>8} {:>6}\n",
        "Address", "Received", "Answered", "Denied", "Ignored", "Limited", "Failed"
    );
    for server in &status.servers {
        let _ = writeln!(
            text,
            "{:<24} {:>10} {:>10} {:>8} {:>8} {:>8} {:>6}",
            server.address,
            server.received,
            server.accepted,
            server.denied,
            server.ignored,
            server.rate_limited,
            server.send_errors
        );
    }
    text
}
