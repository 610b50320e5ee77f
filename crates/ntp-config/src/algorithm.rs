//! `[synchronization.algorithm]`: tuning of estimation and steering.
//!
//! The keys are those of upstream's Kalman filter. Where our discipline has the same quantity,
//! a value that the file sets keeps its meaning, and an unset one leaves the choice to the
//! discipline: hence every field is an option. The quantities that only upstream's estimator
//! has are checked for their type and accepted with a warning each.
//!
//! Upstream checks no range. A value that cannot mean anything (not a number, or negative) is
//! accepted with a warning and left unset.

use ntp_time::{Frequency, NtpDuration};

use crate::reader::{Context, Section, Value};
use crate::value::{self, describe};

/// What the file sets; `None` where it does not.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct AlgorithmConfig {
    /// Offsets above it are stepped, at any time.
    pub step_threshold: Option<NtpDuration>,
    /// How much faster or slower than true the clock may run to make up for an offset.
    pub slew_maximum_frequency_offset: Option<Frequency>,
    /// The least time over which an offset is made up for.
    pub slew_minimum_duration: Option<NtpDuration>,
    /// Limit of the whole frequency correction.
    pub maximum_frequency_steer: Option<Frequency>,
    /// Sources less certain than this are disregarded.
    pub maximum_source_uncertainty: Option<NtpDuration>,
    /// A jump of the clock that is not ours and larger than this restarts estimation.
    pub meddling_threshold: Option<NtpDuration>,
    /// Standard deviation of the frequency estimate after the first samples.
    pub initial_frequency_uncertainty: Option<Frequency>,
    /// Whether a server's root dispersion is left out when sources are combined.
    pub ignore_server_dispersion: Option<bool>,
}

/// `[synchronization.algorithm]`.
pub(crate) fn read(cx: &mut Context, value: &Value<'_>) -> Option<AlgorithmConfig> {
    let mut section = Section::open(cx, "synchronization.algorithm", value)?;
    let config = AlgorithmConfig {
        step_threshold: section.optional(cx, "step-threshold", duration),
        slew_maximum_frequency_offset: section.optional(
            cx,
            "slew-maximum-frequency-offset",
            frequency,
        ),
        slew_minimum_duration: section.optional(cx, "slew-minimum-duration", duration),
        maximum_frequency_steer: section.optional(cx, "maximum-frequency-steer", frequency),
        maximum_source_uncertainty: section.optional(cx, "maximum-source-uncertainty", duration),
        meddling_threshold: section.optional(cx, "meddling-threshold", finite_duration),
        initial_frequency_uncertainty: section.optional(
            cx,
            "initial-frequency-uncertainty",
            frequency,
        ),
        ignore_server_dispersion: section.optional(cx, "ignore-server-dispersion", value::boolean),
    };
    for key in NUMBERS_WITHOUT_COUNTERPART {
        section.optional(cx, key, |cx, value| {
            value::number(cx, value)?;
            without_effect(cx, value)
        });
    }
    for key in INTEGERS_WITHOUT_COUNTERPART {
        section.optional(cx, key, |cx, value| {
            value::whole::<i32>(cx, value)?;
            without_effect(cx, value)
        });
    }
    section.finish(cx);
    Some(config)
}

fn without_effect(cx: &mut Context, value: &Value<'_>) -> Option<()> {
    value.warn(
        cx,
        format!("`{}` has no effect", value.key),
        "it tunes an estimator that this implementation does not use; the line can be removed",
    );
    Some(())
}

fn duration(cx: &mut Context, value: &Value<'_>) -> Option<NtpDuration> {
    sensible(cx, value).map(NtpDuration::from_seconds_f64)
}

fn finite_duration(cx: &mut Context, value: &Value<'_>) -> Option<NtpDuration> {
    value::finite(cx, value)?;
    duration(cx, value)
}

fn frequency(cx: &mut Context, value: &Value<'_>) -> Option<Frequency> {
    sensible(cx, value).map(Frequency::from_ratio)
}

/// A number that is not negative; others are warned about and left unset.
fn sensible(cx: &mut Context, value: &Value<'_>) -> Option<f64> {
    let number = value::number(cx, value)?;
    if number >= 0.0 {
        return Some(number);
    }
    value.warn(
        cx,
        format!(
            "`{}` is {} and left out of account",
            value.key,
            describe(value.node)
        ),
        "write a number that is not negative",
    );
    None
}

const NUMBERS_WITHOUT_COUNTERPART: [&str; 14] = [
    "precision-low-probability",
    "precision-high-probability",
    "precision-minimum-weight",
    "poll-interval-low-weight",
    "poll-interval-high-weight",
    "poll-interval-step-threshold",
    "delay-outlier-threshold",
    "initial-wander",
    "range-statistical-weight",
    "range-delay-weight",
    "steer-offset-threshold",
    "steer-offset-leftover",
    "steer-frequency-threshold",
    "steer-frequency-leftover",
];

const INTEGERS_WITHOUT_COUNTERPART: [&str; 2] =
    ["precision-hysteresis", "poll-interval-hysteresis"];
