//! Tests of the engine's interface; its behaviour as a whole is tested in the simulator.

use ntp_time::{Frequency, Monotonic, ReferenceId, Stratum, SystemTime};

use super::*;
use crate::discipline::{Config, SteeringConfig};
use crate::leap::LeapHandling;

const NOW: Now = Now {
    monotonic: Monotonic::from_nanos(0),
    system: SystemTime::from_nanos(1_700_000_000_000_000_000),
};

fn config() -> EngineConfig {
    EngineConfig {
        sources: Vec::new(),
        discipline: Config::default(),
        steering: SteeringConfig::default(),
        warn_on_jump: false,
        local_stratum: Stratum::UNSYNCHRONIZED,
        local_reference_id: ReferenceId::XNON,
        frequency_prior: None,
        meddling_threshold: None,
        leap_handling: LeapHandling::default(),
        clock: ClockFacts {
            frequency: Frequency::ZERO,
            precision: -20,
            steerable: true,
        },
    }
}

fn results(engine: &mut Engine) -> Vec<(CommandId, Result<CommandOutcome, Refusal>)> {
    core::iter::from_fn(|| engine.poll_output())
        .filter_map(|output| match output {
            Output::Completed(id, result) => Some((id, result)),
            _ => None,
        })
        .collect()
}

#[test]
fn a_stopped_engine_refuses_commands_and_new_configurations() {
    let mut engine = Engine::new(config(), NOW, [0; 32]);
    let command = Command::Online(None);
    engine.handle(NOW, Input::Command(CommandId(1), &command));
    assert_eq!(
        results(&mut engine),
        [(CommandId(1), Ok(CommandOutcome::Sources(Vec::new())))]
    );

    engine.handle(NOW, Input::Shutdown);
    engine.handle(NOW, Input::Command(CommandId(2), &command));
    engine.handle(NOW, Input::Reconfigure(CommandId(3), &config()));
    engine.handle(NOW, Input::Tick);
    assert_eq!(
        results(&mut engine),
        [
            (CommandId(2), Err(Refusal::Stopped)),
            (CommandId(3), Err(Refusal::Stopped)),
        ]
    );
    assert_eq!(engine.next_wakeup(), None);
}
