//! `ntp-ctl waitsync`: waits until the clock is synchronised, for scripts and services.
//!
//! It can be started before the daemon and reconnects if the daemon restarts.

use std::path::Path;
use std::time::Duration;

use ntp_control_api::control::methods::{Monitor, MonitorInput};
use ntp_os_clock::monotonic;
use ntp_time::{Monotonic, NtpDuration};
use ntp_types::status::Status;
use serde_json::json;

use crate::connect::Socket;
use crate::console::{Console, Failure};
use crate::exit;
use crate::explain_text;
use crate::format::{duration, or_unknown};

/// Seconds between two replies of the daemon.
const INTERVAL: f64 = 0.5;

pub(crate) fn run(
    config: Option<&Path>,
    max_error: Option<Duration>,
    timeout: Option<Duration>,
    json: bool,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let socket = Socket::find(config)?;
    let deadline = timeout.map(|timeout| monotonic() + NtpDuration::from(timeout));
    let mut last = None;
    loop {
        if let Some(status) = watch(&socket, max_error, deadline, &mut last) {
            let bound = status.system.error_bound;
            if json {
                return console.print_json(&json!({ "done": true, "error_bound": bound }));
            }
            let text = format!("Synchronised; error bound {}\n", or_unknown(bound));
            return console.print(&text);
        }
        if deadline.is_some_and(|deadline| deadline <= monotonic()) {
            break;
        }
        pause();
    }
    let waited = duration(timeout.unwrap_or_default());
    let Some(status) = last else {
        // The reason of a failed connection is more useful than the timeout.
        socket.connect()?;
        return Err(Failure::Error(format!(
            "No reply from the daemon within {waited}"
        )));
    };
    let bound = match (max_error, status.system.synchronized) {
        (Some(required), true) => format!(
            "\n  error bound {}, required {}",
            or_unknown(status.system.error_bound),
            duration(required)
        ),
        _ => String::new(),
    };
    Err(Failure::WithExitCode {
        exit_code: exit::TIMED_OUT,
        text: format!(
            "Not synchronised within {waited}\n  {}{bound}\nSee `ntp-ctl explain`",
            explain_text::clock(&status).join("\n  ")
        ),
    })
}

/// Monitors the daemon until the condition is met, the deadline passes or the connection ends.
fn watch(
    socket: &Socket,
    max_error: Option<Duration>,
    deadline: Option<Monotonic>,
    last: &mut Option<Status>,
) -> Option<Status> {
    let mut client = socket.try_connect()?;
    let interval = Some(INTERVAL);
    client
        .subscribe::<Monitor>(&MonitorInput { interval })
        .ok()?;
    loop {
        let status = client.next_reply::<Monitor>().ok()?.status;
        let system = &status.system;
        let is_accurate = max_error.is_none_or(|limit| {
            let bound = system.error_bound;
            bound.is_some_and(|bound| bound <= NtpDuration::from(limit))
        });
        if system.synchronized && is_accurate {
            return Some(status);
        }
        *last = Some(status);
        if deadline.is_some_and(|deadline| deadline <= monotonic()) {
            return None;
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "an interactive program waits in real time"
)]
fn pause() {
    std::thread::sleep(Duration::from_millis(200));
}
