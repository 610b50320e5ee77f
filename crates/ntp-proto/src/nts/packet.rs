//! NTS on the client's side of a packet (RFC 8915 section 5.7): a request with a cookie, and what its reply proves.
//!
//! ```text
//! request: | header | unique identifier | cookie | placeholder ... | authenticator |
//! reply:   | header | unique identifier | authenticator, with new cookies in it |
//! ```
//!
//! A placeholder is as long as a cookie and holds nothing. It buys room for one more cookie in the reply, which
//! is never longer than the request.

use rand_core::RngCore;

use super::{AeadAlgorithm, Cookie, Direction, SessionKeys};
use crate::wire::{
    ExtensionField, Extensions, Header, NtsAuthenticator, Packet, Unemittable, Writer, emit,
};

/// What makes a request recognisable: 32 random octets that its reply has to repeat (RFC 8915 section 5.3).
pub type UniqueIdentifier = [u8; 32];

/// Octets of the longest request: what goes through any IPv6 path, tunnels included.
const LONGEST_REQUEST: usize = 1232;

/// A request with NTS.
#[derive(Clone, Debug)]
pub struct NtsRequest {
    /// The datagram.
    pub octets: Vec<u8>,
    /// What its reply must repeat.
    pub unique_identifier: UniqueIdentifier,
}

impl NtsRequest {
    /// A request that says `header`, with a cookie that is thereby used up. It asks for `cookies` new ones, or for fewer if it would become too
    /// long.
    ///
    /// # Errors
    /// [`Unemittable`] if the header is not of version 4, or the cookie longer than any request may be.
    pub fn new(
        header: &Header,
        keys: &SessionKeys,
        cookie: &Cookie,
        cookies: usize,
        rng: &mut impl RngCore,
    ) -> Result<Self, Unemittable> {
        let algorithm = keys.algorithm();
        let mut unique_identifier = [0; 32];
        rng.fill_bytes(&mut unique_identifier);
        let body = NtsAuthenticator::body_length(algorithm.nonce_length(), AeadAlgorithm::OVERHEAD);
        let blank = [0; Cookie::LONGEST];
        let field = |field_type, body| ExtensionField { field_type, body };
        let length = |body: usize| (ExtensionField::PREFIX + body).next_multiple_of(4).max(16);
        let each = length(cookie.octets().len());
        let least = Header::LEN + length(unique_identifier.len()) + each + length(body);
        let placeholders = cookies
            .saturating_sub(1)
            .min(LONGEST_REQUEST.saturating_sub(least) / each);
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
        emit(header, fields, None, &mut Writer::new(&mut octets))?;

        let mut nonce = [0; 16];
        rng.fill_bytes(&mut nonce);
        let nonce = nonce.get(..algorithm.nonce_length()).unwrap_or_default();
        let (covered, place) =
            NtsAuthenticator::divide(&mut octets, body).ok_or(Unemittable::NoRoom)?;
        NtsAuthenticator::lay_out(place, nonce, AeadAlgorithm::OVERHEAD)
            .and_then(|sealed| keys.seal(Direction::ClientToServer, covered, nonce, sealed))
            .ok_or(Unemittable::NoRoom)?;
        Ok(Self {
            octets,
            unique_identifier,
        })
    }
}

/// What a reply to a request with NTS is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// The server wrote it, for this request. It brought these cookies, sealed where nobody else could read them.
    Authentic(Vec<Cookie>),
    /// Somebody who saw the request wrote it: perhaps the server, because it cannot open the cookie.
    Unproved,
    /// It answers another request, or was written by somebody who did not see this one.
    NotOurs,
}

/// Judges a reply to the request with this identifier.
pub fn prove(
    reply: &Packet<'_>,
    keys: &SessionKeys,
    unique_identifier: &UniqueIdentifier,
) -> Proof {
    let mut identifiers = reply
        .extensions()
        .filter(|field| field.field_type == ExtensionField::UNIQUE_IDENTIFIER);
    // Padding may follow it.
    if !identifiers
        .next()
        .is_some_and(|field| field.body.starts_with(unique_identifier))
    {
        return Proof::NotOurs;
    }
    authentic_cookies(reply, keys).map_or(Proof::Unproved, Proof::Authentic)
}

fn authentic_cookies(reply: &Packet<'_>, keys: &SessionKeys) -> Option<Vec<Cookie>> {
    let mut fields = reply.extensions();
    let mut identified = false;
    loop {
        let associated = fields.preceding();
        let field = fields.next()?;
        match field.field_type {
            ExtensionField::UNIQUE_IDENTIFIER => identified = true,
            // An identifier that stands behind it is not covered.
            ExtensionField::NTS_AUTHENTICATOR if identified => {
                let NtsAuthenticator { nonce, sealed, .. } = NtsAuthenticator::parse(field.body)?;
                let mut sealed = sealed.to_vec();
                let text = keys
                    .open(Direction::ServerToClient, associated, nonce, &mut sealed)
                    .ok()?;
                let cookies = Extensions::of(text)
                    .filter(|field| field.field_type == ExtensionField::NTS_COOKIE)
                    .filter_map(|field| Cookie::new(field.body));
                return Some(cookies.take(Cookie::IN_STOCK).collect());
            }
            ExtensionField::NTS_AUTHENTICATOR => return None,
            _ => {}
        }
    }
}
