//! Emulates a link with delay, jitter, loss, duplication and reordering.
//!
//! The kernel can emulate links (netem), but not every kernel is built with it. This is a UDP relay
//! instead: the client sends to the proxy's address, the proxy to the server's. A seeded generator
//! decides what happens to each datagram, which then waits in a queue until it is due. Scheduling
//! latency of the queue's thread adds to the delay, as on a busy router.
//!
//! Replies are matched to clients by the origin timestamp, which repeats the transmit timestamp of
//! the request (RFC 5905 section 8), since a client uses a new port for each request. A reply with
//! an unknown origin goes to the client of the latest request.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};

/// Properties of a link.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Link {
    /// One-way delay, the same in both directions.
    pub delay: Duration,
    /// Additional delay of replies only: the error that a client cannot measure.
    pub asymmetry: Duration,
    /// Mean of an exponentially distributed additional delay of each datagram.
    pub jitter: Duration,
    /// Fraction of datagrams lost in each direction.
    pub loss: f64,
    /// Fraction of datagrams that arrive twice.
    pub duplication: f64,
    /// Fraction of datagrams that are delayed by another 100 ms, so that later ones overtake them.
    pub reordering: f64,
    /// Seed of the random generator.
    pub seed: u64,
}

impl Link {
    /// A link without delay or loss.
    pub const PERFECT: Self = Self {
        delay: Duration::ZERO,
        asymmetry: Duration::ZERO,
        jitter: Duration::ZERO,
        loss: 0.0,
        duplication: 0.0,
        reordering: 0.0,
        seed: 0,
    };
}

/// Additional delay of a reordered datagram.
const REORDER_DELAY: Duration = Duration::from_millis(100);
/// Interval at which the threads check whether to stop.
const STOP_CHECK_INTERVAL: Duration = Duration::from_millis(50);
/// Most requests whose client is remembered; a lossy link leaves some without a reply.
const MAX_PENDING: usize = 1024;
/// Larger than any NTP datagram of these tests.
const MAX_DATAGRAM: usize = 2048;

/// A running proxy. Stopped when dropped.
#[derive(Debug)]
pub struct DelayProxy {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl DelayProxy {
    /// Relays datagrams that arrive at `listen` to `server` through `upstream`, and replies back.
    ///
    /// # Errors
    /// If a socket cannot be configured.
    pub fn start(
        listen: UdpSocket,
        upstream: UdpSocket,
        server: SocketAddr,
        link: Link,
    ) -> io::Result<Self> {
        listen.set_read_timeout(Some(STOP_CHECK_INTERVAL))?;
        upstream.set_read_timeout(Some(STOP_CHECK_INTERVAL))?;
        upstream.connect(server)?;
        let shared = Arc::new(Shared {
            listen,
            upstream,
            link,
            state: Mutex::new(State {
                queue: BinaryHeap::new(),
                arrivals: 0,
                rng: ChaCha8Rng::seed_from_u64(link.seed),
                clients: HashMap::new(),
                latest: None,
            }),
            work: Condvar::new(),
            ended: AtomicBool::new(false),
        });
        let parts: [fn(&Shared); 3] =
            [Shared::read_requests, Shared::read_replies, Shared::deliver];
        let threads = parts
            .into_iter()
            .map(|part| {
                let shared = shared.clone();
                thread::spawn(move || part(&shared))
            })
            .collect();
        Ok(Self { shared, threads })
    }
}

impl Drop for DelayProxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        self.shared.work.notify_all();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Destination of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Destination {
    Server,
    Client(SocketAddr),
}

#[derive(Debug)]
struct Shared {
    listen: UdpSocket,
    upstream: UdpSocket,
    link: Link,
    state: Mutex<State>,
    work: Condvar,
    ended: AtomicBool,
}

/// A queued datagram, ordered by due time, then by arrival.
type Queued = Reverse<(Instant, u64, Destination, Vec<u8>)>;

#[derive(Debug)]
struct State {
    queue: BinaryHeap<Queued>,
    arrivals: u64,
    rng: ChaCha8Rng,
    clients: HashMap<[u8; 8], SocketAddr>,
    latest: Option<SocketAddr>,
}

impl Shared {
    fn read_requests(&self) {
        let mut buffer = [0; MAX_DATAGRAM];
        while !self.ended() {
            let Ok((length, client)) = self.listen.recv_from(&mut buffer) else {
                continue;
            };
            let mut state = self.state();
            state.latest = Some(client);
            if let Some(transmit) = stamp(&buffer[..length], TRANSMIT) {
                if state.clients.len() >= MAX_PENDING {
                    state.clients.clear();
                }
                state.clients.insert(transmit, client);
            }
            self.forward(
                &mut state,
                Destination::Server,
                self.link.delay,
                &buffer[..length],
            );
        }
    }

    fn read_replies(&self) {
        let mut buffer = [0; MAX_DATAGRAM];
        while !self.ended() {
            let Ok(length) = self.upstream.recv(&mut buffer) else {
                continue;
            };
            let mut state = self.state();
            let origin = stamp(&buffer[..length], ORIGIN);
            let known = origin.and_then(|origin| state.clients.get(&origin).copied());
            if let Some(client) = known.or(state.latest) {
                let delay = self.link.delay + self.link.asymmetry;
                self.forward(
                    &mut state,
                    Destination::Client(client),
                    delay,
                    &buffer[..length],
                );
            }
        }
    }

    #[expect(clippy::disallowed_methods, reason = "a link in real time")]
    fn forward(&self, state: &mut State, to: Destination, delay: Duration, datagram: &[u8]) {
        if state.happens(self.link.loss) {
            return;
        }
        let copies = if state.happens(self.link.duplication) {
            2
        } else {
            1
        };
        for _ in 0..copies {
            let mut delay = delay + state.exponential(self.link.jitter);
            if state.happens(self.link.reordering) {
                delay += REORDER_DELAY;
            }
            state.arrivals += 1;
            let queued = (
                Instant::now() + delay,
                state.arrivals,
                to,
                datagram.to_vec(),
            );
            state.queue.push(Reverse(queued));
        }
        self.work.notify_all();
    }

    #[expect(clippy::disallowed_methods, reason = "a link in real time")]
    fn deliver(&self) {
        let mut state = self.state();
        while !self.ended() {
            let wait = match state.queue.peek() {
                None => STOP_CHECK_INTERVAL,
                Some(Reverse((due, ..))) => due.saturating_duration_since(Instant::now()),
            };
            if !wait.is_zero() {
                let waited = self.work.wait_timeout(state, wait);
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
            } else if let Some(Reverse((_, _, to, datagram))) = state.queue.pop() {
                // A datagram that cannot be sent counts as lost.
                let _ = match to {
                    Destination::Server => self.upstream.send(&datagram),
                    Destination::Client(client) => self.listen.send_to(&datagram, client),
                };
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }
}

impl State {
    /// Uniform in [0, 1).
    fn uniform(&mut self) -> f64 {
        (self.rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn happens(&mut self, probability: f64) -> bool {
        self.uniform() < probability
    }

    fn exponential(&mut self, mean: Duration) -> Duration {
        mean.mul_f64(-(1.0 - self.uniform()).ln())
    }
}

/// Offsets of two timestamps in the header (RFC 5905 section 7.3).
const ORIGIN: usize = 24;
const TRANSMIT: usize = 40;

fn stamp(datagram: &[u8], at: usize) -> Option<[u8; 8]> {
    datagram.get(at..at + 8)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query;
    use test_binaries::{Behaviour, ReferenceServer};

    const LIMIT: Duration = Duration::from_secs(60);

    fn local() -> UdpSocket {
        UdpSocket::bind("127.0.0.1:0").expect("loopback")
    }

    fn query_through(link: Link, limit: Duration) -> io::Result<query::Reply> {
        let address = "127.0.0.1:0".parse().expect("address");
        let server = ReferenceServer::bind(address, Behaviour::default())?;
        let listen = local();
        let address = listen.local_addr()?;
        let _proxy = DelayProxy::start(listen, local(), server.address(), link)?;
        query::query(&local(), address, limit)
    }

    #[test]
    fn a_client_measures_delay_and_asymmetry() {
        let link = Link {
            delay: Duration::from_millis(50),
            asymmetry: Duration::from_millis(100),
            ..Link::PERFECT
        };
        let answer = query_through(link, LIMIT).expect("a reply");
        assert!(answer.delay >= 0.2, "{answer:?}");
        // The server appears to be behind by half of the asymmetry; a busy machine adds to either
        // direction.
        assert!(answer.offset.abs() <= answer.delay / 2.0, "{answer:?}");
    }

    #[test]
    fn a_link_with_full_loss_delivers_nothing() {
        let link = Link {
            loss: 1.0,
            ..Link::PERFECT
        };
        assert!(query_through(link, Duration::from_millis(300)).is_err());
    }
}
