//! `[state]`: state kept across restarts (frequency, cookies, keys). Not in upstream ntpd-rs.
//!
//! `enabled = false` switches it off; there is no magic directory name for that.

use std::path::PathBuf;

use crate::reader::{Context, Value};
use crate::schema::section;
use crate::value;

section! {
    /// State kept across restarts.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct StateConfig: Default = "state" [] then disable {
        directory: Option<PathBuf> = directory => or(Some("/var/lib/ntpd-rs".into())),
            "directory" "path" "/var/lib/ntpd-rs" "Directory for the oscillator's frequency, the last known time, cookies and keys. Files that cannot be used are renamed to `NAME.damaged`, and new ones are started.";
        enabled: bool = value::boolean => or(true),
            "enabled" "boolean" "true" "Whether state is kept across restarts.";
        history_days: usize = days => or(400),
            "history-days" "number" "400" "Number of days for which a history of the clock's accuracy is kept, for `ntp-ctl report`; 0 keeps none. It is written to `history` in the state directory every quarter of an hour and takes about half a megabyte a month.";
        set_clock_forward: bool = value::boolean => or(true),
            "set-clock-forward" "boolean" "true" "Whether a clock that is more than a minute behind the last time that an earlier run saved is set forward to that time at start-up, within `startup-step-panic-threshold`: for machines without a battery-backed clock. A clock that shows a plausible time, after the release of this program, is set forward by less than a day.";
    }
}

/// At most a century.
fn days(cx: &mut Context, value: &Value<'_>) -> Option<usize> {
    value::within(cx, value, 0..=36_500)
}

/// Disabled state has no directory.
fn disable(_: &mut Context, mut config: StateConfig) -> StateConfig {
    config.directory = config.directory.filter(|_| config.enabled);
    config
}

fn directory(cx: &mut Context, value: &Value<'_>) -> Option<Option<PathBuf>> {
    let help = "to keep no state across restarts, write `enabled = false`";
    value::absolute_path(cx, value, "directory", help).map(Some)
}
