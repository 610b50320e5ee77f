//! A short run of `cargo xtask torture power`.

use ntp_e2e::torture::power;

pub(crate) fn saved_state_survives_power_losses() {
    let summary = power::torture(4, 7);
    assert_eq!(summary.power_losses, 4);
    assert!(summary.flushes > 0, "{summary:?}");
}
