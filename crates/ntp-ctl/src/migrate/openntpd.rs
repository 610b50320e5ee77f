//! OpenNTPD's `ntpd.conf`.
//!
//! `server` is one address of a name and `servers` all of them, which a pool is here. It serves only where `listen on` says so.

use super::draft::{Draft, Table};
use super::source::{Meaning, source};
use super::{Line, lines};

/// Draft of the file.
pub(super) fn draft(text: &str) -> Draft {
    let mut draft = Draft::default();
    for line in lines(text, &['#']) {
        match line.directive.as_str() {
            "server" | "servers" => match source(&line, line.directive == "servers", option) {
                Some(table) => draft.sources.push(table),
                None => draft.leave(line.number, line.text, "names no server"),
            },
            "listen" => listen(&mut draft, &line),
            "sensor" => draft.leave(
                line.number,
                line.text,
                "reference clocks are not in this version",
            ),
            "constraint" | "constraints" => draft.leave(
                line.number,
                line.text,
                "time is not taken from HTTPS: sources of mode `nts` are authenticated instead",
            ),
            "query" => draft.leave(
                line.number,
                line.text,
                "requests leave by the route that the kernel chooses",
            ),
            _ => draft.leave(line.number, line.text, "not known"),
        }
    }
    draft
        .synchronization
        .remark("OpenNTPD follows a single source if it has no other");
    draft.synchronization.set("minimum-agreeing-sources", 1);
    draft
        .observability
        .set_text("observation-path", "/run/ntpd-rs/observe");
    draft
}

fn option(name: &str) -> Option<Meaning> {
    Some(match name {
        "trusted" => Meaning::Flag("trust"),
        "weight" => Meaning::Missing {
            value: true,
            why: "ntpd-rs weighs its sources by itself",
        },
        "rtable" => Meaning::Missing {
            value: true,
            why: "not supported",
        },
        _ => return None,
    })
}

/// `listen on ADDRESS`, or `*` for all.
fn listen(draft: &mut Draft, line: &Line<'_>) {
    let address = match line.words.get(1).copied() {
        Some("*") => "[::]:123".to_owned(),
        Some(word) => match word.parse() {
            Ok(std::net::IpAddr::V4(address)) => format!("{address}:123"),
            Ok(std::net::IpAddr::V6(address)) => format!("[{address}]:123"),
            Err(_) => {
                return draft.leave(line.number, line.text, "name the address of the interface");
            }
        },
        None => return draft.leave(line.number, line.text, "names no address"),
    };
    let mut table = Table::default();
    table.set_text("listen", &address);
    draft.servers.push(table);
}
