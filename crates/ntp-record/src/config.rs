//! Serialised form of the engine's configuration and commands.
//!
//! Keys are left out here; [`RecordedKey`](crate::surrogate::RecordedKey) represents them.

use std::net::IpAddr;

use ntp_proto::client::{AssociationConfig, Protection};
use ntp_proto::discipline::{
    self, FrequencyPrior, PanicThreshold, SelectionOptions, SteeringConfig,
};
use ntp_proto::engine::{
    ClockFacts, Command, EngineConfig, Host, RefClockConfig, SourceConfig, SourceKind,
};
use ntp_proto::leap::LeapHandling;
use ntp_time::{Frequency, NtpDuration, PollInterval, PollLimits, ReferenceId, Stratum};
use serde::{Deserialize, Serialize};

use crate::plain::{self, remote};

#[derive(Serialize, Deserialize)]
#[serde(remote = "EngineConfig", rename_all = "kebab-case")]
struct EngineConfigCopy {
    #[serde(with = "plain")]
    sources: Vec<SourceConfig>,
    #[serde(with = "DisciplineCopy")]
    discipline: discipline::Config,
    #[serde(with = "SteeringConfigCopy")]
    steering: SteeringConfig,
    warn_on_jump: bool,
    #[serde(with = "plain")]
    local_stratum: Stratum,
    #[serde(with = "plain")]
    local_reference_id: ReferenceId,
    #[serde(with = "plain")]
    frequency_prior: Option<FrequencyPrior>,
    #[serde(with = "plain")]
    meddling_threshold: Option<NtpDuration>,
    leap_handling: LeapHandling,
    #[serde(with = "ClockFactsCopy")]
    clock: ClockFacts,
}
remote!(EngineConfig, "EngineConfigCopy");

#[derive(Serialize, Deserialize)]
#[serde(remote = "discipline::Config", rename_all = "kebab-case")]
struct DisciplineCopy {
    minimum_agreeing_sources: usize,
    #[serde(with = "plain")]
    maximum_source_uncertainty: NtpDuration,
    #[serde(with = "plain")]
    drift_allowance: Frequency,
    ignore_server_dispersion: bool,
    #[serde(with = "plain")]
    initial_frequency_uncertainty: Frequency,
    some_required: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "SteeringConfig", rename_all = "kebab-case")]
struct SteeringConfigCopy {
    #[serde(with = "plain")]
    step_threshold: Option<NtpDuration>,
    steps_at_start: u32,
    #[serde(with = "PanicThresholdCopy")]
    startup_panic: PanicThreshold,
    #[serde(with = "PanicThresholdCopy")]
    single_panic: PanicThreshold,
    #[serde(with = "plain")]
    accumulated_panic: Option<NtpDuration>,
    #[serde(with = "plain")]
    slew_maximum: Frequency,
    #[serde(with = "plain")]
    slew_minimum_duration: NtpDuration,
    #[serde(with = "plain")]
    maximum_frequency: Frequency,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "PanicThreshold")]
struct PanicThresholdCopy {
    #[serde(with = "plain")]
    forward: Option<NtpDuration>,
    #[serde(with = "plain")]
    backward: Option<NtpDuration>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "FrequencyPrior")]
struct FrequencyPriorCopy {
    #[serde(with = "plain")]
    frequency: Frequency,
    #[serde(with = "plain")]
    uncertainty: Frequency,
}
remote!(FrequencyPrior, "FrequencyPriorCopy");

#[derive(Serialize, Deserialize)]
#[serde(remote = "ClockFacts")]
struct ClockFactsCopy {
    #[serde(with = "plain")]
    frequency: Frequency,
    precision: i8,
    steerable: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "SourceConfig")]
struct SourceConfigCopy {
    name: String,
    #[serde(with = "HostCopy")]
    host: Host,
    port: u16,
    #[serde(with = "SourceKindCopy")]
    kind: SourceKind,
    #[serde(with = "TermsCopy")]
    association: AssociationConfig,
    selection: SelectionOptions,
}
remote!(SourceConfig, "SourceConfigCopy");

#[derive(Serialize, Deserialize)]
#[serde(remote = "Host", rename_all = "kebab-case")]
enum HostCopy {
    Address(IpAddr),
    Name(String),
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "SourceKind", rename_all = "kebab-case")]
enum SourceKindCopy {
    Server,
    Nts,
    Pool { count: usize, ignore: Vec<IpAddr> },
    RefClock(#[serde(with = "RefClockCopy")] RefClockConfig),
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "RefClockConfig", rename_all = "kebab-case")]
struct RefClockCopy {
    device: String,
    #[serde(with = "plain")]
    sigma: NtpDuration,
    #[serde(with = "plain")]
    accuracy: NtpDuration,
    #[serde(with = "plain")]
    stratum: Stratum,
    #[serde(with = "plain")]
    reference_id: ReferenceId,
    #[serde(with = "plain")]
    interval: PollInterval,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "AssociationConfig", rename_all = "kebab-case")]
struct TermsCopy {
    #[serde(with = "PollLimitsCopy")]
    limits: PollLimits,
    #[serde(with = "plain")]
    initial_poll: PollInterval,
    #[serde(skip)]
    protection: Protection,
    interleaved: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "PollLimits")]
struct PollLimitsCopy {
    #[serde(with = "plain")]
    min: PollInterval,
    #[serde(with = "plain")]
    max: PollInterval,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Command", rename_all = "kebab-case")]
enum CommandCopy {
    Add(#[serde(with = "SourceConfigCopy")] SourceConfig),
    Remove(String),
    Online(Option<String>),
    Offline(Option<String>),
    Burst(Option<String>),
    Replace(String, #[serde(with = "SourceConfigCopy")] SourceConfig),
    Step { forced: bool },
}
remote!(Command, "CommandCopy");
