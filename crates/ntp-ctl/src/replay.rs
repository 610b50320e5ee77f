//! `ntp-ctl replay`: runs the engine of this program on the recorded inputs of a daemon
//! (`record-path`) and compares its decisions with the recorded ones.
//!
//! A long run spans several files; the argument is the last one of interest, and earlier ones are
//! found by name. Damaged lines of a file are skipped.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ntp_record::{Decision, Line, Outcome, replay, svg};
use serde_json::{Value, json};

use crate::console::{Console, Failure};

pub(crate) fn run(
    file: &Path,
    picture: Option<&Path>,
    all: bool,
    json: bool,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let lines = read(file).map_err(Failure::Error)?;
    let outcome =
        replay(&lines).ok_or_else(|| Failure::Error(format!("{}{NO_START}", file.display())))?;
    if let Some(picture) = picture {
        let title = format!(
            "{} replayed by {}",
            file.display(),
            env!("CARGO_PKG_VERSION")
        );
        fs::write(picture, svg(&outcome, &title)).map_err(|error| {
            Failure::Error(format!("Could not write {}: {error}", picture.display()))
        })?;
    }
    if json {
        return console.print_json(&data(&outcome, all));
    }
    report(&outcome, all, console)
}

const NO_START: &str = ": no start of a record; check that it is the file of `record-path`";

/// Maximum size of a file in octets: sixteen times that at which the daemon begins the next one.
const MAX_SIZE: u64 = 256 << 20;

/// Returns the lines of a file and of its predecessors, as far as they are of the same run without
/// gaps.
fn read(file: &Path) -> Result<Vec<Line>, String> {
    let mut lines = read_one(file)?;
    let mut file = file.to_owned();
    while let Some(Line::Start(start)) = lines.first()
        && start.part > 0
    {
        file = older(&file);
        let Ok(mut before) = read_one(&file) else {
            break;
        };
        if !before
            .iter()
            .any(|line| matches!(line, Line::Start(before) if start.continues(before)))
        {
            break;
        }
        before.append(&mut lines);
        lines = before;
    }
    Ok(lines)
}

/// Returns the predecessor: `record.1` of `record`, `record.2` of `record.1`.
fn older(file: &Path) -> PathBuf {
    let number = file
        .extension()
        .and_then(|number| number.to_str()?.parse::<u32>().ok());
    match number {
        Some(number) => file.with_extension((number.saturating_add(1)).to_string()),
        None => {
            let mut name = file.as_os_str().to_owned();
            name.push(".1");
            PathBuf::from(name)
        }
    }
}

/// Reads one file. Invalid lines become a gap; a file without any start line is an error.
fn read_one(file: &Path) -> Result<Vec<Line>, String> {
    let name = file.display();
    let unreadable = |error: io::Error| {
        let older = older(file);
        let hint = if error.kind() == io::ErrorKind::NotFound && older.exists() {
            format!("; {} exists", older.display())
        } else {
            String::new()
        };
        format!("Could not read {name}: {error}{hint}")
    };
    let octets = ntp_files::read_input(file, MAX_SIZE).map_err(unreadable)?;
    let mut lines: Vec<Line> = Vec::new();
    let mut gaps = Gaps::default();
    let octets = octets.strip_suffix(b"\n").unwrap_or(&octets);
    let mut texts = octets.split(|octet| *octet == b'\n').enumerate().peekable();
    while let Some((number, text)) = texts.next() {
        match Line::decode(&String::from_utf8_lossy(text)) {
            Err(error @ ntp_record::InvalidLine::OtherVersion { .. }) => {
                return Err(format!("{name}, line {}: {error}", number + 1));
            }
            Ok(line) => {
                lines.extend(gaps.end(file));
                lines.push(line);
            }
            // A crash may have truncated the last line.
            Err(_) if texts.peek().is_none() && !lines.is_empty() => {}
            Err(_) => gaps.add(number + 1),
        }
    }
    if !lines.iter().any(|line| matches!(line, Line::Start(_))) {
        let first = gaps.first.map_or(String::new(), |first| {
            format!(" (line {first} is {})", ntp_record::InvalidLine::Syntax)
        });
        return Err(format!("{name}{NO_START}{first}"));
    }
    lines.extend(gaps.end(file));
    Ok(lines)
}

/// Runs of consecutive invalid lines.
#[derive(Default)]
struct Gaps {
    /// First invalid line of the file.
    first: Option<usize>,
    /// First and last line of the current run.
    open: Option<(usize, usize)>,
}

impl Gaps {
    fn add(&mut self, line: usize) {
        self.first.get_or_insert(line);
        let (begin, _) = self.open.unwrap_or((line, line));
        self.open = Some((begin, line));
    }

    fn end(&mut self, file: &Path) -> Option<Line> {
        let (begin, end) = self.open.take()?;
        let file = file.display();
        Some(Line::Gap(if begin == end {
            format!("line {begin} of {file} is damaged")
        } else {
            format!("lines {begin} to {end} of {file} are damaged")
        }))
    }
}

/// Number of identical decisions before the first different one.
fn identical(outcome: &Outcome) -> usize {
    let pairs = outcome.recorded.iter().zip(&outcome.replayed);
    pairs.take_while(|(left, right)| left == right).count()
}

/// Returns the result as JSON: the decisions from the first different one on, or all.
fn data(outcome: &Outcome, all: bool) -> Value {
    let same = identical(outcome);
    let first = if all { 0 } else { same };
    let list = |decisions: &[Decision]| -> Vec<Value> {
        let decisions = decisions.iter().skip(first);
        decisions
            .map(|it| json!({ "at": it.at, "decision": it.text }))
            .collect()
    };
    json!({
        "done": true,
        "recorded_by": outcome.version,
        "replayed_by": env!("CARGO_PKG_VERSION"),
        "inputs": outcome.inputs,
        "seconds": outcome.samples.last().map(|last| last.at),
        "inexact": outcome.inexact,
        "unmatched_replies": outcome.unmatched,
        "identical": outcome.is_same(),
        "identical_decisions": same,
        "recorded": list(&outcome.recorded),
        "replayed": list(&outcome.replayed),
    })
}

fn report(outcome: &Outcome, all: bool, console: &mut Console<'_>) -> Result<(), Failure> {
    let time = outcome.samples.last().map_or(0.0, |last| last.at);
    writeln!(
        console.out,
        "Record of ntp-daemon {}: {} inputs in {time:.0} s, replayed by {}.",
        outcome.version,
        outcome.inputs,
        env!("CARGO_PKG_VERSION")
    )?;
    for reason in &outcome.inexact {
        writeln!(console.out, "Inexact replay: {reason}.")?;
    }
    if !outcome.inexact.is_empty() {
        writeln!(
            console.out,
            "The clock follows the record; replayed decisions may differ from it in detail."
        )?;
    }
    if outcome.unmatched > 0 {
        writeln!(
            console.out,
            "{} recorded replies match no request of the replay.",
            outcome.unmatched
        )?;
    }
    let same = identical(outcome);
    if all {
        show(&outcome.recorded[..same], " ", console)?;
    }
    if outcome.is_same() {
        writeln!(console.out, "All {same} decisions are identical.")?;
        return Ok(());
    }
    writeln!(
        console.out,
        "{same} decisions are identical; then (- recorded, + replayed):"
    )?;
    show(&outcome.recorded[same..], "-", console)?;
    show(&outcome.replayed[same..], "+", console)?;
    Ok(())
}

fn show(decisions: &[Decision], mark: &str, console: &mut Console<'_>) -> Result<(), Failure> {
    for Decision { at, text } in decisions {
        writeln!(console.out, "{mark} {at}  {text}")?;
    }
    Ok(())
}
