//! The daemon under test, with a virtual clock of known error.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use tempfile::TempDir;

use crate::binaries::Program;
use crate::certificates::Authority;
use crate::files;
use crate::netns::Host;
use crate::observation::Observation;
use crate::peers::SharedKey;
use crate::process::{self, Process};
use crate::wait;

/// Initial offset of the virtual clock in seconds: large enough for a step.
pub const VIRTUAL_OFFSET: f64 = 0.25;
/// Frequency error of the virtual clock in parts per million: more than the filter's initial
/// uncertainty, less than the correction limit.
pub const VIRTUAL_FREQUENCY_PPM: f64 = 40.0;

/// Time limit for the daemon to exit after SIGTERM.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(20);

/// A directory with configuration, state and sockets of one daemon, which may be started
/// repeatedly.
#[derive(Debug)]
pub struct Setup {
    directory: TempDir,
    text: String,
}

impl Setup {
    /// A configuration without sources, with `minimum_agreeing` as `minimum-agreeing-sources`.
    ///
    /// # Panics
    /// If no temporary directory can be created.
    pub fn new(minimum_agreeing: usize) -> Self {
        let directory = files::temporary_directory();
        let path = directory.path().display();
        let text = format!(
            "[observability]\nlog-level = \"debug\"\nobservation-path = \"{path}/observe\"\n\
             [state]\ndirectory = \"{path}/state\"\n\
             [control]\npath = \"{path}/control\"\n\
             [sandbox]\nuser = \"root\"\n\
             [clock]\nkind = \"virtual\"\nvirtual-offset = {VIRTUAL_OFFSET:?}\n\
             virtual-frequency = {VIRTUAL_FREQUENCY_PPM:?}\n\
             [synchronization]\nminimum-agreeing-sources = {minimum_agreeing}\n",
        );
        if let Err(error) = fs::create_dir(directory.path().join("state")) {
            panic!("cannot create the state directory: {error}");
        }
        Self { directory, text }
    }

    /// Adds a `[[source]]` of mode `server` at `address`, polled every 2 s.
    #[must_use]
    pub fn server(self, address: &str) -> Self {
        self.source(&format!(
            "mode = \"server\"\naddress = \"{address}\"\n{FAST_POLLS}"
        ))
    }

    /// As [`server`](Self::server), with further keys.
    #[must_use]
    pub fn server_with(self, address: &str, keys: &str) -> Self {
        self.source(&format!(
            "mode = \"server\"\naddress = \"{address}\"\n{FAST_POLLS}\n{keys}"
        ))
    }

    /// Adds a `[[source]]` of mode `server` at `address` with the default poll intervals.
    #[must_use]
    pub fn server_with_default_polls(self, address: &str) -> Self {
        self.source(&format!("mode = \"server\"\naddress = \"{address}\""))
    }

    /// Adds a `[[source]]` of mode `pool` with at most `count` members.
    #[must_use]
    pub fn pool(self, address: &str, count: usize) -> Self {
        self.source(&format!(
            "mode = \"pool\"\naddress = \"{address}\"\ncount = {count}\n{FAST_POLLS}"
        ))
    }

    fn source(mut self, keys: &str) -> Self {
        let _ = writeln!(self.text, "[[source]]\n{keys}");
        self
    }

    /// Appends text to the configuration.
    #[must_use]
    pub fn with(mut self, text: &str) -> Self {
        let _ = writeln!(self.text, "{text}");
        self
    }

    /// Replaces text of the configuration.
    ///
    /// # Panics
    /// If the configuration does not contain `old`.
    #[must_use]
    pub fn replacing(mut self, old: &str, new: &str) -> Self {
        assert!(self.text.contains(old), "{old} is not in\n{}", self.text);
        self.text = self.text.replace(old, new);
        self
    }

    /// Adds a line to the section `[synchronization]`.
    #[must_use]
    pub fn synchronization(self, line: &str) -> Self {
        self.replacing(
            "[synchronization]\n",
            &format!("[synchronization]\n{line}\n"),
        )
    }

    /// Replaces the virtual clock by the machine's, which is not steered.
    #[must_use]
    pub fn unsteered(self) -> Self {
        self.replacing("kind = \"virtual\"\n", "kind = \"none\"\n")
            .replacing("virtual-offset = 0.25\n", "")
            .replacing("virtual-frequency = 40.0\n", "")
    }

    /// Makes the virtual clock correct.
    #[must_use]
    pub fn without_clock_error(self) -> Self {
        self.replacing("virtual-offset = 0.25", "virtual-offset = 0.0")
            .replacing("virtual-frequency = 40.0", "virtual-frequency = 0.0")
    }

    /// Adds a `[[source]]` of mode `nts`, polled every 2 s, which trusts `authority`.
    #[must_use]
    pub fn nts_source(self, address: SocketAddr, authority: &Authority) -> Self {
        self.source(&format!(
            "mode = \"nts\"\naddress = \"{address}\"\ncertificate-authority = \"{}\"\n{FAST_POLLS}",
            authority.path().display(),
        ))
    }

    /// Writes a file with mode 0600 beside the configuration. Returns its path.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn file(&self, name: &str, content: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = self.directory.path().join(name);
        let restricted = fs::Permissions::from_mode(0o600);
        let written =
            fs::write(&path, content).and_then(|()| fs::set_permissions(&path, restricted));
        if let Err(error) = written {
            panic!("cannot write {}: {error}", path.display());
        }
        path
    }

    /// Writes a file into a directory beside the configuration, such as `ntp.toml.d/x.toml`.
    /// Returns its path.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn drop_in(&self, name: &str, content: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        let folder = path.parent().unwrap_or(&path);
        if let Err(error) = fs::create_dir_all(folder).and_then(|()| fs::write(&path, content)) {
            panic!("cannot write {}: {error}", path.display());
        }
        path
    }

    /// Adds a key file with these keys and the `[keys]` section.
    ///
    /// # Panics
    /// If it cannot be written.
    #[must_use]
    pub fn keys(self, keys: &[SharedKey]) -> Self {
        let lines: String = keys.iter().map(SharedKey::chrony).collect();
        let path = self.file("ntp.keys", &lines);
        self.with(&format!("[keys]\npath = \"{}\"", path.display()))
    }

    /// Path of the observation socket.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("observe")
    }

    /// Path of the control socket.
    pub fn control(&self) -> PathBuf {
        self.directory.path().join("control")
    }

    /// Changes the file on disk only, while the daemon runs. Starting a program rewrites it.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn rewrite(&self, change: impl FnOnce(&str) -> String) {
        let path = self.directory.path().join("ntp.toml");
        files::write(&path, change(&self.text));
    }

    /// Path of the state directory.
    pub fn state(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    /// Starts the daemon on `host`, or in the test's own network namespace.
    ///
    /// # Panics
    /// If it cannot be built or started.
    pub fn start(&self, host: Option<&Host>) -> Daemon {
        let command = self.command(host, Program::Daemon);
        Daemon {
            process: Process::spawn("ntp-daemon", command),
            socket: self.socket(),
        }
    }

    /// A command that runs `program` with this configuration.
    ///
    /// # Panics
    /// If the program cannot be built or the file not written.
    pub fn command(&self, host: Option<&Host>, program: Program) -> Command {
        let path = self.directory.path().join("ntp.toml");
        files::write(&path, &self.text);
        let mut command = process::command(host, program.path());
        command.arg("-c").arg(path);
        command
    }

    /// Runs `ntp-ctl` to its end. Returns its exit code and output.
    ///
    /// # Panics
    /// If it cannot be built or started, or does not end.
    pub fn ntp_ctl(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let mut command = self.command(None, Program::Ctl);
        command.args(arguments);
        Process::spawn("ntp-ctl", command).outcome()
    }

    /// Starts `ntp-ctl status`.
    ///
    /// # Panics
    /// If it cannot be built or started.
    pub fn status(&self) -> Process {
        let mut command = self.command(None, Program::Ctl);
        command.arg("status");
        Process::spawn("ntp-ctl status", command)
    }
}

/// Poll interval limits of 2 s.
const FAST_POLLS: &str = "poll-interval-limits = { min = 1, max = 1 }\ninitial-poll-interval = 1";

/// A running daemon. Stopped when dropped.
#[derive(Debug)]
pub struct Daemon {
    /// The program.
    pub process: Process,
    socket: PathBuf,
}

impl Daemon {
    /// Reads the state from the observation socket.
    ///
    /// # Errors
    /// If the socket does not exist yet or yields no valid frame.
    pub fn observe(&self) -> io::Result<Observation> {
        Observation::read(&self.socket)
    }

    /// Waits for an observation that `accept` accepts, and returns it.
    ///
    /// # Panics
    /// If the daemon exits, or if there is none within `limit`. The message contains `what` and the
    /// last observation.
    pub fn wait_until(
        &mut self,
        limit: Duration,
        what: &str,
        mut accept: impl FnMut(&Observation) -> bool,
    ) -> Observation {
        let mut last = None;
        let accepted = wait::try_until(limit, || {
            assert!(
                self.process.is_running(),
                "ntp-daemon exited before: {what}"
            );
            last = self.observe().ok();
            last.take_if(|observation| accept(observation))
        });
        match accepted {
            Some(observation) => observation,
            None => panic!("timeout ({limit:?}) waiting for: {what}; last observation: {last:#?}"),
        }
    }

    /// Waits until the clock is synchronised. Returns the observation.
    ///
    /// # Panics
    /// If it is not within `limit`.
    pub fn wait_synchronized(&mut self, limit: Duration) -> Observation {
        self.wait_until(limit, "synchronisation", Observation::is_synchronized)
    }

    /// Sends SIGTERM and waits. Returns the exit status.
    ///
    /// # Panics
    /// If the daemon does not exit.
    pub fn stop(&mut self) -> ExitStatus {
        self.process.terminate(SHUTDOWN_LIMIT)
    }
}

/// Asserts that the clock's true error exceeds neither the daemon's error bound nor `worst`
/// seconds.
///
/// # Panics
/// If it does.
#[track_caller]
pub fn assert_error_within(observation: &Observation, worst: f64) {
    let error = observation.true_offset().abs();
    let bound = observation.error_bound();
    assert!(
        error <= bound,
        "true error {error} s exceeds the error bound {bound} s"
    );
    assert!(
        error <= worst,
        "true error {error} s (bound {bound} s) exceeds {worst} s"
    );
}

/// Names of the files in `directory`.
///
/// # Panics
/// If it cannot be read.
pub fn files_in(directory: &Path) -> Vec<String> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) => panic!("cannot read {}: {error}", directory.display()),
    };
    entries
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}
