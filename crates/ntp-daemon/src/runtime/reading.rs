//! One reading of two clocks.

use ntp_os_clock::{Clock, monotonic};
use ntp_proto::engine::Now;
use ntp_time::NtpDuration;

/// Readings of the two clocks further apart than this are taken again: the process was interrupted in between.
const READING_SPREAD: NtpDuration = NtpDuration::from_micros(20);
/// How often they are taken again at most.
const READING_ATTEMPTS: usize = 5;

/// Both clocks, read so close together that their difference means something.
pub(super) fn now(clock: &Clock) -> Now {
    let mut before = monotonic();
    let mut best: Option<(NtpDuration, Now)> = None;
    for _ in 0..READING_ATTEMPTS {
        let system = clock.now();
        let after = monotonic();
        let spread = after - before;
        if best.is_none_or(|(least, _)| spread < least) {
            best = Some((
                spread,
                Now {
                    monotonic: before + spread.half(),
                    system,
                },
            ));
        }
        if spread <= READING_SPREAD {
            break;
        }
        before = after;
    }
    best.map_or_else(
        || Now {
            monotonic: before,
            system: clock.now(),
        },
        |(_, now)| now,
    )
}
