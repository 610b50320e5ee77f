//! Results and refusals of operator commands.

use core::fmt;

use ntp_time::{Frequency, NtpDuration, PollInterval, SystemTime};

use super::RefusedStep;

/// Identifies a command in its result; chosen by the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommandId(pub u64);

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
    /// The clock was corrected by entered times.
    TimeSet {
        /// What was added to the clock, or is being added by a slew.
        correction: NtpDuration,
        /// Frequency error of the oscillator as it is known now.
        frequency: Frequency,
        /// The change of it.
        change: Frequency,
    },
    /// Nothing to report.
    Done,
    /// The new configuration is in force.
    Reconfigured {
        /// New sources.
        added: Vec<String>,
        /// Removed sources.
        removed: Vec<String>,
        /// Sources that were kept with other settings.
        changed: Vec<String>,
        /// Sources whose server denied access and is tried again now.
        retried: Vec<String>,
    },
}

impl fmt::Display for CommandOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sources(names) => f.write_str(&names.join(", ")),
            Self::Burst { started, skipped } => write!(f, "{started} started, {skipped} skipped"),
            Self::Stepped { from, by } => write!(f, "from {from} by {by}"),
            Self::TimeSet { correction, .. } => write!(f, "corrected by {correction}"),
            Self::Done => Ok(()),
            Self::Reconfigured {
                added,
                removed,
                changed,
                retried,
            } => write!(
                f,
                "{} sources added, {} removed, {} changed, {} tried again",
                added.len(),
                removed.len(),
                changed.len(),
                retried.len()
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
    /// The `count` of a pool exceeds the number of servers that are used at most.
    LargePool(usize),
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
    Panic(RefusedStep),
    /// No time may be entered.
    ManualDisabled,
    /// A majority of sources determines the time.
    SourceAvailable,
    /// There is no entered time of this index.
    UnknownEntry(usize),
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
            Self::LargePool(limit) => {
                write!(
                    f,
                    "at most {limit} servers of a pool are used: lower `count`"
                )
            }
            Self::PollLimits(min, max) => write!(
                f,
                "the minimum poll interval ({min}) exceeds the maximum ({max})"
            ),
            Self::NotSteerable => f.write_str("the clock is not steered ([clock] kind = \"none\")"),
            Self::NoMajority { agreeing, needed } => write!(
                f,
                "{agreeing} sources agree, {needed} required (minimum-agreeing-sources, and more than half)"
            ),
            Self::Panic(step) => step.fmt(f),
            Self::ManualDisabled => f.write_str(
                "manual time is off: `ntp-ctl manual on`, or `manual = true` in [clock]",
            ),
            Self::SourceAvailable => f.write_str("the clock follows its sources"),
            Self::UnknownEntry(index) => write!(f, "no entry {index} (see `ntp-ctl manual list`)"),
            Self::Stopped => f.write_str("the daemon is stopping"),
        }
    }
}
