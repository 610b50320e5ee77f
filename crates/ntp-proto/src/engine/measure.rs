//! Turns a reply into a measurement.
//!
//! A reply that passed all tests carries four timestamps (RFC 5905 section 8): we sent at T1 and
//! received at T4 by our clock, the server received at T2 and sent at T3 by its own. Ours are first
//! converted to free-running time, F1 and F4, in which none of our corrections is visible. Then
//!
//! ```text
//! phase = ((F1 - T2) + (F4 - T3)) / 2        offset of the free-running oscillator from the server
//! delay =  (F4 - F1) - (T3 - T2)             round-trip delay on the network
//! ```
//!
//! In interleaved mode, T3 arrives with the next reply; the other three are those of the exchange
//! that it completes.
//!
//! The difference of the two terms is the asymmetry of the path, which cannot be measured from
//! here; half of the delay bounds it. Differences are taken modulo 2^64 (era-safe) and halved
//! without overflow.

use ntp_time::{NtpDuration, StampSource, Stratum};

use super::leap::SMEARED;
use super::{
    Datagram, Engine, Event, FALSETICKER_LIMIT, LastError, Now, Output, RemovalReason, SourceKind,
};
use crate::client::{Accepted, KissCode, Rejection, Reply};
use crate::discipline::{Measurement, SourceState};
use ntp_types::status::MeasurementStatus;

/// 1-sigma noise of a timestamp in seconds that does not show in the delay: the error between the
/// timestamp and the wire. Hardware: the resolution of a network card. Kernel: a few hundred
/// instructions from the driver. Daemon: two system calls and possible preemption; larger delays of
/// this kind lengthen the measured round trip and are weighted there.
const fn stamp_noise(source: StampSource) -> f64 {
    match source {
        StampSource::Hardware => 2e-8,
        StampSource::Kernel => 1e-7,
        StampSource::Daemon => 1e-6,
    }
}

/// Quantisation error of a clock with resolution `q`: q / sqrt(12).
const RESOLUTION_TO_SIGMA: f64 = 0.288_675_134_594_812_9;

/// Precisions coarser than a second are treated as a second, as base-2 logarithm.
const COARSEST_PRECISION: i8 = 0;

impl Engine {
    /// Processes a datagram on the socket of an exchange.
    pub(super) fn receive(&mut self, now: Now, datagram: &Datagram<'_>) {
        let Some(position) = self.position(datagram.exchange) else {
            return;
        };
        let stratum_limit = self.config.local_stratum.min(Stratum::UNSYNCHRONIZED);
        let Self {
            sources,
            local_identity,
            ..
        } = self;
        let member = &mut sources.members[position];
        let reply =
            member
                .association
                .receive(now.monotonic, datagram, local_identity, stratum_limit);
        self.replay.authenticity = member.association.authenticity();
        let closes = reply.map_or_else(Rejection::is_server_fault, |_| true);
        if closes {
            self.outputs.push_back(Output::Close(datagram.exchange));
        }
        match reply {
            Ok(Reply::Time(accepted)) => self.measure(now, position, &accepted),
            Ok(Reply::Incomplete) => {}
            Ok(Reply::Kiss(kiss)) => self.handle_kiss(now, position, kiss),
            Err(rejection) => {
                if rejection.matches_nonce() {
                    member.last_error = Some(LastError::Reply(rejection));
                }
                // Two limits, so that datagrams of third parties cannot hide a problem of the
                // server.
                let limit = if rejection.matches_nonce() {
                    &mut member.unusable_limit
                } else {
                    &mut member.bogus_limit
                };
                let suppressed = limit.admit(now.monotonic);
                let source = self.sources.source_name(&self.sources.members[position]);
                if let Some(suppressed) = suppressed {
                    self.emit(Event::ReplyRejected {
                        source,
                        reason: rejection,
                        suppressed,
                    });
                }
            }
        }
    }

    /// Takes a measurement from a reply: updates the discipline, the poll interval and the clock.
    fn measure(&mut self, now: Now, position: usize, accepted: &Accepted) {
        let Accepted {
            sent,
            received,
            header,
        } = accepted;
        let measurement = self.measurement(accepted);
        let (phase, delay) = (measurement.phase, measurement.delay);

        let member = &mut self.sources.members[position];
        // Also after the source was reported unreachable, and for the first reply ever.
        let became_reachable = !core::mem::replace(&mut member.reachable, true)
            | core::mem::replace(&mut member.unreachable_reported, false);
        let key = member.key;
        self.sources.reply_received(position);
        self.discipline.set_eligible(key, true);
        let outcome = self.discipline.add_measurement(key, &measurement);

        let offset = phase + self.ledger.correction(now.system);
        let member = &mut self.sources.members[position];
        member.last_error = None;
        let before = member.measured.map(|measured| measured.reference_id);
        member.measured = Some(MeasurementStatus {
            offset: -offset,
            uncertainty: self
                .discipline
                .status(key, measurement.at)
                .map(|status| status.uncertainty)
                .filter(|known| *known < NtpDuration::MAX),
            delay,
            root_delay: measurement.root_delay,
            root_dispersion: measurement.root_dispersion,
            stratum: header.stratum,
            leap: header.leap,
            reference_id: header.reference_id,
            at: received.time,
            transmit_stamp: Some(sent.source),
            receive_stamp: received.source,
        });
        let limits = member.association.schedule().limits();
        let poll = self
            .discipline
            .choose_poll(key, limits, member.association.schedule().poll());
        member.association.set_poll(poll);

        let source = self.sources.source_name(&self.sources.members[position]);
        if became_reachable {
            self.emit(Event::SourceReachable {
                source: source.clone(),
            });
        }
        if header.reference_id == SMEARED && before.is_none_or(|id| id != SMEARED) {
            self.emit(Event::SourceSmears {
                source: source.clone(),
            });
        }
        self.emit(Event::Measured {
            source,
            offset: -offset,
            delay,
            outcome,
        });
        self.steer(now, &outcome);
        self.replace_falseticker(now, position);
    }

    /// Computes the measurement; the formulas are at the top of this file.
    fn measurement(&self, accepted: &Accepted) -> Measurement {
        let Accepted {
            sent,
            received,
            header,
        } = accepted;
        let (f1, f4) = (
            self.ledger.free_time(sent.time),
            self.ledger.free_time(received.time),
        );
        let (t2, t3) = (header.receive_timestamp, header.transmit_timestamp);

        let phase = f1.ahead_of(t2).midpoint(f4.ahead_of(t3));
        let delay = (f4 - f1) - (t3 - t2);
        Measurement {
            at: f1 + (f4 - f1).half(),
            phase,
            delay: Some(delay),
            stamp_noise: self.noise(accepted),
            root_delay: header.root_delay.to_duration(),
            root_dispersion: header.root_dispersion.to_duration(),
        }
    }

    /// 1-sigma noise of the phase: both timestamps contribute with half their weight each, as do
    /// the resolutions of both clocks.
    fn noise(&self, accepted: &Accepted) -> f64 {
        let resolution = |precision: i8| {
            2f64.powi(precision.min(COARSEST_PRECISION).into()) * RESOLUTION_TO_SIGMA
        };
        let (sent, received) = (
            stamp_noise(accepted.sent.source),
            stamp_noise(accepted.received.source),
        );
        let clocks = resolution(accepted.header.precision).powi(2)
            + resolution(self.config.clock.precision).powi(2);
        ((sent * sent + received * received) / 4.0 + clocks / 2.0).sqrt()
    }

    fn handle_kiss(&mut self, now: Now, position: usize, kiss: KissCode) {
        let Self { sources, rng, .. } = self;
        let member = &mut sources.members[position];
        member.last_error = Some(LastError::Kiss(kiss));
        let before = member.association.schedule().poll();
        if kiss == KissCode::Rate {
            member.association.handle_rate_kiss(now.monotonic, rng);
        }
        let poll = member.association.schedule().poll();
        // Every change of the poll interval is logged; there are few.
        let report = member.kiss_limit.admit(now.monotonic).is_some() || poll != before;
        let source = self.sources.source_name(&self.sources.members[position]);
        if report {
            self.emit(Event::KissReceived {
                source,
                code: kiss,
                poll,
            });
        }
        if matches!(kiss, KissCode::Deny | KissCode::Restrict) {
            self.drop_member(now, position, RemovalReason::Denied);
        }
    }

    /// Replaces a pool member that stays a falseticker.
    fn replace_falseticker(&mut self, now: Now, position: usize) {
        let free = self.ledger.free_time(now.system);
        let Some(member) = self.sources.members.get_mut(position) else {
            return;
        };
        if self
            .discipline
            .status(member.key, free)
            .map(|status| status.state)
            != Some(SourceState::Falseticker)
        {
            member.falseticker_polls = 0;
            return;
        }
        member.falseticker_polls = member.falseticker_polls.saturating_add(1);
        let in_pool = matches!(
            self.sources.config(&self.sources.members[position]).kind,
            SourceKind::Pool { .. }
        );
        if in_pool
            && self.sources.members[position].falseticker_polls >= FALSETICKER_LIMIT
            && self.sources.has_replacement(now.monotonic, position)
        {
            self.drop_member(now, position, RemovalReason::Falseticker);
        }
    }
}
