//! What happened: every event of the daemon, with a stable name, a severity and typed fields.
//!
//! The log line, the `ntp_events_total` metric, the JSON form and the tests take name and fields from
//! the one declaration below. The prose of a log line may change from version to version; the name and the
//! fields may not: alert rules and tests match `event=source_unreachable source=time.example:123`.
//! The events of the engine are declared in `event/engine.rs`, those of the daemon around it in
//! `event/daemon.rs`.
//!
//! Events that a stranger on the network can cause are rate limited by the engine where they arise, so no
//! subscriber can be flooded: the first is reported at once, then a count (`suppressed`) at most once an hour.

use core::fmt::{self, Write as _};
use std::net::SocketAddr;

use ntp_time::{
    Frequency, LeapIndicator, NtpDuration, PollInterval, ReferenceId, Stratum, SystemTime,
};
use serde::Serialize;

use crate::escape::Escaped;
use crate::hop_limit::HopLimitDifference;
use crate::path::ListenAddress;
use crate::source::SourceName;

#[macro_use]
mod engine;
#[macro_use]
mod daemon;
mod line;
mod reason;
mod text;

pub use line::LineStart;
pub use reason::{
    Cause, ClockFault, InvalidMeasurement, KeyExchangeError, KeyExchangeFailure, KissCode,
    LeapHandling, MeasurementOutcome, Rejection, RemovalReason, Restriction, SampleRefusal,
    SendError,
};
pub use text::{Caller, Logfmt, Prose, SourceOffset};
use text::{
    CertificateFacts, InParentheses, Instead, Listed, Place, Restricted, SetAside, Suppressed,
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

/// An event as it is declared, for documentation.
#[derive(Clone, Copy, Debug)]
pub struct Declaration {
    /// Its stable name.
    pub name: &'static str,
    /// What happened.
    pub description: &'static str,
    /// The expression that determines the severity.
    severity: &'static str,
    /// The declared fields: name, whether the name is that of a value, and names of further values.
    fields: &'static [(&'static str, bool, &'static [&'static str])],
}

impl Declaration {
    /// Returns the severities that it can have.
    pub fn severities(self) -> impl Iterator<Item = Severity> {
        [
            (Severity::Debug, "Debug"),
            (Severity::Info, "Info"),
            (Severity::Warning, "Warning"),
            (Severity::Error, "Error"),
        ]
        .into_iter()
        .filter(move |(_, name)| self.severity.contains(name))
        .map(|(severity, _)| severity)
    }

    /// Returns the names of the fields in a log line.
    pub fn fields(self) -> impl Iterator<Item = &'static str> {
        self.fields.iter().flat_map(|(name, is_value, more)| {
            let own = is_value.then_some(*name);
            own.into_iter().chain(more.iter().copied())
        })
    }
}

/// A field of an event: one name and value, or several.
trait Field {
    /// Whether the name in the declaration is that of a value.
    const IS_VALUE: bool = true;
    /// Names of further values.
    const MORE: &'static [&'static str] = &[];

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
    u32 u64 usize bool String SocketAddr ListenAddress Stratum ReferenceId SystemTime LeapIndicator
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

named! {
    KeyExchangeFailure Rejection RemovalReason LeapHandling MeasurementOutcome Restriction SampleRefusal ClockFault
}

/// The name, or `errno-N`.
impl Field for SendError {
    fn visit(&self, name: &'static str, visit: &mut dyn FnMut(&'static str, &dyn fmt::Display)) {
        match self {
            Self::NoRoute => visit(name, &"no-route"),
            Self::Refused => visit(name, &"refused"),
            Self::Forbidden => visit(name, &"forbidden"),
            Self::BindDevice { .. } => visit(name, &"bind-device"),
            Self::BindAddress { .. } => visit(name, &"bind-address"),
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
    const MORE: &'static [&'static str] = &["address"];

    fn visit(&self, name: &'static str, visit: &mut dyn FnMut(&'static str, &dyn fmt::Display)) {
        visit(name, &self.name);
        visit("address", &self.address);
    }
}

/// Both hop limits.
impl Field for HopLimitDifference {
    const IS_VALUE: bool = false;
    const MORE: &'static [&'static str] = &["hop_limit", "authentic_hop_limit"];

    fn visit(&self, _: &'static str, visit: &mut dyn FnMut(&'static str, &dyn fmt::Display)) {
        visit("hop_limit", &self.rejected);
        visit("authentic_hop_limit", &self.authentic);
    }
}

/// Seconds, without a unit, so that programs can compare them.
impl Field for NtpDuration {
    fn visit(&self, name: &'static str, visit: &mut dyn FnMut(&'static str, &dyn fmt::Display)) {
        visit(name, &format_args!("{:.9}", self.as_seconds_f64()));
    }
}

/// Parts per million.
impl Field for Frequency {
    fn visit(&self, name: &'static str, visit: &mut dyn FnMut(&'static str, &dyn fmt::Display)) {
        visit(name, &format_args!("{:.6}", self.as_ppm() + 0.0));
    }
}

/// Nothing: it is part of the message only.
impl Field for Prose {
    const IS_VALUE: bool = false;

    fn visit(&self, _: &'static str, _: &mut dyn FnMut(&'static str, &dyn fmt::Display)) {}
}

/// Nothing, or the value.
impl<T: Field> Field for Option<T> {
    const IS_VALUE: bool = T::IS_VALUE;
    const MORE: &'static [&'static str] = T::MORE;

    fn visit(&self, name: &'static str, visit: &mut dyn FnMut(&'static str, &dyn fmt::Display)) {
        if let Some(value) = self {
            value.visit(name, visit);
        }
    }
}

/// The names, separated by commas.
impl Field for Vec<String> {
    fn visit(&self, name: &'static str, visit: &mut dyn FnMut(&'static str, &dyn fmt::Display)) {
        visit(name, &self.join(","));
    }
}

/// A caller is its user, its process and its program.
impl Field for Caller {
    const IS_VALUE: bool = false;
    const MORE: &'static [&'static str] = &["uid", "pid", "program"];

    fn visit(&self, _: &'static str, visit: &mut dyn FnMut(&'static str, &dyn fmt::Display)) {
        visit("uid", &self.uid);
        visit("pid", &self.pid);
        self.program.visit("program", visit);
    }
}

/// The number of opinions; the prose lists them.
impl Field for Vec<SourceOffset> {
    fn visit(&self, name: &'static str, visit: &mut dyn FnMut(&'static str, &dyn fmt::Display)) {
        visit(name, &self.len());
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

            /// All events.
            pub const DECLARED: &'static [Declaration] = &[$(Declaration {
                name: stringify!($name),
                description: concat!($($doc),*),
                severity: stringify!($severity),
                fields: &[$((
                    stringify!($field),
                    <$type as Field>::IS_VALUE,
                    <$type as Field>::MORE,
                )),*],
            }),*];

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

        /// The message for people, on one line, without name and fields.
        impl fmt::Display for Event {
            #[expect(unused_variables, reason = "some fields are not part of the message")]
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$variant { $($field,)* } => write!(Escaped::line(&mut *f), $($message),+),)*
                }
            }
        }
    };
}

engine_events! {}

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
        let event = Event::SourceUnreachable {
            source: source(7),
            error: None,
        };
        assert_eq!(
            Logfmt(&event).to_string(),
            "event=source_unreachable source=time7.example.com:123 address=192.0.2.1:123"
        );
    }

    #[test]
    fn a_rejected_reply_from_another_distance_has_both_hop_limits() {
        let event = |distance| Event::ReplyRejected {
            source: source(7),
            reason: Rejection::PlainReply,
            distance,
            suppressed: 3,
        };
        let difference = HopLimitDifference {
            rejected: 57,
            authentic: 64,
        };
        let line = Logfmt(&event(Some(difference))).to_string();
        assert!(
            line.contains(" hop_limit=57 authentic_hop_limit=64 "),
            "{line}"
        );
        let text = event(Some(difference)).to_string();
        assert!(text.contains("(TTL) 57, but 64 in authenticated"), "{text}");
        assert!(!Logfmt(&event(None)).to_string().contains("hop_limit"));
    }

    #[test]
    fn json_carries_the_same_name() {
        let event = Event::SourceAdded { source: source(1) };
        let json = serde_json::to_value(&event).unwrap();
        assert_eq!(json["event"], event.name());
        assert!(Event::NAMES.contains(&event.name()));
    }

    #[test]
    fn names_are_unique_and_those_of_the_variants() {
        let mut names = Event::NAMES.to_vec();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Event::NAMES.len());
        // serde derives its names from the variants.
        let json = serde_json::to_value(Event::KeysetWaiting {}).unwrap();
        assert_eq!(json["event"], "keyset_waiting");
    }

    #[test]
    fn text_from_outside_neither_breaks_nor_reorders_a_line() {
        let event = Event::ResolveFailed {
            host: "ntp.example".to_owned(),
            error: "no\nhost\r\x1b[2J \u{202e}\u{2028}é".to_owned(),
            retry: NtpDuration::from_seconds(64),
        };
        assert_eq!(
            event.to_string(),
            r"ntp.example: cannot resolve the name: no\nhost\r\u{1b}[2J \u{202e}\u{2028}é; next attempt in 64 s"
        );
        assert_eq!(Logfmt(&event).to_string().lines().count(), 1);
    }

    #[test]
    fn fields_that_are_not_known_are_left_out_and_prose_is_no_field() {
        let event = Event::ConfigurationWarning {
            file: None,
            line: None,
            problem: "odd".to_owned(),
            help: Prose("; change it".to_owned()),
        };
        assert_eq!(event.to_string(), "configuration: odd; change it");
        assert_eq!(
            Logfmt(&event).to_string(),
            "event=configuration_warning problem=odd"
        );
        let caller = Caller {
            uid: 1000,
            pid: 4711,
            program: Some("ntp-ctl".to_owned()),
        };
        let event = Event::ControlCallDenied {
            method: "Step".to_owned(),
            caller,
            permitted: "only root".to_owned(),
            suppressed: 2,
        };
        assert_eq!(
            Logfmt(&event).to_string(),
            "event=control_call_denied method=Step uid=1000 pid=4711 program=ntp-ctl permitted=\"only root\" suppressed=2"
        );
    }
}
