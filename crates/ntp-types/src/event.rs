//! What happened: every event of the daemon, with a stable name, a severity and typed fields.
//!
//! The log line, the `ntp_events_total` metric, the JSON form and the tests take name and fields from
//! the one declaration below. The prose of a log line may change from version to version; the name and the
//! fields may not: alert rules and tests match `event=source_unreachable source=time.example:123`.
//!
//! Events that a stranger on the network can cause are rate limited by the engine where they arise, so no
//! subscriber can be flooded: the first is reported at once, then a count (`suppressed`) at most once an hour.

use core::fmt;

use ntp_time::{Frequency, LeapIndicator, NtpDuration, PollInterval, Stratum, SystemTime};
use serde::Serialize;

use crate::source::SourceName;

mod reason;

pub use reason::{
    Cause, InvalidMeasurement, KissCode, LeapHandling, MeasurementOutcome, Rejection,
    RemovalReason, SendError,
};

/// How much an event matters to an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Details of normal operation.
    Debug,
    /// Normal operation.
    Info,
    /// A fault that the daemon can work around.
    Warning,
    /// A fault that needs an operator.
    Error,
}

/// A field of an event: one name and value, or several.
trait Field {
    /// Calls `visit` with each name and value.
    fn visit(&self, name: &'static str, visit: &mut dyn FnMut(&'static str, &dyn fmt::Display));
}

macro_rules! displayed {
    ($($type:ty)*) => {
        $(impl Field for $type {
            fn visit(&self, name: &'static str, visit: &mut dyn FnMut(&'static str, &dyn fmt::Display)) {
                visit(name, self);
            }
        })*
    };
}

displayed! {
    u64 usize bool String Stratum SystemTime LeapIndicator
}

macro_rules! named {
    ($($type:ty)*) => {
        $(impl Field for $type {
            fn visit(&self, name: &'static str, visit: &mut dyn FnMut(&'static str, &dyn fmt::Display)) {
                visit(name, &self.name());
            }
        })*
    };
}

named! { Rejection RemovalReason LeapHandling MeasurementOutcome }

/// The name, or `errno-N`.
impl Field for SendError {
    fn visit(&self, name: &'static str, visit: &mut dyn FnMut(&'static str, &dyn fmt::Display)) {
        match self {
            Self::NoRoute => visit(name, &"no-route"),
            Self::Refused => visit(name, &"refused"),
            Self::Forbidden => visit(name, &"forbidden"),
            Self::Other { errno } => visit(name, &format_args!("errno-{errno}")),
        }
    }
}

/// The four characters of the code.
impl Field for KissCode {
    fn visit(&self, name: &'static str, visit: &mut dyn FnMut(&'static str, &dyn fmt::Display)) {
        visit(name, &self.reference_id());
    }
}

/// Seconds.
impl Field for PollInterval {
    fn visit(&self, name: &'static str, visit: &mut dyn FnMut(&'static str, &dyn fmt::Display)) {
        visit(name, &self.to_duration().as_seconds_f64());
    }
}

/// A source is its configured name and the address in use.
impl Field for SourceName {
    fn visit(&self, name: &'static str, visit: &mut dyn FnMut(&'static str, &dyn fmt::Display)) {
        visit(name, &self.name);
        visit("address", &self.address);
    }
}

/// Seconds, without a unit, so that programs can compare them.
impl Field for NtpDuration {
    fn visit(&self, name: &'static str, visit: &mut dyn FnMut(&'static str, &dyn fmt::Display)) {
        visit(name, &format_args!("{:.9}", self.as_seconds_f64()));
    }
}

/// The value, if there is one.
impl<T: Field> Field for Option<T> {
    fn visit(&self, name: &'static str, visit: &mut dyn FnMut(&'static str, &dyn fmt::Display)) {
        if let Some(value) = self {
            value.visit(name, visit);
        }
    }
}

/// Parts per million.
impl Field for Frequency {
    fn visit(&self, name: &'static str, visit: &mut dyn FnMut(&'static str, &dyn fmt::Display)) {
        visit(name, &format_args!("{:.6}", self.as_ppm() + 0.0));
    }
}

/// The number of opinions; the prose lists them.
impl Field for Vec<SourceOffset> {
    fn visit(&self, name: &'static str, visit: &mut dyn FnMut(&'static str, &dyn fmt::Display)) {
        visit(name, &self.len());
    }
}

/// The offset that one source measures.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SourceOffset {
    /// The source.
    pub source: SourceName,
    /// What it would add to the clock.
    pub offset: NtpDuration,
    /// Half width of its correctness interval.
    pub uncertainty: NtpDuration,
}

/// Number of sources that one log line lists.
const LISTED: usize = 8;

/// Offsets of several sources in one line, shortened.
struct Listed<'a>(&'a [SourceOffset]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, opinion) in self.0.iter().take(LISTED).enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(
                f,
                "{separator}{}: {:+.6} s +- {:.6} s",
                opinion.source,
                opinion.offset.as_seconds_f64(),
                opinion.uncertainty.as_seconds_f64()
            )?;
        }
        match self.0.len().checked_sub(LISTED) {
            Some(more @ 1..) => write!(f, "; {more} more (ntp-ctl explain)"),
            _ => Ok(()),
        }
    }
}

/// `; 3 more since the last report`, or nothing.
struct Suppressed(u64);

impl fmt::Display for Suppressed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            count => write!(f, " ({count} more since the last report)"),
        }
    }
}

macro_rules! events {
    ($(
        $(#[doc = $doc:literal])*
        $name:ident = $variant:ident {
            $($(#[doc = $field_doc:literal])* $field:ident: $type:ty,)*
        } $severity:expr => $($message:expr),+;
    )*) => {
        /// An event of the daemon.
        #[derive(Clone, Debug, PartialEq, Serialize)]
        #[serde(tag = "event", rename_all = "snake_case")]
        pub enum Event {
            $(
                $(#[doc = $doc])*
                $variant { $($(#[doc = $field_doc])* $field: $type,)* },
            )*
        }

        impl Event {
            /// The names of all events.
            pub const NAMES: &'static [&'static str] = &[$(stringify!($name)),*];

            /// Returns the stable name.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$variant { .. } => stringify!($name),)*
                }
            }

            /// Returns how much it matters.
            #[expect(unused_variables, reason = "most severities depend on no field")]
            pub fn severity(&self) -> Severity {
                match self {
                    $(Self::$variant { $($field,)* } => $severity,)*
                }
            }

            /// Calls `visit` with the name and value of each field.
            pub fn fields(&self, visit: &mut dyn FnMut(&'static str, &dyn fmt::Display)) {
                match self {
                    $(Self::$variant { $($field,)* } => { $($field.visit(stringify!($field), visit);)* })*
                }
            }
        }

        /// The message for people, without name and fields.
        impl fmt::Display for Event {
            #[expect(unused_variables, reason = "some fields are not part of the message")]
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$variant { $($field,)* } => write!(f, $($message),+),)*
                }
            }
        }
    };
}

events! {
    /// A source was added: an association, or a reference clock.
    source_added = SourceAdded {
        /// The source.
        source: SourceName,
    } Severity::Info => "source {source} added";

    /// A source was removed.
    source_removed = SourceRemoved {
        /// The source.
        source: SourceName,
        /// Why.
        reason: RemovalReason,
    } if reason.is_normal() { Severity::Info } else { Severity::Warning } => "source {source} removed: {reason}";

    /// A source gives usable time, for the first time or again.
    source_reachable = SourceReachable {
        /// The source.
        source: SourceName,
    } Severity::Info => "source {source} reachable";

    /// A source does not answer any more.
    source_unreachable = SourceUnreachable {
        /// The source.
        source: SourceName,
    } Severity::Warning => "source {source} unreachable: no {}", if source.address.socket().is_some() { "reply" } else { "sample" };

    /// A request could not be sent.
    send_failed = SendFailed {
        /// The source.
        source: SourceName,
        /// What the operating system reported.
        error: SendError,
    } Severity::Warning => "source {source}: cannot send a request: {error}";

    /// A reply was rejected.
    reply_rejected = ReplyRejected {
        /// The source.
        source: SourceName,
        /// Why.
        reason: Rejection,
        /// Number of such events since the last report.
        suppressed: u64,
    } Severity::Warning => "source {source}: reply ignored: {reason}{}", Suppressed(*suppressed);

    /// A server sent a kiss-o'-death packet (RFC 5905 section 7.4).
    kiss_received = KissReceived {
        /// The source.
        source: SourceName,
        /// The kiss code.
        code: KissCode,
        /// The poll interval from now on.
        poll: PollInterval,
    } Severity::Warning => "source {source}: {code}, polling every {poll}";

    /// A host name could not be resolved.
    resolve_failed = ResolveFailed {
        /// The host name.
        host: String,
        /// What the resolver reported.
        error: String,
        /// Time until the next attempt.
        retry: NtpDuration,
    } Severity::Warning => "{host}: cannot resolve the name: {error}; next attempt in {:.0} s", retry.as_seconds_f64();

    /// A host name has no address that can be used.
    no_usable_address = NoUsableAddress {
        /// The host name.
        host: String,
    } Severity::Warning => "{host}: every address is in use already, or ignored";

    /// An NTS key exchange succeeded (RFC 8915 section 4).
    keys_exchanged = KeysExchanged {
        /// The source's configured name.
        source: String,
        /// The AEAD algorithm.
        algorithm: String,
        /// The NTP server.
        server: String,
    } Severity::Info => "source {source}: NTS keys exchanged, {algorithm}, NTP server {server}";

    /// NTS keys that were accepted under clock leniency failed re-verification.
    keys_revoked = KeysRevoked {
        /// The source's configured name.
        source: String,
        /// Why.
        error: String,
    } Severity::Error => "source {source}: NTS keys revoked, they were accepted while the clock was wrong: {error}";

    /// An NTS key exchange failed.
    key_exchange_failed = KeyExchangeFailed {
        /// The source's configured name.
        source: String,
        /// Why.
        error: String,
        /// Time until the next attempt.
        retry: NtpDuration,
    } Severity::Warning => "source {source}: NTS key exchange failed: {error}; next attempt in {:.0} s (details: ntp-ctl nts check {source})", retry.as_seconds_f64();

    /// A measurement was taken.
    measured = Measured {
        /// The source.
        source: SourceName,
        /// The source's time minus ours.
        offset: NtpDuration,
        /// Round trip; absent for a reference clock.
        delay: Option<NtpDuration>,
        /// What the discipline did with it.
        outcome: MeasurementOutcome,
    } Severity::Debug => "source {source}: offset {offset}{}: {outcome}", delay.map_or(String::new(), |delay| format!(", delay {delay}"));

    /// The clock follows its sources.
    synchronized = Synchronized {
        /// Our stratum.
        stratum: Stratum,
        /// The source with the smallest root distance.
        source: SourceName,
    } Severity::Info => "clock synchronised to {source}, stratum {stratum}";

    /// The sources do not agree; the clock is not steered.
    no_majority = NoMajority {
        /// Number of sources that agree.
        agreeing: usize,
        /// Number of sources that must agree.
        required: usize,
        /// What each source measures.
        sources: Vec<SourceOffset>,
    } Severity::Warning => "no majority: {agreeing} of {} sources agree ({required} required), the clock is not steered; offsets: {}. Remove the wrong \
                  sources, add more, or see minimum-agreeing-sources", sources.len(), Listed(sources);

    /// No source has given usable time for so long that the error bound passed its limit.
    synchronization_lost = SynchronizationLost {
        /// The error bound.
        bound: NtpDuration,
    } Severity::Warning => "clock not synchronised any more: no usable source, the error bound is {bound}";

    /// The clock was stepped.
    clock_stepped = ClockStepped {
        /// What was added to the clock.
        step: NtpDuration,
        /// Whether `warn-on-jump` makes it a warning.
        warn: bool,
    } if *warn { Severity::Warning } else { Severity::Info } => "clock stepped by {step}";

    /// The clock is being slewed.
    clock_slewing = ClockSlewing {
        /// What is to be added to the clock.
        offset: NtpDuration,
        /// Frequency correction of the oscillator.
        frequency: Frequency,
        /// Duration of the slew.
        duration: NtpDuration,
    } Severity::Debug => "clock slewed: offset {offset} over {duration}, frequency correction {frequency}";

    /// Another program changed the clock. Measurements start again.
    clock_disturbed = ClockDisturbed {
        /// By how much, about.
        change: NtpDuration,
    } Severity::Warning => "clock changed by another program by about {change}; measuring again";

    /// The machine was suspended. Measurements start again.
    resumed = Resumed {
        /// For how long, about.
        suspended: NtpDuration,
    } Severity::Info => "resumed after {suspended}; measuring again";

    /// A leap second is ahead.
    leap_second_ahead = LeapSecondAhead {
        /// Inserted or deleted.
        leap: LeapIndicator,
        /// What will be done.
        handling: LeapHandling,
    } Severity::Info => "leap second at the end of this day ({leap}): {}", handling.plan();

    /// UTC had a leap second.
    leap_second = LeapSecond {
        /// Inserted or deleted.
        leap: LeapIndicator,
        /// What was done.
        handling: LeapHandling,
    } Severity::Info => "leap second ({leap}): {}", handling.result();

    /// Most sources announce a leap second that the list of leap seconds lacks.
    leap_second_contradicted = LeapSecondContradicted {
        /// Inserted or deleted.
        leap: LeapIndicator,
    } Severity::Warning => "leap second ({leap}) announced by most sources, but not in the list of leap seconds: ignored";

    /// The list of leap seconds has expired.
    leap_list_expired = LeapListExpired {
        /// When it expired.
        expired: SystemTime,
    } Severity::Warning => "list of leap seconds expired at {expired}: update it (usually part of the time zone package); until then only the sources \
                  announce leap seconds";

    /// A source smears leap seconds.
    source_smears = SourceSmears {
        /// The source.
        source: SourceName,
    } Severity::Warning => "source {source} smears leap seconds: near one, its time is not UTC and it disagrees with sources that do not smear";

    /// The sources contradicted the clock model; the estimator started again.
    discipline_restarted = DisciplineRestarted {} Severity::Error => "estimation restarted: the sources contradict the clock model";
}

/// One line of logfmt fields: `event=source_added source=ntp.example:123 address=192.0.2.1:123`. A value that
/// contains anything but printable ASCII without spaces, quotes and `=` is quoted and escaped.
pub struct Logfmt<'a>(pub &'a Event);

impl fmt::Display for Logfmt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "event={}", self.0.name())?;
        let mut result = Ok(());
        self.0.fields(&mut |name, value| {
            let text = value.to_string();
            let is_plain = !text.is_empty()
                && text
                    .bytes()
                    .all(|byte| byte.is_ascii_graphic() && !b"\"=\\".contains(&byte));
            result = result.and_then(|()| {
                if is_plain {
                    write!(f, " {name}={text}")
                } else {
                    write!(f, " {name}={text:?}")
                }
            });
        });
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::SourceId;

    fn source(number: u32) -> SourceName {
        SourceName {
            id: SourceId(number),
            name: format!("time{number}.example.com:123"),
            address: std::net::SocketAddr::from(([192, 0, 2, 1], 123)).into(),
        }
    }

    #[test]
    fn the_log_line_lists_at_most_eight_of_a_thousand_sources() {
        let event = |count| Event::NoMajority {
            agreeing: 1,
            required: 3,
            sources: (0..count)
                .map(|number| SourceOffset {
                    source: source(number),
                    offset: NtpDuration::ZERO,
                    uncertainty: NtpDuration::ZERO,
                })
                .collect(),
        };
        let line = event(1000).to_string();
        assert!(line.len() < 1500, "{line}");
        assert!(line.contains("1 of 1000 sources agree"), "{line}");
        assert!(line.contains(" 992 more"), "{line}");
        assert!(!event(8).to_string().contains(" more ("));
    }

    #[test]
    fn fields_are_logfmt_and_text_from_outside_is_escaped() {
        let event = Event::ResolveFailed {
            host: "ntp.example".to_owned(),
            error: "no such host\x1b[2J".to_owned(),
            retry: NtpDuration::from_seconds(64),
        };
        assert_eq!(
            Logfmt(&event).to_string(),
            r#"event=resolve_failed host=ntp.example error="no such host\u{1b}[2J" retry=64.000000000"#
        );
        let event = Event::SourceUnreachable { source: source(7) };
        assert_eq!(
            Logfmt(&event).to_string(),
            "event=source_unreachable source=time7.example.com:123 address=192.0.2.1:123"
        );
    }

    #[test]
    fn json_carries_the_same_name() {
        let event = Event::SourceAdded { source: source(1) };
        let json = serde_json::to_value(&event).unwrap();
        assert_eq!(json["event"], event.name());
        assert!(Event::NAMES.contains(&event.name()));
    }
}
