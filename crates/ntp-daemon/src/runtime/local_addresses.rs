//! Reports the addresses of this machine to the engine, at the start and whenever they change.

use ntp_proto::engine::Input;
use ntp_types::event::Event;
use ntp_udp::wait::{Interest, PollSet};
use ntp_udp::{AddressMonitor, local_addresses};

use super::driver::Driver;
use super::failure::Failure;
use super::pollable::{Context, Pollable};
use crate::log;

/// Watches the addresses of this machine, if the kernel announces changes.
#[derive(Debug)]
pub(super) struct LocalAddresses {
    monitor: Option<AddressMonitor>,
}

impl LocalAddresses {
    /// Subscribes to changes; logs if that is not possible.
    pub(super) fn open() -> Self {
        let monitor = AddressMonitor::open();
        Self {
            monitor: monitor.inspect_err(log::emit_missing_facility).ok(),
        }
    }
}

impl Pollable for LocalAddresses {
    fn register(&mut self, set: &mut PollSet) {
        if let Some(monitor) = &self.monitor {
            set.push(monitor, Interest::Readable);
        }
    }

    fn on_ready(&mut self, context: &mut Context<'_>) -> Result<(), Failure> {
        if self.monitor.as_mut().is_some_and(AddressMonitor::changed) {
            report(context.driver)?;
        }
        Ok(())
    }
}

/// Feeds the current addresses.
pub(super) fn report(driver: &mut Driver) -> Result<(), Failure> {
    match local_addresses() {
        Ok(addresses) => driver.handle(Input::LocalAddresses(&addresses)),
        Err(error) => {
            log::emit(&Event::LocalAddressesUnknown {
                error: error.to_string(),
            });
            Ok(())
        }
    }
}
