//! A test server without socket, clock or thread: a request goes in, datagrams come out.
//!
//! [`ntp_proto::server`] makes a correct reply, which is then parsed, modified as the [`Behaviour`]
//! defines, and serialised again. Misbehaviours modify one of three things, in this order: the
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
    /// Contents.
    pub octets: &'a [u8],
    /// Source address.
    pub client: IpAddr,
    /// Arrival time by the system clock.
    pub received: SystemTime,
    /// Arrival time by the monotonic clock.
    pub now: Monotonic,
}

/// Datagrams to send for a request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Response {
    /// Delay before sending.
    pub delay: Duration,
    /// Datagrams in the order of sending.
    pub datagrams: Vec<Datagram>,
}

/// A datagram to send back to the client.
#[derive(Clone, Debug, PartialEq)]
pub struct Datagram {
    /// Contents.
    pub octets: Vec<u8>,
    /// Socket to send from.
    pub via: Via,
}

/// Socket from which a reply is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// The socket on which the request arrived.
    Listener,
    /// A socket with another port.
    OtherPort,
}

/// Decision logic of a test server.
#[derive(Clone, Debug)]
pub struct Responder {
    worker: WorkerState,
    interval: IntervalGuard,
    random: ChaCha8Rng,
    previous: Option<Vec<u8>>,
}

impl Responder {
    /// A responder with `seed` for [`Misbehaviour::Drop`].
    pub fn new(seed: u64) -> Self {
        Self {
            // Rate limiting and refusals are implemented here.
            worker: WorkerState::new(&Policy::default(), 1, [0; 32]),
            interval: IntervalGuard::default(),
            random: ChaCha8Rng::seed_from_u64(seed),
            previous: None,
        }
    }

    /// Responds to a request. Reads `clock` for the transmit timestamp as late as possible.
    pub fn respond(
        &mut self,
        behaviour: &Behaviour,
        request: Request<'_>,
        clock: impl FnOnce() -> SystemTime,
    ) -> Response {
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
            return Response::default();
        }
        let too_early = behaviour
            .minimum_interval
            .is_some_and(|minimum| !self.interval.admit(request.client, request.now, minimum));
        let Ok(reply) = Packet::parse(draft.seal(clock() + behaviour.offset)) else {
            return Response::default();
        };

        let mut header = reply.header;
        if too_early {
            make_kiss(&mut header, ReferenceId::new(*b"RATE"));
        }
        for misbehaviour in &behaviour.misbehaviours {
            modify_header(*misbehaviour, &mut header);
        }
        let mut octets = assemble(&header, &behaviour.misbehaviours);
        for misbehaviour in &behaviour.misbehaviours {
            modify_octets(*misbehaviour, &mut octets);
        }
        self.send(&behaviour.misbehaviours, octets)
    }

    fn dropped(&mut self, behaviour: &Behaviour) -> bool {
        behaviour.misbehaviours.iter().any(|misbehaviour| {
            let Misbehaviour::Drop(probability) = *misbehaviour else {
                return false;
            };
            // In [0, 1): a probability of 1 always drops, 0 never does.
            f64::from(self.random.next_u32()) / 2f64.powi(32) < probability
        })
    }

    fn send(&mut self, misbehaviours: &[Misbehaviour], octets: Vec<u8>) -> Response {
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
        Response { delay, datagrams }
    }
}

/// The client's port does not affect replies.
const NTP_PORT: u16 = 123;

fn view(behaviour: &Behaviour, now: SystemTime) -> ServerView {
    ServerView::unrestricted(Claim {
        leap: behaviour.leap,
        stratum: behaviour.stratum,
        // A user-space timestamp on an ordinary machine: about a microsecond.
        precision: -20,
        root_delay: behaviour.root_delay.to_duration(),
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

fn modify_header(misbehaviour: Misbehaviour, header: &mut Header) {
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

/// Turns a header into a kiss-o'-death (RFC 5905 section 7.4).
fn make_kiss(header: &mut Header, code: ReferenceId) {
    header.leap = LeapIndicator::Unsynchronized;
    header.stratum = Stratum::KISS;
    header.reference_id = code;
}

/// An experimental field type (RFC 9748 section 6.2), unknown to clients.
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
    // Only a field of 65533 octets or more cannot be written, and it fits into no datagram either.
    match emit(header, field, None, &mut writer) {
        Ok(()) => writer.finish().to_vec(),
        Err(_) => Vec::new(),
    }
}

fn modify_octets(misbehaviour: Misbehaviour, octets: &mut Vec<u8>) {
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

    struct Fixture {
        responder: Responder,
        behaviour: Behaviour,
    }

    impl Fixture {
        fn new(behaviour: Behaviour) -> Self {
            Self {
                responder: Responder::new(1),
                behaviour,
            }
        }

        fn with(misbehaviour: Misbehaviour) -> Self {
            Self::new(Behaviour::with(misbehaviour))
        }

        /// Responds to a request that arrives `seconds` after the start, a millisecond later.
        fn request(&mut self, seconds: i64) -> Response {
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
            self.responder.respond(&self.behaviour, request, || {
                received + NtpDuration::from_millis(1)
            })
        }

        fn header(&mut self) -> Header {
            let response = self.request(0);
            let [only] = &response.datagrams[..] else {
                panic!("expected one datagram: {response:?}");
            };
            Packet::parse(&only.octets).unwrap().header
        }

        fn octets(&mut self) -> Vec<u8> {
            self.request(0).datagrams.remove(0).octets
        }
    }

    #[test]
    fn both_timestamps_have_the_configured_offset() {
        let offset = NtpDuration::from_millis(-250);
        let header = Fixture::new(Behaviour {
            offset,
            ..Behaviour::default()
        })
        .header();
        assert_eq!(header.mode, Mode::Server);
        assert_eq!(header.origin_timestamp, ORIGIN);
        // The lowest bit distinguishes the two kinds of timestamp.
        let matches = |stamp: NtpTimestamp, time: SystemTime| {
            (stamp - time.to_ntp()).abs() <= NtpDuration::EPSILON
        };
        assert!(matches(header.receive_timestamp, NOW + offset));
        let sent = NOW + offset + NtpDuration::from_millis(1);
        assert!(matches(header.transmit_timestamp, sent));
    }

    #[test]
    fn header_misbehaviours_change_their_field() {
        let good = Fixture::new(Behaviour::default()).header();
        let deny = Fixture::new(Behaviour::demobilizing()).header();
        assert_eq!(deny.stratum, Stratum::KISS);
        assert_eq!(deny.reference_id, ReferenceId::new(*b"DENY"));
        assert_eq!(deny.origin_timestamp, ORIGIN);

        assert_ne!(
            Fixture::with(Misbehaviour::WrongOrigin)
                .header()
                .origin_timestamp,
            ORIGIN
        );
        let mode = Fixture::with(Misbehaviour::WrongMode(Mode::Client))
            .header()
            .mode;
        assert_eq!(mode, Mode::Client);
        let stratum = Fixture::with(Misbehaviour::Stratum(Stratum::new(0)))
            .header()
            .stratum;
        assert_eq!(stratum.get(), 0);
        let unsynchronized = Fixture::with(Misbehaviour::Unsynchronized).header();
        assert_eq!(unsynchronized.leap, LeapIndicator::Unsynchronized);
        assert_eq!(unsynchronized.stratum, good.stratum);
        let zero = Fixture::with(Misbehaviour::ZeroTimestamps).header();
        assert!(zero.receive_timestamp.is_zero() && zero.transmit_timestamp.is_zero());
    }

    #[test]
    fn octet_misbehaviours_change_the_length() {
        assert_eq!(Fixture::with(Misbehaviour::Short(47)).octets().len(), 47);
        let garbage = Fixture::with(Misbehaviour::TrailingGarbage(7)).octets();
        assert_eq!(
            Packet::parse(&garbage).map(drop),
            Err(Malformed::Trailer { at: 48 })
        );
        let huge = Fixture::with(Misbehaviour::HugeField(1024)).octets();
        assert_eq!(huge.len(), 48 + 1024);
        assert_eq!(Packet::parse(&huge).unwrap().extensions().count(), 1);
    }

    #[test]
    fn sending_misbehaviours_change_number_order_and_source() {
        let twice = Fixture::with(Misbehaviour::Duplicate).request(0).datagrams;
        assert!(matches!(&twice[..], [first, second] if first == second));

        let mut replaying = Fixture::with(Misbehaviour::Replay);
        let first = replaying.request(0).datagrams;
        assert_eq!(first.len(), 1);
        let second = replaying.request(1).datagrams;
        assert_eq!(second.len(), 2);
        assert_eq!(second[0], first[0]);
        assert_ne!(second[1], first[0]);

        let other = Fixture::with(Misbehaviour::OtherPort).request(0).datagrams;
        assert_eq!(other[0].via, Via::OtherPort);
        let delay = Duration::from_millis(250);
        assert_eq!(
            Fixture::with(Misbehaviour::Delay(delay)).request(0).delay,
            delay
        );
    }

    #[test]
    fn drop_probability_is_applied() {
        let answered = |probability| {
            let mut fixture = Fixture::with(Misbehaviour::Drop(probability));
            (0..1000)
                .filter(|_| !fixture.request(0).datagrams.is_empty())
                .count()
        };
        assert_eq!(answered(0.0), 1000);
        assert_eq!(answered(1.0), 0);
        assert!((600..800).contains(&answered(0.3)));
    }

    #[test]
    fn too_frequent_requests_get_a_rate_kiss_until_the_client_slows_down() {
        let mut fixture = Fixture::new(Behaviour::rate_limiting(Duration::from_secs(30)));
        let mut kissed = |seconds| {
            let octets = fixture.request(seconds).datagrams.remove(0).octets;
            let header = Packet::parse(&octets).unwrap().header;
            header.stratum == Stratum::KISS && header.reference_id == ReferenceId::new(*b"RATE")
        };
        assert_eq!([0, 16, 32, 64].map(&mut kissed), [false, true, true, false]);
    }

    #[test]
    fn every_misbehaviour_works_alone_and_in_combination() {
        for sample in Misbehaviour::SAMPLES {
            let response = Fixture::with(sample).request(0);
            assert_eq!(
                response.datagrams.is_empty(),
                sample == Misbehaviour::Drop(1.0)
            );
        }
        let mut all = Fixture::new(Behaviour {
            misbehaviours: Misbehaviour::SAMPLES[1..].to_vec(),
            ..Behaviour::default()
        });
        assert!(!all.request(0).datagrams.is_empty());
    }
}
