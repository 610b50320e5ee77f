//! The engine, driven by a record.

use std::collections::HashMap;
use std::net::SocketAddr;

use ntp_proto::engine::{
    CommandId, Datagram, Drawn, Engine, Event, ExchangeId, Halt, Input, Now, Output, Severity,
};
use ntp_time::{Adjustment, Monotonic, NtpDuration, Stamp, SystemTime};

use crate::clocks::Clocks;
use crate::{Line, Told};

/// Something that was done, or would have been.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// When, by the recorded clock.
    pub at: SystemTime,
    /// What.
    pub what: String,
}

/// How the replayed engine saw things after an input, for the plot.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moment {
    /// Seconds since the record began.
    pub at: f64,
    /// What it would add to the clock, in seconds.
    pub offset: f64,
    /// The error that it expects, in seconds.
    pub estimated_error: f64,
    /// The error that it guarantees, in seconds.
    pub bound: f64,
}

/// What came of a replay.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// What was done to the clock, and told.
    pub was: Vec<Decision>,
    /// What would have been.
    pub would: Vec<Decision>,
    /// When the clock would first have been steered otherwise.
    pub diverged: Option<SystemTime>,
    /// The record's course, at most one moment a second.
    pub course: Vec<Moment>,
    /// Offset and half interval of each source's measurements, by name: seconds since the record began, and seconds.
    pub measured: Vec<(String, f64, f64)>,
    /// Inputs given.
    pub inputs: u64,
    /// Recorded answers for which the replayed engine had not asked.
    pub unasked: u64,
    /// Why equal decisions cannot be expected, if so.
    pub inexact: Vec<String>,
    /// The version that wrote the record.
    pub version: String,
}

impl Outcome {
    /// Whether the same was decided.
    pub fn is_same(&self) -> bool {
        self.was == self.would && self.diverged.is_none()
    }
}

/// Runs a new engine on the lines of a record. If there are several starts in it, the last one with its lines counts.
pub fn replay(lines: &[Line]) -> Option<Outcome> {
    let start = lines
        .iter()
        .rposition(|line| matches!(line, Line::Start { .. }))?;
    let Line::Start {
        config,
        monotonic,
        system,
        midway,
        protected,
        version,
    } = &lines[start]
    else {
        return None;
    };
    let now = Now {
        monotonic: *monotonic,
        system: *system,
    };
    let mut run = Run {
        lines: &lines[start + 1..],
        next: 0,
        clocks: Clocks::new(*system, config.clock.frequency),
        engine: Engine::new((**config).clone(), now, [0; 32]),
        open: HashMap::new(),
        paired: HashMap::new(),
        began: *monotonic,
        now: (*monotonic, *system),
        protected: *protected,
        outcome: Outcome {
            version: version.clone(),
            ..Outcome::default()
        },
    };
    if *midway {
        run.outcome.inexact.push(
            "the record begins midway: what the engine had learnt before is not in it".to_owned(),
        );
    }
    run.all();
    run.outcome.diverged = run.clocks.diverged;
    Some(run.outcome)
}

struct Run<'a> {
    lines: &'a [Line],
    next: usize,
    clocks: Clocks,
    engine: Engine,
    /// Requests of the replayed engine that are under way.
    open: HashMap<ExchangeId, SocketAddr>,
    /// Recorded exchanges that are answered for another one of the replayed engine.
    paired: HashMap<ExchangeId, ExchangeId>,
    began: Monotonic,
    /// The recorded clocks' last readings.
    now: (Monotonic, SystemTime),
    protected: bool,
    outcome: Outcome,
}

impl Run<'_> {
    fn all(&mut self) {
        while let Some(line) = self.lines.get(self.next) {
            self.next += 1;
            match line {
                Line::Told {
                    monotonic,
                    system,
                    told,
                    drawn,
                } => {
                    self.now = (*monotonic, *system);
                    self.tell(told, drawn);
                }
                Line::Event(text) => {
                    let what = text.clone();
                    self.outcome.was.push(Decision {
                        at: self.now.1,
                        what,
                    });
                }
                Line::Dropped(count) => self
                    .outcome
                    .inexact
                    .push(format!("{count} lines are missing")),
                Line::Closed(_) | Line::Start { .. } => {}
            }
        }
    }

    fn tell(&mut self, told: &Told, drawn: &Drawn) {
        self.engine.foretell(drawn);
        match told {
            Told::Tick => self.handle(Input::Tick),
            Told::Shutdown => self.handle(Input::Shutdown),
            Told::Suspended(by) => self.handle(Input::Suspended(*by)),
            Told::Addresses(addresses) => self.handle(Input::LocalAddresses(addresses)),
            Told::Resolved(query, result) => {
                let result = result.as_ref().map(Vec::as_slice).map_err(String::as_str);
                self.handle(Input::Resolved {
                    query: *query,
                    result,
                });
            }
            Told::Sent(exchange, stamp) => {
                if let Some(exchange) = self.counterpart(*exchange) {
                    let stamp = self.stamp(*stamp);
                    self.handle(Input::Transmitted { exchange, stamp });
                }
            }
            Told::Failed(exchange, error) => {
                if let Some(exchange) = self.counterpart(*exchange) {
                    let error = *error;
                    self.handle(Input::SendFailed { exchange, error });
                }
            }
            Told::Reply(exchange, stamp, header) => self.reply(*exchange, *stamp, header),
            Told::LeapList(table) => self.handle(Input::LeapList(table.as_ref())),
            Told::Config(config) => self.handle(Input::Reconfigure(CommandId(0), config)),
            // Its adjustment is not there any more, or was not recorded with it: the clock was changed all the same.
            Told::Applied(applied, step, frequency) => {
                self.was_adjusted(*step, *frequency);
                self.clocks.was_applied(applied);
                if self.clocks.diverged.is_none() {
                    self.clocks.diverged = Some(self.now.1);
                }
            }
            Told::Other(kind) => {
                let reason = format!("an input ({kind}) cannot be given again");
                if !self.outcome.inexact.contains(&reason) {
                    self.outcome.inexact.push(reason);
                }
            }
        }
        self.note();
    }

    /// The replayed engine's request for a recorded one: the same, or after it has decided otherwise one of the same source.
    fn counterpart(&mut self, recorded: ExchangeId) -> Option<ExchangeId> {
        if self.open.contains_key(&recorded) {
            return Some(recorded);
        }
        if let Some(paired) = self.paired.get(&recorded)
            && self.open.contains_key(paired)
        {
            return Some(*paired);
        }
        let mut same_source = self
            .open
            .keys()
            .filter(|open| open.source == recorded.source);
        let other = same_source.next().copied()?;
        self.paired.insert(recorded, other);
        Some(other)
    }

    /// Where keys are in use, a reply that was not taken for an answer then is none now: it may have lacked a key's proof.
    fn reply(&mut self, recorded: ExchangeId, stamp: Stamp, header: &[u8]) {
        let taken = self.lines[self.next..]
            .iter()
            .take_while(|line| {
                !matches!(line, Line::Told { told, .. } if !matches!(told, Told::Applied(..)))
            })
            .any(|line| *line == Line::Closed(recorded));
        let Some(exchange) = self.counterpart(recorded) else {
            self.outcome.unasked += 1;
            return;
        };
        if self.protected && !taken {
            return self.handle(Input::Tick);
        }
        let received = self.stamp(stamp);
        self.handle(Input::Datagram(Datagram {
            exchange,
            payload: header,
            truncated: false,
            received,
        }));
    }

    fn stamp(&self, stamp: Stamp) -> Stamp {
        Stamp {
            time: self.clocks.reading(stamp.time),
            source: stamp.source,
        }
    }

    fn handle(&mut self, input: Input<'_>) {
        self.outcome.inputs += 1;
        self.engine.handle(self.reading(), input);
        while let Some(output) = self.engine.poll_output() {
            match output {
                Output::Adjust(wanted) => self.adjust(&wanted),
                Output::Transmit {
                    exchange, remote, ..
                } => {
                    self.open.insert(exchange, remote);
                }
                Output::Close(exchange) => {
                    self.open.remove(&exchange);
                    self.paired.retain(|_, other| *other != exchange);
                }
                Output::Event(event) => self.event(&event),
                Output::Halt(halt) => self.halt(&halt),
                // Names were looked up then; what is worth saving was saved.
                _ => {}
            }
        }
    }

    fn reading(&self) -> Now {
        Now {
            monotonic: self.now.0,
            system: self.clocks.reading(self.now.1),
        }
    }

    /// The recorded answer, if the recorded engine wanted the same here; otherwise that of a clock that does what it is told.
    fn adjust(&mut self, wanted: &Adjustment) {
        let what = adjustment(wanted.step, wanted.frequency);
        let at = self.now.1;
        self.outcome
            .would
            .extend(what.map(|what| Decision { at, what }));
        let follows =
            self.lines[self.next..]
                .iter()
                .enumerate()
                .find_map(|(ahead, line)| match line {
                    Line::Told {
                        told: Told::Applied(applied, step, frequency),
                        monotonic,
                        system,
                        ..
                    } => Some(Some((
                        ahead, *applied, *step, *frequency, *monotonic, *system,
                    ))),
                    Line::Told { .. } | Line::Start { .. } => Some(None),
                    _ => None,
                });
        let applied = match follows.flatten() {
            Some((ahead, applied, step, frequency, monotonic, system)) => {
                // What stands between was told before.
                for line in &self.lines[self.next..self.next + ahead] {
                    if let Line::Event(text) = line {
                        let what = text.clone();
                        self.outcome.was.push(Decision { at, what });
                    }
                }
                self.next += ahead + 1;
                let same = step == wanted.step && frequency == wanted.frequency;
                self.was_adjusted(step, frequency);
                let answer = if same && self.clocks.diverged.is_none() {
                    applied
                } else {
                    self.clocks.would_apply(at, wanted)
                };
                self.now = (monotonic, system);
                self.clocks.was_applied(&applied);
                answer
            }
            None => self.clocks.would_apply(at, wanted),
        };
        let now = self.reading();
        self.engine.handle(now, Input::ClockApplied(applied));
    }

    fn was_adjusted(&mut self, step: Option<NtpDuration>, frequency: Option<ntp_time::Frequency>) {
        let at = self.now.1;
        let what = adjustment(step, frequency);
        self.outcome
            .was
            .extend(what.map(|what| Decision { at, what }));
    }

    fn event(&mut self, event: &Event) {
        let at = self.seconds();
        if let Event::Measured {
            subject, offset, ..
        } = event
        {
            let offset = -offset.as_seconds_f64();
            self.outcome
                .measured
                .push((subject.name.clone(), at, offset));
        }
        if event.severity() > Severity::Debug {
            let what = event.to_string();
            self.outcome.would.push(Decision {
                at: self.now.1,
                what,
            });
        }
    }

    fn halt(&mut self, halt: &Halt) {
        let what = format!("end: {halt}");
        self.outcome.would.push(Decision {
            at: self.now.1,
            what,
        });
    }

    fn seconds(&self) -> f64 {
        (self.now.0 - self.began).as_seconds_f64()
    }

    fn note(&mut self) {
        let at = self.seconds();
        if self
            .outcome
            .course
            .last()
            .is_some_and(|last| at - last.at < 1.0)
        {
            return;
        }
        let system = self.engine.snapshot(self.reading()).system;
        self.outcome.course.push(Moment {
            at,
            offset: -system.offset.as_seconds_f64(),
            estimated_error: system.estimated_error.as_seconds_f64(),
            bound: system.bound.as_seconds_f64(),
        });
    }
}

/// In words, if it changes the clock's time or rate.
fn adjustment(step: Option<NtpDuration>, frequency: Option<ntp_time::Frequency>) -> Option<String> {
    match (step, frequency) {
        (None, None) => None,
        (Some(step), None) => Some(format!("step by {step}")),
        (None, Some(frequency)) => Some(format!("run at {frequency}")),
        (Some(step), Some(frequency)) => Some(format!("step by {step}, run at {frequency}")),
    }
}
