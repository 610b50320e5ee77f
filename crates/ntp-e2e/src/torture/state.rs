//! What a daemon that was killed must have left in its state directory.
//!
//! Each file is there as it was, or as it was to become, never neither and never in parts. So a file that was there before is there after; a time that is
//! past stays past; a frequency that was known is known; and a cookie made with the keys of one moment is opened by the keys of a later one, as long as
//! those have not been replaced often.

use std::fs;
use std::path::Path;

use ntp_daemon::Store;
use ntp_proto::engine::Kept;
use ntp_proto::nts::{AeadAlgorithm, Keyset, SessionKeys, StoredKeyset};

use crate::daemon::files_in;

/// Old keys that the daemons under test keep, which replace them each second.
pub const STALE: usize = 250;

/// What a directory held at one moment.
#[derive(Debug, Default)]
pub struct Remains {
    kept: Kept,
    keyset: Option<Keyset>,
}

impl Remains {
    /// Looks into `directory`, and compares with what was there `before`.
    ///
    /// # Errors
    /// Which promise was broken.
    pub fn look(directory: &Path, before: &Self) -> Result<Self, String> {
        let files = files_in(directory);
        if let Some(name) = files.iter().find(|name| name.contains("damaged")) {
            return Err(format!("{name} was set aside"));
        }
        let now = Self {
            kept: Store::new(Some(directory.to_owned())).load(),
            keyset: keyset(directory)?,
        };
        if let Some(name) = files_in(directory)
            .iter()
            .find(|name| name.contains("damaged"))
        {
            return Err(format!("{name} is what was left"));
        }
        now.follows(before)?;
        Ok(now)
    }

    /// Whether the oscillator's frequency is known.
    pub fn knows_frequency(&self) -> bool {
        self.kept.frequency.is_some()
    }

    /// Whether there are keys.
    pub fn has_keys(&self) -> bool {
        self.keyset.is_some()
    }

    fn follows(&self, before: &Self) -> Result<(), String> {
        if self.kept.past < before.kept.past {
            let (now, before) = (self.kept.past, before.kept.past);
            return Err(format!("{before:?} was past, but now only {now:?}"));
        }
        if before.knows_frequency() && !self.knows_frequency() {
            return Err("the frequency is not known any more".into());
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
            None => Err("a cookie of the keys of before is not opened any more".into()),
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
    match StoredKeyset::parse(&octets, STALE) {
        Ok(stored) => Ok(Some(stored.keyset)),
        Err(problem) => Err(format!("{}: {problem}", path.display())),
    }
}
