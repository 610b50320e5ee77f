//! Operator commands, their results and refusals.
//!
//! Every command carries an ID and is answered by [`Output::Completed`](super::Output::Completed)
//! with that ID, after all outputs that it causes. A refused command changes nothing.
//!
//! A command identifies a source by its configured name (`host:port`), its host alone, the address
//! in use, or the number of an association. A name that matches several configured sources is
//! refused.

use core::fmt;

use ntp_time::{NtpDuration, PollInterval, SystemTime};
use serde::{Deserialize, Serialize};

use super::SourceConfig;
use crate::discipline::Panic;

/// Identifies a command in its result; chosen by the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommandId(pub u64);

/// A change requested by an operator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Command {
    /// Adds a source.
    Add(SourceConfig),
    /// Removes a source.
    Remove(String),
    /// Resumes polling of this source, or of all, immediately. Reverts [`Command::Offline`].
    Online(Option<String>),
    /// Suspends polling of this source, or of all. Earlier measurements are used as long as they
    /// are fresh.
    Offline(Option<String>),
    /// Starts a burst of requests to this source, or to all. Skips servers that sent a RATE kiss
    /// and those whose last burst began less than a minute ago.
    Burst(Option<String>),
    /// Replaces the settings of a source. If only poll limits, selection options or the size of a
    /// pool change, its associations are kept.
    Replace(String, SourceConfig),
    /// Steps the clock to the estimated true time now.
    Step {
        /// Whether to ignore the panic thresholds.
        forced: bool,
    },
}

/// Formats the command as `ntp-ctl` spells it, for example `offline ntp.example:123`.
impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let selected =
            |name: &Option<String>| name.clone().unwrap_or_else(|| "all sources".to_owned());
        match self {
            Self::Add(source) => write!(f, "add {}", source.name),
            Self::Remove(name) => write!(f, "remove {name}"),
            Self::Online(name) => write!(f, "online {}", selected(name)),
            Self::Offline(name) => write!(f, "offline {}", selected(name)),
            Self::Burst(name) => write!(f, "burst {}", selected(name)),
            Self::Replace(name, _) => write!(f, "set {name}"),
            Self::Step { forced: false } => f.write_str("step"),
            Self::Step { forced: true } => f.write_str("step --force"),
        }
    }
}

/// Result of a command that was carried out.
#[derive(Clone, Debug, PartialEq)]
pub enum CommandOutcome {
    /// The configured sources that were affected, by name.
    Sources(Vec<String>),
    /// Bursts were started.
    Burst {
        /// Number of addresses with a new burst.
        started: usize,
        /// Number of addresses without: offline, rate-limited by the server, or measured recently.
        skipped: usize,
    },
    /// The clock was stepped.
    Stepped {
        /// Reading of the clock before the step.
        from: SystemTime,
        /// Size of the step.
        by: NtpDuration,
    },
    /// The new configuration is in force.
    Reconfigured {
        /// New sources.
        added: Vec<String>,
        /// Removed sources.
        removed: Vec<String>,
        /// Sources that were kept with other settings.
        changed: Vec<String>,
    },
}

impl fmt::Display for CommandOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sources(names) => f.write_str(&names.join(", ")),
            Self::Burst { started, skipped } => write!(f, "{started} started, {skipped} skipped"),
            Self::Stepped { from, by } => write!(f, "from {from} by {by}"),
            Self::Reconfigured {
                added,
                removed,
                changed,
            } => write!(
                f,
                "{} sources added, {} removed, {} changed",
                added.len(),
                removed.len(),
                changed.len()
            ),
        }
    }
}

/// Reason why a command was refused.
#[derive(Clone, Debug, PartialEq)]
pub enum Refusal {
    /// No source matches this name.
    UnknownSource(String),
    /// Several configured sources match this name.
    AmbiguousSource(String, Vec<String>),
    /// A source with this name exists already.
    DuplicateSource(String),
    /// The number of sources is at its limit.
    TooManySources(usize),
    /// The minimum poll interval exceeds the maximum.
    PollLimits(PollInterval, PollInterval),
    /// The clock is not steered (`[clock] kind = "none"`).
    NotSteerable,
    /// Too few sources agree on the time.
    NoMajority {
        /// Number of agreeing sources.
        agreeing: usize,
        /// Number required.
        needed: usize,
    },
    /// A panic threshold forbids the step.
    Panic {
        /// The threshold.
        which: Panic,
        /// The correction that was refused.
        correction: NtpDuration,
        /// The threshold's value.
        limit: NtpDuration,
        /// Reading of the clock.
        clock: SystemTime,
    },
    /// The engine has halted or been shut down; nothing is carried out any more.
    Stopped,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownSource(name) => write!(f, "unknown source {name:?}"),
            Self::AmbiguousSource(name, names) => {
                write!(f, "{name:?} is ambiguous, it matches {}", names.join(", "))
            }
            Self::DuplicateSource(name) => write!(f, "source {name} already exists"),
            Self::TooManySources(limit) => write!(f, "too many sources (limit {limit})"),
            Self::PollLimits(min, max) => write!(
                f,
                "the minimum poll interval ({min}) exceeds the maximum ({max})"
            ),
            Self::NotSteerable => f.write_str("the clock is not steered ([clock] kind = \"none\")"),
            Self::NoMajority { agreeing, needed } => write!(
                f,
                "{agreeing} sources agree, {needed} required (minimum-agreeing-sources, and more than half)"
            ),
            Self::Panic {
                which,
                correction,
                limit,
                clock,
            } => write!(
                f,
                "the clock reads {clock}, the sources {}: the correction of {correction} exceeds {} = {limit}",
                *clock + *correction,
                which.key()
            ),
            Self::Stopped => f.write_str("the daemon is stopping"),
        }
    }
}
