//! `ntp-ctl clients`: what became of requests, and who asks.
//!
//! Counts are for everyone. Addresses are the business of others: the daemon remembers them only where it is told to (`client-list-size`), and tells them only to those who
//! could change it as well. Neither is a failure of this command, which then says how to come by them.
//!
//! A list of bounded size may count too much: see `ntp_proto::server::ClientList`. What is not exact has a mark.

use std::fmt::Write as _;
use std::path::Path;

use ntp_control_api::control::client::CallError;
use ntp_control_api::control::methods::{
    ClientsInput, ClientsReply, Error, GetClients, GetStatus, Nothing,
};
use ntp_control_api::control::types::{Client, Server, Status};
use serde_json::json;

use crate::connect::{Socket, call, told};
use crate::console::{Console, Failure};
use crate::figures::{age, duration};
use crate::servers::NONE;

/// What can be known about clients.
#[derive(Debug)]
enum Known {
    /// Nobody is remembered.
    Nobody,
    /// They are not for us to see; who is asking, and who may see them.
    Private(String, String),
    /// These.
    Clients(ClientsReply),
}

/// A size that `server set` is shown with: enough for most, and 72 kB.
const SUGGESTED: u64 = 1000;

pub(crate) fn run(
    config: Option<&Path>,
    limit: u16,
    server: Option<&str>,
    json: bool,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let mut daemon = Socket::find(config)?.connect()?;
    let mut status = call::<GetStatus>(&mut daemon, &Nothing {})?.status;
    if let Some(wanted) = server {
        status.servers.retain(|server| server.address == wanted);
        if status.servers.is_empty() {
            return Err(Failure::Told(format!(
                "no time is served at {wanted:?}; `ntp-ctl servers` lists the addresses"
            )));
        }
    }
    let known = if status.servers.iter().all(|it| it.client_list_size == 0) {
        Known::Nobody
    } else {
        let which = ClientsInput {
            server: server.map(ToOwned::to_owned),
            limit: Some(limit.into()),
        };
        match daemon.call::<GetClients>(&which) {
            Ok(reply) => Known::Clients(reply),
            Err(CallError::Refused(Error::PermissionDenied { caller, permitted })) => {
                Known::Private(caller, permitted)
            }
            Err(error) => return Err(told(&error)),
        }
    };
    if json {
        return console.json(&data(&status, &known));
    }
    console.text(&plain(&status, &known))
}

fn data(status: &Status, known: &Known) -> serde_json::Value {
    let (list, private) = match known {
        Known::Nobody => (None, None),
        Known::Private(caller, permitted) => (
            None,
            Some(json!({ "caller": caller, "permitted": permitted })),
        ),
        Known::Clients(reply) => (Some(reply), None),
    };
    json!({ "servers": status.servers, "list": list, "private": private })
}

fn plain(status: &Status, known: &Known) -> String {
    if status.servers.is_empty() {
        return NONE.into();
    }
    let mut text = counts(status);
    match known {
        Known::Nobody => how_to_know(&mut text, &status.servers),
        Known::Private(caller, permitted) => {
            let _ = writeln!(
                text,
                "Which clients    : not for you to see: you are {caller}; {permitted} may. Try again with sudo"
            );
        }
        Known::Clients(reply) => list(&mut text, status, reply),
    }
    text
}

fn counts(status: &Status) -> String {
    let sum = |count: fn(&Server) -> u64| status.servers.iter().map(count).sum::<u64>();
    let rate = sum(|it| it.received) as f64 / status.program.uptime.max(1.0);
    format!(
        "Requests         : {}, {rate:.2} per second since the start\n\
         Answered         : {}\n\
         Refused          : {} by access list, {} over the rate limit\n\
         Ignored          : {} (malformed, wrong mode or version, or by access list)\n",
        sum(|it| it.received),
        sum(|it| it.accepted),
        sum(|it| it.denied),
        sum(|it| it.rate_limited),
        sum(|it| it.ignored),
    )
}

/// The commands that have the daemon remember from now on.
fn how_to_know(text: &mut String, servers: &[Server]) {
    text.push_str(
        "Which clients    : not known: no addresses of clients are kept. To keep them from now on:\n",
    );
    for server in servers {
        // Brackets mean something to a shell.
        let quote = if server.address.contains('[') {
            "'"
        } else {
            ""
        };
        let _ = writeln!(
            text,
            "  ntp-ctl server set {quote}{}{quote} client-list-size={SUGGESTED}",
            server.address
        );
    }
}

fn list(text: &mut String, status: &Status, reply: &ClientsReply) {
    let ClientsReply {
        clients,
        listed,
        size,
        displaced,
        missed,
    } = reply;
    let _ = write!(
        text,
        "Which clients    : {listed} known, with room for {size}"
    );
    if (clients.len() as u64) < *listed {
        let _ = write!(text, "; the {} that ask most often", clients.len());
    }
    text.push('\n');
    let several = status.servers.iter().filter(|it| it.client_list_size > 0);
    let with_server = several.count() > 1;
    if !clients.is_empty() {
        table(text, clients, with_server, status.program.now);
    }
    if clients.iter().any(|client| client.overcount > 0) {
        text.push_str(
            "\n~ at most: some of these requests may have been those of clients that made room\n",
        );
    }
    if *displaced > 0 {
        let _ = writeln!(
            text,
            "\n{displaced} times the list was full, and the client that had asked least made room; a larger client-list-size keeps more"
        );
    }
    if *missed > 0 {
        let _ = writeln!(
            text,
            "\n{missed} requests are not in the list, because they came while it was being read"
        );
    }
}

/// As wide as what is in it, and no wider than a terminal for IPv4.
fn table(text: &mut String, clients: &[Client], with_server: bool, now: f64) {
    let heading = [
        "Address", "Server", "Requests", "Answered", "Limited", "Denied", "Every", "Last",
    ];
    let mut rows = vec![heading.map(ToOwned::to_owned)];
    rows.extend(clients.iter().map(|client| row(client, now)));
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: Vec<_> = (0..heading.len()).map(width).collect();
    text.push('\n');
    for row in &rows {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            match column {
                0 => line = format!("{cell:<width$}"),
                1 if with_server => {
                    let _ = write!(line, " {cell:<width$}");
                }
                1 => {}
                _ => {
                    let _ = write!(line, " {cell:>width$}");
                }
            }
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
}

fn row(client: &Client, now: f64) -> [String; 8] {
    let mark = if client.overcount > 0 { "~" } else { "" };
    [
        client.address.clone(),
        client.server.clone(),
        format!("{mark}{}", client.requests),
        client.answered.to_string(),
        client.limited.to_string(),
        client.denied.to_string(),
        client.interval.map_or_else(|| "-".into(), distance),
        age(now - client.last),
    ]
}

/// Six characters at most.
fn distance(seconds: f64) -> String {
    match seconds {
        ..1.0 => duration(seconds).replace(' ', ""),
        1.0..10.0 => format!("{seconds:.1}s"),
        _ => age(seconds),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(address: &str, client_list_size: u64) -> Server {
        Server {
            address: address.into(),
            received: 30,
            accepted: 20,
            denied: 4,
            ignored: 1,
            rate_limited: 5,
            client_list_size,
            ..Server::default()
        }
    }

    fn status(servers: &[Server]) -> Status {
        let mut status = Status {
            servers: servers.to_vec(),
            ..Status::default()
        };
        status.program.uptime = 10.0;
        status.program.now = 1000.0;
        status
    }

    fn client(address: &str, requests: u64, overcount: u64) -> Client {
        Client {
            address: address.into(),
            server: "192.0.2.123:123".into(),
            requests,
            overcount,
            answered: requests - overcount,
            limited: 0,
            denied: 0,
            interval: (requests > 1).then_some(64.0),
            first: 10.0,
            last: 900.0,
        }
    }

    #[test]
    fn where_no_list_is_kept_the_command_is_shown_that_switches_it_on() {
        let shown = plain(
            &status(&[server("0.0.0.0:123", 0), server("[::1]:123", 0)]),
            &Known::Nobody,
        );
        let expected = "\
Requests         : 60, 6.00 per second since the start
Answered         : 40
Refused          : 8 by access list, 10 over the rate limit
Ignored          : 2 (malformed, wrong mode or version, or by access list)
Which clients    : not known: no addresses of clients are kept. To keep them from now on:
  ntp-ctl server set 0.0.0.0:123 client-list-size=1000
  ntp-ctl server set '[::1]:123' client-list-size=1000
";
        assert_eq!(shown, expected);
        assert_eq!(plain(&status(&[]), &Known::Nobody), NONE);
    }

    #[test]
    fn who_may_not_see_clients_sees_the_counts_and_who_may() {
        let private = Known::Private("uid 7".into(), "only root".into());
        let status = status(&[server("[::]:123", 10)]);
        let shown = plain(&status, &private);
        assert!(shown.starts_with("Requests         : 30,"), "{shown}");
        let sentence = "not for you to see: you are uid 7; only root may. Try again with sudo\n";
        assert!(shown.ends_with(sentence), "{shown}");
        let data = data(&status, &private);
        assert_eq!(data["private"]["permitted"], "only root");
        assert!(data["list"].is_null() && data["servers"].is_array());
    }

    #[test]
    fn clients_are_a_table_in_which_what_is_not_exact_is_marked() {
        let reply = ClientsReply {
            clients: vec![
                Client {
                    limited: 3,
                    denied: 2,
                    interval: Some(0.25),
                    last: 1000.2,
                    ..client("192.0.2.1", 4321, 0)
                },
                client("2001:db8::77", 42, 1),
                client("192.0.2.200", 1, 0),
            ],
            listed: 8,
            size: 8,
            displaced: 5,
            missed: 64,
        };
        let status = status(&[server("[::]:123", 8)]);
        let shown = plain(&status, &Known::Clients(reply.clone()));
        let (_, shown) = shown.split_once("by access list)\n").unwrap();
        let expected = "\
Which clients    : 8 known, with room for 8; the 3 that ask most often

Address      Requests Answered Limited Denied Every Last
192.0.2.1        4321     4321       3      2 250ms   0s
2001:db8::77      ~42       41       0      0   64s   2m
192.0.2.200         1        1       0      0     -   2m

~ at most: some of these requests may have been those of clients that made room

5 times the list was full, and the client that had asked least made room; a larger client-list-size keeps more

64 requests are not in the list, because they came while it was being read
";
        assert_eq!(shown, expected);
        let data = data(&status, &Known::Clients(reply));
        assert_eq!(data["list"]["clients"][1]["overcount"], 1);
        assert_eq!(data["list"]["displaced"], 5);
    }

    #[test]
    fn ipv4_clients_of_several_servers_fit_a_terminal() {
        let widest = Client {
            server: "255.255.255.255:123".into(),
            answered: 99_999_999,
            limited: 9_999_999,
            denied: 999_999,
            interval: Some(0.0999),
            ..client("255.255.255.255", 99_999_999, 0)
        };
        let reply = ClientsReply {
            clients: vec![widest, client("192.0.2.1", 5, 0)],
            listed: 2,
            size: 2000,
            ..ClientsReply::default()
        };
        let servers = [
            server("192.0.2.123:123", 1000),
            server("192.0.2.124:123", 1000),
        ];
        let shown = plain(&status(&servers), &Known::Clients(reply));
        let (_, table) = shown.split_once("\n\n").unwrap();
        assert_eq!(table.lines().count(), 3, "{table}");
        assert!(table.lines().all(|line| line.len() <= 80), "{table}");
        assert!(table.contains(" 192.0.2.123:123 "), "{table}");
    }

    #[test]
    fn a_distance_is_six_characters_at_most() {
        for seconds in [
            0.0, 1e-7, 9.99e-4, 0.0999, 0.9999, 1.0, 9.99, 99.9, 1e5, 1e8,
        ] {
            let text = distance(seconds);
            assert!(text.len() <= 6, "{text}");
        }
    }
}
