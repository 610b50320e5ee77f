//! File format of the master keys, so that cookies survive a restart: upstream's format.
//!
//! ```text
//! | time of storing: 64 bits, Unix seconds | number of the first key: 32 bits |
//! | index of the primary key: 32 bits | number of keys: 32 bits | keys: 64 octets each |
//! ```
//!
//! Stricter than upstream: the primary key must exist, the number of keys is limited, and no octets
//! may follow. The daemon reads and writes the file, atomically and with restricted permissions.

use zeroize::Zeroizing;

use super::{Keyset, MasterSecret};
use crate::wire::{Reader, Truncated};

/// A keyset and the time when it was stored.
#[derive(Clone, Debug)]
pub struct StoredKeyset {
    /// The keys.
    pub keyset: Keyset,
    /// When it was stored, in seconds since 1970; the age of the primary key counts from then.
    pub stored: u64,
}

impl StoredKeyset {
    /// Parses the octets of a file. Keeps at most `stale` old keys, the newest ones.
    ///
    /// # Errors
    ///
    /// [`KeysetFileError`] if the file is truncated, too long or inconsistent.
    pub fn parse(octets: &[u8], stale: usize) -> Result<Self, KeysetFileError> {
        let mut reader = Reader::new(octets);
        let stored = reader.u64()?;
        let offset = reader.u32()?;
        let primary = reader.u32()?;
        let count = reader.u32()?;
        if count as usize > Keyset::MAX_KEYS {
            return Err(KeysetFileError::TooManyKeys(count));
        }
        if primary >= count {
            return Err(KeysetFileError::NoPrimary { primary, count });
        }
        let mut secrets = Vec::with_capacity(count as usize);
        for _ in 0..count {
            secrets.push(MasterSecret::new(reader.array()?));
        }
        if reader.remaining() > 0 {
            return Err(KeysetFileError::TooLong(reader.remaining()));
        }
        let forgotten = (primary as usize).saturating_sub(stale);
        let keyset = Keyset::from_secrets(
            offset.wrapping_add(forgotten as u32),
            primary as usize - forgotten,
            secrets.into_iter().skip(forgotten),
        );
        Ok(Self { keyset, stored })
    }

    /// The octets of the file; wiped on drop.
    pub fn emit(&self) -> Zeroizing<Vec<u8>> {
        // Allocated with its final size: reallocation would leave copies of the keys behind.
        let mut octets = Zeroizing::new(Vec::with_capacity(
            20 + self.keyset.len() * MasterSecret::LENGTH,
        ));
        octets.extend_from_slice(&self.stored.to_be_bytes());
        octets.extend_from_slice(&self.keyset.offset().to_be_bytes());
        octets.extend_from_slice(&(self.keyset.primary() as u32).to_be_bytes());
        octets.extend_from_slice(&(self.keyset.len() as u32).to_be_bytes());
        for secret in self.keyset.secrets() {
            octets.extend_from_slice(&*secret.0);
        }
        octets
    }
}

/// Why a file is not a valid keyset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeysetFileError {
    /// It is truncated.
    #[error("the keyset is truncated")]
    Truncated,
    /// Its number of keys, which exceeds the maximum.
    #[error(
        "the keyset has {0} keys, more than the maximum of {most}",
        most = Keyset::MAX_KEYS
    )]
    TooManyKeys(u32),
    /// The index of the primary key is not that of a key.
    #[error("the keyset's primary key is number {primary} of {count}")]
    NoPrimary {
        /// The index.
        primary: u32,
        /// The number of keys.
        count: u32,
    },
    /// Number of octets after the last key.
    #[error("{0} octets follow the last key of the keyset")]
    TooLong(usize),
}

impl From<Truncated> for KeysetFileError {
    fn from(_: Truncated) -> Self {
        Self::Truncated
    }
}

#[cfg(test)]
mod tests {
    use super::super::AeadAlgorithm;
    use super::super::keyset::tests::{opens, secret, session};
    use super::*;

    /// As upstream writes it: 3 keys, the first with number 5, the last one primary.
    fn file() -> Vec<u8> {
        let mut octets = 1_700_000_000u64.to_be_bytes().to_vec();
        for number in [5u32, 2, 3] {
            octets.extend(number.to_be_bytes());
        }
        for fill in [1, 2, 3] {
            octets.extend([fill; 64]);
        }
        octets
    }

    #[test]
    fn the_upstream_format_is_read_and_written() {
        let stored = StoredKeyset::parse(&file(), 7).unwrap();
        assert_eq!(
            (stored.stored, stored.keyset.primary_id()),
            (1_700_000_000, 7)
        );
        assert_eq!(*stored.emit(), file());
        let keys = session(AeadAlgorithm::AesSivCmac256);
        let cookie = Keyset::from_secrets(7, 0, [secret(3)])
            .seal_cookie(&keys, [1; 16])
            .unwrap();
        assert!(opens(&stored.keyset, cookie.octets(), &keys));

        let fewer = StoredKeyset::parse(&file(), 1).unwrap().keyset;
        assert_eq!((fewer.len(), fewer.primary_id()), (2, 7));
        assert!(opens(&fewer, cookie.octets(), &keys));
    }

    #[test]
    fn a_damaged_file_is_refused_with_the_cause() {
        let with = |at: usize, value: u32| {
            let mut octets = file();
            octets[at..at + 4].copy_from_slice(&value.to_be_bytes());
            StoredKeyset::parse(&octets, 7).err()
        };
        let no_primary = KeysetFileError::NoPrimary {
            primary: 3,
            count: 3,
        };
        assert_eq!(with(12, 3), Some(no_primary));
        assert_eq!(with(16, 4), Some(KeysetFileError::Truncated));
        assert_eq!(
            with(16, u32::MAX),
            Some(KeysetFileError::TooManyKeys(u32::MAX))
        );
        let longer = [&file()[..], &[0]].concat();
        assert_eq!(
            StoredKeyset::parse(&longer, 7).err(),
            Some(KeysetFileError::TooLong(1))
        );
        for length in 0..file().len() {
            assert_eq!(
                StoredKeyset::parse(&file()[..length], 7).err(),
                Some(KeysetFileError::Truncated)
            );
        }
        let none = StoredKeyset::parse(&[0; 20], 7).err();
        assert_eq!(
            none,
            Some(KeysetFileError::NoPrimary {
                primary: 0,
                count: 0
            })
        );
    }
}
