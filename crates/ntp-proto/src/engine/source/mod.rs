//! Sources in use: one contract for all kinds.
//!
//! A [`Source`] is what the engine measures: an association with the address of an NTP server
//! ([`ntp`]) or a reference clock ([`refclock`]). The engine knows what all kinds share, and each
//! kind knows where its samples come from. The contract:
//!
//! - [`Source::next_wakeup`] returns when the source needs [`SourceInput::Timeout`] or
//!   [`SourceInput::Poll`].
//! - [`Source::handle`] passes an input and returns a [`Notice`], what the engine has to react to.
//!   Requests to the shell are pushed to the outputs directly.
//! - [`Source::take_sample`] returns the sample that [`Notice::Sample`] announced, as a
//!   [`Measurement`].
//! - [`Source::status`] returns what readers may show.
//!
//! [`pool`] has the configured sources, and decides which sources are in use for each;
//! `duplicates` finds those that lead to the same server.
//!
//! A new kind is a variant of [`Kind`] and a file. Kinds are an enum and not trait objects: there
//! are few, all of them are known here, and a match that lacks one does not compile.

mod duplicates;
pub(super) mod ntp;
pub(super) mod pool;
mod pulse_train;
pub(super) mod refclock;

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use ntp_time::{Ledger, Monotonic, NtpDuration, ReferenceId, Stamp, StampSource, Stratum};
use ntp_types::path::InterfaceName;
use ntp_types::refclock::{ClockSample, SampleRefusal};
use ntp_types::source::{SourceAddress, SourceId, SourceState};
use ntp_types::statistics::PacketCounters;
use ntp_types::status::{MeasurementStatus, PathStatus, SourceStatus, TrendStatus};

use super::config::SourceConfig;
use super::replay::Rng;
use super::{LastError, LogRateLimit, Now, Output, Reason};
use crate::client::{
    Authenticity, Datagram, ExchangeId, KissCode, LocalIdentity, Reach, Rejection,
};
use crate::discipline::{
    Measurement, NoiseLaw, SelectionOptions, SourceEstimate, SourceKey, Trend,
};
use ntp::NtpSource;
use ntp::members::Member;
use refclock::RefClock;

/// A source in use, and what the engine keeps about sources of any kind.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) id: SourceId,
    /// Index of its configured source.
    pub(super) configured: usize,
    /// Its key in the discipline.
    pub(super) key: SourceKey,
    /// Newest measurement.
    pub(super) measured: Option<MeasurementStatus>,
    pub(super) last_error: Option<LastError>,
    pub(super) log_limits: LogLimits,
    /// Whether it yields samples.
    pub(super) reachable: bool,
    /// Whether its unreachability or a send error was reported since the last sample.
    pub(super) unreachable_reported: bool,
    /// Number of consecutive samples as falseticker or duplicate.
    pub(super) rejected_polls: u8,
    /// Whether it was last reported to be a falseticker.
    pub(super) falseticker_reported: bool,
    /// Why it must not be selected, although it yields samples.
    pub(super) exclusion: Option<Rejection>,
    /// Our address in the exchanges with it.
    pub(super) local_address: Option<IpAddr>,
    /// The source that votes for its server, if that is another one.
    pub(super) duplicate_of: Option<SourceId>,
    /// Selection options in force: those of its configured source, or of all sources of its server.
    pub(super) selection: SelectionOptions,
    /// Whether it is measured; false after an operator's `offline`.
    online: bool,
    /// The server that an NTS pool named, if it is one of its members.
    pub(super) member: Option<Member>,
    kind: Kind,
}

/// What a source is, and the state of that.
#[derive(Debug)]
pub(super) enum Kind {
    /// An association with an address of an NTP server.
    Ntp(Box<NtpSource>),
    /// A reference clock.
    RefClock(Box<RefClock>),
}

/// Rate limits of the events about one source, each an hour.
#[derive(Debug, Default)]
pub(super) struct LogLimits {
    /// Datagrams of third parties.
    pub(super) bogus: LogRateLimit,
    /// Unusable replies.
    pub(super) unusable: LogRateLimit,
    pub(super) send_failure: LogRateLimit,
    pub(super) kiss: LogRateLimit,
    /// Changes of its state in the selection.
    pub(super) falseticker: LogRateLimit,
    /// Exclusions from the selection.
    pub(super) exclusion: LogRateLimit,
    pub(super) version: LogRateLimit,
}

/// An input of a source. A kind ignores those of other kinds.
#[derive(Clone, Copy, Debug)]
pub(super) enum SourceInput<'a> {
    /// Begins, or begins again, to measure: an operator's `online`.
    Start,
    /// Measures no more: `offline`, the removal of the source, or the end of the engine.
    Stop,
    /// Time has passed: ends what has timed out.
    Timeout,
    /// The poll of [`Source::next_poll`] is due.
    Poll,
    /// The system clock was stepped.
    ClockStepped,
    /// A datagram was received.
    Datagram(&'a Datagram<'a>),
    /// A request was sent.
    Transmitted(ExchangeId, Stamp),
    /// A request could not be sent, or caused an ICMP error.
    SendFailed(ExchangeId),
    /// A device yielded a sample.
    Sample(&'a ClockSample),
}

/// What the engine has to react to after an input of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Notice {
    /// Nothing.
    None,
    /// [`Source::take_sample`] returns a sample.
    Sample,
    /// The source has yielded no sample for so long that it is unreachable.
    Unreachable,
    /// The open exchange could not be sent.
    SendFailed,
    /// A sample of a reference clock is not used.
    Refused(SampleRefusal),
    /// A server replied with a kiss code.
    Kiss(KissCode),
    /// A datagram was rejected.
    Rejected(Rejection),
}

/// The parts of the engine that sources use.
pub(super) struct Context<'a> {
    pub(super) rng: &'a mut Rng,
    pub(super) outputs: &'a mut VecDeque<Output>,
    pub(super) local_identity: &'a LocalIdentity,
    /// TAI - UTC in seconds, if it is known.
    pub(super) tai_offset: Option<i32>,
    /// Servers must be below it.
    pub(super) stratum_limit: Stratum,
    /// What the datagram of this input proved.
    pub(super) authenticity: &'a mut Authenticity,
}

/// A sample of a source.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) measurement: Measurement,
    /// How far the server has set its clock forward since the last sample, if it reports that.
    pub(super) server_correction: NtpDuration,
    /// Why the source must not be selected, although the sample is valid.
    pub(super) exclusion: Option<Rejection>,
    /// The sample as shown. The engine fills in the uncertainty.
    pub(super) shown: MeasurementStatus,
}

/// Quantisation error of a clock with resolution `q`: q / sqrt(12).
const RESOLUTION_TO_SIGMA: f64 = 0.288_675_134_594_812_9;

/// Precisions coarser than a second are treated as a second, as base-2 logarithm.
const COARSEST_PRECISION: i8 = 0;

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

/// 1-sigma error of a reading of a clock, from the base-2 logarithm of its resolution.
fn resolution_noise(precision: i8) -> f64 {
    2f64.powi(precision.min(COARSEST_PRECISION).into()) * RESOLUTION_TO_SIGMA
}

impl Source {
    pub(super) fn new(
        id: SourceId,
        configured: usize,
        key: SourceKey,
        selection: SelectionOptions,
        kind: Kind,
    ) -> Self {
        Self {
            id,
            configured,
            key,
            measured: None,
            last_error: None,
            log_limits: LogLimits::default(),
            reachable: false,
            unreachable_reported: false,
            rejected_polls: 0,
            falseticker_reported: false,
            exclusion: None,
            local_address: None,
            duplicate_of: None,
            selection,
            online: true,
            member: None,
            kind,
        }
    }

    /// Time of the next input by which the source must be called, and why.
    pub(super) fn next_wakeup(&self) -> Option<(Monotonic, Reason)> {
        let poll = self.next_poll().map(|at| (at, Reason::Poll(self.id)));
        let timeout = match &self.kind {
            Kind::Ntp(ntp) => {
                let deadline = ntp.association.deadline();
                deadline.map(|at| (at, Reason::ReplyTimeout(self.id)))
            }
            Kind::RefClock(clock) => {
                let deadline = clock.deadline();
                deadline.map(|at| (at, Reason::SampleTimeout(self.id)))
            }
        };
        poll.into_iter().chain(timeout).min_by_key(|(at, _)| *at)
    }

    /// Time of the next [`SourceInput::Poll`]. `None` while offline, and for sources that yield
    /// samples by themselves.
    pub(super) fn next_poll(&self) -> Option<Monotonic> {
        match &self.kind {
            Kind::Ntp(ntp) => self.online.then(|| ntp.association.next_poll()),
            Kind::RefClock(_) => None,
        }
    }

    /// Processes an input.
    pub(super) fn handle(
        &mut self,
        now: Now,
        input: SourceInput<'_>,
        context: &mut Context<'_>,
    ) -> Notice {
        match input {
            SourceInput::Start => self.online = true,
            SourceInput::Stop => self.online = false,
            _ => {}
        }
        match &mut self.kind {
            Kind::Ntp(ntp) => ntp.handle(now, self.id, input, context),
            Kind::RefClock(clock) => {
                let notice = clock.handle(now, self.id, input, context);
                notice.unwrap_or_else(Notice::Refused)
            }
        }
    }

    /// Takes the sample that [`Notice::Sample`] announced. `precision` is that of our clock.
    pub(super) fn take_sample(&mut self, ledger: &Ledger, precision: i8) -> Option<Sample> {
        match &mut self.kind {
            Kind::Ntp(ntp) => ntp.take_sample(ledger, precision),
            Kind::RefClock(clock) => clock.take_sample(ledger, precision),
        }
    }

    /// Returns what readers may show. `config` is its configured source.
    pub(super) fn status(
        &self,
        now: Monotonic,
        config: &SourceConfig,
        estimate: Option<SourceEstimate>,
    ) -> SourceStatus {
        let reach = self.reach();
        let limits = config.association.limits;
        let common = SourceStatus {
            id: self.id,
            name: config.name.clone(),
            address: self.address(),
            member: self.member.as_ref().map(|it| it.host().to_string()),
            state: match estimate {
                _ if self.answers_without_time() => SourceState::Unusable,
                _ if self.is_unreachable() => SourceState::Unreachable,
                _ if self.exclusion.is_some() => SourceState::Unusable,
                _ if self.duplicate_of.is_some() => SourceState::Duplicate,
                Some(estimate) if self.is_held_back(config) && estimate.last.is_some() => {
                    SourceState::Standby
                }
                _ if self.is_held_back(config) => SourceState::NoSamples,
                Some(estimate) => estimate.state,
                None => SourceState::NoSamples,
            },
            duplicate_of: self.duplicate_of,
            online: self.online,
            local_address: self.local_address,
            authentication: "none".to_owned(),
            key: None,
            interleaved: false,
            protocol: None,
            options: config.selection,
            poll: limits.min,
            poll_min: limits.min,
            poll_max: limits.max,
            next_poll: self.next_poll().map(|at| at - now),
            reach: reach.bits(),
            unanswered: reach.unanswered(),
            last_error: self.last_error.map(|error| error.to_string()),
            measurement: self.measured,
            path: estimate
                .filter(|estimate| estimate.last.is_some() && self.measured.is_some())
                .map(path_status),
            trend: estimate
                .and_then(|estimate| estimate.trend)
                .map(trend_status),
            packets: PacketCounters::default(),
            hop_limit: None,
            rejected_hop_limit: None,
            nts_cookies: None,
            reference_clock: None,
            certificate_expires: None,
            key_exchange_group: None,
        };
        match &self.kind {
            Kind::Ntp(ntp) => ntp.complete_status(common),
            Kind::RefClock(clock) => clock.complete_status(common),
        }
    }

    // ---- what all kinds have

    /// Its address or device, for display.
    pub(super) fn address(&self) -> SourceAddress {
        match &self.kind {
            Kind::Ntp(ntp) => ntp.association.remote().into(),
            Kind::RefClock(clock) => SourceAddress::Device(clock.device()),
        }
    }

    /// The reference ID of a clock that follows it (RFC 5905 section 7.3).
    pub(super) fn reference_id(&self) -> ReferenceId {
        match &self.kind {
            Kind::Ntp(ntp) => ntp.reference_id(),
            Kind::RefClock(clock) => clock.reference_id(),
        }
    }

    /// Results of the last polls, or whether samples came in the last expected intervals.
    pub(super) fn reach(&self) -> Reach {
        match &self.kind {
            Kind::Ntp(ntp) => ntp.association.reach(),
            Kind::RefClock(clock) => clock.reach(),
        }
    }

    /// Whether it has yielded no sample for so long that it must not be used.
    pub(super) fn is_unreachable(&self) -> bool {
        match &self.kind {
            Kind::Ntp(ntp) => ntp.association.reach().is_dead(),
            Kind::RefClock(clock) => clock.is_silent(),
        }
    }

    /// Whether `fallback` of its configured source excludes it from the selection at present.
    fn is_held_back(&self, config: &SourceConfig) -> bool {
        config.selection.fallback && self.selection.noselect && !config.selection.noselect
    }

    /// Whether it may be selected: it yields samples, and nothing forbids their use.
    pub(super) fn is_eligible(&self) -> bool {
        !self.is_unreachable() && self.exclusion.is_none()
    }

    /// Whether it is unreachable although its server answers: its replies are authentic, but have
    /// no usable time.
    pub(super) fn answers_without_time(&self) -> bool {
        let ntp = self.ntp().filter(|_| self.is_unreachable());
        ntp.is_some_and(|ntp| ntp.association.answered().is_reachable())
    }

    /// Usual time between two samples, at least one second.
    pub(super) fn interval(&self) -> NtpDuration {
        match &self.kind {
            Kind::Ntp(ntp) => ntp.association.interval(),
            Kind::RefClock(clock) => clock.interval(),
        }
    }

    /// Whether it is in a burst, whose samples are incomplete evidence.
    pub(super) fn is_in_burst(&self) -> bool {
        match &self.kind {
            Kind::Ntp(ntp) => ntp.association.schedule().is_in_burst(),
            Kind::RefClock(_) => false,
        }
    }

    /// Starts a burst, if the kind has one and may start it now. Returns whether it did.
    pub(super) fn restart(&mut self, now: Monotonic) -> bool {
        match &mut self.kind {
            Kind::Ntp(ntp) => ntp.association.restart(now),
            Kind::RefClock(_) => false,
        }
    }

    /// How the noise of its samples is known.
    pub(super) fn noise_law(&self) -> NoiseLaw {
        match &self.kind {
            Kind::Ntp(_) => NoiseLaw::Queue,
            Kind::RefClock(clock) => clock.noise_law(),
        }
    }

    // ---- what only some kinds have

    /// The association, if it is an NTP server.
    pub(super) fn ntp(&self) -> Option<&NtpSource> {
        match &self.kind {
            Kind::Ntp(ntp) => Some(ntp),
            Kind::RefClock(_) => None,
        }
    }

    /// The reference clock, if it is one.
    pub(super) fn ref_clock(&self) -> Option<&RefClock> {
        match &self.kind {
            Kind::RefClock(clock) => Some(clock),
            Kind::Ntp(_) => None,
        }
    }

    /// The reference clock, if it is one.
    pub(super) fn ref_clock_mut(&mut self) -> Option<&mut RefClock> {
        match &mut self.kind {
            Kind::RefClock(clock) => Some(clock),
            Kind::Ntp(_) => None,
        }
    }

    /// The association, if it is an NTP server.
    pub(super) fn ntp_mut(&mut self) -> Option<&mut NtpSource> {
        match &mut self.kind {
            Kind::Ntp(ntp) => Some(ntp),
            Kind::RefClock(_) => None,
        }
    }

    /// Ends it and returns the association, if it is an NTP server.
    pub(super) fn into_ntp(self) -> Option<NtpSource> {
        match self.kind {
            Kind::Ntp(ntp) => Some(*ntp),
            Kind::RefClock(_) => None,
        }
    }

    /// Address and port of an NTP server, and the device behind which it is.
    pub(super) fn server(&self) -> Option<(SocketAddr, Option<InterfaceName>)> {
        let association = &self.ntp()?.association;
        Some((association.remote(), association.path().device))
    }

    /// Address and port, if it is an NTP server.
    pub(super) fn remote(&self) -> Option<SocketAddr> {
        self.ntp().map(|ntp| ntp.association.remote())
    }
}

fn trend_status(trend: Trend) -> TrendStatus {
    TrendStatus {
        samples: trend.samples as u64,
        span: trend.span,
        frequency: trend.frequency,
        frequency_uncertainty: trend.frequency_sigma,
        deviation: trend.deviation,
    }
}

fn path_status(estimate: SourceEstimate) -> PathStatus {
    PathStatus {
        base_delay: estimate.base_delay,
        typical_excess: estimate.typical_excess,
        jitter: estimate.jitter,
        bias: estimate.bias,
        bias_uncertainty: estimate.bias_sigma,
        residual: estimate.offset,
        combined: estimate.in_joint_estimate,
        weight: Some(estimate.weight),
        consecutive_outliers: estimate.consecutive_outliers,
    }
}
