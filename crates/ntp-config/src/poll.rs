//! Poll intervals: `[source-defaults]` and the overrides of a source.
//!
//! Intervals are log2 seconds (RFC 5905 section 7.3). As in upstream, a `min` above `max` is
//! accepted; it causes a warning, and `max` applies.

use ntp_time::{PollInterval, PollLimits};

use crate::reader::{Context, Section, Value};
use crate::schema::{Table, section};
use crate::value;

section! {
    /// Defaults for all sources.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct SourceDefaults: Default = "source-defaults" [] {
        poll_limits: PollLimits = limits => or(PollLimits::default()),
            "poll-interval-limits" "table" "{ min = 4, max = 10 }" "Range of the poll interval. It does not apply to bursts of at most eight requests two seconds apart: at the start, when a silent server answers again, after a change of the clock or of the network, and by `ntp-ctl source burst`, at most once a minute. A server that sends RATE kisses is polled less often than `max`.";
        initial_poll: PollInterval = interval => or(PollInterval::from_log2(4)),
            "initial-poll-interval" "integer, log2 seconds" "4" "Poll interval after the first samples of a source.";
    }
}

section! {
    pub(crate) struct DefaultLimits = "source-defaults.poll-interval-limits" [] {
        min: PollInterval = interval => required,
            "min" "integer, log2 seconds" "required" "Shortest poll interval: 4 is 16 s.";
        max: PollInterval = interval => required,
            "max" "integer, log2 seconds" "required" "Longest poll interval: 10 is 1024 s.";
    }
}

section! {
    /// Poll interval settings of one source; the others come from [`SourceDefaults`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct PollOverrides: Default = "source" ["server", "pool", "nts", "nts-pool"] {
        limits: SourceLimits = some_limits => or(SourceLimits::default()),
            "poll-interval-limits" "table" "as in `[source-defaults]`" "Range of the poll interval of this source; see `[source-defaults]`.";
        initial: Option<PollInterval> = interval => optional,
            "initial-poll-interval" "integer, log2 seconds" "as in `[source-defaults]`" "Poll interval of this source after its first samples.";
    }
}

section! {
    /// Range of the poll interval of one source.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct SourceLimits: Default = "source.poll-interval-limits" [] {
        min: Option<PollInterval> = interval => optional,
            "min" "integer, log2 seconds" "as in `[source-defaults]`" "Shortest poll interval: 4 is 16 s.";
        max: Option<PollInterval> = interval => optional,
            "max" "integer, log2 seconds" "as in `[source-defaults]`" "Longest poll interval: 10 is 1024 s.";
    }
}

impl PollOverrides {
    /// Returns the settings of the source.
    pub fn apply_to(self, defaults: SourceDefaults) -> SourceDefaults {
        SourceDefaults {
            poll_limits: PollLimits {
                min: self.limits.min.unwrap_or(defaults.poll_limits.min),
                max: self.limits.max.unwrap_or(defaults.poll_limits.max),
            },
            initial_poll: self.initial.unwrap_or(defaults.initial_poll),
        }
    }
}

fn limits(cx: &mut Context, value: &Value<'_>) -> Option<PollLimits> {
    let mut table = Section::open(cx, DefaultLimits::NAME, value)?;
    table.accept_unknown();
    let limits = DefaultLimits::read_keys(cx, &mut table);
    table.finish(cx);
    let DefaultLimits { min, max } = limits?;
    warn_if_reversed(cx, value, Some(min), Some(max));
    Some(PollLimits { min, max })
}

fn some_limits(cx: &mut Context, value: &Value<'_>) -> Option<SourceLimits> {
    let limits: SourceLimits = crate::schema::table(cx, value)?;
    warn_if_reversed(cx, value, limits.min, limits.max);
    Some(limits)
}

pub(crate) fn interval(cx: &mut Context, value: &Value<'_>) -> Option<PollInterval> {
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

/// 2^20 s are twelve days; a larger value is most probably in seconds.
const LARGEST_PLAUSIBLE: i8 = 19;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_of_a_source_has_its_own_default() {
        let log2 = PollInterval::from_log2;
        let mut overrides = PollOverrides::default();
        overrides.limits.max = Some(log2(8));
        let settings = overrides.apply_to(SourceDefaults::default());
        assert_eq!(
            (settings.poll_limits.min, settings.poll_limits.max),
            (log2(4), log2(8))
        );
        assert_eq!(settings.initial_poll, log2(4));
    }
}
