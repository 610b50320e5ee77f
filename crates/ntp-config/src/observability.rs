//! `[observability]`: logs, the observation socket, and the metrics exporter.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use toml::de::DeValue;

use crate::reader::{Context, Section, Value};
use crate::value;

/// What the outside sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservabilityConfig {
    /// What is logged; `None` if the file does not say, which means [`LogLevel::Info`].
    pub log_level: Option<LogLevel>,
    /// File that the daemon logs to; `None` is standard output.
    pub log_path: Option<PathBuf>,
    /// File that the exporter logs to; `None` is standard output.
    pub log_path_metrics_exporter: Option<PathBuf>,
    /// Whether log lines are coloured; `None` colours them on a terminal.
    pub ansi_colors: Option<bool>,
    /// Unix stream socket at which the state can be read; `None` makes none.
    pub observation_path: Option<PathBuf>,
    /// Permission bits of that socket.
    pub observation_permissions: u32,
    /// File in which everything that the engine is told is recorded; `None` records nothing.
    pub record_path: Option<PathBuf>,
    /// Where the exporter listens.
    pub metrics_exporter_listen: SocketAddr,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LogLevel {
    /// What cannot go on.
    Error,
    /// And what probably should not be.
    Warn,
    /// And what happens seldom.
    #[default]
    Info,
    /// And what happens often.
    Debug,
    /// And every packet.
    Trace,
}

impl Default for ObservabilityConfig {
    fn default() -> Self {
        Self {
            log_level: None,
            log_path: None,
            log_path_metrics_exporter: None,
            ansi_colors: None,
            observation_path: None,
            observation_permissions: 0o666,
            record_path: None,
            metrics_exporter_listen: SocketAddr::from((Ipv4Addr::LOCALHOST, EXPORTER_PORT)),
        }
    }
}

/// `[observability]`.
pub(crate) fn read(cx: &mut Context, value: &Value<'_>) -> Option<ObservabilityConfig> {
    let defaults = ObservabilityConfig::default();
    let mut section = Section::open(cx, "observability", value)?;
    let config = ObservabilityConfig {
        log_level: section.optional(cx, "log-level", |cx, value| {
            value::choice(cx, value, LEVELS)
        }),
        log_path: section.optional(cx, "log-path", value::path),
        log_path_metrics_exporter: section.optional(cx, "log-path-metrics-exporter", value::path),
        ansi_colors: section.optional(cx, "ansi-colors", value::boolean),
        observation_path: section.optional(cx, "observation-path", value::path),
        observation_permissions: section.or(
            cx,
            "observation-permissions",
            permissions,
            defaults.observation_permissions,
        ),
        record_path: section.optional(cx, "record-path", value::path),
        metrics_exporter_listen: section.or(
            cx,
            "metrics-exporter-listen",
            |cx, value| value::socket_address(cx, value, EXPORTER_PORT),
            defaults.metrics_exporter_listen,
        ),
    };
    section.finish(cx);
    Some(config)
}

/// Permission bits. Upstream takes any 32-bit number; `666` without the octal prefix is 0o1232,
/// which locks out readers and is hard to see, so digits that look octal get a warning.
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
                format!("0o{bits:o} has more than permission bits"),
                "permissions are written in octal, for example `0o660`",
            );
        }
    }
    Some(bits)
}

const LEVELS: &[(&str, LogLevel)] = &[
    ("trace", LogLevel::Trace),
    ("debug", LogLevel::Debug),
    ("info", LogLevel::Info),
    ("warn", LogLevel::Warn),
    ("error", LogLevel::Error),
];

/// Where the metrics exporter listens if nothing else is said.
const EXPORTER_PORT: u16 = 9975;
