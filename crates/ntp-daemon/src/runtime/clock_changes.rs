//! Wakes the event loop when another program sets the clock.
//!
//! The engine compares the clocks at every input, so a tick suffices. Without it a step is
//! noticed at the next poll or housekeeping, up to a minute later.
//!
//! Linux cancels a timer with `TFD_TIMER_CANCEL_ON_SET` (`timerfd_create(2)`) whenever its clock
//! changes discontinuously, our own steps and the end of a suspend included. The timer itself never
//! expires. `rustix` makes the system call without the C library: simulators that replace the
//! functions of the C library know neither the flag nor a real change of the clock.

use std::os::fd::OwnedFd;

use ntp_proto::engine::Input;
use ntp_types::event::{Event, Prose};
use ntp_udp::wait::{Interest, PollSet};
use rustix::io::{Errno, read};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

use super::failure::Failure;
use super::pollable::{Context, Pollable};
use crate::log;

/// Waits for discontinuous changes of `CLOCK_REALTIME`.
#[derive(Debug)]
pub(super) struct ClockChanges {
    timer: OwnedFd,
    /// Place in the poll set.
    position: usize,
}

impl ClockChanges {
    /// Arms the timer; logs if that is not possible.
    pub(super) fn open() -> Option<Self> {
        let armed = Self::arm().inspect_err(|error| {
            log::emit(&Event::FacilityMissing {
                facility: "clock-changes".to_owned(),
                text: Prose(format!(
                    "a step of the clock by another program is noticed up to a minute late: timerfd: {error}"
                )),
            });
        });
        armed.ok()
    }

    fn arm() -> Result<Self, Errno> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Realtime, flags)?;
        let never = Itimerspec {
            it_interval: Timespec::default(),
            it_value: Timespec {
                tv_sec: i64::MAX,
                tv_nsec: 0,
            },
        };
        let flags = TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET;
        timerfd_settime(&timer, flags, &never)?;
        Ok(Self { timer, position: 0 })
    }
}

impl Pollable for ClockChanges {
    fn register(&mut self, set: &mut PollSet) {
        self.position = set.push(&self.timer, Interest::Readable);
    }

    fn on_ready(&mut self, context: &mut Context<'_>) -> Result<(), Failure> {
        if context.set.readiness(self.position).readable {
            // Fails with ECANCELED, and arms the timer again.
            let _ = read(&self.timer, &mut [0; 8]);
            context.driver.handle(Input::Tick)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_ready_while_the_clock_is_not_set() {
        let changes = ClockChanges::arm().unwrap();
        assert_eq!(read(&changes.timer, &mut [0; 8]), Err(Errno::AGAIN));
    }
}
