//! What changed: the state of the clock, of a source or of the daemon, with the findings of
//! `ntp-ctl explain` at that moment.
//!
//! A change is noticed when the state is read, every two seconds. The log of the daemon has all
//! events. The list keeps the last [`MAX_CHANGES`].
//!
//! # JSON
//! A change is a list: its number, milliseconds since 1970, its kind (`good`, `warn` or `bad`), the
//! object and the finding.

use std::collections::{BTreeMap, VecDeque};

use ntp_control_api::observation::{SELECTED, State, seconds};
use ntp_time::NtpDuration;
use serde_json::json;

/// Number of changes that are kept: more than a reader of the page looks through.
const MAX_CHANGES: usize = 200;
/// Maximum length of a finding in characters; they have about 100.
const MAX_FINDING: usize = 400;

/// Time in milliseconds by which saved entries may be later than now: steps of a clock that is steered
/// are smaller.
pub(crate) const FUTURE_TOLERANCE: i64 = 60_000;

/// The last changes.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    changes: VecDeque<Change>,
    /// Number of the next change.
    next: u64,
    /// Whether the daemon replied; `None` before the first attempt.
    is_up: Option<bool>,
    last: Option<Summary>,
}

#[derive(Debug)]
struct Change {
    /// Milliseconds since 1970.
    at: i64,
    /// Kind, object and finding as elements of a JSON list.
    text: Box<str>,
}

/// What is compared.
#[derive(Debug)]
struct Summary {
    uptime: f64,
    steps: NtpDuration,
    /// Whether the clock is synchronised, and whether sources disagree.
    clock: (bool, bool),
    /// State of each source, by identifier, with its name.
    sources: BTreeMap<u64, (String, String)>,
}

/// The clock, as an object of a change.
const CLOCK: &str = "Clock";
/// The daemon, as an object of a change.
const DAEMON: &str = "Daemon";
/// State of a source that has not been measured. It is no change, but the beginning.
const NO_SAMPLES: &str = "no-samples";
/// State of a source that is not polled.
const OFFLINE: &str = "offline";

impl Journal {
    /// Compares the state, or the reason why there is none, with the previous one.
    pub(crate) fn record(&mut self, at: i64, state: Result<&State, &str>) {
        let was_up = self.is_up.replace(state.is_ok());
        let state = match state {
            Ok(state) => state,
            Err(problem) => {
                if was_up == Some(true) {
                    self.add(at, "bad", DAEMON, problem);
                }
                return;
            }
        };
        let now = Summary::new(state);
        let before = self.last.replace(now);
        let Some((before, now)) = before.zip(self.last.as_ref()) else {
            return;
        };
        let mut found = Vec::new();
        if now.uptime < before.uptime {
            found.push(("warn", DAEMON.to_owned(), "started".to_owned()));
        } else {
            if was_up == Some(false) {
                found.push(("good", DAEMON.to_owned(), "replies again".to_owned()));
            }
            compare(&before, now, state, &mut found);
        }
        for (kind, object, finding) in found {
            self.add(at, kind, &object, &finding);
        }
    }

    fn add(&mut self, at: i64, kind: &str, object: &str, finding: &str) {
        let finding: String = finding.chars().take(MAX_FINDING).collect();
        let list = json!([kind, object, finding]).to_string();
        self.push(at, list[1..list.len() - 1].into());
    }

    fn push(&mut self, at: i64, text: Box<str>) {
        if self.changes.len() >= MAX_CHANGES {
            self.changes.pop_front();
        }
        self.changes.push_back(Change { at, text });
        self.next += 1;
    }

    /// Returns the changes after the one with this number.
    pub(crate) fn after(&self, number: Option<u64>) -> Vec<String> {
        let oldest = self.next - self.changes.len() as u64;
        let from = number.map_or(oldest, |number| number.saturating_add(1).max(oldest));
        let skipped = usize::try_from(from - oldest).unwrap_or(usize::MAX);
        let changes = self.changes.iter().skip(skipped).zip(from..);
        changes
            .map(|(Change { at, text }, number)| format!("[{number},{at},{text}]"))
            .collect()
    }

    /// Calls `visit` with each change, as `History::save`.
    pub(crate) fn save(&self, visit: &mut dyn FnMut(String)) {
        for Change { at, text } in &self.changes {
            visit(format!("[\"change\",{at},{text}]"));
        }
    }

    /// Adds a saved change, as `History::restore`.
    pub(crate) fn restore(&mut self, part: &str, now: i64) -> Option<()> {
        type Saved = (String, i64, String, String, String);
        let (tag, at, kind, object, finding) = serde_json::from_str::<Saved>(part).ok()?;
        if tag != "change" || !["good", "warn", "bad"].contains(&kind.as_str()) {
            return None;
        }
        if at <= now.saturating_add(FUTURE_TOLERANCE) {
            self.add(at, &kind, &object, &finding);
        }
        Some(())
    }
}

impl Summary {
    fn new(state: &State) -> Self {
        let details = &state.system.details;
        let mut disagree = false;
        let sources = state.sources.iter().map(|source| {
            let state = source.details.state.as_deref().unwrap_or_default();
            disagree |= state == "no-majority";
            let is_offline = source.details.online == Some(false);
            let state = if is_offline { OFFLINE } else { state };
            (source.id, (source.name.clone(), state.to_owned()))
        });
        let sources = sources.collect();
        Self {
            uptime: state.program.uptime_seconds,
            steps: state.system.accumulated_steps,
            clock: (
                details.synchronized.unwrap_or(state.system.stratum < 16),
                disagree,
            ),
            sources,
        }
    }
}

/// Appends kind, object and finding of each difference between `before` and `now`, which is the summary
/// of `state`.
fn compare(
    before: &Summary,
    now: &Summary,
    state: &State,
    found: &mut Vec<(&'static str, String, String)>,
) {
    let stepped = now.steps - before.steps;
    if stepped > NtpDuration::ZERO {
        let finding = format!("stepped by {:.6} s", seconds(stepped));
        found.push(("warn", CLOCK.to_owned(), finding));
    }
    if now.clock != before.clock {
        let kind = if now.clock.0 { "good" } else { "warn" };
        let state_alone = if now.clock.0 {
            "synchronised"
        } else {
            "not synchronised"
        };
        let why = state.system.details.why.as_ref();
        let finding = why.map_or_else(|| state_alone.to_owned(), |why| why.join("; "));
        found.push((kind, CLOCK.to_owned(), finding));
    }
    for source in &state.sources {
        let Some((name, state)) = now.sources.get(&source.id) else {
            continue;
        };
        let earlier = before.sources.get(&source.id);
        if state == NO_SAMPLES || earlier.is_some_and(|(_, earlier)| earlier == state) {
            continue;
        }
        let kind = match state.as_str() {
            SELECTED => "good",
            "falseticker" | "unreachable" | "unusable" => "bad",
            _ => "warn",
        };
        let why = source.details.why.as_ref().and_then(|why| why.first());
        found.push((kind, name.clone(), why.unwrap_or(state).clone()));
    }
    for (id, (name, _)) in &before.sources {
        if !now.sources.contains_key(id) {
            found.push(("warn", name.clone(), "removed".to_owned()));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn state() -> State {
        let json = include_str!("../../ntp-control-api/tests/data/ours.json");
        serde_json::from_str(json).unwrap()
    }

    /// Returns kind, object and finding of the changes between `before` and what `change` makes of it.
    fn changes(change: impl FnOnce(&mut State)) -> Vec<[String; 3]> {
        let mut journal = Journal::default();
        let mut state = state();
        journal.record(0, Ok(&state));
        assert!(journal.after(None).is_empty());
        change(&mut state);
        journal.record(2000, Ok(&state));
        let parse = |text: &String| {
            let (_, at, kind, object, finding): (u64, i64, _, _, _) =
                serde_json::from_str(text).unwrap();
            assert_eq!(at, 2000);
            [kind, object, finding]
        };
        journal.after(None).iter().map(parse).collect()
    }

    #[test]
    fn a_change_has_the_finding_of_explain() {
        let finding = "not used: its interval does not overlap the majority's";
        let found = changes(|state| {
            let details = &mut state.sources[0].details;
            details.state = Some("falseticker".to_owned());
            details.why = Some(vec![finding.to_owned(), "more".to_owned()]);
        });
        assert_eq!(found, [["bad", "time.example.org:4460", finding]]);
        let found = changes(|state| {
            let details = &mut state.system.details;
            details.synchronized = Some(false);
            details.why = Some(vec!["not synchronised".to_owned(), "add one".to_owned()]);
        });
        assert_eq!(found, [["warn", CLOCK, "not synchronised; add one"]]);
    }

    #[test]
    fn sources_that_go_offline_or_away_and_steps_are_changes() {
        assert!(changes(|_| ()).is_empty());
        let found = changes(|state| state.sources[0].details.online = Some(false));
        assert_eq!(found, [["warn", "time.example.org:4460", OFFLINE]]);
        let found = changes(|state| drop(state.sources.remove(0)));
        assert_eq!(found, [["warn", "time.example.org:4460", "removed"]]);
        let found = changes(|state| state.system.accumulated_steps = NtpDuration::from_millis(250));
        assert_eq!(found, [["warn", CLOCK, "stepped by 0.250000 s"]]);
        let found = changes(|state| {
            state.program.uptime_seconds = 1.0;
            state.sources.clear();
        });
        assert_eq!(found, [["warn", DAEMON, "started"]]);
    }

    #[test]
    fn the_daemon_goes_away_and_comes_back_once() {
        let mut journal = Journal::default();
        journal.record(0, Err("never there"));
        journal.record(1, Ok(&state()));
        journal.record(2, Err("gone"));
        journal.record(3, Err("gone"));
        journal.record(4, Ok(&state()));
        let found: Vec<Value> = journal
            .after(None)
            .iter()
            .map(|it| it.parse().unwrap())
            .collect();
        assert_eq!(
            found,
            [
                json!([0, 2, "bad", DAEMON, "gone"]),
                json!([1, 4, "good", DAEMON, "replies again"])
            ]
        );
        for _ in 0..1000 {
            journal.record(5, Err("gone"));
            journal.record(5, Ok(&state()));
        }
        assert_eq!(journal.after(None).len(), MAX_CHANGES);
        assert_eq!(journal.after(Some(2000)).len(), 1);
    }
}
