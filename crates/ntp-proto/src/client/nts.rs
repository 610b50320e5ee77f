//! An association's NTS session: its keys, its cookies, and what to make of refusals.
//!
//! # Cookies
//! Each request uses one up and asks for as many as bring the stock back to eight (RFC 8915 section 5.7), so a few lost packets cost nothing.
//! With the last one gone nothing can be asked, and new keys are wanted.
//!
//! # Refusals
//! A server that cannot read a cookie says so with a kiss (NTSN), which it cannot authenticate: anyone who sees our requests can say the same, and an
//! answer to that which throws good keys away would be a gift to him. So a refusal changes nothing at once; the real answer is
//! still waited for. Only a *poll* that was refused and not answered counts, and only several of them in a row make new keys wanted, by which time the
//! old ones are still in use. A key exchange is authenticated by TLS, so the worst that an attacker on the path achieves is what he can
//! achieve anyway: silence.
//!
//! # Which keys
//! Two doubts are settled by trying. chrony 4.4 to 4.6.0 derives keys for AES-128-GCM-SIV in its own way; if the
//! server may be one, a refused poll makes the next one use the other derivation. And should the keys of a new exchange be
//! refused from the beginning, while the old ones had cookies left, those take their place again.

use std::collections::VecDeque;

use rand_core::RngCore;

use super::Rejection;
use crate::nts::{
    AeadAlgorithm, Cookie, KeyExchangeResult, NtsRequest, Proof, SessionKeys, UniqueIdentifier,
    prove,
};
use crate::wire::{Header, Packet};

/// Refused polls in a row after which new keys are wanted.
const REFUSALS: u8 = 3;

/// A session with one server.
#[derive(Clone, Debug)]
pub struct NtsSession {
    keys: SessionKeys,
    /// The other way to derive them, until one of the two has proved right.
    other_keys: Option<SessionKeys>,
    /// At most [`Cookie::IN_STOCK`].
    cookies: VecDeque<Cookie>,
    /// What the open exchange's reply must repeat.
    asked: Option<UniqueIdentifier>,
    /// The open exchange was refused, by somebody.
    refused: bool,
    /// Polls in a row that were refused and not answered.
    refusals: u8,
    /// The session before this one, until this one has proved itself.
    previous: Option<Box<Self>>,
}

impl NtsSession {
    /// A session from a key exchange.
    pub fn new(result: KeyExchangeResult) -> Self {
        Self {
            keys: result.keys,
            other_keys: result.legacy_keys,
            cookies: result.cookies.into_iter().take(Cookie::IN_STOCK).collect(),
            asked: None,
            refused: false,
            refusals: 0,
            previous: None,
        }
    }

    /// This session in place of `previous`, which is kept until this one has proved itself.
    #[must_use]
    pub fn after(mut self, mut previous: Self) -> Self {
        // Of two unproved ones the older is given up.
        previous.previous = None;
        self.previous = Some(Box::new(previous)).filter(|previous| !previous.cookies.is_empty());
        self
    }

    /// The cipher in use.
    pub fn algorithm(&self) -> AeadAlgorithm {
        self.keys.algorithm()
    }

    pub(super) fn keys(&self) -> &SessionKeys {
        &self.keys
    }

    /// How many cookies are left.
    pub fn cookies(&self) -> usize {
        self.cookies.len()
    }

    /// Whether a key exchange should take place.
    pub fn wants_keys(&self) -> bool {
        self.cookies.is_empty() || self.refusals >= REFUSALS
    }

    /// What is worth keeping over a restart: keys that may be right and the cookies that were not used. `None` without any.
    pub fn remains(&self) -> Option<(SessionKeys, Option<SessionKeys>, Vec<Cookie>)> {
        let cookies: Vec<_> = self.cookies.iter().cloned().collect();
        (!cookies.is_empty()).then(|| (self.keys.clone(), self.other_keys.clone(), cookies))
    }

    /// The datagram that says `header`. `None` if there is no cookie left.
    pub(super) fn request(&mut self, header: &Header, rng: &mut impl RngCore) -> Option<Vec<u8>> {
        self.settle();
        let cookie = self.cookies.pop_front()?;
        let wanted = Cookie::IN_STOCK - self.cookies.len();
        let request = NtsRequest::new(header, &self.keys, &cookie, wanted, rng).ok()?;
        self.asked = Some(request.unique_identifier);
        Some(request.octets)
    }

    /// Draws the conclusion from the exchange that ends with the next one's beginning.
    fn settle(&mut self) {
        self.asked = None;
        if !core::mem::take(&mut self.refused) {
            return;
        }
        self.refusals = self.refusals.saturating_add(1);
        if let Some(other) = self.other_keys.take() {
            self.other_keys = Some(core::mem::replace(&mut self.keys, other));
        }
        if self.refusals >= REFUSALS
            && let Some(previous) = self.previous.take()
        {
            let refusals = self.refusals;
            *self = *previous;
            // These are the good ones, perhaps, but somebody has to look into it.
            self.refusals = refusals;
        }
    }

    /// Returns how many cookies were taken.
    pub(super) fn check(&mut self, packet: &Packet<'_>) -> Result<usize, Rejection> {
        let identifier = self.asked.as_ref().ok_or(Rejection::Duplicate)?;
        match prove(packet, &self.keys, identifier) {
            Proof::Authentic(cookies) => {
                let room = Cookie::IN_STOCK.saturating_sub(self.cookies.len());
                let before = self.cookies.len();
                self.cookies.extend(cookies.into_iter().take(room));
                self.asked = None;
                self.refused = false;
                self.refusals = 0;
                self.other_keys = None;
                self.previous = None;
                Ok(self.cookies.len() - before)
            }
            Proof::Unproved if is_refusal(&packet.header) => {
                self.refused = true;
                Err(Rejection::NtsNak)
            }
            Proof::Unproved | Proof::NotOurs => Err(Rejection::Unauthenticated),
        }
    }
}

/// Whether it is an NTSN kiss (RFC 8915 section 5.7).
fn is_refusal(header: &Header) -> bool {
    header.stratum == ntp_time::Stratum::KISS
        && super::Kiss::from_reference_id(header.reference_id) == super::Kiss::NtsNak
}
