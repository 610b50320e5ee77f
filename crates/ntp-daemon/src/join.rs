//! Waits for threads that finish their work when the daemon ends, but not for ever.
//!
//! A thread that writes a file may hang with the disk or the network behind it. The daemon then
//! ends without it: systemd, and whoever typed `systemctl stop`, wait for its end.

use std::thread::JoinHandle;
use std::time::Duration;

use ntp_os_clock::monotonic;
use ntp_time::NtpDuration;
use ntp_types::event::Event;

use crate::log;

/// How long the daemon waits for one thread when it ends. A disk that was asleep needs a second or
/// two; after ten seconds the process ends in any case ([`ntp_udp::signals`]).
pub(crate) const LIMIT: Duration = Duration::from_secs(3);

/// Interval at which a thread is looked at.
const INTERVAL: Duration = Duration::from_millis(2);

/// Waits for a thread, at most for `limit`, after which the thread is logged and left alone.
/// Returns its result, unless it panicked or did not end.
pub(crate) fn join_within<T>(thread: JoinHandle<T>, limit: Duration) -> Option<T> {
    let deadline = monotonic() + NtpDuration::from(limit);
    while !thread.is_finished() {
        if monotonic() >= deadline {
            log::emit(&Event::ThreadNotEnded {
                thread: thread.thread().name().unwrap_or_default().to_owned(),
            });
            return None;
        }
        #[expect(clippy::disallowed_methods, reason = "the daemon is ending")]
        std::thread::sleep(INTERVAL);
    }
    thread.join().ok()
}

/// As [`join_within`] with [`LIMIT`], for threads without a result.
pub(crate) fn join_last(thread: Option<JoinHandle<()>>) {
    if let Some(thread) = thread {
        let _ = join_within(thread, LIMIT);
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn a_thread_that_hangs_is_left_alone() {
        let (reader, writer) = io::pipe().unwrap();
        let hangs = std::thread::spawn(move || io::read_to_string(reader).unwrap());
        assert_eq!(join_within(hangs, Duration::from_millis(20)), None);
        drop(writer);
        let ends = std::thread::spawn(|| 7);
        assert_eq!(join_within(ends, Duration::from_secs(60)), Some(7));
    }
}
