//! The server's master keys, and the cookies sealed with them.
//!
//! # A cookie
//! ```text
//! | key number: 32 bits | length of tag and ciphertext: 16 bits | nonce: 16 octets |
//! | tag: 16 octets | encrypted: | algorithm: 16 bits | s2c key | c2s key |
//! ```
//! sealed with AES-SIV-CMAC-512. This is upstream's format, so an operator can switch between the
//! two without affecting clients. A cookie has 104 octets for AES-SIV-CMAC-256, 168 for -512 and 72
//! for AES-128-GCM-SIV. Octets after a cookie are ignored, because extension fields are padded.
//!
//! # Rotation
//! New cookies are sealed with the *primary* key. A client may use a cookie long after it was
//! issued, so a number of older keys is kept; the keyset of a [fleet](super::Fleet) also contains
//! the next key, which a server with a faster clock may already use. Keys are numbered
//! consecutively, and a keyset is a contiguous range of numbers.
//!
//! A keyset is immutable: [`Keyset::rotated`] returns the next one, which replaces the current one
//! behind an `Arc`. Keys in both are shared.

use core::fmt;
use std::sync::Arc;

use aes::Aes256Enc;
use zeroize::Zeroizing;

use super::siv::{BLOCK, Siv};
use super::{AeadAlgorithm, Direction, SessionKeys};

/// The secret of a master key. Wiped on drop, never printed.
pub struct MasterSecret(pub(super) Zeroizing<[u8; Self::LENGTH]>);

impl MasterSecret {
    /// Length of the secret in octets.
    pub const LENGTH: usize = 64;

    /// Creates a secret from 64 unpredictable octets.
    pub fn new(octets: [u8; Self::LENGTH]) -> Self {
        Self(Zeroizing::new(octets))
    }
}

impl fmt::Debug for MasterSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterSecret")
    }
}

/// An expanded master key.
struct MasterKey {
    secret: MasterSecret,
    cipher: Siv<Aes256Enc>,
}

impl MasterKey {
    fn new(secret: MasterSecret) -> Option<Arc<Self>> {
        let cipher = Siv::new(&*secret.0)?;
        Some(Arc::new(Self { secret, cipher }))
    }
}

/// The master keys of a server at one time. Clones share the keys.
#[derive(Clone)]
pub struct Keyset {
    /// Number of the first key.
    offset: u32,
    /// Index of the key that seals new cookies.
    primary: usize,
    /// In order of number, consecutive. Empty if there are no keys yet.
    keys: Vec<Arc<MasterKey>>,
}

impl Keyset {
    /// Maximum number of keys; the oldest ones beyond it are dropped.
    pub const MAX_KEYS: usize = 256;
    /// Length before the nonce, in octets.
    const PREFIX: usize = 6;
    const NONCE: usize = 16;

    /// No keys: no cookie can be sealed or opened. The initial keyset of a server of a fleet, until
    /// its clock is synchronised.
    pub const EMPTY: Self = Self {
        offset: 0,
        primary: 0,
        keys: Vec::new(),
    };

    /// One key, with number 0.
    pub fn new(first: MasterSecret) -> Self {
        Self::from_secrets(0, 0, [first])
    }

    /// Keys numbered from `offset`. Empty if `primary` is not the index of one of them.
    pub(super) fn from_secrets(
        offset: u32,
        primary: usize,
        secrets: impl IntoIterator<Item = MasterSecret>,
    ) -> Self {
        let keys: Vec<_> = secrets
            .into_iter()
            .take(Self::MAX_KEYS)
            .filter_map(MasterKey::new)
            .collect();
        if primary < keys.len() {
            Self {
                offset,
                primary,
                keys,
            }
        } else {
            Self::EMPTY
        }
    }

    /// The next keyset: a new primary key, and the last `stale` keys of this one to open earlier
    /// cookies.
    #[must_use]
    pub fn rotated(&self, next: MasterSecret, stale: usize) -> Self {
        let forgotten = self
            .keys
            .len()
            .saturating_sub(stale.min(Self::MAX_KEYS - 1));
        let kept = self.keys.get(forgotten..).unwrap_or_default();
        let keys: Vec<_> = kept.iter().cloned().chain(MasterKey::new(next)).collect();
        Self {
            // Fewer than 2^32 keys are dropped at a time.
            offset: self.offset.wrapping_add(forgotten as u32),
            primary: keys.len().saturating_sub(1),
            keys,
        }
    }

    /// Whether there are no keys.
    pub const fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Number of keys.
    pub const fn len(&self) -> usize {
        self.keys.len()
    }

    /// Number of the key that seals new cookies; meaningless if the keyset is empty.
    pub const fn primary_id(&self) -> u32 {
        self.offset.wrapping_add(self.primary as u32)
    }

    /// Length of a cookie for keys of this algorithm, in octets.
    pub const fn cookie_length(algorithm: AeadAlgorithm) -> usize {
        Self::PREFIX + Self::NONCE + BLOCK + 2 + 2 * algorithm.key_length()
    }

    /// Writes a cookie into the first octets of `room` and returns its length. `None` if there are
    /// no keys or `room` is too short.
    ///
    /// `nonce` must be random. Reusing one would only reveal that two cookies contain the same
    /// keys.
    pub fn seal_cookie_into(
        &self,
        keys: &SessionKeys,
        nonce: [u8; 16],
        room: &mut [u8],
    ) -> Option<usize> {
        let master = self.keys.get(self.primary)?;
        let length = Self::cookie_length(keys.algorithm());
        let (prefix, rest) = room.get_mut(..length)?.split_first_chunk_mut::<6>()?;
        let (nonce_room, sealed) = rest.split_first_chunk_mut::<{ Self::NONCE }>()?;
        let [i0, i1, i2, i3] = self.primary_id().to_be_bytes();
        // The keys of every algorithm are much shorter than 2^16 octets.
        let [l0, l1] = (sealed.len() as u16).to_be_bytes();
        *prefix = [i0, i1, i2, i3, l0, l1];
        *nonce_room = nonce;
        let (tag, text) = sealed.split_first_chunk_mut::<BLOCK>()?;
        let (algorithm, both) = text.split_first_chunk_mut()?;
        *algorithm = keys.algorithm().id().to_be_bytes();
        let (s2c, c2s) = both.split_at_mut_checked(keys.algorithm().key_length())?;
        s2c.copy_from_slice(keys.key(Direction::ServerToClient));
        c2s.copy_from_slice(keys.key(Direction::ClientToServer));
        *tag = master.cipher.seal(&[&[], &nonce], text);
        Some(length)
    }

    /// A new cookie with these keys, for a client after a key exchange. `None` if there are no keys
    /// yet.
    pub fn seal_cookie(&self, keys: &SessionKeys, nonce: [u8; 16]) -> Option<super::Cookie> {
        let mut room = [0; Self::cookie_length(AeadAlgorithm::AesSivCmac512)];
        let length = self.seal_cookie_into(keys, nonce, &mut room)?;
        super::Cookie::new(room.get(..length)?)
    }

    /// The keys in a cookie. `None` if it is not ours, or its key was dropped.
    pub fn open_cookie(&self, cookie: &[u8]) -> Option<SessionKeys> {
        let (id, rest) = cookie.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let (nonce, rest) = rest.split_first_chunk::<{ Self::NONCE }>()?;
        let (tag, rest) = rest.split_first_chunk::<BLOCK>()?;
        let length = usize::from(u16::from_be_bytes(*length)).checked_sub(BLOCK)?;
        let sealed = rest.get(..length)?;
        let index = u32::from_be_bytes(*id).wrapping_sub(self.offset);
        let master = self.keys.get(usize::try_from(index).ok()?)?;
        // Length of the longest plaintext ever sealed; a longer one is not ours.
        let mut text = Zeroizing::new([0; 2 + 2 * SessionKeys::MAX_LENGTH]);
        let text = text.get_mut(..length)?;
        text.copy_from_slice(sealed);
        master.cipher.open(&[&[], nonce], tag, text).ok()?;
        let (algorithm, keys) = text.split_first_chunk()?;
        let algorithm = AeadAlgorithm::from_id(u16::from_be_bytes(*algorithm))?;
        let (s2c, c2s) = keys.split_at_checked(keys.len() / 2)?;
        SessionKeys::new(algorithm, c2s, s2c)
    }

    pub(super) const fn offset(&self) -> u32 {
        self.offset
    }

    pub(super) const fn primary(&self) -> usize {
        self.primary
    }

    pub(super) fn secrets(&self) -> impl Iterator<Item = &MasterSecret> {
        self.keys.iter().map(|key| &key.secret)
    }
}

/// Shows the numbers of the keys.
impl fmt::Debug for Keyset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyset")
            .field("first", &self.offset)
            .field("keys", &self.keys.len())
            .field("primary", &self.primary)
            .finish()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    pub(in super::super) fn secret(fill: u8) -> MasterSecret {
        MasterSecret::new([fill; MasterSecret::LENGTH])
    }

    pub(in super::super) fn session(algorithm: AeadAlgorithm) -> SessionKeys {
        let length = algorithm.key_length();
        SessionKeys::new(algorithm, &vec![3; length], &vec![4; length]).unwrap()
    }

    pub(in super::super) fn opens(keyset: &Keyset, cookie: &[u8], keys: &SessionKeys) -> bool {
        keyset.open_cookie(cookie).is_some_and(|opened| {
            opened.algorithm() == keys.algorithm()
                && [Direction::ClientToServer, Direction::ServerToClient]
                    .iter()
                    .all(|way| opened.key(*way) == keys.key(*way))
        })
    }

    #[test]
    fn a_cookie_contains_its_keys() {
        let keyset = Keyset::new(secret(1));
        for (algorithm, length) in [
            (AeadAlgorithm::AesSivCmac256, 104),
            (AeadAlgorithm::AesSivCmac512, 168),
            (AeadAlgorithm::Aes128GcmSiv, 72),
        ] {
            let keys = session(algorithm);
            let cookie = keyset.seal_cookie(&keys, [9; 16]).unwrap();
            assert_eq!(cookie.octets().len(), length);
            assert!(opens(&keyset, cookie.octets(), &keys));
            let padded = [cookie.octets(), &[0; 4]].concat();
            assert!(opens(&keyset, &padded, &keys), "padding is ignored");
            let other = Keyset::new(secret(2));
            assert!(other.open_cookie(cookie.octets()).is_none());
            let mut small = vec![0; length - 1];
            assert_eq!(keyset.seal_cookie_into(&keys, [9; 16], &mut small), None);
        }
        assert!(
            Keyset::EMPTY
                .seal_cookie(&session(AeadAlgorithm::AesSivCmac256), [0; 16])
                .is_none()
        );
    }

    #[test]
    fn a_cookie_with_any_flipped_bit_is_refused() {
        let keyset = Keyset::new(secret(1));
        let keys = session(AeadAlgorithm::AesSivCmac256);
        let cookie = keyset.seal_cookie(&keys, [9; 16]).unwrap();
        for bit in 0..cookie.octets().len() * 8 {
            let mut damaged = cookie.octets().to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(keyset.open_cookie(&damaged).is_none(), "bit {bit}");
        }
        for length in 0..cookie.octets().len() {
            assert!(keyset.open_cookie(&cookie.octets()[..length]).is_none());
        }
    }

    #[test]
    fn a_cookie_is_accepted_for_as_many_rotations_as_keys_are_kept() {
        for stale in [0, 1, 7] {
            let mut keyset = Keyset::from_secrets(u32::MAX - 1, 0, [secret(0)]);
            let keys = session(AeadAlgorithm::Aes128GcmSiv);
            let cookie = keyset.seal_cookie(&keys, [0; 16]).unwrap();
            for rotation in 1..=10 {
                keyset = keyset.rotated(secret(rotation), stale);
                assert_eq!(
                    keyset.primary_id(),
                    (u32::MAX - 1).wrapping_add(rotation.into())
                );
                assert_eq!(
                    keyset.open_cookie(cookie.octets()).is_some(),
                    usize::from(rotation) <= stale
                );
                let fresh = keyset.seal_cookie(&keys, [0; 16]).unwrap();
                assert!(opens(&keyset, fresh.octets(), &keys));
            }
        }
    }

    #[test]
    fn the_number_of_keys_is_limited() {
        let mut keyset = Keyset::new(secret(0));
        for _ in 0..2 * Keyset::MAX_KEYS {
            keyset = keyset.rotated(secret(1), usize::MAX);
        }
        assert_eq!(keyset.len(), Keyset::MAX_KEYS);
    }

    proptest! {
        #[test]
        fn random_octets_are_not_a_cookie(octets in vec(any::<u8>(), 0..300)) {
            // With a valid key number and length, so that the tag is checked.
            let mut octets = octets;
            prop_assert!(Keyset::new(secret(1)).open_cookie(&octets).is_none());
            if octets.len() > 38 {
                octets[..4].fill(0);
                let length = (octets.len() - 22) as u16;
                octets[4..6].copy_from_slice(&length.to_be_bytes());
                prop_assert!(Keyset::new(secret(1)).open_cookie(&octets).is_none());
            }
        }
    }
}
