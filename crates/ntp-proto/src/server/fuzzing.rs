//! What must hold for any request at all; see [`wire::fuzzing`](crate::wire::fuzzing) for who calls this.

use ntp_time::{NtpDuration, SystemTime};

use super::{Draft, Reason, ServerView, Verdict, WorkerState, respond};
use crate::wire::{Mode, Packet};

/// Asks a server with `request` and checks what it does.
///
/// # Panics
/// If a promise of [`server`](super) is broken.
pub fn check(request: &[u8]) {
    let received = SystemTime::from_nanos(1_700_000_000_123_456_789);
    let now = received + NtpDuration::from_micros(10);
    let transmit = received + NtpDuration::from_micros(20);
    let view = ServerView::UNSYNCHRONIZED;
    let mut worker = WorkerState::new();
    let mut draft = Draft::new();

    let verdict = respond(&view, &mut worker, now, request, received, &mut draft);
    let reply = draft.seal(transmit);
    assert_eq!(worker.counters().received(), 1);
    assert!(reply.len() <= request.len(), "a reply amplifies");

    let parsed = Packet::parse(request);
    let Verdict::Answer = verdict else {
        assert!(reply.is_empty(), "an ignored datagram left a reply");
        if let Verdict::Ignore(Reason::Malformed(malformed)) = verdict {
            assert_eq!(parsed, Err(malformed));
        }
        return;
    };
    let request = parsed.expect("only packets are answered").header;
    let reply = Packet::parse(reply).expect("a reply is a packet").header;
    match request.mode {
        Mode::Client => assert_eq!(reply.mode, Mode::Server),
        Mode::SymmetricActive => assert_eq!(reply.mode, Mode::SymmetricPassive),
        other => panic!("answered {other:?}, which is not a request"),
    }
    assert_eq!(reply.version, request.version);
    assert_eq!(reply.poll, request.poll);
    assert_eq!(reply.origin_timestamp, request.transmit_timestamp);
    assert_eq!(reply.receive_timestamp, received.to_ntp());
    assert_eq!(reply.transmit_timestamp, transmit.to_ntp());
}
