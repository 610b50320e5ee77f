//! The emulated clients: their requests, their state, and the validation of replies.
//!
//! # Five protocols
//! *Basic*: a header whose transmit timestamp encodes the request's number (see `in_flight.rs`); a
//! valid reply returns it as the origin timestamp.
//!
//! *Interleaved* (RFC 9769 section 2): a client remembers its last exchange and refers to it. The
//! receive field of a request, which a client may set freely, encodes the request's number with
//! another hash, so that the origin timestamp of a reply identifies its mode and its request. The
//! transmit timestamp of an interleaved reply is that of the previous reply, and belongs to the
//! timestamps of that exchange.
//!
//! *With a key*: the same, with a MAC (RFC 5905 section 7.3, RFC 8573). A reply without the right
//! MAC is invalid.
//!
//! *Version 5*: the client cookie encodes the request's number, and the response must repeat it. Of
//! the other protocols only the basic one exists in it.
//!
//! *With NTS* (RFC 8915): the same, with a cookie and an authenticator. A reply must repeat the
//! unique identifier of the request and be authentic, or be a kiss (NTS NAK).

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ntp_proto::keys::Key;
use ntp_proto::nts::KeyExchangeResult;
use ntp_proto::wire::v5::{self, Field};
use ntp_proto::wire::{EmitError, Header, Mac, Mode, Packet, Version, Writer, emit};
use ntp_time::{LeapIndicator, NtpDuration, NtpTimestamp, Stratum, SystemTime, Time32};
use ntp_udp::Arrival;

use super::Sources;
use super::in_flight::{InFlight, Match};
use super::sessions::{Authenticity, Sessions};

/// Protocol options of all clients of a run.
#[derive(Clone, Debug, Default)]
pub struct ClientProtocol {
    /// Interleaved mode, from the second exchange of a client on.
    pub interleaved: bool,
    /// Authenticate with this symmetric key, and accept only replies authenticated with it.
    pub key: Option<Arc<Key>>,
    /// Use NTS with the keys and cookies of these exchanges, which the clients share; empty for a
    /// run without NTS.
    pub nts: Vec<KeyExchangeResult>,
    /// Use NTPv5, without any of the above.
    pub version_5: bool,
}

/// All clients of a run.
#[derive(Debug)]
pub(super) struct Clients {
    signer: Option<Signer>,
    sessions: Option<Sessions>,
    version_5: bool,
    sources: Option<Sources>,
    count: u64,
    in_flight: InFlight,
    /// By client; empty unless interleaved.
    states: Vec<ClientState>,
}

/// A key and the length of its digests in octets.
#[derive(Debug)]
struct Signer {
    key: Arc<Key>,
    length: usize,
}

/// State of an interleaved client.
#[derive(Clone, Copy, Debug, Default)]
struct ClientState {
    /// Exchange of the last valid reply; zero until there is one.
    last: Exchange,
    /// Number of the last request, and the receive timestamp that it refers to.
    last_request: u64,
    referenced: NtpTimestamp,
}

/// The server's receive timestamp and our two timestamps.
#[derive(Clone, Copy, Debug, Default)]
struct Exchange {
    receive: NtpTimestamp,
    sent: Option<SystemTime>,
    arrived: Option<SystemTime>,
}

/// Result of the validation of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The first valid reply to a request.
    Reply(Reply),
    /// Matches no pending request, or is not authenticated as required.
    Invalid,
}

/// A valid reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) latency: NtpDuration,
    pub(super) kind: ReplyKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReplyKind {
    /// A kiss-o'-death.
    Kiss,
    /// A reply with the time.
    Time {
        /// Offset of the server's clock from ours, if it can be computed.
        offset: Option<NtpDuration>,
        interleaved: bool,
        unsynchronized: bool,
    },
}

/// Maximum length of a request, in octets: the payload of the minimum IPv6 MTU.
pub(super) const MAX_REQUEST: usize = 1232;

impl Clients {
    /// `count` clients that share the table of pending requests.
    pub(super) fn new(
        protocol: ClientProtocol,
        sources: Option<Sources>,
        count: u32,
        in_flight: InFlight,
        seed: u64,
    ) -> Self {
        let count = count.max(1);
        let stateful = if protocol.interleaved { count } else { 0 };
        let signer = protocol.key.map(|key| Signer {
            length: key.sign(&[]).version_4().len(),
            key,
        });
        Self {
            signer,
            version_5: protocol.version_5,
            sessions: Sessions::new(protocol.nts, in_flight.capacity(), seed),
            sources,
            count: count.into(),
            in_flight,
            states: vec![ClientState::default(); stateful as usize],
        }
    }

    /// Number of requests so far.
    pub(super) fn requests(&self) -> u64 {
        self.in_flight.next().0
    }

    /// Number of requests with a reused cookie.
    pub(super) fn reused_cookies(&self) -> u64 {
        self.sessions.as_ref().map_or(0, Sessions::reused)
    }

    /// Source address of the next request.
    pub(super) fn next_source(&self) -> Option<IpAddr> {
        let client = self.requests() % self.count;
        self.sources.map(|sources| sources.address(client))
    }

    /// Writes the next request, sent at the time `at`.
    pub(super) fn write_request<'a>(
        &mut self,
        at: SystemTime,
        octets: &'a mut [u8; MAX_REQUEST],
    ) -> &'a [u8] {
        let (number, nonce) = self.in_flight.next();
        if self.version_5 {
            let length = write_version_5(nonce, octets);
            self.in_flight.record(at);
            return octets.get(..length).unwrap_or_default();
        }
        let mut header = Header {
            transmit_timestamp: nonce,
            ..Header::blank(Version::V4, Mode::Client)
        };
        if let Some(state) = self.states.get_mut((number % self.count) as usize) {
            state.last_request = number;
            state.referenced = state.last.receive;
            if !state.last.receive.is_zero() {
                header.origin_timestamp = state.last.receive;
                header.receive_timestamp = self.in_flight.second_nonce(number);
            }
        }
        let length = match &mut self.sessions {
            None => write(&header, self.signer.as_ref(), octets),
            Some(sessions) => {
                let request = sessions.request(number, &header).unwrap_or_default();
                let place = octets.get_mut(..request.len());
                place.map_or(0, |place| {
                    place.copy_from_slice(&request);
                    request.len()
                })
            }
        };
        self.in_flight.record(at);
        octets.get(..length).unwrap_or_default()
    }

    /// Validates a datagram that arrived at `arrived` against the pending requests to `target`.
    pub(super) fn handle_reply(
        &mut self,
        arrival: &Arrival<'_>,
        arrived: SystemTime,
        target: SocketAddr,
    ) -> Outcome {
        let Some(header) = self.header(arrival, target) else {
            return Outcome::Invalid;
        };
        let Match::First {
            number,
            sent,
            second,
        } = self.in_flight.take(header.origin_timestamp)
        else {
            return Outcome::Invalid;
        };
        let kind = if header.stratum == Stratum::KISS {
            ReplyKind::Kiss
        } else {
            ReplyKind::Time {
                offset: self.offset(&header, number, sent, arrived, second),
                interleaved: second,
                unsynchronized: header.leap == LeapIndicator::Unsynchronized
                    || header.stratum >= Stratum::UNSYNCHRONIZED,
            }
        };
        Outcome::Reply(Reply {
            latency: arrived - sent,
            kind,
        })
    }

    /// Computes the offset of a reply, and stores the exchange in the client's state.
    fn offset(
        &mut self,
        header: &Header,
        number: u64,
        sent: SystemTime,
        arrived: SystemTime,
        interleaved: bool,
    ) -> Option<NtpDuration> {
        let mut exchange = (header.receive_timestamp, sent, arrived);
        if let Some(state) = self.states.get_mut((number % self.count) as usize) {
            let last = core::mem::replace(
                &mut state.last,
                Exchange {
                    receive: header.receive_timestamp,
                    sent: Some(sent),
                    arrived: Some(arrived),
                },
            );
            if interleaved {
                // Without a request in between, the transmit timestamp belongs to the last
                // exchange.
                let consecutive = state.last_request == number && state.referenced == last.receive;
                exchange = (
                    last.receive,
                    last.sent?,
                    last.arrived.filter(|_| consecutive)?,
                );
            }
        }
        let (receive, sent, arrived) = exchange;
        let received = arrived.nearest(receive);
        let transmitted = arrived.nearest(header.transmit_timestamp);
        Some((received - sent).midpoint(transmitted - arrived))
    }

    /// Returns the header if the datagram is a well-formed, authentic reply of the server.
    fn header(&mut self, arrival: &Arrival<'_>, target: SocketAddr) -> Option<Header> {
        if self.version_5 {
            let from_target =
                (arrival.from.ip(), arrival.from.port()) == (target.ip(), target.port());
            let expected = !arrival.truncated && from_target;
            return expected
                .then(|| header_of_version_5(arrival.payload))
                .flatten();
        }
        let packet = Packet::parse(arrival.payload).ok()?;
        let header = packet.header;
        let is_reply = !arrival.truncated
            && (arrival.from.ip(), arrival.from.port()) == (target.ip(), target.port())
            && header.mode == Mode::Server
            && header.version == Version::V4
            && (header.stratum == Stratum::KISS || !header.transmit_timestamp.is_zero());
        (is_reply && self.is_authentic(&packet)).then_some(header)
    }

    /// Whether a reply is authenticated as the protocol requires.
    fn is_authentic(&mut self, packet: &Packet<'_>) -> bool {
        if let Some(sessions) = &mut self.sessions {
            let number = self.in_flight.number(packet.header.origin_timestamp);
            return match number.and_then(|number| sessions.check(number, packet)) {
                Some(Authenticity::Authentic) => true,
                Some(Authenticity::Unauthenticated) => packet.header.stratum == Stratum::KISS,
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

/// Writes a request of version 5. Returns its length.
fn write_version_5(nonce: NtpTimestamp, octets: &mut [u8]) -> usize {
    let header = v5::Header {
        client_cookie: v5::ClientCookie::from_bits(nonce.to_bits()),
        ..v5::Header::blank(Mode::Client)
    };
    let mut writer = Writer::new(octets);
    let draft = Field::Draft(v5::draft::NAMES[0].as_bytes());
    let written = header.emit(&mut writer).map_err(EmitError::from);
    match written.and_then(|()| draft.emit(&mut writer)) {
        Ok(()) => writer.written().len(),
        Err(_) => 0,
    }
}

/// Returns the header of a response of version 5, as that of the other versions would be.
fn header_of_version_5(payload: &[u8]) -> Option<Header> {
    let packet = v5::Packet::parse(payload).ok()?;
    let header = packet.header;
    let refused = header.stratum == Stratum::new(0) && header.root_dispersion == Time32::ZERO;
    let known = packet.draft.and_then(v5::draft::known_name).is_some();
    (header.mode == Mode::Server && known).then(|| Header {
        leap: header.leap,
        stratum: match (refused, header.flags.synchronized) {
            (true, _) => Stratum::KISS,
            (false, true) => header.stratum,
            (false, false) => Stratum::UNSYNCHRONIZED,
        },
        origin_timestamp: NtpTimestamp::from_bits(header.client_cookie.to_bits()),
        receive_timestamp: header.receive_timestamp,
        transmit_timestamp: header.transmit_timestamp,
        ..Header::blank(Version::V4, Mode::Server)
    })
}

/// Writes a request, with a MAC if there is a key. Returns its length.
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
        && let Some((covered, digest)) = Mac::split_packet(request, *length)
    {
        digest.copy_from_slice(key.sign(covered).version_4());
    }
    request.len()
}
