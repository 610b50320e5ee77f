//! One worker: receive a batch, decide about each datagram, read the clock, seal and send the answers.
//!
//! The order is what keeps the transmit timestamps honest. Deciding, which takes the longest, comes first for the whole
//! batch; then the clock is read once, each reply gets the time at which it is expected to leave (see
//! [`Departure`]), and everything goes to the kernel in one call.
//!
//! Who asked is entered into the list of clients last, when the answers have left (see `clients.rs`).

use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::{ArcSwap, Cache};
use ntp_control_api::observation::Latency;
use ntp_os_clock::{Translator, monotonic, realtime};
use ntp_proto::server::{
    Draft, Policy, ServerNow, ServerView, StampToken, Verdict, WorkerState, respond,
};
use ntp_time::{Monotonic, SystemTime};
use ntp_udp::{Inbox, Outbox, ServerSocket, signals};

use crate::clients::WorkersClients;
use crate::departure::Departure;
use crate::lull::{self, Lull};
use crate::tally::Tally;

/// Datagrams handled together. More would not be cheaper, only later.
const BATCH: usize = 64;
/// Failures in a row after which a worker gives up.
const PATIENCE: u32 = 16;

/// What a worker begins with.
#[derive(Debug)]
pub struct Worker {
    /// Where it listens, alone.
    pub socket: Arc<ServerSocket>,
    /// What is said about our clock, and to whom; looked at for each batch.
    pub view: Arc<ArcSwap<ServerView>>,
    /// Where it counts.
    pub tally: Arc<Tally>,
    /// Where it enters who asked, if that is wanted.
    pub clients: Arc<WorkersClients>,
    /// From the kernel's stamps to the clock that is served.
    pub translator: Translator,
    /// Whether to end once the socket has been shut down.
    pub stop: Arc<AtomicBool>,
    /// How many share the address.
    pub workers: usize,
    /// Whether they rest while there is much to do.
    pub rests: bool,
    /// A secret of its own.
    pub seed: [u8; 32],
}

/// Tells the main thread that a worker is about to end, for whatever reason.
#[derive(Debug)]
pub struct Obituary {
    /// Where the main thread reads it.
    pub report: Arc<UnixStream>,
    /// Which worker.
    pub number: u32,
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
    ///
    /// # Errors
    /// If nothing can be received any more.
    pub fn run(self) -> io::Result<()> {
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
            arrived: [None; BATCH],
            latency: Latency::default(),
            lull: Lull::new(),
            stamps_due: 0,
            send_errors: 0,
            heard: Vec::with_capacity(BATCH),
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
                    if desk.serve(&self, view.load(), count) && self.rests {
                        rest();
                    }
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
    /// When the request behind each draft arrived, if the kernel stamped it, in nanoseconds.
    arrived: [Option<i64>; BATCH],
    latency: Latency,
    lull: Lull,
    /// Stamps that were asked for and have not come.
    stamps_due: usize,
    send_errors: u64,
    /// Who sent what came in this batch, and what was decided, if there is a list of clients.
    heard: Vec<(IpAddr, Verdict)>,
}

impl Desk {
    /// Serves a batch, and says whether to rest afterwards.
    fn serve(&mut self, worker: &Worker, view: &ServerView, count: usize) -> bool {
        if !Arc::ptr_eq(&self.policy, &view.policy) {
            self.policy = Arc::clone(&view.policy);
            self.state.fit(&view.policy);
        }
        if self.stamps_due > 0 {
            // Late ones: before the request that may ask for them. One is given up each time, for some never come.
            self.take_stamps(worker);
            self.stamps_due = self.stamps_due.saturating_sub(1);
        }
        // Two copies of the loop, so that without a list it is as if there were none.
        let listing = self.policy.client_list_size > 0;
        if listing {
            self.respond::<true>(worker, view, count);
        } else {
            self.respond::<false>(worker, view, count);
        }
        let mut rest = false;
        if !self.outbox.is_empty() {
            let read = self.seal(worker);
            rest = self.lull.after(read, self.outbox.len(), BATCH);
            let sent = worker.socket.send(&mut self.outbox);
            self.send_errors = self.send_errors.wrapping_add(sent.failed as u64);
            if self.stamps_due > 0 {
                self.take_stamps(worker);
            }
        }
        let counters = self.state.counters();
        worker
            .tally
            .store(counters, self.send_errors, &self.latency);
        if listing {
            worker.clients.enter(monotonic(), &mut self.heard);
        }
        rest
    }

    /// Drafts all answers; the draft of an answer has the same place as its datagram in the outbox.
    fn respond<const LISTING: bool>(&mut self, worker: &Worker, view: &ServerView, count: usize) {
        let mut now = None;
        for index in 0..count {
            let Some(arrival) = self.inbox.get(index) else {
                continue;
            };
            let place = self.outbox.len();
            let Some(draft) = self.drafts.get_mut(place) else {
                break;
            };
            // Every reading of a clock costs as much as a good part of an answer. Dispersion grows so slowly that the
            // arrival of the batch's first request will do for now, and only a rate limit needs the other clock.
            let stamp = arrival.stamp.map_or_else(realtime, |stamp| stamp.time);
            let received = worker.translator.translate(stamp);
            let now = *now.get_or_insert_with(|| ServerNow {
                monotonic: if self.policy.rate_limit.is_active() {
                    monotonic()
                } else {
                    Monotonic::from_nanos(0)
                },
                system: received,
            });
            // A request that does not fit into a frame is none.
            let request = if arrival.truncated {
                &[]
            } else {
                arrival.payload
            };
            let state = &mut self.state;
            let verdict = respond(view, state, arrival.from, now, request, received, draft);
            if LISTING {
                self.heard.push((arrival.from.ip(), verdict));
            }
            if verdict.is_answer() {
                if let Some(arrived) = self.arrived.get_mut(place) {
                    *arrived = arrival.stamp.map(|stamp| stamp.time.as_nanos());
                }
                self.outbox.reply(&arrival);
            }
        }
    }

    /// Reads the clock, and gives every answer the time at which it will leave. Returns the reading.
    fn seal(&mut self, worker: &Worker) -> SystemTime {
        let stampable = worker.socket.stamps_transmissions();
        let read = realtime();
        let sample = stampable && self.departure.wants_sample(read);
        let count = self.outbox.len();
        for (place, draft) in self.drafts.iter_mut().enumerate().take(count) {
            let sampled = sample && (place == 0 || place + 1 == count);
            let token = draft.stamp_wanted();
            let wanted = (stampable && (sampled || token.is_some())).then_some(Wanted {
                token,
                place,
                read,
            });
            self.stamps_due += usize::from(wanted.is_some());
            let leaves = read + self.departure.expected(place);
            if let Some(Some(arrived)) = self.arrived.get(place) {
                self.latency.note(leaves.as_nanos() - arrived);
            }
            let reply = draft.seal(worker.translator.translate(leaves));
            self.outbox.write(place, reply, wanted);
        }
        read
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

#[expect(
    clippy::disallowed_methods,
    reason = "a worker waits for nobody but its clients, and they are many"
)]
fn rest() {
    std::thread::sleep(lull::REST);
}
