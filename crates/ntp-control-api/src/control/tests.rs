//! The interface file is what the types say, and every form survives its journey.

use serde_json::{Value, json};

use super::methods::{Error, Kind, Nothing, Request, Settings, interface};
use super::types::Status;
use super::wire::{Call, Inbox, LONGEST_CALL, Reply, TooLong, encode};

/// The file in the repository, for readers and for packages. `UPDATE=1 cargo test -p ntp-control-api` writes it anew.
#[test]
fn the_interface_file_is_made_from_the_types() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/org.ntpd-rs.Control1.varlink");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, interface()).unwrap();
    }
    let file = std::fs::read_to_string(path).unwrap();
    assert_eq!(file, interface());
}

/// Every type that a member names is defined, and every member that serde writes is in the file.
#[test]
fn every_type_that_is_named_is_defined() {
    let text = interface();
    for line in text.lines().filter(|line| line.starts_with("  ")) {
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
fn unknown_methods_and_unknown_parameters_are_told_apart() {
    assert_eq!(
        Request::parse("GetStatus", json!({})),
        Ok(Request::GetStatus(Nothing {}))
    );
    assert_eq!(Request::parse("Dance", json!({})), Err(None));
    let Err(Some(problem)) = Request::parse("RemoveSource", json!({ "nam": "a" })) else {
        panic!("a misspelt parameter is a mistake");
    };
    assert!(problem.contains("`nam`"), "{problem}");
    let add = Request::parse("AddSource", json!({ "settings": { "address": "a" } })).unwrap();
    assert_eq!(add.kind(), Kind::Changes);
    let expected: Settings = serde_json::from_value(json!({ "address": "a" })).unwrap();
    assert!(matches!(add, Request::AddSource(new) if new.settings == expected));
}

#[test]
fn what_everyone_may_read_is_the_state_and_the_configuration() {
    let kind = |method: &str| Request::parse(method, json!({})).unwrap().kind();
    assert_eq!(kind("GetStatus"), Kind::Reads);
    assert_eq!(kind("GetClients"), Kind::Private);
    let for_everyone: Vec<_> = interface()
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
            let calls = calls.into_iter().chain(others);
            let mut understood = calls.filter_map(|call| Request::parse(name, call).ok());
            let request = understood.next();
            request
                .expect("one of these suits every method")
                .kind()
                .is_for_everyone()
        })
        .collect();
    assert_eq!(for_everyone, ["GetStatus", "Monitor", "GetConfiguration"]);
}

#[test]
fn errors_survive_their_journey() {
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
fn messages_arrive_in_any_pieces() {
    let call = Call {
        method: "a.b".into(),
        ..Call::default()
    };
    let bytes = [encode(&call), encode(&Reply::<Value>::default())].concat();
    for size in 1..bytes.len() {
        let mut inbox = Inbox::default();
        let mut messages = Vec::new();
        for piece in bytes.chunks(size) {
            inbox.extend(piece);
            while let Some(message) = inbox.next(LONGEST_CALL).unwrap() {
                messages.push(message);
            }
        }
        assert_eq!(messages.len(), 2);
        assert_eq!(serde_json::from_slice::<Call>(&messages[0]).unwrap(), call);
        assert!(inbox.is_empty());
    }
}

#[test]
fn a_message_without_end_is_given_up() {
    let mut inbox = Inbox::default();
    for _ in 0..3 {
        inbox.extend(&[b'x'; 4]);
    }
    assert_eq!(inbox.next(11), Err(TooLong));
    let mut inbox = Inbox::default();
    inbox.extend(b"xxxxxxxxxxxx\0");
    assert_eq!(inbox.next(11), Err(TooLong));
    assert_eq!(inbox.next(12), Ok(Some(b"xxxxxxxxxxxx".to_vec())));
}
