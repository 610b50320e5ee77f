//! `cargo xtask size`: lines of shipped code of each crate, and functions over 70 lines.
//!
//! Shipped crates are those that become part of an installed program. A line counts unless it is
//! blank, a comment, or test code: items under `#[cfg(test)]`, `#[cfg(fuzzing)]` or
//! `#[cfg(any(test, fuzzing))]`, the files of such modules, files `tests.rs` and directories
//! `tests`. The source is formatted by rustfmt, so an item ends at the closing brace with the
//! indentation of its first line.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use ntp_e2e::binaries::workspace_root;

/// Crates for development and tests.
const NOT_SHIPPED: &[&str] = &[
    "clockbound-interop",
    "ntp-demo",
    "ntp-e2e",
    "ntp-sim",
    "test-binaries",
    "xtask",
];
/// Functions with more lines are listed.
const LONG_FUNCTION: usize = 70;

/// Arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Also print the lines of each file
    #[arg(long)]
    files: bool,
}

/// Prints the lines of each shipped crate, and long functions.
///
/// # Errors
/// The file that could not be read.
pub(crate) fn size(arguments: &Arguments) -> Result<(), String> {
    let (mut total, mut long_functions) = (0, Vec::new());
    let crates = workspace_root().join("crates");
    for path in entries(&crates)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if NOT_SHIPPED.contains(&&*name) {
            continue;
        }
        let mut lines = 0;
        for file in shipped_files(&path.join("src"))? {
            let text = read(&file)?;
            let shown = file.strip_prefix(&crates).unwrap_or(&file).display();
            let code = shipped_lines(&text);
            let count = code.iter().filter(|line| is_code(line)).count();
            if arguments.files {
                println!("{count:>7}  {shown}");
            }
            lines += count;
            let long = functions(&code).into_iter();
            let long = long.filter(|(_, length)| *length > LONG_FUNCTION);
            long_functions.extend(long.map(|(name, length)| (length, format!("{shown}: {name}"))));
        }
        println!("{lines:>7}  {name}");
        total += lines;
    }
    println!("{total:>7}  total");
    long_functions.sort_unstable_by(|a, b| b.cmp(a));
    println!(
        "\n{} functions over {LONG_FUNCTION} lines",
        long_functions.len()
    );
    for (length, name) in long_functions {
        println!("{length:>7}  {name}");
    }
    Ok(())
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn entries(directory: &Path) -> Result<Vec<PathBuf>, String> {
    let context = |error| format!("{}: {error}", directory.display());
    let entries = fs::read_dir(directory).map_err(context)?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path()));
    let mut paths = paths.collect::<Result<Vec<_>, _>>().map_err(context)?;
    paths.sort();
    Ok(paths)
}

/// Returns the source files of a crate without those of test modules.
fn shipped_files(source: &Path) -> Result<Vec<PathBuf>, String> {
    let mut files = Vec::new();
    let mut directories = vec![source.to_path_buf()];
    while let Some(directory) = directories.pop() {
        for path in entries(&directory)? {
            let name = path.file_name().unwrap_or_default();
            if path.is_dir() && name != "tests" {
                directories.push(path);
            } else if path.extension().is_some_and(|it| it == "rs") && name != "tests.rs" {
                files.push(path);
            }
        }
    }
    let mut tests = BTreeSet::new();
    for file in &files {
        let text = read(file)?;
        let stem = file.file_stem().unwrap_or_default();
        let parent = file.parent().unwrap_or(source);
        let directory = match stem.to_str() {
            Some("lib" | "main" | "mod") => parent.to_path_buf(),
            _ => parent.join(stem),
        };
        tests.extend(test_modules(&text).map(|module| directory.join(module)));
    }
    files.retain(|file| {
        let module = file.with_extension("");
        !module.ancestors().any(|ancestor| tests.contains(ancestor))
    });
    files.sort();
    Ok(files)
}

/// Names of the modules in other files that are compiled for tests only.
fn test_modules(text: &str) -> impl Iterator<Item = &str> {
    let items = text.lines().zip(text.lines().skip(1));
    items.filter_map(|(attribute, item)| {
        let item = item.trim().strip_suffix(';')?;
        let (_, module) = item.split_once("mod ")?;
        is_test_attribute(attribute).then_some(module)
    })
}

fn is_test_attribute(line: &str) -> bool {
    let line = line.trim();
    let conditions = [
        "#[cfg(test)]",
        "#[cfg(fuzzing)]",
        "#[cfg(any(test, fuzzing))]",
    ];
    conditions.contains(&line)
}

fn is_code(line: &str) -> bool {
    let line = line.trim();
    !line.is_empty() && !line.starts_with("//")
}

/// Returns the lines of a file without test items.
fn shipped_lines(text: &str) -> Vec<&str> {
    let mut shipped = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if !is_test_attribute(line) {
            shipped.push(line);
            continue;
        }
        let end = format!("{}}}", indentation(line));
        for line in lines.by_ref() {
            let first = indentation(line).len() < end.len() && !line.trim().starts_with("#[");
            if line.starts_with(&end) || first && line.ends_with([';', '}', ',']) {
                break;
            }
        }
    }
    shipped
}

fn indentation(line: &str) -> &str {
    &line[..line.len() - line.trim_start().len()]
}

/// Returns names and lengths of the functions with a body, in lines from signature to brace.
fn functions<'t>(lines: &[&'t str]) -> Vec<(&'t str, usize)> {
    let starts = lines.iter().enumerate().filter_map(|(index, line)| {
        let (before, after) = line.split_once("fn ")?;
        let qualifiers = |word: &str| {
            ["const", "async", "unsafe"].contains(&word)
                || word.starts_with("pub")
                || word.starts_with("in")
                || word.ends_with(')')
        };
        let name = after.split(['(', '<']).next().unwrap_or(after);
        before
            .split_whitespace()
            .all(qualifiers)
            .then_some((index, *line, name))
    });
    let found = starts.filter_map(|(index, line, name)| {
        let signature = lines[index..].iter();
        let mut signature = signature.skip_while(|line| !line.ends_with(['{', ';', '}']));
        signature.next().filter(|line| line.ends_with('{'))?;
        let end = format!("{}}}", indentation(line));
        let length = lines[index..].iter().position(|line| *line == end)?;
        Some((name, length + 1))
    });
    found.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
//! Comment.

#[cfg(any(test, fuzzing))]
pub mod fuzzing;

pub(in crate::a) const fn one() {
    // Comment.
    two();
}

#[cfg(test)]
use std::fs;

#[cfg(test)]
mod tests {
    fn three() {
    }
}

trait B {
    fn declared(
        &self,
    );
}

struct A {
    #[cfg(test)]
    witness: bool,
    b: bool,
}
";

    #[test]
    fn tests_comments_and_blank_lines_do_not_count() {
        let code: Vec<_> = shipped_lines(TEXT);
        let code: Vec<_> = code.into_iter().filter(|line| is_code(line)).collect();
        assert_eq!(
            code,
            [
                "pub(in crate::a) const fn one() {",
                "    two();",
                "}",
                "trait B {",
                "    fn declared(",
                "        &self,",
                "    );",
                "}",
                "struct A {",
                "    b: bool,",
                "}",
            ]
        );
        assert_eq!(test_modules(TEXT).collect::<Vec<_>>(), ["fuzzing"]);
    }

    #[test]
    fn functions_are_measured_with_signature_and_brace() {
        assert_eq!(functions(&shipped_lines(TEXT)), [("one", 4)]);
    }
}
