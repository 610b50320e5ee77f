//! Steering of the kernel's clock.
//!
//! # Atomic changes
//! A step, a new rate and a new status go to the kernel in **one** `clock_adjtime` call, so that a
//! change is made completely or not at all. Within it the kernel steps first, resets its status as
//! after any step, reads the clock for the report, then writes the status, then the rate. The
//! change thus has one time, known to the nanosecond, and the result contains the rate that the
//! kernel reports rather than the requested one.
//!
//! # Taking over
//! The kernel has disciplines of its own (phase and frequency locked loops, pulse per second) and
//! may still be executing an `adjtime(3)` of another program. Any of these would move the clock
//! independently, so the first change is preceded by calls that end them:
//!
//! 1. `ADJ_OFFSET_SINGLESHOT` with zero ends an adjtime;
//! 2. the loop's remaining offset can be set only while the loop is on: it is switched on with zero
//!    offset and its frequency held;
//! 3. all loops are switched off, which leaves frequency and leap announcement as they were and the
//!    clock unsynchronised until a status is set.
//!
//! What a loop had planned for the running second still happens, at most 500 us. Opening alone
//! changes nothing.

use ntp_time::{Adjustment, Applied, Frequency, NtpDuration, SystemTime};

use crate::kernel_status::{KernelStatus, rate_from_timex, set_status};
use crate::kernel_types::Timex;
use crate::rate::TickScale;
use crate::step::{reported_time, set_offset, time_of_change};
use crate::{ClockError, Shortcoming, readings, syscall};

/// `CLOCK_REALTIME` with the right to change it.
///
/// Dropping it changes nothing: the clock keeps the frequency it has.
#[derive(Debug)]
pub struct SystemClock {
    scale: TickScale,
    /// Whether the kernel's own disciplines have been ended.
    taken_over: bool,
    /// Shortcomings found so far, in the order of discovery; no entry twice.
    shortcomings: Vec<Shortcoming>,
    /// Number of them that the caller has received.
    reported: usize,
}

impl SystemClock {
    /// Opens the kernel clock and verifies the permission to change it.
    ///
    /// The test is a write that changes nothing: the estimated error is read and written back. The
    /// kernel checks the capability before it looks at any value, and only a time daemon writes
    /// that field.
    ///
    /// # Errors
    /// [`ClockError::NotPermitted`] without CAP_SYS_TIME, [`ClockError::ReadingRefused`] where the
    /// call is filtered.
    pub fn open() -> Result<Self, ClockError> {
        let (seen, _) = read_timex()?;
        let mut harmless = Timex::default();
        harmless.modes = libc::ADJ_ESTERROR;
        harmless.esterror = seen.esterror;
        change(&mut harmless)?;
        Ok(Self {
            scale: TickScale::system(),
            taken_over: false,
            shortcomings: Vec::new(),
            reported: 0,
        })
    }

    /// Reads the clock.
    pub fn now(&self) -> SystemTime {
        readings::realtime()
    }

    /// Returns the frequency correction in force: tick and fine part together.
    ///
    /// # Errors
    /// See [`ClockError`]; not to be expected once opened.
    pub fn frequency(&self) -> Result<Frequency, ClockError> {
        self.read_status().map(|status| status.frequency)
    }

    /// Returns the kernel's whole state.
    ///
    /// # Errors
    /// See [`ClockError`]; not to be expected once opened.
    pub fn read_status(&self) -> Result<KernelStatus, ClockError> {
        KernelStatus::read_with(self.scale)
    }

    /// Applies an adjustment, and returns what was really changed and when.
    ///
    /// The frequency is limited to +-100500 ppm and rounded to 2^-16 ppm, the step to the
    /// nanosecond; the error figures of the status are rounded up to microseconds. After a step
    /// without a status the kernel reports the clock as unsynchronised.
    ///
    /// # Errors
    /// Nothing has been changed then; [`ClockError::Rejected`] for a step that would leave the
    /// kernel's range of time.
    pub fn apply(&mut self, adjustment: &Adjustment) -> Result<Applied, ClockError> {
        if !self.taken_over {
            self.take_over()?;
            self.taken_over = true;
        }
        let (mut request, step) = self.request_for(adjustment);
        let before = readings::realtime();
        change(&mut request)?;
        let after = readings::realtime();

        let reported = reported_time(request.time, request.status & libc::STA_NANO != 0);
        if reported.is_none() {
            self.note(Shortcoming::NoTimeOfChange);
        }
        Ok(Applied {
            at: time_of_change(before, reported, after, step),
            step,
            frequency: self.scale.to_frequency(rate_from_timex(&request)),
        })
    }

    /// Returns the shortcomings found since the last call; each is returned once.
    pub fn new_shortcomings(&mut self) -> &[Shortcoming] {
        let reported = core::mem::replace(&mut self.reported, self.shortcomings.len());
        &self.shortcomings[reported..]
    }

    fn note(&mut self, shortcoming: Shortcoming) {
        if !self.shortcomings.contains(&shortcoming) {
            self.shortcomings.push(shortcoming);
        }
    }

    /// Converts an adjustment to one request, and returns the step as it will be made.
    fn request_for(&self, adjustment: &Adjustment) -> (Timex, NtpDuration) {
        let mut request = Timex::default();
        // Always, so that times are returned in nanoseconds whatever another program has set.
        request.modes = libc::ADJ_NANO;
        let mut made = NtpDuration::ZERO;
        if let Some(step) = adjustment.step.filter(|step| step.as_nanos() != 0) {
            request.modes |= libc::ADJ_SETOFFSET;
            request.time = set_offset(step);
            made = NtpDuration::from_nanos(step.as_nanos());
        }
        if let Some(frequency) = adjustment.frequency {
            // Both parts each time: another program may have set the other one.
            let rate = self.scale.to_rate(frequency);
            request.modes |= libc::ADJ_TICK | libc::ADJ_FREQUENCY;
            request.tick = rate.tick;
            request.freq = rate.fine;
        }
        if let Some(status) = &adjustment.status {
            set_status(&mut request, status);
        }
        (request, made)
    }

    /// Ends everything else that moves the clock.
    fn take_over(&mut self) -> Result<(), ClockError> {
        let mut end_adjtime = Timex::default();
        end_adjtime.modes = libc::ADJ_OFFSET_SINGLESHOT;
        if syscall::adjust_realtime(&mut end_adjtime).is_err() {
            self.note(Shortcoming::LeftoverSlew);
        }

        let (seen, _) = read_timex()?;
        let leap = seen.status & (libc::STA_INS | libc::STA_DEL);
        if seen.status & libc::STA_PLL != 0 || seen.offset != 0 {
            let mut clear_offset = Timex::default();
            clear_offset.modes = libc::ADJ_STATUS | libc::ADJ_OFFSET | libc::ADJ_NANO;
            clear_offset.status = libc::STA_PLL | libc::STA_FREQHOLD | libc::STA_UNSYNC | leap;
            change(&mut clear_offset)?;
        }
        let mut loops_off = Timex::default();
        loops_off.modes = libc::ADJ_STATUS | libc::ADJ_NANO;
        loops_off.status = libc::STA_UNSYNC | leap;
        change(&mut loops_off)
    }
}

impl KernelStatus {
    /// Reads the kernel's state; needs no privilege.
    ///
    /// # Errors
    /// [`ClockError::ReadingRefused`] where a filter forbids the call.
    pub fn read() -> Result<Self, ClockError> {
        Self::read_with(TickScale::system())
    }

    fn read_with(scale: TickScale) -> Result<Self, ClockError> {
        let (timex, state) = read_timex()?;
        Ok(Self::from_timex(&timex, state, scale))
    }
}

fn read_timex() -> Result<(Timex, libc::c_int), ClockError> {
    let mut timex = Timex::default();
    match syscall::adjust_realtime(&mut timex) {
        Ok(state) => Ok((timex, state)),
        Err(error) => Err(ClockError::from_reading(&error)),
    }
}

fn change(request: &mut Timex) -> Result<(), ClockError> {
    match syscall::adjust_realtime(request) {
        Ok(_) => Ok(()),
        Err(error) => Err(ClockError::from_change(&error)),
    }
}

#[cfg(test)]
mod tests {
    //! These tests read the kernel clock and never change it.

    use ntp_time::{ClockStatus, LeapIndicator};

    use super::*;

    /// A clock for composing requests, created without the write that `open` tries.
    fn unopened() -> SystemClock {
        SystemClock {
            scale: TickScale::new(100),
            taken_over: false,
            shortcomings: Vec::new(),
            reported: 0,
        }
    }

    #[test]
    fn the_kernel_status_can_be_read_without_privilege() {
        let before = readings::realtime();
        let status = match KernelStatus::read() {
            Ok(status) => status,
            Err(ClockError::ReadingRefused) => {
                eprintln!("skipped: clock_adjtime is filtered here");
                return;
            }
            Err(error) => panic!("{error}"),
        };
        let after = readings::realtime();
        let nominal = 1_000_000 / syscall::ticks_per_second();
        assert!((status.rate.tick - nominal).abs() <= nominal / 10);
        assert!(status.frequency.as_ppm().abs() <= 100_500.0);
        assert!(!status.maximum_error.is_negative() && !status.estimated_error.is_negative());
        if let Some(time) = status.time {
            let slack = NtpDuration::from_micros(1);
            assert!(before - slack <= time && time <= after);
        }
    }

    #[test]
    fn an_empty_adjustment_changes_nothing() {
        let (request, step) = unopened().request_for(&Adjustment::default());
        assert_eq!((request.modes, step), (libc::ADJ_NANO, NtpDuration::ZERO));
        let zero = Adjustment {
            step: Some(NtpDuration::ZERO),
            ..Adjustment::default()
        };
        assert_eq!(unopened().request_for(&zero).0.modes, libc::ADJ_NANO);
    }

    #[test]
    fn an_adjustment_is_one_request() {
        let (request, step) = unopened().request_for(&Adjustment {
            step: Some(NtpDuration::from_millis(-250)),
            frequency: Some(Frequency::from_ppm(-620.0)),
            status: Some(ClockStatus {
                leap: LeapIndicator::Insert,
                estimated_error: NtpDuration::from_nanos(2500),
                bound: NtpDuration::from_millis(5),
                tai_offset: None,
            }),
        });
        assert_eq!(
            request.modes,
            libc::ADJ_NANO
                | libc::ADJ_SETOFFSET
                | libc::ADJ_TICK
                | libc::ADJ_FREQUENCY
                | libc::ADJ_STATUS
                | libc::ADJ_MAXERROR
                | libc::ADJ_ESTERROR
        );
        assert_eq!(
            (request.time.tv_sec, request.time.tv_usec),
            (-1, 750_000_000)
        );
        assert_eq!((request.tick, request.freq), (9994, -20 * 65536));
        assert_eq!(request.status, libc::STA_INS);
        assert_eq!((request.maxerror, request.esterror), (5000, 3));
        assert_eq!(step, NtpDuration::from_millis(-250));
    }

    #[test]
    fn a_shortcoming_is_reported_once() {
        let mut clock = unopened();
        clock.note(Shortcoming::NoTimeOfChange);
        assert_eq!(clock.new_shortcomings(), [Shortcoming::NoTimeOfChange]);
        clock.note(Shortcoming::NoTimeOfChange);
        clock.note(Shortcoming::LeftoverSlew);
        assert_eq!(clock.new_shortcomings(), [Shortcoming::LeftoverSlew]);
        assert!(clock.new_shortcomings().is_empty());
    }

    #[test]
    fn no_request_sets_kernel_loops_or_the_time_constant() {
        let (request, _) = unopened().request_for(&Adjustment {
            step: Some(NtpDuration::from_seconds(1)),
            frequency: Some(Frequency::from_ppm(1.0)),
            status: None,
        });
        assert_eq!(
            request.modes & (libc::ADJ_OFFSET | libc::ADJ_TIMECONST | libc::ADJ_MICRO),
            0
        );
    }
}
