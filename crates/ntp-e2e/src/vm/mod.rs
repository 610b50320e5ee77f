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
mod monitor;
mod report;

use std::env;
use std::io;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::files;
use crate::log_event::LogEvent;
use crate::process::Process;
use cpio::Archive;
use image::Platform;
pub use image::{clocks_missing, missing, ppp_missing};
pub use lan::Lan;
pub use report::{Record, Report};

/// Environment variable: `1` prints the console of guests even if the test passes.
const SHOW_CONSOLE: &str = "NTP_E2E_CONSOLE";

/// Name of the QMP socket of an emulator.
const MONITOR: &str = "monitor";

/// Name of the file behind the disk of a machine with snapshots.
const DISK: &str = "disk";

/// Description of a machine.
#[derive(Debug)]
pub struct Guest {
    name: &'static str,
    platform: &'static Platform,
    overlay: Archive,
    date: String,
    script: String,
    has_snapshots: bool,
    /// Further options of the kernel.
    kernel_options: &'static str,
}

impl Guest {
    /// A machine whose RTC shows `date` (`2026-06-30T12:00:00`, UTC) at power-on.
    pub fn new(name: &'static str, date: &str) -> Self {
        Self {
            name,
            platform: &image::VIRTIO,
            overlay: Archive::default(),
            date: date.to_owned(),
            script: String::new(),
            has_snapshots: false,
            kernel_options: "",
        }
    }

    /// Gives it devices with clocks: `/dev/ptp0`, `/dev/pps0` and `/dev/vmclock0`, and a network
    /// card with hardware timestamps.
    #[must_use]
    pub fn with_clocks(mut self) -> Self {
        self.platform = &image::CLOCKS;
        self
    }

    /// Gives it point-to-point links: pppd, and the scripts of its package.
    #[must_use]
    pub fn with_ppp(mut self) -> Self {
        self.platform = &image::PPP;
        image::add_ppp(&mut self.overlay);
        self
    }

    /// Gives it a disk for its own state, see [`Machine::save`].
    #[must_use]
    pub fn with_snapshots(mut self) -> Self {
        self.has_snapshots = true;
        self
    }

    /// Adds a file.
    #[must_use]
    pub fn file(self, path: &str, contents: &str) -> Self {
        self.binary_file(path, contents.as_bytes())
    }

    /// Adds a file that is not a text.
    #[must_use]
    pub fn binary_file(mut self, path: &str, contents: &[u8]) -> Self {
        self.overlay.file(path, 0o644, contents);
        self
    }

    /// Adds a file that can be executed.
    #[must_use]
    pub fn executable(mut self, path: &str, contents: &[u8]) -> Self {
        self.overlay.file(path, 0o755, contents);
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

    /// Uses a timer whose frequency is known. The kernel measures the frequency of the processor's
    /// counter at boot, and on a loaded host the result is wrong by up to thousands of ppm if the
    /// machine runs by the host's clock.
    fn with_exact_timer(mut self) -> Self {
        self.kernel_options = "clocksource=hpet";
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
        let modules = self.platform.archive();
        let archive = [image::base(), &modules, &self.overlay.finish()].concat();
        files::write(&initrd, archive);
        let mut command = emulator(self.platform, &initrd, &self.date, self.kernel_options);
        command.args(["-qmp", &monitor]).args(options);
        if self.has_snapshots {
            let disk = directory.path().join(DISK);
            files::write(&disk, [0; 512]);
            // Changes, and with them the saved state, go to a temporary file of the emulator, which
            // has a format that can hold them.
            let drive = format!("if=none,format=raw,snapshot=on,file={}", disk.display());
            command
                .args(["-drive", &drive])
                .env("TMPDIR", directory.path());
        }
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

    /// Saves the state of the machine, which continues. For machines that were started
    /// [with snapshots](Guest::with_snapshots).
    ///
    /// # Panics
    /// If the emulator reports an error.
    pub fn save(&self) {
        self.monitored("savevm", |socket| {
            monitor::execute_text(socket, "savevm saved")
        });
    }

    /// Continues the machine from the state that was saved.
    ///
    /// # Panics
    /// If the emulator reports an error.
    pub fn load(&self) {
        self.monitored("loadvm", |socket| {
            monitor::execute_text(socket, "loadvm saved")
        });
    }

    fn monitor(&self, command: &str) {
        self.monitored(command, |socket| monitor::execute(socket, command));
    }

    fn monitored(&self, command: &str, execute: impl FnOnce(&Path) -> io::Result<()>) {
        if let Err(error) = execute(&self.files.path().join(MONITOR)) {
            panic!("the monitor's command '{command}' failed: {error}");
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

fn emulator(platform: &Platform, initrd: &Path, date: &str, kernel_options: &str) -> Command {
    let mut command = platform.emulator();
    command
        .args(platform.options())
        .args(["-accel", "tcg", "-cpu", "max", "-m", "320"])
        .args(["-nodefaults", "-no-reboot", "-display", "none"])
        .args(["-serial", "stdio"])
        .arg("-rtc")
        .arg(format!("base={date},clock=vm"))
        .arg("-kernel")
        .arg(platform.kernel())
        .arg("-initrd")
        .arg(initrd)
        // The emulated TSC is exact, so its watchdog is not needed.
        .arg("-append")
        .arg(format!(
            "console=ttyS0 quiet loglevel=1 panic=-1 tsc=reliable {kernel_options}"
        ));
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
