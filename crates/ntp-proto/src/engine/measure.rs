//! Passes inputs to the sources and follows what they yield: samples, kisses, rejections, silence.

use ntp_time::{NtpDuration, ReferenceId, Stratum};
use rand_core::RngCore as _;

use super::source::ntp::NtpSource;
use super::source::{Context, Notice, Sample, SourceInput};
use super::{
    Engine, Event, ExchangeId, LastError, Now, REJECTED_LIMIT, RemovalReason, SendError, SourceId,
};
use crate::client::{Association, Authenticity, KissCode, Rejection};
use crate::discipline::{MeasurementOutcome, SourceState};
use ntp_types::status::MeasurementStatus;

impl Engine {
    /// Passes an input to a source and follows its effects. Ignores sources that have ended.
    pub(super) fn pass(&mut self, now: Now, source: SourceId, input: SourceInput<'_>) {
        if let Some(position) = self.sources.position(source) {
            let notice = self.handle_source(now, position, input);
            self.follow_version(now, position);
            if let (SourceInput::Datagram(_), Authenticity::Authentic { .. }) =
                (input, self.replay.authenticity)
            {
                self.sources.authenticated(position);
            }
            self.follow(now, position, notice);
        }
    }

    /// Passes an input to the source at `position`.
    pub(super) fn handle_source(
        &mut self,
        now: Now,
        position: usize,
        input: SourceInput<'_>,
    ) -> Notice {
        let tai_offset = self.tai_offset(now);
        let mut context = Context {
            rng: &mut self.rng,
            outputs: &mut self.outputs,
            local_identity: &self.local_identity,
            tai_offset,
            stratum_limit: self.config.local_stratum.min(Stratum::UNSYNCHRONIZED),
            authenticity: &mut self.replay.authenticity,
        };
        self.sources.in_use[position].handle(now, input, &mut context)
    }

    /// Passes an input to all sources, which has no effects beyond them.
    pub(super) fn handle_all(&mut self, now: Now, input: SourceInput<'_>) {
        for position in 0..self.sources.in_use.len() {
            self.handle_source(now, position, input);
        }
    }

    pub(super) fn follow(&mut self, now: Now, position: usize, notice: Notice) {
        match notice {
            // A send error is followed with its reason, see `send_failed`.
            Notice::None | Notice::SendFailed => {}
            Notice::Sample => self.measure(now, position),
            Notice::Refused(reason) => self.refuse_sample(now, position, reason),
            Notice::Unreachable => self.report_unreachable(now, position),
            Notice::Kiss(kiss) => self.handle_kiss(now, position, kiss),
            Notice::Rejected(rejection) => self.report_rejection(now, position, rejection),
        }
    }

    fn report_rejection(&mut self, now: Now, position: usize, rejection: Rejection) {
        let source = &mut self.sources.in_use[position];
        // Two limits, so that datagrams of third parties cannot hide a problem of the server.
        let limit = if rejection.matches_nonce() {
            source.last_error = Some(LastError::Reply(rejection));
            &mut source.log_limits.unusable
        } else {
            &mut source.log_limits.bogus
        };
        let suppressed = limit.admit(now.monotonic);
        // What the server itself sends is authentic.
        let association = source.ntp().map(|ntp| &ntp.association);
        let distance = association
            .filter(|_| !rejection.is_server_fault())
            .and_then(Association::hop_limit_difference);
        let source = self.sources.source_name(&self.sources.in_use[position]);
        if let Some(suppressed) = suppressed {
            self.emit(Event::ReplyRejected {
                source,
                reason: rejection,
                distance,
                suppressed,
            });
        }
    }

    /// Takes a sample: updates the discipline, the poll interval and the clock.
    fn measure(&mut self, now: Now, position: usize) {
        let Self {
            sources,
            ledger,
            config,
            ..
        } = self;
        let taken = sources.in_use[position].take_sample(ledger, config.clock.precision);
        let Some(Sample {
            measurement,
            server_correction,
            exclusion,
            shown,
        }) = taken
        else {
            sources.in_use[position].last_error = Some(LastError::ClockOutOfRange);
            return self.report_clock_out_of_range(now);
        };

        let source = &mut self.sources.in_use[position];
        // Also after the source was reported unreachable, and for the first sample ever.
        let became_reachable = !core::mem::replace(&mut source.reachable, true)
            | core::mem::replace(&mut source.unreachable_reported, false);
        let key = source.key;
        self.sources.sample_received(position);
        let id = self.sources.in_use[position].id;
        let exclusion = exclusion.or_else(|| self.orphan_exclusion(id, &shown));
        self.apply_exclusion(now, position, exclusion);
        let free = self.ledger.free_time(now.system);
        let predicted = self.discipline.estimate(free);
        (self.discipline).follow_server_correction(key, server_correction);
        let outcome = self.discipline.add_measurement(key, &measurement);

        let source = &mut self.sources.in_use[position];
        let before = source.measured.map(|measured| measured.reference_id);
        source.measured = Some(MeasurementStatus {
            uncertainty: self
                .discipline
                .status(key, measurement.at)
                .map(|status| status.uncertainty)
                .filter(|known| *known < NtpDuration::MAX),
            ..shown
        });
        self.choose_poll(position);

        let source = self.sources.source_name(&self.sources.in_use[position]);
        if became_reachable {
            self.sources.selection_outdated = true;
            self.emit(Event::SourceReachable {
                source: source.clone(),
            });
        }
        if shown.reference_id == ReferenceId::SMEARED
            && before.is_none_or(|id| id != ReferenceId::SMEARED)
        {
            self.emit(Event::SourceSmears {
                source: source.clone(),
            });
        }
        self.emit(Event::Measured {
            source,
            offset: shown.offset,
            delay: shown.delay,
            outcome,
        });
        self.steer_and_record(now, &outcome, predicted.map(|it| it.phase));
        self.follow_selection(now, position);
    }

    /// Chooses the poll interval of an NTP source.
    fn choose_poll(&mut self, position: usize) {
        let source = &mut self.sources.in_use[position];
        let key = source.key;
        if let Some(ntp) = source.ntp_mut() {
            let schedule = ntp.association.schedule();
            let (limits, poll) = (schedule.limits(), schedule.poll());
            ntp.association
                .set_poll(self.discipline.choose_poll(key, limits, poll));
        }
    }

    /// Makes the source eligible for selection, or excludes it for a reason that its replies state.
    fn apply_exclusion(&mut self, now: Now, position: usize, exclusion: Option<Rejection>) {
        let source = &mut self.sources.in_use[position];
        let before = core::mem::replace(&mut source.exclusion, exclusion);
        source.last_error = exclusion.map(LastError::Reply);
        let changed = (self.discipline).set_eligible(source.key, exclusion.is_none());
        let Some(reason) = exclusion else { return };
        if changed {
            self.reselect(now);
        }
        // The filter of every server is incomplete at first, and orphans are expected.
        let expected = [Rejection::ReferenceIdsIncomplete, Rejection::Orphan];
        if before == exclusion || expected.contains(&reason) {
            return;
        }
        let source = &mut self.sources.in_use[position];
        let suppressed = source.log_limits.exclusion.admit(now.monotonic);
        let source = self.sources.source_name(&self.sources.in_use[position]);
        if let Some(suppressed) = suppressed {
            self.emit(Event::SourceExcluded {
                source,
                reason,
                suppressed,
            });
        }
    }

    /// Reports that the version of a source has changed.
    pub(super) fn follow_version(&mut self, now: Now, position: usize) {
        let source = &mut self.sources.in_use[position];
        let Some((version, fallbacks)) = source.ntp_mut().and_then(NtpSource::take_new_version)
        else {
            return;
        };
        if source.log_limits.version.admit(now.monotonic).is_some() {
            let source = self.sources.source_name(&self.sources.in_use[position]);
            self.emit(Event::VersionChanged {
                source,
                version: version.number().into(),
                fallbacks,
            });
        }
    }

    /// Steers the clock, and records the correction of an update for the statistics. `predicted` is
    /// the phase that was known before the sample.
    fn steer_and_record(
        &mut self,
        now: Now,
        outcome: &MeasurementOutcome,
        predicted: Option<NtpDuration>,
    ) {
        let updated = self.sync.reference_time;
        let free = self.ledger.free_time(now.system);
        // The first update corrects the whole offset.
        let known = predicted.unwrap_or_else(|| -self.ledger.correction(now.system));
        self.steer(now, outcome);
        if self.sync.reference_time != updated
            && let Some(after) = self.discipline.estimate(free)
        {
            self.updates.record(now.monotonic, known - after.phase);
        }
    }

    fn report_clock_out_of_range(&mut self, now: Now) {
        if let Some(suppressed) = self.clock_range_limit.admit(now.monotonic) {
            self.emit(Event::ClockOutOfRange {
                clock: now.system,
                suppressed,
            });
        }
    }

    fn handle_kiss(&mut self, now: Now, position: usize, kiss: KissCode) {
        let Self { sources, rng, .. } = self;
        let source = &mut sources.in_use[position];
        source.last_error = Some(LastError::Kiss(kiss));
        let Some(ntp) = source.ntp_mut() else {
            return;
        };
        if matches!(kiss, KissCode::Deny | KissCode::Restrict) {
            return self.handle_denial(now, position, kiss);
        }
        let before = ntp.association.schedule().poll();
        if kiss == KissCode::Rate {
            ntp.association.handle_rate_kiss(now.monotonic, rng);
        }
        let poll = ntp.association.schedule().poll();
        // Every change of the poll interval is logged; there are few.
        let report = source.log_limits.kiss.admit(now.monotonic).is_some() || poll != before;
        let source = self.sources.source_name(&self.sources.in_use[position]);
        if report {
            self.emit(Event::KissReceived {
                source,
                code: kiss,
                poll: Some(poll),
                retry: None,
            });
        }
    }

    /// Ends the association (RFC 5905 section 7.4). Its server is tried again after hours.
    fn handle_denial(&mut self, now: Now, position: usize, code: KissCode) {
        let scatter = f64::from(self.rng.next_u32()) / f64::from(u32::MAX);
        let source = self.sources.source_name(&self.sources.in_use[position]);
        let retry = (self.sources).record_denial(now.monotonic, position, code, scatter);
        self.emit(Event::KissReceived {
            source,
            code,
            poll: None,
            retry,
        });
        self.drop_source(now, position, RemovalReason::Denied);
    }

    /// Follows a send error: replaces an address without a route.
    pub(super) fn send_failed(&mut self, now: Now, exchange: ExchangeId, error: SendError) {
        let Some(position) = self.sources.position(exchange.source) else {
            return;
        };
        let failed = SourceInput::SendFailed(exchange);
        if self.handle_source(now, position, failed) != Notice::SendFailed {
            return;
        }
        let source = &mut self.sources.in_use[position];
        source.last_error = Some(LastError::Send(error));
        // Reported once for each period without replies, and at most once an hour, because ICMP
        // errors may be forged.
        let limit = &mut source.log_limits.send_failure;
        let report = !source.unreachable_reported && limit.admit(now.monotonic).is_some();
        source.unreachable_reported |= report;
        let source = self.sources.source_name(&self.sources.in_use[position]);
        if report {
            self.emit(Event::SendFailed { source, error });
        }
        if matches!(error, SendError::NoRoute | SendError::BindAddress { .. }) {
            self.replace_unroutable(now, position);
        }
    }

    /// Reports whether the source at `position` is a falseticker, and replaces the address of a pool
    /// member that stays one, and of a duplicate.
    fn follow_selection(&mut self, now: Now, position: usize) {
        let free = self.ledger.free_time(now.system);
        let Some(source) = self.sources.in_use.get_mut(position) else {
            return;
        };
        let status = self.discipline.status(source.key, free);
        let reason = match status.map(|status| status.state) {
            _ if source.duplicate_of.is_some() => Some(RemovalReason::Duplicate),
            Some(SourceState::Falseticker) => Some(RemovalReason::Falseticker),
            _ => None,
        };
        source.rejected_polls = match reason {
            Some(_) => source.rejected_polls.saturating_add(1),
            None => 0,
        };
        let is_due = source.rejected_polls >= REJECTED_LIMIT;
        if let Some(status) = status {
            self.report_falseticker(now, position, status.state);
        }
        let Some(reason) = reason.filter(|_| is_due) else {
            return;
        };
        let source = &self.sources.in_use[position];
        let replaceable = match reason {
            RemovalReason::Duplicate => self.sources.is_duplicate_by_address(position),
            _ => self.sources.config(source).kind.is_pool(),
        };
        if replaceable && self.sources.has_replacement(now.monotonic, position) {
            self.drop_source(now, position, reason);
        }
    }

    /// Reports that a source became a falseticker, at most once an hour, and that a reported one agrees
    /// again.
    fn report_falseticker(&mut self, now: Now, position: usize, state: SourceState) {
        let source = &mut self.sources.in_use[position];
        let in_burst = source.is_in_burst();
        let limit = &mut source.log_limits.falseticker;
        let suppressed = match (source.falseticker_reported, state) {
            (true, SourceState::Selected | SourceState::Outranked) => Some(0),
            // During the initial burst, disagreement is only missing data.
            (false, SourceState::Falseticker) if !in_burst => limit.admit(now.monotonic),
            _ => None,
        };
        let Some(suppressed) = suppressed else { return };
        source.falseticker_reported = state == SourceState::Falseticker;
        let offset = source.measured.map_or(NtpDuration::ZERO, |it| it.offset);
        let source = self.sources.source_name(&self.sources.in_use[position]);
        let became_falseticker = state == SourceState::Falseticker;
        self.emit(if became_falseticker {
            Event::SourceFalseticker {
                source,
                offset,
                suppressed,
            }
        } else {
            Event::SourceAgrees { source }
        });
        if became_falseticker {
            self.report_fault(now, position);
        }
    }
}
