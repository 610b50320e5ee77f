//! Step thresholds: how far the clock may be stepped without an operator.
//!
//! A threshold is a number of seconds for both directions, the string `"inf"` for no limit, or
//! a table with `forward` and `backward`. A direction that is absent from a table has no
//! limit; the default of the key does not apply to it. The number must be finite and not
//! negative, but inside a table upstream checks neither, and files may rely on it: a value
//! that permits nothing there is accepted with a warning.
//!
//! The comparison is strict, so a threshold of 0 forbids every step.

use ntp_time::NtpDuration;
use toml::de::DeValue;

use crate::documentation::KeyDoc;
use crate::reader::{Context, Section, Value};
use crate::value;

/// Section names of the table forms.
pub(crate) const SINGLE: &str = "synchronization.single-step-panic-threshold";
pub(crate) const STARTUP: &str = "synchronization.startup-step-panic-threshold";
pub(crate) const LENIENCY: &str = "synchronization.certificate-time-leniency";

/// Keys of the table forms.
pub(crate) const KEYS: &[KeyDoc] = &[
    limit(SINGLE, "forward", "Limit of forward steps."),
    limit(SINGLE, "backward", "Limit of backward steps."),
    limit(STARTUP, "forward", "Limit of forward steps."),
    limit(STARTUP, "backward", "Limit of backward steps."),
    limit(LENIENCY, "forward", "How far the clock may be behind."),
    limit(LENIENCY, "backward", "How far the clock may be ahead."),
];

const fn limit(section: &'static str, key: &'static str, doc: &'static str) -> KeyDoc {
    KeyDoc::new(
        section,
        [key, "number or `\"inf\"`, seconds", "\"inf\"", doc],
    )
}

/// The largest permitted step in each direction; `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepThreshold {
    /// Limit of forward steps.
    pub forward: Option<NtpDuration>,
    /// Limit of backward steps, as a positive length.
    pub backward: Option<NtpDuration>,
}

impl StepThreshold {
    /// No limit in either direction.
    pub const UNLIMITED: Self = Self {
        forward: None,
        backward: None,
    };

    /// No limit forward, one day backward.
    pub(crate) const A_DAY_BACKWARD: Self = Self {
        forward: None,
        backward: Some(NtpDuration::from_seconds(86_400)),
    };

    /// The same limit in both directions.
    pub const fn symmetric(limit: NtpDuration) -> Self {
        Self {
            forward: Some(limit),
            backward: Some(limit),
        }
    }

    /// Whether the clock may be stepped by `step`.
    pub fn permits(self, step: NtpDuration) -> bool {
        self.forward.is_none_or(|limit| step < limit)
            && self.backward.is_none_or(|limit| step > -limit)
    }
}

/// Reads a threshold in any of its forms; `section` names the table form.
pub(crate) fn read(
    cx: &mut Context,
    value: &Value<'_>,
    section: &'static str,
) -> Option<StepThreshold> {
    match value.node {
        DeValue::Table(_) => {
            let mut table = Section::open(cx, section, value)?;
            let forward = table.or(cx, "forward", direction, None);
            let backward = table.or(cx, "backward", direction, None);
            table.finish(cx);
            Some(StepThreshold { forward, backward })
        }
        DeValue::String(text) if text == "inf" => Some(StepThreshold::UNLIMITED),
        DeValue::Integer(_) | DeValue::Float(_) => {
            let seconds = value::number(cx, value)?;
            if seconds.is_infinite() {
                let message = format!("invalid value: {}", value.describe());
                let help = format!("no limit is written in quotation marks: `{} = \"inf\"`", value.key);
                return value.reject_with(cx, message, help);
            }
            if seconds.is_nan() || seconds < 0.0 {
                return value.reject_value(cx, "a number of seconds that is not negative");
            }
            Some(StepThreshold::symmetric(NtpDuration::from_seconds_f64(seconds)))
        }
        _ => value.reject_with(
            cx,
            value.mistyped("a step threshold"),
            format!(
                "write a number of seconds, `\"inf\"`, or one for each direction: `{} = {{ forward = 1800, backward = 60 }}`",
                value.key
            ),
        ),
    }
}

/// Reads the limit of one direction; the outer `None` is a rejected value, the inner one no limit.
fn direction(cx: &mut Context, value: &Value<'_>) -> Option<Option<NtpDuration>> {
    match value.node {
        DeValue::String(text) if text == "inf" => return Some(None),
        DeValue::Integer(_) | DeValue::Float(_) => {}
        _ => return value.reject_type(cx, "a number or \"inf\""),
    }
    let seconds = value::number(cx, value)?;
    if seconds.is_nan() || seconds < 0.0 {
        value.warn(
            cx,
            format!("with {} no step is permitted", value.describe()),
            "write a number of seconds that is not negative, or \"inf\"",
        );
    }
    if seconds == f64::INFINITY {
        return Some(None);
    }
    Some(Some(NtpDuration::from_seconds_f64(seconds)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_comparison_is_strict_and_by_direction() {
        let second = NtpDuration::from_seconds(1);
        let threshold = StepThreshold {
            forward: Some(second),
            backward: None,
        };
        assert!(!threshold.permits(second));
        assert!(threshold.permits(second - NtpDuration::from_nanos(10)));
        assert!(threshold.permits(NtpDuration::from_seconds(-1_000_000)));
        let nothing = StepThreshold::symmetric(NtpDuration::from_seconds(0));
        assert!(!nothing.permits(NtpDuration::from_seconds(0)));
        assert!(StepThreshold::UNLIMITED.permits(NtpDuration::from_seconds(1 << 30)));
    }
}
