//! The load generators, as processes of their own with their own processor.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::arena::{Arena, End, Urgency};
use super::build;

/// The generator, where it runs.
#[derive(Debug)]
pub(super) struct Generator<'a> {
    arena: &'a Arena,
    processor: u16,
    urgency: Urgency,
    program: PathBuf,
    key_exchanges: PathBuf,
    /// Whose certificate is believed, if there is to be NTS.
    authority: Option<PathBuf>,
}

/// What it reported.
#[derive(Clone, Debug)]
pub(super) struct Outcome(Value);

impl<'a> Generator<'a> {
    pub(super) fn new(arena: &'a Arena, processor: u16) -> Result<Self, String> {
        Ok(Self {
            arena,
            processor,
            urgency: Urgency::First,
            program: build::binary("test-binaries", "ntp-load")?,
            key_exchanges: build::binary("test-binaries", "nts-ke-load")?,
            authority: None,
        })
    }

    /// It believes this certificate and no other, not even the system's: to read those takes longer than an exchange.
    pub(super) fn believing(mut self, certificate: &Path) -> Self {
        self.authority = Some(certificate.to_owned());
        self
    }

    /// It lets others go first, and may run for minutes.
    pub(super) fn patient(mut self) -> Self {
        self.urgency = Urgency::InTurn;
        self
    }

    /// One run; `further` are options of `ntp-load`, the addresses to send from among them.
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

    /// Exchanges keys `count` times, and watches what that costs the process.
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
        let mut command = self
            .arena
            .command(End::Client, self.processor, self.urgency, program);
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
            .map_err(|error| format!("the load generator did not report: {error}"))
    }
}

impl Outcome {
    /// A figure of the report, zero if there is none.
    pub(super) fn count(&self, name: &str) -> u64 {
        self.0[name].as_u64().unwrap_or(0)
    }

    /// Seconds of processor time of the process that was watched.
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

    /// Whether it was the generator that could not go on.
    pub(super) fn is_spoiled(&self) -> bool {
        self.0["spoiled"]
            .as_array()
            .is_none_or(|reasons| !reasons.is_empty())
    }
}
