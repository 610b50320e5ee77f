//! Power losses: a guest with a real file system loses power at random times; the daemon must start
//! again.
//!
//! The state directory is an ext4 file system on a [`Disk`] that loses unflushed writes. In the
//! guest the daemon is started and stopped repeatedly and rotates the cookie key each second, so
//! that a write is nearly always in progress. The guest reports the state directory after booting
//! and after each clean shutdown of the daemon; state saved by a clean shutdown must not be lost.
//! Then the emulator is killed and the disk loses its cache. At the next boot the file system must
//! mount, each file must be complete, and nothing saved may be missing ([`StateSnapshot`]).

use std::fs;
use std::process::Command;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore as _, SeedableRng as _};
use rustix::process::Signal;
use tempfile::TempDir;

use super::disk::Disk;
use super::state::StateSnapshot;
use crate::certificates::{Authority, Certificate};
use crate::files::temporary_directory;
use crate::vm::{Guest, Machine, Record};
use crate::wait;

/// Time limit for a boot on a busy host.
const LIMIT: Duration = Duration::from_secs(300);

/// Stale keys kept by the guest: more than are rotated between two power losses, and not too many
/// for the slow console.
const GUEST_STALE_KEYS: usize = 60;

/// Size of the disk in octets.
const DISK_SIZE: u64 = 16 << 20;

const CONFIG: &str = "[observability]\nlog-level = \"debug\"\n[sandbox]\nuser = \"root\"\n[state]\ndirectory = \"/var/lib/ntpd-rs\"\n\
     [[source]]\nmode = \"server\"\naddress = \"127.0.0.1:1123\"\n\
     [synchronization]\nminimum-agreeing-sources = 1\n\
     [[server]]\nlisten = \"127.0.0.1:123\"\nworkers = 1\n\
     [[nts-ke-server]]\nlisten = \"127.0.0.1:4460\"\n\
     certificate-chain-path = \"/etc/server.crt\"\nprivate-key-path = \"/etc/server.key\"\n";

/// Script of the guest. It reports a state on one line with an end mark, to detect partial lines.
const SCRIPT: &str = "TRUTH='--start 1781524800'
report_state() {
    echo \"@state when=$1 clock=$(base64 -w 0 /var/lib/ntpd-rs/clock.toml 2>/dev/null) \
keyset=$(base64 -w 0 /var/lib/ntpd-rs/keyset 2>/dev/null) names=$(ls /var/lib/ntpd-rs | tr '\\n' ,) end=end\"
}
mount -t ext4 /dev/vda /var/lib/ntpd-rs || { echo \"@broken mount\"; dmesg | tail -n 20; reboot -f; }
report_state boot
serve_truth
while true; do
    start_daemon
    await_event 120 synchronized || echo \"@broken not synchronised\"
    sleep 2
    stop_daemon
    log_events state_damaged state_write_failed | sed 's/^@log /@broken /'
    grep -e panicked -e ERROR /run/daemon.log | sed 's/^/@broken /'
    report_state saved
done";

/// Result of a run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Summary {
    /// Power losses.
    pub power_losses: usize,
    /// Power losses before the guest had mounted the disk.
    pub early: usize,
    /// Power losses with unflushed writes.
    pub unflushed: usize,
    /// Lost blocks.
    pub blocks_lost: usize,
    /// Clean shutdowns of the daemon.
    pub clean_shutdowns: usize,
    /// Flushes by the guest.
    pub flushes: u64,
}

/// Cuts the power `count` times; `seed` determines the times and the lost blocks.
///
/// # Panics
/// If a start fails or saved state is lost; prints the console of that guest.
pub fn torture(count: usize, seed: u64) -> Summary {
    let authority = Authority::new();
    let certificate = authority.issue("server", &["127.0.0.1".to_owned()]);
    let files = temporary_directory();
    let disk = Disk::new(file_system(&files));
    let socket = files.path().join("disk");
    if let Err(error) = disk.serve(&socket) {
        panic!("the disk cannot be served: {error}");
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut summary = Summary::default();
    let mut snapshot = StateSnapshot::default();
    for _ in 0..count {
        let mut machine = guest(&certificate).start_with_disk(&socket);
        if rng.next_u32() % 8 == 0 {
            // During boot, mount or journal recovery.
            sleep_up_to(&mut rng, 8);
        } else {
            machine.process.wait_for_line(LIMIT, "@state when=boot");
            sleep_up_to(&mut rng, 10);
        }
        assert!(machine.process.is_running(), "the guest exited by itself");
        machine.process.signal(Signal::KILL);
        machine.process.wait_exit(LIMIT);
        let (blocks, lost) = disk.lose_power(&mut rng);
        summary.power_losses += 1;
        summary.unflushed += usize::from(blocks > 0);
        summary.blocks_lost += lost;
        let (clean_shutdowns, booted) = check(&machine, &mut snapshot);
        summary.clean_shutdowns += clean_shutdowns;
        summary.early += usize::from(!booted);
        summary.flushes = disk.flushes();
        if summary.power_losses % 10 == 0 {
            eprintln!("{summary:?}");
        }
    }
    // It must also start after the last power loss.
    let machine = guest(&certificate).start_with_disk(&socket);
    machine.process.wait_for_line(LIMIT, "@state when=saved");
    check(&machine, &mut snapshot);
    summary
}

/// Checks the reports of the guest. Returns the number of clean shutdowns, and whether it booted.
fn check(machine: &Machine, snapshot: &mut StateSnapshot) -> (usize, bool) {
    let (mut clean_shutdowns, mut booted) = (0, false);
    for record in machine
        .process
        .lines()
        .iter()
        .filter_map(|line| Record::parse(line))
    {
        match record.kind() {
            "broken" => panic!("{}", record.text()),
            "missing" => panic!("timeout in the guest: {}", record.text()),
            "exit" => assert_eq!(record.value("code"), "0", "a clean shutdown"),
            "state" if record.text().ends_with("end=end") => {
                *snapshot = check_state(&record, snapshot);
                booted = true;
                clean_shutdowns += usize::from(record.value("when") == "saved");
            }
            _ => {}
        }
    }
    (clean_shutdowns, booted)
}

/// Recreates the reported files and checks them against the snapshot `before`.
fn check_state(record: &Record, before: &StateSnapshot) -> StateSnapshot {
    let files = temporary_directory();
    for (name, file) in [("clock", "clock.toml"), ("keyset", "keyset")] {
        let there = record.value("names").split(',').any(|name| name == file);
        let octets = match BASE64.decode(record.value(name)) {
            Ok(octets) => octets,
            Err(error) => panic!("{file}: {error}"),
        };
        if there && let Err(error) = fs::write(files.path().join(file), octets) {
            panic!("{file}: {error}");
        }
    }
    assert!(!record.value("names").contains("damaged"), "{record:?}");
    match StateSnapshot::check(files.path(), before) {
        Ok(snapshot) => snapshot,
        Err(problem) => panic!("{problem}: {record:?}"),
    }
}

fn guest(certificate: &Certificate) -> Guest {
    let read = |path| match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => panic!("a certificate cannot be read: {error}"),
    };
    let keys =
        format!("[keyset]\nkey-rotation-interval = 1\nstale-key-count = {GUEST_STALE_KEYS}\n");
    Guest::new("power cut", "2026-06-15T12:00:00")
        .file("/etc/ntp.toml", &format!("{CONFIG}{keys}"))
        .file("/etc/server.crt", &read(&certificate.chain))
        .file("/etc/server.key", &read(&certificate.key))
        .script(SCRIPT)
}

/// Sleeps for a random time of at most `seconds`.
fn sleep_up_to(rng: &mut ChaCha8Rng, seconds: u32) {
    let millis = u64::from(rng.next_u32() % (seconds * 1000));
    wait::sleep(Duration::from_millis(millis));
}

/// Image of an empty ext4 file system.
fn file_system(files: &TempDir) -> Vec<u8> {
    let path = files.path().join("image");
    let made = fs::File::create(&path).and_then(|file| file.set_len(DISK_SIZE));
    if let Err(error) = made {
        panic!("cannot create {}: {error}", path.display());
    }
    let status = Command::new("mke2fs")
        .args(["-q", "-t", "ext4", "-F"])
        .arg(&path)
        .status();
    assert!(
        status.is_ok_and(|status| status.success()),
        "mke2fs (package e2fsprogs) failed"
    );
    match fs::read(&path) {
        Ok(image) => image,
        Err(error) => panic!("cannot read {}: {error}", path.display()),
    }
}
