//! A test server in its own thread.
//!
//! One blocking socket, one request at a time. Dropping the server waits for its thread, which ends
//! at once, unless a delayed reply is pending.
//!
//! The kernel timestamps arrivals, as it does for the clients under test. With readings taken by the
//! thread instead, the time until a busy machine runs it would count as delay of one direction, and
//! half of it would be an error that no client can detect. Likewise, replies carry the time at which
//! they will leave: the reading of the clock, and the delay from there to the kernel's timestamp of
//! the last reply.
#![expect(
    clippy::disallowed_methods,
    reason = "a real-time server: it timestamps packets and sleeps"
)]

use core::sync::atomic::{AtomicBool, Ordering};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{self, Instant};

use ntp_time::{LeapIndicator, Monotonic, NtpDuration, RawStamp, SystemTime};
use ntp_udp::{Arrival, Inbox, Outbox, ServerOptions, ServerSocket};
use rustix::time::{ClockId, clock_gettime};

use crate::comparison::Reading;
use crate::true_time::TrueTime;
use crate::{Behaviour, Datagram, Request, Responder, Via};

/// Delay from the reading of the clock to the departure of a reply beyond which the clock was
/// stepped between them, or the thread was interrupted.
const MAX_TRANSMIT_DELAY: NtpDuration = NtpDuration::from_millis(1);

/// A running server. Stopped when dropped.
#[derive(Debug)]
pub struct ReferenceServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl ReferenceServer {
    /// Starts a server; port 0 selects a free one, see [`address`](Self::address).
    ///
    /// # Errors
    /// Those of the operating system, if the address cannot be bound or no thread can be started.
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

    /// The same, serving the clock `source`.
    ///
    /// # Errors
    /// As [`bind`](Self::bind).
    pub fn bind_with(
        listen: SocketAddr,
        behaviour: Behaviour,
        seed: u64,
        source: Source,
    ) -> io::Result<Self> {
        // A socket with shortcomings serves less accurate timestamps, or fewer addresses.
        let (listener, _shortcomings) = ServerSocket::bind(listen, &ServerOptions::default())?;
        let address = listener.local_addr()?;
        let sender = UdpSocket::from(listener.as_fd().try_clone_to_owned()?);
        let other_port = UdpSocket::bind(SocketAddr::new(address.ip(), 0))?;
        let shared = Arc::new(Shared {
            behaviour: Mutex::new(behaviour),
            stop: AtomicBool::new(false),
            listener,
        });
        let service = Service {
            sender,
            outbox: Outbox::new(1),
            transmit_delay: NtpDuration::ZERO,
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

    /// Listening address.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes the behaviour from the next request on.
    pub fn set_behaviour(&self, behaviour: Behaviour) {
        *lock(&self.shared.behaviour) = behaviour;
    }

    /// Serves until the socket fails.
    ///
    /// # Errors
    /// Those of the operating system, from receiving.
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
        // Fails if the socket has failed, which has ended the thread.
        let _failed = self.shared.listener.stop_receiving();
        if let Some(thread) = self.thread.take() {
            // Its result is not needed.
            let _ended = thread.join();
        }
    }
}

#[derive(Debug)]
struct Shared {
    behaviour: Mutex<Behaviour>,
    stop: AtomicBool,
    listener: ServerSocket,
}

/// The clock that is served.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// `CLOCK_REALTIME`.
    System,
    /// Time derived from `CLOCK_MONOTONIC_RAW`, with its leap announcements unless the behaviour
    /// sets one.
    True(TrueTime),
}

impl Source {
    fn now(&self) -> SystemTime {
        match self {
            Self::System => system_time(),
            Self::True(truth) => truth.utc(raw_clock()),
        }
    }

    /// Time of an arrival by this clock; `stamp` is the kernel's reading of the system clock.
    fn at_arrival(&self, stamp: Option<RawStamp>) -> SystemTime {
        let Some(stamp) = stamp.and_then(RawStamp::to_stamp) else {
            return self.now();
        };
        match self {
            Self::System => stamp.time,
            Self::True(truth) => {
                let now = Reading::take();
                // Both clocks count the milliseconds since the arrival alike.
                let age = now.system - stamp.time;
                truth.utc(now.raw - age.as_nanos())
            }
        }
    }
}

/// Reads `CLOCK_MONOTONIC_RAW` in nanoseconds: the unsteered oscillator.
pub fn raw_clock() -> i64 {
    let reading = clock_gettime(ClockId::MonotonicRaw);
    reading.tv_sec * 1_000_000_000 + reading.tv_nsec
}

/// State of the server thread.
struct Service {
    /// Sends replies from the listening socket that do not fit into the outbox.
    sender: UdpSocket,
    /// Sends replies from the listening socket; the kernel timestamps them.
    outbox: Outbox<SystemTime>,
    /// Time from the reading of the clock to the departure of the last reply.
    transmit_delay: NtpDuration,
    /// Sends replies from the wrong port.
    other_port: UdpSocket,
    shared: Arc<Shared>,
    responder: Responder,
    source: Source,
    start: Instant,
}

impl Service {
    fn run(mut self) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let mut inbox = Inbox::new(1);
        while !shared.stop.load(Ordering::Relaxed) {
            match shared.listener.wait_receive(&mut inbox) {
                Ok(_) => {
                    if let Some(arrival) = inbox.get(0) {
                        self.serve(&arrival);
                    }
                }
                Err(error) if is_temporary(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn serve(&mut self, arrival: &Arrival<'_>) {
        let request = Request {
            octets: arrival.payload,
            client: arrival.from.ip(),
            received: self.source.at_arrival(arrival.stamp),
            now: Monotonic::from_nanos(0) + NtpDuration::from(self.start.elapsed()),
        };
        // A copy, so that changing the behaviour never waits for a delayed reply.
        let mut behaviour = lock(&self.shared.behaviour).clone();
        if let Source::True(truth) = &self.source
            && behaviour.leap == LeapIndicator::None
        {
            behaviour.leap = truth.announcement(raw_clock());
        }
        let mut read_at = None;
        let transmit_delay = self.transmit_delay;
        let response = self.responder.respond(&behaviour, request, || {
            read_at = Some(system_time());
            self.source.now() + transmit_delay
        });
        if !response.delay.is_zero() {
            // The delay is that of a misbehaving server, which does not know it.
            read_at = None;
            thread::sleep(response.delay);
        }
        for datagram in &response.datagrams {
            self.send(datagram, arrival, read_at);
        }
    }

    /// Sends a datagram. With the time of the clock's reading, measures its delay from there.
    fn send(&mut self, datagram: &Datagram, arrival: &Arrival<'_>, read_at: Option<SystemTime>) {
        let socket = match datagram.via {
            Via::Listener => {
                let listener = &self.shared.listener;
                let stamped = read_at.filter(|_| listener.stamps_transmissions());
                if self.outbox.reply(arrival) && self.outbox.write(0, &datagram.octets, stamped) {
                    // An unreachable client does not stop the server.
                    let _unsent = listener.send(&mut self.outbox);
                    let delay = &mut self.transmit_delay;
                    listener.transmit_stamps(&mut self.outbox, |read_at, stamp| {
                        let left = stamp.to_stamp().map(|stamp| stamp.time - read_at);
                        let possible = NtpDuration::ZERO..MAX_TRANSMIT_DELAY;
                        *delay = left
                            .filter(|left| possible.contains(left))
                            .unwrap_or(*delay);
                    });
                    return;
                }
                self.outbox = Outbox::new(1);
                &self.sender
            }
            Via::OtherPort => &self.other_port,
        };
        // Nor does a too long datagram.
        let _unsent = socket.send_to(&datagram.octets, arrival.from);
    }
}

/// Whether an error of receiving is temporary: a signal, or an ICMP error caused by an earlier
/// reply.
fn is_temporary(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, Interrupted};
    matches!(error.kind(), Interrupted | ConnectionRefused)
}

fn lock(behaviour: &Mutex<Behaviour>) -> std::sync::MutexGuard<'_, Behaviour> {
    // A plain value cannot be left half-written.
    behaviour.lock().unwrap_or_else(PoisonError::into_inner)
}

fn system_time() -> SystemTime {
    let since_epoch = time::SystemTime::now().duration_since(time::UNIX_EPOCH);
    // Times before 1970 are served as 1970.
    let nanos = since_epoch.map_or(0, |elapsed| elapsed.as_nanos());
    SystemTime::from_nanos(i64::try_from(nanos).unwrap_or(i64::MAX))
}
