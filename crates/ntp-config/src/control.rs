//! `[control]`: the control socket. Not in upstream ntpd-rs.

use std::path::PathBuf;

use crate::observability;
use crate::reader::Context;
use crate::schema::section;
use crate::value;

section! {
    /// The control socket and its access rights.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct ControlConfig: Default = "control" [] then disable {
        path: Option<PathBuf> = value::some_path => or(Some("/run/ntpd-rs/control".into())),
            "path" "path" "/run/ntpd-rs/control" "Unix socket that `ntp-ctl` and other Varlink clients use.";
        enabled: bool = value::boolean => or(true),
            "enabled" "boolean" "true" "Whether the daemon opens a control socket.";
        group: Option<String> = value::string => optional,
            "group" "string" "none" "Group (name or number) that may change the configuration, besides root and the daemon's own user; it becomes the group of the socket.";
        mode: u32 = observability::permissions => or(0o666),
            "mode" "integer" "0o666" "Permissions of the socket; users with write permission may read the daemon's state.";
    }
}

/// A disabled socket has no path.
fn disable(_: &mut Context, mut config: ControlConfig) -> ControlConfig {
    config.path = config.path.filter(|_| config.enabled);
    config
}
