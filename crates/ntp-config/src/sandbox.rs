//! `[sandbox]`: privileges that the daemon drops after start-up. Not in upstream ntpd-rs.

use crate::schema::section;
use crate::value;

section! {
    /// Privileges that the daemon drops after start-up.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct SandboxConfig: Default = "sandbox" [] {
        mode: SandboxMode = |cx, value| value::choice(cx, value, SandboxMode::WORDS) => or(SandboxMode::Enforce),
            "mode" "`off`, `warn` or `enforce`" "enforce" "Whether each thread is denied the files and system calls that it does not need; `warn` only writes such calls to the kernel's log. In the mode `enforce` the daemon does not start if a privilege cannot be dropped. The command-line option takes precedence.";
        user: String = value::string => or("ntpd-rs".into()),
            "user" "string" "ntpd-rs" "User that a daemon started by root switches to; `root` does not switch. If there is no such user, the daemon starts in the modes `warn` and `off` only.";
    }
}

/// Whether a thread is denied what it does not need.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SandboxMode {
    /// No restriction.
    Off,
    /// No restriction; violations are written to the kernel's log.
    Warn,
    /// Violations are denied.
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
