//! Measures the configured sources once and sets the clock once: the engine without the daemon.
//!
//! The engine runs with its sources, sanity tests, key exchange and selection, and with a clock
//! that it may only read. When a majority of sources agrees, its estimate is the result; what is
//! done with it is up to the caller. No server is opened, nothing is saved and no listening socket
//! is created: a daemon that starts afterwards finds everything unchanged, but for a saved time
//! that the sources contradict, which the caller may remove.
//!
//! The clock is of the configured kind, so a virtual clock makes a dry run.

use ntp_config::{Loaded, SandboxMode, build};
use ntp_os_clock::{Clock, monotonic};
use ntp_proto::engine::{ClockFacts, TimePrior};
use ntp_time::{Adjustment, Monotonic, NtpDuration, SystemTime};
use ntp_types::status::{OneShotReading, Status};

use crate::leap_list::LeapList;
use crate::persist::Store;
use crate::runtime::{DisruptionMonitor, Ending, Failure, Parts, RefClocks, Runtime};
use crate::status::status;
use crate::{convert, nts, sandbox};

/// Interval between two checks of the estimate.
const CHECK_INTERVAL: NtpDuration = NtpDuration::from_millis(50);

/// Correction up to which the clock confirms the time of the sources, as in the engine.
const PLAUSIBLE: NtpDuration = NtpDuration::from_seconds(86_400);

/// An engine that measures and does not steer.
#[derive(Debug)]
pub struct OneShot {
    runtime: Runtime,
    path: Option<String>,
    store: Store,
    /// A time that an earlier run knew to be past.
    saved_time: Option<SystemTime>,
}

impl OneShot {
    /// Opens the configured clock, acquires the right to set it, and drops all other privileges as
    /// the daemon does. Sends nothing yet.
    ///
    /// # Errors
    /// If the clock may not be set, or the process cannot change to the unprivileged user.
    pub fn open(loaded: &Loaded, mode: SandboxMode) -> Result<Self, Failure> {
        let config = &loaded.config;
        sandbox::raise_permitted_capabilities();
        let clock = crate::open_configured_clock(config).map_err(Failure::Clock)?;
        let facts = ClockFacts {
            steerable: false,
            ..convert::clock_facts(&clock).map_err(Failure::Clock)?
        };
        let mut store = Store::new(config.state.directory.clone());
        let kept = store.load();
        let time_prior = TimePrior {
            clock: clock.now(),
            floor: kept.time_floor,
        };
        let engine = convert::engine_config(config, &loaded.keys, kept.frequency, facts);
        let parts = Parts {
            clock,
            sockets: convert::socket_options(config),
            store: Store::new(None),
            leap_list: LeapList::new(None, false),
            disruptions: DisruptionMonitor::default(),
            ref_clocks: build::REF_CLOCKS.then(RefClocks::default),
            history: None,
            clockbound: None,
            observation_socket: None,
            chronyc: None,
            recorder: None,
            seed: crate::seed(),
        };
        let mut runtime = Runtime::new(engine, parts);
        runtime.set_ke_client(nts::KeClient::new(config, time_prior));
        sandbox::enter(loaded, mode, &[]).map_err(Failure::Sandbox)?;
        Ok(Self {
            runtime,
            path: loaded.path.as_ref().map(|path| path.display().to_string()),
            store,
            saved_time: kept.time_floor,
        })
    }

    /// Measures until a majority agrees, `deadline` passes, or a signal arrives.
    ///
    /// # Errors
    /// If the operating system refuses a necessary operation.
    pub fn measure(
        &mut self,
        deadline: Option<Monotonic>,
    ) -> Result<Option<OneShotReading>, Failure> {
        loop {
            let until = monotonic() + CHECK_INTERVAL;
            if let Ending::Halted(_) = self.runtime.run(Some(until))? {
                return Ok(None);
            }
            if let Some(reading) = self.reading() {
                return Ok(Some(reading));
            }
            let over = deadline.is_some_and(|deadline| deadline <= monotonic());
            if over || ntp_udp::signals::pending() {
                return Ok(None);
            }
        }
    }

    fn reading(&self) -> Option<OneShotReading> {
        let (now, status) = self.runtime.driver().status();
        let system = status.system;
        let known = system.majority && system.reference_time.is_some();
        let (correction, bound) = (system.offset?, system.error_bound?);
        let bound = bound - correction.abs();
        let time = now.system + correction;
        let by_clock = now.system >= SystemTime::RELEASED && correction.abs() < PLAUSIBLE;
        known.then(|| OneShotReading {
            clock: now.system,
            correction,
            bound,
            contradicted_time: self.saved_time.filter(|saved| *saved - time > bound),
            contradiction_confirmed: by_clock || system.agreeing >= system.required.max(2),
        })
    }

    /// Removes the time that an earlier run saved from the state directory. Returns whether that
    /// succeeded.
    pub fn forget_saved_time(&mut self) -> bool {
        self.saved_time = None;
        self.store.forget_time()
    }

    /// Steps the clock. Do not call [`measure`](Self::measure) afterwards: the engine does not know
    /// of the step.
    ///
    /// # Errors
    /// If the clock cannot be set; it is unchanged then.
    pub fn step(&mut self, by: NtpDuration) -> Result<(), Failure> {
        let adjustment = Adjustment {
            step: Some(by),
            ..Adjustment::default()
        };
        let applied = self.runtime.clock_mut().apply(&adjustment);
        applied.map(|_| ()).map_err(Failure::Clock)
    }

    /// Returns the clock.
    pub fn clock(&self) -> &Clock {
        self.runtime.clock()
    }

    /// Returns the status of the sources, to explain why they do not agree.
    pub fn status(&self) -> Status {
        let (driver, services) = (self.runtime.driver(), self.runtime.services());
        status(driver, services, self.path.clone())
    }
}
