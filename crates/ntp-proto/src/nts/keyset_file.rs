//! Master keys as octets, to outlive a restart: upstream's format.
//!
//! ```text
//! | time of storing: 64 bits, Unix seconds | number of the first key: 32 | index of the primary key: 32 | keys: 32 | 64 octets each |
//! ```
//!
//! Where upstream is careless we are not: the primary key must be one that is there, the number of keys is bounded, and nothing may follow.
//! Reading and writing the file, atomically and for nobody else's eyes, is the daemon's business.

use core::fmt;

use zeroize::Zeroizing;

use super::{Keyset, MasterSecret};
use crate::wire::{Reader, Truncated};

/// A keyset and when it was stored.
#[derive(Clone, Debug)]
pub struct StoredKeyset {
    /// The keys.
    pub keyset: Keyset,
    /// When it was written, in seconds since 1970: the primary key's age counts from then.
    pub stored: u64,
}

impl StoredKeyset {
    /// Reads the file's octets. Of more than `stale` old keys the oldest are forgotten.
    ///
    /// # Errors
    /// [`BadKeysetFile`] if it is damaged: cut off, too long, or contradicting itself.
    pub fn parse(octets: &[u8], stale: usize) -> Result<Self, BadKeysetFile> {
        let mut reader = Reader::new(octets);
        let stored = reader.u64()?;
        let offset = reader.u32()?;
        let primary = reader.u32()?;
        let count = reader.u32()?;
        if count as usize > Keyset::MOST {
            return Err(BadKeysetFile::TooManyKeys(count));
        }
        if primary >= count {
            return Err(BadKeysetFile::NoPrimary { primary, count });
        }
        let mut secrets = Vec::with_capacity(count as usize);
        for _ in 0..count {
            secrets.push(MasterSecret::new(reader.array()?));
        }
        if reader.remaining() > 0 {
            return Err(BadKeysetFile::TooLong(reader.remaining()));
        }
        let forgotten = (primary as usize).saturating_sub(stale);
        let keyset = Keyset::of(
            offset.wrapping_add(forgotten as u32),
            primary as usize - forgotten,
            secrets.into_iter().skip(forgotten),
        );
        Ok(Self { keyset, stored })
    }

    /// The file's octets; wiped when dropped.
    pub fn emit(&self) -> Zeroizing<Vec<u8>> {
        // At the right size from the start: growing would leave copies of the keys behind.
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

/// Why a file is no keyset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadKeysetFile {
    /// It ends early.
    Truncated,
    /// It claims more keys than we keep.
    TooManyKeys(u32),
    /// New cookies are to be made with a key that is not there.
    NoPrimary {
        /// The index that it gives.
        primary: u32,
        /// The number of keys.
        count: u32,
    },
    /// So many octets follow its last key.
    TooLong(usize),
}

impl From<Truncated> for BadKeysetFile {
    fn from(_: Truncated) -> Self {
        Self::Truncated
    }
}

impl fmt::Display for BadKeysetFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("the keyset ends early"),
            Self::TooManyKeys(count) => write!(
                f,
                "the keyset claims to hold {count} keys, more than {}",
                Keyset::MOST
            ),
            Self::NoPrimary { primary, count } => {
                write!(f, "the keyset's primary key is number {primary} of {count}")
            }
            Self::TooLong(octets) => write!(f, "{octets} octets follow the keyset's last key"),
        }
    }
}

impl core::error::Error for BadKeysetFile {}

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
    fn upstream_s_format_is_read_and_written() {
        let stored = StoredKeyset::parse(&file(), 7).unwrap();
        assert_eq!(
            (stored.stored, stored.keyset.primary_id()),
            (1_700_000_000, 7)
        );
        assert_eq!(*stored.emit(), file());
        let keys = session(AeadAlgorithm::AesSivCmac256);
        let cookie = Keyset::of(7, 0, [secret(3)])
            .seal_cookie(&keys, [1; 16])
            .unwrap();
        assert!(opens(&stored.keyset, cookie.octets(), &keys));

        let fewer = StoredKeyset::parse(&file(), 1).unwrap().keyset;
        assert_eq!((fewer.len(), fewer.primary_id()), (2, 7));
        assert!(opens(&fewer, cookie.octets(), &keys));
    }

    #[test]
    fn a_damaged_file_is_refused_by_name() {
        let with = |at: usize, value: u32| {
            let mut octets = file();
            octets[at..at + 4].copy_from_slice(&value.to_be_bytes());
            StoredKeyset::parse(&octets, 7).err()
        };
        let no_primary = BadKeysetFile::NoPrimary {
            primary: 3,
            count: 3,
        };
        assert_eq!(with(12, 3), Some(no_primary));
        assert_eq!(with(16, 4), Some(BadKeysetFile::Truncated));
        assert_eq!(
            with(16, u32::MAX),
            Some(BadKeysetFile::TooManyKeys(u32::MAX))
        );
        let longer = [&file()[..], &[0]].concat();
        assert_eq!(
            StoredKeyset::parse(&longer, 7).err(),
            Some(BadKeysetFile::TooLong(1))
        );
        for length in 0..file().len() {
            assert_eq!(
                StoredKeyset::parse(&file()[..length], 7).err(),
                Some(BadKeysetFile::Truncated)
            );
        }
        let none = StoredKeyset::parse(&[0; 20], 7).err();
        assert_eq!(
            none,
            Some(BadKeysetFile::NoPrimary {
                primary: 0,
                count: 0
            })
        );
    }
}
