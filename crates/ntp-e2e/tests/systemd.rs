//! The installed package under a running systemd: Debian booted in namespaces, with networkd as the
//! DHCP client.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use ntp_e2e::binaries::workspace_root;
use ntp_e2e::debian::{self, Root, text};
use ntp_e2e::dhcp_server::{self, LEASED};
use ntp_e2e::harness::{self, Arena};
use ntp_e2e::netns::{Host, Network};
use ntp_e2e::process::{self, Process};
use ntp_e2e::{peers, scenario, wait};

/// Time limit of a step; a boot takes about three seconds.
const LIMIT: Duration = Duration::from_secs(60);
/// How soon time servers must follow a lease.
const AFTER_THE_LEASE: Duration = Duration::from_secs(5);

const CONFIG: &str = "[clock]\nkind = \"virtual\"\n\
    [synchronization]\nminimum-agreeing-sources = 1\ndhcp-sources = \"use\"\n";
const LINK: &str =
    "[Match]\nName=eth0\n[Network]\nDHCP=ipv4\nIPv6AcceptRA=no\nLinkLocalAddressing=no\n";
const UNITS: [&str; 5] = [
    "ntpd-rs.service",
    "ntpd-rs-wait.service",
    "ntpd-rs-metrics.service",
    "ntpd-rs-networkd.path",
    "ntpd-rs-networkd.service",
];

fn main() -> ExitCode {
    harness::run(
        Arena::Packaging,
        &[
            // Builds the package and installs Debian from the network: takes minutes.
            scenario!(the_units_work_under_systemd).slow(),
        ],
    )
}

/// A booted system.
struct Machine {
    process: Process,
    init: u32,
    cgroup: PathBuf,
}

impl Machine {
    /// Boots a root directory; `dropped` names a capability that the machine lacks.
    fn boot(root: &Path, dropped: Option<&str>) -> Self {
        let unified = Path::new("/sys/fs/cgroup/unified");
        let all = if unified.exists() {
            unified
        } else {
            Path::new("/sys/fs/cgroup")
        };
        let cgroup = all.join(format!("ntp-e2e-{}", std::process::id()));
        let mut command = process::command(None, "sh");
        command
            .arg(workspace_root().join("crates/ntp-e2e/tests/systemd_container.sh"))
            .arg(root)
            .arg(&cgroup)
            .args(dropped);
        let process = Process::spawn("systemd", command);
        let id = process.id();
        wait::until(LIMIT, "the user namespace", || {
            let maps = ["uid_map", "gid_map"].map(|map| format!("/proc/{id}/{map}"));
            let new = fs::read_to_string(&maps[0]).is_ok_and(|map| map.is_empty());
            (new && maps.iter().all(|map| fs::write(map, "0 0 65536").is_ok())).then_some(())
        });
        let init = wait::until(LIMIT, "systemd", || {
            let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).ok()?;
            let child = children.trim().parse().ok()?;
            let name = fs::read_to_string(format!("/proc/{child}/comm")).ok()?;
            (name.trim() == "systemd").then_some(child)
        });
        let machine = Self {
            process,
            init,
            cgroup,
        };
        wait::until(LIMIT, "the system bus", || {
            machine
                .sh("systemctl is-active -q basic.target")
                .0
                .then_some(())
        });
        machine
    }

    /// Moves the interface of a host into the machine.
    fn connect(&self, host: &Host) {
        host.ip("address flush dev eth0");
        host.ip(&format!("link set eth0 netns {}", self.init));
    }

    /// Runs a shell script inside. Returns whether it succeeded, and its output.
    fn sh(&self, script: &str) -> (bool, String) {
        let output = Command::new("nsenter")
            .args(["--all", "--wdns=/", &format!("--target={}", self.init)])
            .args(["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"])
            .args(["sh", "-ec", script])
            .output()
            .expect("nsenter starts");
        (output.status.success(), text(&output))
    }

    /// Runs a shell script that must succeed. Returns its output.
    fn must(&self, script: &str) -> String {
        let (succeeded, text) = self.sh(script);
        assert!(succeeded, "{script}\n{text}{}", self.log());
        text
    }

    fn log(&self) -> String {
        self.sh("journalctl --no-pager -b; systemctl --no-pager --failed")
            .1
    }

    /// Waits until a script succeeds.
    fn wait(&self, limit: Duration, script: &str) {
        let done = wait::try_until(limit, || self.sh(script).0.then_some(()));
        assert!(done.is_some(), "not in {limit:?}: {script}\n{}", self.log());
    }

    /// No unit of the package has failed. Others do, in a container.
    fn assert_nothing_failed(&self) {
        let units = UNITS.join(" ");
        let (failed, text) = self.sh(&format!("systemctl is-failed {units}"));
        assert!(!failed, "{text}{}", self.log());
    }

    fn power_off(mut self) {
        self.must("systemctl poweroff");
        self.process.wait_exit(LIMIT);
        remove_cgroup(&self.cgroup);
    }
}

/// Removes a control group and those in it. Their files cannot be removed, and need not be.
fn remove_cgroup(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_cgroup(&entry.path());
        }
    }
    let _ = fs::remove_dir(directory);
}

fn the_units_work_under_systemd() {
    let lacking = ntp_e2e::netns::missing().or_else(peers::missing);
    if let Some(lacking) = lacking {
        return harness::skip(&lacking);
    }
    let directory = tempfile::tempdir().expect("a temporary directory");
    let root = directory.path().join("root");
    install(&root);
    let network = Network::new();
    let server = network.host();
    let _time_server = peers::chronyd(&server, 3);
    let _dhcp_server = dhcp_server::start(&server, directory.path());
    let named = format!("ntp-ctl sources | grep -q '{}:123'", server.v4());

    let machine = Machine::boot(&root, None);
    machine.wait(LIMIT, "systemctl is-active -q ntpd-rs.service");
    machine.must("! systemctl is-active time-sync.target");
    machine.connect(&network.host());
    let leased = format!("ip -4 -o address show dev eth0 | grep -q ' {LEASED}'");
    machine.wait(LIMIT, &leased);
    machine.wait(AFTER_THE_LEASE, &named);
    machine.wait(LIMIT, "systemctl is-active -q ntpd-rs-wait.service");
    machine.must("systemctl is-active -q time-sync.target");
    machine.must("systemctl status --no-pager ntpd-rs | grep -q 'Status: \"Clock synchronised to'");
    for (unit, begin) in [
        ("ntpd-rs", "ntp-daemon "),
        ("ntpd-rs-metrics", "starting ntp-metrics-exporter "),
    ] {
        // The journal knows the levels, and has no second time.
        let journal = format!("journalctl -q -o cat -b -u {unit}");
        machine.must(&format!("{journal} -p info | grep -q '^{begin}'"));
        machine.must(&format!("! {journal} -p warning | grep -q '{begin}'"));
    }
    machine.must("systemctl reload ntpd-rs; systemctl restart ntpd-rs");
    machine.must(&named);
    machine.must("ip link set eth0 down");
    machine.wait(AFTER_THE_LEASE, &format!("! {{ {named}; }}"));
    machine.must("ip link set eth0 up");
    machine.wait(LIMIT, &named);
    machine.must(&format!(
        "cd /usr/lib/systemd/system; systemd-analyze verify --man=no {}",
        UNITS.join(" ")
    ));
    machine.must("systemctl is-active -q ntpd-rs-metrics.service ntpd-rs-networkd.path");
    machine.must("timedatectl set-ntp false; ! systemctl is-active ntpd-rs");
    machine.must("timedatectl set-ntp true");
    machine.wait(LIMIT, "systemctl is-active -q ntpd-rs.service");
    machine.assert_nothing_failed();
    machine.power_off();

    // What DHCP named does not outlive a boot.
    let machine = Machine::boot(&root, None);
    machine.wait(LIMIT, "systemctl is-active -q ntpd-rs.service");
    machine.must(&format!("ntp-ctl sources; ! {{ {named}; }}"));
    machine.power_off();

    let machine = Machine::boot(&root, Some("sys_time"));
    machine.wait(LIMIT, "systemctl is-active -q multi-user.target");
    for unit in ["ntpd-rs", "ntpd-rs-wait"] {
        let state = machine.must(&format!(
            "systemctl show -p ConditionResult -p ActiveState {unit}"
        ));
        assert!(state.contains("ConditionResult=no"), "{unit}: {state}");
        assert!(state.contains("ActiveState=inactive"), "{unit}: {state}");
    }
    machine.connect(&network.host());
    machine.wait(LIMIT, &leased);
    machine.assert_nothing_failed();
    machine.power_off();
}

/// Installs Debian with the package, and enables all of its units.
fn install(root: &Path) {
    let packages = "adduser,dbus,init-system-helpers,iproute2,systemd,systemd-sysv";
    let debian = Root::make(root, packages);
    fs::copy(debian::package("deb"), root.join("ntpd-rs.deb")).expect("the package is copied");
    debian.must("apt-get update -q; apt-get install -qy --no-install-recommends /ntpd-rs.deb");
    for (path, content) in [
        ("etc/ntpd-rs/ntp.toml.d/test.toml", CONFIG),
        ("etc/systemd/network/eth0.network", LINK),
        ("etc/machine-id", ""),
    ] {
        fs::write(root.join(path), content).expect("it is written");
    }
    debian.must("systemctl enable systemd-networkd ntpd-rs-wait ntpd-rs-metrics");
}
