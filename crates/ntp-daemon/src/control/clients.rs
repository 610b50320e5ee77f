//! Who asks for time, for those who may know.
//!
//! The workers' lists may be long; they are copied and sorted on the timekeeping thread, but only for callers who could stop the daemon as well. The reply is bounded.

use std::net::SocketAddr;

use ntp_control_api::control::methods::{ClientsInput, ClientsReply, Error};
use ntp_control_api::control::types::Client;
use ntp_proto::engine::Now;
use ntp_proto::server::ClientEntry;
use ntp_time::{Monotonic, NtpDuration};

use super::desk::{Outcome, unknown_server};
use super::status::since_1970;
use crate::runtime::Runtime;

/// Clients in a reply: at most, and if nothing is said.
const MOST: u64 = 1000;
const USUAL: u64 = 100;

/// The reply to `which`.
pub(super) fn told(runtime: &Runtime, which: &ClientsInput) -> Outcome<ClientsReply> {
    let limit = which.limit.unwrap_or(USUAL);
    if !(1..=MOST).contains(&limit) {
        return Err(Error::Refused {
            reason: format!("limit: {limit} clients cannot be told of at once, but 1 to {MOST}"),
        });
    }
    let register = match &which.server {
        None => runtime.clients(None),
        Some(name) => match name.parse() {
            Ok(address) => runtime.clients(Some(address)),
            Err(_) => None,
        },
    };
    let Some(register) = register else {
        return Err(unknown_server(which.server.as_deref().unwrap_or_default()));
    };
    let now = runtime.now();
    let (listed, size) = (register.len() as u64, register.size as u64);
    let (displaced, missed) = (register.displaced, register.missed);
    let busiest = register.busiest(usize::try_from(limit).unwrap_or(usize::MAX));
    Ok(ClientsReply {
        clients: busiest
            .iter()
            .map(|(server, entry)| client(*server, entry, now))
            .collect(),
        listed,
        size,
        evicted: displaced,
        uncounted: missed,
    })
}

fn client(server: SocketAddr, entry: &ClientEntry, now: Now) -> Client {
    // As our clock would have read then, had it not been set meanwhile.
    let clock = |moment: Monotonic| since_1970(now.system - (now.monotonic - moment));
    Client {
        address: entry.address.to_string(),
        server: server.to_string(),
        requests: entry.requests,
        overcount: entry.overcount,
        answered: entry.answered,
        denied: entry.denied,
        rate_limited: entry.limited,
        interval: entry.interval().map(NtpDuration::as_seconds_f64),
        first_seen: clock(entry.first),
        last_seen: clock(entry.last),
    }
}
