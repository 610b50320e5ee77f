//! How often sources are asked: `[source-defaults]` and what a source says differently.
//!
//! Intervals are log2 seconds (RFC 5905 section 7.3). Neither bound is checked against the
//! other, as upstream: files with `min` above `max` load, with a warning, and `max` wins.

use ntp_time::{PollInterval, PollLimits};

use crate::reader::{Context, Section, Value};
use crate::value;

/// What holds for every source that does not say otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceDefaults {
    /// Range of the poll interval.
    pub poll_limits: PollLimits,
    /// Poll interval after the first samples.
    pub initial_poll: PollInterval,
}

impl Default for SourceDefaults {
    fn default() -> Self {
        Self {
            poll_limits: PollLimits::default(),
            initial_poll: PollInterval::from_log2(4),
        }
    }
}

/// What one source says about its poll interval; the rest comes from [`SourceDefaults`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PollOverrides {
    /// Shortest interval.
    pub min: Option<PollInterval>,
    /// Longest interval.
    pub max: Option<PollInterval>,
    /// Interval after the first samples.
    pub initial: Option<PollInterval>,
}

impl PollOverrides {
    /// The settings that hold for the source.
    pub fn over(self, defaults: SourceDefaults) -> SourceDefaults {
        SourceDefaults {
            poll_limits: PollLimits {
                min: self.min.unwrap_or(defaults.poll_limits.min),
                max: self.max.unwrap_or(defaults.poll_limits.max),
            },
            initial_poll: self.initial.unwrap_or(defaults.initial_poll),
        }
    }
}

/// `[source-defaults]`.
pub(crate) fn read_defaults(cx: &mut Context, value: &Value<'_>) -> Option<SourceDefaults> {
    let defaults = SourceDefaults::default();
    let mut section = Section::open(cx, "source-defaults", value)?;
    let poll_limits = section.or(cx, "poll-interval-limits", limits, defaults.poll_limits);
    let initial_poll = section.or(cx, "initial-poll-interval", interval, defaults.initial_poll);
    section.finish(cx);
    Some(SourceDefaults {
        poll_limits,
        initial_poll,
    })
}

/// The poll keys of a source.
pub(crate) fn read_overrides(cx: &mut Context, section: &mut Section<'_>) -> PollOverrides {
    let mut overrides = section.or(
        cx,
        "poll-interval-limits",
        some_limits,
        PollOverrides::default(),
    );
    overrides.initial = section.optional(cx, "initial-poll-interval", interval);
    overrides
}

fn limits(cx: &mut Context, value: &Value<'_>) -> Option<PollLimits> {
    let mut table = Section::open(cx, "source-defaults.poll-interval-limits", value)?;
    table.accept_unknown();
    let min = table.required(cx, "min", interval);
    let max = table.required(cx, "max", interval);
    table.finish(cx);
    warn_if_reversed(cx, value, min, max);
    Some(PollLimits {
        min: min?,
        max: max?,
    })
}

fn some_limits(cx: &mut Context, value: &Value<'_>) -> Option<PollOverrides> {
    let mut table = Section::open(cx, "source.poll-interval-limits", value)?;
    let min = table.optional(cx, "min", interval);
    let max = table.optional(cx, "max", interval);
    table.finish(cx);
    warn_if_reversed(cx, value, min, max);
    let initial = None;
    Some(PollOverrides { min, max, initial })
}

fn interval(cx: &mut Context, value: &Value<'_>) -> Option<PollInterval> {
    let exponent = value::whole::<i8>(cx, value)?;
    if exponent > LARGEST_PLAUSIBLE {
        let help = format!("intervals are log2 seconds: {exponent} is 2^{exponent} s; 6 is 64 s");
        value.warn(cx, "this poll interval is longer than a week", help);
    }
    Some(PollInterval::from_log2(exponent))
}

fn warn_if_reversed(
    cx: &mut Context,
    value: &Value<'_>,
    min: Option<PollInterval>,
    max: Option<PollInterval>,
) {
    if let (Some(min), Some(max)) = (min, max)
        && min > max
    {
        value.warn(
            cx,
            "`min` is greater than `max`",
            format!("the poll interval is fixed at `max`, {max}"),
        );
    }
}

/// 2^20 s are twelve days; whoever writes more has most probably written seconds.
const LARGEST_PLAUSIBLE: i8 = 19;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bound_of_a_source_falls_back_on_the_defaults_by_itself() {
        let log2 = PollInterval::from_log2;
        let overrides = PollOverrides {
            max: Some(log2(8)),
            ..PollOverrides::default()
        };
        let settings = overrides.over(SourceDefaults::default());
        assert_eq!(
            (settings.poll_limits.min, settings.poll_limits.max),
            (log2(4), log2(8))
        );
        assert_eq!(settings.initial_poll, log2(4));
    }
}
