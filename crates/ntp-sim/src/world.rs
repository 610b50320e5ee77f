//! Event loop of the simulation.
//!
//! A queue of future events in true time, nanoseconds. The engine's own timer and the full seconds,
//! at which the clock is compared with true time, are handled beside it.
//!
//! ```text
//! engine -> node -> tasks -> outbound path -> server -> inbound path -> node -> engine
//!                                    attacker ------------------------^
//! ```

use core::net::SocketAddr;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use ntp_proto::discipline::ErrorFigures;
use ntp_proto::engine::{
    Command, CommandId, ExchangeId, Host, Input, QueryId, SendError, SourceId,
};
use ntp_time::{LeapIndicator, NtpDuration, Stamp};
use ntp_types::event::KeyExchangeFailure;
use ntp_types::host::ScopedIp;
use ntp_types::status::EngineStatus;

use crate::attacker::Attacker;
use crate::checker::Checker;
use crate::event_queue::EventQueue;
use crate::key_exchange;
use crate::link::Channel;
use crate::node::{Node, Routes, Task, Trace};
use crate::oscillator::Crystal;
use crate::ref_clock::SimRefClock;
use crate::report::ReportBuilder;
use crate::server::{Response, SimServer};
use crate::{Action, Calendar, Journal, Report, Rng, Scenario, SimClock, TrueTime, Violation};

/// The simulated machine's own address.
const OUR_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 19, 0, 1));

/// Random streams; servers follow from `SERVERS` on, three each, reference clocks from
/// `REF_CLOCKS` on.
mod stream {
    pub(super) const OSCILLATOR: u64 = 0;
    pub(super) const NODE: u64 = 1;
    pub(super) const ATTACKER: u64 = 2;
    pub(super) const KEY_EXCHANGE: u64 = 3;
    pub(super) const REF_CLOCKS: u64 = 1 << 32;
    pub(super) const COURSES: u64 = 1 << 33;
    pub(super) const SERVERS: u64 = 16;
}

/// A future event.
#[derive(Debug)]
enum ScheduledEvent {
    Request {
        server: usize,
        exchange: ExchangeId,
        remote: SocketAddr,
        payload: Vec<u8>,
    },
    Reply {
        exchange: ExchangeId,
        remote: SocketAddr,
        payload: Vec<u8>,
    },
    PortUnreachable {
        exchange: ExchangeId,
    },
    Stamp {
        exchange: ExchangeId,
        stamp: Stamp,
    },
    Resolved {
        query: QueryId,
        host: String,
    },
    KeysExchanged {
        query: QueryId,
        host: Host,
        denied: Vec<String>,
    },
    ClockSample {
        clock: usize,
    },
    Script(usize),
    WakeUp {
        slept: f64,
        error: f64,
    },
    Disrupted,
}

/// A server with its paths.
#[derive(Debug)]
struct SimHost {
    server: SimServer,
    outbound: Channel,
    inbound: Channel,
}

/// A running scenario.
#[derive(Debug)]
pub struct World {
    name: String,
    seed: u64,
    now: TrueTime,
    calendar: Calendar,
    node: Node,
    hosts: Vec<SimHost>,
    ref_clocks: Vec<SimRefClock>,
    by_address: BTreeMap<IpAddr, usize>,
    names: BTreeMap<String, Result<Vec<IpAddr>, String>>,
    lookup_time: f64,
    attacker: Option<Attacker>,
    /// Random numbers for session keys.
    key_rng: Rng,
    script: Vec<Action>,
    event_queue: EventQueue<ScheduledEvent>,
    next_second: TrueTime,
    next_check: TrueTime,
    settled: TrueTime,
    started: bool,
    /// The machine is suspended until then.
    asleep: Option<TrueTime>,
    /// Number of migrations, which is the hypervisor's marker.
    migrations: u64,
    report_builder: ReportBuilder,
}

/// The servers and their paths.
fn hosts(scenario: &Scenario, seed: u64) -> Vec<SimHost> {
    scenario
        .servers
        .iter()
        .enumerate()
        .map(|(index, server)| {
            let rng = |part: u64| Rng::new(seed, stream::SERVERS + 3 * index as u64 + part);
            SimHost {
                server: SimServer::new(
                    *server,
                    rng(0),
                    Rng::new(seed, stream::COURSES + index as u64),
                ),
                outbound: Channel::new(server.link.outbound, rng(1)),
                inbound: Channel::new(server.link.inbound, rng(2)),
            }
        })
        .collect()
}

impl World {
    /// Creates the world, without running it.
    pub fn new(scenario: &Scenario, seed: u64) -> Self {
        Self::build(scenario, seed, None)
    }

    /// Creates the world, with an observer of the engine's inputs and outputs.
    pub fn with_trace(scenario: &Scenario, seed: u64, trace: Box<dyn Trace>) -> Self {
        Self::build(scenario, seed, Some(trace))
    }

    fn build(scenario: &Scenario, seed: u64, trace: Option<Box<dyn Trace>>) -> Self {
        let start = Calendar::new(scenario.start, &[]);
        let leaps: Vec<TrueTime> = scenario
            .leaps
            .iter()
            .map(|leap| start.true_time_of(*leap))
            .collect();
        let crystal = Crystal::new(scenario.node.oscillator, Rng::new(seed, stream::OSCILLATOR));
        let clock = SimClock::new(
            crystal,
            scenario.node.clock,
            scenario.start + scenario.node.clock_error,
            scenario.engine.clock.frequency,
        );
        let node = Node::new(
            scenario.engine.clone(),
            clock,
            Checker::new(scenario.rules, &scenario.engine),
            (scenario.node.stamping, scenario.node.reading_noise),
            Rng::new(seed, stream::NODE),
            trace,
        );
        let hosts = hosts(scenario, seed);
        let mut world = Self {
            name: scenario.name.clone(),
            seed,
            now: TrueTime::ZERO,
            calendar: Calendar::new(scenario.start, &leaps),
            node,
            by_address: hosts
                .iter()
                .enumerate()
                .map(|(index, host)| (host.server.config.address, index))
                .collect(),
            hosts,
            ref_clocks: (stream::REF_CLOCKS..)
                .zip(&scenario.ref_clocks)
                .map(|(stream, clock)| SimRefClock::new(clock.clone(), Rng::new(seed, stream)))
                .collect(),
            names: scenario.names.iter().cloned().collect(),
            lookup_time: scenario.lookup_time,
            attacker: scenario
                .attack
                .map(|attack| Attacker::new(attack, Rng::new(seed, stream::ATTACKER))),
            key_rng: Rng::new(seed, stream::KEY_EXCHANGE),
            script: Vec::new(),
            event_queue: EventQueue::new(),
            next_second: TrueTime::ZERO,
            next_check: TrueTime::ZERO,
            settled: TrueTime::from_seconds(scenario.settled),
            started: false,
            asleep: None,
            migrations: 0,
            report_builder: ReportBuilder::default(),
        };
        for (at, action) in &scenario.script {
            let index = world.script.len();
            world.script.push(action.clone());
            world.schedule(TrueTime::from_seconds(*at), ScheduledEvent::Script(index));
        }
        world
    }

    /// Runs until `end`, in seconds since the beginning.
    ///
    /// # Errors
    /// Returns the first violated invariant.
    pub fn run(&mut self, end: f64) -> Result<(), Violation> {
        let end = TrueTime::from_seconds(end);
        if !core::mem::replace(&mut self.started, true) {
            self.node
                .handle(self.now, Input::LocalAddresses(&[OUR_ADDRESS]));
            self.node.handle(self.now, Input::Tick);
            self.run_tasks();
        }
        loop {
            let queued = self.event_queue.next_time();
            let wake = match self.asleep {
                Some(_) => None,
                None => self.node.next_wakeup().map(|at| at.max(self.now)),
            };
            let next = queued
                .into_iter()
                .chain(wake)
                .chain([self.next_second])
                .min()
                .unwrap_or(end);
            if next > end {
                self.now = end;
                self.node.clock.advance(end);
                return self.verdict();
            }
            self.now = next;
            self.node.clock.advance(next);
            if next == self.next_second {
                self.second();
            } else if queued == Some(next) {
                if let Some(event) = self.event_queue.pop() {
                    self.process(event);
                }
            } else {
                self.node.handle(next, Input::Tick);
            }
            self.run_tasks();
            self.check();
            self.verdict()?;
        }
    }

    /// The clock's true error, in seconds; positive is ahead.
    pub fn error(&self) -> f64 {
        self.node.clock.error(self.calendar.utc(self.now))
    }

    /// The clock.
    pub fn clock(&self) -> &SimClock {
        &self.node.clock
    }

    /// Seconds since the beginning.
    pub fn now(&self) -> f64 {
        self.now.as_seconds()
    }

    /// The engine's status.
    pub fn status(&self) -> EngineStatus {
        self.node.status()
    }

    /// The engine's claim about the clock's error; `None` while it has none.
    pub fn figures(&mut self) -> Option<ErrorFigures> {
        self.node.figures()
    }

    /// History of the run so far.
    pub fn journal(&self) -> &Journal {
        &self.node.journal
    }

    /// Number of requests that reached the `index`th server.
    pub fn requests_to(&self, index: usize) -> u64 {
        self.hosts[index].server.requests
    }

    /// Report on the run so far.
    pub fn report(&self) -> Report {
        let journal = &self.node.journal;
        self.report_builder
            .build(journal.requests, journal.fingerprint(), self.status())
    }

    // ---- events

    fn schedule(&mut self, at: TrueTime, event: ScheduledEvent) {
        self.event_queue.push(at.max(self.now), event);
    }

    fn second(&mut self) {
        self.next_second = self.now + 1.0;
        let figures = self.checked_figures();
        let counted = self.now >= self.settled;
        self.report_builder.add_second(
            self.now.as_seconds(),
            (self.error(), self.node.clock.rate_error()),
            figures,
            counted,
            self.node.journal.requests,
        );
    }

    /// Runs the checks: the bound after every input, the whole status at intervals.
    fn check(&mut self) {
        if self.node.checker.take_engine_called() {
            self.checked_figures();
        }
        let interval = self.node.checker.rules().check_interval;
        if interval <= 0.0 || self.now < self.next_check || !self.is_awake() {
            return;
        }
        self.next_check = self.now + interval;
        let status = self.status();
        self.node.checker.check_status(self.now, &status);
    }

    fn is_awake(&self) -> bool {
        !self.node.is_over() && self.asleep.is_none()
    }

    /// Returns the engine's claim about the clock, compared with true time.
    fn checked_figures(&mut self) -> Option<ErrorFigures> {
        if !self.is_awake() {
            return None;
        }
        let figures = self.node.figures()?;
        let leap = self.calendar.distance_to_leap(self.now);
        let error = self.error();
        self.node
            .checker
            .check_bound(self.now, error, leap, figures.bound);
        Some(figures)
    }

    fn verdict(&self) -> Result<(), Violation> {
        match self.node.checker.violation() {
            None => Ok(()),
            Some((at, message)) => Err(Violation {
                scenario: self.name.clone(),
                seed: self.seed,
                at: at.as_seconds(),
                message: message.clone(),
            }),
        }
    }

    fn process(&mut self, event: ScheduledEvent) {
        match event {
            ScheduledEvent::Script(index) => self.act(self.script[index].clone()),
            ScheduledEvent::Request {
                server,
                exchange,
                remote,
                payload,
            } => {
                self.serve(server, exchange, remote, &payload);
            }
            ScheduledEvent::WakeUp { slept, error } => {
                self.asleep = None;
                self.node.clock.step(NtpDuration::from_seconds_f64(error));
                self.node.handle(
                    self.now,
                    Input::Suspended(NtpDuration::from_seconds_f64(slept)),
                );
            }
            ScheduledEvent::Disrupted => self.node.handle(self.now, Input::Tick),
            ScheduledEvent::ClockSample { clock } => self.sample_clock(clock),
            // A suspended machine loses datagrams; what it has already received waits.
            ScheduledEvent::Reply { .. } if self.asleep.is_some() => {}
            ScheduledEvent::Resolved { .. }
            | ScheduledEvent::KeysExchanged { .. }
            | ScheduledEvent::Stamp { .. }
            | ScheduledEvent::PortUnreachable { .. }
                if self.asleep.is_some() =>
            {
                let later = self.asleep.unwrap_or(self.now);
                self.schedule(later, event);
            }
            ScheduledEvent::Reply {
                exchange,
                remote,
                payload,
            } => {
                self.node.deliver(self.now, exchange, remote, &payload);
            }
            ScheduledEvent::PortUnreachable { exchange } => {
                self.node.handle(
                    self.now,
                    Input::SendFailed {
                        exchange,
                        error: SendError::Refused,
                    },
                );
            }
            ScheduledEvent::Stamp { exchange, stamp } => {
                self.node
                    .handle(self.now, Input::Transmitted { exchange, stamp });
            }
            ScheduledEvent::Resolved { query, host } => {
                let unknown = Err("no such name".to_owned());
                let result = self.names.get(&host).unwrap_or(&unknown);
                let result = result.as_ref().map(|addresses| {
                    let addresses = addresses.iter().copied();
                    addresses.map(ScopedIp::from).collect::<Vec<_>>()
                });
                let result = result
                    .as_deref()
                    .map_err(|error| ntp_proto::engine::ExternalError::from(*error));
                self.node
                    .handle(self.now, Input::Resolved { query, result });
            }
            ScheduledEvent::KeysExchanged {
                query,
                host,
                denied,
            } => self.exchange_keys(query, &host, &denied),
        }
    }

    /// Takes a sample of a reference clock, which a suspended machine misses.
    fn sample_clock(&mut self, index: usize) {
        let our_error = self.error();
        let leap = if self.calendar.announces_leap(self.now) {
            LeapIndicator::Insert
        } else {
            LeapIndicator::None
        };
        let clock = &mut self.ref_clocks[index];
        let Some(source) = clock.opened_by else {
            clock.is_running = false;
            return;
        };
        let next = self.now + clock.config.interval;
        let sample = clock.sample(self.now.as_seconds(), our_error, leap);
        if let Some(sample) = sample.filter(|_| self.asleep.is_none()) {
            self.node.sample(self.now, source, sample);
        }
        self.schedule(next, ScheduledEvent::ClockSample { clock: index });
    }

    /// A source opens a device.
    fn open_device(&mut self, source: SourceId, device: &str) {
        let mut clocks = self.ref_clocks.iter_mut();
        let Some(index) = clocks.position(|clock| clock.config.device == device) else {
            return;
        };
        let clock = &mut self.ref_clocks[index];
        clock.opened_by = Some(source);
        if !core::mem::replace(&mut clock.is_running, true) {
            let first = self.now + clock.config.interval;
            self.schedule(first, ScheduledEvent::ClockSample { clock: index });
        }
    }

    fn close_device(&mut self, source: SourceId) {
        for clock in &mut self.ref_clocks {
            clock.opened_by = clock.opened_by.filter(|opener| *opener != source);
        }
    }

    fn exchange_keys(&mut self, query: QueryId, host: &Host, denied: &[String]) {
        let address = match host {
            Host::Address(address) => Ok(*address),
            Host::Name(name) => match self.names.get(name) {
                Some(Ok(addresses)) => addresses.first().copied().ok_or("no address"),
                Some(Err(error)) => Err(error.as_str()),
                None => Err("no such name"),
            },
        };
        let unresolved = |message| key_exchange::error(KeyExchangeFailure::NameResolution, message);
        let result = address.map_err(unresolved).and_then(|address| {
            let server = self.by_address.get(&address);
            let nts = server.and_then(|index| self.hosts[*index].server.config.nts);
            let refused = KeyExchangeFailure::ConnectionRefused;
            let nts =
                nts.ok_or_else(|| key_exchange::error(refused, "no key exchange at this address"))?;
            nts.exchange(address, denied, &mut self.key_rng)
        });
        let result = result.as_ref();
        self.node
            .handle(self.now, Input::KeyExchanged { query, result });
    }

    fn serve(&mut self, server: usize, exchange: ExchangeId, remote: SocketAddr, payload: &[u8]) {
        let leap = self.calendar.announces_leap(self.now);
        let calendar = &self.calendar;
        let host = &mut self.hosts[server];
        match host
            .server
            .handle_request(self.now, |at| calendar.utc(at), leap, payload)
        {
            Response::None => {}
            Response::PortUnreachable => {
                let arrivals: Vec<_> = host.inbound.transmit(self.now).collect();
                for at in arrivals {
                    self.schedule(at, ScheduledEvent::PortUnreachable { exchange });
                }
            }
            Response::Reply(leaves, reply) => {
                if let Some(attacker) = &mut self.attacker {
                    attacker.record_reply(remote, &reply);
                }
                let damaged = self
                    .attacker
                    .as_mut()
                    .and_then(|attacker| attacker.damage(self.now, &reply));
                let arrivals: Vec<_> = host.inbound.transmit(leaves).collect();
                for at in arrivals {
                    let at = at + self.node.reception_delay();
                    if let Some(payload) = damaged.clone() {
                        self.schedule(
                            at,
                            ScheduledEvent::Reply {
                                exchange,
                                remote,
                                payload,
                            },
                        );
                    }
                    self.schedule(
                        at,
                        ScheduledEvent::Reply {
                            exchange,
                            remote,
                            payload: reply.clone(),
                        },
                    );
                }
            }
        }
    }

    fn run_tasks(&mut self) {
        for task in core::mem::take(&mut self.node.tasks) {
            match task {
                Task::Send {
                    exchange,
                    remote,
                    payload,
                    leaves,
                } => self.send(exchange, remote, &payload, leaves),
                Task::Stamp {
                    exchange,
                    stamp,
                    at,
                } => self.schedule(at, ScheduledEvent::Stamp { exchange, stamp }),
                Task::ExchangeKeys {
                    query,
                    host,
                    denied,
                } => self.schedule(
                    self.now + key_exchange::DURATION,
                    ScheduledEvent::KeysExchanged {
                        query,
                        host,
                        denied,
                    },
                ),
                Task::OpenDevice { source, device } => {
                    self.open_device(source, &device.device.to_string());
                }
                Task::CloseDevice(source) => self.close_device(source),
                Task::Resolve { query, host } => {
                    self.schedule(
                        self.now + self.lookup_time,
                        ScheduledEvent::Resolved { query, host },
                    );
                }
            }
        }
    }

    fn send(&mut self, exchange: ExchangeId, remote: SocketAddr, payload: &[u8], leaves: TrueTime) {
        let utc = self.calendar.utc(self.now);
        let forgeries = self
            .attacker
            .as_mut()
            .map(|attacker| attacker.on_request(leaves, utc, exchange, (remote, payload)));
        for (at, exchange, payload) in forgeries.unwrap_or_default() {
            self.schedule(
                at,
                ScheduledEvent::Reply {
                    exchange,
                    remote,
                    payload,
                },
            );
        }
        let Some(server) = self.by_address.get(&remote.ip()).copied() else {
            return;
        };
        let arrivals: Vec<_> = self.hosts[server].outbound.transmit(leaves).collect();
        for at in arrivals {
            self.schedule(
                at,
                ScheduledEvent::Request {
                    server,
                    exchange,
                    remote,
                    payload: payload.to_owned(),
                },
            );
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Behaviour(server, behaviour) => {
                self.hosts[server].server.config.behaviour = behaviour;
            }
            Action::ServerError(server, error) => self.hosts[server].server.config.error = error,
            Action::ClockBehaviour(clock, behaviour) => {
                self.ref_clocks[clock].config.behaviour = behaviour;
            }
            Action::ClockError(clock, error) => self.ref_clocks[clock].config.error = error,
            Action::Nts(server, nts) => self.hosts[server].server.config.nts = nts,
            Action::Route(server, link) => {
                self.hosts[server].outbound.model = link.outbound;
                self.hosts[server].inbound.model = link.inbound;
            }
            Action::Name(name, result) => {
                self.names.insert(name, result);
            }
            Action::Network { v4, v6 } => self.node.routes = Routes { v4, v6 },
            Action::AddressesChanged => {
                self.node.checker.allow_fast_polls(self.now);
                self.node
                    .handle(self.now, Input::LocalAddresses(&[OUR_ADDRESS]));
            }
            Action::ForeignStep(by) => {
                self.node.checker.clock_disturbed();
                self.node.clock.step(NtpDuration::from_seconds_f64(by));
                // The kernel wakes the daemon when the clock is set.
                self.node.handle(self.now, Input::Tick);
            }
            Action::FrequencyJump(by) => self.node.clock.jump_frequency(by),
            Action::Suspend { seconds, error } => {
                self.node.checker.clock_disturbed();
                let until = self.now + seconds;
                self.asleep = Some(until);
                self.schedule(
                    until,
                    ScheduledEvent::WakeUp {
                        slept: seconds,
                        error,
                    },
                );
            }
            Action::Pause(seconds) => self.node.clock.pause(seconds),
            Action::Migration {
                pause,
                frequency,
                noticed_after,
            } => {
                self.node.checker.clock_disturbed();
                self.node.clock.pause(pause);
                self.node.clock.jump_frequency(frequency);
                self.migrations += 1;
                self.node.disrupted = Some(self.migrations);
                self.schedule(self.now + noticed_after, ScheduledEvent::Disrupted);
            }
            Action::Command(command) => {
                let steps = matches!(command, Command::Step { .. });
                self.node.checker.operator_command(self.now, steps);
                self.node
                    .handle(self.now, Input::Command(CommandId(0), &command));
            }
            Action::Reconfigure(config) => {
                self.node.checker.operator_command(self.now, false);
                self.node
                    .handle(self.now, Input::Reconfigure(CommandId(0), &config));
            }
            Action::LeapList(table) => self.node.handle(self.now, Input::LeapList(table.as_ref())),
            Action::ShutDown => self.node.shut_down(self.now),
        }
    }
}
