//! Memory, size, and time until the first packet of the programs.
//!
//! | figure | method |
//! |---|---|
//! | time to first packet | processor time of the daemon process when its first request arrives; the median of [`STARTS`] starts, without warming up the loader's cache |
//! | processor time of a day | see `day` |
//! | memory | resident set (`VmRSS`), including shared pages of libraries, once the clients are synchronised |
//! | size | the program after `strip` |
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
    /// Also measure a release build from scratch
    #[arg(long)]
    build: bool,
}

/// Number of starts for the time to the first packet.
const STARTS: usize = 9;
/// Sources of the client.
const SOURCES: usize = 4;

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
