//! Compares the system clock, and the kernel's error figures, with a [`TrueTime`].
//!
//! The comparison runs on the machine with the clock under test, without a network in between: the
//! raw clock is read before and after the system clock, and the closest of a few attempts counts.
//! Except for [`Reading::set_system`] nothing here changes a clock.
//!
//! Over a span of time it checks what other programs rely on: that the clock does not go backwards,
//! its rate, whether true time lies within the kernel's `maxerror`, and how often within
//! `esterror`.
#![expect(
    clippy::disallowed_methods,
    reason = "reads clocks and waits between two comparisons"
)]

use core::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::thread;
use std::time::Duration;

use ntp_os_clock::{KernelStatus, realtime};
use ntp_time::{NtpDuration, NtpTimestamp, SystemTime};
use rustix::time::{ClockId, Timespec, clock_settime};

use crate::raw_clock;
use crate::true_time::TrueTime;

/// Attempts to read both clocks close together.
const ATTEMPTS: usize = 8;

/// Tolerance added to the kernel's figures, which are read at a slightly different time.
const SLACK: NtpDuration = NtpDuration::from_micros(10);

/// Movement relative to true time between two readings that cannot be a slew.
const JUMP: NtpDuration = NtpDuration::from_millis(10);

/// Both clocks at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Raw clock in nanoseconds.
    pub raw: i64,
    /// System clock.
    pub system: SystemTime,
}

impl Reading {
    /// Reads both clocks.
    pub fn take() -> Self {
        let mut best: Option<(i64, Self)> = None;
        for _ in 0..ATTEMPTS {
            let before = raw_clock();
            let system = realtime();
            let after = raw_clock();
            let spread = after - before;
            if best.is_none_or(|(least, _)| spread < least) {
                let raw = before + spread / 2;
                best = Some((spread, Self { raw, system }));
            }
        }
        best.map_or(
            Self {
                raw: raw_clock(),
                system: realtime(),
            },
            |(_, reading)| reading,
        )
    }

    /// Sets the system clock to `offset` ahead of true time, as another program would.
    ///
    /// # Errors
    /// If the system does not permit it.
    pub fn set_system(truth: &TrueTime, offset: NtpDuration) -> io::Result<()> {
        let time = (truth.utc(raw_clock()) + offset).as_nanos();
        let time = Timespec {
            tv_sec: time.div_euclid(1_000_000_000),
            tv_nsec: time.rem_euclid(1_000_000_000),
        };
        Ok(clock_settime(ClockId::Realtime, time)?)
    }

    /// Offset of the system clock from true time, positive if ahead.
    pub fn offset(&self, truth: &TrueTime) -> NtpDuration {
        self.system - truth.utc(self.raw)
    }
}

/// One comparison of the clock with true time, with the kernel's status. Displayed as `name=value`
/// pairs on one line.
#[derive(Clone, Copy, Debug)]
pub struct Comparison {
    offset: NtpDuration,
    system: SystemTime,
    status: KernelStatus,
}

impl Comparison {
    /// Compares now.
    ///
    /// # Errors
    /// If the kernel's status cannot be read.
    pub fn take(truth: &TrueTime) -> io::Result<Self> {
        let status = KernelStatus::read().map_err(io::Error::other)?;
        let reading = Reading::take();
        Ok(Self {
            offset: reading.offset(truth),
            system: reading.system,
            status,
        })
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "time={} offset={:.9} maxerror={:.6} esterror={:.6} frequency={:.4} tick={} bits={:#x} synchronized={} state={:?} tai={} kernel_offset={:.9}",
            self.system.as_nanos() / 1_000_000_000,
            self.offset.as_seconds_f64(),
            self.status.maximum_error.as_seconds_f64(),
            self.status.estimated_error.as_seconds_f64(),
            self.status.frequency.as_ppm(),
            self.status.rate.tick,
            self.status.bits,
            self.status.is_synchronized(),
            self.status.state,
            self.status.tai_offset,
            self.status.offset.as_seconds_f64(),
        )
    }
}

/// Reply of an NTP server, compared with true time. Displayed as `name=value` pairs on one line.
#[derive(Clone, Copy, Debug)]
pub struct ServerReply {
    leap: u8,
    stratum: u8,
    reference_id: [u8; 4],
    root_dispersion: f64,
    offset: NtpDuration,
    delay: NtpDuration,
}

impl ServerReply {
    /// Sends one request.
    ///
    /// # Errors
    /// Those of the operating system, and if there is no valid reply.
    pub fn query(server: SocketAddr, truth: &TrueTime) -> io::Result<Self> {
        let any: IpAddr = if server.is_ipv4() {
            Ipv4Addr::UNSPECIFIED.into()
        } else {
            Ipv6Addr::UNSPECIFIED.into()
        };
        let socket = UdpSocket::bind((any, 0))?;
        socket.connect(server)?;
        socket.set_read_timeout(Some(Duration::from_secs(5)))?;
        let mut request = [0; 48];
        request[0] = 0b00_100_011;
        let sent = raw_clock();
        request[40..].copy_from_slice(&sent.to_be_bytes());
        socket.send(&request)?;
        let mut reply = [0; 1024];
        let length = socket.recv(&mut reply)?;
        let received = raw_clock();
        if length < 48 || reply[24..32] != request[40..] {
            return Err(io::Error::other("invalid reply"));
        }
        let (theirs_received, theirs_sent) = (timestamp(&reply[32..]), timestamp(&reply[40..]));
        let there = theirs_received - truth.utc(sent).to_ntp();
        let back = theirs_sent - truth.utc(received).to_ntp();
        let dispersion = u32::from_be_bytes([reply[8], reply[9], reply[10], reply[11]]);
        Ok(Self {
            leap: reply[0] >> 6,
            stratum: reply[1],
            reference_id: [reply[12], reply[13], reply[14], reply[15]],
            root_dispersion: f64::from(dispersion) / 65536.0,
            offset: (there + back).half(),
            delay: there - back,
        })
    }
}

fn timestamp(octets: &[u8]) -> NtpTimestamp {
    let bits = octets
        .iter()
        .take(8)
        .fold(0, |bits, octet| bits << 8 | u64::from(*octet));
    NtpTimestamp::from_bits(bits)
}

impl fmt::Display for ServerReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "leap={} stratum={} reference={} dispersion={:.6} offset={:.9} delay={:.9}",
            self.leap,
            self.stratum,
            self.reference_id.escape_ascii(),
            self.root_dispersion,
            self.offset.as_seconds_f64(),
            self.delay.as_seconds_f64(),
        )
    }
}

/// Statistics of many comparisons. Displayed as `name=value` pairs on one line.
#[derive(Clone, Debug, Default)]
pub struct WatchSummary {
    samples: u32,
    backward: u32,
    unsynchronized: u32,
    outside_maxerror: u32,
    outside_esterror: u32,
    /// Sum of the squares of the offsets.
    squares: f64,
    worst_offset: f64,
    largest_maxerror: f64,
    slowest: f64,
    fastest: f64,
    /// Longest time without an update of the kernel's error figures, in seconds.
    stalest: f64,
    jumps: Vec<f64>,
}

/// The kernel's error figures, and the time of their last update as far as it can be observed.
#[derive(Clone, Copy, Debug)]
struct ErrorFigures {
    maximum_error: NtpDuration,
    estimated_error: NtpDuration,
    /// Raw clock at the last update.
    updated: i64,
}

impl ErrorFigures {
    /// Replaces the figures by `new`. The kernel leaves `esterror` unchanged and adds 500 us to
    /// `maxerror` each second, so any other change is an update by a program.
    fn advance(self, new: Self) -> Self {
        const GROWTH: i64 = 500;
        let grown = (new.maximum_error - self.maximum_error).as_nanos() / 1000;
        let by_itself = grown >= 0 && grown % GROWTH == 0;
        if by_itself && new.estimated_error == self.estimated_error {
            Self {
                updated: self.updated,
                ..new
            }
        } else {
            new
        }
    }
}

impl WatchSummary {
    /// Compares every `interval` for the duration of `span`.
    ///
    /// # Errors
    /// If the kernel's status cannot be read.
    pub fn collect(truth: &TrueTime, span: Duration, interval: Duration) -> io::Result<Self> {
        let mut summary = Self {
            slowest: f64::INFINITY,
            fastest: f64::NEG_INFINITY,
            ..Self::default()
        };
        let end = raw_clock().saturating_add(i64::try_from(span.as_nanos()).unwrap_or(i64::MAX));
        let mut last: Option<Reading> = None;
        let mut figures: Option<ErrorFigures> = None;
        while raw_clock() < end {
            // The figures first: until the clock is read, the kernel can only increase them.
            let status = KernelStatus::read().map_err(io::Error::other)?;
            let reading = Reading::take();
            summary.add(truth, &reading, &status);
            if let Some(last) = last {
                summary.add_interval(truth, &last, &reading);
            }
            let new = ErrorFigures {
                maximum_error: status.maximum_error,
                estimated_error: status.estimated_error,
                updated: reading.raw,
            };
            let current = figures.map_or(new, |figures| figures.advance(new));
            let age = NtpDuration::from_nanos(reading.raw - current.updated).as_seconds_f64();
            summary.stalest = summary.stalest.max(age);
            figures = Some(current);
            last = Some(reading);
            thread::sleep(interval);
        }
        Ok(summary)
    }

    /// Adds one comparison.
    fn add(&mut self, truth: &TrueTime, reading: &Reading, status: &KernelStatus) {
        let offset = reading.offset(truth).abs();
        self.samples += 1;
        self.unsynchronized += u32::from(!status.is_synchronized());
        self.outside_maxerror += u32::from(offset > status.maximum_error + SLACK);
        self.outside_esterror += u32::from(offset > status.estimated_error + SLACK);
        self.squares += offset.as_seconds_f64().powi(2);
        self.worst_offset = self.worst_offset.max(offset.as_seconds_f64());
        self.largest_maxerror = self
            .largest_maxerror
            .max(status.maximum_error.as_seconds_f64());
    }

    /// Adds the movement of the clock between two readings.
    fn add_interval(&mut self, truth: &TrueTime, last: &Reading, reading: &Reading) {
        self.backward += u32::from(reading.system < last.system);
        // Relative to the raw clock, since true time has leap seconds.
        let raw = NtpDuration::from_nanos(reading.raw - last.raw);
        let elapsed = raw + raw.scaled(truth.rate.as_ratio());
        let gained = (reading.system - last.system) - elapsed;
        if gained.abs() > JUMP {
            self.jumps.push(gained.as_seconds_f64());
        } else if elapsed > NtpDuration::ZERO {
            let ppm = gained.as_seconds_f64() / elapsed.as_seconds_f64() * 1e6;
            self.slowest = self.slowest.min(ppm);
            self.fastest = self.fastest.max(ppm);
        }
    }
}

impl fmt::Display for WatchSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "samples={} backward={} unsynchronized={} outside_maxerror={} outside_esterror={} rms_offset={:.9} worst_offset={:.9} largest_maxerror={:.6} slowest={:.3} fastest={:.3} stalest={:.1} jumps={}",
            self.samples,
            self.backward,
            self.unsynchronized,
            self.outside_maxerror,
            self.outside_esterror,
            (self.squares / f64::from(self.samples.max(1))).sqrt(),
            self.worst_offset,
            self.largest_maxerror,
            self.slowest,
            self.fastest,
            self.stalest,
            self.jumps.len(),
        )?;
        for (number, jump) in self.jumps.iter().enumerate().take(8) {
            write!(f, " jump{number}={jump:.6}")?;
        }
        Ok(())
    }
}
