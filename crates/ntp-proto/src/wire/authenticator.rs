//! The field that authenticates an NTS packet: a nonce, and extension fields that only the other side can read
//! (RFC 8915 section 5.6).
//!
//! ```text
//! | nonce length: 16 bits | sealed length: 16 bits | nonce, padded to 4 | sealed, padded to 4 | more padding |
//! ```
//!
//! It covers the packet from its beginning up to this field, but neither its own type and length nor what follows. The padding is not
//! covered, and means nothing. A client whose nonce is short pads the field so that the server's may be longer
//! without the reply being longer than the request; [`NtsAuthenticator::nonce_room`] tells how far that goes.

use super::{ExtensionField, Reader};

/// The body of an authenticator field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NtsAuthenticator<'a> {
    /// Never the same twice with one key.
    pub nonce: &'a [u8],
    /// What the cipher made of the encrypted extension fields, its tag included.
    pub sealed: &'a [u8],
    /// Octets in which a nonce could stand: the nonce's own and the padding behind everything.
    pub nonce_room: usize,
}

impl<'a> NtsAuthenticator<'a> {
    /// Octets before the nonce.
    const PREFIX: usize = 4;

    /// Reads a field's body. `None` if its lengths do not fit in it, or there is no nonce.
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
            nonce_room: nonce.len() + reader.remaining(),
        })
    }

    /// Octets of a body for a nonce and sealed octets of these lengths.
    pub const fn body_length(nonce: usize, sealed: usize) -> usize {
        Self::PREFIX + nonce.next_multiple_of(4) + sealed.next_multiple_of(4)
    }

    /// Writes lengths and nonce into a blank body and returns the place for `sealed` octets, which the caller fills. `None` if the body is too
    /// short.
    pub fn lay_out<'b>(body: &'b mut [u8], nonce: &[u8], sealed: usize) -> Option<&'b mut [u8]> {
        let (prefix, rest) = body.split_first_chunk_mut()?;
        let [n0, n1] = u16::try_from(nonce.len()).ok()?.to_be_bytes();
        let [s0, s1] = u16::try_from(sealed).ok()?.to_be_bytes();
        *prefix = [n0, n1, s0, s1];
        let (place, rest) = rest.split_at_mut_checked(nonce.len().next_multiple_of(4))?;
        place.get_mut(..nonce.len())?.copy_from_slice(nonce);
        rest.get_mut(..sealed)
    }

    /// Divides an emitted packet that ends with an authenticator field into what that covers and the field's body of `body` octets. `None` if
    /// the packet is shorter than such a field.
    pub fn divide(packet: &mut [u8], body: usize) -> Option<(&[u8], &mut [u8])> {
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
    fn lengths_that_do_not_fit_are_refused() {
        let body = |nonce: u16, sealed: u16, rest: usize| {
            let mut octets = [nonce.to_be_bytes(), sealed.to_be_bytes()].concat();
            octets.resize(4 + rest, 9);
            octets
        };
        let room = |octets: &[u8]| NtsAuthenticator::parse(octets).map(|field| field.nonce_room);
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
        fn what_is_laid_out_is_parsed(nonce in vec(any::<u8>(), 1..40), sealed in vec(any::<u8>(), 0..100)) {
            let mut body = vec![0; NtsAuthenticator::body_length(nonce.len(), sealed.len())];
            let place = NtsAuthenticator::lay_out(&mut body, &nonce, sealed.len()).unwrap();
            place.copy_from_slice(&sealed);
            let parsed = NtsAuthenticator::parse(&body).unwrap();
            prop_assert_eq!(parsed.nonce, nonce);
            prop_assert_eq!(parsed.sealed, sealed);
            prop_assert_eq!(NtsAuthenticator::parse(&body[..body.len() - 1]), None);
        }

        #[test]
        fn any_octets_are_parsed_or_refused(body in vec(any::<u8>(), 0..80)) {
            if let Some(field) = NtsAuthenticator::parse(&body) {
                prop_assert!(field.nonce.len() + field.sealed.len() + 4 <= body.len());
            }
        }
    }
}
