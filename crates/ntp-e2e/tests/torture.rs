//! A short run of `cargo xtask torture restarts`, and disks that cannot be written.

use std::process::{Command, ExitCode};
use std::time::Duration;

use ntp_e2e::binaries::Program;
use ntp_e2e::certificates::Authority;
use ntp_e2e::daemon::{Setup, VIRTUAL_OFFSET, assert_error_within};
use ntp_e2e::harness::{self, Arena};
use ntp_e2e::observation::Observation;
use ntp_e2e::process::Process;
use ntp_e2e::torture::restarts::{self, nts_server, with_nts_server};
use ntp_e2e::{scenario, wait};

/// Timeout of every wait; exceeded only on an overloaded machine.
const LIMIT: Duration = Duration::from_secs(120);

fn main() -> ExitCode {
    harness::run(
        Arena::Loopback,
        &[
            scenario!(a_killed_daemon_restarts_with_its_saved_state),
            scenario!(a_full_disk_is_logged_once_and_time_is_kept),
            scenario!(a_read_only_disk_is_logged_once_and_time_is_kept),
        ],
    )
}

fn a_killed_daemon_restarts_with_its_saved_state() {
    let summary = restarts::torture(20, 4, 7);
    assert_eq!(summary.starts, 20);
}

fn a_full_disk_is_logged_once_and_time_is_kept() {
    without_a_disk(
        "head -c 1000000 /dev/zero > fill 2>/dev/null",
        "No space left on device",
    );
}

fn a_read_only_disk_is_logged_once_and_time_is_kept() {
    without_a_disk("mount -o remount,ro .", "Read-only file system");
}

/// Runs the daemon with a state directory that the shell command `spoil` has made unwritable, with
/// `error` as the message of the operating system.
fn without_a_disk(spoil: &str, error: &str) {
    if !rustix::process::geteuid().is_root() {
        harness::skip("permission to mount a file system");
        return;
    }
    let authority = Authority::new();
    let certificate = authority.issue("server", &["127.0.0.1".to_owned()]);
    let nts_server = nts_server(&certificate);
    let _server = nts_server.setup.start(None);
    let setup = with_nts_server(
        Setup::new(1).server(&nts_server.time.to_string()),
        &certificate,
    )
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
    let synchronized = wait::until(LIMIT, "synchronisation", || {
        assert!(process.is_running(), "the daemon exited");
        Observation::read(&setup.socket())
            .ok()
            .filter(Observation::is_synchronized)
    });
    assert_error_within(&synchronized, VIRTUAL_OFFSET);
    for file in ["keyset", "clock.toml"] {
        let path = setup.state().join(file).display().to_string();
        let failed = process.wait_for_event(LIMIT, "state_write_failed", &[("path", &path)]);
        assert!(failed.field("error").contains(error), "{failed:?}");
    }
    // The key is rotated each second, and storing it fails each time. Other files are written at
    // times of the day (the history every ten minutes), so the number of reports is not fixed.
    wait::throughout(Duration::from_secs(4), || {
        assert!(process.is_running(), "the daemon exited");
        let failed = process.events("state_write_failed");
        let mut paths: Vec<&str> = failed.iter().map(|event| event.field("path")).collect();
        paths.sort_unstable();
        let repeated = paths.windows(2).any(|pair| pair[0] == pair[1]);
        assert!(!repeated, "{failed:?}");
    });
    assert_eq!(process.terminate(LIMIT).code(), Some(0));
}
