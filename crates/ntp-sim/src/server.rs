//! A time server: right, wrong, or badly behaved.
//!
//! Honest replies are drafted by the project's own [`ntp_proto::server`], in the server's own time: true time plus an error that may be
//! constant, wander, jitter, or be changed by the script. What a [`Conduct`] spoils is spoilt afterwards,
//! header or octets. A server does not know that it lies; the client must find out.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use ntp_proto::keys::{Algorithm, Key, KeyRing};
use ntp_proto::server::{
    Claim, Draft, Policy, RootDispersion, ServerNow, ServerView, WorkerState, respond,
};
use ntp_proto::wire::{Header, Mode, Packet, Version, Writer};
use ntp_time::{
    Frequency, LeapIndicator, Monotonic, NtpDuration, NtpShort, NtpTimestamp, ReferenceId, Stratum,
    SystemTime,
};

use crate::{Chance, Link, Nts, TrueTime};

/// A server and the path to it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Server {
    /// Its address.
    pub address: IpAddr,
    /// The path.
    pub link: Link,
    /// How it behaves.
    pub conduct: Conduct,
    /// How far its clock is ahead of true time, seconds.
    pub error: f64,
    /// Random walk of its frequency, s/s per sqrt(s).
    pub wander: f64,
    /// Noise of each of its stamps, seconds.
    pub jitter: f64,
    /// Mean time from a request's arrival to its reply, seconds.
    pub processing: f64,
    /// Mean time from its transmit timestamp to the moment at which the reply really leaves, seconds: what a basic reply cannot tell, and an
    /// interleaved one can.
    pub departure: f64,
    /// Whether it knows interleaved mode.
    pub interleaved: bool,
    /// Its stratum.
    pub stratum: u8,
    /// Its own root delay, seconds.
    pub root_delay: f64,
    /// Its own root dispersion, seconds.
    pub root_dispersion: f64,
    /// What it takes its time from.
    pub reference_id: ReferenceId,
    /// What it says about leap seconds.
    pub leap_news: LeapNews,
    /// Whether and how it does NTS.
    pub nts: Option<Nts>,
}

impl Server {
    /// A perfect server, 5 ms away in each direction with queues of 100 us.
    pub fn new(address: IpAddr) -> Self {
        Self {
            address,
            link: Link::exponential(5e-3, 1e-4),
            conduct: Conduct::Honest,
            error: 0.0,
            wander: 0.0,
            jitter: 0.0,
            processing: 2e-5,
            departure: 0.0,
            interleaved: false,
            stratum: 1,
            root_delay: 0.0,
            root_dispersion: 0.0,
            reference_id: ReferenceId::new(*b"GPS\0"),
            leap_news: LeapNews::Truth,
            nts: None,
        }
    }
}

/// What a server says about leap seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeapNews {
    /// That one is inserted at the end of the day, if it is so.
    Truth,
    /// Never anything.
    Nothing,
    /// Always that one is inserted.
    Invention,
}

/// What a server does with a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Conduct {
    /// Answers as well as its clock allows.
    Honest,
    /// Does not answer.
    Silent,
    /// Nobody listens there: the network says so.
    Refused,
    /// Answers every request with this kiss code.
    Kiss([u8; 4]),
    /// Answers with a RATE kiss when less than this many seconds have passed since the request before.
    RateBelow(f64),
    /// Answers, but says that it has no time.
    Unsynchronized,
    /// Answers something that must not be used.
    Spoilt(Spoilt),
}

/// Ways to spoil a reply to our own request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spoilt {
    /// Cut to 40 octets.
    Short,
    /// Nothing at all in it.
    Empty,
    /// Another origin timestamp.
    WrongOrigin,
    /// The request sent back.
    WrongMode,
    /// Receive and transmit timestamps zero.
    ZeroTimestamps,
    /// Sent before it was received.
    BackwardTimestamps,
    /// Stratum 0 without a kiss code.
    StratumZero,
    /// Stratum 16.
    StratumSixteen,
    /// A stratum that does not exist.
    StratumBeyond,
    /// 16 s from its reference clock.
    TooFar,
    /// Another protocol version.
    WrongVersion,
    /// Octets behind the header that mean nothing.
    TrailingGarbage,
    /// Far longer than any reply.
    Huge,
}

impl Spoilt {
    /// All ways.
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

    pub(crate) fn spoil(self, header: &mut Header) {
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

    pub(crate) fn spoil_octets(self, octets: &mut Vec<u8>) {
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

/// What a server gives back for a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Nothing,
    Refusal,
    /// Leaves at this moment.
    Reply(TrueTime, Vec<u8>),
}

/// A server at work.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    pub(crate) config: Server,
    policy: Arc<Policy>,
    worker: WorkerState,
    chance: Chance,
    /// Wander of its frequency, and what that has added to its error.
    frequency: f64,
    wandered: f64,
    second: i64,
    last_request: Option<TrueTime>,
    /// Requests that reached it.
    pub(crate) asked: u64,
}

/// A symmetric key that all simulated servers have.
pub fn shared_key() -> Option<Key> {
    Key::new(1, Algorithm::Sha1, b"everybody's").ok()
}

impl Host {
    pub(crate) fn new(config: Server, chance: Chance) -> Self {
        let policy = Policy {
            interleaved_pairs: if config.interleaved { 64 } else { 0 },
            keys: KeyRing::new(shared_key()).unwrap_or_default(),
            ..Policy::default()
        };
        Self {
            config,
            worker: WorkerState::new(&policy, 1, [0; 32]),
            policy: Arc::new(policy),
            chance,
            frequency: 0.0,
            wandered: 0.0,
            second: 0,
            last_request: None,
            asked: 0,
        }
    }

    /// A request arrives at `now`; `utc` tells UTC at a moment of true time, `leap` whether a leap second is near.
    pub(crate) fn answer(
        &mut self,
        now: TrueTime,
        utc: impl Fn(TrueTime) -> SystemTime,
        leap: bool,
        request: &[u8],
    ) -> Answer {
        self.asked += 1;
        self.wander_until(now);
        let since_last = self.last_request.replace(now).map(|last| now - last);
        let stamped = now + self.config.processing * self.chance.exponential();
        let received = utc(now) + self.stamp_error();
        let sent = (utc(stamped) + self.stamp_error()).max(received);
        let leaves = if self.config.departure > 0.0 {
            stamped + self.config.departure * self.chance.exponential()
        } else {
            stamped
        };

        let mut draft = Draft::new();
        let verdict = respond(
            &self.view(received, leap),
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
            return Answer::Nothing;
        }
        if let Some(token) = draft.stamp_token() {
            let left = (utc(leaves) + self.stamp_error()).max(received);
            self.worker.record_transmit(token, left);
        }
        let reply = draft.seal(sent);
        let Ok(Packet { mut header, .. }) = Packet::parse(reply) else {
            return Answer::Nothing;
        };
        let conduct = match self.config.conduct {
            Conduct::RateBelow(seconds) if since_last.is_some_and(|since| since < seconds) => {
                Conduct::Kiss(*b"RATE")
            }
            conduct => conduct,
        };
        match conduct {
            Conduct::Silent => return Answer::Nothing,
            Conduct::Refused => return Answer::Refusal,
            Conduct::Kiss(code) => {
                header.leap = LeapIndicator::Unsynchronized;
                header.stratum = Stratum::KISS;
                header.reference_id = ReferenceId::new(code);
            }
            Conduct::Unsynchronized => header.leap = LeapIndicator::Unsynchronized,
            Conduct::Spoilt(spoilt) => spoilt.spoil(&mut header),
            Conduct::Honest | Conduct::RateBelow(_) => {}
        }
        // What is spoilt in the header no longer agrees with what seals it.
        let mut octets = octets_of(&header);
        octets.extend_from_slice(reply.get(Header::LEN..).unwrap_or_default());
        if let Conduct::Spoilt(spoilt) = conduct {
            spoilt.spoil_octets(&mut octets);
        }
        Answer::Reply(leaves, octets)
    }

    fn stamp_error(&mut self) -> NtpDuration {
        let jitter = if self.config.jitter > 0.0 {
            self.config.jitter * self.chance.normal()
        } else {
            0.0
        };
        NtpDuration::from_seconds_f64(self.config.error + self.wandered + jitter)
    }

    fn wander_until(&mut self, now: TrueTime) {
        if self.config.wander <= 0.0 {
            return;
        }
        while TrueTime::from_nanos((self.second + 1) * 1_000_000_000) <= now {
            self.second += 1;
            self.frequency += self.config.wander * self.chance.normal();
            self.wandered += self.frequency;
        }
    }

    fn view(&self, now: SystemTime, leap: bool) -> ServerView {
        let short =
            |seconds: f64| NtpShort::from_duration_ceil(NtpDuration::from_seconds_f64(seconds));
        let claim = Claim {
            leap: match self.config.leap_news {
                LeapNews::Truth if leap => LeapIndicator::Insert,
                LeapNews::Invention => LeapIndicator::Insert,
                LeapNews::Truth | LeapNews::Nothing => LeapIndicator::None,
            },
            stratum: Stratum::new(self.config.stratum),
            precision: -30,
            root_delay: short(self.config.root_delay),
            root_dispersion: RootDispersion {
                value: NtpDuration::from_seconds_f64(self.config.root_dispersion),
                at: now,
                growth: Frequency::ZERO,
            },
            reference_id: self.config.reference_id,
            reference_timestamp: (now - NtpDuration::from_seconds(16)).to_ntp(),
            ..Claim::UNSYNCHRONIZED
        };
        ServerView {
            claim,
            policy: Arc::clone(&self.policy),
            keyset: self.config.nts.map(|nts| nts.keyset()),
        }
    }
}

/// Servers without access lists and limits do not care who asks.
const CLIENT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 123);

/// A header on the wire.
pub(crate) fn octets_of(header: &Header) -> Vec<u8> {
    let mut octets = vec![0; Header::LEN];
    let written = header.emit(&mut Writer::new(&mut octets));
    debug_assert!(written.is_ok(), "the buffer has a header's length");
    octets
}

/// A reply that is plausible in all but its nonce: what an attacker sends.
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

    fn ask(config: Server, times: &[f64]) -> Vec<Answer> {
        let mut host = Host::new(config, Chance::new(1, 0));
        let nonce = NtpTimestamp::from_bits(0x0123_4567_89ab_cdef);
        let request = octets_of(&Header {
            transmit_timestamp: nonce,
            ..Header::blank(Version::V4, Mode::Client)
        });
        let utc = |at: TrueTime| SystemTime::from_nanos(at.as_nanos());
        times
            .iter()
            .map(|time| host.answer(TrueTime::from_seconds(*time), utc, false, &request))
            .collect()
    }

    fn header(answer: &Answer) -> Header {
        match answer {
            Answer::Reply(_, octets) => Packet::parse(octets).unwrap().header,
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
        let answer = &ask(server(|server| server.error = 0.05), &[100.0])[0];
        let received = header(answer).receive_timestamp;
        assert_eq!(
            received - SystemTime::from_nanos(100_050_000_000).to_ntp(),
            NtpDuration::ZERO
        );
    }

    #[test]
    fn a_rate_limit_kisses_only_the_hasty() {
        let answers = ask(
            server(|server| server.conduct = Conduct::RateBelow(32.0)),
            &[0.0, 16.0, 48.5],
        );
        let strata: Vec<u8> = answers
            .iter()
            .map(|answer| header(answer).stratum.get())
            .collect();
        assert_eq!(strata, [1, 0, 1]);
    }
}
