//! An NTP server as a source: one association and its exchanges.
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
//! What devices on the path measured (the correction field of version 5) is subtracted from both. The
//! error bound does not rely on it: the part of the delay that it removes counts as root delay.
//!
//! In interleaved mode, T3 arrives with the next reply; the other three are those of the exchange
//! that it completes.
//!
//! The difference of the two terms is the asymmetry of the path, which cannot be measured from
//! here; half of the delay bounds it. Differences are taken modulo 2^64 (era-safe) and halved
//! without overflow.

pub(in crate::engine) mod key_exchanges;
pub(in crate::engine) mod members;
mod monotonic;

use ntp_time::{Ledger, NtpDuration, ReferenceId};
use ntp_types::source::SourceId;
use ntp_types::status::{MeasurementStatus, ProtocolStatus, SourceStatus};

use monotonic::MonotonicState;

use super::{Context, Notice, Sample, SourceInput, resolution_noise, stamp_noise};
use crate::client::{
    Accepted, Association, Authentication, Datagram, ExchangeId, Rejection, Reply, reference_id_of,
};
use crate::discipline::Measurement;
use crate::engine::{Now, Output};
use crate::wire::Version;

/// An association with an address of an NTP server.
#[derive(Debug)]
pub(in crate::engine) struct NtpSource {
    pub(in crate::engine) association: Association,
    /// Number of the next request.
    sequence: u32,
    /// A reply that was accepted and not measured yet.
    accepted: Option<Accepted>,
    /// Version as last reported.
    version: Version,
    monotonic: MonotonicState,
}

impl NtpSource {
    pub(in crate::engine) fn new(association: Association) -> Self {
        Self {
            sequence: 0,
            accepted: None,
            version: association.version(),
            monotonic: MonotonicState::default(),
            association,
        }
    }

    /// The version of the requests and the number of fallbacks, if the version has changed since the
    /// last call.
    pub(in crate::engine) fn take_new_version(&mut self) -> Option<(Version, u32)> {
        let version = self.association.version();
        let changed = core::mem::replace(&mut self.version, version) != version;
        changed.then(|| (version, self.association.negotiation().fallbacks()))
    }

    pub(super) fn handle(
        &mut self,
        now: Now,
        id: SourceId,
        input: SourceInput<'_>,
        context: &mut Context<'_>,
    ) -> Notice {
        match input {
            SourceInput::Start => {
                self.association.restart(now.monotonic);
            }
            SourceInput::Stop => close(self.association.abandon(), context),
            SourceInput::ClockStepped => close(self.association.discard_timestamps(), context),
            SourceInput::Timeout => return self.expire(now, context),
            SourceInput::Poll => self.poll(now, id, context),
            SourceInput::Datagram(datagram) => return self.receive(now, datagram, context),
            SourceInput::Transmitted(exchange, stamp) => {
                self.association.transmitted(exchange, stamp);
            }
            SourceInput::SendFailed(exchange) => return self.send_failed(exchange, context),
            SourceInput::Sample(_) => {}
        }
        Notice::None
    }

    /// Ends an exchange that timed out. If the address is unreachable by that, this is reported now
    /// and not with the next poll, whose reply may contradict it.
    fn expire(&mut self, now: Now, context: &mut Context<'_>) -> Notice {
        let association = &mut self.association;
        if association
            .deadline()
            .is_some_and(|deadline| deadline <= now.monotonic)
            && let Some(exchange) = association.expire(now.monotonic)
        {
            context.outputs.push_back(Output::Close(exchange));
            if association.reach().is_dead() {
                return Notice::Unreachable;
            }
        }
        Notice::None
    }

    /// Sends the request that is due.
    fn poll(&mut self, now: Now, source: SourceId, context: &mut Context<'_>) {
        close(self.association.abandon(), context);
        let exchange = ExchangeId {
            source,
            sequence: self.sequence,
        };
        self.sequence = self.sequence.wrapping_add(1);
        let request = self
            .association
            .request(now.monotonic, exchange, context.rng);
        if let Some(request) = request {
            context.outputs.push_back(Output::Transmit {
                exchange,
                remote: self.association.remote(),
                path: self.association.path(),
                request,
            });
        }
    }

    fn receive(&mut self, now: Now, datagram: &Datagram<'_>, context: &mut Context<'_>) -> Notice {
        self.association.set_tai_offset(context.tai_offset);
        let reply = self.association.receive(
            now.monotonic,
            datagram,
            context.local_identity,
            context.stratum_limit,
        );
        *context.authenticity = self.association.authenticity();
        if reply.map_or_else(Rejection::is_server_fault, |_| true) {
            context.outputs.push_back(Output::Close(datagram.exchange));
        }
        match reply {
            Ok(Reply::Time(accepted)) => {
                self.accepted = Some(accepted);
                Notice::Sample
            }
            Ok(Reply::Incomplete) => Notice::None,
            Ok(Reply::Kiss(kiss)) => Notice::Kiss(kiss),
            Err(rejection) => Notice::Rejected(rejection),
        }
    }

    fn send_failed(&mut self, exchange: ExchangeId, context: &mut Context<'_>) -> Notice {
        if self.association.exchange() != Some(exchange) {
            return Notice::None;
        }
        // ICMP errors may be forged: after the request was sent, a reply may still arrive.
        if !self.association.is_sent() {
            close(self.association.abandon(), context);
        }
        Notice::SendFailed
    }

    /// Computes the measurement of the accepted reply; the formulas are at the top of this file.
    /// `None` if our clock is too far from the server's to tell in which era that is.
    pub(super) fn take_sample(&mut self, ledger: &Ledger, precision: i8) -> Option<Sample> {
        let accepted = self.accepted.take()?;
        let Accepted {
            sent,
            received,
            content,
            exclusion,
        } = &accepted;
        let (f1, f4) = (ledger.free_time(sent.time), ledger.free_time(received.time));
        let (t2, t3) = (content.receive_timestamp, content.transmit_timestamp);

        let comparable = match content.era {
            Some(era) => f4.is_comparable_with_time(era.resolve(t2)?),
            None => f4.is_comparable_with(t3),
        };
        if !comparable {
            return None;
        }
        let measured = content.correction;
        let (corrected_delay, corrected_offset) = measured
            .map_or((NtpDuration::ZERO, NtpDuration::ZERO), |measured| {
                (measured.delay(), measured.offset())
            });
        let phase = f1.ahead_of(t2).midpoint(f4.ahead_of(t3)) + -corrected_offset;
        let correction = ledger.past_correction(sent.time);
        let correction = correction.midpoint(ledger.past_correction(received.time));
        let delay = (f4 - f1) - (t3 - t2) - corrected_delay;
        let measurement = Measurement {
            at: f1 + (f4 - f1).half(),
            phase,
            delay: Some(delay),
            stamp_noise: noise(&accepted, precision),
            // Nothing authenticates the correction, so the bound does not rely on it.
            root_delay: content.root_delay + corrected_delay,
            root_dispersion: content.root_dispersion,
        };
        Some(Sample {
            measurement,
            server_correction: self.monotonic.record(content),
            exclusion: *exclusion,
            shown: MeasurementStatus {
                offset: -(phase + correction),
                uncertainty: None,
                delay: measurement.delay,
                root_delay: content.root_delay,
                root_dispersion: measurement.root_dispersion,
                stratum: content.stratum,
                leap: content.leap,
                reference_id: content.reference_id,
                at: received.time,
                version: Some(content.version.number()),
                precision: Some(content.precision),
                reference_time: (!content.reference_timestamp.is_zero())
                    .then(|| received.time.nearest(content.reference_timestamp)),
                response_time: Some(t3 - t2),
                transmit_stamp: Some(sent.source),
                receive_stamp: received.source,
            },
        })
    }

    /// Fills in what only an association has.
    pub(super) fn complete_status(&self, common: SourceStatus) -> SourceStatus {
        let association = &self.association;
        let limits = association.schedule().limits();
        let authentication = association.protection().authentication();
        SourceStatus {
            authentication: authentication.to_string(),
            key: association.protection().key_status(),
            interleaved: association.is_interleaved(),
            protocol: Some(protocol_status(association)),
            poll: association.schedule().poll(),
            poll_min: limits.min,
            poll_max: limits.max,
            packets: association.counters(),
            hop_limit: association.hop_limit(),
            rejected_hop_limit: association.hop_limit_difference(),
            nts_cookies: match authentication {
                Authentication::Nts { cookies, .. } => Some(cookies as u64),
                Authentication::None | Authentication::Symmetric { .. } => None,
            },
            ..common
        }
    }

    /// The reference ID of a clock that follows this server.
    pub(super) fn reference_id(&self) -> ReferenceId {
        reference_id_of(self.association.remote().ip())
    }
}

fn protocol_status(association: &Association) -> ProtocolStatus {
    let negotiation = association.negotiation();
    let versions = association.server_versions();
    ProtocolStatus {
        version: negotiation.version().number(),
        origin: negotiation.origin(),
        fallbacks: negotiation.fallbacks().into(),
        server_versions: versions.map_or(Vec::new(), |set| set.numbers().collect()),
    }
}

/// Closes the socket of an exchange that ended without a reply.
fn close(exchange: Option<ExchangeId>, context: &mut Context<'_>) {
    context.outputs.extend(exchange.map(Output::Close));
}

/// 1-sigma noise of the phase: both timestamps contribute with half their weight each, as do the
/// resolutions of both clocks.
fn noise(accepted: &Accepted, precision: i8) -> f64 {
    let (sent, received) = (
        stamp_noise(accepted.sent.source),
        stamp_noise(accepted.received.source),
    );
    let clocks =
        resolution_noise(accepted.content.precision).powi(2) + resolution_noise(precision).powi(2);
    ((sent * sent + received * received) / 4.0 + clocks / 2.0).sqrt()
}
