//! An association: our relation with one server address (RFC 5905 section 9, client mode).
//!
//! At most one exchange is open at a time. Its nonce, a fresh 64-bit random number in the transmit timestamp,
//! is the only thing that makes a datagram an answer: the server must return it as origin timestamp.
//! A datagram that fails this changes nothing, so a stranger who cannot see our requests can neither
//! move the clock nor use up the one answer that each request may have.
//!
//! The real send time stays here and never goes over the wire (data minimisation).
//! It begins as the daemon's own reading and is replaced by the kernel's when that shows up; whichever
//! is there when the reply comes counts, because waiting for the better one would add a timer to the hot
//! path and a late reply's stamp has been lying in the queue for a round trip anyway.

use std::net::SocketAddr;

use ntp_time::{Monotonic, NtpDuration, NtpTimestamp, PollInterval, PollLimits, Stamp, Stratum};
use rand_core::RngCore;

use super::interleaved::{self, Answered, Ask, FOLLOW_UP, Kind};
use super::protection::{Evidence, Protection};
use super::sanity::{self, LocalIdentity, Rejection};
use super::{Kiss, NtsSession, Reach, Schedule};
use crate::engine::{Datagram, ExchangeId};
use crate::wire::{Header, Mode, Packet, Version};

/// How long a request stays open. Longer than any path (a geostationary hop takes 0.3 s each way),
/// shorter than any steady interval.
const REPLY_TIMEOUT: NtpDuration = NtpDuration::from_seconds(5);

/// When a burst begins that an answer has started.
const BURST_BEGINS: NtpDuration = NtpDuration::from_seconds(2);

/// From a change of the network to the request that it brings about: a new address is of no use before its route.
const NETWORK_GRACE: NtpDuration = NtpDuration::from_seconds(1);

/// An open exchange.
#[derive(Clone, Copy, Debug)]
struct Exchange {
    /// Names the exchange, and its socket, towards the shell.
    id: ExchangeId,
    nonce: NtpTimestamp,
    /// Origin of an interleaved reply, if one was asked for.
    interleaved: Option<NtpTimestamp>,
    purpose: Purpose,
    /// When the request left; unknown until the shell has sent it.
    sent: Option<Stamp>,
    deadline: Monotonic,
}

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// The schedule says so.
    Poll,
    /// To complete the exchange before it, in interleaved mode.
    FollowUp,
    /// The same once more, because the first was lost.
    SecondFollowUp,
    /// Because both were lost, and not for the first time: to have a measurement all the same, in basic mode.
    Fallback,
}

/// What an association is asked to do, besides whom to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Range of the poll interval.
    pub limits: PollLimits,
    /// Poll interval after the start schedule.
    pub initial_poll: PollInterval,
    /// How packets are authenticated.
    pub protection: Protection,
    /// Whether interleaved mode (RFC 9769) is tried.
    pub interleaved: bool,
}

impl Default for Terms {
    /// The usual poll limits, from the shortest on, and nothing else.
    fn default() -> Self {
        let limits = PollLimits::default();
        Self {
            limits,
            initial_poll: limits.min,
            protection: Protection::None,
            interleaved: false,
        }
    }
}

/// A request to put on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The datagram. On the heap: one allocation is nothing beside the socket that each request gets, and a buffer for the longest
    /// request would make every [`Output`](crate::engine::Output) a kilobyte.
    pub payload: Vec<u8>,
}

/// An answer that passed every test.
#[derive(Clone, Copy, Debug)]
pub struct Accepted {
    /// When our request left.
    pub sent: Stamp,
    /// When the reply arrived.
    pub received: Stamp,
    /// What the server said.
    pub header: Header,
}

/// What a datagram turned out to be.
#[derive(Clone, Copy, Debug)]
pub enum Reply {
    /// Usable time.
    Time(Accepted),
    /// Usable time of which the transmit timestamp is still to come, in interleaved mode.
    Unfinished,
    /// A kiss that answers our own request.
    Kiss(Kiss),
}

/// Packet counts of an association since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Requests handed to the shell.
    pub sent: u64,
    /// Datagrams received.
    pub received: u64,
    /// Replies with usable time.
    pub accepted: u64,
    /// Replies to our requests without usable time.
    pub unusable: u64,
    /// Datagrams that answered nothing of ours, or did not prove that they came from the server.
    pub bogus: u64,
    /// Of the unusable ones: crypto-NAKs, by which a server says that it does not accept our key.
    pub crypto_naks: u64,
    /// Of the unusable ones: NTS NAKs, by which a server says that it cannot read our cookie.
    pub nts_naks: u64,
}

/// The relation with one server address.
#[derive(Clone, Debug)]
pub struct Association {
    remote: SocketAddr,
    protection: Protection,
    reach: Reach,
    schedule: Schedule,
    exchange: Option<Exchange>,
    /// When the newest request was due.
    asked: Monotonic,
    /// When the schedule wants the next one.
    next_scheduled: Monotonic,
    /// A request that is due beside the schedule.
    extra: Option<(Monotonic, Purpose)>,
    interleaved: interleaved::Memory,
    counters: Counters,
    last_header: Option<Header>,
    /// Of the newest datagram.
    evidence: Evidence,
}

impl Association {
    /// A new association that sends its first request at `start`.
    pub fn new(remote: SocketAddr, terms: Terms, start: Monotonic) -> Self {
        Self {
            remote,
            protection: terms.protection,
            reach: Reach::default(),
            schedule: Schedule::new(terms.limits, terms.initial_poll, start),
            exchange: None,
            asked: start,
            next_scheduled: start,
            extra: None,
            interleaved: interleaved::Memory::new(terms.interleaved),
            counters: Counters::default(),
            last_header: None,
            evidence: Evidence::Unasked,
        }
    }

    /// The server's address.
    pub fn remote(&self) -> SocketAddr {
        self.remote
    }

    /// How packets are authenticated.
    pub fn protection(&self) -> &Protection {
        &self.protection
    }

    /// Puts the session of a new key exchange in place; the one before is kept until it has proved itself.
    ///
    /// Silence was about the old keys and is no news of the new ones: the register begins anew, and so does our patience.
    pub fn renew(&mut self, session: NtsSession) {
        if !self.reach.is_reachable() {
            self.reach = Reach::default();
        }
        self.protection = match core::mem::take(&mut self.protection) {
            Protection::Nts(previous) => Protection::Nts(Box::new(session.after(*previous))),
            Protection::None | Protection::Symmetric(_) => Protection::Nts(Box::new(session)),
        };
    }

    /// Ends it, for the sake of its NTS session.
    pub fn into_session(self) -> Option<NtsSession> {
        match self.protection {
            Protection::Nts(session) => Some(*session),
            Protection::None | Protection::Symmetric(_) => None,
        }
    }

    /// The reach register.
    pub fn reach(&self) -> Reach {
        self.reach
    }

    /// The poll schedule.
    pub fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// Packet counts.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// The header of the newest accepted reply.
    pub fn last_header(&self) -> Option<&Header> {
        self.last_header.as_ref()
    }

    /// What the newest datagram proved.
    pub fn evidence(&self) -> Evidence {
        self.evidence
    }

    /// The open exchange, if any.
    pub fn exchange(&self) -> Option<ExchangeId> {
        self.exchange.map(|exchange| exchange.id)
    }

    /// Whether the open exchange's request has left this machine.
    pub fn has_left(&self) -> bool {
        self.exchange
            .is_some_and(|exchange| exchange.sent.is_some())
    }

    /// When the next request is due.
    pub fn next_poll(&self) -> Monotonic {
        let scheduled = self.next_scheduled;
        self.extra.map_or(scheduled, |(at, _)| at.min(scheduled))
    }

    /// Whether the newest reply was in interleaved mode.
    pub fn is_interleaved(&self) -> bool {
        self.interleaved.is_active()
    }

    /// The interval that is running: at least a second.
    pub fn interval(&self) -> NtpDuration {
        (self.next_scheduled - self.asked).max(NtpDuration::from_seconds(1))
    }

    /// When the open exchange is to be given up.
    pub fn deadline(&self) -> Option<Monotonic> {
        self.exchange.map(|exchange| exchange.deadline)
    }

    /// Opens an exchange; the caller has closed the one before.
    ///
    /// `None` if there is no NTS cookie left: then nothing is opened, and the next attempt is at the next poll.
    pub fn request(
        &mut self,
        now: Monotonic,
        id: ExchangeId,
        rng: &mut impl RngCore,
    ) -> Option<Request> {
        // Zero would read as "unknown" in the reply's origin field.
        let nonce = NtpTimestamp::from_bits(rng.next_u64().max(1));
        let extra = self.extra.take().filter(|_| now < self.next_scheduled);
        let purpose = extra.map_or(Purpose::Poll, |(_, purpose)| purpose);
        let ask = match purpose {
            Purpose::Poll | Purpose::FollowUp | Purpose::SecondFollowUp => {
                self.interleaved.ask(rng)
            }
            Purpose::Fallback => None,
        };
        self.exchange = Some(Exchange {
            id,
            nonce,
            interleaved: ask.map(|ask| ask.receive),
            purpose,
            sent: None,
            deadline: now + REPLY_TIMEOUT,
        });
        // What is sent beside the schedule does not count as a poll.
        if purpose == Purpose::Poll {
            self.reach.polled();
            self.asked = now;
            self.next_scheduled = self.schedule.requested(now, rng);
        }
        let payload = self.protection.request(&request_header(nonce, ask), rng);
        if payload.is_none() {
            self.exchange = None;
        }
        let payload = payload?;
        self.counters.sent += 1;
        Some(Request { payload })
    }

    /// The request has left. Of several stamps for it, the one taken closest to the wire counts.
    pub fn transmitted(&mut self, id: ExchangeId, stamp: Stamp) {
        if let Some(exchange) = self.exchange.as_mut().filter(|exchange| exchange.id == id)
            && exchange.sent.is_none_or(|sent| sent.source <= stamp.source)
        {
            exchange.sent = Some(stamp);
        }
        self.interleaved.transmitted(id, stamp);
    }

    /// Gives the open exchange up: it could not be sent, or another takes its place.
    pub fn abandon(&mut self) -> Option<ExchangeId> {
        self.exchange.take().map(|exchange| exchange.id)
    }

    /// Gives the open exchange up because no answer came in time.
    pub fn expire(&mut self, now: Monotonic) -> Option<ExchangeId> {
        let exchange = self.exchange.take()?;
        let next = match exchange.purpose {
            Purpose::FollowUp => Some(Purpose::SecondFollowUp),
            Purpose::SecondFollowUp => {
                self.interleaved.follow_up_failed();
                self.interleaved.is_failing().then_some(Purpose::Fallback)
            }
            Purpose::Poll | Purpose::Fallback => None,
        };
        self.extra = next.map(|purpose| (now, purpose)).or(self.extra);
        Some(exchange.id)
    }

    /// Gives up whatever was stamped so far: the clock was set, and its stamps from before mean nothing any more.
    pub fn void_stamps(&mut self) -> Option<ExchangeId> {
        self.interleaved.forget_stamps();
        self.abandon()
    }

    /// Judges a datagram that arrived on the open exchange's socket. A rejection that does not blame the
    /// server leaves everything as it was; anything else closes the exchange.
    pub fn receive(
        &mut self,
        now: Monotonic,
        datagram: &Datagram<'_>,
        us: &LocalIdentity,
        stratum_limit: Stratum,
    ) -> Result<Reply, Rejection> {
        self.counters.received += 1;
        self.evidence = Evidence::Unasked;
        let matched = self
            .match_reply(now, datagram)
            .inspect_err(|rejection| self.count_mismatch(*rejection))?;
        self.exchange = None;
        let header = matched.header;
        if header.stratum == Stratum::KISS {
            self.counters.unusable += 1;
            return Ok(Reply::Kiss(Kiss::from_reference_id(header.reference_id)));
        }
        sanity::check_server(&header, us, stratum_limit)
            .and_then(|()| self.take_in(now, datagram, &matched))
            .inspect_err(|_| self.counters.unusable += 1)
    }

    /// A reply of the server's, whose stamps are still to be looked at.
    fn take_in(
        &mut self,
        now: Monotonic,
        datagram: &Datagram<'_>,
        matched: &Matched,
    ) -> Result<Reply, Rejection> {
        let answered = Answered {
            id: datagram.exchange,
            sent: matched.sent,
            received: datagram.received,
            header: matched.header,
            at: now,
            measured: matched.kind != Kind::Interleaved,
        };
        let measurable = if matched.kind == Kind::Interleaved {
            self.interleaved.complete(now, &matched.header)
        } else {
            Some(answered)
        };
        if let Some(exchange) = measurable {
            sanity::check_timestamps(&exchange.header)?;
        }
        self.counters.accepted += 1;
        self.last_header = Some(matched.header);
        self.reach.answered();
        if self.schedule.answered(now) {
            self.next_scheduled = now + BURST_BEGINS;
        }
        let completes = measurable.is_some();
        self.interleaved.answered(answered, matched.kind, completes);
        let Some(exchange) = measurable else {
            if self.interleaved.needs_follow_up(now, self.next_scheduled) {
                self.extra = Some((now + FOLLOW_UP, Purpose::FollowUp));
            }
            return Ok(Reply::Unfinished);
        };
        Ok(Reply::Time(Accepted {
            sent: exchange.sent,
            received: exchange.received,
            header: exchange.header,
        }))
    }

    fn count_mismatch(&mut self, rejection: Rejection) {
        match rejection {
            Rejection::CryptoNak => {
                self.counters.unusable += 1;
                self.counters.crypto_naks += 1;
            }
            Rejection::NtsNak => {
                self.counters.unusable += 1;
                self.counters.nts_naks += 1;
            }
            _ => self.counters.bogus += 1,
        }
    }

    fn match_reply(
        &mut self,
        now: Monotonic,
        datagram: &Datagram<'_>,
    ) -> Result<Matched, Rejection> {
        let exchange = self
            .exchange
            .filter(|exchange| exchange.id == datagram.exchange)
            .ok_or(Rejection::Duplicate)?;
        if datagram.truncated {
            return Err(Rejection::Oversized);
        }
        let packet = Packet::parse(datagram.payload).map_err(|_| Rejection::Malformed)?;
        sanity::check_mode(&packet.header)?;
        let origin = packet.header.origin_timestamp;
        let kind = match exchange.interleaved {
            Some(nonce) if origin == nonce => Kind::Interleaved,
            Some(_) if origin == exchange.nonce => Kind::Refused,
            None if origin == exchange.nonce => Kind::Basic,
            _ => return Err(Rejection::WrongOrigin),
        };
        if now > exchange.deadline {
            return Err(Rejection::Late);
        }
        // A reply to a request that was never sent can't exist; the nonce did not leave this process.
        let sent = exchange.sent.ok_or(Rejection::WrongOrigin)?;
        let verdict = self.protection.check(&packet);
        self.evidence = Evidence::of(verdict);
        verdict?;
        Ok(Matched {
            sent,
            header: packet.header,
            kind,
        })
    }

    /// Takes the discipline's wish for the steady interval.
    pub fn set_poll(&mut self, wish: PollInterval) {
        self.schedule.set_poll(wish);
    }

    /// Takes another range of the poll interval.
    pub fn set_limits(&mut self, limits: PollLimits) {
        self.schedule.set_limits(limits);
        let latest = self.asked + self.schedule.poll().to_duration();
        self.next_scheduled = self.next_scheduled.min(latest.max(self.asked));
    }

    /// Asks again soon, in a burst: the clock was disturbed, the network came back or the operator wants it. Returns whether it
    /// does; see [`Schedule::restart`].
    pub fn restart(&mut self, now: Monotonic) -> bool {
        let restarts = self.schedule.restart(now);
        if restarts {
            self.next_scheduled = now;
            self.extra = None;
            self.interleaved.forgive();
        }
        restarts
    }

    /// Asks once more, and soon, because the network has changed: for where there is no room for a burst, in which the wait for the next poll
    /// may be a long one. A server that has asked for fewer packets is not asked before its time.
    pub fn hurry(&mut self, now: Monotonic) {
        if let Some(earliest) = self.schedule.earliest(self.asked) {
            self.next_scheduled = self.next_scheduled.min(earliest.max(now + NETWORK_GRACE));
        }
    }

    /// Obeys a RATE kiss.
    pub fn rate_kissed(&mut self, now: Monotonic, rng: &mut impl RngCore) {
        self.next_scheduled = self.schedule.rate_kissed(now, rng);
        self.extra = None;
    }
}

/// A reply that answers the open exchange, and comes from the server if that can be proved.
#[derive(Clone, Copy, Debug)]
struct Matched {
    sent: Stamp,
    header: Header,
    kind: Kind,
}

/// A client request that says nothing but its version, its mode and the nonce, and in interleaved mode what that mode needs: what a
/// server does not need to know it cannot use to recognise or to manipulate us.
fn request_header(nonce: NtpTimestamp, ask: Option<Ask>) -> Header {
    Header {
        origin_timestamp: ask.map_or(NtpTimestamp::ZERO, |ask| ask.origin),
        receive_timestamp: ask.map_or(NtpTimestamp::ZERO, |ask| ask.receive),
        transmit_timestamp: nonce,
        ..Header::blank(Version::V4, Mode::Client)
    }
}
