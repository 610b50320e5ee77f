//! Runs a new engine on a record.
//!
//! Every input is passed to the engine as recorded, every adjustment gets the recorded result, and
//! every random number that the engine draws was recorded with the input. The random numbers are
//! also the strictest test of the replay: a request that was not sent then, or is not sent now,
//! needs other numbers.
//!
//! # Exact replay
//! Only the version that wrote a record replays it. From the start of the engine on, it makes the
//! recorded decisions; at the first input that it handles differently, the replay stops, and of what
//! follows the recorded decisions are returned.
//!
//! # Inexact replay
//! If the record begins midway or has a gap, what the engine learnt from the missing lines is
//! unknown. Its requests, and the results of its queries, are those of the record as far as
//! [`matching`](crate::matching) finds them. The clock follows the record: it makes the recorded
//! adjustments, whether the replayed engine requests the same or not, so that all recorded readings
//! stay valid. The decisions of the replayed engine are those that it would have made with that
//! clock.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use ntp_proto::client::{Authenticity, Protection};
use ntp_proto::engine::{
    CommandId, Datagram, Engine, Event, ExchangeId, ExternalError, Input, KeyExchangeError,
    KeyExchangeFailure, Now, Output, QueryId, RngTrace, SourceConfig,
};
use ntp_proto::keys::Key;
use ntp_proto::leap::LeapTable;
use ntp_proto::reference_ids::ServerId;
use ntp_time::{Adjustment, Applied, Frequency, Monotonic, NtpDuration, Stamp, SystemTime};
use ntp_types::source::SourceName;

use crate::input::{RecordedInput, RecordedKeyExchange, RecordedReply};
use crate::line::{Line, Start};
use crate::matching::{Matching, Wanted, readdress};
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
    /// Reasons for which the replayed engine need not make the recorded decisions.
    pub inexact: Vec<String>,
    /// Number of recorded replies that match no request of the replayed engine.
    pub unmatched: u64,
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
        replay.continue_inexactly(
            "the record begins midway: what the engine learnt before is unknown".to_owned(),
        );
        // The recorded engine has opened its devices before; the first line may be a sample of one.
        replay.handle(Input::Tick);
    }
    replay.run();
    Some(replay.into_outcome())
}

/// Error of a clock about which nothing is known, in seconds: MAXDISP of RFC 5905 section 7.2.
const UNKNOWN_ERROR: f64 = 16.0;

/// How the replayed engine relates to the record.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// It handles every input as recorded.
    Exact,
    /// Lines are missing.
    Inexact,
    /// It handled an input differently and gets no more; only recorded decisions are collected.
    Stopped,
}

struct Replay<'a> {
    lines: &'a [Line],
    /// Index of the next line.
    next: usize,
    mode: Mode,
    matching: Matching,
    engine: Engine,
    trace_writer: TraceWriter,
    /// Open requests of the engine: remote address and payload.
    requests: BTreeMap<ExchangeId, (SocketAddr, Vec<u8>)>,
    /// Surrogates of all symmetric keys that are or were configured.
    keys: Vec<Arc<Key>>,
    /// Number of replayed decisions before the present input.
    decided: usize,
    /// Random numbers that the engine must draw for the present input.
    expected: RngTrace,
    /// Recorded frequency of the clock.
    frequency: Frequency,
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
            mode: Mode::Exact,
            matching: Matching::default(),
            engine,
            trace_writer: TraceWriter::default(),
            requests: BTreeMap::new(),
            keys: Vec::new(),
            decided: 0,
            expected: RngTrace::default(),
            frequency: start.config.clock.frequency,
            start: start.monotonic,
            now,
            outcome: Outcome {
                version: start.version.clone(),
                ..Outcome::default()
            },
        };
        replay.add_keys(&start.config.sources);
        replay.add_associations(&start.associations);
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
                other => {
                    self.pass_line(other);
                    self.answer_queries();
                    self.poll_removed(other);
                }
            }
        }
    }

    fn into_outcome(mut self) -> Outcome {
        self.truncate_decisions();
        self.outcome
    }

    /// An exact record may end, or have a gap, before all decisions of its last input.
    fn truncate_decisions(&mut self) {
        if self.mode == Mode::Exact {
            let recorded = self.outcome.recorded.len().max(self.decided);
            self.outcome.replayed.truncate(recorded);
        }
    }

    /// Continues after missing lines.
    fn continue_inexactly(&mut self, reason: String) {
        if self.mode == Mode::Exact {
            self.truncate_decisions();
            self.mode = Mode::Inexact;
            self.engine.force_poll(None, self.now.monotonic);
            for exchange in self.requests.keys() {
                self.matching.pair(*exchange, *exchange);
            }
        }
        if !self.outcome.inexact.contains(&reason) {
            self.outcome.inexact.push(reason);
        }
    }

    /// Handles a line that is not an input.
    fn pass_line(&mut self, line: &Line) {
        match line {
            Line::Event(text) => {
                let (at, text) = (self.now.system, text.clone());
                self.outcome.recorded.push(Decision { at, text });
            }
            Line::Association(added) => self.add_associations(core::slice::from_ref(added)),
            // The next file of the run. Associations may have been added in a gap.
            Line::Start(start) => self.add_associations(&start.associations),
            Line::Dropped(count) => {
                self.continue_inexactly(format!("lines not written in time: {count}"));
            }
            Line::Gap(reason) => self.continue_inexactly(reason.clone()),
            Line::Removed(_) | Line::Input { .. } => {}
        }
    }

    fn add_associations(&mut self, associations: &[SourceName]) {
        for association in associations {
            self.matching.add(association);
        }
    }

    /// The engine handles the present input differently.
    fn diverge(&mut self) {
        if self.mode == Mode::Exact {
            self.outcome.diverged = Some(self.now.system);
            self.mode = Mode::Stopped;
        }
    }

    fn input(&mut self, input: &RecordedInput, rng_trace: &RngTrace) {
        if let Some(request) = input.operator_request() {
            let at = self.seconds();
            self.outcome.operator_requests.push((at, request.clone()));
            self.trace_writer.set_operator_request(request);
        }
        if let RecordedInput::Applied {
            applied,
            step,
            frequency,
        } = input
        {
            // The engine requests an adjustment before this line, or it is none of its own.
            self.record_adjustment(*step, *frequency);
            self.diverge();
            return self.apply(applied);
        }
        match self.mode {
            Mode::Exact => {
                self.decided = self.outcome.replayed.len();
                self.expect(rng_trace);
                self.matching.close_query(input);
                self.pass(input);
            }
            Mode::Inexact => {
                let matched = self.matched(input);
                if matched.is_none() && matches!(input, RecordedInput::Reply { .. }) {
                    self.outcome.unmatched += 1;
                }
                self.pass(&matched.unwrap_or(RecordedInput::Tick));
            }
            Mode::Stopped => return,
        }
        self.sample();
    }

    /// Returns the input for an engine with other exchanges and queries than the recorded one, if
    /// there is a counterpart.
    fn matched(&mut self, input: &RecordedInput) -> Option<RecordedInput> {
        let mut input = input.clone();
        match &mut input {
            RecordedInput::Resolved { .. }
            | RecordedInput::KeyExchange { .. }
            | RecordedInput::KeysRevoked { .. } => return None,
            RecordedInput::Sent { exchange, .. } | RecordedInput::Failed { exchange, .. } => {
                self.send_request(*exchange);
                *exchange = self.matching.exchange(*exchange)?;
            }
            RecordedInput::Reply {
                exchange, reply, ..
            } => {
                *exchange = self.matching.exchange(*exchange)?;
                // A reply that was not checked remains one that the engine does not check.
                if reply.evidence != Authenticity::NotChecked {
                    let (_, request) = self.requests.get(exchange)?;
                    reply.header = readdress(&reply.header, request)?;
                }
            }
            RecordedInput::Sample { source, .. } => *source = self.matching.device(*source)?,
            _ => {}
        }
        Some(input)
    }

    /// Makes the engine send a request when the record shows one.
    fn send_request(&mut self, recorded: ExchangeId) {
        let address = self.matching.address(recorded.source);
        let Some(address) = address.filter(|_| self.matching.exchange(recorded).is_none()) else {
            return;
        };
        self.force_poll(address);
        let mut newest_first = self.requests.iter().rev();
        if let Some((sent, _)) = newest_first.find(|(_, (remote, _))| *remote == address) {
            self.matching.pair(recorded, *sent);
        }
    }

    fn force_poll(&mut self, address: SocketAddr) {
        self.engine.force_poll(Some(address), self.now.monotonic);
        self.handle(Input::Tick);
    }

    /// Makes the engine replace an unreachable address that the recorded engine replaced.
    fn poll_removed(&mut self, line: &Line) {
        if self.mode == Mode::Inexact
            && let Line::Removed(id) = line
            && let Some(address) = self.matching.address(*id)
        {
            self.force_poll(address);
        }
    }

    /// Passes the results of the engine's queries that recorded associations provide.
    fn answer_queries(&mut self) {
        if self.mode != Mode::Inexact || !self.matching.has_queries() {
            return;
        }
        let results = self.matching.answer_queries(&self.engine.config().sources);
        for result in results {
            self.pass(&result);
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
            RecordedInput::Disrupted { marker } => {
                self.handle(Input::Disrupted { marker: *marker });
            }
            RecordedInput::SourceAddress { source, address } => {
                self.handle(Input::LocalAddress {
                    source: *source,
                    address: *address,
                });
            }
            RecordedInput::ServerId { id } => {
                self.handle(Input::ServerId(id.map(ServerId::from_octets)));
            }
            RecordedInput::Addresses { addresses } => self.handle(Input::LocalAddresses(addresses)),
            RecordedInput::Resolved { query, result } => {
                let (query, result) = (*query, result.as_ref());
                let result = result.map(Vec::as_slice).map_err(ExternalError::from);
                self.handle(Input::Resolved { query, result });
            }
            RecordedInput::KeyExchange { query, result } => self.key_exchange(*query, result),
            RecordedInput::KeysRevoked { query, error } => self.handle(Input::KeysRevoked {
                query: *query,
                error,
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
            RecordedInput::LeapList { list } => {
                let table = list.as_ref().and_then(|text| LeapTable::parse(text).ok());
                self.handle(Input::LeapList(table.as_ref()));
            }
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

    fn key_exchange(
        &mut self,
        query: QueryId,
        result: &Result<RecordedKeyExchange, KeyExchangeError>,
    ) {
        let unknown_algorithm = || KeyExchangeError {
            reason: KeyExchangeFailure::BadResponse,
            message: "unknown AEAD algorithm".to_owned(),
        };
        let exchanged = (result.clone())
            .and_then(|keys| surrogate::exchanged(&keys).ok_or_else(unknown_algorithm));
        let result = exchanged.as_ref();
        self.handle(Input::KeyExchanged { query, result });
    }

    fn reply(&mut self, exchange: ExchangeId, received: Stamp, reply: &RecordedReply) {
        // A datagram that does not belong to an open request need not be authentic.
        let payload = self.requests.get(&exchange).map_or_else(
            || reply.header.clone(),
            |(_, request)| surrogate::reply(reply, request, &self.keys),
        );
        self.handle(Input::Datagram(Datagram {
            exchange,
            payload: &payload,
            truncated: reply.truncated,
            hop_limit: reply.hop_limit,
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
                    exchange,
                    remote,
                    request,
                    ..
                } => {
                    self.requests.insert(exchange, (remote, request.payload));
                }
                Output::Close(exchange) => {
                    self.requests.remove(&exchange);
                }
                Output::Event(event) => self.measurement(&event),
                Output::Resolve { query, host } => {
                    self.matching.open_query(query, Wanted::Addresses(host));
                }
                Output::ExchangeKeys { query, name, .. } => {
                    self.matching.open_query(query, Wanted::Keys(name));
                }
                Output::OpenDevice { source, device } => {
                    self.matching.open_device(device.device.to_string(), source);
                }
                // Their results are in the record.
                Output::CloseDevice { .. }
                | Output::Persist(_)
                | Output::PersistSession { .. }
                | Output::Completed(..)
                | Output::Halt(_) => {}
            }
        }
        self.answer_queries();
    }

    /// Passes the recorded result of an adjustment to the engine.
    fn adjust(&mut self, requested: &Adjustment) {
        let at = self.now.system;
        let text = adjustment(requested.step, requested.frequency);
        let decision = text.map(|text| Decision { at, text });
        self.outcome.replayed.extend(decision);
        if self.mode == Mode::Stopped {
            return;
        }
        let rest = &self.lines[self.next..];
        let ahead = rest.iter().position(|line| {
            let ends_part = matches!(line, Line::Start(_) | Line::Gap(_) | Line::Dropped(_));
            ends_part || matches!(line, Line::Input { .. })
        });
        let Some((events, next)) = ahead.map(|ahead| (&rest[..ahead], &rest[ahead])) else {
            // The record ends.
            return;
        };
        let is_exact = self.mode == Mode::Exact;
        match next {
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
            } if !is_exact || *step == requested.step && *frequency == requested.frequency => {
                self.skip_past(events);
                self.record_adjustment(*step, *frequency);
                self.now = Now {
                    monotonic: *monotonic,
                    system: *system,
                };
                if is_exact {
                    self.expect(rng_trace);
                }
                self.apply(applied);
            }
            Line::Gap(_) | Line::Dropped(_) if is_exact => {
                // The result is missing, but the clock was adjusted.
                self.skip_past(events);
                self.pass_line(next);
                self.apply(&Applied {
                    at,
                    step: requested.step.unwrap_or(NtpDuration::ZERO),
                    frequency: requested.frequency.unwrap_or(self.frequency),
                });
            }
            _ if is_exact => self.diverge(),
            // The recorded engine did not adjust the clock here.
            _ => self.apply(&Applied {
                at,
                step: NtpDuration::ZERO,
                frequency: self.frequency,
            }),
        }
    }

    /// Handles the events of the previous input, and skips the line after them.
    fn skip_past(&mut self, events: &[Line]) {
        self.next += events.len() + 1;
        for line in events {
            self.pass_line(line);
        }
    }

    /// The clock was adjusted.
    fn apply(&mut self, applied: &Applied) {
        self.frequency = applied.frequency;
        if self.mode != Mode::Stopped {
            self.handle(Input::ClockApplied(*applied));
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
