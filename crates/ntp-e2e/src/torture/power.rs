//! Power cuts: a guest with a real file system loses its power at moments of chance, and the daemon must come up again.
//!
//! The state directory is an ext4 file system on a [`Disk`] that forgets what was not flushed. Inside, the daemon is started and ended in order over and
//! over, and replaces the keys of cookies each second, so that something is nearly always being written. The guest tells what it finds when it
//! boots and what is there after each orderly end, which is a promise. Then the emulator is killed, and the disk loses its cache. At the next boot the file
//! system must mount, each file must be there in full, and every promise must be kept ([`Remains`]).

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
use super::state::Remains;
use crate::certificates::{Authority, Certificate};
use crate::vm::{Guest, Machine, Record};
use crate::wait;

/// For a boot on a busy host.
const LIMIT: Duration = Duration::from_secs(300);

/// Old keys that it keeps: more than are replaced from one cut to the next, and not too many to be told on a slow console.
const STALE_IN_GUEST: usize = 60;

/// Octets of the disk.
const SIZE: u64 = 16 << 20;

const CONFIG: &str = "[observability]\nlog-level = \"debug\"\n[state]\ndirectory = \"/var/lib/ntpd-rs\"\n\
     [[source]]\nmode = \"server\"\naddress = \"127.0.0.1:1123\"\n\
     [synchronization]\nminimum-agreeing-sources = 1\n\
     [[server]]\nlisten = \"127.0.0.1:123\"\nworkers = 1\n\
     [[nts-ke-server]]\nlisten = \"127.0.0.1:4460\"\n\
     certificate-chain-path = \"/etc/server.crt\"\nprivate-key-path = \"/etc/server.key\"\n";

/// What the guest does until it dies. A state is told on one line, so that half a line is none.
const SCRIPT: &str = "TRUTH='--start 1781524800'
tell() {
    echo \"@state when=$1 clock=$(base64 -w 0 /var/lib/ntpd-rs/clock.toml 2>/dev/null) \
keyset=$(base64 -w 0 /var/lib/ntpd-rs/keyset 2>/dev/null) names=$(ls /var/lib/ntpd-rs | tr '\\n' ,) end=end\"
}
mount -t ext4 /dev/vda /var/lib/ntpd-rs || { echo \"@broken mount\"; dmesg | tail -n 20; reboot -f; }
tell boot
serve_truth
while true; do
    start_daemon
    await 120 'synchronised at stratum' || echo \"@broken not synchronised\"
    sleep 2
    stop_daemon
    grep -e 'cannot be used' -e 'cannot write' -e panicked -e ERROR /run/daemon.log | sed 's/^/@broken /'
    tell promise
done";

/// What came of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Power cuts.
    pub cuts: usize,
    /// Of them, before the guest had mounted the disk.
    pub early: usize,
    /// Cuts that found something unflushed.
    pub unflushed: usize,
    /// Blocks that were lost.
    pub blocks_lost: usize,
    /// Orderly ends of the daemon, whose state was a promise.
    pub promises: usize,
    /// Flushes that the guest asked for.
    pub flushes: u64,
}

/// Cuts the power `count` times; `seed` decides when and what is lost.
///
/// # Panics
/// If a start fails or a promise is broken, with the console of that guest.
pub fn torture(count: usize, seed: u64) -> Tally {
    let authority = Authority::new();
    let certificate = authority.issue("server", &["127.0.0.1".to_owned()]);
    let files = temporary();
    let disk = Disk::new(file_system(&files));
    let socket = files.path().join("disk");
    if let Err(error) = disk.serve(&socket) {
        panic!("the disk cannot be served: {error}");
    }
    let mut chance = ChaCha8Rng::seed_from_u64(seed);
    let mut tally = Tally::default();
    let mut remains = Remains::default();
    for _ in 0..count {
        let mut machine = guest(&certificate).start_with_disk(&socket);
        if chance.next_u32() % 8 == 0 {
            // In the boot, the mount, or the recovery of the journal.
            moment(&mut chance, 8);
        } else {
            machine.process.wait_for_line(LIMIT, "@state when=boot");
            moment(&mut chance, 10);
        }
        assert!(machine.process.is_running(), "the guest ended by itself");
        machine.process.signal(Signal::KILL);
        machine.process.wait_exit(LIMIT);
        let (blocks, lost) = disk.cut(&mut chance);
        tally.cuts += 1;
        tally.unflushed += usize::from(blocks > 0);
        tally.blocks_lost += lost;
        let (promises, booted) = judge(&machine, &mut remains);
        tally.promises += promises;
        tally.early += usize::from(!booted);
        tally.flushes = disk.flushes();
        if tally.cuts % 10 == 0 {
            eprintln!("{tally:?}");
        }
    }
    // After the last cut, too, it must come up.
    let machine = guest(&certificate).start_with_disk(&socket);
    machine.process.wait_for_line(LIMIT, "@state when=promise");
    judge(&machine, &mut remains);
    tally
}

/// Follows what the guest told; returns the number of promises, and whether it booted.
fn judge(machine: &Machine, remains: &mut Remains) -> (usize, bool) {
    let (mut promises, mut booted) = (0, false);
    for record in machine
        .process
        .lines()
        .iter()
        .filter_map(|line| Record::parse(line))
    {
        match record.kind() {
            "broken" => panic!("{}", record.text()),
            "missing" => panic!("the guest waited in vain: {}", record.text()),
            "exit" => assert_eq!(record.value("code"), "0", "an orderly end"),
            "state" if record.text().ends_with("end=end") => {
                *remains = follow(&record, remains);
                booted = true;
                promises += usize::from(record.value("when") == "promise");
            }
            _ => {}
        }
    }
    (promises, booted)
}

/// Lays the files out as the guest told them, and looks at them as it would.
fn follow(record: &Record, before: &Remains) -> Remains {
    let files = temporary();
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
    match Remains::look(files.path(), before) {
        Ok(remains) => remains,
        Err(problem) => panic!("{problem}: {record:?}"),
    }
}

fn guest(certificate: &Certificate) -> Guest {
    let read = |path| match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => panic!("a certificate cannot be read: {error}"),
    };
    let keys = format!("[keyset]\nkey-rotation-interval = 1\nstale-key-count = {STALE_IN_GUEST}\n");
    Guest::new("power cut", "2026-06-15T12:00:00")
        .file("/etc/ntp.toml", &format!("{CONFIG}{keys}"))
        .file("/etc/server.crt", &read(&certificate.chain))
        .file("/etc/server.key", &read(&certificate.key))
        .script(SCRIPT)
}

/// Up to so many seconds.
fn moment(chance: &mut ChaCha8Rng, seconds: u32) {
    let millis = u64::from(chance.next_u32() % (seconds * 1000));
    wait::moment(Duration::from_millis(millis));
}

fn temporary() -> TempDir {
    match tempfile::Builder::new().prefix("ntpe2e-").tempdir() {
        Ok(directory) => directory,
        Err(error) => panic!("cannot create a temporary directory: {error}"),
    }
}

/// An empty file system.
fn file_system(files: &TempDir) -> Vec<u8> {
    let path = files.path().join("image");
    let made = fs::File::create(&path).and_then(|file| file.set_len(SIZE));
    if let Err(error) = made {
        panic!("cannot create {}: {error}", path.display());
    }
    let status = Command::new("mke2fs")
        .args(["-q", "-t", "ext4", "-F"])
        .arg(&path)
        .status();
    assert!(
        status.is_ok_and(|status| status.success()),
        "mke2fs (package e2fsprogs) makes no file system"
    );
    match fs::read(&path) {
        Ok(image) => image,
        Err(error) => panic!("cannot read {}: {error}", path.display()),
    }
}
