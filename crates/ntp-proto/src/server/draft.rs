//! A reply that is complete except for its transmit timestamp and the tag or digest that covers it.

use std::sync::Arc;

use ntp_time::{NtpDuration, SystemTime};
use rand_core::RngCore;

use crate::keys::Key;
use crate::nts::Keyset;
use crate::wire::{EmitError, Header, Mac, Writer, emit};

use super::StampToken;
use super::echoed::Echoed;
use super::interleaved::mark_transmit;
use super::nts::{self, NtsFields, Session};
use super::v5::Response;

/// Buffer for one reply. A worker keeps one for each place in its batch and reuses it.
#[derive(Clone, Debug)]
pub struct Draft {
    octets: [u8; Self::CAPACITY],
    /// Length of the reply; 0 if there is none.
    length: usize,
    /// The transmit timestamp is already set: that of the previous reply.
    interleaved: bool,
    /// What is added to the transmit timestamp: that of the reply may be in another timescale.
    scale_offset: NtpDuration,
    /// Length of what follows the tag and is not authenticated, in octets.
    trailer: usize,
    signature: Option<Signature>,
    /// NTS session of the request, until the reply is sealed.
    session: Option<Session>,
    token: Option<StampToken>,
}

/// A digest to be calculated over everything before it.
#[derive(Clone, Debug)]
pub(super) struct Signature {
    pub(super) key: Arc<Key>,
    /// Length of the digest, at the end of the reply or before its trailer, in octets.
    pub(super) length: usize,
    /// What the digest does not cover before it: key ID and, in version 5, type and length.
    pub(super) prefix: usize,
}

/// Parts of a reply.
pub(super) struct Reply<'a> {
    pub(super) header: &'a Header,
    /// The extension fields that it repeats.
    pub(super) echoed: Echoed<'a>,
    pub(super) authenticator: Authenticator<'a>,
    /// Whether the header's transmit timestamp is already set.
    pub(super) interleaved: bool,
    pub(super) token: Option<StampToken>,
}

/// What authenticates a reply.
pub(super) enum Authenticator<'a> {
    None,
    CryptoNak,
    Signature(Signature),
    /// The session in the draft; the keyset seals its new cookies.
    Nts(&'a Keyset),
}

impl Draft {
    /// Length of the longest reply in octets: fits an Ethernet frame through a tunnel, and holds
    /// eight NTS cookies.
    pub const CAPACITY: usize = 1232;

    /// An empty draft.
    pub const fn new() -> Self {
        Self {
            octets: [0; Self::CAPACITY],
            length: 0,
            interleaved: false,
            scale_offset: NtpDuration::ZERO,
            trailer: 0,
            signature: None,
            session: None,
            token: None,
        }
    }

    /// Writes the transmit timestamp, authenticates the reply and returns it; empty if there is no
    /// reply. Sealing again updates the timestamp, except for a reply with NTS, which stays as it
    /// is.
    ///
    /// `transmit` is when the reply leaves: the caller reads the clock as late as it can and adds
    /// the predicted delay from there to the wire.
    pub fn seal(&mut self, transmit: SystemTime) -> &[u8] {
        let Some(reply) = self.octets.get_mut(..self.length) else {
            return &[];
        };
        if let (false, Some(header)) = (self.interleaved, reply.first_chunk_mut()) {
            let transmit = transmit.to_ntp() + self.scale_offset;
            // At the same place in version 5.
            Header::set_transmit_timestamp(header, mark_transmit(transmit));
        }
        let authenticated = reply.len().saturating_sub(self.trailer);
        if let Some(session) = &self.session {
            let sealed = reply
                .get_mut(..authenticated)
                .and_then(|reply| session.seal(reply));
            self.session = None;
            // A sealed NTS reply cannot be stamped again.
            self.interleaved = true;
            if sealed.is_none() {
                // Unreachable: the reply was laid out for this session. An unsealed reply must not
                // leave.
                self.length = 0;
                return &[];
            }
        }
        if let Some(signature) = &self.signature {
            signature.write(reply.get_mut(..authenticated).unwrap_or_default());
        }
        reply
    }

    /// Returns a token if the client may ask for the actual transmit time of this reply. The caller
    /// then requests a kernel transmit timestamp and reports it to
    /// [`WorkerState::record_transmit`](super::WorkerState::record_transmit).
    pub const fn stamp_token(&self) -> Option<StampToken> {
        self.token
    }

    /// Length of the reply that [`seal`](Self::seal) returns; 0 if there is none.
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
        self.scale_offset = NtpDuration::ZERO;
        self.trailer = 0;
        self.signature = None;
        self.session = None;
        self.token = None;
    }

    /// Opens the NTS session of a request whose reply will be written here. Returns `false` if the
    /// cookie cannot be opened or the authenticator is invalid.
    pub(super) fn open(&mut self, keyset: &Keyset, fields: &NtsFields<'_>) -> bool {
        self.session = Session::open(keyset, fields);
        self.session.is_some()
    }

    /// Writes a reply of at most `limit` octets. The draft must be empty except for a session. The
    /// nonces of cookies come from `random`.
    #[inline]
    pub(super) fn write(
        &mut self,
        reply: Reply<'_>,
        limit: usize,
        random: &mut impl RngCore,
    ) -> Result<(), EmitError> {
        let room = limit.min(Self::CAPACITY);
        // The case of nearly every reply.
        if matches!(reply.authenticator, Authenticator::None) && reply.echoed.is_empty() {
            let room = self.octets.get_mut(..room).unwrap_or_default();
            reply.header.emit(&mut Writer::new(room))?;
            self.length = Header::LEN;
        } else {
            let Reply {
                header,
                echoed,
                authenticator,
                ..
            } = reply;
            self.length = self.write_long(header, echoed, authenticator, room, random)?;
        }
        self.interleaved = reply.interleaved;
        self.token = reply.token;
        Ok(())
    }

    /// Writes a response of version 5. The draft must be empty except for a session.
    #[inline(always)]
    pub(super) fn write_version_5(
        &mut self,
        response: Response<'_>,
        random: &mut impl RngCore,
    ) -> Result<(), EmitError> {
        let length = response.length();
        let room = self
            .octets
            .get_mut(..length)
            .ok_or(EmitError::BufferTooSmall)?;
        self.trailer = response.write(&mut Writer::new(room), self.session.as_mut(), random)?;
        self.length = length;
        self.scale_offset = response.scale_offset;
        self.interleaved = response.interleaved;
        self.token = response.token;
        self.signature = response.into_signature();
        Ok(())
    }

    /// Writes a reply that is more than a header. Returns its length.
    #[inline(never)]
    fn write_long(
        &mut self,
        header: &Header,
        echoed: Echoed<'_>,
        authenticator: Authenticator<'_>,
        room: usize,
        random: &mut impl RngCore,
    ) -> Result<usize, EmitError> {
        let mut writer = Writer::new(self.octets.get_mut(..room).unwrap_or_default());
        match authenticator {
            Authenticator::None => emit(header, echoed.iter(), None, &mut writer)?,
            Authenticator::CryptoNak => {
                emit(header, echoed.iter(), Some(Mac::CRYPTO_NAK), &mut writer)?;
            }
            Authenticator::Signature(signature) => {
                let mac = Mac {
                    key_id: signature.key.id(),
                    digest: signature.blank(),
                };
                emit(header, echoed.iter(), Some(mac), &mut writer)?;
                self.signature = Some(signature);
            }
            Authenticator::Nts(keyset) => {
                let session = self.session.as_mut().ok_or(EmitError::BufferTooSmall)?;
                nts::write(header, echoed, session, keyset, random, &mut writer)?;
            }
        }
        Ok(writer.written().len())
    }
}

impl Signature {
    /// A zero digest; the right one is calculated when the reply is sealed.
    pub(super) fn blank(&self) -> &'static [u8] {
        const BLANK: [u8; 64] = [0; 64];
        BLANK.get(..self.length).unwrap_or_default()
    }

    /// Overwrites the digest at the end of `reply`.
    fn write(&self, reply: &mut [u8]) {
        let at = reply.len().saturating_sub(self.length);
        let Some((front, digest)) = reply.split_at_mut_checked(at) else {
            return;
        };
        let covered = front.len().saturating_sub(self.prefix);
        let tag = self.key.sign(front.get(..covered).unwrap_or_default());
        for (to, from) in digest.iter_mut().zip(tag.whole()) {
            *to = *from;
        }
    }
}

impl Default for Draft {
    fn default() -> Self {
        Self::new()
    }
}
