//! The packet I/O of a worker: receive a batch, seal its replies, send them.
//!
//! A worker is generic over its [`Backend`], so that every call is resolved at compile time and
//! costs nothing per packet. [`SocketBackend`] is the only one so far; AF_XDP can become a second
//! one.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use ntp_proto::server::StampToken;
use ntp_time::{RawStamp, SystemTime};
use ntp_udp::{Inbox, Outbox, ServerSocket};

/// Largest number of datagrams that are handled together. A larger batch would not be cheaper, only
/// later.
pub(super) const BATCH: usize = 64;

/// A received datagram.
#[derive(Clone, Copy)]
pub(super) struct Datagram<'a> {
    /// The sender. An IPv4 client of a dual-stack socket has its IPv4 address.
    pub(super) from: SocketAddr,
    /// The contents; empty if the datagram is longer than any request.
    pub(super) payload: &'a [u8],
    /// When it arrived, if the kernel timestamped it.
    pub(super) received: Option<SystemTime>,
}

/// A request for the transmit timestamp of a reply.
#[derive(Clone, Copy)]
pub(super) struct StampRequest {
    /// Set if the timestamp is for the client's next request.
    pub(super) token: Option<StampToken>,
    /// Index of the reply in its batch, and the reading of the clock for that batch: with the
    /// timestamp they give the transmit delay.
    pub(super) index: usize,
    pub(super) read: SystemTime,
}

/// Receives and sends datagrams in batches of at most [`BATCH`].
///
/// The order of calls for a batch is [`receive`](Self::receive),
/// [`queue_replies`](Self::queue_replies), [`seal`](Self::seal) for each queued reply,
/// [`send`](Self::send).
pub(super) trait Backend {
    /// Waits for datagrams and receives them. Returns `false` if none will ever arrive, because the
    /// back end was shut down.
    ///
    /// # Errors
    /// Those of the operating system.
    fn receive(&mut self) -> io::Result<bool>;

    /// Calls `respond` for each datagram of the batch, in order, and queues an empty reply to it if
    /// that returns `true`. The first argument is the index that this reply would have.
    fn queue_replies(&mut self, respond: impl FnMut(usize, Datagram<'_>) -> bool);

    /// Number of datagrams that were dropped before they could be received, as far as those that
    /// were received show it.
    fn dropped(&self) -> u64;

    /// Number of queued replies.
    fn queued(&self) -> usize;

    /// Writes the finished contents of queued reply `index`. With a [`StampRequest`] its transmit
    /// timestamp is requested.
    fn seal(&mut self, index: usize, reply: &[u8], stamp: Option<StampRequest>);

    /// Sends the queued replies; the queue is empty afterwards. Returns how many could not be sent.
    fn send(&mut self) -> usize;

    /// Whether transmit timestamps can be requested.
    fn has_transmit_stamps(&self) -> bool;

    /// Takes the transmit timestamps that are available, in the clock of the kernel.
    fn take_transmit_stamps(&mut self, take: impl FnMut(StampRequest, SystemTime));
}

/// A UDP socket with kernel timestamps, `recvmmsg` and `sendmmsg`.
pub(super) struct SocketBackend {
    socket: Arc<ServerSocket>,
    inbox: Inbox,
    /// Number of datagrams in the inbox.
    received: usize,
    outbox: Outbox<StampRequest>,
    dropped: u64,
}

impl SocketBackend {
    pub(super) fn new(socket: Arc<ServerSocket>) -> Self {
        Self {
            socket,
            inbox: Inbox::new(BATCH),
            received: 0,
            outbox: Outbox::new(BATCH),
            dropped: 0,
        }
    }
}

impl Backend for SocketBackend {
    #[inline]
    fn receive(&mut self) -> io::Result<bool> {
        self.received = self.socket.wait_receive(&mut self.inbox)?;
        // Only a socket that was shut down gives no datagram, or one without a sender.
        Ok(self.received > 0 && self.inbox.get(0).is_some())
    }

    #[inline]
    fn queue_replies(&mut self, mut respond: impl FnMut(usize, Datagram<'_>) -> bool) {
        for index in 0..self.received {
            let Some(arrival) = self.inbox.get(index) else {
                continue;
            };
            let datagram = Datagram {
                from: arrival.from,
                payload: if arrival.truncated {
                    &[]
                } else {
                    arrival.payload
                },
                received: arrival.stamp.and_then(system_time),
            };
            if let Some(count) = arrival.dropped {
                // The kernel counts modulo 2^32.
                let more = count.wrapping_sub(self.dropped as u32);
                self.dropped = self.dropped.wrapping_add(more.into());
            }
            if respond(self.outbox.len(), datagram) {
                self.outbox.reply(&arrival);
            }
        }
    }

    #[inline]
    fn dropped(&self) -> u64 {
        self.dropped
    }

    #[inline]
    fn queued(&self) -> usize {
        self.outbox.len()
    }

    #[inline]
    fn seal(&mut self, index: usize, reply: &[u8], stamp: Option<StampRequest>) {
        self.outbox.write(index, reply, stamp);
    }

    #[inline]
    fn send(&mut self) -> usize {
        self.socket.send(&mut self.outbox).failed
    }

    #[inline]
    fn has_transmit_stamps(&self) -> bool {
        self.socket.stamps_transmissions()
    }

    #[inline]
    fn take_transmit_stamps(&mut self, mut take: impl FnMut(StampRequest, SystemTime)) {
        self.socket
            .transmit_stamps(&mut self.outbox, |request, stamp| {
                if let Some(left) = system_time(stamp) {
                    take(request, left);
                }
            });
    }
}

/// Time of a stamp that the system clock has taken.
#[inline]
fn system_time(stamp: RawStamp) -> Option<SystemTime> {
    stamp.to_stamp().map(|stamp| stamp.time)
}
