//! The AppArmor profile of the package, in force in a kernel that has AppArmor.

use std::path::Path;
use std::process::Command;

use ntp_e2e::vm::Guest;

use super::{LIMIT, NOON, NOON_DATE, assert_settled};

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
        .script(&format!(
            "mkdir -p /usr/bin /var/lib/ntpd-rs /run/ntpd-rs
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
ntp-ctl -c /etc/ntpd-rs/ntp.toml source add 127.0.0.2:1123 | sed 's/^/@note text=/; s/ /_/2g'
ntp-ctl -c /etc/ntpd-rs/ntp.toml config save | sed 's/^/@note text=/; s/ /_/2g'
compare after
query after 127.0.0.1:123
log_events clock_stepped facility_missing
stop_daemon
echo @history files=$(ls /var/lib/ntpd-rs/history | wc -l)
dmesg | grep 'apparmor=\"DENIED\"' | sed 's/^/@denied text=/; s/ /_/2g'",
            NOON - 400
        ))
        .start()
        .finish(LIMIT);
    let confined = report.all("confined").next().expect("a profile");
    assert_eq!(confined.value("profile"), "ntp-daemon_(enforce)");
    let denied: Vec<_> = report.all("denied").collect();
    assert!(denied.is_empty(), "{denied:#?}");
    assert_settled(&report, report.named("compare", "after"));
    let after = report.named("query", "after");
    assert_eq!((after.value("leap"), after.value("stratum")), ("0", "2"));
    let history = report.all("history").next().expect("a history");
    assert_eq!(history.value("files"), "1");
}
