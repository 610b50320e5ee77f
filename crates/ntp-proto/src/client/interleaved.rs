//! Interleaved mode, the client's side (RFC 9769 section 2).
//!
//! # What for
//! A server's transmit timestamp is read before the reply leaves, by software, so it is early by an unknown time that the client takes for
//! path asymmetry. In interleaved mode each reply carries the *true* transmit time of the reply before it, as the server's
//! kernel or network card saw it:
//!
//! ```text
//!  us                                            server
//!  T1  origin 0,   receive 0, transmit a    -->  T2
//!  T4  <--  origin a, receive T2, transmit ~T3   T3     basic: the stamp T3 is an estimate
//!  T1' origin T2,  receive c, transmit d    -->  T2'
//!  T4' <--  origin c, receive T2', transmit T3   T3'    interleaved: completes the exchange before
//! ```
//!
//! The reply's origin timestamp tells which kind it is: `d`, the nonce in our transmit field, makes it basic, `c`, the one in our receive field,
//! interleaved. Both are fresh 64-bit random numbers, so an interleaved reply is as hard to forge as a basic one.
//!
//! # What a measurement is
//! T1, T2 and T4 of the exchange before, and T3 from this reply. Every exchange keeps its own stamps, of its own socket, until the next reply
//! comes or they are too old; nothing of two exchanges is ever mixed. An exchange that was measured as a basic one is not measured again.
//!
//! Our clock algorithm wants measurements that are no older than some seconds ([`FRESH`]). Where polls are further apart than that, a poll is two requests:
//! the second, [`FOLLOW_UP`] later, fetches the stamp of the first, and is repeated if it is lost. When two polls in a row have come to nothing by this,
//! a plain request is added. Not sooner: among good stamps a poor one does harm, while a poll that is left out does not.
//!
//! # Fallback
//! A server that forgot us, or does not know the mode, answers as if we had not asked for it, and its reply is measured as such. After
//! [`PATIENCE`] of those in a row, lost second requests counted with them (a rate limit may be why), we ask plainly, until the association starts
//! anew or [`TRUCE`] plain replies have come.
//!
//! # Data minimisation
//! A request in this mode says one thing more than a plain one: the server's own receive timestamp of our last exchange. By it the server,
//! and whoever sees both packets, can tell that the two requests come from one client, even if its address has changed meanwhile. Our own
//! stamps never go over the wire, here as elsewhere: what stands in the receive field, where RFC 9769 puts T4, is random.

use ntp_time::{Monotonic, NtpDuration, NtpTimestamp, Stamp};
use rand_core::RngCore;

use crate::engine::ExchangeId;
use crate::wire::Header;

/// Time from a poll's first request to its second: as between requests of a burst, so that servers' rate limits have heard of it.
pub(super) const FOLLOW_UP: NtpDuration = NtpDuration::from_seconds(2);
/// Exchanges older than this are not completed any more. The clock algorithm takes samples up to 16 s behind others.
const FRESH: NtpDuration = NtpDuration::from_seconds(10);
/// Failures in a row after which the mode is given up. Ours and chronyd give up to two basic replies before the first interleaved one.
const PATIENCE: u8 = 4;
/// Plain replies after which it is tried again.
const TRUCE: u8 = 64;
/// How long a reply may take to complete an exchange in time.
const MARGIN: NtpDuration = NtpDuration::from_seconds(1);

/// What an association remembers for interleaved mode.
#[derive(Clone, Debug)]
pub(super) struct Memory {
    wanted: bool,
    last: Option<Answered>,
    /// In a row: basic replies to requests of this mode, and second requests without an answer.
    failures: u8,
    /// Replies since it was given up.
    truce: u8,
    /// The newest reply was an interleaved one.
    active: bool,
}

/// An exchange that was answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answered {
    pub(super) id: ExchangeId,
    pub(super) sent: Stamp,
    pub(super) received: Stamp,
    pub(super) header: Header,
    /// When the answer came.
    pub(super) at: Monotonic,
    /// Its own reply gave a measurement.
    pub(super) measured: bool,
}

/// What a request says in this mode.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ask {
    /// The server's receive timestamp of the last exchange.
    pub(super) origin: NtpTimestamp,
    /// What an interleaved reply will have as its origin.
    pub(super) receive: NtpTimestamp,
}

impl Memory {
    pub(super) fn new(wanted: bool) -> Self {
        Self {
            wanted,
            last: None,
            failures: 0,
            truce: 0,
            active: false,
        }
    }

    /// Whether the newest reply was an interleaved one.
    pub(super) fn is_active(&self) -> bool {
        self.active
    }

    /// How to ask now; `None` for a plain request.
    pub(super) fn ask(&self, rng: &mut impl RngCore) -> Option<Ask> {
        let last = self
            .last
            .filter(|_| self.wanted && self.failures < PATIENCE)?;
        Some(Ask {
            origin: last.header.receive_timestamp,
            // Zero would read as "unknown".
            receive: NtpTimestamp::from_bits(rng.next_u64().max(1)),
        })
    }

    /// A better stamp of a request whose answer came first.
    pub(super) fn transmitted(&mut self, id: ExchangeId, stamp: Stamp) {
        if let Some(last) = self.last.as_mut().filter(|last| last.id == id)
            && last.sent.source <= stamp.source
        {
            last.sent = stamp;
        }
    }

    /// The exchange that an interleaved reply completes, if it is worth completing.
    pub(super) fn complete(&self, now: Monotonic, reply: &Header) -> Option<Answered> {
        let last = self.last?;
        let header = Header {
            transmit_timestamp: reply.transmit_timestamp,
            ..last.header
        };
        (!last.measured && now - last.at <= FRESH).then_some(Answered { header, ..last })
    }

    /// An exchange was answered; `completes` says that its reply completed the one before.
    pub(super) fn answered(&mut self, exchange: Answered, kind: Kind, completes: bool) {
        self.active = kind == Kind::Interleaved;
        match kind {
            Kind::Interleaved if completes => self.forgive(),
            Kind::Interleaved => {}
            Kind::Refused => self.failures = self.failures.saturating_add(1),
            Kind::Basic if self.failures >= PATIENCE => {
                self.truce += 1;
                if self.truce >= TRUCE {
                    self.forgive();
                }
            }
            Kind::Basic => {}
        }
        self.last = Some(exchange).filter(|_| self.wanted);
    }

    /// A poll's second request was not answered, nor its repetition.
    pub(super) fn follow_up_failed(&mut self) {
        self.failures = self.failures.saturating_add(1);
    }

    /// Whether two polls in a row have failed.
    pub(super) fn is_failing(&self) -> bool {
        self.failures >= 2
    }

    /// Whether a request at `next` comes too late to complete the exchange that was answered now.
    pub(super) fn needs_follow_up(&self, now: Monotonic, next: Monotonic) -> bool {
        self.active && next - now > FRESH - MARGIN
    }

    /// The clock was set: stamps from before mean nothing after.
    pub(super) fn forget_stamps(&mut self) {
        self.last = None;
    }

    /// Another chance for a server that did not know the mode.
    pub(super) fn forgive(&mut self) {
        self.failures = 0;
        self.truce = 0;
    }
}

/// How an exchange was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// In basic mode, as it was asked.
    Basic,
    /// In basic mode, though interleaved mode was asked for.
    Refused,
    /// In interleaved mode.
    Interleaved,
}
