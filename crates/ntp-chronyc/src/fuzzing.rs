//! Properties that hold for any datagram, for the fuzzer and the tests.

use crate::example::Example;
use crate::message::REPLY_HEADER;
use crate::{Origin, answer};

/// Answers the datagram from both origins, as it is and with a valid header. Panics if a property
/// is violated: an answer is no longer than its request, repeats command and sequence number, and
/// over UDP contains nothing that is private.
pub fn check(datagram: &[u8]) {
    check_answers(datagram);
    let mut valid = datagram.to_vec();
    if let Some(start) = valid.first_chunk_mut::<4>() {
        *start = [6, 1, 0, 0];
        valid.resize(valid.len().max(REPLY_HEADER), 0);
        check_answers(&valid);
    }
}

fn check_answers(datagram: &[u8]) {
    for origin in [Origin::Unix, Origin::Udp] {
        let Some(reply) = answer(datagram, origin, &mut Example::new()) else {
            continue;
        };
        assert!(reply.len() <= datagram.len() && reply.len() >= REPLY_HEADER);
        assert_eq!(reply[..4], [6, 2, 0, 0]);
        assert_eq!(reply[4..6], datagram[4..6], "command");
        assert_eq!(reply[16..20], datagram[8..12], "sequence number");
        let status = u16::from_be_bytes([reply[8], reply[9]]);
        assert!(status == 0 || reply.len() == REPLY_HEADER);
        let private = matches!(datagram[5], 54 | 57 | 67 | 68 | 69) && datagram[4] == 0;
        assert!(origin == Origin::Unix || !private || status != 0);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_corpus_passes() {
        let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus");
        let entries = std::fs::read_dir(corpus).expect("the corpus");
        let requests = entries.map(|entry| std::fs::read(entry.unwrap().path()).unwrap());
        assert!(requests.inspect(|request| check(request)).count() > 10);
    }

    proptest! {
        #[test]
        fn any_datagram_passes(datagram in proptest::collection::vec(any::<u8>(), 0..900)) {
            check(&datagram);
        }

        #[test]
        fn any_command_with_any_arguments_passes(
            command in 0..80u16,
            arguments in proptest::collection::vec(prop_oneof![Just(0u8), Just(1), any::<u8>()], 0..840),
        ) {
            let mut datagram = vec![6, 1, 0, 0];
            datagram.extend(command.to_be_bytes());
            datagram.extend([0; 14]);
            datagram.extend(arguments);
            check(&datagram);
        }
    }
}
