//! The daemon as a process: how it ends, whose it is, and what it does not start without.

use std::io::{self, BufRead, BufReader, Write};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use ntp_e2e::binaries::Program;
use ntp_e2e::daemon::Setup;
use ntp_e2e::harness::{self, Arena};
use ntp_e2e::process::Process;
use ntp_e2e::{scenario, wait};
use rustix::process::{Pid, Signal, geteuid, kill_process};

/// Timeout of every wait; exceeded only on an overloaded machine.
const LIMIT: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    harness::run(
        Arena::Loopback,
        &[
            scenario!(without_random_numbers_the_daemon_ends),
            scenario!(a_daemon_whose_log_nobody_reads_ends_after_sigterm),
            scenario!(the_journal_is_told_levels_and_no_times),
            scenario!(root_without_the_user_of_the_daemon_starts_only_on_request),
            scenario!(programs_do_not_wait_for_a_daemon_that_was_stopped),
        ],
    )
}

/// Overrides getrandom(2) for those who need unpredictable numbers; Rust's hash tables do not.
const NO_RANDOM_NUMBERS: &str = r"
#define _GNU_SOURCE
#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>
ssize_t getrandom(void *buffer, size_t length, unsigned flags) {
    if (flags == 0) { errno = EIO; return -1; }
    return syscall(SYS_getrandom, buffer, length, flags);
}
";

fn without_random_numbers_the_daemon_ends() {
    let setup = Setup::new(1);
    let source = setup.file("random.c", NO_RANDOM_NUMBERS);
    let library = source.with_extension("so");
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .args([&library, &source])
        .status();
    assert!(built.is_ok_and(|status| status.success()));
    let mut command = setup.command(None, Program::Daemon);
    command.env("LD_PRELOAD", &library);
    let mut daemon = Process::spawn("ntp-daemon", command);
    assert_eq!(daemon.wait_exit(LIMIT).code(), Some(70));
    assert_eq!(daemon.events("random_numbers_missing").len(), 1);
}

/// The writing end of a pipe with room for some lines.
fn nearly_full_pipe() -> io::Result<(io::PipeReader, io::PipeWriter)> {
    const SIZE: usize = 4096;
    let (reader, mut writer) = io::pipe()?;
    rustix::pipe::fcntl_setpipe_size(&writer, 4 * SIZE)?;
    writer.write_all(&[b'\n'; SIZE])?;
    Ok((reader, writer))
}

fn a_daemon_whose_log_nobody_reads_ends_after_sigterm() {
    let setup = Setup::new(1);
    let (_reader, writer) = nearly_full_pipe().expect("a pipe");
    let mut command = setup.command(None, Program::Daemon);
    command.stdout(Stdio::from(writer)).stderr(Stdio::null());
    let mut daemon = command.spawn().expect("started");
    let ready = wait::try_until(LIMIT, || setup.control().exists().then_some(()));
    assert!(ready.is_some());
    // Each call is logged, until the pipe is full and the daemon waits.
    let waits = (0..1000).any(|_| setup.ntp_ctl(&["log-level", "info"]).0 != Some(0));
    assert!(waits);
    let pid = Pid::from_child(&daemon);
    kill_process(pid, Signal::TERM).expect("a running process");
    let status = wait::try_until(LIMIT, || daemon.try_wait().ok().flatten());
    assert_eq!(status.expect("the daemon has ended").code(), Some(70));
}

fn the_journal_is_told_levels_and_no_times() {
    let setup = Setup::new(1).with_exporter_at("127.0.0.1:0");
    let first_line = |program: Program, is_journal: bool| {
        let (reader, writer) = io::pipe().expect("a pipe");
        let stream = rustix::fs::fstat(&writer).expect("status of a pipe");
        let inode = stream.st_ino + u64::from(!is_journal);
        let mut command = setup.command(None, program);
        command.env("JOURNAL_STREAM", format!("{}:{inode}", stream.st_dev));
        command.stdout(writer).stderr(Stdio::null());
        let mut daemon = command.spawn().expect("started");
        drop(command);
        let line = BufReader::new(reader).lines().next();
        daemon.kill().expect("our own process");
        daemon.wait().expect("an exit status");
        line.expect("a line").expect("text")
    };
    for (program, begin) in [
        (Program::Daemon, "ntp-daemon "),
        (Program::Exporter, "starting ntp-metrics-exporter "),
    ] {
        let line = first_line(program, true);
        assert!(line.starts_with(&format!("<6>{begin}")), "{line}");
        let line = first_line(program, false);
        assert!(line.contains(&format!(" INFO {begin}")), "{line}");
    }
}

fn root_without_the_user_of_the_daemon_starts_only_on_request() {
    if !geteuid().is_root() {
        eprintln!("skipped: only root can change to another user");
        return;
    }
    let setup = Setup::new(1).replacing("user = \"root\"", "user = \"no-such-user\"");
    let start = |mode: Option<&str>| {
        let mut command = setup.command(None, Program::Daemon);
        command.args(mode.map(|mode| format!("--sandbox={mode}")));
        Process::spawn("ntp-daemon", command)
    };
    for mode in [None, Some("enforce")] {
        let mut daemon = start(mode);
        assert_eq!(daemon.wait_exit(LIMIT).code(), Some(70));
        let failed = daemon.wait_for_event(LIMIT, "daemon_failed", &[]);
        let line = failed.line();
        assert!(line.contains("there is no user no-such-user"), "{line}");
    }
    for mode in ["warn", "off"] {
        let mut daemon = start(Some(mode));
        daemon.wait_for_event(LIMIT, "user_not_changed", &[]);
        let ready = wait::try_until(LIMIT, || setup.control().exists().then_some(()));
        assert!(ready.is_some(), "{mode}");
        assert_eq!(daemon.terminate(LIMIT).code(), Some(0));
    }
}

fn programs_do_not_wait_for_a_daemon_that_was_stopped() {
    let setup = Setup::new(1);
    let daemon = setup.start(None);
    // It is created after the control socket.
    let ready = wait::try_until(LIMIT, || setup.socket().exists().then_some(()));
    assert!(ready.is_some());
    let mut daemon = daemon.process;
    daemon.signal(Signal::STOP);
    // Fills the queues of both sockets; the connections stay open.
    let mut waiting = Vec::new();
    for path in [setup.control(), setup.socket()] {
        let limit = Duration::from_millis(100);
        while let Ok(stream) = ntp_control_api::connect_within(&path, limit) {
            waiting.push(stream);
        }
    }
    for arguments in [["tracking"], ["status"]] {
        let (code, said) = setup.ntp_ctl(&arguments);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("nothing accepts connections there"), "{said}");
    }
    // A second instance notices the first one.
    let command = setup.command(None, Program::Daemon);
    let mut second = Process::spawn("second ntp-daemon", command);
    second.wait_for_event(LIMIT, "control_socket_failed", &[]);
    second.terminate(LIMIT);
    drop(waiting);
    daemon.signal(Signal::CONT);
    daemon.terminate(LIMIT);
}
