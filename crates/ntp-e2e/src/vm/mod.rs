//! Virtual machines: the only place where the daemon may steer a kernel's clock.
//!
//! # Problem
//! Whether a daemon steps, slews, arms a leap second and tells the kernel its error as it should, only a kernel can say. The
//! clock of the machine that runs the tests is out of bounds, and a test that has to wait for an hour of holdover is never run.
//!
//! # Idea
//! A guest in software emulation (qemu's TCG; no hardware support, no right to it is needed) with Debian's kernel, which has a clock of its
//! own. The emulator counts instructions: each takes a fixed time, and when the guest has nothing to do, its clock **jumps** to its next timer
//! (`-icount shift=1,sleep=off`). So an hour passes in seconds, a busy host does not disturb the guest at all, and
//! what was measured in microseconds stays so.
//!
//! # What truth is
//! Inside the guest, `CLOCK_MONOTONIC_RAW` counts the same oscillator and cannot be steered. Truth is a line over it
//! (`test_binaries::true_time`): the program `true-clock` serves it as NTP, at any date, with any frequency error against the guest's
//! oscillator and with leap seconds, and compares the guest's clock with it without a network in between.
//!
//! # How a scenario is written
//! As a shell script that runs inside (see `init.sh` for its vocabulary), and assertions about the [`Report`] that it leaves. The
//! host does not interfere while the guest runs, for the guest's time does not wait for it. The whole console is shown if the
//! test fails, and with `NTP_E2E_CONSOLE=1` in any case.
//!
//! Several guests that talk to each other ([`Wire`]) cannot each have a time of their own: they run by the host's clock.

mod cpio;
mod image;
mod report;
mod wire;

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::process::{self, Process};
use cpio::Archive;
pub use image::missing;
pub use report::{Record, Report};
pub use wire::Wire;

/// Set to `1` by who wants to see what guests say even if all is well.
const SHOW: &str = "NTP_E2E_CONSOLE";

/// The socket by which an emulator is commanded.
const MONITOR: &str = "monitor";

/// A machine to be run.
#[derive(Debug)]
pub struct Guest {
    name: &'static str,
    overlay: Archive,
    date: String,
    script: String,
}

impl Guest {
    /// A machine whose battery clock shows `date` (`2026-06-30T12:00:00`, UTC) when it is switched on.
    pub fn new(name: &'static str, date: &str) -> Self {
        Self {
            name,
            overlay: Archive::default(),
            date: date.to_owned(),
            script: String::new(),
        }
    }

    /// With this file.
    #[must_use]
    pub fn file(mut self, path: &str, contents: &str) -> Self {
        self.overlay.file(path, 0o644, contents.as_bytes());
        self
    }

    /// With more of a scenario.
    #[must_use]
    pub fn script(mut self, text: &str) -> Self {
        self.script.push_str(text);
        self.script.push('\n');
        self
    }

    /// With something before the scenario.
    fn preceded_by(mut self, text: &str) -> Self {
        self.script = format!("{text}\n{}", self.script);
        self
    }

    /// Runs the scenario to its end.
    ///
    /// # Panics
    /// If it does not end within `limit` of the host's time, or reported that something was missing.
    #[track_caller]
    pub fn run(self, limit: Duration) -> Report {
        let mut machine = self.start_with(&["-icount", "shift=1,sleep=off"]);
        machine.finish(limit)
    }

    /// Switches it on, to run by the host's clock: for scenarios in which the host has a hand.
    ///
    /// # Panics
    /// If the emulator cannot be started.
    pub fn start(self) -> Machine {
        self.start_with(&[])
    }

    /// Switches it on, to run by the host's clock, with `/dev/vda` at a socket (see [`torture::disk`](crate::torture::disk)).
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

    /// Switches it on.
    ///
    /// # Panics
    /// If the emulator cannot be started.
    fn start_with(mut self, options: &[&str]) -> Machine {
        self.overlay
            .file("/scenario", 0o644, self.script.as_bytes());
        let files = match tempfile::Builder::new().prefix("ntpe2e-").tempdir() {
            Ok(files) => files,
            Err(error) => panic!("cannot create a temporary directory: {error}"),
        };
        let initrd = files.path().join("initrd");
        let monitor = format!(
            "unix:{},server,nowait",
            files.path().join(MONITOR).display()
        );
        let archive = [image::base(), &self.overlay.finish()].concat();
        if let Err(error) = fs::write(&initrd, archive) {
            panic!("cannot write {}: {error}", initrd.display());
        }
        let mut command = emulator(&initrd, &self.date);
        command.args(["-qmp", &monitor]).args(options);
        Machine {
            process: Process::spawn(self.name, command),
            files,
        }
    }
}

/// A machine that runs. It is switched off when dropped.
#[derive(Debug)]
pub struct Machine {
    /// The emulator; its output is the machine's console.
    pub process: Process,
    files: TempDir,
}

impl Machine {
    /// Stops it as a host does that moves a machine elsewhere: it does not notice.
    ///
    /// # Panics
    /// If the emulator does not obey.
    pub fn pause(&self) {
        self.monitor("stop");
    }

    /// Lets it go on.
    ///
    /// # Panics
    /// If the emulator does not obey.
    pub fn resume(&self) {
        self.monitor("cont");
    }

    /// Wakes it from its sleep.
    ///
    /// # Panics
    /// If the emulator does not obey.
    pub fn wake(&self) {
        self.monitor("system_wakeup");
    }

    fn monitor(&self, command: &str) {
        if let Err(error) = wire::command(&self.files.path().join(MONITOR), command) {
            panic!("the emulator did not obey '{command}': {error}");
        }
    }

    /// Waits for the end of the scenario.
    ///
    /// # Panics
    /// If that is not within `limit`, or if the scenario missed something that it waited for.
    #[track_caller]
    pub fn finish(&mut self, limit: Duration) -> Report {
        self.process.wait_exit(limit);
        let lines = self.process.lines();
        if env::var_os(SHOW).is_some_and(|value| value == "1") {
            eprintln!("{}", lines.join("\n"));
        }
        let report = Report::parse(lines.iter().map(String::as_str));
        assert!(report.is_complete(), "the scenario did not run to its end");
        if let Some(missing) = report.all("missing").next() {
            panic!("the scenario waited in vain: {}", missing.text());
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
        // The counter is exact here, and a watchdog of it has nothing to find.
        .args([
            "-append",
            "console=ttyS0 quiet loglevel=1 panic=-1 tsc=reliable",
        ]);
    command
}
