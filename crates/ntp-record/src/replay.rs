//! The engine, driven by a record.
//!
//! # As long as it decides the same
//! Every input is given as it was, every adjustment gets the recorded answer, and every random number that is rng_trace was recorded with the input. The last is also the sharpest test
//! that all goes as it went: a request that was not made then, or not made now, needs another number.
//!
//! # When it does not, or cannot
//! If the record begins midway or has a gap, the numbers of associations and queries are others than then, and so are the moments at which a new engine would ask. So associations
//! are told by their addresses, names lead to whom they led to in the record, and [the record says when to ask](Engine::prompt): what a server answered then was worth something then.
//! A recorded answer repeats the recorded request's timestamp; it is changed into that of the request that it is now given to.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ntp_proto::client::{Evidence, Protection};
use ntp_proto::engine::{
    Command, CommandId, Datagram, Drawn, Engine, EngineConfig, Event, ExchangeId, Host, Input, Now,
    Output, ResolveId, SourceConfig, SourceId,
};
use ntp_proto::keys::Key;
use ntp_proto::nts::{AeadAlgorithm, Cookie};
use ntp_proto::wire::{Header, Reader, Writer};
use ntp_time::{Adjustment, Monotonic, NtpDuration, NtpTimestamp, Stamp, Stratum, SystemTime};

use crate::clocks::Clocks;
use crate::input::{RecordedInput, RecordedKeyExchange, RecordedReply};
use crate::line::{Line, RecordedAssociation, Start};
use crate::surrogate;
use crate::trace_writer::TraceWriter;

/// Something that was done, or would have been.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// When, by the recorded clock.
    pub at: SystemTime,
    /// What.
    pub text: String,
}

/// How the replayed engine saw things after an input, for the plot.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
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
    /// What was done to the clock, and input.
    pub recorded: Vec<Decision>,
    /// What would have been.
    pub replayed: Vec<Decision>,
    /// When the clock would first have been steered otherwise.
    pub diverged: Option<SystemTime>,
    /// When the engine first drew other random numbers: when it would have asked another server, or at another time.
    pub rng_diverged: Option<SystemTime>,
    /// The record's course, at most one moment a second.
    pub samples: Vec<Sample>,
    /// Offset and half interval of each source's measurements, by name: seconds since the record began, and seconds.
    pub measurements: Vec<(String, f64, f64)>,
    /// What operators asked for: seconds since the record began, and in words.
    pub operator_requests: Vec<(f64, String)>,
    /// Inputs given.
    pub inputs: u64,
    /// Recorded answers for which the replayed engine had not asked.
    pub unmatched_replies: u64,
    /// Why equal decisions cannot be expected, if so.
    pub inexact: Vec<String>,
    /// The version that wrote the record.
    pub version: String,
}

impl Outcome {
    /// Whether the same was decided.
    pub fn is_same(&self) -> bool {
        self.recorded == self.replayed && self.diverged.is_none() && self.rng_diverged.is_none()
    }
}

/// Runs a new engine on the lines of a record. The last run in it counts, from its first file on if that is there and all between.
pub fn replay(lines: &[Line]) -> Option<Outcome> {
    let starts = lines.iter().enumerate().rev();
    let mut starts = starts.filter_map(|(at, line)| match line {
        Line::Start(start) => Some((at, start)),
        _ => None,
    });
    let (mut at, mut start) = starts.next()?;
    for (earlier, before) in starts {
        if !start.continues(before) {
            break;
        }
        (at, start) = (earlier, before);
    }
    let mut run = Replay::new(start, &lines[at + 1..]);
    if start.part > 0 {
        run.degrade(
            "the record begins midway: what the engine had learnt before is not in it".to_owned(),
        );
    }
    run.all();
    run.outcome.diverged = run.clocks.diverged;
    Some(run.outcome)
}

/// A request of the replayed engine that is under way.
struct Request {
    remote: SocketAddr,
    payload: Vec<u8>,
}

struct Replay<'a> {
    lines: &'a [Line],
    next: usize,
    clocks: Clocks,
    engine: Engine,
    trace_writer: TraceWriter,
    open: BTreeMap<ExchangeId, Request>,
    /// Recorded exchanges that are answered for another one of the replayed engine.
    paired: BTreeMap<ExchangeId, ExchangeId>,
    /// Recorded exchanges of which it was told that they left.
    left: BTreeSet<ExchangeId>,
    /// The recorded associations.
    associations: BTreeMap<SourceId, RecordedAssociation>,
    /// Stand-ins for all symmetric keys that are or were in use.
    keys: Vec<Arc<Key>>,
    /// Names that the replayed engine looks up, and key exchanges that it wants, without a recorded answer.
    unanswered: Vec<Question>,
    /// Something is missing.
    degraded: bool,
    /// Random numbers that the next input is to draw.
    expected: Drawn,
    began: Monotonic,
    /// The recorded clocks' last readings.
    now: (Monotonic, SystemTime),
    outcome: Outcome,
}

/// To be answered by what is known of the recorded associations.
#[derive(Clone, Debug, PartialEq)]
enum Question {
    Addresses(ResolveId, String),
    Keys(ResolveId, String),
}

impl<'a> Replay<'a> {
    fn new(start: &Start, lines: &'a [Line]) -> Self {
        let mut engine = Engine::new(start.config.clone(), start.now(), [0; 32]);
        // Numbers are kept from here on, as in the daemon.
        engine.drawn();
        let mut run = Self {
            lines,
            next: 0,
            clocks: Clocks::new(start.system, start.config.clock.frequency),
            engine,
            trace_writer: TraceWriter::default(),
            open: BTreeMap::new(),
            paired: BTreeMap::new(),
            left: BTreeSet::new(),
            associations: BTreeMap::new(),
            keys: Vec::new(),
            unanswered: Vec::new(),
            degraded: false,
            expected: Drawn::default(),
            began: start.monotonic,
            now: (start.monotonic, start.system),
            outcome: Outcome {
                version: start.version.clone(),
                ..Outcome::default()
            },
        };
        run.learn_keys(&start.config);
        for association in &start.associations {
            run.associations.insert(association.id, association.clone());
        }
        run
    }

    fn all(&mut self) {
        while let Some(line) = self.lines.get(self.next) {
            self.next += 1;
            match line {
                Line::Input {
                    monotonic,
                    system,
                    input,
                    rng_trace,
                } => {
                    self.now = (*monotonic, *system);
                    self.input(input, rng_trace);
                }
                other => self.pass(other),
            }
        }
    }

    /// A line that is no input.
    fn pass(&mut self, line: &Line) {
        match line {
            Line::Event(text) => {
                let (at, text) = (self.now.1, text.clone());
                self.outcome.recorded.push(Decision { at, text });
            }
            Line::Association(association) => {
                self.associations
                    .insert(association.id, association.clone());
                self.answer_questions();
            }
            // Its stamps may still come.
            Line::Removed(_) | Line::Input { .. } => {}
            Line::Dropped(count) => self.degrade(format!(
                "{count} lines are missing, which the disk was too slow for"
            )),
            Line::Gap(why) => self.degrade(why.clone()),
            // The next file of the same run.
            Line::Start(_) => {}
        }
    }

    /// From here on nothing can be expected to be as it was.
    fn degrade(&mut self, why: String) {
        self.degraded = true;
        self.engine.prompt(None, self.now.0);
        if !self.outcome.inexact.contains(&why) {
            self.outcome.inexact.push(why);
        }
    }

    fn is_exact(&self) -> bool {
        !self.degraded && self.outcome.rng_diverged.is_none() && self.clocks.diverged.is_none()
    }

    fn expect(&mut self, rng_trace: &Drawn) {
        self.engine.foretell(rng_trace);
        self.expected = rng_trace.clone();
    }

    fn input(&mut self, input: &RecordedInput, rng_trace: &Drawn) {
        self.expect(rng_trace);
        if let Some(request) = input.operator_request() {
            self.outcome
                .operator_requests
                .push((self.seconds(), request.clone()));
            self.trace_writer.set_operator_request(request);
        }
        match input {
            RecordedInput::Tick => self.handle(Input::Tick),
            RecordedInput::Shutdown => self.handle(Input::Shutdown),
            RecordedInput::Suspended(by) => self.handle(Input::Suspended(*by)),
            RecordedInput::Addresses(addresses) => self.handle(Input::LocalAddresses(addresses)),
            // Its number may be another's now.
            RecordedInput::Resolved(..) | RecordedInput::Keys(..) | RecordedInput::Revoked(..)
                if self.degraded =>
            {
                self.handle(Input::Tick);
            }
            RecordedInput::Resolved(query, result) => {
                self.forget(*query);
                let (query, result) = (*query, result.as_ref());
                let result = result.map(Vec::as_slice).map_err(String::as_str);
                self.handle(Input::Resolved { query, result });
            }
            RecordedInput::Keys(query, result) => {
                self.forget(*query);
                let exchanged = result.as_ref().map(surrogate::exchanged);
                let result = match &exchanged {
                    Ok(Some(keys)) => Ok(keys),
                    Ok(None) => Err("the cipher is unknown"),
                    Err(error) => Err(error.as_str()),
                };
                let query = *query;
                self.handle(Input::KeyExchanged { query, result });
            }
            RecordedInput::Revoked(query, reason) => self.handle(Input::KeysRevoked {
                query: *query,
                reason,
            }),
            RecordedInput::Sent(exchange, stamp) => self.sent(*exchange, *stamp),
            RecordedInput::Failed(exchange, error) => {
                self.prompt(*exchange);
                if let Some(exchange) = self.counterpart(*exchange) {
                    let error = *error;
                    self.handle(Input::SendFailed { exchange, error });
                }
            }
            RecordedInput::Reply(exchange, stamp, recorded_reply) => {
                self.reply(*exchange, *stamp, recorded_reply)
            }
            RecordedInput::LeapList(table) => self.handle(Input::LeapList(table.as_ref())),
            RecordedInput::Command(command) => {
                if let Command::Add(source) | Command::Replace(_, source) = &**command {
                    self.learn_key(source);
                }
                self.handle(Input::Command(CommandId(0), command));
            }
            RecordedInput::Config(config) => {
                self.learn_keys(config);
                self.handle(Input::Reconfigure(CommandId(0), config));
            }
            // Its adjustment is not there any more, or was not recorded with it: the clock was changed all the same.
            RecordedInput::Applied(applied, step, frequency) => {
                self.was_adjusted(*step, *frequency);
                self.clocks.record_applied(applied);
                self.clocks.diverged.get_or_insert(self.now.1);
            }
        }
        self.note();
    }

    // ---- exchanges

    fn sent(&mut self, recorded: ExchangeId, stamp: Stamp) {
        if self.left.insert(recorded) {
            self.prompt(recorded);
        }
        if let Some(exchange) = self.counterpart(recorded) {
            let stamp = self.stamp(stamp);
            self.handle(Input::Transmitted { exchange, stamp });
        }
    }

    /// Has the replayed engine ask now whom the recorded one asked, if it would not do so by itself.
    fn prompt(&mut self, recorded: ExchangeId) {
        if self.degraded
            && let Some(association) = self.associations.get(&recorded.source)
        {
            self.engine.prompt(Some(association.address), self.now.0);
            self.handle(Input::Tick);
        }
    }

    /// The replayed engine's request for a recorded one: the same, or after it has decided otherwise one to the same address.
    fn counterpart(&mut self, recorded: ExchangeId) -> Option<ExchangeId> {
        if self.is_exact() {
            return Some(recorded);
        }
        let remote = self.associations.get(&recorded.source)?.address;
        let at_remote = |open: &&ExchangeId| {
            let request = self.open.get(open);
            request.is_some_and(|request| request.remote == remote)
        };
        let paired = self.paired.get(&recorded).filter(at_remote);
        let other = Some(&recorded)
            .filter(at_remote)
            .or(paired)
            .or_else(|| self.open.keys().find(at_remote))
            .copied()?;
        self.paired.insert(recorded, other);
        Some(other)
    }

    fn reply(&mut self, recorded: ExchangeId, stamp: Stamp, recorded_reply: &RecordedReply) {
        let Some(exchange) = self.counterpart(recorded) else {
            self.outcome.unmatched_replies += 1;
            return self.handle(Input::Tick);
        };
        let request = self.open.get(&exchange);
        let mut recorded_reply = recorded_reply.clone();
        if !self.is_exact() && recorded_reply.evidence != Evidence::Unasked {
            let readdressed =
                request.and_then(|it| readdressed(&recorded_reply.header, &it.payload));
            let Some(header) = readdressed else {
                self.outcome.unmatched_replies += 1;
                return self.handle(Input::Tick);
            };
            recorded_reply.header = header;
        }
        // Where it is none of the requests under way, it need not prove anything.
        let payload = request.map_or_else(
            || recorded_reply.header.clone(),
            |request| surrogate::reply(&recorded_reply, &request.payload, &self.keys),
        );
        let received = self.stamp(stamp);
        self.handle(Input::Datagram(Datagram {
            exchange,
            payload: &payload,
            truncated: recorded_reply.truncated,
            received,
        }));
    }

    fn stamp(&self, stamp: Stamp) -> Stamp {
        Stamp {
            time: self.clocks.reading(stamp.time),
            source: stamp.source,
        }
    }

    // ---- what the record has no answer to

    fn forget(&mut self, query: ResolveId) {
        self.unanswered.retain(|question| match question {
            Question::Addresses(id, _) | Question::Keys(id, _) => *id != query,
        });
    }

    /// Answers what can be answered by the recorded associations, if something is missing.
    fn answer_questions(&mut self) {
        if !self.degraded {
            return;
        }
        for question in core::mem::take(&mut self.unanswered) {
            match &question {
                Question::Addresses(query, host) => {
                    let config = self.engine.config();
                    let asked = |source: &&SourceConfig| source.host == Host::Name(host.clone());
                    let sources = config.sources.iter().filter(asked);
                    let associations =
                        sources.flat_map(|source| self.associations_of(&source.name));
                    let addresses: Vec<IpAddr> = associations
                        .map(|association| association.address.ip())
                        .collect();
                    if addresses.is_empty() {
                        self.unanswered.push(question);
                    } else {
                        let (query, result) = (*query, Ok(&addresses[..]));
                        self.handle(Input::Resolved { query, result });
                    }
                }
                Question::Keys(query, name) => {
                    let server = self
                        .associations_of(name)
                        .next()
                        .map(|association| association.address);
                    let exchanged = server.map(|server| RecordedKeyExchange {
                        from: server.ip(),
                        algorithm: AeadAlgorithm::AesSivCmac256,
                        legacy: false,
                        cookies: Cookie::IN_STOCK,
                        server: None,
                        port: Some(server.port()),
                    });
                    match exchanged.as_ref().and_then(surrogate::exchanged) {
                        Some(keys) => self.handle(Input::KeyExchanged {
                            query: *query,
                            result: Ok(&keys),
                        }),
                        None => self.unanswered.push(question),
                    }
                }
            }
        }
    }

    /// The newest first: older ones may be gone.
    fn associations_of(&self, name: &str) -> impl Iterator<Item = &RecordedAssociation> {
        let associations = self.associations.values().rev();
        associations.filter(move |association| association.name == name)
    }

    fn learn_keys(&mut self, config: &EngineConfig) {
        for source in &config.sources {
            self.learn_key(source);
        }
    }

    fn learn_key(&mut self, source: &SourceConfig) {
        if let Protection::Symmetric(key) = &source.terms.protection
            && !self.keys.contains(key)
        {
            self.keys.push(Arc::clone(key));
        }
    }

    // ---- the engine

    fn handle(&mut self, input: Input<'_>) {
        self.outcome.inputs += 1;
        let now = self.reading();
        self.engine.handle(now, input);
        if self.engine.drawn() != core::mem::take(&mut self.expected) && self.is_exact() {
            self.outcome.rng_diverged = Some(self.now.1);
        }
        let mut questions = false;
        while let Some(output) = self.engine.poll_output() {
            for line in self.trace_writer.output(&output) {
                if let Line::Event(text) = line {
                    let at = self.now.1;
                    self.outcome.replayed.push(Decision { at, text });
                }
            }
            match output {
                Output::Adjust(wanted) => self.adjust(&wanted),
                Output::Transmit {
                    exchange,
                    remote,
                    request,
                } => {
                    let payload = request.payload;
                    self.open.insert(exchange, Request { remote, payload });
                }
                Output::Close(exchange) => {
                    self.open.remove(&exchange);
                    self.paired.retain(|_, other| *other != exchange);
                }
                Output::Resolve { query, host } => {
                    self.unanswered.push(Question::Addresses(query, host));
                    questions = true;
                }
                Output::ExchangeKeys { query, name, .. } => {
                    self.unanswered.push(Question::Keys(query, name));
                    questions = true;
                }
                Output::Event(event) => self.event(&event),
                // What is worth saving was saved.
                Output::Persist(_)
                | Output::PersistSession { .. }
                | Output::Completed(..)
                | Output::Halt(_) => {}
            }
        }
        if questions {
            self.answer_questions();
        }
    }

    fn reading(&self) -> Now {
        Now {
            monotonic: self.now.0,
            system: self.clocks.reading(self.now.1),
        }
    }

    /// The recorded answer, if the recorded engine wanted the same here; otherwise that of a clock that does what it is input.
    fn adjust(&mut self, wanted: &Adjustment) {
        let what = adjustment(wanted.step, wanted.frequency);
        let at = self.now.1;
        self.outcome
            .replayed
            .extend(what.map(|text| Decision { at, text }));
        let rest = &self.lines[self.next..];
        let ahead = rest.iter().position(|line| {
            let ends = matches!(line, Line::Start(_) | Line::Gap(_) | Line::Dropped(_));
            ends || matches!(line, Line::Input { .. })
        });
        let answer = match ahead.and_then(|ahead| Some((ahead, rest.get(ahead)?))) {
            Some((
                ahead,
                Line::Input {
                    input: RecordedInput::Applied(applied, step, frequency),
                    monotonic,
                    system,
                    rng_trace,
                },
            )) => {
                // What stands between was told before.
                for line in &rest[..ahead] {
                    self.pass(line);
                }
                self.next += ahead + 1;
                let same = *step == wanted.step && *frequency == wanted.frequency;
                self.was_adjusted(*step, *frequency);
                let answer = if same && self.clocks.diverged.is_none() {
                    *applied
                } else {
                    self.clocks.apply_replayed(at, wanted)
                };
                self.now = (*monotonic, *system);
                self.clocks.record_applied(applied);
                self.expect(rng_trace);
                answer
            }
            _ => self.clocks.apply_replayed(at, wanted),
        };
        self.handle(Input::ClockApplied(answer));
    }

    fn was_adjusted(&mut self, step: Option<NtpDuration>, frequency: Option<ntp_time::Frequency>) {
        let at = self.now.1;
        let what = adjustment(step, frequency);
        self.outcome
            .recorded
            .extend(what.map(|text| Decision { at, text }));
    }

    fn event(&mut self, event: &Event) {
        if let Event::Measured {
            subject, offset, ..
        } = event
        {
            let (at, offset) = (self.seconds(), -offset.as_seconds_f64());
            self.outcome
                .measurements
                .push((subject.name.clone(), at, offset));
        }
    }

    fn seconds(&self) -> f64 {
        (self.now.0 - self.began).as_seconds_f64()
    }

    fn note(&mut self) {
        let at = self.seconds();
        if self
            .outcome
            .samples
            .last()
            .is_some_and(|last| at - last.at < 1.0)
        {
            return;
        }
        let system = self.engine.snapshot(self.reading()).system;
        self.outcome.samples.push(Sample {
            at,
            offset: -system.offset.as_seconds_f64(),
            estimated_error: system.estimated_error.as_seconds_f64(),
            bound: system.bound.as_seconds_f64(),
        });
    }
}

/// The recorded answer's header as an answer to another request. `None` if that asked for something else: in interleaved mode (RFC 9769) the
/// transmit timestamp is that of the answer before, and lies before the receive timestamp.
fn readdressed(header: &[u8], request: &[u8]) -> Option<Vec<u8>> {
    let parse = |octets: &[u8]| Header::parse(&mut Reader::new(octets)).ok();
    let (mut header, request) = (parse(header)?, parse(request)?);
    let ahead = header.transmit_timestamp - header.receive_timestamp;
    let interleaved = header.stratum != Stratum::KISS && ahead < NtpDuration::ZERO;
    header.origin_timestamp = if interleaved {
        Some(request.receive_timestamp).filter(|receive| *receive != NtpTimestamp::ZERO)?
    } else {
        request.transmit_timestamp
    };
    let mut octets = vec![0; Header::LEN];
    header.emit(&mut Writer::new(&mut octets)).ok()?;
    Some(octets)
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
