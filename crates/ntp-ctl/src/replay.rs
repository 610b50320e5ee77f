//! `ntp-ctl replay`: runs the engine of this program on what a daemon recorded (`record-path`), and shows what it would have done beside what was done.
//!
//! A long run fills several files; named is the last one that matters, and those before it are found by their names. A damaged file is read as far as it goes.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use ntp_record::{Decision, Line, Outcome, replay, svg};

use crate::console::{Console, Failure};

pub(crate) fn run(
    file: &Path,
    picture: Option<&Path>,
    all: bool,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let lines = read(file).map_err(Failure::Told)?;
    let outcome = replay(&lines).ok_or_else(|| {
        Failure::Told(format!(
            "{} holds no start of a record; is it the file of `record-path`?",
            file.display()
        ))
    })?;
    if let Some(picture) = picture {
        let title = format!(
            "{} replayed by {}",
            file.display(),
            env!("CARGO_PKG_VERSION")
        );
        fs::write(picture, svg(&outcome, &title)).map_err(|error| {
            Failure::Told(format!("cannot write {}: {error}", picture.display()))
        })?;
    }
    tell(&outcome, all, console)
}

/// The lines of a file and of those before it, as far as they are of the same run and nothing is missing between.
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

/// `record` is preceded by `record.1`, and that by `record.2`.
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

/// Where something is no line, there is a gap; only if nothing is, it is no record.
fn read_one(file: &Path) -> Result<Vec<Line>, String> {
    let name = file.display();
    let unreadable = |error: io::Error| {
        let older = older(file);
        let hint = if error.kind() == io::ErrorKind::NotFound && older.exists() {
            format!("; there is {}", older.display())
        } else {
            String::new()
        };
        format!("cannot read {name}: {error}{hint}")
    };
    let opened = fs::File::open(file).map_err(unreadable)?;
    let mut lines: Vec<Line> = Vec::new();
    let mut gaps = Gaps::default();
    let mut texts = BufReader::new(opened).split(b'\n').enumerate().peekable();
    while let Some((number, text)) = texts.next() {
        let text = text.map_err(unreadable)?;
        match Line::decode(&String::from_utf8_lossy(&text)) {
            Ok(line) => {
                lines.extend(gaps.end(file));
                lines.push(line);
            }
            // The last line may have been cut off by a crash; that is what records are for.
            Err(_) if texts.peek().is_none() && !lines.is_empty() => {}
            Err(_) => gaps.add(number + 1),
        }
    }
    if !lines.iter().any(|line| matches!(line, Line::Start(_))) {
        let first = gaps.first.map_or(String::new(), |first| {
            format!("; line {first} is {}", ntp_record::Malformed)
        });
        return Err(format!(
            "{name} holds no start of a record{first}. Is it the file of `record-path`?"
        ));
    }
    lines.extend(gaps.end(file));
    Ok(lines)
}

/// Lines in a row that are none.
#[derive(Default)]
struct Gaps {
    /// The first such line of the file.
    first: Option<usize>,
    /// Of the present row, the first and the last.
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

fn tell(outcome: &Outcome, all: bool, console: &mut Console<'_>) -> Result<(), Failure> {
    let time = outcome.course.last().map_or(0.0, |last| last.at);
    writeln!(
        console.out,
        "A record of ntp-daemon {}: {} inputs in {time:.0} s, replayed by {}.",
        outcome.version,
        outcome.inputs,
        env!("CARGO_PKG_VERSION")
    )?;
    for reason in &outcome.inexact {
        writeln!(console.out, "Not exact: {reason}.")?;
    }
    if !outcome.inexact.is_empty() {
        writeln!(
            console.out,
            "So the decisions below differ in detail; what the servers answered is judged all the same."
        )?;
    }
    if outcome.unasked > 0 {
        writeln!(
            console.out,
            "{} recorded answers were not asked for in the replay.",
            outcome.unasked
        )?;
    }
    let same = outcome
        .was
        .iter()
        .zip(&outcome.would)
        .take_while(|(was, would)| was == would)
        .count();
    if all {
        show(&outcome.was[..same], " ", console)?;
    }
    if outcome.is_same() {
        writeln!(console.out, "All {same} decisions are the same.")?;
        return Ok(());
    }
    writeln!(
        console.out,
        "{same} decisions are the same; then (- what was done, + what would have been):"
    )?;
    show(&outcome.was[same..], "-", console)?;
    show(&outcome.would[same..], "+", console)?;
    Ok(())
}

fn show(decisions: &[Decision], mark: &str, console: &mut Console<'_>) -> Result<(), Failure> {
    for Decision { at, what } in decisions {
        writeln!(console.out, "{mark} {at}  {what}")?;
    }
    Ok(())
}
