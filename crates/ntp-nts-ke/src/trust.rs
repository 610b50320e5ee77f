//! Whose certificates are believed: the authorities of the system, and those of a file that the operator names in addition.
//!
//! Both are read for every exchange. That costs a few milliseconds in weeks, and an authority that was added or withdrawn
//! counts without a restart.

use core::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// Authorities that are believed.
#[derive(Clone, Debug)]
pub struct Trust {
    pub(crate) roots: Arc<RootCertStore>,
}

/// Why there is nobody to believe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoTrust {
    /// The operator's file cannot be used.
    File(PathBuf, String),
    /// The system has none, and there is no file.
    Nothing(String),
}

impl fmt::Display for NoTrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path, problem) => write!(
                f,
                "the certificate authorities in {} cannot be used: {problem}",
                path.display()
            ),
            Self::Nothing(problem) => write!(
                f,
                "this system has no certificate authorities{problem}; install its package of them \
                 (often ca-certificates), or name a file as certificate-authority"
            ),
        }
    }
}

impl std::error::Error for NoTrust {}

impl Trust {
    /// The system's authorities, and those in the PEM file `additional`.
    ///
    /// # Errors
    /// If the file cannot be read or holds no certificate, or if there is no authority at all.
    pub fn load(additional: Option<&Path>) -> Result<Self, NoTrust> {
        let mut roots = RootCertStore::empty();
        let system = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(system.certs);
        if let Some(path) = additional {
            let cannot = |problem: String| NoTrust::File(path.to_owned(), problem);
            let authorities = certificates(path).map_err(cannot)?;
            let (taken, left) = roots.add_parsable_certificates(authorities);
            if taken == 0 {
                return Err(cannot(format!(
                    "none of its {left} certificates can be read"
                )));
            }
        }
        if roots.is_empty() {
            let problem = system.errors.first();
            let problem = problem.map_or_else(String::new, |problem| format!(" ({problem})"));
            return Err(NoTrust::Nothing(problem));
        }
        Ok(Self {
            roots: Arc::new(roots),
        })
    }
}

/// The certificates of a PEM file, at least one.
pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path)
        .map_err(|problem| plain(&problem))?
        .collect();
    let all = all.map_err(|problem| plain(&problem))?;
    if all.is_empty() {
        return Err("there is no certificate in it".into());
    }
    Ok(all)
}

/// What is wrong with a PEM file.
pub(crate) fn plain(problem: &rustls::pki_types::pem::Error) -> String {
    use rustls::pki_types::pem::Error;
    match problem {
        Error::Io(error) => error.to_string(),
        Error::NoItemsFound => "what is looked for is not in it".into(),
        other => format!("it is not PEM ({other})"),
    }
}
