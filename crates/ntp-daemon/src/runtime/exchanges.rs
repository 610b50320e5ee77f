//! The sockets of open exchanges: one for each request, closed with its answer (RFC 9109).
//!
//! A socket is connected, so the kernel lets through only what comes from the server's address and port. Its
//! transmit stamp comes back through the socket's error queue, usually within microseconds; it is fetched
//! when the queue reports it and, if it has not been seen by then, once more when the reply arrives. It is
//! never waited for.

use std::io;
use std::net::SocketAddr;

use ntp_os_clock::Clock;
use ntp_proto::engine::{ExchangeId, SendError};
use ntp_time::{Stamp, StampSource, SystemTime};
use ntp_udp::wait::{Interest, PollSet};
use ntp_udp::{ClientSocket, ErrorQueue, Shortcoming, SocketOptions};

/// Larger than any reply to the requests we send, so that an answer is never cut; longer ones are rejected as such.
const BUFFER: usize = 2048;

/// One open socket.
#[derive(Debug)]
struct Open {
    id: ExchangeId,
    socket: ClientSocket,
    /// The kernel's transmit stamp has been taken.
    stamped: bool,
    /// Where it stands in the poll set; nowhere before the first wait.
    place: usize,
}

/// What an open socket had to say. Times are readings of the disciplined clock.
#[derive(Debug)]
pub(super) enum SocketEvent {
    /// A better stamp of a request.
    Stamped(ExchangeId, Stamp),
    /// A datagram of this length lies in the buffer.
    Received {
        id: ExchangeId,
        length: usize,
        truncated: bool,
        received: Stamp,
    },
    /// The network refused the request.
    Failed(ExchangeId, SendError),
}

/// All open sockets.
#[derive(Debug)]
pub(super) struct Exchanges {
    options: SocketOptions,
    open: Vec<Open>,
    buffer: Box<[u8; BUFFER]>,
}

impl Exchanges {
    pub(super) fn new(options: SocketOptions) -> Self {
        Self {
            options,
            open: Vec::new(),
            buffer: Box::new([0; BUFFER]),
        }
    }

    /// Sends `payload` from a fresh socket. Returns the daemon's own stamp of it.
    pub(super) fn send(
        &mut self,
        clock: &Clock,
        id: ExchangeId,
        remote: SocketAddr,
        payload: &[u8],
        missing: &mut Vec<Shortcoming>,
    ) -> Result<Stamp, SendError> {
        let (socket, mut shortcomings) =
            ClientSocket::open(remote, &self.options).map_err(|error| sort(&error))?;
        missing.append(&mut shortcomings);
        let before = clock.now();
        socket.send(payload).map_err(|error| sort(&error))?;
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

    /// Closes the exchange's socket.
    pub(super) fn close(&mut self, id: ExchangeId) {
        self.open.retain(|open| open.id != id);
    }

    /// Adds all sockets to a poll set.
    pub(super) fn watch(&mut self, set: &mut PollSet) {
        for open in &mut self.open {
            open.place = set.push(&open.socket, Interest::ReadableOrStamped);
        }
    }

    /// How many sockets are open.
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    /// The identity of the `index`th socket, if something lies ready there.
    pub(super) fn ready(&self, set: &PollSet, index: usize) -> Option<ExchangeId> {
        let open = self.open.get(index)?;
        set.readiness(open.place).any().then_some(open.id)
    }

    /// Takes what lies ready on one socket: at most one stamp and one datagram.
    pub(super) fn take(
        &mut self,
        clock: &Clock,
        set: &PollSet,
        id: ExchangeId,
        events: &mut Vec<SocketEvent>,
    ) {
        let Self { open, buffer, .. } = self;
        let Some(open) = open.iter_mut().find(|open| open.id == id) else {
            return;
        };
        let ready = set.readiness(open.place);
        // Reading an error queue that nothing announced is only worth a system call while a stamp is missing.
        let mut receive = ready.readable;
        if ready.error || (!open.stamped && open.socket.stamps_transmissions()) {
            match open.socket.take_transmit_stamp() {
                Ok(ErrorQueue::TransmitStamp(stamp)) => {
                    open.stamped = true;
                    events.push(SocketEvent::Stamped(id, translated(clock, stamp)));
                }
                Ok(ErrorQueue::Unreachable(error)) => {
                    events.push(SocketEvent::Failed(id, sort(&error)));
                }
                // An error that is not in the queue is told by the next receive, and cleared by it.
                Ok(ErrorQueue::Empty) | Err(_) => receive |= ready.error,
            }
        }
        if !receive {
            return;
        }
        match open.socket.receive(buffer.as_mut_slice()) {
            Ok(datagram) => {
                let received = match datagram.stamp {
                    Some(stamp) => translated(clock, stamp),
                    None => Stamp {
                        time: clock.now(),
                        source: StampSource::Daemon,
                    },
                };
                events.push(SocketEvent::Received {
                    id,
                    length: datagram.len,
                    truncated: datagram.truncated,
                    received,
                });
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => events.push(SocketEvent::Failed(id, sort(&error))),
        }
    }

    /// The bytes of the datagram received last.
    pub(super) fn payload(&self, length: usize) -> &[u8] {
        &self.buffer[..length.min(BUFFER)]
    }
}

fn translated(clock: &Clock, stamp: Stamp) -> Stamp {
    let time: SystemTime = clock.translate(stamp.time);
    Stamp { time, ..stamp }
}

/// Sorts an operating system error by what it means for a source.
fn sort(error: &io::Error) -> SendError {
    match error.raw_os_error() {
        Some(
            libc::ENETUNREACH
            | libc::EHOSTUNREACH
            | libc::ENETDOWN
            | libc::EHOSTDOWN
            | libc::EAFNOSUPPORT
            | libc::EADDRNOTAVAIL
            | libc::EINVAL,
        ) => SendError::NoRoute,
        Some(libc::ECONNREFUSED) => SendError::Refused,
        Some(libc::EPERM | libc::EACCES) => SendError::Forbidden,
        number => SendError::Other(number.unwrap_or(0)),
    }
}
