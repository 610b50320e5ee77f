//! `[synchronization]`: when and how far the clock may be corrected.

use ntp_time::{NtpDuration, ReferenceId, Stratum};

use crate::algorithm::{self, AlgorithmConfig};
use crate::diagnostic::quote;
use crate::reader::{Context, Section, Value};
use crate::threshold::{self, StepThreshold};
use crate::value;

/// When and how far the clock may be corrected, and what is served without a source.
#[derive(Clone, Debug, PartialEq)]
pub struct SynchronizationConfig {
    /// Sources that must agree before the clock is corrected.
    pub minimum_agreeing_sources: usize,
    /// Limit of each step after start-up.
    pub single_step_panic_threshold: StepThreshold,
    /// Limit of steps until the clock has been set for the first time.
    pub startup_step_panic_threshold: StepThreshold,
    /// Limit of the sum of all steps after start-up, as lengths; `None` is no limit.
    pub accumulated_step_panic_threshold: Option<NtpDuration>,
    /// How far the clock may be wrong, as long as it is not synchronised, when the validity of certificates is judged.
    pub certificate_time_leniency: StepThreshold,
    /// Whether a step is logged as a warning.
    pub warn_on_jump: bool,
    /// Stratum served without a source; sources at or above it are not used.
    pub local_stratum: Stratum,
    /// Reference identifier served at stratum 1 without a source.
    pub reference_id: ReferenceId,
    /// Tuning.
    pub algorithm: AlgorithmConfig,
}

impl Default for SynchronizationConfig {
    fn default() -> Self {
        Self {
            minimum_agreeing_sources: 3,
            single_step_panic_threshold: StepThreshold::symmetric(NtpDuration::from_seconds(1000)),
            startup_step_panic_threshold: StepThreshold {
                forward: None,
                backward: Some(NtpDuration::from_seconds(86_400)),
            },
            accumulated_step_panic_threshold: None,
            certificate_time_leniency: StepThreshold {
                forward: None,
                backward: Some(NtpDuration::from_seconds(86_400)),
            },
            warn_on_jump: true,
            local_stratum: Stratum::UNSYNCHRONIZED,
            reference_id: ReferenceId::XNON,
            algorithm: AlgorithmConfig::default(),
        }
    }
}

/// `[synchronization]`.
pub(crate) fn read(cx: &mut Context, value: &Value<'_>) -> Option<SynchronizationConfig> {
    let defaults = SynchronizationConfig::default();
    let mut section = Section::open(cx, "synchronization", value)?;
    let config = SynchronizationConfig {
        minimum_agreeing_sources: section.or(
            cx,
            "minimum-agreeing-sources",
            value::whole,
            defaults.minimum_agreeing_sources,
        ),
        single_step_panic_threshold: section.or(
            cx,
            "single-step-panic-threshold",
            |cx, value| threshold::read(cx, value, "synchronization.single-step-panic-threshold"),
            defaults.single_step_panic_threshold,
        ),
        startup_step_panic_threshold: section.or(
            cx,
            "startup-step-panic-threshold",
            |cx, value| threshold::read(cx, value, "synchronization.startup-step-panic-threshold"),
            defaults.startup_step_panic_threshold,
        ),
        accumulated_step_panic_threshold: section.or(
            cx,
            "accumulated-step-panic-threshold",
            accumulated,
            None,
        ),
        certificate_time_leniency: section.or(
            cx,
            "certificate-time-leniency",
            |cx, value| threshold::read(cx, value, "synchronization.certificate-time-leniency"),
            defaults.certificate_time_leniency,
        ),
        warn_on_jump: section.or(cx, "warn-on-jump", value::boolean, defaults.warn_on_jump),
        local_stratum: section
            .optional(cx, "local-stratum", value::whole)
            .map_or(defaults.local_stratum, Stratum::new),
        reference_id: section.or(cx, "reference-id", reference_id, defaults.reference_id),
        algorithm: section.or(cx, "algorithm", algorithm::read, defaults.algorithm),
    };
    section.finish(cx);
    Some(config)
}

/// The outer `None` is a rejected value, the inner one no limit, which is written 0.
fn accumulated(cx: &mut Context, value: &Value<'_>) -> Option<Option<NtpDuration>> {
    if let toml::de::DeValue::String(text) = value.node
        && text == "inf"
    {
        return value.reject_with(
            cx,
            "invalid type: string \"inf\", expected a number",
            "leave the key out, or write 0, for no limit",
        );
    }
    let seconds = value::finite(cx, value)?;
    if seconds < 0.0 {
        value.warn(
            cx,
            "below zero, the first step after start-up stops the daemon",
            "leave the key out, or write 0, for no limit",
        );
    }
    Some((seconds != 0.0).then(|| NtpDuration::from_seconds_f64(seconds)))
}

/// Up to four octets, filled up with spaces, as upstream does.
fn reference_id(cx: &mut Context, value: &Value<'_>) -> Option<ReferenceId> {
    let text = value::text(cx, value)?;
    let mut octets = [b' '; 4];
    match octets.get_mut(..text.len()) {
        Some(start) => {
            start.copy_from_slice(text.as_bytes());
            Some(ReferenceId::new(octets))
        }
        None => {
            let message = format!(
                "invalid value: string {}, expected up to 4-character string",
                quote(text, '"')
            );
            value.reject(cx, message)
        }
    }
}
