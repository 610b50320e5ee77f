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
use core::str::FromStr;
use std::net::Ipv4Addr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{
    Frequency, LeapIndicator, NtpDuration, PollInterval, ReferenceId, StampSource, Stratum,
    SystemTime,
};

impl Serialize for NtpDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.as_seconds_f64())
    }
}

impl<'de> Deserialize<'de> for NtpDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        f64::deserialize(deserializer).map(Self::from_seconds_f64)
    }
}

impl Serialize for Frequency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Adding zero turns -0.0 into 0.0.
        serializer.serialize_f64(self.as_ppm() + 0.0)
    }
}

impl<'de> Deserialize<'de> for Frequency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        f64::deserialize(deserializer).map(Self::from_ppm)
    }
}

impl Serialize for SystemTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.as_nanos() as f64 * 1e-9)
    }
}

impl<'de> Deserialize<'de> for SystemTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The conversion saturates.
        f64::deserialize(deserializer).map(|seconds| Self::from_nanos((seconds * 1e9) as i64))
    }
}

impl Serialize for PollInterval {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.to_duration().as_seconds_f64())
    }
}

impl<'de> Deserialize<'de> for PollInterval {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let seconds = f64::deserialize(deserializer)?;
        let log2 = (0..=30).find(|log2| f64::from(1u32 << log2) >= seconds);
        Ok(Self::from_log2(log2.unwrap_or(30)))
    }
}

impl Serialize for Stratum {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(self.get())
    }
}

impl<'de> Deserialize<'de> for Stratum {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        u8::deserialize(deserializer).map(Self::new)
    }
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

/// Serialises a type by its display form and its parser.
macro_rules! by_name {
    ($($type:ty)*) => {
        $(impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let name = String::deserialize(deserializer)?;
                name.parse().map_err(|()| D::Error::custom(format_args!("unknown name {name:?}")))
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        })*
    };
}

by_name! { LeapIndicator StampSource }

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

impl FromStr for LeapIndicator {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        [Self::None, Self::Insert, Self::Delete, Self::Unsynchronized]
            .into_iter()
            .find(|leap| leap.as_str() == name)
            .ok_or(())
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

impl FromStr for StampSource {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        [Self::Daemon, Self::Kernel, Self::Hardware]
            .into_iter()
            .find(|source| source.as_str() == name)
            .ok_or(())
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
