//! Events of a run that tests inspect, and a fingerprint of everything.

use ntp_proto::engine::{CommandOutcome, Event, PersistedState, Refusal, RefusedStep};
use ntp_proto::nts::KeyExchanged;
use ntp_time::{Adjustment, Applied, NtpDuration};

use crate::TrueTime;

/// History of one run.
#[derive(Clone, Debug)]
pub struct Journal {
    /// Events in order; measurements and slews are only counted.
    pub events: Vec<(TrueTime, Event)>,
    /// Number of measurements.
    pub measured: u64,
    /// Number of slews.
    pub slews: u64,
    /// Steps that the engine requested.
    pub steps: Vec<(TrueTime, NtpDuration)>,
    /// Adjustments that changed the clock's time or rate.
    pub adjustments: u64,
    /// Number of requests sent.
    pub requests: u64,
    /// Number of name lookups.
    pub lookups: u64,
    /// Times at which key exchanges were requested.
    pub key_exchanges: Vec<TrueTime>,
    /// NTS sessions that the engine output for saving, by the names of their sources.
    pub sessions: Vec<(String, KeyExchanged)>,
    /// State that the engine last output for saving, and when.
    pub persisted: Option<(TrueTime, PersistedState)>,
    /// Results of an operator's commands, in order.
    pub completed: Vec<Result<CommandOutcome, Refusal>>,
    /// Reason for which the engine stopped, if it did.
    pub halt: Option<RefusedStep>,
    fingerprint: u64,
}

/// Number of stored events. A run with more has failed in a way that the first ones show.
const MAX_EVENTS: usize = 100_000;

impl Journal {
    pub(crate) fn new() -> Self {
        Self {
            events: Vec::new(),
            measured: 0,
            slews: 0,
            steps: Vec::new(),
            adjustments: 0,
            requests: 0,
            lookups: 0,
            key_exchanges: Vec::new(),
            sessions: Vec::new(),
            persisted: None,
            completed: Vec::new(),
            halt: None,
            // The offset basis of FNV-1a.
            fingerprint: 0xcbf2_9ce4_8422_2325,
        }
    }

    /// Hash of every request, adjustment and event, and of their times.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// Returns the times of the events that match, in seconds.
    pub fn event_times(&self, matches: impl Fn(&Event) -> bool) -> Vec<f64> {
        self.events
            .iter()
            .filter(|(_, event)| matches(event))
            .map(|(at, _)| at.as_seconds())
            .collect()
    }

    pub(crate) fn event(&mut self, at: TrueTime, event: Event) {
        match &event {
            Event::Measured { offset, delay, .. } => {
                self.measured += 1;
                self.hash(at, &offset.to_bits().to_le_bytes());
                if let Some(delay) = delay {
                    self.hash(at, &delay.to_bits().to_le_bytes());
                }
                return;
            }
            Event::ClockSlewing { .. } => {
                self.slews += 1;
                return;
            }
            other => self.hash(at, format!("{other:?}").as_bytes()),
        }
        if self.events.len() < MAX_EVENTS {
            self.events.push((at, event));
        }
    }

    pub(crate) fn adjusted(&mut self, at: TrueTime, adjustment: &Adjustment, applied: &Applied) {
        if let Some(step) = adjustment.step {
            self.steps.push((at, step));
        }
        if adjustment.step.is_some() || adjustment.frequency.is_some() {
            self.adjustments += 1;
        }
        self.hash(at, &applied.step.to_bits().to_le_bytes());
        self.hash(at, &applied.frequency.as_ratio().to_bits().to_le_bytes());
    }

    pub(crate) fn request(&mut self, at: TrueTime, payload: &[u8]) {
        self.requests += 1;
        self.hash(at, payload);
    }

    /// Adds to the FNV-1a hash.
    fn hash(&mut self, at: TrueTime, octets: &[u8]) {
        for octet in at.as_nanos().to_le_bytes().iter().chain(octets) {
            self.fingerprint =
                (self.fingerprint ^ u64::from(*octet)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}
