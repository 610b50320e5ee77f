//! Figures as people read them: three or four digits and a unit that fits.

/// A duration in seconds, for example `12.3 us` or `1.204 s`.
pub(crate) fn duration(seconds: f64) -> String {
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

/// The same with its sign.
pub(crate) fn signed(seconds: f64) -> String {
    let text = duration(seconds);
    if seconds >= 0.0 {
        format!("+{text}")
    } else {
        text
    }
}

/// A figure that may be unknown.
pub(crate) fn known(seconds: Option<f64>) -> String {
    seconds.map_or_else(|| "unknown".into(), duration)
}

/// A time since 1970 as a date and a time of day, in UTC.
pub(crate) fn moment(since_1970: f64) -> String {
    let nanos = since_1970 * 1e9;
    let text = ntp_time::SystemTime::from_nanos(nanos as i64).to_string();
    // Microseconds are what a double resolves today; the text ends with nanoseconds and a Z.
    let cut = text.len().saturating_sub(4);
    format!("{} UTC", text.get(..cut).unwrap_or(&text))
}

/// Until when something is valid, for example a certificate; both in seconds since 1970.
pub(crate) fn until(end: f64, now: f64) -> String {
    let end_text = moment(end);
    let day = end_text.split('T').next().unwrap_or(&end_text);
    if end < now {
        format!("expired on {day}, {} ago", age(now - end))
    } else {
        format!("valid until {day}, for {} more", age(end - now))
    }
}

/// An age in the largest unit that fits, for example `34s` or `17m`.
pub(crate) fn age(seconds: f64) -> String {
    let seconds = seconds.max(0.0);
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
    fn a_figure_has_few_digits_and_a_unit_that_fits() {
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
        let day = 86_400.0;
        assert_eq!(
            until(20.0 * day, 0.0),
            "valid until 1970-01-21, for 20d more"
        );
        assert_eq!(until(0.0, 9.0 * day), "expired on 1970-01-01, 9d ago");
        assert_eq!(moment(0.0), "1970-01-01T00:00:00.000000 UTC");
    }
}
