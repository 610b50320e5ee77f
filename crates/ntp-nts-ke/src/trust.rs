//! Trusted certificate authorities: those of the system, those of files, or both.
//!
//! Both are read for every key exchange. That costs a few milliseconds in weeks, and an added or
//! removed authority takes effect without a restart.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ntp_files::MAX_TEXT;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// Where the trusted certificate authorities come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authorities<'a> {
    /// Whether those of the system are trusted.
    pub system: bool,
    /// PEM files, and directories of such files, of those that are trusted alone or in addition.
    pub paths: &'a [PathBuf],
}

/// Those of the system, and those of files.
impl<'a> From<&'a [PathBuf]> for Authorities<'a> {
    fn from(paths: &'a [PathBuf]) -> Self {
        Self {
            system: true,
            paths,
        }
    }
}

/// The trusted certificate authorities.
#[derive(Clone, Debug)]
pub struct Trust {
    pub(crate) roots: Arc<RootCertStore>,
}

/// Why there are no trusted authorities.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// An additional file or directory cannot be used.
    #[error("the certificate authorities in {file} cannot be used: {1}", file = .0.display())]
    File(PathBuf, String),
    /// Those of the system are not trusted, and there is no file.
    #[error(
        "certificate authorities of the system are not trusted, and certificate-authority is not set"
    )]
    NoFile,
    /// The system has no authorities, and there is no additional file.
    #[error(
        "no system certificate authorities found{0}: install the package ca-certificates, or set certificate-authority to a PEM file"
    )]
    NoAuthorities(String),
}

impl Trust {
    /// Loads the system's authorities, unless only the others are trusted, and those in PEM files.
    ///
    /// # Errors
    /// If a file or directory cannot be read or contains no certificate, or if there are no
    /// authorities at all.
    pub fn load(authorities: Authorities<'_>) -> Result<Self, TrustError> {
        let mut roots = RootCertStore::empty();
        let mut errors = Vec::new();
        if authorities.system {
            let system = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(system.certs);
            errors = system.errors;
        }
        for path in authorities.paths {
            let cannot = |problem: String| TrustError::File(path.clone(), problem);
            let authorities = if path.is_dir() {
                certificates_below(path).map_err(cannot)?
            } else {
                certificates(path).map_err(cannot)?
            };
            let (added, ignored) = roots.add_parsable_certificates(authorities);
            if added == 0 {
                return Err(cannot(format!(
                    "none of its {ignored} certificates can be parsed"
                )));
            }
        }
        if roots.is_empty() && !authorities.system {
            return Err(TrustError::NoFile);
        }
        if roots.is_empty() {
            let problem = errors.first();
            let problem = problem.map_or_else(String::new, |problem| format!(" ({problem})"));
            return Err(TrustError::NoAuthorities(problem));
        }
        Ok(Self {
            roots: Arc::new(roots),
        })
    }
}

/// Reads the certificates of a directory, at least one. Its other files are ignored, as other
/// programs do: the directories of `openssl rehash` have lists of revoked certificates, too.
fn certificates_below(directory: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let entries = std::fs::read_dir(directory).map_err(|error| error.to_string())?;
    let files = entries.flatten().map(|entry| entry.path());
    let all: Vec<_> = files
        .flat_map(|path| certificates(&path))
        .flatten()
        .collect();
    if all.is_empty() {
        return Err("no file with a certificate found".into());
    }
    Ok(all)
}

/// Reads the certificates of a PEM file, at least one.
pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let text = ntp_files::read(path, MAX_TEXT).map_err(|error| error.to_string())?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let all = all.map_err(|problem| pem_problem(&problem))?;
    if all.is_empty() {
        return Err("no certificate found".into());
    }
    Ok(all)
}

/// Describes what is wrong with a PEM file.
pub(crate) fn pem_problem(problem: &rustls::pki_types::pem::Error) -> String {
    use rustls::pki_types::pem::Error;
    match problem {
        Error::Io(error) => error.to_string(),
        Error::NoItemsFound => "no matching PEM section found".into(),
        other => format!("invalid PEM ({other})"),
    }
}
