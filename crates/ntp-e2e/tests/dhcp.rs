//! Time servers of DHCP: the packaged hooks with the environments that their clients document, and
//! with the clients themselves.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use ntp_e2e::binaries::{Program, workspace_root};
use ntp_e2e::harness::{self, Arena};
use ntp_e2e::netns::Network;
use ntp_e2e::process::{self, Process};
use ntp_e2e::{dhcp_server, peers, scenario};
use tempfile::TempDir;

/// Time limit of a scenario; exceeded only on an overloaded machine.
const LIMIT: Duration = Duration::from_secs(240);

fn main() -> ExitCode {
    harness::run(
        Arena::Namespaces,
        &[
            scenario!(hooks_pass_on_what_their_clients_state),
            scenario!(hooks_do_nothing_without_ntp_ctl),
            scenario!(dhclient_and_ifupdown_bring_and_withdraw_time_servers),
            scenario!(networkd_brings_and_withdraws_time_servers),
            scenario!(network_manager_brings_and_withdraws_time_servers),
            scenario!(dhcpcd_brings_and_withdraws_time_servers).slow(),
        ],
    )
}

/// The packaged hooks, and a program `ntp-ctl` that notes its arguments.
struct Hooks {
    directory: TempDir,
}

impl Hooks {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let log = directory.path().join("log").display().to_string();
        let program = directory.path().join("ntp-ctl");
        let text = format!("#!/bin/sh\nprintf '%s|' \"$@\" >>{log}\necho >>{log}\n");
        fs::write(&program, text).expect("a program");
        let executable = fs::Permissions::from_mode(0o755);
        fs::set_permissions(&program, executable).expect("it can be run");
        Self { directory }
    }

    /// Runs a hook as its client does, and returns the calls of `ntp-ctl`, arguments separated by
    /// spaces.
    fn run(&self, hook: &str, environment: &[(&str, &str)], arguments: &[&str]) -> Vec<String> {
        let path = format!("{}:/usr/bin:/bin", self.directory.path().display());
        self.execute(hook, &path, environment, arguments);
        let log = self.directory.path().join("log");
        let text = fs::read_to_string(&log).unwrap_or_default();
        let _ = fs::remove_file(&log);
        let lines = text.lines().map(|line| line.trim_end_matches('|'));
        lines.map(|line| line.replace('|', " ")).collect()
    }

    fn execute(&self, hook: &str, path: &str, environment: &[(&str, &str)], arguments: &[&str]) {
        let file = self.packaged(hook);
        let mut command = Command::new("/bin/sh");
        if hook == "dhclient" {
            // Into the shell of the client's script, which must not end there.
            let text = format!(". {}; echo \"still here\"", file.display());
            command.args(["-euc", &text]);
        } else {
            command.arg("-eu").arg(&file).args(arguments);
        }
        command.env_clear().env("PATH", path);
        command.envs(environment.iter().copied());
        let output = command.current_dir("/etc").output().expect("a shell");
        let printed = String::from_utf8_lossy(&output.stdout);
        let complaints = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() && complaints.is_empty(),
            "{hook}: {complaints}"
        );
        let expected = if hook == "dhclient" {
            "still here\n"
        } else {
            ""
        };
        assert_eq!(printed, expected, "{hook}");
    }

    /// Path of a hook; one of `ip-up.d/ppp` is in a directory of that name.
    fn packaged(&self, hook: &str) -> PathBuf {
        let (directory, name) = hook.rsplit_once('/').unwrap_or(("hooks", hook));
        let directory = self.directory.path().join(directory);
        fs::create_dir_all(&directory).expect("a directory");
        let copy = directory.join(name);
        fs::copy(workspace_root().join("pkg/dhcp").join(name), &copy).expect("the hook");
        copy
    }
}

fn hooks_pass_on_what_their_clients_state() {
    let hooks = Hooks::new();
    let none: [&str; 0] = [];
    let both = [
        ("DHCP4_NTP_SERVERS", "192.0.2.1 192.0.2.2"),
        ("DHCP6_DHCP6_NTP_SERVERS", "2001:db8::1"),
    ];
    for action in ["up", "dhcp4-change", "dhcp6-change", "reapply"] {
        let calls = hooks.run("networkmanager", &both, &["eth0", action]);
        assert_eq!(calls, ["dhcp -- eth0 192.0.2.1 192.0.2.2 2001:db8::1"]);
    }
    let calls = hooks.run("networkmanager", &both, &["eth0", "down"]);
    assert_eq!(calls, ["dhcp -- eth0"]);
    for arguments in [
        ["eth0", "pre-up"],
        ["", "connectivity-change"],
        ["none", "hostname"],
    ] {
        assert_eq!(hooks.run("networkmanager", &both, &arguments), none);
    }
    // A stranger writes the list.
    let hostile = [("DHCP4_NTP_SERVERS", "* $(reboot) ;reboot --help")];
    let calls = hooks.run("networkmanager", &hostile, &["eth0", "up"]);
    assert_eq!(calls, ["dhcp -- eth0 * $(reboot) ;reboot --help"]);

    let client = |reason| {
        let environment = [
            ("reason", reason),
            ("interface", "eth0"),
            ("new_ntp_servers", "192.0.2.1 *"),
            ("new_dhcp6_sntp_servers", "2001:db8::1"),
        ];
        hooks.run("dhclient", &environment, &[])
    };
    for (reasons, calls) in [
        (
            "BOUND RENEW REBIND REBOOT TIMEOUT INFORM",
            &["dhcp -- eth0 192.0.2.1 *"][..],
        ),
        ("BOUND6 RENEW6 REBIND6", &["dhcp -- eth0-dhcp6 2001:db8::1"]),
        ("EXPIRE FAIL RELEASE STOP", &["dhcp -- eth0"]),
        ("EXPIRE6 RELEASE6 STOP6", &["dhcp -- eth0-dhcp6"]),
        (
            "NOCARRIER DEPARTED",
            &["dhcp -- eth0", "dhcp -- eth0-dhcp6"],
        ),
        ("PREINIT ARPCHECK CARRIER MEDIUM", &[]),
    ] {
        for reason in reasons.split(' ') {
            assert_eq!(client(reason), calls, "{reason}");
        }
    }

    let interface = |mode, name| {
        [
            ("MODE", mode),
            ("IFACE", name),
            ("IF_NTP_SERVERS", "192.0.2.1"),
        ]
    };
    let calls = hooks.run("ifupdown", &interface("start", "eth0"), &[]);
    assert_eq!(calls, ["dhcp -- eth0-static 192.0.2.1"]);
    let calls = hooks.run("ifupdown", &interface("stop", "eth0"), &[]);
    let expected = ["dhcp -- eth0-static", "dhcp -- eth0", "dhcp -- eth0-dhcp6"];
    assert_eq!(calls, expected);
    assert_eq!(
        hooks.run("ifupdown", &interface("start", "--all"), &[]),
        none
    );
    assert_eq!(hooks.run("ifupdown", &interface("stop", "lo"), &[]), none);

    let provider = [("PPP_IFACE", "ppp0"), ("NTP_SERVERS", "192.0.2.1")];
    // A protocol that goes down leaves the list of the other one.
    for (protocol, list) in [("ip", "ppp0"), ("ipv6", "ppp0-ipv6")] {
        let [up, down] = ["up", "down"].map(|event| format!("{protocol}-{event}.d/ppp"));
        let calls = hooks.run(&up, &provider, &[]);
        assert_eq!(calls, [format!("dhcp -- {list} 192.0.2.1")]);
        assert_eq!(hooks.run(&up, &provider[..1], &[]), none);
        let calls = hooks.run(&down, &[], &["ppp0"]);
        assert_eq!(calls, [format!("dhcp -- {list}")]);
    }

    let links = hooks.directory.path().join("links");
    let argument = links.display().to_string();
    assert_eq!(
        hooks.run("networkd", &[], &[&argument]),
        ["dhcp -- networkd"]
    );
    fs::create_dir(&links).expect("a directory");
    fs::write(links.join("1"), "OPER_STATE=carrier\n").expect("a link");
    fs::write(links.join("2"), "DNS=192.0.2.9\nNTP=192.0.2.1 *\n").expect("a link");
    fs::write(links.join("3"), "NTP=\nNTP=2001:db8::1\n").expect("a link");
    let calls = hooks.run("networkd", &[], &[&argument]);
    assert_eq!(calls, ["dhcp -- networkd 192.0.2.1 * 2001:db8::1"]);
}

/// The package may be removed without its configuration files.
fn hooks_do_nothing_without_ntp_ctl() {
    let hooks = Hooks::new();
    let environment = [
        ("DHCP4_NTP_SERVERS", "192.0.2.1"),
        ("reason", "BOUND"),
        ("interface", "eth0"),
        ("MODE", "start"),
        ("IFACE", "eth0"),
        ("IF_NTP_SERVERS", "192.0.2.1"),
        ("NTP_SERVERS", "192.0.2.1"),
    ];
    for hook in [
        "networkmanager",
        "dhclient",
        "ifupdown",
        "ip-up.d/ppp",
        "networkd",
    ] {
        hooks.execute(hook, "/nowhere", &environment, &["eth0", "up"]);
    }
}

/// Runs `dhcp_clients.sh`, which has the scenario, with a DHCP server that names a time server.
fn with_client(client: &str, programs: &[&str]) {
    let unpacked = workspace_root().join("target/arena/network-manager");
    let exists = |program: &&&str| {
        let below = [Path::new("/"), &*unpacked].map(|root| root.join(program));
        below.iter().any(|path| path.exists())
    };
    let mut needed = programs.iter().chain(&["usr/sbin/dnsmasq"]);
    if let Some(lacking) = needed.find(|program| !exists(program)) {
        return harness::skip(lacking);
    }
    let network = Network::new();
    let (server, machine) = (network.host(), network.host());
    machine.ip("address flush dev eth0");
    let _time_server = peers::chronyd(&server, 3);
    let directory = tempfile::tempdir().expect("a temporary directory");
    let _dhcp_server = dhcp_server::start(&server, directory.path());

    let daemon = Program::Daemon.path();
    let mut command = process::command(Some(&machine), "unshare");
    command.args("--mount --pid --fork --kill-child --mount-proc sh".split(' '));
    command.arg(workspace_root().join("crates/ntp-e2e/tests/dhcp_clients.sh"));
    command.args([client, &server.v4().to_string()]);
    command
        .arg(daemon.parent().unwrap_or(daemon))
        .arg(workspace_root());
    let mut run = Process::spawn(client, command);
    let status = run.wait_exit(LIMIT);
    let output = run.lines().join(
        "
",
    );
    assert!(status.success(), "{output}");
    for step in [
        "after the lease",
        "synchronised",
        "after link-down",
        "gone after a boot",
    ] {
        assert!(output.contains(step), "{step} is missing:\n{output}");
    }
}

fn dhclient_and_ifupdown_bring_and_withdraw_time_servers() {
    with_client("dhclient", &["sbin/dhclient", "sbin/ifup"]);
}

fn networkd_brings_and_withdraws_time_servers() {
    with_client("networkd", &["lib/systemd/systemd-networkd"]);
}

fn network_manager_brings_and_withdraws_time_servers() {
    with_client(
        "networkmanager",
        &["usr/sbin/NetworkManager", "usr/bin/dbus-daemon"],
    );
}

fn dhcpcd_brings_and_withdraws_time_servers() {
    with_client("dhcpcd", &["usr/sbin/dhcpcd"]);
}
