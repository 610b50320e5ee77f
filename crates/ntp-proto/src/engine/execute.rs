//! Operator commands, their execution, and that of changes of the configuration.
//!
//! Every command carries an ID and is answered by [`Output::Completed`](super::Output::Completed)
//! with that ID, after all outputs that it causes. A refused command changes nothing.
//!
//! A command identifies a source by its configured name (`host:port`), its host alone, the address
//! in use, or the number of an association. A name that matches several configured sources is
//! refused.
//!
//! Commands and changes of the configuration are reduced to a few changes of the source set. A new configuration is compared with the
//! one in force, and unchanged parts continue undisturbed: an association keeps its history as long
//! as its name, host, port and mode are the same; changes of poll limits, selection options or the
//! pool size are applied in place.

use core::fmt;

use ntp_time::{NtpDuration, PollLimits, SystemTime};
use serde::{Deserialize, Serialize};

use super::config::{EngineConfig, MAX_POOL_SIZE, SourceConfig, SourceKind};
use super::source::SourceInput;
use super::{CommandOutcome, Engine, Event, Now, Phase, Refusal, RefusedStep, RemovalReason};
use crate::client::AssociationConfig;
use crate::discipline::Decision;

/// Maximum number of configured sources. Each takes a few kilobytes and a check at every wake-up.
const MAX_SOURCES: usize = 4096;

/// A change requested by an operator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Command {
    /// Adds a source.
    Add(SourceConfig),
    /// Removes a source.
    Remove(String),
    /// Resumes polling of this source, or of all, immediately, also of servers that denied access.
    /// Reverts [`Command::Offline`].
    Online(Option<String>),
    /// Suspends polling of this source, or of all. Earlier measurements are used as long as they
    /// are fresh.
    Offline(Option<String>),
    /// Starts a burst of requests to this source, or to all. Skips servers that sent a RATE kiss
    /// and those whose last burst began less than a minute ago.
    Burst(Option<String>),
    /// Replaces the settings of a source. If only poll limits, selection options or the size of a
    /// pool change, its associations are kept.
    Replace(String, SourceConfig),
    /// Resolves all names again, and replaces addresses that they no longer have.
    Refresh,
    /// Repeats the selection, and lets a nearer source become the reference with the next sample.
    Reselect,
    /// Drops all measurements and polls all sources.
    Reset,
    /// Enters that it is this time now, and corrects the clock.
    SetTime {
        /// The time.
        time: SystemTime,
        /// Whether to ignore the panic thresholds.
        forced: bool,
    },
    /// Changes the list of entered times.
    Manual(ManualAction),
    /// Steps the clock to the estimated true time now.
    Step {
        /// Whether to ignore the panic thresholds.
        forced: bool,
    },
}

/// A change of the list of entered times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ManualAction {
    /// Permits or refuses entries from now on, and drops all.
    Enable(bool),
    /// Drops an entry, by its index, or all.
    Delete(Option<usize>),
}

/// Formats the command as `ntp-ctl` spells it, for example `offline ntp.example:123`.
impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let selected =
            |name: &Option<String>| name.clone().unwrap_or_else(|| "all sources".to_owned());
        match self {
            Self::Add(source) => write!(f, "add {}", source.name),
            Self::Remove(name) => write!(f, "remove {name}"),
            Self::Online(name) => write!(f, "online {}", selected(name)),
            Self::Offline(name) => write!(f, "offline {}", selected(name)),
            Self::Burst(name) => write!(f, "burst {}", selected(name)),
            Self::Replace(name, _) => write!(f, "set {name}"),
            Self::Refresh => f.write_str("refresh"),
            Self::Reselect => f.write_str("reselect"),
            Self::Reset => f.write_str("reset"),
            Self::SetTime { time, .. } => write!(f, "settime {time}"),
            Self::Manual(ManualAction::Enable(true)) => f.write_str("manual on"),
            Self::Manual(ManualAction::Enable(false)) => f.write_str("manual off"),
            Self::Manual(ManualAction::Delete(None)) => f.write_str("manual reset"),
            Self::Manual(ManualAction::Delete(Some(index))) => write!(f, "manual delete {index}"),
            Self::Step { forced: false } => f.write_str("step"),
            Self::Step { forced: true } => f.write_str("step --force"),
        }
    }
}

impl Engine {
    pub(super) fn execute(
        &mut self,
        now: Now,
        command: &Command,
    ) -> Result<CommandOutcome, Refusal> {
        match command {
            Command::Add(config) => self.add_source(now, config),
            Command::Remove(name) => {
                let index = self.sources.find(name)?;
                let name = self.remove_source(now, index);
                self.selection_options_changed(now);
                Ok(CommandOutcome::Sources(vec![name]))
            }
            Command::Online(name) => self.set_online(now, name.as_deref(), true),
            Command::Offline(name) => self.set_online(now, name.as_deref(), false),
            Command::Burst(name) => self.burst(now, name.as_deref()),
            Command::Replace(name, new) => self.replace_source(now, name, new),
            Command::Refresh => Ok(CommandOutcome::Sources(self.sources.refresh(now.monotonic))),
            Command::Reselect => Ok(self.reselect_reference(now)),
            Command::Reset => Ok(self.reset(now)),
            Command::SetTime { time, forced } => self.set_time(now, *time, *forced),
            Command::Manual(ManualAction::Enable(enabled)) => {
                self.manual.enable(*enabled);
                Ok(CommandOutcome::Done)
            }
            Command::Manual(ManualAction::Delete(index)) => self.delete_manual(now, *index),
            Command::Step { forced } => self.step(now, *forced),
        }
    }

    /// Applies a new configuration. The frequency prior and the clock properties are not part of it
    /// and stay.
    pub(super) fn reconfigure(&mut self, now: Now, new: &EngineConfig) -> CommandOutcome {
        let mut sources = new.sources.iter().collect::<Vec<_>>();
        let (mut removed, mut changed, mut retried) = (Vec::new(), Vec::new(), Vec::new());
        let mut index = 0;
        while index < self.sources.count() {
            let old = self.sources.config_at(index);
            let Some(at) = sources.iter().position(|new| can_continue_as(old, new)) else {
                removed.push(self.remove_source(now, index));
                continue;
            };
            let new = sources.remove(at);
            if self.sources.lift_denials(index) {
                retried.push(new.name.clone());
            }
            let old = self.sources.config_at(index);
            if old != new {
                changed.push(new.name.clone());
                self.change_source(now, index, new);
            }
            index += 1;
        }
        let added = sources.iter().map(|new| new.name.clone()).collect();
        for new in sources {
            self.sources.add_configured(new.clone(), now.monotonic);
        }
        if self.config.manual != new.manual {
            self.manual.enable(new.manual);
        }
        self.config = EngineConfig {
            sources: Vec::new(),
            frequency_prior: self.config.frequency_prior,
            time_prior: self.config.time_prior,
            clock: self.config.clock,
            ..new.clone()
        };
        self.start_steering();
        if self.phase == Phase::NoSources && self.config.serves_local_time() {
            self.apply_known_frequency();
        }
        self.steering.reconfigure(new.steering);
        self.jump_detector.set_threshold(new.meddling_threshold);
        self.selection_options_changed(now);
        self.repeat_refused_decision(now);
        CommandOutcome::Reconfigured {
            added,
            removed,
            changed,
            retried,
        }
    }

    fn add_source(&mut self, now: Now, config: &SourceConfig) -> Result<CommandOutcome, Refusal> {
        if self.is_taken(&config.name, None) {
            return Err(Refusal::DuplicateSource(config.name.clone()));
        }
        if self.sources.count() >= MAX_SOURCES {
            return Err(Refusal::TooManySources(MAX_SOURCES));
        }
        if let SourceKind::Pool { count, .. } | SourceKind::NtsPool { count, .. } = config.kind
            && count > MAX_POOL_SIZE
        {
            return Err(Refusal::LargePool(MAX_POOL_SIZE));
        }
        check_limits(config.association.limits)?;
        self.sources.add_configured(config.clone(), now.monotonic);
        self.start_steering();
        self.selection_options_changed(now);
        Ok(CommandOutcome::Sources(vec![config.name.clone()]))
    }

    /// Starts to steer the clock when the first source is configured: applies the known frequency.
    fn start_steering(&mut self) {
        if self.phase != Phase::NoSources || self.sources.count() == 0 {
            return;
        }
        self.phase = Phase::Running;
        self.apply_known_frequency();
    }

    /// Applies the frequency that is known from an earlier run, if the clock may be steered.
    fn apply_known_frequency(&mut self) {
        if self.config.clock.steerable {
            let known = self.config.frequency_prior.map(|prior| -prior.frequency);
            self.pending_adjustment.frequency =
                known.filter(|known| *known != self.ledger.frequency());
        }
    }

    /// Whether the engine adjusts the clock.
    pub(super) fn steers(&self) -> bool {
        self.config.clock.steerable && self.phase != Phase::NoSources
    }

    /// Removes a configured source and its sources in use. Returns its name.
    fn remove_source(&mut self, now: Now, index: usize) -> String {
        while let Some(position) = self.sources.in_use_of(index) {
            self.end_source(now, position, RemovalReason::Operator);
        }
        self.sources.remove_configured(index).name
    }

    fn change_source(&mut self, now: Now, index: usize, new: &SourceConfig) {
        self.sources.replace_config(index, new.clone());
        for source in &mut self.sources.in_use {
            if source.configured != index {
                continue;
            }
            if let Some(ntp) = source.ntp_mut() {
                ntp.association.set_limits(new.association.limits);
            }
        }
        while let Some(position) = self.sources.surplus_of(index) {
            self.end_source(now, position, RemovalReason::Operator);
        }
        self.sources.lift_denials(index);
        self.sources.schedule_lookup_if_short(index, now.monotonic);
    }

    fn replace_source(
        &mut self,
        now: Now,
        name: &str,
        new: &SourceConfig,
    ) -> Result<CommandOutcome, Refusal> {
        let index = self.sources.find(name)?;
        check_limits(new.association.limits)?;
        if self.is_taken(&new.name, Some(index)) {
            return Err(Refusal::DuplicateSource(new.name.clone()));
        }
        if can_continue_as(self.sources.config_at(index), new) {
            self.change_source(now, index, new);
        } else {
            self.remove_source(now, index);
            self.sources.add_configured(new.clone(), now.monotonic);
        }
        self.selection_options_changed(now);
        Ok(CommandOutcome::Sources(vec![new.name.clone()]))
    }

    /// Whether a configured source other than the one at `except` has this name.
    fn is_taken(&self, name: &str, except: Option<usize>) -> bool {
        let mut others = (0..self.sources.count()).filter(|index| Some(*index) != except);
        others.any(|index| self.sources.config_at(index).name == name)
    }

    fn set_online(
        &mut self,
        now: Now,
        name: Option<&str>,
        online: bool,
    ) -> Result<CommandOutcome, Refusal> {
        let selector = self.sources.select(name)?;
        let names = self.sources.set_online(selector, online, now.monotonic);
        for position in 0..self.sources.in_use.len() {
            let source = &self.sources.in_use[position];
            if !selector.includes(source.configured) {
                continue;
            }
            let input = if online {
                SourceInput::Start
            } else {
                SourceInput::Stop
            };
            self.handle_source(now, position, input);
        }
        self.update_selection(now);
        Ok(CommandOutcome::Sources(names))
    }

    fn burst(&mut self, now: Now, name: Option<&str>) -> Result<CommandOutcome, Refusal> {
        let selector = self.sources.select(name)?;
        let (mut started, mut skipped) = (0, 0);
        for position in 0..self.sources.in_use.len() {
            let configured = self.sources.in_use[position].configured;
            if !selector.includes(configured) {
                continue;
            }
            let online = self.sources.is_online(configured);
            if online && self.sources.in_use[position].restart(now.monotonic) {
                started += 1;
            } else {
                skipped += 1;
            }
        }
        Ok(CommandOutcome::Burst { started, skipped })
    }

    fn reselect_reference(&mut self, now: Now) -> CommandOutcome {
        self.reselect(now);
        self.discipline.release_reference();
        let free = self.ledger.free_time(now.system);
        let selected = self.sources.in_use.iter();
        let selected = selected.filter(|source| self.discipline.is_selected(source.key, free));
        let names = selected.map(|source| self.sources.config(source).name.clone());
        CommandOutcome::Sources(names.collect())
    }

    /// Forgets the phase, as after a change of the clock by an unknown amount.
    fn reset(&mut self, now: Now) -> CommandOutcome {
        self.reacquire(now, NtpDuration::MAX);
        for source in &mut self.sources.in_use {
            source.measured = None;
        }
        let indices = 0..self.sources.count();
        let names = indices.map(|index| self.sources.config_at(index).name.clone());
        CommandOutcome::Sources(names.collect())
    }

    fn step(&mut self, now: Now, forced: bool) -> Result<CommandOutcome, Refusal> {
        if !self.config.clock.steerable {
            return Err(Refusal::NotSteerable);
        }
        let free = self.ledger.free_time(now.system);
        let agreement = self.discipline.agreement(free);
        let estimate = self
            .discipline
            .estimate(free)
            .filter(|_| agreement.majority);
        let Some(measured) = estimate else {
            return Err(Refusal::NoMajority {
                agreeing: agreement.agreeing,
                needed: agreement.required,
            });
        };
        let (offset, estimate) = self.relative_to_target(now, &measured);
        match self.steering.step(offset, &estimate, forced) {
            Decision::Step { by, frequency } => {
                self.drop_contradicted_floor(now, &measured);
                self.request_step(now, by, frequency);
                self.follow_reference(now, by);
                Ok(CommandOutcome::Stepped {
                    from: now.system,
                    by,
                })
            }
            Decision::Panic(excess) => Err(Refusal::Panic(RefusedStep::new(now, excess))),
            Decision::Slew { .. } | Decision::Wait { .. } | Decision::Hold => {
                Err(Refusal::NoMajority {
                    agreeing: agreement.agreeing,
                    needed: agreement.required,
                })
            }
        }
    }

    /// Applies a change of the source set or of selection options.
    pub(super) fn selection_options_changed(&mut self, now: Now) {
        let config = &mut self.config.discipline;
        config.some_required = self.sources.is_any_required();
        let config = self.discipline_config();
        self.discipline.reconfigure(config);
        self.update_selection(now);
        self.reselect(now);
    }

    /// Passes selection options that changed to the discipline, and repeats the selection.
    pub(super) fn update_selection(&mut self, now: Now) {
        let changed = self.sources.update_selection();
        for change in &changed {
            let source = &self.sources.in_use[change.position];
            self.discipline
                .set_selection_options(source.key, source.selection);
            // The discipline does not keep the reachability of a source that is excluded from
            // selection.
            self.discipline
                .set_eligible(source.key, source.is_eligible());
            if change.new_duplicate {
                self.report_duplicate(change.position);
            }
        }
        if !changed.is_empty() {
            self.reselect(now);
        }
    }

    fn report_duplicate(&mut self, position: usize) {
        if let Some(voter) = self.sources.voter_of(position) {
            let of = self.sources.config(voter).name.clone();
            let source = self.sources.source_name(&self.sources.in_use[position]);
            self.emit(Event::SourceDuplicate { source, of });
        }
    }

    /// Repeats the selection, which must be correct at once and not only after the next
    /// measurement.
    pub(super) fn reselect(&mut self, now: Now) {
        self.discipline.reselect(self.ledger.free_time(now.system));
    }
}

/// Whether `new` differs from `old` only in settings that a running association can take over.
fn can_continue_as(old: &SourceConfig, new: &SourceConfig) -> bool {
    use SourceKind::{NtsPool, Pool};
    let resized = matches!(
        (&old.kind, &new.kind),
        (Pool { .. }, Pool { .. }) | (NtsPool { .. }, NtsPool { .. })
    );
    let adapted = SourceConfig {
        kind: if resized { &old.kind } else { &new.kind }.clone(),
        association: AssociationConfig {
            limits: old.association.limits,
            initial_poll: old.association.initial_poll,
            ..new.association.clone()
        },
        selection: old.selection,
        ..new.clone()
    };
    *old == adapted
}

fn check_limits(limits: PollLimits) -> Result<(), Refusal> {
    if limits.min > limits.max {
        return Err(Refusal::PollLimits(limits.min, limits.max));
    }
    Ok(())
}
