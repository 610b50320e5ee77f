//! What the programs take of a machine: memory, size, and time until the first packet.
//!
//! | figure | how it is measured |
//! |---|---|
//! | time to first packet | processor time of the daemon, all of the process, when its first request arrives; the median of [`STARTS`] starts. Without the loader's cache being warmed on purpose |
//! | memory | resident set (`VmRSS`), shared pages of libraries included, once clients are synchronised |
//! | size | the program after `strip` |
//! | build | time of `cargo build --release` of the programs in an empty directory, on request only: it takes minutes |
//!
//! All of it happens on the loopback interface with a virtual clock: no right is needed. Memory does not depend on the machine's load, and processor time hardly.

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

use clap::Args;

use super::build;
use super::certificate::Certificate;

/// What to measure besides.
#[derive(Clone, Debug, Args)]
pub(super) struct Plan {
    /// Also how long a release build takes, from nothing
    #[arg(long)]
    build: bool,
}

/// How often the daemon is started for its time to the first packet.
const STARTS: usize = 9;
/// How long a program may take to do what is waited for.
const PATIENCE: Duration = Duration::from_secs(60);
/// Sources of the client.
const SOURCES: usize = 4;

/// A measured figure and what it should stay below.
struct Row {
    what: &'static str,
    measured: f64,
    target: f64,
    unit: &'static str,
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
        format!("{what:<44} {measured:>9.1} {unit:<3} at most {target:>5} {unit}{verdict}")
    }
}

pub(super) fn bench(plan: &Plan) -> Result<(), String> {
    let daemon = build::binary("ntpd", "ntp-daemon")?;
    let ctl = build::binary("ntpd", "ntp-ctl")?;
    let exporter = build::binary("ntpd", "ntp-metrics-exporter")?;
    let files = tempfile::tempdir().map_err(|error| error.to_string())?;
    let stage = Stage {
        files: files.path(),
        daemon: &daemon,
        ctl: &ctl,
    };
    let row = |what, measured, target, unit| Row {
        what,
        measured,
        target,
        unit,
    };
    let mut rows = vec![
        row(
            "ntp-daemon: processor time to first packet",
            stage.time_to_first_packet()?,
            50.0,
            "ms",
        ),
        row("ntp-daemon: stripped", stage.stripped()?, 8.0, "MB"),
    ];
    let memory = stage.memory(&exporter)?;
    rows.extend([
        row("client of four sources: memory", memory.client, 6.0, "MB"),
        row("server with NTS: memory", memory.server, 12.0, "MB"),
        row("metrics exporter: memory", memory.exporter, 10.0, "MB"),
    ]);
    if plan.build {
        rows.push(row(
            "cargo build --release from nothing",
            build_time()?,
            5.0,
            "min",
        ));
    }
    for row in &rows {
        println!("{}", row.line());
    }
    match rows.iter().find(|row| row.measured > row.target) {
        None => Ok(()),
        Some(row) => Err(format!("{} is more than it should be", row.what)),
    }
}

/// Programs, and a place for their files.
struct Stage<'a> {
    files: &'a Path,
    daemon: &'a Path,
    ctl: &'a Path,
}

/// Resident megabytes.
struct Memory {
    client: f64,
    server: f64,
    exporter: f64,
}

impl Stage<'_> {
    /// In milliseconds.
    fn time_to_first_packet(&self) -> Result<f64, String> {
        let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map_err(told)?;
        server.set_read_timeout(Some(PATIENCE)).map_err(told)?;
        let address = server.local_addr().map_err(told)?;
        let mut times = Vec::with_capacity(STARTS);
        for _ in 0..STARTS {
            let daemon = self.start("start", &source(address), "virtual")?;
            server
                .recv_from(&mut [0; 512])
                .map_err(|error| format!("no request came from the daemon: {error}"))?;
            times.push(daemon.processor_milliseconds()?);
        }
        times.sort_by(f64::total_cmp);
        Ok(times[STARTS / 2])
    }

    /// In megabytes.
    fn stripped(&self) -> Result<f64, String> {
        let stripped = self.files.join("stripped");
        run(Command::new("strip")
            .arg("-o")
            .arg(&stripped)
            .arg(self.daemon))?;
        let length = fs::metadata(&stripped).map_err(told)?.len();
        Ok(length as f64 / 1e6)
    }

    fn memory(&self, exporter: &Path) -> Result<Memory, String> {
        let host = Ipv4Addr::LOCALHOST;
        let certificate = Certificate::new(self.files, host.into())?;
        let ports = free_ports()?;
        let keys = SocketAddr::from((host, free_tcp_port()?));
        let listen = |port: &u16| format!("[[server]]\nlisten = \"{host}:{port}\"\nworkers = 1\n");
        let serving = format!(
            "{}[[nts-ke-server]]\nlisten = \"{keys}\"\ncertificate-chain-path = \"{}\"\nprivate-key-path = \"{}\"\nntp-port = {}\n\
             [synchronization]\nlocal-stratum = 1\n",
            ports.iter().map(listen).collect::<String>(),
            certificate.chain.display(),
            certificate.key.display(),
            ports[0],
        );
        let server = self.start("server", &serving, "none")?;
        let sources: String = ports
            .iter()
            .map(|port| source((host, *port).into()))
            .collect();
        let client = self.start("client", &sources, "virtual")?;
        let authenticated = format!(
            "[[source]]\nmode = \"nts\"\naddress = \"{keys}\"\ncertificate-authority = \"{}\"\n",
            certificate.chain.display()
        );
        let nts = self.start("nts", &authenticated, "virtual")?;
        for daemon in [&client, &nts] {
            run(Command::new(self.ctl)
                .args(["waitsync", "--timeout", "60s", "-c"])
                .arg(&daemon.config)
                .stdout(Stdio::null()))?;
        }
        let exporter = Running::spawn(exporter, &client.config)?;
        let page = free_port_of(&client.config)?;
        for path in ["/", "/metrics", "/metrics"] {
            fetch(page, path)?;
        }
        Ok(Memory {
            client: client.resident_megabytes()?,
            server: server.resident_megabytes()?,
            exporter: exporter.resident_megabytes()?,
        })
    }

    /// Starts a daemon with files of its own.
    ///
    /// Its user stays who it is, as with the packaged service, which systemd starts as its user. Otherwise root's daemon looks for a user that this
    /// machine may not have, and the C library then loads everything that could know one: with systemd's that is 0.4 MB which the packaged
    /// service does not have.
    fn start(&self, name: &str, text: &str, clock: &str) -> Result<Running, String> {
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
struct Running {
    process: Child,
    config: PathBuf,
}

impl Running {
    fn spawn(program: &Path, config: &Path) -> Result<Self, String> {
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
    fn processor_milliseconds(&self) -> Result<f64, String> {
        let text = self.proc("schedstat")?;
        let nanoseconds = text
            .split_whitespace()
            .next()
            .and_then(|word| word.parse::<f64>().ok());
        nanoseconds
            .map(|nanoseconds| nanoseconds / 1e6)
            .ok_or_else(|| format!("not understood: {text}"))
    }

    fn resident_megabytes(&self) -> Result<f64, String> {
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

fn source(address: SocketAddr) -> String {
    format!("[[source]]\nmode = \"server\"\naddress = \"{address}\"\n")
}

/// Ports that were free a moment ago.
fn free_ports() -> Result<Vec<u16>, String> {
    let sockets: Result<Vec<_>, _> = (0..SOURCES)
        .map(|_| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)))
        .collect();
    let ports = sockets
        .map_err(told)?
        .iter()
        .map(|socket| socket.local_addr().map(|address| address.port()))
        .collect::<Result<_, _>>();
    ports.map_err(told)
}

fn free_tcp_port() -> Result<u16, String> {
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(told)?;
    Ok(socket.local_addr().map_err(told)?.port())
}

/// Where the exporter of a configuration listens.
fn free_port_of(config: &Path) -> Result<SocketAddr, String> {
    let text = fs::read_to_string(config).map_err(told)?;
    let said = text
        .lines()
        .find_map(|line| line.strip_prefix("metrics-exporter-listen = "));
    said.and_then(|said| said.trim_matches('"').parse().ok())
        .ok_or_else(|| "the configuration names no address for the exporter".to_owned())
}

/// Gets a page, as soon as somebody listens.
fn fetch(address: SocketAddr, path: &str) -> Result<(), String> {
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

/// In minutes.
fn build_time() -> Result<f64, String> {
    let place = tempfile::tempdir().map_err(told)?;
    let begun = Instant::now();
    run(Command::new(env!("CARGO"))
        .args([
            "build",
            "--quiet",
            "--release",
            "-p",
            "ntpd",
            "--target-dir",
        ])
        .arg(place.path())
        .current_dir(build::root()))?;
    Ok(begun.elapsed().as_secs_f64() / 60.0)
}

fn run(command: &mut Command) -> Result<(), String> {
    let shown = format!("{command:?}");
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{shown} failed: {status}")),
        Err(error) => Err(format!("{shown} cannot be started: {error}")),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is passed to map_err")]
fn told(error: std::io::Error) -> String {
    error.to_string()
}
