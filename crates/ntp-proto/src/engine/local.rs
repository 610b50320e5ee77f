//! Local reference: what is served while no source is available (`[local]`).
//!
//! # When
//! The local reference is active while no majority of sources is available, once all of this holds:
//!
//! - The clock has not followed a source for `wait_synced`, or, if it never did, the engine has run
//!   for `wait_unsynced`.
//! - The error bound has passed `distance`, or there is none.
//! - The error bound has been below `activate_below` once, if that is configured.
//! - No source is in a burst of requests, whose replies decide.
//! - No panic threshold forbids to correct the clock: such a clock is no reference.
//!
//! It ends as soon as a majority of sources is available: it has no vote, so it keeps no source from
//! being followed.
//!
//! # What is served
//! The clock as it runs, at the configured stratum. The root dispersion is the error bound: what
//! was known when the sources were lost, grown by the drift allowance. It stops growing at
//! [`LARGEST_DISTANCE`], because clients that refuse the last common time follow no common time. A
//! clock without an error bound (never synchronised, or set by an operator since) is its own
//! reference, and states zero; with manual time (`manual`), it states the error of that.
//!
//! # Orphans
//! With `orphan`, servers with the same local stratum that poll each other elect one. A source with
//! our local stratum is an *orphan*: it serves its local reference. Sources at that stratum or
//! above are excluded from the selection, but for one: while too few other sources are available,
//! the orphan with the smallest reference ID is followed, if that is smaller than ours. The IDs are
//! those of the addresses of both ends ([`reference_id_of`]), compared as 32-bit numbers, as
//! chronyd compares them. So only the server with the smallest ID keeps its local reference.
//!
//! A server that has no time yet follows an orphan whatever the IDs, and takes its place
//! `wait_unsynced` later, when its clock agrees; otherwise each restart of the server with the
//! smallest ID would move the time of all.
//!
//! # Handover
//! Clients rely on the time that was served. Differences up to [`HANDOVER_LIMIT`] are therefore
//! slewed when another reference is followed.
//!
//! With `orphan`, a source whose reference ID is that of another reachable source of ours is
//! excluded: the members of a group would follow each other, and while all slew at 500 ppm, learn
//! that rate as their own. When real sources are reached after members were followed, the estimate
//! begins anew with them.

use ntp_time::{
    Frequency, LeapIndicator, Monotonic, NtpDuration, ReferenceId, Stratum, SystemTime,
};
use ntp_types::event::Rejection;
use ntp_types::status::MeasurementStatus;
use serde::{Deserialize, Serialize};

use super::source::Source;
use super::steer::SYNCHRONIZED_BOUND;
use super::{Engine, Event, Now, SourceId};
use crate::client::reference_id_of;
use crate::discipline::{self, SelectionOptions};
use crate::server::{Claim, RootDispersion};

/// Largest root dispersion of the local reference. ntpd and this client refuse servers from 1.5 s
/// on (RFC 5905 section 11.2, MAXDIST), chronyd from 3 s; the rest is for the way to clients of
/// clients.
const LARGEST_DISTANCE: NtpDuration = NtpDuration::from_seconds(1);

/// Largest difference that is slewed when another reference takes over: a drift of 15 ppm leads to
/// it in twelve days, and a slew of 500 ppm takes nine hours. A larger one is no drift.
const HANDOVER_LIMIT: NtpDuration = NtpDuration::from_seconds(16);

/// Time in which the estimate follows a new reference: several of the longest usual polls of 1024 s.
/// A gap that begins in this time is slewed, however long that takes.
const HANDOVER_TIME: NtpDuration = NtpDuration::from_seconds(3600);

/// Time after which clients rely on a local reference. A shorter one is the start of a machine
/// whose network comes late: its clock is set as usual.
const RELIED_ON: NtpDuration = NtpDuration::from_seconds(300);

/// Settings of the local reference (`[local]`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalConfig {
    /// Stratum of the replies.
    pub stratum: Stratum,
    /// Reference ID of the replies.
    pub reference_id: ReferenceId,
    /// Error bound from which on it is active.
    #[serde(with = "ntp_time::exact")]
    pub distance: NtpDuration,
    /// Error bound that must be reached once before. `None` requires nothing.
    #[serde(with = "ntp_time::exact")]
    pub activate_below: Option<NtpDuration>,
    /// Shortest time since the last source was lost.
    #[serde(with = "ntp_time::exact")]
    pub wait_synced: NtpDuration,
    /// Shortest time since the start, before any source was followed.
    #[serde(with = "ntp_time::exact")]
    pub wait_unsynced: NtpDuration,
    /// Whether servers with the same local stratum elect one.
    pub orphan: bool,
}

/// State of the local reference.
#[derive(Debug)]
pub(super) struct LocalReference {
    /// When a source was available last; the start, if none ever was.
    last_available: Monotonic,
    ever_available: bool,
    /// Whether the error bound has been below `activate_below`.
    was_accurate: bool,
    /// Since when it is active.
    active: Option<(Monotonic, SystemTime)>,
    /// The orphan that is followed, and since when.
    orphan: Option<(SourceId, Monotonic)>,
    /// Whether the estimate rests on other members of the group.
    on_group: bool,
    /// Until then, corrections up to this size hand over to another reference.
    handover: Option<(Monotonic, NtpDuration)>,
    /// When it may become active by the passage of time.
    pub(super) next_due: Option<Monotonic>,
}

impl LocalReference {
    pub(super) fn new(now: Now) -> Self {
        Self {
            last_available: now.monotonic,
            ever_available: false,
            was_accurate: false,
            active: None,
            orphan: None,
            on_group: false,
            handover: None,
            next_due: None,
        }
    }

    /// Lets the corrections of the next [`HANDOVER_TIME`] be slews, up to `limit`.
    pub(super) fn begin_handover(&mut self, now: Now, limit: NtpDuration) {
        self.handover = Some((now.monotonic + HANDOVER_TIME, limit));
    }

    /// Lets the clock be stepped again: it was disturbed.
    pub(super) fn end_handover(&mut self) {
        self.handover = None;
    }

    /// When it began to be active, while it is.
    pub(super) fn since(&self) -> Option<SystemTime> {
        self.active.map(|(_, since)| since)
    }

    /// End of the time without a source after which it may be active.
    fn due(&self, config: &LocalConfig) -> Monotonic {
        self.last_available
            + if self.ever_available {
                config.wait_synced
            } else {
                config.wait_unsynced
            }
    }
}

impl Engine {
    /// The local reference in force: its settings, and since when.
    pub(super) fn local_reference(&self) -> Option<(&LocalConfig, SystemTime)> {
        self.config.local.as_ref().zip(self.local.since())
    }

    /// Follows whether sources are available, after each input.
    pub(super) fn update_local(&mut self, now: Now) {
        if self.config.local.is_none() && self.local.active.is_none() {
            return;
        }
        let elected = self.elect_orphan(now);
        self.follow_orphan(now, elected);
        self.update_exclusions(now);
        let free = self.ledger.free_time(now.system);
        let available = self.discipline.agreement(free).majority;
        let bound = self.error_figures(now).map(|figures| figures.bound);
        let local = &mut self.local;
        if available {
            local.last_available = now.monotonic;
            local.ever_available = true;
        }
        let Some(config) = &self.config.local else {
            local.next_due = None;
            return self.set_local_active(now, false);
        };
        let accurate = config.activate_below.is_none_or(|limit| {
            let reached = available && bound.is_some_and(|bound| bound < limit);
            local.was_accurate |= reached;
            local.was_accurate
        });
        let due = local.due(config);
        let waited = now.monotonic >= due;
        local.next_due = (!available && !waited).then_some(due);
        let distant = bound.is_none_or(|bound| bound >= config.distance);
        let may_begin =
            accurate && waited && distant && !self.sources.in_use.iter().any(Source::is_in_burst);
        let is_active = self.local.active.is_some();
        if self.sync.synchronized && bound.is_none_or(|bound| bound > SYNCHRONIZED_BOUND) {
            // The new reference contradicts the old one; housekeeping would notice it later.
            self.refresh_status(now);
        }
        let trusted = self.refusal.is_none();
        self.set_local_active(now, !available && trusted && (is_active || may_begin));
    }

    fn set_local_active(&mut self, now: Now, active: bool) {
        match (self.local.active, &self.config.local) {
            (None, Some(config)) if active => {
                let stratum = config.stratum;
                self.local.active = Some((now.monotonic, now.system));
                self.local_identity
                    .record_reference_timestamp(now.system.to_ntp());
                self.emit(Event::LocalTimeStarted { stratum });
            }
            (Some((since, _)), _) if !active => {
                self.local.active = None;
                if now.monotonic - since >= RELIED_ON {
                    self.local.begin_handover(now, HANDOVER_LIMIT);
                }
                self.emit(Event::LocalTimeEnded {
                    after: now.monotonic - since,
                });
            }
            _ => {}
        }
    }

    /// Lets the corrections after a change of the reference be slews. `offset` is that of the clock
    /// from its references.
    pub(super) fn hand_over(&mut self, now: Now, offset: NtpDuration) {
        let handover = self.local.handover;
        if handover.is_some_and(|(until, limit)| now.monotonic < until && offset.abs() <= limit) {
            self.steering.withhold_step();
            self.steering.slew_gap(offset);
        }
    }

    /// What is served while the local reference is active; `base` has what does not depend on it.
    pub(super) fn local_claim(&self, now: Now, base: Claim) -> Option<Claim> {
        let (config, since) = self.local_reference()?;
        let bound = self.served_figures(now).map(|figures| figures.bound);
        let bound = bound.or_else(|| self.manual_bound(now));
        let value = bound.unwrap_or(NtpDuration::ZERO).min(LARGEST_DISTANCE);
        let grows = bound.is_some() && value < LARGEST_DISTANCE;
        Some(Claim {
            leap: LeapIndicator::None,
            stratum: config.stratum,
            root_delay: NtpDuration::ZERO,
            root_dispersion: RootDispersion {
                value,
                at: now.system,
                growth: if grows {
                    self.drift_allowance(now)
                } else {
                    Frequency::ZERO
                },
            },
            reference_id: config.reference_id,
            reference_timestamp: since.min(now.system).to_ntp(),
            limit: NtpDuration::MAX,
            ..base
        })
    }

    // ---- orphans

    /// Why a source must not be selected with `orphan`, by what its newest reply shows.
    pub(super) fn orphan_exclusion(
        &self,
        source: SourceId,
        shown: &MeasurementStatus,
    ) -> Option<Rejection> {
        let config = self.config.local.filter(|config| config.orphan)?;
        let followed = self.local.orphan.is_some_and(|(id, _)| id == source);
        let stratum = shown.stratum;
        let excluded = stratum >= config.stratum && !(followed && stratum == config.stratum);
        let mut upstream = self.upstream(source, shown.reference_id);
        let is_relay = upstream.any(|other| other.reachable && !other.is_unreachable());
        (excluded || is_relay).then_some(Rejection::Orphan)
    }

    /// Applies what [`Self::orphan_exclusion`] states now: sources have become reachable or lost.
    fn update_exclusions(&mut self, now: Now) {
        let mut changed = false;
        for position in 0..self.sources.in_use.len() {
            let source = &self.sources.in_use[position];
            let before = source.exclusion;
            let Some(measured) = source.measured else {
                continue;
            };
            let excluded = self.orphan_exclusion(source.id, &measured);
            if before == excluded || before.is_some_and(|before| before != Rejection::Orphan) {
                continue;
            }
            changed = true;
            let source = &mut self.sources.in_use[position];
            source.exclusion = excluded;
            self.discipline
                .set_eligible(source.key, source.is_eligible());
        }
        if changed {
            self.reselect(now);
        }
        self.follow_real_time(now);
    }

    /// Begins the estimate anew when it rested on members of the group, and no longer does.
    fn follow_real_time(&mut self, now: Now) {
        let Some(config) = self.config.local.filter(|config| config.orphan) else {
            return;
        };
        let (mut voters, mut real) = (0, 0);
        for source in self.sources.in_use.iter().filter(|it| self.is_voter(it)) {
            let Some(measured) = source.measured else {
                continue;
            };
            let upstream = self.upstream(source.id, measured.reference_id).next();
            voters += 1;
            real += usize::from(measured.stratum < config.stratum && upstream.is_none());
        }
        let is_real = real >= self.config.discipline.minimum_agreeing_sources.max(1);
        if voters > 0 && core::mem::replace(&mut self.local.on_group, !is_real) && is_real {
            self.local.begin_handover(now, HANDOVER_LIMIT);
            self.discipline
                .replace_sources(self.ledger.free_time(now.system));
        }
    }

    /// Sources of ours from which a source with this reference ID takes its time.
    fn upstream(&self, source: SourceId, reference: ReferenceId) -> impl Iterator<Item = &Source> {
        self.sources.in_use.iter().filter(move |other| {
            other.id != source
                && !other.selection.noselect
                && other.remote().map(|remote| reference_id_of(remote.ip())) == Some(reference)
        })
    }

    fn is_voter(&self, source: &Source) -> bool {
        source.reachable
            && source.is_eligible()
            && !source.selection.noselect
            && source.duplicate_of.is_none()
    }

    /// The settings of the discipline: one orphan is enough.
    pub(super) fn discipline_config(&self) -> discipline::Config {
        let config = self.config.discipline;
        if self.local.orphan.is_none() {
            return config;
        }
        discipline::Config {
            minimum_agreeing_sources: 1,
            some_required: false,
            ..config
        }
    }

    /// The orphan to follow, if any.
    fn elect_orphan(&self, now: Now) -> Option<SourceId> {
        let config = self.config.local.filter(|config| config.orphan)?;
        if self.has_real_voters() {
            return None;
        }
        let followed = self.local.orphan;
        // Without a time of our own we join the group first.
        let joins = self.local.active.is_none()
            && match followed {
                Some((_, since)) => now.monotonic - since < config.wait_unsynced,
                None => !self.local.ever_available,
            };
        let orphans = self.sources.in_use.iter().filter_map(|source| {
            let is_orphan = source.reachable
                && !source.is_unreachable()
                && !source.selection.noselect
                && source.duplicate_of.is_none()
                && source.measured?.stratum == config.stratum;
            let theirs = reference_id_of(source.remote()?.ip()).octets();
            let ours = reference_id_of(source.local_address?).octets();
            (is_orphan && (joins || theirs < ours)).then_some((theirs, source.id))
        });
        orphans.min().map(|(_, id)| id)
    }

    /// Whether enough sources besides orphans are available to determine the time.
    fn has_real_voters(&self) -> bool {
        let followed = self.local.orphan;
        let voters = self.sources.in_use.iter().filter(|source| {
            self.is_voter(source) && followed.is_none_or(|(id, _)| id != source.id)
        });
        voters.count() >= self.config.discipline.minimum_agreeing_sources.max(1)
    }

    /// Follows another orphan, or none.
    fn follow_orphan(&mut self, now: Now, elected: Option<SourceId>) {
        let before = self.local.orphan.map(|(id, _)| id);
        if before == elected {
            return;
        }
        if before.is_some() || self.sync.synchronized {
            self.local.begin_handover(now, HANDOVER_LIMIT);
        }
        self.local.orphan = elected.map(|id| (id, now.monotonic));
        for source in before.into_iter().chain(elected) {
            let Some(position) = self.sources.position(source) else {
                continue;
            };
            let source = &self.sources.in_use[position];
            // The other sources are too few to outvote it.
            let options = SelectionOptions {
                trust: source.selection.trust || elected == Some(source.id),
                ..source.selection
            };
            self.discipline.set_selection_options(source.key, options);
        }
        let config = self.discipline_config();
        self.discipline.reconfigure(config);
    }
}
