//! Notifies the service manager (sd_notify(3)) of readiness, clock status, watchdog, reloads and
//! shutdown.
//!
//! All notifications come from the timekeeping loop. A manager with a watchdog restarts a service
//! that sends no keep-alive, so a daemon whose loop hangs must be noticed, however busy its other
//! threads are.
//!
//! # Readiness
//! Units that are ordered after the daemon start once it reports readiness. If `[service] ready`
//! waits for a synchronised clock, a network that comes late does not fail the start: the start
//! timeout is extended repeatedly, and the status line shows what the daemon waits for.
//!
//! A reload is reported only after readiness: the end of a reload is reported as readiness as well,
//! and would be mistaken for the first one.
//!
//! Without a manager (no `NOTIFY_SOCKET` in the environment) nothing is sent.

use std::time::Duration;

use ntp_config::{Config, Ready};
use ntp_os_clock::monotonic;
use ntp_time::{Monotonic, NtpDuration, ReferenceId, Stratum};
use ntp_types::event::Event;
use ntp_types::source::SourceAddress;
use ntp_types::status::EngineStatus;
use sd_notify::NotifyState;

use crate::log;
use crate::runtime::pollable::Pollable;
use crate::runtime::services::{DaemonContext, Services};
use crate::status::reference_source;

/// Notifications within one timeout of the manager: one may be late and one lost.
const NOTICES_PER_LIMIT: i64 = 3;

/// Extension of the start timeout that each request asks for.
const EXTENSION: Duration = Duration::from_secs(60);

/// Summary of the clock's state; the status line is sent again when it changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ClockSummary {
    /// Whether clients may trust the clock.
    synchronized: bool,
    /// Stratum of the clock.
    stratum: Stratum,
    /// Reference ID of the clock.
    reference_id: ReferenceId,
    /// Whether a panic threshold keeps the clock from being steered.
    step_refused: bool,
}

/// The service manager's socket and what was sent to it.
#[derive(Debug)]
pub(crate) struct ServiceManager {
    /// Whether readiness waits for a synchronised clock.
    awaits_clock: bool,
    ready: bool,
    last_summary: Option<ClockSummary>,
    /// Watchdog keep-alives, if the manager requests them.
    watchdog: Option<Periodic>,
    /// Requests to extend the start timeout.
    start_extension: Periodic,
    failed: bool,
}

/// A notification that is sent periodically.
#[derive(Clone, Copy, Debug)]
struct Periodic {
    every: NtpDuration,
    due: Monotonic,
}

impl Periodic {
    fn within(limit: Duration) -> Self {
        Self {
            every: NtpDuration::from_bits(NtpDuration::from(limit).to_bits() / NOTICES_PER_LIMIT),
            due: monotonic(),
        }
    }

    /// Returns whether the notification is due, and schedules the next one.
    fn take_due(&mut self, now: Monotonic) -> bool {
        let is_due = now >= self.due;
        if is_due {
            self.due = now + self.every;
        }
        is_due
    }
}

impl ServiceManager {
    /// Returns the manager that the environment of this process names, if any.
    pub(crate) fn from_environment(config: &Config) -> Option<Self> {
        std::env::var_os("NOTIFY_SOCKET")?;
        let limit = sd_notify::watchdog_enabled().filter(|limit| !limit.is_zero());
        Some(Self {
            // Without sources the clock is never synchronised.
            awaits_clock: config.service.ready == Ready::Synchronized && !config.sources.is_empty(),
            ready: false,
            last_summary: None,
            watchdog: limit.map(Periodic::within),
            start_extension: Periodic::within(EXTENSION),
            failed: false,
        })
    }

    /// Sends what is due and what has changed. `status` is called if the status line changes.
    fn update(&mut self, summary: ClockSummary, status: impl FnOnce() -> EngineStatus) {
        let now = monotonic();
        if self
            .watchdog
            .as_mut()
            .is_some_and(|watchdog| watchdog.take_due(now))
        {
            self.send(&[NotifyState::Watchdog]);
        }
        if self.last_summary != Some(summary) {
            self.last_summary = Some(summary);
            self.send(&[NotifyState::Status(&status_line(summary, &status()))]);
        }
        if self.ready {
            return;
        }
        if summary.synchronized || !self.awaits_clock {
            self.ready = true;
            self.send(&[NotifyState::Ready]);
        } else if self.start_extension.take_due(now) {
            let more = u32::try_from(EXTENSION.as_micros()).unwrap_or(u32::MAX);
            self.send(&[NotifyState::ExtendTimeoutUsec(more)]);
        }
    }

    /// Reports that a reload begins.
    pub(crate) fn reloading(&mut self) {
        if self.ready {
            // Without the timestamp, the manager could take a message of an earlier reload for the
            // end of this one.
            match NotifyState::monotonic_usec_now() {
                Ok(now) => self.send(&[NotifyState::Reloading, now]),
                Err(_) => self.send(&[NotifyState::Reloading]),
            }
        }
    }

    /// Reports that the reload has ended, whether it succeeded or failed.
    pub(crate) fn reloaded(&mut self) {
        if self.ready {
            self.send(&[NotifyState::Ready]);
        }
    }

    /// Reports that the daemon is shutting down.
    pub(crate) fn stopping(&mut self) {
        self.send(&[NotifyState::Stopping]);
    }

    fn send(&mut self, news: &[NotifyState<'_>]) {
        if let Err(problem) = sd_notify::notify(news)
            && !core::mem::replace(&mut self.failed, true)
        {
            log::emit(&Event::ServiceManagerFailed {
                error: problem.to_string(),
            });
        }
    }
}

impl Pollable<Services> for ServiceManager {
    /// Time of the next periodic notification.
    fn deadline(&self) -> Option<Monotonic> {
        let start_extension = (!self.ready).then_some(self.start_extension.due);
        let watchdog = self.watchdog.map(|watchdog| watchdog.due);
        watchdog.into_iter().chain(start_extension).min()
    }

    fn after_round(&mut self, daemon: &mut DaemonContext<'_>) {
        let (now, claim) = daemon.driver.claim();
        let summary = ClockSummary {
            synchronized: claim.is_synchronized(now.system),
            stratum: claim.stratum,
            reference_id: claim.reference_id,
            step_refused: daemon.driver.step_refused(),
        };
        self.update(summary, || daemon.driver.status().1);
    }
}

/// Returns the address without the port.
fn shown_address(address: &SourceAddress) -> String {
    let socket = address.socket();
    socket.map_or_else(|| address.to_string(), |socket| socket.ip().to_string())
}

/// Returns the line that `systemctl status` shows. It has no figures that change all the time.
fn status_line(summary: ClockSummary, status: &EngineStatus) -> String {
    let system = &status.system;
    if system.synchronized {
        let source = reference_source(status).map_or_else(
            || system.reference_id.to_string(),
            |source| format!("{} ({})", source.name, shown_address(&source.address)),
        );
        return format!("Clock synchronised to {source}, stratum {}", system.stratum);
    }
    if let Some(refused) = &system.refused_step {
        return format!(
            "Clock not steered: a panic threshold ({}) forbids the step; see `ntp-ctl explain`",
            refused.threshold
        );
    }
    if system.local_since.is_some() {
        return format!(
            "Local time is served at stratum {}: no source is available",
            system.stratum
        );
    }
    if summary.synchronized {
        return "Clock not synchronised, and served as it is (local-stratum)".into();
    }
    "Clock not synchronised; `ntp-ctl explain` says why".into()
}
