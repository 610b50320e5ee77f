//! The Debian package: hardening of its units, installation, upgrade and removal.

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, ExitCode};

use ntp_e2e::binaries::workspace_root;
use ntp_e2e::debian::{self, Root, run, text};
use ntp_e2e::harness::{self, Arena};
use ntp_e2e::scenario;

/// Upper limit of systemd's exposure level; above it the rating is no longer "OK".
const MAX_EXPOSURE: f64 = 2.5;

fn main() -> ExitCode {
    harness::run(
        Arena::Packaging,
        &[
            scenario!(systemd_analyze_rates_the_units_as_hardened),
            scenario!(the_files_around_the_daemon_are_valid),
            scenario!(a_renewed_certificate_is_installed_for_the_daemon),
            scenario!(a_migration_is_offered_where_there_is_something_to_migrate),
            // Builds the package and installs Debian from the network: takes minutes.
            scenario!(the_package_installs_upgrades_and_purges_cleanly_on_debian).slow(),
            scenario!(the_rpm_package_installs_upgrades_and_leaves_nothing).slow(),
            scenario!(the_files_for_other_programs_work_with_them).slow(),
        ],
    )
}

fn systemd_analyze_rates_the_units_as_hardened() {
    for unit in [
        "ntpd-rs.service",
        "ntpd-rs-metrics.service",
        "ntpd-rs-networkd.service",
    ] {
        let output = Command::new("systemd-analyze")
            .args(["security", "--offline=true", "--no-pager"])
            .arg(workspace_root().join("pkg/systemd").join(unit))
            .output()
            .expect("systemd-analyze starts");
        let text = text(&output);
        let exposure = text
            .lines()
            .find_map(|line| line.split_once("Overall exposure level for "))
            .and_then(|(_, rest)| rest.split_once(": "))
            .and_then(|(_, level)| level.split_whitespace().next()?.parse::<f64>().ok());
        let exposure = exposure.unwrap_or_else(|| panic!("{unit} is not rated: {text}"));
        assert!(exposure < MAX_EXPOSURE, "{unit}: {exposure}\n{text}");
    }
}

/// Runs the program that reads each kind of file.
fn the_files_around_the_daemon_are_valid() {
    let package = workspace_root().join("pkg");
    let scripts = [
        "acme/ntpd-rs-deploy",
        "dhcp/dhclient",
        "dhcp/ifupdown",
        "dhcp/networkd",
        "dhcp/networkmanager",
        "dhcp/ppp",
        "migrate/offer-migration",
        "openrc/ntpd-rs",
        "procd/ntpd-rs",
    ];
    for script in scripts {
        run(Command::new("shellcheck")
            .args(["--shell=sh", "--severity=info"])
            .arg(package.join(script)));
    }
    let profile = package.join("apparmor/usr.bin.ntp-daemon");
    run(Command::new("apparmor_parser")
        .args(["--skip-kernel-load", "--skip-cache"])
        .arg(profile));
    let directory = tempfile::tempdir().expect("a temporary directory");
    let module = directory.path().join("ntpd_rs.mod");
    run(Command::new("checkmodule")
        .args(["-M", "-m", "-o"])
        .arg(&module)
        .arg(package.join("selinux/ntpd_rs.te")));
    run(Command::new("semodule_package")
        .arg("-o")
        .arg(directory.path().join("ntpd_rs.pp"))
        .arg("-m")
        .arg(&module)
        .arg("-f")
        .arg(package.join("selinux/ntpd_rs.fc")));
    run(Command::new("python3")
        .args([
            "-c",
            "import sys, xml.dom.minidom as m; m.parse(sys.argv[1])",
        ])
        .arg(package.join("firewalld/nts-ke.xml")));
    run(Command::new("systemd-sysusers")
        .arg("--dry-run")
        .arg(package.join("sysusers.d/ntpd-rs.conf")));
    let root = directory.path().join("root");
    for (path, user) in [
        ("etc/passwd", "ntpd-rs:x:7:7::/:/bin/sh\n"),
        ("etc/group", "ntpd-rs:x:7:\n"),
    ] {
        std::fs::create_dir_all(root.join("etc")).expect("a directory");
        std::fs::write(root.join(path), user).expect("it is written");
    }
    run(Command::new("systemd-tmpfiles")
        .arg("--create")
        .arg(format!("--root={}", root.display()))
        .arg(package.join("tmpfiles.d/ntpd-rs.conf")));
    for directory in ["var/lib/ntpd-rs", "run/ntpd-rs/sources.d"] {
        assert!(root.join(directory).is_dir(), "{directory}");
    }
}

fn a_renewed_certificate_is_installed_for_the_daemon() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let lineage = directory.path().join("ntp.example");
    std::fs::create_dir(&lineage).expect("a directory");
    std::fs::write(lineage.join("fullchain.pem"), "chain").expect("it is written");
    std::fs::write(lineage.join("privkey.pem"), "key").expect("it is written");
    let installed = directory.path().join("tls");
    let hook = |domain: &str| {
        run(
            Command::new(workspace_root().join("pkg/acme/ntpd-rs-deploy"))
                .env("RENEWED_LINEAGE", &lineage)
                .env("RENEWED_DOMAINS", "ntp.example www.example")
                .env("NTPD_RS_DOMAIN", domain)
                .env("NTPD_RS_TLS", &installed)
                .env("NTPD_RS_GROUP", "nogroup"),
        );
    };
    hook("other.example");
    assert!(!installed.exists(), "of another server");
    for _ in 0..2 {
        hook("ntp.example");
        let mut names = ntp_e2e::daemon::files_in(&installed);
        names.sort();
        assert_eq!(names, ["fullchain.pem", "privkey.pem"]);
        let key = std::fs::metadata(installed.join("privkey.pem")).expect("a key");
        assert_eq!(key.permissions().mode() & 0o777, 0o640);
    }
}

/// The packages run the script at their first installation.
fn a_migration_is_offered_where_there_is_something_to_migrate() {
    let script = workspace_root().join("pkg/migrate/offer-migration");
    let root = tempfile::tempdir().expect("a temporary directory");
    let write = |path: &str, content: &str| {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a directory")).expect("it is made");
        std::fs::write(path, content).expect("the file is written");
    };
    let offered = || run(Command::new("sh").arg(&script).arg(root.path()));
    write("usr/etc/chrony.conf", "");
    assert!(offered().contains("ntp-ctl migrate --write /usr/etc/chrony.conf"));
    write("etc/chrony.conf", "");
    assert!(!offered().contains("/usr/etc"));
    std::fs::remove_dir_all(root.path()).expect("the files are removed");
    write("etc/systemd/timesyncd.conf", "[Time]\n#NTP=\nNTP=\n");
    assert_eq!(offered(), "");
    write("etc/systemd/timesyncd.conf.d/a.conf", "[Time]\nNTP=a\n");
    write("etc/chrony/chrony.conf", "");
    let text = offered();
    for path in ["/etc/chrony/chrony.conf", "/etc/systemd/timesyncd.conf"] {
        let command = format!("ntp-ctl migrate --write {path} && systemctl restart ntpd-rs\n");
        assert!(text.contains(&command), "{text}");
    }
    write("usr/share/doc/ntpd-rs/ntp.toml.default", "default\n");
    write("etc/ntpd-rs/ntp.toml", "default\n");
    assert!(!offered().is_empty());
    write("etc/ntpd-rs/ntp.toml", "mine\n");
    assert_eq!(offered(), "");
}

fn the_package_installs_upgrades_and_purges_cleanly_on_debian() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    // As few packages as possible, to test our dependencies.
    let root = Root::make(directory.path(), "adduser,init-system-helpers,systemd");
    let package = debian::package("deb");
    std::fs::copy(package, directory.path().join("ntpd-rs.deb")).expect("the package is copied");

    // Debian's default client is replaced.
    root.must("apt-get update -q; apt-get install -qy systemd-timesyncd");
    root.must("echo 'server ntp.example.org' > /etc/ntp.conf");
    let output = root.must("apt-get install -qy /ntpd-rs.deb");
    assert!(output.contains("Removing systemd-timesyncd"), "{output}");
    assert!(
        output.contains("ntp-ctl migrate --write /etc/ntp.conf"),
        "{output}"
    );
    root.must("rm /etc/ntp.conf");

    root.must("ntp-ctl validate");
    root.must("systemd-analyze verify --man=no /usr/lib/systemd/system/ntpd-rs*.service");
    let enabled = root.must("ls /etc/systemd/system/multi-user.target.wants");
    assert!(enabled.contains("ntpd-rs.service"), "{enabled}");
    assert!(!enabled.contains("ntpd-rs-metrics"), "{enabled}");
    root.must("test \"$(stat -c '%U %a' /var/lib/ntpd-rs)\" = 'ntpd-rs 700'");
    root.must(
        "test -s /usr/share/man/man8/ntp-daemon.8.gz -a -s /usr/share/man/man5/ntp.toml.5.gz",
    );

    // Started without capabilities, the daemon reports the missing one.
    let (_, output) = root.sh("setpriv --reuid ntpd-rs --regid ntpd-rs --clear-groups ntp-daemon");
    assert!(
        output.contains("the process lacks CAP_SYS_TIME"),
        "{output}"
    );

    // A change to the configuration survives an upgrade and a removal.
    root.must(
        "echo '# mine' >> /etc/ntpd-rs/ntp.toml; apt-get install -qy --reinstall /ntpd-rs.deb",
    );
    root.must("grep -q '# mine' /etc/ntpd-rs/ntp.toml; apt-get remove -qy ntpd-rs");
    root.must("grep -q '# mine' /etc/ntpd-rs/ntp.toml; test ! -e /usr/bin/ntp-daemon");

    // The packages conflict with each other, in either order.
    root.must("apt-get install -qy /ntpd-rs.deb");
    let output = root.must("apt-get install -qy chrony");
    assert!(output.contains("Removing ntpd-rs"), "{output}");
    let output = root.must("apt-get install -qy /ntpd-rs.deb");
    assert!(output.contains("Removing chrony"), "{output}");
    root.must("grep -q '# mine' /etc/ntpd-rs/ntp.toml");

    root.must("apt-get purge -qy ntpd-rs");
    let left = root.must("find / -xdev -name '*ntpd-rs*' ! -path /ntpd-rs.deb ! -path '/var/log/*' ! -path '/proc/*'");
    assert_eq!(left, "", "files are left");
    let (user_is_left, _) = root.sh("getent passwd ntpd-rs ntpd-rs-observe");
    assert!(!user_is_left);
}

/// OpenRC, cloud-init and firewalld of Debian, with the files that the package has for them.
fn the_files_for_other_programs_work_with_them() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let root = Root::make(directory.path(), "adduser,init-system-helpers");
    let package = debian::package("deb");
    std::fs::copy(package, directory.path().join("ntpd-rs.deb")).expect("the package is copied");
    let script = include_str!("foreign_programs.sh");
    std::fs::write(directory.path().join("script"), script).expect("it is written");
    let programs = "openrc cloud-init firewalld netbase procps";
    root.must(&format!(
        "apt-get update -q; apt-get install -qy --no-install-recommends {programs} /ntpd-rs.deb"
    ));
    let mut inside = Command::new("unshare");
    inside.args(["--mount", "--net", "--pid", "--fork", "--kill-child"]);
    inside.arg("chroot").arg(directory.path());
    inside.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    let output = run(inside.args(["sh", "/script"]));
    for program in ["firewalld", "cloud-init", "OpenRC"] {
        assert!(output.contains(&format!("{program} works")), "{output}");
    }
}

/// With Debian's rpm, whose database does not know Debian's packages.
fn the_rpm_package_installs_upgrades_and_leaves_nothing() {
    if Command::new("rpm").arg("--version").output().is_err() {
        return harness::skip("rpm");
    }
    let package = debian::package("rpm");
    let required = run(Command::new("rpm")
        .args(["-q", "--requires", "-p"])
        .arg(&package));
    let paths: Vec<_> = required.lines().filter(|it| it.starts_with('/')).collect();
    assert!(paths.iter().all(|it| *it == "/bin/sh"), "{required}");

    let directory = tempfile::tempdir().expect("a temporary directory");
    let root = Root::make(directory.path(), "passwd,systemd");
    let rpm = |arguments: &str| {
        let mut command = Command::new("rpm");
        command.args(["--nodeps", "--root"]).arg(directory.path());
        command.args(arguments.split(' '));
        if !arguments.starts_with("-e") {
            command.arg(&package);
        }
        run(&mut command)
    };
    root.must("echo 'server ntp.example.org' > /etc/chrony.conf");
    let output = rpm("-i");
    let offer = "ntp-ctl migrate --write /etc/chrony.conf";
    assert!(output.contains(offer), "{output}");
    root.must("ntp-ctl validate; getent passwd ntpd-rs ntpd-rs-observe");
    root.must("systemctl is-enabled ntpd-rs.service ntpd-rs-networkd.path");
    root.must("! systemctl is-enabled ntpd-rs-metrics.service");

    root.must("systemctl disable ntpd-rs-networkd.path; echo '# mine' >> /etc/ntpd-rs/ntp.toml");
    let output = rpm("-U --force");
    assert!(!output.contains(offer), "{output}");
    root.must(
        "! systemctl is-enabled ntpd-rs-networkd.path; grep -q '# mine' /etc/ntpd-rs/ntp.toml",
    );

    rpm("-e ntpd-rs");
    root.must("mv /etc/ntpd-rs/ntp.toml.rpmsave /tmp; rmdir /etc/ntpd-rs");
    let left = root.must("find / -xdev -name '*ntpd-rs*' ! -path '/proc/*'");
    assert_eq!(left, "", "files are left");
}
