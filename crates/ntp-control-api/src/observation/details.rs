//! The members of the observation JSON that upstream does not have, with their metrics.
//!
//! One row is a member of the JSON, its value in terms of the status and, if it is to be graphed,
//! its metric: type, name and help text. The order of the rows is that of the JSON and of the
//! metrics. All members are optional, because other daemons do not send them: absent means
//! "unknown". Metrics that combine members are in `metrics/families.rs`.

use std::collections::BTreeMap;

use ntp_time::{NtpDuration, NtpTimestamp, StampSource, SystemTime};
use ntp_types::refclock::RefClockStatus;
use ntp_types::source::SourceState;
use ntp_types::statistics::KeStatistics;
use ntp_types::status::{MeasurementStatus, ProviderStatus, SourceStatus, Status};
use serde::{Deserialize, Serialize};

use super::encoding;
use super::state::Leap;
use crate::explain::{self, MissingSource};
use crate::figure::{self, Figure, Number};

/// Declares a struct of optional members, its conversion from a status, and its metrics.
macro_rules! details {
    ($($(#[doc = $doc:literal])* $name:ident of $status:ty {
        $(
            $(#[doc = $member_doc:literal])*
            $member:ident: $type:ty = $value:expr
                $(, $kind:ident $metric:literal $help:literal)?;
        )*
    })*) => {
        $(
            $(#[doc = $doc])*
            #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
            #[serde(default)]
            pub struct $name {
                $(
                    $(#[doc = $member_doc])*
                    #[serde(with = "encoding::optional", skip_serializing_if = "Option::is_none")]
                    pub $member: Option<$type>,
                )*
            }

            impl $name {
                /// The metrics of the members.
                pub const FIGURES: &'static [Figure<Self>] = &[$($(
                    figure::$kind($metric, $help, |it: &Self| it.$member.map(Number::from)),
                )?)*];

                pub(super) fn from_status(of: &$status) -> Self {
                    $(let $member: fn(&$status) -> Option<$type> = $value;)*
                    Self { $($member: $member(of),)* }
                }
            }
        )*
    };
}

details! {
    /// Members of [`System`](super::System) that upstream does not have.
    SystemDetails of Status {
        /// Whether the clock follows its sources and its error bound is below the limit.
        synchronized: bool = |status| Some(status.system.synchronized),
            gauge "ntp_system_synchronized" "Whether the clock follows its sources and its error bound is below the limit: 1 or 0";
        /// Whether a panic threshold forbids the step that the sources ask for.
        step_refused: bool = |status| Some(status.system.refused_step.is_some()),
            gauge "ntp_system_step_refused" "Whether a panic threshold forbids the step that the sources ask for, so that the clock is not steered: 1 or 0";
        /// Estimated correction that the clock still needs.
        offset: NtpDuration = |status| Some(status.system.offset.unwrap_or_default()),
            gauge "ntp_system_offset_seconds" "Estimated true time minus local time, positive if the local clock is behind";
        /// Frequency error of the uncorrected oscillator in parts per million, positive if it runs
        /// fast.
        frequency_ppm: f64 = |status| Some(status.system.frequency.as_ppm() + 0.0),
            gauge "ntp_system_frequency_ppm" "Frequency error of the uncorrected oscillator, positive if it runs fast";
        /// Standard deviation of `frequency_ppm`.
        frequency_uncertainty_ppm: f64 = |status| Some(status.system.frequency_uncertainty.as_ppm()),
            gauge "ntp_system_frequency_uncertainty_ppm" "Standard deviation of the frequency error";
        /// Estimated error: the clock stays within it 99.9 % of the time if paths are symmetric.
        estimated_error: NtpDuration = |status| Some(status.system.estimated_error.unwrap_or(MAX_DISPERSION)),
            gauge "ntp_system_estimated_error_seconds" "Estimated error: the clock stays within it 99.9 % of the time if paths are symmetric";
        /// Maximum error: true time is never further away, as long as most sources are right within
        /// what they state and the oscillator changes by less than the drift allowance.
        error_bound: NtpDuration = |status| Some(status.system.error_bound.unwrap_or(MAX_DISPERSION)),
            gauge "ntp_system_error_bound_seconds" "Error bound: guaranteed as long as most sources are right within what they state and the oscillator changes by less than the drift allowance between measurements";
        /// Drift allowance: how fast the oscillator may leave the estimate between measurements.
        drift_allowance_ppm: f64 = |status| Some(status.system.dispersion_rate.as_ppm()),
            gauge "ntp_system_drift_allowance_ppm" "Drift allowance: how fast the oscillator may leave the estimate between measurements";
        /// Dispersion accumulated from the primary reference, at the time of the observation.
        root_dispersion: NtpDuration = |status| Some(status.system.root_dispersion.unwrap_or(MAX_DISPERSION));
        /// Number of sources in the agreeing majority.
        agreeing_sources: u64 = |status| Some(status.system.agreeing),
            gauge "ntp_system_agreeing_sources" "Number of sources in the agreeing majority";
        /// Number of sources that take part in the selection.
        candidate_sources: u64 = |status| Some(status.system.candidates),
            gauge "ntp_system_candidate_sources" "Number of sources that take part in the selection";
        /// The clock that is disciplined: `system`, `virtual` or `none`.
        clock_kind: String = |status| Some(status.clock.kind.clone());
        /// Local clock minus UTC due to the smearing of a leap second.
        smear: NtpDuration = |status| Some(status.system.smear),
            gauge "ntp_system_smear_seconds" "Local time minus UTC due to the smearing of a leap second";
        /// TAI - UTC in seconds, from a valid leap second list.
        tai_offset: i64 = |status| status.system.tai_offset.map(i64::from),
            gauge "ntp_system_tai_offset_seconds" "TAI minus UTC, from a valid leap second list";
        /// Expiry of the leap second list in seconds since 1970; absent without a list.
        leap_list_expires: i64 = |status| status.system.leap_list_expires.map(unix_seconds),
            gauge "ntp_system_leap_list_expiry_seconds" "Expiry of the leap second list in seconds since 1970";
        /// Since when local time is served, in seconds since 1970; absent while it is not.
        local_since: i64 = |status| status.system.local_since.map(unix_seconds),
            gauge "ntp_system_local_since_seconds" "Since when local time is served because no source is available, in seconds since 1970; absent while it is not";
        /// Since when sources with `fallback` are used, in seconds since 1970; absent while they are not.
        fallback_since: i64 = |status| status.system.fallback_since.map(unix_seconds),
            gauge "ntp_system_fallback_since_seconds" "Since when sources with fallback are used because too few others are usable, in seconds since 1970; absent while they are not";
        /// Time of the last clock update from a source; absent before the first.
        reference_time: NtpTimestamp = |status| status.system.reference_time.map(SystemTime::to_ntp);
        /// Earliest expiry of the certificates of our NTS key exchange servers in seconds since 1970;
        /// absent without such a server.
        nts_certificate_expiry: u64 = |status| certificate_expiry(status),
            gauge "ntp_system_nts_certificate_expiry_seconds" "Earliest expiry of the certificates of the NTS key exchange servers in seconds since 1970";
        /// Cryptography provider of the NTS key exchange by name: 1 if it is in FIPS mode, otherwise 0; absent without NTS.
        nts_provider_fips: BTreeMap<String, u64> = |status| status.program.provider.as_ref().map(provider);
        /// Connections to our NTS key exchange servers; absent, like the next six, without such a
        /// server.
        nts_ke_connections: u64 = |status| exchanges(status).map(|count| count.connections),
            counter "ntp_system_nts_ke_connections_total" "Connections to the NTS key exchange servers";
        /// Of these: key exchanges that succeeded.
        nts_ke_granted: u64 = |status| exchanges(status).map(|count| count.granted),
            counter "ntp_system_nts_ke_granted_total" "NTS key exchanges that succeeded";
        /// Requests of pools for the supported protocols and algorithms.
        nts_ke_pool_queries: u64 = |status| exchanges(status).map(|count| count.pool_queries),
            counter "ntp_system_nts_ke_pool_queries_total" "Requests of NTS pools for the supported protocols and algorithms";
        /// Of these: refused with an error, because the request was invalid or there was no cookie key.
        nts_ke_refused: u64 = |status| exchanges(status).map(|count| count.refused),
            counter "ntp_system_nts_ke_refused_total" "NTS key exchanges that were refused with an error";
        /// Of these: closed by timeout.
        nts_ke_timed_out: u64 = |status| exchanges(status).map(|count| count.timed_out),
            counter "ntp_system_nts_ke_timed_out_total" "NTS key exchange connections that were closed by timeout";
        /// Of these: closed in favour of new connections.
        nts_ke_evicted: u64 = |status| exchanges(status).map(|count| count.evicted),
            counter "ntp_system_nts_ke_evicted_total" "NTS key exchange connections that were closed in favour of new ones";
        /// Of these: failed or did not speak the protocol.
        nts_ke_failed: u64 = |status| exchanges(status).map(|count| count.failed),
            counter "ntp_system_nts_ke_failed_total" "NTS key exchange connections that failed or did not speak the protocol";
        /// Findings of `ntp-ctl explain` about the clock: why it is or is not steered.
        why: Vec<String> = |status| Some(explain::clock(status));
        /// Configured sources with fewer servers in use than requested, and why.
        missing_sources: Vec<MissingSource> = |status| Some(explain::missing(status));
        /// Number of events by name, as logged since the start; names that did not occur are absent.
        events: BTreeMap<String, u64> = |status| Some(events(status));
        /// Number of sources left out because the frame would exceed its limit; the control socket has
        /// no such limit.
        sources_omitted: u64 = |_| None;
        /// Virtual clock minus the clock below it: the true error of the virtual clock, if the clock
        /// below is right.
        true_offset: NtpDuration = |status| status.clock.true_offset;
    }

    /// Members of [`Source`](super::Source) that upstream does not have.
    SourceDetails of SourceStatus {
        /// State in the selection: one of [`SOURCE_STATES`]. Later versions may add states.
        state: String = |source| Some(source.state.to_string());
        /// Stratum of the source.
        stratum: u8 = |source| measured(source).map(|it| it.stratum.get()),
            gauge "ntp_source_stratum" "Stratum of the source";
        /// Reference ID of the source: a code (`GPS`) or an address.
        reference_id: String = |source| measured(source).map(|it| it.reference_id.to_string());
        /// Leap status of the source.
        leap_indicator: Leap = |source| measured(source).map(|it| it.leap.into());
        /// Reachability register: the last eight polls, the newest in the lowest bit; 1 is a reply
        /// (RFC 5905 section 9.2, `peer.reach`).
        reach: u8 = |source| Some(source.reach),
            gauge "ntp_source_reach_register" "Reachability register: the last eight polls as bits, the newest lowest, 1 for a reply";
        /// Standard deviation of a typical measurement.
        jitter: NtpDuration = |source| source.path.map(|path| path.jitter),
            gauge "ntp_source_jitter_seconds" "Standard deviation of a typical measurement of the source";
        /// Origin of the transmit timestamp of the last answered request: one of [`STAMP_KINDS`].
        transmit_stamp: String = |source| measured(source).and_then(|it| it.transmit_stamp).map(|stamp| stamp.to_string());
        /// Origin of the receive timestamp of the last reply: one of [`STAMP_KINDS`].
        receive_stamp: String = |source| measured(source).map(|it| it.receive_stamp.to_string());
        /// Requests sent.
        packets_sent: u64 = |source| Some(source.packets.sent),
            counter "ntp_source_packets_sent_total" "Requests sent to the source";
        /// Datagrams received.
        packets_received: u64 = |source| Some(source.packets.received),
            counter "ntp_source_packets_received_total" "Datagrams received from the address of the source";
        /// Replies that led to a measurement.
        packets_accepted: u64 = |source| Some(source.packets.accepted),
            counter "ntp_source_packets_accepted_total" "Replies of the source that led to a measurement";
        /// Datagrams that match no request or fail authentication.
        packets_bogus: u64 = |source| Some(source.packets.bogus),
            counter "ntp_source_packets_bogus_total" "Datagrams from the address of the source that match no request or fail authentication";
        /// Valid replies without usable time: kiss-o'-death packets, NAKs and replies of an
        /// unsynchronised source.
        packets_unusable: u64 = |source| Some(source.packets.unusable),
            counter "ntp_source_packets_unusable_total" "Replies of the source without usable time";
        /// Unusable replies that are crypto-NAKs: the source does not accept the symmetric key.
        crypto_naks: u64 = |source| Some(source.packets.crypto_naks),
            counter "ntp_source_crypto_naks_total" "Replies of the source that reject the symmetric key";
        /// Unusable replies that are NTS NAKs: the source cannot decrypt the cookie.
        nts_naks: u64 = |source| source.nts_cookies.map(|_| source.packets.nts_naks),
            counter "ntp_source_nts_naks_total" "Replies of the source that reject the NTS cookie";
        /// Expiry of the certificate chain of the last NTS key exchange in seconds since 1970; absent
        /// without NTS and while keys of an earlier run are in use.
        nts_certificate_expiry: u64 = |source| source.certificate_expires.and_then(expiry),
            gauge "ntp_source_nts_certificate_expiry_seconds" "Expiry of the certificate chain of the last NTS key exchange with the source in seconds since 1970";
        /// Group of the last NTS key exchange; absent without NTS and while keys of an earlier run are in use.
        nts_group: String = |source| source.key_exchange_group.clone();
        /// Authentication method: `none`, or for example `key 7 (AES128)`.
        authentication: String = |source| Some(source.authentication.clone());
        /// Whether it is polled; false after `ntp-ctl source offline`.
        online: bool = |source| Some(source.online),
            gauge "ntp_source_online" "Whether the source is polled: 1, or 0 after it was taken offline";
        /// Findings of `ntp-ctl explain` about the source: why it is or is not used. Absent for
        /// sources after the first hundred.
        why: Vec<String> = |_| None;
        /// Whether the last reply was in interleaved mode (RFC 9769).
        interleaved: bool = |source| Some(source.interleaved),
            gauge "ntp_source_interleaved" "Whether the last reply of the source was in interleaved mode: 1 or 0";
        /// Protocol version of the requests; absent, like the next two, for a reference clock.
        protocol_version: u8 = |source| source.protocol.as_ref().map(|it| it.version),
            gauge "ntp_source_protocol_version" "Protocol version of the requests to the source";
        /// How the version is known: `configured`, `negotiated` or `key-exchange`.
        protocol_origin: String = |source| source.protocol.as_ref().map(|it| it.origin.to_string());
        /// Number of times that NTPv5 was given up after two unanswered polls.
        protocol_fallbacks: u64 = |source| source.protocol.as_ref().map(|it| it.fallbacks),
            counter "ntp_source_version_fallbacks_total" "Number of times that NTPv5 was given up for the source, after two unanswered polls";
        /// Driver of a reference clock: the mode in the configuration. Absent, like the next two, for
        /// NTP servers.
        driver: String = |source| source.reference_clock.as_ref().map(|it| it.driver.clone());
        /// Samples of a reference clock that were accepted.
        samples_accepted: u64 = |source| source.reference_clock.as_ref().map(|it| it.accepted),
            counter "ntp_source_samples_accepted_total" "Samples of the reference clock that were accepted";
        /// Readings of a reference clock that gave no sample, or one that is not used.
        samples_refused: u64 = |source| source.reference_clock.as_ref().map(RefClockStatus::refused_readings),
            counter "ntp_source_samples_refused_total" "Readings of the reference clock that gave no sample, or one that is not used";
        /// Of these, those of each reason, by its stable name.
        samples_refused_by_reason: BTreeMap<String, u64> = |source| source.reference_clock.as_ref().map(refusals);
    }
}

/// Maximum number of sources with findings. Each compares a source with all others, on the
/// timekeeping thread, so a daemon with a thousand sources leaves most of them out.
pub(super) const MAX_EXPLAINED: usize = 100;

/// Dispersion without a source: the largest that NTP can express (RFC 5905 section 7.3, MAXDISP).
pub(super) const MAX_DISPERSION: NtpDuration = NtpDuration::from_seconds(16);

fn events(status: &Status) -> BTreeMap<String, u64> {
    let events = status.events.iter();
    events.map(|it| (it.name.clone(), it.count)).collect()
}

fn provider(provider: &ProviderStatus) -> BTreeMap<String, u64> {
    BTreeMap::from([(provider.name.clone(), provider.fips.into())])
}

fn refusals(clock: &RefClockStatus) -> BTreeMap<String, u64> {
    let refused = clock.refused.iter();
    refused.map(|it| (it.reason.clone(), it.count)).collect()
}

fn measured(source: &SourceStatus) -> Option<&MeasurementStatus> {
    source.measurement.as_ref()
}

fn exchanges(status: &Status) -> Option<KeStatistics> {
    status
        .key_exchange
        .as_ref()
        .map(|server| server.connections)
}

/// Returns the earliest expiry of our certificates in seconds since 1970.
fn certificate_expiry(status: &Status) -> Option<u64> {
    let certificates = &status.key_exchange.as_ref()?.certificates;
    certificates
        .iter()
        .filter_map(|it| it.expires)
        .min()
        .and_then(expiry)
}

/// Returns whole seconds since 1970.
fn unix_seconds(time: SystemTime) -> i64 {
    time.as_nanos() / 1_000_000_000
}

/// Returns the expiry of a certificate; `None` before 1970.
fn expiry(time: SystemTime) -> Option<u64> {
    u64::try_from(unix_seconds(time)).ok()
}

/// The [`SourceDetails::state`] of a source that is part of the agreeing majority.
pub const SELECTED: &str = SourceState::Selected.as_str();

/// Values of [`SourceDetails::state`].
pub const SOURCE_STATES: &[&str] = &{
    let mut names = [""; SourceState::ALL.len()];
    let mut index = 0;
    while index < names.len() {
        names[index] = SourceState::ALL[index].as_str();
        index += 1;
    }
    names
};

/// Values of [`SourceDetails::transmit_stamp`] and [`SourceDetails::receive_stamp`], in order of
/// accuracy.
pub const STAMP_KINDS: &[&str] = &[
    StampSource::Daemon.as_str(),
    StampSource::Kernel.as_str(),
    StampSource::Hardware.as_str(),
];
