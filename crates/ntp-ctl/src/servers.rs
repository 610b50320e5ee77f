//! `ntp-ctl servers` and `ntp-ctl clients`: where time is served, and what became of requests.
//!
//! The daemon keeps no list of its clients: the tables that limit rates forget who it was (keyed hashes), so that neither memory nor a curious
//! reader can learn it. What is left are counts.

use std::fmt::Write as _;

use ntp_control_api::control::types::{Server, Status};

const NONE: &str = "time is served at no address: add `[[server]]` to the configuration, or `ntp-ctl server add`\n";

pub(crate) fn plain(status: &Status) -> String {
    if status.servers.is_empty() {
        return NONE.into();
    }
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

pub(crate) fn clients(status: &Status) -> String {
    if status.servers.is_empty() {
        return NONE.into();
    }
    let sum = |count: fn(&Server) -> u64| status.servers.iter().map(count).sum::<u64>();
    let rate = sum(|it| it.received) as f64 / status.program.uptime.max(1.0);
    format!(
        "Requests         : {}, {rate:.2} per second since the start\n\
         Answered         : {}\n\
         Refused          : {} by access list, {} over the rate limit\n\
         Ignored          : {} (malformed, wrong mode or version, or by access list)\n\
         Which clients    : not known: the daemon keeps no addresses of its clients\n",
        sum(|it| it.received),
        sum(|it| it.accepted),
        sum(|it| it.denied),
        sum(|it| it.rate_limited),
        sum(|it| it.ignored),
    )
}
