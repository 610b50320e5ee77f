//! AES-SIV (RFC 5297).
//!
//! # Why our own
//! A server spends most of an NTS request here, and the obvious way to calculate it is one AES block after the other:
//! CMAC is a chain. But S2V runs several chains, over each header and over the plaintext, and they meet only in the last block or two:
//! the digest of the headers is mixed into the last 16 octets of the plaintext. Everything before can go side by side, and an AES
//! instruction takes several times longer to finish than the next one has to wait. So the long chains advance in lock-step, in
//! pairs of blocks. The cipher itself is that of the `aes` crate, and a test compares results with the `aes-siv` crate's.
//!
//! ```text
//! D = CMAC(0); for each header: D = dbl(D) ^ CMAC(header)
//! V = CMAC(plaintext with D mixed into its last 16 octets)     tag, and counter of the key stream
//! ```
//!
//! `dbl` doubles in GF(2^128). Key expansion, both CMAC subkeys and `CMAC(0)` are calculated once for each key.

use aes::cipher::{Block, BlockCipherEncrypt, BlockSizeUser, KeyInit, typenum::U16};
use subtle::ConstantTimeEq;

/// A block cipher of AES's size.
pub(super) trait Aes: BlockCipherEncrypt + BlockSizeUser<BlockSize = U16> + KeyInit {}

impl Aes for aes::Aes128 {}
impl Aes for aes::Aes256 {}

/// Octets of a block, and of the tag.
pub(super) const BLOCK: usize = 16;

/// The constant of `dbl` (RFC 5297 section 2.3).
const POLYNOMIAL: u128 = 0x87;

/// A key, ready for use: AES-SIV-CMAC-256 over AES-128, AES-SIV-CMAC-512 over AES-256.
///
/// The ciphers wipe their round keys when they are dropped.
pub(super) struct Siv<C> {
    mac: Cmac<C>,
    stream: C,
}

/// CMAC (RFC 4493) with what S2V wants to know in advance.
struct Cmac<C> {
    cipher: C,
    /// For messages whose last block is full, and for others.
    subkeys: (u128, u128),
    /// `CMAC(0)`.
    zero: u128,
}

/// The tag does not fit: the message is forged or damaged, or the key is another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forged;

impl<C: Aes> Siv<C> {
    /// From a key of twice the cipher's length: first the one for the tag, then the one for the key stream. `None` if
    /// it has another length.
    pub(super) fn new(key: &[u8]) -> Option<Self> {
        let (mac, stream) = key.split_at_checked(key.len() / 2)?;
        Some(Self {
            mac: Cmac::new(C::new_from_slice(mac).ok()?),
            stream: C::new_from_slice(stream).ok()?,
        })
    }

    /// Encrypts `text` in place and returns the tag. A nonce is the last of the headers.
    pub(super) fn seal(&self, headers: &[&[u8]], text: &mut [u8]) -> [u8; BLOCK] {
        let tag = self.mac.s2v(headers, text);
        self.apply_stream(tag, text);
        tag.to_be_bytes()
    }

    /// Decrypts `text` in place. On failure it is filled with zeros: what was not authenticated is shown to nobody.
    pub(super) fn open(
        &self,
        headers: &[&[u8]],
        tag: &[u8; BLOCK],
        text: &mut [u8],
    ) -> Result<(), Forged> {
        self.apply_stream(u128::from_be_bytes(*tag), text);
        let right = self.mac.s2v(headers, text).to_be_bytes();
        if bool::from(right.ct_eq(tag)) {
            return Ok(());
        }
        text.fill(0);
        Err(Forged)
    }

    fn apply_stream(&self, tag: u128, text: &mut [u8]) {
        /// Blocks that the cipher is given at once.
        const AT_ONCE: usize = 8;
        // RFC 5297 section 2.5: with these bits cleared, no carry ever leaves the lower 32.
        let mut counter = tag & !(1 << 31 | 1 << 63);
        for chunk in text.chunks_mut(AT_ONCE * BLOCK) {
            let mut stream = [Block::<C>::default(); AT_ONCE];
            let blocks = chunk.len().div_ceil(BLOCK).min(AT_ONCE);
            let (stream, _) = stream.split_at_mut(blocks);
            for block in stream.iter_mut() {
                block.copy_from_slice(&counter.to_be_bytes());
                counter = counter.wrapping_add(1);
            }
            self.stream.encrypt_blocks(stream);
            for (octets, block) in chunk.chunks_mut(BLOCK).zip(stream) {
                for (octet, key) in octets.iter_mut().zip(block.iter()) {
                    *octet ^= key;
                }
            }
        }
    }
}

impl<C: Aes> Cmac<C> {
    fn new(cipher: C) -> Self {
        let mut cmac = Self {
            cipher,
            subkeys: (0, 0),
            zero: 0,
        };
        let full = double(cmac.encrypt(0));
        cmac.subkeys = (full, double(full));
        cmac.zero = cmac.encrypt(full);
        cmac
    }

    /// S2V (RFC 5297 section 2.4).
    fn s2v(&self, headers: &[&[u8]], text: &[u8]) -> u128 {
        // What follows the head of the text is where the digest of the headers goes in.
        let head = text.len().saturating_sub(BLOCK) / BLOCK * BLOCK;
        let (mut head, tail) = text.split_at(head);
        let mut head_state = 0;
        let mut digest = self.zero;
        for header in headers {
            let (front, last) = split_last_block(header);
            // The first header takes the head of the text along.
            let front = self.chains([0, head_state], front, core::mem::take(&mut head));
            head_state = front[1];
            digest = double(digest) ^ self.encrypt(front[0] ^ self.pad(last));
        }
        let [head, _] = self.chains([head_state, 0], head, &[]);

        match tail.split_first_chunk() {
            // Less than a block: the text is padded first and mixed in then.
            None => self.encrypt(double(digest) ^ padded(tail) ^ self.subkeys.0),
            Some((block, [])) => {
                self.encrypt(head ^ u128::from_be_bytes(*block) ^ digest ^ self.subkeys.0)
            }
            Some((block, rest)) => {
                // The last 16 octets straddle two blocks.
                let before = 8 * rest.len();
                let first = u128::from_be_bytes(*block) ^ digest >> before;
                let second = padded(rest) ^ digest << (128 - before);
                self.encrypt(self.encrypt(head ^ first) ^ second ^ self.subkeys.1)
            }
        }
    }

    /// Two CMAC chains over whole blocks, going on from `states`.
    fn chains(&self, mut states: [u128; 2], one: &[u8], other: &[u8]) -> [u128; 2] {
        let both = one.len().min(other.len());
        let (one, one_alone) = one.split_at(both);
        let (other, other_alone) = other.split_at(both);
        for (one, other) in blocks(one).zip(blocks(other)) {
            states = self.encrypt_pair([states[0] ^ one, states[1] ^ other]);
        }
        let alone =
            |state, octets| blocks(octets).fold(state, |state, block| self.encrypt(state ^ block));
        [alone(states[0], one_alone), alone(states[1], other_alone)]
    }

    /// A last block with the subkey that it wants.
    fn pad(&self, last: &[u8]) -> u128 {
        match last.first_chunk() {
            Some(block) => u128::from_be_bytes(*block) ^ self.subkeys.0,
            None => padded(last) ^ self.subkeys.1,
        }
    }

    fn encrypt(&self, block: u128) -> u128 {
        let mut octets = Block::<C>::from(block.to_be_bytes());
        self.cipher.encrypt_block(&mut octets);
        u128::from_be_bytes(octets.into())
    }

    fn encrypt_pair(&self, pair: [u128; 2]) -> [u128; 2] {
        let mut octets = pair.map(|block| Block::<C>::from(block.to_be_bytes()));
        self.cipher.encrypt_blocks(&mut octets);
        octets.map(|block| u128::from_be_bytes(block.into()))
    }
}

fn double(block: u128) -> u128 {
    // Without a branch on what is secret.
    block << 1 ^ (POLYNOMIAL & (block >> 127).wrapping_neg())
}

/// Less than a block, with a one bit behind it (RFC 4493 section 2.4).
fn padded(octets: &[u8]) -> u128 {
    let mut block = [0; BLOCK];
    for (to, from) in block.iter_mut().zip(octets.iter().chain(&[0x80])) {
        *to = *from;
    }
    u128::from_be_bytes(block)
}

/// The last block, which is full unless the octets do not fill any, and the whole blocks before it.
fn split_last_block(octets: &[u8]) -> (&[u8], &[u8]) {
    octets.split_at(octets.len().saturating_sub(1) / BLOCK * BLOCK)
}

fn blocks(octets: &[u8]) -> impl Iterator<Item = u128> {
    let (blocks, _) = octets.as_chunks();
    blocks.iter().map(|block| u128::from_be_bytes(*block))
}

#[cfg(test)]
mod tests {
    use aes::{Aes128, Aes256};
    use aes_siv::siv::{Aes128Siv, Aes256Siv};
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        let digit = |octet: &u8| char::from(*octet).to_digit(16).unwrap() as u8;
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        digits
            .chunks(2)
            .map(|pair| digit(&pair[0]) << 4 | digit(&pair[1]))
            .collect()
    }

    #[test]
    fn chains_and_padding_are_those_of_rfc_4493_section_4() {
        let key = hex("2b7e151628aed2a6abf7158809cf4f3c");
        let cmac = Cmac::new(Aes128::new_from_slice(&key).unwrap());
        let message = hex(
            "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51
             30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710",
        );
        for (length, expected) in [
            (0, "bb1d6929e95937287fa37d129b756746"),
            (16, "070a16b46b4d4144f79bdd9dd04a287c"),
            (40, "dfa66747de9ae63030ca32611497c827"),
            (64, "51f0bebf7e3b9d92fc49741779363cfe"),
        ] {
            let (front, last) = split_last_block(&message[..length]);
            let [state, _] = cmac.chains([0, 0], front, &[]);
            let digest = cmac.encrypt(state ^ cmac.pad(last)).to_be_bytes();
            assert_eq!(digest[..], hex(expected));
        }
    }

    #[test]
    fn the_vectors_of_rfc_5297_appendix_a_are_met() {
        struct Vector {
            key: &'static str,
            headers: &'static [&'static str],
            plain: &'static str,
            sealed: &'static str,
        }
        let vectors = [
            Vector {
                key: "fffefdfcfbfaf9f8f7f6f5f4f3f2f1f0f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff",
                headers: &["101112131415161718191a1b1c1d1e1f2021222324252627"],
                plain: "112233445566778899aabbccddee",
                sealed: "85632d07c6e8f37f950acd320a2ecc9340c02b9690c4dc04daef7f6afe5c",
            },
            Vector {
                key: "7f7e7d7c7b7a79787776757473727170404142434445464748494a4b4c4d4e4f",
                headers: &[
                    "00112233445566778899aabbccddeeffdeaddadadeaddadaffeeddccbbaa99887766554433221100",
                    "102030405060708090a0",
                    "09f911029d74e35bd84156c5635688c0",
                ],
                plain: "7468697320697320736f6d6520706c61696e7465787420746f20656e6372797074207573696e67205349562d414553",
                sealed: "7bdb6e3b432667eb06f4d14bff2fbd0f
                         cb900f2fddbe404326601965c889bf17dba77ceb094fa663b7a3f748ba8af829ea64ad544a272e9c485b62a3fd5c0d",
            },
        ];
        for vector in vectors {
            let headers: Vec<_> = vector.headers.iter().map(|header| hex(header)).collect();
            let headers: Vec<_> = headers.iter().map(Vec::as_slice).collect();
            agrees::<Aes128>(
                &hex(vector.key),
                &headers,
                &hex(vector.plain),
                &hex(vector.sealed),
            );
        }
    }

    fn agrees<C: Aes>(key: &[u8], headers: &[&[u8]], plain: &[u8], expected: &[u8]) {
        let siv = Siv::<C>::new(key).unwrap();
        let mut text = plain.to_vec();
        let tag = siv.seal(headers, &mut text);
        assert_eq!([&tag[..], &text].concat(), expected);
        let sealed = text.clone();
        assert_eq!(siv.open(headers, &tag, &mut text), Ok(()));
        assert_eq!(text, plain);

        let mut wrong = tag;
        wrong[15] ^= 1;
        let mut text = sealed;
        assert_eq!(siv.open(headers, &wrong, &mut text), Err(Forged));
        assert!(
            text.iter().all(|octet| *octet == 0),
            "unauthenticated text is shown"
        );
    }

    proptest! {
        #[test]
        fn results_are_those_of_the_aes_siv_crate(
            key in vec(any::<u8>(), 64),
            associated in vec(any::<u8>(), 0..260),
            nonce in vec(any::<u8>(), 0..40),
            plain in vec(any::<u8>(), 0..260),
        ) {
            let headers = [&associated[..], &nonce];
            let mut text = plain.clone();
            let tag = Aes128Siv::new_from_slice(&key[..32]).unwrap().encrypt_inout_detached(headers, text.as_mut_slice().into()).unwrap();
            let expected = [&tag[..], &text].concat();
            agrees::<Aes128>(&key[..32], &headers, &plain, &expected);
            let mut text = plain.clone();
            let tag = Aes256Siv::new_from_slice(&key).unwrap().encrypt_inout_detached(headers, text.as_mut_slice().into()).unwrap();
            let expected = [&tag[..], &text].concat();
            agrees::<Aes256>(&key, &headers, &plain, &expected);
        }
    }

    #[test]
    fn a_key_of_another_length_is_none() {
        assert!(Siv::<Aes128>::new(&[0; 64]).is_none());
        assert!(Siv::<Aes256>::new(&[0; 32]).is_none());
        assert!(Siv::<Aes128>::new(&[]).is_none());
    }
}
