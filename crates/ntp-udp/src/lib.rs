//! UDP sockets for a time daemon: every datagram with the time at which the kernel saw it.
//!
//! This is one of the two crates that may contain `unsafe`; it is in the private modules `syscall`
//! and `mmsg` and, a few lines each, in [`wait`],
//! [`signals`], [`refusals`], [`allocator`] and [`peer`]. Addresses
//! and control messages are parsed as plain bytes, in safe code that checks every length.
//!
//! | item | purpose |
//! |---|---|
//! | [`ClientSocket`] | a connected socket for one exchange: send, receive, transmit timestamp |
//! | [`ServerSocket`] | a socket that replies to all clients, one for each worker; clients are steered by their address |
//! | [`Inbox`], [`Outbox`] | datagrams received and sent in batches, in reused memory |
//! | [`TimestampingGuard`] | keeps the kernel's timestamping enabled |
//! | [`local_addresses`], [`AddressMonitor`] | the machine's addresses, and notification of their changes |
//! | [`lacks_ipv6`], [`lacks_device`], [`has_lost_device`] | why a right address cannot be listened on, or not any more |
//! | [`resolve`] | the addresses of a host |
//! | [`wait`], [`signals`] | the base of an event loop: `poll(2)` and the signals that interrupt it |
//! | [`allocator`] | the heap of all threads |
//! | [`refusals`] | system calls that the sandbox denied, caught as a signal |
//! | [`peer`] | credentials of the peer of a Unix socket |
//! | [`Shortcoming`] | an optional facility that this system lacks |
//!
//! Only functions of the C library are called, never raw system calls, so that a preloaded
//! simulator can replace the machine's network. No socket option is required: whatever the kernel
//! refuses is reported in the list of shortcomings that is returned with the socket, and the next
//! best is used.
//!
//! Only [`wait`], [`resolve`] and [`ServerSocket::wait_receive`] block. All sockets implement
//! [`AsFd`](std::os::fd::AsFd) for the caller's event loop.

mod address;
pub mod allocator;
mod ancillary;
mod client;
mod cmsg;
mod inbox;
mod interfaces;
mod lacking;
#[cfg(test)]
mod loopback_tests;
mod mmsg;
mod options;
mod outbox;
mod path;
pub mod peer;
pub mod refusals;
mod resolve;
mod server;
#[cfg(test)]
mod server_tests;
mod shortcoming;
pub mod signals;
mod stamping;
mod steering;
mod syscall;
pub mod wait;

pub use client::{ClientSocket, ErrorQueue, Received};
pub use inbox::{Arrival, Inbox};
pub use interfaces::{AddressMonitor, local_addresses};
pub use lacking::{has_lost_device, lacks_device, lacks_ipv6};
pub use options::{SocketOptions, TimestampMode};
pub use outbox::{Outbox, Sent};
pub use path::{PathError, choose_path};
pub use resolve::{resolve, resolve_within};
pub use server::{ServerOptions, ServerSocket};
pub use shortcoming::{Facility, Shortcoming};
pub use stamping::TimestampingGuard;
