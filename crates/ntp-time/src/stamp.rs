//! Packet timestamps and their origin.

use serde::{Deserialize, Serialize};

use crate::SystemTime;

/// Origin of a timestamp; the closer to the wire, the smaller its noise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StampSource {
    /// The daemon, which reads the clock around its system call.
    Daemon,
    /// The kernel's network stack.
    Kernel,
    /// The network interface.
    Hardware,
}

/// Timestamp of a packet's transmission or arrival, in system time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// The reading.
    #[serde(with = "crate::exact")]
    pub time: SystemTime,
    /// Origin of the reading.
    pub source: StampSource,
}

/// The clock that took a timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StampClock {
    /// The system clock, read by the kernel.
    System,
    /// The clock of a network interface (`/dev/ptpN`), which runs by itself.
    Phc(u32),
}

/// Timestamp of a packet as the kernel returns it, in the clock that took it.
///
/// A reading of an interface's clock is not system time: often it counts TAI, or the time since
/// power-on. So the reading is private, and [`Self::to_stamp`] is the only way to system time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawStamp {
    clock: StampClock,
    nanos: i64,
}

impl RawStamp {
    /// A reading of `clock`, in nanoseconds since its epoch.
    pub const fn new(clock: StampClock, nanos: i64) -> Self {
        Self { clock, nanos }
    }

    /// The clock that took it.
    pub const fn clock(self) -> StampClock {
        self.clock
    }

    /// Converts to system time. Returns `None` for the clock of an interface, whose relation to the
    /// system clock is not measured.
    pub const fn to_stamp(self) -> Option<Stamp> {
        match self.clock {
            StampClock::System => Some(Stamp {
                time: SystemTime::from_nanos(self.nanos),
                source: StampSource::Kernel,
            }),
            StampClock::Phc(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_readings_of_the_system_clock_become_system_time() {
        let stamp = RawStamp::new(StampClock::System, 7).to_stamp().unwrap();
        assert_eq!(
            (stamp.time, stamp.source),
            (SystemTime::from_nanos(7), StampSource::Kernel)
        );
        assert_eq!(RawStamp::new(StampClock::Phc(0), 7).to_stamp(), None);
    }
}
