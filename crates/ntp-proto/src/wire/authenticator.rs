//! Body of the NTS authenticator and encrypted extension fields field (RFC 8915 section 5.6).
//!
//! ```text
//! | nonce length: 16 bits | ciphertext length: 16 bits | nonce, padded to 4 | ciphertext, padded to 4 | more padding |
//! ```
//!
//! The authenticator covers the packet from its beginning up to this field, but neither the type
//! and length of the field nor what follows it. The padding is not covered and has no meaning. A
//! client with a short nonce pads the field so that the server's nonce can be longer without making
//! the reply longer than the request; [`NtsAuthenticator::nonce_capacity`] is the space available
//! for it.

use super::{ExtensionField, Reader};

/// Body of an authenticator field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NtsAuthenticator<'a> {
    /// Must be unique for each use of a key.
    pub nonce: &'a [u8],
    /// Ciphertext of the encrypted extension fields, including the tag.
    pub sealed: &'a [u8],
    /// Space for a nonce in octets: that of the nonce itself and the padding at the end.
    pub nonce_capacity: usize,
}

impl<'a> NtsAuthenticator<'a> {
    /// Length before the nonce, in octets.
    const PREFIX: usize = 4;

    /// Parses the body of a field. `None` if its lengths are inconsistent, or the nonce is empty.
    pub fn parse(body: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(body);
        let nonce_length = usize::from(reader.u16().ok()?);
        let sealed_length = usize::from(reader.u16().ok()?);
        if nonce_length == 0 {
            return None;
        }
        let nonce = reader.take(nonce_length.next_multiple_of(4)).ok()?;
        let sealed = reader.take(sealed_length.next_multiple_of(4)).ok()?;
        Some(Self {
            nonce: nonce.get(..nonce_length)?,
            sealed: sealed.get(..sealed_length)?,
            nonce_capacity: nonce.len() + reader.remaining(),
        })
    }

    /// Length of a body for a nonce and a ciphertext of these lengths, in octets.
    pub const fn body_length(nonce: usize, sealed: usize) -> usize {
        Self::PREFIX + nonce.next_multiple_of(4) + sealed.next_multiple_of(4)
    }

    /// Writes lengths and nonce into a zero body and returns the space for a ciphertext of `sealed`
    /// octets, which the caller fills. `None` if the body is too short.
    pub fn lay_out<'b>(body: &'b mut [u8], nonce: &[u8], sealed: usize) -> Option<&'b mut [u8]> {
        let (prefix, rest) = body.split_first_chunk_mut()?;
        let [n0, n1] = u16::try_from(nonce.len()).ok()?.to_be_bytes();
        let [s0, s1] = u16::try_from(sealed).ok()?.to_be_bytes();
        *prefix = [n0, n1, s0, s1];
        let (place, rest) = rest.split_at_mut_checked(nonce.len().next_multiple_of(4))?;
        place.get_mut(..nonce.len())?.copy_from_slice(nonce);
        rest.get_mut(..sealed)
    }

    /// Splits an emitted packet that ends with an authenticator field into the octets that it
    /// covers and the body of `body` octets. `None` if the packet is shorter than such a field.
    pub fn split_packet(packet: &mut [u8], body: usize) -> Option<(&[u8], &mut [u8])> {
        let at = packet.len().checked_sub(body)?;
        let (front, body) = packet.split_at_mut_checked(at)?;
        let covered = front.len().checked_sub(ExtensionField::PREFIX)?;
        Some((front.get(..covered)?, body))
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn inconsistent_lengths_are_refused() {
        let body = |nonce: u16, sealed: u16, rest: usize| {
            let mut octets = [nonce.to_be_bytes(), sealed.to_be_bytes()].concat();
            octets.resize(4 + rest, 9);
            octets
        };
        let room =
            |octets: &[u8]| NtsAuthenticator::parse(octets).map(|field| field.nonce_capacity);
        assert_eq!(room(&body(16, 16, 32)), Some(16));
        assert_eq!(
            room(&body(12, 16, 32)),
            Some(16),
            "padding is room for a longer nonce"
        );
        assert_eq!(room(&body(13, 17, 36)), Some(16));
        for (nonce, sealed, rest) in [
            (16, 16, 31),
            (16, 17, 32),
            (17, 16, 32),
            (0, 16, 16),
            (0xffff, 16, 32),
            (16, 0xffff, 32),
            (0xffff, 0xffff, 32),
        ] {
            assert_eq!(
                room(&body(nonce, sealed, rest)),
                None,
                "{nonce} {sealed} {rest}"
            );
        }
        for length in 0..4 {
            assert_eq!(room(&body(1, 1, 8)[..length]), None);
        }
    }

    proptest! {
        #[test]
        fn laid_out_bodies_parse_to_their_parts(nonce in vec(any::<u8>(), 1..40), sealed in vec(any::<u8>(), 0..100)) {
            let mut body = vec![0; NtsAuthenticator::body_length(nonce.len(), sealed.len())];
            let place = NtsAuthenticator::lay_out(&mut body, &nonce, sealed.len()).unwrap();
            place.copy_from_slice(&sealed);
            let parsed = NtsAuthenticator::parse(&body).unwrap();
            prop_assert_eq!(parsed.nonce, nonce);
            prop_assert_eq!(parsed.sealed, sealed);
            prop_assert_eq!(NtsAuthenticator::parse(&body[..body.len() - 1]), None);
        }

        #[test]
        fn parsed_parts_fit_in_the_body(body in vec(any::<u8>(), 0..80)) {
            if let Some(field) = NtsAuthenticator::parse(&body) {
                prop_assert!(field.nonce.len() + field.sealed.len() + 4 <= body.len());
            }
        }
    }
}
