//! `ntp-ctl replay`: runs the engine of this program on what a daemon recorded (`record-path`), and shows what it would have done beside what was done.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;

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

fn read(file: &Path) -> Result<Vec<Line>, String> {
    let name = file.display();
    let opened = fs::File::open(file).map_err(|error| format!("cannot read {name}: {error}"))?;
    let mut lines = Vec::new();
    let mut texts = BufReader::new(opened).lines().enumerate().peekable();
    while let Some((number, text)) = texts.next() {
        let text = text.map_err(|error| format!("cannot read {name}: {error}"))?;
        match Line::decode(&text) {
            Ok(line) => lines.push(line),
            // The last line may have been cut off by a crash; that is what records are for.
            Err(_) if texts.peek().is_none() && !lines.is_empty() => {}
            Err(error) => return Err(format!("{name}, line {}: {error}", number + 1)),
        }
    }
    Ok(lines)
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
