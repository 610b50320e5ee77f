//! `[keys]`: the file of symmetric keys (RFC 5905 appendix A, RFC 8573). Ours alone.
//!
//! The section names a file in the syntax of `ntp.keys` and `chrony.keys` ([`ntp_proto::keys::KeyFile`]). Sources and servers name its keys by
//! number. Whether a number may be used is a question to the configuration; whether the file has it is one to the file, and
//! [`load`](crate::load) asks both.
//!
//! No secret may end in a log: a diagnostic about the key file stands at the place that names the file, never at the
//! offending line, which would be drawn with it.

use std::collections::BTreeSet;
use std::path::PathBuf;

use ntp_proto::keys::{KeyFile, KeyId, KeyRing};
use toml::de::DeValue;

use crate::config::Config;
use crate::diagnostic::{Diagnostic, quote};
use crate::document::Located;
use crate::reader::{Context, Section, Value};
use crate::source::NtpSource;
use crate::value::{self, describe};

/// Where symmetric keys are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeysConfig {
    /// The key file; `None` if there are no keys.
    pub path: Option<Located<PathBuf>>,
}

/// `[keys]`.
pub(crate) fn read(cx: &mut Context, value: &Value<'_>) -> Option<KeysConfig> {
    let mut section = Section::open(cx, "keys", value)?;
    let path = section.required(cx, "path", value::located_path);
    section.finish(cx);
    Some(KeysConfig { path })
}

/// The number of a key.
pub(crate) fn key_id(cx: &mut Context, value: &Value<'_>) -> Option<Located<KeyId>> {
    let id = match value.node {
        DeValue::Integer(number) => KeyId::from_str_radix(number.as_str(), number.radix()).ok(),
        _ => None,
    };
    match id {
        Some(id) if id != 0 => Some(value.locate(cx, id)),
        _ => value.reject_with(
            cx,
            format!(
                "invalid value: {}, expected the number of a key, from 1 to 4294967295",
                describe(value.node)
            ),
            "the keys themselves stand in the file that `path` in `[keys]` names",
        ),
    }
}

/// The keys that the configuration names, each where it does.
fn named(config: &Config) -> impl Iterator<Item = &Located<KeyId>> {
    let sources = config.sources.iter().filter_map(|source| source.kind.ntp());
    let servers = config.servers.iter().flat_map(|server| &server.keys);
    sources
        .filter_map(|NtpSource { key, .. }| key.as_ref())
        .chain(servers.flatten())
}

/// Keys are named, and there is no file to have them from.
pub(crate) fn check(cx: &mut Context, config: &Config) {
    if config.keys.path.is_some() {
        return;
    }
    let orphans: Vec<_> = named(config).map(|key| key.place.clone()).collect();
    for place in orphans {
        cx.report_missing(
            Diagnostic::error(place, "there is no key file to take this key from")
                .with_help("write `[keys]` with `path = \"/etc/ntpd-rs/ntp.keys\"`, a line `number type secret` for each key"),
        );
    }
}

/// What a key file means to this configuration: the keys, and what is to be said. `file` are the octets read, or why they could not be.
pub(crate) fn judge(config: &Config, file: std::io::Result<Vec<u8>>) -> (KeyRing, Vec<Diagnostic>) {
    let Some(Located { value: path, place }) = &config.keys.path else {
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
            let told = |problem| error(format!("key file {name}, {problem}"));
            return (KeyRing::default(), problems.iter().map(told).collect());
        }
    };
    let mut said = Vec::new();
    // A key that nobody uses here is no concern of this machine's.
    let all = config.servers.iter().any(|server| server.keys.is_none());
    let used: BTreeSet<KeyId> = named(config).map(|key| key.value).collect();
    for remark in remarks {
        if all || used.contains(&remark.key) {
            let message = format!("key file {name}, {remark}");
            said.push(Diagnostic::warning(place.clone(), message));
        }
    }
    for key in named(config) {
        if keys.get(key.value).is_none() {
            let message = format!("there is no key {} in {name}", key.value);
            said.push(Diagnostic::error(key.place.clone(), message));
        }
    }
    (keys, said)
}
