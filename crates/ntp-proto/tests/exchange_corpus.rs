//! Replays the committed corpus of key-exchange messages: the fuzz target's seeds, and messages
//! that once caused a failure.

use std::fs;
use std::path::Path;

#[test]
fn every_message_of_the_corpus_has_the_properties() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/exchange-corpus");
    let mut replayed = 0;
    for entry in fs::read_dir(directory).unwrap() {
        let data = fs::read(entry.unwrap().path()).unwrap();
        ntp_proto::nts::exchange::fuzzing::check(&data);
        replayed += 1;
    }
    assert!(replayed >= 5);
}
