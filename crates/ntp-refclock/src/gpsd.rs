//! Mode `gpsd`: the JSON interface of gpsd(8), one object a line over TCP.
//!
//! Three reports are used. `PPS` is a pulse that gpsd has numbered, `TOFF` the time of the first
//! sentence of a cycle; both give the receiver's time and the system time of the same event. `TPV`
//! shows whether the receiver has a fix. gpsd must run on this machine: the system time that it
//! reports is that of its own.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::{AsFd as _, BorrowedFd};

use ntp_time::{LeapIndicator, Monotonic, NtpDuration};
use ntp_types::refclock::{GpsdSettings, GpsdSignal, SampleRefusal};
use ntp_udp::wait::Interest;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, sockopt};
use serde::Deserialize;

use crate::{DeviceError, Driver, Now, Reading, sample};

/// Asks gpsd for reports, pulses included.
const WATCH: &[u8] = b"?WATCH={\"enable\":true,\"json\":true,\"pps\":true};\n";

/// Time limit for a connection. gpsd is on this machine.
const CONNECT_TIMEOUT: NtpDuration = NtpDuration::from_seconds(10);
/// Time without any report after which the connection is made again. A receiver with or without a
/// fix yields several reports a second; without a receiver a new connection does no harm.
const SILENCE: NtpDuration = NtpDuration::from_seconds(120);
/// Time from the first sentence with a fix after which a receiver without a pulse counts as one that
/// has none. gpsd reports pulses from the fourth fix on, that is some 5 s after the first sentence.
const PULSE_TIMEOUT: NtpDuration = NtpDuration::from_seconds(10);
/// Longest line: reports of many satellites have about 10 KB.
const MAX_LINE: usize = 32 * 1024;
/// Octets that are read at once; the rest waits for the next round of the loop.
const CHUNK: usize = 16 * 1024;

/// A connection to gpsd.
#[derive(Debug)]
pub(crate) struct Gpsd {
    stream: TcpStream,
    settings: GpsdSettings,
    is_connected: bool,
    /// When the connection is given up.
    deadline: Monotonic,
    max_age: NtpDuration,
    /// The beginning of a line, whose end has not been received yet.
    line: Vec<u8>,
    /// Whether the line is too long, so that its rest is dropped.
    is_overlong: bool,
    reports: Reports,
}

/// What is known from earlier reports.
#[derive(Debug, Default)]
struct Reports {
    /// Whether the receiver has a fix; `None` until it reports that.
    has_fix: Option<bool>,
    /// Whether there was a pulse.
    has_pulse: bool,
    /// When the first sentence since the fix was reported.
    first_sentence: Option<Monotonic>,
}

/// The members of reports that are used.
#[derive(Debug, Deserialize)]
struct Report {
    class: String,
    device: Option<String>,
    mode: Option<i64>,
    real_sec: Option<i64>,
    real_nsec: Option<i64>,
    clock_sec: Option<i64>,
    clock_nsec: Option<i64>,
    /// Picoseconds from the pulse to the second that it marks.
    #[serde(rename = "qErr")]
    quantization_error: Option<i64>,
}

impl Gpsd {
    /// Begins to connect.
    pub(crate) fn open(
        settings: &GpsdSettings,
        interval: NtpDuration,
        now: Now,
    ) -> Result<Self, DeviceError> {
        // The configuration permits one name.
        let host = settings
            .host
            .parse()
            .unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let stream = connect(SocketAddr::new(host, settings.port)).map_err(DeviceError::during(
            format!("connecting to {host} port {}", settings.port),
        ))?;
        Ok(Self {
            stream,
            settings: settings.clone(),
            is_connected: false,
            deadline: now.monotonic + CONNECT_TIMEOUT,
            max_age: sample::max_age(interval),
            line: Vec::new(),
            is_overlong: false,
            reports: Reports::default(),
        })
    }

    fn finish_connecting(&mut self, now: Now) -> Result<(), DeviceError> {
        let failed =
            || DeviceError::during(format!("connecting to gpsd at port {}", self.settings.port));
        let outcome = sockopt::socket_error(&self.stream);
        let outcome = outcome.map_err(io::Error::from).map_err(failed())?;
        outcome.map_err(io::Error::from).map_err(failed())?;
        // The empty send buffer takes the request at once.
        match self.stream.write(WATCH) {
            Ok(length) if length == WATCH.len() => {}
            Ok(_) => return Err(DeviceError::Gone),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(failed()(error)),
        }
        self.is_connected = true;
        self.deadline = now.monotonic + SILENCE;
        Ok(())
    }

    /// Handles octets of the stream.
    fn take(&mut self, octets: &[u8], now: Now, readings: &mut Vec<Reading>) {
        for part in octets.split_inclusive(|octet| *octet == b'\n') {
            let ends = part.ends_with(b"\n");
            if self.line.len() + part.len() > MAX_LINE {
                self.is_overlong = true;
                self.line.clear();
            }
            if !self.is_overlong {
                self.line.extend_from_slice(part);
            }
            if !ends {
                continue;
            }
            if core::mem::take(&mut self.is_overlong) {
                readings.push(Err(SampleRefusal::Malformed));
            } else {
                let line = core::mem::take(&mut self.line);
                readings.extend(self.reports.take(&line, &self.settings, now, self.max_age));
            }
            self.line.clear();
        }
    }
}

fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let family = if address.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
    match rustix::net::connect(&socket, &address) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS) => Ok(TcpStream::from(socket)),
        Err(error) => Err(error.into()),
    }
}

impl Driver for Gpsd {
    fn descriptor(&self) -> Option<(BorrowedFd<'_>, Interest)> {
        let interest = if self.is_connected {
            Interest::Readable
        } else {
            Interest::Writable
        };
        Some((self.stream.as_fd(), interest))
    }

    fn next_read(&self) -> Option<Monotonic> {
        Some(self.deadline)
    }

    fn read(&mut self, now: Now, readings: &mut Vec<Reading>) -> Result<(), DeviceError> {
        if now.monotonic >= self.deadline {
            return Err(DeviceError::Unsuitable("gpsd does not answer".to_owned()));
        }
        if !self.is_connected {
            return self.finish_connecting(now);
        }
        let mut chunk = [0; CHUNK];
        match self.stream.read(&mut chunk) {
            Ok(0) => Err(DeviceError::Gone),
            Ok(length) => {
                self.deadline = now.monotonic + SILENCE;
                self.take(chunk.get(..length).unwrap_or(&[]), now, readings);
                Ok(())
            }
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
            {
                Ok(())
            }
            Err(error) => Err(DeviceError::during("receiving from gpsd")(error)),
        }
    }

    fn description(&self) -> String {
        "connecting to gpsd".to_owned()
    }
}

impl Reports {
    /// Handles a line. Returns a reading if it is about the time.
    fn take(
        &mut self,
        line: &[u8],
        settings: &GpsdSettings,
        now: Now,
        max_age: NtpDuration,
    ) -> Option<Reading> {
        let Ok(report) = serde_json::from_slice::<Report>(line) else {
            return Some(Err(SampleRefusal::Malformed));
        };
        let wanted = settings.device.as_ref();
        if wanted.is_some_and(|wanted| report.device.as_ref() != Some(wanted)) {
            return None;
        }
        let is_pulse = match (report.class.as_str(), settings.signal) {
            ("TPV", _) => {
                self.has_fix = report.mode.map(|mode| mode >= 2);
                return None;
            }
            ("PPS", GpsdSignal::Any | GpsdSignal::Pps) => true,
            ("TOFF", GpsdSignal::Any | GpsdSignal::Serial) => false,
            _ => return None,
        };
        if self.has_fix == Some(false) {
            self.first_sentence = None;
            return Some(Err(SampleRefusal::Unsynchronized));
        }
        self.has_pulse |= is_pulse;
        if !is_pulse && settings.signal == GpsdSignal::Any && self.awaits_pulse(now) {
            return None;
        }
        Some(report.sample(now, max_age))
    }

    /// Whether sentences are not used, because the receiver has a pulse or may have one. A sentence is
    /// late by tenths of a second: one statement of accuracy cannot describe both.
    fn awaits_pulse(&mut self, now: Now) -> bool {
        let first = *self.first_sentence.get_or_insert(now.monotonic);
        self.has_pulse || now.monotonic - first < PULSE_TIMEOUT
    }
}

impl Report {
    fn sample(&self, now: Now, max_age: NtpDuration) -> Reading {
        let time = |seconds: Option<i64>, nanos: Option<i64>| {
            let (seconds, nanos) = seconds.zip(nanos).ok_or(SampleRefusal::Malformed)?;
            sample::time(seconds, nanos)
        };
        let real = time(self.real_sec, self.real_nsec)?;
        let clock = time(self.clock_sec, self.clock_nsec)?;
        // The receiver could not place the pulse exactly, and states by how much it is early.
        let early = NtpDuration::from_nanos(self.quantization_error.unwrap_or(0) / 1000);
        if early.abs() > NtpDuration::from_micros(1) {
            return Err(SampleRefusal::OutOfRange);
        }
        let offset = real - clock - early;
        sample::dated(clock, offset, LeapIndicator::None, now.kernel, max_age)
    }
}

/// Decodes one line of any content, for the fuzz target.
#[cfg(any(test, fuzzing))]
pub(crate) fn decode_any(line: &[u8], now: Now) -> Option<Reading> {
    let settings = GpsdSettings {
        host: String::new(),
        port: 0,
        device: None,
        signal: GpsdSignal::Any,
    };
    Reports::default().take(line, &settings, now, sample::max_age(NtpDuration::ZERO))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use ntp_time::SystemTime;

    use super::*;

    const PPS: &str = r#"{"class":"PPS","device":"/dev/pts/3","real_sec":1800000000,"real_nsec":0,"clock_sec":1799999999,"clock_nsec":999000000,"precision":-20,"qErr":2500}"#;
    const TOFF: &str = r#"{"class":"TOFF","device":"/dev/pts/3","real_sec":1800000000,"real_nsec":0,"clock_sec":1800000000,"clock_nsec":150000000}"#;

    fn now(seconds: i64) -> Now {
        Now {
            monotonic: Monotonic::from_nanos(seconds * 1_000_000_000),
            kernel: SystemTime::from_nanos((1_800_000_000 + seconds) * 1_000_000_000),
        }
    }

    fn settings(signal: GpsdSignal, device: Option<&str>) -> GpsdSettings {
        GpsdSettings {
            host: "localhost".to_owned(),
            port: 0,
            device: device.map(str::to_owned),
            signal,
        }
    }

    /// Offsets of the samples in reports that are received at these times.
    fn offsets(settings: &GpsdSettings, lines: &[(i64, &str)]) -> Vec<i64> {
        let mut reports = Reports::default();
        let age = NtpDuration::from_seconds(60);
        let readings = lines
            .iter()
            .filter_map(|(at, line)| reports.take(line.as_bytes(), settings, now(*at), age));
        readings.map(|it| it.unwrap().offset.as_nanos()).collect()
    }

    #[test]
    fn sentences_are_used_only_if_there_is_no_pulse() {
        let (pulse, sentence) = (999_998, -150_000_000);
        let with_pulse = [(1, TOFF), (5, TOFF), (6, PPS), (6, TOFF), (30, TOFF)];
        let without = [(1, TOFF), (10, TOFF), (11, TOFF), (12, PPS), (12, TOFF)];
        for (signal, lines, expected) in [
            (GpsdSignal::Any, with_pulse, vec![pulse]),
            (GpsdSignal::Any, without, vec![sentence, pulse]),
            (GpsdSignal::Pps, with_pulse, vec![pulse]),
            (GpsdSignal::Serial, with_pulse, vec![sentence; 4]),
        ] {
            let found = offsets(&settings(signal, None), &lines);
            assert_eq!(found, expected, "{signal:?}");
        }
        let other = settings(GpsdSignal::Any, Some("/dev/ttyS1"));
        let found = offsets(&other, &with_pulse);
        assert!(found.is_empty(), "{found:?}");
    }

    #[test]
    fn without_a_fix_there_is_no_sample() {
        let mut reports = Reports::default();
        let (settings, age) = (
            settings(GpsdSignal::Serial, None),
            NtpDuration::from_seconds(4),
        );
        let mut take = |line: &str| reports.take(line.as_bytes(), &settings, now(1), age);
        assert_eq!(take(r#"{"class":"TPV","mode":1}"#), None);
        assert_eq!(take(TOFF), Some(Err(SampleRefusal::Unsynchronized)));
        assert_eq!(take(r#"{"class":"TPV","mode":3}"#), None);
        assert!(matches!(take(TOFF), Some(Ok(_))));
        assert_eq!(take("{"), Some(Err(SampleRefusal::Malformed)));
        let broken = TOFF.replace("real_nsec\":0", "real_nsec\":-1");
        assert_eq!(take(&broken), Some(Err(SampleRefusal::OutOfRange)));
        assert_eq!(
            take(r#"{"class":"TOFF"}"#),
            Some(Err(SampleRefusal::Malformed))
        );
    }

    #[test]
    fn lines_are_split_and_joined_and_bounded() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let settings = GpsdSettings {
            port: server.local_addr().unwrap().port(),
            ..settings(GpsdSignal::Serial, None)
        };
        let mut gpsd = Gpsd::open(&settings, NtpDuration::from_seconds(1), now(1)).unwrap();
        let mut readings = Vec::new();
        let text = format!("{TOFF}\r\n{TOFF}\n");
        let (first, second) = text.as_bytes().split_at(70);
        gpsd.take(first, now(1), &mut readings);
        gpsd.take(second, now(1), &mut readings);
        assert_eq!(readings.iter().filter(|it| it.is_ok()).count(), 2);
        readings.clear();
        gpsd.take(&vec![b'x'; MAX_LINE + 1], now(1), &mut readings);
        gpsd.take(b"xx\n", now(1), &mut readings);
        assert_eq!(readings, [Err(SampleRefusal::Malformed)]);
        assert!(gpsd.line.is_empty());
    }
}
