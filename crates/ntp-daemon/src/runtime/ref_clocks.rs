//! The devices of reference clocks: opens them, waits for them and feeds their readings.
//!
//! A device that cannot be opened, or fails, is opened again with growing pauses. The first failure
//! in a row is logged; the status of the source shows the last one.
//!
//! Devices of the configuration are opened before the daemon drops its privileges, and kept until
//! the engine asks for them.

use ntp_config::{Config, SourceKind};
use ntp_os_clock::{Clock, monotonic, realtime};
use ntp_proto::engine::{Event, Input, SourceId};
use ntp_refclock::{DeviceError, Driver as Device, Now, Reading};
use ntp_time::{Monotonic, NtpDuration, Stamp, SystemTime};
use ntp_types::refclock::{ClockSample, DeviceConfig};
use ntp_udp::wait::PollSet;

use super::driver::{ClockRequest, Driver};
use super::failure::Failure;
use super::pollable::{Context, Pollable};
use crate::log;

/// Pause before a device is opened again. A receiver that was plugged in again is there a second
/// later.
const FIRST_PAUSE: NtpDuration = NtpDuration::from_seconds(1);
/// Longest pause: a device that comes back after days is used within about a minute.
const LONGEST_PAUSE: NtpDuration = NtpDuration::from_seconds(64);

/// Result of opening a device.
type Opened = Result<Box<dyn Device>, DeviceError>;

/// All open reference clocks.
#[derive(Debug, Default)]
pub struct RefClocks {
    clocks: Vec<RefClock>,
    /// Devices that were opened at the start and that no source has asked for yet.
    prepared: Vec<(DeviceConfig, Opened)>,
    /// Reused for each reading.
    readings: Vec<Reading>,
}

/// A reference clock that the engine wants to be open.
#[derive(Debug)]
struct RefClock {
    source: SourceId,
    config: DeviceConfig,
    state: State,
    /// Pause before the device is opened again after the next failure.
    pause: NtpDuration,
    /// Whether the failure was logged since the last reading.
    is_failure_logged: bool,
    place: Option<usize>,
}

#[derive(Debug)]
enum State {
    Open(Box<dyn Device>),
    /// Opened again at this time.
    Closed(Monotonic),
}

impl RefClocks {
    /// Opens the devices of a configuration, with the privileges that the daemon has now.
    pub fn prepare(config: &Config) -> Self {
        let clocks = config
            .sources
            .iter()
            .filter_map(|source| match &source.kind {
                SourceKind::RefClock(clock) => Some(&clock.reader),
                _ => None,
            });
        let prepared = clocks.map(|reader| (reader.clone(), ntp_refclock::open(reader, now())));
        Self {
            prepared: prepared.collect(),
            ..Self::default()
        }
    }

    fn open(&mut self, driver: &mut Driver, source: SourceId, config: DeviceConfig) {
        let position = self.prepared.iter().position(|(known, _)| *known == config);
        let opened = match position {
            Some(position) => self.prepared.swap_remove(position).1,
            None => ntp_refclock::open(&config, now()),
        };
        let mut clock = RefClock {
            source,
            config,
            state: State::Closed(monotonic()),
            pause: FIRST_PAUSE,
            is_failure_logged: false,
            place: None,
        };
        clock.finish_opening(driver, opened);
        self.clocks.push(clock);
    }
}

impl RefClock {
    fn device(&self) -> String {
        self.config.device.to_string()
    }

    fn finish_opening(&mut self, driver: &mut Driver, opened: Opened) {
        match opened {
            Ok(device) => {
                log::emit(&Event::RefclockOpened {
                    device: self.device(),
                    text: device.description(),
                });
                driver.record_device_error(self.source, None);
                self.state = State::Open(device);
            }
            Err(error) => self.fail(driver, &error),
        }
    }

    /// Closes the device, and plans to open it again.
    fn fail(&mut self, driver: &mut Driver, error: &DeviceError) {
        self.state = State::Closed(monotonic() + self.pause);
        self.pause = (self.pause + self.pause).min(LONGEST_PAUSE);
        let text = error.to_string();
        if !core::mem::replace(&mut self.is_failure_logged, true) {
            log::emit(&Event::RefclockFailed {
                device: self.device(),
                error: text.clone(),
            });
        }
        driver.record_device_error(self.source, Some(text));
    }

    fn next_action(&self) -> Option<Monotonic> {
        match &self.state {
            State::Open(device) => device.next_read(),
            State::Closed(until) => Some(*until),
        }
    }

    /// Opens or reads the device if it is time to.
    fn advance(&mut self, context: &mut Context<'_>, readings: &mut Vec<Reading>) {
        let is_ready = self
            .place
            .is_some_and(|place| context.set.readiness(place).any());
        let is_due = self.next_action().is_some_and(|at| at <= monotonic());
        if !is_ready && !is_due {
            return;
        }
        let State::Open(device) = &mut self.state else {
            // Closed before it is opened again: a socket would find its own predecessor.
            let opened = ntp_refclock::open(&self.config, now());
            return self.finish_opening(context.driver, opened);
        };
        let result = device.read(now(), readings);
        if let Some(text) = device.take_warning() {
            log::emit(&Event::RefclockWarning {
                device: self.device(),
                text,
            });
        }
        if readings.iter().any(Result::is_ok) {
            self.pause = FIRST_PAUSE;
            self.is_failure_logged = false;
        }
        if let Err(error) = result {
            self.fail(context.driver, &error);
        }
    }
}

impl Pollable for RefClocks {
    fn register(&mut self, set: &mut PollSet) {
        for clock in &mut self.clocks {
            clock.place = match &clock.state {
                State::Open(device) => device
                    .descriptor()
                    .map(|(descriptor, interest)| set.push(&descriptor, interest)),
                State::Closed(_) => None,
            };
        }
    }

    fn deadline(&self) -> Option<Monotonic> {
        self.clocks.iter().filter_map(RefClock::next_action).min()
    }

    fn on_ready(&mut self, context: &mut Context<'_>) -> Result<(), Failure> {
        for clock in &mut self.clocks {
            self.readings.clear();
            clock.advance(context, &mut self.readings);
            for reading in self.readings.drain(..) {
                let clocks = context.driver.clock();
                let sample = reading.map(|sample| translated(clocks, sample));
                let source = clock.source;
                context.driver.handle(Input::Sample { source, sample })?;
            }
        }
        Ok(())
    }

    fn execute(&mut self, driver: &mut Driver) {
        while let Some(request) = driver.requests.clocks.pop_front() {
            match request {
                ClockRequest::Open { source, device } => self.open(driver, source, device),
                ClockRequest::Close { source } => {
                    driver.record_device_error(source, None);
                    self.clocks.retain(|clock| clock.source != source);
                }
            }
        }
    }
}

fn now() -> Now {
    Now {
        monotonic: monotonic(),
        kernel: realtime(),
    }
}

/// Converts a sample, which is dated by the kernel's clock, to the clock that is disciplined.
fn translated(clock: &Clock, sample: ClockSample) -> ClockSample {
    let time: SystemTime = clock.translate(sample.at.time);
    let ahead = time - sample.at.time;
    ClockSample {
        at: Stamp { time, ..sample.at },
        offset: sample.offset - ahead,
        ..sample
    }
}
