//! Where a reply becomes a measurement.
//!
//! A reply that passed all tests carries four timestamps (RFC 5905 section 8): we sent at T1 and received at T4 by
//! our clock, the server received at T2 and sent at T3 by its own. Ours are first taken to free-running
//! time, F1 and F4, where no correction of ours can have come in between. Then
//!
//! ```text
//! phase = ((F1 - T2) + (F4 - T3)) / 2        how far the bare oscillator is ahead of the server
//! delay =  (F4 - F1) - (T3 - T2)             time spent on the network
//! ```
//!
//! In interleaved mode T3 comes one reply later, and the other three are those of the exchange that it belongs to.
//!
//! The difference of the two parentheses is the asymmetry of the path and cannot be seen from here; half of the delay
//! bounds it. Differences are taken modulo 2^64 (era-safe) and halved without overflow.

use ntp_time::{NtpDuration, StampSource, Stratum};

use super::leap::SMEARED;
use super::snapshot::{MeasuredSnapshot, Trouble};
use super::{DISSENT_LIMIT, Datagram, Engine, Event, Now, Removal, SourceKind};
use crate::client::{Accepted, Kiss, Reply};
use crate::discipline::{Measurement, SourceState};

/// 1-sigma noise of a stamp, in seconds, that its delay does not show: what remains between the stamp and
/// the wire. Hardware: the resolution of a network card. Kernel: a few hundred
/// instructions from the driver. Daemon: two system calls and the chance of being interrupted; larger delays of
/// this kind lengthen the measured round trip and are weighed there.
const fn stamp_noise(source: StampSource) -> f64 {
    match source {
        StampSource::Hardware => 2e-8,
        StampSource::Kernel => 1e-7,
        StampSource::Daemon => 1e-6,
    }
}

/// A clock read in steps of `q` seconds errs by q / sqrt(12).
const RESOLUTION_TO_SIGMA: f64 = 0.288_675_134_594_812_9;

/// Servers that claim less precision than a second are taken at a second.
const COARSEST_PRECISION: i8 = 0;

impl Engine {
    /// A datagram arrived on the socket of one of our exchanges.
    pub(super) fn receive(&mut self, now: Now, datagram: &Datagram<'_>) {
        let Some(position) = self.position(datagram.exchange) else {
            return;
        };
        let stratum_limit = self.config.local_stratum.min(Stratum::UNSYNCHRONIZED);
        let Self { sources, us, .. } = self;
        let member = &mut sources.members[position];
        let reply = member
            .association
            .receive(now.monotonic, datagram, us, stratum_limit);
        self.evidence = member.association.evidence();
        match reply {
            Ok(Reply::Time(accepted)) => {
                self.outputs
                    .push_back(super::Output::Close(datagram.exchange));
                self.measure(now, position, &accepted);
            }
            Ok(Reply::Unfinished) => {
                self.outputs
                    .push_back(super::Output::Close(datagram.exchange));
            }
            Ok(Reply::Kiss(kiss)) => {
                self.outputs
                    .push_back(super::Output::Close(datagram.exchange));
                self.obey(now, position, kiss);
            }
            Err(rejection) => {
                if rejection.knows_nonce() {
                    member.trouble = Some(Trouble::Reply(rejection));
                }
                if rejection.blames_server() {
                    self.outputs
                        .push_back(super::Output::Close(datagram.exchange));
                }
                // Strangers who send garbage must not hide what is wrong with the server.
                let thinner = if rejection.knows_nonce() {
                    &mut member.complaints
                } else {
                    &mut member.rejections
                };
                let more = thinner.admit(now.monotonic);
                let subject = self.sources.subject(&self.sources.members[position]);
                if let Some(more) = more {
                    self.emit(Event::ReplyRejected {
                        subject,
                        rejection,
                        more,
                    });
                }
            }
        }
    }

    fn measure(&mut self, now: Now, position: usize, accepted: &Accepted) {
        let Accepted {
            sent,
            received,
            header,
        } = accepted;
        let (left, arrived) = (self.ledger.free(sent.time), self.ledger.free(received.time));
        let (server_received, server_sent) = (header.receive_timestamp, header.transmit_timestamp);

        let phase = left
            .ahead_of(server_received)
            .midpoint(arrived.ahead_of(server_sent));
        let delay = (arrived - left) - (server_sent - server_received);
        let measurement = Measurement {
            at: left + (arrived - left).half(),
            phase,
            delay,
            stamp_noise: self.noise(accepted),
            root_delay: header.root_delay.to_duration(),
            root_dispersion: header.root_dispersion.to_duration(),
        };

        let member = &mut self.sources.members[position];
        // What was said to be silent is said to answer, and so is what has never answered.
        let first_answer = !core::mem::replace(&mut member.reachable, true)
            | core::mem::replace(&mut member.silence_told, false);
        let key = member.key;
        self.sources.answered(position);
        self.discipline.set_eligible(key, true);
        let outcome = self.discipline.measure(key, &measurement);

        let offset = phase + self.ledger.correction(now.system);
        let member = &mut self.sources.members[position];
        member.trouble = None;
        let before = member.measured.map(|measured| measured.reference_id);
        member.measured = Some(MeasuredSnapshot {
            offset,
            uncertainty: self
                .discipline
                .status(key, measurement.at)
                .map_or(NtpDuration::MAX, |status| status.uncertainty),
            delay,
            remote_delay: measurement.root_delay,
            remote_dispersion: measurement.root_dispersion,
            stratum: header.stratum,
            leap: header.leap,
            reference_id: header.reference_id,
            at: received.time,
            transmit_stamp: sent.source,
            receive_stamp: received.source,
        });
        let limits = member.association.schedule().limits();
        let poll = self
            .discipline
            .poll_wish(key, limits, member.association.schedule().poll());
        member.association.set_poll(poll);

        let subject = self.sources.subject(&self.sources.members[position]);
        if first_answer {
            self.emit(Event::SourceReachable(subject.clone()));
        }
        if header.reference_id == SMEARED && before.is_none_or(|id| id != SMEARED) {
            self.emit(Event::SourceSmears(subject.clone()));
        }
        self.emit(Event::Measured {
            subject,
            offset,
            delay,
            outcome: format!("{outcome:?}"),
        });
        self.steer(now, &outcome);
        self.replace_dissenter(now, position);
    }

    /// Noise of the phase: both stamps enter with half their weight each, and so do the resolutions of both clocks.
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

    fn obey(&mut self, now: Now, position: usize, kiss: Kiss) {
        let Self { sources, rng, .. } = self;
        let member = &mut sources.members[position];
        member.trouble = Some(Trouble::Kiss(kiss));
        let before = member.association.schedule().poll();
        if kiss == Kiss::Rate {
            member.association.rate_kissed(now.monotonic, rng);
        }
        let poll = member.association.schedule().poll();
        // Each step of the interval is worth a line; there are not many.
        let told = member.kisses.admit(now.monotonic).is_some() || poll != before;
        let subject = self.sources.subject(&self.sources.members[position]);
        if told {
            self.emit(Event::Kissed(subject, kiss, poll));
        }
        if matches!(kiss, Kiss::Deny | Kiss::Restrict) {
            self.drop_member(now, position, Removal::Denied);
        }
    }

    /// A pool member that stays outside the majority makes room for another.
    fn replace_dissenter(&mut self, now: Now, position: usize) {
        let free = self.ledger.free(now.system);
        let Some(member) = self.sources.members.get_mut(position) else {
            return;
        };
        if self
            .discipline
            .status(member.key, free)
            .map(|status| status.state)
            != Some(SourceState::Falseticker)
        {
            member.dissent = 0;
            return;
        }
        member.dissent = member.dissent.saturating_add(1);
        let in_pool = matches!(
            self.sources.config(&self.sources.members[position]).kind,
            SourceKind::Pool { .. }
        );
        if in_pool
            && self.sources.members[position].dissent >= DISSENT_LIMIT
            && self.sources.has_replacement(now.monotonic, position)
        {
            self.drop_member(now, position, Removal::Falseticker);
        }
    }
}
