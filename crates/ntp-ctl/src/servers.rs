//! `ntp-ctl servers`: where time is served and NTS keys are given out, and what became of requests.

use std::fmt::Write as _;

use ntp_control_api::control::types::{KeyExchange, Status};

use crate::figures::until;

/// What there is to say where no time is served.
pub(crate) const NONE: &str = "time is served at no address: add `[[server]]` to the configuration, or `ntp-ctl server add`\n";

pub(crate) fn plain(status: &Status) -> String {
    let mut text = if status.servers.is_empty() {
        NONE.into()
    } else {
        table(status)
    };
    if let Some(given) = &status.key_exchange {
        key_exchange(&mut text, given, status.program.now);
    }
    text
}

fn key_exchange(text: &mut String, given: &KeyExchange, now: f64) {
    text.push('\n');
    let mut line = |label: &str, value: String| {
        let _ = writeln!(text, "{label:<17}: {value}");
    };
    line("NTS keys are at", given.addresses.join(", "));
    line(
        "Key exchanges",
        format!(
            "{} with keys, {} refused, {} too slow, {} evicted, {} broken, of {} connections",
            given.granted,
            given.refused,
            given.timed_out,
            given.evicted,
            given.failed,
            given.connections
        ),
    );
    line(
        "Cookie key",
        match given.cookie_key {
            Some(number) => format!("number {number}"),
            None => "none: a fleet's keys follow from the time, which is not known yet".into(),
        },
    );
    for certificate in &given.certificates {
        let valid = certificate.expires.map(|end| until(end, now));
        line(
            "Certificate",
            format!(
                "{} for {}, {}",
                certificate.path,
                certificate.names.join(", "),
                valid.unwrap_or_else(|| "which cannot be read".into())
            ),
        );
    }
}

fn table(status: &Status) -> String {
    let mut text = format!(
        "{:<28} {:>10} {:>10} {:>8} {:>8} {:>8} {:>6}\n",
        "Address", "Received", "Answered", "Denied", "Ignored", "Limited", "Failed"
    );
    for server in &status.servers {
        let _ = writeln!(
            text,
            "{:<28} {:>10} {:>10} {:>8} {:>8} {:>8} {:>6}",
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
