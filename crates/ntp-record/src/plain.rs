//! Serialised forms of other crates' types, which do not depend on serde.
//!
//! Times are nanoseconds, durations 2^-32 s and frequencies the bits of an IEEE 754 double, so that
//! every value is read back exactly. `#[serde(with = "plain")]` selects the form of a type that
//! implements [`Plain`]; structs and enums derive theirs from a copy of their definition
//! ([`remote`]).

use ntp_proto::engine::{ExchangeId, QueryId, RngTrace, SourceId};
use ntp_proto::leap::LeapTable;
use ntp_proto::nts::AeadAlgorithm;
use ntp_time::{Frequency, Monotonic, NtpDuration, PollInterval, ReferenceId, Stratum, SystemTime};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize as _, Deserializer, Serialize, Serializer};

/// A type with a serialised form.
pub(crate) trait Plain: Sized {
    type Form: Serialize + DeserializeOwned;

    fn to_form(&self) -> Self::Form;

    /// Returns `None` if the form is not valid.
    fn from_form(form: Self::Form) -> Option<Self>;
}

pub(crate) fn serialize<T: Plain, S: Serializer>(
    value: &T,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    value.to_form().serialize(serializer)
}

pub(crate) fn deserialize<'de, T: Plain, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    let form = T::Form::deserialize(deserializer)?;
    T::from_form(form).ok_or_else(|| D::Error::custom("invalid value"))
}

/// Implements [`Plain`] by a pair of conversions.
macro_rules! plain {
    ($($type:ty => $form:ty, $to:expr, $from:expr;)*) => {$(
        impl Plain for $type {
            type Form = $form;

            fn to_form(&self) -> Self::Form {
                let to: fn(&Self) -> Self::Form = $to;
                to(self)
            }

            fn from_form(form: Self::Form) -> Option<Self> {
                let from: fn(Self::Form) -> Option<Self> = $from;
                from(form)
            }
        }
    )*};
}

plain! {
    Monotonic => i64, |it| it.as_nanos(), |nanos| Some(Self::from_nanos(nanos));
    SystemTime => i64, |it| it.as_nanos(), |nanos| Some(Self::from_nanos(nanos));
    NtpDuration => i64, |it| it.to_bits(), |bits| Some(Self::from_bits(bits));
    Frequency => u64, |it| it.as_ratio().to_bits(), |bits| {
        let ratio = f64::from_bits(bits);
        ratio.is_finite().then(|| Self::from_ratio(ratio))
    };
    PollInterval => i8, |it| it.as_log2(), |log2| Some(Self::from_log2(log2));
    Stratum => u8, |it| it.get(), |stratum| Some(Self::new(stratum));
    ReferenceId => [u8; 4], |it| it.octets(), |octets| Some(Self::new(octets));
    SourceId => u32, |it| it.0, |number| Some(Self(number));
    QueryId => usize, |it| it.0, |number| Some(Self(number));
    ExchangeId => (u32, u32), |it| (it.source.0, it.sequence), |(source, sequence)| {
        Some(Self { source: SourceId(source), sequence })
    };
    AeadAlgorithm => u16, |it| it.id(), Self::from_id;
    LeapTable => String, Self::to_text, |text| Self::parse(&text).ok();
    RngTrace => (Vec<u32>, Vec<u64>), |it| (it.words.clone(), it.longs.clone()), |(words, longs)| {
        Some(Self { words, longs })
    };
}

impl<T: Plain> Plain for Option<T> {
    type Form = Option<T::Form>;

    fn to_form(&self) -> Self::Form {
        self.as_ref().map(T::to_form)
    }

    fn from_form(form: Self::Form) -> Option<Self> {
        form.map_or(Some(None), |form| T::from_form(form).map(Some))
    }
}

impl<T: Plain> Plain for Vec<T> {
    type Form = Vec<T::Form>;

    fn to_form(&self) -> Self::Form {
        self.iter().map(T::to_form).collect()
    }

    fn from_form(form: Self::Form) -> Option<Self> {
        form.into_iter().map(T::from_form).collect()
    }
}

impl<T: Plain> Plain for Box<T> {
    type Form = T::Form;

    fn to_form(&self) -> Self::Form {
        (**self).to_form()
    }

    fn from_form(form: Self::Form) -> Option<Self> {
        T::from_form(form).map(Self::new)
    }
}

/// Implements [`Plain`] for a type by a copy of its definition, of which serde checks the members.
macro_rules! remote {
    ($type:ty, $copy:literal) => {
        const _: () = {
            #[derive(serde::Serialize, serde::Deserialize)]
            pub(crate) struct Form(#[serde(with = $copy)] $type);

            impl $crate::plain::Plain for $type {
                type Form = Form;

                fn to_form(&self) -> Form {
                    Form(self.clone())
                }

                fn from_form(form: Form) -> Option<Self> {
                    Some(form.0)
                }
            }
        };
    };
}

pub(crate) use remote;
