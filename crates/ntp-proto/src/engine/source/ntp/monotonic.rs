//! The server's clock without phase corrections (NTPv5, monotonic receive timestamp).
//!
//! A server of version 5 sends the arrival of a request by two clocks: by the one that it serves, and
//! by one that it steers in frequency only. While the epoch of the second is the same, a change of
//! their difference is a phase correction of the first: a step, or what has passed of a slew.

use ntp_time::NtpDuration;

use crate::client::ReplyContent;

/// The two clocks of a server at its last sample.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct MonotonicState {
    /// Epoch of the second clock, and how far the first is ahead of it.
    last: Option<(u32, NtpDuration)>,
}

impl MonotonicState {
    /// Returns how far the server has set its clock forward since the last sample; zero if that is
    /// not known.
    pub(super) fn record(&mut self, content: &ReplyContent) -> NtpDuration {
        let stated = content.monotonic;
        let now = stated.map(|it| (it.epoch, content.receive_timestamp - it.timestamp));
        match (core::mem::replace(&mut self.last, now), now) {
            (Some((before, then)), Some((epoch, ahead))) if before == epoch => ahead - then,
            _ => NtpDuration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use ntp_time::NtpTimestamp;

    use super::*;
    use crate::client::MonotonicReceive;
    use crate::wire::{Header, Mode, Version};

    #[test]
    fn only_differences_within_an_epoch_are_corrections() {
        let mut state = MonotonicState::default();
        let mut record = |seconds: u64, monotonic: Option<(u32, u64)>| {
            let content = ReplyContent {
                receive_timestamp: NtpTimestamp::from_bits(seconds << 32),
                monotonic: monotonic.map(|(epoch, seconds)| MonotonicReceive {
                    epoch,
                    timestamp: NtpTimestamp::from_bits(seconds << 32),
                }),
                ..ReplyContent::from(&Header::blank(Version::V4, Mode::Server))
            };
            state.record(&content).as_nanos() / 1_000_000_000
        };
        assert_eq!(record(1000, Some((1, 40))), 0);
        assert_eq!(record(1010, Some((1, 50))), 0);
        assert_eq!(record(1021, Some((1, 60))), 1, "set forward by a second");
        assert_eq!(record(1030, Some((1, 70))), -1);
        assert_eq!(record(1040, Some((2, 99))), 0, "another epoch");
        assert_eq!(record(1050, None), 0);
        assert_eq!(record(1060, Some((2, 0))), 0);
        // Both clocks wrap in 2036.
        assert_eq!(record(u64::from(u32::MAX), Some((3, 10))), 0);
        assert_eq!(record(0, Some((3, 11))), 0);
    }
}
