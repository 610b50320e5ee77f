//! Foreign NTP clients against our server: chronyd, ntpsec's ntpd and ntpdig, and OpenBSD's rdate.
//!
//! None of them may set the clock ([`process`]); their measurements come from their logs or output.

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::files::{temporary_directory, write_in};
use crate::netns::Host;
use crate::peers::{self, SharedKey};
use crate::process::{self, Process};
use crate::wait;

/// Returns why the clients cannot run here, or `None` if they can.
pub fn missing() -> Option<String> {
    let mut ntpdig = ntpdig_command(Command::new("python3"));
    ntpdig.arg("--version");
    let rdate = Command::new(locate(RDATE)).output();
    match (ntpdig.output(), rdate) {
        (Err(error), _) => Some(format!("ntpdig cannot be run: {error}")),
        (_, Err(error)) => Some(format!("rdate cannot be run: {error}")),
        (Ok(output), _) if !output.status.success() => {
            let message = String::from_utf8_lossy(&output.stderr);
            Some(format!("ntpdig cannot be run: {}", message.trim()))
        }
        _ => None,
    }
}

/// A `server` directive of a client's configuration.
#[derive(Clone, Debug)]
pub struct ServerDirective {
    /// Address of the server.
    pub server: IpAddr,
    /// Number of the symmetric key.
    pub key: Option<u32>,
    /// Further options, in the client's syntax.
    pub options: &'static str,
}

impl ServerDirective {
    /// A directive without options.
    pub fn plain(server: IpAddr) -> Self {
        Self {
            server,
            key: None,
            options: "",
        }
    }

    fn line(&self) -> String {
        let key = self
            .key
            .map_or_else(String::new, |key| format!(" key {key}"));
        format!("server {}{key} {}\n", self.server, self.options)
    }
}

/// A running client that logs its measurements. Stopped when dropped.
#[derive(Debug)]
pub struct Client {
    /// The program.
    pub process: Process,
    files: TempDir,
    log: &'static str,
    /// Columns of the server's address and of the offset in seconds.
    columns: (usize, usize),
}

impl Client {
    /// All logged measurements of `server`, each as the words of its log line.
    pub fn measurements(&self, server: IpAddr) -> Vec<Vec<String>> {
        // The log file does not exist before the first measurement.
        let log = std::fs::read_to_string(self.files.path().join(self.log)).unwrap_or_default();
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect();
        let of_server = |words: &Vec<String>| {
            let address = words.get(self.columns.0).and_then(|word| word.parse().ok());
            address == Some(server)
        };
        log.lines().map(words).filter(of_server).collect()
    }

    /// Waits for a measurement of `server` that `accept` accepts. Returns its offset in seconds.
    ///
    /// # Panics
    /// If there is none within `limit`.
    pub fn wait_measured(
        &self,
        limit: Duration,
        server: IpAddr,
        accept: impl Fn(&[String]) -> bool,
    ) -> f64 {
        let found = wait::try_until(limit, || {
            let all = self.measurements(server);
            all.into_iter().rev().find(|words| accept(words))
        });
        let offset = found.as_ref().and_then(|words| words.get(self.columns.1));
        match offset.and_then(|word| word.parse().ok()) {
            Some(offset) => offset,
            None => panic!(
                "no such measurement of {server}: {:#?}",
                self.measurements(server)
            ),
        }
    }
}

/// Starts chronyd as a client.
///
/// # Panics
/// If it cannot be started.
pub fn chronyd(host: &Host, servers: &[ServerDirective], keys: &[SharedKey]) -> Client {
    let files = temporary_directory();
    let directory = files.path().display();
    let directives: String = servers.iter().map(ServerDirective::line).collect();
    let configuration = format!(
        "{directives}keyfile {directory}/keys\nlogdir {directory}\nlog rawmeasurements\n\
         port 0\ncmdport 0\nbindcmdaddress /\npidfile {directory}/chronyd.pid\n",
    );
    let lines: String = keys.iter().map(SharedKey::chrony).collect();
    write_in(&files, "keys", &lines);
    let command = peers::chronyd_command(host, &files, &configuration);
    Client {
        process: Process::spawn("chronyd as a client", command),
        files,
        log: "measurements.log",
        columns: (2, 11),
    }
}

/// Whether a line of chronyd's measurement log is of a reply in interleaved mode.
pub fn is_interleaved(words: &[String]) -> bool {
    words.iter().any(|word| word == "4I")
}

/// Starts ntpsec's ntpd as a client.
///
/// # Panics
/// If it cannot be started.
pub fn ntpsec(host: &Host, servers: &[ServerDirective], keys: &[SharedKey]) -> Client {
    let files = temporary_directory();
    let directory = files.path().display();
    let directives: String = servers.iter().map(ServerDirective::line).collect();
    let trusted: String = keys.iter().map(|key| format!(" {}", key.id)).collect();
    let trusted = if keys.is_empty() {
        String::new()
    } else {
        format!("trustedkey{trusted}\n")
    };
    let configuration = format!(
        "disable kernel\ndisable ntp\n{directives}keys {directory}/keys\n{trusted}\
         driftfile {directory}/drift\nstatsdir {directory}/\nstatistics peerstats\n\
         filegen peerstats file peerstats type none enable\n",
    );
    let lines: String = keys.iter().map(SharedKey::ntpsec).collect();
    write_in(&files, "keys", &lines);
    let command = peers::ntpd_command(host, &files, &configuration);
    Client {
        process: Process::spawn("ntpd of ntpsec as a client", command),
        files,
        log: "peerstats",
        columns: (2, 4),
    }
}

/// Queries `server` with rdate, an SNTP client. Returns its output.
///
/// # Panics
/// If it gets no reply.
pub fn rdate(host: &Host, server: IpAddr) -> String {
    let mut command = process::command(Some(host), locate(RDATE));
    // SNTP, verbose, print only.
    command.args(["-n", "-v", "-p", if server.is_ipv4() { "-4" } else { "-6" }]);
    command.arg(server.to_string());
    let mut process = Process::spawn("rdate", command);
    let status = process.wait_exit(Duration::from_secs(60));
    assert!(
        status.success(),
        "rdate got no reply from {server}: {status}"
    );
    process.lines().concat()
}

/// Queries `server` with ntpsec's ntpdig. Returns its output.
///
/// # Panics
/// If it gets no reply.
pub fn ntpdig(host: &Host, server: IpAddr, key: Option<&SharedKey>) -> String {
    let files = temporary_directory();
    let mut command = ntpdig_command(process::command(Some(host), "python3"));
    // One reply, as JSON.
    command.args(["-j", "-t", "10"]);
    if let Some(key) = key {
        let path = write_in(&files, "keys", &key.ntpsec());
        command
            .arg("-a")
            .arg(key.id.to_string())
            .arg("-k")
            .arg(path);
    }
    command.arg(server.to_string());
    let mut process = Process::spawn("ntpdig", command);
    let status = process.wait_exit(Duration::from_secs(60));
    assert!(
        status.success(),
        "ntpdig got no reply from {server}: {status}"
    );
    process.lines().concat()
}

fn ntpdig_command(mut command: Command) -> Command {
    let library = locate(PYTHON_NTP);
    command.env("PYTHONPATH", library).arg(locate(NTPDIG));
    command
}

/// Package and file.
type Unpacked = (&'static str, &'static str);
const RDATE: Unpacked = ("rdate", "usr/sbin/rdate");
const NTPDIG: Unpacked = ("ntpsec-ntpdig", "usr/bin/ntpdig");
const PYTHON_NTP: Unpacked = ("python3-ntp", "usr/lib/python3/dist-packages");

fn locate(what: Unpacked) -> PathBuf {
    PathBuf::from(peers::locate_program(what))
}
