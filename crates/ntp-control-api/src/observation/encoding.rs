//! JSON encodings of the time types on the observation socket.
//!
//! | type | JSON |
//! |---|---|
//! | duration | seconds as a float: the 32.32 fixed-point number divided by 2^32 - 1, not 2^32 |
//! | timestamp | `{"timestamp": n}`, n the 64-bit NTP timestamp as an integer |
//! | reference ID | its four octets as a big-endian integer |
//! | poll interval | its binary logarithm in seconds |
//! | float | the number, if finite |
//!
//! The divisor is an error of upstream, harmless at a relative 2.3e-10. It is kept because other
//! readers multiply by it: a duration survives the round trip exactly only if both sides use it.
//! The largest duration, which means "not measured yet", becomes 2147483648.5.
//!
//! JSON has no infinities: serde_json would write `null`, which other readers reject. An infinite
//! float is written as the nearest finite one, not-a-number as zero.
//!
//! Used as `#[serde(with = "encoding")]` and `#[serde(with = "encoding::optional")]`; the type of
//! the field determines the encoding.

use std::collections::BTreeMap;

use ntp_time::{NtpDuration, NtpTimestamp, PollInterval, ReferenceId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::state::Leap;
use crate::explain::MissingSource;
use crate::figure::Number;

/// Returns `duration` in seconds as encoded on the socket, for all output made from it.
pub fn seconds(duration: NtpDuration) -> f64 {
    duration.to_bits() as f64 / UNITS_PER_SECOND
}

/// Seconds, with the same digits as on the observation socket.
impl From<NtpDuration> for Number {
    fn from(duration: NtpDuration) -> Self {
        Self::Real(seconds(duration))
    }
}

/// Divisor from units of 2^-32 s to seconds, as upstream has it.
const UNITS_PER_SECOND: f64 = u32::MAX as f64;

/// A type that is encoded in JSON as another type.
pub(super) trait Encoding: Clone {
    /// Type in JSON.
    type Wire: Serialize + DeserializeOwned;

    fn to_wire(self) -> Self::Wire;
    fn from_wire(wire: Self::Wire) -> Self;
}

pub(super) fn serialize<T: Encoding, S: Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
    value.clone().to_wire().serialize(to)
}

pub(super) fn deserialize<'a, T: Encoding, D: Deserializer<'a>>(from: D) -> Result<T, D::Error> {
    T::Wire::deserialize(from).map(T::from_wire)
}

/// Encoding of a value that may be absent or null.
pub(super) mod optional {
    use super::{Deserialize, Deserializer, Encoding, Serialize, Serializer};

    pub(in crate::observation) fn serialize<T: Encoding, S: Serializer>(
        value: &Option<T>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        value.clone().map(T::to_wire).serialize(to)
    }

    pub(in crate::observation) fn deserialize<'a, T: Encoding, D: Deserializer<'a>>(
        from: D,
    ) -> Result<Option<T>, D::Error> {
        let wire = Option::<T::Wire>::deserialize(from)?;
        Ok(wire.map(T::from_wire))
    }
}

impl Encoding for NtpDuration {
    type Wire = f64;

    fn to_wire(self) -> f64 {
        seconds(self)
    }

    fn from_wire(seconds: f64) -> Self {
        // A float-to-integer `as` cast saturates.
        Self::from_bits((seconds * UNITS_PER_SECOND).round() as i64)
    }
}

/// JSON object that contains a timestamp.
#[derive(Serialize, Deserialize)]
pub(super) struct Timestamp {
    timestamp: u64,
}

impl Encoding for NtpTimestamp {
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

impl Encoding for ReferenceId {
    type Wire = u32;

    fn to_wire(self) -> u32 {
        u32::from_be_bytes(self.octets())
    }

    fn from_wire(wire: u32) -> Self {
        Self::new(wire.to_be_bytes())
    }
}

impl Encoding for PollInterval {
    type Wire = i8;

    fn to_wire(self) -> i8 {
        self.as_log2()
    }

    fn from_wire(exponent: i8) -> Self {
        Self::from_log2(exponent)
    }
}

macro_rules! same_in_json {
    ($($type:ty)*) => {
        $(impl Encoding for $type {
            type Wire = Self;

            fn to_wire(self) -> Self {
                self
            }

            fn from_wire(wire: Self) -> Self {
                wire
            }
        })*
    };
}

same_in_json! {
    bool u8 u64 i64 String Leap Vec<String> Vec<MissingSource> BTreeMap<String, u64>
}

impl Encoding for f64 {
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

    fn round_trip(bits: i64) -> i64 {
        let text = serde_json::to_string(&seconds(NtpDuration::from_bits(bits))).unwrap();
        NtpDuration::from_wire(serde_json::from_str(&text).unwrap()).to_bits()
    }

    #[test]
    fn durations_below_3_days_round_trip_exactly() {
        for bits in [0, 1, -1, 4_294_967, -(1 << 32), (1 << 50) - 1] {
            assert_eq!(round_trip(bits), bits);
        }
        assert_eq!(round_trip(i64::MAX), i64::MAX);
        assert_eq!(round_trip(i64::MIN), i64::MIN);
    }

    #[test]
    fn durations_are_encoded_as_upstream_does() {
        let json = |duration| serde_json::to_string(&seconds(duration)).unwrap();
        assert_eq!(json(NtpDuration::from_seconds(16)), "16.00000000372529");
        assert_eq!(json(NtpDuration::MAX), "2147483648.5");
        assert_eq!(json(NtpDuration::ZERO), "0.0");
    }

    #[test]
    fn floats_that_json_lacks_are_replaced() {
        assert_eq!(f64::INFINITY.to_wire(), f64::MAX);
        assert_eq!(f64::NEG_INFINITY.to_wire(), f64::MIN);
        assert_eq!(f64::NAN.to_wire(), 0.0);
    }
}
