//! Clocks of network cards and hosts (`linux/ptp_clock.h`), `/dev/ptpN`.
//!
//! Three requests read such a clock together with the system clock; drivers have them in this order
//! of preference:
//!
//! | request | the system clock is read |
//! |---|---|
//! | `PTP_SYS_OFFSET_PRECISE` | by hardware, at the same instant |
//! | `PTP_SYS_OFFSET_EXTENDED` | by the driver, immediately before and after the device |
//! | `PTP_SYS_OFFSET` | by the caller of the driver, before and after |
//!
//! The time scale of the device is its own; see the driver of reference clocks.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;

use ntp_time::SystemTime;

use super::{DeviceError, OpenDevice};
use crate::ioctl::{
    PTP_CLOCK_GETCAPS, PTP_EXTTS_REQUEST, PTP_MASK_CLEAR_ALL, PTP_MASK_EN_SINGLE, PTP_PIN_GETFUNC,
    PTP_PIN_SETFUNC, PTP_SYS_OFFSET, PTP_SYS_OFFSET_EXTENDED, PTP_SYS_OFFSET_PRECISE, Structure,
};

/// `PTP_MAX_SAMPLES`: largest number of readings in one call.
pub const MAX_READINGS: u32 = 25;

/// Octets of `ptp_clock_time`.
const TIME_SIZE: usize = 16;
/// Offset of the first time of a reading; the number of readings is at 0.
const READINGS: usize = 16;
/// Octets of an event of an external timestamp.
const EVENT_SIZE: usize = 32;
/// Offset of the channel of an event.
const EVENT_CHANNEL: usize = 16;

/// Offsets of `ptp_pin_desc`: the name is at 0.
const PIN_INDEX: usize = 64;
const PIN_FUNCTION: usize = 68;
const PIN_CHANNEL: usize = 72;
/// `PTP_PF_EXTTS`.
const EXTERNAL_TIMESTAMPS: u32 = 1;

/// `PTP_ENABLE_FEATURE`, `PTP_RISING_EDGE`, `PTP_FALLING_EDGE`.
const ENABLE: u32 = 1;
const EDGES: [u32; 2] = [2, 4];

/// What a device has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PtpCapabilities {
    /// Number of channels for external timestamps.
    pub external_timestamps: u32,
    /// Number of programmable pins.
    pub pins: u32,
    /// Whether `PTP_SYS_OFFSET_PRECISE` works.
    pub cross_timestamps: bool,
}

/// Time that a device shows, in nanoseconds of its own time scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceTime(i64);

impl DeviceTime {
    /// Creates a time from nanoseconds since the beginning of the device's time scale.
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// Returns nanoseconds since the beginning of the device's time scale.
    pub const fn as_nanos(self) -> i64 {
        self.0
    }
}

/// A reading of a device between two readings of the system clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PtpReading {
    /// The system clock before.
    pub before: SystemTime,
    /// The device.
    pub device: DeviceTime,
    /// The system clock after; the same as before if hardware reads both.
    pub after: SystemTime,
}

/// Request by which a device is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PtpMethod {
    /// `PTP_SYS_OFFSET_PRECISE`.
    Precise,
    /// `PTP_SYS_OFFSET_EXTENDED`.
    Extended,
    /// `PTP_SYS_OFFSET`.
    Offset,
}

/// Edge of an external signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SignalEdge {
    /// From low to high.
    Rising,
    /// From high to low.
    Falling,
}

/// An external signal, dated by the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExternalTimestamp {
    /// When it came.
    pub at: DeviceTime,
    /// Channel by which it came.
    pub channel: u32,
}

/// A PTP clock, `/dev/ptpN`.
#[derive(Debug)]
pub struct PtpDevice(OpenDevice);

impl PtpDevice {
    /// Takes an open device. Reading its time needs permission to read the file only; pins and
    /// external timestamps need permission to write, too.
    ///
    /// # Errors
    /// If it is not a PTP clock.
    pub fn new(file: File, path: PathBuf) -> Result<Self, DeviceError> {
        let device = Self(OpenDevice { file, path });
        device.capabilities()?;
        Ok(device)
    }

    /// Returns what the device has.
    ///
    /// # Errors
    /// Those of the driver.
    pub fn capabilities(&self) -> Result<PtpCapabilities, DeviceError> {
        let mut facts = Structure::ZERO;
        self.0.request(PTP_CLOCK_GETCAPS, &mut facts)?;
        Ok(capabilities(&facts))
    }

    /// Returns the best request that the device answers, by trying. [`PtpMethod::Precise`] only if
    /// `cross_timestamps` permits it.
    ///
    /// # Errors
    /// If it answers none.
    pub fn best_method(&self, cross_timestamps: bool) -> Result<PtpMethod, DeviceError> {
        let precise = cross_timestamps.then_some(PtpMethod::Precise);
        for method in precise.into_iter().chain([PtpMethod::Extended]) {
            match self.read(method, 1) {
                // A host's sample may be stale now, which does not depend on the method.
                Err(error) if error.is_temporary() => return Ok(method),
                Err(error) if error.is_unsupported() => {}
                Err(error) => return Err(error),
                Ok(_) => return Ok(method),
            }
        }
        match self.read(PtpMethod::Offset, 1) {
            Err(error) if !error.is_temporary() => Err(error),
            _ => Ok(PtpMethod::Offset),
        }
    }

    /// Reads the device `count` times, at most [`MAX_READINGS`]; once with
    /// [`PtpMethod::Precise`].
    ///
    /// # Errors
    /// Those of the driver.
    pub fn read(&self, method: PtpMethod, count: u32) -> Result<Vec<PtpReading>, DeviceError> {
        let count = count.clamp(1, MAX_READINGS);
        match method {
            PtpMethod::Precise => {
                let mut both = Structure::ZERO;
                self.0.request(PTP_SYS_OFFSET_PRECISE, &mut both)?;
                Ok(vec![precise_reading(&both)])
            }
            PtpMethod::Extended => {
                let mut readings = Structure::ZERO;
                readings.set_u32(0, count);
                self.0.request(PTP_SYS_OFFSET_EXTENDED, &mut readings)?;
                Ok(extended_readings(&readings, count))
            }
            PtpMethod::Offset => {
                let mut readings = Structure::ZERO;
                readings.set_u32(0, count);
                self.0.request(PTP_SYS_OFFSET, &mut readings)?;
                Ok(alternating_readings(&readings, count))
            }
        }
    }

    /// Connects a pin with a channel for external timestamps.
    ///
    /// # Errors
    /// Those of the driver: no such pin, or one with a fixed function.
    pub fn connect_pin(&self, pin: u32, channel: u32) -> Result<(), DeviceError> {
        let mut current = Structure::ZERO;
        current.set_u32(PIN_INDEX, pin);
        self.0.request(PTP_PIN_GETFUNC, &mut current)?;
        if (current.u32(PIN_FUNCTION), current.u32(PIN_CHANNEL)) == (EXTERNAL_TIMESTAMPS, channel) {
            return Ok(());
        }
        let mut wanted = Structure::ZERO;
        wanted.set_u32(PIN_INDEX, pin);
        wanted.set_u32(PIN_FUNCTION, EXTERNAL_TIMESTAMPS);
        wanted.set_u32(PIN_CHANNEL, channel);
        self.0.request(PTP_PIN_SETFUNC, &mut wanted)
    }

    /// Starts external timestamps of an edge on a channel, or ends them without an edge.
    ///
    /// # Errors
    /// Those of the driver: no such channel, or an edge that it cannot detect.
    pub fn request_timestamps(
        &self,
        channel: u32,
        edge: Option<SignalEdge>,
    ) -> Result<(), DeviceError> {
        let mut wanted = Structure::ZERO;
        wanted.set_u32(0, channel);
        wanted.set_u32(4, edge.map_or(0, |edge| ENABLE | EDGES[edge as usize]));
        self.0.request(PTP_EXTTS_REQUEST, &mut wanted)?;
        // Without a filter (before Linux 6.7) all readers of the device share one queue.
        let mut none = Structure::ZERO;
        if self.0.request(PTP_MASK_CLEAR_ALL, &mut none).is_ok() && edge.is_some() {
            let mut single = Structure::ZERO;
            single.set_u32(0, channel);
            self.0.request(PTP_MASK_EN_SINGLE, &mut single)?;
        }
        Ok(())
    }

    /// Reads the next external timestamp. It waits for one, whatever the flags of the file are, so
    /// call it only when the descriptor is readable.
    ///
    /// # Errors
    /// Those of read(2).
    pub fn next_timestamp(&self) -> Result<ExternalTimestamp, DeviceError> {
        let mut event = Structure::<EVENT_SIZE>::ZERO;
        (&self.0.file)
            .read_exact(event.bytes_mut())
            .map_err(|error| self.0.error("read", &error))?;
        Ok(ExternalTimestamp {
            at: DeviceTime(event.time(0)),
            channel: event.u32(EVENT_CHANNEL),
        })
    }
}

impl AsFd for PtpDevice {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.file.as_fd()
    }
}

fn capabilities(facts: &Structure<80>) -> PtpCapabilities {
    let count = |at| u32::try_from(facts.i32(at)).unwrap_or(0);
    PtpCapabilities {
        external_timestamps: count(8),
        pins: count(20),
        cross_timestamps: facts.i32(24) != 0,
    }
}

fn precise_reading(both: &Structure<64>) -> PtpReading {
    let system = SystemTime::from_nanos(both.time(TIME_SIZE));
    PtpReading {
        before: system,
        device: DeviceTime(both.time(0)),
        after: system,
    }
}

/// Times of a reading, each before, device, after.
fn extended_readings(readings: &Structure<1216>, count: u32) -> Vec<PtpReading> {
    reading_offsets(count, 3)
        .map(|at| reading(|index| readings.time(at + index * TIME_SIZE)))
        .collect()
}

/// System and device in turn; each reading of the system clock belongs to two of the device.
fn alternating_readings(readings: &Structure<832>, count: u32) -> Vec<PtpReading> {
    reading_offsets(count, 2)
        .map(|at| reading(|index| readings.time(at + index * TIME_SIZE)))
        .collect()
}

/// Offsets of the readings, which are `times` times apart.
fn reading_offsets(count: u32, times: usize) -> impl Iterator<Item = usize> {
    (READINGS..)
        .step_by(times * TIME_SIZE)
        .take(count.min(MAX_READINGS) as usize)
}

fn reading(time: impl Fn(usize) -> i64) -> PtpReading {
    PtpReading {
        before: SystemTime::from_nanos(time(0)),
        device: DeviceTime(time(1)),
        after: SystemTime::from_nanos(time(2)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times<const N: usize>(start: usize, seconds: impl Iterator<Item = i64>) -> Structure<N> {
        let mut structure = Structure::ZERO;
        let octets = seconds.flat_map(|second| {
            let mut time = second.to_ne_bytes().to_vec();
            time.extend(7u32.to_ne_bytes());
            time.extend([0xff; 4]);
            time
        });
        for (place, octet) in structure.bytes_mut()[start..].iter_mut().zip(octets) {
            *place = octet;
        }
        structure
    }

    fn expected(before: i64, device: i64, after: i64) -> PtpReading {
        let nanos = |second| second * 1_000_000_000 + 7;
        PtpReading {
            before: SystemTime::from_nanos(nanos(before)),
            device: DeviceTime(nanos(device)),
            after: SystemTime::from_nanos(nanos(after)),
        }
    }

    #[test]
    fn extended_readings_have_their_own_times() {
        let readings = extended_readings(&times(READINGS, 1..), MAX_READINGS);
        assert_eq!(readings.len(), 25);
        assert_eq!(readings[0], expected(1, 2, 3));
        assert_eq!(readings[24], expected(73, 74, 75));
    }

    #[test]
    fn alternating_readings_share_the_system_times() {
        let readings = alternating_readings(&times(READINGS, 1..), MAX_READINGS);
        assert_eq!(readings.len(), 25);
        assert_eq!(readings[0], expected(1, 2, 3));
        assert_eq!(readings[24], expected(49, 50, 51));
    }

    #[test]
    fn a_precise_reading_has_no_window() {
        assert_eq!(
            precise_reading(&times(0, [9, 8].into_iter())),
            expected(8, 9, 8)
        );
    }

    #[test]
    fn a_device_before_1970_has_negative_seconds() {
        let reading = precise_reading(&times(0, [-1, 8].into_iter()));
        assert_eq!(reading.device.as_nanos(), -1_000_000_000 + 7);
    }

    #[test]
    fn capabilities_are_read_at_their_offsets() {
        let mut facts = Structure::ZERO;
        for index in 0..9 {
            facts.set_u32(4 * index, index as u32);
        }
        let found = capabilities(&facts);
        assert_eq!((found.external_timestamps, found.pins), (2, 5));
        assert!(found.cross_timestamps);
    }

    #[test]
    fn another_file_is_refused_by_name_of_call_and_device() {
        let file = File::open("/dev/null").expect("the null device can be opened");
        let error = PtpDevice::new(file, "/dev/null".into()).expect_err("it is no clock");
        assert!(error.is_unsupported());
        assert!(
            error
                .to_string()
                .starts_with("/dev/null: PTP_CLOCK_GETCAPS: ")
        );
    }
}
