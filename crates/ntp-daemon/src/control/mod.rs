//! The control socket: read state and change configuration of the daemon.
//!
//! | module | content |
//! |---|---|
//! | `listener` | the socket and its connections, with their limits |
//! | `caller` | identity and permissions of a caller |
//! | `handler` | executes the methods |
//! | `clients` | the client list |
//! | `changes` | changes at run time, with their authors |
//! | `reader` | reads the configuration again, on a thread |
//! | `reload` | applies what was read |
//! | `file_check` | checks the files that a call names, on threads |
//! | `settings` | parses the sections of the configuration that a call carries |
//!
//! All of it runs on the timekeeping thread, between two waits. A change is made at once, so there
//! is no queue, no lock and no half-changed state. `listener` bounds the time that clients can
//! take. Calls that need files are the exception, because reading may block: a thread reads the
//! configuration, or checks the certificate authorities of a source, and the reply waits for it.

mod caller;
mod changes;
mod clients;
mod file_check;
mod handler;
mod listener;
mod reader;
mod reload;
mod settings;

pub(crate) use clients::client_status;
use file_check::{FileChecks, check_authorities};
use ntp_os_clock::monotonic;
use ntp_time::Monotonic;
use ntp_udp::wait::PollSet;

use crate::runtime::failure::Failure;
use crate::runtime::pollable::Pollable;
use crate::runtime::services::{DaemonContext, Services};
use handler::Outcome;
pub(crate) use handler::{CommandHandler, StartupContext};
pub(crate) use listener::ControlListener;
use listener::PendingCall;
use reader::{ConfigurationReader, Content, Origin, Reading, Scope};

/// The control interface: the socket, if there is one, and the handler, which SIGHUP needs as well.
#[derive(Debug)]
pub(crate) struct Control {
    listener: Option<ControlListener>,
    handler: CommandHandler,
    reader: ConfigurationReader,
    checks: FileChecks<PendingCall>,
    /// Whether a reload that SIGHUP requested has ended.
    reloaded: bool,
}

impl Control {
    /// Combines a listener with the handler of its calls.
    pub(crate) fn new(listener: Option<ControlListener>, handler: CommandHandler) -> Self {
        let mut reader = ConfigurationReader::default();
        // A hook that could not connect yet wrote its file before now, perhaps after the
        // configuration was read.
        if listener.is_some() && handler.config.dhcp_directory().is_some() {
            reader.request(handler.dhcp_scope(), Origin::Start, monotonic());
        }
        Self {
            listener,
            handler,
            reader,
            checks: FileChecks::new(check_authorities),
            reloaded: false,
        }
    }

    /// Begins to reload the configuration after SIGHUP.
    pub(crate) fn request_reload(&mut self) {
        let scope = Scope::Configuration(self.handler.startup.explicit.clone());
        self.reader.request(scope, Origin::Hangup, monotonic());
    }

    /// Returns whether a reload that SIGHUP requested has ended since the last call, with or
    /// without success.
    pub(crate) fn take_reloaded(&mut self) -> bool {
        core::mem::take(&mut self.reloaded)
    }

    fn take_calls(&mut self, daemon: &mut DaemonContext<'_>) -> Result<(), Failure> {
        let Some(listener) = &mut self.listener else {
            return Ok(());
        };
        for call in listener.take_calls(daemon.set) {
            let denied = self.handler.denied(&call, listener.permitted());
            if denied.is_none()
                && let Some(scope) = self.handler.scope(&call.request)
            {
                listener.hold(&call);
                let origin = Origin::Call(Box::new(call));
                self.reader.request(scope, origin, monotonic());
                continue;
            }
            if denied.is_none()
                && let Some(paths) = self.handler.authorities(daemon, &call.request)
            {
                listener.hold(&call);
                self.checks.start(paths, call, monotonic());
                continue;
            }
            let outcome = match denied {
                Some(error) => Err(error),
                None => self.handler.execute(daemon, &call)?,
            };
            listener.reply(&call, outcome.map_err(|it| handler::wire_error(&it)));
        }
        Ok(())
    }

    /// Executes the calls whose files were checked.
    fn finish_checks(&mut self, daemon: &mut DaemonContext<'_>) -> Result<(), Failure> {
        for (call, checked) in self.checks.take(daemon.set, monotonic()) {
            let outcome = match checked {
                Ok(()) => self.handler.execute(daemon, &call)?,
                Err(error) => handler::finish(&call, Outcome::<()>::Err(error)),
            };
            if let Some(listener) = &mut self.listener {
                listener.reply(&call, outcome.map_err(|it| handler::wire_error(&it)));
            }
        }
        Ok(())
    }

    /// Applies what the reader has read, and tells whoever asked for it.
    fn finish_reload(
        &mut self,
        daemon: &mut DaemonContext<'_>,
        reading: Reading,
    ) -> Result<(), Failure> {
        let outcome = match reading.result {
            Ok(Content::Dhcp(files)) => self.handler.apply_dhcp(daemon, files)?,
            Ok(Content::Configuration(new)) => {
                daemon.shared.reload_certificates();
                self.handler.apply(daemon, *new)?
            }
            Err(error) => {
                daemon.shared.reload_certificates();
                Err(error)
            }
        };
        for origin in reading.origins {
            match origin {
                Origin::Start => {}
                Origin::Hangup => {
                    self.handler.log_reload(&outcome);
                    self.reloaded = true;
                }
                Origin::Call(call) => {
                    let reply = handler::finish(&call, outcome.clone());
                    if let Some(listener) = &mut self.listener {
                        listener.reply(&call, reply.map_err(|it| handler::wire_error(&it)));
                    }
                }
            }
        }
        Ok(())
    }
}

impl Pollable<Services> for Control {
    fn register(&mut self, set: &mut PollSet) {
        if let Some(listener) = &mut self.listener {
            listener.register(set);
        }
        self.reader.register(set);
        self.checks.register(set);
    }

    fn deadline(&self) -> Option<Monotonic> {
        let listener = self.listener.as_ref();
        let calls = listener.and_then(ControlListener::deadline);
        let files = self.reader.deadline().into_iter();
        (calls.into_iter().chain(files))
            .chain(self.checks.deadline())
            .min()
    }

    fn on_ready(&mut self, daemon: &mut DaemonContext<'_>) -> Result<(), Failure> {
        self.take_calls(daemon)?;
        self.finish_checks(daemon)?;
        if let Some(reading) = self.reader.take(daemon.set, monotonic()) {
            self.finish_reload(daemon, reading)?;
        }
        Ok(())
    }
}
