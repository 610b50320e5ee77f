//! Memory, size, and time until the first packet of the programs.
//!
//! | figure | method |
//! |---|---|
//! | time to first packet | processor time of the daemon process when its first request arrives; the median of [`STARTS`] starts, without warming up the loader's cache |
//! | processor time of a day | see `day` |
//! | memory | resident set (`VmRSS`), including shared pages of libraries, once the clients are synchronised |
//! | size | the program after `strip` |
//! | small build | size of the programs that `pkg/small` builds, and whether they answer; on request, as it takes minutes |
//! | build | time of `cargo build --release` of the programs in an empty directory; on request only, as it takes minutes |
//!
//! Everything runs on the loopback interface with a virtual clock: no privilege is needed. Memory
//! does not depend on the load of the machine, and processor time hardly does.

#![expect(
    clippy::disallowed_methods,
    reason = "a measurement on the real machine, in real time"
)]

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use clap::Args;
use ntp_e2e::binaries::cargo;

use super::build;
use super::certificate::Certificate;
use super::process::{
    Process, Programs, Row, TIMEOUT, exporter_address, fetch, free_ports, free_tcp_port, run,
    source, to_text,
};

/// Additional measurements.
#[derive(Clone, Debug, Args)]
pub(super) struct Plan {
    /// Also build and measure the small programs
    #[arg(long)]
    small: bool,
    /// Also measure a release build from scratch
    #[arg(long)]
    build: bool,
}

/// Number of starts for the time to the first packet.
const STARTS: usize = 9;
/// Sources of the client.
const SOURCES: usize = 4;

/// Rows of the small programs without NTS, with their limits; `ntp-ctl` is an addition that not every
/// machine needs.
const SMALL_WITHOUT_NTS: [(&str, f64); 2] = [
    ("ntp-daemon: small build without NTS", 1.5),
    ("ntp-ctl: small build without NTS", f64::INFINITY),
];
/// The same with NTS.
const SMALL_WITH_NTS: [(&str, f64); 2] = [
    ("ntp-daemon: small build with NTS", 3.0),
    ("ntp-ctl: small build with NTS", f64::INFINITY),
];

pub(super) fn bench(plan: &Plan) -> Result<(), String> {
    let daemon = build::binary("ntpd", "ntp-daemon")?;
    let ctl = build::binary("ntpd", "ntp-ctl")?;
    let exporter = build::binary("ntpd", "ntp-metrics-exporter")?;
    let files = tempfile::tempdir().map_err(|error| error.to_string())?;
    let programs = Programs {
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
            programs.time_to_first_packet()?,
            50.0,
            "ms",
        ),
        row("ntp-daemon: stripped", programs.stripped()?, 8.0, "MB"),
    ];
    let memory = programs.memory(&exporter)?;
    rows.extend([
        row("client of four sources: memory", memory.client, 6.0, "MB"),
        row("server with NTS: memory", memory.server, 12.0, "MB"),
        row("metrics exporter: memory", memory.exporter, 10.0, "MB"),
        row(
            "client of four sources: processor time of a day",
            programs.processor_time_of_a_day()?,
            150.0,
            "ms",
        ),
    ]);
    if plan.small {
        rows.extend(programs.small("without-nts", SMALL_WITHOUT_NTS)?);
        rows.extend(programs.small("ring", SMALL_WITH_NTS)?);
    }
    if plan.build {
        rows.push(row(
            "cargo build --release from scratch",
            build_time()?,
            5.0,
            "min",
        ));
    }
    Row::print(&rows)
}

/// Resident megabytes.
struct Memory {
    client: f64,
    server: f64,
    exporter: f64,
}

impl Programs<'_> {
    /// Processor time to the first packet in milliseconds.
    fn time_to_first_packet(&self) -> Result<f64, String> {
        let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map_err(to_text)?;
        server.set_read_timeout(Some(TIMEOUT)).map_err(to_text)?;
        let address = server.local_addr().map_err(to_text)?;
        let mut times = Vec::with_capacity(STARTS);
        for _ in 0..STARTS {
            let daemon = self.start("start", &source(address), "virtual")?;
            server
                .recv_from(&mut [0; 512])
                .map_err(|error| format!("the daemon sent no request: {error}"))?;
            times.push(daemon.processor_milliseconds()?);
        }
        times.sort_by(f64::total_cmp);
        Ok(times[STARTS / 2])
    }

    /// Size of the stripped daemon in megabytes.
    fn stripped(&self) -> Result<f64, String> {
        let stripped = self.files.join("stripped");
        run(Command::new("strip")
            .arg("-o")
            .arg(&stripped)
            .arg(self.daemon))?;
        let length = fs::metadata(&stripped).map_err(to_text)?.len();
        Ok(length as f64 / 1e6)
    }

    fn memory(&self, exporter: &Path) -> Result<Memory, String> {
        let host = Ipv4Addr::LOCALHOST;
        let certificate = Certificate::new(self.files, host.into())?;
        let ports = free_ports(SOURCES)?;
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
        let exporter = Process::spawn(exporter, &client.config)?;
        let page = exporter_address(&client.config)?;
        for path in ["/", "/metrics", "/metrics"] {
            fetch(page, path)?;
        }
        Ok(Memory {
            client: client.resident_megabytes()?,
            server: server.resident_megabytes()?,
            exporter: exporter.resident_megabytes()?,
        })
    }

    /// Builds the small programs with `features`, lets them follow this daemon, and returns their
    /// sizes. `names` are those of the rows, each with its limit.
    fn small(&self, features: &str, names: [(&'static str, f64); 2]) -> Result<Vec<Row>, String> {
        let directory = build::small(features)?;
        let [daemon, ctl] = ["ntp-daemon", "ntp-ctl"].map(|name| directory.join(name));
        let port = free_ports(1)?[0];
        let serving = format!(
            "[[server]]\nlisten = \"127.0.0.1:{port}\"\nworkers = 1\n[synchronization]\nlocal-stratum = 1\n"
        );
        let _server = self.start(&format!("{features}-server"), &serving, "none")?;
        let path = |name: &str| {
            self.files
                .join(format!("{features}-{name}"))
                .display()
                .to_string()
        };
        let text = format!(
            "{}[synchronization]\nminimum-agreeing-sources = 1\n[clock]\nkind = \"virtual\"\n\
             [sandbox]\nuser = \"root\"\n[state]\ndirectory = \"{}\"\n[control]\npath = \"{}\"\n[observability]\nlog-path = \"{}\"\n",
            source((Ipv4Addr::LOCALHOST, port).into()),
            path("state"),
            path("control"),
            path("log"),
        );
        let config = path("ntp.toml");
        fs::write(&config, text).map_err(to_text)?;
        let _client = Process::spawn(&daemon, Path::new(&config))?;
        for command in [
            &["waitsync", "--timeout", "60s"][..],
            &["status"],
            &["sources"],
        ] {
            run(Command::new(&ctl)
                .args(command)
                .args(["-c", &config])
                .stdout(Stdio::null()))?;
        }
        let megabytes = |path| fs::metadata(path).map(|it| it.len() as f64 / 1e6);
        let sizes = [megabytes(&daemon), megabytes(&ctl)];
        let mut rows = Vec::with_capacity(2);
        for ((what, target), size) in names.into_iter().zip(sizes) {
            rows.push(Row {
                what,
                measured: size.map_err(to_text)?,
                target,
                unit: "MB",
            });
        }
        Ok(rows)
    }
}

/// Time of a release build in minutes.
fn build_time() -> Result<f64, String> {
    let directory = tempfile::tempdir().map_err(to_text)?;
    let start = Instant::now();
    run(cargo()
        .args([
            "build",
            "--quiet",
            "--release",
            "-p",
            "ntpd",
            "--target-dir",
        ])
        .arg(directory.path()))?;
    Ok(start.elapsed().as_secs_f64() / 60.0)
}
