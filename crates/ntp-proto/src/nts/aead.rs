//! Authenticated encryption with a session's keys: three algorithms behind one interface (RFC 5116,
//! RFC 5297, RFC 8452).
//!
//! A ciphertext is 16 octets longer than its plaintext. AES-SIV puts the tag in front, AES-GCM-SIV
//! at the end; [`AeadAlgorithm::text`] is the position of the text, so that a caller can write it
//! in place and seal it there.
//!
//! In a build without the feature `nts` nothing can be sealed or opened, and the ciphers are not part
//! of the program.
//!
//! A server uses each key once per request and direction, so caching expanded keys has no benefit;
//! a client sends one request per minute.

use core::ops::Range;

use aes::{Aes128Enc, Aes256Enc};
use aes_gcm_siv::AesGcmSiv;
use aes_gcm_siv::aead::{AeadInOut, KeyInit};

use super::siv::{BLOCK, TagMismatch, open_once, seal_once};
use super::{AeadAlgorithm, Direction, SessionKeys};

const BUILT: bool = cfg!(feature = "nts");

/// AES-128-GCM-SIV. It never decrypts a block, and expanding the keys for that would cost more than
/// all blocks together.
type GcmSiv = AesGcmSiv<Aes128Enc>;

impl AeadAlgorithm {
    /// Octets by which a ciphertext is longer than its plaintext.
    pub const OVERHEAD: usize = BLOCK;

    /// Position of the text in a ciphertext of `sealed` octets. `None` if that is shorter than the
    /// tag.
    pub fn text(self, sealed: usize) -> Option<Range<usize>> {
        let length = sealed.checked_sub(Self::OVERHEAD)?;
        Some(match self {
            Self::AesSivCmac256 | Self::AesSivCmac512 => BLOCK..sealed,
            Self::Aes128GcmSiv => 0..length,
        })
    }
}

impl SessionKeys {
    /// Encrypts the text at [`AeadAlgorithm::text`] of `sealed` in place and writes the tag. `None`
    /// if `sealed` is too short, or the algorithm does not accept the nonce's length.
    pub fn seal(
        &self,
        direction: Direction,
        associated: &[u8],
        nonce: &[u8],
        sealed: &mut [u8],
    ) -> Option<()> {
        if !BUILT {
            return None;
        }
        let key = self.key(direction);
        match self.algorithm() {
            AeadAlgorithm::AesSivCmac256 => {
                let (tag, text) = sealed.split_first_chunk_mut()?;
                *tag = seal_once::<Aes128Enc>(key, &[associated, nonce], text)?;
            }
            AeadAlgorithm::AesSivCmac512 => {
                let (tag, text) = sealed.split_first_chunk_mut()?;
                *tag = seal_once::<Aes256Enc>(key, &[associated, nonce], text)?;
            }
            AeadAlgorithm::Aes128GcmSiv => {
                let nonce = nonce.try_into().ok()?;
                let (text, tag) = sealed.split_last_chunk_mut::<BLOCK>()?;
                let cipher = GcmSiv::new_from_slice(key).ok()?;
                *tag = cipher
                    .encrypt_inout_detached(nonce, associated, text.into())
                    .ok()?
                    .into();
            }
        }
        Some(())
    }

    /// Decrypts in place and returns the text.
    ///
    /// # Errors
    ///
    /// [`TagMismatch`] if it was not sealed with this key, nonce and associated data. The contents
    /// of `sealed` must not be used then.
    pub fn open<'a>(
        &self,
        direction: Direction,
        associated: &[u8],
        nonce: &[u8],
        sealed: &'a mut [u8],
    ) -> Result<&'a mut [u8], TagMismatch> {
        if !BUILT {
            return Err(TagMismatch);
        }
        let key = self.key(direction);
        match self.algorithm() {
            AeadAlgorithm::AesSivCmac256 => {
                let (tag, text) = sealed.split_first_chunk_mut().ok_or(TagMismatch)?;
                open_once::<Aes128Enc>(key, &[associated, nonce], tag, text)?;
                Ok(text)
            }
            AeadAlgorithm::AesSivCmac512 => {
                let (tag, text) = sealed.split_first_chunk_mut().ok_or(TagMismatch)?;
                open_once::<Aes256Enc>(key, &[associated, nonce], tag, text)?;
                Ok(text)
            }
            AeadAlgorithm::Aes128GcmSiv => {
                let nonce = nonce.try_into().map_err(|_| TagMismatch)?;
                let (text, tag) = sealed.split_last_chunk_mut::<BLOCK>().ok_or(TagMismatch)?;
                let tag = (*tag).into();
                let cipher = GcmSiv::new_from_slice(key).map_err(|_| TagMismatch)?;
                cipher
                    .decrypt_inout_detached(nonce, associated, (&mut *text).into(), &tag)
                    .map_err(|_| TagMismatch)?;
                Ok(text)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        let digit = |octet: &u8| char::from(*octet).to_digit(16).unwrap() as u8;
        text.as_bytes()
            .chunks(2)
            .map(|pair| digit(&pair[0]) << 4 | digit(&pair[1]))
            .collect()
    }

    fn keys(algorithm: AeadAlgorithm, fill: u8) -> SessionKeys {
        let key = vec![fill; algorithm.key_length()];
        SessionKeys::new(algorithm, &key, &key).unwrap()
    }

    #[test]
    fn aes_128_gcm_siv_matches_the_vectors_of_rfc_8452_appendix_c_1() {
        let key = hex("01000000000000000000000000000000");
        let nonce = hex("030000000000000000000000");
        let keys = SessionKeys::new(AeadAlgorithm::Aes128GcmSiv, &key, &[0; 16]).unwrap();
        for (associated, plain, expected) in [
            ("", "", "dc20e2d83f25705bb49e439eca56de25"),
            (
                "",
                "0100000000000000",
                "b5d839330ac7b786578782fff6013b815b287c22493a364c",
            ),
            (
                "01",
                "0200000000000000",
                "1e6daba35669f4273b0a1a2560969cdf790d99759abd1508",
            ),
        ] {
            let (associated, plain) = (hex(associated), hex(plain));
            let mut sealed = vec![0; plain.len() + AeadAlgorithm::OVERHEAD];
            let text = AeadAlgorithm::Aes128GcmSiv.text(sealed.len()).unwrap();
            sealed[text].copy_from_slice(&plain);
            keys.seal(Direction::ClientToServer, &associated, &nonce, &mut sealed)
                .unwrap();
            assert_eq!(sealed, hex(expected));
            let opened = keys.open(Direction::ClientToServer, &associated, &nonce, &mut sealed);
            assert_eq!(opened.unwrap(), plain);
        }
    }

    #[test]
    fn a_ciphertext_opens_only_with_the_same_key_nonce_and_header() {
        for algorithm in AeadAlgorithm::ALL {
            let nonce = vec![7; algorithm.nonce_length()];
            for plain in [&b""[..], b"some text", &[5; 200]] {
                let mut sealed = vec![0; plain.len() + AeadAlgorithm::OVERHEAD];
                sealed[algorithm.text(plain.len() + 16).unwrap()].copy_from_slice(plain);
                let right = keys(algorithm, 1);
                right
                    .seal(Direction::ServerToClient, b"header", &nonce, &mut sealed)
                    .unwrap();
                let open = |keys: &SessionKeys, header: &[u8], nonce: &[u8], flip: usize| {
                    let mut sealed = sealed.clone();
                    sealed[flip / 8] ^= 1 << (flip % 8);
                    keys.open(Direction::ServerToClient, header, nonce, &mut sealed)
                        .map(|text| text.to_vec())
                };
                let mut copy = sealed.clone();
                let opened = right.open(Direction::ServerToClient, b"header", &nonce, &mut copy);
                assert_eq!(opened.unwrap(), plain);
                for bit in 0..sealed.len() * 8 {
                    assert_eq!(open(&right, b"header", &nonce, bit), Err(TagMismatch));
                }
                let mut copy = sealed.clone();
                assert!(
                    keys(algorithm, 2)
                        .open(Direction::ServerToClient, b"header", &nonce, &mut copy)
                        .is_err()
                );
                let mut copy = sealed.clone();
                assert!(
                    right
                        .open(Direction::ServerToClient, b"Header", &nonce, &mut copy)
                        .is_err()
                );
                let other = vec![8; nonce.len()];
                let mut copy = sealed.clone();
                assert!(
                    right
                        .open(Direction::ServerToClient, b"header", &other, &mut copy)
                        .is_err()
                );
            }
        }
    }

    #[test]
    fn a_ciphertext_shorter_than_its_tag_is_refused() {
        for algorithm in AeadAlgorithm::ALL {
            let keys = keys(algorithm, 1);
            let nonce = vec![7; algorithm.nonce_length()];
            for length in 0..AeadAlgorithm::OVERHEAD {
                let mut sealed = vec![0; length];
                assert!(
                    keys.open(Direction::ClientToServer, b"", &nonce, &mut sealed)
                        .is_err()
                );
                assert!(
                    keys.seal(Direction::ClientToServer, b"", &nonce, &mut sealed)
                        .is_none()
                );
                assert_eq!(algorithm.text(length), None);
            }
        }
        // AES-GCM-SIV accepts nonces of one length only.
        let keys = keys(AeadAlgorithm::Aes128GcmSiv, 1);
        let mut sealed = [0; 16];
        assert!(
            keys.seal(Direction::ClientToServer, b"", &[0; 16], &mut sealed)
                .is_none()
        );
        assert!(
            keys.open(Direction::ClientToServer, b"", &[], &mut sealed)
                .is_err()
        );
    }
}
