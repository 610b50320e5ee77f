//! A bad link between a client and a server: late, lossy, and out of order.
//!
//! The kernel can emulate links (netem), but not every kernel is built with it. This is a UDP relay instead: the client
//! talks to the proxy's address, the proxy to the server's. Each datagram draws its fate from a seeded generator, then waits for
//! its time in a queue. What the thread that serves the queue oversleeps is added to the delay, as a busy router
//! would.
//!
//! Replies find their way by the origin timestamp, which repeats the transmit timestamp of the request (RFC 5905 section
//! 8), since a client asks from a new port each time. A reply with another origin goes to who asked last.

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

/// What happens to datagrams on the way.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Link {
    /// One-way delay, the same in both directions.
    pub delay: Duration,
    /// Added to replies only: what a client cannot see.
    pub asymmetry: Duration,
    /// Mean of an exponentially distributed delay, drawn for each datagram.
    pub jitter: Duration,
    /// Share of datagrams lost in each direction.
    pub loss: f64,
    /// Share of datagrams that arrive twice.
    pub duplication: f64,
    /// Share of datagrams that are held back for another 100 ms, so that later ones overtake them.
    pub reordering: f64,
    /// Seed of all of these draws.
    pub seed: u64,
}

impl Link {
    /// One that does nothing.
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

/// How long a reordered datagram is held back.
const HELD_BACK: Duration = Duration::from_millis(100);
/// How often the readers look whether they should end.
const LOOK_UP: Duration = Duration::from_millis(50);
/// Requests without a reply that are remembered; a lossy link leaves some behind.
const REMEMBERED: usize = 1024;
/// Larger than any NTP datagram of these tests.
const LARGEST: usize = 2048;

/// A running proxy. It ends when dropped.
#[derive(Debug)]
pub struct DelayProxy {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl DelayProxy {
    /// Relays what comes in at `listen` to `server` through `upstream`, and the replies back.
    ///
    /// # Errors
    /// If a socket cannot be prepared.
    pub fn start(
        listen: UdpSocket,
        upstream: UdpSocket,
        server: SocketAddr,
        link: Link,
    ) -> io::Result<Self> {
        listen.set_read_timeout(Some(LOOK_UP))?;
        upstream.set_read_timeout(Some(LOOK_UP))?;
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

/// To whom a datagram goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum To {
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

/// Due time, then order of arrival, decide the order of delivery.
type Waiting = Reverse<(Instant, u64, To, Vec<u8>)>;

#[derive(Debug)]
struct State {
    queue: BinaryHeap<Waiting>,
    arrivals: u64,
    rng: ChaCha8Rng,
    clients: HashMap<[u8; 8], SocketAddr>,
    latest: Option<SocketAddr>,
}

impl Shared {
    fn read_requests(&self) {
        let mut buffer = [0; LARGEST];
        while !self.ended() {
            let Ok((length, client)) = self.listen.recv_from(&mut buffer) else {
                continue;
            };
            let mut state = self.state();
            state.latest = Some(client);
            if let Some(transmit) = stamp(&buffer[..length], TRANSMIT) {
                if state.clients.len() >= REMEMBERED {
                    state.clients.clear();
                }
                state.clients.insert(transmit, client);
            }
            self.forward(&mut state, To::Server, self.link.delay, &buffer[..length]);
        }
    }

    fn read_replies(&self) {
        let mut buffer = [0; LARGEST];
        while !self.ended() {
            let Ok(length) = self.upstream.recv(&mut buffer) else {
                continue;
            };
            let mut state = self.state();
            let origin = stamp(&buffer[..length], ORIGIN);
            let known = origin.and_then(|origin| state.clients.get(&origin).copied());
            if let Some(client) = known.or(state.latest) {
                let delay = self.link.delay + self.link.asymmetry;
                self.forward(&mut state, To::Client(client), delay, &buffer[..length]);
            }
        }
    }

    #[expect(clippy::disallowed_methods, reason = "a link in real time")]
    fn forward(&self, state: &mut State, to: To, delay: Duration, datagram: &[u8]) {
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
                delay += HELD_BACK;
            }
            state.arrivals += 1;
            let waiting = (
                Instant::now() + delay,
                state.arrivals,
                to,
                datagram.to_vec(),
            );
            state.queue.push(Reverse(waiting));
        }
        self.work.notify_all();
    }

    #[expect(clippy::disallowed_methods, reason = "a link in real time")]
    fn deliver(&self) {
        let mut state = self.state();
        while !self.ended() {
            let wait = match state.queue.peek() {
                None => LOOK_UP,
                Some(Reverse((due, ..))) => due.saturating_duration_since(Instant::now()),
            };
            if !wait.is_zero() {
                let waited = self.work.wait_timeout(state, wait);
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
            } else if let Some(Reverse((_, _, to, datagram))) = state.queue.pop() {
                // A datagram that cannot be sent is lost, as links do.
                let _ = match to {
                    To::Server => self.upstream.send(&datagram),
                    To::Client(client) => self.listen.send_to(&datagram, client),
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
    /// Uniform in 0 to 1, without 1.
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

/// Places of two timestamps in the header (RFC 5905 section 7.3).
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

    fn ask_through(link: Link, limit: Duration) -> io::Result<query::Answer> {
        let address = "127.0.0.1:0".parse().expect("address");
        let server = ReferenceServer::bind(address, Behaviour::default())?;
        let listen = local();
        let address = listen.local_addr()?;
        let _proxy = DelayProxy::start(listen, local(), server.address(), link)?;
        query::ask(&local(), address, limit)
    }

    #[test]
    fn delay_and_asymmetry_are_what_a_client_measures() {
        let link = Link {
            delay: Duration::from_millis(50),
            asymmetry: Duration::from_millis(100),
            ..Link::PERFECT
        };
        let answer = ask_through(link, LIMIT).expect("answer");
        assert!(answer.delay >= 0.2, "{answer:?}");
        // The server seems to be behind by half of the asymmetry; a busy machine adds to either side.
        assert!(answer.offset.abs() <= answer.delay / 2.0, "{answer:?}");
    }

    #[test]
    fn a_link_that_loses_everything_is_silent() {
        let link = Link {
            loss: 1.0,
            ..Link::PERFECT
        };
        assert!(ask_through(link, Duration::from_millis(300)).is_err());
    }
}
