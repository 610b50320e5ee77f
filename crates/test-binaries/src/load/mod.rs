//! An open-loop load generator for NTP servers.
//!
//! # Open loop
//! Requests are sent at their due times, whether earlier ones were answered or not, as from many
//! independent clients. A closed-loop generator slows down with the server and measures its own
//! waiting. Here request *n* is due at `start + n / rate`; requests that are sent late are counted,
//! and too many of them invalidate the run.
//!
//! # One thread
//! The generator sends what is due, receives what has arrived, and reads the clock again. Under
//! load it never sleeps: waking a client costs the *server* CPU time on a shared machine, which
//! real clients do not. The order of work does not affect latencies, since arrivals have kernel
//! timestamps.
//!
//! # Matching replies to requests
//! The transmit timestamp of a request contains its number in the upper half and a keyed hash of
//! the number in the lower half, so forged replies are detected without a table of nonces; the
//! table holds only the times of sending.
//!
//! # Counters
//! Every request counts as exactly one of *answered*, *late* (answered after the timeout), *kissed*
//! or *lost*. Datagrams that match no request or are duplicates are *invalid*; so are those without
//! the MAC or authenticator that a run with a key or with NTS requires, and their request is lost.
//! `clients.rs` describes the protocols and checks.
//!
//! # Invalid runs
//! If more than a thousandth of the requests were sent over a millisecond late or could not be
//! sent, or if so much arrived between two reads of the sockets that the kernel may have dropped
//! datagrams, the generator was the bottleneck. The figures are printed with the reasons
//! (`SPOILED`), and the exit status is 2.

mod clients;
mod cpu;
mod exchange;
mod generator;
mod histogram;
mod in_flight;
mod report;
mod sessions;
mod sources;

pub use clients::ClientProtocol;
pub use cpu::process_cpu;
pub use exchange::KeyServer;
pub use generator::{Plan, run};
pub use histogram::Histogram;
pub use report::Report;
pub use sources::Sources;
