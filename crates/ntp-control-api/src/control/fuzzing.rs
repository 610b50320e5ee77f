//! The properties that any input at the control socket must keep, for the fuzzer and for the tests.

use super::methods::Request;
use super::wire::{Call, Inbox, LONGEST_CALL};

/// Takes `data` in, in pieces of as many octets as its first one says. Panics if a property is broken: a message is never longer than is
/// allowed, and what the log tells of a request is one line.
pub fn check(data: &[u8]) {
    let Some((&size, rest)) = data.split_first() else {
        return;
    };
    let mut inbox = Inbox::default();
    for piece in rest.chunks(usize::from(size).max(1)) {
        inbox.extend(piece);
        while let Ok(Some(message)) = inbox.next(LONGEST_CALL) {
            assert!(message.len() <= LONGEST_CALL);
            let Ok(call) = serde_json::from_slice::<Call>(&message) else {
                continue;
            };
            let method = call.method.rsplit('.').next().unwrap_or_default();
            if let Ok(request) = Request::parse(method, call.parameters) {
                let told = request.parameters();
                assert!(!told.contains(char::is_control), "{told:?}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_in_pieces_of_any_length_keep_the_properties() {
        let calls = [
            r#"{"method":"org.ntpd-rs.Control1.GetStatus"}"#,
            r#"{"method":"org.ntpd-rs.Control1.Step","parameters":{"forced":true}}"#,
            r#"{"method":"org.ntpd-rs.Control1.Monitor","parameters":{"interval":0.5},"more":true}"#,
            r#"{"method":"org.ntpd-rs.Control1.AddSource","parameters":{"settings":{"mode":"server","address":"a"}}}"#,
            r#"{"method":"org.ntpd-rs.Control1.SetLogLevel","parameters":{"level":"debug"}}"#,
            r#"{"method":7}"#,
            "[[[[",
        ];
        for size in 0..=255 {
            let mut data = vec![size];
            for call in calls {
                data.extend_from_slice(call.as_bytes());
                data.push(0);
            }
            check(&data);
        }
    }
}
