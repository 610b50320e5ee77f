//! The shell around the engine, like the daemon's.
//!
//! It drives the engine by the rules of [`ntp_proto::engine`]: one input, then all outputs; an
//! adjustment is answered at once, and the results of transmissions are fed in afterwards. Times
//! come from the simulated clock, which the world has advanced to the true time of the event.

use core::net::SocketAddr;
use std::collections::VecDeque;
use std::net::IpAddr;

use ntp_proto::client::VersionChoice;
use ntp_proto::discipline::ErrorFigures;
use ntp_proto::engine::{
    Datagram, Engine, EngineConfig, Event, ExchangeId, Host, Input, Now, Output, Prediction,
    QueryId, SendError, SourceId,
};
use ntp_proto::reference_ids::ServerId;
use ntp_proto::server::Claim;
use ntp_time::{Adjustment, NtpDuration, Stamp, StampSource, SystemTime};
use ntp_types::refclock::{ClockSample, DeviceConfig};
use ntp_types::status::EngineStatus;
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;

use crate::checker::Checker;
use crate::journal::Journal;
use crate::ref_clock::SimSample;
use crate::server::Statement;
use crate::{Rng, SimClock, TrueTime};

/// What timestamps the client's packets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Stamping {
    /// The kernel, exactly; the transmit timestamp is available at once.
    Kernel,
    /// The kernel, exactly; the transmit timestamp arrives this many seconds after the packet left,
    /// possibly after the reply.
    LateKernel(f64),
    /// The daemon: packets leave, and are read, this many seconds on average (exponential) after
    /// the clock reading and after their arrival.
    Daemon(f64),
}

/// Size of the receive buffer, as in the daemon.
const BUFFER: usize = 2048;

/// Observes the engine's inputs and outputs as they happen, to record them.
pub trait Trace: core::fmt::Debug {
    /// A new engine starts.
    fn start(&mut self, config: &EngineConfig, now: Now);
    /// The engine has handled an input; `requested` is the adjustment that a `ClockApplied`
    /// answers.
    fn input(
        &mut self,
        engine: &mut Engine,
        now: Now,
        input: &Input<'_>,
        requested: Option<&Adjustment>,
    );
    /// The engine has produced an output.
    fn output(&mut self, output: &Output);
}

/// Work for the world that results from the engine's outputs.
#[derive(Debug)]
pub(crate) enum Task {
    Send {
        exchange: ExchangeId,
        remote: SocketAddr,
        payload: Vec<u8>,
        leaves: TrueTime,
    },
    Stamp {
        exchange: ExchangeId,
        stamp: Stamp,
        at: TrueTime,
    },
    Resolve {
        query: QueryId,
        host: String,
    },
    ExchangeKeys {
        query: QueryId,
        host: Host,
        version: VersionChoice,
        denied: Vec<String>,
    },
    OpenDevice {
        source: SourceId,
        device: DeviceConfig,
    },
    CloseDevice(SourceId),
}

/// Input that is passed to the engine once it has no more outputs.
#[derive(Debug)]
enum DeferredInput {
    LocalAddress(SourceId, IpAddr),
    Sent(ExchangeId, Stamp),
    NotSent(ExchangeId, SendError),
}

/// Address families that have a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Routes {
    pub(crate) v4: bool,
    pub(crate) v6: bool,
}

impl Routes {
    fn reach(self, address: IpAddr) -> bool {
        if address.is_ipv4() { self.v4 } else { self.v6 }
    }
}

/// The simulated machine's daemon.
#[derive(Debug)]
pub(crate) struct Node {
    engine: Engine,
    /// The engine's claim, if it was computed since the last input.
    prediction: Option<Option<Prediction>>,
    pub(crate) clock: SimClock,
    pub(crate) routes: Routes,
    pub(crate) journal: Journal,
    pub(crate) checker: Checker,
    /// Work for the world, which takes it from here.
    pub(crate) tasks: Vec<Task>,
    stamping: Stamping,
    reading_noise: f64,
    rng: Rng,
    open: Vec<(ExchangeId, SocketAddr)>,
    /// Its own address.
    address: Option<IpAddr>,
    deferred_inputs: VecDeque<DeferredInput>,
    trace: Option<Box<dyn Trace>>,
    stopped: bool,
    /// The hypervisor's marker, if it changed since the engine was called last.
    pub(crate) disrupted: Option<u64>,
}

impl Node {
    pub(crate) fn new(
        config: EngineConfig,
        clock: SimClock,
        checker: Checker,
        (stamping, reading_noise): (Stamping, f64),
        mut rng: Rng,
        mut trace: Option<Box<dyn Trace>>,
    ) -> Self {
        let now = Now {
            monotonic: clock.monotonic(),
            system: clock.system(),
        };
        if let Some(trace) = &mut trace {
            trace.start(&config, now);
        }
        let mut engine = Engine::new(config, now, rng.seed());
        if trace.is_some() {
            engine.take_rng_trace();
        }
        Self {
            engine,
            trace,
            prediction: None,
            clock,
            routes: Routes { v4: true, v6: true },
            journal: Journal::new(),
            checker,
            tasks: Vec::new(),
            stamping,
            reading_noise,
            rng,
            open: Vec::new(),
            address: None,
            deferred_inputs: VecDeque::new(),
            stopped: false,
            disrupted: None,
        }
    }

    /// Passes an input to the engine and executes its outputs.
    pub(crate) fn handle(&mut self, at: TrueTime, input: Input<'_>) {
        if self.stopped {
            return;
        }
        // The daemon looks at the hypervisor's marker first, whatever wakes it.
        if let Some(marker) = self.disrupted.take() {
            self.call_engine(at, Input::Disrupted { marker }, None);
        }
        self.call_engine(at, input, None);
        loop {
            while let Some(output) = self.engine.poll_output() {
                self.execute(at, output);
            }
            match self.deferred_inputs.pop_front() {
                Some(DeferredInput::Sent(exchange, stamp)) => {
                    self.call_engine(at, Input::Transmitted { exchange, stamp }, None);
                }
                Some(DeferredInput::NotSent(exchange, error)) => {
                    self.call_engine(at, Input::SendFailed { exchange, error }, None);
                }
                Some(DeferredInput::LocalAddress(source, address)) => {
                    self.call_engine(at, Input::LocalAddress { source, address }, None);
                }
                None => break,
            }
        }
    }

    /// Sets the address of the machine, and passes it to the engine.
    pub(crate) fn set_address(&mut self, at: TrueTime, address: IpAddr) {
        self.address = Some(address);
        self.handle(at, Input::LocalAddresses(&[address]));
    }

    /// Makes the machine a server, with a random ID (NTPv5).
    pub(crate) fn serve(&mut self, at: TrueTime) {
        let id = ServerId::random(&mut ChaCha8Rng::from_seed(self.rng.seed()));
        self.handle(at, Input::ServerId(Some(id)));
    }

    /// What replies state about the clock.
    pub(crate) fn statement(&self) -> Statement {
        Statement::Engine(self.claim(), self.engine.reference_ids())
    }

    /// Shuts the engine down; later inputs are ignored.
    pub(crate) fn shut_down(&mut self, at: TrueTime) {
        self.handle(at, Input::Shutdown);
        self.stopped = true;
    }

    /// Delivers a datagram from `remote` to the socket of `exchange`, if that is open and connected
    /// to it.
    pub(crate) fn deliver(
        &mut self,
        at: TrueTime,
        exchange: ExchangeId,
        remote: SocketAddr,
        payload: &[u8],
    ) {
        if !self.open.contains(&(exchange, remote)) {
            return;
        }
        let received = match self.stamping {
            Stamping::Daemon(_) => Stamp {
                time: self.clock.system(),
                source: StampSource::Daemon,
            },
            Stamping::Kernel | Stamping::LateKernel(_) => self.kernel_stamp(),
        };
        let datagram = Datagram {
            exchange,
            payload: &payload[..payload.len().min(BUFFER)],
            truncated: payload.len() > BUFFER,
            hop_limit: None,
            received,
        };
        self.handle(at, Input::Datagram(datagram));
    }

    /// Passes a sample of a reference clock taken at this moment.
    pub(crate) fn sample(&mut self, at: TrueTime, source: SourceId, sample: SimSample) {
        let sample = ClockSample {
            at: self.kernel_stamp(),
            offset: sample.offset,
            leap: sample.leap,
            is_pulse: sample.is_pulse,
            error: None,
        };
        let sample = Ok(sample);
        self.handle(at, Input::Sample { source, sample });
    }

    /// Delay until a daemon without kernel timestamps reads a datagram, in seconds.
    pub(crate) fn reception_delay(&mut self) -> f64 {
        match self.stamping {
            Stamping::Daemon(mean) => mean * self.rng.exponential(),
            Stamping::Kernel | Stamping::LateKernel(_) => 0.0,
        }
    }

    /// Time at which the engine is to be called.
    pub(crate) fn next_wakeup(&self) -> Option<TrueTime> {
        if self.stopped {
            return None;
        }
        self.engine
            .next_wakeup()
            .map(|(at, _)| self.clock.time_of_reading(at))
    }

    /// What the server of this machine states.
    pub(crate) fn claim(&self) -> Claim {
        self.engine.claim(Now {
            monotonic: self.clock.monotonic(),
            system: self.clock.system(),
        })
    }

    pub(crate) fn status(&self) -> EngineStatus {
        self.engine.status(Now {
            monotonic: self.clock.monotonic(),
            system: self.clock.system(),
        })
    }

    /// The engine's present claim about the clock.
    pub(crate) fn figures(&mut self) -> Option<ErrorFigures> {
        let engine = &self.engine;
        let prediction = self.prediction.get_or_insert_with(|| engine.prediction());
        prediction.as_ref()?.error_figures(self.clock.system())
    }

    pub(crate) fn is_over(&self) -> bool {
        self.stopped || self.journal.halt.is_some()
    }

    fn call_engine(&mut self, at: TrueTime, input: Input<'_>, requested: Option<&Adjustment>) {
        self.checker.engine_called(at);
        let now = self.now();
        self.prediction = None;
        self.engine.handle(now, input);
        if let Some(trace) = &mut self.trace {
            trace.input(&mut self.engine, now, &input, requested);
        }
    }

    fn now(&mut self) -> Now {
        let mut system = self.clock.system();
        if self.reading_noise > 0.0 {
            system = system + NtpDuration::from_seconds_f64(self.reading_noise * self.rng.normal());
        }
        Now {
            monotonic: self.clock.monotonic(),
            system,
        }
    }

    fn execute(&mut self, at: TrueTime, output: Output) {
        if let Some(trace) = &mut self.trace {
            trace.output(&output);
        }
        match output {
            Output::Adjust(adjustment) => self.adjust(at, &adjustment),
            Output::Transmit {
                exchange,
                remote,
                request,
                ..
            } => self.transmit(at, exchange, remote, &request.payload),
            Output::Close(exchange) => self.open.retain(|(id, _)| *id != exchange),
            Output::Resolve { query, host } => {
                self.journal.lookups += 1;
                self.tasks.push(Task::Resolve { query, host });
            }
            Output::ExchangeKeys {
                query,
                host,
                version,
                denied,
                ..
            } => {
                self.journal.key_exchanges.push(at);
                self.tasks.push(Task::ExchangeKeys {
                    query,
                    host,
                    version,
                    denied: denied.unwrap_or_default(),
                });
            }
            Output::OpenDevice { source, device } => {
                self.tasks.push(Task::OpenDevice { source, device });
            }
            Output::CloseDevice { source } => self.tasks.push(Task::CloseDevice(source)),
            Output::PersistSession { name, session } => {
                self.journal.sessions.push((name, *session));
            }
            Output::Persist(kept) => self.journal.persisted = Some((at, kept)),
            Output::Event(event) => self.on_event(at, event),
            Output::Completed(_, result) => self.journal.completed.push(result),
            Output::Halt(halt) => self.journal.halt = Some(halt),
        }
    }

    fn adjust(&mut self, at: TrueTime, adjustment: &Adjustment) {
        let applied = self.clock.apply(adjustment);
        self.checker.adjusted(at, adjustment, &applied);
        self.journal.adjusted(at, adjustment, &applied);
        self.call_engine(at, Input::ClockApplied(applied), Some(adjustment));
    }

    fn transmit(&mut self, at: TrueTime, exchange: ExchangeId, remote: SocketAddr, payload: &[u8]) {
        if !self.routes.reach(remote.ip()) {
            self.deferred_inputs
                .push_back(DeferredInput::NotSent(exchange, SendError::NoRoute));
            return;
        }
        let local = self.engine.local_address(exchange.source);
        if let Some(address) = self.address.filter(|own| local != Some(*own)) {
            self.deferred_inputs
                .push_back(DeferredInput::LocalAddress(exchange.source, address));
        }
        self.open.push((exchange, remote));
        self.journal.request(at, payload);
        self.checker.request(at, exchange);
        let daemon = Stamp {
            time: self.clock.system(),
            source: StampSource::Daemon,
        };
        let mut leaves = at;
        let mut stamp = daemon;
        match self.stamping {
            Stamping::Kernel => stamp = self.kernel_stamp(),
            Stamping::LateKernel(late) => {
                self.tasks.push(Task::Stamp {
                    exchange,
                    stamp: self.kernel_stamp(),
                    at: at + late,
                });
            }
            Stamping::Daemon(mean) => leaves = at + mean * self.rng.exponential(),
        }
        self.deferred_inputs
            .push_back(DeferredInput::Sent(exchange, stamp));
        self.tasks.push(Task::Send {
            exchange,
            remote,
            payload: payload.to_vec(),
            leaves,
        });
    }

    fn kernel_stamp(&self) -> Stamp {
        let time: SystemTime = self.clock.system();
        Stamp {
            time,
            source: StampSource::Kernel,
        }
    }

    fn on_event(&mut self, at: TrueTime, event: Event) {
        self.checker.event(at, &event);
        self.journal.event(at, event);
    }
}
