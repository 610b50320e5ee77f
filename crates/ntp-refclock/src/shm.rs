//! Mode `shm`: a segment of shared memory that another program writes samples to, as ntpd, gpsd(8)
//! and linuxptp define it.
//!
//! The segment is one C structure in the byte order of the machine. The widths and places of its
//! fields depend on the program that made it; the size of the segment shows which they are. The
//! writer sets `valid` when a sample is complete, and the reader clears it. In mode 1 the writer
//! also counts before and after it changes the sample.

use ntp_os_clock::shared_memory::SharedMemory;
use ntp_time::{Monotonic, NtpDuration};
use ntp_types::refclock::{SampleRefusal, ShmSettings};
use ntp_udp::peer;

use crate::{DeviceError, Driver, Now, Reading, accounts, sample};

/// Key of the segment of unit 0: "NTP0".
const KEY: i32 = 0x4E54_5030;
/// Offsets that all layouts have in common.
const MODE: usize = 0;
const COUNT: usize = 4;
const CLOCK_SECONDS: usize = 8;
/// Size of the largest layout.
const LARGEST: usize = 96;
/// Permission of all users to write.
const WORLD_WRITABLE: u32 = 0o002;
/// Number of readings without a sample after which the segment is checked for its removal.
const IDLE_READINGS: u32 = 16;

/// Offsets of the fields of a layout.
#[derive(Debug, PartialEq, Eq)]
struct Layout {
    size: usize,
    /// Octets of a `time_t`.
    wide: bool,
    clock_micros: usize,
    receive_seconds: usize,
    receive_micros: usize,
    leap: usize,
    valid: usize,
    clock_nanos: usize,
    receive_nanos: usize,
}

/// Programs with 64-bit words; with 32-bit words and a 64-bit `time_t`; with a 32-bit `time_t`.
#[rustfmt::skip]
const LAYOUTS: [Layout; 3] = [
    Layout { size: 96, wide: true, clock_micros: 16, receive_seconds: 24, receive_micros: 32, leap: 36, valid: 48, clock_nanos: 52, receive_nanos: 56 },
    Layout { size: 88, wide: true, clock_micros: 16, receive_seconds: 20, receive_micros: 28, leap: 32, valid: 44, clock_nanos: 48, receive_nanos: 52 },
    Layout { size: 80, wide: false, clock_micros: 12, receive_seconds: 16, receive_micros: 20, leap: 24, valid: 36, clock_nanos: 40, receive_nanos: 44 },
];

/// A segment with samples.
#[derive(Debug)]
pub(crate) struct Shm {
    memory: SharedMemory,
    layout: &'static Layout,
    next: Monotonic,
    interval: NtpDuration,
    max_age: NtpDuration,
    idle: u32,
    warning: Option<String>,
}

impl Shm {
    /// Attaches the segment, or creates it if its writer has not been started yet.
    pub(crate) fn open(
        settings: &ShmSettings,
        interval: NtpDuration,
        now: Now,
    ) -> Result<Self, DeviceError> {
        let permitted = settings.user.as_deref().map(accounts::user).transpose()?;
        let memory = SharedMemory::open(KEY + i32::from(settings.unit), LAYOUTS[0].size)
            .map_err(DeviceError::during("attaching the segment"))?;
        let status = memory.status();
        let status = status.map_err(DeviceError::during("examining the segment"))?;
        let trusted = |user| [Some(0), Some(peer::own_user()), permitted].contains(&Some(user));
        if let Some(stranger) = [status.owner, status.creator]
            .into_iter()
            .find(|user| !trusted(*user))
        {
            return Err(DeviceError::Unsuitable(format!(
                "the segment belongs to user {stranger}, who could set the clock: if that is \
                 intended, write `user = \"{stranger}\"`"
            )));
        }
        let layout = layout(status.size).ok_or_else(|| {
            DeviceError::Unsuitable(format!(
                "the segment has {} octets, not 96, 88 or 80: it is not one of time samples",
                status.size
            ))
        })?;
        let is_open = status.permissions & WORLD_WRITABLE != 0;
        Ok(Self {
            memory,
            layout,
            next: now.monotonic,
            // Twice as often as samples are written: otherwise a reader that is a little slower
            // than the writer loses one now and then.
            interval: interval.half(),
            max_age: sample::max_age(interval),
            idle: 0,
            warning: is_open.then(|| {
                "every user of this machine can write to the segment, and so set the clock: use \
                 unit 0 or 1, or mode `sock`"
                    .to_owned()
            }),
        })
    }

    fn take(&mut self, now: Now) -> Option<Reading> {
        if self.memory.word(self.layout.valid) == 0 {
            return None;
        }
        let count = self.memory.word(COUNT);
        let copy = self.memory.copy::<LARGEST>();
        let is_unchanged = self.memory.word(COUNT) == count;
        self.memory.set_word(self.layout.valid, 0);
        Some(match i32_at(&copy, MODE) {
            0 => decode(&copy, self.layout, now, self.max_age),
            1 if is_unchanged => decode(&copy, self.layout, now, self.max_age),
            1 => Err(SampleRefusal::Inconsistent),
            _ => Err(SampleRefusal::Malformed),
        })
    }
}

impl Driver for Shm {
    fn next_read(&self) -> Option<Monotonic> {
        Some(self.next)
    }

    fn read(&mut self, now: Now, readings: &mut Vec<Reading>) -> Result<(), DeviceError> {
        self.next = now.monotonic + self.interval;
        if let Some(reading) = self.take(now) {
            self.idle = 0;
            readings.push(reading);
            return Ok(());
        }
        self.idle += 1;
        if self.idle >= IDLE_READINGS {
            self.idle = 0;
            let status = self.memory.status();
            if status
                .map_err(DeviceError::during("examining the segment"))?
                .is_removed
            {
                return Err(DeviceError::Gone);
            }
        }
        Ok(())
    }

    fn description(&self) -> String {
        format!("segment of {} octets", self.layout.size)
    }

    fn take_warning(&mut self) -> Option<String> {
        self.warning.take()
    }
}

fn layout(size: usize) -> Option<&'static Layout> {
    LAYOUTS.iter().find(|layout| layout.size == size)
}

/// Decodes a segment that was read at `now`.
fn decode(segment: &[u8], layout: &Layout, now: Now, max_age: NtpDuration) -> Reading {
    let seconds = |at| {
        if layout.wide {
            i64::from_ne_bytes(octets(segment, at))
        } else {
            i64::from(i32_at(segment, at))
        }
    };
    let micros = [layout.clock_micros, layout.receive_micros].map(|at| i32_at(segment, at));
    let nanos = [layout.clock_nanos, layout.receive_nanos]
        .map(|at| u32::from_ne_bytes(octets(segment, at)));
    // Writers from before the fields were added leave anything there.
    let agree = (micros.iter().zip(nanos)).all(|(micros, nanos)| {
        nanos < 1_000_000_000 && u32::try_from(*micros).is_ok_and(|it| it == nanos / 1000)
    });
    let [clock_nanos, receive_nanos] = if agree {
        nanos.map(i64::from)
    } else {
        micros.map(|micros| i64::from(micros) * 1000)
    };
    let clock = sample::time(seconds(CLOCK_SECONDS), clock_nanos)?;
    let received = sample::time(seconds(layout.receive_seconds), receive_nanos)?;
    let leap = sample::leap(i32_at(segment, layout.leap))?;
    sample::dated(received, clock - received, leap, now.kernel, max_age)
}

fn octets<const N: usize>(segment: &[u8], at: usize) -> [u8; N] {
    let field = segment.get(at..).and_then(|rest| rest.first_chunk());
    field.copied().unwrap_or([0; N])
}

fn i32_at(segment: &[u8], at: usize) -> i32 {
    i32::from_ne_bytes(octets(segment, at))
}

/// Decodes a segment of any content and size, for the fuzz target.
#[cfg(any(test, fuzzing))]
pub(crate) fn decode_any(segment: &[u8], now: Now) -> Option<Reading> {
    let layout = layout(segment.len())?;
    Some(decode(
        segment,
        layout,
        now,
        sample::max_age(NtpDuration::ZERO),
    ))
}

#[cfg(test)]
mod tests {
    use ntp_time::{LeapIndicator, SystemTime};

    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn now() -> Now {
        Now {
            monotonic: Monotonic::from_nanos(0),
            kernel: SystemTime::from_nanos(NOW * 1_000_000_000),
        }
    }

    fn put(segment: &mut [u8], at: usize, value: i64, width: usize) {
        segment[at..at + width].copy_from_slice(&value.to_ne_bytes()[..width]);
    }

    /// True time is 1.5 s after ours.
    fn segment(layout: &Layout) -> Vec<u8> {
        let mut segment = vec![0; layout.size];
        let time = if layout.wide { 8 } else { 4 };
        put(&mut segment, CLOCK_SECONDS, NOW, time);
        put(&mut segment, layout.clock_micros, 750_000, 4);
        put(&mut segment, layout.clock_nanos, 750_000_123, 4);
        put(&mut segment, layout.receive_seconds, NOW - 1, time);
        put(&mut segment, layout.receive_micros, 250_000, 4);
        put(&mut segment, layout.receive_nanos, 250_000_023, 4);
        put(&mut segment, layout.leap, 1, 4);
        segment
    }

    fn read(segment: &[u8], layout: &Layout) -> Reading {
        decode(segment, layout, now(), NtpDuration::from_seconds(4))
    }

    #[test]
    fn all_three_layouts_give_the_same_sample() {
        for layout in &LAYOUTS {
            let sample = read(&segment(layout), layout).unwrap();
            let at = SystemTime::from_nanos((NOW - 1) * 1_000_000_000 + 250_000_023);
            assert_eq!((sample.at.time, sample.leap), (at, LeapIndicator::Insert));
            assert_eq!(sample.offset, NtpDuration::from_nanos(1_500_000_100));
        }
    }

    #[test]
    fn nanoseconds_that_contradict_the_microseconds_are_not_used() {
        let layout = &LAYOUTS[0];
        let mut segment = segment(layout);
        put(&mut segment, layout.receive_nanos, 17, 4);
        let sample = read(&segment, layout).unwrap();
        assert_eq!(sample.offset, NtpDuration::from_nanos(1_500_000_000));
    }

    #[test]
    fn impossible_values_are_refused() {
        for layout in &LAYOUTS {
            for (at, value) in [
                (layout.clock_micros, 1_000_000),
                (layout.receive_micros, -1),
                (layout.leap, 4),
            ] {
                let mut segment = segment(layout);
                put(&mut segment, at, value, 4);
                assert_eq!(read(&segment, layout), Err(SampleRefusal::OutOfRange));
            }
        }
    }

    /// A unit that no other program of this machine uses.
    fn settings() -> ShmSettings {
        ShmSettings {
            unit: 200 + u8::try_from(std::process::id() % 50).unwrap(),
            user: None,
        }
    }

    #[test]
    fn a_sample_is_read_once_and_a_removed_segment_is_noticed() {
        let interval = NtpDuration::from_seconds(1);
        let mut shm = Shm::open(&settings(), interval, now()).unwrap();
        let mut readings = Vec::new();
        shm.read(now(), &mut readings).unwrap();
        assert_eq!(readings, []);
        shm.memory.remove().unwrap();
        let result = (0..IDLE_READINGS).try_for_each(|_| shm.read(now(), &mut readings));
        assert!(matches!(result, Err(DeviceError::Gone)), "{result:?}");
    }
}
