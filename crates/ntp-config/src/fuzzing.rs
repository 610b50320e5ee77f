//! Properties that hold for any input, for the fuzzer and the replay of its corpus.

use crate::diagnostic::Style;

/// Parses `data` as a configuration and renders its diagnostics.
///
/// # Panics
/// If a property is violated: parsing and rendering end for any bytes, every problem has a place
/// in the text, and parsing the same text again gives the same result.
pub fn check(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match crate::parse(&text, "fuzz.toml") {
        Ok((config, warnings)) => {
            let findings = config.check();
            let findings = findings.iter().map(|finding| &finding.diagnostic);
            for diagnostic in warnings.iter().chain(&config.unsupported()).chain(findings) {
                let _ = diagnostic.render(Style::Plain);
                let _ = diagnostic.render(Style::Coloured);
            }
        }
        Err(error) => {
            let report = error.render(Style::Plain);
            let _ = error.render(Style::Coloured);
            assert!(report.starts_with("config toml parsing error: "));
            assert!(!error.problems().is_empty());
            for problem in error.problems() {
                let lines = text.lines().count().max(1);
                let line = problem.place.line().unwrap_or(usize::MAX);
                assert!(line <= lines + 1, "{problem} is outside of the text");
            }
            let again = crate::parse(&text, "fuzz.toml").map_err(|error| error.to_string());
            assert_eq!(again.err(), Some(report));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use proptest::prelude::*;

    use super::check;
    use crate::{KEYS, SECTIONS};

    /// Lines of known keys and headers with arbitrary values: random bytes are rarely valid syntax.
    fn line() -> impl Strategy<Value = String> {
        let value = prop_oneof![
            Just("\"inf\"".to_owned()),
            Just("\"nts\"".to_owned()),
            Just("\"pool\"".to_owned()),
            Just("{ min = 1, max = 2, forward = nan }".to_owned()),
            Just("[1, \"a\", [[[]]], {}]".to_owned()),
            Just("[{ filter = [\"::ffff:0.0.0.0/96\"], action = 'deny' }]".to_owned()),
            any::<i64>().prop_map(|number| number.to_string()),
            any::<f64>().prop_map(|number| format!("{number:?}")),
            "\"[ -~äß\u{202e}\t]{0,20}\"",
            ".{0,30}",
        ];
        let key = prop::sample::select(KEYS).prop_map(|doc| doc.key);
        let heading = prop::sample::select(SECTIONS).prop_map(|doc| format!("{}\n", doc.heading));
        prop_oneof![
            4 => (key, value).prop_map(|(key, value)| format!("{key} = {value}\n")),
            2 => heading,
            1 => ".{0,40}\r\n",
        ]
    }

    #[test]
    fn truncated_files_of_the_corpus_are_checked() {
        let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
        for folder in ["good", "bad"] {
            let mut entries = fs::read_dir(tests.join(folder)).unwrap().peekable();
            assert!(entries.peek().is_some(), "{folder} is empty");
            for entry in entries {
                let text = fs::read(entry.unwrap().path()).unwrap();
                for end in (0..text.len()).step_by(5).chain([text.len()]) {
                    check(&text[..end]);
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

        #[test]
        fn any_bytes_are_checked(data in prop::collection::vec(any::<u8>(), 0..400)) {
            check(&data);
        }

        #[test]
        fn any_lines_of_known_keys_are_checked(lines in prop::collection::vec(line(), 0..20)) {
            check(lines.concat().as_bytes());
        }
    }
}
