//! `[clockbound]`: segments for ClockBound's clients. Not in upstream ntpd-rs.

use std::path::PathBuf;

use crate::reader::{Context, Value};
use crate::schema::section;
use crate::value;

section! {
    /// Shared memory segments from which ClockBound's clients read the time with its error bound.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct ClockBoundConfig: Default = "clockbound" [] {
        directory: Option<PathBuf> = directory => or(None),
            "directory" "path" "none" "Directory of the segments `shm0` (client 2.x) and `shm1` (client 3.x), which all users may read; it is created. ClockBound's clients look in `/var/run/clockbound`. Without it no segment is written.";
    }
}

fn directory(cx: &mut Context, value: &Value<'_>) -> Option<Option<PathBuf>> {
    let help = "ClockBound's clients look in /var/run/clockbound";
    value::absolute_path(cx, value, "directory", help).map(Some)
}
