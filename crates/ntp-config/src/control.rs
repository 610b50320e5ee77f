//! `[control]`: the socket at which the daemon is read and changed. Ours alone.

use std::path::PathBuf;

use crate::observability;
use crate::reader::{Context, Section, Value};
use crate::value;

/// Who may open the control socket, and who may change something there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlConfig {
    /// Where it is; `None` makes none.
    pub path: Option<PathBuf>,
    /// Group that may change things beside root and the daemon's own user: its name or its number.
    pub group: Option<String>,
    /// Permission bits of the socket: whoever may write to it may read the daemon's state.
    pub mode: u32,
}

impl Default for ControlConfig {
    fn default() -> Self {
        Self {
            path: Some(PathBuf::from("/run/ntpd-rs/control")),
            group: None,
            mode: 0o666,
        }
    }
}

/// `[control]`.
pub(crate) fn read(cx: &mut Context, value: &Value<'_>) -> Option<ControlConfig> {
    let defaults = ControlConfig::default();
    let mut section = Section::open(cx, "control", value)?;
    let path = section.optional(cx, "path", value::path).or(defaults.path);
    let enabled = section.or(cx, "enabled", value::boolean, true);
    let config = ControlConfig {
        path: path.filter(|_| enabled),
        group: section
            .optional(cx, "group", value::text)
            .map(ToOwned::to_owned),
        mode: section.or(cx, "mode", observability::permissions, defaults.mode),
    };
    section.finish(cx);
    Some(config)
}
