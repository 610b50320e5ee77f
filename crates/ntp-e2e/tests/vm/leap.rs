//! Leap seconds executed by the kernel, and leap smearing.

use ntp_e2e::vm::Report;

use super::{LIMIT, assert_close, assert_reliable, assert_settled, config, guest, steps};

/// 2026-06-30T22:00:00Z, two hours before the end of a month.
const EVENING: i64 = 1_782_856_800;
const MIDNIGHT: i64 = EVENING + 7200;

/// A leap-second list with this leap second, valid to the end of the year, in seconds since 1900.
const LIST: &str = "#@ 4007836800\n3692217600 37\n3991852800 38\n";

fn over_midnight(options: &str, list: &str) -> Report {
    let server = "[[server]]\nlisten = \"[::]:123\"\nworkers = 1";
    guest("leap second", "2026-06-30T22:00:00", EVENING, options)
        .file("/etc/ntp.toml", &config(server))
        .file("/usr/share/zoneinfo/leap-seconds.list", list)
        .script(
            "serve_truth
start_daemon
await_event 60 synchronized
watch before 6900 1
compare announced
kernel announced
until [ \"$(date +%H)\" = 00 ] || [ \"$(date +%M%S)\" -ge 5930 ]; do sleep 1; done
query announced 127.0.0.1:123
watch over 60 0.01 > /run/over &
WATCH=$!
while [ -d /proc/$WATCH ]; do query over 127.0.0.1:123; sleep 0.2; done
cat /run/over
compare after
query after 127.0.0.1:123
watch later 1200 0.5
compare last
kernel last
log_events leap_second_ahead leap_second leap_second_contradicted leap_list_expired
log_events clock_disturbed
log_events clock_stepped
dmesg | grep -i 'leap second' | sed 's/^/@kernellog /'",
        )
        .run(LIMIT)
}

/// Asserts that the leap second was announced to clients before and during, and not after it, and
/// that the served time was always UTC.
fn assert_announced(report: &Report, announced: &str) {
    assert_eq!(report.named("query", "announced").value("leap"), announced);
    assert_eq!(report.named("query", "after").value("leap"), "0");
    let over: Vec<_> = report
        .all("query")
        .filter(|reply| reply.value("name") == "over")
        .collect();
    let first_without = over.iter().position(|reply| reply.value("leap") == "0");
    let first_without = first_without.expect("the end of the announcement");
    for (number, reply) in over.iter().enumerate() {
        assert_eq!(reply.value("stratum"), "2", "{reply:?}");
        let expected = if number < first_without {
            announced
        } else {
            "0"
        };
        assert_eq!(reply.value("leap"), expected, "{reply:?}");
    }
    let wrong = over
        .iter()
        .filter(|reply| reply.number("offset").abs() > 0.001);
    // One request may be in flight when the clock jumps.
    assert!(wrong.count() <= 1, "{over:?}");
}

/// Asserts that the kernel executed the leap second, with no other effect on the clock.
fn assert_executed(report: &Report, jump: f64, pending: &str, bit: &str, kernel: &str) {
    assert_reliable(report.named("watch", "before"));
    let announced = report.named("compare", "announced");
    assert_settled(report, announced);
    assert_eq!(
        (announced.value("state"), announced.value("bits")),
        (pending, bit),
        "{announced:?}"
    );
    let over = report.named("watch", "over");
    assert_eq!(over.value("jumps"), "1", "{over:?}");
    assert!((over.number("jump0") - jump).abs() < 0.01, "{over:?}");
    assert_eq!(over.value("unsynchronized"), "0", "{over:?}");
    // The kernel executes it at a timer tick, which may be late.
    assert!(over.number("outside_maxerror") <= 2.0, "{over:?}");
    assert_settled(report, report.named("compare", "after"));
    assert_reliable(report.named("watch", "later"));
    let last = report.named("compare", "last");
    assert_settled(report, last);
    assert_eq!(last.value("state"), "None", "{last:?}");
    let leap = report.events("leap_second");
    assert_eq!(leap.len(), 1, "{leap:?}");
    assert_eq!(leap[0].field("handling"), "kernel");
    assert!(report.events("clock_disturbed").is_empty());
    assert_eq!(steps(report), 1, "{:?}", report.events("clock_stepped"));
    let log: Vec<_> = report.all("kernellog").collect();
    assert_eq!(log.len(), 1, "{log:?}");
    assert!(log[0].text().contains(kernel), "{log:?}");
}

pub(crate) fn a_leap_second_is_inserted_by_the_kernel() {
    let report = over_midnight(&format!("--rate 12 --insert-before {MIDNIGHT}"), LIST);
    assert_announced(&report, "1");
    // The kernel updates the TAI offset that the daemon has set.
    assert_eq!(report.named("compare", "announced").value("tai"), "37");
    assert_eq!(report.named("compare", "last").value("tai"), "38");
    assert_executed(
        &report,
        -1.0,
        "InsertPending",
        "0x2010",
        "inserting leap second",
    );
}

pub(crate) fn a_leap_second_is_deleted_by_the_kernel() {
    let report = over_midnight(&format!("--rate 12 --delete-before {MIDNIGHT}"), "");
    assert_announced(&report, "2");
    assert_executed(
        &report,
        1.0,
        "DeletePending",
        "0x2020",
        "deleting leap second",
    );
}

pub(crate) fn a_smeared_leap_second_is_not_armed_in_the_kernel() {
    // From before noon to after midnight: half of the smear.
    let before_noon = EVENING - 10 * 3600 - 1800;
    let smear = "[leap]\nhandling = \"smear\"\n[[server]]\nlisten = \"[::]:123\"\nworkers = 1";
    let options = format!("--rate 12 --insert-before {MIDNIGHT}");
    let report = guest("smear", "2026-06-30T11:30:00", before_noon, &options)
        .file("/etc/ntp.toml", &config(smear))
        .file("/usr/share/zoneinfo/leap-seconds.list", LIST)
        .script(
            "serve_truth
start_daemon
await_event 60 synchronized
query before 127.0.0.1:123
compare before
sleep 23400
compare evening
kernel evening
query evening 127.0.0.1:123
sleep 20760
watch over 900 0.5
compare after
query after 127.0.0.1:123
log_events leap_second_ahead leap_second leap_second_contradicted leap_list_expired
log_events clock_disturbed
log_events clock_stepped
dmesg | grep -i 'leap second' | sed 's/^/@kernellog /'",
        )
        .run(LIMIT);
    assert_close(report.named("compare", "before"), 0.001);
    // 6 h after noon a quarter of the second is smeared, and the kernel's maxerror includes it.
    let evening = report.named("compare", "evening");
    assert!(
        (evening.number("offset") + 0.25).abs() < 0.001,
        "{evening:?}"
    );
    assert!(evening.number("maxerror") > 0.25, "{evening:?}");
    assert_eq!(report.named("kernel", "evening").value("status"), "8192");
    for (name, reference) in [
        ("before", "\\x7f\\x00\\x00\\x01"),
        ("evening", "\\x7f\\x7f\\x01\\xff"),
        ("after", "\\x7f\\x7f\\x01\\xff"),
    ] {
        let reply = report.named("query", name);
        assert_eq!(
            (reply.value("leap"), reply.value("reference")),
            ("0", reference),
            "{reply:?}"
        );
    }
    let over = report.named("watch", "over");
    for fault in ["jumps", "backward", "unsynchronized", "outside_maxerror"] {
        assert_eq!(over.value(fault), "0", "{over:?}");
    }
    let after = report.named("compare", "after");
    assert!((after.number("offset") - 0.5).abs() < 0.01, "{after:?}");
    assert_eq!(report.all("kernellog").count(), 0);
    assert!(report.events("clock_disturbed").is_empty());
    assert_eq!(steps(&report), 1);
}
