//! The devices of reference clocks: opens them, waits for them and feeds their readings.
//!
//! A device that cannot be opened, or fails, is opened again with growing pauses. The first failure
//! in a row is logged; the status of the source shows the last one.
//!
//! Devices of the configuration are opened before the daemon drops its privileges, and kept until
//! the engine asks for them. All others are opened on threads, because that may block: the user and
//! the group of a socket may be looked up over the network. Closing may block, too, since a socket
//! has a file that is removed, so a thread does it: the one that opens the next device, which may
//! need the place, or one of its own.

use std::io;
use std::thread::JoinHandle;

use ntp_config::{Config, SourceKind};
use ntp_os_clock::{Clock, monotonic, realtime};
use ntp_proto::engine::{Event, Input, SourceId};
use ntp_refclock::{DeviceError, Driver as Device, Now, Reading};
use ntp_time::{Monotonic, NtpDuration, Stamp, SystemTime};
use ntp_types::refclock::{ClockSample, DeviceConfig};
use ntp_udp::wait::PollSet;

use super::background::Background;
use super::driver::{ClockRequest, Driver};
use super::failure::Failure;
use super::pollable::{Context, Pollable};
use crate::join::join_last;
use crate::log;
use crate::sandbox::{self, Profile};

/// Pause before a device is opened again. A receiver that was plugged in again is there a second
/// later.
const FIRST_PAUSE: NtpDuration = NtpDuration::from_seconds(1);
/// Longest pause: a device that comes back after days is used within about a minute.
const LONGEST_PAUSE: NtpDuration = NtpDuration::from_seconds(64);

/// Time after which the status shows that a device is still being opened. A look-up over the network
/// that takes longer has probably no answer.
const OPEN_LIMIT: NtpDuration = NtpDuration::from_seconds(8);
/// Maximum number of threads that open devices. Those of sources that were removed meanwhile count,
/// so that threads without an end do not accumulate.
const MAX_THREADS: usize = 8;

/// Result of opening a device.
type Opened = Result<Box<dyn Device>, DeviceError>;

/// Opens a device.
type Open = fn(&DeviceConfig, Now) -> Opened;

/// All open reference clocks.
#[derive(Debug)]
pub struct RefClocks {
    open: Open,
    clocks: Vec<RefClock>,
    /// Threads that open devices of sources that were removed meanwhile.
    abandoned: Vec<Background<Opened>>,
    /// Devices that were opened at the start and that no source has asked for yet.
    prepared: Vec<(DeviceConfig, Opened)>,
    /// Devices to close.
    retired: Vec<Box<dyn Device>>,
    closing: Closing,
    /// Reused for each reading.
    readings: Vec<Reading>,
}

/// Threads that close devices. The daemon waits for them when it ends, so that no socket is left
/// behind.
#[derive(Debug, Default)]
struct Closing(Vec<JoinHandle<()>>);

impl Drop for Closing {
    fn drop(&mut self) {
        for thread in self.0.drain(..) {
            join_last(Some(thread));
        }
    }
}

/// A reference clock that the engine wants to be open.
#[derive(Debug)]
struct RefClock {
    open: Open,
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
    /// Being opened. The time is when the status shows it; `None` after that.
    Opening(Background<Opened>, Option<Monotonic>),
    /// Opened again at this time.
    Closed(Monotonic),
}

impl Default for RefClocks {
    fn default() -> Self {
        Self::opened_by(ntp_refclock::open)
    }
}

impl RefClocks {
    /// Opens devices by `open`.
    pub(super) fn opened_by(open: Open) -> Self {
        Self {
            open,
            clocks: Vec::new(),
            abandoned: Vec::new(),
            prepared: Vec::new(),
            retired: Vec::new(),
            closing: Closing::default(),
            readings: Vec::new(),
        }
    }

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
        let prepared = position.map(|position| self.prepared.swap_remove(position).1);
        let threads = self.opening_threads();
        let mut clock = RefClock {
            open: self.open,
            source,
            config,
            state: State::Closed(monotonic()),
            pause: FIRST_PAUSE,
            is_failure_logged: false,
            place: None,
        };
        match prepared {
            Some(opened) => clock.finish_opening(driver, opened),
            None => clock.start_opening(driver, threads, &mut self.retired),
        }
        self.clocks.push(clock);
    }

    fn close(&mut self, driver: &mut Driver, source: SourceId) {
        driver.record_device_error(source, None);
        for clock in self.clocks.extract_if(.., |clock| clock.source == source) {
            match clock.state {
                State::Opening(thread, _) => self.abandoned.push(thread),
                State::Open(device) => self.retired.push(device),
                State::Closed(_) => {}
            }
        }
    }

    /// Closes the devices that are not used any more.
    fn close_retired(&mut self) {
        if self.retired.is_empty() {
            return;
        }
        let retired = core::mem::take(&mut self.retired);
        self.closing.0.retain(|thread| !thread.is_finished());
        // Without a thread they are closed here.
        let thread = sandbox::spawn("device", Profile::Devices, move || drop(retired));
        self.closing.0.extend(thread);
    }

    /// Number of threads that open devices.
    fn opening_threads(&self) -> usize {
        let clocks = self.clocks.iter();
        let opening = clocks.filter(|clock| matches!(clock.state, State::Opening(..)));
        opening.count() + self.abandoned.len()
    }
}

impl RefClock {
    fn device(&self) -> String {
        self.config.device.to_string()
    }

    /// Opens the device on a thread, which closes `retired` first: one of them may have the place of
    /// this device. `threads` open devices already.
    fn start_opening(
        &mut self,
        driver: &mut Driver,
        threads: usize,
        retired: &mut Vec<Box<dyn Device>>,
    ) {
        let started = if threads < MAX_THREADS {
            let (open, config) = (self.open, self.config.clone());
            let retired = core::mem::take(retired);
            let open = move || {
                drop(retired);
                open(&config, now())
            };
            Background::start("device", Profile::Devices, open)
        } else {
            Err(io::Error::other("other devices do not open"))
        };
        match started {
            Ok(thread) => {
                self.state = State::Opening(thread, Some(monotonic() + OPEN_LIMIT));
            }
            Err(error) => self.fail(driver, &cannot_start(error)),
        }
    }

    /// Takes the result of the thread that opens the device, if it has ended.
    fn check_opening(&mut self, context: &mut Context<'_>) {
        let State::Opening(thread, limit) = &mut self.state else {
            return;
        };
        if thread.has_ended(context.set) {
            let state = core::mem::replace(&mut self.state, State::Closed(monotonic()));
            if let State::Opening(thread, _) = state {
                let failed = |_| Err(cannot_start(io::Error::other("the thread failed")));
                let opened = thread.finish().unwrap_or_else(failed);
                self.finish_opening(context.driver, opened);
            }
        } else if limit.is_some_and(|limit| limit <= monotonic()) {
            *limit = None;
            let text = "the device does not open: a look-up or a driver does not answer";
            (context.driver).record_device_error(self.source, Some(text.to_owned()));
        }
    }

    fn finish_opening(&mut self, driver: &mut Driver, opened: Opened) {
        let started = opened.and_then(|mut device| device.start().map(|()| device));
        match started {
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
            State::Opening(_, limit) => *limit,
            State::Closed(until) => Some(*until),
        }
    }

    /// Opens or reads the device if it is time to.
    fn advance(
        &mut self,
        context: &mut Context<'_>,
        threads: usize,
        retired: &mut Vec<Box<dyn Device>>,
        readings: &mut Vec<Reading>,
    ) {
        self.check_opening(context);
        let is_ready = self
            .place
            .is_some_and(|place| context.set.readiness(place).any());
        let is_due = self.next_action().is_some_and(|at| at <= monotonic());
        if !is_ready && !is_due {
            return;
        }
        let device = match &mut self.state {
            State::Open(device) => device,
            State::Closed(_) => return self.start_opening(context.driver, threads, retired),
            State::Opening(..) => return,
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
            let state = core::mem::replace(&mut self.state, State::Closed(monotonic()));
            if let State::Open(device) = state {
                retired.push(device);
            }
            self.fail(context.driver, &error);
        }
    }
}

impl Pollable for RefClocks {
    fn register(&mut self, set: &mut PollSet) {
        for clock in &mut self.clocks {
            clock.place = None;
            match &mut clock.state {
                State::Open(device) => {
                    let descriptor = device.descriptor();
                    clock.place =
                        descriptor.map(|(descriptor, interest)| set.push(&descriptor, interest));
                }
                State::Opening(thread, _) => thread.register(set),
                State::Closed(_) => {}
            }
        }
        for thread in &mut self.abandoned {
            thread.register(set);
        }
    }

    fn deadline(&self) -> Option<Monotonic> {
        self.clocks.iter().filter_map(RefClock::next_action).min()
    }

    fn on_ready(&mut self, context: &mut Context<'_>) -> Result<(), Failure> {
        for thread in self
            .abandoned
            .extract_if(.., |it| it.has_ended(context.set))
        {
            if let Ok(Ok(device)) = thread.finish() {
                self.retired.push(device);
            }
        }
        for index in 0..self.clocks.len() {
            let threads = self.opening_threads();
            let clock = &mut self.clocks[index];
            self.readings.clear();
            clock.advance(context, threads, &mut self.retired, &mut self.readings);
            for reading in self.readings.drain(..) {
                let clocks = context.driver.clock();
                let sample = reading.map(|sample| translated(clocks, sample));
                let source = clock.source;
                context.driver.handle(Input::Sample { source, sample })?;
            }
        }
        self.close_retired();
        Ok(())
    }

    fn execute(&mut self, driver: &mut Driver) {
        while let Some(request) = driver.requests.clocks.pop_front() {
            match request {
                ClockRequest::Open { source, device } => self.open(driver, source, device),
                ClockRequest::Close { source } => self.close(driver, source),
            }
        }
        self.close_retired();
    }
}

fn cannot_start(error: io::Error) -> DeviceError {
    DeviceError::during("starting a thread to open the device")(error)
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
