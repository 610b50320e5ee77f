//! `[service]`: notification of the service manager. Not in upstream ntpd-rs.

use crate::schema::section;
use crate::value;

section! {
    /// Notification of the service manager (systemd).
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct ServiceConfig: Default = "service" [] {
        ready: Ready = |cx, value| value::choice(cx, value, MOMENTS) => or(Ready::Started),
            "ready" "`started` or `synchronized`" "started" "When the daemon reports readiness to systemd, so that services ordered after it may start: once it runs, or once the clock is synchronised for the first time. The start-up timeout of systemd is extended while the daemon waits. If no source is configured, `synchronized` means `started`.";
    }
}

/// When the daemon reports readiness.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ready {
    /// Once all sockets are open and the first requests are about to be sent.
    #[default]
    Started,
    /// Once the clock is synchronised for the first time; as `Started` if no source is configured.
    Synchronized,
}

const MOMENTS: &[(&str, Ready)] = &[
    ("started", Ready::Started),
    ("synchronized", Ready::Synchronized),
];
