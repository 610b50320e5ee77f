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
        let text = fs::read_to_string(thread?.path().join("schedstat"))?;
        let running: Option<u64> = text
            .split_whitespace()
            .next()
            .and_then(|first| first.parse().ok());
        total += running.ok_or(io::ErrorKind::InvalidData)?;
    }
    Ok(Duration::from_nanos(total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_seen() {
        let before = process_cpu(std::process::id()).unwrap();
        let mut state = 1u64;
        // Ends as soon as the kernel has noticed.
        while process_cpu(std::process::id()).unwrap() <= before {
            state = std::hint::black_box(state.wrapping_mul(3));
        }
    }
}
