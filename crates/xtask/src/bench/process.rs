//! Processes on the loopback interface with their own files, their resource usage, and figures
//! with limits.
//!
//! The clock is a virtual one, or none: no privilege is needed.

#![expect(
    clippy::disallowed_methods,
    reason = "a measurement on the real machine, in real time"
)]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Time limit of each step of a program.
pub(super) const TIMEOUT: Duration = Duration::from_secs(60);

/// A measured figure and its limit.
pub(super) struct Row {
    pub(super) what: &'static str,
    pub(super) measured: f64,
    pub(super) target: f64,
    pub(super) unit: &'static str,
}

impl Row {
    fn line(&self) -> String {
        let Self {
            what,
            measured,
            target,
            unit,
        } = self;
        let verdict = if measured <= target { "" } else { "  MISSED" };
        format!("{what:<52} {measured:>9.2} {unit:<3} at most {target:>5} {unit}{verdict}")
    }

    /// Prints all rows.
    ///
    /// # Errors
    /// If one of them exceeds its limit.
    pub(super) fn print(rows: &[Self]) -> Result<(), String> {
        for row in rows {
            println!("{}", row.line());
        }
        match rows.iter().find(|row| row.measured > row.target) {
            None => Ok(()),
            Some(row) => Err(format!("{} exceeds its limit", row.what)),
        }
    }
}

/// Programs, and a directory for their files.
pub(super) struct Programs<'a> {
    pub(super) files: &'a Path,
    pub(super) daemon: &'a Path,
    pub(super) ctl: &'a Path,
}

impl Programs<'_> {
    /// Starts a daemon with its own files; `text` is the first part of its configuration.
    ///
    /// It does not switch its user, like the packaged service, which systemd starts as its user.
    /// Otherwise a daemon started by root would look up a user that may not exist, for which the C
    /// library loads all name services: with systemd's these are 0.4 MB, which the packaged service
    /// does not load.
    pub(super) fn start(&self, name: &str, text: &str, clock: &str) -> Result<Process, String> {
        let directory = self.files.join(name);
        fs::create_dir_all(&directory).map_err(to_text)?;
        let path = |file: &str| directory.join(file).display().to_string();
        let text = format!(
            "{text}{}[clock]\nkind = \"{clock}\"\n[sandbox]\nuser = \"root\"\n[state]\ndirectory = \"{}\"\n[control]\npath = \"{}\"\n\
             [observability]\nobservation-path = \"{}\"\nlog-path = \"{}\"\nmetrics-exporter-listen = \"127.0.0.1:{}\"\n",
            if text.contains("[synchronization]") {
                ""
            } else {
                "[synchronization]\nminimum-agreeing-sources = 1\n"
            },
            path("state"),
            path("control"),
            path("observe"),
            path("log"),
            free_tcp_port()?,
        );
        let config = directory.join("ntp.toml");
        fs::write(&config, text).map_err(to_text)?;
        Process::spawn(self.daemon, &config)
    }
}

/// A running program; killed when dropped.
pub(super) struct Process {
    process: Child,
    pub(super) config: PathBuf,
}

impl Process {
    pub(super) fn spawn(program: &Path, config: &Path) -> Result<Self, String> {
        let process = Command::new(program)
            .arg("-c")
            .arg(config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("{}: {error}", program.display()))?;
        Ok(Self {
            process,
            config: config.to_path_buf(),
        })
    }

    /// Processor time of the process (proc(5), `schedstat`: the first field, in nanoseconds).
    pub(super) fn processor_milliseconds(&self) -> Result<f64, String> {
        let text = self.proc("schedstat")?;
        let nanoseconds = text
            .split_whitespace()
            .next()
            .and_then(|word| word.parse::<f64>().ok());
        nanoseconds
            .map(|nanoseconds| nanoseconds / 1e6)
            .ok_or_else(|| format!("invalid schedstat: {text}"))
    }

    /// Resident set in megabytes.
    pub(super) fn resident_megabytes(&self) -> Result<f64, String> {
        let text = self.proc("status")?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
        kilobytes
            .map(|kilobytes| kilobytes * 1024.0 / 1e6)
            .ok_or_else(|| "no resident set; did the program exit?".to_owned())
    }

    fn proc(&self, file: &str) -> Result<String, String> {
        let path = format!("/proc/{}/{file}", self.process.id());
        fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub(super) fn source(address: SocketAddr) -> String {
    format!("[[source]]\nmode = \"server\"\naddress = \"{address}\"\n")
}

/// Returns ports that were free at the time of the call.
pub(super) fn free_ports(count: usize) -> Result<Vec<u16>, String> {
    let sockets: Result<Vec<_>, _> = (0..count)
        .map(|_| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)))
        .collect();
    let ports = sockets
        .map_err(to_text)?
        .iter()
        .map(|socket| socket.local_addr().map(|address| address.port()))
        .collect::<Result<_, _>>();
    ports.map_err(to_text)
}

pub(super) fn free_tcp_port() -> Result<u16, String> {
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(to_text)?;
    Ok(socket.local_addr().map_err(to_text)?.port())
}

/// Returns the address of the exporter of a configuration.
pub(super) fn exporter_address(config: &Path) -> Result<SocketAddr, String> {
    let text = fs::read_to_string(config).map_err(to_text)?;
    let address = text
        .lines()
        .find_map(|line| line.strip_prefix("metrics-exporter-listen = "));
    address
        .and_then(|address| address.trim_matches('"').parse().ok())
        .ok_or_else(|| "the configuration has no address of the exporter".to_owned())
}

/// Fetches a page, and waits for the server to listen first.
pub(super) fn fetch(address: SocketAddr, path: &str) -> Result<(), String> {
    let start = Instant::now();
    let mut stream = loop {
        match TcpStream::connect(address) {
            Ok(stream) => break stream,
            Err(error) if start.elapsed() > TIMEOUT => {
                return Err(format!("{address} does not accept connections: {error}"));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    stream.set_read_timeout(Some(TIMEOUT)).map_err(to_text)?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(to_text)?;
    let mut response = Vec::new();
    stream.read_to_end(&mut response).map_err(to_text)?;
    if response.starts_with(b"HTTP/1.1 200") {
        Ok(())
    } else {
        Err(format!(
            "the request for {path} failed: {}",
            String::from_utf8_lossy(&response)
        ))
    }
}

pub(super) fn run(command: &mut Command) -> Result<(), String> {
    let shown = format!("{command:?}");
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{shown} failed: {status}")),
        Err(error) => Err(format!("{shown} cannot be started: {error}")),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is passed to map_err")]
pub(super) fn to_text(error: std::io::Error) -> String {
    error.to_string()
}
