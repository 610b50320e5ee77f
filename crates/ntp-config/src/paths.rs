//! Every file that a configuration names, for whoever has to know them all: the sandbox, and reloads.

use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::source::SourceKind;

impl Config {
    /// Files that are read: certificates, keys, the list of leap seconds.
    pub fn paths_read(&self) -> impl Iterator<Item = &Path> {
        let authorities = self.sources.iter().filter_map(|source| {
            let authority = match &source.kind {
                SourceKind::Nts(nts) => nts.key_exchange.certificate_authority.as_ref(),
                SourceKind::NtsPool(pool) => pool.key_exchange.certificate_authority.as_ref(),
                _ => None,
            };
            authority.map(|path| path.value.as_path())
        });
        let served = self.nts_ke_servers.iter().flat_map(|server| {
            [
                server.certificate_chain_path.as_path(),
                server.private_key_path.as_path(),
            ]
        });
        let more = self
            .nts_ke_servers
            .iter()
            .flat_map(|server| &server.additional_certificates);
        let more = more.flat_map(|more| {
            [
                more.certificate_chain_path.as_path(),
                more.private_key_path.as_path(),
            ]
        });
        let secret = self.keyset.shared_secret_path.iter();
        let secret = secret.map(|path| path.value.as_path());
        let keys = self.keys.path.iter().map(|path| path.value.as_path());
        authorities
            .chain(served)
            .chain(more)
            .chain(keys)
            .chain(secret)
            .chain(self.leap.list.as_deref())
    }

    /// The file that keeps the keys of NTS cookies over a restart, if any does.
    pub fn keyset_file(&self) -> Option<PathBuf> {
        let beside_other_state = || Some(self.state.directory.as_ref()?.join("keyset"));
        let named = self.keyset.key_storage_path.clone();
        named.or_else(beside_other_state)
    }

    /// Files and sockets that are made or written, apart from those in the state directory.
    pub fn paths_written(&self) -> impl Iterator<Item = &Path> {
        let observability = &self.observability;
        [
            observability.observation_path.as_deref(),
            self.control.path.as_deref(),
            observability.log_path.as_deref(),
            observability.record_path.as_deref(),
            self.keyset.key_storage_path.as_deref(),
        ]
        .into_iter()
        .flatten()
    }
}
