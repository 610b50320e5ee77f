//! What a server states in a reply, in whatever protocol version.

use ntp_time::{LeapIndicator, NtpDuration, NtpTimestamp, ReferenceId, Stratum};

use crate::wire::{Header, Version};

/// What a server states about itself and about one exchange.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReplyContent {
    /// Protocol version of the reply.
    pub version: Version,
    /// Announced leap second, or that the server is not synchronised.
    pub leap: LeapIndicator,
    /// Distance of the server from a reference clock; 0 if its time must not be used.
    pub stratum: Stratum,
    /// Precision of its clock, in log2 seconds.
    pub precision: i8,
    /// Its round-trip delay to the reference clock.
    pub root_delay: NtpDuration,
    /// Its dispersion to the reference clock.
    pub root_dispersion: NtpDuration,
    /// Source of its time; the kiss code at stratum 0.
    pub reference_id: ReferenceId,
    /// When its clock was last set or corrected. Zero if it does not say so.
    pub reference_timestamp: NtpTimestamp,
    /// When the request arrived (T2).
    pub receive_timestamp: NtpTimestamp,
    /// When the reply left (T3).
    pub transmit_timestamp: NtpTimestamp,
}

/// Versions 1 to 4.
impl From<&Header> for ReplyContent {
    fn from(header: &Header) -> Self {
        Self {
            version: header.version,
            leap: header.leap,
            stratum: header.stratum,
            precision: header.precision,
            root_delay: header.root_delay.to_duration(),
            root_dispersion: header.root_dispersion.to_duration(),
            reference_id: header.reference_id,
            reference_timestamp: header.reference_timestamp,
            receive_timestamp: header.receive_timestamp,
            transmit_timestamp: header.transmit_timestamp,
        }
    }
}
