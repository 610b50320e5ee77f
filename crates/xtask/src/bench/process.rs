//! Programs that run on the loopback interface with files of their own, what they take, and a figure beside its limit.
//!
//! The clock is a virtual one, or none: no right is needed.

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

/// How long a program may take to do what is waited for.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// A measured figure and what it should stay below.
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
        format!("{what:<52} {measured:>9.1} {unit:<3} at most {target:>5} {unit}{verdict}")
    }

    /// Prints all.
    ///
    /// # Errors
    /// If one of them is beyond its limit.
    pub(super) fn print(rows: &[Self]) -> Result<(), String> {
        for row in rows {
            println!("{}", row.line());
        }
        match rows.iter().find(|row| row.measured > row.target) {
            None => Ok(()),
            Some(row) => Err(format!("{} is more than it should be", row.what)),
        }
    }
}

/// Programs, and a place for their files.
pub(super) struct Stage<'a> {
    pub(super) files: &'a Path,
    pub(super) daemon: &'a Path,
    pub(super) ctl: &'a Path,
}

impl Stage<'_> {
    /// Starts a daemon with files of its own, which `text` begins the configuration of.
    ///
    /// Its user stays who it is, as with the packaged service, which systemd starts as its user. Otherwise root's daemon looks for a user that this
    /// machine may not have, and the C library then loads everything that could know one: with systemd's that is 0.4 MB which the packaged
    /// service does not have.
    pub(super) fn start(&self, name: &str, text: &str, clock: &str) -> Result<Running, String> {
        let place = self.files.join(name);
        fs::create_dir_all(&place).map_err(told)?;
        let path = |file: &str| place.join(file).display().to_string();
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
        let config = place.join("ntp.toml");
        fs::write(&config, text).map_err(told)?;
        Running::spawn(self.daemon, &config)
    }
}

/// A program that runs; it ends when dropped.
pub(super) struct Running {
    process: Child,
    pub(super) config: PathBuf,
}

impl Running {
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

    /// Of all threads that it has had (proc(5), `schedstat`: nanoseconds on a processor come first).
    pub(super) fn processor_milliseconds(&self) -> Result<f64, String> {
        let text = self.proc("schedstat")?;
        let nanoseconds = text
            .split_whitespace()
            .next()
            .and_then(|word| word.parse::<f64>().ok());
        nanoseconds
            .map(|nanoseconds| nanoseconds / 1e6)
            .ok_or_else(|| format!("not understood: {text}"))
    }

    pub(super) fn resident_megabytes(&self) -> Result<f64, String> {
        let text = self.proc("status")?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
        kilobytes
            .map(|kilobytes| kilobytes * 1024.0 / 1e6)
            .ok_or_else(|| "no resident set is told; did the program end?".to_owned())
    }

    fn proc(&self, file: &str) -> Result<String, String> {
        let path = format!("/proc/{}/{file}", self.process.id());
        fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub(super) fn source(address: SocketAddr) -> String {
    format!("[[source]]\nmode = \"server\"\naddress = \"{address}\"\n")
}

/// Ports that were free a moment ago.
pub(super) fn free_ports(count: usize) -> Result<Vec<u16>, String> {
    let sockets: Result<Vec<_>, _> = (0..count)
        .map(|_| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)))
        .collect();
    let ports = sockets
        .map_err(told)?
        .iter()
        .map(|socket| socket.local_addr().map(|address| address.port()))
        .collect::<Result<_, _>>();
    ports.map_err(told)
}

pub(super) fn free_tcp_port() -> Result<u16, String> {
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(told)?;
    Ok(socket.local_addr().map_err(told)?.port())
}

/// Where the exporter of a configuration listens.
pub(super) fn free_port_of(config: &Path) -> Result<SocketAddr, String> {
    let text = fs::read_to_string(config).map_err(told)?;
    let said = text
        .lines()
        .find_map(|line| line.strip_prefix("metrics-exporter-listen = "));
    said.and_then(|said| said.trim_matches('"').parse().ok())
        .ok_or_else(|| "the configuration names no address for the exporter".to_owned())
}

/// Gets a page, as soon as somebody listens.
pub(super) fn fetch(address: SocketAddr, path: &str) -> Result<(), String> {
    let begun = Instant::now();
    let mut stream = loop {
        match TcpStream::connect(address) {
            Ok(stream) => break stream,
            Err(error) if begun.elapsed() > PATIENCE => {
                return Err(format!("nobody listens at {address}: {error}"));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    stream.set_read_timeout(Some(PATIENCE)).map_err(told)?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(told)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).map_err(told)?;
    if answer.starts_with(b"HTTP/1.1 200") {
        Ok(())
    } else {
        Err(format!(
            "{path} was not answered: {}",
            String::from_utf8_lossy(&answer)
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
pub(super) fn told(error: std::io::Error) -> String {
    error.to_string()
}
