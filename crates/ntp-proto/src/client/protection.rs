//! How an association proves its packets and has the server prove its own.
//!
//! # The seam
//! An [`Association`](super::Association) knows what a request says; a [`Protection`] knows which octets say it, and whether a reply was
//! written by somebody who holds the same secret:
//!
//! ```text
//! header -> Protection::request -> octets on the wire
//! packet -> Protection::check   -> believed, or why not
//! ```
//!
//! At most one exchange is open at a time, so whatever a reply has to be held against may be kept in here.
//!
//! # What a failed check does
//! Nothing. A reply that carries our nonce but no proof may have been written by anyone on the path, so it neither uses up the
//! exchange nor counts against the server; the real answer is still waited for. The same goes for a crypto-NAK (RFC 5905
//! section 9.2), by which a server says that it cannot verify us: it is itself unproved, so it is counted and
//! told, and nothing is done about it.
//!
//! # NTS
//! See [`NtsSession`].
//!
//! # Symmetric keys
//! The key belongs to the source, and its number with it: a reply under any other number is unproved even if that number names
//! a key that we hold (RFC 5905 section 9.2). Requests are of version 4, so digests are cut to 20 octets.

use core::fmt;
use std::sync::Arc;

use rand_core::RngCore;

use super::{NtsSession, Rejection};
use crate::keys::{Algorithm, Key, KeyId};
use crate::nts::AeadAlgorithm;
use crate::wire::{Header, Mac, Packet, Writer, emit};

/// How an association's packets are authenticated.
#[derive(Clone, Debug, Default)]
pub enum Protection {
    /// Not at all: whoever sees a request can answer it.
    #[default]
    None,
    /// By a secret that we share with the server.
    Symmetric(Arc<Key>),
    /// By the keys and cookies of a key exchange (RFC 8915).
    Nts(Box<NtsSession>),
}

/// How an association's packets are authenticated, without any secret: for readers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authentication {
    /// Not at all.
    None,
    /// By a symmetric key.
    Symmetric {
        /// Its number.
        id: KeyId,
        /// Its type.
        algorithm: Algorithm,
    },
    /// By NTS.
    Nts {
        /// The cipher.
        algorithm: AeadAlgorithm,
        /// Cookies left, of eight.
        cookies: usize,
    },
}

/// What a reply to the open exchange proved. Kept for a record of the engine's inputs: whoever replays that has no keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Evidence {
    /// The question did not come up: it answered nothing of ours, or could not be read.
    #[default]
    Unasked,
    /// The server wrote it, as far as the source's protection tells.
    Authentic {
        /// Cookies that it brought and that were taken.
        cookies: usize,
    },
    /// It refuses our key or cookie, which anybody can write.
    Refusal,
    /// Anybody may have written it.
    Nothing,
}

impl Evidence {
    pub(super) fn of(verdict: Result<usize, Rejection>) -> Self {
        match verdict {
            Ok(cookies) => Self::Authentic { cookies },
            Err(Rejection::CryptoNak | Rejection::NtsNak) => Self::Refusal,
            Err(_) => Self::Nothing,
        }
    }
}

impl Protection {
    /// The datagram that says `header`. `None` if there is nothing left to prove it with.
    pub(super) fn request(&mut self, header: &Header, rng: &mut impl RngCore) -> Option<Vec<u8>> {
        Some(match self {
            Self::None => written(header, None),
            Self::Symmetric(key) => {
                let blank = key.sign(&[]);
                let digest = blank.version_4();
                let mac = Mac {
                    key_id: key.id(),
                    digest,
                };
                let mut octets = written(header, Some(mac));
                if let Some((covered, place)) = Mac::divide(&mut octets, digest.len()) {
                    place.copy_from_slice(key.sign(covered).version_4());
                }
                octets
            }
            Self::Nts(session) => return session.request(header, rng),
        })
    }

    /// Whether a packet that answers the open exchange was written by the server. Returns how many cookies it brought.
    ///
    /// # Errors
    /// [`Rejection::Unauthenticated`] if anybody could have written it, [`Rejection::CryptoNak`] if it says that our request could not be
    /// verified.
    pub(super) fn check(&mut self, packet: &Packet<'_>) -> Result<usize, Rejection> {
        if let Self::Nts(session) = self {
            return session.check(packet);
        }
        if packet.mac.is_some_and(|mac| mac.is_crypto_nak()) {
            return Err(Rejection::CryptoNak);
        }
        let proved = match (self, packet.mac) {
            (Self::None, _) => true,
            (Self::Symmetric(key), Some(mac)) => {
                mac.key_id == key.id() && key.verify(packet.authenticated(), mac.digest)
            }
            (Self::Symmetric(_) | Self::Nts(_), _) => false,
        };
        proved.then_some(0).ok_or(Rejection::Unauthenticated)
    }
}

impl Protection {
    /// What it is, without the secrets.
    pub fn authentication(&self) -> Authentication {
        match self {
            Self::None => Authentication::None,
            Self::Symmetric(key) => Authentication::Symmetric {
                id: key.id(),
                algorithm: key.algorithm(),
            },
            Self::Nts(session) => Authentication::Nts {
                algorithm: session.algorithm(),
                cookies: session.cookies(),
            },
        }
    }

    /// The NTS session, if that is what it is.
    pub fn nts(&self) -> Option<&NtsSession> {
        match self {
            Self::Nts(session) => Some(session),
            Self::None | Self::Symmetric(_) => None,
        }
    }
}

/// Whether they are the same secret.
impl PartialEq for Protection {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::None, Self::None) => true,
            (Self::Symmetric(one), Self::Symmetric(other)) => one == other,
            (Self::Nts(one), Self::Nts(other)) => one.keys() == other.keys(),
            _ => false,
        }
    }
}

impl Eq for Protection {}

/// `none`, or for example `key 7 (AES128)` or `NTS (AES-SIV-CMAC-256)`.
impl fmt::Display for Authentication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Symmetric { id, algorithm } => write!(f, "key {id} ({algorithm})"),
            Self::Nts { algorithm, .. } => write!(f, "NTS ({algorithm})"),
        }
    }
}

/// A packet without extension fields.
fn written(header: &Header, mac: Option<Mac<'_>>) -> Vec<u8> {
    let mut octets = vec![0; Header::LEN + mac.map_or(0, |mac| mac.length())];
    let emitted = emit(header, None, mac, &mut Writer::new(&mut octets));
    debug_assert!(emitted.is_ok(), "it has room and a digest of version 4");
    octets
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha12Rng;
    use rand_core::SeedableRng;

    use super::*;
    use crate::keys::Algorithm;
    use crate::wire::{Mode, Version};

    fn key(id: u32, algorithm: Algorithm) -> Arc<Key> {
        let secret = [7; 32];
        let length = algorithm.secret_length().unwrap_or(20);
        Arc::new(Key::new(id, algorithm, &secret[..length]).unwrap())
    }

    fn signed(key: &Arc<Key>) -> Vec<u8> {
        Protection::Symmetric(Arc::clone(key))
            .request(
                &Header::blank(Version::V4, Mode::Server),
                &mut ChaCha12Rng::from_seed([1; 32]),
            )
            .unwrap()
    }

    fn verdict(protection: &Protection, octets: &[u8]) -> Result<(), Rejection> {
        let packet = Packet::parse(octets).unwrap();
        protection.clone().check(&packet).map(|_| ())
    }

    #[test]
    fn every_kind_of_key_proves_a_packet_that_version_4_can_carry() {
        for algorithm in Algorithm::ALL {
            let ours = key(5, algorithm);
            let mut octets = signed(&ours);
            assert!(octets.len() <= Header::LEN + 24, "{algorithm}");
            let protection = Protection::Symmetric(ours);
            assert_eq!(verdict(&protection, &octets), Ok(()), "{algorithm}");
            octets[40] ^= 1;
            assert_eq!(
                verdict(&protection, &octets),
                Err(Rejection::Unauthenticated)
            );
        }
    }

    #[test]
    fn another_number_proves_nothing_even_with_the_same_secret() {
        let protection = Protection::Symmetric(key(5, Algorithm::Sha1));
        let other = signed(&key(6, Algorithm::Sha1));
        assert_eq!(
            verdict(&protection, &other),
            Err(Rejection::Unauthenticated)
        );
        let bare = written(&Header::blank(Version::V4, Mode::Server), None);
        assert_eq!(verdict(&protection, &bare), Err(Rejection::Unauthenticated));
    }

    #[test]
    fn a_crypto_nak_is_told_from_a_missing_proof() {
        let nak = written(
            &Header::blank(Version::V4, Mode::Server),
            Some(Mac::CRYPTO_NAK),
        );
        let keyed = Protection::Symmetric(key(5, Algorithm::Sha1));
        for protection in [Protection::None, keyed] {
            assert_eq!(verdict(&protection, &nak), Err(Rejection::CryptoNak));
        }
    }

    #[test]
    fn protections_are_equal_if_their_secrets_are() {
        let of = |key| Protection::Symmetric(key);
        assert_eq!(of(key(5, Algorithm::Sha1)), of(key(5, Algorithm::Sha1)));
        assert_ne!(of(key(5, Algorithm::Sha1)), of(key(6, Algorithm::Sha1)));
        assert_ne!(of(key(5, Algorithm::Sha1)), of(key(5, Algorithm::Md5)));
        let other = Key::new(5, Algorithm::Sha1, b"other").unwrap();
        assert_ne!(of(key(5, Algorithm::Sha1)), of(Arc::new(other)));
    }
}
