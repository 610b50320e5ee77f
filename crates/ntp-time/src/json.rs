//! JSON forms of the time types, the same in every interface that has no form of its own to keep.
//!
//! | type | JSON |
//! |---|---|
//! | [`NtpDuration`] | seconds; exact up to 24 days, beyond that the nearest `f64` |
//! | [`Frequency`] | parts per million |
//! | [`SystemTime`] | seconds since 1970, to about 0.2 us |
//! | [`PollInterval`] | seconds |
//! | [`Stratum`] | number |
//! | [`ReferenceId`] | four characters at most, or an IPv4 address |
//! | [`LeapIndicator`] | `none`, `insert`, `delete`, `unsynchronized` |
//! | [`StampSource`] | `daemon`, `kernel`, `hardware` |
//!
//! Records need each bit: [`exact`] is another form of the first three and of
//! [`Monotonic`](crate::Monotonic).

use core::fmt;
use std::net::Ipv4Addr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{
    Frequency, LeapIndicator, NtpDuration, PollInterval, ReferenceId, StampSource, Stratum,
    SystemTime,
};

/// Serialises a type as a number, by a function to it and one from it.
macro_rules! as_number {
    ($($type:ty: $number:ty, $to:expr, $from:expr;)*) => {
        $(impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let to: fn($type) -> $number = $to;
                to(*self).serialize(serializer)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                <$number>::deserialize(deserializer).map($from)
            }
        })*
    };
}

as_number! {
    NtpDuration: f64, NtpDuration::as_seconds_f64, NtpDuration::from_seconds_f64;
    // Adding zero turns -0.0 into 0.0.
    Frequency: f64, |frequency| frequency.as_ppm() + 0.0, Frequency::from_ppm;
    // The conversion to an integer saturates.
    SystemTime: f64, |time| time.as_nanos() as f64 / 1e9,
        |seconds| SystemTime::from_nanos((seconds * 1e9) as i64);
    PollInterval: f64, |poll| poll.to_duration().as_seconds_f64(), poll_interval;
    Stratum: u8, Stratum::get, Stratum::new;
}

/// The shortest interval of at least `seconds`.
fn poll_interval(seconds: f64) -> PollInterval {
    let log2 = (0..=30).find(|log2| f64::from(1u32 << log2) >= seconds);
    PollInterval::from_log2(log2.unwrap_or(30))
}

impl Serialize for ReferenceId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ReferenceId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if let Ok(address) = text.parse::<Ipv4Addr>() {
            return Ok(Self::new(address.octets()));
        }
        let mut octets = [0; 4];
        let code = text.as_bytes();
        let place = octets.get_mut(..code.len());
        let place = place.ok_or_else(|| D::Error::custom("longer than four characters"))?;
        place.copy_from_slice(code);
        Ok(Self::new(octets))
    }
}

/// Not synchronised: the value that claims nothing.
impl Default for LeapIndicator {
    fn default() -> Self {
        Self::Unsynchronized
    }
}

/// Not synchronised: the value that claims nothing.
impl Default for Stratum {
    fn default() -> Self {
        Self::UNSYNCHRONIZED
    }
}

/// The daemon: the value that claims least.
impl Default for StampSource {
    fn default() -> Self {
        Self::Daemon
    }
}

/// The shortest usual interval, 16 s.
impl Default for PollInterval {
    fn default() -> Self {
        Self::from_log2(4)
    }
}

impl fmt::Display for LeapIndicator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for StampSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl LeapIndicator {
    /// Returns the name that every interface uses.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Insert => "insert",
            Self::Delete => "delete",
            Self::Unsynchronized => "unsynchronized",
        }
    }
}

impl StampSource {
    /// Returns the name that every interface uses.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Daemon => "daemon",
            Self::Kernel => "kernel",
            Self::Hardware => "hardware",
        }
    }
}

/// Integers from which each bit is read back, for `#[serde(with = "ntp_time::exact")]`.
pub mod exact {
    use serde::de::{DeserializeOwned, Error as _};
    use serde::{Deserialize as _, Deserializer, Serialize, Serializer};

    use crate::{Frequency, Monotonic, NtpDuration, SystemTime};

    /// A type with an exact form.
    pub trait Exact: Copy {
        /// The form.
        type Form: Serialize + DeserializeOwned;

        /// Converts to the form.
        fn to_form(self) -> Self::Form;

        /// Converts from the form. Returns `None` if it is not valid.
        fn from_form(form: Self::Form) -> Option<Self>;
    }

    macro_rules! exact {
        ($($type:ty => $form:ty, $to:expr, $from:expr;)*) => {
            $(impl Exact for $type {
                type Form = $form;

                fn to_form(self) -> $form {
                    $to(self)
                }

                fn from_form(form: $form) -> Option<Self> {
                    $from(form)
                }
            })*
        };
    }

    exact! {
        Monotonic => i64, Self::as_nanos, |nanos| Some(Self::from_nanos(nanos));
        SystemTime => i64, Self::as_nanos, |nanos| Some(Self::from_nanos(nanos));
        // 2^-32 s.
        NtpDuration => i64, Self::to_bits, |bits| Some(Self::from_bits(bits));
        // The bits of an IEEE 754 double.
        Frequency => u64, |it: Self| it.as_ratio().to_bits(), |bits| {
            let ratio = f64::from_bits(bits);
            ratio.is_finite().then(|| Self::from_ratio(ratio))
        };
    }

    impl<T: Exact> Exact for Option<T> {
        type Form = Option<T::Form>;

        fn to_form(self) -> Self::Form {
            self.map(T::to_form)
        }

        fn from_form(form: Self::Form) -> Option<Self> {
            form.map_or(Some(None), |form| T::from_form(form).map(Some))
        }
    }

    /// Serialises the exact form.
    ///
    /// # Errors
    /// Those of the serialiser.
    pub fn serialize<T: Exact, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
        value.to_form().serialize(serializer)
    }

    /// Deserialises the exact form.
    ///
    /// # Errors
    /// Those of the deserialiser, or if the form is not valid.
    pub fn deserialize<'de, T: Exact, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<T, D::Error> {
        let form = T::Form::deserialize(deserializer)?;
        T::from_form(form).ok_or_else(|| D::Error::custom("invalid value"))
    }
}

#[cfg(test)]
mod tests {
    use serde::de::IntoDeserializer;
    use serde::de::value::{Error, F64Deserializer, StrDeserializer};

    use super::*;

    #[test]
    fn reference_ids_survive_their_text() {
        for octets in [*b"GPS\0", *b"XNON", [192, 0, 2, 1], [0; 4]] {
            let id = ReferenceId::new(octets);
            let text = id.to_string();
            let read: StrDeserializer<'_, Error> = text.as_str().into_deserializer();
            assert_eq!(ReferenceId::deserialize(read).unwrap(), id, "{text}");
        }
    }

    #[test]
    fn poll_intervals_are_read_from_their_seconds() {
        for log2 in 0..=30 {
            let poll = PollInterval::from_log2(log2);
            let seconds: F64Deserializer<Error> =
                poll.to_duration().as_seconds_f64().into_deserializer();
            assert_eq!(PollInterval::deserialize(seconds).unwrap(), poll);
        }
    }
}
