//! The two keys of a session (RFC 8915 section 5.1).

use core::fmt;

use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::AeadAlgorithm;

/// Label with which TLS exports the keys (RFC 8915 section 4.3).
pub const EXPORTER_LABEL: &[u8] = b"EXPORTER-network-time-security";

/// The direction of packets that a key authenticates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Requests.
    ClientToServer,
    /// Replies.
    ServerToClient,
}

/// Context with which TLS exports a key: next protocol (0 for NTPv4), algorithm and direction.
///
/// To agree with chrony 4.4 to 4.6.0 on AES-128-GCM-SIV, export a second pair of keys, of 16 octets
/// each, in the context of [`AeadAlgorithm::AesSivCmac256`]: those versions use that algorithm's
/// number whatever was negotiated. See
/// [`KeyExchangeResult::legacy_keys`](super::KeyExchangeResult::legacy_keys).
pub fn exporter_context(protocol: u16, algorithm: AeadAlgorithm, direction: Direction) -> [u8; 5] {
    let [p0, p1] = protocol.to_be_bytes();
    let [a0, a1] = algorithm.id().to_be_bytes();
    let direction = match direction {
        Direction::ClientToServer => 0,
        Direction::ServerToClient => 1,
    };
    [p0, p1, a0, a1, direction]
}

/// Both keys of a session. Wiped on drop, never printed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SessionKeys {
    #[zeroize(skip)]
    algorithm: AeadAlgorithm,
    /// The first [`AeadAlgorithm::key_length`] octets are the key; the rest is zero.
    c2s: [u8; Self::MAX_LENGTH],
    s2c: [u8; Self::MAX_LENGTH],
}

impl SessionKeys {
    /// Length of the longest key in octets.
    pub(super) const MAX_LENGTH: usize = 64;

    /// Keys as exported by TLS. `None` if they do not have the algorithm's key length.
    pub fn new(algorithm: AeadAlgorithm, c2s: &[u8], s2c: &[u8]) -> Option<Self> {
        let length = algorithm.key_length();
        if c2s.len() != length || s2c.len() != length {
            return None;
        }
        let mut keys = Self {
            algorithm,
            c2s: [0; Self::MAX_LENGTH],
            s2c: [0; Self::MAX_LENGTH],
        };
        keys.c2s.get_mut(..length)?.copy_from_slice(c2s);
        keys.s2c.get_mut(..length)?.copy_from_slice(s2c);
        Some(keys)
    }

    /// Keys from one sequence of octets: first `c2s`, then `s2c`. `None` if its length is not twice
    /// the algorithm's key length.
    pub fn from_pair(algorithm: AeadAlgorithm, octets: &[u8]) -> Option<Self> {
        let (c2s, s2c) = octets.split_at_checked(algorithm.key_length())?;
        Self::new(algorithm, c2s, s2c)
    }

    /// Algorithm of the keys.
    pub const fn algorithm(&self) -> AeadAlgorithm {
        self.algorithm
    }

    /// Key of one direction.
    pub fn key(&self, direction: Direction) -> &[u8] {
        let key = match direction {
            Direction::ClientToServer => &self.c2s,
            Direction::ServerToClient => &self.s2c,
        };
        key.get(..self.algorithm.key_length()).unwrap_or_default()
    }
}

/// Compared in constant time.
impl PartialEq for SessionKeys {
    fn eq(&self, other: &Self) -> bool {
        let same = self.c2s.ct_eq(&other.c2s) & self.s2c.ct_eq(&other.s2c);
        self.algorithm == other.algorithm && bool::from(same)
    }
}

impl Eq for SessionKeys {}

/// Shows the algorithm only.
impl fmt::Debug for SessionKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionKeys({:?})", self.algorithm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exporter_context_is_that_of_rfc_8915_section_5_1() {
        use AeadAlgorithm::{Aes128GcmSiv, AesSivCmac256};
        let context = exporter_context(0, AesSivCmac256, Direction::ClientToServer);
        assert_eq!(context, [0, 0, 0, 15, 0]);
        let context = exporter_context(0x8001, Aes128GcmSiv, Direction::ServerToClient);
        assert_eq!(context, [0x80, 1, 0, 30, 1]);
    }

    #[test]
    fn keys_have_the_length_of_the_algorithm_and_are_not_printed() {
        for algorithm in AeadAlgorithm::ALL {
            assert_eq!(AeadAlgorithm::from_id(algorithm.id()), Some(algorithm));
            let length = algorithm.key_length();
            let keys = SessionKeys::new(algorithm, &vec![1; length], &vec![2; length]).unwrap();
            assert_eq!(keys.key(Direction::ClientToServer), vec![1; length]);
            assert_eq!(keys.key(Direction::ServerToClient), vec![2; length]);
            assert_eq!(format!("{keys:?}"), format!("SessionKeys({algorithm:?})"));
            assert!(SessionKeys::new(algorithm, &vec![1; length + 1], &vec![2; length]).is_none());
            assert!(SessionKeys::new(algorithm, &vec![1; length], &[]).is_none());
        }
        assert_eq!(AeadAlgorithm::from_id(16), None);
    }
}
