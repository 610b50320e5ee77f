//! An open-loop load generator for NTP servers.
//!
//! # Open loop
//! Requests leave when their time has come, whether earlier ones were answered or not, as those of a million
//! independent clients do. A generator that waits for answers slows down with the server and measures its own patience. Here
//! request *n* is due at `start + n / rate`; what the generator itself sends late is counted, and spoils the run.
//!
//! # One thread
//! It sends what is due, takes what has come, and looks at the clock again. While there is much to do it never sleeps: a client that must
//! be woken costs the *server* time on a shared machine, which no real client does. Latency does not suffer from the order of
//! work, for arrivals carry the kernel's stamps.
//!
//! # Which answer belongs to which request
//! A request's transmit timestamp is its number in the upper half and a keyed hash of that in the lower, so
//! an answer can be told from a forgery without a table of nonces; the table holds only the times of sending.
//!
//! # What is counted
//! Every request ends up as exactly one of *answered*, *late* (answered, but after the patience), *kissed*, or *lost*. Datagrams that
//! answer no request of ours, or one that has been answered, are *invalid*; so are those that lack the MAC or the
//! authenticator that a run with a key or with NTS demands, and the request they meant to answer is lost. What the clients speak, and what else they check, stands in `clients.rs`.
//!
//! # When a run is worth nothing
//! If more than a thousandth of the requests left over a millisecond late, or could not be sent, or if so much came between two
//! looks into the sockets that the kernel may have thrown some away, the generator was the bottleneck. The figures are
//! printed all the same, with the reasons, and the program ends with 2.

mod clients;
mod cpu;
mod exchange;
mod flight;
mod generator;
mod histogram;
mod report;
mod sessions;
mod sources;

pub use clients::Dialect;
pub use cpu::process_cpu;
pub use exchange::KeyServer;
pub use generator::{Plan, run};
pub use histogram::Histogram;
pub use report::Report;
pub use sources::Sources;
