//! The client list.
//!
//! The lists of the workers may be long. They are copied and sorted on the timekeeping thread, but
//! only for callers who could stop the daemon as well, and the reply is bounded.

use ntp_control_api::control::methods::{ClientsInput, ClientsReply, Error};
use ntp_proto::engine::Now;
use ntp_proto::server::ClientEntry;
use ntp_time::Monotonic;
use ntp_types::path::ListenAddress;
use ntp_types::status::ClientStatus;

use super::handler::{Outcome, unknown_server};
use crate::runtime::services::DaemonContext;

/// Largest number of clients in a reply, and the default.
const MAX_LIMIT: u64 = 1000;
const DEFAULT_LIMIT: u64 = 100;

/// Returns the clients that `which` selects.
pub(super) fn list(daemon: &DaemonContext<'_>, which: &ClientsInput) -> Outcome<ClientsReply> {
    let limit = which.limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(Error::Refused {
            reason: format!("limit: {limit} is out of range (1 to {MAX_LIMIT})"),
        });
    }
    let table = match &which.server {
        None => daemon.shared.clients(None),
        Some(name) => match name.parse() {
            Ok(address) => daemon.shared.clients(Some(address)),
            Err(_) => None,
        },
    };
    let Some(table) = table else {
        return Err(unknown_server(which.server.as_deref().unwrap_or_default()));
    };
    let now = daemon.driver.now();
    let (listed, size) = (table.len() as u64, table.size as u64);
    let (displaced, missed) = (table.displaced, table.missed);
    let busiest = table.busiest(usize::try_from(limit).unwrap_or(usize::MAX));
    Ok(ClientsReply {
        clients: busiest
            .iter()
            .map(|(server, entry)| client_status(*server, entry, now))
            .collect(),
        listed,
        size,
        evicted: displaced,
        uncounted: missed,
    })
}

/// Returns the status of a client of the listening address `server`.
pub(crate) fn client_status(server: ListenAddress, entry: &ClientEntry, now: Now) -> ClientStatus {
    // What our clock would have read at that moment, had it not been stepped since.
    let clock = |moment: Monotonic| now.system - (now.monotonic - moment);
    ClientStatus {
        address: entry.address.to_string(),
        server: server.to_string(),
        requests: entry.requests,
        overcount: entry.overcount,
        answered: entry.answered,
        denied: entry.denied,
        rate_limited: entry.limited,
        interval: entry.interval(),
        first_seen: clock(entry.first),
        last_seen: clock(entry.last),
    }
}
