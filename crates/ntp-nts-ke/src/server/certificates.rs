//! The server's certificates: read, selected by the server name that a client sends (SNI), and
//! reloaded after renewal.
//!
//! Renewal replaces two files one after the other, and in between they do not match. The previous
//! certificate stays in use until all of the new files are valid, and an invalid pair is reported
//! only if it is still invalid at the next check, or if the operator requested the reload.
//!
//! Files are checked every few seconds (with `stat`, which follows the links that renewal tools
//! replace) and not by file notification, because they may be anywhere: on a network file system,
//! behind links, in a directory that is created later.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ntp_files::{MAX_TEXT, RegularFile};
use ntp_proto::nts::exchange::ALPN;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, NoServerSessionStorage, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{InconsistentKeys, ServerConfig};
use zeroize::Zeroizing;

use super::unusable::{no_private_key, unusable_certificate, unusable_key};
use super::{BadCertificate, CertificateInUse, CertificatePaths, Event};
use crate::certificate::CertificateFacts;
use crate::provider::provider;
use crate::trust::certificates;

/// Interval between checks of the files.
pub(super) const CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// Certificates of an endpoint.
#[derive(Debug)]
pub(super) struct Certificates {
    paths: Vec<CertificatePaths>,
    /// In the order of the paths.
    keys: Vec<Arc<CertifiedKey>>,
    config: Arc<ServerConfig>,
    /// State of the files when they were read last.
    files: Vec<FileState>,
    /// Files of keys that all users of the machine may read or write.
    exposed: Vec<PathBuf>,
    /// What was wrong with them then, and whether it was reported.
    invalid: Option<(BadCertificate, bool)>,
}

/// Distinguishes a file from its replacement: device, inode, length, mtime and ctime. `None` if it
/// does not exist.
type FileState = Option<(u64, u64, u64, (i64, i64), (i64, i64))>;

impl Certificates {
    /// Reads all certificates.
    pub(super) fn load(paths: &[CertificatePaths]) -> Result<Self, BadCertificate> {
        let files = file_states(paths);
        let (keys, config, exposed) = read(paths)?;
        Ok(Self {
            paths: paths.to_vec(),
            keys,
            config,
            files,
            exposed,
            invalid: None,
        })
    }

    /// TLS configuration for new connections.
    pub(super) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }

    /// Reads the certificates if a file has changed or the operator `requested` it, and reports the
    /// result to `on_event`. Returns whether they were read successfully.
    pub(super) fn reload(&mut self, requested: bool, on_event: &dyn Fn(&Event)) -> bool {
        let files = file_states(&self.paths);
        if files == self.files && !requested {
            // Still invalid since the last check.
            if let Some((error, reported @ false)) = &mut self.invalid {
                *reported = true;
                on_event(&Event::BadCertificate(error.clone()));
            }
            return false;
        }
        self.files = files;
        match read(&self.paths) {
            Ok((keys, config, exposed)) => {
                let differs =
                    |(new, old): (&Arc<CertifiedKey>, &Arc<CertifiedKey>)| new.cert != old.cert;
                let changed = keys.iter().zip(&self.keys).any(differs);
                (self.keys, self.config, self.invalid) = (keys, config, None);
                if changed || requested {
                    self.report(on_event);
                }
                // Whoever loads the configuration checks this; nobody loads it after a renewal.
                let new = |path: &&PathBuf| !requested && !self.exposed.contains(path);
                for path in exposed.iter().filter(new) {
                    on_event(&Event::ExposedKey(path.clone()));
                }
                self.exposed = exposed;
                true
            }
            Err(error) => {
                if requested {
                    on_event(&Event::BadCertificate(error.clone()));
                }
                self.invalid = Some((error, requested));
                false
            }
        }
    }

    /// Certificates in use, in the order of the paths.
    pub(super) fn in_use(&self) -> impl Iterator<Item = CertificateInUse> {
        self.paths.iter().zip(&self.keys).map(|(paths, key)| {
            let facts: Vec<_> = key.cert.iter().filter_map(CertificateFacts::read).collect();
            CertificateInUse {
                path: paths.chain.clone(),
                // A client verifies the whole chain.
                expires: facts.iter().map(|facts| facts.not_after).min(),
                names: facts
                    .into_iter()
                    .next()
                    .map_or_else(Vec::new, |own| own.names),
            }
        })
    }

    /// Reports the certificates in use.
    pub(super) fn report(&self, on_event: &dyn Fn(&Event)) {
        for (paths, key) in self.paths.iter().zip(&self.keys) {
            on_event(&Event::Certificate {
                path: paths.chain.clone(),
                facts: key.cert.first().and_then(CertificateFacts::read),
            });
        }
    }
}

/// Certificates with their keys, the configuration with them, and the files of keys that all users
/// of the machine may read or write.
type Loaded = (Vec<Arc<CertifiedKey>>, Arc<ServerConfig>, Vec<PathBuf>);

fn read(paths: &[CertificatePaths]) -> Result<Loaded, BadCertificate> {
    let mut exposed = Vec::new();
    let pairs = paths.iter().map(|paths| read_pair(paths, &mut exposed));
    let keys: Vec<_> = pairs.collect::<Result<_, _>>()?;
    let resolver = ByName(keys.clone());
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(|problem| invalid(Path::new(""), problem.to_string()))?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(resolver));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok((keys, Arc::new(config), exposed))
}

/// Reads a certificate and its private key. Adds the file of the key to `exposed` if it is.
fn read_pair(
    paths: &CertificatePaths,
    exposed: &mut Vec<PathBuf>,
) -> Result<Arc<CertifiedKey>, BadCertificate> {
    let chain = certificates(&paths.chain).map_err(|problem| invalid(&paths.chain, problem))?;
    let text = RegularFile::open(&paths.key).and_then(|file| {
        let exposure = file.exposure();
        exposed.extend(exposure.map(|_| paths.key.clone()));
        file.read(MAX_TEXT)
    });
    let text = Zeroizing::new(text.map_err(|error| invalid(&paths.key, error.to_string()))?);
    let key = PrivateKeyDer::from_pem_slice(&text)
        .map_err(|problem| invalid(&paths.key, no_private_key(&text, &problem)))?;
    if let Some(own) = chain
        .first()
        .filter(|own| ParsedCertificate::try_from(*own).is_err())
    {
        return Err(invalid(&paths.chain, unusable_certificate(own).into()));
    }
    let usable = CertifiedKey::from_der(chain, key.clone_key(), &provider());
    usable.map(Arc::new).map_err(|problem| match problem {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => invalid(
            &paths.chain,
            format!("private key {} does not match", paths.key.display()),
        ),
        other => invalid(&paths.key, unusable_key(&key, &other)),
    })
}

fn invalid(path: &Path, problem: String) -> BadCertificate {
    BadCertificate {
        path: path.to_owned(),
        problem,
    }
}

fn file_states(paths: &[CertificatePaths]) -> Vec<FileState> {
    let files = paths.iter().flat_map(|paths| [&paths.chain, &paths.key]);
    files
        .map(|path| {
            let file = fs::metadata(path).ok()?;
            let modified = (file.mtime(), file.mtime_nsec());
            let changed = (file.ctime(), file.ctime_nsec());
            Some((file.dev(), file.ino(), file.size(), modified, changed))
        })
        .collect()
}

/// Selects the first certificate that is valid for the requested server name, otherwise the first
/// one.
#[derive(Debug)]
struct ByName(Vec<Arc<CertifiedKey>>);

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let first = self.0.first()?;
        let requested = match hello.server_name() {
            Some(name) if self.0.len() > 1 => ServerName::try_from(name).ok(),
            _ => None,
        };
        let matching =
            requested.and_then(|name| self.0.iter().find(|key| is_valid_for(key, &name)));
        Some(Arc::clone(matching.unwrap_or(first)))
    }
}

fn is_valid_for(key: &CertifiedKey, name: &ServerName<'_>) -> bool {
    let matches = |end_entity: &CertificateDer<'_>| {
        ParsedCertificate::try_from(end_entity)
            .and_then(|parsed| rustls::client::verify_server_name(&parsed, name))
            .is_ok()
    };
    key.cert.first().is_some_and(matches)
}
