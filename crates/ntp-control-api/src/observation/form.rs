//! The forms that time types have on the socket.
//!
//! | meaning | JSON |
//! |---|---|
//! | duration | seconds as a float: the 32.32 fixed-point number divided by 2^32 - 1, not 2^32 |
//! | timestamp | `{"timestamp": n}`, n the 64-bit NTP timestamp as an integer |
//! | reference ID | its four octets as a big-endian integer |
//! | poll interval | its binary logarithm in seconds |
//! | float | itself, if it is a number |
//!
//! The divisor is upstream's slip, and harmless at a relative 2.3e-10, but it is in the bytes
//! that others read, and a duration goes there and back exactly only if both sides make it.
//! The largest duration, which stands for "not measured yet", becomes 2147483648.5.
//!
//! JSON has no infinities: serde_json would write `null`, at which other readers fail. A float
//! that is none is written as the nearest one that is, not-a-number as zero.
//!
//! Used as `#[serde(with = "form")]` and `#[serde(with = "form::optional")]`; the type of the
//! field decides the form.

use ntp_time::{NtpDuration, NtpTimestamp, PollInterval, ReferenceId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The number of seconds that stands for `duration` on the socket, and in whatever is printed from it.
pub fn seconds(duration: NtpDuration) -> f64 {
    duration.to_bits() as f64 / UNITS_PER_SECOND
}

/// What the socket takes for the number of 2^-32 s in a second.
const UNITS_PER_SECOND: f64 = u32::MAX as f64;

/// A type whose JSON is that of another.
pub(super) trait Form: Copy {
    /// The other.
    type Wire: Serialize + DeserializeOwned;

    fn to_wire(self) -> Self::Wire;
    fn from_wire(wire: Self::Wire) -> Self;
}

pub(super) fn serialize<T: Form, S: Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
    value.to_wire().serialize(to)
}

pub(super) fn deserialize<'a, T: Form, D: Deserializer<'a>>(from: D) -> Result<T, D::Error> {
    T::Wire::deserialize(from).map(T::from_wire)
}

/// The same for a value that may be absent or null.
pub(super) mod optional {
    use super::{Deserialize, Deserializer, Form, Serialize, Serializer};

    pub(in crate::observation) fn serialize<T: Form, S: Serializer>(
        value: &Option<T>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        value.map(T::to_wire).serialize(to)
    }

    pub(in crate::observation) fn deserialize<'a, T: Form, D: Deserializer<'a>>(
        from: D,
    ) -> Result<Option<T>, D::Error> {
        let wire = Option::<T::Wire>::deserialize(from)?;
        Ok(wire.map(T::from_wire))
    }
}

impl Form for NtpDuration {
    type Wire = f64;

    fn to_wire(self) -> f64 {
        seconds(self)
    }

    fn from_wire(seconds: f64) -> Self {
        // A float-to-integer `as` cast saturates.
        Self::from_bits((seconds * UNITS_PER_SECOND).round() as i64)
    }
}

/// The object that a timestamp is wrapped in.
#[derive(Serialize, Deserialize)]
pub(super) struct Timestamp {
    timestamp: u64,
}

impl Form for NtpTimestamp {
    type Wire = Timestamp;

    fn to_wire(self) -> Timestamp {
        Timestamp {
            timestamp: self.to_bits(),
        }
    }

    fn from_wire(wire: Timestamp) -> Self {
        Self::from_bits(wire.timestamp)
    }
}

impl Form for ReferenceId {
    type Wire = u32;

    fn to_wire(self) -> u32 {
        u32::from_be_bytes(self.octets())
    }

    fn from_wire(wire: u32) -> Self {
        Self::new(wire.to_be_bytes())
    }
}

impl Form for PollInterval {
    type Wire = i8;

    fn to_wire(self) -> i8 {
        self.as_log2()
    }

    fn from_wire(exponent: i8) -> Self {
        Self::from_log2(exponent)
    }
}

impl Form for f64 {
    type Wire = Self;

    fn to_wire(self) -> Self {
        if self.is_nan() {
            0.0
        } else {
            self.clamp(Self::MIN, Self::MAX)
        }
    }

    fn from_wire(number: Self) -> Self {
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there_and_back(bits: i64) -> i64 {
        let text = serde_json::to_string(&seconds(NtpDuration::from_bits(bits))).unwrap();
        NtpDuration::from_wire(serde_json::from_str(&text).unwrap()).to_bits()
    }

    #[test]
    fn durations_below_3_days_survive_to_the_last_bit() {
        for bits in [0, 1, -1, 4_294_967, -(1 << 32), (1 << 50) - 1] {
            assert_eq!(there_and_back(bits), bits);
        }
        assert_eq!(there_and_back(i64::MAX), i64::MAX);
        assert_eq!(there_and_back(i64::MIN), i64::MIN);
    }

    #[test]
    fn durations_have_upstreams_floats() {
        let json = |duration| serde_json::to_string(&seconds(duration)).unwrap();
        assert_eq!(json(NtpDuration::from_seconds(16)), "16.00000000372529");
        assert_eq!(json(NtpDuration::MAX), "2147483648.5");
        assert_eq!(json(NtpDuration::ZERO), "0.0");
    }

    #[test]
    fn what_is_not_a_number_is_not_written() {
        assert_eq!(f64::INFINITY.to_wire(), f64::MAX);
        assert_eq!(f64::NEG_INFINITY.to_wire(), f64::MIN);
        assert_eq!(f64::NAN.to_wire(), 0.0);
    }
}
