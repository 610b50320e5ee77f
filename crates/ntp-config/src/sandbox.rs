//! `[sandbox]`: what the daemon gives up once it has what it needs. Ours alone.

use crate::reader::{Context, Section, Value};
use crate::value;

/// What the daemon gives up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SandboxConfig {
    /// Whether files and system calls are restricted.
    pub mode: SandboxMode,
    /// The user that a daemon started by root becomes.
    pub user: String,
}

/// Whether what a thread does not need is refused to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SandboxMode {
    /// Nothing is restricted.
    Off,
    /// Nothing is refused; what would be is written to the kernel's log.
    Warn,
    /// Everything that is not needed is refused.
    #[default]
    Enforce,
}

impl SandboxMode {
    /// The words of the file and of the command line.
    pub const WORDS: &'static [(&'static str, Self)] = &[
        ("off", Self::Off),
        ("warn", Self::Warn),
        ("enforce", Self::Enforce),
    ];
}

impl Default for SandboxConfig {
    fn default() -> Self {
        Self {
            mode: SandboxMode::default(),
            user: "ntpd-rs".into(),
        }
    }
}

/// `[sandbox]`.
pub(crate) fn read(cx: &mut Context, value: &Value<'_>) -> Option<SandboxConfig> {
    let defaults = SandboxConfig::default();
    let mut section = Section::open(cx, "sandbox", value)?;
    let mode = section.optional(cx, "mode", |cx, value| {
        value::choice(cx, value, SandboxMode::WORDS)
    });
    let user = section.optional(cx, "user", value::text);
    section.finish(cx);
    Some(SandboxConfig {
        mode: mode.unwrap_or(defaults.mode),
        user: user.map_or(defaults.user, str::to_owned),
    })
}
