//! CPU time of a process: all threads, user and system mode.
//!
//! Linux reports it per thread in nanoseconds (`/proc/PID/task/TID/schedstat`), and per process in
//! ticks of 10 ms (`/proc/PID/stat`), which is too coarse for a run of a few seconds. The former
//! omits threads that have ended, so it is only correct for processes with a fixed set of threads,
//! such as the servers and the generator.

use core::time::Duration;
use std::fs;
use std::io;

/// CPU time of the existing threads of a process.
///
/// # Errors
/// If there is no such process, or `/proc` is not that of Linux.
pub fn process_cpu(pid: u32) -> io::Result<Duration> {
    let mut total = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = match fs::read_to_string(thread?.path().join("schedstat")) {
            Ok(text) => text,
            // The thread has ended in the meantime.
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
    fn cpu_time_of_this_process_is_positive() {
        // Threads of other tests start and end, so the value itself is unpredictable.
        assert!(process_cpu(std::process::id()).unwrap() > Duration::ZERO);
        assert!(process_cpu(u32::MAX).is_err());
    }
}
