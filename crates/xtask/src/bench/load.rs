//! The load generators, as processes on their own processor.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::build;
use super::namespaces::{End, Namespaces, Priority};

/// The load generators and where they run.
#[derive(Debug)]
pub(super) struct Generator<'a> {
    namespaces: &'a Namespaces,
    processor: u16,
    priority: Priority,
    program: PathBuf,
    key_exchanges: PathBuf,
    /// The trusted certificate, if NTS is used.
    authority: Option<PathBuf>,
}

/// The report of a run.
#[derive(Clone, Debug)]
pub(super) struct Outcome(Value);

impl<'a> Generator<'a> {
    pub(super) fn new(namespaces: &'a Namespaces, processor: u16) -> Result<Self, String> {
        Ok(Self {
            namespaces,
            processor,
            priority: Priority::RealTime,
            program: build::binary("test-binaries", "ntp-load")?,
            key_exchanges: build::binary("test-binaries", "nts-ke-load")?,
            authority: None,
        })
    }

    /// Sets the only trusted certificate. The system's certificates are not read, which would take
    /// longer than an exchange.
    pub(super) fn with_authority(mut self, certificate: &Path) -> Self {
        self.authority = Some(certificate.to_owned());
        self
    }

    /// Runs with normal priority, for runs of minutes.
    pub(super) fn with_normal_priority(mut self) -> Self {
        self.priority = Priority::Normal;
        self
    }

    /// Runs `ntp-load`; `further` are more of its options, including the source addresses.
    pub(super) fn run(
        &self,
        target: SocketAddr,
        rate: f64,
        duration: Duration,
        further: &[String],
    ) -> Result<Outcome, String> {
        self.report(&self.program, |command| {
            command
                .arg(target.to_string())
                .args(["--json", "--timeout", "0.2"])
                .args(["--rate", &rate.to_string()])
                .args(["--duration", &duration.as_secs_f64().to_string()])
                .args(further);
        })
    }

    /// Exchanges keys `count` times, and measures the processor time of the process.
    pub(super) fn exchange_keys(
        &self,
        target: SocketAddr,
        process: u32,
        count: u32,
    ) -> Result<Outcome, String> {
        self.report(&self.key_exchanges, |command| {
            command
                .arg(target.to_string())
                .args(["--json", "--process", &process.to_string()])
                .args(["--count", &count.to_string()]);
        })
    }

    fn report(
        &self,
        program: &Path,
        arguments: impl FnOnce(&mut Command),
    ) -> Result<Outcome, String> {
        let mut command =
            self.namespaces
                .command(End::Client, self.processor, self.priority, program);
        arguments(&mut command);
        if let Some(authority) = &self.authority {
            command.env("SSL_CERT_FILE", authority);
        }
        let output = command
            .stderr(Stdio::inherit())
            .output()
            .map_err(|error| format!("the load generator cannot be started: {error}"))?;
        let outcome = serde_json::from_slice(&output.stdout);
        outcome
            .map(Outcome)
            .map_err(|error| format!("the load generator printed no report: {error}"))
    }
}

impl Outcome {
    /// Returns a count of the report, zero if it is absent.
    pub(super) fn count(&self, name: &str) -> u64 {
        self.0[name].as_u64().unwrap_or(0)
    }

    /// Processor time of the measured process in seconds.
    pub(super) fn process_cpu(&self) -> Option<f64> {
        self.0["process_cpu_seconds"].as_f64()
    }

    pub(super) fn loss(&self) -> f64 {
        self.0["loss"].as_f64().unwrap_or(1.0)
    }

    pub(super) fn latency_us(&self, percentile: &str) -> f64 {
        self.0["latency_us"][percentile]
            .as_f64()
            .unwrap_or(f64::NAN)
    }

    /// Whether the generator could not keep up.
    pub(super) fn is_spoiled(&self) -> bool {
        self.0["spoiled"]
            .as_array()
            .is_none_or(|reasons| !reasons.is_empty())
    }
}
