//! The load generator, as a process of its own with its own processor.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
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
        })
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
        let output = self
            .arena
            .command(End::Client, self.processor, self.urgency, &self.program)
            .arg(target.to_string())
            .args(["--json", "--patience", "0.2"])
            .args(["--rate", &rate.to_string()])
            .args(["--duration", &duration.as_secs_f64().to_string()])
            .args(further)
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
