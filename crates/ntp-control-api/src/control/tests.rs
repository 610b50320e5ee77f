//! Tests of the interface file, of request and error parsing and of the framing.

use serde_json::{Value, json};

use super::methods::{Access, Error, NoInput, Request, Settings, interface};
use super::wire::{Call, MAX_CALL, MessageBuffer, Reply, TooLong, encode};
use ntp_types::status::Status;

/// The file in the repository is for readers and packages. `UPDATE=1 cargo test -p ntp-control-api`
/// regenerates it.
#[test]
fn the_interface_file_matches_the_types() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/org.ntpd-rs.Control1.varlink");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, interface()).unwrap();
    }
    let file = std::fs::read_to_string(path).unwrap();
    assert_eq!(file, interface());
}

/// Every referenced type is defined, and every member that serde writes is in the file.
#[test]
fn every_referenced_type_is_defined() {
    let text = interface();
    let members = |line: &&str| line.starts_with("  ") && !line.starts_with("  #");
    for line in text.lines().filter(members) {
        let Some((_, kind)) = line.trim().split_once(": ") else {
            continue;
        };
        let kind = kind
            .trim_end_matches(',')
            .trim_start_matches(['?', '[', ']']);
        if kind.starts_with(char::is_uppercase) {
            assert!(text.contains(&format!("\ntype {kind} (")), "{kind}");
        }
    }
    let Value::Object(members) = serde_json::to_value(Status::default()).unwrap() else {
        panic!("a record is an object");
    };
    for name in members.keys() {
        assert!(text.contains(&format!("\n  {name}: ")), "{name}");
    }
}

#[test]
fn unknown_methods_and_unknown_parameters_are_distinguished() {
    assert_eq!(
        Request::parse("GetStatus", json!({})),
        Ok(Request::GetStatus(NoInput {}))
    );
    assert_eq!(Request::parse("Dance", json!({})), Err(None));
    for (method, parameters, wrong) in [
        ("RemoveSource", json!({ "name": "a", "nam": "a" }), "nam"),
        ("RemoveSource", json!({}), "name"),
        ("RemoveSource", json!({ "name": 7 }), "name"),
        ("BurstSource", json!({ "name": 7 }), "name"),
        ("GetClients", json!({ "limit": -1 }), "limit"),
        ("GetStatus", json!([]), "parameters"),
    ] {
        let result = Request::parse(method, parameters);
        assert_eq!(result, Err(Some(wrong.into())), "{method}");
    }
    let add = Request::parse("AddSource", json!({ "settings": { "address": "a" } })).unwrap();
    assert_eq!(add.access(), Access::Change);
    let expected: Settings = serde_json::from_value(json!({ "address": "a" })).unwrap();
    assert!(matches!(add, Request::AddSource(new) if new.settings == expected));
}

#[test]
fn only_the_state_and_the_configuration_are_public() {
    let access = |method: &str| Request::parse(method, json!({})).unwrap().access();
    assert_eq!(access("GetStatus"), Access::Read);
    assert_eq!(access("GetClients"), Access::Private);
    let public: Vec<_> = interface()
        .lines()
        .filter_map(|line| line.strip_prefix("method ")?.split_once('('))
        .map(|(name, _)| name.to_owned())
        .filter(|name| {
            let calls = [
                json!({}),
                json!({ "settings": {} }),
                json!({ "name": "a", "settings": {} }),
            ];
            let others = [json!({ "name": "a" }), json!({ "level": "info" })];
            let manual = [json!({ "time": 0.0 }), json!({ "enabled": true })];
            let calls = calls.into_iter().chain(others).chain(manual);
            let mut accepted = calls.filter_map(|call| Request::parse(name, call).ok());
            let request = accepted.next();
            request
                .expect("every method accepts one of these")
                .access()
                .is_public()
        })
        .collect();
    assert_eq!(public, ["GetStatus", "Monitor", "GetConfiguration"]);
}

#[test]
fn errors_survive_encoding_and_parsing() {
    let error = Error::StepTooLarge {
        clock: 1.0,
        correction: -2.5,
        threshold: "single-step-panic-threshold".into(),
        limit: 2.0,
    };
    assert_eq!(Error::parse(error.name(), &error.parameters()), Some(error));
    assert_eq!(Error::parse("Later", &json!({})), None);
}

#[test]
fn messages_can_arrive_in_chunks_of_any_size() {
    let call = Call {
        method: "a.b".into(),
        ..Call::default()
    };
    let bytes = [encode(&call), encode(&Reply::<Value>::default())].concat();
    for size in 1..bytes.len() {
        let mut buffer = MessageBuffer::default();
        let mut messages = Vec::new();
        for piece in bytes.chunks(size) {
            buffer.extend(piece);
            while let Some(message) = buffer.next(MAX_CALL).unwrap() {
                messages.push(message);
            }
        }
        assert_eq!(messages.len(), 2);
        assert_eq!(serde_json::from_slice::<Call>(&messages[0]).unwrap(), call);
        assert!(buffer.is_empty());
    }
}

#[test]
fn messages_over_the_length_limit_are_rejected() {
    let mut buffer = MessageBuffer::default();
    for _ in 0..3 {
        buffer.extend(&[b'x'; 4]);
    }
    assert_eq!(buffer.next(11), Err(TooLong));
    let mut buffer = MessageBuffer::default();
    buffer.extend(b"xxxxxxxxxxxx\0");
    assert_eq!(buffer.next(11), Err(TooLong));
    assert_eq!(buffer.next(12), Ok(Some(b"xxxxxxxxxxxx".to_vec())));
}
