//! What must hold for any key file at all, as a function that panics when it does not.
//!
//! Three drivers share it: the libFuzzer target in `fuzz/`, the replay of the committed corpus, and a property test. A corpus entry is a
//! key file.

use super::{Fault, Key, KeyFile, Problem};

/// Reads `data` as a key file.
///
/// # Panics
/// If a promise of [`KeyFile`] is broken: every line is judged as it would be alone, but for a number that another line has; a file with a
/// fault gives no keys; and each key of the others knows its own signature.
pub fn check(data: &[u8]) {
    let lines: Vec<&[u8]> = data.split(|octet| *octet == b'\n').collect();
    let alone = lines.iter().map(|line| KeyFile::parse(line));
    let faults = alone.clone().zip(1..).filter_map(|(judged, line)| {
        let fault = judged.err()?.first()?.fault;
        Some(Problem { line, fault })
    });
    let faults: Vec<Problem> = faults.collect();
    let keys = alone.flatten().map(|file| file.keys.iter().count());
    let keys: usize = keys.sum();
    match KeyFile::parse(data) {
        Ok(file) => {
            assert!(faults.is_empty(), "{faults:?} went unnoticed");
            assert_eq!(file.keys.iter().count(), keys, "no key is lost");
            for remark in &file.remarks {
                assert!((1..=lines.len()).contains(&remark.line), "{remark}");
                assert!(file.keys.get(remark.key).is_some(), "{remark}");
            }
            for key in file.keys.iter() {
                knows_its_own_signature(key);
            }
        }
        Err(problems) => {
            assert!(problems.is_sorted_by_key(|problem| problem.line));
            let (twice, others): (Vec<_>, Vec<Problem>) = problems
                .into_iter()
                .partition(|problem| matches!(problem.fault, Fault::Duplicate { .. }));
            assert_eq!(others, faults);
            assert!(!twice.is_empty() || !others.is_empty());
            for Problem { line, fault } in twice {
                let Fault::Duplicate { first } = fault else {
                    continue;
                };
                assert!(1 <= first && first < line, "{line} after {first}");
                let both = [lines[first - 1], lines[line - 1]].join(&b'\n');
                let judged = KeyFile::parse(&both).err().unwrap_or_default();
                let fault = Fault::Duplicate { first: 1 };
                assert_eq!(judged, [Problem { line: 2, fault }]);
            }
        }
    }
}

fn knows_its_own_signature(key: &Key) {
    let tag = key.sign(b"a packet");
    assert!(key.verify(b"a packet", tag.whole()), "{key:?}");
    assert!(!key.verify(b"another", tag.whole()), "{key:?}");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    /// Words that key files consist of: random octets alone never get past the number.
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
        fn any_lines_are_judged_as_they_would_be_alone(lines in prop::collection::vec(line(), 0..8)) {
            super::check(lines.concat().as_bytes());
        }
    }
}
