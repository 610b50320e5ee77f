//! Tests of the engine's interface; its behaviour as a whole is tested in the simulator.

use ntp_time::{Frequency, Monotonic, NtpDuration, ReferenceId, Stratum, SystemTime};

use super::*;
use crate::client::AssociationConfig;
use crate::discipline::{FrequencyPrior, SelectionOptions};

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

/// Frequencies that the engine requests before it has measured anything.
fn initial_frequencies(config: EngineConfig) -> Vec<Frequency> {
    let mut engine = Engine::new(config, NOW, [0; 32]);
    engine.handle(NOW, Input::Tick);
    core::iter::from_fn(|| engine.poll_output())
        .filter_map(|output| match output {
            Output::Adjust(adjustment) => adjustment.frequency,
            _ => None,
        })
        .collect()
}

#[test]
fn a_server_of_local_time_applies_the_saved_frequency_without_a_source() {
    let saved = Frequency::from_ppm(30.0);
    let client = EngineConfig {
        frequency_prior: Some(FrequencyPrior {
            frequency: saved,
            uncertainty: Frequency::from_ppm(0.1),
        }),
        ..EngineConfig::default()
    };
    let local = EngineConfig {
        local_stratum: Stratum::new(10),
        ..client.clone()
    };
    assert_eq!(initial_frequencies(local.clone()), [-saved]);
    let reference = EngineConfig {
        local: Some(LocalConfig {
            stratum: Stratum::new(10),
            reference_id: ReferenceId::LOCAL,
            distance: NtpDuration::ZERO,
            activate_below: None,
            wait_synced: NtpDuration::ZERO,
            wait_unsynced: NtpDuration::ZERO,
            orphan: false,
        }),
        ..client.clone()
    };
    assert_eq!(initial_frequencies(reference), [-saved]);
    // Another program may keep the clock.
    assert!(initial_frequencies(client.clone()).is_empty());
    let mut watching = local.clone();
    watching.clock.steerable = false;
    assert!(initial_frequencies(watching).is_empty());
    // The local time is served from a reload on.
    let mut engine = Engine::new(client, NOW, [0; 32]);
    engine.handle(NOW, Input::Reconfigure(CommandId(1), &local));
    let adjusted = core::iter::from_fn(|| engine.poll_output())
        .any(|output| matches!(output, Output::Adjust(it) if it.frequency == Some(-saved)));
    assert!(adjusted);
}

#[test]
fn a_link_local_source_follows_the_number_of_its_interface() {
    let config = EngineConfig {
        sources: vec![SourceConfig {
            name: "[fe80::1%eth0]:123".to_owned(),
            host: Host::parse("fe80::1%eth0").unwrap(),
            port: 123,
            kind: SourceKind::Server,
            association: AssociationConfig::default(),
            selection: SelectionOptions::default(),
        }],
        ..EngineConfig::default()
    };
    let mut engine = Engine::new(config, NOW, [0; 32]);
    let at = |seconds| Now {
        monotonic: NOW.monotonic + NtpDuration::from_seconds(seconds),
        system: NOW.system + NtpDuration::from_seconds(seconds),
    };
    let resolve = |engine: &mut Engine, now, number: &str| {
        engine.handle(now, Input::Tick);
        let outputs: Vec<_> = core::iter::from_fn(|| engine.poll_output()).collect();
        let query = outputs.iter().find_map(|output| match output {
            Output::Resolve { query, host } if host == "fe80::1%eth0" => Some(*query),
            _ => None,
        });
        let found = [number.parse::<ScopedIp>().unwrap()];
        let (query, result) = (query.expect("a look-up"), Ok(&found[..]));
        engine.handle(now, Input::Resolved { query, result });
        let sources = engine.status(now).sources;
        sources
            .iter()
            .map(|source| source.address.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        resolve(&mut engine, at(0), "fe80::1%2"),
        ["[fe80::1%2]:123"]
    );
    // The interface is created again, with another number.
    let own = ["fe80::2".parse().unwrap()];
    engine.handle(at(5), Input::LocalAddresses(&own));
    engine.handle(at(10), Input::LocalAddresses(&[]));
    assert_eq!(
        resolve(&mut engine, at(20), "fe80::1%7"),
        ["[fe80::1%7]:123"]
    );
}
