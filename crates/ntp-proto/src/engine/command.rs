//! What an operator may ask of the running engine, and what it answers.
//!
//! A command goes in with a number and comes out with that number as
//! [`Output::Completed`](super::Output::Completed), after everything that it led to. A refusal changes nothing.
//!
//! Sources are called by what an operator sees: the configured name (`host:port`), the host alone, the address in use, or
//! the number of the association. What fits several configured sources is refused, not guessed.

use core::fmt;

use ntp_time::{NtpDuration, PollInterval, SystemTime};

use super::SourceConfig;
use crate::discipline::Panic;

/// Names a command in its answer; chosen by the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommandId(pub u64);

/// A change that an operator asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Ask one more source.
    Add(SourceConfig),
    /// Ask this source no more, and forget it.
    Remove(String),
    /// Ask this source, or all, again after [`Command::Offline`], at once.
    Online(Option<String>),
    /// Send no request to this source, or to any, until told otherwise. What it said before counts as long as it is fresh.
    Offline(Option<String>),
    /// Measure this source, or all, in a burst. A server that asked for fewer requests gets none, nor one whose last burst is
    /// less than a minute old.
    Burst(Option<String>),
    /// Other settings for a source. If only poll intervals, opinions or the size of a pool change, its associations go on.
    Replace(String, SourceConfig),
    /// Close the gap to true time by a step now. `forced` goes past the panic thresholds.
    Step {
        /// Whether thresholds are passed over.
        forced: bool,
    },
}

/// For example `offline ntp.example:123`, in the words of `ntp-ctl`.
impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whom = |whom: &Option<String>| whom.clone().unwrap_or_else(|| "all sources".to_owned());
        match self {
            Self::Add(source) => write!(f, "add {}", source.name),
            Self::Remove(name) => write!(f, "remove {name}"),
            Self::Online(name) => write!(f, "online {}", whom(name)),
            Self::Offline(name) => write!(f, "offline {}", whom(name)),
            Self::Burst(name) => write!(f, "burst {}", whom(name)),
            Self::Replace(name, _) => write!(f, "set {name}"),
            Self::Step { forced: false } => f.write_str("step"),
            Self::Step { forced: true } => f.write_str("step --force"),
        }
    }
}

/// What a command did.
#[derive(Clone, Debug, PartialEq)]
pub enum Done {
    /// It concerned these configured sources, by name.
    Sources(Vec<String>),
    /// Bursts began at so many addresses; so many others are spared.
    Burst {
        /// Addresses that are being measured.
        started: usize,
        /// Addresses that were measured just now, or that want fewer requests.
        spared: usize,
    },
    /// The clock was stepped.
    Stepped {
        /// What it read before.
        from: SystemTime,
        /// By how much.
        by: NtpDuration,
    },
    /// The new configuration holds: what became of the configured sources.
    Reconfigured {
        /// Sources that were not there before.
        added: Vec<String>,
        /// Sources that are not asked any more.
        removed: Vec<String>,
        /// Sources that go on under other settings.
        changed: Vec<String>,
    },
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sources(names) => f.write_str(&names.join(", ")),
            Self::Burst { started, spared } => write!(f, "{started} started, {spared} spared"),
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

/// Why a command did nothing.
#[derive(Clone, Debug, PartialEq)]
pub enum Refusal {
    /// No source is called that.
    UnknownSource(String),
    /// Several configured sources are called that.
    AmbiguousSource(String, Vec<String>),
    /// The source is there already.
    DuplicateSource(String),
    /// So many sources are the most there can be.
    TooManySources(usize),
    /// The shortest poll interval would be longer than the longest.
    PollLimits(PollInterval, PollInterval),
    /// The clock is not ours to steer (`[clock] kind = "none"`).
    NotSteerable,
    /// Too few sources agree on what time it is.
    NoMajority {
        /// Those that agree.
        agreeing: usize,
        /// Those that would have to.
        needed: usize,
    },
    /// A panic threshold forbids the step.
    Panic {
        /// Which.
        which: Panic,
        /// The correction that would have been made.
        correction: NtpDuration,
        /// The threshold's value.
        limit: NtpDuration,
        /// What the clock reads.
        clock: SystemTime,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownSource(name) => write!(f, "no source is called {name:?}"),
            Self::AmbiguousSource(name, names) => {
                write!(f, "{name:?} may be each of {}", names.join(", "))
            }
            Self::DuplicateSource(name) => write!(f, "there is a source {name} already"),
            Self::TooManySources(most) => {
                write!(f, "there are {most} sources, and there can be no more")
            }
            Self::PollLimits(min, max) => write!(
                f,
                "the shortest poll interval ({min}) would be longer than the longest ({max})"
            ),
            Self::NotSteerable => {
                f.write_str("this clock is not steered ([clock] kind = \"none\")")
            }
            Self::NoMajority { agreeing, needed } => write!(
                f,
                "{agreeing} of the sources agree on the time, {needed} must (minimum-agreeing-sources, and more than half)"
            ),
            Self::Panic {
                which,
                correction,
                limit,
                clock,
            } => write!(
                f,
                "the clock says {clock}, the sources say {}: a correction of {correction}, and {} = {limit} does not allow it",
                *clock + *correction,
                which.key()
            ),
        }
    }
}
