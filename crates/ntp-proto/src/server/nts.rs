//! NTS, server side of a packet (RFC 8915 section 5.7): authenticates requests and seals replies.
//!
//! A request carries its session's keys in a cookie. Opening the cookie and verifying the request
//! is most of the cost of an NTS request, so it comes after every cheaper check that can refuse it.
//! The reply gets as many new cookies as the request has cookie and placeholder fields, as far as
//! they fit in the request's length. They are created at once; [`Draft::seal`](super::Draft::seal)
//! encrypts them, because the tag covers the transmit timestamp.

use rand_core::RngCore;

use super::Draft;
use super::echoed::Echoed;
use crate::nts::{AeadAlgorithm, Cookie, Direction, Keyset, SessionKeys};
use crate::wire::{EmitError, ExtensionField, Header, NtsAuthenticator, Packet, Writer, emit, v5};

/// Extension fields of a request that concern the server.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a> {
    pub(super) echoed: Echoed<'a>,
    /// Set if the request has an NTS authenticator.
    pub(super) nts: Option<NtsFields<'a>>,
}

/// NTS fields of a request.
#[derive(Clone, Copy)]
pub(super) struct NtsFields<'a> {
    /// The cookie; `None` if there is no cookie or more than one.
    cookie: Option<&'a [u8]>,
    /// Number of cookies requested: one, and one for each placeholder.
    requested: usize,
    /// Octets that the authenticator covers.
    associated: &'a [u8],
    /// Body of the authenticator.
    authenticator: &'a [u8],
}

impl<'a> Fields<'a> {
    /// No fields, as in most requests.
    pub(super) const NONE: Self = Self {
        echoed: Echoed::NONE,
        nts: None,
    };

    #[inline]
    pub(super) fn from_packet(packet: &Packet<'a>) -> Self {
        if packet.authenticated().len() == Header::LEN {
            return Self::NONE;
        }
        Self::search(packet)
    }

    #[inline(never)]
    fn search(packet: &Packet<'a>) -> Self {
        let mut fields = Self::NONE;
        let mut search = NtsSearch::default();
        let mut extensions = packet.extensions();
        loop {
            let associated = extensions.preceding();
            let Some(field) = extensions.next() else {
                return fields;
            };
            if fields.echoed.keep(field) {
                continue;
            }
            fields.nts = search.add(field, associated);
            if fields.nts.is_some() {
                // Fields after the authenticator are not authenticated, and are ignored.
                return fields;
            }
        }
    }
}

impl<'a> NtsFields<'a> {
    /// The fields of NTS in a request of version 5.
    #[inline(never)]
    pub(super) fn search_version_5(packet: &v5::Packet<'a>) -> Option<Self> {
        if !packet.has_nts {
            return None;
        }
        let mut search = NtsSearch::default();
        let mut fields = packet.fields();
        loop {
            let associated = fields.preceding();
            if let Some(nts) = search.add(fields.next()?, associated) {
                return Some(nts);
            }
        }
    }
}

/// Collects the fields of NTS up to the authenticator.
#[derive(Default)]
struct NtsSearch<'a> {
    cookies: usize,
    placeholders: usize,
    cookie: Option<&'a [u8]>,
}

impl<'a> NtsSearch<'a> {
    /// Adds a field that follows `associated`. Returns the result if it is the authenticator.
    fn add(&mut self, field: ExtensionField<'a>, associated: &'a [u8]) -> Option<NtsFields<'a>> {
        match field.field_type {
            ExtensionField::NTS_COOKIE => {
                self.cookies += 1;
                self.cookie = Some(field.body);
            }
            ExtensionField::NTS_PLACEHOLDER => self.placeholders += 1,
            ExtensionField::NTS_AUTHENTICATOR => {
                return Some(NtsFields {
                    cookie: self.cookie.filter(|_| self.cookies == 1),
                    requested: 1 + self.placeholders,
                    associated,
                    authenticator: field.body,
                });
            }
            _ => {}
        }
        None
    }
}

/// Session of an authentic request. It is opened, used and wiped in place, in the [`Draft`]: moving
/// keys costs more than everything that a request without NTS needs.
#[derive(Clone, Debug)]
pub(super) struct Session {
    keys: SessionKeys,
    /// Number of cookies requested.
    requested: usize,
    /// Length of the authenticator's body at the end of the reply, in octets; 0 until it is
    /// written.
    body: usize,
}

impl Session {
    /// Opens the session of a request. `None` if the cookie is not ours or its key is gone, or the
    /// authenticator is invalid.
    #[inline(never)]
    pub(super) fn open(keyset: &Keyset, fields: &NtsFields<'_>) -> Option<Self> {
        let authenticator = NtsAuthenticator::parse(fields.authenticator)?;
        let keys = keyset.open_cookie(fields.cookie?)?;
        // RFC 8915 section 5.6: there must be space for our nonce.
        if authenticator.nonce_capacity < keys.algorithm().nonce_length() {
            return None;
        }
        let NtsAuthenticator { nonce, sealed, .. } = authenticator;
        let open = |sealed: &mut [u8]| {
            let direction = Direction::ClientToServer;
            keys.open(direction, fields.associated, nonce, sealed)
                .is_ok()
        };
        // Encrypted fields in a request have no meaning for a server.
        let authentic = match <[u8; AeadAlgorithm::OVERHEAD]>::try_from(sealed) {
            Ok(mut tag) => open(&mut tag),
            Err(_) => open_long(sealed, open),
        };
        authentic.then_some(Self {
            keys,
            requested: fields.requested,
            body: 0,
        })
    }

    /// Encrypts the cookies of `reply` and authenticates it. Must not be called twice.
    #[inline(never)]
    pub(super) fn seal(&self, reply: &mut [u8]) -> Option<()> {
        let algorithm = self.keys.algorithm();
        let (covered, body) = NtsAuthenticator::split_packet(reply, self.body)?;
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

impl Session {
    /// Length of the authenticator field with `cookies` cookies, in octets.
    fn field_length(&self, cookies: usize) -> usize {
        let algorithm = self.keys.algorithm();
        let cookie = ExtensionField::PREFIX + Keyset::cookie_length(algorithm);
        let sealed = AeadAlgorithm::OVERHEAD + cookies * cookie;
        ExtensionField::PREFIX + NtsAuthenticator::body_length(algorithm.nonce_length(), sealed)
    }

    /// Number of cookies to send and length of the authenticator field with them, if the field has
    /// `room` octets.
    pub(super) fn plan(&self, room: usize) -> (usize, usize) {
        let cookie = ExtensionField::PREFIX + Keyset::cookie_length(self.keys.algorithm());
        let cookies = (room.saturating_sub(self.field_length(0)) / cookie)
            .min(self.requested)
            .min(Cookie::MAX_STORED);
        (cookies, self.field_length(cookies))
    }

    /// Fills the authenticator field of `length` octets at the end of `reply`, whose body is zeros:
    /// with the cookies in plain text where [`seal`](Self::seal) encrypts them.
    pub(super) fn lay_out(
        &mut self,
        reply: &mut [u8],
        (cookies, length): (usize, usize),
        keyset: &Keyset,
        random: &mut impl RngCore,
    ) -> Result<(), EmitError> {
        self.body = length - ExtensionField::PREFIX;
        let (_, place) =
            NtsAuthenticator::split_packet(reply, self.body).ok_or(EmitError::BufferTooSmall)?;
        lay_out(place, &self.keys, cookies, keyset, random).ok_or(EmitError::BufferTooSmall)
    }
}

/// The authenticator field of `length` octets, with a body of zeros.
pub(super) fn blank_authenticator(length: usize) -> Result<ExtensionField<'static>, EmitError> {
    const BLANK: [u8; Draft::CAPACITY] = [0; Draft::CAPACITY];
    let body = length.checked_sub(ExtensionField::PREFIX);
    Ok(ExtensionField {
        field_type: ExtensionField::NTS_AUTHENTICATOR,
        body: body
            .and_then(|body| BLANK.get(..body))
            .ok_or(EmitError::BufferTooSmall)?,
    })
}

/// Writes a reply with its cookies in plain text where [`Session::seal`] encrypts them.
#[inline(never)]
pub(super) fn write(
    header: &Header,
    echoed: Echoed<'_>,
    session: &mut Session,
    keyset: &Keyset,
    random: &mut impl RngCore,
    writer: &mut Writer<'_>,
) -> Result<(), EmitError> {
    let room = writer
        .remaining()
        .saturating_sub(Header::LEN + echoed.length());
    let plan = session.plan(room);
    let fields = echoed.iter().chain([blank_authenticator(plan.1)?]);
    emit(header, fields, None, writer)?;
    session.lay_out(writer.written_mut(), plan, keyset, random)
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
        keyset.seal_cookie_into(keys, nonce, text.reserve(cookie).ok()?)?;
    }
    Some(())
}
