//! `[disabled]`: what files before this one say, and this one takes back.
//!
//! Files only add sources and servers to those of other files. To be rid of one that stands in a file which is not to be touched (it belongs to
//! a package, to a program that writes `sources.d`, or to configuration management), a later file names it here. `ntp-ctl config save` does so
//! for what was removed or changed at run time. A file's own sources and servers, and those of files after it, are not meant: a file
//! may disable a source and have another of that name.
//!
//! Without being disabled, a source of the same name in two files is used as the first has it, and the second is reported. Servers are no
//! matter of choice, because their access lists protect something: one address in two files is an error.

use std::net::SocketAddr;

use crate::address::{Address, NTP_PORT};
use crate::config::Config;
use crate::diagnostic::{Diagnostic, quote};
use crate::document::{Located, Place};
use crate::reader::{Context, Section, Value};
use crate::suggest::closest;
use crate::value;

/// What a file takes back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Disabled {
    /// Addresses of sources (of reference clocks, paths).
    pub sources: Vec<Located<String>>,
    /// Addresses at which no time is served.
    pub servers: Vec<Located<SocketAddr>>,
}

/// `[disabled]`.
pub(crate) fn read(cx: &mut Context, value: &Value<'_>) -> Option<Disabled> {
    let mut section = Section::open(cx, "disabled", value)?;
    let name = |cx: &mut Context, value: &Value<'_>| {
        let text = value::text(cx, value)?.to_owned();
        Some(value.locate(cx, text))
    };
    let sources = section.or(
        cx,
        "sources",
        |cx, value| value::array(cx, value, name),
        Vec::new(),
    );
    let address = |cx: &mut Context, value: &Value<'_>| {
        let address = value::socket_address(cx, value, NTP_PORT)?;
        Some(value.locate(cx, address))
    };
    let servers = section.or(
        cx,
        "servers",
        |cx, value| value::array(cx, value, address),
        Vec::new(),
    );
    section.finish(cx);
    Some(Disabled { sources, servers })
}

/// Takes out what is disabled and what is there already, and says so.
pub(crate) fn apply(cx: &mut Context, config: &mut Config) {
    for Located { value: name, place } in &config.disabled.sources {
        let before = config.sources.len();
        let meant = |at: &Place, source: &crate::SourceConfig| {
            at.layer() < place.layer() && source.is_called(name)
        };
        let others: Vec<_> = config
            .sources
            .iter()
            .filter_map(crate::SourceConfig::name)
            .collect();
        config.sources.retain(|it| !meant(&it.place, it));
        if config.sources.len() == before {
            let message = format!("no file before this one has a source {}", quote(name, '`'));
            let mut warning = Diagnostic::warning(place.clone(), message);
            // A name that is there stands in this file or after it.
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
    } in &config.disabled.servers
    {
        let before = config.servers.len();
        config
            .servers
            .retain(|it| it.listen != *listen || it.place.layer() >= place.layer());
        if config.servers.len() == before {
            let message = format!("no file before this one has a server at `{listen}`");
            cx.report(Diagnostic::warning(place.clone(), message));
        }
    }
    refuse_second_sources(cx, config);
    refuse_second_servers(cx, config);
}

/// Within one file a source may stand twice, as upstream has it.
fn refuse_second_sources(cx: &mut Context, config: &mut Config) {
    let mut first: Vec<(String, Place)> = Vec::new();
    config.sources.retain(|source| {
        let Some(name) = source.name() else {
            return true;
        };
        let elsewhere = first
            .iter()
            .find(|(known, place)| *known == name && place.layer() != source.place.layer());
        if let Some((_, place)) = elsewhere {
            let message = format!(
                "the source {} stands in two files: the first holds, this one is left out",
                quote(&name, '`')
            );
            cx.report(
                Diagnostic::warning(source.place.clone(), message)
                    .with_related(place.clone(), "the one that is used")
                    .with_help(format!(
                        "remove one of the two; or, for this one to hold, write `[disabled]` with `sources = [\"{name}\"]` into a drop-in of `ntp.toml.d` that has it"
                    )),
            );
            return false;
        }
        first.push((name, source.place.clone()));
        true
    });
}

fn refuse_second_servers(cx: &mut Context, config: &Config) {
    for (index, server) in config.servers.iter().enumerate() {
        let mut before = config.servers.iter().take(index);
        let Some(first) = before.find(|other| {
            other.listen == server.listen && other.place.layer() != server.place.layer()
        }) else {
            continue;
        };
        let listen = server.listen;
        cx.report(
            Diagnostic::error(
                server.place.clone(),
                format!("two files serve time at `{listen}`"),
            )
            .with_related(first.place.clone(), "the other one")
            .with_help(format!(
                "remove one of the two; or, for this one to hold, write `[disabled]` with `servers = [\"{listen}\"]` into this file"
            )),
        );
    }
}

/// Whether `text` is an address that means `address`, whose port is `usual` if it is not written.
pub(crate) fn means(text: &str, address: &Address, usual: u16) -> bool {
    Address::parse(text, usual).is_ok_and(|parsed| parsed == *address)
}
