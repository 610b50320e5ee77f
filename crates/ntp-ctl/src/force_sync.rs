//! `ntp-ctl force-sync`: to set the clock at once, past the thresholds that protect it.
//!
//! Not there yet: the daemon has to do it, because it alone knows all sources and may step the
//! clock without confusing its own estimates. Until then the command is refused by name.

use crate::console::Failure;

pub(crate) fn run() -> Result<(), Failure> {
    Err(Failure::Told(
        "`force-sync` is not available in this version of ntp-ctl; the clock was not touched.\n\
         The daemon sets the clock by itself when it starts. If it refused because the step is \
         too large, raise `startup-step-panic-threshold` in `[synchronization]` and start it again."
            .into(),
    ))
}
