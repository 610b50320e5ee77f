//! What goes wrong on a real machine: other programs, crashes, a network that is gone.

use super::{LIMIT, NOON, NOON_DATE, assert_close, assert_reliable, config, guest, steps};

pub(crate) fn a_step_beyond_the_panic_threshold_is_refused() {
    // More than a day back at the start, and more than 1000 s once the clock is followed.
    let report = guest("panic at the start", "2026-07-15T12:00:00", NOON, "")
        .script(
            "serve_truth
look before
start_daemon
wait $DAEMON
echo \"@exit code=$?\"
look after
kernel after
said 'ERROR'
truth set 0
start_daemon
await 60 'synchronised at stratum'
sleep 120
truth set 2000
wait $DAEMON
echo \"@exit code=$?\"
look again
said 'ERROR'",
        )
        .run(LIMIT);
    let moved = report.named("look", "after").number("offset")
        - report.named("look", "before").number("offset");
    assert!(moved.abs() < 0.001, "the clock moved by {moved} s");
    assert!((report.named("look", "again").number("offset") - 2000.0).abs() < 0.1);
    let codes: Vec<_> = report.all("exit").map(|end| end.value("code")).collect();
    assert_eq!(codes, ["70", "70"]);
    let told = report.said("ERROR");
    assert!(told[0].contains("startup-step-panic-threshold"), "{told:?}");
    assert!(told[1].contains("single-step-panic-threshold"), "{told:?}");
    // Nobody may rely on the clock that was left like this.
    let kernel = report.named("kernel", "after");
    assert_eq!(kernel.value("status"), "64", "{kernel:?}");
    assert_eq!(report.named("look", "again").value("synchronized"), "false");
}

pub(crate) fn a_clock_that_another_program_sets_is_set_right() {
    let report = guest("another program", NOON_DATE, NOON, "--rate 10")
        .script(
            "serve_truth
start_daemon
await 60 'synchronised at stratum'
watch settling 300 1
truth set 30
await 60 'someone else' 1
sleep 20
look forward
truth set -45.5
await 60 'someone else' 2
sleep 20
look backward
truth set 0.06
await 60 'someone else' 3
sleep 20
look little
watch settled 600 1
said 'someone else'
said 'clock stepped by'",
        )
        .run(LIMIT);
    for name in ["forward", "backward", "little"] {
        assert_close(report.named("look", name), 0.001);
    }
    assert_reliable(report.named("watch", "settled"));
    assert_eq!(report.said("someone else").len(), 3);
    assert_eq!(steps(&report), 4, "{:?}", report.said("stepped"));
}

pub(crate) fn the_bound_is_honest_through_an_hour_without_network() {
    // Truth turns by 10 ppm while nobody can tell: a change of temperature, within what the bound allows for.
    let report = guest(
        "an hour alone",
        NOON_DATE,
        NOON,
        "--rate 25 --turn-at 1800 --turn-by 10",
    )
    .script(
        "serve_truth
start_daemon
await 60 'synchronised at stratum'
watch settled 1200 1
look before
ip link set lo down
watch alone 3600 1
look alone
ip link set lo up
await 60 'answers' 2
sleep 60
look back
watch again 600 1
said 'clock stepped by'
said 'cannot ask'
said 'does not answer'",
    )
    .run(LIMIT);
    let (before, alone) = (
        report.named("look", "before"),
        report.named("look", "alone"),
    );
    assert_reliable(report.named("watch", "settled"));
    assert_reliable(report.named("watch", "alone"));
    assert_reliable(report.named("watch", "again"));
    let growth = alone.number("maxerror") - before.number("maxerror");
    // 15 ppm for an hour are 54 ms; the kernel adds at most 8 ms of its own between two refreshments.
    assert!(
        (0.045..0.08).contains(&growth),
        "the bound grew by {growth} s"
    );
    assert_close(report.named("look", "back"), 0.005);
    assert!(!report.said("cannot ask").is_empty() || !report.said("does not answer").is_empty());
    assert_eq!(steps(&report), 1, "{:?}", report.said("stepped"));
}

pub(crate) fn a_daemon_killed_in_mid_slew_leaves_a_clock_that_the_next_one_can_use() {
    let forbidden = "[synchronization.algorithm]\nstep-threshold = 1000";
    let report = guest("killed in mid-slew", NOON_DATE, NOON, "--rate 20")
        .file("/etc/ntp.toml", &config(forbidden))
        .script(
            "serve_truth
truth set 0
start_daemon
await 60 'synchronised at stratum'
sleep 900
stop_daemon
truth set -0.3
start_daemon
await 60 'synchronised at stratum'
sleep 100
look slewing
kill -KILL $DAEMON
wait $DAEMON
watch alone 60 0.5
look left
start_daemon
await 60 'synchronised at stratum'
look early
watch recovering 900 0.5
look settled
said 'clock stepped by'
said 'restarted'
cat /var/lib/ntpd-rs/*",
        )
        .run(LIMIT);
    // It was caught running 500 ppm fast.
    let left = report.named("look", "left").number("frequency");
    assert!(left > 400.0, "{left} ppm");
    assert_eq!(
        report.named("watch", "alone").value("outside_maxerror"),
        "0"
    );
    assert_reliable(report.named("watch", "recovering"));
    // The slew goes on as it was meant to, and the frequency is the one that was learned, not the one that was left.
    let settled = report.named("look", "settled");
    assert_close(settled, 0.000_1);
    assert!(
        (settled.number("frequency") - 20.0).abs() < 1.0,
        "{settled:?}"
    );
    assert!(report.said("restarted").is_empty());
}

pub(crate) fn client_and_server_share_one_kernel() {
    let server = "[[server]]\nlisten = \"[::]:123\"\nworkers = 2";
    let report = guest("client and server", NOON_DATE, NOON, "--rate 15")
        .file("/etc/ntp.toml", &config(server))
        .script(
            "start_daemon
await 60 'serving time'
ask early 127.0.0.1:123
serve_truth
await 60 'synchronised at stratum'
ask first 127.0.0.1:123
sleep 600
ask settled 127.0.0.1:123
echo 'server 127.0.0.1 iburst' > /etc/chrony.conf
echo 'cmdport 0' >> /etc/chrony.conf
chronyd -Q -t 60 -u root -f /etc/chrony.conf 2>&1 | grep -e 'wrong by' | sed 's/^/@chronyd /'
truth set 2
await 60 'someone else'
ask disturbed 127.0.0.1:123
await 60 'clock stepped by' 2
sleep 5
ask again 127.0.0.1:123
said 'clock stepped by'",
        )
        .run(LIMIT);
    assert_eq!(report.named("ask", "early").value("leap"), "3");
    for name in ["first", "settled", "again"] {
        let answer = report.named("ask", name);
        assert_eq!(
            (answer.value("leap"), answer.value("stratum")),
            ("0", "2"),
            "{answer:?}"
        );
        assert!(answer.number("offset").abs() < 0.001, "{answer:?}");
    }
    assert_eq!(report.all("chronyd").count(), 1);
    // What was served between the stranger's step and its discovery cannot be helped; afterwards nobody is misled.
    let disturbed = report.named("ask", "disturbed");
    assert!(
        disturbed.number("offset").abs() < 0.001
            || disturbed.value("leap") == "3"
            || disturbed.number("dispersion") > 1.9,
        "{disturbed:?}"
    );
    assert_eq!(steps(&report), 2);
}
