//! A program that runs for the length of a test.
//!
//! # Hands off the clock
//! The machine's clock is the truth of every test, so no program of an arena may set it. Each is started through
//! `setpriv` without `CAP_SYS_TIME` in its bounding set: no user id, no file capability and no mistake in a
//! configuration brings it back. A program that needs it to start is none for these tests.
//!
//! # Nothing stays behind
//! A dropped process is asked to end (SIGTERM), then made to (SIGKILL). If the test process itself is killed, the
//! kernel kills what it started (`--pdeathsig`). That signal is tied to the *thread* that started the process:
//! start processes on the scenario's own thread only.
//!
//! # Output
//! Lines of both streams are collected as they come, with the time since the start, and shown if the test fails.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, geteuid, kill_process};

use crate::netns::Host;
use crate::wait::{self, Deadline};

/// What the daemon says of a system call that its thread was not meant to make.
const REFUSED: &str = "the sandbox refused the system call";
/// How long a program may take to end after SIGTERM before it is killed by [`Drop`].
const PATIENCE: Duration = Duration::from_secs(5);

/// A command that runs `program` on `host`, or in the test's own network if there is none, and cannot touch the
/// clock.
pub fn command(host: Option<&Host>, program: impl AsRef<OsStr>) -> Command {
    let mut command = match host {
        Some(host) => {
            let mut command = Command::new("ip");
            command.args(["netns", "exec", host.namespace(), "setpriv"]);
            command
        }
        None => Command::new("setpriv"),
    };
    if geteuid().is_root() {
        command.args(["--bounding-set=-sys_time", "--inh-caps=-sys_time"]);
    }
    command.args(["--pdeathsig=KILL", "--"]).arg(program);
    command.stdin(Stdio::null());
    command
}

/// A running program.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    output: Arc<Output>,
    readers: Vec<JoinHandle<()>>,
    ended: Option<ExitStatus>,
}

impl Process {
    /// Starts `command`; `name` stands for it in messages.
    ///
    /// # Panics
    /// If it cannot be started.
    #[expect(
        clippy::disallowed_methods,
        reason = "output is shown with the time at which it came"
    )]
    pub fn spawn(name: &str, mut command: Command) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) => panic!("cannot start {name} ({command:?}): {error}"),
        };
        let output = Arc::new(Output {
            started: Instant::now(),
            lines: Mutex::default(),
            changed: Condvar::new(),
        });
        let mut readers = Vec::new();
        if let Some(stream) = child.stdout.take() {
            readers.push(output.clone().collect_from(stream));
        }
        if let Some(stream) = child.stderr.take() {
            readers.push(output.clone().collect_from(stream));
        }
        Self {
            name: name.to_owned(),
            child,
            output,
            readers,
            ended: None,
        }
    }

    /// All lines so far, without their line ends.
    pub fn lines(&self) -> Vec<String> {
        self.output
            .lock()
            .iter()
            .map(|line| line.text.clone())
            .collect()
    }

    /// The lines so far that contain `needle`.
    pub fn lines_with(&self, needle: &str) -> Vec<String> {
        let mut lines = self.lines();
        lines.retain(|line| line.contains(needle));
        lines
    }

    /// Waits until a line, be it an old one, contains `needle`, and returns the first such.
    ///
    /// # Panics
    /// If there is none within `limit`.
    pub fn wait_for_line(&self, limit: Duration, needle: &str) -> String {
        let deadline = Deadline::after(limit);
        let mut lines = self.output.lock();
        loop {
            if let Some(line) = lines.iter().find(|line| line.text.contains(needle)) {
                return line.text.clone();
            }
            let left = deadline.left();
            if left.is_zero() {
                drop(lines);
                panic!("{} did not say '{needle}' within {limit:?}", self.name);
            }
            let waited = self.output.changed.wait_timeout(lines, left);
            lines = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// How many threads the process has now; the kernel's answer.
    pub fn threads(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/task", self.child.id())).map_or(0, Iterator::count)
    }

    /// How many descriptors it has open now; the kernel's answer.
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).map_or(0, Iterator::count)
    }

    /// How much memory it occupies now, in octets; the kernel's answer.
    pub fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        kibibytes.unwrap_or(0) * 1024
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.poll_exit().is_none()
    }

    /// Waits until it ends by itself, and returns how. Its output is then complete.
    ///
    /// # Panics
    /// If it still runs after `limit`.
    pub fn wait_exit(&mut self, limit: Duration) -> ExitStatus {
        let what = format!("the end of {}", self.name);
        let status = wait::until(limit, &what, || self.poll_exit());
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
        status
    }

    /// Asks it to end, and returns how it did.
    ///
    /// # Panics
    /// If it does not end within `limit`.
    pub fn terminate(&mut self, limit: Duration) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait_exit(limit)
    }

    /// Sends it a signal, if it still runs.
    pub fn signal(&mut self, signal: Signal) {
        if self.poll_exit().is_none() {
            // It may have ended in between; its number is ours until it has been waited for.
            let _ = kill_process(Pid::from_child(&self.child), signal);
        }
    }

    fn poll_exit(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().ok().flatten();
        }
        self.ended
    }

    fn story(&self) -> String {
        let mut story = format!("--- output of {} (pid {})\n", self.name, self.child.id());
        for line in self.output.lock().iter() {
            let _ = writeln!(story, "{:9.3}  {}", line.at.as_secs_f64(), line.text);
        }
        story
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(Signal::TERM);
        if wait::try_until(PATIENCE, || self.poll_exit()).is_none() {
            // Nothing can be done about an error here, and the kernel has the process either way.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
        if thread::panicking() {
            // In one piece, since other tests write at the same time.
            eprint!("{}", self.story());
            return;
        }
        // Whatever a scenario is about: a daemon that needs what its sandbox refuses has a flaw.
        if let Some(line) = self.lines().iter().find(|line| line.contains(REFUSED)) {
            panic!("{line}\n{}", self.story());
        }
    }
}

#[derive(Debug)]
struct Line {
    at: Duration,
    text: String,
}

#[derive(Debug)]
struct Output {
    started: Instant,
    lines: Mutex<Vec<Line>>,
    changed: Condvar,
}

impl Output {
    fn lock(&self) -> MutexGuard<'_, Vec<Line>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn collect_from(self: Arc<Self>, stream: impl Read + Send + 'static) -> JoinHandle<()> {
        thread::spawn(move || {
            for line in BufReader::new(stream).split(b'\n') {
                let Ok(line) = line else { break };
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                let at = self.started.elapsed();
                self.lock().push(Line { at, text });
                self.changed.notify_all();
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    fn shell(script: &str) -> Process {
        let mut command = command(None, "sh");
        command.args(["-c", script]);
        Process::spawn("sh", command)
    }

    #[test]
    fn no_program_of_an_arena_can_set_the_clock() {
        let mut process = shell("cat /proc/self/status");
        assert!(process.wait_exit(LIMIT).success());
        for set in ["CapPrm:", "CapEff:", "CapInh:", "CapBnd:"] {
            let line = process.lines_with(set).concat();
            let mask = line.rsplit(char::is_whitespace).next().expect("a mask");
            let mask = u64::from_str_radix(mask, 16).expect("hexadecimal");
            let may_set_time = mask & (1 << 25) != 0;
            assert!(
                !may_set_time || (set == "CapBnd:" && !geteuid().is_root()),
                "{line}"
            );
        }
    }

    #[test]
    fn both_streams_and_the_exit_code_are_seen() {
        let mut process = shell("echo one; echo two >&2; exit 3");
        assert_eq!(process.wait_exit(LIMIT).code(), Some(3));
        let mut lines = process.lines();
        lines.sort();
        assert_eq!(lines, ["one", "two"]);
        assert!(!process.is_running());
    }

    #[test]
    fn a_program_that_runs_on_is_ended() {
        let mut process = shell("echo ready; exec tail -f /dev/null");
        process.wait_for_line(LIMIT, "ready");
        assert!(process.is_running());
        assert_eq!(process.terminate(LIMIT).code(), None);
    }
}
