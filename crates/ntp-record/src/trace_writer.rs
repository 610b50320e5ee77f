//! Converts the inputs and outputs of the engine to lines, for every shell alike.

use ntp_proto::engine::{Engine, EngineConfig, Event, Input, Now, Output, Severity};
use ntp_time::Adjustment;

use crate::input::RecordedInput;
use crate::line::{Line, Start};

/// Produces the lines of a record, which must be written in this order.
#[derive(Debug, Default)]
pub struct TraceWriter {
    /// The latest command of an operator.
    operator_request: Option<String>,
}

impl TraceWriter {
    /// Starts the record of a new engine, and returns its first line. All inputs and outputs must
    /// follow.
    pub fn start(config: &EngineConfig, now: Now) -> (Self, Line) {
        let start = Start::new(config, now.monotonic, now.system);
        (Self::default(), Line::Start(Box::new(start)))
    }

    /// Returns the line of an input that the engine has [handled](Engine::handle). `requested` is
    /// the adjustment that a `ClockApplied` answers.
    pub fn input(
        &mut self,
        engine: &mut Engine,
        now: Now,
        input: &Input<'_>,
        requested: Option<&Adjustment>,
    ) -> Line {
        let input = RecordedInput::new(input, requested, engine.take_authenticity());
        if let Some(operator_request) = input.operator_request() {
            self.set_operator_request(operator_request);
        }
        Line::Input {
            monotonic: now.monotonic,
            system: now.system,
            input,
            rng_trace: engine.take_rng_trace(),
        }
    }

    /// Sets the latest command of an operator.
    pub(crate) fn set_operator_request(&mut self, operator_request: String) {
        self.operator_request = Some(operator_request);
    }

    /// Returns the lines of an output of the engine.
    pub fn output(&mut self, output: &Output) -> impl Iterator<Item = Line> {
        let (first, second) = match output {
            Output::Event(event) => {
                let shown = event.severity() > Severity::Debug;
                let shown = shown.then(|| Line::Event(event.to_string()));
                let association = match event {
                    Event::SourceAdded { source } => Some(Line::Association(source.clone())),
                    Event::SourceRemoved { source, .. } => Some(Line::Removed(source.id)),
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
