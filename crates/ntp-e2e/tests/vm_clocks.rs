//! Devices with clocks under a real kernel, in guests of an emulator: a network card's clock, pulses
//! that the kernel timestamps, and a hypervisor's marker of snapshots.

use std::process::ExitCode;
use std::time::Duration;

use ntp_e2e::harness::{self, Arena};
use ntp_e2e::scenario;
use ntp_e2e::vm::{Guest, Lan, Report};
use ntp_e2e::wait;

/// Timeout of a whole scenario; exceeded only on an overloaded machine.
const LIMIT: Duration = Duration::from_secs(900);

/// 2026-06-15T12:00:00Z in Unix seconds, and as RTC date.
const NOON: i64 = 1_781_524_800;
const NOON_DATE: &str = "2026-06-15T12:00:00";

fn main() -> ExitCode {
    harness::run(
        Arena::ClockDevices,
        &[
            scenario!(the_clock_of_a_network_card_steers_the_kernels_clock),
            scenario!(pulses_of_the_kernel_are_used_beside_a_server).slow(),
            scenario!(a_machine_continued_from_a_snapshot_serves_no_time_until_corrected).slow(),
        ],
    )
}

/// Configuration of the daemon with these sources.
fn config(sources: &str) -> String {
    format!(
        "[observability]\nlog-level = \"debug\"\nobservation-path = \"/run/observe\"\n\
         [sandbox]\nuser = \"root\"\n[state]\ndirectory = \"/var/lib/ntpd-rs\"\n\
         [synchronization]\nminimum-agreeing-sources = 1\n{sources}\n"
    )
}

/// Asserts that the device was opened once and never failed.
#[track_caller]
fn assert_opened(report: &Report) {
    assert_eq!(report.events("refclock_opened").len(), 1);
    assert!(report.events("refclock_failed").is_empty());
}

/// linuxptp sets the card's clock and prints at the end how far the kernel's is away from it.
fn the_clock_of_a_network_card_steers_the_kernels_clock() {
    let card = "[[source]]\nmode = \"phc\"\ndevice = \"eth0\"\nprecision = 1e-7\n";
    let report = Guest::new("network card", NOON_DATE)
        .with_clocks()
        .file("/etc/ntp.toml", &config(card))
        .script(&format!(
            "TRUTH='--start {NOON} --rate 20'
compare_with_card() {{
    echo \"@card name=$1 $(phc_ctl eth0 cmp 2>&1 | sed -n 's/.*CLOCK_REALTIME is \\(-*[0-9]*\\)ns.*/offset=\\1/p')\"
}}
# Faster than the machine's oscillator by 20 ppm.
phc_ctl eth0 set {NOON}.5 freq 20000
compare_with_card first
start_daemon
await_event 60 synchronized
sleep 120
compare_with_card early
sleep 180
compare_with_card last
compare last
watch settled 60 1
used phc:eth0
log_events refclock_opened
log_events refclock_failed
log_events clock_stepped"
        ))
        .run(LIMIT);
    assert_opened(&report);
    let offset = |name| report.named("card", name).number("offset");
    assert!(offset("first").abs() > 1e9, "nothing to correct");
    for name in ["early", "last"] {
        assert!(offset(name).abs() < 1e3, "{name}: {} ns", offset(name));
    }
    assert_eq!(report.events("clock_stepped").len(), 1);
    assert!(report.named("used", "phc:eth0").number("count") > 250.0);
    // The kernel measures the frequency of its own counter at boot, to some ppm.
    let frequency = report.named("compare", "last").number("frequency");
    assert!((frequency - 20.0).abs() < 5.0, "{frequency} ppm");
    let settled = report.named("watch", "settled");
    for fault in ["backward", "unsynchronized", "jumps"] {
        assert_eq!(settled.value(fault), "0", "{settled:?}");
    }
}

/// The clock is right within seconds of the first pulse, so a minute is enough.
fn pulses_of_the_kernel_are_used_beside_a_server() {
    let sources = "[[source]]\nmode = \"server\"\naddress = \"127.0.0.1:1123\"\n\
                   [[source]]\nmode = \"pps\"\npath = \"/dev/pps0\"\n\
                   precision = 1e-6\naccuracy = 5e-6\n";
    let report = Guest::new("pulses", NOON_DATE)
        .with_clocks()
        .file("/etc/ntp.toml", &config(sources))
        .script(&format!(
            "TRUTH='--start {NOON} --rate 20'
serve_truth
truth pulse &
start_daemon
await_event 60 synchronized
sleep 60
compare last
watch settled 60 1
used /dev/pps0
log_events refclock_opened
log_events refclock_failed
log_events clock_stepped"
        ))
        .run(LIMIT);
    assert_opened(&report);
    assert!(report.named("used", "/dev/pps0").number("count") > 100.0);
    // The emulated interrupt reaches the kernel 5 us after the second, which `accuracy` states. The
    // path of the server leaves several times that.
    let settled = report.named("watch", "settled");
    assert!(settled.number("worst_offset") < 15e-6, "{settled:?}");
    for fault in ["backward", "unsynchronized", "outside_maxerror", "jumps"] {
        assert_eq!(settled.value(fault), "0", "{settled:?}");
    }
    // Slews of some 100 ns are part of the kernel's frequency.
    let frequency = report.named("compare", "last").number("frequency");
    assert!((frequency - 20.0).abs() < 0.5, "{frequency} ppm");
}

/// The machine goes back by 20 s, without its notice but for the marker. The server goes on.
fn a_machine_continued_from_a_snapshot_serves_no_time_until_corrected() {
    let lan = Lan::new();
    let server = lan.start(
        Guest::new("server", NOON_DATE).script(&format!(
            "TRUTH='--start {NOON}'\nTRUTH_PORT=123\nserve_truth\nsleep 100000"
        )),
        1,
    );
    let ours = "[[source]]\nmode = \"server\"\naddress = \"10.9.0.1\"\n\
                [[server]]\nlisten = \"[::]:123\"\nworkers = 1";
    let mut machine = lan.start(
        Guest::new("snapshot", NOON_DATE)
            .with_clocks()
            .with_snapshots()
            .file("/etc/ntp.toml", &config(ours))
            .script(
                "TRUTH='--start 0'
start_daemon
await_event 120 synchronized
sleep 20
measure_with_chronyd settled 10.9.0.1
STEPS=$(count_events clock_stepped)
marker() { dd if=/dev/vmclock0 bs=24 count=1 2>/dev/null | tail -c 8 | hexdump -v -e '8/1 \"%02x\"'; }
# Hundredths of a second since the boot.
uptime() { read -r up rest < /proc/uptime; echo ${up%.*}${up#*.}; }
FIRST=$(marker)
echo @ready
TURNS=0
while [ \"$(marker)\" = \"$FIRST\" ] && [ $TURNS -lt 3000 ]; do sleep 0.02; TURNS=$((TURNS + 1)); done
RESTORED=$(uptime)
LEAP=0
while [ \"$LEAP\" != 3 ] && [ $(($(uptime) - RESTORED)) -lt 1000 ]; do
    REPLY=$(truth query 127.0.0.1:123)
    LEAP=$(echo \"$REPLY\" | sed 's/leap=\\([0-9]\\).*/\\1/')
done
echo \"@query name=disrupted after=$(($(uptime) - RESTORED)) $REPLY\"
await_event 60 clock_stepped $((STEPS + 1))
sleep 5
query corrected 127.0.0.1:123
measure_with_chronyd corrected 10.9.0.1
log_events machine_disrupted
log_events clock_stepped",
            ),
        2,
    );
    machine.process.wait_for_line(LIMIT, "@ready");
    machine.save();
    wait::throughout(Duration::from_secs(20), || {});
    machine.load();
    let report = machine.finish(LIMIT);
    drop(server);
    let disrupted = report.events("machine_disrupted");
    assert_eq!(disrupted.len(), 1, "{disrupted:?}");
    assert_eq!(disrupted[0].field("was_synchronized"), "true");
    // The clock was behind by the time that the state lay on the disk.
    let stepped = report.events("clock_stepped");
    let last = stepped.last().expect("a correction").field("step");
    assert!(last.parse::<f64>().expect("seconds") > 15.0, "{last}");
    // The marker is compared every 50 ms; the rest is the time of the emulated processes.
    let first = report.named("query", "disrupted");
    assert!(first.number("after") < 100.0, "{first:?}");
    let corrected = report.named("query", "corrected");
    assert_eq!(
        (corrected.value("leap"), corrected.value("stratum")),
        ("0", "2")
    );
    for name in ["settled", "corrected"] {
        let measured = report.named("chronyd", name);
        assert!(measured.number("behind").abs() < 0.01, "{measured:?}");
    }
}
