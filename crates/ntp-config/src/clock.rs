//! `[clock]`: the clock to be corrected, and how packets are timestamped.
//!
//! The union of upstream's section (which only its hardware builds have: `timestamp-mode`,
//! `interface`, `clock`) and ours (`kind` and the two errors of a virtual clock). Upstream
//! demands `timestamp-mode` where the section stands; here it has its usual default.

use std::path::PathBuf;

use ntp_time::{Frequency, NtpDuration};

use crate::diagnostic::quote;
use crate::document::Located;
use crate::reader::{Context, Section, Value};
use crate::value::{self, describe};

/// The clock and its timestamps.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClockConfig {
    /// The clock to correct.
    pub kind: ClockKind,
    /// Where packets are timestamped.
    pub timestamp_mode: Located<TimestampMode>,
    /// Network interface that client sockets are bound to: 1 to 15 bytes.
    pub interface: Option<Located<String>>,
    /// PTP device to correct in place of the system clock.
    pub device: Option<Located<PathBuf>>,
}

/// The clock to correct.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum ClockKind {
    /// `CLOCK_REALTIME`.
    #[default]
    System,
    /// A simulated clock laid over the system's: a dry run that needs no privilege.
    Virtual {
        /// How far it is ahead of the system clock at start.
        offset: NtpDuration,
        /// How much faster it runs.
        frequency: Frequency,
    },
    /// None: measure and serve, correct nothing.
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

/// `[clock]`.
pub(crate) fn read(cx: &mut Context, value: &Value<'_>) -> Option<ClockConfig> {
    let mut section = Section::open(cx, "clock", value)?;
    let kind = section.value(cx, "kind");
    let word = kind
        .as_ref()
        .and_then(|value| value::choice(cx, value, KINDS));
    let word = word.unwrap_or(Kind::System);
    let offset = simulated(
        cx,
        &mut section,
        "virtual-offset",
        word,
        MAXIMUM_OFFSET_SECONDS,
    );
    let frequency = simulated(
        cx,
        &mut section,
        "virtual-frequency",
        word,
        MAXIMUM_FREQUENCY_PPM,
    );
    let timestamp_mode = section.optional(cx, "timestamp-mode", |cx, value| {
        let mode = value::choice(cx, value, TIMESTAMP_MODES)?;
        Some(value.locate(cx, mode))
    });
    let interface = section.optional(cx, "interface", interface);
    let device = section.optional(cx, "clock", value::located_path);
    section.finish(cx);
    Some(ClockConfig {
        kind: match word {
            Kind::System => ClockKind::System,
            Kind::None => ClockKind::None,
            Kind::Virtual => ClockKind::Virtual {
                offset: NtpDuration::from_seconds_f64(offset),
                frequency: Frequency::from_ppm(frequency),
            },
        },
        timestamp_mode: timestamp_mode.unwrap_or_default(),
        interface,
        device,
    })
}

/// An error of the virtual clock; remarked on if the clock is not virtual.
fn simulated(
    cx: &mut Context,
    section: &mut Section<'_>,
    key: &'static str,
    kind: Kind,
    limit: f64,
) -> f64 {
    let Some(value) = section.value(cx, key) else {
        return 0.0;
    };
    if kind != Kind::Virtual {
        value.warn(
            cx,
            format!("`{key}` has no effect on a clock that is not virtual"),
            "write `kind = \"virtual\"` for a dry run",
        );
    }
    match value::finite(cx, &value) {
        Some(number) if number.abs() <= limit => number,
        Some(_) => {
            let message = format!(
                "invalid value: {}, expected a number from -{limit} to {limit}",
                describe(value.node)
            );
            value.reject::<f64>(cx, message);
            0.0
        }
        None => 0.0,
    }
}

fn interface(cx: &mut Context, value: &Value<'_>) -> Option<Located<String>> {
    let name = value::text(cx, value)?;
    if (1..=15).contains(&name.len()) {
        return Some(value.locate(cx, name.to_owned()));
    }
    let message = format!("invalid value: interface name {}", quote(name, '"'));
    value.reject_with(
        cx,
        message,
        "the name of a network interface has 1 to 15 bytes",
    )
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
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

/// An NTP era and a bit less than the range of the arithmetic: 31 years.
const MAXIMUM_OFFSET_SECONDS: f64 = 1e9;
/// Ten per cent: more than any oscillator, less than what breaks the arithmetic of a clock.
const MAXIMUM_FREQUENCY_PPM: f64 = 1e5;
