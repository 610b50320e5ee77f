//! Parts of messages, and the two forms in which an event becomes text: for people, and in logfmt.

use core::fmt;
use std::net::SocketAddr;

use ntp_time::NtpDuration;
use serde::Serialize;

use super::Event;
use crate::source::SourceName;

/// Text for people, in a message. It is not a field: it has no stable form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Prose(pub String);

impl fmt::Display for Prose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The process that called a method of the control interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Caller {
    /// Its user.
    pub uid: u32,
    /// Its process ID.
    pub pid: i32,
    /// Its program, if known.
    pub program: Option<String>,
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "uid {} (process {}", self.uid, self.pid)?;
        if let Some(program) = &self.program {
            write!(f, ", {program}")?;
        }
        f.write_str(")")
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
pub(super) struct Listed<'a>(pub(super) &'a [SourceOffset]);

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
pub(super) struct Suppressed(pub(super) u64);

impl fmt::Display for Suppressed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            count => write!(f, " ({count} more since the last report)"),
        }
    }
}

/// ` (detail)`, or nothing.
pub(super) struct InParentheses<T>(pub(super) Option<T>);

impl<T: fmt::Display> fmt::Display for InParentheses<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(detail) => write!(f, " ({detail})"),
            None => Ok(()),
        }
    }
}

/// `; serving 0.0.0.0:123`, or nothing.
pub(super) struct Instead(pub(super) Option<SocketAddr>);

impl fmt::Display for Instead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(address) => write!(f, "; serving {address}"),
            None => Ok(()),
        }
    }
}

/// ` in /etc/ntpd-rs/ntp.toml:4`, or nothing.
pub(super) struct Place<'a>(pub(super) Option<&'a str>, pub(super) Option<usize>);

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0, self.1) {
            (Some(file), Some(line)) => write!(f, " in {file}:{line}"),
            (Some(file), None) => write!(f, " in {file}"),
            (None, _) => Ok(()),
        }
    }
}

/// What happened to a damaged file: its new name, or why it has none.
pub(super) struct SetAside<'a>(pub(super) Option<&'a str>, pub(super) Option<&'a str>);

impl fmt::Display for SetAside<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0, self.1) {
            (Some(path), _) => write!(f, "set aside as {path}, a new one is started"),
            (None, Some(error)) => write!(f, "not set aside: {error}; remove it"),
            (None, None) => f.write_str("a new one is started"),
        }
    }
}

/// `, names a.example, valid until ...`, as far as known.
pub(super) struct CertificateFacts<'a>(pub(super) &'a [String], pub(super) Option<&'a str>);

impl fmt::Display for CertificateFacts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.0.is_empty() {
            write!(f, ", names {}", self.0.join(", "))?;
        }
        self.1
            .map_or(Ok(()), |expires| write!(f, ", valid until {expires}"))
    }
}

/// Whether something is restricted.
pub(super) struct Restricted(pub(super) bool);

impl fmt::Display for Restricted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0 {
            "restricted"
        } else {
            "not restricted"
        })
    }
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
