//! A reference clock in the real event loop: a source without address and packets goes through the
//! driver, selection, status and metrics.

use std::sync::OnceLock;
use std::sync::mpsc::{Sender, channel};
use std::thread::ThreadId;

use ntp_config::Config;
use ntp_control_api::metrics::prometheus_text;
use ntp_control_api::observation::State;
use ntp_os_clock::{Clock, monotonic};
use ntp_proto::engine::{Input, RefClockConfig, SourceConfig, SourceId};
use ntp_proto::keys::KeyRing;
use ntp_refclock::{DeviceError, Driver as Device, Now, Reading};
use ntp_time::{
    Frequency, LeapIndicator, Monotonic, NtpDuration, PollInterval, ReferenceId, Stamp,
    StampSource, Stratum,
};
use ntp_types::refclock::{ClockSample, DeviceConfig, RefClockDevice, SockSettings};
use ntp_types::source::{SourceAddress, SourceState};

use super::driver::{ClockRequest, Driver};
use super::failure::Failure;
use super::pollable::{Context, Pollable};
use super::{DisruptionMonitor, Parts, RefClocks, Runtime};
use crate::convert;
use crate::leap_list::LeapList;
use crate::persist::Store;
use crate::status::{status, true_offset};

const DEVICE: &str = "/dev/scripted0";

/// A device that measures the virtual clock's true error exactly, once in an interval.
#[derive(Debug)]
struct ScriptedClock {
    source: Option<SourceId>,
    next: Monotonic,
}

impl Pollable for ScriptedClock {
    fn deadline(&self) -> Option<Monotonic> {
        self.source.map(|_| self.next)
    }

    fn on_ready(&mut self, context: &mut Context<'_>) -> Result<(), Failure> {
        let Some(source) = self.source.filter(|_| self.next <= monotonic()) else {
            return Ok(());
        };
        self.next = monotonic() + NtpDuration::from_millis(100);
        let clock = context.driver.clock();
        let sample = ClockSample {
            at: Stamp {
                time: clock.now(),
                source: StampSource::Daemon,
            },
            offset: -true_offset(clock).expect("the clock is virtual"),
            leap: LeapIndicator::None,
            is_pulse: false,
            error: None,
        };
        let sample = Ok(sample);
        context.driver.handle(Input::Sample { source, sample })
    }

    fn execute(&mut self, driver: &mut Driver) {
        while let Some(request) = driver.requests.clocks.pop_front() {
            self.source = match request {
                ClockRequest::Open { source, device } => {
                    assert_eq!(device.device.to_string(), DEVICE);
                    Some(source)
                }
                ClockRequest::Close { .. } => None,
            };
        }
    }
}

fn runtime(disruptions: DisruptionMonitor) -> Runtime {
    let mut runtime = unscripted_runtime(disruptions, RefClocks::default());
    runtime.add_device(Box::new(ScriptedClock {
        source: None,
        next: monotonic(),
    }));
    runtime
}

fn unscripted_runtime(disruptions: DisruptionMonitor, ref_clocks: RefClocks) -> Runtime {
    let clock = Clock::new_virtual(NtpDuration::from_millis(250), Frequency::from_ppm(40.0));
    let facts = convert::clock_facts(&clock).expect("a virtual clock can be read");
    let mut config = Config::default();
    config.synchronization.minimum_agreeing_sources = 1;
    let mut engine = convert::engine_config(&config, &KeyRing::default(), None, facts);
    engine.sources = vec![SourceConfig::ref_clock(RefClockConfig {
        reader: DeviceConfig {
            device: RefClockDevice::Sock(SockSettings::at(DEVICE)),
            interval: PollInterval::from_log2(0),
            filter: 1,
        },
        sigma: NtpDuration::from_micros(1),
        accuracy: NtpDuration::from_micros(10),
        stratum: Stratum::new(0),
        reference_id: ReferenceId::new(*b"TEST"),
        delay: NtpDuration::ZERO,
        correction: NtpDuration::ZERO,
        lock: None,
    })];
    let parts = Parts {
        clock,
        sockets: convert::socket_options(&config),
        store: Store::new(None),
        leap_list: LeapList::new(None, false),
        disruptions,
        ref_clocks: Some(ref_clocks),
        history: None,
        clockbound: None,
        observation_socket: None,
        chronyc: None,
        recorder: None,
        seed: [7; 32],
    };
    Runtime::new(engine, parts)
}

/// A look-up of the socket's group, or a driver, does not answer.
#[test]
fn a_device_that_does_not_open_does_not_stop_the_loop() {
    let hanging = |_: &DeviceConfig, _: Now| -> Result<Box<dyn Device>, DeviceError> {
        loop {
            std::thread::park();
        }
    };
    let clocks = RefClocks::opened_by(hanging);
    let mut runtime = unscripted_runtime(DisruptionMonitor::default(), clocks);
    for _ in 0..3 {
        let slice = monotonic() + NtpDuration::from_millis(10);
        runtime.run(Some(slice)).expect("the loop runs");
    }
    assert_eq!(runtime.status().sources[0].state, SourceState::NoSamples);
    runtime.shut_down().expect("the clock can be released");
}

/// A device that reports the thread by which it is closed, and fails when it is read.
#[derive(Debug)]
struct ClosingDevice(Sender<ThreadId>);

impl Device for ClosingDevice {
    fn next_read(&self) -> Option<Monotonic> {
        Some(monotonic())
    }

    fn read(&mut self, _: Now, _: &mut Vec<Reading>) -> Result<(), DeviceError> {
        Err(DeviceError::Gone)
    }

    fn description(&self) -> String {
        String::new()
    }
}

impl Drop for ClosingDevice {
    fn drop(&mut self) {
        let _ = self.0.send(std::thread::current().id());
    }
}

/// A socket has a file, which is removed then, and a file system may not answer.
#[test]
fn devices_are_not_closed_by_the_thread_of_the_loop() {
    static CLOSED: OnceLock<Sender<ThreadId>> = OnceLock::new();
    let (sender, closed) = channel();
    CLOSED.set(sender).expect("one test uses it");
    let opens = |_: &DeviceConfig, _: Now| -> Result<Box<dyn Device>, DeviceError> {
        let sender = CLOSED.get().expect("it was set");
        Ok(Box::new(ClosingDevice(sender.clone())))
    };
    let clocks = RefClocks::opened_by(opens);
    let mut runtime = unscripted_runtime(DisruptionMonitor::default(), clocks);
    let limit = monotonic() + NtpDuration::from_seconds(60);
    let closed_by = loop {
        assert!(monotonic() < limit, "the device was not closed");
        let slice = monotonic() + NtpDuration::from_millis(10);
        runtime.run(Some(slice)).expect("the loop runs");
        if let Ok(thread) = closed.try_recv() {
            break thread;
        }
    };
    assert_ne!(closed_by, std::thread::current().id());
    runtime.shut_down().expect("the clock can be released");
}

#[test]
fn a_reference_clock_disciplines_the_clock_and_shows_in_status_and_metrics() {
    let mut runtime = runtime(DisruptionMonitor::default());
    let limit = monotonic() + NtpDuration::from_seconds(60);
    while !runtime.status().system.synchronized {
        assert!(monotonic() < limit, "{:?}", runtime.status());
        let slice = monotonic() + NtpDuration::from_millis(50);
        runtime.run(Some(slice)).expect("the loop runs");
    }
    let status = status(runtime.driver(), runtime.services(), None);
    let system = &status.system;
    assert_eq!(
        (system.stratum, system.reference_id),
        (Stratum::PRIMARY, ReferenceId::new(*b"TEST"))
    );
    let source = &status.sources[0];
    assert_eq!(system.reference, Some(source.id));
    assert_eq!(source.address, SourceAddress::Device(DEVICE.to_owned()));
    assert_eq!(source.state, SourceState::Selected);
    assert_eq!(source.measurement.and_then(|it| it.delay), None);
    let error = true_offset(runtime.clock())
        .expect("the clock is virtual")
        .abs();
    assert!(Some(error) <= system.error_bound, "{error}");
    let metrics = prometheus_text(&State::from_status(&status, "-", "-"));
    let labels = format!(
        "{{name=\"{DEVICE}\",address=\"{DEVICE}\",id=\"{}\"}}",
        source.id
    );
    assert!(
        metrics.contains(&format!("ntp_source_selected{labels} 1\n")),
        "{metrics}"
    );
    // The counters are those of the process, in which other tests run, too.
    let events = |name| {
        let sample = format!("ntp_events_total{{event=\"{name}\"}} ");
        let count = metrics.lines().find_map(|it| it.strip_prefix(&sample));
        count.and_then(|count| count.parse::<u64>().ok())
    };
    assert!(events("synchronized") >= Some(1), "{metrics}");
    assert_eq!(events("leap_second"), Some(0));
    runtime.shut_down().expect("the clock can be released");
}

/// A VMClock page of version 1 without time.
fn page(sequence: u32, marker: u64) -> Vec<u8> {
    let mut page = vec![0; 4096];
    page[..4].copy_from_slice(b"VCLK");
    page[4..8].copy_from_slice(&4096u32.to_le_bytes());
    page[8] = 1;
    page[10] = 255;
    page[12..16].copy_from_slice(&sequence.to_le_bytes());
    page[16..24].copy_from_slice(&marker.to_le_bytes());
    page
}

#[test]
fn a_new_marker_of_the_hypervisor_ends_synchronisation_at_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("vmclock0");
    std::fs::write(&path, page(2, 7)).expect("the page is written");
    let file = format!("[[source]]\nmode = \"vmclock\"\npath = {path:?}\n");
    let (config, _) = ntp_config::parse(&file, "test").expect("the file is right");
    let mut runtime = runtime(DisruptionMonitor::open(&config));
    let limit = monotonic() + NtpDuration::from_seconds(60);
    while !runtime.status().system.synchronized {
        assert!(monotonic() < limit, "{:?}", runtime.status());
        let slice = monotonic() + NtpDuration::from_millis(50);
        runtime.run(Some(slice)).expect("the loop runs");
    }
    std::fs::write(&path, page(4, 8)).expect("the page is written");
    // The device of this test yields samples, so that the clock is right again soon.
    let epoch = runtime.driver().claim().1.epoch;
    while runtime.driver().claim().1.epoch == epoch {
        assert!(monotonic() < limit, "{:?}", runtime.status());
        let slice = monotonic() + NtpDuration::from_millis(1);
        runtime.run(Some(slice)).expect("the loop runs");
    }
    assert!(!runtime.status().system.synchronized);
    while !runtime.status().system.synchronized {
        assert!(monotonic() < limit, "{:?}", runtime.status());
        let slice = monotonic() + NtpDuration::from_millis(50);
        runtime.run(Some(slice)).expect("the loop runs");
    }
    runtime.shut_down().expect("the clock can be released");
}
