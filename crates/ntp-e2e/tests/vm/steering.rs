//! Steps, slews and frequency corrections of a real kernel's clock, and the kernel's error figures.

use ntp_e2e::vm::Guest;

use super::{
    LIMIT, NOON, NOON_DATE, assert_close, assert_inside, assert_reliable, assert_settled, config,
    guest, steps,
};

pub(crate) fn a_date_wrong_by_years_is_stepped_at_boot() {
    let report = guest(
        "date wrong by years",
        "1999-12-31T23:59:00",
        NOON,
        "--rate 30",
    )
    .script(
        "serve_truth
compare before
start_daemon
await_event 60 synchronized
compare after
watch settled 600 1
compare last
log_events clock_stepped
stop_daemon
compare stopped",
    )
    .run(LIMIT);
    assert!(report.named("compare", "before").number("offset") < -8e8);
    assert_close(report.named("compare", "after"), 0.01);
    assert_reliable(report.named("watch", "settled"));
    assert_settled(&report, report.named("compare", "last"));
    assert_eq!(steps(&report), 1);
    let end = report.all("exit").next().expect("an end");
    assert_eq!(end.value("code"), "0");
    // After the daemon's exit the clock keeps the frequency correction, without a slew.
    let stopped = report.named("compare", "stopped").number("frequency");
    assert!((stopped - 30.0).abs() < 1.0, "{stopped} ppm");
}

pub(crate) fn a_frequency_error_of_500_ppm_is_corrected_in_both_directions() {
    for rate in [500.0, -500.0] {
        let report = guest(
            "oscillator 500 ppm off",
            NOON_DATE,
            NOON,
            &format!("--rate {rate}"),
        )
        .script(
            "serve_truth
start_daemon
await_event 60 synchronized
watch first 900 0.5
watch settled 600 0.5
compare last
kernel last
log_events clock_stepped
log_events discipline_restarted",
        )
        .run(LIMIT);
        assert_reliable(report.named("watch", "settled"));
        let first = report.named("watch", "first");
        for fault in ["unsynchronized", "outside_maxerror"] {
            assert_eq!(first.value(fault), "0", "{first:?}");
        }
        let last = report.named("compare", "last");
        assert_settled(&report, last);
        assert!((last.number("frequency") - rate).abs() < 1.0, "{last:?}");
        // At most three steps, all at the start.
        assert!(steps(&report) <= 3, "{} steps", steps(&report));
        assert!(report.events("discipline_restarted").is_empty());
    }
}

pub(crate) fn a_foreign_tick_value_is_corrected() {
    let report = guest("foreign tick", NOON_DATE, NOON, "")
        .script(
            "serve_truth
adjtimex -q -t 10007 -f 3276800
compare before
start_daemon
await_event 60 synchronized
watch settling 900 0.5
watch settled 600 0.5
compare last
kernel last",
        )
        .run(LIMIT);
    let before = report.named("compare", "before");
    assert!(
        (before.number("frequency") - 750.0).abs() < 0.01,
        "{before:?}"
    );
    assert_reliable(report.named("watch", "settled"));
    let last = report.named("compare", "last");
    assert_settled(&report, last);
    assert!(last.number("frequency").abs() < 1.0, "{last:?}");
    // Corrections up to 500 ppm use the frequency, and the tick is reset.
    assert_eq!(report.named("kernel", "last").value("tick"), "10000");
    // The daemon cannot know such a rate, but the bound holds from the start.
    let settling = report.named("watch", "settling");
    assert_eq!(settling.value("outside_maxerror"), "0", "{settling:?}");
}

pub(crate) fn without_steps_the_clock_is_slewed_and_never_goes_backwards() {
    let forbidden = "[synchronization.algorithm]\nstep-threshold = 1000";
    for offset in ["0.4", "-0.4"] {
        let report = guest("no steps", NOON_DATE, NOON, "--rate 20")
            .file("/etc/ntp.toml", &config(forbidden))
            .script(&format!(
                "serve_truth
truth set {offset}
compare before
start_daemon
await_event 60 synchronized
watch slew 700 0.2
compare half
watch rest 600 0.2
compare last
log_events clock_stepped"
            ))
            .run(LIMIT);
        assert_eq!(steps(&report), 0);
        for name in ["slew", "rest"] {
            let watch = report.named("watch", name);
            assert_reliable(watch);
            let (slowest, fastest) = (watch.number("slowest"), watch.number("fastest"));
            // Slews of 500 ppm plus the oscillator's correction, and the noise of readings 0.2 s
            // apart.
            assert!(slowest > -560.0 && fastest < 560.0, "{watch:?}");
        }
        // 0.4 s at 500 ppm are 800 s.
        let half = report.named("compare", "half").number("offset").abs();
        assert!((0.03..0.07).contains(&half), "{half} s after 700 s");
        assert_settled(&report, report.named("compare", "last"));
    }
}

/// The path is bad between the timestamps of both ends, and equally in both directions: half of an
/// asymmetry is an error that no client can detect.
pub(crate) fn the_kernels_error_figures_are_correct_on_a_bad_path() {
    let report = Guest::new("bad path", NOON_DATE)
        .file(
            "/etc/ntp.toml",
            &config("").replace("127.0.0.1:1123", "10.8.1.2:1123"),
        )
        .script(&format!(
            "TRUTH='--start {NOON} --rate -40'
attach_router delay 15ms 4ms loss 10%
on $FAR /programs/true-clock $TRUTH serve --listen 0.0.0.0:1123 &
truth set 1.5
kernel before
start_daemon
await_event 120 synchronized
watch first 600 0.5
watch later 1800 0.5
compare last
kernel last
log_events clock_stepped"
        ))
        .run(LIMIT);
    let before = report.named("kernel", "before");
    // STA_UNSYNC (64) and the maximum error before the daemon starts.
    assert_eq!(
        (before.value("status"), before.value("maxerror")),
        ("64", "16000000")
    );
    let last = report.named("kernel", "last");
    // Only STA_NANO (8192), a mode and not an error.
    assert_eq!(
        (last.value("status"), last.value("return_value")),
        ("8192", "0")
    );
    let first = report.named("watch", "first");
    for fault in ["unsynchronized", "outside_maxerror"] {
        assert_eq!(first.value(fault), "0", "{first:?}");
    }
    let later = report.named("watch", "later");
    assert_reliable(later);
    // The engine renews the figures each minute, and after each measurement.
    for watch in [first, later] {
        let (stalest, interval) = (watch.number("stalest"), 0.5);
        assert!(stalest <= 60.0 + 2.0 * interval, "{watch:?}");
    }
    // The estimated error is no guarantee, but holds nearly always; the bound consists of the path
    // and the drift while one request in five is lost.
    let share = later.number("outside_esterror") / later.number("samples");
    assert!(share < 0.05, "{later:?}");
    assert!(later.number("largest_maxerror") < 0.1, "{later:?}");
    assert_inside(report.named("compare", "last"));
    let last = report.named("compare", "last");
    let (error, estimate) = (last.number("offset").abs(), last.number("esterror"));
    assert!(error < 0.005, "{last:?}");
    // The estimated error must not be arbitrarily wide.
    assert!(estimate < last.number("maxerror") / 2.0, "{last:?}");
}
