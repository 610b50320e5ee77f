//! Statistics of the updates of the clock, for readers: what chrony calls last offset, RMS offset
//! and update interval.

use ntp_time::{Monotonic, NtpDuration};

/// Weight of the newest update in the mean square: the mean covers about ten updates. A smaller
/// weight would show the start-up for hours, a larger one only the last few updates.
const WEIGHT: f64 = 0.1;

/// Statistics of the updates since the start.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Updates {
    last: Option<(Monotonic, NtpDuration)>,
    interval: Option<NtpDuration>,
    /// s^2.
    mean_square: f64,
}

impl Updates {
    /// Records that an update moved the estimate of the offset by `change`.
    pub(super) fn record(&mut self, at: Monotonic, change: NtpDuration) {
        let square = change.as_seconds_f64().powi(2);
        match self.last.replace((at, change)) {
            Some((before, _)) => {
                self.interval = Some(at - before);
                self.mean_square += WEIGHT * (square - self.mean_square);
            }
            None => self.mean_square = square,
        }
    }

    /// How far the last update moved the estimate of the offset.
    pub(super) fn last_offset(&self) -> Option<NtpDuration> {
        self.last.map(|(_, change)| change)
    }

    /// Root mean square of the changes.
    pub(super) fn rms_offset(&self) -> Option<NtpDuration> {
        let root = NtpDuration::from_seconds_f64(self.mean_square.sqrt());
        self.last.map(|_| root)
    }

    /// Time between the last two updates.
    pub(super) fn interval(&self) -> Option<NtpDuration> {
        self.interval
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_begins_with_the_first_update_and_follows_the_newest_ones() {
        let mut updates = Updates::default();
        assert_eq!((updates.last_offset(), updates.rms_offset()), (None, None));
        let milliseconds = NtpDuration::from_millis;
        let at = |seconds: i64| Monotonic::from_nanos(seconds * 1_000_000_000);
        updates.record(at(10), milliseconds(-100));
        assert_eq!(updates.last_offset(), Some(milliseconds(-100)));
        assert!((updates.rms_offset().unwrap().as_seconds_f64() - 0.1).abs() < 1e-9);
        assert_eq!(updates.interval(), None);
        for second in 0..100 {
            updates.record(at(26 + 16 * second), milliseconds(1));
        }
        assert_eq!(updates.interval(), Some(NtpDuration::from_seconds(16)));
        let rms = updates.rms_offset().unwrap().as_seconds_f64();
        assert!((1e-3..2e-3).contains(&rms), "{rms}");
    }
}
