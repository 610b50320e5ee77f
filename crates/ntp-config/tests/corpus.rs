//! Files that must load and files that must not, each with what must be said about it.
//!
//! In `good/`, a comment `# warn: …` demands a warning; in `bad/`, `# expect: …` demands a
//! problem. It stands behind the line it is about, or alone above it. The text must occur in
//! the drawn diagnostic (message, label or help), the line must be right, and nothing else may
//! be reported: so a file also proves that one mistake yields one complaint.

use std::fs;
use std::path::Path;

use ntp_config::{Diagnostic, parse};

#[test]
fn good_files_load_with_the_warnings_they_deserve() {
    judge("good", "# warn: ", |name, text| match parse(text, name) {
        Ok((_, warnings)) => warnings,
        Err(error) => error.problems().to_vec(),
    });
}

#[test]
fn bad_files_are_refused_with_every_problem_at_its_line() {
    judge("bad", "# expect: ", |name, text| match parse(text, name) {
        Ok(_) => Vec::new(),
        Err(error) => error.problems().to_vec(),
    });
}

/// A file cut off anywhere is the likeliest damage of all.
#[test]
fn every_beginning_of_every_file_is_judged_without_panic() {
    for (_, text) in corpus("good").into_iter().chain(corpus("bad")) {
        for end in (0..text.len()).step_by(5).chain([text.len()]) {
            ntp_config::fuzzing::check(&text.as_bytes()[..end]);
        }
    }
}

fn judge(folder: &str, mark: &str, found: impl Fn(&str, &str) -> Vec<Diagnostic>) {
    let mut complaints = Vec::new();
    for (name, text) in corpus(folder) {
        let expected = expectations(&text, mark);
        assert!(
            folder == "good" || !expected.is_empty(),
            "{name} expects nothing"
        );
        let mut found = found(&name, &text);
        for (line, words) in expected {
            let matches = |found: &Diagnostic| {
                found.place.line() == Some(line) && without_excerpt(found).contains(&words)
            };
            match found.iter().position(matches) {
                Some(index) => drop(found.remove(index)),
                None => complaints.push(format!("{name}:{line}: nothing says {words:?}")),
            }
        }
        let unexpected = found.iter().map(|found| format!("not expected:\n{found}"));
        complaints.extend(unexpected);
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n\n"));
}

/// The words of a diagnostic: its excerpt repeats the expectation itself.
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
    assert!(
        waiting.is_empty(),
        "an expectation at the end is about no line"
    );
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
