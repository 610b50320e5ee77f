//! Event loop of the simulation.
//!
//! A queue of future events in true time, nanoseconds. The engines' own timers and the full seconds,
//! at which the clock is compared with true time, are handled beside it.
//!
//! ```text
//! engine -> node -> tasks -> outbound path -> server -> inbound path -> node -> engine
//!                                    attacker ------------------------^
//! ```
//!
//! Node 0 is the simulated machine, which the report, the attacker and most of the script are about.
//! The others keep the clocks of servers ([`Machine`](crate::Machine)).

mod script;
mod transport;

use core::net::SocketAddr;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use ntp_proto::client::VersionChoice;
use ntp_proto::discipline::ErrorFigures;
use ntp_proto::engine::{EngineConfig, ExchangeId, Host, Input, QueryId, SendError, SourceId};
use ntp_proto::nts::NextProtocol;
use ntp_proto::server::Claim;
use ntp_proto::wire::Version;
use ntp_proto::wire::v5::draft;
use ntp_time::{LeapIndicator, NtpDuration, Stamp};
use ntp_types::event::KeyExchangeFailure;
use ntp_types::host::ScopedIp;
use ntp_types::status::EngineStatus;

use crate::attacker::Attacker;
use crate::checker::Checker;
use crate::event_queue::EventQueue;
use crate::key_exchange;
use crate::link::Channel;
use crate::node::{Node, Task, Trace};
use crate::oscillator::Crystal;
use crate::ref_clock::SimRefClock;
use crate::report::ReportBuilder;
use crate::server::SimServer;
use crate::{
    Action, Calendar, Journal, NodeConfig, Report, Rng, Scenario, SimClock, TrueTime, Violation,
};

/// The simulated machine's own address.
const OUR_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 19, 0, 1));

/// Random streams; servers follow from `SERVERS` on, three each, reference clocks from
/// `REF_CLOCKS` on, machines from `MACHINES` on, two each.
mod stream {
    pub(super) const OSCILLATOR: u64 = 0;
    pub(super) const NODE: u64 = 1;
    pub(super) const ATTACKER: u64 = 2;
    pub(super) const KEY_EXCHANGE: u64 = 3;
    pub(super) const REF_CLOCKS: u64 = 1 << 32;
    pub(super) const COURSES: u64 = 1 << 33;
    pub(super) const MACHINES: u64 = 1 << 34;
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
        version: VersionChoice,
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
    /// The node that keeps its clock.
    kept_by: Option<usize>,
}

/// A running scenario.
#[derive(Debug)]
pub struct World {
    name: String,
    seed: u64,
    now: TrueTime,
    calendar: Calendar,
    nodes: Vec<Node>,
    hosts: Vec<SimHost>,
    /// The network of each server, see [`Action::Networks`].
    networks: Vec<u8>,
    ref_clocks: Vec<SimRefClock>,
    by_address: BTreeMap<IpAddr, usize>,
    names: BTreeMap<String, Result<Vec<IpAddr>, String>>,
    lookup_time: f64,
    attacker: Option<Attacker>,
    /// Random numbers for session keys.
    key_rng: Rng,
    script: Vec<Action>,
    /// Events, with the node that each is about.
    event_queue: EventQueue<(usize, ScheduledEvent)>,
    next_second: TrueTime,
    next_check: TrueTime,
    settled: TrueTime,
    started: bool,
    /// Node 0 is suspended until then.
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
                kept_by: scenario
                    .machines
                    .iter()
                    .position(|machine| machine.server == index)
                    .map(|machine| machine + 1),
            }
        })
        .collect()
}

/// The nodes: the simulated machine, and those that keep the clocks of servers.
fn nodes(scenario: &Scenario, seed: u64, trace: Option<Box<dyn Trace>>) -> Vec<Node> {
    let node = |config: &NodeConfig, engine: &EngineConfig, [crystal, own]: [u64; 2], trace| {
        let crystal = Crystal::new(config.oscillator, Rng::new(seed, crystal));
        let clock = SimClock::new(
            crystal,
            config.clock,
            scenario.start + config.clock_error,
            engine.clock.frequency,
        );
        Node::new(
            engine.clone(),
            clock,
            Checker::new(scenario.rules, engine),
            (config.stamping, config.reading_noise),
            Rng::new(seed, own),
            trace,
        )
    };
    let streams = [stream::OSCILLATOR, stream::NODE];
    let first = node(&scenario.node, &scenario.engine, streams, trace);
    let others = (stream::MACHINES..).step_by(2).zip(&scenario.machines);
    let others = others
        .map(|(stream, machine)| node(&machine.node, &machine.engine, [stream, stream + 1], None));
    core::iter::once(first).chain(others).collect()
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
        let hosts = hosts(scenario, seed);
        let mut world = Self {
            name: scenario.name.clone(),
            seed,
            now: TrueTime::ZERO,
            calendar: Calendar::new(scenario.start, &leaps),
            nodes: nodes(scenario, seed, trace),
            by_address: hosts
                .iter()
                .enumerate()
                .map(|(index, host)| (host.server.config.address, index))
                .collect(),
            hosts,
            networks: Vec::new(),
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
            world.schedule(
                TrueTime::from_seconds(*at),
                0,
                ScheduledEvent::Script(index),
            );
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
            self.start();
        }
        loop {
            let queued = self.event_queue.next_time();
            let wake = self.next_wakeup();
            let next = queued
                .into_iter()
                .chain(wake.map(|(at, _)| at))
                .chain([self.next_second])
                .min()
                .unwrap_or(end);
            self.now = next.min(end);
            for node in &mut self.nodes {
                node.clock.advance(self.now);
            }
            if next > end {
                return self.verdict();
            }
            if next == self.next_second {
                self.second();
            } else if queued == Some(next) {
                if let Some((node, event)) = self.event_queue.pop() {
                    self.process(node, event);
                }
            } else if let Some((_, node)) = wake {
                self.nodes[node].handle(next, Input::Tick);
            }
            self.run_tasks();
            self.check();
            self.verdict()?;
        }
    }

    fn start(&mut self) {
        for (index, node) in self.nodes.iter_mut().enumerate() {
            let kept = self.hosts.iter().find(|host| host.kept_by == Some(index));
            match kept.map(|host| host.server.config.address) {
                Some(address) => {
                    node.serve(self.now);
                    node.set_address(self.now, address);
                }
                None => node.handle(self.now, Input::LocalAddresses(&[OUR_ADDRESS])),
            }
            node.handle(self.now, Input::Tick);
        }
        self.run_tasks();
    }

    /// When an engine is to be called next, and which one.
    fn next_wakeup(&self) -> Option<(TrueTime, usize)> {
        let awake = (0..)
            .zip(&self.nodes)
            .filter(|(index, _)| !self.is_asleep(*index));
        let times = awake.filter_map(|(index, node)| Some((node.next_wakeup()?, index)));
        times.min().map(|(at, index)| (at.max(self.now), index))
    }

    fn is_asleep(&self, node: usize) -> bool {
        node == 0 && self.asleep.is_some()
    }

    /// The clock's true error, in seconds; positive is ahead.
    pub fn error(&self) -> f64 {
        self.error_of(0)
    }

    /// The true error of the clock of the `index`th server, which a machine keeps, in seconds.
    ///
    /// # Panics
    /// Panics if no machine keeps it.
    pub fn error_of_server(&self, index: usize) -> f64 {
        self.error_of(self.keeper(index))
    }

    /// History of the machine that keeps the clock of the `index`th server.
    ///
    /// # Panics
    /// Panics if no machine keeps it.
    pub fn journal_of(&self, index: usize) -> &Journal {
        &self.nodes[self.keeper(index)].journal
    }

    fn keeper(&self, index: usize) -> usize {
        self.hosts[index]
            .kept_by
            .expect("a machine keeps the clock")
    }

    fn error_of(&self, node: usize) -> f64 {
        self.nodes[node].clock.error(self.calendar.utc(self.now))
    }

    /// The clock.
    pub fn clock(&self) -> &SimClock {
        &self.nodes[0].clock
    }

    /// Seconds since the beginning.
    pub fn now(&self) -> f64 {
        self.now.as_seconds()
    }

    /// The engine's status.
    pub fn status(&self) -> EngineStatus {
        self.nodes[0].status()
    }

    /// Status of the engine that keeps the clock of the `index`th server.
    ///
    /// # Panics
    /// Panics if no machine keeps it.
    pub fn status_of(&self, index: usize) -> EngineStatus {
        self.nodes[self.keeper(index)].status()
    }

    /// What the server of the machine states.
    pub fn claim(&self) -> Claim {
        self.nodes[0].claim()
    }

    /// The engine's claim about the clock's error; `None` while it has none.
    pub fn figures(&mut self) -> Option<ErrorFigures> {
        self.nodes[0].figures()
    }

    /// History of the run so far.
    pub fn journal(&self) -> &Journal {
        &self.nodes[0].journal
    }

    /// Number of requests that reached the `index`th server.
    pub fn requests_to(&self, index: usize) -> u64 {
        self.hosts[index].server.requests
    }

    /// Report on the run so far.
    pub fn report(&self) -> Report {
        let journal = &self.nodes[0].journal;
        self.report_builder
            .build(journal.requests, journal.fingerprint(), self.status())
    }

    // ---- events

    fn schedule(&mut self, at: TrueTime, node: usize, event: ScheduledEvent) {
        self.event_queue.push(at.max(self.now), (node, event));
    }

    fn second(&mut self) {
        self.next_second = self.now + 1.0;
        let figures = self.checked_figures(0);
        let counted = self.now >= self.settled;
        self.report_builder.add_second(
            self.now.as_seconds(),
            (self.error(), self.nodes[0].clock.rate_error()),
            figures,
            counted,
            self.nodes[0].journal.requests,
        );
    }

    /// Runs the checks: the bound after every input, the whole status at intervals.
    fn check(&mut self) {
        for index in 0..self.nodes.len() {
            if self.nodes[index].checker.take_engine_called() {
                self.checked_figures(index);
            }
        }
        let interval = self.nodes[0].checker.rules().check_interval;
        if interval <= 0.0 || self.now < self.next_check || !self.is_awake(0) {
            return;
        }
        self.next_check = self.now + interval;
        for node in &mut self.nodes {
            let status = node.status();
            node.checker.check_status(self.now, &status);
        }
    }

    fn is_awake(&self, node: usize) -> bool {
        !self.nodes[node].is_over() && !self.is_asleep(node)
    }

    /// Returns the engine's claim about the clock, compared with true time.
    fn checked_figures(&mut self, node: usize) -> Option<ErrorFigures> {
        if !self.is_awake(node) {
            return None;
        }
        let figures = self.nodes[node].figures()?;
        let leap = self.calendar.distance_to_leap(self.now);
        let error = self.error_of(node);
        self.nodes[node]
            .checker
            .check_bound(self.now, error, leap, figures.bound);
        Some(figures)
    }

    fn verdict(&self) -> Result<(), Violation> {
        let mut violations = self.nodes.iter().map(|node| node.checker.violation());
        match violations.find_map(|violation| violation) {
            None => Ok(()),
            Some((at, message)) => Err(Violation {
                scenario: self.name.clone(),
                seed: self.seed,
                at: at.as_seconds(),
                message: message.clone(),
            }),
        }
    }

    fn process(&mut self, node: usize, event: ScheduledEvent) {
        let asleep = self.is_asleep(node);
        match event {
            ScheduledEvent::Script(index) => self.act(self.script[index].clone()),
            ScheduledEvent::Request {
                server,
                exchange,
                remote,
                payload,
            } => {
                self.serve(node, server, (exchange, remote), &payload);
            }
            ScheduledEvent::WakeUp { slept, error } => {
                self.asleep = None;
                self.nodes[node]
                    .clock
                    .step(NtpDuration::from_seconds_f64(error));
                self.nodes[node].handle(
                    self.now,
                    Input::Suspended(NtpDuration::from_seconds_f64(slept)),
                );
            }
            ScheduledEvent::Disrupted => self.nodes[node].handle(self.now, Input::Tick),
            ScheduledEvent::ClockSample { clock } => self.sample_clock(clock),
            // A suspended machine loses datagrams; what it has already received waits.
            ScheduledEvent::Reply { .. } if asleep => {}
            ScheduledEvent::Resolved { .. }
            | ScheduledEvent::KeysExchanged { .. }
            | ScheduledEvent::Stamp { .. }
            | ScheduledEvent::PortUnreachable { .. }
                if asleep =>
            {
                let later = self.asleep.unwrap_or(self.now);
                self.schedule(later, node, event);
            }
            ScheduledEvent::Reply {
                exchange,
                remote,
                payload,
            } => {
                self.nodes[node].deliver(self.now, exchange, remote, &payload);
            }
            ScheduledEvent::PortUnreachable { exchange } => {
                self.nodes[node].handle(
                    self.now,
                    Input::SendFailed {
                        exchange,
                        error: SendError::Refused,
                    },
                );
            }
            ScheduledEvent::Stamp { exchange, stamp } => {
                self.nodes[node].handle(self.now, Input::Transmitted { exchange, stamp });
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
                self.nodes[node].handle(self.now, Input::Resolved { query, result });
            }
            ScheduledEvent::KeysExchanged {
                query,
                host,
                version,
                denied,
            } => self.exchange_keys(node, query, (&host, version), &denied),
        }
    }

    /// Takes a sample of a reference clock, which a suspended machine misses.
    fn sample_clock(&mut self, index: usize) {
        let Some((node, source)) = self.ref_clocks[index].opened_by else {
            self.ref_clocks[index].is_running = false;
            return;
        };
        let our_error = self.error_of(node);
        let leap = if self.calendar.announces_leap(self.now) {
            LeapIndicator::Insert
        } else {
            LeapIndicator::None
        };
        let clock = &mut self.ref_clocks[index];
        let sample = clock.sample(self.now.as_seconds(), our_error, leap);
        let next = self.now + clock.time_to_next();
        if let Some(sample) = sample.filter(|_| !self.is_asleep(node)) {
            self.nodes[node].sample(self.now, source, sample);
        }
        self.schedule(next, node, ScheduledEvent::ClockSample { clock: index });
    }

    /// A source opens a device.
    fn open_device(&mut self, node: usize, source: SourceId, device: &str) {
        let mut clocks = self.ref_clocks.iter_mut();
        let Some(index) = clocks.position(|clock| clock.config.device == device) else {
            return;
        };
        let clock = &mut self.ref_clocks[index];
        clock.opened_by = Some((node, source));
        if !core::mem::replace(&mut clock.is_running, true) {
            let first = self.now + clock.config.interval;
            self.schedule(first, node, ScheduledEvent::ClockSample { clock: index });
        }
    }

    fn close_device(&mut self, node: usize, source: SourceId) {
        for clock in &mut self.ref_clocks {
            clock.opened_by = clock.opened_by.filter(|opener| *opener != (node, source));
        }
    }

    fn exchange_keys(
        &mut self,
        node: usize,
        query: QueryId,
        (host, version): (&Host, VersionChoice),
        denied: &[String],
    ) {
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
            let server = server.map(|index| &self.hosts[*index].server.config);
            let nts = server.and_then(|server| server.nts);
            let version_5 = server.is_some_and(|server| server.version_5);
            let wanted = version != VersionChoice::Fixed(Version::V4);
            let protocol = match version_5 && wanted {
                true => NextProtocol::NtpV5(draft::NAMES[0]),
                false => NextProtocol::NtpV4,
            };
            let refused = KeyExchangeFailure::ConnectionRefused;
            let nts =
                nts.ok_or_else(|| key_exchange::error(refused, "no key exchange at this address"))?;
            nts.exchange(address, protocol, denied, &mut self.key_rng)
        });
        let result = result.as_ref();
        self.nodes[node].handle(self.now, Input::KeyExchanged { query, result });
    }

    fn run_tasks(&mut self) {
        for node in 0..self.nodes.len() {
            for task in core::mem::take(&mut self.nodes[node].tasks) {
                self.run_task(node, task);
            }
        }
    }

    fn run_task(&mut self, node: usize, task: Task) {
        match task {
            Task::Send {
                exchange,
                remote,
                payload,
                leaves,
            } => self.send(node, (exchange, remote), &payload, leaves),
            Task::Stamp {
                exchange,
                stamp,
                at,
            } => self.schedule(at, node, ScheduledEvent::Stamp { exchange, stamp }),
            Task::ExchangeKeys {
                query,
                host,
                version,
                denied,
            } => {
                let exchanged = ScheduledEvent::KeysExchanged {
                    query,
                    host,
                    version,
                    denied,
                };
                self.schedule(self.now + key_exchange::DURATION, node, exchanged);
            }
            Task::OpenDevice { source, device } => {
                self.open_device(node, source, &device.device.to_string());
            }
            Task::CloseDevice(source) => self.close_device(node, source),
            Task::Resolve { query, host } => {
                let resolved = ScheduledEvent::Resolved { query, host };
                self.schedule(self.now + self.lookup_time, node, resolved);
            }
        }
    }
}
