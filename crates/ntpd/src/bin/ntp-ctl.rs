//! Entry point of the control program: the crate `ntp-ctl`, and for `force-sync` the engine of the
//! daemon.
#![forbid(unsafe_code)]

use std::error::Error;
use std::process::ExitCode;

use ntp_time::{Monotonic, NtpDuration};
use ntp_types::status::{OneShotReading, Status};

fn main() -> ExitCode {
    ntp_ctl::main(&|loaded| {
        if !cfg!(feature = "tools") {
            return Err("this build cannot measure without the daemon".into());
        }
        let once = ntp_daemon::one_shot::OneShot::open(loaded, loaded.config.sandbox.mode)?;
        Ok(Box::new(OneShot(once)))
    })
}

struct OneShot(ntp_daemon::one_shot::OneShot);

impl ntp_ctl::OneShot for OneShot {
    fn measure(&mut self, deadline: Monotonic) -> Result<Option<OneShotReading>, Box<dyn Error>> {
        Ok(self.0.measure(Some(deadline))?)
    }

    fn step(&mut self, by: NtpDuration) -> Result<(), Box<dyn Error>> {
        Ok(self.0.step(by)?)
    }

    fn forget_saved_time(&mut self) -> bool {
        self.0.forget_saved_time()
    }

    fn status(&self) -> Status {
        self.0.status()
    }
}
