//! A witness: compares the system clock with a [`TrueTime`], and with what the kernel says about it.
//!
//! It shares the machine with the clock under test, so its readings have no network between them: the raw clock is read before and
//! after the system clock, and the closest of a few attempts counts. Nothing of this steers anything.
//!
//! What it looks for over a span of time is what other programs rely on: that the clock does not run backwards, how fast it is made
//! to run, whether truth lies within the kernel's `maxerror` and how often within its `esterror`.
#![expect(
    clippy::disallowed_methods,
    reason = "a witness reads clocks and waits between two looks"
)]

use core::fmt;
use std::io;
use std::thread;
use std::time::Duration;

use ntp_os_clock::{KernelStatus, realtime};
use ntp_time::{NtpDuration, SystemTime};

use crate::raw_clock;
use crate::true_time::TrueTime;

/// Attempts to read both clocks close together.
const ATTEMPTS: usize = 8;

/// What is added to the kernel's figures, which a witness can only read a moment after the clock.
const SLACK: NtpDuration = NtpDuration::from_micros(10);

/// Movement against truth between two looks that no slew makes.
const JUMP: NtpDuration = NtpDuration::from_millis(10);

/// Both clocks at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The raw clock in nanoseconds.
    pub raw: i64,
    /// The system clock.
    pub system: SystemTime,
}

impl Reading {
    /// Reads both.
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

    /// How far the system clock is ahead of truth.
    pub fn offset(&self, truth: &TrueTime) -> NtpDuration {
        self.system - truth.utc(self.raw)
    }
}

/// One look at the clock and at what the kernel says about it, as a line of `name=value`.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    offset: NtpDuration,
    system: SystemTime,
    status: KernelStatus,
}

impl Look {
    /// Looks now.
    ///
    /// # Errors
    /// If the kernel does not tell its state.
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

impl fmt::Display for Look {
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

/// What was seen over a span of time; a line of `name=value` when written.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    looks: u32,
    backward: u32,
    unsynchronized: u32,
    outside_maxerror: u32,
    outside_esterror: u32,
    worst_offset: f64,
    largest_maxerror: f64,
    slowest: f64,
    fastest: f64,
    jumps: Vec<f64>,
}

impl Watch {
    /// Looks every `interval` for the length of `span`.
    ///
    /// # Errors
    /// If the kernel does not tell its state.
    pub fn keep(truth: &TrueTime, span: Duration, interval: Duration) -> io::Result<Self> {
        let mut watch = Self {
            slowest: f64::INFINITY,
            fastest: f64::NEG_INFINITY,
            ..Self::default()
        };
        let end = raw_clock().saturating_add(i64::try_from(span.as_nanos()).unwrap_or(i64::MAX));
        let mut last: Option<Reading> = None;
        while raw_clock() < end {
            // The figures first: in between they can only become larger by the kernel, never smaller.
            let status = KernelStatus::read().map_err(io::Error::other)?;
            let reading = Reading::take();
            watch.see(truth, &reading, &status);
            if let Some(last) = last {
                watch.compare(truth, &last, &reading);
            }
            last = Some(reading);
            thread::sleep(interval);
        }
        Ok(watch)
    }

    fn see(&mut self, truth: &TrueTime, reading: &Reading, status: &KernelStatus) {
        let offset = reading.offset(truth).abs();
        self.looks += 1;
        self.unsynchronized += u32::from(!status.is_synchronized());
        self.outside_maxerror += u32::from(offset > status.maximum_error + SLACK);
        self.outside_esterror += u32::from(offset > status.estimated_error + SLACK);
        self.worst_offset = self.worst_offset.max(offset.as_seconds_f64());
        self.largest_maxerror = self
            .largest_maxerror
            .max(status.maximum_error.as_seconds_f64());
    }

    fn compare(&mut self, truth: &TrueTime, last: &Reading, reading: &Reading) {
        self.backward += u32::from(reading.system < last.system);
        // Against the raw clock: true time has leap seconds of its own.
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

impl fmt::Display for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "looks={} backward={} unsynchronized={} outside_maxerror={} outside_esterror={} worst_offset={:.9} largest_maxerror={:.6} slowest={:.3} fastest={:.3} jumps={}",
            self.looks,
            self.backward,
            self.unsynchronized,
            self.outside_maxerror,
            self.outside_esterror,
            self.worst_offset,
            self.largest_maxerror,
            self.slowest,
            self.fastest,
            self.jumps.len(),
        )?;
        for (number, jump) in self.jumps.iter().enumerate().take(8) {
            write!(f, " jump{number}={jump:.6}")?;
        }
        Ok(())
    }
}
