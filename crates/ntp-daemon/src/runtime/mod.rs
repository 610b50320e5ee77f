//! The shell around the engine: it reads clocks, moves datagrams, and does what the engine says.
//!
//! One thread, one loop: wait until something is ready or due, tell the engine, do everything that it asks
//! for, repeat. There is no decision about time in here.
//!
//! The loop stands on `poll(2)`, not on an async runtime, for three reasons: its sockets live for one exchange each, so
//! nothing is gained by registering them; a wake-up costs two system calls; and clock-and-network simulators
//! that replace libc functions can run the real binary.
//!
//! What may block is done elsewhere: names and files by
//! short-lived threads (`resolve`, `persist`). A facility that is missing is named once and done without.

mod driver;
mod exchanges;
mod operators;
mod reading;
mod waiting;

pub(crate) use operators::NtsReloadError;

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use ntp_nts_ke::server::StartError;
use ntp_os_clock::{Clock, ClockError, monotonic, monotonic_unsuspended};
use ntp_proto::engine::{Done, Engine, EngineConfig, Halt, Input, Now, Refusal, Snapshot};
use ntp_proto::server::Claim;
use ntp_time::{Monotonic, NtpDuration};
use ntp_udp::wait::PollSet;
use ntp_udp::{AddressMonitor, Facility, Shortcoming, SocketOptions, StampKeeper};
use tracing::{info, warn};

use crate::control::{CommandHandler, ControlListener};
use crate::leap_list::LeapList;
use crate::nts::{self, CookieKeys, KeServer};
use crate::observation_socket::ObservationSocket;
use crate::persist::Store;
use crate::record::Recorder;
use crate::resolve::Resolver;
use crate::sandbox;
use crate::serve::{Bound, Listener, ServeError, Servers};
use crate::service_manager::{ClockSummary, ServiceManager};
use driver::DeferredInput;
use exchanges::{Exchanges, SocketEvent};
use reading::now;

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ending {
    /// The time given to [`Runtime::run`] is over; it may be called again.
    Paused,
    /// The engine must not go on.
    Halted(Halt),
}

/// What stopped the shell itself.
#[derive(Debug)]
pub enum Failure {
    /// The clock cannot be read or controlled.
    Clock(ClockError),
    /// The operating system refused something without which there is no daemon.
    System(&'static str, io::Error),
    /// Time can't be served any more.
    Serve(ServeError),
    /// Keys can't be given out.
    GiveKeys(StartError),
    /// The key exchange thread has ended.
    KeyExchange(io::Error),
    /// The cookie keys can't be had; the whole reason.
    CookieKeys(String),
}

impl core::fmt::Display for Failure {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Clock(error) => write!(f, "{error}"),
            Self::System(call, error) => write!(f, "{call} failed: {error}"),
            Self::Serve(error) => write!(f, "{error}"),
            Self::GiveKeys(error) => write!(f, "{error}"),
            Self::KeyExchange(error) => write!(f, "key exchange has stopped: {error}"),
            Self::CookieKeys(problem) => f.write_str(problem),
        }
    }
}

impl std::error::Error for Failure {}

/// The engine with its clock, its sockets and its files.
#[derive(Debug)]
pub struct Runtime {
    engine: Engine,
    clock: Clock,
    exchanges: Exchanges,
    resolver: Resolver,
    store: Store,
    leap_list: LeapList,
    observation_socket: Option<ObservationSocket>,
    recorder: Option<Recorder>,
    servers: Option<Servers>,
    /// What protects our clients' cookies, if any of them uses NTS.
    cookie_keys: Option<CookieKeys>,
    ke_server: Option<KeServer>,
    ke_client: nts::KeClient,
    addresses: Option<AddressMonitor>,
    /// Keeps the kernel's packet stamping switched on between exchanges; never read.
    _stamp_keeper: Option<StampKeeper>,
    poll_set: PollSet,
    missing: Vec<Shortcoming>,
    logged_missing: Vec<Facility>,
    /// How far the suspend-proof clock was ahead of the other at the last look.
    suspended: NtpDuration,
    events: Vec<SocketEvent>,
    echoes: VecDeque<DeferredInput>,
    halted: Option<Halt>,
    /// Whether the engine has been told anything.
    begun: bool,
    /// What became of the command that the engine was given last.
    completed: Option<Result<Done, Refusal>>,
    control: Option<(Option<ControlListener>, CommandHandler)>,
    started: Monotonic,
    manager: Option<ServiceManager>,
}

/// What a [`Runtime`] is made of besides the engine's configuration.
#[derive(Debug)]
pub struct Parts {
    /// The clock to discipline.
    pub clock: Clock,
    /// How client sockets are opened.
    pub sockets: SocketOptions,
    /// Where state is kept.
    pub store: Store,
    /// Where leap seconds are listed.
    pub leap_list: LeapList,
    /// Who may look on.
    pub observation_socket: Option<ObservationSocket>,
    /// Where everything that the engine is told is written down.
    pub recorder: Option<Recorder>,
    /// Seed of all randomness.
    pub seed: [u8; 32],
}

impl Runtime {
    /// Puts the parts together. Nothing is sent before [`run`](Self::run).
    pub fn new(config: EngineConfig, parts: Parts) -> Self {
        let Parts {
            clock,
            sockets,
            store,
            leap_list,
            observation_socket,
            mut recorder,
            seed,
        } = parts;
        let began = now(&clock);
        if let Some(recorder) = &mut recorder {
            recorder.begin(&config, began);
        }
        let keeper = optional(StampKeeper::open(&sockets));
        let addresses = optional(AddressMonitor::open());
        let mut runtime = Self {
            engine: Engine::new(config, began, seed),
            clock,
            exchanges: Exchanges::new(sockets),
            resolver: Resolver::default(),
            store,
            leap_list,
            observation_socket,
            recorder,
            servers: None,
            cookie_keys: None,
            ke_server: None,
            ke_client: nts::KeClient::default(),
            addresses,
            _stamp_keeper: keeper,
            poll_set: PollSet::new(),
            missing: Vec::new(),
            logged_missing: Vec::new(),
            suspended: monotonic() - monotonic_unsuspended(),
            events: Vec::new(),
            echoes: VecDeque::new(),
            halted: None,
            begun: false,
            completed: None,
            control: None,
            started: monotonic(),
            manager: None,
        };
        // Numbers are kept from here on.
        if runtime.recorder.is_some() {
            runtime.engine.drawn();
        }
        runtime
    }

    /// Begins to write the record, if there is to be one, on a thread of its own.
    pub fn start_recording(&mut self) {
        if let Some(recorder) = &mut self.recorder
            && let Err(problem) = recorder.start()
        {
            warn!(
                "no record at {}: {problem} (see [observability] record-path)",
                recorder.path().display()
            );
            self.recorder = None;
        }
    }

    /// Serves time from now on, on threads of their own, through `bound`. `seed` gives a fresh secret for each call.
    ///
    /// # Errors
    /// If time can't be served.
    pub fn serve(
        &mut self,
        bound: Bound,
        mut seed: impl FnMut() -> [u8; 32],
    ) -> Result<(), ServeError> {
        self.missing.extend_from_slice(bound.missing());
        self.log_missing();
        let claim = self.engine.claim(now(&self.clock));
        let mut servers = Servers::new(&self.clock.translator())?;
        if let Some(keys) = &self.cookie_keys {
            servers.publish_keyset(&keys.current());
        }
        servers.add(bound, claim, &mut seed)?;
        for address in servers.addresses() {
            info!("serving time at {address}");
        }
        self.servers = Some(servers);
        Ok(())
    }

    /// Protects clients' cookies with `keys`, and gives out keys through `bound`. To be called before anybody is [served](Self::serve).
    ///
    /// # Errors
    /// If the operating system gives no thread.
    pub fn give_keys(
        &mut self,
        keys: CookieKeys,
        bound: ntp_nts_ke::server::Bound,
        seed: [u8; 32],
    ) -> Result<(), StartError> {
        if !bound.is_empty() {
            self.ke_server = Some(KeServer::start(bound, keys.shared(), seed)?);
        }
        self.cookie_keys = Some(keys);
        Ok(())
    }

    /// Gets keys for sources with NTS in this way; to be called before the first [`run`](Self::run).
    pub(crate) fn get_keys(&mut self, ke_client: nts::KeClient) {
        self.ke_client = ke_client;
    }

    /// Serves at these addresses from now on and at no others, as a new configuration wants it; see [`Servers::reconfigure`]. What goes wrong is
    /// returned, and does not keep the other addresses from being served.
    pub fn serve_at(
        &mut self,
        listeners: Vec<Listener>,
        seed: &mut dyn FnMut() -> [u8; 32],
    ) -> Vec<ServeError> {
        let claim = self.engine.claim(now(&self.clock));
        let servers = match &mut self.servers {
            Some(servers) => servers,
            None if listeners.is_empty() => return Vec::new(),
            none => match Servers::new(&self.clock.translator()) {
                Ok(servers) => none.insert(servers),
                Err(problem) => return vec![problem],
            },
        };
        if let Some(keys) = &self.cookie_keys {
            servers.publish_keyset(&keys.current());
        }
        let (missing, problems) = servers.reconfigure(listeners, claim, seed);
        self.missing.extend(missing);
        self.log_missing();
        problems
    }

    /// Runs until `until`, until the engine halts, or until a signal arrives.
    ///
    /// # Errors
    /// If the clock can't be controlled any more, or `poll(2)` fails.
    pub fn run(&mut self, until: Option<Monotonic>) -> Result<Ending, Failure> {
        self.settle(until)?;
        if !core::mem::replace(&mut self.begun, true) {
            self.look_at_addresses();
            self.drain()?;
        }
        self.handle(Input::Tick)?;
        self.update_manager(self.engine.claim(self.now()));
        loop {
            if let Some(halt) = self.halted {
                return Ok(Ending::Halted(halt));
            }
            if until.is_some_and(|until| monotonic() >= until) || ntp_udp::signals::pending() {
                return Ok(Ending::Paused);
            }
            sandbox::log_refusals();
            self.wait(until)?;
            self.look_for_suspend()?;
            self.attend_exchanges()?;
            self.attend_others()?;
            if self
                .engine
                .next_wakeup()
                .is_some_and(|(at, _)| at <= monotonic())
            {
                self.handle(Input::Tick)?;
            }
            let now = now(&self.clock);
            let claim = self.engine.claim(now);
            if let Some(servers) = &self.servers {
                servers.publish(claim);
            }
            if let Some(keys) = &mut self.cookie_keys
                && keys.attend(now, claim.is_synchronized(now.system))
            {
                self.hand_out_cookie_keys();
            }
            self.update_manager(claim);
        }
    }

    fn update_manager(&mut self, claim: Claim) {
        let Some(manager) = &mut self.manager else {
            return;
        };
        let now = now(&self.clock);
        let summary = ClockSummary {
            synchronized: claim.is_synchronized(now.system),
            stratum: claim.stratum,
            reference_id: claim.reference_id,
        };
        manager.attend(summary, || self.engine.snapshot(now));
    }

    /// Ends in order: no slew left in the clock, state saved, no socket file left.
    ///
    /// # Errors
    /// If the clock can't be controlled.
    pub fn shut_down(&mut self) -> Result<(), Failure> {
        if let Some(manager) = &mut self.manager {
            manager.stopping();
        }
        // The last thing saved must not be left out because an earlier write is still going on.
        self.store.finish();
        // Nobody is told the time of a clock that is kept by no one.
        let served = self.servers.as_mut().map_or(Ok(()), Servers::stop);
        if let Some(ke_server) = self.ke_server.take() {
            ke_server.stop();
        }
        let result = self.handle(Input::Shutdown);
        self.store.finish();
        if let Some(keys) = &mut self.cookie_keys {
            keys.finish();
        }
        self.observation_socket = None;
        self.control = None;
        result.and(served.map_err(Failure::Serve))
    }

    /// What the clocks say now.
    pub(crate) fn now(&self) -> Now {
        now(&self.clock)
    }

    /// The engine's state now.
    pub fn snapshot(&self) -> Snapshot {
        self.engine.snapshot(now(&self.clock))
    }

    /// Follows what operators want, who come through `listener` if there is one, and by signal.
    pub fn set_control(&mut self, listener: Option<ControlListener>, handler: CommandHandler) {
        self.control = Some((listener, handler));
    }

    /// Tells the service manager how things stand, from the next [`run`](Self::run) on.
    pub(crate) fn set_service_manager(&mut self, manager: Option<ServiceManager>) {
        self.manager = manager;
    }

    /// The clock.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The clock, to be changed behind the engine's back once that is needed no more.
    pub(crate) fn clock_mut(&mut self) -> &mut Clock {
        &mut self.clock
    }

    /// Makes a worker fail at each address.
    #[cfg(test)]
    pub(crate) fn inject_fault(&self) {
        self.servers.iter().for_each(Servers::inject_fault);
    }
}

/// A facility that the daemon can do without; its absence is said once.
fn optional<T>(facility: Result<T, Shortcoming>) -> Option<T> {
    facility
        .inspect_err(|shortcoming| warn!("{shortcoming}"))
        .ok()
}

/// A duration that `poll` can wait for, for callers that want to be called regularly.
pub fn after(duration: Duration) -> Monotonic {
    monotonic() + NtpDuration::from(duration)
}
