//! `[[source]]` of a reference clock: modes `sock`, `shm`, `pps`, `phc`, `nmea`, `gpsd`, `vmclock`
//! and `host-clock`.
//!
//! One table ([`MODES`]) has the modes with what distinguishes them; all other code treats
//! reference clocks alike. The keys of a mode are declared by a `section!` here; those that all
//! modes have are [`CommonKeys`].
//!
//! Quality is stated by two standard deviations in seconds: `precision` for the noise of a
//! single sample, `accuracy` for the error that all samples share. Files from before 1.5 have
//! the variance (s²) under another name, `measurement_noise_estimate`; its square root is used.

use std::path::PathBuf;

use ntp_time::{NtpDuration, PollInterval, ReferenceId, Stratum};
use ntp_types::host::Host;
use ntp_types::refclock::{
    DeviceConfig, Edge, ExternalTimestamps, GpsdSettings, GpsdSignal, NmeaSettings, PhcSettings,
    PpsSettings, RefClockDevice, ShmSettings, SockSettings, Timescale, VmClockSettings,
};
use toml::de::DeValue;

use crate::address::{self, Address};
use crate::diagnostic::Diagnostic;
use crate::document::Located;
use crate::poll;
use crate::reader::{Context, Section, Value};
use crate::schema::{Table, section};
use crate::selection_options::SelectionOptions;
use crate::{observability, synchronization, value};

/// Reads the keys that describe the device of a mode.
type ReadDevice = fn(&mut Context, &mut Section<'_>) -> Option<RefClockDevice>;

/// A mode of reference clocks.
struct Mode {
    name: &'static str,
    read: ReadDevice,
    /// `precision` in seconds without that key; `None` if the key is required.
    precision: Option<f64>,
    /// `poll-interval` without that key, as a power of two in seconds: how often the usual programs
    /// and devices of the mode yield a sample, and twice that for programs whose rate varies.
    interval: i8,
    /// Whether its time is good enough to be used without a stated `accuracy`.
    is_accurate: bool,
}

/// The modes of reference clocks.
#[rustfmt::skip]
const MODES: [Mode; 8] = [
    Mode { name: "sock", read: sock, precision: None, interval: 1, is_accurate: true },
    Mode { name: "shm", read: shm, precision: None, interval: 0, is_accurate: true },
    Mode { name: "pps", read: pps, precision: None, interval: 0, is_accurate: true },
    Mode { name: "phc", read: phc, precision: Some(1e-7), interval: 0, is_accurate: true },
    // Sentences leave a receiver tenths of a second after the second that they name.
    Mode { name: "nmea", read: nmea, precision: Some(0.05), interval: 0, is_accurate: false },
    Mode { name: "gpsd", read: gpsd, precision: None, interval: 1, is_accurate: true },
    Mode { name: "vmclock", read: vmclock, precision: Some(1e-6), interval: 0, is_accurate: true },
    Mode { name: "host-clock", read: host_clock, precision: Some(1e-6), interval: 0, is_accurate: true },
];

/// The names of the modes.
pub(crate) const NAMES: [&str; MODES.len()] = {
    let mut names = [""; MODES.len()];
    let mut index = 0;
    while index < names.len() {
        names[index] = MODES[index].name;
        index += 1;
    }
    names
};

/// A reference clock.
#[derive(Clone, Debug, PartialEq)]
pub struct RefClockSource {
    /// The device, and how it is read.
    pub reader: DeviceConfig,
    /// Quality of the samples.
    pub quality: Quality,
    /// Largest error of a sample, in seconds; 0 if only `accuracy` is known.
    pub error_bound_seconds: f64,
    /// Added to each sample.
    pub offset: NtpDuration,
    /// Root delay of the clock.
    pub delay: NtpDuration,
    /// Stratum of the clock.
    pub stratum: Stratum,
    /// Reference ID that is served while the clock is followed.
    pub reference_id: ReferenceId,
    /// The source that numbers the pulses, as the file names it.
    pub lock: Option<Located<String>>,
    /// Selection options.
    pub selection: SelectionOptions,
}

impl RefClockSource {
    /// Whether it can be part of a majority: a source that is not excluded, and that numbers the
    /// seconds itself.
    pub(crate) const fn votes(&self) -> bool {
        !self.selection.noselect && self.reader.device.pulse_period().is_none()
    }
}

section! {
    /// Keys of mode `sock`.
    pub(crate) struct SockKeys = "source" ["sock"] {
        path: PathBuf = value::path => required,
            "path" "path" "required" "Unix datagram socket that is created for samples; an existing socket of that name is replaced.";
        permissions: u32 = observability::permissions => or(0o600),
            "permissions" "integer" "0o600" "Permissions of the socket; write them in octal. Root may send samples in any case.";
        user: Option<String> = value::string => optional,
            "user" "string" "none" "Name or number of the user who owns the socket, if it is not the daemon's.";
        group: Option<String> = value::string => optional,
            "group" "string" "none" "Name or number of the group of the socket, if it is not the daemon's.";
    }
}

section! {
    /// Keys of mode `shm`.
    pub(crate) struct ShmKeys = "source" ["shm"] {
        unit: u8 = value::whole => required,
            "unit" "integer" "required" "Unit of the segment of shared memory: its key is 0x4E545030 plus the unit. Units 0 and 1 are those of programs that run as root.";
        user: Option<String> = value::string => optional,
            "user" "string" "none" "Name or number of the user whose segment is accepted, besides root and the daemon's user.";
    }
}

section! {
    /// Keys of mode `pps`.
    pub(crate) struct PpsKeys = "source" ["pps"] {
        path: PathBuf = value::path => required,
            "path" "path" "required" "The pulse device, for example `/dev/pps0`.";
        width: Option<NtpDuration> = seconds_above_zero => optional,
            "width" "number, seconds" "none" "Width of the pulse; a pulse that looks like the other edge is refused.";
    }
}

section! {
    /// Keys of pulses.
    pub(crate) struct PulseKeys = "source" ["pps", "phc"] {
        edge: Edge = |cx, value| value::choice(cx, value, EDGES) => or(Edge::Assert),
            "edge" "`assert` or `clear`" "assert" "The edge of the pulse that marks the second.";
        period_seconds: Option<Located<f64>> = value::located(value::positive) => optional,
            "period" "number, seconds" "1.0" "Interval between pulses.";
        rate: Option<Located<f64>> = value::located(value::positive) => optional,
            "rate" "number, hertz" "1.0" "Pulses per second, instead of `period`.";
    }
}

section! {
    /// Keys of mode `phc`.
    pub(crate) struct PhcKeys = "source" ["phc"] {
        device: String = phc_device => required,
            "device" "string or integer" "required" "PTP hardware clock: a path such as `/dev/ptp0`, its number, the network interface that it belongs to, or its name.";
        timescale: Timescale = |cx, value| value::choice(cx, value, TIMESCALES) => or(Timescale::Utc),
            "timescale" "`utc` or `tai`" "utc" "Time scale that the clock shows. Clocks that ptp4l steers show TAI.";
        cross_timestamps: bool = value::boolean => or(true),
            "cross-timestamps" "boolean" "true" "Whether the clock and the system clock are read by the hardware at the same time, if it can.";
        channel: Option<u32> = value::whole => optional,
            "channel" "integer" "none" "Channel of external timestamps, which are then read as pulses instead of the time.";
        pin: Option<Located<u32>> = value::located(value::whole) => optional,
            "pin" "integer" "none" "Pin that is assigned to the channel.";
    }
}

section! {
    /// Keys of mode `nmea`.
    pub(crate) struct NmeaKeys = "source" ["nmea"] {
        path: PathBuf = value::path => required,
            "path" "path" "required" "Serial port of the receiver, for example `/dev/ttyS0`.";
        speed: u32 = speed => or(9600),
            "speed" "integer, bits per second" "9600" "Speed of the serial port.";
    }
}

section! {
    /// Keys of mode `gpsd`.
    pub(crate) struct GpsdKeys = "source" ["gpsd"] {
        address: Address = gpsd_address => or(Address { host: Host::Name(LOCALHOST.into()), port: GPSD_PORT }),
            "address" "string" "localhost:2947" "IP address, or `localhost`, at which gpsd is reached, with an optional port (default 2947).";
        device: Option<String> = value::string => optional,
            "device" "string" "any" "The receiver, as gpsd names it, for example `/dev/ttyS0`.";
        signal: GpsdSignal = |cx, value| value::choice(cx, value, SIGNALS) => or(GpsdSignal::Any),
            "signal" "`any`, `pps` or `serial`" "any" "What is used: pulses, the time of sentences, or (`any`) pulses, and sentences only if the receiver yields no pulse.";
    }
}

section! {
    /// Keys of mode `vmclock`.
    pub(crate) struct VmClockKeys = "source" ["vmclock"] {
        path: PathBuf = value::path => or(PathBuf::from("/dev/vmclock0")),
            "path" "path" "/dev/vmclock0" "The device of the hypervisor's clock.";
    }
}

section! {
    pub(crate) struct VarianceKey = "source" ["sock", "pps"] {
        variance: Option<Located<f64>> = value::located(value::positive) => optional,
            "measurement_noise_estimate" "number, seconds squared" "none" "Deprecated: variance of the noise of one sample, instead of `precision`.";
    }
}

section! {
    /// Keys that all reference clocks have.
    pub(crate) struct CommonKeys = "source" NAMES {
        precision: Option<Located<f64>> = value::located(value::positive) => optional,
            "precision" "number, seconds" "1e-7 for `phc`, 0.05 for `nmea`, 1e-6 for `vmclock` and `host-clock`, otherwise required" "Standard deviation of the noise of one sample.";
        accuracy: f64 = value::positive => or(0.0),
            "accuracy" "number, seconds" "0" "Standard deviation of the error that all samples have in common.";
        error_bound: f64 = value::positive => or(0.0),
            "error-bound" "number, seconds" "twice `accuracy`" "Largest error that all samples have in common: half the width of the interval in which true time lies.";
        interval: Option<PollInterval> = poll::interval => optional,
            "poll-interval" "integer, log2 seconds" "1 for `sock` and `gpsd`, otherwise 0" "Interval at which the device is read, or at which a program is expected to send samples. After eight intervals without a sample the clock is unreachable.";
        filter: u16 = filter => or(1),
            "filter" "integer" "1" "Number of samples of which only the one with the median offset is used.";
        offset: NtpDuration = seconds => or(NtpDuration::ZERO),
            "offset" "number, seconds" "0" "Added to each sample: how late the clock's time arrives.";
        delay: NtpDuration = seconds_not_negative => or(NtpDuration::ZERO),
            "delay" "number, seconds" "0" "Root delay of the clock: twice the error of unknown sign that it may have. A larger value lets a coarse clock agree with others.";
        stratum: Stratum = stratum => or(Stratum::new(0)),
            "stratum" "integer" "0" "Stratum of the clock, 0 to 14. The daemon serves one more.";
        reference_id: Option<ReferenceId> = synchronization::reference_id => optional,
            "reference-id" "string" "by mode: `SOCK`, `SHM`, `PPS`, ..." "Reference ID that the daemon serves while it follows the clock: up to four characters.";
        lock: Option<Located<String>> = value::located(value::string) => optional,
            "lock" "string" "none" "Name of the source that numbers the pulses of this clock. Without it the synchronised clock numbers them.";
    }
}

/// Quality of the samples of a reference clock. Values below a nanosecond are meaningful here,
/// which `NtpDuration` does not resolve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quality {
    /// Standard deviation of one sample's noise, in seconds; above zero.
    pub precision_seconds: f64,
    /// Standard deviation of the error common to all samples, in seconds.
    pub accuracy_seconds: f64,
}

const EDGES: &[(&str, Edge)] = &[("assert", Edge::Assert), ("clear", Edge::Clear)];
const TIMESCALES: &[(&str, Timescale)] = &[("utc", Timescale::Utc), ("tai", Timescale::Tai)];
const SIGNALS: &[(&str, GpsdSignal)] = &[
    ("any", GpsdSignal::Any),
    ("pps", GpsdSignal::Pps),
    ("serial", GpsdSignal::Serial),
];
const LOCALHOST: &str = "localhost";
/// Port of gpsd(8).
const GPSD_PORT: u16 = 2947;

/// Reads a reference clock, whose mode the section knows.
pub(crate) fn read(cx: &mut Context, section: &mut Section<'_>) -> Option<RefClockSource> {
    let name = section.mode();
    let mode = MODES.iter().find(|mode| Some(mode.name) == name)?;
    let device = (mode.read)(cx, section);
    let keys = CommonKeys::read_keys(cx, section);
    let selection = SelectionOptions::read_keys(cx, section);
    let quality = keys
        .as_ref()
        .and_then(|keys| quality(cx, section, mode, keys));
    let (device, keys, mut selection) = (device?, keys?, selection?);
    let is_stated = keys.accuracy > 0.0 || keys.error_bound > 0.0;
    selection.noselect |= !mode.is_accurate && !is_stated;
    let interval = PollInterval::from_log2(mode.interval);
    Some(RefClockSource {
        quality: quality?,
        error_bound_seconds: keys.error_bound,
        offset: keys.offset,
        delay: keys.delay,
        stratum: keys.stratum,
        reference_id: keys
            .reference_id
            .unwrap_or(ReferenceId::new(device.reference_id())),
        lock: keys.lock,
        selection,
        reader: DeviceConfig {
            device,
            interval: keys.interval.unwrap_or(interval),
            filter: keys.filter,
        },
    })
}

fn quality(
    cx: &mut Context,
    section: &mut Section<'_>,
    mode: &Mode,
    keys: &CommonKeys,
) -> Option<Quality> {
    let variance = if VarianceKey::KEYS
        .iter()
        .any(|key| key.modes.contains(&mode.name))
    {
        VarianceKey::read_keys(cx, section)?.variance
    } else {
        None
    };
    if mode.precision.is_none() && !section.contains("measurement_noise_estimate") {
        section.require("precision");
    }
    if let (Some(precision), Some(variance)) = (&keys.precision, &variance) {
        let diagnostic = Diagnostic::error(precision.place.clone(), "duplicate field `precision`")
            .with_related(variance.place.clone(), "the same under its old name")
            .with_help("remove `measurement_noise_estimate`");
        cx.report(diagnostic);
    }
    if let Some(variance) = &variance {
        let message = "`measurement_noise_estimate` is deprecated";
        let precision = variance.sqrt();
        cx.report(
            Diagnostic::warning(variance.place.clone(), message).with_help(format!(
                "write its square root as `precision = {precision:e}`"
            )),
        );
    }
    let precision = match (variance, &keys.precision) {
        (Some(variance), _) => variance.sqrt(),
        (None, Some(precision)) => precision.value,
        (None, None) => mode.precision?,
    };
    Some(Quality {
        precision_seconds: precision,
        accuracy_seconds: keys.accuracy,
    })
}

fn sock(cx: &mut Context, section: &mut Section<'_>) -> Option<RefClockDevice> {
    let keys = SockKeys::read_keys(cx, section)?;
    Some(RefClockDevice::Sock(SockSettings {
        path: keys.path,
        permissions: keys.permissions,
        user: keys.user,
        group: keys.group,
    }))
}

fn shm(cx: &mut Context, section: &mut Section<'_>) -> Option<RefClockDevice> {
    let ShmKeys { unit, user } = ShmKeys::read_keys(cx, section)?;
    Some(RefClockDevice::Shm(ShmSettings { unit, user }))
}

fn pps(cx: &mut Context, section: &mut Section<'_>) -> Option<RefClockDevice> {
    let keys = PpsKeys::read_keys(cx, section);
    let pulses = pulses(cx, section);
    let (PpsKeys { path, width }, (edge, period)) = (keys?, pulses?);
    Some(RefClockDevice::Pps(PpsSettings {
        path,
        edge,
        period,
        width,
    }))
}

/// The edge and the period of pulses.
fn pulses(cx: &mut Context, section: &mut Section<'_>) -> Option<(Edge, NtpDuration)> {
    let keys = PulseKeys::read_keys(cx, section)?;
    let seconds = match (&keys.period_seconds, &keys.rate) {
        (Some(period), Some(rate)) => {
            let message = "`rate` and `period` state the same";
            let error = Diagnostic::error(rate.place.clone(), message);
            cx.report(error.with_related(period.place.clone(), "the period"));
            return None;
        }
        (Some(period), None) => period.value,
        (None, Some(rate)) => rate.value.recip(),
        (None, None) => 1.0,
    };
    Some((keys.edge, NtpDuration::from_seconds_f64(seconds)))
}

fn phc(cx: &mut Context, section: &mut Section<'_>) -> Option<RefClockDevice> {
    let keys = PhcKeys::read_keys(cx, section);
    let pulses = pulses(cx, section);
    let (keys, (edge, period)) = (keys?, pulses?);
    if let (None, Some(pin)) = (keys.channel, &keys.pin) {
        let error = Diagnostic::error(pin.place.clone(), "`pin` without `channel`");
        cx.report(error.with_help("add the channel of the external timestamps: `channel = 0`"));
        return None;
    }
    Some(RefClockDevice::Phc(PhcSettings {
        device: keys.device,
        timescale: keys.timescale,
        cross_timestamps: keys.cross_timestamps,
        external_timestamps: keys.channel.map(|channel| ExternalTimestamps {
            pin: keys.pin.map(|pin| pin.value),
            channel,
            edge,
            period,
        }),
    }))
}

fn nmea(cx: &mut Context, section: &mut Section<'_>) -> Option<RefClockDevice> {
    let NmeaKeys { path, speed } = NmeaKeys::read_keys(cx, section)?;
    Some(RefClockDevice::Nmea(NmeaSettings { path, speed }))
}

fn gpsd(cx: &mut Context, section: &mut Section<'_>) -> Option<RefClockDevice> {
    let keys = GpsdKeys::read_keys(cx, section)?;
    Some(RefClockDevice::Gpsd(GpsdSettings {
        host: keys.address.host.to_string(),
        port: keys.address.port,
        device: keys.device,
        signal: keys.signal,
    }))
}

fn vmclock(cx: &mut Context, section: &mut Section<'_>) -> Option<RefClockDevice> {
    let VmClockKeys { path } = VmClockKeys::read_keys(cx, section)?;
    Some(RefClockDevice::VmClock(VmClockSettings { path }))
}

fn host_clock(_: &mut Context, _: &mut Section<'_>) -> Option<RefClockDevice> {
    Some(RefClockDevice::HostClock)
}

/// A text, or the number of a clock.
fn phc_device(cx: &mut Context, value: &Value<'_>) -> Option<String> {
    match value.node {
        DeValue::Integer(_) => value::whole::<u32>(cx, value).map(|number| number.to_string()),
        _ => value::string(cx, value).filter(|text| !text.is_empty()),
    }
}

/// An address that needs no name resolution, which may block.
fn gpsd_address(cx: &mut Context, value: &Value<'_>) -> Option<Address> {
    let address = address::read(cx, value, GPSD_PORT)?;
    match &address.host {
        Host::Name(name) if name != LOCALHOST => {
            value.reject_value(cx, "an IP address or `localhost`")
        }
        _ => Some(address),
    }
}

/// Speeds that every serial port of Linux has.
fn speed(cx: &mut Context, value: &Value<'_>) -> Option<u32> {
    const SPEEDS: [u32; 9] = [
        1200, 2400, 4800, 9600, 19_200, 38_400, 57_600, 115_200, 230_400,
    ];
    let speed = value::whole(cx, value)?;
    if SPEEDS.contains(&speed) {
        return Some(speed);
    }
    let speeds = SPEEDS.map(|speed| speed.to_string()).join(", ");
    value.reject_value(cx, &format!("one of {speeds}"))
}

fn filter(cx: &mut Context, value: &Value<'_>) -> Option<u16> {
    let number = value::within(cx, value, 1..=1000)?;
    u16::try_from(number).ok()
}

fn stratum(cx: &mut Context, value: &Value<'_>) -> Option<Stratum> {
    let number = value::within(cx, value, 0..=14)?;
    u8::try_from(number).ok().map(Stratum::new)
}

/// Number of seconds of either sign.
fn seconds(cx: &mut Context, value: &Value<'_>) -> Option<NtpDuration> {
    value::finite(cx, value).map(NtpDuration::from_seconds_f64)
}

/// Number of seconds, 0 included.
fn seconds_not_negative(cx: &mut Context, value: &Value<'_>) -> Option<NtpDuration> {
    let duration = seconds(cx, value)?;
    if duration < NtpDuration::ZERO {
        return value.reject_value(cx, "a number of seconds that is not negative");
    }
    Some(duration)
}

fn seconds_above_zero(cx: &mut Context, value: &Value<'_>) -> Option<NtpDuration> {
    value::positive(cx, value).map(NtpDuration::from_seconds_f64)
}
