//! A reply that lacks only its transmit timestamp and the tag that covers it.

use std::sync::Arc;

use ntp_time::SystemTime;
use rand_core::RngCore;

use crate::keys::Key;
use crate::nts::Keyset;
use crate::wire::{ExtensionField, Header, Mac, Unemittable, Writer, emit};

use super::StampToken;
use super::interleaved::as_transmit;
use super::nts::{self, NtsFields, Session};

/// A buffer for one reply. Workers keep one for each place in their batch and use it again and again.
#[derive(Clone, Debug)]
pub struct Draft {
    octets: [u8; Self::CAPACITY],
    /// Octets in use; 0 while there is no reply.
    length: usize,
    /// The transmit timestamp stands already: that of an earlier reply.
    interleaved: bool,
    signature: Option<Signature>,
    /// Whose request it answers; until the reply is sealed.
    session: Option<Session>,
    token: Option<StampToken>,
}

/// A digest to be calculated over all but itself.
#[derive(Clone, Debug)]
pub(super) struct Signature {
    pub(super) key: Arc<Key>,
    /// Octets of digest, at the reply's end.
    pub(super) length: usize,
}

/// What is to be written.
pub(super) struct Reply<'a> {
    pub(super) header: &'a Header,
    /// The one field that is echoed.
    pub(super) field: Option<ExtensionField<'a>>,
    pub(super) authenticator: Authenticator<'a>,
    /// Leave the header's transmit timestamp as it is.
    pub(super) interleaved: bool,
    pub(super) token: Option<StampToken>,
}

/// What ends a reply.
pub(super) enum Authenticator<'a> {
    None,
    CryptoNak,
    Signature(Signature),
    /// That of the session in the draft; with what cookies are made.
    Nts(&'a Keyset),
}

impl Draft {
    /// The longest reply: what fits an Ethernet frame through a tunnel, and what eight NTS cookies need.
    pub const CAPACITY: usize = 1232;

    /// An empty draft.
    pub const fn new() -> Self {
        Self {
            octets: [0; Self::CAPACITY],
            length: 0,
            interleaved: false,
            signature: None,
            session: None,
            token: None,
        }
    }

    /// Stamps and signs the reply and gives it out for sending; nothing if there is none. Sealed again, a reply is stamped again, but for one
    /// with NTS, which stays as it is.
    ///
    /// `transmit` is when the reply leaves: the caller reads the clock as late as it can, and adds what it
    /// knows about the time from there to the wire.
    pub fn seal(&mut self, transmit: SystemTime) -> &[u8] {
        let Some(reply) = self.octets.get_mut(..self.length) else {
            return &[];
        };
        if let (false, Some(header)) = (self.interleaved, reply.first_chunk_mut()) {
            Header::restamp(header, as_transmit(transmit.to_ntp()));
        }
        if let Some(session) = &self.session {
            let sealed = session.seal(reply);
            self.session = None;
            // What is sealed cannot be stamped again.
            self.interleaved = true;
            if sealed.is_none() {
                // Cannot be: it was laid out for this. What is not sealed must not leave.
                self.length = 0;
                return &[];
            }
        }
        if let Some(Signature { key, length }) = &self.signature
            && let Some((covered, digest)) = Mac::divide(reply, *length)
        {
            for (to, from) in digest.iter_mut().zip(key.sign(covered).whole()) {
                *to = *from;
            }
        }
        reply
    }

    /// Set if the client will ask when this reply really left. Then have the kernel stamp it on its way out, and
    /// report to [`WorkerState::sent`](super::WorkerState::sent).
    pub const fn stamp_wanted(&self) -> Option<StampToken> {
        self.token
    }

    /// Octets that [`seal`](Self::seal) will give out; 0 if there is no reply.
    pub const fn len(&self) -> usize {
        self.length
    }

    /// Whether there is no reply.
    pub const fn is_empty(&self) -> bool {
        self.length == 0
    }

    #[inline]
    pub(super) fn clear(&mut self) {
        self.length = 0;
        self.signature = None;
        self.session = None;
        self.token = None;
    }

    /// Opens the session of a request, whose reply is to be written here. False if its cookie cannot be read, or it is not authentic.
    pub(super) fn open(&mut self, keyset: &Keyset, fields: &NtsFields<'_>) -> bool {
        self.session = Session::open(keyset, fields);
        self.session.is_some()
    }

    /// Writes a reply of no more than `limit` octets; the draft is empty before, but for a session. Cookies are made with numbers from `random`.
    #[inline]
    pub(super) fn write(
        &mut self,
        reply: Reply<'_>,
        limit: usize,
        random: &mut impl RngCore,
    ) -> Result<(), Unemittable> {
        let room = limit.min(Self::CAPACITY);
        // Nearly every reply there is.
        if let (Authenticator::None, None) = (&reply.authenticator, reply.field) {
            let room = self.octets.get_mut(..room).unwrap_or_default();
            reply.header.emit(&mut Writer::new(room))?;
            self.length = Header::LEN;
        } else {
            let Reply {
                header,
                field,
                authenticator,
                ..
            } = reply;
            self.length = self.write_long(header, field, authenticator, room, random)?;
        }
        self.interleaved = reply.interleaved;
        self.token = reply.token;
        Ok(())
    }

    /// Writes a reply with more than a header. Returns its length.
    #[inline(never)]
    fn write_long(
        &mut self,
        header: &Header,
        field: Option<ExtensionField<'_>>,
        authenticator: Authenticator<'_>,
        room: usize,
        random: &mut impl RngCore,
    ) -> Result<usize, Unemittable> {
        let mut writer = Writer::new(self.octets.get_mut(..room).unwrap_or_default());
        match authenticator {
            Authenticator::None => emit(header, field, None, &mut writer)?,
            Authenticator::CryptoNak => emit(header, field, Some(Mac::CRYPTO_NAK), &mut writer)?,
            Authenticator::Signature(signature) => {
                emit(header, field, Some(signature.blank()), &mut writer)?;
                self.signature = Some(signature);
            }
            Authenticator::Nts(keyset) => {
                let session = self.session.as_mut().ok_or(Unemittable::NoRoom)?;
                nts::write(header, field, session, keyset, random, &mut writer)?;
            }
        }
        Ok(writer.written().len())
    }
}

impl Signature {
    /// The digest is left blank: it is calculated when the reply is sealed.
    fn blank(&self) -> Mac<'static> {
        const BLANK: [u8; 64] = [0; 64];
        Mac {
            key_id: self.key.id(),
            digest: BLANK.get(..self.length).unwrap_or_default(),
        }
    }
}

impl Default for Draft {
    fn default() -> Self {
        Self::new()
    }
}
