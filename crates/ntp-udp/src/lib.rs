//! UDP sockets as a time daemon needs them: every datagram with the time at which the kernel saw it.
//!
//! This is one of the two crates that may contain `unsafe`; it stands in the private modules `syscall` and `mmsg` and, a few lines
//! each, in [`wait`], [`signals`], [`refusals`] and [`peer`]. Addresses and control messages are taken apart as plain bytes, in safe code
//! that checks every length.
//!
//! | room | what |
//! |---|---|
//! | [`ClientSocket`] | a connected socket for one exchange: send, receive, transmit stamp |
//! | [`ServerSocket`] | a socket that answers everybody, one for each worker, clients being steered by their address |
//! | [`Inbox`], [`Outbox`] | datagrams received and sent many at a time, in memory that is used again |
//! | [`StampKeeper`] | keeps the kernel's stamping switched on |
//! | [`local_addresses`], [`AddressMonitor`] | the machine's addresses, and a hint that they changed |
//! | [`wait`], [`signals`] | the bottom of an event loop: `poll(2)` and the signals that interrupt it |
//! | [`refusals`] | system calls that the sandbox refused, caught as a signal |
//! | [`peer`] | who is at the other end of a Unix socket |
//! | [`Shortcoming`] | an optional facility that this system lacks |
//!
//! Only functions of the C library are called, never raw system calls, so that a preloaded simulator can put a
//! network of its own in place of the machine's. No socket option is vital: whatever the kernel refuses is
//! named in the list of shortcomings that comes with the socket, and the next best is used.
//!
//! Nothing but [`wait`] and [`ServerSocket::wait_receive`] blocks. All sockets implement [`AsFd`](std::os::fd::AsFd) for whichever
//! event loop the caller has.

mod address;
mod ancillary;
mod client;
mod cmsg;
mod inbox;
mod interfaces;
#[cfg(test)]
mod loopback_tests;
mod mmsg;
mod options;
mod outbox;
pub mod peer;
pub mod refusals;
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
pub use options::{InterfaceName, InvalidInterfaceName, SocketOptions, TimestampMode};
pub use outbox::{Outbox, Sent};
pub use server::{ServerOptions, ServerSocket};
pub use shortcoming::{Facility, Shortcoming};
pub use stamping::StampKeeper;
