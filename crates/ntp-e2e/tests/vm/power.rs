//! A share of `cargo xtask torture power`.

use ntp_e2e::torture::power;

pub(crate) fn a_machine_that_loses_its_power_keeps_what_was_promised() {
    let tally = power::torture(4, 7);
    assert_eq!(tally.cuts, 4);
    assert!(tally.flushes > 0, "{tally:?}");
}
