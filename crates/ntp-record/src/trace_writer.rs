//! Makes lines of what goes into the engine and of what comes out: the part that every shell has to do alike.

use ntp_proto::engine::{Engine, EngineConfig, Event, Input, Now, Output, Severity};
use ntp_time::Adjustment;

use crate::input::RecordedInput;
use crate::line::{Line, RecordedAssociation, Start, VERSION};

/// Writes down what a shell does. Its lines are to be kept in the order in which they are made.
#[derive(Debug, Default)]
pub struct TraceWriter {
    /// What an operator asked for last.
    operator_request: Option<String>,
}

impl TraceWriter {
    /// Of an engine that begins; from here on, everything is to be told.
    pub fn start(config: &EngineConfig, now: Now) -> (Self, Line) {
        let start = Start {
            config: config.clone(),
            monotonic: now.monotonic,
            system: now.system,
            run: now.system,
            part: 0,
            associations: Vec::new(),
            version: VERSION.to_owned(),
        };
        (Self::default(), Line::Start(Box::new(start)))
    }

    /// The engine has [handled](Engine::handle) this. `requested` is the adjustment that a `ClockApplied` answers.
    pub fn input(
        &mut self,
        engine: &mut Engine,
        now: Now,
        input: &Input<'_>,
        requested: Option<&Adjustment>,
    ) -> Line {
        let input = RecordedInput::of(input, requested, engine.evidence());
        if let Some(operator_request) = input.operator_request() {
            self.set_operator_request(operator_request);
        }
        Line::Input {
            monotonic: now.monotonic,
            system: now.system,
            input,
            rng_trace: engine.drawn(),
        }
    }

    /// An operator wants this.
    pub(crate) fn set_operator_request(&mut self, operator_request: String) {
        self.operator_request = Some(operator_request);
    }

    /// The engine has put this out.
    pub fn output(&mut self, output: &Output) -> impl Iterator<Item = Line> {
        let (first, second) = match output {
            Output::Event(event) => {
                let shown = event.severity() > Severity::Debug;
                let shown = shown.then(|| Line::Event(event.to_string()));
                let association = match event {
                    Event::SourceAdded(subject) => Some(Line::Association(RecordedAssociation {
                        id: subject.id,
                        name: subject.name.clone(),
                        address: subject.address,
                    })),
                    Event::SourceRemoved(subject, _) => Some(Line::Removed(subject.id)),
                    _ => None,
                };
                (association, shown)
            }
            Output::Completed(_, result) => {
                let outcome = match result {
                    Ok(done) => done.to_string(),
                    Err(refusal) => format!("refused: {refusal}"),
                };
                let operator_request = self.operator_request.take().unwrap_or_default();
                (
                    None,
                    Some(Line::Event(format!("{operator_request}: {outcome}"))),
                )
            }
            Output::Halt(halt) => (None, Some(Line::Event(format!("end: {halt}")))),
            _ => (None, None),
        };
        first.into_iter().chain(second)
    }
}
