//! What the kernel says about the daemon's process.
//!
//! The observation socket's peer credentials name the process, and everyone may read `/proc/PID/stat` and `status`, so the daemon need not tell, and
//! cannot be wrong. In another PID namespace, or where `/proc` hides other users' processes, there is nothing to see and nothing is shown.

use std::fs;

/// Resources that a process uses.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Process {
    /// Processor time used since it began, in seconds.
    pub(crate) cpu_seconds: f64,
    /// Memory that it occupies, in octets.
    pub(crate) resident_bytes: u64,
    /// Its threads.
    pub(crate) threads: u64,
}

/// Reads them.
pub(crate) fn look_at(pid: i32) -> Option<Process> {
    let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).ok();
    parse(&read("stat")?, &read("status")?)
}

/// The kernel shows times to processes in this unit, whatever it counts in itself (`USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;

/// proc_pid_stat(5): the name stands in parentheses and may contain anything, also parentheses.
fn parse(stat: &str, status: &str) -> Option<Process> {
    let (_, rest) = stat.rsplit_once(')')?;
    let ticks = |number: usize| -> Option<u64> {
        rest.split_ascii_whitespace().nth(number - 3)?.parse().ok()
    };
    let of = |name: &str| -> Option<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_ascii_whitespace().next()?.parse().ok()
    };
    Some(Process {
        cpu_seconds: ticks(14)?.checked_add(ticks(15)?)? as f64 / TICKS_PER_SECOND,
        resident_bytes: of("VmRSS:")?.checked_mul(1024)?,
        threads: of("Threads:")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_counted_behind_the_name() {
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
    fn this_process_can_be_looked_at() {
        let pid = i32::try_from(std::process::id()).unwrap();
        assert!(look_at(pid).is_some_and(|process| process.resident_bytes > 100_000));
    }
}
