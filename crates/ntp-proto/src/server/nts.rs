//! NTS on the server's side of a packet (RFC 8915 section 5.7): whose request it is, and how the reply is sealed.
//!
//! A request carries its session's keys in a cookie. Opening that and checking the request is most of what an NTS request costs, so it comes
//! after everything that can refuse it more cheaply. The reply gets as many new cookies as the request has cookie and placeholder fields, as far
//! as they fit in the request's length. They are made at once; encrypting them is left to [`Draft::seal`](super::Draft::seal), because the
//! tag covers the transmit timestamp.

use rand_core::RngCore;

use super::Draft;
use crate::nts::{AeadAlgorithm, Cookie, Direction, Keyset, SessionKeys};
use crate::wire::{ExtensionField, Header, NtsAuthenticator, Packet, Unemittable, Writer, emit};

/// The extension fields of a request that concern a server.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a> {
    pub(super) unique_identifier: Option<ExtensionField<'a>>,
    /// Set if the request asks for NTS.
    pub(super) nts: Option<NtsFields<'a>>,
}

/// What makes a request one with NTS.
#[derive(Clone, Copy)]
pub(super) struct NtsFields<'a> {
    /// The only cookie; `None` if there is no cookie or more than one.
    cookie: Option<&'a [u8]>,
    /// Cookies that the client would like to have: one and one for each placeholder.
    wanted: usize,
    /// What the authenticator covers.
    associated: &'a [u8],
    /// The authenticator's body.
    authenticator: &'a [u8],
}

impl<'a> Fields<'a> {
    /// Those of most requests.
    pub(super) const NONE: Self = Self {
        unique_identifier: None,
        nts: None,
    };

    #[inline]
    pub(super) fn of(packet: &Packet<'a>) -> Self {
        if packet.authenticated().len() == Header::LEN {
            return Self::NONE;
        }
        Self::search(packet)
    }

    #[inline(never)]
    fn search(packet: &Packet<'a>) -> Self {
        let mut fields = Self::NONE;
        let (mut cookies, mut placeholders) = (0, 0);
        let mut cookie = None;
        let mut extensions = packet.extensions();
        loop {
            let associated = extensions.preceding();
            let Some(field) = extensions.next() else {
                return fields;
            };
            match field.field_type {
                ExtensionField::UNIQUE_IDENTIFIER => {
                    fields.unique_identifier = fields.unique_identifier.or(Some(field));
                }
                ExtensionField::NTS_COOKIE => {
                    cookies += 1;
                    cookie = Some(field.body);
                }
                ExtensionField::NTS_PLACEHOLDER => placeholders += 1,
                ExtensionField::NTS_AUTHENTICATOR => {
                    fields.nts = Some(NtsFields {
                        cookie: cookie.filter(|_| cookies == 1),
                        wanted: 1 + placeholders,
                        associated,
                        authenticator: field.body,
                    });
                    // What follows is not authenticated, and thereby nothing.
                    return fields;
                }
                _ => {}
            }
        }
    }
}

/// A client that holds one of our cookies and the keys in it, and what its reply needs. It is opened, used and wiped where it
/// lies, in the [`Draft`]: carrying keys about costs more than all that a request without NTS needs.
#[derive(Clone, Debug)]
pub(super) struct Session {
    keys: SessionKeys,
    /// Cookies that it would like to have.
    wanted: usize,
    /// Octets of the authenticator's body, with which the reply ends; 0 until it is written.
    body: usize,
}

impl Session {
    /// `None` if the cookie is not ours or its key is gone, or the request was not written by whom we gave it to.
    #[inline(never)]
    pub(super) fn open(keyset: &Keyset, fields: &NtsFields<'_>) -> Option<Self> {
        let authenticator = NtsAuthenticator::parse(fields.authenticator)?;
        let keys = keyset.open_cookie(fields.cookie?)?;
        // RFC 8915 section 5.6: there must be room for a nonce of ours.
        if authenticator.nonce_room < keys.algorithm().nonce_length() {
            return None;
        }
        let NtsAuthenticator { nonce, sealed, .. } = authenticator;
        let open = |sealed: &mut [u8]| {
            let direction = Direction::ClientToServer;
            keys.open(direction, fields.associated, nonce, sealed)
                .is_ok()
        };
        // Of encrypted fields in a request none means anything to us.
        let authentic = match <[u8; AeadAlgorithm::OVERHEAD]>::try_from(sealed) {
            Ok(mut tag) => open(&mut tag),
            Err(_) => open_long(sealed, open),
        };
        authentic.then_some(Self {
            keys,
            wanted: fields.wanted,
            body: 0,
        })
    }

    /// Encrypts the cookies of `reply` and authenticates it. Not to be done twice.
    #[inline(never)]
    pub(super) fn seal(&self, reply: &mut [u8]) -> Option<()> {
        let algorithm = self.keys.algorithm();
        let (covered, body) = NtsAuthenticator::divide(reply, self.body)?;
        let (front, sealed) =
            body.split_at_mut_checked(NtsAuthenticator::body_length(algorithm.nonce_length(), 0))?;
        let nonce = front.get(NtsAuthenticator::body_length(0, 0)..)?;
        self.keys
            .seal(Direction::ServerToClient, covered, nonce, sealed)
    }
}

#[inline(never)]
fn open_long(sealed: &[u8], open: impl FnOnce(&mut [u8]) -> bool) -> bool {
    let mut copy = [0; Draft::CAPACITY];
    copy.get_mut(..sealed.len()).is_some_and(|copy| {
        copy.copy_from_slice(sealed);
        open(copy)
    })
}

/// Writes a reply whose cookies stand unencrypted where [`Session::seal`] will encrypt them.
#[inline(never)]
pub(super) fn write(
    header: &Header,
    unique_identifier: Option<ExtensionField<'_>>,
    session: &mut Session,
    keyset: &Keyset,
    random: &mut impl RngCore,
    writer: &mut Writer<'_>,
) -> Result<(), Unemittable> {
    const BLANK: [u8; Draft::CAPACITY] = [0; Draft::CAPACITY];
    let algorithm = session.keys.algorithm();
    let cookie = Keyset::cookie_length(algorithm);
    let body = |cookies| {
        let sealed = AeadAlgorithm::OVERHEAD + cookies * (ExtensionField::PREFIX + cookie);
        NtsAuthenticator::body_length(algorithm.nonce_length(), sealed)
    };
    let identifier = unique_identifier.map_or(0, |field| ExtensionField::PREFIX + field.body.len());
    let without = Header::LEN + identifier + ExtensionField::PREFIX + body(0);
    let room = writer.room().saturating_sub(without);
    let cookies = (room / (ExtensionField::PREFIX + cookie))
        .min(session.wanted)
        .min(Cookie::IN_STOCK);
    let body = body(cookies);
    let authenticator = ExtensionField {
        field_type: ExtensionField::NTS_AUTHENTICATOR,
        body: BLANK.get(..body).ok_or(Unemittable::NoRoom)?,
    };
    let fields = unique_identifier.into_iter().chain([authenticator]);
    emit(header, fields, None, writer)?;
    let (_, place) =
        NtsAuthenticator::divide(writer.written_mut(), body).ok_or(Unemittable::NoRoom)?;
    lay_out(place, &session.keys, cookies, keyset, random).ok_or(Unemittable::NoRoom)?;
    session.body = body;
    Ok(())
}

/// Writes the nonce and the cookies. `None` if they do not fit, which their number rules out.
fn lay_out(
    body: &mut [u8],
    keys: &SessionKeys,
    cookies: usize,
    keyset: &Keyset,
    random: &mut impl RngCore,
) -> Option<()> {
    let algorithm = keys.algorithm();
    let cookie = Keyset::cookie_length(algorithm);
    let field = ExtensionField::PREFIX + cookie;
    let mut nonce = [0; 16];
    random.fill_bytes(&mut nonce);
    let nonce = nonce.get(..algorithm.nonce_length())?;
    let sealed = NtsAuthenticator::lay_out(body, nonce, AeadAlgorithm::OVERHEAD + cookies * field)?;
    let text = algorithm.text(sealed.len())?;
    let mut text = Writer::new(sealed.get_mut(text)?);
    for _ in 0..cookies {
        let mut nonce = [0; 16];
        random.fill_bytes(&mut nonce);
        text.u16(ExtensionField::NTS_COOKIE).ok()?;
        text.u16(u16::try_from(field).ok()?).ok()?;
        keyset.seal_cookie_into(keys, nonce, text.space(cookie).ok()?)?;
    }
    Some(())
}
