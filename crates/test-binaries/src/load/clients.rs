//! The clients: what each asks, what it remembers, and whether an answer is good.
//!
//! # Four dialects
//! *Plain*: a header whose transmit timestamp is the request's number (see `flight.rs`); a good answer returns it as the
//! origin timestamp.
//!
//! *Interleaved* (RFC 9769 section 2): a client remembers its last exchange and refers to it. A request's receive field, in which a
//! client may write anything, holds the request's number once more, under another hash, so that the answer tells by what
//! it returns in which mode it is and which request it answers. The transmit timestamp of an interleaved answer is
//! that of the answer before, and goes with that one's stamps.
//!
//! *With a key*: the same, with a MAC (RFC 5905 section 7.3, RFC 8573). An answer without the right MAC is none, whatever it says.
//!
//! *With NTS* (RFC 8915): the same, with a cookie and an authenticator. An answer must repeat the request's identifier and be authentic, or be
//! a kiss, by which a server says that it cannot open the cookie.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ntp_proto::keys::Key;
use ntp_proto::nts::KeyExchangeResult;
use ntp_proto::wire::{Header, Mac, Mode, Packet, Version, Writer, emit};
use ntp_time::{LeapIndicator, NtpDuration, NtpTimestamp, Stratum, SystemTime};
use ntp_udp::Arrival;

use super::Sources;
use super::flight::{Flight, Match};
use super::sessions::{Sessions, Standing};

/// What all clients of a run speak.
#[derive(Clone, Debug, Default)]
pub struct Dialect {
    /// Interleaved mode, beginning with the second exchange of a client.
    pub interleaved: bool,
    /// Sign with this key, and listen only to answers that are signed with it.
    pub key: Option<Arc<Key>>,
    /// NTS with the keys and cookies of these exchanges, which the clients share; none for a run without it.
    pub nts: Vec<KeyExchangeResult>,
}

/// All clients of a run.
#[derive(Debug)]
pub(super) struct Clients {
    signer: Option<Signer>,
    sessions: Option<Sessions>,
    sources: Option<Sources>,
    count: u64,
    flight: Flight,
    /// By client; empty unless they are interleaved.
    memories: Vec<Memory>,
}

/// A key and the octets of its digests.
#[derive(Debug)]
struct Signer {
    key: Arc<Key>,
    length: usize,
}

/// What a client knows of its exchanges.
#[derive(Clone, Copy, Debug, Default)]
struct Memory {
    /// The last good answer; zero until there is one.
    last: Exchange,
    /// The last request, and the receive timestamp that it refers to.
    asked: u64,
    referred: NtpTimestamp,
}

/// The server's receive timestamp, and our two readings.
#[derive(Clone, Copy, Debug, Default)]
struct Exchange {
    receive: NtpTimestamp,
    sent: Option<SystemTime>,
    arrived: Option<SystemTime>,
}

/// What an arrival is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    /// The first answer to a request.
    Answer(Answer),
    /// No answer to a request of ours, or not the first, or not authenticated as it should be.
    Invalid,
}

/// A good answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) latency: NtpDuration,
    pub(super) kind: AnswerKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AnswerKind {
    /// No time.
    Kiss,
    /// The time.
    Time {
        /// The server's clock against ours, if the exchange tells.
        offset: Option<NtpDuration>,
        interleaved: bool,
        unsynchronized: bool,
    },
}

/// The longest request, in octets: with NTS, as much as goes through any IPv6 path.
pub(super) const LONGEST: usize = 1232;

impl Clients {
    /// `count` clients, with room for `under_way` requests at once.
    pub(super) fn new(
        dialect: Dialect,
        sources: Option<Sources>,
        count: u32,
        flight: Flight,
        seed: u64,
    ) -> Self {
        let count = count.max(1);
        let remembered = if dialect.interleaved { count } else { 0 };
        let signer = dialect.key.map(|key| Signer {
            length: key.sign(&[]).version_4().len(),
            key,
        });
        Self {
            signer,
            sessions: Sessions::new(dialect.nts, flight.room(), seed),
            sources,
            count: count.into(),
            flight,
            memories: vec![Memory::default(); remembered as usize],
        }
    }

    /// How many requests there were.
    pub(super) fn asked(&self) -> u64 {
        self.flight.next().0
    }

    /// How many requests went out with a cookie that had been used.
    pub(super) fn reused_cookies(&self) -> u64 {
        self.sessions.as_ref().map_or(0, Sessions::reused)
    }

    /// The address that the next request comes from.
    pub(super) fn next_source(&self) -> Option<IpAddr> {
        let client = self.asked() % self.count;
        self.sources.map(|sources| sources.address(client))
    }

    /// Writes the next request, which leaves `at`.
    pub(super) fn ask<'a>(&mut self, at: SystemTime, octets: &'a mut [u8; LONGEST]) -> &'a [u8] {
        let (number, nonce) = self.flight.next();
        let mut header = Header {
            transmit_timestamp: nonce,
            ..Header::blank(Version::V4, Mode::Client)
        };
        if let Some(memory) = self.memories.get_mut((number % self.count) as usize) {
            memory.asked = number;
            memory.referred = memory.last.receive;
            if !memory.last.receive.is_zero() {
                header.origin_timestamp = memory.last.receive;
                header.receive_timestamp = self.flight.second_nonce(number);
            }
        }
        let length = match &mut self.sessions {
            None => write(&header, self.signer.as_ref(), octets),
            Some(sessions) => {
                let request = sessions.ask(number, &header).unwrap_or_default();
                let place = octets.get_mut(..request.len());
                place.map_or(0, |place| {
                    place.copy_from_slice(&request);
                    request.len()
                })
            }
        };
        self.flight.depart(at);
        octets.get(..length).unwrap_or_default()
    }

    /// Judges a datagram from `target` that came at `arrived`.
    pub(super) fn judge(
        &mut self,
        arrival: &Arrival<'_>,
        arrived: SystemTime,
        target: SocketAddr,
    ) -> Judgement {
        let Some(header) = self.header(arrival, target) else {
            return Judgement::Invalid;
        };
        let Match::First {
            number,
            sent,
            second,
        } = self.flight.arrive(header.origin_timestamp)
        else {
            return Judgement::Invalid;
        };
        let kind = if header.stratum == Stratum::KISS {
            AnswerKind::Kiss
        } else {
            AnswerKind::Time {
                offset: self.offset(&header, number, sent, arrived, second),
                interleaved: second,
                unsynchronized: header.leap == LeapIndicator::Unsynchronized
                    || header.stratum >= Stratum::UNSYNCHRONIZED,
            }
        };
        Judgement::Answer(Answer {
            latency: arrived - sent,
            kind,
        })
    }

    /// What an answer tells of the server's clock; the client remembers it.
    fn offset(
        &mut self,
        header: &Header,
        number: u64,
        sent: SystemTime,
        arrived: SystemTime,
        interleaved: bool,
    ) -> Option<NtpDuration> {
        let mut about = (header.receive_timestamp, sent, arrived);
        if let Some(memory) = self.memories.get_mut((number % self.count) as usize) {
            let last = core::mem::replace(
                &mut memory.last,
                Exchange {
                    receive: header.receive_timestamp,
                    sent: Some(sent),
                    arrived: Some(arrived),
                },
            );
            if interleaved {
                // Only if nothing came in between, it is known which exchange the stamp belongs to.
                let unbroken = memory.asked == number && memory.referred == last.receive;
                about = (last.receive, last.sent?, last.arrived.filter(|_| unbroken)?);
            }
        }
        let (receive, sent, arrived) = about;
        let received = arrived.nearest(receive);
        let transmitted = arrived.nearest(header.transmit_timestamp);
        Some((received - sent).midpoint(transmitted - arrived))
    }

    /// The header of an answer that the server may have written.
    fn header(&mut self, arrival: &Arrival<'_>, target: SocketAddr) -> Option<Header> {
        let packet = Packet::parse(arrival.payload).ok()?;
        let header = packet.header;
        let is_answer = !arrival.truncated
            && (arrival.from.ip(), arrival.from.port()) == (target.ip(), target.port())
            && header.mode == Mode::Server
            && header.version == Version::V4
            && (header.stratum == Stratum::KISS || !header.transmit_timestamp.is_zero());
        (is_answer && self.is_authentic(&packet)).then_some(header)
    }

    /// Whether an answer is authenticated as the dialect demands.
    fn is_authentic(&mut self, packet: &Packet<'_>) -> bool {
        if let Some(sessions) = &mut self.sessions {
            let number = self.flight.number(packet.header.origin_timestamp);
            return match number.and_then(|number| sessions.check(number, packet)) {
                Some(Standing::Authentic) => true,
                Some(Standing::Unproved) => packet.header.stratum == Stratum::KISS,
                None => false,
            };
        }
        match (&self.signer, packet.mac) {
            (None, mac) => mac.is_none(),
            (Some(Signer { key, .. }), Some(mac)) => {
                mac.key_id == key.id() && key.verify(packet.authenticated(), mac.digest)
            }
            (Some(_), None) => false,
        }
    }
}

/// Writes a request, signed if there is a key. Returns its length.
fn write(header: &Header, signer: Option<&Signer>, octets: &mut [u8]) -> usize {
    const BLANK: [u8; 20] = [0; 20];
    let mac = signer.map(|signer| Mac {
        key_id: signer.key.id(),
        digest: BLANK.get(..signer.length).unwrap_or_default(),
    });
    let mut writer = Writer::new(octets);
    if emit(header, None, mac, &mut writer).is_err() {
        return 0;
    }
    let request = writer.finish();
    if let Some(Signer { key, length }) = signer
        && let Some((covered, digest)) = Mac::divide(request, *length)
    {
        digest.copy_from_slice(key.sign(covered).version_4());
    }
    request.len()
}
