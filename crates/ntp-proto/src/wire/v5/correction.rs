//! The correction field: delays that switches and routers on the path measured and added up.

use ntp_time::NtpDuration;

use super::super::{BufferTooSmall, Reader, Truncated, Writer};

/// Body of a correction field.
///
/// Devices on the path of a packet add to `delay` how long they kept it. The server copies what its
/// request collected to `origin`, so that the client gets both directions. Nothing authenticates
/// the values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Correction {
    /// In a response, `delay` of the request when it arrived.
    pub origin: CorrectionValue,
    /// In a response, `path` of the request.
    pub origin_path: u16,
    /// Delay of this packet on its path so far.
    pub delay: CorrectionValue,
    /// Number of the path, which devices set; a change shows another path.
    pub path: u16,
    /// Keeps the UDP checksum correct when a device changes the others.
    pub checksum_complement: u16,
}

impl Correction {
    /// Length of the body in octets.
    pub const LEN: usize = 24;

    /// The response's field to a request with this one.
    pub fn response(self) -> Self {
        Self {
            origin: self.delay,
            origin_path: self.path,
            ..Self::default()
        }
    }

    pub(super) fn parse(reader: &mut Reader<'_>) -> Result<Self, Truncated> {
        let origin = CorrectionValue::parse(reader)?;
        let origin_path = reader.u16()?;
        let _reserved = reader.u16()?;
        Ok(Self {
            origin,
            origin_path,
            delay: CorrectionValue::parse(reader)?,
            path: reader.u16()?,
            checksum_complement: reader.u16()?,
        })
    }

    pub(super) fn emit(self, writer: &mut Writer<'_>) -> Result<(), BufferTooSmall> {
        writer.u64(self.origin.to_bits().cast_unsigned())?;
        writer.u16(self.origin_path)?;
        writer.u16(0)?;
        writer.u64(self.delay.to_bits().cast_unsigned())?;
        writer.u16(self.path)?;
        writer.u16(self.checksum_complement)
    }
}

/// Signed nanoseconds in 48.16 fixed point, as in PTP's `correctionField`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct CorrectionValue(i64);

impl CorrectionValue {
    /// More than the field can hold.
    pub const OVERFLOW: Self = Self(i64::MAX);

    /// From raw 48.16 fixed point.
    pub const fn from_bits(bits: i64) -> Self {
        Self(bits)
    }

    /// Raw 48.16 fixed point.
    pub const fn to_bits(self) -> i64 {
        self.0
    }

    /// As a difference, rounded to its unit of 0.23 ns. `None` for [`Self::OVERFLOW`].
    pub fn to_duration(self) -> Option<NtpDuration> {
        /// Units of 48.16 ns in a second.
        const SECOND: i128 = 1_000_000_000 << 16;
        if self == Self::OVERFLOW {
            return None;
        }
        let bits = ((i128::from(self.0) << 32) + SECOND / 2).div_euclid(SECOND);
        // Less than 2^63 nanoseconds / 2^16 are 2^18 seconds: it fits.
        i64::try_from(bits).ok().map(NtpDuration::from_bits)
    }

    fn parse(reader: &mut Reader<'_>) -> Result<Self, Truncated> {
        reader.u64().map(|bits| Self(bits.cast_signed()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_nanoseconds_with_16_fractional_bits() {
        let of = |bits| CorrectionValue::from_bits(bits).to_duration();
        assert_eq!(of(0), Some(NtpDuration::ZERO));
        assert_eq!(of(1500 << 16), Some(NtpDuration::from_nanos(1500)));
        assert_eq!(of(-1500 << 16), Some(NtpDuration::from_nanos(-1500)));
        let largest = of(i64::MAX - 1).unwrap();
        assert_eq!(largest.as_nanos(), 1 << 47);
        assert_eq!(of(i64::MIN).unwrap().as_nanos(), -(1 << 47));
        assert_eq!(of(i64::MAX), None);
    }
}
