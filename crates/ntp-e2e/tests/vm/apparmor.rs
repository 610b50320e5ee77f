//! The AppArmor profile of the package, in force in a kernel that has AppArmor.

use std::path::Path;
use std::process::Command;

use ntp_e2e::vm::{Guest, Record};

use super::{LIMIT, NOON, NOON_DATE, assert_inside};

/// Everything that the daemon does by default and as a server, where the package puts it.
const CONFIG: &str = r#"
[observability]
log-level = "debug"
observation-path = "/run/ntpd-rs/observe"
[sandbox]
user = "root"
[[source]]
mode = "server"
address = "127.0.0.1:1123"
[[server]]
listen = "[::]:123"
workers = 1
[synchronization]
minimum-agreeing-sources = 1
"#;

pub(crate) fn the_daemon_keeps_the_clock_under_its_apparmor_profile() {
    let profile =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pkg/apparmor/usr.bin.ntp-daemon");
    let compiled = Command::new("apparmor_parser")
        .args(["--quiet", "--skip-kernel-load", "--skip-cache", "--stdout"])
        .arg(profile)
        .output()
        .expect("apparmor_parser starts");
    assert!(compiled.status.success(), "{compiled:?}");
    let report = Guest::new("apparmor", NOON_DATE)
        .binary_file("/policy", &compiled.stdout)
        .file("/etc/ntpd-rs/ntp.toml", CONFIG)
        // Of Debian; it puts OpenSSL into FIPS mode. Read by builds with the feature `openssl`.
        .file("/etc/ssl/openssl.cnf", ".include /etc/ssl/fipsmodule.cnf\n")
        .file("/etc/ssl/fipsmodule.cnf", "")
        .script(&format!(
            "report_lines() {{ tr ' ' _ | sed \"s/^/@$1 text=/\"; }}
mkdir -p /usr/bin /usr/lib/ssl /var/lib/ntpd-rs /run/ntpd-rs
ln -s /etc/ssl/openssl.cnf /usr/lib/ssl/
mount -t securityfs none /sys/kernel/security
cat /policy > /sys/kernel/security/apparmor/.load
cp /programs/ntp-daemon /usr/bin/
TRUTH='--start {} --rate 10'
serve_truth
: > /run/daemon.log
/usr/bin/ntp-daemon -c /etc/ntpd-rs/ntp.toml >> /run/daemon.log 2>&1 &
DAEMON=$!
await_event 60 synchronized
echo @confined profile=$(tr ' ' _ < /proc/$DAEMON/attr/current)
sleep 60
ntp-ctl -c /etc/ntpd-rs/ntp.toml servers > /dev/null
ntp-ctl -c /etc/ntpd-rs/ntp.toml source add 127.0.0.2:1123 | report_lines note
ntp-ctl -c /etc/ntpd-rs/ntp.toml config save | report_lines note
compare after
query after 127.0.0.1:123
log_events clock_stepped facility_missing
stop_daemon
echo @history files=$(ls /var/lib/ntpd-rs/history | wc -l)
dmesg | grep 'apparmor=\"DENIED\"' | report_lines denied",
            NOON - 400
        ))
        .start()
        .finish(LIMIT);
    let confined = report.all("confined").next().expect("a profile");
    assert_eq!(confined.value("profile"), "ntp-daemon_(enforce)");
    // With all capabilities of root, unlike in its unit, it tries to enlarge a receive buffer beyond
    // the limit of the kernel (SO_RCVBUFFORCE).
    let is_expected = |record: &Record| record.text().contains("capname=\"net_admin\"");
    let denied: Vec<_> = report.all("denied").filter(|it| !is_expected(it)).collect();
    assert!(denied.is_empty(), "{denied:#?}");
    assert_inside(report.named("compare", "after"));
    let after = report.named("query", "after");
    assert_eq!((after.value("leap"), after.value("stratum")), ("0", "2"));
    let history = report.all("history").next().expect("a history");
    assert_eq!(history.value("files"), "1");
}
