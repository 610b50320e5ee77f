//! Segments for ClockBound's clients: databases that need the time with its error bound, without a
//! system call.
//!
//! Both segments are written at the end of each round of the event loop, so after every change of
//! the estimate and of the clock, and at least once a second.
//!
//! # The bound between two writes
//! A client extends the bound linearly. The engine's own bound, extrapolated without further
//! measurements, is a convex function of time (drift allowance, age of the samples, and the rest of
//! a slew, which the kernel would continue beyond its end if this process died). The line through
//! its values now and at the end of the validity is therefore never below it, and its slope is the
//! drift that is stated.
//!
//! # Two bases of time
//! The client of `shm0` reads `CLOCK_REALTIME`, so the bound includes all that is left to be slewed.
//! The client of `shm1` reads the processor's counter; its base is the best estimate of UTC, and a
//! slew does not concern it. Where the counter cannot be used there is no `shm1`.
//!
//! # Status
//! | status | when |
//! |---|---|
//! | `Unknown` | not synchronised; before the first synchronisation of this run, and after its end |
//! | `Synchronized` | synchronised, and a majority of sources agrees |
//! | `FreeRunning` | synchronised without a majority: holdover |
//! | `Disrupted` | from a migration of the virtual machine until the clock is synchronised again |

mod counter_fit;
mod layout;

use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use ntp_os_clock::counter::{Bracketed, Counter};
use ntp_os_clock::segment::Segment;
use ntp_os_clock::{monotonic, monotonic_coarse, realtime};
use ntp_proto::engine::{Event, Now, Prediction};
use ntp_time::{Monotonic, NtpDuration, SystemTime};
use ntp_types::event::Prose;

use crate::log;
use crate::runtime::driver::Driver;
use crate::runtime::pollable::Pollable;
use crate::runtime::services::{DaemonContext, Services};
use counter_fit::{CounterFit, Pair};
use layout::{Period, Statement, Status};

/// Longest time between two writes. Clients of version 2 report `FreeRunning` after 5 s.
const INTERVAL: NtpDuration = NtpDuration::from_seconds(1);

/// Time after which clients report `Unknown` if nothing is written any more, as in ClockBound's own
/// daemon.
const VALIDITY: NtpDuration = NtpDuration::from_seconds(1000);

/// The coarse clock stands still for up to 10 ms (a kernel with 100 ticks a second), so that much
/// more time may have passed than a client sees.
const COARSE_TICK: NtpDuration = NtpDuration::from_millis(10);

/// Bound while there is none: larger than the error of any clock, and small enough for the
/// arithmetic of clients that ignore the status.
const NO_BOUND: NtpDuration = NtpDuration::from_seconds(50 * 366 * 86_400);

/// The segments.
#[derive(Debug)]
pub struct ClockBound {
    shm0: Segment,
    shm1: Option<CounterSegment>,
    /// The marker that the segments state; `None` if the hypervisor's page is not watched, which
    /// never changes, because clients do not expect that.
    marker: Option<u64>,
    /// The last migration that is known.
    disruption: Option<u64>,
    is_disrupted: bool,
    written: Monotonic,
}

#[derive(Debug)]
struct CounterSegment {
    segment: Segment,
    counter: Counter,
    fit: CounterFit,
}

impl ClockBound {
    /// Creates the directory and the segments, or continues those of an earlier run. `marker` is
    /// that of the hypervisor's page, if it is watched.
    ///
    /// # Errors
    /// Those of creating, opening and mapping them.
    pub fn open(directory: &Path, marker: Option<u64>) -> io::Result<Self> {
        if !directory.exists() {
            DirBuilder::new().recursive(true).create(directory)?;
            // Whatever the umask.
            fs::set_permissions(directory, Permissions::from_mode(0o755))?;
        }
        let shm0 = open_segment(&directory.join("shm0"), layout::SHM0)?;
        let path = directory.join("shm1");
        let shm1 = match Counter::open() {
            Ok(counter) => Some(CounterSegment {
                segment: open_segment(&path, layout::SHM1)?,
                counter,
                fit: CounterFit::default(),
            }),
            Err(error) => {
                log::emit(&Event::FacilityMissing {
                    facility: "processor-counter".to_owned(),
                    text: Prose(format!(
                        "{} is not written, so that clients of ClockBound 3.x get no time: {error}",
                        path.display()
                    )),
                });
                if path.exists() {
                    // Of an earlier run, when there was a counter.
                    let nothing = Bracketed {
                        count: 0,
                        uncertainty: 0,
                        value: realtime(),
                    };
                    let statement = without_bound(Status::Unknown, marker);
                    let body = shm1_without_time(&nothing, &statement);
                    open_segment(&path, layout::SHM1)?.write(&body);
                }
                None
            }
        };
        Ok(Self {
            shm0,
            shm1,
            marker,
            disruption: None,
            is_disrupted: false,
            written: monotonic(),
        })
    }

    /// Writes the segments.
    fn write(&mut self, driver: &Driver) {
        let prediction = driver.engine().prediction();
        let status = self.status(driver, driver.now());
        self.write_both(driver, prediction.as_ref(), status);
    }

    fn status(&mut self, driver: &Driver, now: Now) -> Status {
        let disruption = driver.disruption();
        if disruption != self.disruption {
            self.disruption = disruption;
            self.is_disrupted = true;
            self.marker = self.marker.and(disruption);
        }
        let engine = driver.engine();
        match (engine.is_synchronized(), engine.has_majority(now)) {
            (true, true) => {
                self.is_disrupted = false;
                Status::Synchronized
            }
            _ if self.is_disrupted => Status::Disrupted,
            (true, false) => Status::FreeRunning,
            (false, _) => Status::Unknown,
        }
    }

    fn write_both(&mut self, driver: &Driver, prediction: Option<&Prediction>, status: Status) {
        self.written = monotonic();
        let marker = self.marker;
        // First: the bound is that of a later moment.
        let as_of = monotonic_coarse().as_nanos();
        let now = driver.now().system;
        let bound_at = |at| Some(prediction?.error_figures(at)?.bound);
        let mut statement = statement(bound_at, now, status, marker);
        let per_tick = COARSE_TICK.scaled(f64::from(statement.max_drift_ppb) * 1e-9);
        statement.bound = statement.bound + per_tick + NtpDuration::from_nanos(1);
        let void_after = as_of.saturating_add(VALIDITY.as_nanos());
        self.shm0
            .write(&layout::shm0(as_of, void_after, &statement));
        if let Some(shm1) = &mut self.shm1 {
            shm1.write(driver, prediction, status, marker);
        }
    }
}

impl CounterSegment {
    fn write(
        &mut self,
        driver: &Driver,
        prediction: Option<&Prediction>,
        status: Status,
        marker: Option<u64>,
    ) {
        let reading = self.counter.bracket(|| driver.now().system);
        let body = self
            .body(&reading, prediction, status, marker)
            .unwrap_or_else(|| shm1_without_time(&reading, &without_bound(status, marker)));
        self.segment.write(&body);
    }

    /// Returns the body for a reading of the clock. `None` while there is no bound, or the rate of the
    /// counter is not known.
    fn body(
        &mut self,
        reading: &Bracketed<SystemTime>,
        prediction: Option<&Prediction>,
        status: Status,
        marker: Option<u64>,
    ) -> Option<Vec<u8>> {
        let now = reading.value;
        let Some(prediction) = prediction else {
            // The estimate begins anew, and perhaps the oscillator is another one.
            self.fit = CounterFit::default();
            return None;
        };
        let period = self.fit.add(Pair {
            count: reading.count,
            uncertainty: reading.uncertainty,
            free: prediction.free_time(now),
        })?;
        let utc = prediction.utc(now)?;
        let bound_at = |at| Some(prediction.utc(at)?.bound);
        let mut statement = statement(bound_at, now, status, marker);
        let uncertainty = reading.uncertainty as f64 * period.seconds;
        statement.bound = statement.bound
            + NtpDuration::from_seconds_f64(uncertainty)
            + NtpDuration::from_nanos(1);
        // A second of the oscillator is this much less than one of UTC if it runs fast.
        let frequency = prediction.estimate(now).frequency.as_ratio();
        let period = Period {
            seconds: period.seconds * (1.0 - frequency),
            ..period
        };
        let void_after = utc.time + VALIDITY;
        let count = reading.count;
        Some(layout::shm1(
            count, utc.time, void_after, period, &statement,
        ))
    }
}

/// Returns what is stated about a time whose bound is `bound_at`, a convex function of the clock's
/// reading.
fn statement(
    bound_at: impl Fn(SystemTime) -> Option<NtpDuration>,
    now: SystemTime,
    status: Status,
    marker: Option<u64>,
) -> Statement {
    let bounds = bound_at(now).zip(bound_at(now + VALIDITY));
    let Some((bound, at_end)) = bounds else {
        return without_bound(status, marker);
    };
    let growth = (at_end - bound).as_seconds_f64().max(0.0) / VALIDITY.as_seconds_f64();
    Statement {
        bound,
        max_drift_ppb: (growth * 1e9).ceil() as u32 + 1,
        status,
        marker,
    }
}

/// Returns what is stated while nothing is guaranteed.
fn without_bound(status: Status, marker: Option<u64>) -> Statement {
    Statement {
        bound: NO_BOUND,
        max_drift_ppb: 1,
        status: match status {
            Status::Disrupted => status,
            Status::Unknown | Status::Synchronized | Status::FreeRunning => Status::Unknown,
        },
        marker,
    }
}

/// Body of `shm1` while the counter gives no time: the clock as it is, standing still.
fn shm1_without_time(reading: &Bracketed<SystemTime>, statement: &Statement) -> Vec<u8> {
    let Bracketed { count, value, .. } = *reading;
    layout::shm1(count, value, value, Period::default(), statement)
}

/// Opens or creates a segment, readable by all.
fn open_segment(path: &Path, (header, version): ([u32; 3], u16)) -> io::Result<Segment> {
    const MODE: u32 = 0o644;
    let file: File = ntp_files::update(path, MODE)?;
    // Whatever the umask: the unit of the packages has a narrow one. Only the owner may change it.
    if file.metadata()?.mode() & 0o777 != MODE {
        file.set_permissions(Permissions::from_mode(MODE))?;
    }
    Segment::open(&file, header, version)
}

impl Pollable<Services> for ClockBound {
    /// Time of the next write, if nothing happens before.
    fn deadline(&self) -> Option<Monotonic> {
        Some(self.written + INTERVAL)
    }

    fn after_round(&mut self, context: &mut DaemonContext<'_>) {
        self.write(context.driver);
    }

    /// Writes that nothing is guaranteed any more. The files stay, because clients have them mapped.
    fn stop(&mut self, driver: &mut Driver) {
        let prediction = driver.engine().prediction();
        self.write_both(driver, prediction.as_ref(), Status::Unknown);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bound after a time, of a clock with 3 ms left to be slewed at 500 ppm: the kernel continues
    /// the slew, and the allowance grows with the age of the samples.
    fn slewing(elapsed: NtpDuration) -> NtpDuration {
        let seconds = elapsed.as_seconds_f64();
        let rest = (3e-3 - 500e-6 * seconds).abs();
        let drift = 1e-6 * seconds + 1e-9 * seconds * seconds;
        NtpDuration::from_seconds_f64(100e-6 + rest + drift)
    }

    #[test]
    fn the_stated_line_is_never_below_the_bound() {
        let now = SystemTime::from_nanos(1_700_000_000_000_000_000);
        let bound_at = |at| Some(slewing(at - now));
        let stated = statement(bound_at, now, Status::Synchronized, None);
        assert_eq!(stated.bound, slewing(NtpDuration::ZERO));
        for second in 0..=1000 {
            let elapsed = NtpDuration::from_seconds(second);
            let drift = elapsed.scaled(f64::from(stated.max_drift_ppb) * 1e-9);
            assert!(stated.bound + drift >= slewing(elapsed), "{elapsed}");
        }
        let none = statement(|_| None, now, Status::Synchronized, None);
        assert_eq!((none.bound, none.status), (NO_BOUND, Status::Unknown));
        let none = statement(|_| None, now, Status::Disrupted, None);
        assert_eq!(none.status, Status::Disrupted);
    }

    #[test]
    fn all_users_may_read_the_segments_whatever_was_there() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("run/clockbound");
        let mode = |name: &str| fs::metadata(directory.join(name)).unwrap().mode() & 0o777;
        drop(ClockBound::open(&directory, None).unwrap());
        assert_eq!((mode("."), mode("shm0")), (0o755, 0o644));
        let private = Permissions::from_mode(0o600);
        fs::set_permissions(directory.join("shm0"), private).unwrap();
        drop(ClockBound::open(&directory, None).unwrap());
        assert_eq!(mode("shm0"), 0o644);
        let file = directory.join("shm0");
        ClockBound::open(&file, None).expect_err("it is no directory");
    }
}
