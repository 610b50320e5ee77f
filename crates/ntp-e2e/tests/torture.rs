//! A share of what `cargo xtask torture` does for longer, and disks that cannot be written.

use std::process::{Command, ExitCode};
use std::time::Duration;

use ntp_e2e::binaries::Program;
use ntp_e2e::certificates::Authority;
use ntp_e2e::daemon::{Setup, VIRTUAL_OFFSET, assert_truth_inside};
use ntp_e2e::harness::{self, Arena};
use ntp_e2e::observation::Observation;
use ntp_e2e::process::Process;
use ntp_e2e::torture::restarts::{self, giver, served};
use ntp_e2e::{scenario, wait};

/// For whatever takes seconds: only a machine in great distress exceeds it.
const LIMIT: Duration = Duration::from_secs(120);

fn main() -> ExitCode {
    harness::run(
        Arena::Loopback,
        &[
            scenario!(a_killed_daemon_comes_up_again_with_all_that_it_was_promised),
            scenario!(a_full_disk_is_told_once_and_time_is_kept),
            scenario!(a_disk_that_cannot_be_written_is_told_once_and_time_is_kept),
        ],
    )
}

fn a_killed_daemon_comes_up_again_with_all_that_it_was_promised() {
    let tally = restarts::torture(20, 4, 7);
    assert_eq!(tally.starts, 20);
}

fn a_full_disk_is_told_once_and_time_is_kept() {
    without_a_disk(
        "head -c 1000000 /dev/zero > fill 2>/dev/null",
        "No space left on device",
    );
}

fn a_disk_that_cannot_be_written_is_told_once_and_time_is_kept() {
    without_a_disk("mount -o remount,ro .", "Read-only file system");
}

/// Runs the daemon on a state directory that `spoil` has made useless, for which the system's word is `why`.
fn without_a_disk(spoil: &str, why: &str) {
    if !rustix::process::geteuid().is_root() {
        harness::skip("the right to mount a disk");
        return;
    }
    let authority = Authority::new();
    let certificate = authority.issue("server", &["127.0.0.1".to_owned()]);
    let giver = giver(&certificate);
    let _server = giver.setup.start(None);
    let setup = served(Setup::new(1).server(&giver.time.to_string()), &certificate)
        .setup
        .with("[keyset]\nkey-rotation-interval = 1");
    let daemon = setup.command(None, Program::Daemon);
    let mut command = Command::new("unshare");
    let script = format!(
        "mount -t tmpfs -o size=4k none {state} && cd {state} && {{ {spoil}; cd /; }}; exec \"$@\"",
        state = setup.state().display()
    );
    command
        .args(["--mount", "sh", "-c", &script, "sh"])
        .arg(daemon.get_program())
        .args(daemon.get_args());
    let mut process = Process::spawn("ntp-daemon", command);
    let looked = wait::until(LIMIT, "synchronisation", || {
        assert!(process.is_running(), "the daemon ended");
        Observation::read(&setup.socket())
            .ok()
            .filter(Observation::is_synchronized)
    });
    assert_truth_inside(&looked, VIRTUAL_OFFSET);
    for file in ["keyset", "clock.toml"] {
        let line = process.wait_for_line(LIMIT, &format!("{file}: "));
        assert!(
            line.contains("cannot write") && line.contains(why),
            "{line}"
        );
    }
    // Keys are replaced each second, and cannot be stored each time.
    wait::throughout(Duration::from_secs(4), || {
        assert!(process.is_running(), "the daemon ended");
        let told = process.lines_with("cannot write");
        assert!(told.len() <= 2, "{told:?}");
    });
    assert_eq!(process.terminate(LIMIT).code(), Some(0));
}
