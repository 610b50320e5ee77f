//! How much processor time a process has used, all of its threads, in user and system mode.
//!
//! Linux tells it per thread in nanoseconds (`/proc/PID/task/TID/schedstat`), and for the process in ticks of 10 ms
//! (`/proc/PID/stat`), which is too coarse for a run of a few seconds. The former leaves out threads that have ended, so it is only
//! right for processes whose threads live as long as they do, as the servers and the generator here.

use core::time::Duration;
use std::fs;
use std::io;

/// The processor time that the living threads of a process have used.
///
/// # Errors
/// If there is no such process, or `/proc` is not Linux's.
pub fn process_cpu(pid: u32) -> io::Result<Duration> {
    let mut total = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = match fs::read_to_string(thread?.path().join("schedstat")) {
            Ok(text) => text,
            // It has ended between the two looks.
            Err(error) if is_gone(&error) => continue,
            Err(error) => return Err(error),
        };
        let running: Option<u64> = text
            .split_whitespace()
            .next()
            .and_then(|first| first.parse().ok());
        total += running.ok_or(io::ErrorKind::InvalidData)?;
    }
    Ok(Duration::from_nanos(total))
}

fn is_gone(error: &io::Error) -> bool {
    const NO_SUCH_PROCESS: i32 = 3;
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(NO_SUCH_PROCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_seen() {
        // Threads of other tests come and go, so it is enough that there is something to see.
        assert!(process_cpu(std::process::id()).unwrap() > Duration::ZERO);
        assert!(process_cpu(u32::MAX).is_err());
    }
}
