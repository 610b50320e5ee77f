//! Leap seconds, carried out by the kernel.

use ntp_e2e::vm::Report;

use super::{LIMIT, assert_close, assert_reliable, guest, steps};

/// 2026-06-30T22:00:00Z, two hours before the end of a month.
const EVENING: i64 = 1_782_856_800;
const MIDNIGHT: i64 = EVENING + 7200;

fn over_midnight(options: &str) -> Report {
    guest("leap second", "2026-06-30T22:00:00", EVENING, options)
        .script(
            "serve_truth
start_daemon
await 60 'synchronised at stratum'
watch before 6900 1
look announced
kernel announced
until [ \"$(date +%H)\" = 00 ] || [ \"$(date +%M%S)\" -ge 5930 ]; do sleep 1; done
watch over 60 0.01
look after
watch later 1200 0.5
look last
kernel last
said 'leap'
said 'someone else'
said 'clock stepped by'
dmesg | grep -i 'leap second' | sed 's/^/@kernellog /'",
        )
        .run(LIMIT)
}

fn is_carried_out(report: &Report, jump: f64, pending: &str, bit: &str, kernel: &str) {
    assert_reliable(report.named("watch", "before"));
    let announced = report.named("look", "announced");
    assert_close(announced, 100e-6);
    assert_eq!(
        (announced.value("state"), announced.value("bits")),
        (pending, bit),
        "{announced:?}"
    );
    let over = report.named("watch", "over");
    assert_eq!(over.value("jumps"), "1", "{over:?}");
    assert!((over.number("jump0") - jump).abs() < 0.01, "{over:?}");
    assert_eq!(over.value("unsynchronized"), "0", "{over:?}");
    // The kernel acts at a timer tick, which may be that late.
    assert!(over.number("outside_maxerror") <= 2.0, "{over:?}");
    assert_close(report.named("look", "after"), 100e-6);
    assert_reliable(report.named("watch", "later"));
    let last = report.named("look", "last");
    assert_close(last, 100e-6);
    assert_eq!(last.value("state"), "None", "{last:?}");
    assert_eq!(report.said("kernel carried out a leap second").len(), 1);
    assert!(report.said("someone else").is_empty());
    assert_eq!(steps(report), 1, "{:?}", report.said("stepped"));
    let log: Vec<_> = report.all("kernellog").collect();
    assert_eq!(log.len(), 1, "{log:?}");
    assert!(log[0].text().contains(kernel), "{log:?}");
}

pub(crate) fn a_leap_second_is_inserted_by_the_kernel() {
    let report = over_midnight(&format!("--rate 12 --insert-before {MIDNIGHT}"));
    is_carried_out(
        &report,
        -1.0,
        "InsertPending",
        "0x2010",
        "inserting leap second",
    );
}

pub(crate) fn a_leap_second_is_deleted_by_the_kernel() {
    let report = over_midnight(&format!("--rate 12 --delete-before {MIDNIGHT}"));
    is_carried_out(
        &report,
        1.0,
        "DeletePending",
        "0x2020",
        "deleting leap second",
    );
}
