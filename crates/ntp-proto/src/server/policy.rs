//! Who is served and how: what changes only when an operator changes it.

use crate::keys::KeyRing;
use crate::wire::Version;

use super::{Access, RateLimit, Refusal};

/// The rules of one listening address. Plain data; start from [`Policy::default`], which serves everybody.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Whom it answers.
    pub access: Access,
    /// Which versions of the protocol.
    pub versions: Versions,
    /// How often.
    pub rate_limit: RateLimit,
    /// Keys that clients may use; without any, MACs are not looked at.
    pub keys: KeyRing,
    /// What is done with requests without NTS; `None` answers them.
    pub require_nts: Option<Refusal>,
    /// Transmit stamps that each worker keeps for clients in interleaved mode; 0 switches the mode off.
    pub interleaved_pairs: usize,
    /// Client addresses that all workers remember together, in a [`ClientList`](super::ClientList) each; 0 remembers none. [`respond`](super::respond) has nothing to do
    /// with it: whoever owns the lists enters what it says.
    pub client_list_size: usize,
}

impl Policy {
    /// Enough for as many clients in interleaved mode on each worker; 96 kB.
    pub const INTERLEAVED_PAIRS: usize = 4096;
    /// The most that each worker keeps; 24 MB.
    pub const MOST_INTERLEAVED_PAIRS: usize = super::interleaved::MOST_PAIRS;
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            access: Access::everybody(),
            versions: Versions::ALL,
            rate_limit: RateLimit::NONE,
            keys: KeyRing::default(),
            require_nts: None,
            interleaved_pairs: Self::INTERLEAVED_PAIRS,
            client_list_size: 0,
        }
    }
}

/// A set of protocol versions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Versions(u8);

impl Versions {
    /// None: nothing is answered.
    pub const NONE: Self = Self(0);
    /// All that are spoken.
    pub const ALL: Self = Self::NONE.with(Version::V3).with(Version::V4);

    /// These and `version`.
    #[must_use]
    pub const fn with(self, version: Version) -> Self {
        Self(self.0 | 1 << version.number())
    }

    /// Whether `version` is one of them.
    pub const fn contains(self, version: Version) -> bool {
        self.0 >> version.number() & 1 == 1
    }
}

impl FromIterator<Version> for Versions {
    fn from_iter<I: IntoIterator<Item = Version>>(versions: I) -> Self {
        versions.into_iter().fold(Self::NONE, Self::with)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_of_versions_holds_what_was_put_in() {
        let only_v4: Versions = [Version::V4].into_iter().collect();
        assert!(only_v4.contains(Version::V4) && !only_v4.contains(Version::V3));
        assert!(Versions::ALL.contains(Version::V3));
        assert_eq!(Versions::default(), Versions::NONE);
    }
}
