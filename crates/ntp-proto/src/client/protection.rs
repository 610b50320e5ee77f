//! Authentication of the packets of an association, in both directions.
//!
//! # Interface
//! An [`Association`](super::Association) knows the content of a request; a [`Protection`] encodes
//! it, and checks whether a reply was written by a holder of the same secret:
//!
//! ```text
//! header -> Protection::request -> octets on the wire
//! packet -> Protection::check   -> authentic, or rejected
//! ```
//!
//! At most one exchange is open at a time, so the state for checking its reply is kept here.
//!
//! # Failed checks
//! A failed check has no effect. A reply with our nonce but without authentication may come from
//! anyone on the path, so it neither closes the exchange nor counts against the server; the
//! authentic reply is still accepted. The same applies to a crypto-NAK (RFC 5905 section 9.2), by
//! which a server reports that it cannot verify our request: it is itself not authenticated, so it
//! is counted and logged only.
//!
//! # NTS
//! See [`NtsSession`].
//!
//! # Symmetric keys
//! The key and its ID belong to the source: a reply under any other ID fails, even if that ID names
//! a key that we hold (RFC 5905 section 9.2). Digests are truncated to 20 octets in requests of
//! version 4, and whole in those of earlier versions.

use core::fmt;
use std::sync::Arc;

use ntp_types::status::KeyStatus;
use rand_core::RngCore;
use serde::{Deserialize, Serialize};

use super::v5::RequestFields;
use super::{NtsSession, Rejection};
use crate::keys::{Algorithm, Key, KeyId, Tag};
use crate::nts::AeadAlgorithm;
use crate::wire::{EmitError, Header, Mac, Packet, Version, Writer, emit, v5};

/// How an association's packets are authenticated.
#[derive(Clone, Debug, Default)]
pub enum Protection {
    /// No authentication: anyone who sees a request can reply to it.
    #[default]
    None,
    /// Symmetric key shared with the server.
    Symmetric(Arc<Key>),
    /// Keys and cookies of a key exchange (RFC 8915).
    Nts(Box<NtsSession>),
}

/// How an association's packets are authenticated, without any secret: for readers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authentication {
    /// No authentication.
    None,
    /// Symmetric key.
    Symmetric {
        /// ID of the key.
        id: KeyId,
        /// Type of the key.
        algorithm: Algorithm,
    },
    /// NTS.
    Nts {
        /// AEAD algorithm.
        algorithm: AeadAlgorithm,
        /// Unused cookies, at most eight.
        cookies: usize,
    },
}

/// Result of the authentication of a reply to the open exchange. Recorded with the engine's inputs,
/// since a replay has no keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Authenticity {
    /// Not checked: the datagram matched no open exchange or could not be parsed.
    #[default]
    NotChecked,
    /// Written by the server, as far as the protection can prove.
    Authentic {
        /// Number of cookies taken from it.
        cookies: usize,
    },
    /// An unauthenticated NAK for our key or cookie.
    Nak,
    /// Authentication failed.
    Unauthenticated,
}

impl Authenticity {
    pub(super) fn from_result(result: Result<usize, Rejection>) -> Self {
        match result {
            Ok(cookies) => Self::Authentic { cookies },
            Err(Rejection::CryptoNak | Rejection::UnexpectedNak | Rejection::NtsNak) => Self::Nak,
            Err(_) => Self::Unauthenticated,
        }
    }
}

impl Protection {
    /// Encodes a request with `header`. `None` if no NTS cookie is left.
    pub(super) fn request(&mut self, header: &Header, rng: &mut impl RngCore) -> Option<Vec<u8>> {
        Some(match self {
            Self::None => encode(header, None),
            Self::Symmetric(key) => {
                let blank = key.sign(&[]);
                let blank = digest(&blank, header.version);
                let mac = Mac {
                    key_id: key.id(),
                    digest: blank,
                };
                let mut octets = encode(header, Some(mac));
                if let Some((covered, place)) = Mac::split_packet(&mut octets, blank.len()) {
                    place.copy_from_slice(digest(&key.sign(covered), header.version));
                }
                octets
            }
            Self::Nts(session) => return session.request(header, rng),
        })
    }

    /// Encodes a request of version 5. `None` if no NTS cookie is left.
    pub(super) fn request_v5(
        &mut self,
        fields: &RequestFields,
        rng: &mut impl RngCore,
    ) -> Option<Vec<u8>> {
        let mut octets = fields.emit().ok()?;
        match self {
            Self::None => RequestFields::append_correction(&mut octets).ok()?,
            Self::Symmetric(key) => {
                let tag = key.sign(&octets);
                append_mac(&mut octets, key.id(), tag.whole()).ok()?;
            }
            Self::Nts(session) => return session.request_v5(&octets, rng),
        }
        Some(octets)
    }

    /// Like [`check`](Self::check), for a packet of version 5.
    pub(super) fn check_v5(&mut self, packet: &v5::Packet<'_>) -> Result<usize, Rejection> {
        if let Self::Nts(session) = self {
            return session.check_v5(packet);
        }
        let is_nak = packet.header.flags.authentication_nak;
        let authentic = match (&*self, packet.mac) {
            (Self::None, _) if is_nak => return Err(Rejection::UnexpectedNak),
            (Self::None, _) => true,
            (Self::Symmetric(key), Some(mac)) => {
                mac.key_id == key.id() && key.verify(packet.authenticated(), mac.digest)
            }
            (Self::Symmetric(_) | Self::Nts(_), _) => false,
        };
        match authentic {
            true => Ok(0),
            false if is_nak => Err(Rejection::CryptoNak),
            false => Err(Rejection::Unauthenticated),
        }
    }

    /// Checks whether a packet that matches the open exchange was written by the server. Returns
    /// the number of cookies taken from it.
    ///
    /// # Errors
    /// [`Rejection::Unauthenticated`] if authentication failed, [`Rejection::CryptoNak`] or
    /// [`Rejection::NtsNak`] if the server reports that it could not verify our request,
    /// [`Rejection::UnexpectedNak`] if there was nothing to verify.
    pub(super) fn check(&mut self, packet: &Packet<'_>) -> Result<usize, Rejection> {
        if let Self::Nts(session) = self {
            return session.check(packet);
        }
        if packet.mac.is_some_and(|mac| mac.is_crypto_nak()) {
            return Err(match self {
                Self::None => Rejection::UnexpectedNak,
                Self::Symmetric(_) | Self::Nts(_) => Rejection::CryptoNak,
            });
        }
        let authentic = match (self, packet.mac) {
            (Self::None, _) => true,
            (Self::Symmetric(key), Some(mac)) => {
                mac.key_id == key.id() && key.verify(packet.authenticated(), mac.digest)
            }
            (Self::Symmetric(_) | Self::Nts(_), _) => false,
        };
        authentic.then_some(0).ok_or(Rejection::Unauthenticated)
    }
}

impl Protection {
    /// Kind of authentication, without secrets.
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

    /// The key, without its secret.
    pub fn key_status(&self) -> Option<KeyStatus> {
        match self {
            Self::None => None,
            Self::Symmetric(key) => Some(KeyStatus {
                id: Some(key.id()),
                algorithm: key.algorithm().to_string(),
                bits: key.secret_bits() as u64,
                cookie_length: None,
            }),
            Self::Nts(session) => Some(KeyStatus {
                id: None,
                algorithm: session.algorithm().to_string(),
                bits: session.algorithm().key_length() as u64 * 8,
                cookie_length: session.cookie_length().map(|length| length as u64),
            }),
        }
    }

    /// The NTS session, if NTS is used.
    pub fn nts(&self) -> Option<&NtsSession> {
        match self {
            Self::Nts(session) => Some(session),
            Self::None | Self::Symmetric(_) => None,
        }
    }
}

/// Compares the secrets.
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

/// Formats as `none`, or for example `key 7 (AES128)` or `NTS (AES-SIV-CMAC-256)`.
impl fmt::Display for Authentication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Symmetric { id, algorithm } => write!(f, "key {id} ({algorithm})"),
            Self::Nts { algorithm, .. } => write!(f, "NTS ({algorithm})"),
        }
    }
}

/// Appends a MAC of version 5 to a request.
fn append_mac(request: &mut Vec<u8>, key_id: KeyId, digest: &[u8]) -> Result<(), EmitError> {
    let front = request.len();
    let mac = v5::Mac { key_id, digest };
    request.resize(front + mac.length(), 0);
    let place = request.get_mut(front..).unwrap_or_default();
    v5::Field::Mac(mac).emit(&mut Writer::new(place))
}

/// The digest as in packets of this version.
fn digest(tag: &Tag, version: Version) -> &[u8] {
    match version {
        Version::V4 => tag.version_4(),
        Version::V1 | Version::V2 | Version::V3 | Version::V5 => tag.whole(),
    }
}

/// Encodes a packet without extension fields.
fn encode(header: &Header, mac: Option<Mac<'_>>) -> Vec<u8> {
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
    fn every_key_type_authenticates_a_packet_of_version_4() {
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
    fn the_same_secret_under_another_key_id_is_rejected() {
        let protection = Protection::Symmetric(key(5, Algorithm::Sha1));
        let other = signed(&key(6, Algorithm::Sha1));
        assert_eq!(
            verdict(&protection, &other),
            Err(Rejection::Unauthenticated)
        );
        let bare = encode(&Header::blank(Version::V4, Mode::Server), None);
        assert_eq!(verdict(&protection, &bare), Err(Rejection::Unauthenticated));
    }

    #[test]
    fn a_crypto_nak_is_distinguished_from_a_missing_mac() {
        let nak = encode(
            &Header::blank(Version::V4, Mode::Server),
            Some(Mac::CRYPTO_NAK),
        );
        let keyed = Protection::Symmetric(key(5, Algorithm::Sha1));
        assert_eq!(verdict(&keyed, &nak), Err(Rejection::CryptoNak));
        assert_eq!(
            verdict(&Protection::None, &nak),
            Err(Rejection::UnexpectedNak),
            "no key can be wrong"
        );
    }

    #[test]
    fn protections_are_equal_if_their_secrets_are_equal() {
        let of = |key| Protection::Symmetric(key);
        assert_eq!(of(key(5, Algorithm::Sha1)), of(key(5, Algorithm::Sha1)));
        assert_ne!(of(key(5, Algorithm::Sha1)), of(key(6, Algorithm::Sha1)));
        assert_ne!(of(key(5, Algorithm::Sha1)), of(key(5, Algorithm::Md5)));
        let other = Key::new(5, Algorithm::Sha1, b"other").unwrap();
        assert_ne!(of(key(5, Algorithm::Sha1)), of(Arc::new(other)));
    }
}
