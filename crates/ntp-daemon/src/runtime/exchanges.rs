//! The sockets of open exchanges: one for each request, closed with its reply (RFC 9109).
//!
//! A socket is connected, so the kernel passes only what comes from the server's address and port.
//! Its transmit stamp comes back through the socket's error queue, usually within microseconds. It
//! is read when the queue reports it and, if it is still missing, once more when the reply arrives;
//! the daemon never waits for it.

use std::io;
use std::net::SocketAddr;

use ntp_os_clock::Clock;
use ntp_proto::engine::{Datagram, ExchangeId, Input, SendError};
use ntp_time::{RawStamp, Stamp, StampSource, SystemTime};
use ntp_types::path::NetworkPath;
use ntp_udp::wait::{Interest, PollSet};
use ntp_udp::{ClientSocket, ErrorQueue, PathError, Shortcoming, SocketOptions, TimestampingGuard};

use super::driver::{DeferredInput, Driver, SocketRequest};
use super::failure::Failure;
use super::pollable::{Context, Pollable};
use crate::log;

/// Size of the receive buffer in bytes: larger than any valid reply. Longer ones are rejected as
/// truncated.
const BUFFER: usize = 2048;

/// One open socket.
#[derive(Debug)]
struct Open {
    id: ExchangeId,
    socket: ClientSocket,
    /// Whether the kernel's transmit stamp has been read.
    stamped: bool,
    /// Index in the poll set; `usize::MAX` before the first registration.
    place: usize,
}

/// What happened on an open socket. Times are readings of the disciplined clock.
#[derive(Debug)]
enum SocketEvent {
    /// A better stamp of a request.
    Stamped(ExchangeId, Stamp),
    /// A datagram of this length is in the buffer.
    Received {
        id: ExchangeId,
        length: usize,
        truncated: bool,
        hop_limit: Option<u8>,
        received: Stamp,
    },
    /// The network refused the request.
    Failed(ExchangeId, SendError),
}

/// All open sockets.
#[derive(Debug)]
pub(super) struct ExchangeSockets {
    options: SocketOptions,
    open: Vec<Open>,
    buffer: Box<[u8; BUFFER]>,
    /// Keeps the kernel's packet stamping switched on between exchanges; never read.
    _stamp_keeper: Option<TimestampingGuard>,
}

impl ExchangeSockets {
    /// Opens no exchange yet, but starts the kernel's packet stamping.
    pub(super) fn new(options: SocketOptions) -> Self {
        let stamp_keeper = TimestampingGuard::open(&options);
        Self {
            options,
            open: Vec::new(),
            buffer: Box::new([0; BUFFER]),
            _stamp_keeper: stamp_keeper.inspect_err(log::emit_missing_facility).ok(),
        }
    }

    /// Executes requests until the engine has none for these sockets.
    fn settle(&mut self, driver: &mut Driver) -> Result<(), Failure> {
        while !driver.requests.sockets.is_empty() {
            self.execute(driver);
            driver.drain()?;
        }
        Ok(())
    }

    /// Sends `payload` from a fresh socket. Returns the daemon's own stamp, and appends missing
    /// facilities to `missing`.
    fn send(
        &mut self,
        clock: &Clock,
        id: ExchangeId,
        (remote, path): (SocketAddr, NetworkPath),
        payload: &[u8],
        missing: &mut Vec<Shortcoming>,
    ) -> Result<Stamp, SendError> {
        let options = SocketOptions {
            path: NetworkPath {
                device: path.device.or(self.options.path.device),
                ..path
            },
            ..self.options
        };
        let (socket, mut shortcomings) =
            ClientSocket::open(remote, &options).map_err(|error| classify_path(&error))?;
        missing.append(&mut shortcomings);
        let before = clock.now();
        socket.send(payload).map_err(|error| classify(&error))?;
        self.open.push(Open {
            id,
            socket,
            stamped: false,
            place: usize::MAX,
        });
        Ok(Stamp {
            time: before,
            source: StampSource::Daemon,
        })
    }

    /// Reads what is ready on one socket: at most one stamp and one datagram.
    fn receive(&mut self, clock: &Clock, set: &PollSet, id: ExchangeId) -> Vec<SocketEvent> {
        let mut events = Vec::new();
        let Self { open, buffer, .. } = self;
        let Some(open) = open.iter_mut().find(|open| open.id == id) else {
            return events;
        };
        let ready = set.readiness(open.place);
        // Reading an error queue without a notification is only worth a system call while a stamp
        // is missing.
        let mut receive = ready.readable;
        if ready.error || (!open.stamped && open.socket.stamps_transmissions()) {
            match open.socket.take_transmit_stamp() {
                Ok(ErrorQueue::TransmitStamp(stamp)) => {
                    open.stamped = true;
                    let stamp = translated(clock, stamp);
                    events.extend(stamp.map(|stamp| SocketEvent::Stamped(id, stamp)));
                }
                Ok(ErrorQueue::Unreachable(error)) => {
                    events.push(SocketEvent::Failed(id, classify(&error)));
                }
                // An error that is not in the queue is returned, and cleared, by the next receive.
                Ok(ErrorQueue::Empty) | Err(_) => receive |= ready.error,
            }
        }
        if !receive {
            return events;
        }
        match open.socket.receive(buffer.as_mut_slice()) {
            Ok(datagram) => {
                let received = datagram.stamp.and_then(|stamp| translated(clock, stamp));
                let received = received.unwrap_or_else(|| Stamp {
                    time: clock.now(),
                    source: StampSource::Daemon,
                });
                events.push(SocketEvent::Received {
                    id,
                    length: datagram.len,
                    truncated: datagram.truncated,
                    hop_limit: datagram.hop_limit,
                    received,
                });
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => events.push(SocketEvent::Failed(id, classify(&error))),
        }
        events
    }

    fn input(&self, event: &SocketEvent) -> Input<'_> {
        match *event {
            SocketEvent::Stamped(exchange, stamp) => Input::Transmitted { exchange, stamp },
            SocketEvent::Failed(exchange, error) => Input::SendFailed { exchange, error },
            SocketEvent::Received {
                id,
                length,
                truncated,
                hop_limit,
                received,
            } => Input::Datagram(Datagram {
                exchange: id,
                payload: &self.buffer[..length.min(BUFFER)],
                truncated,
                hop_limit,
                received,
            }),
        }
    }
}

impl Pollable for ExchangeSockets {
    fn register(&mut self, set: &mut PollSet) {
        for open in &mut self.open {
            open.place = set.push(&open.socket, Interest::ReadableOrStamped);
        }
    }

    fn on_ready(&mut self, context: &mut Context<'_>) -> Result<(), Failure> {
        // Sockets that an earlier input of this round has closed are not read any more.
        self.settle(context.driver)?;
        let is_ready = |open: &&Open| context.set.readiness(open.place).any();
        // Handling an event may close other sockets, so the identities are collected first.
        let ready: Vec<_> = self
            .open
            .iter()
            .filter(is_ready)
            .map(|open| open.id)
            .collect();
        for id in ready {
            for event in self.receive(context.driver.clock(), context.set, id) {
                context.driver.handle(self.input(&event))?;
                self.settle(context.driver)?;
            }
        }
        Ok(())
    }

    fn execute(&mut self, driver: &mut Driver) {
        let mut missing = Vec::new();
        while let Some(request) = driver.requests.sockets.pop_front() {
            match request {
                SocketRequest::Transmit {
                    exchange,
                    remote,
                    path,
                    request,
                } => {
                    let sent = self.send(
                        driver.clock(),
                        exchange,
                        (remote, path),
                        &request.payload,
                        &mut missing,
                    );
                    let local = self.open.last().filter(|_| sent.is_ok());
                    let local = local.and_then(|open| open.socket.local_addr().ok());
                    if let Some(local) = local {
                        driver.record_local_address(exchange.source, local.ip());
                    }
                    driver.defer(match sent {
                        Ok(stamp) => DeferredInput::Sent(exchange, stamp),
                        Err(error) => DeferredInput::NotSent(exchange, error),
                    });
                }
                SocketRequest::Close(id) => self.open.retain(|open| open.id != id),
            }
        }
        driver.log_missing(missing);
    }
}

/// Converts a stamp of the kernel to the clock that is disciplined.
fn translated(clock: &Clock, stamp: RawStamp) -> Option<Stamp> {
    let stamp = stamp.to_stamp()?;
    let time: SystemTime = clock.translate(stamp.time);
    Some(Stamp { time, ..stamp })
}

/// Classifies an error of the path through this machine.
fn classify_path(error: &PathError) -> SendError {
    let errno = |error: &io::Error| error.raw_os_error().unwrap_or(0);
    match error {
        PathError::Device(_, error) => SendError::BindDevice {
            errno: errno(error),
        },
        PathError::Address(_, error) => SendError::BindAddress {
            errno: errno(error),
        },
        PathError::Other(error) => classify(error),
    }
}

/// Classifies an operating system error by its meaning for a source.
fn classify(error: &io::Error) -> SendError {
    match error.raw_os_error() {
        Some(
            libc::ENETUNREACH
            | libc::EHOSTUNREACH
            | libc::ENETDOWN
            | libc::EHOSTDOWN
            // The interface of a link-local address is gone.
            | libc::ENODEV
            | libc::EAFNOSUPPORT
            | libc::EADDRNOTAVAIL
            | libc::EINVAL,
        ) => SendError::NoRoute,
        Some(libc::ECONNREFUSED) => SendError::Refused,
        Some(libc::EPERM | libc::EACCES) => SendError::Forbidden,
        number => SendError::Other {
            errno: number.unwrap_or(0),
        },
    }
}
