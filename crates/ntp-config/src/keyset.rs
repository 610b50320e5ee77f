//! `[keyset]`: the keys that protect NTS cookies (RFC 8915 section 6).

use std::path::PathBuf;

use crate::diagnostic::Diagnostic;
use crate::document::Located;
use crate::reader::Context;
use crate::schema::section;
use crate::value;

section! {
    /// Storage and rotation of cookie keys.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct KeysetConfig: Default = "keyset" [] then check {
        stale_key_count: usize = value::whole => or(7),
            "stale-key-count" "integer" "7" "Number of replaced keys that stay valid.";
        key_rotation_interval_seconds: u64 = value::whole => or(86_400),
            "key-rotation-interval" "integer, seconds" "86400" "Time until a key is replaced.";
        key_storage_path: Option<PathBuf> = value::path => optional,
            "key-storage-path" "path" "`keyset` in the state directory" "File that keeps the keys across restarts.";
        shared_secret_path: Option<Located<PathBuf>> = value::located_path => optional,
            "shared-secret-path" "path" "none" "File with a secret of at least 32 octets that several servers share: they derive the same keys from it and from the time, so that each accepts the others' cookies. The clock must be synchronised, and `key-rotation-interval` and `stale-key-count` must be the same on all of them. The file must not be world-readable.";
    }
}

fn check(cx: &mut Context, config: KeysetConfig) -> KeysetConfig {
    if let (Some(_), Some(secret)) = (&config.key_storage_path, &config.shared_secret_path) {
        let message = "`shared-secret-path` and `key-storage-path` exclude each other: keys that are derived from a secret are not stored";
        cx.report(
            Diagnostic::error(secret.place.clone(), message).with_help("remove `key-storage-path`"),
        );
    }
    config
}
