//! `[synchronization.algorithm]`: tuning of estimation and steering.
//!
//! The keys are those of upstream's Kalman filter. Where our discipline has the same quantity,
//! a value in the file keeps its meaning, and an absent one leaves the choice to the
//! discipline: therefore every field is an option. The quantities that only upstream's
//! estimator has are checked for their type and accepted with a warning each.
//!
//! Upstream checks no range. A meaningless value of one of its keys (not a number, or negative) is
//! accepted with a warning and left unset.

use ntp_time::{Frequency, NtpDuration};
use toml::de::DeValue;

use crate::documentation::KeyDoc;
use crate::reader::{Context, Section, Value};
use crate::schema::{Table, section};
use crate::value;

section! {
    /// Values that the file sets; `None` where it does not.
    #[derive(Clone, Copy, Debug, PartialEq)]
    pub struct AlgorithmConfig: Default = "synchronization.algorithm" [] {
        step_threshold: Option<NtpDuration> = duration => optional,
            "step-threshold" "number, seconds" "none" "Offsets above it are stepped, at any time (above 0.1 s after `stepout-time`); unset, only the first updates, those after a disturbance, and those after `stepout-time` step.";
        slew_maximum_frequency_offset: Option<Frequency> = frequency => optional,
            "slew-maximum-frequency-offset" "number, seconds per second" "500e-6" "Maximum frequency offset while an offset is slewed.";
        slew_minimum_duration: Option<NtpDuration> = duration => optional,
            "slew-minimum-duration" "number, seconds" "1" "Minimum duration of a slew.";
        maximum_frequency_steer: Option<Frequency> = frequency => optional,
            "maximum-frequency-steer" "number, seconds per second" "none" "Limit of the whole frequency correction; unset, what the clock can do (0.1 for the kernel's).";
        maximum_source_uncertainty: Option<NtpDuration> = duration => optional,
            "maximum-source-uncertainty" "number, seconds" "1.5" "Sources with a larger uncertainty are not used.";
        meddling_threshold: Option<NtpDuration> = finite_duration => optional,
            "meddling-threshold" "number, seconds" "0.01" "A larger change of the clock by another program is treated as a disturbance: all sources are measured again.";
        initial_frequency_uncertainty: Option<Frequency> = frequency => optional,
            "initial-frequency-uncertainty" "number, seconds per second" "100e-6" "Standard deviation of the frequency error of an oscillator that is not known yet.";
        accuracy_target: Option<NtpDuration> = accuracy_target => optional,
            "accuracy-target" "number, seconds" "none" "Error that the clock may have: sources are polled as rarely as it permits, within their poll limits. Unset, sources are polled as often as it improves accuracy.";
        drift_allowance: Option<Frequency> = drift_allowance => optional,
            "drift-allowance" "`\"learnt\"` or number, parts per million" "\"learnt\"" "How fast the oscillator may leave the estimate between measurements: the error bound grows by it, and is a guarantee only as long as the oscillator keeps to it. `\"learnt\"` begins at 15 ppm and falls to 1 ppm within 28 hours if the oscillator is steady; it is never below three times the largest change seen in the last days.";
        ignore_server_dispersion: Option<bool> = value::boolean => optional,
            "ignore-server-dispersion" "boolean" "false" "Whether the root dispersion that servers state is left out of their correctness intervals.";
    }
}

/// Keys of upstream's estimator without a counterpart here.
pub(crate) const WITHOUT_EFFECT: &[KeyDoc] = &[
    without_effect("precision-low-probability", "number"),
    without_effect("precision-high-probability", "number"),
    without_effect("precision-hysteresis", "integer"),
    without_effect("precision-minimum-weight", "number"),
    without_effect("poll-interval-low-weight", "number"),
    without_effect("poll-interval-high-weight", "number"),
    without_effect("poll-interval-hysteresis", "integer"),
    without_effect("poll-interval-step-threshold", "number"),
    without_effect("delay-outlier-threshold", "number"),
    without_effect("initial-wander", "number"),
    without_effect("range-statistical-weight", "number"),
    without_effect("range-delay-weight", "number"),
    without_effect("steer-offset-threshold", "number"),
    without_effect("steer-offset-leftover", "number"),
    without_effect("steer-frequency-threshold", "number"),
    without_effect("steer-frequency-leftover", "number"),
];

const fn without_effect(key: &'static str, kind: &'static str) -> KeyDoc {
    let doc = "No effect: belongs to upstream's estimator.";
    KeyDoc::new(AlgorithmConfig::NAME, [key, kind, "none", doc])
}

/// Reads `[synchronization.algorithm]`.
pub(crate) fn read(cx: &mut Context, value: &Value<'_>) -> Option<AlgorithmConfig> {
    let mut section = Section::open(cx, AlgorithmConfig::NAME, value)?;
    let config = AlgorithmConfig::read_keys(cx, &mut section);
    for doc in WITHOUT_EFFECT {
        section.optional(cx, doc.key, |cx, value| {
            match doc.kind {
                "integer" => value::whole::<i32>(cx, value).map(|_| ())?,
                _ => value::number(cx, value).map(|_| ())?,
            }
            value.warn(
                cx,
                format!("`{}` has no effect", value.key),
                "it tunes an estimator that this implementation does not use; remove the line",
            );
            Some(())
        });
    }
    section.finish(cx);
    config
}

fn duration(cx: &mut Context, value: &Value<'_>) -> Option<NtpDuration> {
    not_negative(cx, value).map(NtpDuration::from_seconds_f64)
}

fn finite_duration(cx: &mut Context, value: &Value<'_>) -> Option<NtpDuration> {
    value::finite(cx, value)?;
    duration(cx, value)
}

fn frequency(cx: &mut Context, value: &Value<'_>) -> Option<Frequency> {
    not_negative(cx, value).map(Frequency::from_ratio)
}

/// An allowance in parts per million; `"learnt"` leaves it unset.
fn drift_allowance(cx: &mut Context, value: &Value<'_>) -> Option<Frequency> {
    const MOST: f64 = 1000.0;
    match value.node {
        DeValue::String(text) if text == "learnt" => None,
        DeValue::Integer(_) | DeValue::Float(_) => match value::finite(cx, value)? {
            ppm if (0.0..=MOST).contains(&ppm) => Some(Frequency::from_ppm(ppm)),
            _ => value.reject_value(cx, EXPECTED_ALLOWANCE),
        },
        _ => value.reject_value(cx, EXPECTED_ALLOWANCE),
    }
}

const EXPECTED_ALLOWANCE: &str = "\"learnt\" or a number of ppm from 0 to 1000";

/// A target that can be reached. Unlike upstream's keys, one without meaning is an error.
fn accuracy_target(cx: &mut Context, value: &Value<'_>) -> Option<NtpDuration> {
    let seconds = value::finite(cx, value)?;
    if seconds <= 0.0 {
        return value.reject_value(cx, "a number of seconds above 0");
    }
    Some(NtpDuration::from_seconds_f64(seconds))
}

/// A number that is not negative; others cause a warning and are left unset.
fn not_negative(cx: &mut Context, value: &Value<'_>) -> Option<f64> {
    let number = value::number(cx, value)?;
    if number >= 0.0 {
        return Some(number);
    }
    value.warn(
        cx,
        format!("`{}` is {} and ignored", value.key, value.describe()),
        "write a number that is not negative",
    );
    None
}
