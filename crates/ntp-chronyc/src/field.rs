//! The types of fields, in network byte order.

use std::net::IpAddr;

use ntp_time::{NtpDuration, ReferenceId, SystemTime};

/// Identifies a source: its address, or the number of a source whose address is not known yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    None,
    Ip(IpAddr),
    Number(u32),
}

/// Families of addresses.
const IPV4: u16 = 1;
const IPV6: u16 = 2;
const NUMBER: u16 = 3;

/// Reads fields one after another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) fn new(octets: &'a [u8]) -> Self {
        Self(octets)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*field)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    /// Reads an address. The outer `None` is a request that is too short.
    pub(crate) fn address(&mut self) -> Option<Address> {
        let octets: [u8; 16] = self.array()?;
        let (family, _padding) = (self.u16()?, self.u16()?);
        let [a, b, c, d, ..] = octets;
        Some(match family {
            IPV4 => Address::Ip([a, b, c, d].into()),
            IPV6 => Address::Ip(octets.into()),
            NUMBER => Address::Number(u32::from_be_bytes([a, b, c, d])),
            _ => Address::None,
        })
    }
}

/// Writes fields one after another.
#[derive(Debug, Default)]
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    pub(crate) fn into_octets(self) -> Vec<u8> {
        self.0
    }

    pub(crate) fn octets(&mut self, octets: &[u8]) -> &mut Self {
        self.0.extend_from_slice(octets);
        self
    }

    pub(crate) fn zeros(&mut self, count: usize) -> &mut Self {
        self.0.resize(self.0.len() + count, 0);
        self
    }

    pub(crate) fn u8(&mut self, value: u8) -> &mut Self {
        self.octets(&[value])
    }

    pub(crate) fn i8(&mut self, value: i8) -> &mut Self {
        self.octets(&value.to_be_bytes())
    }

    pub(crate) fn u16(&mut self, value: u16) -> &mut Self {
        self.octets(&value.to_be_bytes())
    }

    pub(crate) fn i16(&mut self, value: i16) -> &mut Self {
        self.octets(&value.to_be_bytes())
    }

    pub(crate) fn u32(&mut self, value: u32) -> &mut Self {
        self.octets(&value.to_be_bytes())
    }

    pub(crate) fn u64(&mut self, value: u64) -> &mut Self {
        self.octets(&value.to_be_bytes())
    }

    /// Writes the low 32 bits of a counter: counters of this width wrap.
    pub(crate) fn counter(&mut self, value: u64) -> &mut Self {
        self.u32(value as u32)
    }

    /// Writes a number that cannot wrap: the largest one stands for all that are larger.
    pub(crate) fn count(&mut self, value: u64) -> &mut Self {
        self.u32(u32::try_from(value).unwrap_or(u32::MAX))
    }

    pub(crate) fn float(&mut self, value: f64) -> &mut Self {
        self.u32(encode_float(value))
    }

    pub(crate) fn seconds(&mut self, value: NtpDuration) -> &mut Self {
        self.float(value.as_seconds_f64())
    }

    pub(crate) fn reference_id(&mut self, id: ReferenceId) -> &mut Self {
        self.octets(&id.octets())
    }

    pub(crate) fn address(&mut self, address: Address) -> &mut Self {
        let mut octets = [0; 16];
        let family = match address {
            Address::None => 0,
            Address::Ip(IpAddr::V4(ip)) => {
                octets[..4].copy_from_slice(&ip.octets());
                IPV4
            }
            Address::Ip(IpAddr::V6(ip)) => {
                octets = ip.octets();
                IPV6
            }
            Address::Number(number) => {
                octets[..4].copy_from_slice(&number.to_be_bytes());
                NUMBER
            }
        };
        self.octets(&octets).u16(family).u16(0)
    }

    /// Writes a time: seconds since 1970, and nanoseconds. Zero is no time.
    pub(crate) fn time(&mut self, time: Option<SystemTime>) -> &mut Self {
        let nanos = time.map_or(0, SystemTime::as_nanos);
        let second = 1_000_000_000;
        let seconds = nanos.div_euclid(second).cast_unsigned();
        self.u64(seconds).u32(nanos.rem_euclid(second) as u32)
    }

    /// Writes how long ago something was in whole seconds; the largest number if never.
    pub(crate) fn ago(&mut self, age: Option<NtpDuration>) -> &mut Self {
        self.u32(age.map_or(u32::MAX, whole_seconds))
    }
}

/// Returns the whole seconds of an age, zero if it is negative because the clock was set.
pub(crate) fn whole_seconds(age: NtpDuration) -> u32 {
    let seconds = age.as_nanos().max(0) / 1_000_000_000;
    u32::try_from(seconds).unwrap_or(u32::MAX)
}

/// Width of the coefficient, with its sign.
const COEFFICIENT_BITS: i32 = 25;
/// Largest coefficient; a negative one may be larger by one.
const MAX_COEFFICIENT: u32 = (1 << (COEFFICIENT_BITS - 1)) - 1;
const MIN_EXPONENT: i32 = -64;
const MAX_EXPONENT: i32 = 63;
/// Numbers nearer to zero are zero: what a shift of the coefficient by all of its bits leaves.
const SMALLEST: f64 = 1e-100;

/// Exponent of a positive number: it is at least a half and less than one, times two to the power of
/// this.
fn scale(size: f64) -> i32 {
    ((size.to_bits() >> 52) & 0x7FF) as i32 - 1022
}

/// Binary logarithm of a positive number, rounded. That of `f64` would link the C library's
/// mathematics, 0.3 MB of the daemon's memory.
pub(crate) fn rounded_log2(size: f64) -> i8 {
    let floor = scale(size) - 1;
    let rounds_up = size * 2f64.powi(-floor) >= core::f64::consts::SQRT_2;
    (floor + i32::from(rounds_up)) as i8
}

/// Encodes a number: seven bits of exponent and a coefficient of 25 bits, both in two's complement;
/// the value is `coefficient * 2^(exponent - 25)`. What is not a number is zero.
fn encode_float(value: f64) -> u32 {
    let size = value.abs().min(f64::MAX);
    if value.is_nan() || size < SMALLEST {
        return 0;
    }
    let limit = MAX_COEFFICIENT + u32::from(value < 0.0);
    let mut exponent = scale(size).max(MIN_EXPONENT);
    let mut coefficient = limit;
    while exponent <= MAX_EXPONENT {
        coefficient = (size * 2f64.powi(COEFFICIENT_BITS - exponent)).round() as u32;
        if coefficient <= limit {
            break;
        }
        exponent += 1;
    }
    let signed = if value < 0.0 {
        coefficient.min(limit).wrapping_neg()
    } else {
        coefficient.min(limit)
    };
    let exponent = exponent.min(MAX_EXPONENT).cast_unsigned();
    exponent << COEFFICIENT_BITS | signed & (2 * MAX_COEFFICIENT + 1)
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Decodes a number as chronyc does.
    pub(crate) fn decode_float(word: u32) -> f64 {
        let exponent = word.cast_signed() >> COEFFICIENT_BITS;
        let coefficient = (word << 7).cast_signed() >> 7;
        f64::from(coefficient) * 2f64.powi(exponent - COEFFICIENT_BITS)
    }

    /// The words are those that chronyd 4.3 sends for these numbers, and the ends of the range.
    #[test]
    fn logarithms_are_rounded() {
        for (size, log2) in [
            (1.0, 0),
            (1.41, 0),
            (1.42, 1),
            (64.0, 6),
            (0.3, -2),
            (1e-9, -30),
        ] {
            assert_eq!(rounded_log2(size), log2, "{size}");
        }
    }

    #[test]
    fn floats_have_the_words_of_chronyd() {
        for (value, word) in [
            (0.0, 0),
            (1.0, 0x0480_0000),
            (4.0, 0x0880_0000),
            (2000.0, 0x18FA_0000),
            (-1.0, 0x0300_0000),
            (0.5, 0x0280_0000),
            (f64::NAN, 0),
            (1e-101, 0),
            (f64::INFINITY, 0x7EFF_FFFF),
            (f64::NEG_INFINITY, 0x7F00_0000),
            (1e300, 0x7EFF_FFFF),
        ] {
            let encoded = encode_float(value);
            assert_eq!(encoded, word, "{value}: {encoded:#x}");
        }
    }

    proptest! {
        #[test]
        fn floats_keep_seven_digits(digits in -1.0..1.0f64, power in -14..18i32) {
            let value = digits * 10f64.powi(power);
            let error = (decode_float(encode_float(value)) - value).abs();
            // Below 2^-64 the precision is that of the smallest exponent.
            prop_assert!(error <= value.abs() * 1.2e-7 + 2f64.powi(-89), "{value} {error}");
        }
    }

    #[test]
    fn times_are_seconds_and_nanoseconds() {
        let mut writer = Writer::default();
        writer.time(Some(SystemTime::from_nanos(4_294_967_298_000_000_007)));
        writer.time(None);
        assert_eq!(
            writer.into_octets(),
            [
                0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0
            ]
        );
        assert_eq!(whole_seconds(NtpDuration::from_millis(-5)), 0);
        assert_eq!(whole_seconds(NtpDuration::from_millis(2999)), 2);
    }

    #[test]
    fn addresses_are_read_as_they_are_written() {
        for address in [
            Address::None,
            Address::Ip([192, 0, 2, 1].into()),
            Address::Ip("2001:db8::1".parse().unwrap()),
            Address::Number(0x0102_0304),
        ] {
            let mut writer = Writer::default();
            writer.address(address);
            let octets = writer.into_octets();
            assert_eq!(octets.len(), 20);
            assert_eq!(Fields::new(&octets).address(), Some(address));
        }
    }
}
