//! The control socket: read state and change configuration of the daemon.
//!
//! | module | content |
//! |---|---|
//! | `listener` | the socket and its connections, with their limits |
//! | `caller` | identity and permissions of a caller |
//! | `handler` | executes the methods |
//! | `status` | converts the engine's snapshot into the types of the interface |
//! | `clients` | the client list |
//! | `changes` | changes at run time, with their authors |
//! | `reload` | reloads the configuration |
//! | `settings` | parses the sections of the configuration that a call carries |
//!
//! All of it runs on the timekeeping thread, between two waits. A change is made at once, so there
//! is no queue, no lock and no half-changed state. `listener` bounds the time that clients can
//! take.

pub(crate) mod caller;
mod changes;
mod clients;
pub(crate) mod handler;
pub(crate) mod listener;
mod reload;
mod settings;
pub(crate) mod status;

pub use handler::{CommandHandler, StartupContext};
pub use listener::ControlListener;
