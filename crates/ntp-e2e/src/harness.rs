//! Runs the scenarios of one arena; prints the reason if the arena is missing.
//!
//! A scenario spends nearly all of its time waiting for packets, so many run in parallel even on
//! two cores. The standard library's harness would run as many as there are cores, which is right
//! only for emulated machines. Filters, `--list`, `--ignored` and the summary are those of libtest.

use std::env;
use std::net::UdpSocket;
use std::num::NonZero;
use std::process::{Command, ExitCode};
use std::thread;

use libtest_mimic::{Arguments, Failed, Trial};

use crate::{browser, clients, netns, peers, prometheus, vm};

/// Environment variable: `1` makes a missing arena a failure.
const REQUIRE: &str = "NTP_E2E_REQUIRE";

/// What a group of scenarios requires of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arena {
    /// 127.0.0.1 and ::1.
    Loopback,
    /// Permission to create network namespaces; chronyd, ntpsec's ntpd and ntpdig, and rdate.
    Namespaces,
    /// An emulator, a kernel and the other files of a guest.
    VirtualMachines,
    /// The same with an emulator and a kernel that have devices with clocks.
    ClockDevices,
    /// Chromium and chromedriver.
    Browser,
    /// A Prometheus server and promtool.
    Monitoring,
    /// The programs that read the packages' files; debootstrap and root for the slow scenario.
    Packaging,
}

impl Arena {
    /// Default number of parallel scenarios (`--test-threads` overrides it). Scenarios that only
    /// wait for packets can be so many that the longest one determines the time; an emulator
    /// occupies a core.
    fn parallel_scenarios(self) -> usize {
        match self {
            Self::Loopback | Self::Namespaces | Self::Browser | Self::Monitoring => 12,
            Self::Packaging => 1,
            Self::VirtualMachines | Self::ClockDevices => {
                thread::available_parallelism().map_or(1, NonZero::get)
            }
        }
    }

    /// Returns why the arena is missing on this machine, or `None` if it is available.
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
            Self::ClockDevices => loopback_missing()
                .or_else(vm::clocks_missing)
                .or_else(peers::missing),
            Self::Browser => loopback_missing().or_else(browser::missing),
            Self::Monitoring => loopback_missing().or_else(prometheus::missing),
            Self::Packaging => packaging_missing(),
        }
    }
}

fn packaging_missing() -> Option<String> {
    let programs = [
        ("systemd-analyze", "systemd"),
        ("apparmor_parser", "apparmor"),
        ("checkmodule", "checkpolicy"),
        ("semodule_package", "semodule-utils"),
        ("shellcheck", "shellcheck"),
    ];
    let is_missing = |program: &str| Command::new(program).arg("--version").output().is_err();
    let missing = programs.iter().find(|(program, _)| is_missing(program));
    missing.map(|(program, package)| format!("{program} is missing (package {package})"))
}

/// A test.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    name: &'static str,
    run: fn(),
    slow: bool,
}

impl Scenario {
    /// A scenario of the default run; see [`scenario!`](crate::scenario).
    pub const fn new(name: &'static str, run: fn()) -> Self {
        Self {
            name,
            run,
            slow: false,
        }
    }

    /// Excludes it from the default run because it takes minutes; runs with `--ignored` or
    /// `--include-ignored`.
    #[must_use]
    pub const fn slow(mut self) -> Self {
        self.slow = true;
        self
    }
}

/// Makes a [`Scenario`](crate::harness::Scenario) of a function, named as the function.
#[macro_export]
macro_rules! scenario {
    ($function:ident) => {
        $crate::harness::Scenario::new(stringify!($function), $function)
    };
}

/// Reports that a scenario is skipped because this machine lacks something.
///
/// # Panics
/// If `NTP_E2E_REQUIRE=1` is set.
pub fn skip(lacking: &str) {
    let required = env::var_os(REQUIRE).is_some_and(|value| value == "1");
    assert!(!required, "this machine lacks {lacking}");
    eprintln!("skipped: this machine lacks {lacking}");
}

/// Runs the scenarios that the command line selects. `main` returns the result.
pub fn run(arena: Arena, scenarios: &[Scenario]) -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments
        .test_threads
        .get_or_insert(arena.parallel_scenarios());
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
