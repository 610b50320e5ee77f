//! The daemon under test, with a virtual clock of known error.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use tempfile::TempDir;

use crate::binaries::Program;
use crate::netns::Host;
use crate::observation::Observation;
use crate::peers::SharedKey;
use crate::process::{self, Process};
use crate::wait;

/// How far the virtual clock is ahead at the start, in seconds: worth a step.
pub const VIRTUAL_OFFSET: f64 = 0.25;
/// How much too fast it runs, in parts per million: more than the filter's first guess, less than it can correct.
pub const VIRTUAL_FREQUENCY_PPM: f64 = 40.0;

/// For a daemon to end after SIGTERM.
const END: Duration = Duration::from_secs(20);

/// A directory with a configuration, the state and the socket of one daemon, which may be started repeatedly.
#[derive(Debug)]
pub struct Setup {
    directory: TempDir,
    text: String,
}

impl Setup {
    /// A configuration that agrees with any `minimum_agreeing` sources, and has none yet.
    ///
    /// # Panics
    /// If there is no temporary directory to be had.
    pub fn new(minimum_agreeing: usize) -> Self {
        let directory = match tempfile::Builder::new().prefix("ntpe2e-").tempdir() {
            Ok(directory) => directory,
            Err(error) => panic!("cannot create a temporary directory: {error}"),
        };
        let path = directory.path().display();
        let text = format!(
            "[observability]\nlog-level = \"debug\"\nobservation-path = \"{path}/observe\"\n\
             [state]\ndirectory = \"{path}/state\"\n\
             [control]\npath = \"{path}/control\"\n\
             [clock]\nkind = \"virtual\"\nvirtual-offset = {VIRTUAL_OFFSET:?}\n\
             virtual-frequency = {VIRTUAL_FREQUENCY_PPM:?}\n\
             [synchronization]\nminimum-agreeing-sources = {minimum_agreeing}\n",
        );
        if let Err(error) = fs::create_dir(directory.path().join("state")) {
            panic!("cannot create the state directory: {error}");
        }
        Self { directory, text }
    }

    /// Adds a `[[source]]` of mode `server` at `address`, polled every 2 s, since tests have no patience.
    #[must_use]
    pub fn server(self, address: &str) -> Self {
        self.source(&format!(
            "mode = \"server\"\naddress = \"{address}\"\n{EAGER}"
        ))
    }

    /// As [`server`](Self::server), with more keys.
    #[must_use]
    pub fn server_with(self, address: &str, keys: &str) -> Self {
        self.source(&format!(
            "mode = \"server\"\naddress = \"{address}\"\n{EAGER}\n{keys}"
        ))
    }

    /// Adds a `[[source]]` of mode `server` at `address` with the default poll intervals.
    #[must_use]
    pub fn patient_server(self, address: &str) -> Self {
        self.source(&format!("mode = \"server\"\naddress = \"{address}\""))
    }

    /// Adds a `[[source]]` of mode `pool` with at most `count` members.
    #[must_use]
    pub fn pool(self, address: &str, count: usize) -> Self {
        self.source(&format!(
            "mode = \"pool\"\naddress = \"{address}\"\ncount = {count}\n{EAGER}"
        ))
    }

    fn source(mut self, keys: &str) -> Self {
        let _ = writeln!(self.text, "[[source]]\n{keys}");
        self
    }

    /// Adds text at the end of the file.
    #[must_use]
    pub fn with(mut self, text: &str) -> Self {
        let _ = writeln!(self.text, "{text}");
        self
    }

    /// Replaces text of the file, which must be there.
    ///
    /// # Panics
    /// If it is not.
    #[must_use]
    pub fn replacing(mut self, old: &str, new: &str) -> Self {
        assert!(self.text.contains(old), "{old} is not in\n{}", self.text);
        self.text = self.text.replace(old, new);
        self
    }

    /// Writes a file beside the configuration, readable to nobody else, and returns its path.
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

    /// Writes a file into a folder beside the configuration, `ntp.toml.d/x.toml` say, as an administrator would, and returns its path.
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

    /// Adds a key file with these keys, and the section that names it.
    ///
    /// # Panics
    /// If it cannot be written.
    #[must_use]
    pub fn keys(self, keys: &[SharedKey]) -> Self {
        let lines: String = keys.iter().map(SharedKey::chrony).collect();
        let path = self.file("ntp.keys", &lines);
        self.with(&format!("[keys]\npath = \"{}\"", path.display()))
    }

    /// The observation socket.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("observe")
    }

    /// The control socket.
    pub fn control(&self) -> PathBuf {
        self.directory.path().join("control")
    }

    /// Changes the file as it is on disk, under the daemon's feet; it is written anew when a program is started.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn rewrite(&self, change: impl FnOnce(&str) -> String) {
        let path = self.directory.path().join("ntp.toml");
        if let Err(error) = fs::write(&path, change(&self.text)) {
            panic!("cannot write {}: {error}", path.display());
        }
    }

    /// The state directory.
    pub fn state(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    /// Starts the daemon on `host`, or in the test's own network.
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
        if let Err(error) = fs::write(&path, &self.text) {
            panic!("cannot write {}: {error}", path.display());
        }
        let mut command = process::command(host, program.path());
        command.arg("-c").arg(path);
        command
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
const EAGER: &str = "poll-interval-limits = { min = 1, max = 1 }\ninitial-poll-interval = 1";

/// A running daemon. It ends when dropped.
#[derive(Debug)]
pub struct Daemon {
    /// The program.
    pub process: Process,
    socket: PathBuf,
}

impl Daemon {
    /// Its state.
    ///
    /// # Errors
    /// If its socket is not there yet, or does not give a frame.
    pub fn observe(&self) -> io::Result<Observation> {
        Observation::read(&self.socket)
    }

    /// Waits until it says something for which `accept` holds, and returns that.
    ///
    /// # Panics
    /// If it ends, or does not say so within `limit`. The message contains `what`, and what it said last.
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
                "ntp-daemon ended instead of: {what}"
            );
            last = self.observe().ok();
            last.take_if(|observation| accept(observation))
        });
        match accepted {
            Some(observation) => observation,
            None => panic!("waited {limit:?} in vain for: {what}; last seen: {last:#?}"),
        }
    }

    /// Waits until its clock follows its sources, and returns what it says then.
    ///
    /// # Panics
    /// If it does not within `limit`.
    pub fn wait_synchronized(&mut self, limit: Duration) -> Observation {
        self.wait_until(limit, "synchronisation", Observation::is_synchronized)
    }

    /// Sends it SIGTERM, and returns how it ended.
    ///
    /// # Panics
    /// If it does not end.
    pub fn stop(&mut self) -> ExitStatus {
        self.process.terminate(END)
    }
}

/// Asserts that the clock's true error is no larger than the bound that the daemon claims, nor than `worst` seconds.
///
/// # Panics
/// If it is.
#[track_caller]
pub fn assert_truth_inside(observation: &Observation, worst: f64) {
    let error = observation.true_offset().abs();
    let bound = observation.error_bound();
    assert!(
        error <= bound,
        "true error {error} s outside of the claimed bound {bound} s"
    );
    assert!(
        error <= worst,
        "true error {error} s (bound {bound} s), expected below {worst} s"
    );
}

/// The names of the files in `directory`.
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
