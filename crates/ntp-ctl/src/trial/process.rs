//! The daemon of the trial: its configuration, its process and its temporary directory.
//!
//! The configuration has the sections that decide about the opinion of the clock, and nothing that
//! could meet the running daemons: no server, no state, no socket outside the temporary directory,
//! and no reference clock whose device one daemon can read only.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ntp_config::Config;
use ntp_control_api::control::client::Client;
use ntp_control_api::control::methods::{GetStatus, NoInput};
use ntp_files::MAX_TEXT;
use ntp_os_clock::monotonic;
use ntp_time::NtpDuration;
use ntp_types::status::Status;
use toml::{Table, Value};

use crate::connect;
use crate::console::Failure;
use crate::settings_table::{merge, table};

/// Sections that decide about the opinion of the clock.
const SECTIONS: &[&str] = &[
    "source",
    "source-defaults",
    "synchronization",
    "keys",
    "leap",
    "nts",
];
/// Keys of `clock` that do.
const CLOCK: &[&str] = &["interface", "timestamp-mode"];
/// Modes of reference clocks whose device, segment or socket has one reader. Pulses are left out
/// with the clocks that number them.
const EXCLUSIVE: &[&str] = &["sock", "shm", "nmea", "pps"];

/// Time within which the daemon opens its control socket: it reads a few files.
const START_LIMIT: Duration = Duration::from_secs(20);
/// Timeout of a call.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The running daemon of the trial. It ends, and its directory is removed, when this is dropped.
pub(super) struct Trial {
    child: Child,
    directory: Directory,
    /// Sources that are not tried.
    pub(super) left_out: Vec<String>,
}

impl Trial {
    /// Starts the daemon with what a configuration has for the trial.
    pub(super) fn start(config: &Config) -> Result<Self, Failure> {
        let directory = Directory::new()?;
        let (table, left_out) = configuration(config, &directory.0);
        let failed = |error: &dyn std::fmt::Display| {
            Failure::Error(format!("Could not start the daemon of the trial: {error}"))
        };
        let text = toml::to_string(&table).map_err(|error| failed(&error))?;
        let path = directory.0.join("ntp.toml");
        ntp_files::replace(&path, text.as_bytes(), 0o600, None).map_err(|it| failed(&it))?;
        let log = ntp_files::create(&directory.0.join("log"), 0o600).map_err(|it| failed(&it))?;
        let output = log.try_clone().map_err(|it| failed(&it))?;
        let mut command = Command::new(program());
        command.arg("--config").arg(&path).stdin(Stdio::null());
        // A group of its own: Ctrl-C is for this program, which ends the daemon.
        command.stdout(output).stderr(log).process_group(0);
        // The service manager of the caller is not that of the daemon.
        command
            .env_remove("NOTIFY_SOCKET")
            .env_remove("WATCHDOG_USEC");
        let child = command.spawn().map_err(|error| {
            failed(&format_args!(
                "{}: {error}",
                command.get_program().to_string_lossy()
            ))
        })?;
        let mut trial = Self {
            child,
            directory,
            left_out,
        };
        trial.await_start()?;
        Ok(trial)
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "an interactive program waits in real time"
    )]
    fn await_start(&mut self) -> Result<(), Failure> {
        let deadline = monotonic() + NtpDuration::from(START_LIMIT);
        while self.connect().is_err() {
            let ended = !matches!(self.child.try_wait(), Ok(None));
            if ended || monotonic() > deadline {
                return Err(self.ended());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    fn connect(&self) -> std::io::Result<Client> {
        Client::connect(&self.directory.0.join("control"), TIMEOUT)
    }

    /// The state of the daemon.
    pub(super) fn status(&mut self) -> Result<Status, Failure> {
        let mut client = self.connect().map_err(|_| self.ended())?;
        let reply = connect::call::<GetStatus>(&mut client, &NoInput {})?;
        Ok(reply.status)
    }

    /// Why the daemon does not answer: the end of its log.
    fn ended(&self) -> Failure {
        let log = ntp_files::read(&self.directory.0.join("log"), MAX_TEXT).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        let last = lines[lines.len().saturating_sub(10)..].join("\n");
        Failure::Error(format!(
            "The daemon of the trial does not run. Its log:\n{last}"
        ))
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        // It has no state to save.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program beside this one, or the one of the search path.
fn program() -> PathBuf {
    let beside = std::env::current_exe().map(|it| it.with_file_name("ntp-daemon"));
    let beside = beside.ok().filter(|it| it.exists());
    beside.unwrap_or_else(|| PathBuf::from("ntp-daemon"))
}

/// A directory that others cannot enter, removed when dropped.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Result<Self, Failure> {
        let name = format!("ntp-trial-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let made = DirBuilder::new().mode(0o700).create(&path);
        made.map_err(|error| {
            Failure::Error(format!("Could not create {}: {error}", path.display()))
        })?;
        Ok(Self(path))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The configuration of the trial, and the names of sources that are left out.
fn configuration(config: &Config, directory: &Path) -> (Table, Vec<String>) {
    let mut all = Table::new();
    let mut sources = Vec::new();
    let mut left_out = Vec::new();
    for section in config.outline() {
        let mut settings = table(&section);
        match section.name.as_str() {
            "source" => {
                let mode = settings.get("mode").and_then(Value::as_str);
                match EXCLUSIVE.iter().find(|it| Some(**it) == mode) {
                    Some(mode) => left_out.push(format!("a source with mode = \"{mode}\"")),
                    None => sources.push(Value::Table(settings)),
                }
            }
            "clock" => {
                settings.retain(|key, _| CLOCK.contains(&key));
                all.insert(section.name, Value::Table(settings));
            }
            name if SECTIONS.contains(&name) => {
                all.insert(section.name, Value::Table(settings));
            }
            _ => {}
        }
    }
    all.insert("source".into(), Value::Array(sources));
    let control = directory.join("control").display().to_string();
    let text = |value: &str| Value::String(value.to_owned());
    for (section, key, value) in [
        ("clock", "kind", text("none")),
        ("control", "path", Value::String(control)),
        ("state", "enabled", Value::Boolean(false)),
        // Only this user may read the directory.
        ("sandbox", "user", text("root")),
    ] {
        let one = Table::from_iter([(key.to_owned(), value)]);
        merge(
            &mut all,
            Table::from_iter([(section.to_owned(), Value::Table(one))]),
        );
    }
    (all, left_out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nothing of the trial meets a daemon that runs.
    #[test]
    fn the_configuration_of_the_trial_touches_nothing_of_others() {
        let text = "[[source]]\nmode = \"server\"\naddress = \"a\"\nkey = 1\n\
             poll-interval-limits = { min = 4, max = 5 }\n\
             [[source]]\nmode = \"sock\"\npath = \"/run/a\"\nprecision = 1e-6\n\
             [[server]]\nlisten = \"[::]:123\"\n\
             [keys]\npath = \"/etc/keys\"\n\
             [clock]\nkind = \"system\"\ninterface = \"eth0\"\n\
             [control]\npath = \"/run/c\"\ngroup = \"adm\"\n\
             [observability]\nobservation-path = \"/run/o\"\nlog-path = \"/var/log/x\"\n\
             [state]\ndirectory = \"/var/lib/x\"\n\
             [synchronization]\nminimum-agreeing-sources = 1\n\
             [synchronization.algorithm]\nstep-threshold = 1\n";
        let (config, _) = ntp_config::parse(text, "ntp.toml").unwrap();
        let (table, left_out) = configuration(&config, Path::new("/tmp/t"));
        let expected = "[[source]]\nmode = \"server\"\naddress = \"a\"\nkey = 1\n\
             poll-interval-limits = { min = 4, max = 5 }\n\
             [keys]\npath = \"/etc/keys\"\n\
             [clock]\nkind = \"none\"\ninterface = \"eth0\"\n\
             [control]\npath = \"/tmp/t/control\"\n[state]\nenabled = false\n\
             [sandbox]\nuser = \"root\"\n\
             [synchronization]\nminimum-agreeing-sources = 1\n\
             [synchronization.algorithm]\nstep-threshold = 1\n";
        assert_eq!(table, expected.parse().unwrap());
        assert_eq!(left_out, ["a source with mode = \"sock\""]);
        assert!(ntp_config::parse(&toml::to_string(&table).unwrap(), "trial").is_ok());
    }
}
