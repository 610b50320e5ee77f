//! Mode `pps`: pulses that the kernel timestamps, `/dev/ppsN` (RFC 2783).
//!
//! The kernel's poll(2) wakes a reader at a pulse, but not always: before 2025 it reported every
//! device as ready at all times, and the mark "fetched" belongs to the device, so that another
//! reader such as gpsd takes wake-ups away. The device is therefore read twice in a period in any
//! case, and poll(2) is given up if it reports pulses that do not exist.
//!
//! A pulse is new if its *time* is. Its sequence number may grow by two for one pulse.

use std::os::fd::{AsFd as _, BorrowedFd};

use ntp_os_clock::device::pps::{PpsDevice, PulseEdge, PulseEvent};
use ntp_time::{Monotonic, NtpDuration, Stamp, StampSource, SystemTime};
use ntp_types::refclock::{Edge, PpsSettings, SampleRefusal};
use ntp_udp::wait::Interest;

use crate::pulse;
use crate::{DeviceError, Driver, Now, Reading};

/// Number of consecutive wake-ups without a pulse after which poll(2) is not used any more. Two
/// are possible if another reader fetches the same pulse.
const FALSE_WAKE_UPS: u32 = 4;

/// A pulse that is older than this many periods when it is read was missed by us: the daemon was
/// stopped, or the device yields none.
const MAX_AGE_PERIODS: i64 = 2;

/// The device that is read.
#[derive(Debug)]
pub(crate) struct Pps {
    device: PpsDevice,
    edge: PulseEdge,
    period: NtpDuration,
    pulses: Pulses,
    next: Monotonic,
    warning: Option<String>,
}

impl Pps {
    /// Opens the device. The edge is chosen by [`start`](Driver::start).
    pub(crate) fn open(settings: &PpsSettings, now: Now) -> Result<Self, DeviceError> {
        let path = &settings.path;
        let opened = ntp_files::open_device(path, true)
            .or_else(|_| ntp_files::open_device(path, false))
            .map_err(DeviceError::during(format!("opening {}", path.display())))?;
        let device = PpsDevice::new(opened, path.clone())?;
        let edge = match settings.edge {
            Edge::Assert => PulseEdge::Assert,
            Edge::Clear => PulseEdge::Clear,
        };
        if !device.can_capture(edge)? {
            return Err(DeviceError::Unsuitable(format!(
                "the driver of {} has no {} edge: set edge to the other one",
                path.display(),
                edge_name(edge)
            )));
        }
        let last = device.last(edge)?;
        Ok(Self {
            device,
            edge,
            period: settings.period,
            pulses: Pulses::new(last),
            next: now.monotonic,
            warning: None,
        })
    }

    fn take_pulse(&mut self, now: Now) -> Result<Option<Reading>, DeviceError> {
        let event = self.device.last(self.edge)?;
        let Some(at) = self.pulses.take(event) else {
            return Ok(None);
        };
        Ok(Some(reading(at, now.kernel, self.period)))
    }
}

impl Driver for Pps {
    fn start(&mut self) -> Result<(), DeviceError> {
        // Needs CAP_SYS_TIME, and is not needed if the edge is captured already.
        let chosen = self.device.capture_only(self.edge);
        if let Err(error) = &chosen
            && !self.device.is_capturing(self.edge)?
        {
            return Err(DeviceError::Unsuitable(error.to_string()));
        }
        Ok(())
    }

    fn descriptor(&self) -> Option<(BorrowedFd<'_>, Interest)> {
        let fd = self.device.as_fd();
        (self.pulses.false_wake_ups < FALSE_WAKE_UPS).then_some((fd, Interest::Readable))
    }

    fn next_read(&self) -> Option<Monotonic> {
        Some(self.next)
    }

    fn read(&mut self, now: Now, readings: &mut Vec<Reading>) -> Result<(), DeviceError> {
        let is_wake_up = now.monotonic < self.next;
        let reading = self.take_pulse(now)?;
        if is_wake_up && self.pulses.count_wake_up(reading.is_some()) {
            self.warning = Some(
                "the kernel reports pulses that do not exist (Linux before 6.15): the device is \
                 read twice in a period instead"
                    .to_owned(),
            );
        }
        self.next = now.monotonic + self.period.half();
        readings.extend(reading);
        Ok(())
    }

    fn description(&self) -> String {
        format!("pulses, {} edge", edge_name(self.edge))
    }

    fn take_warning(&mut self) -> Option<String> {
        self.warning.take()
    }
}

fn edge_name(edge: PulseEdge) -> &'static str {
    match edge {
        PulseEdge::Assert => "assert",
        PulseEdge::Clear => "clear",
    }
}

/// Which pulses were seen.
#[derive(Debug)]
struct Pulses {
    last: Option<SystemTime>,
    /// Number of consecutive wake-ups without a new pulse.
    false_wake_ups: u32,
}

impl Pulses {
    /// The pulse that the device shows when it is opened is an old one.
    fn new(found: PulseEvent) -> Self {
        Self {
            last: found.at,
            false_wake_ups: 0,
        }
    }

    /// Returns the time of a pulse that was not seen before.
    fn take(&mut self, event: PulseEvent) -> Option<SystemTime> {
        let at = event.at.filter(|at| self.last != Some(*at))?;
        self.last = Some(at);
        Some(at)
    }

    /// Counts a wake-up by poll(2). Returns whether poll(2) is given up by it.
    fn count_wake_up(&mut self, is_true: bool) -> bool {
        if is_true {
            self.false_wake_ups = 0;
            return false;
        }
        self.false_wake_ups += 1;
        self.false_wake_ups == FALSE_WAKE_UPS
    }
}

/// Converts a pulse at `at` to a sample.
fn reading(at: SystemTime, now: SystemTime, period: NtpDuration) -> Reading {
    if at > now {
        // The clock was stepped back since.
        return Err(SampleRefusal::Future);
    }
    let limit = NtpDuration::from_bits(period.to_bits().saturating_mul(MAX_AGE_PERIODS));
    if now - at > limit {
        return Err(SampleRefusal::Stale);
    }
    let stamp = Stamp {
        time: at,
        source: StampSource::Kernel,
    };
    Ok(pulse::sample(stamp, period))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: NtpDuration = NtpDuration::from_seconds(1);

    fn at(nanos: i64) -> SystemTime {
        SystemTime::from_nanos(1_800_000_000_000_000_000 + nanos)
    }

    fn event(sequence: u32, nanos: i64) -> PulseEvent {
        PulseEvent {
            sequence,
            at: Some(at(nanos)),
        }
    }

    #[test]
    fn a_pulse_is_new_if_its_time_is() {
        let mut pulses = Pulses::new(event(7, 0));
        assert_eq!(pulses.take(event(7, 0)), None);
        // The number grew without a pulse.
        assert_eq!(pulses.take(event(8, 0)), None);
        assert_eq!(
            pulses.take(event(9, 1_000_000_000)),
            Some(at(1_000_000_000))
        );
        let none = PulseEvent {
            sequence: 0,
            at: None,
        };
        assert_eq!(pulses.take(none), None);
    }

    #[test]
    fn a_poll_that_is_always_ready_is_given_up_once() {
        let mut pulses = Pulses::new(event(1, 0));
        let given_up: Vec<_> = [false, false, true, false, false, false, false, false]
            .map(|is_true| pulses.count_wake_up(is_true))
            .into_iter()
            .collect();
        assert_eq!(given_up.iter().filter(|it| **it).count(), 1);
        assert!(given_up[6]);
    }

    #[test]
    fn a_pulse_is_an_offset_within_the_period() {
        let sample = reading(at(999_999_000), at(1_000_100_000), SECOND).unwrap();
        assert!(sample.is_pulse);
        assert_eq!(sample.offset.as_nanos(), 1000);
        assert_eq!(reading(at(5), at(4), SECOND), Err(SampleRefusal::Future));
        let late = reading(at(0), at(2_000_000_001), SECOND);
        assert_eq!(late, Err(SampleRefusal::Stale));
    }
}
