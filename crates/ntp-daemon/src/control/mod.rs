//! The control socket: read state and change configuration of the daemon.
//!
//! | module | content |
//! |---|---|
//! | `listener` | the socket and its connections, with their limits |
//! | `caller` | identity and permissions of a caller |
//! | `handler` | executes the methods |
//! | `clients` | the client list |
//! | `changes` | changes at run time, with their authors |
//! | `reload` | reloads the configuration |
//! | `settings` | parses the sections of the configuration that a call carries |
//!
//! All of it runs on the timekeeping thread, between two waits. A change is made at once, so there
//! is no queue, no lock and no half-changed state. `listener` bounds the time that clients can
//! take.

mod caller;
mod changes;
mod clients;
mod handler;
mod listener;
mod reload;
mod settings;

use ntp_time::Monotonic;
use ntp_udp::wait::PollSet;

use crate::runtime::failure::Failure;
use crate::runtime::pollable::Pollable;
use crate::runtime::services::{DaemonContext, Services};
pub(crate) use handler::{CommandHandler, StartupContext};
pub(crate) use listener::ControlListener;

/// The control interface: the socket, if there is one, and the handler, which SIGHUP needs as well.
#[derive(Debug)]
pub(crate) struct Control {
    listener: Option<ControlListener>,
    handler: CommandHandler,
}

impl Control {
    /// Combines a listener with the handler of its calls.
    pub(crate) fn new(listener: Option<ControlListener>, handler: CommandHandler) -> Self {
        Self { listener, handler }
    }

    /// Reloads the configuration after SIGHUP.
    ///
    /// # Errors
    /// If the clock can't be controlled any more.
    pub(crate) fn reload(&mut self, daemon: &mut DaemonContext<'_>) -> Result<(), Failure> {
        self.handler.reload_on_hangup(daemon)
    }
}

impl Pollable<Services> for Control {
    fn register(&mut self, set: &mut PollSet) {
        if let Some(listener) = &mut self.listener {
            listener.register(set);
        }
    }

    fn deadline(&self) -> Option<Monotonic> {
        self.listener.as_ref()?.deadline()
    }

    fn on_ready(&mut self, daemon: &mut DaemonContext<'_>) -> Result<(), Failure> {
        let Some(listener) = &mut self.listener else {
            return Ok(());
        };
        for call in listener.take_calls(daemon.set) {
            let reply = self.handler.handle(daemon, &call, listener.permitted())?;
            listener.reply(&call, reply);
        }
        Ok(())
    }
}
