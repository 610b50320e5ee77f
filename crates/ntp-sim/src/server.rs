//! Simulated time server: correct, wrong or misbehaving.
//!
//! Replies are composed by the project's own [`ntp_proto::server`], in the server's own time: true
//! time, or that of the clock of a [`Machine`](crate::Machine), plus an error that may be constant,
//! follow a [`Course`], jitter, or be changed by the script. A [`Behaviour`] that corrupts the reply is applied afterwards, to the header or the octets.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use ntp_proto::keys::{Algorithm, Key, KeyRing};
use ntp_proto::reference_ids::BloomFilter;
use ntp_proto::server::{
    Claim, Draft, Policy, RootDispersion, ServerNow, ServerView, Versions, WorkerState, respond,
};
use ntp_proto::wire::{Header, Mode, Packet, Version, Writer, v5};
use ntp_time::{
    Frequency, LeapIndicator, Monotonic, NtpDuration, NtpShort, NtpTimestamp, ReferenceId, Stratum,
    SystemTime, Timescale,
};

use crate::course::CourseState;
use crate::{Course, Link, Nts, Rng, TrueTime};

/// A server and the path to it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Server {
    /// Its address.
    pub address: IpAddr,
    /// Path to it.
    pub link: Link,
    /// Behaviour.
    pub behaviour: Behaviour,
    /// How far its clock is ahead of true time, seconds.
    pub error: f64,
    /// How its error changes.
    pub course: Course,
    /// Noise of each of its timestamps, seconds.
    pub jitter: f64,
    /// Mean time from a request's arrival to its transmit timestamp, seconds.
    pub processing: f64,
    /// Mean time from its transmit timestamp to the actual transmission, seconds, which a basic
    /// reply cannot report and an interleaved one can.
    pub transmit_delay: f64,
    /// Whether it supports interleaved mode.
    pub interleaved: bool,
    /// Whether it answers version 5.
    pub version_5: bool,
    /// Scale of its clock, which replies of version 5 state; `error` has its offset from UTC.
    pub timescale: Timescale,
    /// Its stratum.
    pub stratum: u8,
    /// Its own root delay, seconds.
    pub root_delay: f64,
    /// Its own root dispersion, seconds.
    pub root_dispersion: f64,
    /// Its reference ID.
    pub reference_id: ReferenceId,
    /// Its announcement of leap seconds.
    pub leap_announcement: LeapAnnouncement,
    /// Whether its Bloom filter of reference IDs has all bits set (version 5).
    pub full_reference_ids: bool,
    /// Its NTS configuration, if it supports NTS.
    pub nts: Option<Nts>,
}

impl Server {
    /// A perfect server, 5 ms away in each direction with queues of 100 us.
    pub fn new(address: IpAddr) -> Self {
        Self {
            address,
            link: Link::exponential(5e-3, 1e-4),
            behaviour: Behaviour::Honest,
            error: 0.0,
            course: Course::Steady,
            jitter: 0.0,
            processing: 2e-5,
            transmit_delay: 0.0,
            interleaved: false,
            version_5: false,
            timescale: Timescale::Utc,
            stratum: 1,
            root_delay: 0.0,
            root_dispersion: 0.0,
            reference_id: ReferenceId::new(*b"GPS\0"),
            leap_announcement: LeapAnnouncement::Truth,
            full_reference_ids: false,
            nts: None,
        }
    }
}

/// A server's leap indicator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeapAnnouncement {
    /// Announces a leap second on the day at whose end one is inserted.
    Truth,
    /// Never announces one.
    Never,
    /// Always announces one.
    Always,
}

/// How a server handles a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Behaviour {
    /// Replies as well as its clock allows.
    Honest,
    /// Does not reply.
    Silent,
    /// The port is closed; the network reports it as unreachable.
    Refused,
    /// Replies to every request with this kiss code.
    Kiss([u8; 4]),
    /// Replies with a RATE kiss if less than this many seconds have passed since the previous
    /// request.
    RateBelow(f64),
    /// Replies with the leap indicator "unsynchronised".
    Unsynchronized,
    /// Replies with something that must not be used.
    Corrupt(Corruption),
}

/// Ways to corrupt a reply to the client's own request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Corruption {
    /// Truncated to 40 octets.
    Short,
    /// An empty datagram.
    Empty,
    /// Wrong origin timestamp.
    WrongOrigin,
    /// The request is sent back.
    WrongMode,
    /// Receive and transmit timestamps zero.
    ZeroTimestamps,
    /// Transmit timestamp before the receive timestamp.
    BackwardTimestamps,
    /// Stratum 0 without a kiss code.
    StratumZero,
    /// Stratum 16.
    StratumSixteen,
    /// An invalid stratum.
    StratumBeyond,
    /// Root distance beyond 16 s.
    TooFar,
    /// Wrong protocol version.
    WrongVersion,
    /// Meaningless octets after the header.
    TrailingGarbage,
    /// Far longer than any reply.
    Huge,
}

impl Corruption {
    /// All variants.
    pub const ALL: [Self; 13] = [
        Self::Short,
        Self::Empty,
        Self::WrongOrigin,
        Self::WrongMode,
        Self::ZeroTimestamps,
        Self::BackwardTimestamps,
        Self::StratumZero,
        Self::StratumSixteen,
        Self::StratumBeyond,
        Self::TooFar,
        Self::WrongVersion,
        Self::TrailingGarbage,
        Self::Huge,
    ];

    pub(crate) fn corrupt_header(self, header: &mut Header) {
        match self {
            Self::WrongOrigin => {
                header.origin_timestamp =
                    NtpTimestamp::from_bits(!header.origin_timestamp.to_bits());
            }
            Self::WrongMode => header.mode = Mode::Client,
            Self::ZeroTimestamps => {
                header.receive_timestamp = NtpTimestamp::ZERO;
                header.transmit_timestamp = NtpTimestamp::ZERO;
            }
            Self::BackwardTimestamps => {
                header.transmit_timestamp = header.receive_timestamp + NtpDuration::from_millis(-1);
            }
            Self::StratumZero => {
                header.stratum = Stratum::KISS;
                header.reference_id = ReferenceId::new([0; 4]);
            }
            Self::StratumSixteen => header.stratum = Stratum::UNSYNCHRONIZED,
            Self::StratumBeyond => header.stratum = Stratum::new(200),
            Self::TooFar => {
                header.root_dispersion =
                    NtpShort::from_duration_ceil(NtpDuration::from_seconds(17));
            }
            Self::Short | Self::Empty | Self::WrongVersion | Self::TrailingGarbage | Self::Huge => {
            }
        }
    }

    pub(crate) fn corrupt_octets(self, octets: &mut Vec<u8>) {
        match self {
            Self::Short => octets.truncate(40),
            Self::Empty => octets.clear(),
            Self::WrongVersion => {
                if let Some(first) = octets.first_mut() {
                    *first |= 0x38;
                }
            }
            Self::TrailingGarbage => octets.extend([0xff; 13]),
            Self::Huge => octets.resize(60_000, 0xff),
            _ => {}
        }
    }
}

/// Result of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Response {
    None,
    PortUnreachable,
    /// Transmitted at this time.
    Reply(TrueTime, Vec<u8>),
}

/// What replies state about the server's clock.
#[derive(Clone, Debug)]
pub(crate) enum Statement {
    /// What the server is configured to state.
    Configured {
        /// A leap second is near.
        leap: bool,
    },
    /// What the engine that keeps the clock publishes.
    Engine(Claim, Option<Arc<BloomFilter>>),
}

/// Running state of a server.
#[derive(Clone, Debug)]
pub(crate) struct SimServer {
    pub(crate) config: Server,
    policy: Arc<Policy>,
    worker: WorkerState,
    rng: Rng,
    course: CourseState,
    /// What its course adds to its error.
    moved: f64,
    last_request: Option<TrueTime>,
    /// Number of requests that reached it.
    pub(crate) requests: u64,
}

/// A symmetric key that all simulated servers share.
pub fn shared_key() -> Option<Key> {
    Key::new(1, Algorithm::Sha1, b"everybody's").ok()
}

impl SimServer {
    pub(crate) fn new(config: Server, rng: Rng, course: Rng) -> Self {
        let policy = Policy {
            interleaved_pairs: if config.interleaved { 64 } else { 0 },
            keys: KeyRing::new(shared_key()).unwrap_or_default(),
            versions: if config.version_5 {
                Versions::UP_TO_4.with(Version::V5)
            } else {
                Versions::UP_TO_4
            },
            ..Policy::default()
        };
        Self {
            config,
            worker: WorkerState::new(&policy, 1, [0; 32]),
            policy: Arc::new(policy),
            course: CourseState::new(config.course, course),
            rng,
            moved: 0.0,
            last_request: None,
            requests: 0,
        }
    }

    /// Handles a request that arrives at `now`; `clock` reads the server's clock, without its
    /// configured error.
    pub(crate) fn handle_request(
        &mut self,
        now: TrueTime,
        clock: impl Fn(TrueTime) -> SystemTime,
        statement: Statement,
        request: &[u8],
    ) -> Response {
        self.requests += 1;
        self.moved = self.course.error(now);
        let since_last = self.last_request.replace(now).map(|last| now - last);
        let stamped = now + self.config.processing * self.rng.exponential();
        let received = clock(now) + self.stamp_error();
        let sent = (clock(stamped) + self.stamp_error()).max(received);
        let leaves = if self.config.transmit_delay > 0.0 {
            stamped + self.config.transmit_delay * self.rng.exponential()
        } else {
            stamped
        };

        let mut draft = Draft::new();
        let verdict = respond(
            &self.view(received, statement),
            &mut self.worker,
            CLIENT,
            ServerNow {
                monotonic: Monotonic::from_nanos(now.as_nanos()),
                system: received,
            },
            request,
            received,
            &mut draft,
        );
        if !verdict.is_answer() {
            return Response::None;
        }
        if let Some(token) = draft.stamp_token() {
            let left = (clock(leaves) + self.stamp_error()).max(received);
            self.worker.record_transmit(token, left);
        }
        let reply = draft.seal(sent);
        if v5::Packet::parse(reply).is_ok() && self.config.behaviour == Behaviour::Honest {
            return Response::Reply(leaves, reply.to_vec());
        }
        let Ok(Packet { mut header, .. }) = Packet::parse(reply) else {
            return Response::None;
        };
        let behaviour = match self.config.behaviour {
            Behaviour::RateBelow(seconds) if since_last.is_some_and(|since| since < seconds) => {
                Behaviour::Kiss(*b"RATE")
            }
            behaviour => behaviour,
        };
        match behaviour {
            Behaviour::Silent => return Response::None,
            Behaviour::Refused => return Response::PortUnreachable,
            Behaviour::Kiss(code) => {
                header.leap = LeapIndicator::Unsynchronized;
                header.stratum = Stratum::KISS;
                header.reference_id = ReferenceId::new(code);
            }
            Behaviour::Unsynchronized => header.leap = LeapIndicator::Unsynchronized,
            Behaviour::Corrupt(corruption) => corruption.corrupt_header(&mut header),
            Behaviour::Honest | Behaviour::RateBelow(_) => {}
        }
        // A corrupted header no longer matches its authenticator.
        let mut octets = octets_of(&header);
        octets.extend_from_slice(reply.get(Header::LEN..).unwrap_or_default());
        if let Behaviour::Corrupt(corruption) = behaviour {
            corruption.corrupt_octets(&mut octets);
        }
        Response::Reply(leaves, octets)
    }

    fn stamp_error(&mut self) -> NtpDuration {
        let jitter = if self.config.jitter > 0.0 {
            self.config.jitter * self.rng.normal()
        } else {
            0.0
        };
        NtpDuration::from_seconds_f64(self.config.error + self.moved + jitter)
    }

    fn view(&self, now: SystemTime, statement: Statement) -> ServerView {
        let (claim, reference_ids) = match statement {
            Statement::Configured { leap } => (self.configured_claim(now, leap), None),
            Statement::Engine(claim, reference_ids) => (claim, reference_ids),
        };
        let mut full = BloomFilter::EMPTY;
        full.write_chunk(0, &[0xff; BloomFilter::LEN]);
        ServerView {
            claim,
            policy: Arc::clone(&self.policy),
            keyset: self.config.nts.map(|nts| nts.keyset()),
            reference_ids: if self.config.full_reference_ids {
                Some(Arc::new(full))
            } else {
                reference_ids
            },
        }
    }

    fn configured_claim(&self, now: SystemTime, leap: bool) -> Claim {
        Claim {
            leap: match self.config.leap_announcement {
                LeapAnnouncement::Truth if leap => LeapIndicator::Insert,
                LeapAnnouncement::Always => LeapIndicator::Insert,
                LeapAnnouncement::Truth | LeapAnnouncement::Never => LeapIndicator::None,
            },
            stratum: Stratum::new(self.config.stratum),
            precision: -30,
            root_delay: NtpDuration::from_seconds_f64(self.config.root_delay),
            root_dispersion: RootDispersion {
                value: NtpDuration::from_seconds_f64(self.config.root_dispersion),
                at: now,
                growth: Frequency::ZERO,
            },
            reference_id: self.config.reference_id,
            reference_timestamp: (now - NtpDuration::from_seconds(16)).to_ntp(),
            timescale: self.config.timescale,
            ..Claim::UNSYNCHRONIZED
        }
    }
}

/// Servers without access lists and limits ignore the client's address.
const CLIENT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 123);

/// Encodes a header.
pub(crate) fn octets_of(header: &Header) -> Vec<u8> {
    let mut octets = vec![0; Header::LEN];
    let written = header.emit(&mut Writer::new(&mut octets));
    debug_assert!(written.is_ok(), "the buffer has a header's length");
    octets
}

/// A reply that is plausible in everything but its nonce, for an attacker.
pub(crate) fn plausible_reply(origin: NtpTimestamp, time: SystemTime) -> Header {
    Header {
        stratum: Stratum::PRIMARY,
        precision: -30,
        reference_id: ReferenceId::new(*b"GPS\0"),
        origin_timestamp: origin,
        receive_timestamp: time.to_ntp(),
        transmit_timestamp: time.to_ntp(),
        ..Header::blank(Version::V4, Mode::Server)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn responses(config: Server, times: &[f64]) -> Vec<Response> {
        let mut server = SimServer::new(config, Rng::new(1, 0), Rng::new(1, 1));
        let nonce = NtpTimestamp::from_bits(0x0123_4567_89ab_cdef);
        let request = octets_of(&Header {
            transmit_timestamp: nonce,
            ..Header::blank(Version::V4, Mode::Client)
        });
        let utc = |at: TrueTime| SystemTime::from_nanos(at.as_nanos());
        times
            .iter()
            .map(|time| {
                let statement = Statement::Configured { leap: false };
                server.handle_request(TrueTime::from_seconds(*time), utc, statement, &request)
            })
            .collect()
    }

    fn header(response: &Response) -> Header {
        match response {
            Response::Reply(_, octets) => Packet::parse(octets).unwrap().header,
            other => panic!("{other:?}"),
        }
    }

    fn server(change: impl Fn(&mut Server)) -> Server {
        let mut server = Server::new(Ipv4Addr::LOCALHOST.into());
        change(&mut server);
        server
    }

    #[test]
    fn stamps_in_its_own_time() {
        let response = &responses(server(|server| server.error = 0.05), &[100.0])[0];
        let received = header(response).receive_timestamp;
        assert_eq!(
            received - SystemTime::from_nanos(100_050_000_000).to_ntp(),
            NtpDuration::ZERO
        );
    }

    #[test]
    fn a_rate_limit_kisses_only_the_hasty() {
        let all = responses(
            server(|server| server.behaviour = Behaviour::RateBelow(32.0)),
            &[0.0, 16.0, 48.5],
        );
        let strata: Vec<u8> = all
            .iter()
            .map(|response| header(response).stratum.get())
            .collect();
        assert_eq!(strata, [1, 0, 1]);
    }
}
