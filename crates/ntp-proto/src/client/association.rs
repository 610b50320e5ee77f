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

use super::protection::Protection;
use super::sanity::{self, LocalIdentity, Rejection};
use super::{Kiss, Reach, Schedule};
use crate::engine::{Datagram, ExchangeId};
use crate::wire::{Header, Mode, Packet, Version};

/// How long a request stays open. Longer than any path (a geostationary hop takes 0.3 s each way),
/// shorter than any steady interval.
const REPLY_TIMEOUT: NtpDuration = NtpDuration::from_seconds(5);

/// An open exchange.
#[derive(Clone, Copy, Debug)]
struct Exchange {
    /// Names the exchange, and its socket, towards the shell.
    id: ExchangeId,
    nonce: NtpTimestamp,
    /// When the request left; unknown until the shell has sent it.
    sent: Option<Stamp>,
    deadline: Monotonic,
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
}

impl Default for Terms {
    /// The usual poll limits, from the shortest on, and nothing else.
    fn default() -> Self {
        let limits = PollLimits::default();
        Self {
            limits,
            initial_poll: limits.min,
            protection: Protection::None,
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
    /// Replies that gave usable time.
    pub accepted: u64,
    /// Replies to our requests without usable time.
    pub unusable: u64,
    /// Datagrams that answered nothing of ours, or did not prove that they came from the server.
    pub bogus: u64,
    /// Of the unusable ones: crypto-NAKs, by which a server says that it does not accept our key.
    pub crypto_naks: u64,
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
    next_poll: Monotonic,
    counters: Counters,
    last_header: Option<Header>,
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
            next_poll: start,
            counters: Counters::default(),
            last_header: None,
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
        self.next_poll
    }

    /// The interval that is running: at least a second.
    pub fn interval(&self) -> NtpDuration {
        (self.next_poll - self.asked).max(NtpDuration::from_seconds(1))
    }

    /// When the open exchange is to be given up.
    pub fn deadline(&self) -> Option<Monotonic> {
        self.exchange.map(|exchange| exchange.deadline)
    }

    /// Opens an exchange; the caller has closed the one before.
    pub fn request(&mut self, now: Monotonic, id: ExchangeId, rng: &mut impl RngCore) -> Request {
        // Zero would read as "unknown" in the reply's origin field.
        let nonce = NtpTimestamp::from_bits(rng.next_u64().max(1));
        self.exchange = Some(Exchange {
            id,
            nonce,
            sent: None,
            deadline: now + REPLY_TIMEOUT,
        });
        self.reach.polled();
        self.asked = now;
        self.next_poll = self.schedule.requested(now, rng);
        self.counters.sent += 1;
        Request {
            payload: self.protection.request(&request_header(nonce), rng),
        }
    }

    /// The request has left. Of several stamps for it, the one taken closest to the wire counts.
    pub fn transmitted(&mut self, id: ExchangeId, stamp: Stamp) {
        if let Some(exchange) = self.exchange.as_mut().filter(|exchange| exchange.id == id)
            && exchange.sent.is_none_or(|sent| sent.source <= stamp.source)
        {
            exchange.sent = Some(stamp);
        }
    }

    /// Gives the open exchange up: it timed out, could not be sent, or a step made its stamps ambiguous.
    pub fn abandon(&mut self) -> Option<ExchangeId> {
        self.exchange.take().map(|exchange| exchange.id)
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
        let (sent, header) = self
            .match_reply(now, datagram)
            .inspect_err(|rejection| self.count_mismatch(*rejection))?;
        self.exchange = None;
        if header.stratum == Stratum::KISS {
            self.counters.unusable += 1;
            return Ok(Reply::Kiss(Kiss::from_reference_id(header.reference_id)));
        }
        sanity::check_server(&header, us, stratum_limit)
            .inspect_err(|_| self.counters.unusable += 1)?;
        self.counters.accepted += 1;
        self.reach.answered();
        if self.schedule.answered(now) {
            self.next_poll = now + NtpDuration::from_seconds(2);
        }
        self.last_header = Some(header);
        Ok(Reply::Time(Accepted {
            sent,
            received: datagram.received,
            header,
        }))
    }

    fn count_mismatch(&mut self, rejection: Rejection) {
        if rejection == Rejection::CryptoNak {
            self.counters.unusable += 1;
            self.counters.crypto_naks += 1;
        } else {
            self.counters.bogus += 1;
        }
    }

    fn match_reply(
        &mut self,
        now: Monotonic,
        datagram: &Datagram<'_>,
    ) -> Result<(Stamp, Header), Rejection> {
        let exchange = self
            .exchange
            .filter(|exchange| exchange.id == datagram.exchange)
            .ok_or(Rejection::Duplicate)?;
        if datagram.truncated {
            return Err(Rejection::Oversized);
        }
        let packet = Packet::parse(datagram.payload).map_err(|_| Rejection::Malformed)?;
        sanity::check_mode(&packet.header)?;
        if packet.header.origin_timestamp != exchange.nonce {
            return Err(Rejection::WrongOrigin);
        }
        if now > exchange.deadline {
            return Err(Rejection::Late);
        }
        // A reply to a request that was never sent can't exist; the nonce did not leave this process.
        let sent = exchange.sent.ok_or(Rejection::WrongOrigin)?;
        self.protection.check(&packet)?;
        Ok((sent, packet.header))
    }

    /// Takes the discipline's wish for the steady interval.
    pub fn set_poll(&mut self, wish: PollInterval) {
        self.schedule.set_poll(wish);
    }

    /// Takes another range of the poll interval.
    pub fn set_limits(&mut self, limits: PollLimits) {
        self.schedule.set_limits(limits);
        let latest = self.asked + self.schedule.poll().to_duration();
        self.next_poll = self.next_poll.min(latest.max(self.asked));
    }

    /// Asks again soon, in a burst: the clock was disturbed, the network came back or the operator wants it. Returns whether it
    /// does; see [`Schedule::restart`].
    pub fn restart(&mut self, now: Monotonic) -> bool {
        let restarts = self.schedule.restart(now);
        if restarts {
            self.next_poll = now;
        }
        restarts
    }

    /// Obeys a RATE kiss.
    pub fn rate_kissed(&mut self, now: Monotonic, rng: &mut impl RngCore) {
        self.next_poll = self.schedule.rate_kissed(now, rng);
    }
}

/// A client request that says nothing but its version, its mode and the nonce: what a server does
/// not need to know it cannot use to recognise or to manipulate us.
fn request_header(nonce: NtpTimestamp) -> Header {
    Header {
        transmit_timestamp: nonce,
        ..Header::blank(Version::V4, Mode::Client)
    }
}
