//! One symmetric key: sign and verify.

use core::fmt;

use aes::{Aes128, Aes256};
use cmac::{Cmac, KeyInit, Mac as _};
use md5::Md5;
use sha1::Sha1;
use sha2::digest::Digest;
use sha2::{Sha256, Sha384, Sha512};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Number of a key, known to both sides: 1 to 2^32 - 1. Zero marks a crypto-NAK and is not a key.
pub type KeyId = u32;

/// How a digest is calculated from secret and packet; see the table in the [module
/// documentation](super).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// `MD5(secret, packet)`: only for peers that support nothing else.
    Md5,
    /// `SHA-1(secret, packet)`.
    Sha1,
    /// `SHA-256(secret, packet)`.
    Sha256,
    /// `SHA-384(secret, packet)`.
    Sha384,
    /// `SHA-512(secret, packet)`.
    Sha512,
    /// AES-CMAC with a secret of 16 octets: recommended by RFC 8573.
    Aes128Cmac,
    /// AES-CMAC with a secret of 32 octets.
    Aes256Cmac,
}

impl Algorithm {
    /// All algorithms.
    pub const ALL: [Self; 7] = [
        Self::Md5,
        Self::Sha1,
        Self::Sha256,
        Self::Sha384,
        Self::Sha512,
        Self::Aes128Cmac,
        Self::Aes256Cmac,
    ];

    /// Length of the secret in octets, if the algorithm prescribes it.
    pub const fn secret_length(self) -> Option<usize> {
        match self {
            Self::Aes128Cmac => Some(16),
            Self::Aes256Cmac => Some(32),
            Self::Md5 | Self::Sha1 | Self::Sha256 | Self::Sha384 | Self::Sha512 => None,
        }
    }

    /// The name that key files use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
            Self::Sha384 => "SHA384",
            Self::Sha512 => "SHA512",
            Self::Aes128Cmac => "AES128",
            Self::Aes256Cmac => "AES256",
        }
    }
}

/// For example `AES128`.
impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A secret shared with a peer, ready for use.
pub struct Key {
    id: KeyId,
    algorithm: Algorithm,
    secret: Secret,
}

/// The ciphers wipe their round keys on drop (feature `zeroize`).
enum Secret {
    Hashed(HashFunction, Zeroizing<Vec<u8>>),
    Aes128(Box<Cmac<Aes128>>),
    Aes256(Box<Cmac<Aes256>>),
}

/// Calculates the digest of a secret and a message.
type HashFunction = fn(&[u8], &[u8]) -> Tag;

impl Key {
    /// Creates a key from its secret.
    ///
    /// # Errors
    ///
    /// [`InvalidSecret`] if `id` is 0, or the secret is empty or does not have the length that the
    /// algorithm requires.
    pub fn new(id: KeyId, algorithm: Algorithm, secret: &[u8]) -> Result<Self, InvalidSecret> {
        if id == 0 {
            return Err(InvalidSecret::Id);
        }
        let hashed = |function: HashFunction| match secret.len() {
            0 => Err(InvalidSecret::Empty),
            _ => Ok(Secret::Hashed(function, Zeroizing::new(secret.to_vec()))),
        };
        let length = |_| InvalidSecret::Length(algorithm);
        let secret = match algorithm {
            Algorithm::Md5 => hashed(digest::<Md5>)?,
            Algorithm::Sha1 => hashed(digest::<Sha1>)?,
            Algorithm::Sha256 => hashed(digest::<Sha256>)?,
            Algorithm::Sha384 => hashed(digest::<Sha384>)?,
            Algorithm::Sha512 => hashed(digest::<Sha512>)?,
            Algorithm::Aes128Cmac => {
                Secret::Aes128(Box::new(Cmac::new_from_slice(secret).map_err(length)?))
            }
            Algorithm::Aes256Cmac => {
                Secret::Aes256(Box::new(Cmac::new_from_slice(secret).map_err(length)?))
            }
        };
        Ok(Self {
            id,
            algorithm,
            secret,
        })
    }

    /// Number of the key.
    pub const fn id(&self) -> KeyId {
        self.id
    }

    /// Length of the secret in bits.
    pub fn secret_bits(&self) -> usize {
        match &self.secret {
            Secret::Hashed(_, secret) => secret.len() * 8,
            Secret::Aes128(_) => 128,
            Secret::Aes256(_) => 256,
        }
    }

    /// Algorithm of the key.
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Calculates the digest of `message`: the octets of a packet before the key ID.
    pub fn sign(&self, message: &[u8]) -> Tag {
        match &self.secret {
            Secret::Hashed(function, secret) => function(secret, message),
            Secret::Aes128(cipher) => {
                let mut mac = (**cipher).clone();
                mac.update(message);
                Tag::from(mac.finalize().into_bytes())
            }
            Secret::Aes256(cipher) => {
                let mut mac = (**cipher).clone();
                mac.update(message);
                Tag::from(mac.finalize().into_bytes())
            }
        }
    }

    /// Whether `digest` is the digest of `message`, complete or truncated to the length of version
    /// 4. Takes the same time for every wrong digest of a valid length.
    pub fn verify(&self, message: &[u8], digest: &[u8]) -> bool {
        let tag = self.sign(message);
        let right = if digest.len() == tag.whole().len() {
            tag.whole()
        } else {
            tag.version_4()
        };
        right.ct_eq(digest).into()
    }
}

fn digest<H: Digest>(secret: &[u8], message: &[u8]) -> Tag {
    let hash = H::new().chain_update(secret).chain_update(message);
    Tag::from(hash.finalize())
}

/// Equal if number, algorithm and secret are equal. Secrets are compared by their digest of an
/// empty message, in constant time.
impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        let (ours, theirs) = (self.sign(&[]), other.sign(&[]));
        self.id == other.id
            && self.algorithm() == other.algorithm()
            && bool::from(ours.whole().ct_eq(theirs.whole()))
    }
}

impl Eq for Key {}

/// Shows number and algorithm, never the secret.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key {} ({})", self.id, self.algorithm())
    }
}

/// A digest.
#[derive(Clone, Copy)]
pub struct Tag {
    octets: [u8; Self::MAX_LENGTH],
    length: usize,
}

impl Tag {
    const MAX_LENGTH: usize = 64;
    /// Longest digest of version 4 (RFC 7822 section 3), in octets.
    const VERSION_4_LENGTH: usize = 20;

    /// The digest as in packets of version 4: 16 or 20 octets.
    pub fn version_4(&self) -> &[u8] {
        self.prefix(Self::VERSION_4_LENGTH)
    }

    /// The complete digest, as chrony sends it in version 3: 16 to 64 octets.
    pub fn whole(&self) -> &[u8] {
        self.prefix(Self::MAX_LENGTH)
    }

    /// The first `length` octets, or all if there are fewer.
    fn prefix(&self, length: usize) -> &[u8] {
        self.octets
            .get(..self.length.min(length))
            .unwrap_or_default()
    }

    fn from(digest: impl AsRef<[u8]>) -> Self {
        let mut octets = [0; Self::MAX_LENGTH];
        let digest = digest.as_ref();
        for (to, from) in octets.iter_mut().zip(digest) {
            *to = *from;
        }
        Self {
            octets,
            length: digest.len().min(Self::MAX_LENGTH),
        }
    }
}

/// Why a secret is not a valid key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSecret {
    /// Key ID 0 is not a key.
    #[error("key ID must be from 1 to 4294967295")]
    Id,
    /// The secret is empty.
    #[error("the secret is empty")]
    Empty,
    /// The algorithm requires a secret of another length.
    #[error(
        "a secret for {0} must be {octets} octets: write `HEX:` and {digits} hexadecimal digits",
        octets = .0.secret_length().unwrap_or(0),
        digits = 2 * .0.secret_length().unwrap_or(0)
    )]
    Length(Algorithm),
}

#[cfg(test)]
mod tests {
    use super::*;

    const RFC_4493_KEY: [u8; 16] = [
        0x2b, 0x7e, 0x15, 0x16, 0x28, 0xae, 0xd2, 0xa6, 0xab, 0xf7, 0x15, 0x88, 0x09, 0xcf, 0x4f,
        0x3c,
    ];

    fn key(algorithm: Algorithm, secret: &[u8]) -> Key {
        Key::new(7, algorithm, secret).unwrap()
    }

    fn hex(text: &str) -> Vec<u8> {
        let digit = |octet: &u8| char::from(*octet).to_digit(16).unwrap() as u8;
        text.as_bytes()
            .chunks(2)
            .map(|pair| digit(&pair[0]) << 4 | digit(&pair[1]))
            .collect()
    }

    #[test]
    fn cmac_matches_the_vectors_of_rfc_4493_section_4() {
        let key = key(Algorithm::Aes128Cmac, &RFC_4493_KEY);
        let message = hex(
            "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51\
             30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710",
        );
        for (length, expected) in [
            (0, "bb1d6929e95937287fa37d129b756746"),
            (16, "070a16b46b4d4144f79bdd9dd04a287c"),
            (40, "dfa66747de9ae63030ca32611497c827"),
            (64, "51f0bebf7e3b9d92fc49741779363cfe"),
        ] {
            assert_eq!(key.sign(&message[..length]).version_4(), hex(expected));
        }
    }

    #[test]
    fn digests_hash_the_secret_before_the_packet() {
        // H("abc") of RFC 1321 and FIPS 180, independent of how it is split.
        for (algorithm, expected) in [
            (Algorithm::Md5, "900150983cd24fb0d6963f7d28e17f72"),
            (Algorithm::Sha1, "a9993e364706816aba3e25717850c26c9cd0d89d"),
            (
                Algorithm::Sha256,
                "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            ),
        ] {
            let tag = key(algorithm, b"a").sign(b"bc");
            assert_eq!(tag.whole(), hex(expected));
            assert_eq!(tag.version_4(), &hex(expected)[..tag.version_4().len()]);
            assert!(tag.version_4().len() <= 20);
        }
        assert_eq!(key(Algorithm::Sha384, b"a").sign(b"bc").whole().len(), 48);
        assert_eq!(key(Algorithm::Sha512, b"a").sign(b"bc").whole().len(), 64);
    }

    #[test]
    fn only_the_whole_and_the_truncated_digest_are_valid() {
        let key = key(Algorithm::Sha256, b"secret");
        let tag = key.sign(b"packet");
        for length in 0..=32 {
            let expected = matches!(length, 20 | 32);
            assert_eq!(
                key.verify(b"packet", tag.prefix(length)),
                expected,
                "{length}"
            );
        }
        let mut wrong = tag;
        wrong.octets[19] ^= 1;
        assert!(!key.verify(b"packet", wrong.version_4()));
        assert!(!key.verify(b"Packet", tag.version_4()));
        assert!(!key.verify(b"packet", &[0; 70]));
    }

    #[test]
    fn invalid_secrets_are_refused() {
        let new = |id, algorithm, secret: &[u8]| Key::new(id, algorithm, secret).err();
        assert_eq!(new(0, Algorithm::Sha1, b"x"), Some(InvalidSecret::Id));
        assert_eq!(new(1, Algorithm::Sha1, b""), Some(InvalidSecret::Empty));
        let length = Some(InvalidSecret::Length(Algorithm::Aes128Cmac));
        assert_eq!(new(1, Algorithm::Aes128Cmac, &[0; 15]), length);
        assert_eq!(new(1, Algorithm::Aes128Cmac, &[]), length);
        assert_eq!(new(1, Algorithm::Aes256Cmac, &[0; 32]), None);
    }

    #[test]
    fn a_secret_is_never_printed() {
        let shown = format!("{:?}", key(Algorithm::Sha1, b"hunter2"));
        assert_eq!(shown, "Key 7 (SHA1)");
    }
}
