//! Replays the committed corpus: configurations of other daemons, seeds of the fuzz target and
//! inputs of fixed bugs.

use std::fs;
use std::path::Path;

#[test]
fn every_configuration_of_the_corpus_becomes_toml() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/migrate-corpus");
    let mut replayed = 0;
    for entry in fs::read_dir(directory).unwrap() {
        ntp_ctl::migrate::fuzzing::check(&fs::read(entry.unwrap().path()).unwrap());
        replayed += 1;
    }
    assert!(replayed >= 4);
}
