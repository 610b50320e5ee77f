//! The engine: every decision of the daemon, as one deterministic state machine.
//!
//! The engine does no I/O, reads no clock and has no source of randomness: time is passed with
//! every call as [`Now`], randomness as a seed. The daemon, the simulator and the replay are shells
//! around it. A run is reproduced by its seed and its inputs.
//!
//! # Usage
//! Methods are of four kinds.
//!
//! - **Input**: [`Engine::handle`] takes one input.
//! - **Output**: [`Engine::poll_output`] returns one action for the shell. After every `handle`,
//!   call it until it returns `None`, in order, before the next `handle`. [`Output::Adjust`] is
//!   answered immediately: apply the change, call `handle` with [`Input::ClockApplied`], and
//!   continue draining.
//! - **Timer**: [`Engine::next_wakeup`] returns when to call `handle` with [`Input::Tick`] if there
//!   is no other input before. A late call is harmless: a slew that ends late is accounted for.
//! - **Getters**: [`Engine::status`] and others, at any time.
//!
//! # Files
//! | file | content |
//! |---|---|
//! | `source` | the sources in use: what all kinds share |
//! | `source/pool` | configured sources, addresses in use, name lookups, pool members |
//! | `source/ntp` | an NTP server: turns a reply into a measurement |
//! | `source/refclock` | a reference clock: turns a sample into a measurement |
//! | `key_exchange` | NTS keys of the sources that use NTS |
//! | [`client`](crate::client) | poll times and validation of replies of one address |
//! | `measure` | passes inputs to sources, and their measurements to the discipline |
//! | [`discipline`](crate::discipline) | clock estimation and source selection |
//! | `steer` | turns an estimate into an adjustment |
//! | `refused_step` | a step that a panic threshold forbids |
//! | `time_floor` | a time that an earlier run knew to be past |
//! | `command`, `execute` | operator commands and their execution |
//! | `leap` | handling of leap seconds |
//! | `disruption` | migration of a virtual machine: drops the history |
//! | `jump_detector` | detection of clock changes by other programs |
//! | `view` | status for readers |
//! | `prediction` | error estimates until the next input |
//! | `serving` | header fields of our own server |
//! | `fallback` | when sources with `fallback` take part in the selection |
//! | `manual` | times that an operator enters |
//! | `local` | what is served without a source, and the election among orphans |
//! | `replay` | hooks for recording and replaying |

mod command;
mod config;
mod disruption;
mod error;
mod execute;
mod fallback;
mod input;
mod jump_detector;
mod key_exchange;
mod leap;
mod local;
mod log_rate_limit;
mod manual;
mod measure;
mod output;
mod phase_free;
mod prediction;
mod reading;
mod refused_step;
mod replay;
mod serving;
mod source;
mod steer;
#[cfg(test)]
mod tests;
mod time_floor;
mod updates;
mod view;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use ntp_time::{Adjustment, LeapIndicator, Ledger, Monotonic, NtpDuration};
use rand_core::RngCore as _;

pub use crate::client::{Datagram, ExchangeId};
pub use command::{CommandId, CommandOutcome, Refusal};
pub use config::{ClockFacts, EngineConfig, MAX_POOL_SIZE, SourceConfig, SourceKind};
pub use error::{LastError, ResolveError, SourceError};
pub use execute::{Command, ManualAction};
pub use input::{ExternalError, Input, Now, QueryId};
pub use local::LocalConfig;
pub use log_rate_limit::LogRateLimit;
pub use ntp_types::event::{
    Event, KeyExchangeError, KeyExchangeFailure, RemovalReason, SendError, Severity, SourceOffset,
};
pub use ntp_types::host::{Host, ScopedIp};
pub use ntp_types::source::{SourceId, SourceName};
pub use output::{Output, PersistedState, Reason};
pub use prediction::Prediction;
pub use refused_step::RefusedStep;
pub use replay::RngTrace;
pub use source::refclock::RefClockConfig;
pub use time_floor::TimePrior;

use crate::client::{Association, LocalIdentity};
use crate::discipline::{Discipline, NoiseLaw, Steering};
use crate::reference_ids::{BloomFilter, ServerId};
use crate::server::PhaseFreeClock;
use fallback::Fallback;
use jump_detector::JumpDetector;
use leap::LeapPlan;
use local::LocalReference;
use manual::ManualTime;
use refused_step::StepRefusal;
use replay::{ReplayHooks, Rng};
use source::ntp::NtpSource;
use source::pool::{Need, SourceSet};
use source::refclock::RefClock;
use source::{Kind, Source, SourceInput};
use steer::{Slew, SyncState};
use time_floor::TimeFloor;
use updates::Updates;

/// Interval at which the error estimates in the kernel are refreshed and the clocks compared if
/// there is no other input. The kernel increases its `maxerror` by 500 ppm, 30 ms in this time, which
/// is still of use to its readers; a machine at rest is not woken more often than once a minute.
const HOUSEKEEPING: NtpDuration = NtpDuration::from_seconds(60);

/// The first requests of several sources are spread over this time, in seconds, so that their
/// replies do not queue behind each other.
const START_SPREAD: f64 = 0.2;

/// Shortest time between two messages about a change of the reference. Sources that come and go, or
/// whose stratum changes with every reply, must not flood the log.
const REFERENCE_LOG_INTERVAL: NtpDuration = NtpDuration::from_seconds(64);

/// Number of consecutive samples as falseticker after which a pool member is replaced, and as
/// duplicate after which another address is looked for.
const REJECTED_LIMIT: u8 = 8;

/// Phase of operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// No source was ever configured. The clock is left alone, since another program may keep it;
    /// but a server of local time applies the known frequency.
    NoSources,
    /// Normal operation.
    Running,
    /// Halted or shut down. Nothing is sent and nothing is adjusted any more.
    Stopped,
}

/// The engine. See the [module documentation](self) for its use.
#[derive(Debug)]
pub struct Engine {
    config: EngineConfig,
    rng: Rng,
    ledger: Ledger,
    jump_detector: JumpDetector,
    discipline: Discipline,
    steering: Steering,
    sources: SourceSet,
    local_identity: LocalIdentity,
    sync: SyncState,
    updates: Updates,
    time_floor: TimeFloor,
    slew: Option<Slew>,
    /// While a panic threshold forbids the correction: the clock is not steered.
    refusal: Option<StepRefusal>,
    /// Number of steps of the clock, by the engine or by others; wraps.
    clock_epoch: u32,
    /// ID under which our server is found in loops, if it serves version 5.
    server_id: Option<ServerId>,
    phase_free: PhaseFreeClock,
    /// What clients of version 5 get to find loops.
    reference_ids: Option<Arc<BloomFilter>>,
    /// Changes to the clock requested by the current input, sent as one.
    pending_adjustment: Adjustment,
    phase: Phase,
    /// An adjustment was sent and not acknowledged yet. The clock reading is not valid meanwhile.
    awaiting_clock: bool,
    leap: LeapPlan,
    local: LocalReference,
    fallback: Fallback,
    manual: ManualTime,
    housekeeping: Monotonic,
    /// Time of the last save, and whether the frequency was known.
    persisted: Option<(Monotonic, bool)>,
    next_source: u32,
    no_majority_limit: LogRateLimit,
    pending_step_limit: LogRateLimit,
    reference_limit: LogRateLimit,
    frequency_report_limit: LogRateLimit,
    clock_range_limit: LogRateLimit,
    outputs: VecDeque<Output>,
    replay: ReplayHooks,
}

impl Engine {
    /// Creates an engine. It does nothing before the first [`handle`](Self::handle).
    pub fn new(mut config: EngineConfig, now: Now, seed: [u8; 32]) -> Self {
        let sources = SourceSet::new(core::mem::take(&mut config.sources), now.monotonic);
        let unsaved = config.prior_of_the_kernel();
        let prior = *config.frequency_prior.get_or_insert(unsaved);
        // The known frequency is applied at once, not with the first measurement.
        let frequency = Some(-prior.frequency).filter(|known| *known != config.clock.frequency);
        let known = Adjustment {
            frequency,
            ..Adjustment::default()
        };
        let phase = if sources.count() == 0 {
            Phase::NoSources
        } else {
            Phase::Running
        };
        let mut engine = Self {
            rng: Rng::new(seed),
            ledger: Ledger::new(now.system, config.clock.frequency),
            jump_detector: JumpDetector::new(
                now,
                config.meddling_threshold,
                config.clock.rate_difference,
            ),
            discipline: Discipline::new(config.discipline, Some(prior)),
            steering: Steering::new(config.steering),
            sources,
            local_identity: LocalIdentity::default(),
            sync: SyncState::default(),
            updates: Updates::default(),
            time_floor: TimeFloor::new(now, config.time_prior),
            slew: None,
            refusal: None,
            clock_epoch: 0,
            server_id: None,
            phase_free: PhaseFreeClock::new(now.system, seed),
            reference_ids: None,
            pending_adjustment: if config.clock.steerable
                && (phase == Phase::Running || config.serves_local_time())
            {
                known
            } else {
                Adjustment::default()
            },
            phase,
            awaiting_clock: false,
            leap: LeapPlan::default(),
            local: LocalReference::new(now),
            fallback: Fallback::default(),
            manual: ManualTime::new(config.manual, prior),
            housekeeping: now.monotonic,
            persisted: None,
            next_source: 0,
            no_majority_limit: LogRateLimit::default(),
            pending_step_limit: LogRateLimit::default(),
            reference_limit: LogRateLimit::new(REFERENCE_LOG_INTERVAL),
            frequency_report_limit: LogRateLimit::default(),
            clock_range_limit: LogRateLimit::default(),
            outputs: VecDeque::new(),
            replay: ReplayHooks::default(),
            config,
        };
        let set_forward = engine.time_floor.set_forward();
        engine.steering.record_set_forward(set_forward);
        engine.selection_options_changed(now);
        engine
    }

    /// Processes one input.
    pub fn handle(&mut self, now: Now, input: Input<'_>) {
        if let Input::ClockApplied(applied) = input {
            self.clock_applied(now, applied);
        }
        if self.phase == Phase::Stopped {
            return self.refuse(&input);
        }
        if self.awaiting_clock {
            return;
        }
        if let Some(jump) = self.jump_detector.check(now) {
            self.clock_jumped(now, jump);
        }
        match input {
            Input::Datagram(datagram) => {
                let source = datagram.exchange.source;
                self.pass(now, source, SourceInput::Datagram(&datagram));
            }
            Input::Transmitted { exchange, stamp } => {
                let sent = SourceInput::Transmitted(exchange, stamp);
                self.pass(now, exchange.source, sent);
            }
            Input::Sample { source, sample } => {
                self.receive_sample(now, source, sample);
            }
            Input::SendFailed { exchange, error } => self.send_failed(now, exchange, error),
            Input::Resolved { query, result } => self.resolved(now, query, result),
            Input::KeyExchanged { query, result } => self.key_exchange_finished(now, query, result),
            Input::KeysRevoked { query, error } => self.keys_revoked(now, query, error),
            Input::LocalAddresses(addresses) => {
                self.local_identity.set_addresses(addresses);
                self.network_changed(now);
            }
            Input::LocalAddress { source, address } => self.set_local_address(source, address),
            Input::ServerId(id) => self.set_server_id(id),
            Input::Suspended(duration) => {
                self.emit(Event::Resumed {
                    suspended: duration,
                });
                self.reacquire(now, duration);
            }
            Input::Disrupted { marker } => self.disrupted(now, marker),
            Input::Command(id, command) => {
                let result = self.execute(now, command);
                self.outputs.push_back(Output::Completed(id, result));
            }
            Input::Reconfigure(id, config) => {
                let outcome = self.reconfigure(now, config);
                self.outputs.push_back(Output::Completed(id, Ok(outcome)));
            }
            Input::LeapList(table) => self.leap_list_changed(table),
            Input::Shutdown => return self.shut_down(now),
            Input::ClockApplied(_) | Input::Tick => {}
        }
        self.run_timers(now);
        self.update_fallback(now);
        self.update_local(now);
        self.refresh_reference_ids(now);
        self.flush_adjustment();
    }

    /// Refuses a command or a new configuration after the engine has stopped.
    fn refuse(&mut self, input: &Input<'_>) {
        if let Input::Command(id, _) | Input::Reconfigure(id, _) = input {
            self.outputs
                .push_back(Output::Completed(*id, Err(Refusal::Stopped)));
        }
    }

    /// Returns the next action for the shell.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Returns when to call [`handle`](Self::handle) with [`Input::Tick`] at the latest, and why.
    pub fn next_wakeup(&self) -> Option<(Monotonic, Reason)> {
        if self.phase == Phase::Stopped {
            return None;
        }
        let sources = self.sources.in_use.iter().filter_map(Source::next_wakeup);
        sources
            .chain(self.slew.map(|slew| (slew.ends, Reason::SlewEnd)))
            .chain(
                self.sources
                    .next_lookup()
                    .map(|(at, query)| (at, Reason::Resolve(query))),
            )
            .chain(
                self.sources
                    .next_key_exchange()
                    .map(|(at, query)| (at, Reason::ExchangeKeys(query))),
            )
            .chain(
                self.sources
                    .next_retry()
                    .map(|(at, query)| (at, Reason::RetryDenied(query))),
            )
            .chain(self.leap.due.map(|at| (at, Reason::LeapSecond)))
            .chain(self.fallback.next_due.map(|at| (at, Reason::Fallback)))
            .chain(self.local.next_due.map(|at| (at, Reason::LocalTime)))
            .chain([(self.housekeeping, Reason::Housekeeping)])
            .min_by_key(|(at, _)| *at)
    }

    // ---- timers

    fn run_timers(&mut self, now: Now) {
        self.end_slew(now);
        self.run_leap_timer(now);
        self.fill_sources(now);
        for position in 0..self.sources.in_use.len() {
            let notice = self.handle_source(now, position, SourceInput::Timeout);
            self.follow(now, position, notice);
        }
        let mut position = 0;
        while position < self.sources.in_use.len() {
            let source = &self.sources.in_use[position];
            let (id, next) = (source.id, self.next_poll(source));
            if next.is_some_and(|at| at <= now.monotonic) {
                self.poll(now, position);
            }
            // The poll may have removed the source.
            if self
                .sources
                .in_use
                .get(position)
                .is_some_and(|source| source.id == id)
            {
                position += 1;
            }
        }
        self.fill_sources(now);
        if self.housekeeping <= now.monotonic {
            self.housekeeping = now.monotonic + HOUSEKEEPING;
            self.refresh_status(now);
            self.persist_if_due(now);
        }
    }

    /// Polls the source that is due, unless it is unreachable and another one replaces it.
    fn poll(&mut self, now: Now, position: usize) {
        if self.sources.in_use[position].is_unreachable() {
            self.report_unreachable(now, position);
            if self.sources.has_replacement(now.monotonic, position) {
                return self.drop_source(now, position, RemovalReason::Unreachable);
            }
        }
        self.replay.polled(self.sources.in_use[position].id);
        self.handle_source(now, position, SourceInput::Poll);
        self.follow_version(now, position);
        self.request_keys_if_needed(now, position);
    }

    // ---- the source set

    fn fill_sources(&mut self, now: Now) {
        self.add_missing_sources(now);
        self.update_selection(now);
        while let Some((query, host)) = self.sources.take_due_lookup(now.monotonic) {
            self.outputs.push_back(Output::Resolve { query, host });
        }
        self.start_due_key_exchanges(now);
    }

    fn add_missing_sources(&mut self, now: Now) {
        loop {
            match self.sources.next_need(now.monotonic) {
                Need::Association(configured, address) => {
                    self.add_association(now, configured, address);
                }
                Need::RefClock(configured, clock) => self.add_ref_clock(now, configured, clock),
                Need::Lookup(query, host) => {
                    self.outputs.push_back(Output::Resolve { query, host });
                }
                Need::Nothing => break,
            }
        }
    }

    fn add_association(&mut self, now: Now, configured: usize, address: SocketAddr) {
        let config = self.sources.config_at(configured).association.clone();
        let spread = START_SPREAD * f64::from(self.rng.next_u32()) / f64::from(u32::MAX);
        let wait = if self.sources.in_use.is_empty() {
            0.0
        } else {
            spread
        };
        let start = now.monotonic + NtpDuration::from_seconds_f64(wait);
        let mut association = Association::new(address, config, start);
        association.set_server_id(self.server_id);
        if let Some(session) = self.sources.take_session(configured) {
            association.install_session(session);
        }
        let kind = Kind::Ntp(Box::new(NtpSource::new(association)));
        let position = self.add_source_in_use(configured, NoiseLaw::Queue, kind);
        self.sources.in_use[position].member = self.sources.take_pending_member(configured);
    }

    fn add_ref_clock(&mut self, now: Now, configured: usize, clock: RefClockConfig) {
        let law = clock.noise_law();
        let kind = Kind::RefClock(Box::new(RefClock::new(clock)));
        let position = self.add_source_in_use(configured, law, kind);
        self.handle_source(now, position, SourceInput::Start);
    }

    /// Adds a source in use and returns its position.
    fn add_source_in_use(&mut self, configured: usize, law: NoiseLaw, kind: Kind) -> usize {
        let id = SourceId(self.next_source);
        self.next_source = self.next_source.wrapping_add(1);
        let selection = self.sources.config_at(configured).selection;
        let key = self.discipline.add_source(law);
        self.discipline.set_selection_options(key, selection);
        let source = Source::new(id, configured, key, selection, kind);
        self.emit(Event::SourceAdded {
            source: self.sources.source_name(&source),
        });
        self.sources.add(source);
        self.sources.in_use.len() - 1
    }

    fn drop_source(&mut self, now: Now, position: usize, reason: RemovalReason) {
        self.end_source(now, position, reason);
        self.reselect(now);
        self.fill_sources(now);
    }

    /// Ends a source in use without a replacement.
    fn end_source(&mut self, now: Now, position: usize, reason: RemovalReason) {
        let name = self.sources.source_name(&self.sources.in_use[position]);
        self.handle_source(now, position, SourceInput::Stop);
        let source = self.sources.remove(position);
        self.discipline.remove_source(source.key);
        let configured = source.configured;
        let session = source
            .into_ntp()
            .and_then(|ntp| ntp.association.into_session());
        if let Some(session) = session {
            self.sources.store_session(configured, session);
        }
        self.emit(Event::SourceRemoved {
            source: name,
            reason,
        });
    }

    fn resolved(
        &mut self,
        now: Now,
        query: QueryId,
        result: Result<&[ScopedIp], ExternalError<'_>>,
    ) {
        let Some(index) = self.sources.index_of(query) else {
            return;
        };
        let host = self.sources.host_name(index);
        let failure = self.sources.resolved(now.monotonic, index, result);
        if let Some((error, retry)) = failure {
            if self.sources.should_report_failure(now.monotonic, index) {
                self.emit(Event::ResolveFailed {
                    host,
                    error: error.to_string(),
                    retry,
                });
            }
            return;
        }
        self.apply_stored_keys(now, index);
        self.replace_outdated(now, index);
        self.replace_unusable(now, index);
        self.fill_sources(now);
        if self.sources.lacks_addresses(index)
            && self.sources.should_report_failure(now.monotonic, index)
        {
            self.emit(Event::NoUsableAddress { host });
        }
    }

    /// New addresses are known: removes associations of this source that were kept only for lack of
    /// a replacement.
    fn replace_unusable(&mut self, now: Now, index: usize) {
        let mut position = 0;
        while position < self.sources.in_use.len() {
            let is_own = self.sources.in_use[position].configured == index;
            let reason = is_own.then(|| self.reason_to_replace(now, position));
            match reason.flatten() {
                Some(reason) => self.drop_source(now, position, reason),
                None => position += 1,
            }
        }
    }

    /// Replaces the addresses that a refreshed name no longer has.
    fn replace_outdated(&mut self, now: Now, index: usize) {
        let mut removed = false;
        while let Some(position) = self.sources.outdated_of(index) {
            self.end_source(now, position, RemovalReason::Operator);
            removed = true;
        }
        self.sources.end_refresh(index);
        if removed {
            self.reselect(now);
        }
    }

    /// Why the association at `position` should give way to an address that a lookup yielded.
    fn reason_to_replace(&mut self, now: Now, position: usize) -> Option<RemovalReason> {
        let unreachable = self.sources.in_use[position].is_unreachable();
        if unreachable && self.sources.has_moved_to_shared_address(position) {
            return Some(RemovalReason::Unreachable);
        }
        let reason = if unreachable || self.sources.is_renumbered(position) {
            RemovalReason::Unreachable
        } else if self.sources.is_duplicate_by_address(position) {
            RemovalReason::Duplicate
        } else {
            return None;
        };
        let has_replacement = self.sources.has_replacement(now.monotonic, position);
        has_replacement.then_some(reason)
    }

    /// Replaces an address without a route by the next one, which may be of the other family.
    ///
    /// An address that has replied before is kept, because routes return and its path estimates
    /// would be lost, unless this machine has addresses of the other family only.
    fn replace_unroutable(&mut self, now: Now, position: usize) {
        let source = &self.sources.in_use[position];
        let Some(remote) = source.remote() else {
            return;
        };
        let reachable_family = self.local_identity.can_reach(remote.ip());
        if !reachable_family {
            self.sources
                .skip_unreachable_families(position, &self.local_identity);
        } else if source.reach().is_reachable() {
            return;
        }
        if self.sources.has_replacement(now.monotonic, position) {
            self.drop_source(now, position, RemovalReason::NoRoute);
        }
    }

    fn network_changed(&mut self, now: Now) {
        self.sources.network_changed(now.monotonic);
        let sources = self.sources.in_use.iter_mut();
        for association in sources.filter_map(|source| Some(&mut source.ntp_mut()?.association)) {
            // The last poll may have failed because of the old network.
            if association.reach().unanswered() > 0 && !association.restart(now.monotonic) {
                association.poll_soon(now.monotonic);
            }
        }
    }

    fn report_unreachable(&mut self, now: Now, position: usize) {
        let source = &mut self.sources.in_use[position];
        if self.discipline.set_eligible(source.key, false) {
            self.reselect(now);
        }
        self.sources.selection_outdated = true;
        let source = &mut self.sources.in_use[position];
        source.reachable = false;
        // Reported once for each period without replies, and not if a send error was reported
        // already.
        if !core::mem::replace(&mut source.unreachable_reported, true) {
            let source = &self.sources.in_use[position];
            let error = source.last_error.map(|error| error.to_string());
            let source = self.sources.source_name(source);
            self.emit(Event::SourceUnreachable { source, error });
        }
    }

    // ---- shutdown

    /// Ends the slew, hands out the persistent state and stops.
    fn shut_down(&mut self, now: Now) {
        self.handle_all(now, SourceInput::Stop);
        if let Some(slew) = self.slew.take() {
            self.pending_adjustment.frequency = Some(slew.base);
        }
        self.persist(now);
        self.persist_sessions();
        self.flush_adjustment();
        self.phase = Phase::Stopped;
    }

    /// Stops with a reason. Requested adjustments are discarded, but a slew in progress is ended.
    fn halt(&mut self, reason: RefusedStep) {
        self.outputs.push_back(Output::Halt(reason));
        let base = self.slew.take().map(|slew| slew.base);
        self.pending_adjustment = Adjustment {
            frequency: base,
            ..Adjustment::default()
        };
        self.phase = Phase::Stopped;
    }

    // ---- helpers and getters

    fn emit(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    /// Returns the configuration in force, including changes by commands and the estimated
    /// frequency.
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

    /// Returns the state that survives a restart, as far as it is known.
    pub fn persistent_state(&self, now: Now) -> PersistedState {
        let prediction = self.prediction().filter(|_| self.sync.synchronized);
        let figures = prediction.and_then(|prediction| prediction.error_figures(now.system));
        let forward = self.config.steering.startup_panic.forward;
        let floor = figures.and_then(|figures| {
            let past = now.system - figures.bound;
            self.time_floor.to_save(now.monotonic, past, forward)
        });
        PersistedState {
            frequency: self.discipline.frequency_prior().or(self.manual.frequency),
            time_floor: floor.map(|(floor, _)| floor),
            replaces_floor: floor.is_some_and(|(_, replaces)| replaces),
        }
    }

    /// Returns the configured name of the source that matches `name`.
    ///
    /// # Errors
    /// If no source matches, or more than one.
    pub fn find_source(&self, name: &str) -> Result<&str, Refusal> {
        let index = self.sources.find(name)?;
        Ok(&self.sources.config_at(index).name)
    }

    /// Returns the announced leap second, or `Unsynchronized`.
    pub fn leap(&self) -> LeapIndicator {
        if self.local_reference().is_some() {
            LeapIndicator::None
        } else if self.sync.synchronized {
            self.sync.leap
        } else {
            LeapIndicator::Unsynchronized
        }
    }
}
