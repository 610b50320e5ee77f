//! What a server states in a reply, in whatever protocol version.

use ntp_time::{Era, LeapIndicator, NtpDuration, NtpTimestamp, ReferenceId, Stratum};

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
    /// Era of the receive timestamp, which only version 5 states.
    pub era: Option<Era>,
    /// Arrival of the request on a clock of the server without phase corrections (version 5).
    pub monotonic: Option<MonotonicReceive>,
    /// What devices on the path measured (version 5).
    pub correction: Option<PathCorrection>,
}

/// Arrival of a request on a clock that the server does not correct in phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MonotonicReceive {
    /// Another number if that clock has lost its continuity.
    pub epoch: u32,
    /// The arrival; the origin is arbitrary.
    pub timestamp: NtpTimestamp,
}

/// Time that packets spent in devices on the path, as those measured it. Not negative, not
/// authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathCorrection {
    /// Of the request.
    pub request: NtpDuration,
    /// Of the response.
    pub response: NtpDuration,
}

impl PathCorrection {
    /// The part of the measured delay that the correction removes: less by 100 ppm, because the
    /// clocks of the devices run at their own rates.
    pub fn delay(self) -> NtpDuration {
        (self.request + self.response).scaled(1.0 - MAX_FREQUENCY_ERROR)
    }

    /// What to add to the offset of the server's clock.
    pub fn offset(self) -> NtpDuration {
        (self.response - self.request).half()
    }
}

/// Frequency error that the clock of a device on the path may have, as in the draft.
const MAX_FREQUENCY_ERROR: f64 = 1e-4;

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
            era: None,
            monotonic: None,
            correction: None,
        }
    }
}
