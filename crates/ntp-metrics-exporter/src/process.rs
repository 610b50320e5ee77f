//! Resources of the daemon's process, from the kernel.
//!
//! The peer credentials of the observation socket identify the process, and `/proc/PID/stat` and
//! `status` are public, so the daemon need not send the values. They are absent in another PID
//! namespace, or if `/proc` hides processes of other users.

use std::fs;

/// Resources that a process uses.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Process {
    /// Processor time since the start, in seconds.
    pub(crate) cpu_seconds: f64,
    /// Resident memory in octets.
    pub(crate) resident_bytes: u64,
    /// Number of threads.
    pub(crate) threads: u64,
}

/// Reads the resources of a process.
pub(crate) fn read(pid: i32) -> Option<Process> {
    let file = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).ok();
    parse(&file("stat")?, &file("status")?)
}

/// Unit of times in `/proc` (`USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;

/// Parses proc_pid_stat(5). The name is in parentheses and may contain any character, also
/// parentheses.
fn parse(stat: &str, status: &str) -> Option<Process> {
    let (_, rest) = stat.rsplit_once(')')?;
    let ticks = |number: usize| -> Option<u64> {
        rest.split_ascii_whitespace().nth(number - 3)?.parse().ok()
    };
    let value = |name: &str| -> Option<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_ascii_whitespace().next()?.parse().ok()
    };
    Some(Process {
        cpu_seconds: ticks(14)?.checked_add(ticks(15)?)? as f64 / TICKS_PER_SECOND,
        resident_bytes: value("VmRSS:")?.checked_mul(1024)?,
        threads: value("Threads:")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_counted_after_the_name() {
        let stat = "4 (a) R b) S 1 4 4 0 -1 0 900 0 3 0 150 50 0 0 20 0 7 0 1234 50000 256";
        let status = "Name:\ta) R b\nVmRSS:\t    1024 kB\nThreads:\t7\n";
        let process = parse(stat, status).unwrap();
        assert_eq!(process.cpu_seconds, 2.0);
        assert_eq!(process.resident_bytes, 1 << 20);
        assert_eq!(process.threads, 7);
        assert_eq!(parse("4 (cut) S 1", status), None);
        assert_eq!(parse(stat, "Name:\ta"), None);
    }

    #[test]
    fn the_own_process_can_be_read() {
        let pid = i32::try_from(std::process::id()).unwrap();
        assert!(read(pid).is_some_and(|process| process.resident_bytes > 100_000));
    }
}
