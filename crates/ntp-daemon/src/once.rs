//! Asking the configured sources once, and setting the clock once: the daemon's engine without the daemon.
//!
//! The engine runs with its sources, its sanity tests, its key exchange and its selection, and with a clock that it may only read. When a majority of
//! sources agrees, its estimate is the answer; what is done with it is the caller's business. No server is opened, nothing is saved, no
//! socket is made: a daemon that starts afterwards finds everything as it would have.
//!
//! The clock stays in its configured kind, so that a virtual one makes a dry run of the whole.

use ntp_config::{ClockKind, Loaded, SandboxMode};
use ntp_control_api::control::types::Status;
use ntp_os_clock::{Clock, monotonic};
use ntp_proto::engine::ClockFacts;
use ntp_time::{Adjustment, Monotonic, NtpDuration, SystemTime};

use crate::control::status;
use crate::leap_list::LeapList;
use crate::persist::Store;
use crate::runtime::{Ending, Failure, Parts, Runtime};
use crate::{convert, nts, sandbox};

/// How long the engine runs between two looks at its estimate.
const LOOK: NtpDuration = NtpDuration::from_millis(50);

/// An engine that asks and does not steer.
#[derive(Debug)]
pub struct Once {
    runtime: Runtime,
    needed: usize,
    path: Option<String>,
}

/// What a majority of the sources says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading {
    /// What the clock reads.
    pub clock: SystemTime,
    /// What has to be added to it.
    pub correction: NtpDuration,
    /// How far the clock may be from true time at most once that was done.
    pub bound: NtpDuration,
}

impl Once {
    /// Opens the clock that `loaded` names, asks for the right to set it, and gives up all others as the daemon does. Nothing is sent yet.
    ///
    /// # Errors
    /// If the clock may not be set, or the process cannot become an unprivileged user.
    pub fn begin(loaded: &Loaded, mode: SandboxMode) -> Result<Self, Failure> {
        let config = &loaded.config;
        sandbox::take_up_capabilities();
        let clock = crate::open_configured_clock(config).map_err(Failure::Clock)?;
        let facts = ClockFacts {
            steerable: false,
            ..convert::clock_facts(&clock).map_err(Failure::Clock)?
        };
        let kept = Store::new(config.state.directory.clone()).load();
        let engine = convert::engine_config(config, &loaded.keys, kept.frequency, facts);
        let parts = Parts {
            clock,
            sockets: convert::socket_options(config),
            store: Store::new(None),
            leap_list: LeapList::new(None, false),
            observer: None,
            recorder: None,
            seed: crate::seed(),
        };
        let mut runtime = Runtime::new(engine, parts);
        runtime.get_keys(nts::Exchanges::new(config, kept.time_floor));
        sandbox::enter(loaded, mode)
            .map_err(|error| Failure::System("becoming an unprivileged user", error))?;
        Ok(Self {
            runtime,
            needed: config.synchronization.minimum_agreeing_sources,
            path: loaded.path.as_ref().map(|path| path.display().to_string()),
        })
    }

    /// Asks until a majority agrees, until `deadline`, or until a signal ends it.
    ///
    /// # Errors
    /// If the operating system fails us.
    pub fn ask(&mut self, deadline: Option<Monotonic>) -> Result<Option<Reading>, Failure> {
        loop {
            let until = monotonic() + LOOK;
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

    fn reading(&self) -> Option<Reading> {
        let snapshot = self.runtime.snapshot();
        let system = &snapshot.system;
        // An unknown clock has no offset and an unlimited error.
        let known = system.majority && system.reference_time.is_some();
        known.then(|| Reading {
            clock: snapshot.now.system,
            correction: -system.offset,
            bound: system.bound - system.offset.abs(),
        })
    }

    /// Steps the clock. To be asked no more afterwards: the engine does not know of it.
    ///
    /// # Errors
    /// If the clock refuses; it is untouched then.
    pub fn step(&mut self, by: NtpDuration) -> Result<(), Failure> {
        let adjustment = Adjustment {
            step: Some(by),
            ..Adjustment::default()
        };
        let applied = self.runtime.clock_mut().apply(&adjustment);
        applied.map(|_| ()).map_err(Failure::Clock)
    }

    /// The clock.
    pub fn clock(&self) -> &Clock {
        self.runtime.clock()
    }

    /// What is known of the sources, for saying why they do not agree.
    pub fn status(&self) -> Status {
        status::of_runtime(&self.runtime, self.path.clone(), self.needed)
    }
}

/// Whether there is a clock to set in this configuration.
pub fn may_set(kind: &ClockKind) -> bool {
    !matches!(kind, ClockKind::None)
}
