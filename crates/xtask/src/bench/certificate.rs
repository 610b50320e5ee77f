//! A self-signed certificate for the servers under test, the only one that the generator trusts.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// The file of the certificate.
pub(super) const CHAIN: &str = "certificate.pem";

/// Files with a certificate and its private key, as PEM.
#[derive(Clone, Debug)]
pub(super) struct Certificate {
    pub(super) chain: PathBuf,
    pub(super) key: PathBuf,
}

impl Certificate {
    /// Creates a certificate for `host` in `directory`. Its key is for ECDSA with P-256, the most
    /// common kind.
    pub(super) fn new(directory: &Path, host: IpAddr) -> Result<Self, String> {
        let made = rcgen::generate_simple_self_signed([host.to_string()])
            .map_err(|error| format!("cannot create a certificate: {error}"))?;
        let files = Self {
            chain: directory.join(CHAIN),
            key: directory.join("certificate.key"),
        };
        for (path, text) in [
            (&files.chain, made.cert.pem()),
            (&files.key, made.signing_key.serialize_pem()),
        ] {
            fs::write(path, text)
                .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        }
        Ok(files)
    }
}
