//! Keys, cookies and proofs that stand in for the real ones.
//!
//! # Problem
//! A record holds no key, yet the engine asks with keys and believes only what was proved with them. A switch in the engine that has it believe without proof would be a
//! hole in the wall for the sake of looking at it.
//!
//! # Idea
//! The record says what each reply proved ([`Evidence`]). The replay gives the engine keys that everybody knows, plays the server who has them too, and proves as
//! much again. So the engine's own code runs, unchanged.
//!
//! A stand-in for an NTS cookie is the number of the cipher; as with real cookies, the request thereby tells what its reply is to be sealed with.
//! A symmetric key is known by its number, its type, and the how manieth secret it is that the record has met, so that another secret under the same number is another key.

use std::sync::Arc;

use ntp_proto::client::Evidence;
use ntp_proto::keys::{Algorithm, Key, KeyId};
use ntp_proto::nts::{
    AeadAlgorithm, Cookie, Direction, KeyExchangeResult, KeyExchanged, SessionKeys,
};
use ntp_proto::wire::{ExtensionField, Header, NtsAuthenticator, Packet, Reader, Writer, emit};

use crate::input::{RecordedKeyExchange, RecordedReply};

/// Secrets told apart. A key file that is changed more often than that is not told from the one before.
const SECRETS: usize = 1024;

/// Octets of a stand-in's secret where the algorithm does not say.
const SECRET: usize = 16;

/// Octets of a cookie field in a reply.
const COOKIE_FIELD: usize = 16;

/// Which secrets there are, without telling them.
#[derive(Debug, Default)]
pub struct Redactor {
    seen: Vec<Arc<Key>>,
}

impl Redactor {
    /// The how manieth secret this is.
    pub(crate) fn number(&mut self, key: &Arc<Key>) -> usize {
        let known = self.seen.iter().position(|seen| seen == key);
        known.unwrap_or_else(|| {
            if self.seen.len() < SECRETS {
                self.seen.push(Arc::clone(key));
            }
            self.seen.len() - 1
        })
    }
}

/// The key that stands in for the `number`th secret.
pub(crate) fn key(id: KeyId, algorithm: Algorithm, number: u64) -> Option<Key> {
    let length = algorithm.secret_length().unwrap_or(SECRET);
    let number = number.to_be_bytes();
    let secret: Vec<u8> = number.iter().copied().cycle().take(length).collect();
    Key::new(id, algorithm, &secret).ok()
}

fn session_keys(algorithm: AeadAlgorithm) -> Option<SessionKeys> {
    let key = vec![0; algorithm.key_length()];
    SessionKeys::new(algorithm, &key, &key)
}

fn cookie(algorithm: AeadAlgorithm) -> Option<Cookie> {
    Cookie::new(&algorithm.id().to_be_bytes())
}

/// What stands in for the outcome of a key exchange.
pub(crate) fn exchanged(granted: &RecordedKeyExchange) -> Option<KeyExchanged> {
    let keys = session_keys(granted.algorithm)?;
    let cookie = cookie(granted.algorithm)?;
    Some(KeyExchanged {
        from: granted.from,
        result: KeyExchangeResult {
            legacy_keys: granted.legacy.then(|| keys.clone()),
            keys,
            cookies: vec![cookie; granted.cookies.min(Cookie::IN_STOCK)],
            server: granted.server.clone(),
            port: granted.port,
        },
    })
}

/// A datagram that proves to whoever sent `request` what the recorded one proved. `keys` are those in use.
pub(crate) fn reply(heard: &RecordedReply, request: &[u8], keys: &[Arc<Key>]) -> Vec<u8> {
    let mut octets = heard.header.clone();
    if heard.malformed {
        // One octet short of a header, or whatever was even shorter.
        octets.truncate(Header::LEN - 1);
        return octets;
    }
    let proved = match heard.evidence {
        Evidence::Unasked | Evidence::Nothing => None,
        Evidence::Refusal => Some(refusal(&octets, request)),
        Evidence::Authentic { cookies } => authentic(&octets, request, cookies, keys),
    };
    proved.unwrap_or(octets)
}

/// An NTS NAK repeats the request's identifier; a crypto-NAK is a key number of 0.
fn refusal(header: &[u8], request: &[u8]) -> Vec<u8> {
    let nak = || [header, &[0; 4]].concat();
    nts_of(request)
        .and_then(|(identifier, _)| with_fields(header, &identifier, 0))
        .unwrap_or_else(nak)
}

fn authentic(header: &[u8], request: &[u8], cookies: usize, keys: &[Arc<Key>]) -> Option<Vec<u8>> {
    if let Some((identifier, algorithm)) = nts_of(request) {
        return sealed(header, &identifier, algorithm, cookies);
    }
    let packet = Packet::parse(request).ok()?;
    let mac = packet.mac?;
    let key = keys
        .iter()
        .find(|key| key.id() == mac.key_id && key.verify(packet.authenticated(), mac.digest))?;
    let id = key.id().to_be_bytes();
    Some([header, &id, key.sign(header).version_4()].concat())
}

/// The identifier of a request with NTS, and the cipher that its cookie names.
fn nts_of(request: &[u8]) -> Option<(Vec<u8>, AeadAlgorithm)> {
    let packet = Packet::parse(request).ok()?;
    let body = |wanted: u16| {
        let mut fields = packet.extensions();
        fields.find(|field| field.field_type == wanted)
    };
    let identifier = body(ExtensionField::UNIQUE_IDENTIFIER)?.body.to_vec();
    let number = *body(ExtensionField::NTS_COOKIE)?.body.first_chunk()?;
    let algorithm = AeadAlgorithm::from_id(u16::from_be_bytes(number))?;
    Some((identifier, algorithm))
}

/// A packet with the identifier and, if it is to have any length, the body of an authenticator in blank.
fn with_fields(header: &[u8], identifier: &[u8], body: usize) -> Option<Vec<u8>> {
    let header = Header::parse(&mut Reader::new(header)).ok()?;
    let blank = vec![0; body];
    let field = |field_type, body| ExtensionField { field_type, body };
    let fields = [field(ExtensionField::UNIQUE_IDENTIFIER, identifier)]
        .into_iter()
        .chain((body > 0).then_some(field(ExtensionField::NTS_AUTHENTICATOR, &blank)));
    let length = |body: usize| (ExtensionField::PREFIX + body).next_multiple_of(4);
    let authenticator = if body > 0 { length(body) } else { 0 };
    let mut octets = vec![0; Header::LEN + length(identifier.len()) + authenticator];
    emit(&header, fields, None, &mut Writer::new(&mut octets)).ok()?;
    Some(octets)
}

fn sealed(
    header: &[u8],
    identifier: &[u8],
    algorithm: AeadAlgorithm,
    cookies: usize,
) -> Option<Vec<u8>> {
    let keys = session_keys(algorithm)?;
    let length = AeadAlgorithm::OVERHEAD + cookies.min(Cookie::IN_STOCK) * COOKIE_FIELD;
    let body = NtsAuthenticator::body_length(algorithm.nonce_length(), length);
    let mut octets = with_fields(header, identifier, body)?;
    let (covered, place) = NtsAuthenticator::divide(&mut octets, body)?;
    let nonce = vec![0; algorithm.nonce_length()];
    let sealed = NtsAuthenticator::lay_out(place, &nonce, length)?;
    let text = sealed.get_mut(algorithm.text(length)?)?;
    for field in text.chunks_exact_mut(COOKIE_FIELD) {
        let mut writer = Writer::new(field);
        writer.u16(ExtensionField::NTS_COOKIE).ok()?;
        writer.u16(COOKIE_FIELD as u16).ok()?;
        writer.put(cookie(algorithm)?.octets()).ok()?;
    }
    keys.seal(Direction::ServerToClient, covered, &nonce, sealed)?;
    Some(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_secret_is_another_key_and_the_same_one_the_same() {
        let real = |secret: &[u8]| Arc::new(Key::new(5, Algorithm::Sha1, secret).unwrap());
        let mut redactor = Redactor::default();
        let numbers = [b"a", b"b", b"a"].map(|secret| redactor.number(&real(secret)));
        assert_eq!(numbers, [0, 1, 0]);
        let surrogate = |number| key(5, Algorithm::Sha1, number).unwrap();
        assert_eq!(surrogate(0), surrogate(0));
        assert_ne!(surrogate(0), surrogate(1));
    }
}
