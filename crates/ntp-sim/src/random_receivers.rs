//! Random worlds with reference clocks beside the servers.
//!
//! The servers, the machine and the script are those of [`random_world`](crate::random_world).
//! Beside them stand one to four devices, right and wrong ones of every kind:
//!
//! | device | right | wrong |
//! |---|---|---|
//! | receiver (SOCK, SHM) | jitter, an error within its accuracy | an error beyond it; jumps by a second or 1024 weeks, some return |
//! | sentences | late by a time that varies, within the accuracy | the same jumps |
//! | pulse | sawtooth; pulses of the wrong edge, whose width is known; few extra pulses | an unknown width; many extra pulses; pulses up to half a second off |
//! | clock of a card or host | it keeps its accuracy | it drifts by up to 100 ppm |
//!
//! Devices of both kinds fall silent and return, and say in between that they are not synchronised.
//!
//! The bound holds if most of the sources that answer are right, so there are only as many wrong
//! devices as that permits: what falls silent for a time is not counted as right.

use ntp_proto::engine::SourceKind;
use ntp_time::NtpDuration;
use ntp_types::refclock::RefClockDevice;

use crate::random::world_and_falsetickers;
use crate::{Action, Behaviour, ClockBehaviour, Receiver, RefClock, Rng, Scenario};

/// Random stream of the devices, which leaves those of the servers as they are.
const STREAM: u64 = u64::MAX - 1;

/// 1024 weeks, seconds.
const WEEKS: f64 = 619_315_200.0;

/// Largest systematic error of a right device, as a share of its accuracy: the rest is for sawtooth
/// and drift.
const LARGEST_ERROR: f64 = 0.8;

/// A device, its accuracy in seconds, and what happens to it.
struct Device {
    clock: RefClock,
    accuracy: f64,
    /// Whether the configuration lacks the width of its pulses.
    width_is_unknown: bool,
    script: Vec<(f64, Action)>,
}

/// Returns a world with devices drawn from `seed`.
pub fn random_receiver_world(seed: u64) -> Scenario {
    let (mut scenario, falsetickers) = world_and_falsetickers(seed);
    let mut rng = Rng::new(seed, STREAM);
    let right_devices = 1 + rng.below(2);
    // The first one never falls silent. A pulse does not vote: others number it.
    let first = right_device(&mut rng, "/dev/clock0");
    let permanent = usize::from(!first.clock.receiver.is_pulse);
    let no_servers = |action: &Action| matches!(action, Action::Network { v4: false, .. });
    let silenced = scenario.script.iter().filter(|(_, action)| {
        no_servers(action) || matches!(action, Action::Behaviour(_, Behaviour::Silent))
    });
    let right_servers = scenario.servers.len() - falsetickers;
    let right = right_servers.saturating_sub(silenced.count()) + permanent;
    let most = right.saturating_sub(falsetickers + 1).min(2);
    let wrong_devices = rng.below(most + 1);
    if wrong_devices >= permanent {
        scenario.script.retain(|(_, action)| !no_servers(action));
    }
    scenario.name = "swarm with receivers".to_owned();
    scenario = first.add_to(scenario);
    for index in 1..right_devices + wrong_devices {
        let name = format!("/dev/clock{index}");
        let mut device = if index < right_devices {
            right_device(&mut rng, &name)
        } else {
            wrong_device(&mut rng, &name, index)
        };
        if rng.bernoulli(0.4) {
            device.fall_silent(&mut rng, index);
        }
        scenario = device.add_to(scenario);
    }
    scenario
}

impl Device {
    fn new(clock: RefClock, accuracy: f64) -> Self {
        Self {
            clock,
            accuracy,
            width_is_unknown: false,
            script: Vec::new(),
        }
    }

    fn fall_silent(&mut self, rng: &mut Rng, index: usize) {
        let from = rng.uniform_between(200.0, 1000.0);
        let until = from + rng.log_uniform(2.0, 600.0);
        let behaviour = if rng.bernoulli(0.5) {
            ClockBehaviour::Silent
        } else {
            ClockBehaviour::Unsynchronized
        };
        self.script.extend([
            (from, Action::ClockBehaviour(index, behaviour)),
            (until, Action::ClockBehaviour(index, ClockBehaviour::Normal)),
        ]);
    }

    fn add_to(self, scenario: Scenario) -> Scenario {
        let scenario = self
            .script
            .into_iter()
            .fold(scenario, |scenario, (at, action)| scenario.at(at, action));
        scenario.with_ref_clock(self.clock).modify(|world| {
            let source = world.engine.sources.last_mut();
            if let Some(SourceKind::RefClock(clock)) = source.map(|source| &mut source.kind) {
                clock.accuracy = NtpDuration::from_seconds_f64(self.accuracy);
                if let RefClockDevice::Pps(pulse) = &mut clock.reader.device {
                    pulse.width = pulse.width.filter(|_| !self.width_is_unknown);
                }
            }
        })
    }
}

/// A device whose statements about itself are true.
fn right_device(rng: &mut Rng, name: &str) -> Device {
    let mut clock = any_kind(rng, name);
    let receiver = clock.receiver;
    let sawtooth = receiver.sawtooth.map_or(0.0, |(half_range, _)| half_range);
    let least = 5.0 * (sawtooth + clock.noise) + Receiver::LATEST * receiver.lateness;
    let accuracy = least.max(rng.log_uniform(1e-6, 1e-2));
    if receiver.lateness == 0.0 {
        clock.error = rng.uniform_between(-LARGEST_ERROR, LARGEST_ERROR) * (accuracy - sawtooth);
    }
    if receiver.is_pulse && rng.bernoulli(0.3) {
        clock.receiver.wrong_edge = Some((rng.uniform(), rng.uniform_between(0.05, 0.3)));
    }
    if receiver.is_pulse && rng.bernoulli(0.3) {
        clock.receiver.extra_pulse = Some((0.1, rng.uniform_between(0.05, 0.9)));
    }
    Device::new(clock, accuracy)
}

fn any_kind(rng: &mut Rng, name: &str) -> RefClock {
    let noise = rng.log_uniform(2e-8, 1e-3);
    let mut clock = match rng.below(5) {
        0 => RefClock {
            noise,
            ..RefClock::new(name)
        },
        1 => RefClock {
            noise: noise.min(1e-5),
            receiver: Receiver {
                sawtooth: Some((rng.log_uniform(1e-8, 1e-6), rng.log_uniform(10.0, 500.0))),
                ..RefClock::pulse(name).receiver
            },
            ..RefClock::pulse(name)
        },
        2 => RefClock::sentences(name),
        3 => RefClock::network_card(name, rng.uniform_between(-1e-10, 1e-10)),
        _ => RefClock::host(name),
    };
    if !clock.receiver.is_pulse {
        clock.interval = [1.0, 2.0, 8.0][rng.below(3)];
    }
    clock
}

/// A device that is wrong at least for a time.
fn wrong_device(rng: &mut Rng, name: &str, index: usize) -> Device {
    let sign = if rng.bernoulli(0.5) { 1.0 } else { -1.0 };
    let accuracy = rng.log_uniform(1e-6, 1e-3);
    match rng.below(5) {
        0 => {
            let mut device = right_device(rng, name);
            let jump = sign * if rng.bernoulli(0.5) { 1.0 } else { WEEKS };
            let at = rng.uniform_between(0.0, 1100.0);
            let right = device.clock.error;
            device.script.push((at, Action::ClockError(index, jump)));
            if rng.bernoulli(0.5) {
                let until = at + rng.log_uniform(1.0, 1000.0);
                device
                    .script
                    .push((until, Action::ClockError(index, right)));
            }
            device
        }
        1 => Device::new(
            RefClock {
                error: sign * rng.log_uniform(2.0 * accuracy, 1.0),
                ..any_kind(rng, name)
            },
            accuracy,
        ),
        2 => {
            let pulse = RefClock::pulse(name);
            let wrong_edge = Some((rng.uniform(), rng.uniform_between(-0.4, 0.4)));
            let extra_pulse = Some((rng.uniform(), rng.uniform_between(0.05, 0.9)));
            let receiver = Receiver {
                wrong_edge: wrong_edge.filter(|_| rng.bernoulli(0.5)),
                extra_pulse: extra_pulse.filter(|_| rng.bernoulli(0.5)),
                ..pulse.receiver
            };
            Device {
                width_is_unknown: true,
                ..Device::new(RefClock { receiver, ..pulse }, accuracy)
            }
        }
        3 => Device::new(
            RefClock {
                error: sign * rng.uniform_between(0.05, 0.5),
                ..RefClock::pulse(name)
            },
            accuracy,
        ),
        _ => Device::new(
            RefClock::network_card(name, sign * rng.log_uniform(1e-6, 1e-4)),
            accuracy,
        ),
    }
}
