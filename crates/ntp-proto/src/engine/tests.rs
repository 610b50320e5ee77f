//! Tests of the engine's interface; its behaviour as a whole is tested in the simulator.

use ntp_time::{Monotonic, SystemTime};

use super::*;

const NOW: Now = Now {
    monotonic: Monotonic::from_nanos(0),
    system: SystemTime::from_nanos(1_700_000_000_000_000_000),
};

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
    let mut engine = Engine::new(EngineConfig::default(), NOW, [0; 32]);
    let command = Command::Online(None);
    engine.handle(NOW, Input::Command(CommandId(1), &command));
    assert_eq!(
        results(&mut engine),
        [(CommandId(1), Ok(CommandOutcome::Sources(Vec::new())))]
    );

    engine.handle(NOW, Input::Shutdown);
    engine.handle(NOW, Input::Command(CommandId(2), &command));
    engine.handle(
        NOW,
        Input::Reconfigure(CommandId(3), &EngineConfig::default()),
    );
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
