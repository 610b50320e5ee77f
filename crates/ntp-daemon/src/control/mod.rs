//! The control socket: reading the daemon's state and changing its mind while it runs.
//!
//! | module | what it does |
//! |---|---|
//! | `door` | the socket and the connections: who waits, how long, and what each may make us remember |
//! | `caller` | who asks, and whether they may change something |
//! | `desk` | what a call leads to |
//! | `status` | the engine's snapshot in the interface's words |
//! | `clients` | who asks for time, for those who may know |
//! | `changes` | what was changed at run time, by whom |
//! | `reload` | reading the configuration again |
//! | `settings` | sections of the configuration as a call brings them |
//!
//! All of it runs on the timekeeping thread, between two waits; a change is made there and then, so there is no queue, no lock and no state
//! that is half changed. What bounds the time that strangers can take is in `door`.

pub(crate) mod caller;
mod changes;
mod clients;
pub(crate) mod desk;
pub(crate) mod door;
mod reload;
mod settings;
pub(crate) mod status;

pub use desk::{Desk, Standing};
pub use door::Door;
