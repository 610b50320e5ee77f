//! Surrogates of keys, cookies and authenticators.
//!
//! # Problem
//! A record contains no key, but the engine authenticates its requests with keys and accepts only
//! authenticated replies. A switch in the engine that disables authentication for a replay would be
//! a vulnerability.
//!
//! # Solution
//! The record contains the result of each reply's authentication ([`Authenticity`]). The replay gives
//! the engine well-known keys, acts as the server with the same keys, and reproduces that result.
//! The engine's own code runs unchanged.
//!
//! The surrogate of an NTS cookie is the number of the AEAD algorithm: as with real cookies, the
//! request thereby determines the keys of its reply. A symmetric key is recorded by its number, its
//! algorithm and the index of its secret in the record, so that another secret under the same
//! number is another key.

use std::sync::Arc;

use ntp_proto::client::{Authenticity, Protection};
use ntp_proto::engine::SourceConfig;
use ntp_proto::keys::{Algorithm, Key, KeyId};
use ntp_proto::nts::{
    AeadAlgorithm, Cookie, Direction, KeyExchangeResult, KeyExchanged, NextProtocol, SessionKeys,
};
use ntp_proto::wire::v5::draft;
use ntp_proto::wire::{ExtensionField, Header, NtsAuthenticator, Packet, Reader, Writer, emit, v5};
use serde::{Deserialize, Serialize};

use ntp_types::host::Host;

use crate::input::{RecordedKeyExchange, RecordedReply};
use crate::version_5;

/// Maximum number of distinguished secrets. Later ones count as the last.
const SECRETS: usize = 1024;

/// Octets of a surrogate secret if the algorithm does not define its length.
const SECRET: usize = 16;

/// Octets of a cookie field in a reply.
const COOKIE_FIELD: usize = 16;

/// Replaces the secrets of keys by indices.
#[derive(Debug, Default)]
pub struct Redactor {
    seen: Vec<Arc<Key>>,
}

impl Redactor {
    /// Returns the recorded form of a source's symmetric key, if it has one.
    pub(crate) fn key(&mut self, source: &SourceConfig) -> Option<RecordedKey> {
        match &source.association.protection {
            Protection::Symmetric(key) => Some(RecordedKey {
                id: key.id(),
                algorithm: key.algorithm().name().to_owned(),
                secret: self.index(key),
            }),
            Protection::None | Protection::Nts(_) => None,
        }
    }

    /// Returns the index of a key's secret.
    fn index(&mut self, key: &Arc<Key>) -> usize {
        let known = self.seen.iter().position(|seen| seen == key);
        known.unwrap_or_else(|| {
            if self.seen.len() < SECRETS {
                self.seen.push(Arc::clone(key));
            }
            self.seen.len() - 1
        })
    }
}

/// A symmetric key as recorded, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RecordedKey {
    id: KeyId,
    algorithm: String,
    /// Index of the secret.
    secret: usize,
}

impl RecordedKey {
    /// Returns a key with a well-known secret that depends on the index.
    pub(crate) fn surrogate(&self) -> Option<Protection> {
        let mut algorithms = Algorithm::ALL.into_iter();
        let algorithm = algorithms.find(|algorithm| algorithm.name() == self.algorithm)?;
        let length = algorithm.secret_length().unwrap_or(SECRET);
        let index = (self.secret as u64).to_be_bytes();
        let secret: Vec<u8> = index.iter().copied().cycle().take(length).collect();
        let key = Key::new(self.id, algorithm, &secret).ok()?;
        Some(Protection::Symmetric(Arc::new(key)))
    }
}

fn session_keys(algorithm: AeadAlgorithm) -> Option<SessionKeys> {
    let key = vec![0; algorithm.key_length()];
    SessionKeys::new(algorithm, &key, &key)
}

fn cookie(algorithm: AeadAlgorithm) -> Option<Cookie> {
    Cookie::new(&algorithm.id().to_be_bytes())
}

/// Returns the surrogate of a key exchange.
pub(crate) fn exchanged(recorded: &RecordedKeyExchange) -> Option<KeyExchanged> {
    let algorithm = AeadAlgorithm::from_id(recorded.algorithm)?;
    let (keys, cookie) = (session_keys(algorithm)?, cookie(algorithm)?);
    Some(KeyExchanged {
        from: recorded.from,
        member: recorded.member.clone(),
        result: KeyExchangeResult {
            protocol: match &recorded.draft {
                Some(name) => NextProtocol::NtpV5(draft::known_name(name.as_bytes())?),
                None => NextProtocol::NtpV4,
            },
            legacy_keys: recorded.legacy.then(|| keys.clone()),
            keys,
            cookies: vec![cookie; recorded.cookies.min(Cookie::MAX_STORED)],
            server: match &recorded.server {
                Some(server) => Some(Host::parse(server).ok()?),
                None => None,
            },
            port: recorded.port,
        },
    })
}

/// Returns a reply to `request` that is authenticated as the recorded one. `keys` are the
/// configured symmetric keys.
pub(crate) fn reply(recorded: &RecordedReply, request: &[u8], keys: &[Arc<Key>]) -> Vec<u8> {
    let mut octets = recorded.header.clone();
    if recorded.malformed {
        // Shorter than a header.
        octets.truncate(Header::LEN - 1);
        return octets;
    }
    if version_5::is_version_5(&octets) {
        return reply_of_version_5(octets, recorded.evidence, request, keys);
    }
    let authenticated = match recorded.evidence {
        Authenticity::NotChecked | Authenticity::Unauthenticated => None,
        Authenticity::Nak => Some(refusal(&octets, request)),
        Authenticity::Authentic { cookies } => authentic(&octets, request, cookies, keys),
    };
    authenticated.unwrap_or(octets)
}

fn reply_of_version_5(
    octets: Vec<u8>,
    evidence: Authenticity,
    request: &[u8],
    keys: &[Arc<Key>],
) -> Vec<u8> {
    let nts = nts_of(request);
    let identifier = nts.as_ref().map(|(identifier, _)| identifier.as_slice());
    let surrogate = match evidence {
        Authenticity::NotChecked | Authenticity::Unauthenticated => None,
        Authenticity::Nak => version_5::refusal(&octets, identifier),
        Authenticity::Authentic { cookies } => match &nts {
            Some((identifier, algorithm)) => version_5::covered(&octets, Some(identifier))
                .and_then(|front| sealed_behind(front, *algorithm, cookies)),
            None => signed(&octets, request, keys),
        },
    };
    surrogate.unwrap_or(octets)
}

/// The reply with the MAC of the request's key; `None` if the request has none.
fn signed(octets: &[u8], request: &[u8], keys: &[Arc<Key>]) -> Option<Vec<u8>> {
    let packet = v5::Packet::parse(request).ok()?;
    let mac = packet.mac?;
    let key = keys
        .iter()
        .find(|key| key.id() == mac.key_id && key.verify(packet.authenticated(), mac.digest))?;
    let covered = version_5::covered(octets, None)?;
    let tag = key.sign(&covered);
    version_5::with_mac(covered, key.id(), tag.whole())
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

/// Returns the unique identifier of a request with NTS, and the algorithm in its surrogate cookie.
fn nts_of(request: &[u8]) -> Option<(Vec<u8>, AeadAlgorithm)> {
    let v5 = v5::Packet::parse(request).ok();
    let v4 = Packet::parse(request).ok();
    let body = |wanted: u16| {
        let later = v5.iter().flat_map(v5::Packet::fields);
        let mut fields = later.chain(v4.iter().flat_map(Packet::extensions));
        fields.find(|field| field.field_type == wanted)
    };
    let identifier = body(ExtensionField::UNIQUE_IDENTIFIER)?.body.to_vec();
    let number = *body(ExtensionField::NTS_COOKIE)?.body.first_chunk()?;
    let algorithm = AeadAlgorithm::from_id(u16::from_be_bytes(number))?;
    Some((identifier, algorithm))
}

/// Returns a packet with the unique identifier and, unless `body` is 0, an authenticator with a
/// zeroed body of that length.
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
    let body = authenticator_body(algorithm, cookies);
    seal(with_fields(header, identifier, body)?, algorithm, cookies)
}

/// Appends an authenticator to header and fields.
fn sealed_behind(mut octets: Vec<u8>, algorithm: AeadAlgorithm, cookies: usize) -> Option<Vec<u8>> {
    let blank = vec![0; authenticator_body(algorithm, cookies)];
    let front = octets.len();
    octets.resize(front + ExtensionField::PREFIX + blank.len(), 0);
    let mut writer = Writer::new(octets.get_mut(front..)?);
    v5::emit_field(ExtensionField::NTS_AUTHENTICATOR, &blank, &mut writer).ok()?;
    seal(octets, algorithm, cookies)
}

/// Length of the body of an authenticator with this number of cookies.
fn authenticator_body(algorithm: AeadAlgorithm, cookies: usize) -> usize {
    NtsAuthenticator::body_length(algorithm.nonce_length(), sealed_length(cookies))
}

fn sealed_length(cookies: usize) -> usize {
    AeadAlgorithm::OVERHEAD + cookies.min(Cookie::MAX_STORED) * COOKIE_FIELD
}

/// Fills in the authenticator at the end.
fn seal(mut octets: Vec<u8>, algorithm: AeadAlgorithm, cookies: usize) -> Option<Vec<u8>> {
    let keys = session_keys(algorithm)?;
    let length = sealed_length(cookies);
    let body = authenticator_body(algorithm, cookies);
    let (covered, place) = NtsAuthenticator::split_packet(&mut octets, body)?;
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
    fn equal_secrets_have_equal_surrogates() {
        let mut redactor = Redactor::default();
        let mut index = |secret: &[u8]| {
            redactor.index(&Arc::new(Key::new(5, Algorithm::Sha1, secret).unwrap()))
        };
        assert_eq!([index(b"a"), index(b"b"), index(b"a")], [0, 1, 0]);
        let surrogate = |secret| {
            let algorithm = Algorithm::Sha1.name().to_owned();
            let key = RecordedKey {
                id: 5,
                algorithm,
                secret,
            };
            key.surrogate().unwrap()
        };
        assert_eq!(surrogate(0), surrogate(0));
        assert_ne!(surrogate(0), surrogate(1));
    }
}
