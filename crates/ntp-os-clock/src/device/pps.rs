//! Pulses that the kernel timestamps (RFC 2783, `linux/pps.h`).
//!
//! The kernel stores time and number of the last pulse of each edge. Timestamps are readings of
//! `CLOCK_REALTIME` in the interrupt handler. Only the last event is fetched, never waited for: the
//! caller polls the descriptor, or waits for a time. A timeout of zero is also the same octets in
//! all layouts of the structure, which differ after the two events.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;

use ntp_time::SystemTime;

use super::{DeviceError, OpenDevice};
use crate::ioctl::{PPS_FETCH, PPS_GETCAP, PPS_GETPARAMS, PPS_SETPARAMS, Structure};

/// `PPS_CAPTUREASSERT`, `PPS_CAPTURECLEAR`.
const CAPTURE: [u32; 2] = [0x01, 0x02];
/// `PPS_OFFSETASSERT`, `PPS_OFFSETCLEAR`: the kernel adds an offset to timestamps.
const KERNEL_OFFSETS: u32 = 0x30;
/// `PPS_TSFMT_TSPEC`: timestamps in seconds and nanoseconds.
const FORMAT_TIMESPEC: u32 = 0x1000;
/// `PPS_TIME_INVALID` of a timestamp.
const TIME_INVALID: u32 = 1;
/// `PPS_API_VERS_1`.
const API_VERSION: u32 = 1;

/// Offsets of `pps_kparams`: version and mode; two times follow.
const PARAMETER_VERSION: usize = 0;
const PARAMETER_MODE: usize = 4;
/// Offsets of `pps_fdata`: the sequence number of each edge, then the time of each edge.
const SEQUENCE: [usize; 2] = [0, 4];
const TIME: [usize; 2] = [8, 24];
/// Offset of the flags in a time.
const TIME_FLAGS: usize = 12;

/// Edge of a pulse. Which voltage is the assert edge is decided by the driver: with a serial port,
/// the line going active.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PulseEdge {
    /// The assert edge.
    Assert,
    /// The clear edge.
    Clear,
}

/// The last pulse of an edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PulseEvent {
    /// Number of the pulse since the device exists. It may grow by more than one for one pulse.
    pub sequence: u32,
    /// Reading of `CLOCK_REALTIME` at the pulse. `None` if there was none yet.
    pub at: Option<SystemTime>,
}

/// A PPS device, `/dev/ppsN`.
#[derive(Debug)]
pub struct PpsDevice(OpenDevice);

impl PpsDevice {
    /// Takes an open device.
    ///
    /// # Errors
    /// If it is not a PPS device.
    pub fn new(file: File, path: PathBuf) -> Result<Self, DeviceError> {
        let device = Self(OpenDevice { file, path });
        device.capabilities()?;
        Ok(device)
    }

    /// Returns the mode bits that the driver supports (RFC 2783 section 3.3).
    fn capabilities(&self) -> Result<u32, DeviceError> {
        let mut bits = Structure::ZERO;
        self.0.request(PPS_GETCAP, &mut bits)?;
        Ok(bits.u32(0))
    }

    /// Whether the driver captures this edge.
    ///
    /// # Errors
    /// Those of the driver.
    pub fn can_capture(&self, edge: PulseEdge) -> Result<bool, DeviceError> {
        Ok(self.capabilities()? & CAPTURE[edge as usize] != 0)
    }

    /// Whether this edge is captured now.
    ///
    /// # Errors
    /// Those of the driver.
    pub fn is_capturing(&self, edge: PulseEdge) -> Result<bool, DeviceError> {
        let mut parameters = Structure::ZERO;
        self.0.request(PPS_GETPARAMS, &mut parameters)?;
        Ok(parameters.u32(PARAMETER_MODE) & CAPTURE[edge as usize] != 0)
    }

    /// Makes the kernel capture this edge only, without an offset of its own.
    ///
    /// # Errors
    /// Without `CAP_SYS_TIME` ([`DeviceError::is_not_permitted`]), or if the driver has no such edge.
    pub fn capture_only(&self, edge: PulseEdge) -> Result<(), DeviceError> {
        let mut parameters = Structure::ZERO;
        self.0.request(PPS_GETPARAMS, &mut parameters)?;
        let mode = parameters.u32(PARAMETER_MODE);
        let [assert, clear] = CAPTURE;
        let others = mode & !(assert | clear | KERNEL_OFFSETS);
        parameters.set_u32(PARAMETER_VERSION, API_VERSION);
        let wanted = others | CAPTURE[edge as usize] | FORMAT_TIMESPEC;
        parameters.set_u32(PARAMETER_MODE, wanted);
        self.0.request(PPS_SETPARAMS, &mut parameters)
    }

    /// Returns the last pulse of an edge, without waiting.
    ///
    /// # Errors
    /// Those of the driver; `ENODEV` once the device is gone.
    pub fn last(&self, edge: PulseEdge) -> Result<PulseEvent, DeviceError> {
        let mut data = Structure::ZERO;
        self.0.request(PPS_FETCH, &mut data)?;
        Ok(event(&data, edge))
    }
}

impl AsFd for PpsDevice {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.file.as_fd()
    }
}

fn event(data: &Structure<64>, edge: PulseEdge) -> PulseEvent {
    let time = TIME[edge as usize];
    let nanos = data.time(time);
    let is_valid = nanos != 0 && data.u32(time + TIME_FLAGS) & TIME_INVALID == 0;
    PulseEvent {
        sequence: data.u32(SEQUENCE[edge as usize]),
        at: is_valid.then(|| SystemTime::from_nanos(nanos)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Octets of `pps_fdata` as a C program lays them out.
    fn data(sequence: [u32; 2], times: [(i64, i32, u32); 2]) -> Structure<64> {
        let mut bytes = Vec::new();
        bytes.extend(sequence.iter().flat_map(|it| it.to_ne_bytes()));
        for (seconds, nanos, flags) in times {
            bytes.extend(seconds.to_ne_bytes());
            bytes.extend(nanos.to_ne_bytes());
            bytes.extend(flags.to_ne_bytes());
        }
        let mut data = Structure::ZERO;
        data.bytes_mut()[..40].copy_from_slice(&bytes);
        data
    }

    #[test]
    fn each_edge_has_its_event() {
        let data = data(
            [5, 9],
            [
                (1_800_000_000, 999_999_990, 0),
                (1_800_000_000, 100_000_000, 0),
            ],
        );
        let assert = event(&data, PulseEdge::Assert);
        let clear = event(&data, PulseEdge::Clear);
        let at = |nanos: i64| Some(SystemTime::from_nanos(1_800_000_000_000_000_000 + nanos));
        assert_eq!(
            assert,
            PulseEvent {
                sequence: 5,
                at: at(999_999_990)
            }
        );
        assert_eq!(
            clear,
            PulseEvent {
                sequence: 9,
                at: at(100_000_000)
            }
        );
    }

    #[test]
    fn a_device_without_pulses_has_no_time() {
        let none = data([0, 3], [(0, 0, 0), (1_800_000_000, 0, TIME_INVALID)]);
        assert_eq!(event(&none, PulseEdge::Assert).at, None);
        assert_eq!(event(&none, PulseEdge::Clear).at, None);
    }

    #[test]
    fn another_file_is_refused_by_name_of_call_and_device() {
        let file = File::open("/dev/null").expect("the null device can be opened");
        let error = PpsDevice::new(file, "/dev/null".into()).expect_err("it has no pulses");
        assert!(error.is_unsupported());
        let text = error.to_string();
        assert!(text.starts_with("/dev/null: PPS_GETCAP: "), "{text}");
    }
}
