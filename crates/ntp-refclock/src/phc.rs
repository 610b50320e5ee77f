//! Mode `phc`: the clock of a network card or of the host, `/dev/ptpN`.
//!
//! # Least window
//! A reading is the device between two readings of the system clock. The device was read at an
//! unknown time between both, so half of the window is the largest error. One call takes several
//! readings, of which the one with the shortest window is used: the first of a call takes 20 to
//! 100 times as long as the others, because code and data are not in the caches, and an average
//! would contain it. A window that ends before it begins shows that the system clock was stepped in
//! between; no reading of such a call is used.
//!
//! # Time scale
//! The device shows UTC, or TAI if ptp4l steers it. TAI is ahead by 37 s since 2017.

use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::{Path, PathBuf};

use ntp_os_clock::device::host_clock::{self, HostClockKind};
use ntp_os_clock::device::ptp::{
    DeviceTime, ExternalTimestamp, PtpDevice, PtpMethod, PtpReading, SignalEdge,
};
use ntp_os_clock::device::sysfs::{Sysfs, path_of};
use ntp_time::{LeapIndicator, Monotonic, NtpDuration, Stamp, StampSource, SystemTime};
use ntp_types::refclock::{
    ClockSample, Edge, ExternalTimestamps, PhcSettings, SampleRefusal, Timescale,
};
use ntp_udp::wait::Interest;

use crate::pulse;
use crate::{DeviceError, Driver, Now, Reading};

/// Readings in one call. More find a shorter window in a busy machine; ten take 10 to 20 us.
const READINGS: u32 = 10;

/// TAI minus UTC if the kernel does not know it: constant since 2017. IERS has announced no leap
/// second, and CGPM decided in 2022 that there will be none for a century from 2035 on.
const TAI_MINUS_UTC: NtpDuration = NtpDuration::from_seconds(37);

/// How much longer than the shortest window of the last minutes a window may be. With more, the
/// machine was interrupted within all readings of a call, and the next call is better.
const WINDOW_FACTOR: i64 = 8;

/// A window that is always short enough: that of a fast device.
const SHORT_WINDOW: NtpDuration = NtpDuration::from_micros(2);

/// Number of a device's calls after which a shortest window is forgotten by half.
const WINDOW_MEMORY: i64 = 64;

/// Values of `phc_error_bound` from which on it has no meaning: the driver's "unknown".
const UNKNOWN_ERROR_BOUND: u64 = u32::MAX as u64;

/// Largest difference of an external timestamp from the time of the device when it is read: it
/// waited in the kernel's queue since before the driver was opened, or the device was set.
const MAX_TIMESTAMP_AGE: NtpDuration = NtpDuration::from_seconds(2);

/// The clock that is read.
#[derive(Debug)]
pub(crate) struct Phc {
    device: PtpDevice,
    description: String,
    method: PtpMethod,
    timescale: Timescale,
    /// TAI minus UTC, if the device states it.
    tai_offset: Option<NtpDuration>,
    interval: NtpDuration,
    next: Monotonic,
    window: WindowLimit,
    /// The attribute with the largest error in nanoseconds, if the driver has one.
    error_bound: Option<(Sysfs, String)>,
    pulses: Option<ExternalTimestamps>,
}

impl Phc {
    /// Opens the clock that the settings name.
    pub(crate) fn open(
        settings: &PhcSettings,
        interval: NtpDuration,
        now: Now,
    ) -> Result<Self, DeviceError> {
        let mut phc = Self::open_on(&Sysfs::default(), settings, interval, now)?;
        if let Some(pulses) = settings.external_timestamps {
            phc.start_pulses(pulses)?;
        }
        Ok(phc)
    }

    /// Opens the clock that the settings name on a machine with these attributes, to read its time.
    pub(crate) fn open_on(
        sysfs: &Sysfs,
        settings: &PhcSettings,
        interval: NtpDuration,
        now: Now,
    ) -> Result<Self, DeviceError> {
        let path = find(sysfs, &settings.device)?;
        Self::open_path(sysfs, &path, settings, interval, now)
    }

    /// Opens the clock of the host.
    pub(crate) fn open_host_clock(interval: NtpDuration, now: Now) -> Result<Self, DeviceError> {
        let sysfs = Sysfs::default();
        let host = host_clock::find(&sysfs).ok_or_else(|| {
            DeviceError::Unsuitable(
                "no clock of the host was found: this machine is not virtual, or the module \
                 (ptp_kvm, hv_utils, ptp_vmclock, or ena with phc_enable=1) is not loaded"
                    .to_owned(),
            )
        })?;
        let settings = PhcSettings {
            device: String::new(),
            timescale: Timescale::Utc,
            cross_timestamps: true,
            external_timestamps: None,
        };
        let mut phc = Self::open_path(&sysfs, &host.clock.path(), &settings, interval, now)?;
        phc.description = format!("{}: {}", host.kind, phc.description);
        if host.kind != HostClockKind::Ena {
            phc.description
                .push_str("; the host does not state its error: set error-bound");
        }
        Ok(phc)
    }

    fn open_path(
        sysfs: &Sysfs,
        path: &Path,
        settings: &PhcSettings,
        interval: NtpDuration,
        now: Now,
    ) -> Result<Self, DeviceError> {
        let writable = settings.external_timestamps.is_some();
        let opened = ntp_files::open_device(path, writable);
        let opened = opened.map_err(DeviceError::during(format!("opening {}", path.display())))?;
        let device = PtpDevice::new(opened, path.to_owned())?;
        let method = device.best_method(settings.cross_timestamps)?;
        let index = index_of(path);
        let name = index.and_then(|index| sysfs.clock_name(index));
        let error_bound = index.map(|index| {
            let attribute = format!("class/ptp/ptp{index}/device/phc_error_bound");
            (sysfs.clone(), attribute)
        });
        Ok(Self {
            device,
            description: format!(
                "{}, \"{}\", read by {}",
                path.display(),
                name.unwrap_or_default(),
                method_name(method)
            ),
            method,
            timescale: settings.timescale,
            tai_offset: None,
            interval,
            next: now.monotonic,
            window: WindowLimit::default(),
            error_bound: error_bound
                .filter(|(sysfs, attribute)| sysfs.attribute(attribute).is_some()),
            pulses: None,
        })
    }

    /// Sets TAI minus UTC, as the device states it.
    pub(crate) fn set_tai_offset(&mut self, stated: Option<NtpDuration>) {
        self.tai_offset = stated;
    }

    fn start_pulses(&mut self, pulses: ExternalTimestamps) -> Result<(), DeviceError> {
        if let Some(pin) = pulses.pin {
            self.device.connect_pin(pin, pulses.channel)?;
        }
        let edge = match pulses.edge {
            Edge::Assert => SignalEdge::Rising,
            Edge::Clear => SignalEdge::Falling,
        };
        self.device.request_timestamps(pulses.channel, Some(edge))?;
        self.description = format!("{}: pulses of channel {}", self.description, pulses.channel);
        self.pulses = Some(pulses);
        Ok(())
    }

    /// Reads device and system clock together.
    fn read_clocks(&mut self) -> Result<Result<PtpReading, SampleRefusal>, DeviceError> {
        match self.device.read(self.method, READINGS) {
            Ok(readings) => Ok(shortest(&readings).and_then(|it| self.window.check(it))),
            // A host may have no recent reading of its own clock.
            Err(error) if error.is_temporary() => Ok(Err(SampleRefusal::NotReady)),
            Err(error) => Err(error.into()),
        }
    }

    /// The largest error that the driver states for the device now.
    fn stated_error(&self) -> NtpDuration {
        let Some((sysfs, attribute)) = &self.error_bound else {
            return NtpDuration::ZERO;
        };
        let nanos = sysfs
            .attribute(attribute)
            .and_then(|text| text.parse().ok());
        let known = nanos.filter(|nanos: &u64| *nanos < UNKNOWN_ERROR_BOUND);
        // Unknown is not zero: such a sample must not look exact.
        known.map_or(NtpDuration::from_seconds(1), |nanos| {
            NtpDuration::from_nanos(i64::try_from(nanos).unwrap_or(i64::MAX))
        })
    }

    fn read_time(&mut self, readings: &mut Vec<Reading>) -> Result<(), DeviceError> {
        let stated = self.stated_error();
        // Asked each time: a leap second changes it.
        let ahead = match self.timescale {
            Timescale::Utc => NtpDuration::ZERO,
            Timescale::Tai => tai_minus_utc(self.tai_offset.or_else(ntp_os_clock::tai_offset)),
        };
        readings.push(
            self.read_clocks()?
                .map(|reading| sample(&reading, ahead, stated)),
        );
        Ok(())
    }

    fn read_pulse(
        &mut self,
        pulses: ExternalTimestamps,
        readings: &mut Vec<Reading>,
    ) -> Result<(), DeviceError> {
        let pulse = self.device.next_timestamp()?;
        if pulse.channel != pulses.channel {
            return Ok(());
        }
        let reading = self.read_clocks()?;
        readings.push(reading.and_then(|clocks| pulse_sample(pulse, &clocks, pulses.period)));
        Ok(())
    }
}

impl Driver for Phc {
    fn descriptor(&self) -> Option<(BorrowedFd<'_>, Interest)> {
        let fd = self.device.as_fd();
        self.pulses.is_some().then_some((fd, Interest::Readable))
    }

    fn next_read(&self) -> Option<Monotonic> {
        self.pulses.is_none().then_some(self.next)
    }

    fn read(&mut self, now: Now, readings: &mut Vec<Reading>) -> Result<(), DeviceError> {
        if let Some(pulses) = self.pulses {
            return self.read_pulse(pulses, readings);
        }
        self.next = now.monotonic + self.interval;
        self.read_time(readings)
    }

    fn description(&self) -> String {
        self.description.clone()
    }
}

/// Returns the device file of the clock that the configuration names: by path, number, network
/// interface or the name that its driver gave it.
pub(crate) fn find(sysfs: &Sysfs, device: &str) -> Result<PathBuf, DeviceError> {
    if device.starts_with('/') {
        return Ok(PathBuf::from(device));
    }
    if let Ok(index) = device.parse() {
        return Ok(path_of(index));
    }
    if let Some(index) = sysfs.clock_of_interface(device) {
        return Ok(path_of(index));
    }
    let clocks = sysfs.ptp_clocks();
    if let Some(clock) = clocks.iter().find(|clock| clock.name == device) {
        return Ok(clock.path());
    }
    let names: Vec<_> = clocks
        .iter()
        .map(|clock| format!("{:?}", clock.name))
        .collect();
    Err(DeviceError::Unsuitable(format!(
        "no network interface with a PTP clock and no PTP clock is called {device:?}; clocks: {}",
        if names.is_empty() {
            "none".to_owned()
        } else {
            names.join(", ")
        }
    )))
}

fn index_of(path: &Path) -> Option<u32> {
    let name = std::fs::canonicalize(path).ok()?;
    name.file_name()?
        .to_str()?
        .strip_prefix("ptp")?
        .parse()
        .ok()
}

fn method_name(method: PtpMethod) -> &'static str {
    match method {
        PtpMethod::Precise => "cross timestamps (PTP_SYS_OFFSET_PRECISE)",
        PtpMethod::Extended => "PTP_SYS_OFFSET_EXTENDED",
        PtpMethod::Offset => "PTP_SYS_OFFSET",
    }
}

fn tai_minus_utc(known: Option<NtpDuration>) -> NtpDuration {
    known.unwrap_or(TAI_MINUS_UTC)
}

/// Returns the reading with the shortest window.
fn shortest(readings: &[PtpReading]) -> Result<PtpReading, SampleRefusal> {
    let times = readings.iter().flat_map(|it| [it.before, it.after]);
    if !times.is_sorted() {
        return Err(SampleRefusal::Inconsistent);
    }
    let shortest = readings.iter().min_by_key(|it| it.after - it.before);
    shortest.copied().ok_or(SampleRefusal::NotReady)
}

/// Refuses windows that are much longer than usual.
#[derive(Debug, Default)]
struct WindowLimit {
    shortest: Option<NtpDuration>,
}

impl WindowLimit {
    fn check(&mut self, reading: PtpReading) -> Result<PtpReading, SampleRefusal> {
        let window = reading.after - reading.before;
        // A device that has become slower for good is believed after a while.
        let remembered = self.shortest.map(|it| it + scaled(it, 1, WINDOW_MEMORY));
        let shortest = remembered.map_or(window, |it| it.min(window));
        self.shortest = Some(shortest);
        if window > scaled(shortest, WINDOW_FACTOR, 1).max(SHORT_WINDOW) {
            return Err(SampleRefusal::Slow);
        }
        Ok(reading)
    }
}

fn scaled(duration: NtpDuration, factor: i64, divisor: i64) -> NtpDuration {
    NtpDuration::from_nanos(duration.as_nanos().saturating_mul(factor) / divisor)
}

/// Converts a reading to a sample. `stated` is the largest error of the device.
fn sample(reading: &PtpReading, ahead_of_utc: NtpDuration, stated: NtpDuration) -> ClockSample {
    let half_window = (reading.after - reading.before).half();
    let at = reading.before + half_window;
    let utc = SystemTime::from_nanos(reading.device.as_nanos()) - ahead_of_utc;
    ClockSample {
        at: stamp(at),
        offset: utc - at,
        leap: LeapIndicator::None,
        is_pulse: false,
        error: Some(stated + half_window),
    }
}

/// Converts a pulse that the device dated to a sample, by a reading of both clocks afterwards.
fn pulse_sample(
    pulse: ExternalTimestamp,
    clocks: &PtpReading,
    period: NtpDuration,
) -> Result<ClockSample, SampleRefusal> {
    let half_window = (clocks.after - clocks.before).half();
    let age = nanos_between(pulse.at, clocks.device);
    if age > MAX_TIMESTAMP_AGE || age < -half_window {
        return Err(SampleRefusal::Stale);
    }
    let at = clocks.before + half_window - age;
    Ok(ClockSample {
        error: Some(half_window),
        ..pulse::sample(stamp(at), period)
    })
}

fn nanos_between(earlier: DeviceTime, later: DeviceTime) -> NtpDuration {
    NtpDuration::from_nanos(later.as_nanos().saturating_sub(earlier.as_nanos()))
}

fn stamp(time: SystemTime) -> Stamp {
    // The device is read by a driver of the kernel.
    Stamp {
        time,
        source: StampSource::Kernel,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_800_000_000_000_000_000;

    /// A reading of a device that is ahead by `ahead`, in nanoseconds.
    fn reading(begins: i64, window: i64, ahead: i64) -> PtpReading {
        PtpReading {
            before: SystemTime::from_nanos(SECOND + begins),
            device: DeviceTime::from_nanos(SECOND + begins + window / 2 + ahead),
            after: SystemTime::from_nanos(SECOND + begins + window),
        }
    }

    #[test]
    fn the_shortest_window_wins_and_states_its_error() {
        let readings = [
            reading(0, 50_000, 900),
            reading(50_000, 600, 70),
            reading(51_000, 900, 0),
        ];
        let best = shortest(&readings).unwrap();
        let sample = sample(&best, NtpDuration::ZERO, NtpDuration::from_nanos(1000));
        assert_eq!(sample.offset.as_nanos(), 70);
        assert_eq!(sample.error, Some(NtpDuration::from_nanos(1300)));
        assert_eq!(sample.at.time.as_nanos(), SECOND + 50_300);
    }

    #[test]
    fn a_step_of_the_clock_between_readings_voids_the_call() {
        let within = [reading(0, 600, 0), reading(1000, -300_000, 0)];
        let between = [reading(0, 600, 0), reading(-1_000_000, 600, 0)];
        for readings in [&within, &between] {
            assert_eq!(shortest(readings), Err(SampleRefusal::Inconsistent));
        }
        assert_eq!(shortest(&[]), Err(SampleRefusal::NotReady));
    }

    #[test]
    fn a_device_in_tai_is_converted() {
        let tai = sample(
            &reading(0, 0, 37_000_000_000),
            tai_minus_utc(None),
            NtpDuration::ZERO,
        );
        assert_eq!(tai.offset, NtpDuration::ZERO);
        let later = tai_minus_utc(Some(NtpDuration::from_seconds(38)));
        assert_eq!(later, NtpDuration::from_seconds(38));
    }

    #[test]
    fn an_interrupted_call_is_refused_and_a_slower_device_believed_after_a_while() {
        let mut limit = WindowLimit::default();
        assert!(limit.check(reading(0, 1000, 0)).is_ok());
        assert!(limit.check(reading(0, 1900, 0)).is_ok());
        assert_eq!(
            limit.check(reading(0, 500_000, 0)),
            Err(SampleRefusal::Slow)
        );
        let calls = (0..1000).position(|_| limit.check(reading(0, 50_000, 0)).is_ok());
        assert!(
            calls.is_some_and(|calls| (50..500).contains(&calls)),
            "{calls:?}"
        );
    }

    #[test]
    fn an_external_timestamp_is_a_pulse_of_the_system_clock() {
        // The device is 5 s ahead and was read 0.2 s after the pulse, which came 3 ms late.
        let clocks = reading(203_000_000, 1000, 5_000_000_000);
        let pulse = ExternalTimestamp {
            at: DeviceTime::from_nanos(SECOND + 5_003_000_000),
            channel: 0,
        };
        let sample = pulse_sample(pulse, &clocks, NtpDuration::from_seconds(1)).unwrap();
        assert!(sample.is_pulse);
        let offset = sample.offset.as_nanos();
        assert!((offset + 3_000_000).abs() < 1000, "{offset}");
        let old = ExternalTimestamp {
            at: DeviceTime::from_nanos(SECOND),
            ..pulse
        };
        let old = pulse_sample(old, &clocks, NtpDuration::from_seconds(1));
        assert_eq!(old, Err(SampleRefusal::Stale));
    }

    #[test]
    fn a_clock_is_found_by_path_number_interface_and_name() {
        let tree = tempfile::tempdir().unwrap();
        for (path, text) in [
            ("class/ptp/ptp4/clock_name", "KVM virtual PTP\n"),
            ("class/net/eth0/device/ptp/ptp1/dev", "250:1\n"),
        ] {
            let path = tree.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let find = |device: &str| find(&Sysfs::at(tree.path()), device);
        for (device, path) in [
            ("/dev/ptp_hyperv", "/dev/ptp_hyperv"),
            ("3", "/dev/ptp3"),
            ("eth0", "/dev/ptp1"),
            ("KVM virtual PTP", "/dev/ptp4"),
        ] {
            assert_eq!(find(device).unwrap(), Path::new(path));
        }
        let error = find("eth9").unwrap_err().to_string();
        assert!(
            error.contains("eth9") && error.contains("KVM virtual PTP"),
            "{error}"
        );
    }
}
