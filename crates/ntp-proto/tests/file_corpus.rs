//! Replays the committed corpora of key files and lists of leap seconds: the fuzz targets' seeds,
//! and files that once caused a failure.

use std::fs;
use std::path::Path;

fn replay(directory: &str, check: fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
    let mut replayed = 0;
    for entry in fs::read_dir(directory).unwrap() {
        check(&fs::read(entry.unwrap().path()).unwrap());
        replayed += 1;
    }
    assert!(replayed >= 3);
}

#[test]
fn every_key_file_of_the_corpus_has_the_properties() {
    replay("tests/key-file-corpus", ntp_proto::keys::fuzzing::check);
}

#[test]
fn every_leap_second_list_of_the_corpus_has_the_properties() {
    replay("tests/leap-list-corpus", ntp_proto::leap::fuzzing::check);
}
