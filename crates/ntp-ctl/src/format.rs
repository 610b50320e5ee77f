//! Formatting of values for people: three or four digits and a suitable unit.

use std::time::Duration;

use ntp_time::{NtpDuration, PollInterval, SystemTime};

use crate::console::DEFAULT_WIDTH;

/// A span of time, in any type that carries one.
pub(crate) trait Seconds {
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
pub(crate) fn duration(span: impl Seconds) -> String {
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
pub(crate) fn signed(span: impl Seconds) -> String {
    let seconds = span.seconds();
    let sign = if seconds >= 0.0 { "+" } else { "" };
    format!("{sign}{}", duration(seconds))
}

/// Formats a duration, or `unknown`.
pub(crate) fn or_unknown(span: Option<impl Seconds>) -> String {
    span.map_or_else(|| "unknown".into(), duration)
}

/// Formats a time as date and time of day in UTC.
pub(crate) fn timestamp(time: SystemTime) -> String {
    let text = time.to_string();
    // JSON resolves microseconds; the text ends with nanoseconds and a Z.
    let cut = text.len().saturating_sub(4);
    format!("{} UTC", text.get(..cut).unwrap_or(&text))
}

/// Formats the end of validity, for example of a certificate.
pub(crate) fn validity(end: SystemTime, now: SystemTime) -> String {
    let end_text = timestamp(end);
    let day = end_text.split('T').next().unwrap_or(&end_text);
    // Certificates can be valid for longer than the 68 years of an `NtpDuration`.
    let left = (end.as_nanos() as f64 - now.as_nanos() as f64) * 1e-9;
    if left < 0.0 {
        format!("expired on {day}, {} ago", age(-left))
    } else {
        format!("valid until {day}, {} left", age(left))
    }
}

/// Formats an age in the largest suitable unit, for example `34s` or `17m`.
pub(crate) fn age(span: impl Seconds) -> String {
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

/// Parses a time with its unit, for example `10ms`, `1.5s`, `2min`. Only 0 needs no unit: of a bare
/// number, some readers expect milliseconds, others seconds or minutes.
pub(crate) fn time(text: &str) -> Result<Duration, String> {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    let scale = match unit {
        "s" => 1.0,
        "ns" => 1e-9,
        "us" => 1e-6,
        "ms" => 1e-3,
        "min" | "m" => 60.0,
        "h" => 3600.0,
        "" if text == "0" => 1.0,
        "" => {
            return Err(format!("unit missing: {text}ms, {text}s or {text}min?"));
        }
        _ => {
            return Err(format!(
                "unknown unit {unit:?} (expected ns, us, ms, s, min or h)"
            ));
        }
    };
    let number = text.strip_suffix(unit).unwrap_or(text);
    let seconds = number.parse::<f64>().map_err(|error| error.to_string())? * scale;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

/// Appends `text`, indented and wrapped at [`DEFAULT_WIDTH`] columns.
pub(crate) fn paragraph(out: &mut String, text: &str) {
    let mut column = 0;
    for word in text.split(' ') {
        let width = word.chars().count();
        if column == 0 {
            out.push_str("  ");
            column = 2;
        } else if column + 1 + width > DEFAULT_WIDTH {
            out.push_str("\n    ");
            column = 4;
        } else {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += width;
    }
    out.push('\n');
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
        let day = |number: i64| SystemTime::from_nanos(number * 86_400_000_000_000);
        assert_eq!(
            validity(day(20), day(0)),
            "valid until 1970-01-21, 20d left"
        );
        assert_eq!(
            validity(day(36_500), day(0)),
            "valid until 2069-12-07, 36500d left"
        );
        assert_eq!(validity(day(0), day(9)), "expired on 1970-01-01, 9d ago");
        assert_eq!(timestamp(day(0)), "1970-01-01T00:00:00.000000 UTC");
    }

    #[test]
    fn times_have_units() {
        assert_eq!(time("10ms"), Ok(Duration::from_millis(10)));
        assert_eq!(time("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(time("0"), Ok(Duration::ZERO));
        assert_eq!(time("2min"), Ok(Duration::from_secs(120)));
        for wrong in ["", "10", "ms", "10 parsecs", "-1s", "1e400s"] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn paragraphs_are_wrapped_at_80_columns() {
        let mut text = String::new();
        paragraph(&mut text, "not synchronised");
        paragraph(&mut text, &"seven78 ".repeat(20));
        assert!(
            text.starts_with("  not synchronised\n  seven78 seven78"),
            "{text}"
        );
        assert!(text.lines().all(|line| line.len() <= 80), "{text}");
        assert!(text.contains("seven78\n    seven78"), "{text}");
    }
}
