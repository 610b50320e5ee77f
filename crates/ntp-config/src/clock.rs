//! `[clock]`: the clock to discipline, and timestamping of packets.
//!
//! The keys are those of upstream's section (`timestamp-mode`, `interface` and `clock`, in its
//! hardware builds only) and our own (`kind` and the two errors of a virtual clock). Upstream
//! requires `timestamp-mode` in the section; here it has its usual default.

use std::path::PathBuf;

use ntp_time::{Frequency, NtpDuration};
use ntp_types::path::InterfaceName;

use crate::diagnostic::Diagnostic;
use crate::document::Located;
use crate::path;
use crate::reader::{Context, Value};
use crate::schema::{self, section};
use crate::value;

/// The clock and its timestamps.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClockConfig {
    /// The clock to discipline.
    pub kind: ClockKind,
    /// Whether an operator may enter the time.
    pub manual: bool,
    /// Where packets are timestamped.
    pub timestamp_mode: Located<TimestampMode>,
    /// Network interface that client sockets are bound to.
    pub interface: Option<Located<InterfaceName>>,
    /// PTP device to discipline instead of the system clock.
    pub device: Option<Located<PathBuf>>,
}

section! {
    pub(crate) struct ClockKeys = "clock" [] {
        kind: Kind = |cx, value| value::choice(cx, value, KINDS) => or(Kind::System),
            "kind" "`system`, `virtual` or `none`" "system" "The clock to discipline: the system clock, a simulated one of this process (a dry run), or none.";
        offset: Option<Located<f64>> = value::located(|cx, value| bounded(cx, value, MAXIMUM_OFFSET_SECONDS)) => optional,
            "virtual-offset" "number, seconds" "0" "Initial offset of a virtual clock from the system clock; positive if it is ahead.";
        frequency: Option<Located<f64>> = value::located(|cx, value| bounded(cx, value, MAXIMUM_FREQUENCY_PPM)) => optional,
            "virtual-frequency" "number, parts per million" "0" "Frequency offset of a virtual clock from the system clock; positive if it is faster.";
        manual: bool = value::boolean => or(false),
            "manual" "boolean" "false" "Whether an operator may enter the time, with `ntp-ctl settime`, while no source is available.";
        timestamp_mode: Located<TimestampMode> = value::located(|cx, value| value::choice(cx, value, TIMESTAMP_MODES))
                => or(Located::default()),
            "timestamp-mode" "`software`, `kernel-recv`, `kernel-all` or `hardware`" "kernel-all" "What timestamps packets: the daemon (`software`), the kernel on reception (`kernel-recv`) or in both directions (`kernel-all`), or the network card (`hardware`).";
        interface: Option<Located<InterfaceName>> = value::located(path::interface) => optional,
            "interface" "string" "none" "Network interface or VRF that the sockets of sources without `bind-device` are bound to.";
        device: Option<Located<PathBuf>> = value::located_path => optional,
            "clock" "path" "none" "PTP device to discipline instead of the system clock.";
    }
}

/// The clock to discipline.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum ClockKind {
    /// `CLOCK_REALTIME`.
    #[default]
    System,
    /// A simulated clock on top of the system clock: a dry run that needs no privilege.
    Virtual {
        /// Initial offset from the system clock; positive if it is ahead.
        offset: NtpDuration,
        /// Frequency offset; positive if it is faster.
        frequency: Frequency,
    },
    /// None: measure and serve only.
    None,
}

/// Where packets are timestamped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimestampMode {
    /// In the daemon.
    Software,
    /// In the kernel when received, in the daemon when sent.
    KernelRecv,
    /// In the kernel.
    #[default]
    KernelAll,
    /// In the network adapter.
    Hardware,
}

/// Reads `[clock]`.
pub(crate) fn read(cx: &mut Context, value: &Value<'_>) -> Option<ClockConfig> {
    let keys: ClockKeys = schema::table(cx, value)?;
    for (key, error) in [
        ("virtual-offset", &keys.offset),
        ("virtual-frequency", &keys.frequency),
    ] {
        if let (Some(error), false) = (error, keys.kind == Kind::Virtual) {
            let message = format!("`{key}` has no effect on a clock that is not virtual");
            cx.report(
                Diagnostic::warning(error.place.clone(), message)
                    .with_help("write `kind = \"virtual\"` for a dry run"),
            );
        }
    }
    let number = |error: Option<Located<f64>>| error.unwrap_or_default().value;
    Some(ClockConfig {
        kind: match keys.kind {
            Kind::System => ClockKind::System,
            Kind::None => ClockKind::None,
            Kind::Virtual => ClockKind::Virtual {
                offset: NtpDuration::from_seconds_f64(number(keys.offset)),
                frequency: Frequency::from_ppm(number(keys.frequency)),
            },
        },
        manual: keys.manual,
        timestamp_mode: keys.timestamp_mode,
        interface: keys.interface,
        device: keys.device,
    })
}

fn bounded(cx: &mut Context, value: &Value<'_>, limit: f64) -> Option<f64> {
    let number = value::finite(cx, value)?;
    if number.abs() <= limit {
        return Some(number);
    }
    value.reject_value(cx, &format!("a number from -{limit} to {limit}"))
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    System,
    Virtual,
    None,
}

const KINDS: &[(&str, Kind)] = &[
    ("system", Kind::System),
    ("virtual", Kind::Virtual),
    ("none", Kind::None),
];

const TIMESTAMP_MODES: &[(&str, TimestampMode)] = &[
    ("software", TimestampMode::Software),
    ("kernel-recv", TimestampMode::KernelRecv),
    ("kernel-all", TimestampMode::KernelAll),
    ("hardware", TimestampMode::Hardware),
];

/// 31 years, which is within the range of the arithmetic.
const MAXIMUM_OFFSET_SECONDS: f64 = 1e9;
/// Ten per cent: more than the error of any oscillator, and within the range of the arithmetic.
const MAXIMUM_FREQUENCY_PPM: f64 = 1e5;
