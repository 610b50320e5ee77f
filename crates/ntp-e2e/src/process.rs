//! A child process that runs for the duration of a test.
//!
//! # No access to the clock
//! The machine's clock is the reference of every test, so no program of an arena may set it. Each
//! is started through `setpriv` without `CAP_SYS_TIME` in its bounding set: no user id, no file
//! capability and no configuration error can restore it. Programs that require it to start cannot
//! be used in these tests.
//!
//! # Cleanup
//! A dropped process gets SIGTERM, then SIGKILL. If the test process itself is killed, the kernel
//! kills its children (`--pdeathsig`). That signal is tied to the *thread* that started the
//! process: start processes only on the scenario's own thread.
//!
//! # Output
//! Lines of both streams are collected with the time since the start, and printed if the test
//! fails.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, geteuid, kill_process};

use crate::log_event::LogEvent;
use crate::netns::Host;
use crate::wait::{self, Deadline};

/// Time between SIGTERM and SIGKILL when a process is dropped.
const TERMINATION_TIMEOUT: Duration = Duration::from_secs(5);

/// A command that runs `program` on `host`, or in the test's own network namespace, without the
/// capability to set the clock.
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
    /// Starts `command`; `name` identifies it in messages.
    ///
    /// # Panics
    /// If it cannot be started.
    #[expect(
        clippy::disallowed_methods,
        reason = "output is shown with the time of its arrival"
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

    /// Process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// All lines so far, without line ends.
    pub fn lines(&self) -> Vec<String> {
        self.output
            .lock()
            .iter()
            .map(|line| line.text.clone())
            .collect()
    }

    /// All lines so far that contain `needle`.
    pub fn lines_with(&self, needle: &str) -> Vec<String> {
        let mut lines = self.lines();
        lines.retain(|line| line.contains(needle));
        lines
    }

    /// The events of the daemon called `name` so far.
    ///
    /// # Panics
    /// If no event has this name.
    #[track_caller]
    pub fn events(&self, name: &str) -> Vec<LogEvent> {
        LogEvent::assert_declared(name);
        let mut events = self.all_events();
        events.retain(|event| event.name() == name);
        events
    }

    /// All events of the daemon so far.
    pub fn all_events(&self) -> Vec<LogEvent> {
        let lines = self.output.lock();
        lines
            .iter()
            .filter_map(|line| LogEvent::parse(&line.text))
            .collect()
    }

    /// Waits until the daemon logs an event called `name` with `fields`. Returns the first such
    /// event, which may be an old one.
    ///
    /// # Panics
    /// If no event has this name, or if there is none within `limit`.
    #[track_caller]
    pub fn wait_for_event(&self, limit: Duration, name: &str, fields: &[(&str, &str)]) -> LogEvent {
        LogEvent::assert_declared(name);
        let found = self.wait_for(limit, |line| {
            LogEvent::parse(line).filter(|event| event.matches(name, fields))
        });
        match found {
            Some(event) => event,
            None => panic!("{}: no {name} {fields:?} within {limit:?}", self.name),
        }
    }

    /// Waits until a line contains `needle`. Returns the first such line, which may be an old one.
    ///
    /// # Panics
    /// If there is none within `limit`.
    #[track_caller]
    pub fn wait_for_line(&self, limit: Duration, needle: &str) -> String {
        let found = self.wait_for(limit, |line| line.contains(needle).then(|| line.to_owned()));
        match found {
            Some(line) => line,
            None => panic!("{} did not print '{needle}' within {limit:?}", self.name),
        }
    }

    /// Waits for the first line for which `read` returns a value. `None` if there is none within
    /// `limit`.
    fn wait_for<T>(&self, limit: Duration, read: impl Fn(&str) -> Option<T>) -> Option<T> {
        let deadline = Deadline::after(limit);
        let mut lines = self.output.lock();
        let mut seen = 0;
        loop {
            if let Some(found) = lines.iter().skip(seen).find_map(|line| read(&line.text)) {
                return Some(found);
            }
            seen = lines.len();
            let left = deadline.left();
            if left.is_zero() {
                return None;
            }
            let waited = self.output.changed.wait_timeout(lines, left);
            lines = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Current number of threads, from /proc.
    pub fn threads(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/task", self.child.id())).map_or(0, Iterator::count)
    }

    /// Current number of open file descriptors, from /proc.
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).map_or(0, Iterator::count)
    }

    /// Current resident memory in octets, from /proc.
    pub fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        kibibytes.unwrap_or(0) * 1024
    }

    /// Whether the process still runs.
    pub fn is_running(&mut self) -> bool {
        self.poll_exit().is_none()
    }

    /// Waits until the process exits. Returns its exit status; its output is then complete.
    ///
    /// # Panics
    /// If it still runs after `limit`.
    pub fn wait_exit(&mut self, limit: Duration) -> ExitStatus {
        let what = format!("the exit of {}", self.name);
        let status = wait::until(limit, &what, || self.poll_exit());
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
        status
    }

    /// Waits for a short-lived program to exit. Returns its exit code and output.
    ///
    /// # Panics
    /// If it does not exit within two minutes.
    pub fn outcome(mut self) -> (Option<i32>, String) {
        let code = self.wait_exit(Duration::from_secs(120)).code();
        (code, self.lines().join("\n"))
    }

    /// Sends SIGTERM and waits. Returns the exit status.
    ///
    /// # Panics
    /// If it does not exit within `limit`.
    pub fn terminate(&mut self, limit: Duration) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait_exit(limit)
    }

    /// Sends a signal if the process still runs.
    pub fn signal(&mut self, signal: Signal) {
        if self.poll_exit().is_none() {
            // It may have exited in between; its id stays reserved until it has been waited for.
            let _ = kill_process(Pid::from_child(&self.child), signal);
        }
    }

    fn poll_exit(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().ok().flatten();
        }
        self.ended
    }

    fn transcript(&self) -> String {
        let mut transcript = format!("--- output of {} (pid {})\n", self.name, self.child.id());
        for line in self.output.lock().iter() {
            let _ = writeln!(transcript, "{:9.3}  {}", line.at.as_secs_f64(), line.text);
        }
        transcript
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(Signal::TERM);
        if wait::try_until(TERMINATION_TIMEOUT, || self.poll_exit()).is_none() {
            // An error cannot be handled here.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
        if thread::panicking() {
            // One write, since other tests print at the same time.
            eprint!("{}", self.transcript());
            return;
        }
        // In every scenario, a system call that the sandbox refuses is a bug.
        if let Some(event) = self.events("system_call_refused").first() {
            panic!("{}\n{}", event.line(), self.transcript());
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
    fn programs_have_no_capability_to_set_the_clock() {
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
    fn both_streams_and_the_exit_code_are_collected() {
        let mut process = shell("echo one; echo two >&2; exit 3");
        assert_eq!(process.wait_exit(LIMIT).code(), Some(3));
        let mut lines = process.lines();
        lines.sort();
        assert_eq!(lines, ["one", "two"]);
        assert!(!process.is_running());
    }

    #[test]
    fn terminate_ends_a_running_program() {
        let mut process = shell("echo ready; exec tail -f /dev/null");
        process.wait_for_line(LIMIT, "ready");
        assert!(process.is_running());
        assert_eq!(process.terminate(LIMIT).code(), None);
    }
}
