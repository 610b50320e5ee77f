//! Makes entries from what the engine knows at each wake-up.
//!
//! The error bound falls when a measurement arrives and grows until the next one. So the state is
//! observed twice in each round: before inputs are handled, when the old figures have grown to their
//! last values, and after that. The time between two rounds lies between an observation after a
//! round and one before the next.

use std::collections::BTreeSet;

use ntp_proto::discipline::ErrorFigures;
use ntp_proto::engine::Now;
use ntp_time::{Monotonic, NtpDuration};
use ntp_types::event::{Event, Logfmt};

use crate::{Entry, Levels, Occurrence};

/// Length of an entry: what a crash may lose, against the size of the file (0.5 MB a month).
pub const PERIOD: NtpDuration = NtpDuration::from_seconds(900);

/// Largest number of events in an entry. More come from a program or a source that acts all the
/// time; the number of the rest is counted.
const MAX_EVENTS: usize = 32;
/// Largest number of sources in an entry.
const MAX_SOURCES: usize = 64;
/// Longest text of the fields of an event, in octets.
const MAX_FIELDS: usize = 400;

/// Time between two rounds from which on the time between them has no history: the machine slept, or
/// the daemon was stopped. It wakes up once a minute at least.
const SILENCE: NtpDuration = NtpDuration::from_seconds(300);

/// A change of the clock against the monotonic clock that ends an entry, so that its limits hold.
const STEP: NtpDuration = NtpDuration::from_seconds(1);

/// What the engine claims about its clock at one time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Accuracy {
    /// Guaranteed error.
    pub bound: NtpDuration,
    /// Estimated error.
    pub estimated_error: NtpDuration,
}

impl From<ErrorFigures> for Accuracy {
    fn from(figures: ErrorFigures) -> Self {
        Self {
            bound: figures.bound,
            estimated_error: figures.estimated_error,
        }
    }
}

/// Makes entries.
#[derive(Debug)]
pub struct Recorder {
    version: String,
    /// The present entry, and the time up to which it has been made.
    open: Option<(Now, Monotonic, Entry)>,
    sources: BTreeSet<String>,
    /// What held after the last round; `None` if not synchronised.
    accuracy: Option<Accuracy>,
}

impl Recorder {
    /// Starts a history that the daemon of this version writes.
    pub fn new(version: &str) -> Self {
        Self {
            version: version.to_owned(),
            open: None,
            sources: BTreeSet::new(),
            accuracy: None,
        }
    }

    /// Observes the clock before inputs are handled: `accuracy` is what the figures since the last
    /// round have become, `None` while the clock is not synchronised. Returns finished entries.
    pub fn before_round(&mut self, now: Now, accuracy: Option<Accuracy>) -> Vec<Entry> {
        let mut finished = Vec::new();
        let Some((begin, ..)) = self.open else {
            self.begin(now);
            return finished;
        };
        let silent = |to: Monotonic| now.monotonic - to > SILENCE;
        if self.open.as_ref().is_some_and(|(_, to, _)| silent(*to)) {
            finished.extend(self.finish());
            self.begin(now);
            return finished;
        }
        let elapsed = now.monotonic - begin.monotonic;
        let stepped = (now.system - begin.system - elapsed).abs() >= STEP;
        let start = self.accuracy;
        // A clock that loses synchronisation meanwhile was synchronised up to now.
        let end = accuracy.or(start);
        let mut reached = self.open.as_ref().map_or(now.monotonic, |(_, to, _)| *to);
        let whole = now.monotonic - reached;
        let at = |time: Monotonic| {
            let share = (now.monotonic - time).as_seconds_f64() / whole.as_seconds_f64();
            start.zip(end).map(|(start, end)| end.before(start, share))
        };
        while let Some(edge) = self.edge().filter(|edge| *edge <= now.monotonic) {
            self.add(at(reached).zip(at(edge)), edge);
            reached = edge;
            finished.extend(self.finish());
            self.begin(Now {
                monotonic: edge,
                system: begin.system + (edge - begin.monotonic),
            });
        }
        if now.monotonic > reached {
            self.add(at(reached).zip(at(now.monotonic)), now.monotonic);
        }
        if stepped {
            finished.extend(self.finish());
            self.begin(now);
        }
        finished
    }

    /// Observes the clock after a round.
    pub fn after_round(&mut self, accuracy: Option<Accuracy>) {
        self.accuracy = accuracy;
    }

    /// Records that a source is selected.
    pub fn record_source(&mut self, name: &str) {
        if self.sources.len() < MAX_SOURCES && !self.sources.contains(name) {
            self.sources.insert(name.to_owned());
        }
    }

    /// Records an event, if it [belongs](is_recorded) to a history.
    pub fn record_event(&mut self, now: Now, event: &Event) {
        if !is_recorded(event) {
            return;
        }
        if self.open.is_none() {
            self.begin(now);
        }
        let Some((.., entry)) = &mut self.open else {
            return;
        };
        if entry.events.len() >= MAX_EVENTS {
            entry.more_events += 1;
            return;
        }
        let text = Logfmt(event).to_string();
        let mut fields = text
            .split_once(' ')
            .map_or("", |(_, fields)| fields)
            .to_owned();
        if let Some((end, _)) = fields.char_indices().find(|(at, _)| *at >= MAX_FIELDS) {
            fields.truncate(end);
        }
        entry.events.push(Occurrence {
            at: now.system,
            event: event.name().to_owned(),
            fields,
        });
    }

    /// Ends the present entry, because the daemon stops.
    pub fn finish(&mut self) -> Option<Entry> {
        let (begin, to, mut entry) = self.open.take()?;
        entry.length = to - begin.monotonic;
        entry.sources = core::mem::take(&mut self.sources).into_iter().collect();
        (entry.length > NtpDuration::ZERO || !entry.events.is_empty()).then_some(entry)
    }

    fn begin(&mut self, now: Now) {
        let entry = Entry {
            from: now.system,
            length: NtpDuration::ZERO,
            version: self.version.clone(),
            bound: Levels::default(),
            estimated_error: Levels::default(),
            sources: Vec::new(),
            events: Vec::new(),
            more_events: 0,
        };
        self.open = Some((now, now.monotonic, entry));
    }

    /// The next whole quarter of an hour of the system clock.
    fn edge(&self) -> Option<Monotonic> {
        let (begin, ..) = self.open.as_ref()?;
        let period = PERIOD.as_nanos();
        let rest = period - begin.system.as_nanos().rem_euclid(period);
        Some(begin.monotonic + NtpDuration::from_nanos(rest))
    }

    /// Counts the time up to `to`, with the figures at its beginning and end.
    fn add(&mut self, figures: Option<(Accuracy, Accuracy)>, to: Monotonic) {
        let Some((_, reached, entry)) = &mut self.open else {
            return;
        };
        let time = to - *reached;
        *reached = to;
        if let Some((start, end)) = figures {
            entry.bound.add(start.bound, end.bound, time);
            (entry.estimated_error).add(start.estimated_error, end.estimated_error, time);
        }
    }
}

impl Accuracy {
    /// The figures on the straight line from `start` to here, `share` of the way before the end.
    fn before(self, start: Self, share: f64) -> Self {
        let mix = |start: NtpDuration, end: NtpDuration| end + (start - end).scaled(share);
        Self {
            bound: mix(start.bound, self.bound),
            estimated_error: mix(start.estimated_error, self.estimated_error),
        }
    }
}

/// Returns whether an event belongs to a history: it concerns how far the clock can be trusted, or
/// who changed the configuration.
pub fn is_recorded(event: &Event) -> bool {
    matches!(
        event,
        Event::DaemonStarting { .. }
            | Event::DaemonStopping { .. }
            | Event::DaemonFailed { .. }
            | Event::StepRefused { .. }
            | Event::SteeringResumed { .. }
            | Event::ConfigurationReloaded { .. }
            | Event::ControlCall { .. }
            | Event::Synchronized { .. }
            | Event::SynchronizationLost { .. }
            | Event::NoMajority { .. }
            | Event::ClockStepped { .. }
            | Event::ClockDisturbed { .. }
            | Event::Resumed { .. }
            | Event::MachineDisrupted { .. }
            | Event::LeapSecond { .. }
            | Event::DisciplineRestarted { .. }
    )
}

#[cfg(test)]
mod tests {
    use ntp_time::SystemTime;

    use super::*;

    /// A moment by a system clock that is `ahead` seconds ahead of the monotonic one.
    fn at(seconds: i64, ahead: i64) -> Now {
        let second = 1_000_000_000;
        Now {
            monotonic: Monotonic::from_nanos(seconds * second),
            system: SystemTime::from_nanos((1_800_000_000 + seconds + ahead) * second),
        }
    }

    fn bound(micros: i64) -> Option<Accuracy> {
        Some(Accuracy {
            bound: NtpDuration::from_micros(micros),
            estimated_error: NtpDuration::from_micros(1),
        })
    }

    /// Observes a clock each minute, except within `pause`, up to `end`.
    fn record(end: i64, pause: core::ops::Range<i64>, ahead: impl Fn(i64) -> i64) -> Vec<Entry> {
        let mut recorder = Recorder::new("0.1.0");
        let mut entries = Vec::new();
        for second in (0..=end).step_by(60).filter(|it| !pause.contains(it)) {
            entries.extend(recorder.before_round(at(second, ahead(second)), bound(20)));
            recorder.after_round(bound(10));
        }
        entries.extend(recorder.finish());
        entries
    }

    fn seconds(entries: &[Entry]) -> Vec<(i64, i64)> {
        let second = 1_000_000_000;
        let pairs = entries.iter().map(|entry| {
            let from = entry.from.as_nanos() / second - 1_800_000_000;
            (from, entry.length.as_nanos() / second)
        });
        pairs.collect()
    }

    #[test]
    fn entries_end_at_quarters_of_an_hour_of_the_system_clock() {
        // 1 800 000 000 is the beginning of a quarter.
        let entries = record(2000, 0..0, |_| 100);
        assert_eq!(seconds(&entries), [(100, 800), (900, 900), (1800, 280)]);
        for entry in &entries {
            assert_eq!(entry.bound.total(), entry.length);
            assert_eq!(entry.bound.largest(), Some(NtpDuration::from_micros(20)));
        }
    }

    #[test]
    fn a_clock_that_is_set_ends_an_entry() {
        let entries = record(600, 0..0, |second| if second < 300 { 0 } else { 7 });
        assert_eq!(seconds(&entries), [(0, 300), (307, 300)]);
    }

    /// The monotonic clock counts while the machine sleeps, and no program could read the clock.
    #[test]
    fn a_machine_that_sleeps_has_no_history() {
        let entries = record(8000, 240..7320, |_| 0);
        assert_eq!(seconds(&entries)[..2], [(0, 180), (7320, 660)]);
    }
}
