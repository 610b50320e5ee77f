//! Virtual machines, in which the daemon steers a real kernel's clock.
//!
//! # Problem
//! Whether steps, slews, leap seconds and the kernel's error figures work can only be tested with a
//! kernel. The clock of the machine that runs the tests must not be changed, and a test that takes
//! an hour of real time for an hour of holdover would never be run.
//!
//! # Idea
//! A guest in software emulation (QEMU's TCG; needs neither hardware support nor permissions) with
//! Debian's kernel, which has its own clock. The emulator counts instructions: each takes a fixed
//! time, and while the guest is idle its clock **jumps** to its next timer (`-icount
//! shift=1,sleep=off`). So an hour passes in seconds, and load on the host does not affect
//! measurements in the guest.
//!
//! # True time
//! Inside the guest, `CLOCK_MONOTONIC_RAW` counts the same oscillator and cannot be steered. True
//! time is a linear function of it (`test_binaries::true_time`). The program `true-clock` serves it
//! by NTP, with any date, any frequency error against the guest's oscillator and with leap seconds,
//! and compares the guest's clock with it without a network in between.
//!
//! # How a scenario is written
//! A scenario is a shell script that runs in the guest (`init.sh` defines its commands), and
//! assertions about the [`Report`] of the guest. The host does not interact while the guest runs,
//! since the guest's time does not wait for it. The console is printed if the test fails, and
//! always with `NTP_E2E_CONSOLE=1`.
//!
//! Several guests on one network ([`Lan`]) run by the host's clock instead.

mod cpio;
mod image;
mod lan;
mod report;

use std::env;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::files;
use crate::log_event::LogEvent;
use crate::process::{self, Process};
use cpio::Archive;
pub use image::missing;
pub use lan::Lan;
pub use report::{Record, Report};

/// Environment variable: `1` prints the console of guests even if the test passes.
const SHOW_CONSOLE: &str = "NTP_E2E_CONSOLE";

/// Name of the QMP socket of an emulator.
const MONITOR: &str = "monitor";

/// Description of a machine.
#[derive(Debug)]
pub struct Guest {
    name: &'static str,
    overlay: Archive,
    date: String,
    script: String,
}

impl Guest {
    /// A machine whose RTC shows `date` (`2026-06-30T12:00:00`, UTC) at power-on.
    pub fn new(name: &'static str, date: &str) -> Self {
        Self {
            name,
            overlay: Archive::default(),
            date: date.to_owned(),
            script: String::new(),
        }
    }

    /// Adds a file.
    #[must_use]
    pub fn file(mut self, path: &str, contents: &str) -> Self {
        self.overlay.file(path, 0o644, contents.as_bytes());
        self
    }

    /// Appends to the script.
    ///
    /// # Panics
    /// If it names an event that the daemon does not have.
    #[must_use]
    pub fn script(mut self, text: &str) -> Self {
        assert_events_declared(text);
        self.script.push_str(text);
        self.script.push('\n');
        self
    }

    /// Prepends to the script.
    fn preceded_by(mut self, text: &str) -> Self {
        self.script = format!("{text}\n{}", self.script);
        self
    }

    /// Runs the scenario to its end.
    ///
    /// # Panics
    /// If it does not end within `limit` of the host's time, or an `await` of the script timed out.
    #[track_caller]
    pub fn run(self, limit: Duration) -> Report {
        let mut machine = self.start_with(&["-icount", "shift=1,sleep=off"]);
        machine.finish(limit)
    }

    /// Starts the machine, running by the host's clock: for scenarios in which the host interacts.
    ///
    /// # Panics
    /// If the emulator cannot be started.
    pub fn start(self) -> Machine {
        self.start_with(&[])
    }

    /// Starts the machine, running by the host's clock, with `/dev/vda` at a socket (see
    /// [`torture::disk`](crate::torture::disk)).
    ///
    /// # Panics
    /// If the emulator cannot be started.
    pub fn start_with_disk(self, socket: &Path) -> Machine {
        let drive = format!(
            "if=none,id=disk,format=raw,cache=writeback,file=nbd+unix:///?socket={}",
            socket.display()
        );
        self.start_with(&["-drive", &drive, "-device", "virtio-blk-pci,drive=disk"])
    }

    /// Starts the machine with further options of the emulator.
    ///
    /// # Panics
    /// If the emulator cannot be started.
    fn start_with(mut self, options: &[&str]) -> Machine {
        self.overlay
            .file("/scenario", 0o644, self.script.as_bytes());
        let directory = files::temporary_directory();
        let initrd = directory.path().join("initrd");
        let monitor = format!(
            "unix:{},server,nowait",
            directory.path().join(MONITOR).display()
        );
        let archive = [image::base(), &self.overlay.finish()].concat();
        files::write(&initrd, archive);
        let mut command = emulator(&initrd, &self.date);
        command.args(["-qmp", &monitor]).args(options);
        Machine {
            process: Process::spawn(self.name, command),
            files: directory,
        }
    }
}

/// A running machine. Stopped when dropped.
#[derive(Debug)]
pub struct Machine {
    /// The emulator; its output is the machine's console.
    pub process: Process,
    files: TempDir,
}

impl Machine {
    /// Pauses the machine without its notice, as during a migration.
    ///
    /// # Panics
    /// If the emulator reports an error.
    pub fn pause(&self) {
        self.monitor("stop");
    }

    /// Resumes a paused machine.
    ///
    /// # Panics
    /// If the emulator reports an error.
    pub fn resume(&self) {
        self.monitor("cont");
    }

    /// Wakes a suspended machine.
    ///
    /// # Panics
    /// If the emulator reports an error.
    pub fn wake(&self) {
        self.monitor("system_wakeup");
    }

    fn monitor(&self, command: &str) {
        if let Err(error) = lan::command(&self.files.path().join(MONITOR), command) {
            panic!("QMP command '{command}' failed: {error}");
        }
    }

    /// Waits for the end of the scenario.
    ///
    /// # Panics
    /// If it does not end within `limit`, or an `await` of the script timed out.
    #[track_caller]
    pub fn finish(&mut self, limit: Duration) -> Report {
        self.process.wait_exit(limit);
        let lines = self.process.lines();
        if env::var_os(SHOW_CONSOLE).is_some_and(|value| value == "1") {
            eprintln!("{}", lines.join("\n"));
        }
        let report = Report::parse(lines.iter().map(String::as_str));
        assert!(report.is_complete(), "the scenario did not end normally");
        if let Some(missing) = report.all("missing").next() {
            panic!("timeout in the scenario: {}", missing.text());
        }
        report
    }
}

fn emulator(initrd: &Path, date: &str) -> Command {
    let mut command = process::command(None, image::QEMU);
    command
        .args([
            "-accel", "tcg", "-machine", "pc", "-cpu", "max", "-m", "320",
        ])
        .args(["-nodefaults", "-no-reboot", "-display", "none"])
        .args(["-serial", "stdio"])
        .arg("-rtc")
        .arg(format!("base={date},clock=vm"))
        .arg("-kernel")
        .arg(image::kernel())
        .arg("-initrd")
        .arg(initrd)
        // The emulated TSC is exact, so its watchdog is not needed.
        .args([
            "-append",
            "console=ttyS0 quiet loglevel=1 panic=-1 tsc=reliable",
        ]);
    command
}

/// Asserts that the events that a script awaits, reports or counts exist.
fn assert_events_declared(script: &str) {
    let is_name = |word: &&str| word.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    for line in script.lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        for (place, word) in words.iter().enumerate() {
            let names = words.iter().skip(place + 1).copied();
            match *word {
                "await_event" => names.skip(1).take(1).for_each(LogEvent::assert_declared),
                "count_events" => names.take(1).for_each(LogEvent::assert_declared),
                "log_events" => names
                    .take_while(is_name)
                    .for_each(LogEvent::assert_declared),
                _ => {}
            }
        }
    }
}
