//! The world: what happens next, and to whom.
//!
//! An agenda of coming events in true time, nanoseconds. Next to it stand the engine's own timer and the beat of full seconds, at which
//! the clock is compared with the truth.
//!
//! ```text
//! engine -> node -> errands -> path there -> server -> path back -> node -> engine
//!                                 attacker ------------------------^
//! ```

use core::net::SocketAddr;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use ntp_proto::discipline::ErrorFigures;
use ntp_proto::engine::{
    Command, CommandId, ExchangeId, Host as EngineHost, Input, QueryId, SendError, Snapshot,
};
use ntp_time::{NtpDuration, Stamp};

use crate::agenda::Agenda;
use crate::attacker::Attacker;
use crate::checker::Checker;
use crate::key_exchange;
use crate::link::Pipe;
use crate::node::{Errand, Node, Routes, Witness};
use crate::oscillator::Crystal;
use crate::report::Tally;
use crate::server::{Answer, Host};
use crate::{Action, Calendar, Chance, Journal, Report, Scenario, SimClock, TrueTime, Violation};

/// The simulated machine's own address.
const OUR_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 19, 0, 1));

/// Streams of randomness; servers follow from `SERVERS` on, three each.
mod stream {
    pub(super) const OSCILLATOR: u64 = 0;
    pub(super) const NODE: u64 = 1;
    pub(super) const ATTACKER: u64 = 2;
    pub(super) const KEY_EXCHANGE: u64 = 3;
    pub(super) const SERVERS: u64 = 16;
}

/// Something that is going to happen.
#[derive(Debug)]
enum Happening {
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
    Refusal {
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
        host: EngineHost,
    },
    Script(usize),
    WakeUp {
        slept: f64,
        error: f64,
    },
}

/// A server with its paths.
#[derive(Debug)]
struct Place {
    host: Host,
    there: Pipe,
    back: Pipe,
}

/// A scenario being played.
#[derive(Debug)]
pub struct World {
    name: String,
    seed: u64,
    now: TrueTime,
    calendar: Calendar,
    node: Node,
    places: Vec<Place>,
    by_address: BTreeMap<IpAddr, usize>,
    names: BTreeMap<String, Result<Vec<IpAddr>, String>>,
    lookup_time: f64,
    attacker: Option<Attacker>,
    /// Where session keys come from.
    key_chance: Chance,
    script: Vec<Action>,
    agenda: Agenda<Happening>,
    next_second: TrueTime,
    next_look: TrueTime,
    settled: TrueTime,
    begun: bool,
    /// The machine sleeps until then.
    asleep: Option<TrueTime>,
    tally: Tally,
}

impl World {
    /// Sets the scene. Nothing has happened yet.
    pub fn new(scenario: &Scenario, seed: u64) -> Self {
        Self::set(scenario, seed, None)
    }

    /// The same, with somebody who sees what the engine is told and what it puts out.
    pub fn witnessed(scenario: &Scenario, seed: u64, witness: Box<dyn Witness>) -> Self {
        Self::set(scenario, seed, Some(witness))
    }

    fn set(scenario: &Scenario, seed: u64, witness: Option<Box<dyn Witness>>) -> Self {
        let start = Calendar::new(scenario.start, &[]);
        let leaps: Vec<TrueTime> = scenario
            .leaps
            .iter()
            .map(|leap| start.moment_of(*leap))
            .collect();
        let crystal = Crystal::new(
            scenario.node.oscillator,
            Chance::new(seed, stream::OSCILLATOR),
        );
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
            Chance::new(seed, stream::NODE),
            witness,
        );
        let places: Vec<Place> = scenario
            .servers
            .iter()
            .enumerate()
            .map(|(index, server)| {
                let chance =
                    |part: u64| Chance::new(seed, stream::SERVERS + 3 * index as u64 + part);
                Place {
                    host: Host::new(*server, chance(0)),
                    there: Pipe::new(server.link.there, chance(1)),
                    back: Pipe::new(server.link.back, chance(2)),
                }
            })
            .collect();
        let mut world = Self {
            name: scenario.name.clone(),
            seed,
            now: TrueTime::ZERO,
            calendar: Calendar::new(scenario.start, &leaps),
            node,
            by_address: places
                .iter()
                .enumerate()
                .map(|(index, place)| (place.host.config.address, index))
                .collect(),
            places,
            names: scenario.names.iter().cloned().collect(),
            lookup_time: scenario.lookup_time,
            attacker: scenario
                .attack
                .map(|attack| Attacker::new(attack, Chance::new(seed, stream::ATTACKER))),
            key_chance: Chance::new(seed, stream::KEY_EXCHANGE),
            script: Vec::new(),
            agenda: Agenda::new(),
            next_second: TrueTime::ZERO,
            next_look: TrueTime::ZERO,
            settled: TrueTime::from_seconds(scenario.settled),
            begun: false,
            asleep: None,
            tally: Tally::default(),
        };
        for (at, action) in &scenario.script {
            let index = world.script.len();
            world.script.push(action.clone());
            world.put(TrueTime::from_seconds(*at), Happening::Script(index));
        }
        world
    }

    /// Plays until `end`, in seconds since the beginning.
    ///
    /// # Errors
    /// As soon as something that must always hold does not.
    pub fn run(&mut self, end: f64) -> Result<(), Violation> {
        let end = TrueTime::from_seconds(end);
        if !core::mem::replace(&mut self.begun, true) {
            self.node
                .tell(self.now, Input::LocalAddresses(&[OUR_ADDRESS]));
            self.node.tell(self.now, Input::Tick);
            self.run_errands();
        }
        loop {
            let queued = self.agenda.next();
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
                if let Some(what) = self.agenda.take() {
                    self.happen(what);
                }
            } else {
                self.node.tell(next, Input::Tick);
            }
            self.run_errands();
            self.look();
            self.verdict()?;
        }
    }

    /// The clock's true error now, in seconds; positive is ahead.
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

    /// The engine's state.
    pub fn snapshot(&self) -> Snapshot {
        self.node.snapshot()
    }

    /// What the engine says about the clock's error; None while it cannot say anything.
    pub fn figures(&mut self) -> Option<ErrorFigures> {
        self.node.figures()
    }

    /// What happened so far.
    pub fn journal(&self) -> &Journal {
        &self.node.journal
    }

    /// Requests that reached the `index`th server.
    pub fn requests_to(&self, index: usize) -> u64 {
        self.places[index].host.asked
    }

    /// Figures so far.
    pub fn report(&self) -> Report {
        let journal = &self.node.journal;
        self.tally
            .report(journal.requests, journal.fingerprint(), self.snapshot())
    }

    // ---- the course of things

    fn put(&mut self, at: TrueTime, what: Happening) {
        self.agenda.put(at.max(self.now), what);
    }

    fn second(&mut self) {
        self.next_second = self.now + 1.0;
        let figures = self.claim();
        let counts = self.now >= self.settled;
        self.tally.second(
            self.now.as_seconds(),
            (self.error(), self.node.clock.rate_error()),
            figures,
            counts,
            self.node.journal.requests,
        );
    }

    /// Lets the checker compare claims and truth: whenever the engine was told something, and in full now and then.
    fn look(&mut self) {
        if self.node.checker.take_stirred() {
            self.claim();
        }
        let every = self.node.checker.rules().look_every;
        if every <= 0.0 || self.now < self.next_look || !self.can_be_asked() {
            return;
        }
        self.next_look = self.now + every;
        let snapshot = self.snapshot();
        self.node.checker.look(self.now, &snapshot);
    }

    fn can_be_asked(&self) -> bool {
        !self.node.is_over() && self.asleep.is_none()
    }

    /// What the engine claims about the clock, compared with the truth.
    fn claim(&mut self) -> Option<ErrorFigures> {
        if !self.can_be_asked() {
            return None;
        }
        let figures = self.node.figures()?;
        let leap = self.calendar.distance_to_leap(self.now);
        let error = self.error();
        self.node
            .checker
            .claim(self.now, error, leap, figures.bound);
        Some(figures)
    }

    fn verdict(&self) -> Result<(), Violation> {
        match self.node.checker.found() {
            None => Ok(()),
            Some((at, what)) => Err(Violation {
                scenario: self.name.clone(),
                seed: self.seed,
                at: at.as_seconds(),
                what: what.clone(),
            }),
        }
    }

    fn happen(&mut self, what: Happening) {
        match what {
            Happening::Script(index) => self.act(self.script[index].clone()),
            Happening::Request {
                server,
                exchange,
                remote,
                payload,
            } => {
                self.serve(server, exchange, remote, &payload);
            }
            Happening::WakeUp { slept, error } => {
                self.asleep = None;
                self.node.clock.step(NtpDuration::from_seconds_f64(error));
                self.node.tell(
                    self.now,
                    Input::Suspended(NtpDuration::from_seconds_f64(slept)),
                );
            }
            // A sleeping machine loses what is sent to it; what it knows already waits.
            Happening::Reply { .. } if self.asleep.is_some() => {}
            Happening::Resolved { .. }
            | Happening::KeysExchanged { .. }
            | Happening::Stamp { .. }
            | Happening::Refusal { .. }
                if self.asleep.is_some() =>
            {
                let later = self.asleep.unwrap_or(self.now);
                self.put(later, what);
            }
            Happening::Reply {
                exchange,
                remote,
                payload,
            } => {
                self.node.deliver(self.now, exchange, remote, &payload);
            }
            Happening::Refusal { exchange } => {
                self.node.tell(
                    self.now,
                    Input::SendFailed {
                        exchange,
                        error: SendError::Refused,
                    },
                );
            }
            Happening::Stamp { exchange, stamp } => {
                self.node
                    .tell(self.now, Input::Transmitted { exchange, stamp });
            }
            Happening::Resolved { query, host } => {
                let nobody = Err("no such name".to_owned());
                let result = self.names.get(&host).unwrap_or(&nobody);
                let result = result.as_ref().map(Vec::as_slice).map_err(ntp_proto::engine::ExternalError::from);
                self.node.tell(self.now, Input::Resolved { query, result });
            }
            Happening::KeysExchanged { query, host } => self.exchange_keys(query, &host),
        }
    }

    fn exchange_keys(&mut self, query: QueryId, host: &EngineHost) {
        let address = match host {
            EngineHost::Address(address) => Ok(*address),
            EngineHost::Name(name) => match self.names.get(name) {
                Some(Ok(addresses)) => addresses.first().copied().ok_or("no address".to_owned()),
                Some(Err(error)) => Err(error.clone()),
                None => Err("no such name".to_owned()),
            },
        };
        let result = address.and_then(|address| {
            let server = self.by_address.get(&address);
            let nts = server.and_then(|index| self.places[*index].host.config.nts);
            let nts = nts.ok_or("nobody exchanges keys there")?;
            nts.exchange(address, &mut self.key_chance)
        });
        let result = result.as_ref().map_err(ntp_proto::engine::ExternalError::from);
        self.node
            .tell(self.now, Input::KeyExchanged { query, result });
    }

    fn serve(&mut self, server: usize, exchange: ExchangeId, remote: SocketAddr, payload: &[u8]) {
        let leap = self.calendar.announces_leap(self.now);
        let calendar = &self.calendar;
        let place = &mut self.places[server];
        match place
            .host
            .answer(self.now, |at| calendar.utc(at), leap, payload)
        {
            Answer::Nothing => {}
            Answer::Refusal => {
                let arrivals: Vec<_> = place.back.carry(self.now).collect();
                for at in arrivals {
                    self.put(at, Happening::Refusal { exchange });
                }
            }
            Answer::Reply(leaves, reply) => {
                if let Some(attacker) = &mut self.attacker {
                    attacker.overhear(remote, &reply);
                }
                let damaged = self
                    .attacker
                    .as_mut()
                    .and_then(|attacker| attacker.damage(self.now, &reply));
                let arrivals: Vec<_> = place.back.carry(leaves).collect();
                for at in arrivals {
                    let at = at + self.node.reception_delay();
                    if let Some(payload) = damaged.clone() {
                        self.put(
                            at,
                            Happening::Reply {
                                exchange,
                                remote,
                                payload,
                            },
                        );
                    }
                    self.put(
                        at,
                        Happening::Reply {
                            exchange,
                            remote,
                            payload: reply.clone(),
                        },
                    );
                }
            }
        }
    }

    fn run_errands(&mut self) {
        for errand in core::mem::take(&mut self.node.errands) {
            match errand {
                Errand::Send {
                    exchange,
                    remote,
                    payload,
                    leaves,
                } => self.send(exchange, remote, &payload, leaves),
                Errand::Stamp {
                    exchange,
                    stamp,
                    at,
                } => self.put(at, Happening::Stamp { exchange, stamp }),
                Errand::ExchangeKeys { query, host } => self.put(
                    self.now + key_exchange::DURATION,
                    Happening::KeysExchanged { query, host },
                ),
                Errand::Resolve { query, host } => {
                    self.put(
                        self.now + self.lookup_time,
                        Happening::Resolved { query, host },
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
            self.put(
                at,
                Happening::Reply {
                    exchange,
                    remote,
                    payload,
                },
            );
        }
        let Some(server) = self.by_address.get(&remote.ip()).copied() else {
            return;
        };
        let arrivals: Vec<_> = self.places[server].there.carry(leaves).collect();
        for at in arrivals {
            self.put(
                at,
                Happening::Request {
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
            Action::Conduct(server, conduct) => self.places[server].host.config.conduct = conduct,
            Action::ServerError(server, error) => self.places[server].host.config.error = error,
            Action::Nts(server, nts) => self.places[server].host.config.nts = nts,
            Action::Route(server, link) => {
                self.places[server].there.law = link.there;
                self.places[server].back.law = link.back;
            }
            Action::Name(name, result) => {
                self.names.insert(name, result);
            }
            Action::Network { v4, v6 } => self.node.routes = Routes { v4, v6 },
            Action::AddressesChanged => {
                self.node.checker.hurried(self.now);
                self.node
                    .tell(self.now, Input::LocalAddresses(&[OUR_ADDRESS]));
            }
            Action::ForeignStep(by) => {
                self.node.checker.disturbed();
                self.node.clock.step(NtpDuration::from_seconds_f64(by));
            }
            Action::FrequencyJump(by) => self.node.clock.jump_frequency(by),
            Action::Suspend { seconds, error } => {
                self.node.checker.disturbed();
                let until = self.now + seconds;
                self.asleep = Some(until);
                self.put(
                    until,
                    Happening::WakeUp {
                        slept: seconds,
                        error,
                    },
                );
            }
            Action::Pause(seconds) => self.node.clock.lose(seconds),
            Action::Command(command) => {
                let steps = matches!(command, Command::Step { .. });
                self.node.checker.commanded(self.now, steps);
                self.node
                    .tell(self.now, Input::Command(CommandId(0), &command));
            }
            Action::Reconfigure(config) => {
                self.node.checker.commanded(self.now, false);
                self.node
                    .tell(self.now, Input::Reconfigure(CommandId(0), &config));
            }
            Action::LeapList(table) => self.node.tell(self.now, Input::LeapList(table.as_ref())),
            Action::ShutDown => self.node.shut_down(self.now),
        }
    }
}
