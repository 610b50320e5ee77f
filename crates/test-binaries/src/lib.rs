//! NTP servers to test a client against: one whose error is known, and ones that misbehave on purpose. And
//! clients by the thousand, to test a server with.
//!
//! A real server of good manners is `ntp-daemon`; this crate is for what one cannot get a real server to do.
//! Its parts, inwards:
//!
//! * the programs `demobilize-server`, `rate-limit-server` and `test-server`, for tests that need a
//!   process, and for trying a client by hand;
//! * [`ReferenceServer`], the same in a thread of the test itself, stopped when it is dropped;
//! * [`Responder`], the same without socket, clock or thread: a request goes in, datagrams come out.
//!
//! The server shows `CLOCK_REALTIME` plus a constant [`offset`](Behaviour::offset). A client on the same machine
//! must therefore measure that offset exactly, up to the scheduling noise of a user-space server. What it does wrong besides is a
//! list of [`Misbehaviour`]s, any number at once.
//!
//! For machines whose clock is itself under test there is [`true_time`], a truth that no one can steer, and a [`witness`] that
//! compares the clock with it; the program `true-clock` is both.
//!
//! The opposite is here too: [`load`] and the program `ntp-load` are thousands of clients at once.
//!
//! Nothing here is hardened or fast: never show it to a network.
#![forbid(unsafe_code)]

mod behaviour;
pub mod cli;
mod interval;
pub mod load;
mod reference;
mod responder;
pub mod true_time;
pub mod witness;

pub use behaviour::{Behaviour, InvalidMisbehaviour, Misbehaviour};
pub use interval::IntervalGuard;
pub use reference::{ReferenceServer, Source, raw_clock};
pub use responder::{Answer, Datagram, Request, Responder, Via};
