//! `[disabled]`: sources and servers of earlier files that a file removes.
//!
//! Files only add sources and servers to those of other files. To remove one whose file must
//! not be changed (it belongs to a package, to a program that writes `sources.d`, or to
//! configuration management), a later file names it here. `ntp-ctl config save` does so for
//! sources that were removed or changed at run time. The section does not affect the sources
//! and servers of its own file or of later files: a file may disable a source and configure
//! another of that name.
//!
//! If two files configure the same source and neither disables it, the first one is used and
//! the second one causes a warning. The same server address in two files is an error, because
//! the access lists of both are meant to protect it.

use ntp_types::path::ListenAddress;
use toml::de::DeValue;

use crate::address::NTP_PORT;
use crate::diagnostic::{Diagnostic, quote};
use crate::document::{Located, Place};
use crate::reader::{Context, Value};
use crate::schema::section;
use crate::server::ServerConfig;
use crate::source::SourceConfig;
use crate::suggest::closest;
use crate::value;

section! {
    /// Sources and servers that a file removes.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Disabled: Default = "disabled" [] {
        sources: Vec<Located<String>> = |cx, value| value::array(cx, value, value::located(value::string)) => or(Vec::new()),
            "sources" "list of strings" "[]" "Addresses of sources (paths of reference clocks) of earlier files that are not used.";
        servers: Vec<Located<ListenAddress>> = |cx, value| value::array(cx, value, value::located(address)) => or(Vec::new()),
            "servers" "list of strings" "[]" "Addresses and ports of `[[server]]` sections of earlier files that are not served.";
    }
}

fn address(cx: &mut Context, value: &Value<'_>) -> Option<ListenAddress> {
    if let DeValue::String(text) = value.node
        && let Ok(address) = text.parse()
    {
        return Some(address);
    }
    value::socket_address(cx, value, NTP_PORT).map(ListenAddress::from)
}

/// Removes disabled sources and servers, and duplicates; reports them.
pub(crate) fn apply(
    cx: &mut Context,
    disabled: &Disabled,
    sources: &mut Vec<SourceConfig>,
    servers: &mut Vec<ServerConfig>,
) {
    for Located { value: name, place } in &disabled.sources {
        let before = sources.len();
        let matches =
            |at: &Place, source: &SourceConfig| at.layer() < place.layer() && source.has_name(name);
        let others: Vec<_> = sources.iter().filter_map(SourceConfig::name).collect();
        sources.retain(|it| !matches(&it.place, it));
        if sources.len() == before {
            let message = format!("no file before this one has a source {}", quote(name, '`'));
            let mut warning = Diagnostic::warning(place.clone(), message);
            // An exact match is in this file or a later one.
            let near = others.iter().filter(|other| *other != name);
            if let Some(near) = closest(name, near.map(String::as_str)) {
                warning = warning.with_label(format!("did you mean `{near}`?"));
            }
            cx.report(warning);
        }
    }
    for Located {
        value: listen,
        place,
    } in &disabled.servers
    {
        let before = servers.len();
        servers.retain(|it| it.address() != *listen || it.place.layer() >= place.layer());
        if servers.len() == before {
            let message = format!("no file before this one has a server at `{listen}`");
            cx.report(Diagnostic::warning(place.clone(), message));
        }
    }
    remove_second_sources(cx, sources);
    reject_second_servers(cx, servers);
}

/// Removes a source that an earlier file has. As in upstream, one file may repeat a source.
fn remove_second_sources(cx: &mut Context, sources: &mut Vec<SourceConfig>) {
    let mut first: Vec<(String, Place)> = Vec::new();
    sources.retain(|source| {
        let Some(name) = source.name() else {
            return true;
        };
        let elsewhere = first
            .iter()
            .find(|(known, place)| *known == name && place.layer() != source.place.layer());
        if let Some((_, place)) = elsewhere {
            let message = format!(
                "the source {} is in two files: the first one is used, this one is ignored",
                quote(&name, '`')
            );
            cx.report(
                Diagnostic::warning(source.place.clone(), message)
                    .with_related(place.clone(), "the one that is used")
                    .with_help(format!(
                        "remove one of the two; to use this one, write `[disabled]` with `sources = [\"{name}\"]` into the drop-in of `ntp.toml.d` that has it"
                    )),
            );
            return false;
        }
        first.push((name, source.place.clone()));
        true
    });
}

fn reject_second_servers(cx: &mut Context, servers: &[ServerConfig]) {
    for (index, server) in servers.iter().enumerate() {
        let mut before = servers.iter().take(index);
        let Some(first) = before.find(|other| {
            other.address() == server.address() && other.place.layer() != server.place.layer()
        }) else {
            continue;
        };
        let listen = server.address();
        cx.report(
            Diagnostic::error(
                server.place.clone(),
                format!("two files serve time at `{listen}`"),
            )
            .with_related(first.place.clone(), "the other one")
            .with_help(format!(
                "remove one of the two; to use this one, write `[disabled]` with `servers = [\"{listen}\"]` into this file"
            )),
        );
    }
}
