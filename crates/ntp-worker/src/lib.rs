//! The serving thread of the NTP server: everything that runs for each packet.
//!
//! | module | what it does |
//! |---|---|
//! | `worker` | receives a batch, decides, reads the clock, seals and sends |
//! | `backend` | how batches are received and sent; today by sockets |
//! | `transmit_delay` | predicts when each reply of a batch leaves |
//! | `coalesce` | when to wait, so that one wake-up serves several requests |
//! | `client_list` | the list of clients, shared with the main thread |
//! | `counters` | counters that the main thread reads |
//!
//! The daemon decides how many workers run, and on which sockets. This is a crate of its own
//! because nothing else in the daemon has to be fast: the daemon is optimised for size, this crate
//! for speed (`[profile.release]` in the workspace's `Cargo.toml`).
#![forbid(unsafe_code)]

mod backend;
mod client_list;
mod coalesce;
mod counters;
mod transmit_delay;
mod worker;

pub use client_list::SharedClientList;
pub use counters::SharedCounters;
pub use worker::{ExitNotice, Worker};
