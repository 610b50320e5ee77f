//! Whole runs in a simulated world, recorded as text and replayed from it.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use ntp_proto::client::Protection;
use ntp_proto::discipline::SelectionOptions;
use ntp_proto::engine::{
    Command, Engine, EngineConfig, Host, Input, Now, Output, SourceConfig, SourceKind,
};
use ntp_proto::keys::{Algorithm, Key};
use ntp_proto::leap::LeapTable;
use ntp_proto::nts::AeadAlgorithm;
use ntp_record::{Line, Outcome, Scribe, Start, Veil, replay};
use ntp_sim::{
    Action, Attack, Forgery, Named, Nts, Scenario, Server, Witness, World, nts_source,
    random_world, shared_key, source, source_at,
};
use ntp_time::Adjustment;

/// Writes text, in files of so many lines.
#[derive(Debug)]
struct Writer {
    scribe: Scribe,
    veil: Veil,
    files: Rc<RefCell<Vec<String>>>,
    start: Option<Start>,
    lines: usize,
}

/// What the daemon does with its files, in short.
const LINES: usize = 1000;

impl Writer {
    fn put(&mut self, line: &Line) {
        match (line, &mut self.start) {
            (Line::Start(start), _) => self.start = Some((**start).clone()),
            (Line::Member(member), Some(start)) => start.members.push(member.clone()),
            (Line::Gone(id), Some(start)) => start.members.retain(|it| it.id != *id),
            (
                Line::Told {
                    monotonic, system, ..
                },
                Some(start),
            ) => (start.monotonic, start.system) = (*monotonic, *system),
            _ => {}
        }
        let text = line.encode(&mut self.veil);
        // Reading is the writer's test.
        assert!(Line::decode(&text).is_ok(), "{text}");
        let mut files = self.files.borrow_mut();
        let file = files.last_mut().expect("there is one");
        file.push_str(&text);
        file.push('\n');
        self.lines += 1;
    }
}

impl Witness for Writer {
    fn begun(&mut self, config: &EngineConfig, now: Now) {
        let (scribe, line) = Scribe::begin(config, now, "test");
        self.scribe = scribe;
        self.put(&line);
    }

    fn told(
        &mut self,
        engine: &mut Engine,
        now: Now,
        input: &Input<'_>,
        wanted: Option<&Adjustment>,
    ) {
        let line = self.scribe.told(engine, now, input, wanted);
        if self.lines >= LINES && wanted.is_none() {
            self.lines = 0;
            self.files.borrow_mut().push(String::new());
            let start = self.start.as_mut().expect("an engine has begun");
            start.part += 1;
            start.config = engine.config();
            (start.monotonic, start.system) = (now.monotonic, now.system);
            let start = start.clone();
            self.put(&Line::Start(Box::new(start)));
        }
        self.put(&line);
    }

    fn done(&mut self, output: &Output) {
        for line in self.scribe.done(output).collect::<Vec<_>>() {
            self.put(&line);
        }
    }
}

/// The files of a run, and the run.
fn recorded(scenario: &Scenario, seed: u64) -> (Vec<String>, World) {
    let files = Rc::new(RefCell::new(vec![String::new()]));
    let writer = Writer {
        scribe: Scribe::default(),
        veil: Veil::default(),
        files: Rc::clone(&files),
        start: None,
        lines: 0,
    };
    let mut world = World::witnessed(scenario, seed, Box::new(writer));
    world.run(scenario.duration).unwrap();
    let files = files.borrow().clone();
    (files, world)
}

fn lines(texts: &[String]) -> Vec<Line> {
    let texts = texts.iter().flat_map(|text| text.lines());
    texts.map(|text| Line::decode(text).unwrap()).collect()
}

/// The replay of a whole record, which must be what was recorded.
fn exact(files: &[String]) -> Outcome {
    let outcome = replay(&lines(files)).unwrap();
    let differ = outcome
        .was
        .iter()
        .zip(&outcome.would)
        .find(|(was, would)| was != would);
    assert_eq!(differ, None);
    assert_eq!(outcome.was.len(), outcome.would.len());
    assert_eq!((outcome.diverged, outcome.strayed), (None, None));
    assert!(outcome.is_same() && outcome.inexact.is_empty() && outcome.unasked == 0);
    outcome
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

/// Everything that an operator can do, in a world with sources of all kinds.
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
    let stranger = Key::new(2, Algorithm::Aes128Cmac, &[9; 16]).unwrap();
    let mut scenario = Scenario::new("eventful")
        .with_servers(3)
        .with_nts_servers(1)
        .with_strangers(4)
        .with_name("pool.example", &[4, 5, 6])
        .with_source(source("pool.example", pool))
        .clock_off_by(0.3)
        .at(100.0, command(Command::Add(keyed(7, stranger))))
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
        .but(|scenario| scenario.duration = 2400.0);
    let mut reloaded = scenario.engine.clone();
    reloaded.sources.remove(2);
    reloaded.discipline.minimum_agreeing_sources = 2;
    scenario = scenario.at(1200.0, Action::Reconfigure(Box::new(reloaded)));
    scenario.at(2399.0, Action::ShutDown)
}

#[test]
fn what_an_operator_did_is_done_again_and_leads_to_the_same() {
    let (files, _) = recorded(&eventful(), 1);
    assert!(files.len() > 1, "more than one file");
    let outcome = exact(&files);
    let wishes: Vec<&str> = outcome
        .wishes
        .iter()
        .map(|(_, wish)| wish.as_str())
        .collect();
    assert_eq!(wishes.len(), 11);
    assert_eq!(
        wishes[3..5],
        ["offline 198.18.0.2:123", "burst all sources"]
    );
    assert!(wishes.contains(&"reload"));
    let told = |what: &str| outcome.would.iter().any(|it| it.what.starts_with(what));
    assert!(told("remove pool.example: pool.example:123"));
    assert!(told("remove pool.example: refused: unknown source"));
    assert!(told("step: from"));
    assert!(told("reload: "), "{:#?}", outcome.would);
    let picture = ntp_record::svg(&outcome, "a day");
    assert_eq!(picture.matches("class=\"mark\"").count(), wishes.len());
}

#[test]
fn no_key_and_no_cookie_is_in_a_record() {
    let (files, _) = recorded(&eventful(), 2);
    for text in &files {
        for word in ["everybody", "0909090909"] {
            assert!(!text.contains(word), "{word}");
        }
    }
    let sources: Vec<&str> = files.iter().flat_map(|text| text.lines()).collect();
    assert!(sources.iter().any(|line| line.contains("\"granted\"")));
}

#[test]
fn sources_with_nts_are_asked_again_with_other_keys() {
    for algorithm in AeadAlgorithm::ALL {
        let nts = |secret, exchanges| {
            Some(Nts {
                secret,
                exchanges,
                algorithm,
                names: Named::Itself,
            })
        };
        let mut scenario = Scenario::new("NTS").with_nts_servers(3).clock_off_by(-2.0);
        for server in &mut scenario.servers {
            server.nts = nts(1, true);
        }
        // One forgets its keys, and does not give new ones for a while.
        let scenario = scenario
            .at(600.0, Action::Nts(0, nts(2, false)))
            .at(1500.0, Action::Nts(0, nts(2, true)))
            .but(|scenario| scenario.duration = 4000.0)
            .but(|scenario| {
                scenario.attack = Some(Attack {
                    from: 100.0,
                    until: 1e9,
                    datagrams: 2,
                    within: 0.1,
                    forgery: Forgery::Replay,
                });
            });
        let (files, world) = recorded(&scenario, 3);
        assert!(world.journal().key_exchanges.len() > 4);
        let outcome = exact(&files);
        assert!(outcome.measured.len() > 50);
    }
}

#[test]
fn whatever_happens_is_replayed_to_the_last_random_number() {
    for seed in 0..24 {
        let (files, _) = recorded(&random_world(seed), seed);
        exact(&files);
    }
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
            departure: 1e-4,
            ..*server
        };
        source.association.interleaved = true;
    }
    scenario.duration = 3000.0;
    let (files, _) = recorded(&scenario, 4);
    exact(&files);
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
        .with_strangers(3)
        .with_name("pool.example", &[2, 3, 4])
        .with_source(source("pool.example", pool))
        .at(100.0, command(Command::Remove(name(0))))
        .but(|scenario| scenario.duration = 40_000.0);
    let (files, world) = recorded(&scenario, 5);
    assert!(files.len() >= 3, "{}", files.len());
    let outcome = replay(&lines(&files[1..])).unwrap();
    assert!(
        outcome.inexact[0].contains("midway"),
        "{:?}",
        outcome.inexact
    );
    // Nearly every answer is of use, and tells the same of the clock.
    let asked = outcome.measured.len() as u64;
    assert!(
        outcome.unasked < asked / 20,
        "{} of {asked}",
        outcome.unasked
    );
    let last = outcome.course.last().unwrap();
    assert!(last.offset.abs() < 1e-3 && last.bound < 0.1, "{last:?}");
    assert_eq!(world.snapshot().sources.len(), 4);
    let names: std::collections::BTreeSet<_> = outcome
        .measured
        .iter()
        .map(|(name, ..)| name.clone())
        .collect();
    assert_eq!(names.len(), 2, "{names:?}");
}

#[test]
fn a_damaged_record_is_replayed_as_far_as_it_goes() {
    let (files, _) = recorded(&eventful(), 6);
    let whole = lines(&files);
    for (from, to) in [(200, 201), (300, 420), (1200, 1900)] {
        let mut damaged = whole.clone();
        damaged.splice(from..to, [Line::Gap("lines are damaged".to_owned())]);
        let outcome = replay(&damaged).unwrap();
        assert_eq!(outcome.inexact, ["lines are damaged"]);
        let same = outcome.was.iter().zip(&outcome.would);
        let same = same.take_while(|(was, would)| was == would).count();
        assert!(same > 0, "what comes before is the same");
        let last = outcome.course.last().unwrap();
        assert!(last.at > 2300.0 && last.bound < 0.1, "{last:?}");
    }
}

#[test]
fn only_files_of_one_run_that_follow_each_other_are_taken_together() {
    let (files, _) = recorded(&eventful(), 7);
    let (other, _) = recorded(&eventful().clock_off_by(1.0), 8);
    assert!(files.len() >= 3, "{}", files.len());
    // Another run's file, and a file that is missing: from there on only.
    for before in [&other[0], &files[0]] {
        let texts = [std::slice::from_ref(before), &files[2..]].concat();
        let outcome = replay(&lines(&texts)).unwrap();
        assert!(outcome.inexact[0].contains("midway"));
    }
    let texts = [other.clone(), files.clone()].concat();
    exact(&texts);
}
