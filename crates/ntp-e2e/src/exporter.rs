//! The metrics exporter under test.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use crate::binaries::Program;
use crate::daemon::Setup;
use crate::http::{self, Reply};
use crate::process::Process;
use crate::wait;

/// Time limit for the start of the exporter and for one reply.
const LIMIT: Duration = Duration::from_secs(60);

/// A running exporter. Stopped when dropped.
#[derive(Debug)]
pub struct Exporter {
    /// The program.
    pub process: Process,
    /// Address of the HTTP listener.
    pub address: SocketAddr,
}

impl Setup {
    /// Configures the exporter to listen at `address`.
    #[must_use]
    pub fn with_exporter_at(self, address: &str) -> Self {
        let key = format!("[observability]\nmetrics-exporter-listen = \"{address}\"");
        self.replacing("[observability]", &key)
    }

    /// Starts the exporter with this configuration and further `arguments`. Returns when it
    /// listens.
    ///
    /// # Panics
    /// If it does not listen in time.
    pub fn start_exporter(&self, arguments: &[&str]) -> Exporter {
        let mut command = self.command(None, Program::Exporter);
        command.args(arguments);
        let process = Process::spawn("ntp-metrics-exporter", command);
        let line = process.wait_for_line(LIMIT, "starting ntp-metrics-exporter on ");
        let address = line
            .split("http://")
            .nth(1)
            .and_then(|rest| rest.trim_end_matches('/').parse().ok());
        let Some(address) = address else {
            panic!("no address in: {line}");
        };
        Exporter { process, address }
    }
}

impl Exporter {
    /// Requests `path` with further header lines.
    ///
    /// # Errors
    /// If there is no valid reply.
    pub fn get(&self, path: &str, headers: &[&str]) -> io::Result<Reply> {
        http::get(self.address, path, headers, LIMIT)
    }

    /// All samples of `/metrics`, by name with labels as written.
    ///
    /// # Panics
    /// If there is no valid reply.
    pub fn samples(&self) -> BTreeMap<String, f64> {
        match self.get("/metrics", &[]) {
            Ok(reply) if reply.status == 200 => samples(&reply.body),
            other => panic!("no metrics: {other:?}"),
        }
    }

    /// Waits until the sample `name` has `value`.
    ///
    /// # Panics
    /// If it does not in time.
    pub fn wait_for_sample(&self, name: &str, value: f64) {
        wait::until(LIMIT, &format!("{name} {value}"), || {
            (self.samples().get(name) == Some(&value)).then_some(())
        });
    }
}

/// Parses the samples of a Prometheus text, by name with labels as written.
///
/// # Panics
/// If a line is not a sample.
pub fn samples(text: &str) -> BTreeMap<String, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let sample = line
                .rsplit_once(' ')
                .and_then(|(name, value)| Some((name.to_owned(), value.parse().ok()?)));
            match sample {
                Some(sample) => sample,
                None => panic!("not a sample: {line}"),
            }
        })
        .collect()
}
