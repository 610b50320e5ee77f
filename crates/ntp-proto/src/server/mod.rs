//! The server's answer to one datagram: pure, without allocation, without a lock
//! (RFC 5905 sections 8 and 9.2).
//!
//! # Two steps
//! A reply's transmit timestamp should be taken at the last moment, when the reply is otherwise ready and a
//! whole batch of them is about to leave. [`respond`] therefore decides and writes everything except that stamp
//! into a [`Draft`]; [`Draft::seal`] adds it.
//!
//! ```text
//! recvmmsg -> respond, respond, ... -> read the clock -> seal, seal, ... -> sendmmsg
//! ```
//!
//! # What is answered
//! A client's request (mode 3) with mode 4 and a peer's (mode 1) with mode 2: to a peer that we do not
//! know we are a server and nothing more, and keep no association (RFC 5905 section 9.2). Version and poll are echoed, and the
//! request's transmit timestamp returns as the origin timestamp, by which the client recognises its answer.
//!
//! Everything else is ignored in silence. Modes 2, 4 and 5 are answers themselves: never answering an answer means that no two
//! servers can be made to talk to each other for ever. Modes 6 and 7 are where the notorious amplification
//! attacks lived, and do not exist here.
//!
//! **A reply is never longer than its request**, so a forged source address gains nothing.
//!
//! Extension fields and MACs of requests are not looked at yet: the reply is a bare header, which a client
//! that asked for authentication will rightly discard.
//!
//! # What is claimed
//! The engine publishes a [`ServerView`] now and then; between two of them our error grows. The view therefore holds the
//! root dispersion as a line over time ([`RootDispersion`]), evaluated for each reply.
//! A server that has lost its sources goes on answering; its view then says that it is unsynchronised (leap 3, stratum 16).

mod draft;
pub mod fuzzing;
mod view;

use ntp_time::{NtpTimestamp, SystemTime};

pub use draft::Draft;
pub use view::{RootDispersion, ServerView};

use crate::wire::{Header, Malformed, Mode, Packet};

/// Decides about one datagram and, if it is to be answered, writes the answer into `draft`.
///
/// `received` is when it arrived, as close to the wire as it is known; `now` is the system time at which it is being dealt with.
/// After [`Verdict::Ignore`], the draft is empty.
pub fn respond(
    view: &ServerView,
    worker: &mut WorkerState,
    now: SystemTime,
    request: &[u8],
    received: SystemTime,
    draft: &mut Draft,
) -> Verdict {
    draft.clear();
    let verdict = match Packet::parse(request) {
        Ok(packet) => answer(view, now, &packet.header, received, draft),
        Err(malformed) => Verdict::Ignore(Reason::Malformed(malformed)),
    };
    worker.counters.count(verdict);
    verdict
}

fn answer(
    view: &ServerView,
    now: SystemTime,
    request: &Header,
    received: SystemTime,
    draft: &mut Draft,
) -> Verdict {
    let mode = match request.mode {
        Mode::Client => Mode::Server,
        Mode::SymmetricActive => Mode::SymmetricPassive,
        other => return Verdict::Ignore(Reason::NotARequest(other)),
    };
    draft.write(&Header {
        leap: view.leap,
        version: request.version,
        mode,
        stratum: view.stratum,
        poll: request.poll,
        precision: view.precision,
        root_delay: view.root_delay,
        root_dispersion: view.root_dispersion.at(now),
        reference_id: view.reference_id,
        reference_timestamp: view.reference_timestamp,
        origin_timestamp: request.transmit_timestamp,
        receive_timestamp: received.to_ntp(),
        transmit_timestamp: NtpTimestamp::ZERO,
    });
    Verdict::Answer
}

/// What is to be done with a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Seal the draft and send it back to where the request came from.
    Answer,
    /// Send nothing.
    Ignore(Reason),
}

/// Why a datagram gets no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It is no packet.
    Malformed(Malformed),
    /// It is a packet, but of a mode that asks for nothing, or for nothing that we give.
    NotARequest(Mode),
}

/// What one worker thread remembers from request to request. Nobody else touches it, so it needs no lock.
#[derive(Clone, Debug, Default)]
pub struct WorkerState {
    counters: Counters,
}

impl WorkerState {
    /// The state of a worker that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// What became of the datagrams so far.
    pub const fn counters(&self) -> Counters {
        self.counters
    }
}

/// Datagrams by what became of them; each is counted once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// An answer was drafted.
    pub answered: u64,
    /// No NTP packet, or of a version that is not spoken.
    pub malformed: u64,
    /// Not a request.
    pub not_a_request: u64,
}

impl Counters {
    /// All datagrams.
    pub const fn received(&self) -> u64 {
        self.answered
            .wrapping_add(self.malformed)
            .wrapping_add(self.not_a_request)
    }

    fn count(&mut self, verdict: Verdict) {
        let counter = match verdict {
            Verdict::Answer => &mut self.answered,
            Verdict::Ignore(Reason::Malformed(_)) => &mut self.malformed,
            Verdict::Ignore(Reason::NotARequest(_)) => &mut self.not_a_request,
        };
        *counter = counter.wrapping_add(1);
    }
}

#[cfg(test)]
mod tests {
    use ntp_time::{
        Frequency, LeapIndicator, NtpDuration, NtpShort, PollInterval, ReferenceId, Stratum,
    };
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::wire::{Version, Writer};

    const EPOCH: SystemTime = SystemTime::from_nanos(1_700_000_000_000_000_000);

    fn view() -> ServerView {
        ServerView {
            leap: LeapIndicator::Insert,
            stratum: Stratum::new(2),
            precision: -23,
            root_delay: NtpShort::from_bits(0x0123),
            root_dispersion: RootDispersion {
                value: NtpDuration::from_seconds(1),
                at: EPOCH,
                growth: Frequency::from_ratio(0.5),
            },
            reference_id: ReferenceId::new([192, 0, 2, 1]),
            reference_timestamp: NtpTimestamp::from_bits(0x1111_2222_3333_4444),
        }
    }

    fn octets(header: &Header) -> [u8; Header::LEN] {
        let mut octets = [0; Header::LEN];
        header.emit(&mut Writer::new(&mut octets)).unwrap();
        octets
    }

    fn ask(request: &[u8]) -> (Verdict, Vec<u8>) {
        let mut draft = Draft::new();
        let verdict = respond(
            &view(),
            &mut WorkerState::new(),
            EPOCH + NtpDuration::from_seconds(4),
            request,
            EPOCH + NtpDuration::from_seconds(3),
            &mut draft,
        );
        let reply = draft.seal(EPOCH + NtpDuration::from_seconds(5)).to_vec();
        (verdict, reply)
    }

    #[test]
    fn a_request_is_answered_field_by_field() {
        for version in [Version::V3, Version::V4] {
            let request = Header {
                poll: PollInterval::from_log2(7),
                transmit_timestamp: NtpTimestamp::from_bits(0xdead_beef_0bad_cafe),
                ..Header::blank(version, Mode::Client)
            };
            let (verdict, reply) = ask(&octets(&request));
            assert_eq!(verdict, Verdict::Answer);
            let expected = Header {
                leap: LeapIndicator::Insert,
                version,
                mode: Mode::Server,
                stratum: Stratum::new(2),
                poll: PollInterval::from_log2(7),
                precision: -23,
                root_delay: NtpShort::from_bits(0x0123),
                // 1 s, and 4 s of growth at a half.
                root_dispersion: NtpShort::from_bits(3 << 16),
                reference_id: ReferenceId::new([192, 0, 2, 1]),
                reference_timestamp: NtpTimestamp::from_bits(0x1111_2222_3333_4444),
                origin_timestamp: NtpTimestamp::from_bits(0xdead_beef_0bad_cafe),
                receive_timestamp: (EPOCH + NtpDuration::from_seconds(3)).to_ntp(),
                transmit_timestamp: (EPOCH + NtpDuration::from_seconds(5)).to_ntp(),
            };
            assert_eq!(Packet::parse(&reply).unwrap().header, expected);
        }
    }

    #[test]
    fn only_requests_are_answered_and_no_answer_is_a_request() {
        for mode in Mode::ALL {
            let (verdict, reply) = ask(&octets(&Header::blank(Version::V4, mode)));
            match mode {
                Mode::Client | Mode::SymmetricActive => {
                    assert_eq!(verdict, Verdict::Answer);
                    let (second, _) = ask(&reply);
                    assert!(matches!(second, Verdict::Ignore(Reason::NotARequest(_))));
                }
                other => {
                    assert_eq!(verdict, Verdict::Ignore(Reason::NotARequest(other)));
                    assert!(reply.is_empty());
                }
            }
        }
    }

    #[test]
    fn nothing_of_an_earlier_answer_survives_a_refusal() {
        let mut draft = Draft::new();
        let mut worker = WorkerState::new();
        let request = octets(&Header::blank(Version::V4, Mode::Client));
        respond(&view(), &mut worker, EPOCH, &request, EPOCH, &mut draft);
        let verdict = respond(&view(), &mut worker, EPOCH, b"hello", EPOCH, &mut draft);
        assert_eq!(
            verdict,
            Verdict::Ignore(Reason::Malformed(Malformed::TooShort))
        );
        assert!(draft.seal(EPOCH).is_empty());
        assert_eq!(worker.counters().answered, 1);
        assert_eq!(worker.counters().malformed, 1);
        assert_eq!(worker.counters().received(), 2);
    }

    #[test]
    fn another_version_is_named_not_answered() {
        let mut request = octets(&Header::blank(Version::V4, Mode::Client));
        request[0] = 5 << 3 | 3;
        let reason = Reason::Malformed(Malformed::Version(5));
        assert_eq!(ask(&request), (Verdict::Ignore(reason), Vec::new()));
    }

    proptest! {
        #[test]
        fn any_datagram_keeps_the_promises(
            first in any::<u8>(),
            rest in vec(any::<u8>(), 0..120),
        ) {
            let mut datagram = vec![first];
            datagram.extend(rest);
            fuzzing::check(&datagram);
        }
    }
}
