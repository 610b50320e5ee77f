//! What `ntp-ctl migrate` writes, and what `ntp-ctl trial` finds, beside the real chronyd and ntpsec.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::process::{Command, ExitCode};
use std::thread;
use std::time::Duration;

use ntp_daemon::listeners::listeners;
use ntp_e2e::binaries::Program;
use ntp_e2e::daemon::Setup;
use ntp_e2e::harness::{self, Arena};
use ntp_e2e::netns::{Host, Network};
use ntp_e2e::process::{Process, command};
use ntp_e2e::{peers, query, scenario};
use ntp_proto::keys::KeyRing;
use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};
use rustix::process::Signal;

/// Rule sets for each daemon.
const SETS: u64 = 8;
/// Clients of each rule set.
const CLIENTS: usize = 60;
/// Time limit of a refused request: the answer of a running server takes a millisecond, all clients
/// ask at once, and the machine may be busy.
const NO_ANSWER: Duration = Duration::from_secs(3);

fn main() -> ExitCode {
    harness::run(
        Arena::Namespaces,
        &[
            scenario!(migrated_rules_of_chronyd_decide_as_its_accheck),
            scenario!(migrated_rules_of_ntpsec_decide_as_it_answers),
            scenario!(the_daemon_starts_with_the_frequency_that_migrate_takes_over),
            scenario!(a_trial_beside_chronyd_agrees_and_leaves_nothing_behind),
            scenario!(a_trial_with_another_source_contradicts_chronyd),
        ],
    )
}

/// Random addresses and networks of few distinct bits, so that they touch and contain each other.
struct Random(ChaCha8Rng);

impl Random {
    fn below(&mut self, limit: u32) -> u32 {
        self.0.next_u32() % limit
    }

    fn one_of<T: Copy>(&mut self, values: &[T]) -> T {
        values[self.below(values.len() as u32) as usize]
    }

    fn address(&mut self) -> IpAddr {
        if self.below(3) == 0 {
            let group = |random: &mut Self| random.one_of(&[0, 1, 0x4000, 0x8000, 0xffff]);
            let (second, third, last) = (group(self), group(self), group(self));
            return Ipv6Addr::new(0xfd00, second, third, 0, 0, 0, 0, last | 0x10).into();
        }
        let octet = |random: &mut Self| random.one_of(&[0, 1, 31, 64, 128, 192, 250]);
        let (second, third, last) = (octet(self), octet(self), octet(self));
        Ipv4Addr::new(10, second, third, last | 2).into()
    }

    /// An address and a prefix length.
    fn network(&mut self) -> (IpAddr, u32) {
        let address = self.address();
        let length = match address {
            IpAddr::V4(_) => 8 + self.below(25),
            IpAddr::V6(_) => self.one_of(&[8, 15, 16, 17, 18, 20, 31, 32, 33, 36, 48, 127, 128]),
        };
        (address, length)
    }

    fn clients(&mut self) -> Vec<IpAddr> {
        let clients: BTreeSet<IpAddr> = (0..CLIENTS).map(|_| self.address()).collect();
        clients.into_iter().collect()
    }
}

/// Whether the migrated configuration serves each client.
fn migrated(format: &str, lines: &str, clients: &[IpAddr]) -> Vec<bool> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("original.conf");
    fs::write(&path, lines).unwrap();
    let mut command = Command::new(Program::Ctl.path());
    command.args(["migrate", "--from", format]).arg(&path);
    let output = command.output().unwrap();
    let toml = String::from_utf8(output.stdout).unwrap();
    let (config, _) = ntp_config::parse(&toml, "migrated").unwrap();
    let listeners = listeners(&config, &KeyRing::default(), 0);
    let served = |client: &IpAddr| {
        listeners.iter().any(|listener| {
            let dual_stack = listener.address.socket.is_ipv6() && !listener.options.only_ipv6;
            let reaches = dual_stack || listener.address.socket.is_ipv4() == client.is_ipv4();
            reaches && listener.policy.access.refusal(*client).is_none()
        })
    };
    clients.iter().map(served).collect()
}

fn assert_same(lines: &str, clients: &[IpAddr], ours: &[bool], theirs: &[bool]) {
    let decisions = clients.iter().zip(ours.iter().zip(theirs));
    let differ: Vec<_> = decisions
        .filter(|(_, (ours, theirs))| ours != theirs)
        .collect();
    assert!(
        differ.is_empty(),
        "client, ours, theirs: {differ:?}\n{lines}"
    );
}

fn migrated_rules_of_chronyd_decide_as_its_accheck() {
    let network = Network::new();
    let host = network.host();
    for seed in 0..SETS {
        let mut random = Random(ChaCha8Rng::seed_from_u64(seed));
        let mut lines = "server ntp.example.net\n".to_owned();
        for _ in 0..3 + random.below(14) {
            let action = random.one_of(&["allow", "deny"]);
            let all = random.one_of(&["", "", " all"]);
            let network = match random.below(8) {
                0 => String::new(),
                1 => random
                    .one_of(&[" 10", " 10.64", " 10.64.1", " 10.64/11", " 0/0", " ::/0"])
                    .into(),
                _ => {
                    let (address, length) = random.network();
                    format!(" {address}/{length}")
                }
            };
            lines += &format!("{action}{all}{network}\n");
        }
        let clients = random.clients();
        let theirs = peers::chronyd_access(&host, &lines, &clients);
        // It serves this machine in any case, so that it opens its port.
        let ours = migrated("chrony", &format!("allow 127.0.0.1\n{lines}"), &clients);
        assert_same(&lines, &clients, &ours, &theirs);
    }
}

/// Whether the server answers each client, all of which are addresses of `host`.
fn answers(host: &Host, server: &Host, clients: &[IpAddr]) -> Vec<bool> {
    let (ipv4, ipv6) = (server.v4(), server.v6());
    let ask = |client: IpAddr| {
        let server = if client.is_ipv4() { ipv4 } else { ipv6 };
        let socket = UdpSocket::bind((client, 0)).unwrap();
        query::query(&socket, SocketAddr::new(server, 123), NO_ANSWER).is_ok()
    };
    host.inside(|| {
        thread::scope(|scope| {
            let asked = clients
                .iter()
                .map(|client| scope.spawn(move || ask(*client)));
            let asked: Vec<_> = asked.collect();
            let answered = asked.into_iter().map(|it| it.join().unwrap());
            answered.collect()
        })
    })
}

fn migrated_rules_of_ntpsec_decide_as_it_answers() {
    let network = Network::new();
    let (server, host) = (network.host(), network.host());
    for side in [&server, &host] {
        side.ip("route add 10.0.0.0/8 dev eth0");
        side.ip("-6 route add fd00::/8 dev eth0");
    }
    let mut known = BTreeSet::new();
    for seed in 0..SETS / 2 {
        let mut random = Random(ChaCha8Rng::seed_from_u64(seed));
        let mut lines = String::new();
        for _ in 0..3 + random.below(12) {
            let flags = random.one_of(&[
                "",
                " ignore",
                " noserve",
                " nomodify noquery",
                " kod nopeer",
            ]);
            let place = match random.below(8) {
                0 => random
                    .one_of(&["default", "-4 default", "-6 default"])
                    .into(),
                1 => {
                    let mask = random.one_of(&["255.0.0.0", "255.192.0.0", "255.255.254.0"]);
                    format!("{} mask {mask}", Ipv4Addr::new(10, 64, 1, 2))
                }
                _ => {
                    let (address, length) = random.network();
                    format!("{address}/{length}")
                }
            };
            lines += &format!("restrict {place}{flags}\n");
        }
        // The start of the server is noticed by an answer to itself.
        lines += &format!("restrict {}\n", server.v4());
        let clients = random.clients();
        for client in &clients {
            if known.insert(*client) {
                match client {
                    IpAddr::V4(address) => host.ip(&format!("address add {address}/32 dev eth0")),
                    IpAddr::V6(address) => {
                        host.ip(&format!("address add {address}/128 dev eth0 nodad"));
                    }
                }
            }
        }
        let theirs = {
            let _server = peers::ntpsec_with_lines(&server, &lines);
            answers(&host, &server, &clients)
        };
        let ours = migrated("ntpd", &lines, &clients);
        assert_same(&lines, &clients, &ours, &theirs);
    }
}

/// The frequency of chronyd's drift file is that of the daemon's first start.
fn the_daemon_starts_with_the_frequency_that_migrate_takes_over() {
    let machine = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = machine.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write(
        "etc/chrony.conf",
        "server 192.0.2.1\ndriftfile /var/lib/chrony/drift\n",
    );
    write("var/lib/chrony/drift", "  -12.500000  0.020000\n");
    let mut migrate = Command::new(Program::Ctl.path());
    migrate.args(["migrate", "--write", "/etc/chrony.conf", "--root"]);
    assert!(migrate.arg(machine.path()).status().unwrap().success());

    let setup = Setup::new(1).server("192.0.2.1");
    fs::create_dir_all(setup.state()).unwrap();
    let state = machine.path().join("var/lib/ntpd-rs/clock.toml");
    fs::copy(state, setup.state().join("clock.toml")).unwrap();
    let daemon = setup.start(None);
    let restored = daemon
        .process
        .wait_for_event(LIMIT, "frequency_restored", &[]);
    assert!(
        restored.field("frequency").starts_with("-12.5"),
        "{restored:?}"
    );
}

/// Starts `ntp-ctl trial` on a host, with a directory for its temporary files.
fn start_trial(host: &Host, arguments: &[&str], files: &tempfile::TempDir) -> Process {
    let mut trial = command(Some(host), Program::Ctl.path());
    let chronyc = peers::chronyd_path().with_file_name("../bin");
    let path = std::env::var("PATH").unwrap_or_default();
    trial.env("PATH", format!("{}:{path}", chronyc.display()));
    trial.env("TMPDIR", files.path());
    trial
        .args(["trial", "--interval", "1s", "--minutes", "60"])
        .args(arguments);
    Process::spawn("ntp-ctl trial", trial)
}

/// Interrupts a trial, and returns its exit code and output.
fn interrupt(mut trial: Process, files: &tempfile::TempDir) -> (Option<i32>, String) {
    assert_eq!(fs::read_dir(files.path()).unwrap().count(), 1);
    trial.signal(Signal::INT);
    let outcome = trial.outcome();
    assert_eq!(fs::read_dir(files.path()).unwrap().count(), 0);
    outcome
}

/// Timeout of every wait; exceeded only on an overloaded machine.
const LIMIT: Duration = Duration::from_secs(120);

/// Both find that the clock is 50 ms behind, with the configuration of chronyd.
fn a_trial_beside_chronyd_agrees_and_leaves_nothing_behind() {
    let network = Network::new();
    let (server, client) = (network.host(), network.host());
    let _server = peers::test_server(&server, server.v4(), 0.05);
    let _chronyd = peers::chronyd_client(&client, server.v4());
    let files = tempfile::tempdir().unwrap();
    let trial = start_trial(&client, &[], &files);
    // Ours, and that of chronyd.
    trial.wait_for_line(LIMIT, "ms    +50.");
    let (code, output) = interrupt(trial, &files);
    assert_eq!(code, Some(0), "{output}");
    for expected in [
        "beside chronyd (process ",
        "settings, 0 lines without an equivalent",
        "Verdict: both daemons agree within their error bounds",
    ] {
        assert!(output.contains(expected), "{expected}\n{output}");
    }
}

fn a_trial_with_another_source_contradicts_chronyd() {
    let network = Network::new();
    let (server, other, client) = (network.host(), network.host(), network.host());
    let _server = peers::test_server(&server, server.v4(), 0.05);
    let _other = peers::test_server(&other, other.v4(), 0.3);
    let _chronyd = peers::chronyd_client(&client, server.v4());
    let files = tempfile::tempdir().unwrap();
    let path = files.path().with_extension("toml");
    let text = format!(
        "[[source]]\nmode = \"server\"\naddress = \"{}\"\n[synchronization]\nminimum-agreeing-sources = 1\n",
        other.v4()
    );
    fs::write(&path, text).unwrap();
    let trial = start_trial(&client, &["--config", path.to_str().unwrap()], &files);
    trial.wait_for_line(LIMIT, " !");
    let (code, output) = interrupt(trial, &files);
    fs::remove_file(path).unwrap();
    assert_eq!(code, Some(17), "{output}");
    assert!(output.contains("contradict each other"), "{output}");
}
