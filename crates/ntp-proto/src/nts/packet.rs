//! NTS, client side of a packet (RFC 8915 section 5.7): creates requests and verifies replies.
//!
//! ```text
//! request: | header | unique identifier | cookie | placeholder ... | authenticator |
//! reply:   | header | unique identifier | authenticator, with new cookies in it |
//! ```
//!
//! A placeholder is as long as a cookie and empty. It reserves space for one more cookie in the
//! reply, which is never longer than the request.

use rand_core::RngCore;

use super::{AeadAlgorithm, Cookie, Direction, SessionKeys};
use crate::wire::{
    EmitError, ExtensionField, Extensions, Header, NtsAuthenticator, Packet, Version, Writer, v5,
};

/// 32 random octets by which a reply is matched to its request (RFC 8915 section 5.3).
pub type UniqueIdentifier = [u8; 32];

/// A request with NTS.
#[derive(Clone, Debug)]
pub struct NtsRequest {
    /// The datagram.
    pub octets: Vec<u8>,
    /// Must be repeated in the reply.
    pub unique_identifier: UniqueIdentifier,
}

impl NtsRequest {
    /// Length of the longest request in octets: passes any IPv6 path, including tunnels.
    pub const MAX_LENGTH: usize = 1232;

    /// Creates a request of version 4 with this header and `cookie`, which must not be used again.
    /// Requests `cookies` new ones, or fewer if the request would become too long.
    ///
    /// # Errors
    ///
    /// [`EmitError`] if the header is not of version 4, or the cookie is too long for a request.
    pub fn new(
        header: &Header,
        keys: &SessionKeys,
        cookie: &Cookie,
        cookies: usize,
        rng: &mut impl RngCore,
    ) -> Result<Self, EmitError> {
        if header.version != Version::V4 {
            return Err(EmitError::FieldBeforeVersion4);
        }
        let mut front = [0; Header::LEN];
        header.emit(&mut Writer::new(&mut front))?;
        Self::behind(&front, keys, cookie, cookies, Self::MAX_LENGTH, rng)
    }

    /// Creates a request that begins with `front`: a header and perhaps other fields, which are
    /// authenticated with it. `limit` is the largest length in octets.
    ///
    /// # Errors
    ///
    /// [`EmitError`] if the cookie is too long for a request.
    pub fn behind(
        front: &[u8],
        keys: &SessionKeys,
        cookie: &Cookie,
        cookies: usize,
        limit: usize,
        rng: &mut impl RngCore,
    ) -> Result<Self, EmitError> {
        let algorithm = keys.algorithm();
        let mut unique_identifier = [0; 32];
        rng.fill_bytes(&mut unique_identifier);
        let body = NtsAuthenticator::body_length(algorithm.nonce_length(), AeadAlgorithm::OVERHEAD);
        let blank = [0; Cookie::MAX_LENGTH];
        let field = |field_type, body| ExtensionField { field_type, body };
        let length = |body: usize| (ExtensionField::PREFIX + body).next_multiple_of(4).max(16);
        let each = length(cookie.octets().len());
        let least = front.len() + length(unique_identifier.len()) + each + length(body);
        let placeholders = cookies
            .saturating_sub(1)
            .min(limit.saturating_sub(least) / each);
        let placeholder = blank.get(..cookie.octets().len()).unwrap_or_default();
        let fields = [
            field(ExtensionField::UNIQUE_IDENTIFIER, &unique_identifier[..]),
            field(ExtensionField::NTS_COOKIE, cookie.octets()),
        ]
        .into_iter()
        .chain((0..placeholders).map(|_| field(ExtensionField::NTS_PLACEHOLDER, placeholder)))
        .chain([field(
            ExtensionField::NTS_AUTHENTICATOR,
            blank.get(..body).unwrap_or_default(),
        )]);
        let mut octets = vec![0; least + placeholders * each];
        let mut writer = Writer::new(&mut octets);
        writer.put(front)?;
        for field in fields {
            field.emit(ExtensionField::MIN_LENGTH, &mut writer)?;
        }

        let mut nonce = [0; 16];
        rng.fill_bytes(&mut nonce);
        let nonce = nonce.get(..algorithm.nonce_length()).unwrap_or_default();
        let (covered, place) =
            NtsAuthenticator::split_packet(&mut octets, body).ok_or(EmitError::BufferTooSmall)?;
        NtsAuthenticator::lay_out(place, nonce, AeadAlgorithm::OVERHEAD)
            .and_then(|sealed| keys.seal(Direction::ClientToServer, covered, nonce, sealed))
            .ok_or(EmitError::BufferTooSmall)?;
        Ok(Self {
            octets,
            unique_identifier,
        })
    }
}

/// Result of verifying a reply to an NTS request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// The server sent it for this request. It carried these cookies in encrypted fields.
    Authentic(Vec<Cookie>),
    /// The unique identifier matches, but the reply is not authentic. The server may have sent it
    /// because it cannot open the cookie, or anyone who saw the request.
    Unauthenticated,
    /// The unique identifier does not match: the reply is for another request, or from a sender who
    /// did not see this one.
    Unrelated,
}

/// Extension fields of a packet, whatever its version.
pub trait CoveredFields<'a>: Iterator<Item = ExtensionField<'a>> + Clone {
    /// The packet's octets before the next field.
    fn preceding(&self) -> &'a [u8];
}

impl<'a> CoveredFields<'a> for Extensions<'a> {
    fn preceding(&self) -> &'a [u8] {
        self.preceding()
    }
}

impl<'a> CoveredFields<'a> for v5::Fields<'a> {
    fn preceding(&self) -> &'a [u8] {
        self.preceding()
    }
}

/// Verifies a reply to the request with this identifier.
pub fn verify_reply(
    reply: &Packet<'_>,
    keys: &SessionKeys,
    unique_identifier: &UniqueIdentifier,
) -> Proof {
    verify_fields(&reply.extensions(), keys, unique_identifier)
}

/// Verifies a reply with these fields to the request with this identifier.
pub fn verify_fields<'a>(
    fields: &impl CoveredFields<'a>,
    keys: &SessionKeys,
    unique_identifier: &UniqueIdentifier,
) -> Proof {
    let mut identifiers = fields
        .clone()
        .filter(|field| field.field_type == ExtensionField::UNIQUE_IDENTIFIER);
    // Padding may follow the identifier.
    if !identifiers
        .next()
        .is_some_and(|field| field.body.starts_with(unique_identifier))
    {
        return Proof::Unrelated;
    }
    authentic_cookies(fields.clone(), keys).map_or(Proof::Unauthenticated, Proof::Authentic)
}

fn authentic_cookies<'a>(
    mut fields: impl CoveredFields<'a>,
    keys: &SessionKeys,
) -> Option<Vec<Cookie>> {
    let mut identified = false;
    loop {
        let associated = fields.preceding();
        let field = fields.next()?;
        match field.field_type {
            ExtensionField::UNIQUE_IDENTIFIER => identified = true,
            // An identifier after the authenticator is not covered.
            ExtensionField::NTS_AUTHENTICATOR if identified => {
                let NtsAuthenticator { nonce, sealed, .. } = NtsAuthenticator::parse(field.body)?;
                let mut sealed = sealed.to_vec();
                let text = keys
                    .open(Direction::ServerToClient, associated, nonce, &mut sealed)
                    .ok()?;
                let cookies = Extensions::from_decrypted(text)
                    .filter(|field| field.field_type == ExtensionField::NTS_COOKIE)
                    .filter_map(|field| Cookie::new(field.body));
                return Some(cookies.take(Cookie::MAX_STORED).collect());
            }
            ExtensionField::NTS_AUTHENTICATOR => return None,
            _ => {}
        }
    }
}
