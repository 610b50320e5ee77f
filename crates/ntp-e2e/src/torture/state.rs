//! Checks of the state directory after the daemon was killed.
//!
//! Each file has its old or its new content, never a part of it, and is never missing. So a file
//! that existed still exists; the lower limit of time never decreases; a known frequency stays
//! known; and a cookie sealed with an earlier keyset can be opened with a later one, as long as the
//! number of rotations in between does not exceed the number of stale keys.

use std::fs;
use std::path::Path;

use ntp_daemon::Store;
use ntp_proto::engine::PersistedState;
use ntp_proto::nts::{AeadAlgorithm, Keyset, SessionKeys, StoredKeyset};

use crate::daemon::files_in;

/// Stale keys kept by the daemons under test, which rotate the key each second.
pub const STALE_KEYS: usize = 250;

/// Contents of a state directory at one point in time.
#[derive(Debug, Default)]
pub struct StateSnapshot {
    persisted: PersistedState,
    keyset: Option<Keyset>,
}

impl StateSnapshot {
    /// Reads `directory` and compares it with the snapshot `before`.
    ///
    /// # Errors
    /// Which check failed.
    pub fn check(directory: &Path, before: &Self) -> Result<Self, String> {
        let files = files_in(directory);
        if let Some(name) = files.iter().find(|name| name.contains("damaged")) {
            return Err(format!("{name} was set aside"));
        }
        let now = Self {
            persisted: Store::new(Some(directory.to_owned())).load(),
            keyset: keyset(directory)?,
        };
        if let Some(name) = files_in(directory)
            .iter()
            .find(|name| name.contains("damaged"))
        {
            return Err(format!("loading produced {name}"));
        }
        now.compare(before)?;
        Ok(now)
    }

    /// Whether the oscillator's frequency is saved.
    pub fn has_frequency(&self) -> bool {
        self.persisted.frequency.is_some()
    }

    /// Whether a keyset is saved.
    pub fn has_keyset(&self) -> bool {
        self.keyset.is_some()
    }

    fn compare(&self, before: &Self) -> Result<(), String> {
        if self.persisted.time_floor < before.persisted.time_floor {
            let (now, before) = (self.persisted.time_floor, before.persisted.time_floor);
            return Err(format!(
                "the lower limit of time went from {before:?} back to {now:?}"
            ));
        }
        if before.has_frequency() && !self.has_frequency() {
            return Err("the saved frequency is lost".into());
        }
        let Some(old) = &before.keyset else {
            return Ok(());
        };
        let session = SessionKeys::new(AeadAlgorithm::AesSivCmac256, &[1; 32], &[2; 32])
            .ok_or("no session")?;
        let cookie = old.seal_cookie(&session, [7; 16]).ok_or("no cookie")?;
        let opened = self
            .keyset
            .as_ref()
            .and_then(|keyset| keyset.open_cookie(cookie.octets()));
        match opened {
            Some(_) => Ok(()),
            None => Err("a cookie of the earlier keyset cannot be opened".into()),
        }
    }
}

fn keyset(directory: &Path) -> Result<Option<Keyset>, String> {
    let path = directory.join("keyset");
    let octets = match fs::read(&path) {
        Ok(octets) => octets,
        Err(_) if !path.exists() => return Ok(None),
        Err(error) => return Err(format!("{}: {error}", path.display())),
    };
    match StoredKeyset::parse(&octets, STALE_KEYS) {
        Ok(stored) => Ok(Some(stored.keyset)),
        Err(problem) => Err(format!("{}: {problem}", path.display())),
    }
}
