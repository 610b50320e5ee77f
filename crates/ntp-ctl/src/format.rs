//! Formats times, validity and paragraphs; re-exports the formats that the findings of
//! `ntp-ctl explain` use.

use std::time::Duration;

use ntp_time::SystemTime;

pub(crate) use ntp_control_api::format::{Seconds, age, duration, or_unknown, signed};

use crate::console::DEFAULT_WIDTH;

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

/// Name of a cryptography provider, and whether it is in FIPS mode.
pub(crate) fn provider_text(name: &str, fips: bool) -> String {
    format!("{name}, FIPS mode {}", if fips { "on" } else { "off" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_validity_is_a_day_and_the_time_left() {
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
