//! The driver with the engine: it is told what happened, and all that it asks for is done.
//!
//! What comes of a request at once (a datagram was sent, a look-up could not be started) is kept as an echo, and told when the engine
//! has nothing more to ask, so that it is never told anything in the middle of its answer.

use ntp_os_clock::Clock;
use ntp_proto::engine::{
    Engine, Event, ExchangeId, Host, Input, Output, ResolveId, SendError, Severity,
};
use ntp_time::{Adjustment, Stamp};
use tracing::{debug, error, info, warn};

use super::reading::now;
use super::{Failure, Runtime};
use crate::nts::KeRequest;
use crate::record::Recorder;

impl Runtime {
    pub(super) fn handle(&mut self, input: Input<'_>) -> Result<(), Failure> {
        self.feed(input);
        self.drain()
    }

    pub(super) fn feed(&mut self, input: Input<'_>) {
        feed(
            &mut self.engine,
            &mut self.recorder,
            &self.clock,
            input,
            None,
        );
    }

    /// Does everything that the engine asks for, and tells it what came of it.
    pub(super) fn drain(&mut self) -> Result<(), Failure> {
        loop {
            while let Some(output) = self.engine.poll_output() {
                self.carry_out(output)?;
            }
            let Some(echo) = self.echoes.pop_front() else {
                break;
            };
            self.feed(echo.as_input());
        }
        self.log_missing();
        Ok(())
    }

    pub(super) fn carry_out(&mut self, output: Output) -> Result<(), Failure> {
        if let Some(recorder) = &mut self.recorder {
            recorder.record_output(&self.engine, &output);
        }
        match output {
            Output::Adjust(adjustment) => self.adjust(&adjustment)?,
            Output::Transmit {
                exchange,
                remote,
                request,
            } => {
                let sent = self.exchanges.send(
                    &self.clock,
                    exchange,
                    remote,
                    &request.payload,
                    &mut self.missing,
                );
                self.echoes.push_back(match sent {
                    Ok(stamp) => DeferredInput::Sent(exchange, stamp),
                    Err(error) => DeferredInput::NotSent(exchange, error),
                });
            }
            Output::Close(exchange) => self.exchanges.close(exchange),
            Output::Resolve { query, host } => self.resolve(query, host),
            Output::Persist(kept) => {
                if let Some(past) = kept.past {
                    self.ke_client.raise_time_floor(past);
                }
                self.store.save(kept);
            }
            Output::ExchangeKeys {
                query,
                name,
                host,
                port,
            } => {
                let wish = KeRequest {
                    query,
                    name,
                    host: match host {
                        Host::Name(name) => name,
                        Host::Address(address) => address.to_string(),
                    },
                    port,
                };
                let (now, synchronized) = self.time_known();
                self.ke_client.request(wish, now, synchronized);
            }
            Output::PersistSession { name, session } => {
                self.ke_client.store_session(&name, &session)
            }
            Output::Event(event) => log_event(&event),
            Output::Completed(_, result) => self.completed = Some(result),
            Output::Halt(halt) => self.halted = Some(halt),
        }
        Ok(())
    }

    pub(super) fn adjust(&mut self, adjustment: &Adjustment) -> Result<(), Failure> {
        let applied = self.clock.apply(adjustment).map_err(Failure::Clock)?;
        for shortcoming in self.clock.new_shortcomings() {
            warn!("{shortcoming}");
        }
        let input = Input::ClockApplied(applied);
        feed(
            &mut self.engine,
            &mut self.recorder,
            &self.clock,
            input,
            Some(adjustment),
        );
        Ok(())
    }

    pub(super) fn resolve(&mut self, query: ResolveId, host: String) {
        if let Err(error) = self.resolver.request(query, host) {
            error!("cannot start a look-up: {error}");
            self.echoes.push_back(DeferredInput::NotAsked(query));
        }
    }

    pub(super) fn log_missing(&mut self) {
        for shortcoming in self.missing.drain(..) {
            if !self.logged_missing.contains(&shortcoming.facility) {
                warn!("{shortcoming}");
                self.logged_missing.push(shortcoming.facility);
            }
        }
    }
}

/// Tells the engine something, and writes it down. `wanted` is the adjustment that it answers.
pub(super) fn feed(
    engine: &mut Engine,
    recorder: &mut Option<Recorder>,
    clock: &Clock,
    input: Input<'_>,
    wanted: Option<&Adjustment>,
) {
    let now = now(clock);
    engine.handle(now, input);
    if let Some(recorder) = recorder {
        recorder.record_input(engine, now, &input, wanted);
    }
}

/// What came of something that the engine asked for; told to it once it has nothing more to ask.
#[derive(Debug)]
pub(super) enum DeferredInput {
    Sent(ExchangeId, Stamp),
    NotSent(ExchangeId, SendError),
    NotAsked(ResolveId),
}

impl DeferredInput {
    fn as_input(&self) -> Input<'static> {
        match *self {
            Self::Sent(exchange, stamp) => Input::Transmitted { exchange, stamp },
            Self::NotSent(exchange, error) => Input::SendFailed { exchange, error },
            Self::NotAsked(query) => Input::Resolved {
                query,
                result: Err("no look-up could be started"),
            },
        }
    }
}

fn log_event(event: &Event) {
    match event.severity() {
        Severity::Debug => debug!("{event}"),
        Severity::Info => info!("{event}"),
        Severity::Warning => warn!("{event}"),
        Severity::Error => error!("{event}"),
    }
}
