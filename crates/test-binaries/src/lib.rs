//! NTP servers for testing clients, with known error and configurable misbehaviour, and load
//! generators for testing servers.
//!
//! `ntp-daemon` is the real server; this crate does what a real server cannot be made to do. Its
//! layers, from the outside:
//!
//! * the programs `demobilize-server`, `rate-limit-server` and `test-server`, for tests that need a
//!   process and for testing a client by hand;
//! * [`ReferenceServer`], the same in a thread of the test itself, stopped when dropped;
//! * [`Responder`], the same without socket, clock or thread: a request goes in, datagrams come
//!   out.
//!
//! The server serves `CLOCK_REALTIME` plus a constant [`offset`](Behaviour::offset). A client on
//! the same machine must therefore measure that offset, up to the scheduling noise of a user-space
//! server. [`Misbehaviour`]s can be combined in any number.
//!
//! For machines whose clock is itself under test, [`true_time`] defines a time that cannot be
//! steered and can [`wander`], [`comparison`] compares the system clock with it, [`pulse`]
//! marks its seconds, and [`receiver`] sends samples of it; the program `true-clock` does all of
//! them.
//!
//! [`load`] and the programs `ntp-load` and `nts-ke-load` emulate many clients.
//!
//! Nothing here is hardened or fast: do not expose it to a network.
#![forbid(unsafe_code)]

mod behaviour;
pub mod cli;
pub mod comparison;
mod interval;
pub mod load;
pub mod pulse;
pub mod receiver;
mod reference;
mod responder;
pub mod true_time;
pub mod wander;

pub use behaviour::{Behaviour, InvalidMisbehaviour, Misbehaviour};
pub use interval::IntervalGuard;
pub use reference::{ReferenceServer, Source, raw_clock};
pub use responder::{Datagram, Request, Responder, Response, Via};
