//! `--write`: puts the converted configuration in place, with what belongs to it.
//!
//! | file | from | permissions |
//! |---|---|---|
//! | `ntp.keys` beside the configuration | the file of symmetric keys, if a source or server uses it | 0600, of the daemon's user |
//! | `clock.toml` in the state directory | the drift file, if there is no state yet | of the daemon's user |
//! | the configuration file | the converted lines; the old file becomes `ntp.toml.old` | 0644 |
//!
//! The user of the daemon is the owner of the state directory, which packages create. The
//! configuration is written last, so that it never names a file that is missing.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use ntp_config::StateConfig;
use ntp_files::MAX_TEXT;

use super::input::Root;
use super::{Dialect, Migrated};
use crate::console::Failure;

/// Remark on a drift file.
pub(super) const DRIFT: &str =
    "`ntp-ctl migrate --write` takes over the frequency; it is kept in [state] directory";

/// Uncertainty of ntpd's frequency, which its file does not state: an oscillator moves by less in a
/// day at room temperature. A larger one makes the start slower, a smaller one may be wrong.
const NTPD_UNCERTAINTY_PPM: f64 = 1.0;
/// Smallest uncertainty: the temperature may have changed since chronyd wrote its estimate.
const MINIMUM_UNCERTAINTY_PPM: f64 = 0.1;
/// Largest frequency that chronyd and ntpd accept; a larger one is not from them.
const MAXIMUM_PPM: f64 = 100_000.0;

/// The copy of the key file for this configuration file.
pub(super) fn key_file(config: &Path) -> PathBuf {
    config.with_file_name("ntp.keys")
}

/// Writes the files, and returns their names. `config` is the configuration file of the daemon.
pub(super) fn write(
    migrated: &Migrated,
    root: &Root,
    config: &Path,
) -> Result<Vec<PathBuf>, Failure> {
    let mut written = Vec::new();
    let directory = config.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(root.find(directory))
        .map_err(|error| failed("create", directory, &error))?;
    let state = StateConfig::default().directory.unwrap_or_default();
    let metadata = fs::metadata(root.find(&state)).ok();
    let owner = metadata.map(|it| (it.uid(), it.gid()));
    if let Some(source) = migrated.key_file.as_deref().map(Path::new) {
        let keys = ntp_files::read(&root.find(source), MAX_TEXT)
            .map_err(|error| failed("read", source, &error))?;
        let target = key_file(config);
        ntp_files::replace(&root.find(&target), &keys, 0o600, owner)
            .map_err(|error| failed("write", &target, &error))?;
        written.push(target);
    }
    let clock = state.join("clock.toml");
    if let Some(text) = clock_state(migrated, root).filter(|_| !root.find(&clock).exists()) {
        fs::create_dir_all(root.find(&state))
            .and_then(|()| ntp_files::replace(&root.find(&clock), text.as_bytes(), 0o644, owner))
            .map_err(|error| failed("write", &clock, &error))?;
        written.push(clock);
    }
    let place = root.find(config);
    let old = config.with_extension("toml.old");
    if place.exists() {
        // A hard link, so that there is a configuration at any time. An older copy is kept.
        match fs::hard_link(&place, root.find(&old)) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                return Err(failed("write", &old, &error));
            }
            Err(_) if !is_converted(&place) => {
                let why = io::Error::new(ErrorKind::AlreadyExists, "rename or remove it first");
                return Err(failed("write", &old, &why));
            }
            _ => {}
        }
    }
    ntp_files::replace(&place, migrated.toml.as_bytes(), 0o644, None)
        .map_err(|error| failed("write", config, &error))?;
    written.push(config.to_owned());
    Ok(written)
}

/// Whether this command wrote a file, which it may replace without a copy.
fn is_converted(path: &Path) -> bool {
    let text = ntp_files::read_text(path, MAX_TEXT);
    text.is_ok_and(|text| text.starts_with("# Converted from "))
}

/// The daemon's state with the frequency of the drift file; `None` if there is none.
fn clock_state(migrated: &Migrated, root: &Root) -> Option<String> {
    let path = root.find(Path::new(migrated.drift_file.as_deref()?));
    let text = ntp_files::read_text(&path, MAX_TEXT).ok()?;
    let mut numbers = text.split_whitespace().map_while(|word| word.parse().ok());
    let drift: f64 = numbers.next()?;
    let (frequency, uncertainty) = match migrated.dialect {
        // The file states how much the clock gains, and the uncertainty.
        Dialect::Chrony => (drift, numbers.next()?),
        // The file states the correction.
        _ => (-drift, NTPD_UNCERTAINTY_PPM),
    };
    let credible = frequency.abs() <= MAXIMUM_PPM && uncertainty.abs() <= MAXIMUM_PPM;
    let uncertainty = uncertainty.abs().max(MINIMUM_UNCERTAINTY_PPM);
    credible.then(|| {
        format!(
            "# Converted from {}.\nversion = 1\nfrequency-ppm = {frequency:.6}\n\
             uncertainty-ppm = {uncertainty:.6}\n",
            path.display()
        )
    })
}

fn failed(what: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::Error(format!("Could not {what} {}: {error}", path.display()))
}
