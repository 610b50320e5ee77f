//! A test server without socket, clock or thread: a request goes in, datagrams come out.
//!
//! The honest part is the project's own [`ntp_proto::server`]; its reply is then taken apart, spoilt as the
//! [`Behaviour`] demands, and put together again. Misbehaviours work on one of three things, in this order: the
//! header, the octets, and how the octets are sent.

use core::time::Duration;
use std::net::{IpAddr, SocketAddr};

use ntp_proto::server::{
    Claim, Draft, Policy, RootDispersion, ServerNow, ServerView, WorkerState, respond,
};
use ntp_proto::wire::{ExtensionField, Header, Packet, Writer, emit};
use ntp_time::{
    Frequency, LeapIndicator, Monotonic, NtpDuration, NtpTimestamp, ReferenceId, Stratum,
    SystemTime,
};
use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};

use crate::{Behaviour, IntervalGuard, Misbehaviour};

/// A datagram that arrived.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Its contents.
    pub octets: &'a [u8],
    /// Who sent it.
    pub client: IpAddr,
    /// When it arrived by the system clock.
    pub received: SystemTime,
    /// When it arrived by the monotonic clock.
    pub now: Monotonic,
}

/// What is to be sent for a request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// Wait this long before sending.
    pub delay: Duration,
    /// Send these, in this order.
    pub datagrams: Vec<Datagram>,
}

/// A datagram to send back to the client.
#[derive(Clone, Debug, PartialEq)]
pub struct Datagram {
    /// Its contents.
    pub octets: Vec<u8>,
    /// From where.
    pub via: Via,
}

/// The source of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// The socket on which the request arrived.
    Listener,
    /// Another one.
    OtherPort,
}

/// The decisions of a test server.
#[derive(Clone, Debug)]
pub struct Responder {
    worker: WorkerState,
    interval: IntervalGuard,
    random: ChaCha8Rng,
    previous: Option<Vec<u8>>,
}

impl Responder {
    /// With `seed` for [`Misbehaviour::Drop`].
    pub fn new(seed: u64) -> Self {
        Self {
            // These servers have their own ways to limit and refuse.
            worker: WorkerState::new(&Policy::default(), 1, [0; 32]),
            interval: IntervalGuard::default(),
            random: ChaCha8Rng::seed_from_u64(seed),
            previous: None,
        }
    }

    /// Answers a request; `clock` is asked for the transmit timestamp as late as possible.
    pub fn answer(
        &mut self,
        behaviour: &Behaviour,
        request: Request<'_>,
        clock: impl FnOnce() -> SystemTime,
    ) -> Answer {
        let received = request.received + behaviour.offset;
        let mut draft = Draft::new();
        let verdict = respond(
            &view(behaviour, received),
            &mut self.worker,
            SocketAddr::new(request.client, NTP_PORT),
            ServerNow {
                monotonic: request.now,
                system: received,
            },
            request.octets,
            received,
            &mut draft,
        );
        if !verdict.is_answer() || self.dropped(behaviour) {
            return Answer::default();
        }
        let too_early = behaviour
            .minimum_interval
            .is_some_and(|minimum| !self.interval.admit(request.client, request.now, minimum));
        let Ok(reply) = Packet::parse(draft.seal(clock() + behaviour.offset)) else {
            return Answer::default();
        };

        let mut header = reply.header;
        if too_early {
            make_kiss(&mut header, ReferenceId::new(*b"RATE"));
        }
        for misbehaviour in &behaviour.misbehaviours {
            spoil_header(*misbehaviour, &mut header);
        }
        let mut octets = assemble(&header, &behaviour.misbehaviours);
        for misbehaviour in &behaviour.misbehaviours {
            spoil_octets(*misbehaviour, &mut octets);
        }
        self.send(&behaviour.misbehaviours, octets)
    }

    fn dropped(&mut self, behaviour: &Behaviour) -> bool {
        behaviour.misbehaviours.iter().any(|misbehaviour| {
            let Misbehaviour::Drop(probability) = *misbehaviour else {
                return false;
            };
            // In [0, 1), so that a probability of 1 always drops and 0 never does.
            f64::from(self.random.next_u32()) / 2f64.powi(32) < probability
        })
    }

    fn send(&mut self, misbehaviours: &[Misbehaviour], octets: Vec<u8>) -> Answer {
        let previous = self.previous.replace(octets.clone());
        let mut delay = Duration::ZERO;
        let mut via = Via::Listener;
        let mut datagrams = vec![octets];
        for misbehaviour in misbehaviours {
            match misbehaviour {
                Misbehaviour::Delay(more) => delay = delay.saturating_add(*more),
                Misbehaviour::OtherPort => via = Via::OtherPort,
                Misbehaviour::Duplicate => datagrams.extend(datagrams.last().cloned()),
                Misbehaviour::Replay => datagrams.splice(0..0, previous.clone()).for_each(drop),
                _ => {}
            }
        }
        let datagrams = datagrams
            .into_iter()
            .map(|octets| Datagram { octets, via })
            .collect();
        Answer { delay, datagrams }
    }
}

/// Which port a client asked from makes no difference.
const NTP_PORT: u16 = 123;

fn view(behaviour: &Behaviour, now: SystemTime) -> ServerView {
    ServerView::open(Claim {
        leap: behaviour.leap,
        stratum: behaviour.stratum,
        // A user-space stamp on an ordinary machine: about a microsecond.
        precision: -20,
        root_delay: behaviour.root_delay,
        root_dispersion: RootDispersion {
            value: behaviour.root_dispersion.to_duration(),
            at: now,
            growth: Frequency::ZERO,
        },
        reference_id: behaviour.reference_id,
        reference_timestamp: (now - NtpDuration::from_seconds(16)).to_ntp(),
        ..Claim::UNSYNCHRONIZED
    })
}

fn spoil_header(misbehaviour: Misbehaviour, header: &mut Header) {
    match misbehaviour {
        Misbehaviour::Kiss(code) => make_kiss(header, code),
        Misbehaviour::WrongOrigin => {
            let forged = !header.origin_timestamp.to_bits();
            header.origin_timestamp = NtpTimestamp::from_bits(forged);
        }
        Misbehaviour::WrongMode(mode) => header.mode = mode,
        Misbehaviour::Stratum(stratum) => header.stratum = stratum,
        Misbehaviour::Unsynchronized => header.leap = LeapIndicator::Unsynchronized,
        Misbehaviour::ZeroTimestamps => {
            header.receive_timestamp = NtpTimestamp::ZERO;
            header.transmit_timestamp = NtpTimestamp::ZERO;
        }
        _ => {}
    }
}

/// The form of a kiss-o'-death (RFC 5905 section 7.4).
fn make_kiss(header: &mut Header, code: ReferenceId) {
    header.leap = LeapIndicator::Unsynchronized;
    header.stratum = Stratum::KISS;
    header.reference_id = code;
}

/// An experimental field type (RFC 9748 section 6.2) that nobody knows.
const UNKNOWN_FIELD: u16 = 0xf0de;

fn assemble(header: &Header, misbehaviours: &[Misbehaviour]) -> Vec<u8> {
    let length = misbehaviours
        .iter()
        .find_map(|misbehaviour| match misbehaviour {
            Misbehaviour::HugeField(length) => Some(usize::from(*length)),
            _ => None,
        });
    let body = vec![0; length.unwrap_or_default().saturating_sub(4)];
    let field = length.map(|_| ExtensionField {
        field_type: UNKNOWN_FIELD,
        body: &body,
    });
    let mut buffer = vec![0; Header::LEN + body.len() + 64];
    let mut writer = Writer::new(&mut buffer);
    // The only field that cannot be written is one of 65533 octets or more, and it fills no datagram either.
    match emit(header, field, None, &mut writer) {
        Ok(()) => writer.finish().to_vec(),
        Err(_) => Vec::new(),
    }
}

fn spoil_octets(misbehaviour: Misbehaviour, octets: &mut Vec<u8>) {
    match misbehaviour {
        Misbehaviour::Short(length) => octets.truncate(length),
        Misbehaviour::TrailingGarbage(length) => octets.resize(octets.len() + length, 0xff),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use ntp_proto::wire::{Malformed, Mode, Version};

    use super::*;

    const NOW: SystemTime = SystemTime::from_nanos(1_764_000_000_000_000_000);
    const ORIGIN: NtpTimestamp = NtpTimestamp::from_bits(0x0123_4567_89ab_cdef);

    struct Scene {
        responder: Responder,
        behaviour: Behaviour,
    }

    impl Scene {
        fn new(behaviour: Behaviour) -> Self {
            Self {
                responder: Responder::new(1),
                behaviour,
            }
        }

        fn with(misbehaviour: Misbehaviour) -> Self {
            Self::new(Behaviour::with(misbehaviour))
        }

        /// A request that arrives `seconds` after the start and is answered a millisecond later.
        fn ask(&mut self, seconds: i64) -> Answer {
            let mut octets = [0; Header::LEN];
            let header = Header {
                transmit_timestamp: ORIGIN + NtpDuration::from_seconds(seconds),
                ..Header::blank(Version::V4, Mode::Client)
            };
            header.emit(&mut Writer::new(&mut octets)).unwrap();
            let received = NOW + NtpDuration::from_seconds(seconds);
            let request = Request {
                octets: &octets,
                client: IpAddr::from([127, 0, 0, 1]),
                received,
                now: Monotonic::from_nanos(seconds * 1_000_000_000),
            };
            self.responder.answer(&self.behaviour, request, || {
                received + NtpDuration::from_millis(1)
            })
        }

        fn header(&mut self) -> Header {
            let answer = self.ask(0);
            let [only] = &answer.datagrams[..] else {
                panic!("one datagram was expected: {answer:?}");
            };
            Packet::parse(&only.octets).unwrap().header
        }

        fn octets(&mut self) -> Vec<u8> {
            self.ask(0).datagrams.remove(0).octets
        }
    }

    #[test]
    fn both_stamps_show_the_configured_offset() {
        let offset = NtpDuration::from_millis(-250);
        let header = Scene::new(Behaviour {
            offset,
            ..Behaviour::default()
        })
        .header();
        assert_eq!(header.mode, Mode::Server);
        assert_eq!(header.origin_timestamp, ORIGIN);
        // The lowest bit tells the two kinds of timestamp apart.
        let right = |stamp: NtpTimestamp, time: SystemTime| {
            (stamp - time.to_ntp()).abs() <= NtpDuration::EPSILON
        };
        assert!(right(header.receive_timestamp, NOW + offset));
        let sent = NOW + offset + NtpDuration::from_millis(1);
        assert!(right(header.transmit_timestamp, sent));
    }

    #[test]
    fn header_misbehaviours_change_what_they_name() {
        let good = Scene::new(Behaviour::default()).header();
        let deny = Scene::new(Behaviour::demobilizing()).header();
        assert_eq!(deny.stratum, Stratum::KISS);
        assert_eq!(deny.reference_id, ReferenceId::new(*b"DENY"));
        assert_eq!(deny.origin_timestamp, ORIGIN);

        assert_ne!(
            Scene::with(Misbehaviour::WrongOrigin)
                .header()
                .origin_timestamp,
            ORIGIN
        );
        let mode = Scene::with(Misbehaviour::WrongMode(Mode::Client))
            .header()
            .mode;
        assert_eq!(mode, Mode::Client);
        let stratum = Scene::with(Misbehaviour::Stratum(Stratum::new(0)))
            .header()
            .stratum;
        assert_eq!(stratum.get(), 0);
        let unsynchronized = Scene::with(Misbehaviour::Unsynchronized).header();
        assert_eq!(unsynchronized.leap, LeapIndicator::Unsynchronized);
        assert_eq!(unsynchronized.stratum, good.stratum);
        let zero = Scene::with(Misbehaviour::ZeroTimestamps).header();
        assert!(zero.receive_timestamp.is_zero() && zero.transmit_timestamp.is_zero());
    }

    #[test]
    fn octet_misbehaviours_change_the_length() {
        assert_eq!(Scene::with(Misbehaviour::Short(47)).octets().len(), 47);
        let garbage = Scene::with(Misbehaviour::TrailingGarbage(7)).octets();
        assert_eq!(
            Packet::parse(&garbage).map(drop),
            Err(Malformed::Trailer { at: 48 })
        );
        let huge = Scene::with(Misbehaviour::HugeField(1024)).octets();
        assert_eq!(huge.len(), 48 + 1024);
        assert_eq!(Packet::parse(&huge).unwrap().extensions().count(), 1);
    }

    #[test]
    fn sending_misbehaviours_change_number_order_and_source() {
        let twice = Scene::with(Misbehaviour::Duplicate).ask(0).datagrams;
        assert!(matches!(&twice[..], [first, second] if first == second));

        let mut replaying = Scene::with(Misbehaviour::Replay);
        let first = replaying.ask(0).datagrams;
        assert_eq!(first.len(), 1);
        let second = replaying.ask(1).datagrams;
        assert_eq!(second.len(), 2);
        assert_eq!(second[0], first[0]);
        assert_ne!(second[1], first[0]);

        let other = Scene::with(Misbehaviour::OtherPort).ask(0).datagrams;
        assert_eq!(other[0].via, Via::OtherPort);
        let delay = Duration::from_millis(250);
        assert_eq!(Scene::with(Misbehaviour::Delay(delay)).ask(0).delay, delay);
    }

    #[test]
    fn drops_as_many_as_it_should() {
        let answered = |probability| {
            let mut scene = Scene::with(Misbehaviour::Drop(probability));
            (0..1000)
                .filter(|_| !scene.ask(0).datagrams.is_empty())
                .count()
        };
        assert_eq!(answered(0.0), 1000);
        assert_eq!(answered(1.0), 0);
        assert!((600..800).contains(&answered(0.3)));
    }

    #[test]
    fn whoever_asks_too_soon_is_kissed_until_it_slows_down() {
        let mut scene = Scene::new(Behaviour::rate_limiting(Duration::from_secs(30)));
        let mut kissed = |seconds| {
            let octets = scene.ask(seconds).datagrams.remove(0).octets;
            let header = Packet::parse(&octets).unwrap().header;
            header.stratum == Stratum::KISS && header.reference_id == ReferenceId::new(*b"RATE")
        };
        assert_eq!([0, 16, 32, 64].map(&mut kissed), [false, true, true, false]);
    }

    #[test]
    fn every_sample_works_alone_and_all_of_them_together() {
        for sample in Misbehaviour::SAMPLES {
            let answer = Scene::with(sample).ask(0);
            assert_eq!(
                answer.datagrams.is_empty(),
                sample == Misbehaviour::Drop(1.0)
            );
        }
        let mut all = Scene::new(Behaviour {
            misbehaviours: Misbehaviour::SAMPLES[1..].to_vec(),
            ..Behaviour::default()
        });
        assert!(!all.ask(0).datagrams.is_empty());
    }
}
