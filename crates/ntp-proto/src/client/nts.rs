//! NTS session of an association: keys, cookies, and handling of NTS NAKs.
//!
//! # Cookies
//! Each request uses one cookie and asks for as many as bring the stock back to eight (RFC 8915
//! section 5.7), so that a few lost packets do no harm. Without a cookie no request can be sent,
//! and a key exchange is needed.
//!
//! # NTS NAKs
//! A server that cannot decrypt a cookie sends an NTS NAK (kiss code NTSN), which it cannot
//! authenticate: anyone who sees our requests can forge one, and dropping good keys would help an
//! attacker. So a NAK changes nothing at once; the authentic reply is still accepted. Only a *poll*
//! with a NAK and no valid reply counts, and only several of them in a row cause a key exchange,
//! during which the old keys stay in use. A key exchange is authenticated by TLS, so an attacker on
//! the path achieves no more than by dropping packets.
//!
//! # Choice of keys
//! Two cases are resolved by trying. chrony 4.4 to 4.6.0 derives keys for AES-128-GCM-SIV in its
//! own way; if the server may be one, a NAK makes the next poll use the other derivation. If the
//! keys of a new exchange are refused from the start, while the old ones had cookies left, the old
//! ones are restored.

use std::collections::VecDeque;

use rand_core::RngCore;

use super::Rejection;
use crate::nts::{
    AeadAlgorithm, Cookie, CoveredFields, KeyExchangeResult, NextProtocol, NtsRequest, Proof,
    SessionKeys, UniqueIdentifier, verify_fields,
};
use crate::wire::{ExtensionField, Header, Packet, Writer, v5};

/// Number of consecutive refused polls after which a key exchange is needed.
const MAX_REFUSALS: u8 = 3;

/// Length of the longest request of version 5 in octets: upstream ntpd-rs truncates longer ones.
const MAX_LENGTH_V5: usize = 1024;

/// An NTS session with one server.
#[derive(Clone, Debug)]
pub struct NtsSession {
    protocol: NextProtocol,
    keys: SessionKeys,
    /// Keys by the alternative derivation, until one of the two is confirmed.
    other_keys: Option<SessionKeys>,
    /// At most [`Cookie::MAX_STORED`].
    cookies: VecDeque<Cookie>,
    /// Unique identifier that the reply to the open exchange must repeat.
    unique_identifier: Option<UniqueIdentifier>,
    /// Whether the open exchange received an NTS NAK.
    refused: bool,
    /// Number of consecutive polls with an NTS NAK and no valid reply.
    refusals: u8,
    /// The previous session, until this one is confirmed.
    previous: Option<Box<Self>>,
}

impl NtsSession {
    /// Creates a session from the result of a key exchange.
    pub fn new(result: KeyExchangeResult) -> Self {
        Self {
            protocol: result.protocol,
            keys: result.keys,
            other_keys: result.legacy_keys,
            cookies: result
                .cookies
                .into_iter()
                .take(Cookie::MAX_STORED)
                .collect(),
            unique_identifier: None,
            refused: false,
            refusals: 0,
            previous: None,
        }
    }

    /// Makes this session replace `previous`, which is kept until this one is confirmed.
    #[must_use]
    pub fn replacing(mut self, mut previous: Self) -> Self {
        // Of two unconfirmed sessions, the older is dropped.
        previous.previous = None;
        self.previous = Some(Box::new(previous)).filter(|previous| !previous.cookies.is_empty());
        self
    }

    /// AEAD algorithm in use.
    pub fn algorithm(&self) -> AeadAlgorithm {
        self.keys.algorithm()
    }

    /// Protocol for which the keys were exported.
    pub fn protocol(&self) -> NextProtocol {
        self.protocol
    }

    pub(super) fn keys(&self) -> &SessionKeys {
        &self.keys
    }

    /// Number of unused cookies.
    pub fn cookies(&self) -> usize {
        self.cookies.len()
    }

    /// Length of the next cookie in octets.
    pub fn cookie_length(&self) -> Option<usize> {
        self.cookies.front().map(|cookie| cookie.octets().len())
    }

    /// Whether a key exchange is needed.
    pub fn needs_key_exchange(&self) -> bool {
        self.cookies.is_empty() || self.refusals >= MAX_REFUSALS
    }

    /// Keys, alternative keys and unused cookies, to be saved for the next run. `None` without a
    /// cookie.
    pub fn persistent_parts(&self) -> Option<(SessionKeys, Option<SessionKeys>, Vec<Cookie>)> {
        let cookies: Vec<_> = self.cookies.iter().cloned().collect();
        (!cookies.is_empty()).then(|| (self.keys.clone(), self.other_keys.clone(), cookies))
    }

    /// Encodes a request with `header`. `None` if no cookie is left.
    pub(super) fn request(&mut self, header: &Header, rng: &mut impl RngCore) -> Option<Vec<u8>> {
        let mut front = [0; Header::LEN];
        header.emit(&mut Writer::new(&mut front)).ok()?;
        self.request_behind(&front, NtsRequest::MAX_LENGTH, rng)
    }

    /// Encodes a request of version 5 that begins with `front`, header and fields. `None` if no
    /// cookie is left.
    pub(super) fn request_v5(&mut self, front: &[u8], rng: &mut impl RngCore) -> Option<Vec<u8>> {
        self.request_behind(front, MAX_LENGTH_V5, rng)
    }

    fn request_behind(
        &mut self,
        front: &[u8],
        limit: usize,
        rng: &mut impl RngCore,
    ) -> Option<Vec<u8>> {
        self.conclude_exchange();
        let cookie = self.cookies.pop_front()?;
        let wanted = Cookie::MAX_STORED - self.cookies.len();
        let request = NtsRequest::behind(front, &self.keys, &cookie, wanted, limit, rng).ok()?;
        self.unique_identifier = Some(request.unique_identifier);
        Some(request.octets)
    }

    /// Evaluates the previous exchange when the next one begins.
    fn conclude_exchange(&mut self) {
        self.unique_identifier = None;
        if !core::mem::take(&mut self.refused) {
            return;
        }
        self.refusals = self.refusals.saturating_add(1);
        if let Some(other) = self.other_keys.take() {
            self.other_keys = Some(core::mem::replace(&mut self.keys, other));
        }
        if self.refusals >= MAX_REFUSALS
            && let Some(previous) = self.previous.take()
        {
            let refusals = self.refusals;
            *self = *previous;
            // The restored keys may be good, but a key exchange is needed in any case.
            self.refusals = refusals;
        }
    }

    /// Verifies a reply. Returns the number of cookies that were taken from it.
    pub(super) fn check(&mut self, packet: &Packet<'_>) -> Result<usize, Rejection> {
        let result = self.check_fields(&packet.extensions(), is_nts_nak(&packet.header));
        // The server itself may send a kiss without authentication.
        let is_kiss = packet.header.stratum == ntp_time::Stratum::KISS;
        match result {
            Err(Rejection::PlainReply) if is_kiss => Err(Rejection::Unauthenticated),
            result => result,
        }
    }

    /// Verifies a response of version 5.
    pub(super) fn check_v5(&mut self, packet: &v5::Packet<'_>) -> Result<usize, Rejection> {
        self.check_fields(&packet.fields(), packet.header.flags.authentication_nak)
    }

    fn check_fields<'a>(
        &mut self,
        fields: &impl CoveredFields<'a>,
        is_nak: bool,
    ) -> Result<usize, Rejection> {
        let identifier = self
            .unique_identifier
            .as_ref()
            .ok_or(Rejection::Duplicate)?;
        match verify_fields(fields, &self.keys, identifier) {
            Proof::Authentic(cookies) => {
                let room = Cookie::MAX_STORED.saturating_sub(self.cookies.len());
                let before = self.cookies.len();
                self.cookies.extend(cookies.into_iter().take(room));
                self.unique_identifier = None;
                self.refused = false;
                self.refusals = 0;
                self.other_keys = None;
                self.previous = None;
                Ok(self.cookies.len() - before)
            }
            Proof::Unauthenticated if is_nak => {
                self.refused = true;
                Err(Rejection::NtsNak)
            }
            Proof::Unauthenticated | Proof::Unrelated => {
                let is_proof = |field: ExtensionField<'_>| {
                    field.field_type == ExtensionField::NTS_AUTHENTICATOR
                };
                Err(if fields.clone().any(is_proof) {
                    Rejection::Unauthenticated
                } else {
                    Rejection::PlainReply
                })
            }
        }
    }
}

/// Whether this is an NTS NAK (RFC 8915 section 5.7).
fn is_nts_nak(header: &Header) -> bool {
    header.stratum == ntp_time::Stratum::KISS
        && header.reference_id == super::KissCode::NtsNak.reference_id()
}
