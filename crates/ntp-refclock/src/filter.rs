//! The median of several samples.
//!
//! The sample with the median offset is passed on as it is, with its own time: its offset was true
//! then, whatever the clock did since.

use std::os::fd::BorrowedFd;

use ntp_time::Monotonic;
use ntp_types::refclock::ClockSample;
use ntp_udp::wait::Interest;

use crate::{DeviceError, Driver, Now, Reading};

/// A driver whose samples are thinned out to medians.
#[derive(Debug)]
pub(crate) struct MedianFilter {
    driver: Box<dyn Driver>,
    /// Number of samples of a median.
    count: usize,
    samples: Vec<ClockSample>,
    readings: Vec<Reading>,
}

impl MedianFilter {
    pub(crate) fn new(driver: Box<dyn Driver>, count: u16) -> Self {
        let count = usize::from(count);
        Self {
            driver,
            count,
            samples: Vec::with_capacity(count),
            readings: Vec::new(),
        }
    }

    /// Takes a sample, and returns the median once there are enough. Later than this one it cannot
    /// be, so samples stay in order.
    fn add(&mut self, sample: ClockSample) -> Option<ClockSample> {
        // Samples of different kinds, or around a step of the clock, have no common median.
        if self
            .samples
            .last()
            .is_some_and(|last| last.is_pulse != sample.is_pulse || last.at.time > sample.at.time)
        {
            self.samples.clear();
        }
        self.samples.push(sample);
        if self.samples.len() < self.count {
            return None;
        }
        self.samples.sort_by_key(|sample| sample.offset);
        let median = self.samples.get(self.count / 2).copied();
        self.samples.clear();
        median
    }
}

impl Driver for MedianFilter {
    fn start(&mut self) -> Result<(), DeviceError> {
        self.driver.start()
    }

    fn descriptor(&self) -> Option<(BorrowedFd<'_>, Interest)> {
        self.driver.descriptor()
    }

    fn next_read(&self) -> Option<Monotonic> {
        self.driver.next_read()
    }

    fn read(&mut self, now: Now, readings: &mut Vec<Reading>) -> Result<(), DeviceError> {
        let mut all = core::mem::take(&mut self.readings);
        let result = self.driver.read(now, &mut all);
        for reading in all.drain(..) {
            match reading {
                Ok(sample) => readings.extend(self.add(sample).map(Ok)),
                Err(refusal) => readings.push(Err(refusal)),
            }
        }
        self.readings = all;
        result
    }

    fn description(&self) -> String {
        self.driver.description()
    }

    fn take_warning(&mut self) -> Option<String> {
        self.driver.take_warning()
    }
}

#[cfg(test)]
mod tests {
    use ntp_time::{LeapIndicator, NtpDuration, Stamp, StampSource, SystemTime};

    use super::*;

    /// Yields the offsets in milliseconds, one at each reading, a second apart.
    #[derive(Debug)]
    struct Scripted(Vec<i64>, i64);

    impl Driver for Scripted {
        fn read(&mut self, _: Now, readings: &mut Vec<Reading>) -> Result<(), DeviceError> {
            for offset in self.0.drain(..) {
                self.1 += 1;
                readings.push(Ok(ClockSample {
                    at: Stamp {
                        time: SystemTime::from_nanos(self.1 * 1_000_000_000),
                        source: StampSource::Daemon,
                    },
                    offset: NtpDuration::from_millis(offset),
                    leap: LeapIndicator::None,
                    is_pulse: false,
                    error: None,
                }));
            }
            Ok(())
        }

        fn description(&self) -> String {
            String::new()
        }
    }

    #[test]
    fn the_sample_with_the_median_offset_is_passed_on_with_its_own_time() {
        let script = Scripted(vec![5, -700, 6, 900, 4, 1, 2, 3], 0);
        let mut filter = MedianFilter::new(Box::new(script), 5);
        let mut readings = Vec::new();
        let now = Now {
            monotonic: Monotonic::from_nanos(0),
            kernel: SystemTime::from_nanos(0),
        };
        filter.read(now, &mut readings).unwrap();
        let [Ok(median)] = readings[..] else {
            panic!("{readings:?}")
        };
        assert_eq!(median.offset, NtpDuration::from_millis(5));
        assert_eq!(median.at.time, SystemTime::from_nanos(1_000_000_000));
    }
}
