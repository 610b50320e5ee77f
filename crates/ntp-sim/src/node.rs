//! The shell around the engine, as the daemon is one.
//!
//! It drives the engine by the rules of [`ntp_proto::engine`]: one input, then all outputs, an adjustment answered on the spot, echoes of
//! what was sent told afterwards. Times come from the simulated clock, which the world has brought to the true time of the event.

use core::net::SocketAddr;
use std::collections::VecDeque;
use std::net::IpAddr;

use ntp_proto::discipline::ErrorFigures;
use ntp_proto::engine::{
    Datagram, Engine, EngineConfig, Event, ExchangeId, Host, Input, Now, Prediction, Output,
    QueryId, SendError, Snapshot,
};
use ntp_time::{Adjustment, NtpDuration, Stamp, StampSource, SystemTime};

use crate::checker::Checker;
use crate::journal::Journal;
use crate::{Chance, SimClock, TrueTime};

/// Who stamps our packets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Stamping {
    /// The kernel, exactly; its transmit stamp comes at once.
    Kernel,
    /// The kernel, exactly; its transmit stamp comes this many seconds after the packet left, perhaps after the reply.
    LateKernel(f64),
    /// The daemon: packets leave, and are noticed, this many seconds on average (exponential) after the clock was read
    /// and after they came.
    Daemon(f64),
}

/// Octets of the receive buffer, as in the daemon.
const BUFFER: usize = 2048;

/// Sees what goes into the engine and what comes out, as it happens: whoever writes a record.
pub trait Witness: core::fmt::Debug {
    /// An engine begins.
    fn begun(&mut self, config: &EngineConfig, now: Now);
    /// The engine has handled this; `wanted` is the adjustment that it answers.
    fn told(
        &mut self,
        engine: &mut Engine,
        now: Now,
        input: &Input<'_>,
        wanted: Option<&Adjustment>,
    );
    /// The engine has put this out.
    fn done(&mut self, output: &Output);
}

/// What the engine wants from the world.
#[derive(Debug)]
pub(crate) enum Errand {
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
    },
}

/// Told to the engine once it has nothing more to ask.
#[derive(Debug)]
enum Echo {
    Sent(ExchangeId, Stamp),
    NotSent(ExchangeId, SendError),
}

/// Which families there is a route for.
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

/// The daemon of the simulated machine.
#[derive(Debug)]
pub(crate) struct Node {
    engine: Engine,
    /// What the engine claims, if it was asked since it was last called.
    prediction: Option<Option<Prediction>>,
    pub(crate) clock: SimClock,
    pub(crate) routes: Routes,
    pub(crate) journal: Journal,
    pub(crate) checker: Checker,
    /// To be done by the world; it takes them away.
    pub(crate) errands: Vec<Errand>,
    stamping: Stamping,
    reading_noise: f64,
    chance: Chance,
    open: Vec<(ExchangeId, SocketAddr)>,
    echoes: VecDeque<Echo>,
    witness: Option<Box<dyn Witness>>,
    stopped: bool,
}

impl Node {
    pub(crate) fn new(
        config: EngineConfig,
        clock: SimClock,
        checker: Checker,
        (stamping, reading_noise): (Stamping, f64),
        mut chance: Chance,
        mut witness: Option<Box<dyn Witness>>,
    ) -> Self {
        let now = Now {
            monotonic: clock.monotonic(),
            system: clock.system(),
        };
        if let Some(witness) = &mut witness {
            witness.begun(&config, now);
        }
        let mut engine = Engine::new(config, now, chance.seed());
        if witness.is_some() {
            engine.take_rng_trace();
        }
        Self {
            engine,
            witness,
            prediction: None,
            clock,
            routes: Routes { v4: true, v6: true },
            journal: Journal::new(),
            checker,
            errands: Vec::new(),
            stamping,
            reading_noise,
            chance,
            open: Vec::new(),
            echoes: VecDeque::new(),
            stopped: false,
        }
    }

    /// Tells the engine something, and does what it asks for.
    pub(crate) fn tell(&mut self, at: TrueTime, input: Input<'_>) {
        if self.stopped {
            return;
        }
        self.call(at, input, None);
        loop {
            while let Some(output) = self.engine.poll_output() {
                self.carry_out(at, output);
            }
            match self.echoes.pop_front() {
                Some(Echo::Sent(exchange, stamp)) => {
                    self.call(at, Input::Transmitted { exchange, stamp }, None);
                }
                Some(Echo::NotSent(exchange, error)) => {
                    self.call(at, Input::SendFailed { exchange, error }, None);
                }
                None => break,
            }
        }
    }

    /// The last words: whatever comes later is not told any more.
    pub(crate) fn shut_down(&mut self, at: TrueTime) {
        self.tell(at, Input::Shutdown);
        self.stopped = true;
    }

    /// A datagram from `remote` reaches the socket of `exchange`, if that is still open and connected there.
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
            received,
        };
        self.tell(at, Input::Datagram(datagram));
    }

    /// How long a datagram lies before a daemon without kernel stamps notices it, in seconds.
    pub(crate) fn reception_delay(&mut self) -> f64 {
        match self.stamping {
            Stamping::Daemon(mean) => mean * self.chance.exponential(),
            Stamping::Kernel | Stamping::LateKernel(_) => 0.0,
        }
    }

    /// When the engine wants to be called.
    pub(crate) fn next_wakeup(&self) -> Option<TrueTime> {
        if self.stopped {
            return None;
        }
        self.engine.next_wakeup().map(|(at, _)| self.clock.when(at))
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        self.engine.snapshot(Now {
            monotonic: self.clock.monotonic(),
            system: self.clock.system(),
        })
    }

    /// What the engine claims about the clock now.
    pub(crate) fn figures(&mut self) -> Option<ErrorFigures> {
        let engine = &self.engine;
        let prediction = self.prediction.get_or_insert_with(|| engine.prediction());
        prediction.as_ref()?.error_figures(self.clock.system())
    }

    pub(crate) fn is_over(&self) -> bool {
        self.stopped || self.journal.halt.is_some()
    }

    fn call(&mut self, at: TrueTime, input: Input<'_>, wanted: Option<&Adjustment>) {
        self.checker.called(at);
        let now = self.now();
        self.prediction = None;
        self.engine.handle(now, input);
        if let Some(witness) = &mut self.witness {
            witness.told(&mut self.engine, now, &input, wanted);
        }
    }

    fn now(&mut self) -> Now {
        let mut system = self.clock.system();
        if self.reading_noise > 0.0 {
            system =
                system + NtpDuration::from_seconds_f64(self.reading_noise * self.chance.normal());
        }
        Now {
            monotonic: self.clock.monotonic(),
            system,
        }
    }

    fn carry_out(&mut self, at: TrueTime, output: Output) {
        if let Some(witness) = &mut self.witness {
            witness.done(&output);
        }
        match output {
            Output::Adjust(adjustment) => self.adjust(at, &adjustment),
            Output::Transmit {
                exchange,
                remote,
                request,
            } => self.transmit(at, exchange, remote, &request.payload),
            Output::Close(exchange) => self.open.retain(|(id, _)| *id != exchange),
            Output::Resolve { query, host } => {
                self.journal.lookups += 1;
                self.errands.push(Errand::Resolve { query, host });
            }
            Output::ExchangeKeys { query, host, .. } => {
                self.journal.key_exchanges.push(at);
                self.errands.push(Errand::ExchangeKeys { query, host });
            }
            Output::PersistSession { name, session } => {
                self.journal.sessions.push((name, *session));
            }
            Output::Persist(kept) => self.journal.persisted = Some((at, kept)),
            Output::Event(event) => self.note(at, event),
            Output::Completed(_, result) => self.journal.completed.push(result),
            Output::Halt(halt) => self.journal.halt = Some(halt),
        }
    }

    fn adjust(&mut self, at: TrueTime, adjustment: &Adjustment) {
        let applied = self.clock.apply(adjustment);
        self.checker.adjusted(at, adjustment, &applied);
        self.journal.adjusted(at, adjustment, &applied);
        self.call(at, Input::ClockApplied(applied), Some(adjustment));
    }

    fn transmit(&mut self, at: TrueTime, exchange: ExchangeId, remote: SocketAddr, payload: &[u8]) {
        if !self.routes.reach(remote.ip()) {
            self.echoes
                .push_back(Echo::NotSent(exchange, SendError::NoRoute));
            return;
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
                self.errands.push(Errand::Stamp {
                    exchange,
                    stamp: self.kernel_stamp(),
                    at: at + late,
                });
            }
            Stamping::Daemon(mean) => leaves = at + mean * self.chance.exponential(),
        }
        self.echoes.push_back(Echo::Sent(exchange, stamp));
        self.errands.push(Errand::Send {
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

    fn note(&mut self, at: TrueTime, event: Event) {
        self.checker.event(at, &event);
        self.journal.event(at, event);
    }
}
