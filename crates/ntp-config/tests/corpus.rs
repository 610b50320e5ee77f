//! Files that must load and files that must not, each with its expected diagnostics.
//!
//! In `good/`, a comment `# warn: …` requires a warning; in `bad/`, `# expect: …` requires an
//! error. The comment is at the end of the line in question, or alone above it. The text must
//! occur in the diagnostic (message, label or help), the line must match, and there must be no
//! other diagnostics: one mistake yields one diagnostic.

use std::fs;
use std::path::Path;

use ntp_config::{Diagnostic, parse};

#[test]
fn good_files_load_with_the_expected_warnings() {
    check("good", "# warn: ", |name, text| match parse(text, name) {
        Ok((_, warnings)) => warnings,
        Err(error) => error.problems().to_vec(),
    });
}

#[test]
fn bad_files_are_refused_with_every_problem_at_its_line() {
    check("bad", "# expect: ", |name, text| match parse(text, name) {
        Ok(_) => Vec::new(),
        Err(error) => error.problems().to_vec(),
    });
}

fn check(folder: &str, mark: &str, found: impl Fn(&str, &str) -> Vec<Diagnostic>) {
    let mut failures = Vec::new();
    for (name, text) in corpus(folder) {
        let expected = expectations(&text, mark);
        assert!(
            folder == "good" || !expected.is_empty(),
            "{name} has no expectations"
        );
        let mut found = found(&name, &text);
        for (line, words) in expected {
            let matches = |found: &Diagnostic| {
                found.place.line() == Some(line) && without_excerpt(found).contains(&words)
            };
            match found.iter().position(matches) {
                Some(index) => drop(found.remove(index)),
                None => failures.push(format!("{name}:{line}: no diagnostic contains {words:?}")),
            }
        }
        let unexpected = found.iter().map(|found| format!("not expected:\n{found}"));
        failures.extend(unexpected);
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

/// The text of a diagnostic without its excerpt, which repeats the expectation.
fn without_excerpt(found: &Diagnostic) -> String {
    let words = [Some(found.message.clone()), found.label.clone()];
    let words = words
        .into_iter()
        .flatten()
        .chain(found.help.iter().cloned());
    words.collect::<Vec<_>>().join("\n")
}

/// Lines (from 1) and texts.
fn expectations(text: &str, mark: &str) -> Vec<(usize, String)> {
    let mut expected = Vec::new();
    let mut waiting = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let alone = line.starts_with('#');
        if let Some((_, text)) = line.split_once(mark) {
            waiting.push(text.trim().to_owned());
        }
        if !alone {
            expected.extend(waiting.drain(..).map(|text| (index + 1, text)));
        }
    }
    assert!(waiting.is_empty(), "no line follows the last expectation");
    expected
}

/// Names and texts of the folder's files.
fn corpus(folder: &str) -> Vec<(String, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join(folder);
    let entries = fs::read_dir(&path).unwrap().map(|entry| entry.unwrap());
    let file = |entry: fs::DirEntry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        (name, fs::read_to_string(entry.path()).unwrap())
    };
    let mut files: Vec<_> = entries.map(file).collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", path.display());
    files
}
