//! Time servers of a provider that is reached through PPP: pppd of Debian with its own scripts, and
//! the script of the package among them.

use ntp_e2e::harness;
use ntp_e2e::vm::{self, Guest};

use super::{LIMIT, NOON, NOON_DATE, assert_settled};

/// No sources but those that pppd brings.
const CONFIG: &str = "[observability]\nlog-level = \"debug\"\n[sandbox]\nuser = \"root\"\n\
                      [synchronization]\nminimum-agreeing-sources = 1\n";

/// What the administrator writes for `pon provider`. The provider is a process in a namespace.
const PROVIDER: &str = "
pty \"nsenter -n -t $(cat /run/namespace) /usr/sbin/pppd call far\"
noauth
local
persist
maxfail 0
holdoff 3
set NTP_SERVERS=\"10.9.0.2 10.9.0.3\"
";

/// The pppd of the provider. It runs the scripts of this machine, for another interface.
const FAR: &str = "
notty
noauth
local
unit 9
10.9.0.2:10.9.0.1
+ipv6
ipv6 ::2,::1
";

/// A `pty` of the provider that inserts what is written to a pipe into what the provider sends.
const INSERTER: &str = "#!/bin/sh
cat /run/inserted &
exec nsenter -n -t $(cat /run/namespace) /usr/sbin/pppd call far
";

/// Frames (RFC 1662, all control characters escaped) with which the provider ends one protocol:
/// Protocol-Reject (RFC 1661, section 5.7) of IPCP (0x8021) and of IPV6CP (0x8057).
const REJECTIONS: [(&str, &[u8]); 2] = [
    ("/run/no-ipv4", b"~\xff}#\xc0!}(M} }&\x80!}<1~"),
    ("/run/no-ipv6", b"~\xff}#\xc0!}(M} }&\x80W\xad'~"),
];

/// The machine as Debian and its package ppp set it up, the namespace of the provider with a time
/// server, and commands: `await SECONDS COMMAND...` repeats a command until it succeeds, `took NAME
/// COMMAND...` reports how long that takes.
const SETTING: &str = r#"
mkdir -p /run/ntpd-rs /run/lock /var/log /dev/pts
mkfifo /run/inserted
mount -t devpts none /dev/pts
ln -s /run /run/lock /var/
syslogd
# The scripts of the package write there if the file exists.
: > /var/log/ppp-ipupdown.log
ln -sf /usr/bin/dash /bin/sh
ln -s /bin/basename /programs/ntp-ctl /usr/bin/
ln -s /etc/ntpd-rs/ntp.toml /etc/ntp.toml
unshare -n sleep 100000 &
FAR=$!
echo $FAR > /run/namespace
sleep 1
on $FAR /programs/true-clock $TRUTH serve --listen [::]:123 &

await() {
    [ -z "$FAILED" ] || return
    local turns=$(($1 * 5))
    shift
    until "$@" > /dev/null 2>&1; do
        if [ "$turns" = 0 ]; then
            echo "@missing seconds=0 text=$(echo "$*" | tr ' ' _)"
            FAILED=1
            cat /var/log/*
            ip address
            ntp-ctl sources
            return
        fi
        turns=$((turns - 1))
        sleep 0.2
    done
}
uptime_seconds() { cut -d ' ' -f 1 /proc/uptime; }
took() {
    local name=$1 from=$(uptime_seconds)
    shift
    await 30 "$@"
    echo "@took name=$name seconds=$(echo "$(uptime_seconds) $from" | awk '{ print $1 - $2 }')"
}
is_up() { ip address show dev ppp0 | grep -qF "$1"; }
is_down() { ! ip address show dev ppp0 | grep -qF peer; }
uses() { ntp-ctl sources --json | grep -qF "\"$1:123\""; }
# All sources are of the link. A failure of ntp-ctl prints something else.
uses_none() { lists && [ "$(ntp-ctl sources --json)" = "[]" ]; }
# lists FILE...: whether these are the lists of time servers.
lists() { [ "$(ls /run/ntpd-rs/sources.d | xargs)" = "$*" ]; }
changes() { echo "@changes name=$1 added=$(count_events source_added) removed=$(count_events source_removed)"; }
has_left() { ! [ -e "/proc/$1" ]; }
hang_up() {
    local process=$(head -n 1 /run/ppp0.pid)
    kill $process
    await 30 is_down
    await 30 has_left $process
}
# Without a reader it would wait forever.
insert() { [ -n "$FAILED" ] || cat "$1" > /run/inserted; }
dial_with_both_protocols() {
    stop_daemon
    start_daemon
    await 10 ntp-ctl activity
    /usr/bin/pon provider +ipv6 ipv6 ::1,::2 pty /etc/ppp/inserter set 'NTP_SERVERS=10.9.0.2 fe80::2%ppp0'
    await 30 lists dhcp-ppp0-ipv6.toml dhcp-ppp0.toml
    await 5 uses 10.9.0.2
    await 5 uses '[fe80::2%ppp0]'
}
"#;

/// The link before and after the start of the daemon, ended by this machine and by the provider,
/// redialled, and with IPv6 alone; one of two protocols ended by the provider.
const COURSE: &str = r#"
start_daemon
await 10 ntp-ctl activity
/usr/bin/pon provider
await 30 is_up 'peer 10.9.0.2'
took the_first uses 10.9.0.2
took the_second uses 10.9.0.3
await_event 120 synchronized
compare through_the_link
hang_up
took none_after_a_hang_up uses_none
stop_daemon
/usr/bin/pon provider
await 30 is_up 'peer 10.9.0.2'
await 5 test -e /run/ntpd-rs/sources.d/dhcp-ppp0.toml
start_daemon
took one_at_the_start uses 10.9.0.2
kill -KILL $(head -n 1 /run/ppp9.pid)
await 30 is_down
took none_after_the_provider_left uses_none
await 30 is_up 'peer 10.9.0.2'
took one_after_redialling uses 10.9.0.2
hang_up
/usr/bin/pon provider noip +ipv6 ipv6 ::1,::2 set NTP_SERVERS=fe80::2%ppp0
await 30 is_up 'inet6 fe80::1'
took one_with_ipv6 uses '[fe80::2%ppp0]'
await_line 60 'event=measured source=.fe80::2%ppp0.:123 .*outcome=used'
hang_up
took none_after_ipv6 uses_none
for ended in ipv4 ipv6; do
    case $ended in ipv4) remaining=dhcp-ppp0-ipv6.toml ;; ipv6) remaining=dhcp-ppp0.toml ;; esac
    dial_with_both_protocols
    insert /run/no-$ended
    took one_list_without_$ended lists $remaining
    await_line 5 'event=control_call method=ReloadDhcpSources' 3
    changes without_$ended
    hang_up
    took none_after_losing_$ended uses_none
done
"#;

pub(crate) fn time_servers_of_pppd_come_and_go_with_the_link() {
    if let Some(lacking) = vm::ppp_missing() {
        return harness::skip(&lacking);
    }
    let mut guest = Guest::new("ppp", NOON_DATE)
        .with_ppp()
        .file("/etc/ntpd-rs/ntp.toml", CONFIG)
        .file("/etc/ppp/peers/provider", PROVIDER)
        .file("/etc/ppp/peers/far", FAR)
        .executable("/etc/ppp/inserter", INSERTER.as_bytes())
        .script(&format!("TRUTH='--start {NOON} --rate 10'"))
        .script(SETTING)
        .script(COURSE);
    for event in ["ip-up", "ip-down", "ipv6-up", "ipv6-down"] {
        let place = format!("/etc/ppp/{event}.d/ntpd-rs");
        guest = guest.executable(&place, include_bytes!("../../../../pkg/dhcp/ppp"));
    }
    for (place, frame) in REJECTIONS {
        guest = guest.binary_file(place, frame);
    }
    let report = guest.run(LIMIT);
    let durations: Vec<_> = report.all("took").collect();
    assert_eq!(durations.len(), 12);
    for took in durations {
        assert!(took.number("seconds") < 5.0, "{took:?}");
    }
    // The servers of a protocol that ended are those of the other one: the same two sources.
    for name in ["without_ipv4", "without_ipv6"] {
        let changes = report.named("changes", name);
        let counts = ["added", "removed"].map(|it| changes.number(it));
        assert_eq!(counts, [2.0, 0.0], "{changes:?}");
    }
    assert_settled(&report, report.named("compare", "through_the_link"));
}
