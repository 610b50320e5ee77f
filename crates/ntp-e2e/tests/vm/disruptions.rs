//! Suspend, migration and loss of the network; and chronyd as neighbour.

use std::time::Duration;

use ntp_e2e::log_event::LogEvent;
use ntp_e2e::vm::{Guest, Lan, Report};
use ntp_e2e::wait;

use super::{
    LIMIT, NOON, NOON_DATE, assert_close, assert_reliable, assert_settled, config, guest, steps,
};

/// Number of steps forward by more than a second. Right after a start or a resume the clock may be
/// stepped again by some milliseconds: these scenarios run by the host's clock, so the first delays
/// that the guest measures, and with them its first errors, grow with the load of the host.
fn forward_steps(report: &Report) -> usize {
    let stepped = report.events("clock_stepped");
    let step = |event: &LogEvent| event.field("step").parse::<f64>().expect("seconds");
    stepped.iter().filter(|event| step(event) > 1.0).count()
}

pub(crate) fn a_resumed_machine_serves_no_time_until_corrected() {
    let server = "[[server]]\nlisten = \"[::]:123\"\nworkers = 1";
    let mut machine = guest("suspend", NOON_DATE, NOON, "--rate 10")
        .file("/etc/ntp.toml", &config(server))
        .script(&format!(
            "serve_truth
start_daemon
await_event 60 synchronized
sleep 40
compare before
kill $TRUTH_PID
STEPS=$(count_events clock_stepped)
echo @asleep
echo mem > /sys/power/state
await_event 60 resumed
query resumed 127.0.0.1:123
TRUTH='--start {} --rate 10'
compare resumed
serve_truth
await_event 120 clock_stepped $((STEPS + 1))
sleep 30
compare after
query after 127.0.0.1:123
watch settled 60 1
log_events resumed
log_events clock_disturbed
log_events clock_stepped",
            // The oscillator of true time stood still in suspend. Restarting true time at this
            // value makes the RTC wrong.
            NOON + 40
        ))
        .start();
    machine.process.wait_for_line(LIMIT, "@asleep");
    wait::throughout(Duration::from_secs(20), || {});
    machine.wake();
    let report = machine.finish(LIMIT);
    assert_close(report.named("compare", "before"), 0.005);
    assert_eq!(report.events("resumed").len(), 1);
    // The clock was set from the RTC, which counts whole seconds: such time must not be served.
    let resumed = report.named("query", "resumed");
    assert_eq!(resumed.value("leap"), "3", "{resumed:?}");
    assert_close(report.named("compare", "after"), 0.005);
    let after = report.named("query", "after");
    assert_eq!(
        (after.value("leap"), after.value("stratum")),
        ("0", "2"),
        "{after:?}"
    );
    assert_reliable(report.named("watch", "settled"));
    // The step at boot goes back: true time starts after the RTC.
    assert_eq!(forward_steps(&report), 1);
}

pub(crate) fn a_returning_interface_is_used_at_once() {
    let report = Guest::new("interfaces", NOON_DATE)
        .file(
            "/etc/ntp.toml",
            &config("").replace("127.0.0.1:1123", "10.8.0.1:1123"),
        )
        .script(&format!(
            "TRUTH='--start {NOON} --rate 10'
ip link add near type veth peer name far
unshare -n sleep 100000 &
sleep 1
ip link set far netns $!
inside() {{ nsenter -n -t $NS /bin/busybox \"$@\"; }}
NS=$!
inside ip addr add 10.8.0.1/24 dev far
inside ip link set far up
inside ip link set lo up
ip address add 10.8.0.2/24 dev near
nsenter -n -t $NS /programs/true-clock $TRUTH serve --listen 0.0.0.0:1123 &
start_daemon
await_event 5 daemon_starting
sleep 300
compare dark
ip link set near up
await_event 30 synchronized
compare found
watch settled 600 1
ip link set near down
watch alone 1200 1
echo \"@measured down=$(count_events measured)\"
ip link set near up
sleep 8
echo \"@measured up=$(count_events measured)\"
ip address del 10.8.0.2/24 dev near
sleep 100
echo \"@measured without=$(count_events measured)\"
ip address add 10.8.0.7/24 dev near
sleep 8
echo \"@measured another=$(count_events measured)\"
watch later 300 1
compare last
log_events clock_stepped"
        ))
        .run(LIMIT);
    // The interface is used at once: `await_event` had a limit of 30 s.
    assert_close(report.named("compare", "found"), 0.01);
    for name in ["settled", "alone", "later"] {
        assert_reliable(report.named("watch", name));
    }
    let measured = |name: &str| {
        let all = report.all("measured");
        let mut counts = all.filter(|record| record.text().starts_with(name));
        counts.next().expect("a count").number(name)
    };
    // Regular polls of a settled source are over a minute apart; the network change caused these.
    assert!(measured("up") > measured("down"));
    assert!(measured("another") > measured("without"));
    assert_settled(&report, report.named("compare", "last"));
    assert_eq!(steps(&report), 1);
}

pub(crate) fn a_paused_machine_resynchronises_among_chronyd_neighbours() {
    let lan = Lan::new();
    let chronyd =
        "printf 'allow\\nlocal stratum 5\\ncmdport 0\\nbindcmdaddress /\\n' > /etc/server.conf
chronyd -d -x -u root -f /etc/server.conf > /run/chronyd.log 2>&1 &
sleep 100000";
    let server = lan.start(
        Guest::new("chronyd, not disciplined", NOON_DATE).script(chronyd),
        1,
    );
    let ours = config("[[server]]\nlisten = \"[::]:123\"\nworkers = 1")
        .replace("127.0.0.1:1123", "10.9.0.1");
    let mut client = lan.start(
        Guest::new("our daemon", "2026-06-15T11:00:00")
            .file("/etc/ntp.toml", &ours)
            .script(
                "start_daemon
await_event 120 synchronized
sleep 20
measure_with_chronyd settled 10.9.0.1
STEPS=$(count_events clock_stepped)
echo @ready
# Nothing but the sources shows the pause, so they must hold their time for 300 s first.
await_event 1000 clock_stepped $((STEPS + 1))
sleep 10
measure_with_chronyd again 10.9.0.1
echo @back
log_events clock_stepped
# Serves the neighbour until its measurement is done.
sleep 60",
            ),
        2,
    );
    let mut neighbour = lan.start(
        Guest::new("chronyd, following us", "2026-06-15T10:00:00").script(
            "printf 'server 10.9.0.2 iburst minpoll 1 maxpoll 2\\nmakestep 0.1 3\\ncmdport 0\\nbindcmdaddress /\\ndriftfile /run/drift\\n' > /etc/chrony.conf.d
chronyd -d -u root -f /etc/chrony.conf.d > /run/daemon.log 2>&1 &
await_line 200 'Selected source 10.9.0.2'
sleep 15
measure_with_chronyd followed 10.9.0.1",
        ),
        3,
    );
    client.process.wait_for_line(LIMIT, "@ready");
    let followed = neighbour.finish(LIMIT);
    client.pause();
    // Longer than any frequency error could explain.
    wait::throughout(Duration::from_secs(10), || {});
    client.resume();
    let report = client.finish(LIMIT);
    for (report, name) in [
        (&report, "settled"),
        (&report, "again"),
        (&followed, "followed"),
    ] {
        let measured = report.named("chronyd", name);
        assert!(measured.number("behind").abs() < 0.01, "{measured:?}");
    }
    assert_eq!(forward_steps(&report), 2);
    drop(server);
}
