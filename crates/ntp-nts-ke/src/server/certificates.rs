//! The server's certificates: read, chosen by the name that a client asks for, read again when they are renewed.
//!
//! Renewal replaces two files one after the other, and the pair does not fit in between. So what was read before stays in use until
//! all of the new fits, and a pair that does not fit is told only if it still does not at the next look, or if the operator
//! asked for it to be read.
//!
//! Files are looked at every few seconds (`stat`, which follows the links that renewing tools turn around), because they
//! may lie anywhere: on a network, behind links, in a directory that appears later.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ntp_proto::nts::exchange::ALPN;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, NoServerSessionStorage, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{InconsistentKeys, ServerConfig};

use super::{BadCertificate, CertificatePaths, Event, InUse};
use crate::certificate::CertificateFacts;
use crate::provider;
use crate::trust::{certificates, plain};

/// How often files are looked at.
pub(super) const LOOK: Duration = Duration::from_secs(5);

/// The certificates of an endpoint.
#[derive(Debug)]
pub(super) struct Certificates {
    paths: Vec<CertificatePaths>,
    /// In the order of the paths.
    keys: Vec<Arc<CertifiedKey>>,
    config: Arc<ServerConfig>,
    /// How the files looked when they were read last.
    seen: Vec<Look>,
    /// What was wrong with them then, and whether that was told.
    bad: Option<(BadCertificate, bool)>,
}

/// What tells a file from its successor: device, inode, length, and both times of change.
type Look = Option<(u64, u64, u64, (i64, i64), (i64, i64))>;

impl Certificates {
    /// Reads all of them.
    pub(super) fn load(paths: &[CertificatePaths]) -> Result<Self, BadCertificate> {
        let seen = look(paths);
        let (keys, config) = read(paths)?;
        Ok(Self {
            paths: paths.to_vec(),
            keys,
            config,
            seen,
            bad: None,
        })
    }

    /// What new connections begin with.
    pub(super) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }

    /// Reads what has changed, or everything if the operator `asked`, and tells what came of it. Returns whether it was read.
    pub(super) fn reload(&mut self, asked: bool, tell: &dyn Fn(&Event)) -> bool {
        let now = look(&self.paths);
        if now == self.seen && !asked {
            // It has been like this for a while.
            if let Some((bad, told @ false)) = &mut self.bad {
                *told = true;
                tell(&Event::BadCertificate(bad.clone()));
            }
            return false;
        }
        self.seen = now;
        match read(&self.paths) {
            Ok((keys, config)) => {
                let fresh =
                    |(new, old): (&Arc<CertifiedKey>, &Arc<CertifiedKey>)| new.cert != old.cert;
                let changed = keys.iter().zip(&self.keys).any(fresh);
                (self.keys, self.config, self.bad) = (keys, config, None);
                if changed || asked {
                    self.announce(tell);
                }
                true
            }
            Err(bad) => {
                if asked {
                    tell(&Event::BadCertificate(bad.clone()));
                }
                self.bad = Some((bad, asked));
                false
            }
        }
    }

    /// What is in use.
    pub(super) fn in_use(&self) -> impl Iterator<Item = InUse> {
        self.paths.iter().zip(&self.keys).map(|(paths, key)| {
            let facts: Vec<_> = key.cert.iter().filter_map(CertificateFacts::read).collect();
            InUse {
                path: paths.chain.clone(),
                // A client needs all of the chain.
                expires: facts.iter().map(|facts| facts.not_after).min(),
                names: facts
                    .into_iter()
                    .next()
                    .map_or_else(Vec::new, |own| own.names),
            }
        })
    }

    /// Tells what is in use.
    pub(super) fn announce(&self, tell: &dyn Fn(&Event)) {
        for (paths, key) in self.paths.iter().zip(&self.keys) {
            tell(&Event::Certificate {
                path: paths.chain.clone(),
                facts: key.cert.first().and_then(CertificateFacts::read),
            });
        }
    }
}

type Read = (Vec<Arc<CertifiedKey>>, Arc<ServerConfig>);

fn read(paths: &[CertificatePaths]) -> Result<Read, BadCertificate> {
    let keys: Vec<_> = paths.iter().map(pair).collect::<Result<_, _>>()?;
    let chosen = ByName(keys.clone());
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(|problem| bad(Path::new(""), problem.to_string()))?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(chosen));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok((keys, Arc::new(config)))
}

fn pair(paths: &CertificatePaths) -> Result<Arc<CertifiedKey>, BadCertificate> {
    let chain = certificates(&paths.chain).map_err(|problem| bad(&paths.chain, problem))?;
    let key = PrivateKeyDer::from_pem_file(&paths.key)
        .map_err(|problem| bad(&paths.key, format!("no private key: {}", plain(&problem))))?;
    let readable = chain
        .first()
        .is_some_and(|own| ParsedCertificate::try_from(own).is_ok());
    if !readable {
        return Err(bad(
            &paths.chain,
            "its first certificate cannot be read".into(),
        ));
    }
    let fits = CertifiedKey::from_der(chain, key, &provider());
    fits.map(Arc::new).map_err(|problem| match problem {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => bad(
            &paths.chain,
            format!("{} is not its private key", paths.key.display()),
        ),
        other => bad(&paths.key, other.to_string()),
    })
}

fn bad(path: &Path, problem: String) -> BadCertificate {
    BadCertificate {
        path: path.to_owned(),
        problem,
    }
}

fn look(paths: &[CertificatePaths]) -> Vec<Look> {
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

/// Chooses the first certificate that is good for the name that a client asks for, else the first.
#[derive(Debug)]
struct ByName(Vec<Arc<CertifiedKey>>);

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let first = self.0.first()?;
        let wanted = match hello.server_name() {
            Some(name) if self.0.len() > 1 => ServerName::try_from(name).ok(),
            _ => None,
        };
        let good = wanted.and_then(|wanted| self.0.iter().find(|key| is_for(key, &wanted)));
        Some(Arc::clone(good.unwrap_or(first)))
    }
}

fn is_for(key: &CertifiedKey, name: &ServerName<'_>) -> bool {
    let parsed = |own: &CertificateDer<'_>| {
        ParsedCertificate::try_from(own)
            .and_then(|own| rustls::client::verify_server_name(&own, name))
            .is_ok()
    };
    key.cert.first().is_some_and(parsed)
}
