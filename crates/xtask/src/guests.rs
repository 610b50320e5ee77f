//! Our daemon and chronyd, each alone in a virtual machine, in the same world.
//!
//! Both steer the clock of a real kernel. The machines count instructions
//! ([`ntp_e2e::vm`]): hours pass in minutes, processor time is that of an undisturbed machine, and
//! the same seed gives the same oscillator to both. The oscillator wanders (`true-clock --wander`).

use std::time::Duration;

use ntp_e2e::vm::{self, Guest, Report};

/// Date at power-on, and in Unix seconds.
const DATE: &str = "2026-06-15T12:00:00";
const START: i64 = 1_781_524_800;

/// Time of the host for an hour of a machine; exceeded only on an overloaded host.
const LIMIT_OF_AN_HOUR: Duration = Duration::from_secs(600);

/// A daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Daemon {
    Ours,
    Chronyd,
}

impl Daemon {
    pub(crate) const ALL: [Self; 2] = [Self::Ours, Self::Chronyd];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ours => "ntpd-rs",
            Self::Chronyd => "chronyd",
        }
    }
}

/// What surrounds the daemons.
#[derive(Clone, Debug)]
pub(crate) struct Surroundings {
    /// Sources, in the language of our configuration.
    pub(crate) ours: String,
    /// The same for chronyd.
    pub(crate) chronyd: String,
    /// Starts the sources, a shell script.
    pub(crate) sources: String,
    /// Runs beside the daemon, a shell script.
    pub(crate) course: String,
    /// Wander of the oscillator in s/s per second.
    pub(crate) wander: f64,
    /// Seed of the wander.
    pub(crate) seed: u64,
    /// Length of the course.
    pub(crate) hours: f64,
}

/// Returns an error if virtual machines cannot run here.
pub(crate) fn required() -> Result<(), String> {
    match vm::missing() {
        Some(missing) => Err(format!(
            "no virtual machines: {missing} (see .ci/install-arenas)"
        )),
        None => Ok(()),
    }
}

impl Surroundings {
    /// Runs the course with a daemon, and returns what the machine reports.
    ///
    /// # Panics
    /// If the machine does not end normally; its console is printed then.
    pub(crate) fn run(&self, daemon: Daemon) -> Report {
        let (path, config, start) = match daemon {
            Daemon::Ours => (
                "/etc/ntp.toml",
                format!(
                    "[sandbox]\nuser = \"root\"\n[state]\ndirectory = \"/var/lib/ntpd-rs\"\n\
                     [observability]\nobservation-path = \"/run/observe\"\n{}",
                    self.ours
                ),
                "start_daemon",
            ),
            Daemon::Chronyd => (
                "/etc/chrony.conf",
                format!(
                    "driftfile /run/chrony/drift\nmakestep 1 3\ncmdport 0\n{}",
                    self.chronyd
                ),
                "start_chronyd /etc/chrony.conf",
            ),
        };
        let Self { wander, seed, .. } = *self;
        let length = (self.hours * 3600.0).ceil() as u32 + 600;
        Guest::new(daemon.name(), DATE)
            .file(path, &config)
            .script(&format!(
                "TRUTH='--start {START} --rate 20 --wander {wander:e} --wander-seed {seed} --wander-for {length}'\n\
                 {}\n{start}\n{}",
                self.sources, self.course
            ))
            .run(LIMIT_OF_AN_HOUR.mul_f64(self.hours.max(1.0)))
    }
}
