//! Reference clocks: which device, how it is read, and what a reading of it contains.
//!
//! The settings are those of the configuration file, checked. The engine passes them to the shell,
//! whose drivers open the device; it interprets none of them.

use core::fmt;
use std::path::PathBuf;

use ntp_time::{LeapIndicator, NtpDuration, PollInterval, Stamp};
use serde::{Deserialize, Serialize};

pub use crate::event::{ClockFault, SampleRefusal};

/// A device of a reference clock, and how it is read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefClockDevice {
    /// `sock`: a Unix datagram socket to which a program sends samples.
    Sock(SockSettings),
    /// `shm`: a System V segment of shared memory to which a program writes samples.
    Shm(ShmSettings),
    /// `pps`: a pulse signal of the kernel (RFC 2783).
    Pps(PpsSettings),
    /// `phc`: a PTP hardware clock.
    Phc(PhcSettings),
    /// `nmea`: a receiver at a serial port that sends NMEA 0183 sentences.
    Nmea(NmeaSettings),
    /// `gpsd`: the JSON interface of gpsd(8).
    Gpsd(GpsdSettings),
    /// `vmclock`: the page of the hypervisor.
    VmClock(VmClockSettings),
    /// `host-clock`: the clock of the hypervisor, whichever this machine has.
    HostClock,
}

/// A device, and how often it is read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceConfig {
    /// The device.
    pub device: RefClockDevice,
    /// Time between two readings, if the driver chooses it; otherwise the expected time between two
    /// samples.
    pub interval: PollInterval,
    /// Number of readings of which the one with the median offset is passed on. 1 passes all.
    pub filter: u16,
}

/// Settings of mode `sock`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SockSettings {
    /// The socket, which the daemon creates.
    pub path: PathBuf,
    /// Its permission bits.
    pub permissions: u32,
    /// Name or number of its owner; `None` leaves the daemon's.
    pub user: Option<String>,
    /// Name or number of its group; `None` leaves the daemon's.
    pub group: Option<String>,
}

/// Settings of mode `shm`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShmSettings {
    /// Unit: the key of the segment is `0x4E545030` plus the unit.
    pub unit: u8,
    /// Name or number of the user whose segment is accepted besides those of root and the daemon.
    pub user: Option<String>,
}

/// Settings of mode `pps`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PpsSettings {
    /// The device, for example `/dev/pps0`.
    pub path: PathBuf,
    /// The edge that marks the second.
    pub edge: Edge,
    /// Time from one pulse to the next.
    #[serde(with = "ntp_time::exact")]
    pub period: NtpDuration,
    /// Width of the pulse, by which the wrong edge is found.
    #[serde(with = "ntp_time::exact")]
    pub width: Option<NtpDuration>,
}

/// Settings of mode `phc`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhcSettings {
    /// Path, index, network interface or name of the clock.
    pub device: String,
    /// The time scale that the clock shows.
    pub timescale: Timescale,
    /// Whether the driver may be asked for cross timestamps (`PTP_SYS_OFFSET_PRECISE`).
    pub cross_timestamps: bool,
    /// External timestamps to read instead of the time.
    pub external_timestamps: Option<ExternalTimestamps>,
}

/// External timestamps of a PTP hardware clock as a pulse signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExternalTimestamps {
    /// Number of the pin; `None` leaves the assignment of pins as it is.
    pub pin: Option<u32>,
    /// Number of the channel.
    pub channel: u32,
    /// The edge that marks the second.
    pub edge: Edge,
    /// Time from one pulse to the next.
    #[serde(with = "ntp_time::exact")]
    pub period: NtpDuration,
}

/// Settings of mode `nmea`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NmeaSettings {
    /// The serial port.
    pub path: PathBuf,
    /// Its speed, bits per second.
    pub speed: u32,
}

/// Settings of mode `gpsd`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpsdSettings {
    /// IP address or `localhost`.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// The receiver, if gpsd has several.
    pub device: Option<String>,
    /// The reports that are used.
    pub signal: GpsdSignal,
}

/// Reports of gpsd that are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GpsdSignal {
    /// Pulses, or the serial time if the receiver yields no pulse.
    #[default]
    Any,
    /// Pulses (`PPS`).
    Pps,
    /// The serial time (`TOFF`).
    Serial,
}

/// Settings of mode `vmclock`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmClockSettings {
    /// The device, for example `/dev/vmclock0`.
    pub path: PathBuf,
}

/// An edge of a pulse.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Edge {
    /// What the driver calls assert: usually the rising edge.
    #[default]
    Assert,
    /// What the driver calls clear: usually the falling edge.
    Clear,
}

/// The time scale of a clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Timescale {
    /// Coordinated universal time.
    #[default]
    Utc,
    /// International atomic time: ahead of UTC by 37 s since 2017.
    Tai,
}

/// TAI minus UTC since 2017.
const TAI_OFFSET: f64 = 37.0;

/// 1024 weeks: the range of the week number that GPS satellites send.
const WEEKS: f64 = 1024.0 * 7.0 * 86_400.0;

/// How far an offset may be from a suspicious value: serial ports are late by tenths of a second.
const TOLERANCE: f64 = 0.1;

impl ClockFault {
    /// Returns the probable fault of a clock that contradicts a majority, by its offset from the time
    /// of the majority. `period` is that of its pulses, if it only yields pulses.
    pub fn of_offset(offset: NtpDuration, period: Option<NtpDuration>) -> Option<Self> {
        let offset = offset.as_seconds_f64();
        let size = offset.abs();
        let is_near = |value: f64| (size - value).abs() < TOLERANCE;
        if let Some(period) = period {
            let part = size / period.as_seconds_f64();
            // Below a thousandth it is jitter or a cable, not a pulse's width.
            return (0.001..0.45).contains(&part).then_some(Self::WrongEdge);
        }
        let weeks = (size / WEEKS).round();
        if weeks >= 1.0 && (size - weeks * WEEKS).abs() < TAI_OFFSET {
            return Some(Self::WeekRollover);
        }
        if is_near(TAI_OFFSET) {
            return Some(if offset > 0.0 {
                Self::ShowsTai
            } else {
                Self::ShowsUtc
            });
        }
        if is_near(2.0 * TAI_OFFSET) {
            return Some(Self::ConvertedTwice);
        }
        if (0.4..0.6).contains(&size) {
            return Some(Self::HalfSecond);
        }
        let is_whole = size > 0.5 && is_near(size.round());
        // More than GPS minus UTC is no wrong second.
        (is_whole && size < 20.0).then_some(Self::WrongSecond)
    }
}

impl DeviceConfig {
    /// Expected time between two samples, at least a second.
    pub fn sample_interval(&self) -> NtpDuration {
        let interval = self.interval.to_duration();
        let readings = i64::from(self.filter.max(1));
        let filtered = NtpDuration::from_bits(interval.to_bits().saturating_mul(readings));
        filtered.max(NtpDuration::from_seconds(1))
    }
}

impl SockSettings {
    /// Returns a socket at `path` to which the daemon's user and root can send.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            permissions: 0o600,
            user: None,
            group: None,
        }
    }
}

impl RefClockDevice {
    /// Returns the name of the driver, which is the mode in the configuration file.
    pub const fn driver(&self) -> &'static str {
        match self {
            Self::Sock(_) => "sock",
            Self::Shm(_) => "shm",
            Self::Pps(_) => "pps",
            Self::Phc(_) => "phc",
            Self::Nmea(_) => "nmea",
            Self::Gpsd(_) => "gpsd",
            Self::VmClock(_) => "vmclock",
            Self::HostClock => "host-clock",
        }
    }

    /// Returns the time from one pulse to the next, if the device only marks the beginning of a
    /// period and does not number it.
    pub const fn pulse_period(&self) -> Option<NtpDuration> {
        match self {
            Self::Pps(pps) => Some(pps.period),
            Self::Phc(PhcSettings {
                external_timestamps: Some(pulses),
                ..
            }) => Some(pulses.period),
            _ => None,
        }
    }

    /// Returns the reference ID that is served without one in the configuration.
    pub const fn reference_id(&self) -> [u8; 4] {
        match self {
            Self::Sock(_) => *b"SOCK",
            Self::Shm(_) => *b"SHM\0",
            Self::Pps(_) => *b"PPS\0",
            Self::Phc(_) => *b"PHC\0",
            Self::Nmea(_) => *b"NMEA",
            Self::Gpsd(_) => *b"GPSD",
            Self::VmClock(_) => *b"VMCL",
            Self::HostClock => *b"HOST",
        }
    }
}

/// The name that operators use: the path if the device has one.
impl fmt::Display for RefClockDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sock(SockSettings { path, .. })
            | Self::Pps(PpsSettings { path, .. })
            | Self::Nmea(NmeaSettings { path, .. })
            | Self::VmClock(VmClockSettings { path }) => write!(f, "{}", path.display()),
            Self::Shm(shm) => write!(f, "shm:{}", shm.unit),
            Self::Phc(phc) if phc.device.starts_with('/') => f.write_str(&phc.device),
            Self::Phc(phc) => write!(f, "phc:{}", phc.device),
            Self::Gpsd(gpsd) => {
                let colons = gpsd.host.contains(':');
                let (open, close) = if colons { ("[", "]") } else { ("", "") };
                write!(f, "gpsd:{open}{}{close}:{}", gpsd.host, gpsd.port)?;
                match &gpsd.device {
                    Some(device) => write!(f, "/{}", device.trim_start_matches('/')),
                    None => Ok(()),
                }
            }
            Self::HostClock => f.write_str("host-clock"),
        }
    }
}

/// A sample of a reference clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockSample {
    /// When it was taken, by our system clock, and what took the timestamp.
    pub at: Stamp,
    /// The reference's time minus ours.
    #[serde(with = "ntp_time::exact")]
    pub offset: NtpDuration,
    /// What the reference announces. A sample of an unsynchronised reference is not used.
    pub leap: LeapIndicator,
    /// Whether only the offset modulo the period of the clock's pulses is known. Another source
    /// numbers such a sample.
    #[serde(default)]
    pub is_pulse: bool,
    /// Largest error of this sample, if the reference states one, for example by a hypervisor.
    #[serde(default, with = "ntp_time::exact")]
    pub error: Option<NtpDuration>,
}

crate::record! {
    /// What only a reference clock has.
    RefClockStatus {
        /// The driver: the mode in the configuration.
        driver: String,
        /// Time from one pulse to the next; absent if the clock numbers the seconds itself.
        period: Option<NtpDuration>,
        /// Number of samples that were accepted.
        accepted: u64,
        /// Number of readings that gave no sample, for each reason.
        refused: Vec<RefusalCount>,
    }

    /// Number of readings without a sample, of one reason.
    RefusalCount {
        /// Stable name of the reason.
        reason: String,
        /// What it means.
        text: String,
        /// How many there were.
        count: u64,
    }
}

impl RefClockStatus {
    /// Returns the number of readings without a usable sample, of all reasons together.
    pub fn refused_readings(&self) -> u64 {
        self.refused.iter().map(|refused| refused.count).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_offsets_have_a_known_cause() {
        use ClockFault::{
            ConvertedTwice, HalfSecond, ShowsTai, ShowsUtc, WeekRollover, WrongEdge, WrongSecond,
        };
        let second = Some(NtpDuration::from_seconds(1));
        for (offset, period, expected) in [
            (37.00002, None, Some(ShowsTai)),
            (-36.95, None, Some(ShowsUtc)),
            (-74.0, None, Some(ConvertedTwice)),
            (-619_315_200.3, None, Some(WeekRollover)),
            (2.0 * 619_315_200.0, None, Some(WeekRollover)),
            (1.04, None, Some(WrongSecond)),
            (-18.0, None, Some(WrongSecond)),
            (-0.52, None, Some(HalfSecond)),
            (0.2, None, None),
            (3600.0, None, None),
            (-0.1, second, Some(WrongEdge)),
            (0.2, second, Some(WrongEdge)),
            (0.000_02, second, None),
        ] {
            let offset = NtpDuration::from_seconds_f64(offset);
            assert_eq!(ClockFault::of_offset(offset, period), expected, "{offset}");
        }
    }
}
