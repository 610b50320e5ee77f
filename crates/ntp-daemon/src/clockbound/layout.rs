//! Contents of ClockBound's segments, octet by octet, in the byte order of the machine.
//!
//! | file | layout | client | base of its time |
//! |---|---|---|---|
//! | `shm0` | version 2, 80 octets | 2.x | `CLOCK_REALTIME` when the client reads it |
//! | `shm1` | version 3, 104 octets | 3.x | the counter of the processor |
//!
//! A client adds to the bound what may have accumulated since `as_of`: the elapsed time times
//! `max_drift`. After `void_after` it reports the status `Unknown`.

use ntp_time::{NtpDuration, SystemTime};

/// Words at the beginning of each segment, before its size.
const MAGIC: [u32; 2] = [0x414D_5A4E, 0x4342_0200];

/// Length of the header, which is not part of the bodies here.
const HEADER: usize = ntp_os_clock::segment::HEADER;

/// Header and version of `shm0`.
pub(super) const SHM0: ([u32; 3], u16) = ([MAGIC[0], MAGIC[1], 80], 2);
/// Header and version of `shm1`: the lowest and the highest version that it is compatible with.
pub(super) const SHM1: ([u32; 3], u16) = ([MAGIC[0], MAGIC[1], 104], 0x0303);

/// Clients take this much drift, or more, for a damaged segment.
const MAX_DRIFT_PPB: u32 = 999_999_999;

/// State of the clock, as clients get it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Status {
    /// Nothing is guaranteed.
    #[default]
    Unknown = 0,
    /// The clock follows its sources.
    Synchronized = 1,
    /// The clock is in holdover.
    FreeRunning = 2,
    /// The virtual machine was migrated; the clock has not been measured since.
    Disrupted = 3,
}

/// What both segments state.
#[derive(Clone, Copy, Debug)]
pub(super) struct Statement {
    /// Largest error at `as_of`.
    pub(super) bound: NtpDuration,
    /// How fast the error may grow, in parts per billion.
    pub(super) max_drift_ppb: u32,
    pub(super) status: Status,
    /// Marker of the hypervisor's page; `None` if it is not watched.
    pub(super) marker: Option<u64>,
}

/// The rate of the counter.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Period {
    /// Seconds per count; below 1.
    pub(super) seconds: f64,
    /// Largest relative error; below 1.
    pub(super) error: f64,
}

/// Body of `shm0`. `as_of` and `void_after` are nanoseconds of `CLOCK_MONOTONIC_COARSE`.
pub(super) fn shm0(as_of: i64, void_after: i64, statement: &Statement) -> Vec<u8> {
    let mut body = Vec::with_capacity(SHM0.0[2] as usize - HEADER);
    put_time(&mut body, as_of);
    put_time(&mut body, void_after);
    body.extend(statement.bound_nanos().to_ne_bytes());
    body.extend(statement.marker.unwrap_or(0).to_ne_bytes());
    body.extend(statement.drift().to_ne_bytes());
    body.extend((statement.status as i32).to_ne_bytes());
    body.push(statement.marker.is_some().into());
    body.extend([0; 7]);
    body
}

/// Body of `shm1`. `as_of` is UTC when the counter was `count`, `void_after` is UTC.
pub(super) fn shm1(
    count: u64,
    as_of: SystemTime,
    void_after: SystemTime,
    period: Period,
    statement: &Statement,
) -> Vec<u8> {
    let (fraction, shift) = fraction(period.seconds);
    let (error_fraction, error_shift) = self::fraction(period.error);
    let mut body = Vec::with_capacity(SHM1.0[2] as usize - HEADER);
    body.extend(count.to_ne_bytes());
    put_time(&mut body, as_of.as_nanos());
    put_time(&mut body, void_after.as_nanos());
    body.extend(fraction.to_ne_bytes());
    body.extend(error_fraction.to_ne_bytes());
    body.extend(statement.bound_nanos().to_ne_bytes());
    body.extend(statement.marker.unwrap_or(0).to_ne_bytes());
    body.extend(statement.drift().to_ne_bytes());
    body.extend((statement.status as i32).to_ne_bytes());
    body.push(statement.marker.is_some().into());
    body.extend([shift, error_shift]);
    body.extend([0; 5]);
    body
}

impl Statement {
    /// The bound in nanoseconds, rounded up.
    fn bound_nanos(&self) -> i64 {
        self.bound.as_nanos().saturating_add(1)
    }

    fn drift(&self) -> u32 {
        self.max_drift_ppb.min(MAX_DRIFT_PPB)
    }
}

/// Seconds and nanoseconds, as `struct timespec` of 64-bit systems.
fn put_time(body: &mut Vec<u8>, nanos: i64) {
    body.extend(nanos.div_euclid(1_000_000_000).to_ne_bytes());
    body.extend(nanos.rem_euclid(1_000_000_000).to_ne_bytes());
}

/// Returns a value below 1 as a fraction, and the shift: the value is fraction / 2^(64 + shift). The
/// shift is the largest with which the fraction fits, so that no digits are lost.
fn fraction(value: f64) -> (u64, u8) {
    let whole = (1.0 / value).floor();
    // Neither zero, nor so small that its inverse has more than 64 bits.
    if !(1.0..u64::MAX as f64).contains(&whole) {
        return (0, 0);
    }
    let shift = 63 - (whole as u64).leading_zeros() as u8;
    ((value * 2f64.powi(64 + i32::from(shift))) as u64, shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATEMENT: Statement = Statement {
        bound: NtpDuration::from_nanos(123_455),
        max_drift_ppb: 50_000,
        status: Status::FreeRunning,
        marker: Some(0x1122_3344_5566_7788),
    };

    /// Octets as hexadecimal digits, a word of eight octets a line; of a little-endian machine.
    fn hex(body: &[u8]) -> Vec<String> {
        let word = |octets: &[u8]| octets.iter().map(|octet| format!("{octet:02x}")).collect();
        body.chunks(8).map(word).collect()
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn the_segment_of_version_2() {
        let body = shm0(5_000_000_007, 1_005_000_000_007, &STATEMENT);
        let expected = [
            "0500000000000000", // as_of: 5 s
            "0700000000000000", // 7 ns
            "ed03000000000000", // void_after: 1005 s
            "0700000000000000",
            "40e2010000000000", // bound: 123456 ns
            "8877665544332211", // disruption_marker
            "50c3000002000000", // max_drift_ppb, clock_status
            "0100000000000000", // clock_disruption_support_enabled
        ];
        assert_eq!(hex(&body), expected);
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn the_segment_of_version_3() {
        let at = SystemTime::from_nanos(1_700_000_000_000_000_001);
        let later = at + NtpDuration::from_seconds(1000);
        let period = Period {
            seconds: 0.5e-9,
            error: 1e-6,
        };
        let statement = Statement {
            marker: None,
            ..STATEMENT
        };
        let body = shm1(0x0102_0304, at, later, period, &statement);
        let expected = [
            "0403020100000000", // as_of_tsc
            "00f1536500000000", // as_of: 1 700 000 000 s
            "0100000000000000", // 1 ns
            "e8f4536500000000", // void_after
            "0100000000000000",
            "00a8b436415f7089", // period_frac: 0.5e-9 * 2^(64 + 30)
            "00686caf05bd3786", // period_err_frac: 1e-6 * 2^(64 + 19)
            "40e2010000000000", // bound
            "0000000000000000", // disruption_marker
            "50c3000002000000", // max_drift_ppb, clock_status
            "001e130000000000", // not enabled, period_shift 30, period_err_shift 19
        ];
        assert_eq!(hex(&body), expected);
    }

    #[test]
    fn fractions_keep_all_digits_of_a_period() {
        for value in [0.999, 0.5, 1e-3, 1e-6, 3.4e-10, 1e-12] {
            let (fraction, shift) = fraction(value);
            let decoded = fraction as f64 / 2f64.powi(64 + i32::from(shift));
            assert!((decoded / value - 1.0).abs() < 1e-15, "{value}");
        }
        for value in [0.0, -1.0, 1e-30, f64::NAN] {
            assert_eq!(fraction(value), (0, 0), "{value}");
        }
    }

    #[test]
    fn drift_that_clients_take_for_damage_is_limited() {
        let statement = Statement {
            max_drift_ppb: u32::MAX,
            ..STATEMENT
        };
        assert_eq!(statement.drift(), 999_999_999);
    }
}
