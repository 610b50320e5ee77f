//! One worker: receive a batch, decide on each datagram, read the clock, seal and send the replies.
//!
//! This order keeps the transmit timestamps accurate. Deciding takes the longest and comes first,
//! for the whole batch. Then the clock is read once, each reply gets the time at which it is
//! predicted to leave (see [`TransmitDelay`]), and all replies are handed to the kernel in one
//! call.
//!
//! The client list is updated last, when the replies have left (see `client_list.rs`).

use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::{ArcSwap, Cache};
use ntp_os_clock::{Translator, monotonic, realtime};
use ntp_proto::server::{Draft, Policy, ServerNow, ServerView, Verdict, WorkerState, respond};
use ntp_time::{Monotonic, SystemTime};
use ntp_types::statistics::Latency;
use ntp_udp::{ServerSocket, signals};

use crate::backend::{BATCH, Backend, SocketBackend, StampRequest};
use crate::client_list::SharedClientList;
use crate::coalesce::{self, Coalescing};
use crate::counters::SharedCounters;
use crate::transmit_delay::TransmitDelay;

/// Number of consecutive receive errors after which a worker ends.
const MAX_FAILURES: u32 = 16;

/// Everything that a worker needs to run.
#[derive(Debug)]
pub struct Worker {
    /// The socket it serves; no other worker receives from it.
    pub socket: Arc<ServerSocket>,
    /// State of our clock, policy and keys; loaded for each batch.
    pub view: Arc<ArcSwap<ServerView>>,
    /// Its counters.
    pub counters: Arc<SharedCounters>,
    /// Its client list, used if [`Policy::client_list_size`] is not 0.
    pub clients: Arc<SharedClientList>,
    /// Translates kernel timestamps to the served clock.
    pub translator: Translator,
    /// Set before the socket is shut down to stop the worker.
    pub stop: Arc<AtomicBool>,
    /// Number of workers that share the address.
    pub workers: usize,
    /// Whether to delay receiving under load, so that one wake-up serves several requests.
    pub coalesce: bool,
    /// A secret used by this worker only.
    pub seed: [u8; 32],
}

/// Notifies the main thread when it is dropped: the worker is about to end, for whatever reason.
#[derive(Debug)]
pub struct ExitNotice {
    /// Written to on drop; the main thread reads the other end.
    pub report: Arc<UnixStream>,
    /// Number of the worker.
    pub number: u32,
}

impl Drop for ExitNotice {
    fn drop(&mut self) {
        // The socket's buffer holds one message of every thread that a machine can have.
        let _ = (&*self.report).write(&self.number.to_ne_bytes());
    }
}

impl Worker {
    /// Serves until it is stopped.
    ///
    /// # Errors
    /// If receiving fails repeatedly, or the socket is shut down while `stop` is not set.
    pub fn run(self) -> io::Result<()> {
        signals::leave_to_other_threads()?;
        let backend = SocketBackend::new(Arc::clone(&self.socket));
        let mut view = Cache::new(Arc::clone(&self.view));
        let mut worker_loop = WorkerLoop::new(&self, &view.load().policy, backend);
        let mut failures = 0;
        loop {
            let received = worker_loop.backend.receive();
            if self.stop.load(Ordering::Acquire) {
                return Ok(());
            }
            match received {
                Ok(true) => {
                    failures = 0;
                    if worker_loop.serve(&self, view.load()) && self.coalesce {
                        wait();
                    }
                }
                Ok(false) => return Err(io::ErrorKind::BrokenPipe.into()),
                Err(error) => {
                    failures += 1;
                    if failures > MAX_FAILURES {
                        return Err(error);
                    }
                }
            }
        }
    }
}

/// State of a running worker.
struct WorkerLoop<B> {
    backend: B,
    state: WorkerState,
    /// The policy that `state` was made for.
    policy: Arc<Policy>,
    /// One draft for each reply of a batch.
    drafts: Vec<Draft>,
    delay: TransmitDelay,
    /// When the request behind each draft arrived, in nanoseconds, if the kernel timestamped it.
    arrived: [Option<i64>; BATCH],
    latency: Latency,
    coalescing: Coalescing,
    /// Transmit timestamps that were requested and are not here yet.
    stamps_due: usize,
    send_errors: u64,
    /// Sender and verdict of each datagram of the batch, if there is a client list.
    seen: Vec<(IpAddr, Verdict)>,
}

impl<B: Backend> WorkerLoop<B> {
    fn new(worker: &Worker, policy: &Arc<Policy>, backend: B) -> Self {
        Self {
            backend,
            state: WorkerState::new(policy, worker.workers, worker.seed),
            policy: Arc::clone(policy),
            drafts: vec![Draft::new(); BATCH],
            delay: TransmitDelay::default(),
            arrived: [None; BATCH],
            latency: Latency::default(),
            coalescing: Coalescing::new(),
            stamps_due: 0,
            send_errors: 0,
            seen: Vec::with_capacity(BATCH),
        }
    }

    /// Serves the batch that was received. Returns whether to wait before receiving again.
    fn serve(&mut self, worker: &Worker, view: &ServerView) -> bool {
        if !Arc::ptr_eq(&self.policy, &view.policy) {
            self.policy = Arc::clone(&view.policy);
            self.state.apply_policy(&view.policy);
        }
        if self.stamps_due > 0 {
            // Late timestamps, before the requests that may need them. One is given up for each
            // batch, because some never arrive.
            self.take_stamps(worker);
            self.stamps_due = self.stamps_due.saturating_sub(1);
        }
        // Two copies of the loop, so that a server without a client list does not pay for it.
        let listing = self.policy.client_list_size > 0;
        if listing {
            self.respond::<true>(worker, view);
        } else {
            self.respond::<false>(worker, view);
        }
        let mut should_wait = false;
        let replies = self.backend.queued();
        if replies > 0 {
            let read = self.seal(worker);
            should_wait = self.coalescing.should_wait(read, replies, BATCH);
            let failed = self.backend.send();
            self.send_errors = self.send_errors.wrapping_add(failed as u64);
            if self.stamps_due > 0 {
                self.take_stamps(worker);
            }
        }
        worker.counters.store(
            self.state.counters(),
            self.send_errors,
            self.backend.dropped(),
            &self.latency,
        );
        if listing {
            worker.clients.record_batch(monotonic(), &mut self.seen);
        }
        should_wait
    }

    /// Drafts all replies. The draft of a reply has the index of the reply in the queue.
    fn respond<const LISTING: bool>(&mut self, worker: &Worker, view: &ServerView) {
        let mut now = None;
        self.backend.queue_replies(|index, datagram| {
            let Some(draft) = self.drafts.get_mut(index) else {
                return false;
            };
            // A reading of a clock costs a considerable part of a reply. Dispersion grows so slowly
            // that the arrival of the batch's first request is good enough for now, and only a rate
            // limit needs the monotonic clock.
            let stamp = datagram.received.unwrap_or_else(realtime);
            let received = worker.translator.translate(stamp);
            let now = *now.get_or_insert_with(|| ServerNow {
                monotonic: if self.policy.rate_limit.is_active() {
                    monotonic()
                } else {
                    Monotonic::from_nanos(0)
                },
                system: received,
            });
            let (state, from) = (&mut self.state, datagram.from);
            let verdict = respond(view, state, from, now, datagram.payload, received, draft);
            if LISTING {
                self.seen.push((from.ip(), verdict));
            }
            if verdict.is_answer()
                && let Some(arrived) = self.arrived.get_mut(index)
            {
                *arrived = datagram.received.map(SystemTime::as_nanos);
            }
            verdict.is_answer()
        });
    }

    /// Reads the clock and seals each reply with the time at which it will leave. Returns the
    /// reading.
    fn seal(&mut self, worker: &Worker) -> SystemTime {
        let has_stamps = self.backend.has_transmit_stamps();
        let read = realtime();
        let sample = has_stamps && self.delay.sample_due(read);
        let count = self.backend.queued();
        for (index, draft) in self.drafts.iter_mut().enumerate().take(count) {
            let sampled = sample && (index == 0 || index + 1 == count);
            let token = draft.stamp_token();
            let request = (has_stamps && (sampled || token.is_some())).then_some(StampRequest {
                token,
                index,
                read,
            });
            self.stamps_due += usize::from(request.is_some());
            let leaves = read + self.delay.predict(index);
            if let Some(Some(arrived)) = self.arrived.get(index) {
                self.latency.record(leaves.as_nanos() - arrived);
            }
            let reply = draft.seal(worker.translator.translate(leaves));
            self.backend.seal(index, reply, request);
        }
        read
    }

    /// Takes the transmit timestamps that have arrived.
    fn take_stamps(&mut self, worker: &Worker) {
        self.backend.take_transmit_stamps(|request, left| {
            self.stamps_due = self.stamps_due.saturating_sub(1);
            self.delay.update(request.index, left - request.read);
            if let Some(token) = request.token {
                let transmit = worker.translator.translate(left);
                self.state.record_transmit(token, transmit);
            }
        });
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a worker serves its clients only, and at high load waiting is cheaper for them"
)]
fn wait() {
    std::thread::sleep(coalesce::DELAY);
}
