//! A test server in a thread of its own.
//!
//! One blocking socket, one request at a time. Dropping the server waits for its thread, which takes
//! [`PATIENCE`] at most, unless a delayed reply is on its way; a test leaves nothing behind.
#![expect(
    clippy::disallowed_methods,
    reason = "a shell: it stamps packets and waits as a server does"
)]

use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{self, Instant};

use ntp_time::{LeapIndicator, Monotonic, NtpDuration, SystemTime};
use rustix::time::{ClockId, clock_gettime};

use crate::true_time::TrueTime;
use crate::{Behaviour, Request, Responder, Via};

/// How often the thread looks whether it should end.
const PATIENCE: Duration = Duration::from_millis(50);

/// Longer than any request that a server need understand; longer ones are cut, and then malformed.
const LARGEST_REQUEST: usize = 2048;

/// A server on a socket of this machine. It stops when dropped.
#[derive(Debug)]
pub struct ReferenceServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl ReferenceServer {
    /// Starts a server; port 0 takes any free one, which [`address`](Self::address) tells.
    ///
    /// # Errors
    /// The operating system's, if the address cannot be bound or no thread can be started.
    pub fn bind(listen: SocketAddr, behaviour: Behaviour) -> io::Result<Self> {
        Self::bind_seeded(listen, behaviour, 0)
    }

    /// The same, with a seed for [`Misbehaviour::Drop`](crate::Misbehaviour::Drop).
    ///
    /// # Errors
    /// As [`bind`](Self::bind).
    pub fn bind_seeded(listen: SocketAddr, behaviour: Behaviour, seed: u64) -> io::Result<Self> {
        Self::bind_with(listen, behaviour, seed, Source::System)
    }

    /// The same, serving another clock than the system's.
    ///
    /// # Errors
    /// As [`bind`](Self::bind).
    pub fn bind_with(
        listen: SocketAddr,
        behaviour: Behaviour,
        seed: u64,
        source: Source,
    ) -> io::Result<Self> {
        let listener = UdpSocket::bind(listen)?;
        listener.set_read_timeout(Some(PATIENCE))?;
        let address = listener.local_addr()?;
        let other_port = UdpSocket::bind(SocketAddr::new(address.ip(), 0))?;
        let shared = Arc::new(Shared {
            behaviour: Mutex::new(behaviour),
            stop: AtomicBool::new(false),
        });
        let service = Service {
            listener,
            other_port,
            shared: Arc::clone(&shared),
            responder: Responder::new(seed),
            source,
            start: Instant::now(),
        };
        let thread = thread::Builder::new()
            .name("reference-server".into())
            .spawn(move || service.run())?;
        Ok(Self {
            address,
            shared,
            thread: Some(thread),
        })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Behaves like this from the next request on.
    pub fn set_behaviour(&self, behaviour: Behaviour) {
        *lock(&self.shared.behaviour) = behaviour;
    }

    /// Serves until something goes wrong with the socket.
    ///
    /// # Errors
    /// The operating system's, from receiving.
    pub fn wait(mut self) -> io::Result<()> {
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(_)) => Err(io::Error::other("the server thread panicked")),
            None => Ok(()),
        }
    }
}

impl Drop for ReferenceServer {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Whatever it ended with, nobody waits for it any more.
            let _ended = thread.join();
        }
    }
}

#[derive(Debug)]
struct Shared {
    behaviour: Mutex<Behaviour>,
    stop: AtomicBool,
}

/// The clock that is served.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Source {
    /// `CLOCK_REALTIME`.
    System,
    /// A truth of its own, with its own leap announcements unless the behaviour makes one.
    True(TrueTime),
}

impl Source {
    fn now(self) -> SystemTime {
        match self {
            Self::System => system_time(),
            Self::True(truth) => truth.utc(raw_clock()),
        }
    }
}

/// `CLOCK_MONOTONIC_RAW` in nanoseconds: the oscillator as nobody steers it.
pub fn raw_clock() -> i64 {
    let reading = clock_gettime(ClockId::MonotonicRaw);
    reading.tv_sec * 1_000_000_000 + reading.tv_nsec
}

/// What the thread owns.
struct Service {
    listener: UdpSocket,
    /// The source of replies that come from the wrong port.
    other_port: UdpSocket,
    shared: Arc<Shared>,
    responder: Responder,
    source: Source,
    start: Instant,
}

impl Service {
    fn run(mut self) -> io::Result<()> {
        let mut buffer = [0; LARGEST_REQUEST];
        while !self.shared.stop.load(Ordering::Relaxed) {
            match self.listener.recv_from(&mut buffer) {
                Ok((length, client)) => {
                    self.serve(buffer.get(..length).unwrap_or_default(), client);
                }
                Err(error) if is_passing(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn serve(&mut self, octets: &[u8], client: SocketAddr) {
        let request = Request {
            octets,
            client: client.ip(),
            received: self.source.now(),
            now: Monotonic::from_nanos(0) + NtpDuration::from(self.start.elapsed()),
        };
        // A copy, so that changing the behaviour never waits for a delayed reply.
        let mut behaviour = lock(&self.shared.behaviour).clone();
        let source = self.source;
        if let Source::True(truth) = source
            && behaviour.leap == LeapIndicator::None
        {
            behaviour.leap = truth.announcement(raw_clock());
        }
        let answer = self.responder.answer(&behaviour, request, || source.now());
        if !answer.delay.is_zero() {
            thread::sleep(answer.delay);
        }
        for datagram in &answer.datagrams {
            let socket = match datagram.via {
                Via::Listener => &self.listener,
                Via::OtherPort => &self.other_port,
            };
            // A client that is gone, or a datagram too long to send, is no reason to stop serving.
            let _unsent = socket.send_to(&datagram.octets, client);
        }
    }
}

/// Errors of receiving that say nothing about the socket: nobody asked for a while, a signal, and the ICMP
/// echo of a reply that nobody wanted.
fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, Interrupted, TimedOut, WouldBlock};
    matches!(
        error.kind(),
        WouldBlock | TimedOut | Interrupted | ConnectionRefused
    )
}

fn lock(behaviour: &Mutex<Behaviour>) -> std::sync::MutexGuard<'_, Behaviour> {
    // A plain value cannot be left half-written.
    behaviour.lock().unwrap_or_else(PoisonError::into_inner)
}

fn system_time() -> SystemTime {
    let since_epoch = time::SystemTime::now().duration_since(time::UNIX_EPOCH);
    // Before 1970 there is no time to serve.
    let nanos = since_epoch.map_or(0, |elapsed| elapsed.as_nanos());
    SystemTime::from_nanos(i64::try_from(nanos).unwrap_or(i64::MAX))
}
