//! `[keyset]`: the keys that protect NTS cookies (RFC 8915 section 6).

use std::path::PathBuf;

use crate::diagnostic::Diagnostic;
use crate::document::Located;
use crate::reader::{Context, Section, Value};
use crate::value;

/// How cookie keys are kept and replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeysetConfig {
    /// Replaced keys that stay valid.
    pub stale_key_count: usize,
    /// Time until a key is replaced, in seconds.
    pub key_rotation_interval_seconds: u64,
    /// File that keeps the keys over a restart, if it is not in the state directory ([`Config::keyset_file`](crate::Config::keyset_file)).
    pub key_storage_path: Option<PathBuf>,
    /// File with the secret of a fleet, from which its servers derive the same keys.
    pub shared_secret_path: Option<Located<PathBuf>>,
}

impl Default for KeysetConfig {
    fn default() -> Self {
        Self {
            stale_key_count: 7,
            key_rotation_interval_seconds: 86_400,
            key_storage_path: None,
            shared_secret_path: None,
        }
    }
}

/// `[keyset]`.
pub(crate) fn read(cx: &mut Context, value: &Value<'_>) -> Option<KeysetConfig> {
    let defaults = KeysetConfig::default();
    let mut section = Section::open(cx, "keyset", value)?;
    let config = KeysetConfig {
        stale_key_count: section.or(
            cx,
            "stale-key-count",
            value::whole,
            defaults.stale_key_count,
        ),
        key_rotation_interval_seconds: section.or(
            cx,
            "key-rotation-interval",
            value::whole,
            defaults.key_rotation_interval_seconds,
        ),
        key_storage_path: section.optional(cx, "key-storage-path", value::path),
        shared_secret_path: section.optional(cx, "shared-secret-path", value::located_path),
    };
    if let (Some(_), Some(secret)) = (&config.key_storage_path, &config.shared_secret_path) {
        let message = "`shared-secret-path` and `key-storage-path` exclude each other: keys that are derived from a secret are not stored";
        cx.report(
            Diagnostic::error(secret.place.clone(), message).with_help("remove `key-storage-path`"),
        );
    }
    section.finish(cx);
    Some(config)
}
