//! `[leap]`: leap seconds. Ours alone.
//!
//! The default list is used if it is there; one that the file names has to be.

use std::path::PathBuf;

use crate::reader::{Context, Section, Value};
use crate::value;

/// What happens at a leap second, and where they are listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeapConfig {
    /// What the clock does.
    pub handling: LeapHandling,
    /// The list; `None` uses none.
    pub list: Option<PathBuf>,
    /// Whether the operator named it, and will want to know if it is missing.
    pub list_is_named: bool,
}

/// What the clock does at a leap second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LeapHandling {
    /// The kernel repeats or leaves out a second.
    #[default]
    Kernel,
    /// The clock is a second off afterwards, and slewed.
    Slew,
    /// The second is spread from noon to noon.
    Smear,
}

/// Where most systems have it: with their time zones.
const USUAL_LIST: &str = "/usr/share/zoneinfo/leap-seconds.list";

const HANDLINGS: &[(&str, LeapHandling)] = &[
    ("kernel", LeapHandling::Kernel),
    ("slew", LeapHandling::Slew),
    ("smear", LeapHandling::Smear),
];

impl Default for LeapConfig {
    fn default() -> Self {
        Self {
            handling: LeapHandling::default(),
            list: Some(PathBuf::from(USUAL_LIST)),
            list_is_named: false,
        }
    }
}

/// `[leap]`.
pub(crate) fn read(cx: &mut Context, value: &Value<'_>) -> Option<LeapConfig> {
    let mut section = Section::open(cx, "leap", value)?;
    let handling = section.optional(cx, "handling", |cx, value| {
        value::choice(cx, value, HANDLINGS)
    });
    let list = section.optional(cx, "list", list);
    section.finish(cx);
    let usual = LeapConfig::default();
    Some(LeapConfig {
        handling: handling.unwrap_or_default(),
        list_is_named: list.as_ref().is_some_and(Option::is_some),
        list: list.unwrap_or(usual.list),
    })
}

fn list(cx: &mut Context, value: &Value<'_>) -> Option<Option<PathBuf>> {
    let path = value::path(cx, value)?;
    if path.as_os_str() == "none" {
        return Some(None);
    }
    if path.is_absolute() {
        return Some(Some(path));
    }
    value.reject_with(
        cx,
        "invalid value: the list must be an absolute path",
        "to use no list, write `list = \"none\"`",
    )
}
