//! Interleaved mode, client side (RFC 9769 section 2).
//!
//! # Purpose
//! A server reads its transmit timestamp in software before the reply leaves, so it is early by an
//! unknown time, which the client takes for path asymmetry. In interleaved mode each reply carries
//! the *actual* transmit time of the previous reply, as timestamped by the server's kernel or
//! network card:
//!
//! ```text
//!  us                                            server
//!  T1  origin 0,   receive 0, transmit a    -->  T2
//!  T4  <--  origin a, receive T2, transmit ~T3   T3     basic: the stamp T3 is an estimate
//!  T1' origin T2,  receive c, transmit d    -->  T2'
//!  T4' <--  origin c, receive T2', transmit T3   T3'    interleaved: completes the previous exchange
//! ```
//!
//! The origin timestamp of the reply identifies the mode: `d`, the nonce in our transmit field,
//! means basic, `c`, the nonce in our receive field, means interleaved. Both are fresh 64-bit
//! random numbers, so an interleaved reply is as hard to forge as a basic one.
//!
//! # Measurements
//! A measurement consists of T1, T2 and T4 of the previous exchange, and T3 from this reply. Every
//! exchange keeps the timestamps of its own socket until the next reply arrives or they are too
//! old; timestamps of two exchanges are never mixed. An exchange that was measured in basic mode is
//! not measured again.
//!
//! The clock algorithm needs measurements that are at most some seconds old ([`MAX_AGE`]). If polls
//! are further apart, a poll consists of two requests: the second, [`FOLLOW_UP`] later, retrieves
//! the timestamp of the first, and is repeated if it is lost. After two failed polls in a row, a
//! basic request is added. Not sooner: among accurate timestamps an inaccurate one does harm, a
//! missing poll does not.
//!
//! # Fallback
//! A server that lost its state or does not support the mode replies in basic mode, and its reply
//! is measured as such. After [`MAX_FAILURES`] of those in a row, including lost follow-ups
//! (possibly due to a rate limit), requests are in basic mode until the association restarts or
//! [`RETRY_AFTER`] basic replies have arrived.
//!
//! # Version 5
//! The draft has the same mode under another name: a reply states a cookie, the next request repeats
//! it, and the reply to that has the transmit time of the reply so named. Nothing else differs.
//!
//! # Data minimisation
//! A request in this mode reveals one thing more than a basic one: the server's receive timestamp
//! of our last exchange. By it the server, and anyone who sees both packets, can link the two
//! requests to one client, even if its address has changed. Our own timestamps are never sent: the
//! receive field, in which RFC 9769 puts T4, is random.

use ntp_time::{Monotonic, NtpDuration, NtpTimestamp, Stamp};
use rand_core::RngCore;

use super::{ExchangeId, Rejection, ReplyContent};
use crate::wire::v5::ServerCookie;

/// Time between the two requests of a poll: that of requests in a burst, which rate limits of
/// servers allow.
pub(super) const FOLLOW_UP: NtpDuration = NtpDuration::from_seconds(2);
/// Age above which an exchange is not completed. The clock algorithm accepts samples up to 16 s
/// older than others.
const MAX_AGE: NtpDuration = NtpDuration::from_seconds(10);
/// Number of consecutive failures after which the mode is given up. ntpd-rs and chronyd send up to
/// two basic replies before the first interleaved one.
const MAX_FAILURES: u8 = 4;
/// Number of basic replies after which the mode is tried again.
const RETRY_AFTER: u8 = 64;
/// Time reserved for the reply that completes an exchange.
const REPLY_MARGIN: NtpDuration = NtpDuration::from_seconds(1);

/// State of interleaved mode of an association.
#[derive(Clone, Debug)]
pub(super) struct InterleavedState {
    enabled: bool,
    last: Option<AnsweredExchange>,
    /// Consecutive failures: basic replies to interleaved requests, and lost follow-ups.
    failures: u8,
    /// Basic replies since the mode was given up.
    basic_replies: u8,
    /// Whether the last reply was interleaved.
    active: bool,
}

/// An exchange with a reply.
#[derive(Clone, Copy, Debug)]
pub(super) struct AnsweredExchange {
    pub(super) id: ExchangeId,
    pub(super) sent: Stamp,
    pub(super) received: Stamp,
    pub(super) content: ReplyContent,
    /// Name of the reply in version 5.
    pub(super) server_cookie: ServerCookie,
    /// Time of the reply.
    pub(super) at: Monotonic,
    /// Whether its own reply was measured.
    pub(super) measured: bool,
}

impl AnsweredExchange {
    /// Checks that devices on the path have not measured more than the whole delay.
    pub(super) fn check_correction(&self) -> Result<(), Rejection> {
        let content = &self.content;
        let Some(correction) = content.correction else {
            return Ok(());
        };
        let elapsed = self.received.time - self.sent.time;
        let delay = elapsed - (content.transmit_timestamp - content.receive_timestamp);
        if delay - correction.delay() < NtpDuration::ZERO {
            return Err(Rejection::Correction);
        }
        Ok(())
    }
}

/// Header fields of an interleaved request.
#[derive(Clone, Copy, Debug)]
pub(super) struct InterleavedFields {
    /// The server's receive timestamp of the last exchange.
    pub(super) origin: NtpTimestamp,
    /// Nonce that an interleaved reply has as its origin timestamp.
    pub(super) receive: NtpTimestamp,
}

impl InterleavedState {
    pub(super) fn new(enabled: bool) -> Self {
        Self {
            enabled,
            last: None,
            failures: 0,
            basic_replies: 0,
            active: false,
        }
    }

    /// Whether the last reply was interleaved.
    pub(super) fn is_active(&self) -> bool {
        self.active
    }

    /// Header fields of the next request. `None` for basic mode.
    pub(super) fn request_fields(&self, rng: &mut impl RngCore) -> Option<InterleavedFields> {
        let last = self
            .last
            .filter(|_| self.enabled && self.failures < MAX_FAILURES)?;
        Some(InterleavedFields {
            origin: last.content.receive_timestamp,
            // A timestamp of zero means "unknown".
            receive: NtpTimestamp::from_bits(rng.next_u64().max(1)),
        })
    }

    /// Server cookie of the next request of version 5: that of the last reply. `None` for basic mode.
    pub(super) fn server_cookie(&self) -> Option<ServerCookie> {
        let wanted = self.enabled && self.failures < MAX_FAILURES;
        let cookie = self
            .last
            .map_or(ServerCookie::NONE, |last| last.server_cookie);
        wanted.then_some(cookie)
    }

    /// Records a better timestamp of a request whose reply arrived first.
    pub(super) fn transmitted(&mut self, id: ExchangeId, stamp: Stamp) {
        if let Some(last) = self.last.as_mut().filter(|last| last.id == id)
            && last.sent.source <= stamp.source
        {
            last.sent = stamp;
        }
    }

    /// Returns the previous exchange, completed by an interleaved reply. `None` if it was measured
    /// already or is too old.
    pub(super) fn complete(
        &self,
        now: Monotonic,
        reply: &ReplyContent,
    ) -> Option<AnsweredExchange> {
        let last = self.last?;
        let content = ReplyContent {
            transmit_timestamp: reply.transmit_timestamp,
            ..last.content
        };
        (!last.measured && now - last.at <= MAX_AGE).then_some(AnsweredExchange { content, ..last })
    }

    /// Records an exchange with a reply; `completes` is true if the reply completed the previous
    /// one.
    pub(super) fn record_exchange(
        &mut self,
        exchange: AnsweredExchange,
        mode: ReplyMode,
        completes: bool,
    ) {
        self.active = mode == ReplyMode::Interleaved;
        match mode {
            ReplyMode::Interleaved if completes => self.reset_failures(),
            ReplyMode::Interleaved => {}
            ReplyMode::Refused => self.failures = self.failures.saturating_add(1),
            ReplyMode::Basic if self.failures >= MAX_FAILURES => {
                self.basic_replies += 1;
                if self.basic_replies >= RETRY_AFTER {
                    self.reset_failures();
                }
            }
            ReplyMode::Basic => {}
        }
        self.last = Some(exchange).filter(|_| self.enabled);
    }

    /// Records that a follow-up and its repetition were lost.
    pub(super) fn follow_up_failed(&mut self) {
        self.failures = self.failures.saturating_add(1);
    }

    /// Whether two polls in a row have failed.
    pub(super) fn is_failing(&self) -> bool {
        self.failures >= 2
    }

    /// Whether a request at `next` is too late to complete the exchange that was answered now.
    pub(super) fn needs_follow_up(&self, now: Monotonic, next: Monotonic) -> bool {
        self.active && next - now > MAX_AGE - REPLY_MARGIN
    }

    /// Gives up the mode: its second request of each poll is too many for a server that limits the
    /// rate.
    pub(super) fn disable(&mut self) {
        self.enabled = false;
        self.active = false;
        self.last = None;
    }

    /// Discards timestamps after a step of the clock.
    pub(super) fn discard_timestamps(&mut self) {
        self.last = None;
    }

    /// Resets the failures, so that the mode is tried again.
    pub(super) fn reset_failures(&mut self) {
        self.failures = 0;
        self.basic_replies = 0;
    }
}

/// Mode of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReplyMode {
    /// Basic mode, as requested.
    Basic,
    /// Basic mode, though interleaved mode was requested.
    Refused,
    /// Interleaved mode.
    Interleaved,
}
