//! Network Time Security (RFC 8915), with our daemons, chronyd, ntpsec, faulty peers and attackers.
//!
//! One program, because each scenario mostly waits: together they take as long as the longest.

mod check;
mod faults;
mod foreign;
mod ke_limits;
mod operation;
mod policy;
mod pool;
mod shared_secret;

use std::process::ExitCode;
use std::time::Duration;

use ntp_e2e::daemon::{Daemon, Setup};
use ntp_e2e::faulty_ke_server::keyset_file;
use ntp_e2e::harness::{self, Arena};
use ntp_e2e::netns::Host;

/// Timeout of every wait; exceeded only on an overloaded machine.
const LIMIT: Duration = Duration::from_secs(120);

fn main() -> ExitCode {
    // Those that wait for a minute come first, or they would run alone at the end.
    let scenarios = [
        policy::SCENARIOS,
        faults::SCENARIOS,
        shared_secret::SCENARIOS,
        pool::SCENARIOS,
        check::SCENARIOS,
        foreign::SCENARIOS,
        ke_limits::SCENARIOS,
        operation::SCENARIOS,
    ];
    harness::run(Arena::Namespaces, &scenarios.concat())
}

/// A server of the machine's clock, unsteered.
fn time_server() -> Setup {
    Setup::new(1)
        .unsteered()
        .synchronization("local-stratum = 1")
        .with("[[server]]\nlisten = \"[::]:123\"")
}

/// One that answers requests with NTS only.
fn nts_server() -> Setup {
    time_server().with("require-nts = \"deny\"")
}

/// Starts a server and waits until it serves time.
fn start(setup: &Setup, host: &Host) -> Daemon {
    let daemon = setup.start(Some(host));
    daemon.process.wait_for_event(LIMIT, "server_started", &[]);
    daemon
}

/// Starts a server with key exchange and waits until it exchanges keys.
fn start_with_key_exchange(setup: &Setup, host: &Host) -> Daemon {
    let daemon = setup.start(Some(host));
    let process = &daemon.process;
    process.wait_for_event(LIMIT, "ke_server_started", &[]);
    daemon
}

/// Starts a time server that accepts the cookies of
/// [`FaultyKeServer`](ntp_e2e::faulty_ke_server::FaultyKeServer), without key exchange.
fn start_accepting_foreign_cookies(host: &Host) -> (Daemon, Setup) {
    let setup = nts_server();
    // The setup restricts the permissions, as the daemon requires.
    let path = setup.file("keyset", "");
    std::fs::write(&path, keyset_file()).expect("a keyset file");
    let keyset = format!("[keyset]\nkey-storage-path = \"{}\"", path.display());
    let setup = setup.with(&keyset);
    (start(&setup, host), setup)
}
