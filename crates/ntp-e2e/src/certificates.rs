//! Certificates of an authority that exists for one test.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    date_time_ymd,
};
use tempfile::TempDir;

/// An authority, and the directory with its files, which go with it.
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

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Authority {
    /// A new one, which nobody knows.
    ///
    /// # Panics
    /// If there is no temporary directory to be had.
    pub fn new() -> Self {
        let directory = match tempfile::Builder::new().prefix("ntpe2e-").tempdir() {
            Ok(directory) => directory,
            Err(error) => panic!("cannot create a temporary directory: {error}"),
        };
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name = DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, "an authority for tests");
        params.not_before = date_time_ymd(1970, 1, 1);
        params.not_after = date_time_ymd(2200, 1, 1);
        let key = generate();
        let certificate = params.self_signed(&key).expect("parameters are sound");
        put(&directory.path().join("ca.pem"), &certificate.pem());
        Self {
            issuer: Issuer::new(params, key),
            directory,
        }
    }

    /// PEM file of its own certificate.
    pub fn path(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// The directory of its files.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// A certificate for names and addresses that is valid today.
    pub fn issue(&self, file: &str, names: &[String]) -> Certificate {
        self.issue_for_years(file, names, (2020, 2100))
    }

    /// A certificate that is valid from the first day of one year until that of another, in files that begin with `file`.
    ///
    /// # Panics
    /// If a name is none, or a file cannot be written.
    pub fn issue_for_years(&self, file: &str, names: &[String], years: (i32, i32)) -> Certificate {
        let mut params = CertificateParams::new(names).expect("names are sound");
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, file);
        (params.not_before, params.not_after) =
            (date_time_ymd(years.0, 1, 1), date_time_ymd(years.1, 1, 1));
        let key = generate();
        let certificate = params
            .signed_by(&key, &self.issuer)
            .expect("parameters are sound");
        let files = Certificate {
            chain: self.directory.path().join(format!("{file}.crt")),
            key: self.directory.path().join(format!("{file}.key")),
        };
        put(&files.chain, &certificate.pem());
        put(&files.key, &key.serialize_pem());
        files
    }
}

fn generate() -> KeyPair {
    KeyPair::generate().expect("there is randomness")
}

fn put(path: &Path, text: &str) {
    if let Err(error) = fs::write(path, text) {
        panic!("cannot write {}: {error}", path.display());
    }
}
