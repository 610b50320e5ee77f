//! Policy of a listening address: which requests it answers, and how. Changes only with the
//! configuration.

use crate::keys::KeyRing;
use crate::wire::Version;
use crate::wire::v5::SupportedVersions;

use super::{Access, RateLimit, Refusal};

/// Policy of one listening address. Plain data; [`Policy::default`] serves all clients.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Clients that are answered.
    pub access: Access,
    /// Accepted versions of the protocol.
    pub versions: Versions,
    /// Rate limit per client.
    pub rate_limit: RateLimit,
    /// Symmetric keys that clients may use; if there are none, MACs are ignored.
    pub keys: KeyRing,
    /// How requests without NTS are refused; `None` answers them.
    pub require_nts: Option<Refusal>,
    /// Transmit timestamps that each worker keeps for clients in interleaved mode; 0 disables the
    /// mode.
    pub interleaved_pairs: usize,
    /// Number of client addresses that all workers together record in their
    /// [`ClientList`](super::ClientList)s; 0 disables the lists. [`respond`](super::respond) does
    /// not use it: the owner of a list records the verdicts.
    pub client_list_size: usize,
}

impl Policy {
    /// Default of [`interleaved_pairs`](Self::interleaved_pairs): enough for as many clients in
    /// interleaved mode on each worker; 96 kB.
    pub const INTERLEAVED_PAIRS: usize = 4096;
    /// Largest number of pairs of a worker; 24 MB.
    pub const MAX_INTERLEAVED_PAIRS: usize = super::interleaved::MAX_PAIRS;
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            access: Access::allow_all(),
            versions: Versions::UP_TO_4,
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
    /// No version: nothing is answered.
    pub const NONE: Self = Self(0);
    /// Versions 1 to 4, the default: version 5 is a draft.
    pub const UP_TO_4: Self = Self::NONE
        .with(Version::V1)
        .with(Version::V2)
        .with(Version::V3)
        .with(Version::V4);

    /// Returns the set with `version` added.
    #[must_use]
    pub const fn with(self, version: Version) -> Self {
        Self(self.0 | 1 << version.number())
    }

    /// The set as a server information field of version 5 states it: bit v - 1 is version v.
    pub(super) const fn supported(self) -> SupportedVersions {
        SupportedVersions::from_bits(self.0 as u16 >> 1)
    }

    /// Whether the set contains `version`.
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
    fn a_set_contains_the_versions_added_to_it() {
        let only_v4: Versions = [Version::V4].into_iter().collect();
        assert!(only_v4.contains(Version::V4) && !only_v4.contains(Version::V3));
        assert!(Versions::UP_TO_4.contains(Version::V3));
        assert_eq!(Versions::default(), Versions::NONE);
    }
}
