//! Time servers that DHCP names, in the files of a directory below `/run`.
//!
//! `ntp-ctl dhcp`, which the hooks of DHCP clients call, writes one file for each interface. The
//! directory does not survive a boot, so a machine that moves to another network does not keep the
//! servers of the old one. Its files have the form of other drop-ins, but less weight: they may
//! contain sources of mode `server` and `pool` only, `dhcp-sources` decides what they are used
//! for, and whatever is wrong with them is a warning. A DHCP server must not be able to keep the
//! daemon from starting, or a reload from being applied.

use std::path::Path;

use crate::config::{self, Config};
use crate::diagnostic::{Diagnostic, quote};
use crate::document::{Document, Place};
use crate::layers::{Layer, Role};
use crate::source::{PoolSource, SourceConfig, SourceKind};
use crate::synchronization::DhcpSources;
use crate::{drop_in, files};

/// Maximum number of sources of all files. A network names four at most in practice; each source
/// costs memory and requests, and strangers determine their number.
const MAX_SOURCES: usize = 32;

/// What the files of the directory contain.
#[derive(Clone, Debug, Default)]
pub struct DhcpFiles {
    /// The sources, in the order of the file names.
    sources: Vec<SourceConfig>,
    /// What is wrong with the files.
    pub warnings: Vec<Diagnostic>,
}

impl DhcpFiles {
    /// Reads the files of `directory`, which need not exist.
    pub fn read(directory: &Path) -> Self {
        let mut found = Self::default();
        let parent = directory.parent().unwrap_or(Path::new("/"));
        let paths = drop_in::list(parent, directory, &mut found.warnings);
        for path in paths.unwrap_or_else(|error| {
            found.refuse(directory, &error.to_string());
            Vec::new()
        }) {
            match files::read(&path) {
                Ok((text, warnings)) => {
                    found.warnings.extend(warnings);
                    found.add(&path, &text);
                }
                Err(error) => found.refuse(&path, &error.to_string()),
            }
        }
        found
    }

    fn add(&mut self, path: &Path, text: &str) {
        let name = path.to_string_lossy();
        let role = Role::Sources;
        let document = Document::new(&name, text);
        let (config, cx) = config::read(&[Layer { document, role }]);
        if let Err(problem) = cx.report.finish(&name) {
            return self.refuse(path, &problem.to_string());
        }
        let is_permitted =
            |it: &SourceConfig| matches!(it.kind, SourceKind::Server(_) | SourceKind::Pool(_));
        if !config.sources.iter().all(is_permitted) {
            return self.refuse(path, "only `server` and `pool` are permitted here");
        }
        self.sources.extend(config.sources);
        if self.sources.len() > MAX_SOURCES {
            self.sources.truncate(MAX_SOURCES);
            self.refuse(path, &format!("DHCP names more than {MAX_SOURCES} sources"));
        }
    }

    fn refuse(&mut self, path: &Path, why: &str) {
        let path = quote(&path.to_string_lossy(), '`');
        let message = format!("{path} is not used, or not all of it: {why}");
        self.warnings
            .push(Diagnostic::warning(Place::nowhere(), message));
    }
}

impl Config {
    /// Directory of the time servers that DHCP names; `None` if they are not used.
    pub fn dhcp_directory(&self) -> Option<&Path> {
        let settings = &self.synchronization;
        let used = settings.dhcp_sources != DhcpSources::Ignore;
        used.then_some(settings.dhcp_sources_directory.as_path())
    }

    /// Replaces the sources that DHCP named before. The policy for sources without authentication
    /// applies to them. A source that is configured otherwise, or that two interfaces name, exists
    /// once. Where the platform's time smears leap seconds, it is used
    /// alone.
    pub fn set_dhcp_sources(&mut self, files: DhcpFiles) {
        let directory = self.synchronization.dhcp_sources_directory.clone();
        self.sources.retain(|source| {
            let file = source.place.file().map(Path::new);
            file.and_then(Path::parent) != Some(&*directory)
        });
        let smeared = self.platform.as_ref().is_some_and(|it| it.is_smeared);
        if self.dhcp_directory().is_none() || smeared {
            return;
        }
        let policy = self.synchronization.dhcp_sources;
        for mut source in files.sources {
            if let SourceKind::Server(ntp) | SourceKind::Pool(PoolSource { ntp, .. }) =
                &mut source.kind
            {
                ntp.selection.fallback |= policy == DhcpSources::Fallback;
            }
            source.kind.apply_policy(self.nts);
            let name = source.name();
            if !self.sources.iter().any(|known| known.name() == name) {
                self.sources.push(source);
            }
        }
    }
}
