//! The event loop: waits for devices and interfaces, and lets them feed the engine.
//!
//! One thread, one loop: wait until something is ready or due, feed it to the engine, execute the
//! engine's outputs, repeat. All decisions about time are the engine's.
//!
//! | module | content |
//! |---|---|
//! | `background` | threads that the event loop waits for |
//! | `driver` | the engine with its clock, state file and recorder |
//! | `failure` | errors that end the daemon |
//! | `pollable` | what the loop waits for, and why there are two lists |
//! | `exchanges` | the sockets of open exchanges |
//! | `ref_clocks` | the devices of reference clocks |
//! | `local_addresses`, `suspend`, `disruption` | changes of this machine's addresses; time in suspend; migrations |
//! | `services` | servers, cookie keys and key exchange, which interfaces read and change |
//! | `clock_reading` | reads two clocks together |
//!
//! Other pollables have files of their own: `history`, `resolve`, `leap_list`, `clockbound`,
//! `observation_socket`, `chronyc`, `control`, `service_manager`. This module imports them; they
//! import only the modules `background`, `driver`, `failure`, `pollable` and `services`, by their
//! full paths.
//!
//! The loop is built on `poll(2)`, not on an async runtime, for three reasons: its sockets live for
//! one exchange each, so nothing is gained by registering them; a wake-up costs two system calls;
//! and clock-and-network simulators that replace libc functions can run the real binary.
//!
//! What may block is done elsewhere: names and files by short-lived threads (`resolve`, `persist`).
//! A missing facility is logged once, and the daemon runs without it.

pub(crate) mod background;
mod clock_changes;
mod clock_reading;
mod disruption;
pub(crate) mod driver;
mod exchanges;
pub(crate) mod failure;
mod local_addresses;
pub(crate) mod pollable;
mod ref_clocks;
pub(crate) mod services;
mod slot;
mod suspend;
#[cfg(test)]
mod tests;

pub use disruption::DisruptionMonitor;
pub use failure::Failure;
pub use ref_clocks::RefClocks;

use std::time::Duration;

use ntp_config::build;
use ntp_os_clock::{Clock, monotonic};
use ntp_proto::engine::{EngineConfig, Input, Now, RefusedStep};
use ntp_time::{Monotonic, NtpDuration};
use ntp_types::status::EngineStatus;
use ntp_udp::SocketOptions;
use ntp_udp::wait::PollSet;

use crate::chronyc::ChronycSockets;
use crate::clockbound::ClockBound;
use crate::control::Control;
use crate::history::History;
use crate::leap_list::LeapList;
use crate::nts::{Bound as KeBound, CookieKeys, KeClient, StartError};
use crate::observation_socket::ObservationSocket;
use crate::persist::Store;
use crate::record::Recorder;
use crate::resolve::Resolver;
use crate::sandbox;
use crate::serve::{Bound, ServeError};
use crate::service_manager::ServiceManager;
use clock_changes::ClockChanges;
use driver::Driver;
use exchanges::ExchangeSockets;
use local_addresses::LocalAddresses;
use pollable::{Context, Pollable};
use services::Services;
use slot::Slot;
use suspend::SuspendMonitor;

/// How long the daemon waits before the first request. The kernel switches receive stamping on in
/// the background when the first socket asks for it, so the reply to an immediate request might
/// have no kernel stamp, and a step depends on the first replies.
const STAMPING_DELAY: NtpDuration = NtpDuration::from_millis(125);

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ending {
    /// The time given to [`Runtime::run`] is over, or a signal has arrived; it may be called again.
    Paused,
    /// The engine has halted (`on-panic = "exit"`).
    Halted(RefusedStep),
}

/// The driver and all that the event loop polls.
#[derive(Debug)]
pub struct Runtime {
    driver: Driver,
    /// Devices that only the engine uses.
    devices: Vec<Box<dyn Pollable>>,
    /// Devices that interfaces read and change.
    services: Services,
    interfaces: Interfaces,
    poll_set: PollSet,
    /// Whether the engine has had an input.
    started: bool,
}

/// What shows and changes the daemon.
#[derive(Debug)]
struct Interfaces {
    clockbound: Slot<ClockBound, { build::INTERFACES }>,
    observation_socket: Slot<ObservationSocket, { build::INTERFACES }>,
    control: Slot<Control>,
    chronyc: Slot<ChronycSockets, { build::INTERFACES }>,
    manager: Slot<ServiceManager>,
}

impl Interfaces {
    fn list(&mut self) -> [&mut dyn Pollable<Services>; 5] {
        [
            &mut self.clockbound,
            &mut self.observation_socket,
            &mut self.control,
            &mut self.chronyc,
            &mut self.manager,
        ]
    }
}

/// What a [`Runtime`] needs besides the engine's configuration.
#[derive(Debug)]
pub struct Parts {
    /// The clock to discipline.
    pub clock: Clock,
    /// Options of client sockets.
    pub sockets: SocketOptions,
    /// The state directory.
    pub store: Store,
    /// The leap second list.
    pub leap_list: LeapList,
    /// Detects migrations of this virtual machine.
    pub disruptions: DisruptionMonitor,
    /// The devices of reference clocks.
    pub ref_clocks: Option<RefClocks>,
    /// The history of the clock's accuracy.
    pub history: Option<History>,
    /// The segments for ClockBound's clients.
    pub clockbound: Option<ClockBound>,
    /// The observation socket.
    pub observation_socket: Option<ObservationSocket>,
    /// The sockets for chronyc.
    pub chronyc: Option<ChronycSockets>,
    /// Records all inputs of the engine.
    pub recorder: Option<Recorder>,
    /// Seed of all randomness.
    pub seed: [u8; 32],
}

impl Runtime {
    /// Assembles the parts. Nothing is sent before [`run`](Self::run).
    pub fn new(config: EngineConfig, parts: Parts) -> Self {
        let Parts {
            clock,
            sockets,
            store,
            leap_list,
            disruptions,
            ref_clocks,
            history,
            clockbound,
            observation_socket,
            chronyc,
            recorder,
            seed,
        } = parts;
        let driver = Driver::new(config, clock, store, recorder, seed);
        let devices: Vec<Box<dyn Pollable>> = vec![
            // First: it observes the engine before it gets inputs.
            Box::new(Slot::<_, { build::RECORDS }>::open(|| history)),
            // Before what feeds timestamps.
            Box::new(disruptions),
            Box::new(SuspendMonitor::new()),
            Box::new(Slot::<_>::open(ClockChanges::open)),
            Box::new(ExchangeSockets::new(sockets)),
            Box::new(Resolver::default()),
            Box::new(LocalAddresses::open()),
            Box::new(leap_list),
            Box::new(Slot::<_, { build::REF_CLOCKS }>::open(|| ref_clocks)),
        ];
        Self {
            driver,
            devices,
            services: Services::default(),
            interfaces: Interfaces {
                clockbound: Slot::open(|| clockbound),
                observation_socket: Slot::open(|| observation_socket),
                control: Slot::empty(),
                chronyc: Slot::open(|| chronyc),
                manager: Slot::empty(),
            },
            poll_set: PollSet::new(),
            started: false,
        }
    }

    /// Adds a device to the event loop, which gets requests before the others.
    #[cfg(test)]
    pub(crate) fn add_device(&mut self, device: Box<dyn Pollable>) {
        self.devices.insert(0, device);
    }

    /// Starts writing the record, if one is configured, on a thread of its own.
    pub fn start_recording(&mut self) {
        self.driver.start_recording();
    }

    /// Starts serving time through `bound`, on threads of their own. `seed` returns a fresh secret
    /// for each call.
    ///
    /// # Errors
    /// If the threads cannot be started.
    pub fn serve(
        &mut self,
        bound: Bound,
        mut seed: impl FnMut() -> [u8; 32],
    ) -> Result<(), ServeError> {
        self.services.serve(&mut self.driver, bound, &mut seed)
    }

    /// Protects cookies with `keys`, and serves keys through `bound`. Call it before
    /// [`serve`](Self::serve).
    ///
    /// # Errors
    /// If the operating system gives no thread.
    pub fn serve_keys(
        &mut self,
        keys: CookieKeys,
        bound: KeBound,
        seed: [u8; 32],
    ) -> Result<(), StartError> {
        self.services.serve_keys(keys, bound, seed)
    }

    /// Sets the key-exchange client. Call it before the first [`run`](Self::run).
    pub(crate) fn set_ke_client(&mut self, ke_client: KeClient) {
        self.services.ke_client = ke_client;
    }

    /// Sets the control interface.
    pub(crate) fn set_control(&mut self, control: Control) {
        self.interfaces.control = Slot::open(|| Some(control));
    }

    /// Sets the service manager, which is notified from the next [`run`](Self::run) on.
    pub(crate) fn set_service_manager(&mut self, manager: Option<ServiceManager>) {
        self.interfaces.manager = Slot::open(|| manager);
    }

    /// Runs until `until`, until the engine halts, or until a signal arrives.
    ///
    /// # Errors
    /// If the clock cannot be controlled any more, or a device fails without which there is no
    /// daemon.
    pub fn run(&mut self, until: Option<Monotonic>) -> Result<Ending, Failure> {
        self.wait_for_stamping(until)?;
        if !core::mem::replace(&mut self.started, true) {
            local_addresses::report(&mut self.driver)?;
        }
        self.tick()?;
        self.end_round();
        loop {
            if let Some(halt) = self.driver.halted() {
                return Ok(Ending::Halted(halt));
            }
            if until.is_some_and(|until| monotonic() >= until) || ntp_udp::signals::pending() {
                return Ok(Ending::Paused);
            }
            sandbox::log_refusals();
            self.wait(until)?;
            self.poll()?;
            if self
                .driver
                .next_wakeup()
                .is_some_and(|at| at <= monotonic())
            {
                self.tick()?;
            }
            self.end_round();
        }
    }

    /// Waits for the rest of [`STAMPING_DELAY`], or for a signal.
    fn wait_for_stamping(&mut self, until: Option<Monotonic>) -> Result<(), Failure> {
        let ready = self.driver.started() + STAMPING_DELAY;
        let wait = until.map_or(ready, |until| until.min(ready)) - monotonic();
        if wait > NtpDuration::ZERO {
            self.poll_set.clear();
            self.poll_set
                .wait(Some(wait.to_std()))
                .map_err(|error| Failure::System("poll", error))?;
        }
        Ok(())
    }

    /// Waits until something is ready or due.
    fn wait(&mut self, until: Option<Monotonic>) -> Result<(), Failure> {
        let set = &mut self.poll_set;
        set.clear();
        let mut due: Vec<_> = until.into_iter().chain(self.driver.next_wakeup()).collect();
        for device in &mut self.devices {
            device.register(set);
            due.extend(device.deadline());
        }
        for service in self.services.list() {
            service.register(set);
            due.extend(service.deadline());
        }
        for interface in self.interfaces.list() {
            interface.register(set);
            due.extend(interface.deadline());
        }
        let due = due.into_iter().min();
        let timeout = due.map(|due| (due - monotonic()).to_std());
        set.wait(timeout)
            .map_err(|error| Failure::System("poll", error))?;
        Ok(())
    }

    /// Handles all that is ready.
    fn poll(&mut self) -> Result<(), Failure> {
        for device in &mut self.devices {
            device.on_ready(&mut Context {
                driver: &mut self.driver,
                set: &self.poll_set,
                shared: &mut (),
            })?;
        }
        self.execute_requests()?;
        for service in self.services.list() {
            service.on_ready(&mut Context {
                driver: &mut self.driver,
                set: &self.poll_set,
                shared: &mut (),
            })?;
        }
        self.execute_requests()?;
        for interface in self.interfaces.list() {
            interface.on_ready(&mut Context {
                driver: &mut self.driver,
                set: &self.poll_set,
                shared: &mut self.services,
            })?;
        }
        let Interfaces {
            control, manager, ..
        } = &mut self.interfaces;
        let reloaded = control.get_mut().is_some_and(Control::take_reloaded);
        if let Some(manager) = manager.get_mut().filter(|_| reloaded) {
            manager.reloaded();
        }
        self.execute_requests()
    }

    /// Lets the engine do what is due.
    fn tick(&mut self) -> Result<(), Failure> {
        self.driver.tick()?;
        self.execute_requests()
    }

    /// Lets the devices carry out the engine's requests, until there are none.
    fn execute_requests(&mut self) -> Result<(), Failure> {
        while !self.driver.requests.is_empty() {
            for device in &mut self.devices {
                device.execute(&mut self.driver);
            }
            for service in self.services.list() {
                service.execute(&mut self.driver);
            }
            self.driver.drain()?;
        }
        Ok(())
    }

    /// Publishes the state that the engine has reached.
    fn end_round(&mut self) {
        for device in &mut self.devices {
            device.after_round(&mut Context {
                driver: &mut self.driver,
                set: &self.poll_set,
                shared: &mut (),
            });
        }
        for service in self.services.list() {
            service.after_round(&mut Context {
                driver: &mut self.driver,
                set: &self.poll_set,
                shared: &mut (),
            });
        }
        for interface in self.interfaces.list() {
            interface.after_round(&mut Context {
                driver: &mut self.driver,
                set: &self.poll_set,
                shared: &mut self.services,
            });
        }
    }

    /// Begins to reload the configuration, as the control method does, and the certificates.
    pub fn reload(&mut self) {
        if let Some(control) = self.interfaces.control.get_mut() {
            if let Some(manager) = self.interfaces.manager.get_mut() {
                manager.reloading();
            }
            control.request_reload();
        } else {
            self.services.reload_certificates();
        }
    }

    /// Ends in order: no slew left in the clock, state saved, no socket file left.
    ///
    /// # Errors
    /// If the clock cannot be controlled.
    pub fn shut_down(&mut self) -> Result<(), Failure> {
        if let Some(manager) = self.interfaces.manager.get_mut() {
            manager.stopping();
        }
        // The last save must not be skipped because an earlier write is in progress.
        self.driver.finish_saving();
        let served = self.services.stop();
        let result = self.driver.handle(Input::Shutdown);
        let result = result.and_then(|()| self.execute_requests());
        self.driver.finish_saving();
        self.services.finish_saving();
        for device in &mut self.devices {
            device.stop(&mut self.driver);
        }
        for interface in self.interfaces.list() {
            interface.stop(&mut self.driver);
        }
        self.interfaces.observation_socket.take();
        self.interfaces.control.take();
        self.interfaces.chronyc.take();
        result.and(served.map_err(Failure::Serve))
    }

    /// Reads the clocks.
    pub(crate) fn now(&self) -> Now {
        self.driver.now()
    }

    /// Returns the status of the engine.
    pub fn status(&self) -> EngineStatus {
        self.driver.status().1
    }

    /// Returns the clock.
    pub fn clock(&self) -> &Clock {
        self.driver.clock()
    }

    /// Returns the clock, to change it without the engine when that is no longer needed.
    pub(crate) fn clock_mut(&mut self) -> &mut Clock {
        self.driver.clock_mut()
    }

    /// Returns the driver.
    pub(crate) fn driver(&self) -> &Driver {
        &self.driver
    }

    /// Returns the services.
    pub(crate) fn services(&self) -> &Services {
        &self.services
    }

    /// Serves at exactly these addresses; see [`Services::serve_at`].
    #[cfg(test)]
    pub(crate) fn serve_at(
        &mut self,
        listeners: Vec<crate::serve::Listener>,
        seed: &mut dyn FnMut() -> [u8; 32],
    ) -> Vec<ServeError> {
        self.services.serve_at(&mut self.driver, listeners, seed)
    }

    /// Makes a worker fail at each address.
    #[cfg(test)]
    pub(crate) fn inject_fault(&self) {
        self.services.inject_fault();
    }
}

/// Returns the time after `duration`, for [`Runtime::run`].
pub fn after(duration: Duration) -> Monotonic {
    monotonic() + NtpDuration::from(duration)
}
