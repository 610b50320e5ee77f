//! Faults of a real machine: other programs that set the clock, crashes, loss of the network.

use super::{LIMIT, NOON, NOON_DATE, assert_close, assert_reliable, config, guest, steps};

pub(crate) fn a_step_beyond_the_panic_threshold_is_refused() {
    // More than a day back at the start, and more than 1000 s once synchronised.
    let report = guest("panic at the start", "2026-07-15T12:00:00", NOON, "")
        .script(
            "serve_truth
compare before
start_daemon
await_event 60 step_refused
sleep 20
compare after
kernel after
stop_daemon
log_events step_refused
truth set 0
echo 'on-panic = \"exit\"' >> /etc/ntp.toml
start_daemon
await_event 60 synchronized
sleep 120
truth set 2000
wait $DAEMON
echo \"@exit code=$?\"
compare again
log_events step_refused",
        )
        .run(LIMIT);
    let moved = report.named("compare", "after").number("offset")
        - report.named("compare", "before").number("offset");
    assert!(moved.abs() < 0.001, "the clock moved by {moved} s");
    assert!((report.named("compare", "again").number("offset") - 2000.0).abs() < 0.1);
    let codes: Vec<_> = report.all("exit").map(|end| end.value("code")).collect();
    // The first one was stopped, the second one ended itself.
    assert_eq!(codes, ["0", "70"]);
    let refused = report.events("step_refused");
    let thresholds: Vec<_> = refused
        .iter()
        .map(|event| event.field("threshold"))
        .collect();
    assert_eq!(
        thresholds,
        [
            "startup-step-panic-threshold",
            "single-step-panic-threshold"
        ]
    );
    assert!(refused.iter().all(|event| event.level() == "ERROR"));
    // The kernel's clock is marked unsynchronised (STA_UNSYNC); STA_NANO is a mode and not an error.
    let kernel = report.named("kernel", "after");
    assert_eq!(
        kernel.value("status"),
        (8192 + 64).to_string(),
        "{kernel:?}"
    );
    assert_eq!(
        report.named("compare", "again").value("synchronized"),
        "false"
    );
}

pub(crate) fn a_clock_set_by_another_program_is_corrected() {
    let report = guest("another program", NOON_DATE, NOON, "--rate 10")
        .script(
            "serve_truth
start_daemon
await_event 60 synchronized
watch settling 300 1
truth set 30
await_event 2 clock_disturbed 1
sleep 20
compare forward
truth set -45.5
await_event 2 clock_disturbed 2
sleep 20
compare backward
truth set 0.06
await_event 2 clock_disturbed 3
sleep 20
compare little
watch settled 600 1
log_events clock_disturbed
log_events clock_stepped",
        )
        .run(LIMIT);
    for name in ["forward", "backward", "little"] {
        assert_close(report.named("compare", name), 0.001);
    }
    assert_reliable(report.named("watch", "settled"));
    assert_eq!(report.events("clock_disturbed").len(), 3);
    assert_eq!(steps(&report), 4, "{:?}", report.events("clock_stepped"));
}

pub(crate) fn the_bound_holds_through_an_hour_of_holdover() {
    // The frequency changes by 10 ppm during holdover, as by temperature; the bound allows for it.
    let report = guest(
        "an hour alone",
        NOON_DATE,
        NOON,
        "--rate 25 --rate-change-at 1800 --rate-change 10",
    )
    .script(
        "serve_truth
start_daemon
await_event 60 synchronized
watch settled 1200 1
compare before
ip link set lo down
watch alone 3600 1
compare alone
ip link set lo up
await_event 60 source_reachable 2
sleep 60
compare back
watch again 600 1
log_events clock_stepped
log_events send_failed
log_events source_unreachable",
    )
    .run(LIMIT);
    let (before, alone) = (
        report.named("compare", "before"),
        report.named("compare", "alone"),
    );
    assert_reliable(report.named("watch", "settled"));
    assert_reliable(report.named("watch", "alone"));
    assert_reliable(report.named("watch", "again"));
    let growth = alone.number("maxerror") - before.number("maxerror");
    // 15 ppm for an hour are 54 ms; the kernel adds at most 8 ms between two updates.
    assert!(
        (0.045..0.08).contains(&growth),
        "the bound grew by {growth} s"
    );
    assert_close(report.named("compare", "back"), 0.005);
    assert!(
        !report.events("send_failed").is_empty() || !report.events("source_unreachable").is_empty()
    );
    assert_eq!(steps(&report), 1, "{:?}", report.events("clock_stepped"));
}

pub(crate) fn a_daemon_killed_during_a_slew_leaves_a_usable_clock() {
    let forbidden = "[synchronization.algorithm]\nstep-threshold = 1000";
    let report = guest("killed in mid-slew", NOON_DATE, NOON, "--rate 20")
        .file("/etc/ntp.toml", &config(forbidden))
        .script(
            "serve_truth
truth set 0
start_daemon
await_event 60 synchronized
sleep 900
stop_daemon
truth set -0.3
start_daemon
await_event 60 synchronized
sleep 100
compare slewing
kill -KILL $DAEMON
wait $DAEMON
watch alone 60 0.5
compare left
start_daemon
await_event 60 synchronized
compare early
watch recovering 900 0.5
compare settled
log_events clock_stepped
log_events discipline_restarted
cat /var/lib/ntpd-rs/*",
        )
        .run(LIMIT);
    // It was killed while the clock ran 500 ppm fast.
    let left = report.named("compare", "left").number("frequency");
    assert!(left > 400.0, "{left} ppm");
    assert_eq!(
        report.named("watch", "alone").value("outside_maxerror"),
        "0"
    );
    assert_reliable(report.named("watch", "recovering"));
    // The slew continues, and the frequency is the saved one, not that of the interrupted slew.
    let settled = report.named("compare", "settled");
    assert_close(settled, 0.000_1);
    assert!(
        (settled.number("frequency") - 20.0).abs() < 1.0,
        "{settled:?}"
    );
    assert!(report.events("discipline_restarted").is_empty());
}

pub(crate) fn client_and_server_share_one_kernel() {
    let server = "[[server]]\nlisten = \"[::]:123\"\nworkers = 2";
    let report = guest("client and server", NOON_DATE, NOON, "--rate 15")
        .file("/etc/ntp.toml", &config(server))
        .script(
            "start_daemon
await_event 60 server_started
query early 127.0.0.1:123
serve_truth
await_event 60 synchronized
query first 127.0.0.1:123
sleep 600
query settled 127.0.0.1:123
echo 'server 127.0.0.1 iburst' > /etc/chrony.conf
echo 'cmdport 0' >> /etc/chrony.conf
chronyd -Q -t 60 -u root -f /etc/chrony.conf 2>&1 | grep -e 'wrong by' | sed 's/^/@chronyd /'
truth set 2
await_event 60 clock_disturbed
query disturbed 127.0.0.1:123
await_event 60 clock_stepped 2
sleep 5
query again 127.0.0.1:123
log_events clock_stepped",
        )
        .run(LIMIT);
    assert_eq!(report.named("query", "early").value("leap"), "3");
    for name in ["first", "settled", "again"] {
        let reply = report.named("query", name);
        assert_eq!(
            (reply.value("leap"), reply.value("stratum")),
            ("0", "2"),
            "{reply:?}"
        );
        assert!(reply.number("offset").abs() < 0.001, "{reply:?}");
    }
    assert_eq!(report.all("chronyd").count(), 1);
    // Wrong time between the foreign step and its detection is unavoidable, but not afterwards.
    let disturbed = report.named("query", "disturbed");
    assert!(
        disturbed.number("offset").abs() < 0.001
            || disturbed.value("leap") == "3"
            || disturbed.number("dispersion") > 1.9,
        "{disturbed:?}"
    );
    assert_eq!(steps(&report), 2);
}
