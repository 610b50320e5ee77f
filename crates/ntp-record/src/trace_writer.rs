//! Makes lines of what goes into the engine and of what comes out: the part that every shell has to do alike.

use ntp_proto::engine::{Engine, EngineConfig, Event, Input, Now, Output, Severity};
use ntp_time::{Adjustment, Monotonic, SystemTime};

use crate::line::{Line, Member, Start};
use crate::told::Told;

/// Writes down what a shell does. Its lines are to be kept in the order in which they are made.
#[derive(Debug, Default)]
pub struct Scribe {
    /// What an operator asked for last.
    wish: Option<String>,
}

impl Scribe {
    /// Of an engine that begins; from here on, everything is to be told.
    pub fn begin(config: &EngineConfig, now: Now, version: &str) -> (Self, Line) {
        let start = Start {
            config: config.clone(),
            monotonic: now.monotonic,
            system: now.system,
            run: now.system,
            part: 0,
            members: Vec::new(),
            version: version.to_owned(),
        };
        (Self::default(), Line::Start(Box::new(start)))
    }

    /// The engine has [handled](Engine::handle) this. `wanted` is the adjustment that a `ClockApplied` answers.
    pub fn told(
        &mut self,
        engine: &mut Engine,
        now: Now,
        input: &Input<'_>,
        wanted: Option<&Adjustment>,
    ) -> Line {
        let told = Told::of(input, wanted, engine.evidence());
        if let Some(wish) = told.wish() {
            self.hear(wish);
        }
        Line::Told {
            monotonic: now.monotonic,
            system: now.system,
            told,
            drawn: engine.drawn(),
        }
    }

    /// An operator wants this.
    pub(crate) fn hear(&mut self, wish: String) {
        self.wish = Some(wish);
    }

    /// The engine has put this out.
    pub fn done(&mut self, output: &Output) -> impl Iterator<Item = Line> {
        let (first, second) = match output {
            Output::Event(event) => {
                let told = event.severity() > Severity::Debug;
                let told = told.then(|| Line::Event(event.to_string()));
                let member = match event {
                    Event::SourceAdded(subject) => Some(Line::Member(Member {
                        id: subject.id,
                        name: subject.name.clone(),
                        address: subject.address,
                    })),
                    Event::SourceRemoved(subject, _) => Some(Line::Gone(subject.id)),
                    _ => None,
                };
                (member, told)
            }
            Output::Completed(_, result) => {
                let outcome = match result {
                    Ok(done) => done.to_string(),
                    Err(refusal) => format!("refused: {refusal}"),
                };
                let wish = self.wish.take().unwrap_or_default();
                (None, Some(Line::Event(format!("{wish}: {outcome}"))))
            }
            Output::Halt(halt) => (None, Some(Line::Event(format!("end: {halt}")))),
            _ => (None, None),
        };
        first.into_iter().chain(second)
    }
}

impl Start {
    /// When.
    pub(crate) fn now(&self) -> Now {
        let (monotonic, system): (Monotonic, SystemTime) = (self.monotonic, self.system);
        Now { monotonic, system }
    }
}
