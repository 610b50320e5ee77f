//! Drives the engine: feeds inputs, executes outputs, and is the only part that touches the engine.
//!
//! Outputs that concern the clock, the state file and the log are executed at once. Requests for
//! devices are queued, each kind in its own queue ([`Requests`]), and the devices carry them out.
//!
//! The result of a request that is known at once (a datagram was sent, a lookup could not be
//! started) is deferred and fed when the engine has no more outputs, so that it never gets an input
//! while its outputs are being drained.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use ntp_config::build;
use ntp_os_clock::{Clock, monotonic};
use ntp_proto::client::{Request, VersionChoice};
use ntp_proto::discipline::ErrorFigures;
use ntp_proto::engine::{
    Command, CommandId, CommandOutcome, Engine, EngineConfig, Event, ExchangeId, Input, Now,
    Output, PersistedState, QueryId, Refusal, RefusedStep, SendError, SourceId,
};
use ntp_proto::nts::KeyExchanged;
use ntp_proto::reference_ids::BloomFilter;
use ntp_proto::server::Claim;
use ntp_time::{Adjustment, Monotonic, Stamp, SystemTime};
use ntp_types::path::NetworkPath;
use ntp_types::refclock::DeviceConfig;
use ntp_types::status::EngineStatus;
use ntp_udp::{Facility, Shortcoming};

use super::clock_reading::read_clocks;
use super::failure::Failure;
use super::slot::Slot;
use crate::log;
use crate::persist::Store;
use crate::record::Recorder;

/// Identifies every command: each is completed before the next one is fed.
const COMMAND: CommandId = CommandId(0);

/// The engine with its clock, its state file and its recorder.
#[derive(Debug)]
pub(crate) struct Driver {
    engine: Engine,
    clock: Clock,
    store: Store,
    recorder: Slot<Recorder, { build::RECORDS }>,
    /// Requests that the devices have not taken yet.
    pub(crate) requests: Requests,
    deferred: VecDeque<DeferredInput>,
    /// Why the device of a reference clock is closed, for readers.
    device_errors: BTreeMap<SourceId, String>,
    /// Facilities whose absence has been logged.
    logged_missing: Vec<Facility>,
    /// Result of the last command.
    completed: Option<Result<CommandOutcome, Refusal>>,
    halted: Option<RefusedStep>,
    /// Marker of the last migration of this virtual machine.
    disruption: Option<u64>,
    started: Monotonic,
}

/// Requests of the engine, queued for the devices.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    /// For the exchange sockets.
    pub(crate) sockets: VecDeque<SocketRequest>,
    /// For the resolver.
    pub(crate) lookups: VecDeque<(QueryId, String)>,
    /// For the key-exchange client.
    pub(crate) keys: VecDeque<KeyRequest>,
    /// For the drivers of reference clocks.
    pub(crate) clocks: VecDeque<ClockRequest>,
}

/// A request for the devices of reference clocks.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ClockRequest {
    /// Open the device and feed its samples as `Input::Sample`.
    Open {
        source: SourceId,
        device: DeviceConfig,
    },
    /// Close the device.
    Close { source: SourceId },
}

/// A request for the exchange sockets.
#[derive(Debug)]
pub(crate) enum SocketRequest {
    /// Send a request from a fresh socket.
    Transmit {
        exchange: ExchangeId,
        remote: SocketAddr,
        path: NetworkPath,
        request: Request,
    },
    /// Close the socket of an exchange.
    Close(ExchangeId),
}

/// A request for the key-exchange client.
#[derive(Debug)]
pub(crate) enum KeyRequest {
    /// Exchange keys.
    Exchange(KeRequest),
    /// Store the rest of a session for the next run.
    StoreSession {
        name: String,
        session: Box<KeyExchanged>,
    },
    /// True time is later than this, as the sources have shown for long.
    SetTimeFloor(SystemTime),
}

/// A request for a key exchange.
#[derive(Clone, Debug)]
pub(crate) struct KeRequest {
    pub(crate) query: QueryId,
    /// Configured name of the source.
    pub(crate) name: String,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) version: VersionChoice,
    /// For a pool, the servers that it should not name.
    pub(crate) denied: Option<Vec<String>>,
}

/// The result of a request, fed to the engine once it has no more outputs.
#[derive(Debug)]
pub(crate) enum DeferredInput {
    /// The request was sent at this time.
    Sent(ExchangeId, Stamp),
    /// The request could not be sent.
    NotSent(ExchangeId, SendError),
    /// The request was sent from this address.
    LocalAddress(SourceId, IpAddr),
}

impl Requests {
    /// Returns whether there are no requests.
    pub(crate) fn is_empty(&self) -> bool {
        self.sockets.is_empty()
            && self.lookups.is_empty()
            && self.keys.is_empty()
            && self.clocks.is_empty()
    }
}

impl Driver {
    /// Creates the engine. Nothing is sent before the first input. `seed` is the seed of all
    /// randomness.
    pub(super) fn new(
        config: EngineConfig,
        clock: Clock,
        store: Store,
        recorder: Option<Recorder>,
        seed: [u8; 32],
    ) -> Self {
        let now = read_clocks(&clock);
        let mut recorder = Slot::open(|| recorder);
        if let Some(recorder) = recorder.get_mut() {
            recorder.begin(&config, now);
        }
        let mut engine = Engine::new(config, now, seed);
        // The engine keeps its random numbers for the recorder from here on.
        if recorder.get().is_some() {
            engine.take_rng_trace();
        }
        Self {
            engine,
            clock,
            store,
            recorder,
            requests: Requests::default(),
            deferred: VecDeque::new(),
            device_errors: BTreeMap::new(),
            logged_missing: Vec::new(),
            completed: None,
            halted: None,
            disruption: None,
            started: monotonic(),
        }
    }

    /// Starts writing the record, if one is configured, on a thread of its own.
    pub(super) fn start_recording(&mut self) {
        if let Some(recorder) = self.recorder.get_mut()
            && let Err(problem) = recorder.start()
        {
            log::emit(&Event::RecordFailed {
                path: recorder.path().display().to_string(),
                error: problem.to_string(),
            });
            self.recorder.take();
        }
    }

    /// Feeds an input and executes the outputs.
    ///
    /// # Errors
    /// If the clock cannot be controlled any more.
    pub(crate) fn handle(&mut self, input: Input<'_>) -> Result<(), Failure> {
        self.feed(input, None);
        self.drain()
    }

    /// Feeds the result of a request as soon as the engine has no more outputs.
    pub(crate) fn defer(&mut self, input: DeferredInput) {
        self.deferred.push_back(input);
    }

    /// Executes the outputs and feeds deferred inputs until there are none.
    ///
    /// # Errors
    /// If the clock cannot be controlled any more.
    pub(crate) fn drain(&mut self) -> Result<(), Failure> {
        loop {
            while let Some(output) = self.engine.poll_output() {
                self.execute(output)?;
            }
            let Some(deferred) = self.deferred.pop_front() else {
                return Ok(());
            };
            self.feed(deferred.as_input(), None);
        }
    }

    /// Feeds and records an input. `wanted` is the adjustment that it reports on.
    fn feed(&mut self, input: Input<'_>, wanted: Option<&Adjustment>) {
        if let Input::Disrupted { marker } = input {
            self.disruption = Some(marker);
        }
        let now = self.now();
        self.engine.handle(now, input);
        if let Some(recorder) = self.recorder.get_mut() {
            recorder.record_input(&mut self.engine, now, &input, wanted);
        }
    }

    fn execute(&mut self, output: Output) -> Result<(), Failure> {
        if let Some(recorder) = self.recorder.get_mut() {
            recorder.record_output(&self.engine, &output);
        }
        match output {
            Output::Adjust(adjustment) => self.adjust(&adjustment)?,
            Output::Transmit {
                exchange,
                remote,
                path,
                request,
            } => self.requests.sockets.push_back(SocketRequest::Transmit {
                exchange,
                remote,
                path,
                request,
            }),
            Output::Close(exchange) => {
                let close = SocketRequest::Close(exchange);
                self.requests.sockets.push_back(close);
            }
            Output::Resolve { query, host } => self.requests.lookups.push_back((query, host)),
            Output::Persist(kept) => {
                if let Some(past) = kept.time_floor {
                    let floor = KeyRequest::SetTimeFloor(past);
                    self.requests.keys.push_back(floor);
                }
                self.store.save(kept);
            }
            Output::ExchangeKeys {
                query,
                name,
                host,
                port,
                version,
                denied,
            } => {
                let request = KeRequest {
                    query,
                    name,
                    host: host.to_string(),
                    port,
                    version,
                    denied,
                };
                let exchange = KeyRequest::Exchange(request);
                self.requests.keys.push_back(exchange);
            }
            Output::PersistSession { name, session } => {
                let store = KeyRequest::StoreSession { name, session };
                self.requests.keys.push_back(store);
            }
            Output::OpenDevice { source, device } => {
                let request = ClockRequest::Open { source, device };
                self.requests.clocks.push_back(request);
            }
            Output::CloseDevice { source } => {
                let request = ClockRequest::Close { source };
                self.requests.clocks.push_back(request);
            }
            Output::Event(event) => log::emit(&event),
            Output::Completed(_, result) => self.completed = Some(result),
            Output::Halt(halt) => self.halted = Some(halt),
        }
        Ok(())
    }

    /// Adjusts the clock and feeds the result before any other input.
    fn adjust(&mut self, adjustment: &Adjustment) -> Result<(), Failure> {
        let applied = self.clock.apply(adjustment).map_err(Failure::Clock)?;
        for &shortcoming in self.clock.new_shortcomings() {
            log::emit_clock_shortcoming(shortcoming);
        }
        self.feed(Input::ClockApplied(applied), Some(adjustment));
        Ok(())
    }

    /// Executes an operator's command and returns its result.
    ///
    /// # Errors
    /// If the clock cannot be controlled any more.
    pub(crate) fn command(
        &mut self,
        command: &Command,
    ) -> Result<Result<CommandOutcome, Refusal>, Failure> {
        self.complete(Input::Command(COMMAND, command))
    }

    /// Applies a new configuration and returns the result.
    ///
    /// # Errors
    /// If the clock cannot be controlled any more.
    pub(crate) fn reconfigure(
        &mut self,
        config: &EngineConfig,
    ) -> Result<Result<CommandOutcome, Refusal>, Failure> {
        self.complete(Input::Reconfigure(COMMAND, config))
    }

    fn complete(&mut self, input: Input<'_>) -> Result<Result<CommandOutcome, Refusal>, Failure> {
        self.completed = None;
        self.handle(input)?;
        // The engine completes every command before it returns; if it did not, nothing was done.
        Ok(self.completed.take().unwrap_or(Err(Refusal::Stopped)))
    }

    /// Lets the engine do what is due, and notice that the clock was set.
    ///
    /// # Errors
    /// If the clock cannot be controlled any more.
    pub(crate) fn tick(&mut self) -> Result<(), Failure> {
        self.handle(Input::Tick)
    }

    /// Saves what has been learnt, at once. Returns the file, or the reason why nothing was saved.
    pub(crate) fn dump(&mut self) -> Result<PathBuf, String> {
        let kept = self.engine.persistent_state(self.now());
        let Some(path) = self.store.path() else {
            return Err("no state is saved ([state] enabled = false)".into());
        };
        if kept == PersistedState::default() {
            return Err("nothing to save yet: the clock has no majority of sources".into());
        }
        self.store.save(kept);
        Ok(path)
    }

    /// Waits until the state file is written.
    pub(super) fn finish_saving(&mut self) {
        self.store.finish();
    }

    /// Logs facilities that the system lacks, each once.
    pub(crate) fn log_missing(&mut self, shortcomings: impl IntoIterator<Item = Shortcoming>) {
        for shortcoming in shortcomings {
            if !self.logged_missing.contains(&shortcoming.facility) {
                log::emit_missing_facility(&shortcoming);
                self.logged_missing.push(shortcoming.facility);
            }
        }
    }

    /// Reads the clocks.
    pub(crate) fn now(&self) -> Now {
        read_clocks(&self.clock)
    }

    /// Returns a reading of the clocks and what the daemon may claim about the time then.
    pub(crate) fn claim(&self) -> (Now, Claim) {
        let now = self.now();
        (now, self.engine.claim(now))
    }

    /// Returns whether a panic threshold keeps the clock from being steered.
    pub(crate) fn step_refused(&self) -> bool {
        self.engine.step_refused()
    }

    /// Returns a reading of the clocks, and the error figures of the clock then while it is
    /// synchronised.
    pub(crate) fn accuracy(&self) -> (Now, Option<ErrorFigures>) {
        let now = self.now();
        (now, self.engine.accuracy(now))
    }

    /// Returns the reference IDs for clients of version 5.
    pub(crate) fn reference_ids(&self) -> Option<Arc<BloomFilter>> {
        self.engine.reference_ids()
    }

    /// Returns the time, and whether the clock is synchronised.
    pub(crate) fn time_known(&self) -> (SystemTime, bool) {
        let (now, claim) = self.claim();
        (now.system, claim.is_synchronized(now.system))
    }

    /// Returns the engine, for readers.
    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Returns the marker of the last migration of this virtual machine, if it was migrated since
    /// the start.
    pub(crate) fn disruption(&self) -> Option<u64> {
        self.disruption
    }

    /// Returns a reading of the clocks and the status of the engine then.
    pub(crate) fn status(&self) -> (Now, EngineStatus) {
        let now = self.now();
        let mut status = self.engine.status(now);
        for source in &mut status.sources {
            if let Some(error) = self.device_errors.get(&source.id) {
                source.last_error = Some(error.clone());
            }
        }
        (now, status)
    }

    /// Passes our address in an exchange with a source to the engine, if it is new.
    pub(super) fn record_local_address(&mut self, source: SourceId, address: IpAddr) {
        if self.engine.local_address(source) != Some(address) {
            self.defer(DeferredInput::LocalAddress(source, address));
        }
    }

    /// Records why the device of a reference clock is closed, or that it is not.
    pub(super) fn record_device_error(&mut self, source: SourceId, error: Option<String>) {
        match error {
            Some(error) => self.device_errors.insert(source, error),
            None => self.device_errors.remove(&source),
        };
    }

    /// Time at which the engine wants the next input.
    pub(super) fn next_wakeup(&self) -> Option<Monotonic> {
        self.engine.next_wakeup().map(|(at, _)| at)
    }

    /// Returns why the engine has halted, if it has.
    pub(super) fn halted(&self) -> Option<RefusedStep> {
        self.halted
    }

    /// Returns the configured name of the source that an operator calls `name`.
    pub(crate) fn source_called(&self, name: &str) -> Result<String, Refusal> {
        self.engine.find_source(name).map(ToOwned::to_owned)
    }

    /// Time at which the daemon was started.
    pub(crate) fn started(&self) -> Monotonic {
        self.started
    }

    /// Returns the clock.
    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Returns the clock, for changes that the engine does not know of.
    pub(super) fn clock_mut(&mut self) -> &mut Clock {
        &mut self.clock
    }
}

impl DeferredInput {
    fn as_input(&self) -> Input<'static> {
        match *self {
            Self::Sent(exchange, stamp) => Input::Transmitted { exchange, stamp },
            Self::NotSent(exchange, error) => Input::SendFailed { exchange, error },
            Self::LocalAddress(source, address) => Input::LocalAddress { source, address },
        }
    }
}
