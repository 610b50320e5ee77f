//! What all drivers check of a sample that another program or a receiver dated.

use ntp_time::{LeapIndicator, NtpDuration, Stamp, StampSource, SystemTime};
use ntp_types::refclock::{ClockSample, SampleRefusal};

use crate::Reading;

/// How far a sample may seem to come from the future: its time may be rounded to microseconds.
const ROUNDING: NtpDuration = NtpDuration::from_micros(1);

/// Age that is always accepted: gpsd dates a sample by the first octet of a sentence, and sends it
/// after the last one of the cycle, which is a second or two later with slow receivers.
const MIN_MAX_AGE: NtpDuration = NtpDuration::from_seconds(4);

/// A larger offset is a defect of the sender: times that differ by more than 30 years.
const MAX_OFFSET: NtpDuration = NtpDuration::from_seconds(1_000_000_000);

/// Age of a sample up to which it is used, in intervals of the clock. A program may collect the
/// samples of an interval before it sends them.
const MAX_AGE_INTERVALS: i64 = 2;

/// Returns the age up to which samples of a clock are used.
pub(crate) fn max_age(interval: NtpDuration) -> NtpDuration {
    let intervals = interval.to_bits().saturating_mul(MAX_AGE_INTERVALS);
    NtpDuration::from_bits(intervals).max(MIN_MAX_AGE)
}

/// Returns a sample that was taken at `at` and read at `now`.
pub(crate) fn dated(
    at: SystemTime,
    offset: NtpDuration,
    leap: LeapIndicator,
    now: SystemTime,
    max_age: NtpDuration,
) -> Reading {
    if offset.abs() > MAX_OFFSET {
        return Err(SampleRefusal::OutOfRange);
    }
    if at > now + ROUNDING {
        return Err(SampleRefusal::Future);
    }
    if now - at > max_age {
        return Err(SampleRefusal::Stale);
    }
    Ok(ClockSample {
        at: Stamp {
            time: at.min(now),
            source: StampSource::Daemon,
        },
        offset,
        leap,
        is_pulse: false,
        error: None,
    })
}

/// Returns a leap indicator of 0 to 3.
pub(crate) fn leap(number: i32) -> Result<LeapIndicator, SampleRefusal> {
    match u8::try_from(number) {
        Ok(bits @ 0..=3) => Ok(LeapIndicator::from_bits(bits)),
        _ => Err(SampleRefusal::OutOfRange),
    }
}

/// Returns a time of seconds and nanoseconds.
pub(crate) fn time(seconds: i64, nanos: i64) -> Result<SystemTime, SampleRefusal> {
    let is_fraction = (0..1_000_000_000).contains(&nanos);
    let whole = seconds.checked_mul(1_000_000_000).filter(|_| is_fraction);
    let time = whole.and_then(|whole| whole.checked_add(nanos));
    time.map(SystemTime::from_nanos)
        .ok_or(SampleRefusal::OutOfRange)
}
