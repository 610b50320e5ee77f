//! What happened, for people: logs, metrics and tests are all subscribers of these.
//!
//! Events that a stranger on the network can cause are thinned here, at the source, so that no
//! subscriber can be flooded (see `Thinner`): the first is told at once, the
//! rest of the hour only as a number.

use core::fmt;
use std::net::SocketAddr;

use ntp_time::{Frequency, LeapIndicator, NtpDuration, PollInterval, Stratum, SystemTime};

use super::{SendError, SourceId};
use crate::client::{Kiss, Rejection};
use crate::leap::LeapHandling;
use crate::nts::AeadAlgorithm;

/// How much an event matters to an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// For those who look closely.
    Debug,
    /// The normal course of things.
    Info,
    /// Something is wrong that the daemon can live with.
    Warning,
    /// Something is wrong that an operator must look at.
    Error,
}

/// Who an event is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The association.
    pub id: SourceId,
    /// The configured name, `host:port`.
    pub name: String,
    /// The address in use.
    pub address: SocketAddr,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.address.to_string();
        if self.name == address {
            f.write_str(&address)
        } else {
            write!(f, "{} ({address})", self.name)
        }
    }
}

/// Something happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// An association began.
    SourceAdded(Subject),
    /// An association ended.
    SourceRemoved(Subject, Removal),
    /// A source answers with usable time, for the first time or again.
    SourceReachable(Subject),
    /// A source does not answer any more.
    SourceUnreachable(Subject),
    /// A request could not be sent.
    SendFailed(Subject, SendError),
    /// A datagram was not accepted; `more` like it were not told since the last such event.
    ReplyRejected {
        /// On whose socket.
        subject: Subject,
        /// What was wrong with it.
        rejection: Rejection,
        /// Untold ones before it.
        more: u64,
    },
    /// The server asked for something.
    Kissed(Subject, Kiss, PollInterval),
    /// A name could not be looked up.
    ResolveFailed {
        /// The name.
        host: String,
        /// What the resolver said.
        error: String,
        /// When it will be tried again.
        retry: NtpDuration,
    },
    /// A name has no address that can be used.
    NoUsableAddress {
        /// The name.
        host: String,
    },
    /// Keys were exchanged with a source that uses NTS.
    KeysExchanged {
        /// The source's configured name.
        name: String,
        /// The cipher that was agreed on.
        algorithm: AeadAlgorithm,
        /// The NTP server.
        server: String,
    },
    /// Keys were given up, because the certificate behind them is not valid at the true time.
    KeysRevoked {
        /// The source's configured name.
        name: String,
        /// Why.
        reason: String,
    },
    /// Keys could not be exchanged.
    KeyExchangeFailed {
        /// The source's configured name.
        name: String,
        /// Why.
        error: String,
        /// When it will be tried again.
        retry: NtpDuration,
    },
    /// A measurement was taken.
    Measured {
        /// From whom.
        subject: Subject,
        /// System clock minus the server's.
        offset: NtpDuration,
        /// Round trip.
        delay: NtpDuration,
        /// What the discipline did with it.
        outcome: String,
    },
    /// The clock follows its sources now.
    Synchronized {
        /// Our stratum.
        stratum: Stratum,
        /// The source with the smallest root distance.
        reference: Subject,
    },
    /// The sources that should agree do not: nothing is steered. Each one's offset and its half width.
    NoMajority {
        /// How many agree at the most.
        agreeing: usize,
        /// How many must.
        needed: usize,
        /// Who said what.
        said: Vec<(Subject, NtpDuration, NtpDuration)>,
    },
    /// No source has given usable time for so long that the bound passed its limit.
    SynchronizationLost {
        /// The bound.
        bound: NtpDuration,
    },
    /// The clock was stepped.
    Stepped {
        /// By how much.
        by: NtpDuration,
        /// Whether it is to be told as a warning (`warn-on-jump`).
        warn: bool,
    },
    /// The clock is being slewed.
    Slewing {
        /// How far it was off.
        offset: NtpDuration,
        /// The oscillator's own correction.
        frequency: Frequency,
        /// For how long.
        duration: NtpDuration,
    },
    /// Someone else changed the system clock, or it was suspended; estimates are taken anew.
    ClockDisturbed {
        /// By about how much.
        by: NtpDuration,
    },
    /// The machine was suspended.
    Resumed {
        /// For about how long.
        after: NtpDuration,
    },
    /// A leap second is ahead.
    LeapPlanned {
        /// Inserted or deleted.
        leap: LeapIndicator,
        /// What will be done.
        handling: LeapHandling,
    },
    /// UTC jumped.
    LeapSecond {
        /// Inserted or deleted.
        leap: LeapIndicator,
        /// What the clock does about it.
        handling: LeapHandling,
    },
    /// Most sources announce a leap second that the list does not have.
    LeapContradicted(LeapIndicator),
    /// The list of leap seconds is not complete any more, since then.
    LeapListExpired(SystemTime),
    /// A source says that it smears leap seconds.
    SourceSmears(Subject),
    /// The discipline started its filter again.
    DisciplineRestarted,
}

/// Why an association ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// The server told us to go away.
    Denied,
    /// It stopped answering, and there is another address to try.
    Unreachable,
    /// This machine has no way to it, and there is another address to try.
    Unrouted,
    /// It disagreed with the majority for too long.
    Falseticker,
    /// The operator wants it so.
    Operator,
    /// The key exchange names another server now.
    Moved,
    /// What vouched for its keys did not stand.
    Distrusted,
}

impl fmt::Display for Removal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Distrusted => "its keys are worth nothing; others are needed",
            Self::Moved => "the key exchange names another server",
            Self::Denied => "it refuses to serve us; it will not be asked again before a restart",
            Self::Unreachable => "it does not answer; another address takes its place",
            Self::Unrouted => "there is no route to it; another address takes its place",
            Self::Falseticker => {
                "it has disagreed with the majority for too long; another address takes its place"
            }
            Self::Operator => "the operator wants it so",
        })
    }
}

impl Event {
    /// How much it matters.
    pub fn severity(&self) -> Severity {
        match self {
            Self::Measured { .. } | Self::Slewing { .. } => Severity::Debug,
            Self::SourceAdded(_)
            | Self::SourceRemoved(_, Removal::Operator | Removal::Moved)
            | Self::SourceReachable(_)
            | Self::Synchronized { .. }
            | Self::KeysExchanged { .. }
            | Self::LeapPlanned { .. }
            | Self::LeapSecond { .. }
            | Self::Resumed { .. }
            | Self::Stepped { warn: false, .. } => Severity::Info,
            Self::SourceRemoved(..)
            | Self::SourceUnreachable(_)
            | Self::SendFailed(..)
            | Self::ReplyRejected { .. }
            | Self::Kissed(..)
            | Self::ResolveFailed { .. }
            | Self::NoUsableAddress { .. }
            | Self::KeyExchangeFailed { .. }
            | Self::NoMajority { .. }
            | Self::SynchronizationLost { .. }
            | Self::Stepped { warn: true, .. }
            | Self::LeapContradicted(_)
            | Self::LeapListExpired(_)
            | Self::SourceSmears(_)
            | Self::ClockDisturbed { .. } => Severity::Warning,
            Self::DisciplineRestarted | Self::KeysRevoked { .. } => Severity::Error,
        }
    }
}

/// How many sources are quoted in one line of the log.
const QUOTED: usize = 8;

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SourceAdded(subject) => write!(f, "new source {subject}"),
            Self::SourceRemoved(subject, why) => write!(f, "source {subject} removed: {why}"),
            Self::SourceReachable(subject) => write!(f, "source {subject} answers"),
            Self::SourceUnreachable(subject) => write!(f, "source {subject} does not answer"),
            Self::SendFailed(subject, error) => write!(f, "cannot ask source {subject}: {error}"),
            Self::ReplyRejected {
                subject,
                rejection,
                more,
            } => {
                write!(f, "reply from source {subject} ignored: {rejection}")?;
                if *more > 0 {
                    write!(f, " ({more} more since the last such message)")
                } else {
                    Ok(())
                }
            }
            Self::Kissed(subject, Kiss::Rate, poll) => {
                write!(
                    f,
                    "source {subject} asks for fewer requests; polling every {poll}"
                )
            }
            Self::Kissed(subject, kiss, _) => write!(f, "source {subject} sent kiss code {kiss:?}"),
            Self::ResolveFailed { host, error, retry } => {
                write!(
                    f,
                    "cannot resolve {host}: {error}; trying again in {}s",
                    retry.as_nanos() / 1_000_000_000
                )
            }
            Self::NoUsableAddress { host } => write!(
                f,
                "{host} has no address that is not in use or ignored already"
            ),
            Self::KeysExchanged {
                name,
                algorithm,
                server,
            } => write!(
                f,
                "exchanged keys with {name}: {algorithm}, the NTP server is {server}"
            ),
            Self::KeysRevoked { name, reason } => write!(
                f,
                "{name} loses its keys, which were accepted while our clock was wrong: {reason}"
            ),
            Self::KeyExchangeFailed { name, error, retry } => write!(
                f,
                "no key exchange with {name}: {error}; trying again in {}s (`ntp-ctl nts check {name}` looks closer)",
                retry.as_nanos() / 1_000_000_000
            ),
            Self::Measured {
                subject,
                offset,
                delay,
                outcome,
            } => {
                write!(
                    f,
                    "source {subject}: offset {offset}, delay {delay}: {outcome}"
                )
            }
            Self::Synchronized { stratum, reference } => {
                write!(f, "synchronised at stratum {stratum} to {reference}")
            }
            Self::NoMajority {
                agreeing,
                needed,
                said,
            } => {
                write!(
                    f,
                    "no majority: {agreeing} of {} sources agree, {needed} are needed;",
                    said.len()
                )?;
                for (subject, offset, half_width) in said.iter().take(QUOTED) {
                    // As everywhere where people look: what would have to be added to the clock.
                    let (by, give_or_take) =
                        (-offset.as_seconds_f64(), half_width.as_seconds_f64());
                    write!(
                        f,
                        " {subject} would change the clock by {by:+.6} s +- {give_or_take:.6} s;"
                    )?;
                }
                if let Some(more @ 1..) = said.len().checked_sub(QUOTED) {
                    write!(f, " {more} more say something, too (`ntp-ctl explain`);")?;
                }
                f.write_str(" the clock is not steered (see minimum-agreeing-sources)")
            }
            Self::SynchronizationLost { bound } => {
                write!(
                    f,
                    "no usable source for so long that the error bound is {bound}: not synchronised any more"
                )
            }
            Self::Stepped { by, .. } => write!(f, "clock stepped by {by}"),
            Self::Slewing {
                offset,
                frequency,
                duration,
            } => {
                write!(
                    f,
                    "offset {offset}, slewing for {duration}; frequency correction {frequency}"
                )
            }
            Self::ClockDisturbed { by } => {
                write!(
                    f,
                    "someone else changed the system clock by about {by}; measuring anew"
                )
            }
            Self::Resumed { after } => write!(f, "resumed after {after}; measuring anew"),
            Self::LeapPlanned { leap, handling } => write!(
                f,
                "a leap second will be {} at the end of this day: {}",
                participle(*leap),
                match handling {
                    LeapHandling::Kernel => "the kernel carries it out",
                    LeapHandling::Slew => "the clock will be slewed afterwards",
                    LeapHandling::Smear => "it is smeared from noon to noon (UTC)",
                }
            ),
            Self::LeapSecond { leap, handling } => write!(
                f,
                "leap second {}: {}",
                participle(*leap),
                match handling {
                    LeapHandling::Kernel => "the kernel carried it out",
                    LeapHandling::Slew => "the clock is a second off and is being slewed",
                    LeapHandling::Smear => "the clock runs on smoothly, half of it is smeared",
                }
            ),
            Self::LeapContradicted(leap) => write!(
                f,
                "most sources announce that a leap second will be {}, but the list of leap seconds has none: ignored",
                participle(*leap)
            ),
            Self::LeapListExpired(since) => write!(
                f,
                "the list of leap seconds has expired at {since}; update it (on most systems it comes with the time zones). Until then \
                 only the sources tell of leap seconds"
            ),
            Self::SourceSmears(subject) => write!(
                f,
                "source {subject} smears leap seconds: around one its time is not UTC, and it does not agree with sources that do not smear"
            ),
            Self::DisciplineRestarted => {
                f.write_str("the sources contradicted the clock model; estimation restarted")
            }
        }
    }
}

fn participle(leap: LeapIndicator) -> &'static str {
    if leap == LeapIndicator::Delete {
        "deleted"
    } else {
        "inserted"
    }
}

#[cfg(test)]
mod tests {
    use ntp_time::NtpDuration;

    use super::*;

    #[test]
    fn a_quarrel_of_a_thousand_sources_is_a_line_that_can_be_read() {
        let said = |count: u32| Event::NoMajority {
            agreeing: 1,
            needed: 3,
            said: (0..count)
                .map(|number| {
                    let subject = Subject {
                        id: SourceId(number),
                        name: format!("time{number}.example.com:123"),
                        address: ([192, 0, 2, 1], 123).into(),
                    };
                    (subject, NtpDuration::ZERO, NtpDuration::ZERO)
                })
                .collect(),
        };
        let line = said(1000).to_string();
        assert!(line.len() < 1500, "{line}");
        assert!(line.contains("1 of 1000 sources agree"), "{line}");
        assert!(line.contains(" 992 more say something"), "{line}");
        assert!(!said(8).to_string().contains("more say"));
    }
}
