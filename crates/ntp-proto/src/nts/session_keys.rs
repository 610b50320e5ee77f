//! The two keys of a session (RFC 8915 section 5.1).

use core::fmt;

use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::AeadAlgorithm;

/// Under which TLS exports the keys (RFC 8915 section 4.3).
pub const EXPORTER_LABEL: &[u8] = b"EXPORTER-network-time-security";

/// Which way a key protects packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Requests.
    ClientToServer,
    /// Replies.
    ServerToClient,
}

/// The context with which TLS exports a key: next protocol (0 for NTPv4), algorithm and direction.
///
/// To agree with chrony 4.4 to 4.6.0 about AES-128-GCM-SIV, ask for a second pair of keys in the context of
/// [`AeadAlgorithm::AesSivCmac256`], of 16 octets each: those versions put that algorithm's number here
/// whatever was negotiated. [`KeyExchangeResult::legacy_keys`](super::KeyExchangeResult::legacy_keys) tells when.
pub fn exporter_context(protocol: u16, algorithm: AeadAlgorithm, direction: Direction) -> [u8; 5] {
    let [p0, p1] = protocol.to_be_bytes();
    let [a0, a1] = algorithm.id().to_be_bytes();
    let direction = match direction {
        Direction::ClientToServer => 0,
        Direction::ServerToClient => 1,
    };
    [p0, p1, a0, a1, direction]
}

/// Both keys of a session. They are wiped when dropped, and never printed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SessionKeys {
    #[zeroize(skip)]
    algorithm: AeadAlgorithm,
    /// Of each, the first [`AeadAlgorithm::key_length`] octets; the rest is zero.
    c2s: [u8; Self::LONGEST],
    s2c: [u8; Self::LONGEST],
}

impl SessionKeys {
    /// Octets of the longest key.
    pub(super) const LONGEST: usize = 64;

    /// Keys as TLS exported them. `None` if they are not of the algorithm's length.
    pub fn new(algorithm: AeadAlgorithm, c2s: &[u8], s2c: &[u8]) -> Option<Self> {
        let length = algorithm.key_length();
        if c2s.len() != length || s2c.len() != length {
            return None;
        }
        let mut keys = Self {
            algorithm,
            c2s: [0; Self::LONGEST],
            s2c: [0; Self::LONGEST],
        };
        keys.c2s.get_mut(..length)?.copy_from_slice(c2s);
        keys.s2c.get_mut(..length)?.copy_from_slice(s2c);
        Some(keys)
    }

    /// The cipher that they are for.
    pub const fn algorithm(&self) -> AeadAlgorithm {
        self.algorithm
    }

    /// The key of one direction.
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

/// Names the algorithm only.
impl fmt::Debug for SessionKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionKeys({:?})", self.algorithm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_context_is_that_of_rfc_8915_section_5_1() {
        use AeadAlgorithm::{Aes128GcmSiv, AesSivCmac256};
        let context = exporter_context(0, AesSivCmac256, Direction::ClientToServer);
        assert_eq!(context, [0, 0, 0, 15, 0]);
        let context = exporter_context(0x8001, Aes128GcmSiv, Direction::ServerToClient);
        assert_eq!(context, [0x80, 1, 0, 30, 1]);
    }

    #[test]
    fn keys_have_the_algorithm_s_length_and_are_never_printed() {
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
