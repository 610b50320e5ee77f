//! Certificate authorities and certificates for one test.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    date_time_ymd,
};
use tempfile::TempDir;

use crate::files;

/// A certificate authority and the temporary directory with its files.
#[derive(Debug)]
pub struct Authority {
    directory: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

/// Files of a certificate, as PEM.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// The certificate.
    pub chain: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl Certificate {
    /// Section of a configuration for a key-exchange server at `listen` with this certificate, and
    /// `more` lines.
    pub fn ke_server_section(&self, listen: &str, more: &str) -> String {
        format!(
            "[[nts-ke-server]]\nlisten = \"{listen}\"\ncertificate-chain-path = \"{}\"\nprivate-key-path = \"{}\"\n{more}\n",
            self.chain.display(),
            self.key.display(),
        )
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Authority {
    /// A new authority, trusted by no program yet.
    ///
    /// # Panics
    /// If no temporary directory can be created.
    pub fn new() -> Self {
        let directory = files::temporary_directory();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name = DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, "an authority for tests");
        params.not_before = date_time_ymd(1970, 1, 1);
        params.not_after = date_time_ymd(2200, 1, 1);
        let key = generate();
        let certificate = params.self_signed(&key).expect("valid parameters");
        files::write(&directory.path().join("ca.pem"), certificate.pem());
        Self {
            issuer: Issuer::new(params, key),
            directory,
        }
    }

    /// PEM file of the authority's certificate.
    pub fn path(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// Directory of the authority's files.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Issues a certificate for names and addresses, valid from 2020 to 2100.
    pub fn issue(&self, file: &str, names: &[String]) -> Certificate {
        self.issue_for_years(file, names, (2020, 2100))
    }

    /// Issues a certificate that is valid from January 1 of `years.0` to January 1 of `years.1`,
    /// in `file.crt` and `file.key`.
    ///
    /// # Panics
    /// If a name is invalid or a file cannot be written.
    pub fn issue_for_years(&self, file: &str, names: &[String], years: (i32, i32)) -> Certificate {
        let mut params = CertificateParams::new(names).expect("valid names");
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, file);
        (params.not_before, params.not_after) =
            (date_time_ymd(years.0, 1, 1), date_time_ymd(years.1, 1, 1));
        let key = generate();
        let certificate = params
            .signed_by(&key, &self.issuer)
            .expect("valid parameters");
        let certificate_files = Certificate {
            chain: self.directory.path().join(format!("{file}.crt")),
            key: self.directory.path().join(format!("{file}.key")),
        };
        files::write(&certificate_files.chain, certificate.pem());
        files::write(&certificate_files.key, key.serialize_pem());
        certificate_files
    }
}

fn generate() -> KeyPair {
    KeyPair::generate().expect("there is randomness")
}
