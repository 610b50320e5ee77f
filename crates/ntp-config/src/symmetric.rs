//! `[keys]`: the file of symmetric keys (RFC 5905 appendix A, RFC 8573). Not in upstream ntpd-rs.
//!
//! The section names a file in the syntax of `ntp.keys` and `chrony.keys`
//! ([`ntp_proto::keys::KeyFile`]). Sources and servers refer to its keys by number. The
//! configuration shows whether a key file is named at all ([`check`]); the file shows whether
//! it has the key ([`check_key_file`]). [`load`](crate::load) checks both.
//!
//! No secret may reach a log: the place of a diagnostic about the key file is the key that
//! names the file, never the offending line, which would be printed with it.

use std::collections::BTreeSet;
use std::path::PathBuf;

use ntp_proto::keys::{KeyFile, KeyId, KeyRing};

use crate::diagnostic::{Diagnostic, quote};
use crate::document::Located;
use crate::reader::Context;
use crate::schema::section;
use crate::server::ServerConfig;
use crate::source::{NtpSource, SourceConfig};
use crate::value;

section! {
    /// Location of the symmetric keys.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct KeysConfig: Default = "keys" [] {
        path: Option<Located<PathBuf>> = value::located_path => needed,
            "path" "path" "required" "File of symmetric keys in the format of ntpd and chrony, one line `number type secret` for each key (without a type, as chrony permits, the key is of type MD5); the types are `AES128`, `AES256`, `SHA1`, `SHA256`, `SHA384`, `SHA512` and `MD5`.";
    }
}

/// Keys that the configuration refers to, each with its place.
fn referenced<'c>(
    sources: &'c [SourceConfig],
    servers: &'c [ServerConfig],
) -> impl Iterator<Item = &'c Located<KeyId>> {
    let sources = sources.iter().filter_map(|source| source.kind.ntp());
    let servers = servers.iter().flat_map(|server| &server.keys);
    sources
        .filter_map(|NtpSource { key, .. }| key.as_ref())
        .chain(servers.flatten())
}

/// Reports references to keys if no key file is configured.
pub(crate) fn check(
    cx: &mut Context,
    config: &KeysConfig,
    sources: &[SourceConfig],
    servers: &[ServerConfig],
) {
    if config.path.is_some() {
        return;
    }
    let keys = referenced(sources, servers);
    let orphans: Vec<_> = keys.map(|key| key.place.clone()).collect();
    for place in orphans {
        cx.report_missing(
            Diagnostic::error(place, "there is no key file to take this key from")
                .with_help("write `[keys]` with `path = \"/etc/ntpd-rs/ntp.keys\"`, a line `number type secret` for each key"),
        );
    }
}

/// Parses the key file and checks it against the configuration. `file` is its content, or the
/// error of reading it.
pub(crate) fn check_key_file(
    config: &KeysConfig,
    sources: &[SourceConfig],
    servers: &[ServerConfig],
    file: std::io::Result<Vec<u8>>,
) -> (KeyRing, Vec<Diagnostic>) {
    let Some(Located { value: path, place }) = &config.path else {
        return (KeyRing::default(), Vec::new());
    };
    let name = path.to_string_lossy();
    let error = |message: String| Diagnostic::error(place.clone(), message);
    let file = match file {
        Ok(file) => file,
        Err(problem) => {
            let quoted = quote(&name, '`');
            let message = format!("cannot read the key file {quoted}: {problem}");
            return (KeyRing::default(), vec![error(message)]);
        }
    };
    let name = quote(&name, ' ');
    let name = name.trim();
    let KeyFile { keys, remarks } = match KeyFile::parse(&file) {
        Ok(file) => file,
        Err(problems) => {
            let diagnostic = |problem| error(format!("key file {name}, {problem}"));
            return (
                KeyRing::default(),
                problems.iter().map(diagnostic).collect(),
            );
        }
    };
    let mut diagnostics = Vec::new();
    // Remarks on keys that the configuration does not use are left out.
    let all = servers.iter().any(|server| server.keys.is_none());
    let used: BTreeSet<KeyId> = referenced(sources, servers).map(|key| key.value).collect();
    for remark in remarks {
        if all || used.contains(&remark.key) {
            let message = format!("key file {name}, {remark}");
            diagnostics.push(Diagnostic::warning(place.clone(), message));
        }
    }
    for key in referenced(sources, servers) {
        if keys.get(key.value).is_none() {
            let message = format!("there is no key {} in {name}", key.value);
            diagnostics.push(Diagnostic::error(key.place.clone(), message));
        }
    }
    (keys, diagnostics)
}
