//! Carrying out what an operator asks for: commands, and a new configuration.
//!
//! Both end in the same few changes of the source set. A new configuration is compared with the one in force, so that what
//! did not change goes on undisturbed: an association keeps its history as long as its name, host, port and mode stay; other
//! poll limits, opinions or pool sizes are taken over in place.

use ntp_time::PollLimits;

use super::config::{EngineConfig, SourceConfig, SourceKind};
use super::{Command, Done, Engine, Event, Now, Output, Refusal, Removal};
use crate::client::Terms;
use crate::discipline::Decision;

/// Configured sources at most. Each costs a handful of kilobytes and a look at every wake-up.
const MOST_SOURCES: usize = 4096;

impl Engine {
    pub(super) fn command(&mut self, now: Now, command: &Command) -> Result<Done, Refusal> {
        match command {
            Command::Add(config) => self.add_source(now, config),
            Command::Remove(name) => {
                let index = self.sources.named(name)?;
                let name = self.remove_source(index);
                self.opinions_changed(now);
                Ok(Done::Sources(vec![name]))
            }
            Command::Online(whom) => self.set_online(now, whom.as_deref(), true),
            Command::Offline(whom) => self.set_online(now, whom.as_deref(), false),
            Command::Burst(whom) => self.burst(now, whom.as_deref()),
            Command::Replace(name, new) => self.replace_source(now, name, new),
            Command::Step { forced } => self.step_now(now, *forced),
        }
    }

    /// Takes over a new configuration. The oscillator's prior and the facts about the clock are not the operator's: they stay.
    pub(super) fn reconfigure(&mut self, now: Now, new: &EngineConfig) -> Done {
        let mut sources = new.sources.iter().collect::<Vec<_>>();
        let (mut removed, mut changed) = (Vec::new(), Vec::new());
        let mut index = 0;
        while index < self.sources.count() {
            let old = self.sources.config_at(index);
            let Some(at) = sources.iter().position(|new| goes_on_as(old, new)) else {
                removed.push(self.remove_source(index));
                continue;
            };
            let new = sources.remove(at);
            if old != new {
                changed.push(new.name.clone());
                self.change_source(now, index, new);
            }
            index += 1;
        }
        let added = sources.iter().map(|new| new.name.clone()).collect();
        for new in sources {
            self.sources.configure(new.clone(), now.monotonic);
        }
        self.config = EngineConfig {
            sources: Vec::new(),
            frequency_prior: self.config.frequency_prior,
            clock: self.config.clock,
            ..new.clone()
        };
        self.take_up_clock();
        self.steering.reconfigure(new.steering);
        self.watch.set_threshold(new.meddling_threshold);
        self.opinions_changed(now);
        Done::Reconfigured {
            added,
            removed,
            changed,
        }
    }

    fn add_source(&mut self, now: Now, config: &SourceConfig) -> Result<Done, Refusal> {
        if self.is_taken(&config.name, None) {
            return Err(Refusal::DuplicateSource(config.name.clone()));
        }
        if self.sources.count() >= MOST_SOURCES {
            return Err(Refusal::TooManySources(MOST_SOURCES));
        }
        check_limits(config.terms.limits)?;
        self.sources.configure(config.clone(), now.monotonic);
        self.take_up_clock();
        self.opinions_changed(now);
        Ok(Done::Sources(vec![config.name.clone()]))
    }

    /// From the first source on the clock is ours: what is known of the oscillator is put into force.
    fn take_up_clock(&mut self) {
        if !self.hands_off || self.sources.count() == 0 {
            return;
        }
        self.hands_off = false;
        if self.steers() {
            let prior = self.config.frequency_prior;
            self.wanted.frequency = prior.map(|prior| -prior.frequency);
        }
    }

    /// Whether the clock is changed at all.
    pub(super) fn steers(&self) -> bool {
        self.config.clock.steerable && !self.hands_off
    }

    /// Forgets a configured source and its associations. Returns its name.
    fn remove_source(&mut self, index: usize) -> String {
        while let Some(position) = self.sources.member_of(index) {
            self.dismiss(position, Removal::Operator);
        }
        self.sources.forget(index).name
    }

    fn change_source(&mut self, now: Now, index: usize, new: &SourceConfig) {
        let was = self.sources.replace_config(index, new.clone());
        let opinion = self.sources.opinion_at(index);
        for position in 0..self.sources.members.len() {
            let member = &mut self.sources.members[position];
            if member.configured != index {
                continue;
            }
            member.association.set_limits(new.terms.limits);
            if was.opinion != new.opinion {
                self.discipline.set_opinion(member.key, opinion);
                // The discipline does not remember whether a source answers while the operator rules it out.
                let answers = !member.association.reach().is_dead();
                self.discipline.set_eligible(member.key, answers);
            }
        }
        while let Some(position) = self.sources.surplus_of(index) {
            self.dismiss(position, Removal::Operator);
        }
        self.sources.look_again(index, now.monotonic);
    }

    fn replace_source(
        &mut self,
        now: Now,
        name: &str,
        new: &SourceConfig,
    ) -> Result<Done, Refusal> {
        let index = self.sources.named(name)?;
        check_limits(new.terms.limits)?;
        if self.is_taken(&new.name, Some(index)) {
            return Err(Refusal::DuplicateSource(new.name.clone()));
        }
        if goes_on_as(self.sources.config_at(index), new) {
            self.change_source(now, index, new);
        } else {
            self.remove_source(index);
            self.sources.configure(new.clone(), now.monotonic);
        }
        self.opinions_changed(now);
        Ok(Done::Sources(vec![new.name.clone()]))
    }

    /// Whether a configured source other than the one at `except` has this name.
    fn is_taken(&self, name: &str, except: Option<usize>) -> bool {
        let mut others = (0..self.sources.count()).filter(|index| Some(*index) != except);
        others.any(|index| self.sources.config_at(index).name == name)
    }

    fn set_online(&mut self, now: Now, whom: Option<&str>, online: bool) -> Result<Done, Refusal> {
        let whom = self.sources.whom(whom)?;
        let names = self.sources.set_online(whom, online, now.monotonic);
        for position in 0..self.sources.members.len() {
            let configured = self.sources.members[position].configured;
            let opinion = self.sources.opinion_at(configured);
            let member = &mut self.sources.members[position];
            if !whom.includes(configured) {
                continue;
            }
            // The discipline does not remember who answers.
            let answers = !member.association.reach().is_dead();
            self.discipline.set_opinion(member.key, opinion);
            self.discipline.set_eligible(member.key, answers);
            if online {
                member.association.restart(now.monotonic);
            } else if let Some(exchange) = member.association.abandon() {
                self.outputs.push_back(Output::Close(exchange));
            }
        }
        self.vote_again(now);
        Ok(Done::Sources(names))
    }

    fn burst(&mut self, now: Now, whom: Option<&str>) -> Result<Done, Refusal> {
        let whom = self.sources.whom(whom)?;
        let (mut started, mut spared) = (0, 0);
        for position in 0..self.sources.members.len() {
            let configured = self.sources.members[position].configured;
            if !whom.includes(configured) {
                continue;
            }
            let online = self.sources.is_online(configured);
            let member = &mut self.sources.members[position];
            if online && member.association.restart(now.monotonic) {
                started += 1;
            } else {
                spared += 1;
            }
        }
        Ok(Done::Burst { started, spared })
    }

    fn step_now(&mut self, now: Now, forced: bool) -> Result<Done, Refusal> {
        if !self.config.clock.steerable {
            return Err(Refusal::NotSteerable);
        }
        let free = self.ledger.free(now.system);
        let agreement = self.discipline.agreement(free);
        let estimate = self
            .discipline
            .estimate(free)
            .filter(|_| agreement.majority);
        let Some(estimate) = estimate else {
            let needed = self.config.discipline.minimum_agreeing_sources;
            return Err(Refusal::NoMajority {
                agreeing: agreement.agreeing,
                needed: needed.max(self.sources.members.len() / 2 + 1),
            });
        };
        let (gap, estimate) = self.aimed(now, &estimate);
        match self.steering.step(gap, &estimate, forced) {
            Decision::Step { by, frequency } => {
                self.slew = None;
                self.wanted.step = Some(by);
                self.wanted.frequency = Some(frequency);
                self.emit(Event::Stepped {
                    by,
                    warn: self.config.warn_on_jump,
                });
                self.follow_reference(now, by);
                Ok(Done::Stepped {
                    from: now.system,
                    by,
                })
            }
            Decision::Panic {
                which,
                correction,
                limit,
            } => Err(Refusal::Panic {
                which,
                correction,
                limit,
                clock: now.system,
            }),
            Decision::Slew { .. } | Decision::Hold => Err(Refusal::NoMajority {
                agreeing: agreement.agreeing,
                needed: self.config.discipline.minimum_agreeing_sources,
            }),
        }
    }

    /// The set of sources or what the operator thinks of them is another one.
    pub(super) fn opinions_changed(&mut self, now: Now) {
        let config = &mut self.config.discipline;
        config.some_required = self.sources.is_any_required();
        self.discipline.reconfigure(*config);
        self.vote_again(now);
    }

    /// Who is used and who is not must be right at once, and not only with the next measurement.
    pub(super) fn vote_again(&mut self, now: Now) {
        self.discipline.revote(self.ledger.free(now.system));
    }
}

/// Whether `new` is `old` under other settings that an association can take over as it runs.
fn goes_on_as(old: &SourceConfig, new: &SourceConfig) -> bool {
    use SourceKind::Pool;
    let resized = matches!((&old.kind, &new.kind), (Pool { .. }, Pool { .. }));
    let settled = SourceConfig {
        kind: if resized { &old.kind } else { &new.kind }.clone(),
        terms: Terms {
            limits: old.terms.limits,
            initial_poll: old.terms.initial_poll,
            ..new.terms.clone()
        },
        opinion: old.opinion,
        ..new.clone()
    };
    *old == settled
}

fn check_limits(limits: PollLimits) -> Result<(), Refusal> {
    if limits.min > limits.max {
        return Err(Refusal::PollLimits(limits.min, limits.max));
    }
    Ok(())
}
