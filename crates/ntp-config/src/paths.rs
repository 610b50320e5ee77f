//! All files that a configuration names, with their keys: for the sandbox, and for reloads.

use std::path::{Path, PathBuf};

use ntp_types::refclock::{NmeaSettings, PpsSettings, RefClockDevice, VmClockSettings};

use crate::config::Config;
use crate::nts_ke::NtsKeConfig;
use crate::source::{SourceConfig, SourceKind};

/// A key with its section, and the file that it names.
pub(crate) type KeyedPath<'a> = (&'static str, &'a Path);

impl SourceConfig {
    /// The files and directories of certificate authorities for this source, in addition to the
    /// system's.
    pub fn certificate_authorities(&self) -> impl Iterator<Item = &Path> {
        let exchange = self.kind.key_exchange().into_iter();
        let authorities = exchange.flat_map(|it| &it.certificate_authorities);
        authorities.map(|authority| authority.value.as_path())
    }
}

impl Config {
    /// Files that are read: certificates, keys, the list of leap seconds.
    pub fn paths_read(&self) -> impl Iterator<Item = KeyedPath<'_>> {
        let authorities = self
            .sources
            .iter()
            .flat_map(SourceConfig::certificate_authorities);
        let authorities = authorities.map(|path| ("certificate-authority in [[source]]", path));
        let secret = self.keyset.shared_secret_path.iter();
        let secret = secret.map(|path| ("shared-secret-path in [keyset]", path.value.as_path()));
        let keys = self.keys.path.iter();
        let keys = keys.map(|path| ("path in [keys]", path.value.as_path()));
        let list = self.leap.list.as_deref();
        let dhcp = self.dhcp_directory();
        authorities
            .chain(self.nts_ke_servers.iter().flat_map(certificates))
            .chain(keys)
            .chain(secret)
            .chain(list.map(|path| ("list in [leap]", path)))
            .chain(dhcp.map(|path| ("dhcp-sources-directory in [synchronization]", path)))
    }

    /// The file that keeps the keys of NTS cookies across restarts, if any.
    pub fn keyset_file(&self) -> Option<PathBuf> {
        let in_state_directory = || Some(self.state.directory.as_ref()?.join("keyset"));
        let named = self.keyset.key_storage_path.clone();
        named.or_else(in_state_directory)
    }

    /// Files and sockets that are created or written, except for those in the state directory.
    pub fn paths_written(&self) -> impl Iterator<Item = KeyedPath<'_>> {
        let observability = &self.observability;
        let named = [
            (
                "observation-path in [observability]",
                &observability.observation_path,
            ),
            ("path in [control]", &self.control.path),
            ("socket in [compat.chrony]", &self.compat.chrony.socket),
            ("log-path in [observability]", &observability.log_path),
            ("record-path in [observability]", &observability.record_path),
            (
                "key-storage-path in [keyset]",
                &self.keyset.key_storage_path,
            ),
        ];
        let named = named.into_iter();
        let sockets = self.sources.iter().filter_map(|source| {
            let SourceKind::RefClock(clock) = &source.kind else {
                return None;
            };
            match &clock.reader.device {
                RefClockDevice::Sock(sock) => Some(("path in [[source]]", sock.path.as_path())),
                _ => None,
            }
        });
        named
            .filter_map(|(key, path)| path.as_deref().map(|path| (key, path)))
            .chain(sockets)
    }

    /// Devices of reference clocks, which are read and controlled.
    pub fn devices(&self) -> impl Iterator<Item = &Path> {
        self.sources.iter().filter_map(|source| {
            let SourceKind::RefClock(clock) = &source.kind else {
                return None;
            };
            match &clock.reader.device {
                RefClockDevice::Pps(PpsSettings { path, .. })
                | RefClockDevice::Nmea(NmeaSettings { path, .. })
                | RefClockDevice::VmClock(VmClockSettings { path }) => Some(path.as_path()),
                RefClockDevice::Phc(phc) if phc.device.starts_with('/') => {
                    Some(Path::new(&phc.device))
                }
                _ => None,
            }
        })
    }
}

fn certificates(server: &NtsKeConfig) -> impl Iterator<Item = KeyedPath<'_>> {
    let first = (&server.certificate_chain_path, &server.private_key_path);
    let more = server.additional_certificates.iter();
    let more = more.map(|more| (&more.certificate_chain_path, &more.private_key_path));
    core::iter::once(first)
        .chain(more)
        .flat_map(|(chain, key)| {
            [
                (
                    "certificate-chain-path in [[nts-ke-server]]",
                    chain.as_path(),
                ),
                ("private-key-path in [[nts-ke-server]]", key.as_path()),
            ]
        })
}
