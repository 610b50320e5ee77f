//! Reports about the daemon as a server, and the number of its sources: `serverstats`, `clients`,
//! `activity`.

use std::net::IpAddr;

use ntp_time::{NtpDuration, SystemTime};
use ntp_types::status::ClientStatus;

use crate::Daemon;
use crate::field::{Address, Fields, Writer, rounded_log2};
use crate::message::Refusal;
use crate::sources::{Entry, entries, is_reference_clock};

/// Largest number of clients in a reply.
const MAX_CLIENTS: usize = 8;
/// A request interval that is not known, and a count that is not kept.
const UNKNOWN_INTERVAL: i8 = 127;

pub(crate) fn activity(daemon: &mut dyn Daemon, _: Fields<'_>) -> Result<Writer, Refusal> {
    let (mut online, mut offline, mut unresolved) = (0, 0, 0);
    for entry in entries(daemon.status()) {
        match entry {
            // chronyd counts servers only.
            Entry::InUse(source) if is_reference_clock(source) => {}
            Entry::InUse(source) if source.online => online += 1,
            Entry::InUse(_) => offline += 1,
            Entry::Unresolved(..) => unresolved += 1,
        }
    }
    let mut body = Writer::default();
    // Bursts end by themselves and are not shown.
    body.count(online).count(offline).zeros(8).count(unresolved);
    Ok(body)
}

/// Counters in the order of the reply.
fn counters(daemon: &mut dyn Daemon) -> [u64; 9] {
    let own = daemon.counters();
    let status = daemon.status();
    let keys = status.key_exchange.as_ref().map(|it| it.connections);
    let keys = keys.unwrap_or_default();
    let (mut received, mut limited, mut authenticated, mut interleaved) = (0, 0, 0, 0);
    for server in &status.servers {
        let (requests, details) = (&server.requests, &server.details);
        received += requests.received;
        // A RATE kiss is an answer.
        limited += requests.rate_limited.saturating_sub(details.rate_kisses);
        authenticated += details.authenticated + requests.nts_accepted;
        interleaved += details.interleaved;
    }
    [
        received,
        keys.connections,
        own.answered,
        limited,
        keys.evicted,
        own.dropped,
        // Client records that the limit of memory cost are not counted here.
        0,
        authenticated,
        interleaved,
    ]
}

/// The reply since chrony 4.4. Timestamps held and their sources (eight numbers) are not counted.
pub(crate) fn statistics(daemon: &mut dyn Daemon, _: Fields<'_>) -> Result<Writer, Refusal> {
    let mut body = Writer::default();
    for counter in counters(daemon) {
        body.u64(counter);
    }
    Ok(body)
}

/// The reply up to chrony 4.3, whose counters wrap at 2^32.
pub(crate) fn short_statistics(daemon: &mut dyn Daemon, _: Fields<'_>) -> Result<Writer, Refusal> {
    let mut body = Writer::default();
    for counter in counters(daemon) {
        body.counter(counter);
    }
    Ok(body)
}

pub(crate) fn clients(
    daemon: &mut dyn Daemon,
    mut arguments: Fields<'_>,
) -> Result<Writer, Refusal> {
    let mut argument = || arguments.u32().ok_or(Refusal::Length);
    let (first, limit, least, reset) = (argument()?, argument()?, argument()?, argument()?);
    if reset != 0 {
        // Resetting counters is a change.
        return Err(Refusal::Unauthorised);
    }
    let size = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    let (first, limit) = (size(first), size(limit).min(MAX_CLIENTS));
    let status = daemon.status();
    if status.servers.iter().all(|it| it.client_list_size == 0) {
        return Err(Refusal::Inactive);
    }
    let now = status.program.now;
    let all = daemon.clients(first);
    let mut next = first.min(all.len());
    let mut chosen = Vec::new();
    for client in all.iter().skip(first) {
        if chosen.len() == limit {
            break;
        }
        next += 1;
        if client.requests >= u64::from(least.max(1)) {
            chosen.push(client);
        }
    }
    let mut body = Writer::default();
    body.count(all.len() as u64)
        .count(next as u64)
        .count(chosen.len() as u64);
    for client in chosen {
        record(&mut body, client, now);
    }
    Ok(body)
}

/// Writes a client. It has NTP requests only.
fn record(body: &mut Writer, client: &ClientStatus, now: SystemTime) {
    let address = client.address.parse::<IpAddr>();
    let interval = client.interval.map(NtpDuration::as_seconds_f64);
    let interval = interval.filter(|seconds| *seconds > 0.0);
    let interval = interval.map_or(UNKNOWN_INTERVAL, rounded_log2);
    body.address(address.map_or(Address::None, Address::Ip))
        .counter(client.requests)
        .zeros(8)
        .counter(client.rate_limited)
        .zeros(8)
        .i8(interval)
        .i8(UNKNOWN_INTERVAL)
        .i8(UNKNOWN_INTERVAL)
        .i8(UNKNOWN_INTERVAL)
        .ago(Some(now - client.last_seen))
        .ago(None)
        .ago(None);
}
