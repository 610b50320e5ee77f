//! `[state]`: what is kept over a restart (frequency, cookies, keys). Ours alone.
//!
//! `enabled = false` switches keeping off; there is no magic directory name for it.

use std::path::PathBuf;

use crate::reader::{Context, Section, Value};
use crate::value;

/// Where state is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateConfig {
    /// The directory; `None` keeps nothing.
    pub directory: Option<PathBuf>,
    /// Whether a clock that is behind the time of an earlier run is set forward to that at the start.
    pub set_clock_forward: bool,
}

impl Default for StateConfig {
    fn default() -> Self {
        Self {
            directory: Some(PathBuf::from("/var/lib/ntpd-rs")),
            set_clock_forward: true,
        }
    }
}

/// `[state]`.
pub(crate) fn read(cx: &mut Context, value: &Value<'_>) -> Option<StateConfig> {
    let mut section = Section::open(cx, "state", value)?;
    let directory = section.optional(cx, "directory", directory);
    let enabled = section.or(cx, "enabled", value::boolean, true);
    let set_clock_forward = section.or(cx, "set-clock-forward", value::boolean, true);
    section.finish(cx);
    let directory = directory.or(StateConfig::default().directory);
    Some(StateConfig {
        directory: directory.filter(|_| enabled),
        set_clock_forward,
    })
}

fn directory(cx: &mut Context, value: &Value<'_>) -> Option<PathBuf> {
    let path = value::path(cx, value)?;
    if path.is_absolute() {
        return Some(path);
    }
    value.reject_with(
        cx,
        "invalid value: the directory must be an absolute path",
        "to keep nothing over a restart, write `enabled = false`",
    )
}
