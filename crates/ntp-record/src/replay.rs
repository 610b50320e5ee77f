//! Runs a new engine on a record.
//!
//! Every input is passed to the engine as recorded, every adjustment gets the recorded result, and
//! every random number that the engine draws was recorded with the input. The random numbers are
//! also the strictest test of the replay: a request that was not sent then, or is not sent now,
//! needs other numbers.
//!
//! The replay is exact or it ends: only the version that wrote a record can replay it, from the
//! start of the engine on. At the first input that the engine handles differently, and at the first
//! gap, the replay stops; of what follows a difference the recorded decisions are returned.

use std::collections::BTreeMap;
use std::sync::Arc;

use ntp_proto::client::Protection;
use ntp_proto::engine::{
    CommandId, Datagram, Engine, Event, ExchangeId, Input, Now, Output, RngTrace, SourceConfig,
};
use ntp_proto::keys::Key;
use ntp_time::{Adjustment, Frequency, Monotonic, NtpDuration, Stamp, SystemTime};

use crate::input::{RecordedInput, RecordedReply};
use crate::line::{Line, Start};
use crate::surrogate;
use crate::trace_writer::TraceWriter;

/// An adjustment of the clock, an event or the result of an operator's command.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// Time of the decision.
    pub at: SystemTime,
    /// Description.
    pub text: String,
}

/// State of the replayed engine after an input, for the plot.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// Seconds since the start of the record.
    pub at: f64,
    /// Offset that the engine would add to the clock, in seconds.
    pub offset: f64,
    /// Estimated error, in seconds.
    pub estimated_error: f64,
    /// Guaranteed bound of the error, in seconds.
    pub bound: f64,
}

/// Result of a replay.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Decisions in the record.
    pub recorded: Vec<Decision>,
    /// Decisions of the replayed engine.
    pub replayed: Vec<Decision>,
    /// Time of the first input that the replayed engine handled differently.
    pub diverged: Option<SystemTime>,
    /// Reason for which the record was not replayed to its end.
    pub incomplete: Option<String>,
    /// State of the replayed engine, at most one sample a second.
    pub samples: Vec<Sample>,
    /// Measurements: name of the source, seconds since the start of the record, and offset in
    /// seconds.
    pub measurements: Vec<(String, f64, f64)>,
    /// Commands of operators: seconds since the start of the record, and description.
    pub operator_requests: Vec<(f64, String)>,
    /// Number of replayed inputs.
    pub inputs: u64,
    /// Version of the daemon that wrote the record.
    pub version: String,
}

impl Outcome {
    /// Returns whether the replayed engine made the recorded decisions.
    pub fn is_same(&self) -> bool {
        self.recorded == self.replayed && self.diverged.is_none()
    }
}

/// Replays the last run in the lines of a record. Returns `None` if they contain no start of a file.
pub fn replay(lines: &[Line]) -> Option<Outcome> {
    let starts = lines.iter().enumerate().rev();
    let mut starts = starts.filter_map(|(index, line)| match line {
        Line::Start(start) => Some((index, start)),
        _ => None,
    });
    let (mut first, mut start) = starts.next()?;
    for (index, earlier) in starts {
        if !start.continues(earlier) {
            break;
        }
        (first, start) = (index, earlier);
    }
    let mut replay = Replay::new(start, &lines[first + 1..]);
    if start.part > 0 {
        replay.outcome.incomplete = Some(format!(
            "the record begins with part {} of a run, and only the start of the run can be replayed",
            start.part
        ));
        replay.is_running = false;
    }
    replay.run();
    Some(replay.into_outcome())
}

/// Error of a clock about which nothing is known, in seconds: MAXDISP of RFC 5905 section 7.2.
const UNKNOWN_ERROR: f64 = 16.0;

struct Replay<'a> {
    lines: &'a [Line],
    /// Index of the next line.
    next: usize,
    /// Whether inputs are passed to the engine. Otherwise only recorded decisions are collected.
    is_running: bool,
    engine: Engine,
    trace_writer: TraceWriter,
    /// Open requests of the engine.
    requests: BTreeMap<ExchangeId, Vec<u8>>,
    /// Surrogates of all symmetric keys that are or were configured.
    keys: Vec<Arc<Key>>,
    /// Number of replayed decisions before the present input.
    decided: usize,
    /// Random numbers that the engine must draw for the present input.
    expected: RngTrace,
    start: Monotonic,
    /// Times of the present input.
    now: Now,
    outcome: Outcome,
}

impl<'a> Replay<'a> {
    fn new(start: &Start, lines: &'a [Line]) -> Self {
        let now = Now {
            monotonic: start.monotonic,
            system: start.system,
        };
        let mut engine = Engine::new(start.config.clone(), now, [0; 32]);
        // Starts the trace of random numbers, as in the daemon.
        engine.take_rng_trace();
        let mut replay = Self {
            lines,
            next: 0,
            is_running: true,
            engine,
            trace_writer: TraceWriter::default(),
            requests: BTreeMap::new(),
            keys: Vec::new(),
            decided: 0,
            expected: RngTrace::default(),
            start: start.monotonic,
            now,
            outcome: Outcome {
                version: start.version.clone(),
                ..Outcome::default()
            },
        };
        replay.add_keys(&start.config.sources);
        replay
    }

    fn run(&mut self) {
        while let Some(line) = self.lines.get(self.next) {
            self.next += 1;
            match line {
                Line::Input {
                    monotonic,
                    system,
                    input,
                    rng_trace,
                } => {
                    self.now = Now {
                        monotonic: *monotonic,
                        system: *system,
                    };
                    self.input(input, rng_trace);
                }
                Line::Dropped(count) => {
                    return self.stop_at_gap(format!("{count} lines were not written in time"));
                }
                Line::Gap(reason) => return self.stop_at_gap(reason.clone()),
                other => self.record_event(other),
            }
        }
    }

    fn into_outcome(self) -> Outcome {
        let mut outcome = self.outcome;
        if outcome.diverged.is_none() {
            // The record may end, or have a gap, before all decisions of its last input.
            let recorded = outcome.recorded.len().max(self.decided);
            outcome.replayed.truncate(recorded);
        }
        outcome
    }

    fn stop_at_gap(&mut self, reason: String) {
        self.outcome.incomplete.get_or_insert(reason);
    }

    fn record_event(&mut self, line: &Line) {
        if let Line::Event(text) = line {
            let (at, text) = (self.now.system, text.clone());
            self.outcome.recorded.push(Decision { at, text });
        }
    }

    /// The engine handles the present input differently.
    fn diverge(&mut self) {
        if self.is_running {
            self.outcome.diverged = Some(self.now.system);
            self.is_running = false;
        }
    }

    fn input(&mut self, input: &RecordedInput, rng_trace: &RngTrace) {
        if let Some(request) = input.operator_request() {
            let at = self.seconds();
            self.outcome.operator_requests.push((at, request.clone()));
            self.trace_writer.set_operator_request(request);
        }
        if let RecordedInput::Applied {
            step, frequency, ..
        } = input
        {
            // The engine requests an adjustment before this line, or it is none of its own.
            self.record_adjustment(*step, *frequency);
            return self.diverge();
        }
        if self.is_running {
            self.decided = self.outcome.replayed.len();
            self.expect(rng_trace);
            self.pass(input);
            self.sample();
        }
    }

    fn expect(&mut self, rng_trace: &RngTrace) {
        self.engine.preload_rng(rng_trace);
        self.expected = rng_trace.clone();
    }

    /// Passes a recorded input to the engine.
    fn pass(&mut self, input: &RecordedInput) {
        self.add_keys(input.sources());
        match input {
            RecordedInput::Tick => self.handle(Input::Tick),
            RecordedInput::Shutdown => self.handle(Input::Shutdown),
            RecordedInput::Suspended { duration } => self.handle(Input::Suspended(*duration)),
            RecordedInput::Addresses { addresses } => self.handle(Input::LocalAddresses(addresses)),
            RecordedInput::Resolved { query, result } => {
                let (query, result) = (*query, result.as_ref());
                let result = result
                    .map(Vec::as_slice)
                    .map_err(ntp_proto::engine::ExternalError::from);
                self.handle(Input::Resolved { query, result });
            }
            RecordedInput::KeyExchange { query, result } => {
                let exchanged = result.as_ref().map(surrogate::exchanged);
                let result = match &exchanged {
                    Ok(Some(keys)) => Ok(keys),
                    Ok(None) => Err(ntp_proto::engine::ExternalError("unknown AEAD algorithm")),
                    Err(error) => Err(ntp_proto::engine::ExternalError(error)),
                };
                let query = *query;
                self.handle(Input::KeyExchanged { query, result });
            }
            RecordedInput::KeysRevoked { query, reason } => self.handle(Input::KeysRevoked {
                query: *query,
                reason,
            }),
            RecordedInput::Sent {
                exchange,
                timestamp,
            } => self.handle(Input::Transmitted {
                exchange: *exchange,
                stamp: *timestamp,
            }),
            RecordedInput::Failed { exchange, error } => self.handle(Input::SendFailed {
                exchange: *exchange,
                error: *error,
            }),
            RecordedInput::Reply {
                exchange,
                timestamp,
                reply,
            } => self.reply(*exchange, *timestamp, reply),
            RecordedInput::Sample { source, sample } => self.handle(Input::Sample {
                source: *source,
                sample: *sample,
            }),
            RecordedInput::LeapList { list } => self.handle(Input::LeapList(list.as_ref())),
            RecordedInput::Command { command } => {
                self.handle(Input::Command(CommandId(0), command));
            }
            RecordedInput::Config { config } => {
                self.handle(Input::Reconfigure(CommandId(0), config));
            }
            // Handled in `adjust`, as the result of an adjustment.
            RecordedInput::Applied { .. } => {}
        }
    }

    fn reply(&mut self, exchange: ExchangeId, received: Stamp, reply: &RecordedReply) {
        // A datagram that does not belong to an open request need not be authentic.
        let payload = self.requests.get(&exchange).map_or_else(
            || reply.header.clone(),
            |request| surrogate::reply(reply, request, &self.keys),
        );
        self.handle(Input::Datagram(Datagram {
            exchange,
            payload: &payload,
            truncated: reply.truncated,
            received,
        }));
    }

    fn add_keys(&mut self, sources: &[SourceConfig]) {
        for source in sources {
            if let Protection::Symmetric(key) = &source.association.protection
                && !self.keys.contains(key)
            {
                self.keys.push(Arc::clone(key));
            }
        }
    }

    // ---- the engine

    fn handle(&mut self, input: Input<'_>) {
        self.outcome.inputs += 1;
        self.engine.handle(self.now, input);
        if self.engine.take_rng_trace() != core::mem::take(&mut self.expected) {
            self.diverge();
        }
        while let Some(output) = self.engine.poll_output() {
            for line in self.trace_writer.output(&output) {
                if let Line::Event(text) = line {
                    let at = self.now.system;
                    self.outcome.replayed.push(Decision { at, text });
                }
            }
            match output {
                Output::Adjust(requested) => self.adjust(&requested),
                Output::Transmit {
                    exchange, request, ..
                } => {
                    self.requests.insert(exchange, request.payload);
                }
                Output::Close(exchange) => {
                    self.requests.remove(&exchange);
                }
                Output::Event(event) => self.measurement(&event),
                // Their results are in the record.
                Output::Resolve { .. }
                | Output::ExchangeKeys { .. }
                | Output::OpenDevice { .. }
                | Output::CloseDevice { .. }
                | Output::Persist(_)
                | Output::PersistSession { .. }
                | Output::Completed(..)
                | Output::Halt(_) => {}
            }
        }
    }

    /// Returns the recorded result to the engine, if the recorded engine requested the same
    /// adjustment.
    fn adjust(&mut self, requested: &Adjustment) {
        let at = self.now.system;
        let text = adjustment(requested.step, requested.frequency);
        let decision = text.map(|text| Decision { at, text });
        self.outcome.replayed.extend(decision);
        if !self.is_running {
            return;
        }
        let rest = &self.lines[self.next..];
        let ahead = rest.iter().position(|line| {
            let ends_part = matches!(line, Line::Start(_) | Line::Gap(_) | Line::Dropped(_));
            ends_part || matches!(line, Line::Input { .. })
        });
        match ahead.and_then(|ahead| Some((ahead, rest.get(ahead)?))) {
            Some((
                ahead,
                Line::Input {
                    input:
                        RecordedInput::Applied {
                            applied,
                            step,
                            frequency,
                        },
                    monotonic,
                    system,
                    rng_trace,
                },
            )) if *step == requested.step && *frequency == requested.frequency => {
                // Events of the previous input.
                for line in &rest[..ahead] {
                    self.record_event(line);
                }
                self.next += ahead + 1;
                self.record_adjustment(*step, *frequency);
                self.now = Now {
                    monotonic: *monotonic,
                    system: *system,
                };
                self.expect(rng_trace);
                self.handle(Input::ClockApplied(*applied));
            }
            // The result is missing because the record ends or has a gap.
            None | Some((_, Line::Gap(_) | Line::Dropped(_))) => {}
            Some(_) => self.diverge(),
        }
    }

    fn record_adjustment(&mut self, step: Option<NtpDuration>, frequency: Option<Frequency>) {
        let at = self.now.system;
        let text = adjustment(step, frequency);
        let decision = text.map(|text| Decision { at, text });
        self.outcome.recorded.extend(decision);
    }

    fn measurement(&mut self, event: &Event) {
        if let Event::Measured { source, offset, .. } = event {
            let (name, at) = (source.name.clone(), self.seconds());
            let measurement = (name, at, offset.as_seconds_f64());
            self.outcome.measurements.push(measurement);
        }
    }

    /// Seconds since the start of the record.
    fn seconds(&self) -> f64 {
        (self.now.monotonic - self.start).as_seconds_f64()
    }

    fn sample(&mut self) {
        let at = self.seconds();
        let samples = &mut self.outcome.samples;
        if samples.last().is_some_and(|last| at - last.at < 1.0) {
            return;
        }
        let system = self.engine.status(self.now).system;
        let seconds = |known: Option<NtpDuration>, unknown| {
            known.map_or(unknown, NtpDuration::as_seconds_f64)
        };
        samples.push(Sample {
            at,
            offset: seconds(system.offset, 0.0),
            estimated_error: seconds(system.estimated_error, UNKNOWN_ERROR),
            bound: seconds(system.error_bound, UNKNOWN_ERROR),
        });
    }
}

/// Describes an adjustment, if it changes the clock's time or rate.
fn adjustment(step: Option<NtpDuration>, frequency: Option<Frequency>) -> Option<String> {
    match (step, frequency) {
        (None, None) => None,
        (Some(step), None) => Some(format!("step by {step}")),
        (None, Some(frequency)) => Some(format!("run at {frequency}")),
        (Some(step), Some(frequency)) => Some(format!("step by {step}, run at {frequency}")),
    }
}
