//! Mode `sock`: datagrams that another program sends to a Unix socket, as chrony and gpsd(8) define
//! them.
//!
//! A datagram is one C structure in the byte order of the machine: the system time of the
//! measurement (a `timeval`), the offset of true time from it, whether only the fraction of a
//! second counts, the leap second to come, padding, and a mark. Its length shows how long the fields
//! of the `timeval` are: 40 octets with 64 bits, 32 octets with 32 bits.
//!
//! The time of the measurement dates the sample, not the time at which it is read: a datagram may
//! have waited.

use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd};

use ntp_time::{NtpDuration, PollInterval, SystemTime};
use ntp_types::refclock::{ClockSample, SampleRefusal, SockSettings};
use ntp_udp::wait::Interest;

use crate::{DeviceError, Driver, Now, Reading, SocketFile, sample};

/// The mark at the end of each datagram: "SOCK".
const MAGIC: i32 = 0x534F_434B;

/// Largest number of datagrams that are read at once; the others wait for the next round of the
/// loop. A program that sends without a pause must not stop it.
const BATCH: usize = 32;

/// A socket that receives samples.
#[derive(Debug)]
pub(crate) struct Sock {
    file: SocketFile,
    max_age: NtpDuration,
}

impl Sock {
    /// Creates the socket, in the place of one that no program has open any more.
    pub(crate) fn open(
        settings: &SockSettings,
        interval: PollInterval,
    ) -> Result<Self, DeviceError> {
        Ok(Self {
            file: SocketFile::create(settings)?,
            max_age: sample::max_age(interval.to_duration()),
        })
    }
}

impl Driver for Sock {
    fn descriptor(&self) -> Option<(BorrowedFd<'_>, Interest)> {
        Some((self.file.socket().as_fd(), Interest::Readable))
    }

    fn read(&mut self, now: Now, readings: &mut Vec<Reading>) -> Result<(), DeviceError> {
        // Longer than both structures, so that a longer datagram is recognised.
        let mut buffer = [0; 48];
        for _ in 0..BATCH {
            match self.file.socket().recv(&mut buffer) {
                Ok(length) => {
                    let datagram = buffer.get(..length).unwrap_or(&[]);
                    readings.push(decode(datagram, now.kernel, self.max_age));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(DeviceError::during("receiving")(error)),
            }
        }
        Ok(())
    }

    fn description(&self) -> String {
        "programs can send samples to this socket; start them again if they were started before"
            .to_owned()
    }
}

/// Decodes a datagram that was received at `now`.
pub(crate) fn decode(datagram: &[u8], now: SystemTime, max_age: NtpDuration) -> Reading {
    let mut fields = Fields(datagram);
    let (seconds, micros) = match datagram.len() {
        40 => (fields.i64(), fields.i64()),
        32 => (fields.i32().map(i64::from), fields.i32().map(i64::from)),
        _ => return Err(SampleRefusal::Malformed),
    };
    let offset = fields.octets().map(f64::from_ne_bytes);
    let (pulse, leap, _padding, magic) = (fields.i32(), fields.i32(), fields.i32(), fields.i32());
    let (Some(seconds), Some(micros), Some(offset), Some(pulse), Some(leap), Some(MAGIC)) =
        (seconds, micros, offset, pulse, leap, magic)
    else {
        return Err(SampleRefusal::Malformed);
    };
    let leap = sample::leap(leap)?;
    if !offset.is_finite() {
        return Err(SampleRefusal::OutOfRange);
    }
    let nanos = micros.checked_mul(1000).ok_or(SampleRefusal::OutOfRange)?;
    let at = sample::time(seconds, nanos)?;
    let offset = NtpDuration::from_seconds_f64(offset);
    let sample = sample::dated(at, offset, leap, now, max_age)?;
    Ok(ClockSample {
        is_pulse: pulse != 0,
        ..sample
    })
}

/// Reads the fields of a structure in the byte order of the machine.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn octets<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*field)
    }

    fn i32(&mut self) -> Option<i32> {
        self.octets().map(i32::from_ne_bytes)
    }

    fn i64(&mut self) -> Option<i64> {
        self.octets().map(i64::from_ne_bytes)
    }
}

#[cfg(test)]
mod tests {
    use ntp_time::LeapIndicator;

    use super::*;

    const NOW: i64 = 1_800_000_000;
    const AGE: NtpDuration = NtpDuration::from_seconds(4);

    /// A datagram with 64-bit times, or with 32-bit ones.
    fn datagram(wide: bool, time: (i64, i64), offset: f64, marks: [i32; 4]) -> Vec<u8> {
        let mut octets = Vec::new();
        for field in [time.0, time.1] {
            if wide {
                octets.extend(field.to_ne_bytes());
            } else {
                octets.extend(i32::try_from(field).unwrap().to_ne_bytes());
            }
        }
        octets.extend(offset.to_ne_bytes());
        octets.extend(marks.iter().flat_map(|mark| mark.to_ne_bytes()));
        octets
    }

    fn read(datagram: &[u8]) -> Reading {
        decode(datagram, SystemTime::from_nanos(NOW * 1_000_000_000), AGE)
    }

    #[test]
    fn both_layouts_are_dated_by_their_own_time() {
        for wide in [true, false] {
            let octets = datagram(wide, (NOW - 2, 250_000), -0.125, [0, 1, 0, MAGIC]);
            assert_eq!(octets.len(), if wide { 40 } else { 32 });
            let sample = read(&octets).unwrap();
            let at = SystemTime::from_nanos((NOW - 2) * 1_000_000_000 + 250_000_000);
            assert_eq!(sample.at.time, at);
            assert_eq!(sample.offset, NtpDuration::from_millis(-125));
            assert_eq!(
                (sample.leap, sample.is_pulse),
                (LeapIndicator::Insert, false)
            );
        }
        let pulse = read(&datagram(true, (NOW - 1, 0), 0.0, [1, 0, 0, MAGIC]));
        assert!(pulse.unwrap().is_pulse);
    }

    #[test]
    fn every_wrong_field_has_its_reason() {
        use SampleRefusal::{Future, Malformed, OutOfRange, Stale};
        let good = (NOW - 1, 0);
        let mark = [0, 0, 0, MAGIC];
        for (octets, reason) in [
            (datagram(true, good, 0.0, [0, 0, 0, MAGIC + 1]), Malformed),
            (datagram(true, (NOW - 5, 0), 0.0, mark), Stale),
            (datagram(true, (NOW, 2), 0.0, mark), Future),
            (datagram(true, (i64::MAX, 0), 0.0, mark), OutOfRange),
            (datagram(true, (NOW - 1, 1_000_000), 0.0, mark), OutOfRange),
            (datagram(true, (NOW - 1, -1), 0.0, mark), OutOfRange),
            (datagram(true, good, f64::NAN, mark), OutOfRange),
            (datagram(true, good, 1e10, mark), OutOfRange),
            (datagram(true, good, 0.0, [0, 4, 0, MAGIC]), OutOfRange),
            (datagram(true, good, 0.0, mark)[..39].to_vec(), Malformed),
            (Vec::new(), Malformed),
        ] {
            assert_eq!(read(&octets), Err(reason), "{octets:?}");
        }
    }
}
