//! Runs in a simulated world, recorded as text and replayed from it.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use ntp_proto::client::{Protection, VersionChoice};
use ntp_proto::discipline::SelectionOptions;
use ntp_proto::engine::{
    Command, Engine, EngineConfig, Host, Input, Now, Output, SourceConfig, SourceKind,
};
use ntp_proto::keys::{Algorithm, Key};
use ntp_proto::leap::LeapTable;
use ntp_proto::nts::AeadAlgorithm;
use ntp_proto::wire::Version;
use ntp_record::{
    Decision, Line, Outcome, RecordedInput, Redactor, Sample, Start, TraceWriter, replay,
};
use ntp_sim::{
    Action, Attack, Behaviour, ClockBehaviour, Forgery, NegotiatedServer, Nts, RefClock, Scenario,
    Server, Trace, World, nts_source, random_world, ref_clock_source, shared_key, source,
    source_at,
};
use ntp_time::{Adjustment, NtpDuration};

/// Writes records as text, in files of [`LINES`] lines.
#[derive(Debug)]
struct Writer {
    trace_writer: TraceWriter,
    redactor: Redactor,
    files: Rc<RefCell<Vec<String>>>,
    start: Option<Start>,
    lines: usize,
}

/// Lines of a file; a short version of what the daemon does.
const LINES: usize = 1000;

impl Writer {
    fn put(&mut self, line: &Line) {
        match (line, &mut self.start) {
            (Line::Start(start), _) => self.start = Some((**start).clone()),
            (Line::Association(member), Some(start)) => start.associations.push(member.clone()),
            (Line::Removed(id), Some(start)) => start.associations.retain(|it| it.id != *id),
            (
                Line::Input {
                    monotonic,
                    system,
                    input,
                    ..
                },
                Some(start),
            ) => {
                (start.monotonic, start.system) = (*monotonic, *system);
                if let RecordedInput::Applied { applied, .. } = input {
                    start.config.clock.frequency = applied.frequency;
                }
            }
            _ => {}
        }
        let text = line.encode(&mut self.redactor);
        // Every written line must be readable.
        assert!(Line::decode(&text).is_ok(), "{text}");
        let mut files = self.files.borrow_mut();
        let file = files.last_mut().expect("there is one");
        file.push_str(&text);
        file.push('\n');
        self.lines += 1;
    }
}

impl Trace for Writer {
    fn start(&mut self, config: &EngineConfig, now: Now) {
        let (trace_writer, line) = TraceWriter::start(config, now);
        self.trace_writer = trace_writer;
        self.put(&line);
    }

    fn input(
        &mut self,
        engine: &mut Engine,
        now: Now,
        input: &Input<'_>,
        requested: Option<&Adjustment>,
    ) {
        let line = self.trace_writer.input(engine, now, input, requested);
        if self.lines >= LINES && requested.is_none() {
            self.lines = 0;
            self.files.borrow_mut().push(String::new());
            let start = self.start.as_mut().expect("an engine has started");
            start.part += 1;
            let clock = start.config.clock;
            start.config = EngineConfig {
                clock,
                ..engine.config()
            };
            (start.monotonic, start.system) = (now.monotonic, now.system);
            let start = start.clone();
            self.put(&Line::Start(Box::new(start)));
        }
        self.put(&line);
    }

    fn output(&mut self, output: &Output) {
        for line in self.trace_writer.output(output).collect::<Vec<_>>() {
            self.put(&line);
        }
    }
}

/// Records a run, and returns its files and the world.
fn record(scenario: &Scenario, seed: u64) -> (Vec<String>, World) {
    let files = Rc::new(RefCell::new(vec![String::new()]));
    let writer = Writer {
        trace_writer: TraceWriter::default(),
        redactor: Redactor::default(),
        files: Rc::clone(&files),
        start: None,
        lines: 0,
    };
    let mut world = World::with_trace(scenario, seed, Box::new(writer));
    world.run(scenario.duration).unwrap();
    let files = files.borrow().clone();
    (files, world)
}

fn lines(texts: &[String]) -> Vec<Line> {
    let texts = texts.iter().flat_map(|text| text.lines());
    texts.map(|text| Line::decode(text).unwrap()).collect()
}

/// Replays a whole record, which must give the recorded decisions.
fn replay_exactly(files: &[String]) -> Outcome {
    let outcome = replay(&lines(files)).unwrap();
    let differ = outcome
        .recorded
        .iter()
        .zip(&outcome.replayed)
        .find(|(recorded, replayed)| recorded != replayed);
    assert_eq!(differ, None);
    assert_eq!(outcome.recorded.len(), outcome.replayed.len());
    assert!(outcome.is_same() && outcome.inexact.is_empty());
    outcome
}

/// Largest difference of the clock's offset between two replays of a record at the same time, at
/// least `from` seconds after the start of the run.
fn largest_difference(whole: &Outcome, later: &Outcome, from: f64) -> f64 {
    let start = whole.samples.last().unwrap().at - later.samples.last().unwrap().at;
    let mut compared = 0;
    let mut largest = 0.0f64;
    for sample in later.samples.iter().filter(|it| it.at + start >= from) {
        let mut same_time = whole.samples.iter();
        let is_same_time = |it: &&Sample| (it.at - sample.at - start).abs() < 1e-6;
        if let Some(other) = same_time.find(is_same_time) {
            compared += 1;
            largest = largest.max((sample.offset - other.offset).abs());
        }
    }
    assert!(compared > 1000, "{compared}");
    largest
}

fn command(command: Command) -> Action {
    Action::Command(command)
}

fn name(index: usize) -> String {
    source_at(Scenario::address(index)).name
}

fn keyed(index: usize, key: Key) -> SourceConfig {
    let mut source = source_at(Scenario::address(index));
    source.association.protection = Protection::Symmetric(Arc::new(key));
    source
}

/// Every command of an operator, in a world with sources of all kinds.
fn eventful() -> Scenario {
    let pool = SourceKind::Pool {
        count: 2,
        ignore: Vec::new(),
    };
    let list = "#@ 4070563200\n3692217600 37\n";
    let preferred = SourceConfig {
        selection: SelectionOptions {
            prefer: true,
            ..SelectionOptions::default()
        },
        ..source_at(Scenario::address(0))
    };
    let other_key = Key::new(2, Algorithm::Aes128Cmac, &[9; 16]).unwrap();
    let mut scenario = Scenario::new("eventful")
        .with_servers(3)
        .with_nts_servers(1)
        .with_unconfigured_servers(4)
        .with_name("pool.example", &[4, 5, 6])
        .with_source(source("pool.example", pool))
        .with_clock_offset(0.3)
        .at(100.0, command(Command::Add(keyed(7, other_key))))
        .at(
            200.0,
            command(Command::Replace(name(7), keyed(7, shared_key().unwrap()))),
        )
        .at(250.0, command(Command::Replace(name(0), preferred)))
        .at(300.0, command(Command::Offline(Some(name(1)))))
        .at(400.0, command(Command::Burst(None)))
        .at(
            500.0,
            Action::LeapList(Some(LeapTable::parse(list).unwrap())),
        )
        .at(600.0, command(Command::Remove("pool.example".to_owned())))
        .at(600.0, command(Command::Remove("pool.example".to_owned())))
        .at(650.0, Action::ForeignStep(0.2))
        .at(700.0, command(Command::Online(None)))
        .at(800.0, command(Command::Step { forced: false }))
        .at(
            900.0,
            command(Command::Add(nts_source(Host::Address(Scenario::address(
                3,
            ))))),
        )
        .modify(|scenario| scenario.duration = 2400.0);
    let mut reloaded = scenario.engine.clone();
    reloaded.sources.remove(2);
    reloaded.discipline.minimum_agreeing_sources = 2;
    scenario = scenario.at(1200.0, Action::Reconfigure(Box::new(reloaded)));
    scenario.at(2399.0, Action::ShutDown)
}

#[test]
fn operator_commands_are_replayed() {
    let (files, _) = record(&eventful(), 1);
    assert!(files.len() > 1, "more than one file");
    let outcome = replay_exactly(&files);
    let requests: Vec<&str> = outcome
        .operator_requests
        .iter()
        .map(|(_, request)| request.as_str())
        .collect();
    assert_eq!(requests.len(), 11);
    assert_eq!(
        requests[3..5],
        ["offline 198.18.0.2:123", "burst all sources"]
    );
    assert!(requests.contains(&"reload"));
    let decided = |text: &str| outcome.replayed.iter().any(|it| it.text.starts_with(text));
    assert!(decided("remove pool.example: pool.example:123"));
    assert!(decided("remove pool.example: refused: unknown source"));
    assert!(decided("step: from"));
    assert!(decided("reload: "), "{:#?}", outcome.replayed);
    let picture = ntp_record::svg(&outcome, "a day");
    assert_eq!(picture.matches("class=\"mark\"").count(), requests.len());
}

#[test]
fn records_contain_no_keys_and_cookies() {
    let (files, _) = record(&eventful(), 2);
    for text in &files {
        for word in ["everybody", "0909090909"] {
            assert!(!text.contains(word), "{word}");
        }
    }
    let sources: Vec<&str> = files.iter().flat_map(|text| text.lines()).collect();
    assert!(sources.iter().any(|line| line.contains("\"key-exchange\"")));
}

#[test]
fn nts_sources_are_replayed_with_surrogate_keys() {
    for algorithm in AeadAlgorithm::ALL {
        let nts = |secret, available| {
            Some(Nts {
                secret,
                available,
                algorithm,
                server: NegotiatedServer::Same,
            })
        };
        let mut scenario = Scenario::new("NTS")
            .with_nts_servers(3)
            .with_clock_offset(-2.0);
        for server in &mut scenario.servers {
            server.nts = nts(1, true);
        }
        // One server loses its keys, and exchanges no new ones for a while.
        let scenario = scenario
            .at(600.0, Action::Nts(0, nts(2, false)))
            .at(1500.0, Action::Nts(0, nts(2, true)))
            .modify(|scenario| scenario.duration = 4000.0)
            .modify(|scenario| {
                scenario.attack = Some(Attack {
                    from: 100.0,
                    until: 1e9,
                    datagrams: 2,
                    within: 0.1,
                    forgery: Forgery::Replay,
                });
            });
        let (files, world) = record(&scenario, 3);
        assert!(world.journal().key_exchanges.len() > 4);
        let outcome = replay_exactly(&files);
        assert!(outcome.measurements.len() > 50);
    }
}

/// A pool that is added at run time, in both versions: one of its members is replaced, and all lose
/// their keys.
#[test]
fn sessions_of_an_nts_pool_are_replayed_in_both_versions() {
    const NAMES: [&str; 4] = ["a.example", "b.example", "c.example", "d.example"];
    for version in [
        VersionChoice::Fixed(Version::V4),
        VersionChoice::Fixed(Version::V5),
        VersionChoice::Auto,
    ] {
        let nts = |secret| Nts {
            secret,
            server: NegotiatedServer::Pool(&NAMES),
            ..Nts::default()
        };
        let mut pool = nts_source(Host::Name("ke.example".to_owned()));
        pool.kind = SourceKind::NtsPool {
            count: 3,
            ignore: Vec::new(),
        };
        pool.association.version = version;
        let mut scenario = Scenario::new("NTS pool")
            .with_unconfigured_servers(NAMES.len())
            .with_name("ke.example", &[0])
            .with_minimum_agreeing(2)
            .at(500.0, Action::Command(Command::Add(pool)))
            .at(1500.0, Action::Behaviour(1, Behaviour::Silent))
            .modify(|world| world.duration = 6000.0);
        for (index, name) in NAMES.iter().enumerate() {
            scenario = scenario
                .with_name(name, &[index])
                .at(2500.0, Action::Nts(index, Some(nts(2))));
        }
        for server in &mut scenario.servers {
            (server.version_5, server.nts) = (true, Some(nts(1)));
        }
        let (files, world) = record(&scenario, 1);
        let sources = world.status().sources;
        let members: Vec<_> = sources
            .iter()
            .map(|source| source.address.to_string())
            .collect();
        let expected = [0, 2, 3].map(|index| format!("{}:123", Scenario::address(index)));
        assert!(
            members.len() == 3 && expected.iter().all(|it| members.contains(it)),
            "{members:?}"
        );
        let is_5 = version != VersionChoice::Fixed(Version::V4);
        let expected = if is_5 { 5 } else { 4 };
        assert!(
            sources
                .iter()
                .all(|source| source.protocol.as_ref().unwrap().version == expected)
        );
        assert_eq!(
            files.concat().contains("f5ff001b"),
            is_5,
            "replies of version 5"
        );
        let outcome = replay_exactly(&files);
        assert!(outcome.measurements.len() > 50);
    }
}

/// Sources of version 5, configured and negotiated, with a key and without.
#[test]
fn sessions_of_version_5_are_replayed() {
    let mut scenario = Scenario::new("version 5").with_servers(3);
    for server in &mut scenario.servers {
        server.version_5 = true;
        server.interleaved = true;
    }
    let scenario = scenario.modify(|world| {
        let versions = [
            VersionChoice::Fixed(Version::V5),
            VersionChoice::Auto,
            VersionChoice::Fixed(Version::V5),
        ];
        let key = shared_key().map(Arc::new);
        world.duration = 4000.0;
        let sources = &mut world.engine.sources;
        for (index, (source, version)) in sources.iter_mut().zip(versions).enumerate() {
            source.association.version = version;
            source.association.interleaved = index == 0;
            if let (2, Some(key)) = (index, &key) {
                source.association.protection = Protection::Symmetric(Arc::clone(key));
            }
        }
    });
    let (files, _) = record(&scenario, 1);
    let text = files.concat();
    assert!(text.contains("\"V5\"") && text.contains("\"auto\""));
    assert!(
        text.contains("f5ff001b"),
        "replies of version 5 with their draft"
    );
    let outcome = replay_exactly(&files);
    assert!(outcome.measurements.len() > 50);
}

#[test]
fn random_worlds_are_replayed_to_the_last_random_number() {
    for seed in 0..24 {
        let (files, _) = record(&random_world(seed), seed);
        replay_exactly(&files);
    }
}

#[test]
fn random_worlds_are_replayed_from_any_file() {
    let mut compared = 0;
    for seed in 0..24 {
        let (files, _) = record(&random_world(seed), seed);
        let whole = replay_exactly(&files);
        let last = whole.samples.last().unwrap();
        for first in 1..files.len() {
            let later = replay(&lines(&files[first..])).unwrap();
            let end = later.samples.last().unwrap();
            let start = last.at - end.at;
            let measurements = whole.measurements.iter().filter(|(_, at, _)| *at >= start);
            // Replies to requests in the file before have no request.
            assert!(
                later.measurements.len() as u64 + later.unmatched >= measurements.count() as u64
            );
            let difference = (end.offset - last.offset).abs();
            assert!(difference <= end.bound + last.bound, "{seed} {first}");
            compared += later.measurements.len();
        }
    }
    assert!(compared > 1000, "{compared}");
}

#[test]
fn interleaved_exchanges_with_late_stamps_are_replayed() {
    let mut scenario = Scenario::new("interleaved").with_servers(3);
    scenario.node.stamping = ntp_sim::Stamping::LateKernel(0.05);
    for (server, source) in scenario
        .servers
        .iter_mut()
        .zip(&mut scenario.engine.sources)
    {
        *server = Server {
            interleaved: true,
            transmit_delay: 1e-4,
            ..*server
        };
        source.association.interleaved = true;
    }
    scenario.duration = 6000.0;
    let (files, _) = record(&scenario, 4);
    replay_exactly(&files);
    // A new engine begins in basic mode with the recorded interleaved replies.
    let midway = replay(&lines(&files[1..])).unwrap();
    assert!(midway.unmatched == 0 && midway.measurements.len() > 10);
    let last = midway.samples.last().unwrap();
    assert!(last.offset.abs() < 1e-3 && last.bound < 0.1, "{last:?}");
}

#[test]
fn a_record_that_begins_midway_is_replayed_from_there() {
    let pool = SourceKind::Pool {
        count: 3,
        ignore: Vec::new(),
    };
    let scenario = Scenario::new("midway")
        .with_servers(1)
        .with_nts_servers(1)
        .with_unconfigured_servers(3)
        .with_name("pool.example", &[2, 3, 4])
        .with_source(source("pool.example", pool))
        .at(100.0, command(Command::Remove(name(0))))
        .modify(|scenario| scenario.duration = 40_000.0);
    let (files, world) = record(&scenario, 5);
    assert!(files.len() >= 3, "{}", files.len());
    let outcome = replay(&lines(&files[1..])).unwrap();
    assert!(
        outcome.inexact[0].contains("midway"),
        "{:?}",
        outcome.inexact
    );
    // Nearly every reply is used.
    let measurements = outcome.measurements.len() as u64;
    assert!(
        outcome.unmatched < measurements / 20,
        "{} of {measurements}",
        outcome.unmatched
    );
    let last = outcome.samples.last().unwrap();
    assert!(last.offset.abs() < 1e-3 && last.bound < 0.1, "{last:?}");
    assert_eq!(world.status().sources.len(), 4);
    let names = outcome.measurements.iter().map(|(name, ..)| name.as_str());
    let names: BTreeSet<&str> = names.collect();
    assert_eq!(names.len(), 2, "{names:?}");
}

#[test]
fn reference_clocks_are_replayed_from_a_later_file() {
    let scenario = Scenario::new("reference clock")
        .with_servers(2)
        .with_ref_clock(RefClock {
            interval: 16.0,
            ..RefClock::new("/dev/pps0")
        })
        .with_minimum_agreeing(2)
        // So that the clock has another number in a replay that begins later.
        .at(100.0, command(Command::Remove(name(0))))
        .modify(|scenario| scenario.duration = 20_000.0);
    let (files, _) = record(&scenario, 10);
    assert!(files.len() > 1, "more than one file");
    let samples = |outcome: &Outcome| {
        let measurements = outcome.measurements.iter();
        let samples = measurements.filter(|(name, ..)| name == "/dev/pps0");
        samples.count()
    };
    let whole = replay_exactly(&files);
    let later = replay(&lines(&files[1..])).unwrap();
    let recorded = |texts: &[String]| texts.concat().matches("\"in\":\"sample\"").count();
    assert_eq!(samples(&whole), recorded(&files));
    assert_eq!(samples(&later), recorded(&files[1..]));
    assert!(samples(&later) > 100 && later.unmatched == 0);
}

#[test]
fn a_fault_long_after_the_first_file_is_found_again() {
    let pool = SourceKind::Pool {
        count: 3,
        ignore: Vec::new(),
    };
    let scenario = Scenario::new("night")
        .with_servers(3)
        .with_unconfigured_servers(4)
        .with_name("pool.example", &[3, 4, 5, 6])
        .with_source(source("pool.example", pool))
        .at(20_000.0, Action::Behaviour(4, Behaviour::Silent))
        .at(25_000.0, Action::ForeignStep(2.0))
        .at(30_000.0, Action::ForeignStep(0.5))
        .modify(|scenario| {
            scenario.duration = 40_000.0;
            // The smaller error is slewed.
            scenario.engine.steering.step_threshold = Some(NtpDuration::from_seconds(1));
        });
    let (files, _) = record(&scenario, 5);
    let whole = replay_exactly(&files);
    let outcome = replay(&lines(&files[1..])).unwrap();
    let night = scenario.start + NtpDuration::from_seconds(20_000);
    let events = |decisions: &[Decision]| -> Vec<String> {
        let decisions = decisions.iter().filter(|decision| decision.at > night);
        let texts = decisions.map(|decision| decision.text.clone());
        texts
            .filter(|text| text.starts_with("source ") || text.starts_with("clock changed"))
            .collect()
    };
    let replayed = events(&outcome.replayed);
    assert_eq!(replayed, events(&whole.recorded));
    assert_eq!(replayed.len(), 6, "{replayed:?}");
    let steps = |decisions: &[Decision]| {
        let mut decisions = decisions.iter();
        decisions.any(|decision| decision.text.starts_with("clock stepped by"))
    };
    assert!(steps(&outcome.replayed) && steps(&whole.recorded));
    assert!(largest_difference(&whole, &outcome, 20_000.0) < 1e-3);
    // The clock follows the record even if the replayed engine does not adjust it.
    let mut observed = lines(&files[1..]);
    if let Some(Line::Start(start)) = observed.first_mut() {
        start.config.clock.steerable = false;
    }
    let observed = replay(&observed).unwrap();
    assert!(largest_difference(&whole, &observed, 20_000.0) < 1e-3);
    assert!(outcome.unmatched < 5, "{}", outcome.unmatched);
}

#[test]
fn a_damaged_record_is_replayed_inexactly_after_the_damage() {
    let (files, _) = record(&eventful(), 6);
    let whole = lines(&files);
    for (from, to) in [(200, 201), (300, 420), (1200, 1900)] {
        let mut damaged = whole.clone();
        damaged.splice(from..to, [Line::Gap("lines are damaged".to_owned())]);
        let outcome = replay(&damaged).unwrap();
        assert_eq!(outcome.inexact, ["lines are damaged"]);
        // What precedes the damage is replayed exactly.
        let before = replay(&whole[..from]).unwrap();
        assert!(before.is_same() && !before.replayed.is_empty());
        assert!(outcome.replayed.starts_with(&before.replayed));
        let last = outcome.samples.last().unwrap();
        assert!(last.at > 2300.0 && last.bound < 0.1, "{last:?}");
    }
    // A gap between a request and its reply.
    let is_reply = |line: &Line| {
        let Line::Input { input, .. } = line else {
            return false;
        };
        matches!(input, RecordedInput::Reply { .. })
    };
    let reply = 300 + whole[300..].iter().position(is_reply).unwrap();
    let mut damaged = whole.clone();
    damaged.insert(reply, Line::Dropped(1));
    let outcome = replay(&damaged).unwrap();
    assert_eq!(outcome.inexact, ["lines not written in time: 1"]);
    assert_eq!(outcome.unmatched, 0);
    for length in (1..whole.len()).step_by(97) {
        assert!(replay(&whole[..length]).unwrap().is_same(), "{length}");
    }
}

#[test]
fn a_different_configuration_diverges_at_the_first_different_decision() {
    let (files, _) = record(&eventful(), 9);
    let mut lines = lines(&files);
    if let Some(Line::Start(start)) = lines.first_mut() {
        start.config.discipline.minimum_agreeing_sources = 9;
    }
    let outcome = replay(&lines).unwrap();
    assert!(outcome.diverged.is_some() && !outcome.is_same());
    let steps = |decisions: &[Decision]| {
        let mut decisions = decisions.iter();
        decisions.any(|decision| decision.text.starts_with("clock stepped by"))
    };
    assert!(steps(&outcome.recorded) && !steps(&outcome.replayed));
}

#[test]
fn only_consecutive_files_of_one_run_are_joined() {
    let (files, _) = record(&eventful(), 7);
    let (other, _) = record(&eventful().with_clock_offset(1.0), 8);
    assert!(files.len() >= 3, "{}", files.len());
    // A file of another run, and a missing file: only the files from there on count.
    for before in [&other[0], &files[0]] {
        let texts = [std::slice::from_ref(before), &files[2..]].concat();
        let outcome = replay(&lines(&texts)).unwrap();
        assert!(outcome.inexact[0].contains("midway"));
    }
    let texts = [other.clone(), files.clone()].concat();
    replay_exactly(&texts);
}

#[test]
fn failures_and_commands_of_a_reference_clock_are_replayed() {
    let clock = RefClock::new("/dev/pps0");
    let (offline, online) = (
        Command::Offline(Some(clock.device.clone())),
        Command::Online(Some(clock.device.clone())),
    );
    let mut other = ref_clock_source(&clock);
    other.selection.prefer = true;
    let scenario = Scenario::new("reference clock")
        .with_servers(3)
        .with_ref_clock(clock)
        .with_clock_offset(-0.4)
        .at(600.0, Action::ClockBehaviour(0, ClockBehaviour::Silent))
        .at(700.0, Action::ClockBehaviour(0, ClockBehaviour::Normal))
        .at(900.0, command(offline))
        .at(1000.0, command(online))
        .at(
            1100.0,
            Action::ClockBehaviour(0, ClockBehaviour::Unsynchronized),
        )
        .at(1200.0, Action::ClockBehaviour(0, ClockBehaviour::Normal))
        .at(1300.0, Action::ClockError(0, 0.2))
        .at(1500.0, Action::ClockError(0, 0.0))
        .at(
            1600.0,
            command(Command::Replace("/dev/pps0".to_owned(), other)),
        )
        .at(1700.0, Action::ForeignStep(0.3))
        .modify(|scenario| scenario.duration = 2400.0);
    let (files, world) = record(&scenario, 10);
    assert!(files.len() > 1, "more than one file");
    let outcome = replay_exactly(&files);
    let of_the_clock = |it: &&(String, f64, f64)| it.0 == "/dev/pps0";
    let samples = outcome.measurements.iter().filter(of_the_clock).count();
    assert!(samples > 1500, "{samples}");
    let decided = |text: &str| outcome.replayed.iter().any(|it| it.text.contains(text));
    assert!(decided("source /dev/pps0 unreachable: no sample"));
    assert!(world.error().abs() < 1e-4);
}
