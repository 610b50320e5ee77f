//! `ntp-ctl clients`: counters of requests, and the client list.
//!
//! Counters are public. Addresses are personal data: the daemon records them only if
//! `client-list-size` is set, and returns them only to users who may change its state. Without a
//! list, or without the right to read it, the command succeeds and prints how to get it.
//!
//! The counts of a bounded list can be too large: see `ntp_proto::server::ClientList`. Inexact
//! counts are marked.

use std::fmt::Write as _;
use std::path::Path;

use ntp_control_api::control::client::CallError;
use ntp_control_api::control::methods::{
    ClientsInput, ClientsReply, Error, GetClients, GetStatus, NoInput,
};
use ntp_time::NtpDuration;
use ntp_types::statistics::ServerStatistics;
use ntp_types::status::{ClientStatus, ServerStatus, Status};
use serde_json::json;

use crate::connect::{Socket, call, to_failure};
use crate::console::{Console, Failure};
use crate::format::{Seconds as _, age, duration, paragraph};
use crate::layout::{Column, if_room, or_dash, table};
use crate::servers::NONE;

/// Availability of the client list.
#[derive(Debug)]
enum ClientList {
    /// No list is kept.
    Disabled,
    /// Permission denied: the calling user, and the permitted ones.
    Private(String, String),
    /// The list.
    Available(ClientsReply),
}

/// Size of the list in the suggested command: enough for most servers, 72 kB.
const SUGGESTED_SIZE: u64 = 1000;

pub(crate) fn run(
    config: Option<&Path>,
    limit: u16,
    server: Option<&str>,
    json: bool,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let mut daemon = Socket::find(config)?.connect()?;
    let mut status = call::<GetStatus>(&mut daemon, &NoInput {})?.status;
    if let Some(address) = server {
        status.servers.retain(|server| {
            let shown = server.address.to_string();
            shown == address
        });
        if status.servers.is_empty() {
            return Err(Failure::Error(format!(
                "Unknown server {address:?}; `ntp-ctl servers` lists the addresses"
            )));
        }
    }
    let list = if status.servers.iter().all(|it| it.client_list_size == 0) {
        ClientList::Disabled
    } else {
        let input = ClientsInput {
            server: server.map(ToOwned::to_owned),
            limit: Some(limit.into()),
        };
        match daemon.call::<GetClients>(&input) {
            Ok(reply) => ClientList::Available(reply),
            Err(CallError::Refused(Error::PermissionDenied { caller, permitted })) => {
                ClientList::Private(caller, permitted)
            }
            Err(error) => return Err(to_failure(&error)),
        }
    };
    if json {
        return console.print_json(&data(&status, &list));
    }
    let text = plain(&status, &list, console.width);
    console.print(&text)
}

fn data(status: &Status, list: &ClientList) -> serde_json::Value {
    let (list, private) = match list {
        ClientList::Disabled => (None, None),
        ClientList::Private(caller, permitted) => (
            None,
            Some(json!({ "caller": caller, "permitted": permitted })),
        ),
        ClientList::Available(reply) => (Some(reply), None),
    };
    json!({ "servers": status.servers, "list": list, "private": private })
}

fn plain(status: &Status, clients: &ClientList, width: usize) -> String {
    if status.servers.is_empty() {
        return NONE.into();
    }
    let mut text = counts(status);
    match clients {
        ClientList::Disabled => how_to_enable(&mut text, &status.servers),
        ClientList::Private(caller, permitted) => {
            text.push_str("Client list      : permission denied\n");
            paragraph(
                &mut text,
                &format!("you are {caller}; permitted: {permitted}; use sudo"),
            );
        }
        ClientList::Available(reply) => list(&mut text, status, reply, width),
    }
    text
}

fn counts(status: &Status) -> String {
    let requests = status.servers.iter().map(|server| &server.requests);
    let sum = |count: fn(&ServerStatistics) -> u64| requests.clone().map(count).sum::<u64>();
    let rate = sum(|it| it.received) as f64 / status.program.uptime.seconds().max(1.0);
    format!(
        "Requests         : {}, {rate:.2} per second since the start\n\
         Answered         : {}\n\
         Denied           : {} by access list, {} over the rate limit\n\
         Ignored          : {} (malformed, unsupported, or by access list)\n",
        sum(|it| it.received),
        sum(|it| it.accepted),
        sum(|it| it.denied),
        sum(|it| it.rate_limited),
        sum(|it| it.ignored),
    )
}

/// Appends the commands that enable the client list.
fn how_to_enable(text: &mut String, servers: &[ServerStatus]) {
    text.push_str("Client list      : disabled; enable it with\n");
    for server in servers {
        // Brackets are special to a shell.
        let address = server.address.to_string();
        let quote = if address.contains('[') { "'" } else { "" };
        let _ = writeln!(
            text,
            "  ntp-ctl server set {quote}{address}{quote} client-list-size={SUGGESTED_SIZE}"
        );
    }
}

fn list(text: &mut String, status: &Status, reply: &ClientsReply, width: usize) {
    let ClientsReply {
        clients,
        listed,
        size,
        evicted,
        uncounted,
    } = reply;
    let _ = write!(text, "Client list      : {listed} entries, capacity {size}");
    if (clients.len() as u64) < *listed {
        let _ = write!(text, "; {} most active shown", clients.len());
    }
    text.push('\n');
    let several = status.servers.iter().filter(|it| it.client_list_size > 0);
    let columns = match several.count() {
        0 | 1 => &COLUMNS[..COLUMNS.len() - 1],
        _ => &COLUMNS,
    };
    if !clients.is_empty() {
        text.push('\n');
        *text += &table(width, columns, status, clients);
    }
    if clients.iter().any(|client| client.overcount > 0) {
        text.push_str("\n~ upper bound: the entry replaced another one and inherited its count\n");
    }
    if *evicted > 0 {
        let _ = writeln!(
            text,
            "\n{evicted} entries replaced by new clients; raise client-list-size to keep more"
        );
    }
    if *uncounted > 0 {
        let _ = writeln!(
            text,
            "\n{uncounted} requests not counted: they arrived while the list was being read"
        );
    }
}

/// Columns of the table. An IPv6 address leaves no room for all of them in 80 columns.
const COLUMNS: [Column<ClientStatus>; 8] = [
    Column::left("Address", |_, it| it.address.clone()),
    Column::right("Requests", |_, it| {
        let mark = if it.overcount > 0 { "~" } else { "" };
        format!("{mark}{}", it.requests)
    }),
    if_room(
        1,
        Column::right("Answered", |_, it| it.answered.to_string()),
    ),
    if_room(
        2,
        Column::right("Limited", |_, it| it.rate_limited.to_string()),
    ),
    if_room(3, Column::right("Denied", |_, it| it.denied.to_string())),
    if_room(
        4,
        Column::right("Intvl", |_, it| or_dash(it.interval.map(interval))),
    ),
    Column::right("Last", |status, it| age(status.program.now - it.last_seen)),
    // Last, so that a table of one server can leave it out.
    Column::name("Server", |_, it| it.server.clone()),
];

/// Formats an interval in at most six characters.
fn interval(span: NtpDuration) -> String {
    match span.seconds() {
        ..1.0 => duration(span).replace(' ', ""),
        seconds @ 1.0..10.0 => format!("{seconds:.1}s"),
        _ => age(span),
    }
}

#[cfg(test)]
mod tests {
    use ntp_time::SystemTime;

    use super::*;
    use crate::console::DEFAULT_WIDTH;

    fn seconds(seconds: f64) -> NtpDuration {
        NtpDuration::from_seconds_f64(seconds)
    }

    fn at(since_1970: f64) -> SystemTime {
        SystemTime::from_nanos(0) + seconds(since_1970)
    }

    fn server(address: &str, client_list_size: u64) -> ServerStatus {
        ServerStatus {
            address: address.parse().unwrap(),
            requests: ServerStatistics {
                received: 30,
                accepted: 20,
                denied: 4,
                ignored: 1,
                rate_limited: 5,
                ..ServerStatistics::default()
            },
            client_list_size,
            ..ServerStatus::default()
        }
    }

    fn status(servers: &[ServerStatus]) -> Status {
        let mut status = Status {
            servers: servers.to_vec(),
            ..Status::default()
        };
        status.program.uptime = seconds(10.0);
        status.program.now = at(1000.0);
        status
    }

    fn client(address: &str, requests: u64, overcount: u64) -> ClientStatus {
        ClientStatus {
            address: address.into(),
            server: "192.0.2.123:123".into(),
            requests,
            overcount,
            answered: requests - overcount,
            rate_limited: 0,
            denied: 0,
            interval: (requests > 1).then_some(seconds(64.0)),
            first_seen: at(10.0),
            last_seen: at(900.0),
        }
    }

    #[test]
    fn without_a_list_the_command_to_enable_it_is_shown() {
        let shown = plain(
            &status(&[server("0.0.0.0:123", 0), server("[::1]:123", 0)]),
            &ClientList::Disabled,
            DEFAULT_WIDTH,
        );
        let expected = "\
Requests         : 60, 6.00 per second since the start
Answered         : 40
Denied           : 8 by access list, 10 over the rate limit
Ignored          : 2 (malformed, unsupported, or by access list)
Client list      : disabled; enable it with
  ntp-ctl server set 0.0.0.0:123 client-list-size=1000
  ntp-ctl server set '[::1]:123' client-list-size=1000
";
        assert_eq!(shown, expected);
        assert_eq!(
            plain(&status(&[]), &ClientList::Disabled, DEFAULT_WIDTH),
            NONE
        );
    }

    #[test]
    fn without_permission_the_counters_and_the_permitted_users_are_shown() {
        let private = ClientList::Private("uid 7".into(), "only root".into());
        let status = status(&[server("[::]:123", 10)]);
        let shown = plain(&status, &private, DEFAULT_WIDTH);
        assert!(shown.starts_with("Requests         : 30,"), "{shown}");
        let advice = "permission denied\n  you are uid 7; permitted: only root; use sudo\n";
        assert!(shown.ends_with(advice), "{shown}");
        let data = data(&status, &private);
        assert_eq!(data["private"]["permitted"], "only root");
        assert!(data["list"].is_null() && data["servers"].is_array());
    }

    #[test]
    fn inexact_counts_are_marked_in_the_table() {
        let reply = ClientsReply {
            clients: vec![
                ClientStatus {
                    rate_limited: 3,
                    denied: 2,
                    interval: Some(seconds(0.25)),
                    last_seen: at(1000.2),
                    ..client("192.0.2.1", 4321, 0)
                },
                client("2001:db8::77", 42, 1),
                client("192.0.2.200", 1, 0),
            ],
            listed: 8,
            size: 8,
            evicted: 5,
            uncounted: 64,
        };
        let status = status(&[server("[::]:123", 8)]);
        let shown = plain(
            &status,
            &ClientList::Available(reply.clone()),
            DEFAULT_WIDTH,
        );
        let (_, shown) = shown.split_once("or by access list)\n").unwrap();
        let expected = "\
Client list      : 8 entries, capacity 8; 3 most active shown

Address      Requests Answered Limited Denied Intvl Last
192.0.2.1        4321     4321       3      2 250ms   0s
2001:db8::77      ~42       41       0      0   64s   2m
192.0.2.200         1        1       0      0     -   2m

~ upper bound: the entry replaced another one and inherited its count

5 entries replaced by new clients; raise client-list-size to keep more

64 requests not counted: they arrived while the list was being read
";
        assert_eq!(shown, expected);
        let data = data(&status, &ClientList::Available(reply));
        assert_eq!(data["list"]["clients"][1]["overcount"], 1);
        assert_eq!(data["list"]["evicted"], 5);
    }

    #[test]
    fn clients_of_several_servers_fit_80_columns() {
        let widest = ClientStatus {
            server: "255.255.255.255:123".into(),
            answered: 99_999_999,
            rate_limited: 9_999_999,
            denied: 999_999,
            interval: Some(seconds(0.0999)),
            ..client("255.255.255.255", 99_999_999, 0)
        };
        let reply = ClientsReply {
            clients: vec![widest.clone(), client("192.0.2.1", 5, 0)],
            listed: 2,
            size: 2000,
            ..ClientsReply::default()
        };
        let servers = [
            server("192.0.2.123:123", 1000),
            server("192.0.2.124:123", 1000),
        ];
        let shown = plain(
            &status(&servers),
            &ClientList::Available(reply),
            DEFAULT_WIDTH,
        );
        let (_, table) = shown.split_once("\n\n").unwrap();
        assert_eq!(table.lines().count(), 3, "{table}");
        assert!(table.lines().all(|line| line.len() <= 80), "{table}");
        assert!(table.contains(" 192.0.2.123:123\n"), "{table}");

        let longest = "2001:db8:1234:5678:9abc:def0:1234:5678";
        let reply = ClientsReply {
            clients: vec![ClientStatus {
                address: longest.into(),
                server: format!("[{longest}]:123"),
                ..widest
            }],
            listed: 1,
            ..ClientsReply::default()
        };
        let shown = plain(
            &status(&servers),
            &ClientList::Available(reply),
            DEFAULT_WIDTH,
        );
        assert!(
            shown.lines().all(|line| line.chars().count() <= 80),
            "{shown}"
        );
        assert!(shown.contains(longest), "{shown}");
    }

    #[test]
    fn an_interval_has_six_characters_at_most() {
        for length in [
            0.0, 1e-7, 9.99e-4, 0.0999, 0.9999, 1.0, 9.99, 99.9, 1e5, 1e8,
        ] {
            let text = interval(seconds(length));
            assert!(text.len() <= 6, "{text}");
        }
    }
}
