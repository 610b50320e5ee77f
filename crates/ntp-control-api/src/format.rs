//! Formats values in messages for people: three or four digits and a suitable unit.

use std::time::Duration;

use ntp_time::{NtpDuration, PollInterval};

/// A span of time, in any type that carries one.
pub trait Seconds {
    /// Returns the span in seconds.
    fn seconds(self) -> f64;
}

impl Seconds for NtpDuration {
    fn seconds(self) -> f64 {
        self.as_seconds_f64()
    }
}

impl Seconds for PollInterval {
    fn seconds(self) -> f64 {
        self.to_duration().as_seconds_f64()
    }
}

impl Seconds for Duration {
    fn seconds(self) -> f64 {
        self.as_secs_f64()
    }
}

/// Already in seconds, as in the axes of a plot.
impl Seconds for f64 {
    fn seconds(self) -> f64 {
        self
    }
}

/// Formats a duration, for example `12.3 us` or `1.204 s`.
pub fn duration(span: impl Seconds) -> String {
    let seconds = span.seconds();
    let magnitude = seconds.abs();
    let (scale, unit) = if magnitude == 0.0 {
        return "0 s".into();
    } else if magnitude < 1e-6 {
        (1e9, "ns")
    } else if magnitude < 1e-3 {
        (1e6, "us")
    } else if magnitude < 1.0 {
        (1e3, "ms")
    } else {
        (1.0, "s")
    };
    let value = seconds * scale;
    let digits = match value.abs() {
        value if value < 10.0 => 2,
        value if value < 100.0 => 1,
        _ => 0,
    };
    if (1.0..1000.0).contains(&magnitude) {
        return format!("{seconds:.3} s");
    }
    format!("{value:.digits$} {unit}")
}

/// Formats a duration with its sign.
pub fn signed(span: impl Seconds) -> String {
    let seconds = span.seconds();
    let sign = if seconds >= 0.0 { "+" } else { "" };
    format!("{sign}{}", duration(seconds))
}

/// Formats a duration, or `unknown`.
pub fn or_unknown(span: Option<impl Seconds>) -> String {
    span.map_or_else(|| "unknown".into(), duration)
}

/// Formats an age in the largest suitable unit, for example `34s` or `17m`.
pub fn age(span: impl Seconds) -> String {
    let seconds = span.seconds().max(0.0);
    if seconds < 100.0 {
        format!("{seconds:.0}s")
    } else if seconds < 6000.0 {
        format!("{:.0}m", seconds / 60.0)
    } else if seconds < 100.0 * 3600.0 {
        format!("{:.0}h", seconds / 3600.0)
    } else {
        format!("{:.0}d", seconds / 86_400.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_few_digits_and_a_suitable_unit() {
        for (seconds, text) in [
            (0.0, "0 s"),
            (1.5e-9, "1.50 ns"),
            (12.34e-6, "12.3 us"),
            (-0.1234, "-123 ms"),
            (2.5, "2.500 s"),
            (86_400.0, "86400 s"),
        ] {
            assert_eq!(duration(seconds), text);
        }
        assert_eq!(signed(1e-3), "+1.00 ms");
        assert_eq!(age(3600.0), "60m");
    }
}
