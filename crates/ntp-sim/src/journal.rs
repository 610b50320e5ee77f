//! What happened in a run, as far as tests ask about it, and a fingerprint of all the rest.

use ntp_proto::engine::{CommandOutcome, Event, Halt, PersistedState, Refusal};
use ntp_proto::nts::KeyExchanged;
use ntp_time::{Adjustment, Applied, NtpDuration};

use crate::TrueTime;

/// The record of one run.
#[derive(Clone, Debug)]
pub struct Journal {
    /// Events in order; measurements and slews are only counted.
    pub events: Vec<(TrueTime, Event)>,
    /// Measurements taken.
    pub measured: u64,
    /// Slews begun.
    pub slews: u64,
    /// Steps that the engine asked for.
    pub steps: Vec<(TrueTime, NtpDuration)>,
    /// Adjustments that changed the clock's time or rate.
    pub adjustments: u64,
    /// Requests sent.
    pub requests: u64,
    /// Names looked up.
    pub lookups: u64,
    /// Key exchanges wanted.
    pub key_exchanges: Vec<TrueTime>,
    /// Sessions handed out for saving, by their sources' names.
    pub sessions: Vec<(String, KeyExchanged)>,
    /// What was handed out for saving last, and when.
    pub persisted: Option<(TrueTime, PersistedState)>,
    /// What became of an operator's commands, in their order.
    pub completed: Vec<Result<CommandOutcome, Refusal>>,
    /// Why the engine ended, if it did.
    pub halt: Option<Halt>,
    fingerprint: u64,
}

/// Events kept; a run with more than that has gone wrong in a way that the first of them show.
const EVENTS_KEPT: usize = 100_000;

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

    /// A number that depends on every request, adjustment and event, and on when they happened.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// Events that `matches` picks, with their times in seconds.
    pub fn when(&self, matches: impl Fn(&Event) -> bool) -> Vec<f64> {
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
                self.mix(at, &offset.to_bits().to_le_bytes());
                self.mix(at, &delay.to_bits().to_le_bytes());
                return;
            }
            Event::Slewing { .. } => {
                self.slews += 1;
                return;
            }
            other => self.mix(at, format!("{other:?}").as_bytes()),
        }
        if self.events.len() < EVENTS_KEPT {
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
        self.mix(at, &applied.step.to_bits().to_le_bytes());
        self.mix(at, &applied.frequency.as_ratio().to_bits().to_le_bytes());
    }

    pub(crate) fn request(&mut self, at: TrueTime, payload: &[u8]) {
        self.requests += 1;
        self.mix(at, payload);
    }

    /// FNV-1a.
    fn mix(&mut self, at: TrueTime, octets: &[u8]) {
        for octet in at.as_nanos().to_le_bytes().iter().chain(octets) {
            self.fingerprint =
                (self.fingerprint ^ u64::from(*octet)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}
