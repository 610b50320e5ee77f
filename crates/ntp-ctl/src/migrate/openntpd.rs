//! OpenNTPD's `ntpd.conf`.
//!
//! `server` uses one address of a name and `servers` all of them, like a pool. OpenNTPD serves time
//! only with `listen on`.

use super::draft::{Draft, Table};
use super::source::{Mapping, source};
use super::{Line, lines};

/// Converts the file.
pub(super) fn draft(text: &str) -> Draft {
    let mut draft = Draft::default();
    for line in lines(text, &['#']) {
        match line.directive.as_str() {
            "server" | "servers" => match source(&line, line.directive == "servers", option) {
                Some(table) => draft.sources.push(table),
                None => draft.unsupported(&line, "no server given"),
            },
            "listen" => listen(&mut draft, &line),
            "sensor" => draft.unsupported(&line, "reference clocks are not in this version"),
            "constraint" | "constraints" => draft.unsupported(
                &line,
                "time from HTTPS is not supported: use authenticated sources of mode `nts`",
            ),
            "query" => draft.unsupported(&line, "the kernel chooses the route of requests"),
            _ => draft.unsupported(&line, "unknown directive"),
        }
    }
    draft
        .synchronization
        .comment("OpenNTPD follows a single source if it has no other");
    draft.synchronization.set("minimum-agreeing-sources", 1);
    draft
}

fn option(name: &str) -> Option<Mapping> {
    Some(match name {
        "trusted" => Mapping::Flag("trust"),
        "weight" => Mapping::Unsupported(1, "ntpd-rs weights its sources automatically"),
        "rtable" => Mapping::Unsupported(1, "not supported"),
        _ => return None,
    })
}

/// Converts `listen on ADDRESS`; `*` is any address.
fn listen(draft: &mut Draft, line: &Line<'_>) {
    let address = match line.words.get(1).copied() {
        Some("*") => "[::]:123".to_owned(),
        Some(word) => match word.parse() {
            Ok(std::net::IpAddr::V4(address)) => format!("{address}:123"),
            Ok(std::net::IpAddr::V6(address)) => format!("[{address}]:123"),
            Err(_) => {
                return draft.unsupported(line, "use the address of the interface");
            }
        },
        None => return draft.unsupported(line, "no address given"),
    };
    let mut table = Table::default();
    table.set_text("listen", &address);
    draft.servers.push(table);
}
