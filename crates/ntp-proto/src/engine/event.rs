//! Events for logs, metrics and tests.
//!
//! Events that a remote party can cause at will are rate-limited in the engine, so that no
//! subscriber can be flooded (see [`LogRateLimit`](super::LogRateLimit)): the first is emitted at
//! once, the others of the hour are only counted.

use core::fmt;
use std::net::SocketAddr;

use ntp_time::{Frequency, LeapIndicator, NtpDuration, PollInterval, Stratum, SystemTime};

use super::{KeyExchangeError, ResolveError, SendError, SourceId};
use crate::client::{Kiss, Rejection};
use crate::discipline::{self, Blame, Outcome};
use crate::leap::LeapHandling;
use crate::nts::AeadAlgorithm;

/// Severity of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Details for debugging.
    Debug,
    /// Normal operation.
    Info,
    /// A problem that the daemon tolerates.
    Warning,
    /// A problem that needs the attention of an operator.
    Error,
}

/// The association that an event is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// ID of the association.
    pub id: SourceId,
    /// Configured name, `host:port`.
    pub name: String,
    /// Address in use.
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

/// An event in the engine.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// An association was started.
    SourceAdded(Subject),
    /// An association was ended.
    SourceRemoved(Subject, RemovalReason),
    /// A source replies with usable time, for the first time or again.
    SourceReachable(Subject),
    /// A source stopped replying.
    SourceUnreachable(Subject),
    /// A request could not be sent.
    SendFailed(Subject, SendError),
    /// A datagram was rejected.
    ReplyRejected {
        /// Association on whose socket it arrived.
        subject: Subject,
        /// Reason for the rejection.
        rejection: Rejection,
        /// Number of similar datagrams since the last event of this kind.
        suppressed: u64,
    },
    /// The server sent a kiss-o'-death packet. With the poll interval from now on.
    KissReceived(Subject, Kiss, PollInterval),
    /// A name could not be resolved.
    ResolveFailed {
        /// The name.
        host: String,
        /// The error.
        error: ResolveError,
        /// Time until the next attempt.
        retry: NtpDuration,
    },
    /// A name has no usable address.
    NoUsableAddress {
        /// The name.
        host: String,
    },
    /// An NTS key exchange succeeded.
    KeysExchanged {
        /// Configured name of the source.
        name: String,
        /// Negotiated AEAD algorithm.
        algorithm: AeadAlgorithm,
        /// Host of the NTP server.
        server: String,
    },
    /// NTS keys were dropped, because the certificate of their key exchange is not valid at the true
    /// time.
    KeysRevoked {
        /// Configured name of the source.
        name: String,
        /// Result of the certificate verification, as text from the TLS library.
        reason: String,
    },
    /// An NTS key exchange failed.
    KeyExchangeFailed {
        /// Configured name of the source.
        name: String,
        /// The error.
        error: KeyExchangeError,
        /// Time until the next attempt.
        retry: NtpDuration,
    },
    /// A measurement was taken.
    Measured {
        /// The association.
        subject: Subject,
        /// System clock minus the clock of the server.
        offset: NtpDuration,
        /// Round-trip delay.
        delay: NtpDuration,
        /// What the discipline did with the measurement.
        outcome: Outcome,
    },
    /// The clock became synchronised.
    Synchronized {
        /// Our stratum.
        stratum: Stratum,
        /// The source with the smallest root distance.
        reference: Subject,
    },
    /// Too few sources agree; the clock is not steered.
    NoMajority {
        /// Size of the largest agreeing group.
        agreeing: usize,
        /// Number required.
        needed: usize,
        /// Offset and half width of the correctness interval of each source.
        sources: Vec<(Subject, NtpDuration, NtpDuration)>,
    },
    /// The error bound exceeded its limit, because no source gave usable time.
    SynchronizationLost {
        /// The error bound.
        bound: NtpDuration,
    },
    /// The clock was stepped.
    Stepped {
        /// Size of the step.
        by: NtpDuration,
        /// Whether to log it as a warning (`warn-on-jump`).
        warn: bool,
    },
    /// A slew was started.
    Slewing {
        /// Offset of the clock.
        offset: NtpDuration,
        /// Frequency correction of the oscillator.
        frequency: Frequency,
        /// Duration of the slew.
        duration: NtpDuration,
    },
    /// Another program changed the system clock, or the machine was suspended; estimation restarts.
    ClockDisturbed {
        /// Approximate change.
        by: NtpDuration,
    },
    /// The machine was suspended.
    Resumed {
        /// Approximate duration.
        after: NtpDuration,
    },
    /// A leap second is scheduled.
    LeapPlanned {
        /// Insertion or deletion.
        leap: LeapIndicator,
        /// How it will be handled.
        handling: LeapHandling,
    },
    /// A leap second occurred.
    LeapSecond {
        /// Insertion or deletion.
        leap: LeapIndicator,
        /// How it is handled.
        handling: LeapHandling,
    },
    /// Most sources announce a leap second that is not in the list.
    LeapContradicted(LeapIndicator),
    /// The list of leap seconds expired at this time.
    LeapListExpired(SystemTime),
    /// A source smears leap seconds, by its reference ID.
    SourceSmears(Subject),
    /// The discipline restarted its filter.
    DisciplineRestarted,
}

/// Reason why an association ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemovalReason {
    /// The server sent a kiss code DENY or RSTR.
    Denied,
    /// The server stopped replying, and another address is available.
    Unreachable,
    /// There is no route to the server, and another address is available.
    NoRoute,
    /// The pool member was a falseticker for too long.
    Falseticker,
    /// Removed by operator.
    Operator,
    /// The key exchange named another server.
    Moved,
    /// Its NTS keys were revoked.
    KeysRevoked,
}

impl fmt::Display for RemovalReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::KeysRevoked => "its keys are worth nothing; others are needed",
            Self::Moved => "the key exchange names another server",
            Self::Denied => "it refuses to serve us; it will not be asked again before a restart",
            Self::Unreachable => "it does not answer; another address takes its place",
            Self::NoRoute => "there is no route to it; another address takes its place",
            Self::Falseticker => {
                "it has disagreed with the majority for too long; another address takes its place"
            }
            Self::Operator => "the operator wants it so",
        })
    }
}

impl Event {
    /// Returns the severity of the event.
    pub fn severity(&self) -> Severity {
        match self {
            Self::Measured { .. } | Self::Slewing { .. } => Severity::Debug,
            Self::SourceAdded(_)
            | Self::SourceRemoved(_, RemovalReason::Operator | RemovalReason::Moved)
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
            | Self::KissReceived(..)
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

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |cause: &Blame| match cause {
            Blame::Path => "the path",
            Blame::Server => "the server",
            Blame::Clock => "our clock",
        };
        match self {
            Self::Used => f.write_str("used"),
            Self::NotSelected => f.write_str("not selected"),
            Self::Spare => f.write_str("selected, not combined"),
            Self::Struck { strikes } => write!(f, "outlier {strikes} in a row, dropped"),
            Self::Blamed(cause) => write!(f, "outliers attributed to {}", name(cause)),
            Self::Leaned(cause) => write!(f, "drift attributed to {}", name(cause)),
            Self::Restarted => f.write_str("estimation restarted"),
            Self::Rejected(rejection) => f.write_str(match rejection {
                discipline::Rejection::UnknownSource => "rejected: unknown source",
                discipline::Rejection::AbsurdNoise => "rejected: invalid timestamp noise",
                discipline::Rejection::NegativeDelay => "rejected: negative delay",
                discipline::Rejection::OutOfOrder => "rejected: out of order",
            }),
        }
    }
}

/// Maximum number of sources listed in one log line.
const LISTED_SOURCES: usize = 8;

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SourceAdded(subject) => write!(f, "new source {subject}"),
            Self::SourceRemoved(subject, reason) => {
                write!(f, "source {subject} removed: {reason}")
            }
            Self::SourceReachable(subject) => write!(f, "source {subject} answers"),
            Self::SourceUnreachable(subject) => write!(f, "source {subject} does not answer"),
            Self::SendFailed(subject, error) => write!(f, "cannot ask source {subject}: {error}"),
            Self::ReplyRejected {
                subject,
                rejection,
                suppressed,
            } => {
                write!(f, "reply from source {subject} ignored: {rejection}")?;
                if *suppressed > 0 {
                    write!(f, " ({suppressed} more since the last such message)")
                } else {
                    Ok(())
                }
            }
            Self::KissReceived(subject, Kiss::Rate, poll) => {
                write!(
                    f,
                    "source {subject} asks for fewer requests; polling every {poll}"
                )
            }
            Self::KissReceived(subject, kiss, _) => {
                write!(f, "source {subject} sent kiss code {kiss:?}")
            }
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
                sources,
            } => {
                write!(
                    f,
                    "no majority: {agreeing} of {} sources agree, {needed} are needed;",
                    sources.len()
                )?;
                for (subject, offset, half_width) in sources.iter().take(LISTED_SOURCES) {
                    // Sign convention of all output for operators: the amount to add to the clock.
                    let (by, give_or_take) =
                        (-offset.as_seconds_f64(), half_width.as_seconds_f64());
                    write!(
                        f,
                        " {subject} would change the clock by {by:+.6} s +- {give_or_take:.6} s;"
                    )?;
                }
                if let Some(more @ 1..) = sources.len().checked_sub(LISTED_SOURCES) {
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
    fn no_majority_among_a_thousand_sources_is_logged_in_one_short_line() {
        let event = |count: u32| Event::NoMajority {
            agreeing: 1,
            needed: 3,
            sources: (0..count)
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
        let line = event(1000).to_string();
        assert!(line.len() < 1500, "{line}");
        assert!(line.contains("1 of 1000 sources agree"), "{line}");
        assert!(line.contains(" 992 more say something"), "{line}");
        assert!(!event(8).to_string().contains("more say"));
    }
}
