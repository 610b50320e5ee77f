//! Debian's Prometheus server and promtool, unpacked into `target/arena` by `.ci/install-arenas`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::binaries::workspace_root;
use crate::files;
use crate::http;
use crate::process::{self, Process};
use crate::wait;

/// Time limit for the start of the server and for one reply.
const LIMIT: Duration = Duration::from_secs(60);

/// Returns why the programs cannot run here, or `None` if they can.
pub fn missing() -> Option<String> {
    for name in ["prometheus", "promtool"] {
        let path = program(name);
        match Command::new(&path).arg("--version").output() {
            Ok(output) if output.status.success() => {}
            other => return Some(format!("{} cannot be run: {other:?}", path.display())),
        }
    }
    None
}

/// Path of the program `name`.
pub fn program(name: &str) -> PathBuf {
    let unpacked = workspace_root()
        .join("target/arena/prometheus/usr/bin")
        .join(name);
    if unpacked.exists() {
        unpacked
    } else {
        Path::new("/usr/bin").join(name)
    }
}

/// A server that scrapes one exporter every second. Stopped when dropped.
#[derive(Debug)]
pub struct Prometheus {
    address: SocketAddr,
    _process: Process,
    _files: TempDir,
}

impl Prometheus {
    /// Starts a server with a job `ntpd-rs` for `target`, and with `rules`.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start(target: SocketAddr, rules: &Path) -> Self {
        let directory = files::temporary_directory();
        let config = directory.path().join("prometheus.yml");
        let text = format!(
            "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\nrule_files: [\"{}\"]\n\
             scrape_configs:\n  - job_name: ntpd-rs\n    static_configs: [{{ targets: [\"{target}\"] }}]\n",
            rules.display()
        );
        files::write(&config, text);
        let mut command = process::command(None, program("prometheus"));
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                directory.path().join("data").display()
            ))
            .arg("--web.listen-address=127.0.0.1:0");
        let process = Process::spawn("prometheus", command);
        let line = process.wait_for_line(LIMIT, "msg=\"Listening on\"");
        let address = line.split("address=").nth(1).map(str::trim);
        let Some(address) = address.and_then(|address| address.parse().ok()) else {
            panic!("no address in: {line}");
        };
        process.wait_for_line(LIMIT, "Server is ready");
        Self {
            address,
            _process: process,
            _files: directory,
        }
    }

    /// Requests `path` of the HTTP API. Returns the member `data` of the reply.
    ///
    /// # Panics
    /// If the request fails.
    pub fn get(&self, path: &str) -> Value {
        match http::get(self.address, path, &[], LIMIT).and_then(|reply| reply.json()) {
            Ok(mut reply) if reply["status"] == "success" => reply["data"].take(),
            other => panic!("Prometheus replied to {path}: {other:?}"),
        }
    }

    /// Latest value of a series, selected by name only.
    pub fn value(&self, name: &str) -> Option<f64> {
        let data = self.get(&format!("/api/v1/query?query={name}"));
        data["result"][0]["value"][1].as_str()?.parse().ok()
    }

    /// Waits until a series has a value.
    ///
    /// # Panics
    /// If it does not in time.
    pub fn wait_for_value(&self, name: &str, value: f64) {
        wait::until(LIMIT, &format!("{name} {value}"), || {
            (self.value(name) == Some(value)).then_some(())
        });
    }
}
