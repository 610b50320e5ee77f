//! Invariants that hold for any key file, as a function that panics if one is violated.
//!
//! It is called by the libFuzzer target in `fuzz/`, the replay of the committed corpus, and a
//! property test. A corpus entry is a key file.

use super::{Key, KeyFile, KeyFileError, LineError};

/// Parses `data` as a key file.
///
/// # Panics
///
/// If an invariant of [`KeyFile`] is violated: every line parses as it does alone, except for
/// duplicate numbers; a file with an error gives no keys; every key verifies its own digest.
pub fn check(data: &[u8]) {
    let lines: Vec<&[u8]> = data.split(|octet| *octet == b'\n').collect();
    let alone = lines.iter().map(|line| KeyFile::parse(line));
    let errors = alone.clone().zip(1..).filter_map(|(parsed, line)| {
        let error = parsed.err()?.first()?.error;
        Some(KeyFileError { line, error })
    });
    let errors: Vec<KeyFileError> = errors.collect();
    let keys = alone.flatten().map(|file| file.keys.iter().count());
    let keys: usize = keys.sum();
    match KeyFile::parse(data) {
        Ok(file) => {
            assert!(errors.is_empty(), "{errors:?} went unnoticed");
            assert_eq!(file.keys.iter().count(), keys, "no key is lost");
            for remark in &file.remarks {
                assert!((1..=lines.len()).contains(&remark.line), "{remark}");
                assert!(file.keys.get(remark.key).is_some(), "{remark}");
            }
            for key in file.keys.iter() {
                verifies_its_own_digest(key);
            }
        }
        Err(problems) => {
            assert!(problems.is_sorted_by_key(|problem| problem.line));
            let (twice, others): (Vec<_>, Vec<KeyFileError>) = problems
                .into_iter()
                .partition(|problem| matches!(problem.error, LineError::Duplicate { .. }));
            assert_eq!(others, errors);
            assert!(!twice.is_empty() || !others.is_empty());
            for KeyFileError { line, error } in twice {
                let LineError::Duplicate { first } = error else {
                    continue;
                };
                assert!(1 <= first && first < line, "{line} after {first}");
                let both = [lines[first - 1], lines[line - 1]].join(&b'\n');
                let parsed = KeyFile::parse(&both).err().unwrap_or_default();
                let error = LineError::Duplicate { first: 1 };
                assert_eq!(parsed, [KeyFileError { line: 2, error }]);
            }
        }
    }
}

fn verifies_its_own_digest(key: &Key) {
    let tag = key.sign(b"a packet");
    assert!(key.verify(b"a packet", tag.whole()), "{key:?}");
    assert!(!key.verify(b"another", tag.whole()), "{key:?}");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    /// Words that key files consist of: random octets alone seldom have a valid key ID.
    fn line() -> impl Strategy<Value = String> {
        let id = prop_oneof!["[0-3]", "[0-9]{1,12}", "[#!;%]?.{0,4}"];
        let kind = prop::sample::select(vec!["MD5", "aes", "AES-256", "sha1", "SHA_512", "x"]);
        let secret = prop_oneof![
            "(HEX:|ASCII:)?[0-9a-f]{0,70}",
            "(HEX:)?[ -~]{0,40}",
            ".{0,30}"
        ];
        (id, kind, secret).prop_map(|(id, kind, secret)| format!("{id} {kind}\t{secret}\r\n"))
    }

    proptest! {
        #[test]
        fn every_line_is_parsed_independently(lines in prop::collection::vec(line(), 0..8)) {
            super::check(lines.concat().as_bytes());
        }
    }
}
