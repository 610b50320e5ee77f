//! A figure: a value that is a metric, with its type, name and help text.

/// Type of a metric family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A value that can go up and down.
    Gauge,
    /// A count since the start of the daemon; it never decreases.
    Counter,
    /// Cumulative counts of observations in buckets.
    Histogram,
}

impl Kind {
    /// Returns the name of the type, the same in both formats.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gauge => "gauge",
            Self::Counter => "counter",
            Self::Histogram => "histogram",
        }
    }
}

/// Value of a sample. Counts keep all of their 64 bits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// A count.
    Whole(u64),
    /// A measured value.
    Real(f64),
}

impl From<u64> for Number {
    fn from(count: u64) -> Self {
        Self::Whole(count)
    }
}

macro_rules! number_from {
    ($($variant:ident: $($type:ty)*;)*) => {
        $($(impl From<$type> for Number {
            fn from(value: $type) -> Self {
                Self::$variant(value.into())
            }
        })*)*
    };
}

number_from! {
    Whole: u32 u8 bool;
    Real: f64;
}

/// A count that may be negative; exact up to 2^53.
impl From<i64> for Number {
    fn from(count: i64) -> Self {
        Self::Real(count as f64)
    }
}

/// A metric of an object of type `T`.
#[derive(Debug)]
pub struct Figure<T> {
    /// Full name, with the suffixes of its unit and type.
    pub name: &'static str,
    /// Type.
    pub kind: Kind,
    /// Help text: one line without a full stop.
    pub help: &'static str,
    /// Returns the value; `None` if it does not apply or is unknown.
    pub value: fn(&T) -> Option<Number>,
}

/// Declares a value that can go up and down.
pub(crate) const fn gauge<T>(
    name: &'static str,
    help: &'static str,
    value: fn(&T) -> Option<Number>,
) -> Figure<T> {
    Figure {
        name,
        kind: Kind::Gauge,
        help,
        value,
    }
}

/// Declares a count.
pub(crate) const fn counter<T>(
    name: &'static str,
    help: &'static str,
    value: fn(&T) -> Option<Number>,
) -> Figure<T> {
    Figure {
        name,
        kind: Kind::Counter,
        help,
        value,
    }
}
