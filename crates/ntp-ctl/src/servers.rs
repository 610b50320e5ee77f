//! `ntp-ctl servers`: listening addresses of NTP and NTS key exchange, with counters.

use ntp_types::statistics::KeStatistics;
use ntp_types::status::{KeServerStatus, ProgramStatus, ServerStatus, Status};

use crate::format::{provider_text, validity};
use crate::layout::{Column, Page, if_room, table};

/// Output if the daemon serves no time.
pub(crate) const NONE: &str =
    "No servers configured; add one with `ntp-ctl server add ADDRESS` or [[server]]\n";

pub(crate) fn plain(status: &Status, width: usize) -> String {
    let mut text = if status.servers.is_empty() && status.waiting_servers.is_none() {
        NONE.into()
    } else {
        table(width, &COLUMNS, status, &status.servers)
    };
    for address in status.waiting_servers.iter().flatten() {
        text += &format!("{address}: not served, its `bind-device` does not exist\n");
    }
    if let Some(exchange) = &status.key_exchange {
        text.push('\n');
        text += &key_exchange(exchange, &status.program);
    }
    text
}

fn key_exchange(exchange: &KeServerStatus, program: &ProgramStatus) -> String {
    let now = program.now;
    let mut page = Page::new(17);
    let KeStatistics {
        connections,
        granted,
        pool_queries,
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
    if pool_queries > 0 {
        page.line("  Pool queries", pool_queries);
    }
    page.line(
        "  Cookie key",
        match exchange.cookie_key {
            Some(number) => format!("number {number}"),
            None => "none (derived from the time; clock not synchronised yet)".into(),
        },
    );
    let provider = program.provider.as_ref();
    let provider = provider.map(|it| provider_text(&it.name, it.fips));
    page.optional("  Cryptography", provider);
    for certificate in &exchange.certificates {
        page.line("  Certificate", &certificate.path);
        page.line("    for", certificate.names.join(", "));
        let valid = certificate.expires.map(|end| validity(end, now));
        page.line("    validity", valid.unwrap_or_else(|| "unreadable".into()));
    }
    page.into_text()
}

const COLUMNS: [Column<ServerStatus>; 10] = [
    Column::name("Address", |_, it| it.address.to_string()),
    Column::right("Received", |_, it| it.requests.received.to_string()),
    Column::right("Answered", |_, it| it.requests.accepted.to_string()),
    Column::right("Denied", |_, it| it.requests.denied.to_string()),
    Column::right("Ignored", |_, it| it.requests.ignored.to_string()),
    Column::right("Limited", |_, it| it.requests.rate_limited.to_string()),
    if_room(
        1,
        Column::right("Failed", |_, it| it.requests.send_errors.to_string()),
    ),
    if_room(
        2,
        Column::right("Dropped", |_, it| it.details.dropped_by_kernel.to_string()),
    ),
    if_room(
        3,
        Column::right("NTS", |_, it| it.requests.nts_accepted.to_string()),
    ),
    if_room(
        4,
        Column::right("NTS NAK", |_, it| it.requests.nts_nak.to_string()),
    ),
];
