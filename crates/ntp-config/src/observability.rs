//! `[observability]`: logs, the observation socket, and the metrics exporter.

use std::io::{self, IsTerminal as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use ntp_types::event::{LineStart, Severity};
use toml::de::DeValue;

use crate::reader::{Context, Value};
use crate::schema::section;
use crate::value;

section! {
    /// Logs, the observation socket, and the metrics exporter.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct ObservabilityConfig: Default = "observability" [] {
        log_level: Option<LogLevel> = |cx, value| value::choice(cx, value, LogLevel::WORDS) => optional,
            "log-level" "`trace`, `debug`, `info`, `warn` or `error`" "info" "Minimum level of log messages; the command-line option takes precedence.";
        log_path: Option<PathBuf> = value::path => optional,
            "log-path" "path" "standard output" "File that the daemon logs to.";
        log_path_metrics_exporter: Option<PathBuf> = value::path => optional,
            "log-path-metrics-exporter" "path" "standard output" "File that the metrics exporter logs to.";
        ansi_colors: Option<bool> = value::boolean => optional,
            "ansi-colors" "boolean" "true on a terminal" "Whether log lines are coloured.";
        observation_path: Option<PathBuf> = value::path => optional,
            "observation-path" "path" "none" "Unix socket at which the daemon's state can be read.";
        observation_permissions: u32 = permissions => or(0o666),
            "observation-permissions" "integer" "0o666" "Permissions of that socket; write them in octal.";
        record_path: Option<PathBuf> = value::path => optional,
            "record-path" "path" "none" "File that records all inputs of the engine, for `ntp-ctl replay`; at most 64 MiB including older files (`NAME.1` and so on), without keys. What cannot be written is left out and counted, until the disk has room again.";
        metrics_exporter_listen: SocketAddr = |cx, value| value::socket_address(cx, value, EXPORTER_PORT)
                => or((Ipv4Addr::LOCALHOST, EXPORTER_PORT).into()),
            "metrics-exporter-listen" "string" "127.0.0.1:9975" "Address and port at which the metrics exporter listens.";
        metrics_exporter_history_path: Option<PathBuf> = value::path => optional,
            "metrics-exporter-history-path" "path" "`history` in the directory that systemd made (`CacheDirectory=`), else none" "File that keeps the history of the status page across restarts of the metrics exporter; at most 4 MiB. Without it, a restart clears the history.";
        metrics_exporter_hosts: Vec<String> = |cx, value| value::array(cx, value, host_name) => or(Vec::new()),
            "metrics-exporter-hosts" "array of strings" "none" "Host names under which the metrics exporter and its status page are requested, without port. Addresses, `localhost` and the name of this machine are always answered; a request for another name gets status 421, so that web pages of strangers cannot read the state (DNS rebinding).";
    }
}

impl ObservabilityConfig {
    /// Returns how lines of a log begin that goes to a file, or else to standard output.
    pub fn line_start(&self, to_file: bool) -> LineStart {
        let is_terminal = || !to_file && io::stdout().is_terminal();
        if self.ansi_colors.unwrap_or_else(is_terminal) {
            LineStart::Coloured
        } else if !to_file && ntp_files::stdout_is_journal() {
            LineStart::Journal
        } else {
            LineStart::Plain
        }
    }
}

/// Minimum level of log messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LogLevel {
    /// Failures that stop the daemon or a part of it.
    Error,
    /// Also probable faults.
    Warn,
    /// Also rare events.
    #[default]
    Info,
    /// Also frequent events.
    Debug,
    /// Also every packet.
    Trace,
}

impl From<Severity> for LogLevel {
    /// Returns the least verbose level that includes events of a severity.
    fn from(severity: Severity) -> Self {
        match severity {
            Severity::Error => Self::Error,
            Severity::Warning => Self::Warn,
            Severity::Info => Self::Info,
            Severity::Debug => Self::Debug,
        }
    }
}

impl LogLevel {
    /// The words of the file and of the command line.
    pub const WORDS: &[(&str, Self)] = &[
        ("trace", Self::Trace),
        ("debug", Self::Debug),
        ("info", Self::Info),
        ("warn", Self::Warn),
        ("error", Self::Error),
    ];

    /// Returns its word.
    pub fn word(self) -> &'static str {
        let mut words = Self::WORDS.iter();
        words
            .find(|(_, level)| *level == self)
            .map_or("info", |(word, _)| word)
    }

    /// Returns the level of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        let mut names = Self::WORDS.iter();
        names.find(|(it, _)| *it == name).map(|&(_, level)| level)
    }
}

/// A host name as in a URL, without port.
fn host_name(cx: &mut Context, value: &Value<'_>) -> Option<String> {
    let name = value::text(cx, value)?;
    let is_valid = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if name.is_empty() || !name.bytes().all(is_valid) {
        return value.reject_value(
            cx,
            "a host name without port, for example \"ntp.example.org\"",
        );
    }
    Some(name.to_owned())
}

/// Permission bits. Upstream takes any 32-bit number; `666` without the octal prefix is 0o1232,
/// which denies access and is easily overlooked, so digits that look octal cause a warning.
pub(crate) fn permissions(cx: &mut Context, value: &Value<'_>) -> Option<u32> {
    let bits = value::whole::<u32>(cx, value)?;
    if let DeValue::Integer(number) = value.node {
        let digits = number.as_str();
        let octal = digits.bytes().all(|digit| matches!(digit, b'0'..=b'7'));
        if number.radix() == 10 && octal && (3..=4).contains(&digits.len()) {
            value.warn(
                cx,
                format!("`{digits}` is a decimal number, the permissions 0o{bits:o}"),
                format!("for the permissions {digits} write `0o{digits}`"),
            );
        } else if bits > 0o7777 {
            value.warn(
                cx,
                format!("0o{bits:o} has bits that are not permissions"),
                "permissions are written in octal, for example `0o660`",
            );
        }
    }
    Some(bits)
}

/// Default port of the metrics exporter.
const EXPORTER_PORT: u16 = 9975;
