//! `ntp-ctl waitsync`: waits until the clock is right, for scripts and for services that need it.
//!
//! It may be started before the daemon; a daemon that is restarted meanwhile is found again.

use std::path::Path;
use std::time::Duration;

use ntp_control_api::control::methods::{Interval, Monitor};
use ntp_control_api::control::types::Status;
use ntp_os_clock::monotonic;
use ntp_time::{Monotonic, NtpDuration};

use crate::connect::Socket;
use crate::console::{Console, Failure};
use crate::exit;
use crate::explain;
use crate::figures::{duration, known};

/// Between two looks.
const INTERVAL: f64 = 0.5;

pub(crate) fn run(
    config: Option<&Path>,
    max_error: Option<Duration>,
    timeout: Option<Duration>,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let socket = Socket::find(config)?;
    let deadline = timeout.map(|timeout| monotonic() + NtpDuration::from(timeout));
    let mut last = None;
    loop {
        if let Some(status) = watch(&socket, max_error, deadline, &mut last) {
            writeln!(
                console.out,
                "Synchronised; the clock is certainly not off by more than {}",
                known(status.system.error_bound)
            )?;
            return Ok(());
        }
        if deadline.is_some_and(|deadline| deadline <= monotonic()) {
            break;
        }
        pause();
    }
    let waited = duration(timeout.unwrap_or_default().as_secs_f64());
    let Some(status) = last else {
        // Why it cannot be reached is worth more than that we waited.
        socket.connect()?;
        return Err(Failure::Told(format!(
            "No answer from the daemon within {waited}"
        )));
    };
    let bound = match (max_error, status.system.synchronized) {
        (Some(wanted), true) => format!(
            "\nThe error bound is {}, and {} was asked for.",
            known(status.system.error_bound),
            duration(wanted.as_secs_f64())
        ),
        _ => String::new(),
    };
    Err(Failure::Judged {
        exit_code: exit::TIMED_OUT,
        text: format!(
            "Not synchronised within {waited}. {}{bound}\n`ntp-ctl explain` tells more",
            explain::clock(&status).join(" ")
        ),
    })
}

/// Listens to one daemon until it is content, the time is up or the connection ends.
fn watch(
    socket: &Socket,
    max_error: Option<Duration>,
    deadline: Option<Monotonic>,
    last: &mut Option<Status>,
) -> Option<Status> {
    let mut client = socket.try_connect()?;
    let interval = Some(INTERVAL);
    client.subscribe::<Monitor>(&Interval { interval }).ok()?;
    loop {
        let status = client.answer::<Monitor>().ok()?.status;
        let system = &status.system;
        let close = max_error.is_none_or(|wanted| {
            let bound = system.error_bound;
            bound.is_some_and(|bound| bound <= wanted.as_secs_f64())
        });
        if system.synchronized && close {
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
    reason = "a program for people and scripts waits in real time"
)]
fn pause() {
    std::thread::sleep(Duration::from_millis(200));
}
