//! The Debian package: hardening of its units, installation, upgrade and removal.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};

use ntp_e2e::binaries;
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
        ],
    )
}

fn workspace() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.join("../..")
        .canonicalize()
        .expect("the workspace exists")
}

fn text(output: &Output) -> String {
    let both = [output.stdout.as_slice(), &output.stderr].concat();
    String::from_utf8_lossy(&both).into_owned()
}

fn systemd_analyze_rates_the_units_as_hardened() {
    for unit in [
        "ntpd-rs.service",
        "ntpd-rs-metrics.service",
        "ntpd-rs-networkd.service",
    ] {
        let output = Command::new("systemd-analyze")
            .args(["security", "--offline=true", "--no-pager"])
            .arg(workspace().join("pkg/systemd").join(unit))
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
    let package = workspace().join("pkg");
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
        run(Command::new(workspace().join("pkg/acme/ntpd-rs-deploy"))
            .env("RENEWED_LINEAGE", &lineage)
            .env("RENEWED_DOMAINS", "ntp.example www.example")
            .env("NTPD_RS_DOMAIN", domain)
            .env("NTPD_RS_TLS", &installed)
            .env("NTPD_RS_GROUP", "nogroup"));
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

/// A Debian root directory, with /proc mounted.
struct Root(PathBuf);

impl Root {
    fn make(directory: &Path) -> Self {
        run(Command::new("debootstrap")
            // As few packages as possible, to test our dependencies.
            .args([
                "--variant=minbase",
                "--include=adduser,init-system-helpers,systemd",
                "bookworm",
            ])
            .arg(directory)
            .args(mirror()));
        run(Command::new("mount")
            .args(["-t", "proc", "proc"])
            .arg(directory.join("proc")));
        Self(directory.to_path_buf())
    }

    /// Runs a shell script inside. Returns whether it succeeded, and its output.
    fn sh(&self, script: &str) -> (bool, String) {
        let output = Command::new("chroot")
            .arg(&self.0)
            .args(["/bin/sh", "-ec", script])
            .env("DEBIAN_FRONTEND", "noninteractive")
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .output()
            .expect("chroot starts");
        (output.status.success(), text(&output))
    }

    /// Runs a shell script that must succeed. Returns its output.
    fn must(&self, script: &str) -> String {
        let (succeeded, text) = self.sh(script);
        assert!(succeeded, "{script}\n{text}");
        text
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.join("proc")).status();
    }
}

/// Debian mirror of this machine, if it can be determined.
fn mirror() -> Option<String> {
    let sources = std::fs::read_dir("/etc/apt/sources.list.d").ok()?;
    let texts = sources
        .flatten()
        .filter_map(|entry| std::fs::read_to_string(entry.path()).ok());
    let debian = texts.filter(|text| text.contains("bookworm"));
    debian
        .flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>())
        .find_map(|line| line.strip_prefix("URIs:").map(|uri| uri.trim().to_owned()))
}

/// Runs a command that must succeed, and returns its output.
fn run(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = text(&output);
    assert!(output.status.success(), "{command:?}\n{text}");
    text
}

/// The packages run the script at their first installation.
fn a_migration_is_offered_where_there_is_something_to_migrate() {
    let script = workspace().join("pkg/migrate/offer-migration");
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
    run(binaries::cargo().args(["xtask", "dist", "--deb", "--profile", "dev"]));
    let directory = tempfile::tempdir().expect("a temporary directory");
    let root = Root::make(directory.path());
    let staged = std::fs::read_dir(workspace().join("target/dist")).expect("packages are staged");
    let package = staged
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .expect("there is a package");
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
