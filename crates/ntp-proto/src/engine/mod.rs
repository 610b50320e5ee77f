//! The engine: every decision of the daemon, as one deterministic state machine.
//!
//! It does no I/O, reads no clock and draws no randomness of its own: time comes in with every call as
//! [`Now`], randomness as a seed. The daemon, the simulator and the tests are three shells around it, and a run
//! is reproduced by its seed and its inputs.
//!
//! # How to drive it
//! Methods come in four kinds.
//!
//! - **Input**: [`Engine::handle`] takes one thing that happened.
//! - **Output**: [`Engine::poll_output`] gives one thing to do. After every `handle`, call it until it returns
//!   `None`, in order, before the next `handle`. [`Output::Adjust`] is answered on the spot: apply the
//!   change, call `handle` with [`Input::ClockApplied`], and go on draining.
//! - **Timer**: [`Engine::next_wakeup`] says when to call `handle` with [`Input::Tick`] if nothing happens before.
//!   Late is safe: a slew that ends late is accounted for as it was.
//! - **Getters**: [`Engine::snapshot`] and others, at any time.
//!
//! # Where things are
//! | file | what it decides |
//! |---|---|
//! | `source_set` | which addresses to ask, look-ups, pool members |
//! | `key_exchange` | NTS keys for the sources that want them |
//! | [`client`](crate::client) | when to ask one address, which datagrams are answers |
//! | `measure` | a reply becomes a measurement |
//! | [`discipline`](crate::discipline) | what measurements say about the clock |
//! | `steer` | an estimate becomes an adjustment |
//! | `command`, `operate` | what an operator may ask for, and how it is done |
//! | `leap` | the leap second ahead, and what happens when |
//! | `disruption` | whether someone else touched the clock |
//! | `view` | what readers see |
//! | `outlook` | how wrong the clock will be until the next input |
//! | `serving` | what our own server says |

mod chance;
mod command;
mod config;
mod disruption;
mod event;
mod input;
mod key_exchange;
mod leap;
mod measure;
mod operate;
mod outlook;
mod output;
mod serving;
mod snapshot;
mod source_set;
mod steer;
mod thinner;
mod view;

use std::collections::VecDeque;
use std::net::SocketAddr;

use ntp_time::{Adjustment, Frequency, LeapIndicator, Ledger, Monotonic, NtpDuration};
use rand_core::RngCore;

pub use chance::Drawn;
pub use command::{Command, CommandId, Done, Refusal};
pub use config::{ClockFacts, EngineConfig, Host, SourceConfig, SourceKind};
pub use event::{Event, Removal, Severity, Subject};
pub use input::{Datagram, ExchangeId, Input, Now, ResolveId, SendError, SourceId};
pub use outlook::Outlook;
pub use output::{Halt, Kept, Output, Reason};
pub use snapshot::{
    ConfiguredSnapshot, KeyExchangeOutcome, KeyExchangeSnapshot, MeasuredSnapshot, Snapshot,
    SourceSnapshot, SystemSnapshot, Trouble,
};
pub use thinner::Thinner;

use crate::client::{Association, Evidence, LocalIdentity};
use crate::discipline::{Discipline, FrequencyPrior, Steering};
use chance::Chance;
use disruption::DisruptionWatch;
use leap::LeapPlan;
use source_set::{Member, Need, SourceSet};
use steer::{Slew, SyncState};

/// How often the kernel's error figures are refreshed and the clocks compared, if nothing else
/// happens. The kernel lets its `maxerror` grow by 500 ppm, 8 ms in this time.
const HOUSEKEEPING: NtpDuration = NtpDuration::from_seconds(16);

/// A correction found at the start is taken for what an oscillator needs up to here: half of the largest slew.
const PLAUSIBLE: Frequency = Frequency::from_ppm(250.0);

/// First requests of several sources are spread over this, so that their replies do not queue behind each other.
const START_SPREAD: f64 = 0.2;

/// Polls in a row outside the majority after which a pool member is replaced.
const DISSENT_LIMIT: u8 = 8;

/// The state machine. See the [module](self) for how to drive it.
#[derive(Debug)]
pub struct Engine {
    config: EngineConfig,
    rng: Chance,
    ledger: Ledger,
    watch: DisruptionWatch,
    discipline: Discipline,
    steering: Steering,
    sources: SourceSet,
    us: LocalIdentity,
    sync: SyncState,
    slew: Option<Slew>,
    /// How often the clock was stepped, by us or by others; wraps.
    clock_epoch: u32,
    /// Changes to the clock that this input led to; sent as one.
    wanted: Adjustment,
    /// There has never been a source: somebody else may be keeping the clock, and it is left alone.
    hands_off: bool,
    /// An adjustment is out and not answered: the clock's reading is not to be trusted.
    applying: bool,
    leap: LeapPlan,
    housekeeping: Monotonic,
    /// When something was handed out for saving last, and whether the frequency was known.
    persisted: Option<(Monotonic, bool)>,
    next_source: u32,
    majority_missing: Thinner,
    outputs: VecDeque<Output>,
    /// What a datagram proved since this was last asked for.
    evidence: Evidence,
    /// Halted or shut down: nothing is sent and nothing is steered any more.
    stopped: bool,
}

impl Engine {
    /// A new engine. Nothing happens before the first [`handle`](Self::handle).
    pub fn new(mut config: EngineConfig, now: Now, seed: [u8; 32]) -> Self {
        let sources = SourceSet::new(core::mem::take(&mut config.sources), now.monotonic);
        let prior = *config.frequency_prior.get_or_insert(FrequencyPrior {
            // Whoever set the kernel's frequency may have known something, but how well is not known. No oscillator is that far off,
            // though: a daemon that was killed in mid-slew is.
            frequency: if config.clock.frequency.as_ratio().abs() > PLAUSIBLE.as_ratio() {
                Frequency::ZERO
            } else {
                -config.clock.frequency
            },
            uncertainty: config.discipline.initial_frequency_uncertainty,
        });
        // What is known of the oscillator is put into force at once, not with the first measurement.
        let frequency = Some(-prior.frequency).filter(|known| *known != config.clock.frequency);
        let known = Adjustment {
            frequency,
            ..Adjustment::default()
        };
        let hands_off = sources.count() == 0;
        let mut engine = Self {
            rng: Chance::new(seed),
            ledger: Ledger::new(now.system, config.clock.frequency),
            watch: DisruptionWatch::new(now, config.meddling_threshold),
            discipline: Discipline::new(config.discipline, Some(prior)),
            steering: Steering::new(config.steering),
            sources,
            us: LocalIdentity::default(),
            sync: SyncState::default(),
            slew: None,
            clock_epoch: 0,
            wanted: if config.clock.steerable && !hands_off {
                known
            } else {
                Adjustment::default()
            },
            hands_off,
            applying: false,
            leap: LeapPlan::default(),
            housekeeping: now.monotonic,
            persisted: None,
            next_source: 0,
            majority_missing: Thinner::default(),
            outputs: VecDeque::new(),
            evidence: Evidence::Unasked,
            stopped: false,
            config,
        };
        engine.opinions_changed(now);
        engine
    }

    /// Takes one thing that happened.
    pub fn handle(&mut self, now: Now, input: Input<'_>) {
        if let Input::ClockApplied(applied) = input {
            self.clock_applied(applied);
        }
        if self.stopped || self.applying {
            return;
        }
        if let Some(jump) = self.watch.look(now) {
            self.clock_jumped(now, jump);
        }
        match input {
            Input::Datagram(datagram) => self.receive(now, &datagram),
            Input::Transmitted { exchange, stamp } => {
                if let Some(member) = self.member_mut(exchange) {
                    member.association.transmitted(exchange, stamp);
                }
            }
            Input::SendFailed { exchange, error } => self.send_failed(now, exchange, error),
            Input::Resolved { query, result } => self.resolved(now, query, result),
            Input::KeyExchanged { query, result } => self.keys_exchanged(now, query, result),
            Input::KeysRevoked { query, reason } => self.keys_revoked(now, query, reason),
            Input::LocalAddresses(addresses) => {
                self.us.set_addresses(addresses);
                self.network_changed(now);
            }
            Input::Suspended(duration) => {
                self.emit(Event::Resumed { after: duration });
                self.reacquire(now, duration);
            }
            Input::Command(id, command) => {
                let result = self.command(now, command);
                self.outputs.push_back(Output::Completed(id, result));
            }
            Input::Reconfigure(id, config) => {
                let done = self.reconfigure(now, config);
                self.outputs.push_back(Output::Completed(id, Ok(done)));
            }
            Input::LeapList(table) => self.leap_list_changed(table),
            Input::Shutdown => return self.shut_down(now),
            Input::ClockApplied(_) | Input::Tick => {}
        }
        self.run_timers(now);
        self.flush_adjustment();
    }

    /// The random numbers drawn since the last call; the first call begins to keep them. For a record.
    pub fn drawn(&mut self) -> Drawn {
        self.rng.keep()
    }

    /// What the datagram of the last input proved. For a record.
    pub fn evidence(&mut self) -> Evidence {
        core::mem::take(&mut self.evidence)
    }

    /// Has the next input draw these numbers, which a record holds.
    pub fn foretell(&mut self, drawn: &Drawn) {
        self.rng.foretell(drawn);
    }

    /// Nobody is asked without being named by such a call from now on; the next input asks whoever is at `remote`. For a record that begins midway:
    /// it has the answers to other requests than a new engine would make.
    pub fn prompt(&mut self, remote: Option<SocketAddr>, now: Monotonic) {
        self.sources.prompt(remote, now);
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call [`handle`](Self::handle) with [`Input::Tick`] at the latest, and why.
    pub fn next_wakeup(&self) -> Option<(Monotonic, Reason)> {
        if self.stopped {
            return None;
        }
        let members = self.sources.members.iter().flat_map(|member| {
            let next = self.sources.next_poll(member);
            let poll = next.map(|at| (at, Reason::Poll(member.id)));
            let deadline = member
                .association
                .deadline()
                .map(|at| (at, Reason::ReplyTimeout(member.id)));
            poll.into_iter().chain(deadline)
        });
        members
            .chain(self.slew.map(|slew| (slew.ends, Reason::SlewEnd)))
            .chain(
                self.sources
                    .next_lookup()
                    .map(|(at, query)| (at, Reason::Resolve(query))),
            )
            .chain(
                self.sources
                    .next_keys()
                    .map(|(at, query)| (at, Reason::ExchangeKeys(query))),
            )
            .chain(self.leap.due.map(|at| (at, Reason::LeapSecond)))
            .chain([(self.housekeeping, Reason::Housekeeping)])
            .min_by_key(|(at, _)| *at)
    }

    // ---- timers

    fn run_timers(&mut self, now: Now) {
        self.end_slew(now);
        self.run_leap_timer(now);
        self.fill_sources(now);
        for position in 0..self.sources.members.len() {
            self.expire(now, position);
        }
        let mut position = 0;
        while position < self.sources.members.len() {
            let member = &self.sources.members[position];
            let (id, next) = (member.id, self.sources.next_poll(member));
            if next.is_some_and(|at| at <= now.monotonic) {
                self.poll(now, position);
            }
            // A poll may find its address dead and remove the association.
            if self
                .sources
                .members
                .get(position)
                .is_some_and(|member| member.id == id)
            {
                position += 1;
            }
        }
        self.fill_sources(now);
        if self.housekeeping <= now.monotonic {
            self.housekeeping = now.monotonic + HOUSEKEEPING;
            self.refresh_status(now);
            self.persist_hourly(now);
        }
    }

    /// Gives up an exchange that has had its time. If that was the last hope, it is said now: a verdict that waited for the next poll would come together
    /// with the answer to that.
    fn expire(&mut self, now: Now, position: usize) {
        let association = &mut self.sources.members[position].association;
        if association
            .deadline()
            .is_some_and(|deadline| deadline <= now.monotonic)
            && let Some(exchange) = association.expire(now.monotonic)
        {
            let dead = association.reach().is_dead();
            self.outputs.push_back(Output::Close(exchange));
            if dead {
                self.tell_unreachable(now, position);
            }
        }
    }

    /// Sends the request that is due, unless the address turns out to be dead and another takes its place.
    fn poll(&mut self, now: Now, position: usize) {
        if self.sources.members[position].association.reach().is_dead() {
            self.tell_unreachable(now, position);
            if self.sources.has_replacement(now.monotonic, position) {
                return self.drop_member(now, position, Removal::Unreachable);
            }
        }
        let Self {
            sources,
            rng,
            outputs,
            ..
        } = self;
        let member = &mut sources.members[position];
        member.prompted = None;
        if let Some(old) = member.association.abandon() {
            outputs.push_back(Output::Close(old));
        }
        let exchange = ExchangeId {
            source: member.id,
            sequence: member.sequence,
        };
        member.sequence = member.sequence.wrapping_add(1);
        if let Some(request) = member.association.request(now.monotonic, exchange, rng) {
            outputs.push_back(Output::Transmit {
                exchange,
                remote: member.association.remote(),
                request,
            });
        }
        self.look_after_keys(now, position);
    }

    // ---- the source set

    fn fill_sources(&mut self, now: Now) {
        loop {
            match self.sources.need(now.monotonic) {
                Need::Member(configured, address) => self.add_member(now, configured, address),
                Need::Lookup(query, host) => {
                    self.outputs.push_back(Output::Resolve { query, host });
                }
                Need::Nothing => break,
            }
        }
        while let Some((query, host)) = self.sources.overdue_lookup(now.monotonic) {
            self.outputs.push_back(Output::Resolve { query, host });
        }
        self.exchange_overdue_keys(now);
    }

    fn add_member(&mut self, now: Now, configured: usize, address: SocketAddr) {
        let id = SourceId(self.next_source);
        self.next_source = self.next_source.wrapping_add(1);
        let config = self.sources.config_at(configured);
        let spread = START_SPREAD * f64::from(self.rng.next_u32()) / f64::from(u32::MAX);
        let wait = if self.sources.members.is_empty() {
            0.0
        } else {
            spread
        };
        let start = now.monotonic + NtpDuration::from_seconds_f64(wait);
        let mut association = Association::new(address, config.terms.clone(), start);
        let (key, opinion) = (self.discipline.join(), config.opinion);
        if let Some(session) = self.sources.take_session(configured) {
            association.renew(session);
        }
        self.discipline.set_opinion(key, opinion);
        let member = Member {
            id,
            configured,
            association,
            key,
            measured: None,
            trouble: None,
            sequence: 0,
            rejections: Thinner::default(),
            complaints: Thinner::default(),
            failures: Thinner::default(),
            kisses: Thinner::default(),
            reachable: false,
            silence_told: false,
            dissent: 0,
            prompted: None,
        };
        self.emit(Event::SourceAdded(self.sources.subject(&member)));
        self.sources.add(member);
    }

    fn drop_member(&mut self, now: Now, position: usize, why: Removal) {
        self.dismiss(position, why);
        self.vote_again(now);
        self.fill_sources(now);
    }

    /// Ends an association, and does not look for another.
    fn dismiss(&mut self, position: usize, why: Removal) {
        let subject = self.sources.subject(&self.sources.members[position]);
        let mut member = if why == Removal::Denied {
            self.sources.deny(position)
        } else {
            self.sources.remove(position)
        };
        if let Some(exchange) = member.association.abandon() {
            self.outputs.push_back(Output::Close(exchange));
        }
        self.discipline.leave(member.key);
        if let Some(session) = member.association.into_session() {
            self.sources.keep_session(member.configured, session);
        }
        self.emit(Event::SourceRemoved(subject, why));
    }

    fn resolved(&mut self, now: Now, query: ResolveId, result: Result<&[std::net::IpAddr], &str>) {
        let Some(index) = self.sources.asked_by(query) else {
            return;
        };
        let host = self.sources.host_name(index);
        if let Some(retry) = self.sources.resolved(now.monotonic, index, result) {
            let error = result.err().unwrap_or("the name has no address").to_owned();
            if self.sources.tells_failure(now.monotonic, index) {
                self.emit(Event::ResolveFailed { host, error, retry });
            }
            return;
        }
        self.settle_keys(now, index);
        self.replace_dead(now, index);
        self.fill_sources(now);
        if self.sources.is_short_of_addresses(index)
            && self.sources.tells_failure(now.monotonic, index)
        {
            self.emit(Event::NoUsableAddress { host });
        }
    }

    /// New addresses are known: associations of this source that were kept only for want of another make way.
    fn replace_dead(&mut self, now: Now, index: usize) {
        let mut position = 0;
        while position < self.sources.members.len() {
            let member = &self.sources.members[position];
            if member.configured == index
                && member.association.reach().is_dead()
                && self.sources.has_replacement(now.monotonic, position)
            {
                self.drop_member(now, position, Removal::Unreachable);
            } else {
                position += 1;
            }
        }
    }

    fn send_failed(&mut self, now: Now, exchange: ExchangeId, error: SendError) {
        let Some(position) = self.position(exchange) else {
            return;
        };
        let member = &mut self.sources.members[position];
        if member.association.exchange() != Some(exchange) {
            return;
        }
        // What the network says about a request that has left may be forged: a reply may still come.
        if !member.association.has_left() {
            member.association.abandon();
            self.outputs.push_back(Output::Close(exchange));
        }
        member.trouble = Some(Trouble::Send(error));
        // Once for each silence, and once an hour: what the network says of requests that have left is anybody's word.
        let told = !member.silence_told && member.failures.admit(now.monotonic).is_some();
        member.silence_told |= told;
        let subject = self.sources.subject(&self.sources.members[position]);
        if told {
            self.emit(Event::SendFailed(subject, error));
        }
        if error == SendError::NoRoute {
            self.replace_unrouted(now, position);
        }
    }

    /// There is no route to this address: it is of no use, but the next one, of the other family perhaps, may be.
    ///
    /// An address that has answered is not given up for that, since routes come back and what is known of its path would be lost; unless this machine
    /// has no address of its family any more, but one of the other.
    fn replace_unrouted(&mut self, now: Now, position: usize) {
        let association = &self.sources.members[position].association;
        let stranded = !self.us.could_ask(association.remote().ip());
        if stranded {
            self.sources.pass_over(position, &self.us);
        } else if association.reach().is_reachable() {
            return;
        }
        if self.sources.has_replacement(now.monotonic, position) {
            self.drop_member(now, position, Removal::Unrouted);
        }
    }

    fn network_changed(&mut self, now: Now) {
        self.sources.network_changed(now.monotonic);
        for member in &mut self.sources.members {
            // What the last poll found may be the old network's fault.
            if member.association.reach().unanswered() > 0
                && !member.association.restart(now.monotonic)
            {
                member.association.hurry(now.monotonic);
            }
        }
    }

    fn tell_unreachable(&mut self, now: Now, position: usize) {
        let member = &mut self.sources.members[position];
        if self.discipline.set_eligible(member.key, false) {
            self.vote_again(now);
        }
        let member = &mut self.sources.members[position];
        member.reachable = false;
        // Once for each silence, however long, and not if it was said already what the reason is.
        if !core::mem::replace(&mut member.silence_told, true) {
            let subject = self.sources.subject(&self.sources.members[position]);
            self.emit(Event::SourceUnreachable(subject));
        }
    }

    // ---- the end

    /// Leaves the clock without a slew, hands out what is worth saving and falls silent.
    fn shut_down(&mut self, now: Now) {
        for position in 0..self.sources.members.len() {
            if let Some(exchange) = self.sources.members[position].association.abandon() {
                self.outputs.push_back(Output::Close(exchange));
            }
        }
        if let Some(slew) = self.slew.take() {
            self.wanted.frequency = Some(slew.base);
        }
        self.persist(now);
        self.persist_sessions();
        self.flush_adjustment();
        self.stopped = true;
    }

    /// Ends for a reason: what was wanted is dropped, but a slew in progress is not left behind.
    fn halt(&mut self, why: Halt) {
        self.outputs.push_back(Output::Halt(why));
        let base = self.slew.take().map(|slew| slew.base);
        self.wanted = Adjustment {
            frequency: base,
            ..Adjustment::default()
        };
        self.stopped = true;
    }

    // ---- small things

    fn emit(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    fn position(&self, exchange: ExchangeId) -> Option<usize> {
        self.sources.position(exchange.source)
    }

    fn member_mut(&mut self, exchange: ExchangeId) -> Option<&mut Member> {
        self.sources
            .position(exchange.source)
            .map(|position| &mut self.sources.members[position])
    }

    /// The configuration in force, with what commands changed and what has been learnt about the oscillator.
    pub fn config(&self) -> EngineConfig {
        let indices = 0..self.sources.count();
        let sources = indices.map(|index| self.sources.config_at(index).clone());
        EngineConfig {
            sources: sources.collect(),
            frequency_prior: self
                .discipline
                .frequency_prior()
                .or(self.config.frequency_prior),
            ..self.config.clone()
        }
    }

    /// What is worth keeping over a restart, as far as there is anything yet.
    pub fn kept(&self, now: Now) -> Kept {
        let outlook = self.outlook().filter(|_| self.sync.synchronized);
        let figures = outlook.and_then(|outlook| outlook.figures(now.system));
        Kept {
            frequency: self.discipline.frequency_prior(),
            past: figures.map(|figures| now.system - figures.bound),
        }
    }

    /// The configured name of the source that an operator calls `name`.
    ///
    /// # Errors
    /// If there is none, or more than one.
    pub fn source_called(&self, name: &str) -> Result<&str, Refusal> {
        let index = self.sources.named(name)?;
        Ok(&self.sources.config_at(index).name)
    }

    /// The leap second that is announced, or that there is no time.
    pub fn leap(&self) -> LeapIndicator {
        if self.sync.synchronized {
            self.sync.leap
        } else {
            LeapIndicator::Unsynchronized
        }
    }
}
