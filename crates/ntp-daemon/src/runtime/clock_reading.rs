//! Reads the monotonic and the system clock together.

use ntp_os_clock::{Clock, monotonic};
use ntp_proto::engine::Now;
use ntp_time::NtpDuration;

/// Readings further apart than this are repeated: the process was interrupted in between.
const MAX_SPREAD: NtpDuration = NtpDuration::from_micros(20);
/// Maximum number of attempts.
const MAX_ATTEMPTS: usize = 5;

/// Reads both clocks, so close together that their difference is meaningful.
pub(super) fn read_clocks(clock: &Clock) -> Now {
    let mut before = monotonic();
    let mut best: Option<(NtpDuration, Now)> = None;
    for _ in 0..MAX_ATTEMPTS {
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
        if spread <= MAX_SPREAD {
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
