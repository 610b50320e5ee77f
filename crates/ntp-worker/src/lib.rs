//! What a thread does that answers requests: the part of serving that runs for each packet.
//!
//! | module | what it does |
//! |---|---|
//! | `worker` | receives a batch, decides, reads the clock, seals and sends |
//! | `departure` | foresees when each reply of a batch leaves |
//! | `lull` | when to rest, so that one wake-up serves several requests |
//! | `clients` | who asked, where the main thread reads it, if that is wanted |
//! | `tally` | counts, where the main thread reads them |
//!
//! Which threads there are, and at which sockets, is the daemon's business. This is a crate of its own because nothing else in the daemon has
//! to be fast: the daemon is built for size, this for speed (`[profile.release]` in the workspace's `Cargo.toml`).
#![forbid(unsafe_code)]

mod clients;
mod departure;
mod lull;
mod tally;
mod worker;

pub use clients::WorkersClients;
pub use tally::{Tally, Totals};
pub use worker::{Obituary, Worker};
