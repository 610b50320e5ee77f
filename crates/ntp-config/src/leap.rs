//! `[leap]`: leap seconds. Not in upstream ntpd-rs.
//!
//! The default list is used if it exists; a list that the file names must exist.

use std::path::PathBuf;

use crate::reader::{Context, Section, Value};
use crate::schema::section;
use crate::value;

section! {
    /// Handling of leap seconds, and their list.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct LeapConfig: Default = "leap" [] then check_name {
        + list_is_named: bool = list_is_named, "Whether the configuration names the list, so that its absence is an error.";
        handling: LeapHandling = |cx, value| value::choice(cx, value, HANDLINGS) => or(LeapHandling::Kernel),
            "handling" "`kernel`, `slew` or `smear`" "kernel" "How the clock handles a leap second. `kernel`: the kernel inserts or deletes it. `slew`: the clock is one second off and slewed. `smear`: the second is spread over the day from noon to noon (UTC), for the clients of this server too; its reference identifier is then 127.127.1.255.";
        list: Option<PathBuf> = list => or(Some("/usr/share/zoneinfo/leap-seconds.list".into())),
            "list" "path or `\"none\"`" "/usr/share/zoneinfo/leap-seconds.list" "List of all leap seconds. While it is valid it takes precedence over the sources, and sets the kernel's TAI - UTC.";
    }
}

/// How the clock handles a leap second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LeapHandling {
    /// The kernel inserts or deletes it.
    #[default]
    Kernel,
    /// The clock is one second off afterwards, and slewed.
    Slew,
    /// The second is spread from noon to noon.
    Smear,
}

const HANDLINGS: &[(&str, LeapHandling)] = &[
    ("kernel", LeapHandling::Kernel),
    ("slew", LeapHandling::Slew),
    ("smear", LeapHandling::Smear),
];

#[expect(clippy::unnecessary_wraps, reason = "the signature of a group")]
fn list_is_named(_: &mut Context, section: &mut Section<'_>) -> Option<bool> {
    Some(section.contains("list"))
}

fn check_name(_: &mut Context, mut config: LeapConfig) -> LeapConfig {
    config.list_is_named &= config.list.is_some();
    config
}

/// The outer `None` is a rejected value, the inner one no list.
fn list(cx: &mut Context, value: &Value<'_>) -> Option<Option<PathBuf>> {
    if value::text(cx, value)? == "none" {
        return Some(None);
    }
    let help = "to use no list, write `list = \"none\"`";
    value::absolute_path(cx, value, "list", help).map(Some)
}
