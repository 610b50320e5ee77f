//! Runs the scenarios of one arena, and says why when it cannot.
//!
//! A scenario spends nearly all of its time waiting for packets, so many run at once even on two cores, whereas the
//! harness of the standard library would take as many as there are cores (which is right where machines are emulated). Filters, `--list`, `--ignored` and the
//! closing lines are the standard ones.

use std::env;
use std::net::UdpSocket;
use std::num::NonZero;
use std::process::{Command, ExitCode};
use std::thread;

use libtest_mimic::{Arguments, Failed, Trial};

use crate::{browser, clients, netns, peers, prometheus, vm};

/// Set to `1` where every arena has to be there.
const REQUIRE: &str = "NTP_E2E_REQUIRE";

/// What the machine must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arena {
    /// 127.0.0.1 and ::1.
    Loopback,
    /// The right to create network namespaces; chronyd, ntpsec's ntpd and ntpdig, and rdate.
    Namespaces,
    /// An emulator, a kernel and what a guest needs besides.
    VirtualMachines,
    /// Chromium and chromedriver.
    Browser,
    /// A Prometheus server and promtool.
    Monitoring,
    /// systemd's analyser, and for the slow scenario debootstrap and root.
    Packaging,
}

impl Arena {
    /// Scenarios at once unless `--test-threads` says otherwise. Those that only wait for packets can be so many that the longest one
    /// determines the time; an emulator wants a processor.
    fn scenarios_at_once(self) -> usize {
        match self {
            Self::Loopback | Self::Namespaces | Self::Browser | Self::Monitoring => 12,
            Self::Packaging => 1,
            Self::VirtualMachines => thread::available_parallelism().map_or(1, NonZero::get),
        }
    }

    /// Why this machine does not have it.
    fn missing(self) -> Option<String> {
        match self {
            Self::Loopback => loopback_missing(),
            Self::Namespaces => loopback_missing()
                .or_else(netns::missing)
                .or_else(peers::missing)
                .or_else(clients::missing),
            Self::VirtualMachines => loopback_missing()
                .or_else(vm::missing)
                .or_else(peers::missing),
            Self::Browser => loopback_missing().or_else(browser::missing),
            Self::Monitoring => loopback_missing().or_else(prometheus::missing),
            Self::Packaging => packaging_missing(),
        }
    }
}

fn packaging_missing() -> Option<String> {
    let analyser = Command::new("systemd-analyze").arg("--version").output();
    analyser
        .is_err()
        .then(|| "systemd-analyze is missing (package systemd)".to_owned())
}

/// One test.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    name: &'static str,
    run: fn(),
    slow: bool,
}

impl Scenario {
    /// A scenario of the default run. [`scenario!`](crate::scenario) fills in the name.
    pub const fn new(name: &'static str, run: fn()) -> Self {
        Self {
            name,
            run,
            slow: false,
        }
    }

    /// Runs only with `--ignored` or `--include-ignored`: it takes minutes.
    #[must_use]
    pub const fn slow(mut self) -> Self {
        self.slow = true;
        self
    }
}

/// The [`Scenario`](crate::harness::Scenario) of a function.
#[macro_export]
macro_rules! scenario {
    ($function:ident) => {
        $crate::harness::Scenario::new(stringify!($function), $function)
    };
}

/// To be returned from a scenario for which this machine lacks something.
///
/// # Panics
/// Where every arena has to be there.
pub fn skip(lacking: &str) {
    let required = env::var_os(REQUIRE).is_some_and(|value| value == "1");
    assert!(!required, "this machine lacks {lacking}");
    eprintln!("skipped: this machine lacks {lacking}");
}

/// Runs what the command line selects of `scenarios`. To be returned from `main`.
pub fn run(arena: Arena, scenarios: &[Scenario]) -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments
        .test_threads
        .get_or_insert(arena.scenarios_at_once());
    let missing = if arguments.list {
        None
    } else {
        arena_missing(arena)
    };
    let trials = scenarios
        .iter()
        .map(|scenario| trial(*scenario, missing.as_ref()))
        .collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn trial(scenario: Scenario, missing: Option<&Missing>) -> Trial {
    let run = scenario.run;
    match missing {
        None => Trial::test(scenario.name, move || {
            run();
            Ok(())
        })
        .with_ignored_flag(scenario.slow),
        Some(Missing {
            reason,
            required: true,
        }) => {
            let reason = Failed::from(reason.clone());
            Trial::test(scenario.name, || Err(reason)).with_ignored_flag(scenario.slow)
        }
        Some(Missing {
            required: false, ..
        }) => Trial::test(scenario.name, || Ok(())).with_ignored_flag(true),
    }
}

struct Missing {
    reason: String,
    required: bool,
}

fn arena_missing(arena: Arena) -> Option<Missing> {
    let reason = arena.missing()?;
    let required = env::var_os(REQUIRE).is_some_and(|value| value == "1");
    if !required {
        eprintln!(
            "skipped, the arena {arena:?} is missing: {reason} ({REQUIRE}=1 makes this a failure)"
        );
    }
    Some(Missing { reason, required })
}

fn loopback_missing() -> Option<String> {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        if let Err(error) = UdpSocket::bind(address) {
            return Some(format!("no UDP socket on {address}: {error}"));
        }
    }
    let setpriv = Command::new("setpriv").arg("--version").output();
    setpriv
        .err()
        .map(|error| format!("setpriv (of util-linux) cannot be run: {error}"))
}
