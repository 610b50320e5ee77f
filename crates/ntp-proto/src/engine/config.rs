//! What the engine is told at the start.

use std::net::IpAddr;

use ntp_time::{Frequency, NtpDuration, ReferenceId, Stratum};

use crate::client::Terms;
use crate::discipline::{self, FrequencyPrior, Opinion, SteeringConfig};
use crate::leap::LeapHandling;

/// Everything that the operator decides about the engine.
#[derive(Clone, Debug, PartialEq)]
pub struct EngineConfig {
    /// The configured sources, in the order of the file.
    pub sources: Vec<SourceConfig>,
    /// Estimation and selection.
    pub discipline: discipline::Config,
    /// Steps, slews and panic thresholds.
    pub steering: SteeringConfig,
    /// Whether a step is told as a warning (upstream's `warn-on-jump`).
    pub warn_on_jump: bool,
    /// Stratum while unsynchronised; sources must be below it (upstream's `local-stratum`).
    pub local_stratum: Stratum,
    /// Reference ID while unsynchronised.
    pub local_reference_id: ReferenceId,
    /// What an earlier run learned about the oscillator.
    pub frequency_prior: Option<FrequencyPrior>,
    /// Disagreement of system and monotonic clock that counts as someone else's step, if the
    /// operator set one (upstream's `meddling-threshold`).
    pub meddling_threshold: Option<NtpDuration>,
    /// What the clock does at a leap second.
    pub leap_handling: LeapHandling,
    /// The clock as the shell found it.
    pub clock: ClockFacts,
}

/// What the shell knows of the clock before the engine touches it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClockFacts {
    /// The frequency correction in force.
    pub frequency: Frequency,
    /// Log2 of the resolution in seconds (RFC 5905 section 7.3).
    pub precision: i8,
    /// Whether the clock may be steered (`[clock] kind = "none"` says no).
    pub steerable: bool,
}

/// One `[[source]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceConfig {
    /// Canonical `host:port`, as shown everywhere.
    pub name: String,
    /// Where it is.
    pub host: Host,
    /// UDP port, or TCP port of the key exchange.
    pub port: u16,
    /// One server or several.
    pub kind: SourceKind,
    /// How to ask it.
    pub terms: Terms,
    /// What the operator thinks of it.
    pub opinion: Opinion,
}

/// A host as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// A literal address: never resolved.
    Address(IpAddr),
    /// A name for the resolver.
    Name(String),
}

/// The mode of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceKind {
    /// One server.
    Server,
    /// One server with NTS: host and port are those of its key exchange, which tells where the NTP server is.
    Nts,
    /// As many servers behind one name.
    Pool {
        /// Members wanted.
        count: usize,
        /// Addresses never used.
        ignore: Vec<IpAddr>,
    },
}

impl SourceConfig {
    /// How many associations this source is worth.
    pub fn wanted(&self) -> usize {
        match &self.kind {
            SourceKind::Server | SourceKind::Nts => 1,
            SourceKind::Pool { count, .. } => *count,
        }
    }

    /// Whether `address` may be used for it.
    pub fn permits(&self, address: IpAddr) -> bool {
        match &self.kind {
            SourceKind::Server | SourceKind::Nts => true,
            SourceKind::Pool { ignore, .. } => !ignore.contains(&address),
        }
    }
}
