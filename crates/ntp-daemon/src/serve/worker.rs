//! One worker: receive a batch, decide about each datagram, read the clock, seal and send the answers.
//!
//! The order is what keeps the transmit timestamps honest. Deciding, which takes the longest, comes first for the whole
//! batch; then the clock is read once, each reply gets the time at which it is expected to leave (see
//! [`Departure`]), and everything goes to the kernel in one call.

use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::{ArcSwap, Cache};
use ntp_os_clock::{Translator, monotonic, realtime};
use ntp_proto::server::{Draft, Policy, ServerNow, ServerView, StampToken, WorkerState, respond};
use ntp_time::{Monotonic, SystemTime};
use ntp_udp::{Inbox, Outbox, ServerSocket, signals};

use super::departure::Departure;
use super::tally::Tally;

/// Datagrams handled together. More would not be cheaper, only later.
const BATCH: usize = 64;
/// Failures in a row after which a worker gives up.
const PATIENCE: u32 = 16;

/// What a worker begins with.
pub(super) struct Worker {
    pub(super) socket: Arc<ServerSocket>,
    pub(super) view: Arc<ArcSwap<ServerView>>,
    pub(super) tally: Arc<Tally>,
    pub(super) translator: Translator,
    pub(super) stop: Arc<AtomicBool>,
    /// How many share the address.
    pub(super) workers: usize,
    pub(super) seed: [u8; 32],
}

/// Tells the main thread that a worker is about to end, for whatever reason.
pub(super) struct Obituary {
    pub(super) report: Arc<UnixStream>,
    /// Which worker.
    pub(super) number: u32,
}

impl Drop for Obituary {
    fn drop(&mut self) {
        // There is room for one message of every thread that a machine can have.
        let _ = (&*self.report).write(&self.number.to_ne_bytes());
    }
}

/// A reply whose transmit stamp is asked for.
#[derive(Clone, Copy)]
struct Wanted {
    /// For the client's next request.
    token: Option<StampToken>,
    /// What the stamp says about the way out: where in its batch the reply was, and the clock's reading then.
    place: usize,
    read: SystemTime,
}

impl Worker {
    /// Serves until it is told to stop.
    pub(super) fn run(self) -> io::Result<()> {
        signals::leave_to_other_threads()?;
        let mut view = Cache::new(Arc::clone(&self.view));
        let policy = Arc::clone(&view.load().policy);
        let mut desk = Desk {
            state: WorkerState::new(&policy, self.workers, self.seed),
            policy,
            drafts: vec![Draft::new(); BATCH],
            inbox: Inbox::new(BATCH),
            outbox: Outbox::new(BATCH),
            departure: Departure::default(),
            stamps_due: 0,
            send_errors: 0,
        };
        let mut failures = 0;
        loop {
            let received = self.socket.wait_receive(&mut desk.inbox);
            if self.stop.load(Ordering::Acquire) {
                return Ok(());
            }
            match received {
                // Only a socket that was shut down gives nothing, or something from nobody.
                Ok(count) if count == 0 || desk.inbox.get(0).is_none() => {
                    return Err(io::ErrorKind::BrokenPipe.into());
                }
                Ok(count) => {
                    failures = 0;
                    desk.serve(&self, view.load(), count);
                }
                Err(error) => {
                    failures += 1;
                    if failures > PATIENCE {
                        return Err(error);
                    }
                }
            }
        }
    }
}

/// Everything that a worker works with and nobody else sees.
struct Desk {
    state: WorkerState,
    /// What the state was made for.
    policy: Arc<Policy>,
    /// One for each place in the batch.
    drafts: Vec<Draft>,
    inbox: Inbox,
    outbox: Outbox<Wanted>,
    departure: Departure,
    /// Stamps that were asked for and have not come.
    stamps_due: usize,
    send_errors: u64,
}

impl Desk {
    fn serve(&mut self, worker: &Worker, view: &ServerView, count: usize) {
        if !Arc::ptr_eq(&self.policy, &view.policy) {
            self.policy = Arc::clone(&view.policy);
            self.state.fit(&view.policy);
        }
        if self.stamps_due > 0 {
            // Late ones: before the request that may ask for them. One is given up each time, for some never come.
            self.take_stamps(worker);
            self.stamps_due = self.stamps_due.saturating_sub(1);
        }
        let now = monotonic();
        self.respond(worker, view, now, count);
        self.seal(worker, now, count);
        if !self.outbox.is_empty() {
            let sent = worker.socket.send(&mut self.outbox);
            self.send_errors = self.send_errors.wrapping_add(sent.failed as u64);
            if self.stamps_due > 0 {
                self.take_stamps(worker);
            }
        }
        worker.tally.store(self.state.counters(), self.send_errors);
    }

    fn respond(&mut self, worker: &Worker, view: &ServerView, now: Monotonic, count: usize) {
        let read = realtime();
        let now = ServerNow {
            monotonic: now,
            system: worker.translator.translate(read),
        };
        for (index, draft) in self.drafts.iter_mut().enumerate().take(count) {
            let Some(arrival) = self.inbox.get(index) else {
                continue;
            };
            let stamp = arrival.stamp.map_or(read, |stamp| stamp.time);
            // A request that does not fit into a frame is none.
            let request = if arrival.truncated {
                &[]
            } else {
                arrival.payload
            };
            let received = worker.translator.translate(stamp);
            let state = &mut self.state;
            respond(view, state, arrival.from, now, request, received, draft);
        }
    }

    fn seal(&mut self, worker: &Worker, now: Monotonic, count: usize) {
        let stampable = worker.socket.stamps_transmissions();
        let sample = stampable && self.departure.wants_sample(now);
        let answers = self.drafts.iter().take(count);
        let last = answers.filter(|draft| !draft.is_empty()).count();
        let read = realtime();
        for (index, draft) in self.drafts.iter_mut().enumerate().take(count) {
            if draft.is_empty() {
                continue;
            }
            let Some(arrival) = self.inbox.get(index) else {
                continue;
            };
            let place = self.outbox.len();
            let sampled = sample && (place == 0 || place + 1 == last);
            let token = draft.stamp_wanted();
            let wanted = (stampable && (sampled || token.is_some())).then_some(Wanted {
                token,
                place,
                read,
            });
            self.stamps_due += usize::from(wanted.is_some());
            let leaves = worker
                .translator
                .translate(read + self.departure.expected(place));
            self.outbox.reply(&arrival, draft.seal(leaves), wanted);
        }
    }

    fn take_stamps(&mut self, worker: &Worker) {
        let Self {
            outbox,
            state,
            departure,
            stamps_due,
            ..
        } = self;
        worker
            .socket
            .transmit_stamps(outbox, |wanted: Wanted, stamp| {
                *stamps_due = stamps_due.saturating_sub(1);
                departure.learn(wanted.place, stamp.time - wanted.read);
                if let Some(token) = wanted.token {
                    state.sent(token, worker.translator.translate(stamp.time));
                }
            });
    }
}
