//! Properties that hold for any input on the control socket, for the fuzzer and the tests.

use super::methods::Request;
use super::wire::{Call, MAX_CALL, MessageBuffer};

/// Feeds `data` in chunks whose size is its first octet. Panics if a property is violated: no
/// message exceeds the limit, and a request is logged as a single line.
pub fn check(data: &[u8]) {
    let Some((&size, rest)) = data.split_first() else {
        return;
    };
    let mut buffer = MessageBuffer::default();
    for piece in rest.chunks(usize::from(size).max(1)) {
        buffer.extend(piece);
        while let Ok(Some(message)) = buffer.next(MAX_CALL) {
            assert!(message.len() <= MAX_CALL);
            let Ok(call) = serde_json::from_slice::<Call>(&message) else {
                continue;
            };
            let method = call.method.rsplit('.').next().unwrap_or_default();
            if let Ok(request) = Request::parse(method, call.parameters) {
                let logged = request.parameters();
                assert!(!logged.contains(char::is_control), "{logged:?}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_in_chunks_of_any_size_keep_the_properties() {
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
