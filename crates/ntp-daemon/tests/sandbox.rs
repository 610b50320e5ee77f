//! Attacks the sandbox from inside.
//!
//! A confinement cannot be undone, so each attack runs in a process of its own: this test program
//! starts itself again with the name of the attack in its environment. The attack starts where a
//! real one would: in a thread of a confined daemon, with code of the attacker's choice.

use std::fs;
use std::net::UdpSocket;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::thread;

use ntp_config::SandboxMode;
use ntp_daemon::sandbox::{self, Profile};

/// Names the attack, for the process that makes it.
const ATTACK: &str = "SANDBOX_TEST_ATTACK";
/// Directory that the process may read and write.
const HOME: &str = "SANDBOX_TEST_HOME";
/// Exit codes of the attacking process: the attempt was refused, succeeded, or was refused and
/// reported.
const REFUSED: i32 = 10;
const WORKED: i32 = 11;
const REPORTED: i32 = 12;

/// Outcome of an attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Worked,
    /// The kernel refused it, as for an inaccessible file.
    Refused,
    /// The system call is outside the thread's profile: refused and reported.
    Reported,
    /// The process was ended by SIGSYS.
    Ended,
}
use Outcome::{Ended, Refused, Reported, Worked};

/// An attack: where it is made, the attempt (true if it succeeded), and the expected outcome.
struct Attack {
    name: &'static str,
    /// The thread that makes it; `None` is the timekeeping thread.
    from: Option<Profile>,
    attempt: fn(&Path) -> bool,
    expected: Outcome,
}

const fn attack(
    name: &'static str,
    from: Option<Profile>,
    attempt: fn(&Path) -> bool,
    expected: Outcome,
) -> Attack {
    Attack {
        name,
        from,
        attempt,
        expected,
    }
}

const ATTACKS: &[Attack] = &[
    attack(
        "reads its own file",
        None,
        |home| reads(home, "ntp.toml"),
        Worked,
    ),
    attack(
        "writes its state",
        None,
        |home| writes(home, "state/new"),
        Worked,
    ),
    attack("opens a socket", None, opens_socket, Worked),
    attack(
        "reads elsewhere",
        None,
        |home| reads(home, "../secret"),
        Refused,
    ),
    attack(
        "writes elsewhere",
        None,
        |home| writes(home, "../made"),
        Refused,
    ),
    attack(
        "writes its configuration",
        None,
        |home| writes(home, "ntp.toml"),
        Refused,
    ),
    attack("starts a program", None, starts_program, Ended),
    attack("starts a process", None, starts_process, Ended),
    attack("enters a namespace", None, enters_namespace, Ended),
    attack("opens a raw link", None, opens_raw_link, Reported),
    attack("makes code", None, makes_code, Reported),
    attack("ends another process", None, signals_another, Reported),
    attack(
        "looks at another's limits",
        None,
        looks_at_anothers_limits,
        Reported,
    ),
    attack(
        "a worker reads",
        Some(Profile::Serving),
        |home| reads(home, "ntp.toml"),
        Reported,
    ),
    attack(
        "a worker writes",
        Some(Profile::Serving),
        |home| writes(home, "state/new"),
        Reported,
    ),
    attack(
        "a worker frees much memory",
        Some(Profile::Serving),
        frees_much_memory,
        Worked,
    ),
    attack(
        "a worker starts a thread",
        Some(Profile::Serving),
        |_| thread::Builder::new().spawn(|| {}).is_ok(),
        Ended,
    ),
    attack(
        "a worker makes code",
        Some(Profile::Serving),
        makes_code,
        Reported,
    ),
    attack(
        "a worker opens a socket",
        Some(Profile::Serving),
        opens_socket,
        Ended,
    ),
    attack(
        "a worker starts a program",
        Some(Profile::Serving),
        starts_program,
        Ended,
    ),
    attack(
        "a worker sets the clock",
        Some(Profile::Serving),
        sets_clock,
        Ended,
    ),
    attack(
        "a name thread sets the clock",
        Some(Profile::Names),
        sets_clock,
        Ended,
    ),
    attack(
        "a name thread writes",
        Some(Profile::Names),
        |home| writes(home, "state/old"),
        Reported,
    ),
    attack(
        "a name thread removes",
        Some(Profile::Names),
        |home| fs::remove_file(home.join("state/old")).is_ok(),
        Reported,
    ),
    attack(
        "a key thread writes",
        Some(Profile::KeyExchange),
        |home| writes(home, "state/old"),
        Reported,
    ),
    attack(
        "a key thread starts a program",
        Some(Profile::KeyExchange),
        starts_program,
        Ended,
    ),
    attack(
        "a key thread reads elsewhere",
        Some(Profile::KeyExchange),
        |home| reads(home, "../secret"),
        Refused,
    ),
    attack(
        "a writer opens a socket",
        Some(Profile::Files),
        opens_socket,
        Ended,
    ),
];

fn reads(home: &Path, file: &str) -> bool {
    fs::read(home.join(file)).is_ok()
}

fn writes(home: &Path, file: &str) -> bool {
    fs::write(home.join(file), "x").is_ok()
}

fn frees_much_memory(_: &Path) -> bool {
    let blocks: Vec<Vec<u8>> = (0..64).map(|_| Vec::with_capacity(100 << 10)).collect();
    std::hint::black_box(&blocks).len() == 64
}

fn opens_socket(_: &Path) -> bool {
    UdpSocket::bind("127.0.0.1:0").is_ok()
}

fn starts_process(_: &Path) -> bool {
    Command::new("/bin/true").spawn().is_ok()
}

#[expect(
    deprecated,
    reason = "the unsafe one is no better here: it must never return"
)]
fn enters_namespace(_: &Path) -> bool {
    use rustix::thread::{UnshareFlags, unshare};
    unshare(UnshareFlags::NEWUSER).is_ok()
}

fn opens_raw_link(_: &Path) -> bool {
    use rustix::net::{AddressFamily, SocketType, socket};
    socket(AddressFamily::PACKET, SocketType::DGRAM, None).is_ok()
}

fn makes_code(_: &Path) -> bool {
    let memory = memmap2::MmapMut::map_anon(4096);
    memory.is_ok_and(|memory| memory.make_exec().is_ok())
}

/// The target is the parent process; the signal only tests for its existence.
fn signals_another(_: &Path) -> bool {
    use rustix::process::{getppid, test_kill_process};
    getppid().is_some_and(|parent| test_kill_process(parent).is_ok())
}

fn looks_at_anothers_limits(_: &Path) -> bool {
    use rustix::process::{Resource, Rlimit, getppid, prlimit};
    let none = Rlimit {
        current: None,
        maximum: None,
    };
    prlimit(getppid(), Resource::Core, none).is_ok()
}

fn starts_program(_: &Path) -> bool {
    // In place, not in a child: it is this process that must not survive the attempt. Returns only
    // on failure.
    let _ = Command::new("/bin/true").exec();
    false
}

/// Sets the clock to its own reading, and without the capability, so that nothing happens even if
/// it is not refused.
fn sets_clock(_: &Path) -> bool {
    use rustix::time::{ClockId, clock_gettime, clock_settime};
    clock_settime(ClockId::Realtime, clock_gettime(ClockId::Realtime)).is_ok()
}

fn outcome(status: ExitStatus) -> Outcome {
    match (status.code(), status.signal()) {
        (Some(WORKED), _) => Worked,
        (Some(REFUSED), _) => Refused,
        (Some(REPORTED), _) => Reported,
        (None, Some(libc::SIGSYS)) => Ended,
        other => panic!("the attacker could not begin: {other:?}"),
    }
}

/// Files of an attack: an accessible directory, and a secret beside it.
fn place() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let home = directory.path().join("home");
    fs::create_dir_all(home.join("state")).unwrap();
    fs::write(home.join("state/old"), "x").unwrap();
    fs::write(directory.path().join("secret"), "x").unwrap();
    let state = home.join("state");
    let text = format!(
        "[clock]\nkind = \"none\"\n[state]\ndirectory = \"{}\"\n[sandbox]\nuser = \"root\"\n",
        state.display()
    );
    fs::write(home.join("ntp.toml"), text).unwrap();
    (directory, home)
}

fn make(attack: &Attack) -> Outcome {
    let (_directory, home) = place();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_attacker", "--nocapture", "--test-threads=1"])
        .env(ATTACK, attack.name)
        .env(HOME, &home)
        .output()
        .unwrap();
    outcome(output.status)
}

/// Does nothing unless it was started by [`make`].
#[test]
fn the_attacker() {
    let (Ok(name), Some(home)) = (std::env::var(ATTACK), std::env::var_os(HOME)) else {
        return;
    };
    let home = PathBuf::from(home);
    let attack = ATTACKS.iter().find(|attack| attack.name == name).unwrap();
    let loaded = ntp_config::load(Some(&home.join("ntp.toml"))).unwrap();
    sandbox::enter(&loaded, SandboxMode::Enforce, &[]).unwrap();
    let worked = match attack.from {
        None => (attack.attempt)(&home),
        Some(profile) => thread::spawn(move || {
            sandbox::confine_thread(profile);
            (attack.attempt)(&home)
        })
        .join()
        .unwrap(),
    };
    let reported = ntp_udp::refusals::take();
    let expected = attack.from.unwrap_or(Profile::Timekeeping);
    std::process::exit(match (worked, reported.as_slice()) {
        (true, []) => WORKED,
        (false, []) => REFUSED,
        (false, [refusal]) if refusal.kind == expected.label() => REPORTED,
        unexpected => panic!("{unexpected:?}"),
    });
}

#[test]
fn unneeded_calls_are_refused_and_hostile_calls_end_the_process() {
    if !landlock_is_there() {
        eprintln!("skipped: this kernel has no landlock");
        assert!(std::env::var_os("NTP_E2E_REQUIRE").is_none());
        return;
    }
    for attack in ATTACKS {
        assert_eq!(make(attack), attack.expected, "{}", attack.name);
    }
}

/// Kernels before 5.13, and some containers, lack it.
fn landlock_is_there() -> bool {
    use landlock::{ABI, Access, AccessFs, CompatLevel, Compatible, Ruleset, RulesetAttr};
    Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(ABI::V1))
        .and_then(Ruleset::create)
        .is_ok()
}
