//! What the service manager is told (sd_notify(3)): that the daemon is ready, how the clock stands, that the timekeeping loop lives, that a
//! reload goes on, and that the end has begun.
//!
//! All of it comes from the timekeeping loop and from nowhere else. A manager that asks for signs of life ends and restarts a service that gives
//! none, and a daemon whose loop hangs is to be noticed, however busy its other threads are.
//!
//! # Ready
//! What is ordered after the daemon starts once the daemon says that it is ready. Where that is to be when the clock is right, a network that
//! comes late is no failed start: the manager's limit for a start is put off again and again, and its status line says what is waited for.
//!
//! A reload is reported only by a daemon that is ready: the end of one is told as readiness too, and would be taken for the first.
//!
//! Without a manager (no `NOTIFY_SOCKET` in the environment) nothing of this happens.

use std::time::Duration;

use ntp_config::{Config, Ready};
use ntp_os_clock::monotonic;
use ntp_proto::engine::Snapshot;
use ntp_time::{Monotonic, NtpDuration, ReferenceId, Stratum};
use sd_notify::NotifyState;
use tracing::warn;

use crate::control::status::reference;

/// Signs in the time after which the manager takes the service for dead: one may be late and one lost.
const SIGNS: i64 = 3;

/// How much longer a start may take from each time on that this is asked for.
const EXTENSION: Duration = Duration::from_secs(60);

/// What can be seen of the clock at a glance; the status line changes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Glance {
    /// Whether clients may believe the clock.
    pub(crate) synchronized: bool,
    /// Its distance from a reference clock.
    pub(crate) stratum: Stratum,
    /// What it takes its time from.
    pub(crate) reference_id: ReferenceId,
}

/// The manager, and what it was told.
#[derive(Debug)]
pub(crate) struct ServiceManager {
    /// Whether the daemon is ready only once the clock is right.
    awaits_clock: bool,
    ready: bool,
    told: Option<Glance>,
    /// Signs of life, if they are asked for.
    life: Option<Repeated>,
    /// Requests for more time to start.
    patience: Repeated,
    failed: bool,
}

/// Something that is told again and again.
#[derive(Clone, Copy, Debug)]
struct Repeated {
    every: NtpDuration,
    due: Monotonic,
}

impl Repeated {
    fn within(limit: Duration) -> Self {
        Self {
            every: NtpDuration::from_bits(NtpDuration::from(limit).to_bits() / SIGNS),
            due: monotonic(),
        }
    }

    /// Whether it is time; then the next time is set.
    fn take(&mut self, now: Monotonic) -> bool {
        let is_due = now >= self.due;
        if is_due {
            self.due = now + self.every;
        }
        is_due
    }
}

impl ServiceManager {
    /// The manager that this process's environment names, if it does.
    pub(crate) fn from_environment(config: &Config) -> Option<Self> {
        std::env::var_os("NOTIFY_SOCKET")?;
        let limit = sd_notify::watchdog_enabled().filter(|limit| !limit.is_zero());
        Some(Self {
            // A clock that nobody is asked about will never be right.
            awaits_clock: config.service.ready == Ready::Synchronized && !config.sources.is_empty(),
            ready: false,
            told: None,
            life: limit.map(Repeated::within),
            patience: Repeated::within(EXTENSION),
            failed: false,
        })
    }

    /// When [`attend`](Self::attend) is to be called at the latest.
    pub(crate) fn due(&self) -> Option<Monotonic> {
        let patience = (!self.ready).then_some(self.patience.due);
        let life = self.life.map(|life| life.due);
        life.into_iter().chain(patience).min()
    }

    /// Tells what is due and what is new. `snapshot` is called if there is something to say about the clock.
    pub(crate) fn attend(&mut self, glance: Glance, snapshot: impl FnOnce() -> Snapshot) {
        let now = monotonic();
        if self.life.as_mut().is_some_and(|life| life.take(now)) {
            self.tell(&[NotifyState::Watchdog]);
        }
        if self.told != Some(glance) {
            self.told = Some(glance);
            self.tell(&[NotifyState::Status(&status(glance, &snapshot()))]);
        }
        if self.ready {
            return;
        }
        if glance.synchronized || !self.awaits_clock {
            self.ready = true;
            self.tell(&[NotifyState::Ready]);
        } else if self.patience.take(now) {
            let more = u32::try_from(EXTENSION.as_micros()).unwrap_or(u32::MAX);
            self.tell(&[NotifyState::ExtendTimeoutUsec(more)]);
        }
    }

    /// A reload begins.
    pub(crate) fn reloading(&mut self) {
        if self.ready {
            // Without the time the manager could take a word from an earlier reload for the end of this one.
            match NotifyState::monotonic_usec_now() {
                Ok(now) => self.tell(&[NotifyState::Reloading, now]),
                Err(_) => self.tell(&[NotifyState::Reloading]),
            }
        }
    }

    /// The reload is over, well or not.
    pub(crate) fn reloaded(&mut self) {
        if self.ready {
            self.tell(&[NotifyState::Ready]);
        }
    }

    /// The daemon is about to end.
    pub(crate) fn stopping(&mut self) {
        self.tell(&[NotifyState::Stopping]);
    }

    fn tell(&mut self, news: &[NotifyState<'_>]) {
        if let Err(problem) = sd_notify::notify(news)
            && !core::mem::replace(&mut self.failed, true)
        {
            warn!("cannot notify the service manager: {problem}");
        }
    }
}

/// The line that `systemctl status` shows. Figures that change all the time are not in it.
fn status(glance: Glance, snapshot: &Snapshot) -> String {
    let system = &snapshot.system;
    if system.synchronized {
        let whom = reference(snapshot).map_or_else(
            || system.reference_id.to_string(),
            |source| format!("{} ({})", source.name, source.address.ip()),
        );
        return format!("Clock synchronised to {whom}, stratum {}", system.stratum);
    }
    if glance.synchronized {
        return "Clock not synchronised, and served as it is (local-stratum)".into();
    }
    "Clock not synchronised; `ntp-ctl explain` says why".into()
}
