//! Number of instructions of a response, compared with a baseline.
//!
//! # Why instructions
//! Times vary by a tenth from one minute to the next; the number of instructions of pure code is
//! constant. Therefore a change of a few per cent is visible, and can be compared with a baseline
//! that is kept with the source. Cache misses and mispredicted branches are not visible.
//!
//! # Method
//! The example `respond_cost` of `ntp-proto` answers each kind of request a thousand times under
//! valgrind's callgrind, once counting inside of `respond`, once inside of `Draft::seal`.
//! Callgrind is run directly: harnesses for it need a helper program of exactly matching version
//! to be installed, and offer nothing here beyond two options of callgrind.
//!
//! Valgrind supports the AES instructions but not those for SHA, nor the widest vectors: SHA-1
//! and SHA-256 are counted as on processors without them.
//!
//! # Tolerance
//! A kind fails if it exceeds its baseline by more than both [`TOLERATED_PART`] and
//! [`TOLERATED_COUNT`] instructions. Other compilers generate other code; a comparison with the
//! baseline of another compiler never fails.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::Args;
use ntp_e2e::binaries::workspace_root;
use serde_json::{Value, json};

use super::build;

/// Options.
#[derive(Clone, Debug, Args)]
pub(super) struct Plan {
    /// Write the figures as the new baseline
    #[arg(long)]
    write: bool,

    /// Print the figures as JSON
    #[arg(long)]
    json: bool,
}

/// Counted requests of each kind.
const ROUNDS: u64 = 1000;
/// Tolerated increase over the baseline; both must be exceeded.
const TOLERATED_PART: f64 = 0.02;
const TOLERATED_COUNT: f64 = 5.0;
/// The counted functions of the example, which are never inlined.
const RESPOND: &str = "respond_cost::decide*";
const SEAL: &str = "respond_cost::seal*";

/// Instructions for one kind of request.
#[derive(Clone, Debug, PartialEq)]
struct Figure {
    kind: String,
    respond: f64,
    seal: f64,
}

pub(super) fn bench(plan: &Plan) -> Result<(), String> {
    let program = build::example("ntp-proto", "respond_cost")?;
    let valgrind = version("valgrind", "apt install valgrind")?;
    let rustc = version("rustc", "it comes with cargo")?;
    let respond = count(&program, RESPOND)?;
    let seal = count(&program, SEAL)?;
    let figures = respond.into_iter().zip(seal);
    let figures: Vec<Figure> = figures
        .map(|((kind, respond), (_, seal))| Figure {
            kind,
            respond,
            seal,
        })
        .collect();
    if figures.iter().all(|figure| figure.seal == 0.0) || figures.iter().any(|f| f.respond == 0.0) {
        return Err("callgrind did not find the functions; has one been renamed?".into());
    }
    let path = workspace_root().join("crates/ntp-proto/instructions.txt");
    if plan.write {
        let text = Baseline { rustc, figures }.to_text();
        return fs::write(&path, text)
            .map_err(|error| format!("cannot write {}: {error}", path.display()));
    }
    let baseline = fs::read_to_string(&path)
        .map_err(|error| format!("{}: {error} (--write creates it)", path.display()))?;
    let baseline = Baseline::parse(&baseline)
        .map_err(|line| format!("{}: line {line} is damaged", path.display()))?;
    let same_compiler = baseline.rustc == rustc;
    let changes: Vec<Change> = figures
        .into_iter()
        .map(|now| Change::new(now, &baseline))
        .collect();
    if plan.json {
        let kinds: Vec<Value> = changes.iter().map(Change::to_json).collect();
        println!(
            "{:#}",
            json!({
                "rustc": rustc,
                "baseline_rustc": baseline.rustc,
                "valgrind": valgrind,
                "kinds": kinds,
            })
        );
    } else {
        print!("{}", table(&changes));
        println!("\n{rustc}, {valgrind}");
    }
    let worse = changes.iter().filter(|change| change.is_worse()).count();
    if worse > 0 && same_compiler {
        return Err(format!(
            "{worse} kinds of requests exceed the baseline; use --write to accept them"
        ));
    }
    if !same_compiler {
        eprintln!("the baseline is of {}: not compared", baseline.rustc);
    }
    Ok(())
}

/// Runs the example under callgrind. Returns the instructions inside `function` for one request,
/// by kind.
fn count(program: &Path, function: &str) -> Result<Vec<(String, f64)>, String> {
    let files = tempfile::tempdir().map_err(|error| error.to_string())?;
    let dump = files.path().join("callgrind");
    let output = Command::new("valgrind")
        .args([
            "--tool=callgrind",
            "--dump-before=respond_cost::end_of_part*",
        ])
        .arg(format!("--toggle-collect={function}"))
        .arg(format!("--callgrind-out-file={}", dump.display()))
        .arg(program)
        .args(["--count", &ROUNDS.to_string()])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("valgrind cannot be run: {error}"))?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr);
        return Err(format!("valgrind failed:\n{message}"));
    }
    let kinds = String::from_utf8_lossy(&output.stdout);
    let kinds = kinds.lines().enumerate().map(|(index, kind)| {
        // Parts are numbered from 1; the warm-up of each kind comes first.
        let part = PathBuf::from(format!("{}.{}", dump.display(), 2 * index + 2));
        let text = fs::read_to_string(&part)
            .map_err(|error| format!("callgrind wrote no part for {kind}: {error}"))?;
        let total = total(&text).ok_or_else(|| format!("callgrind wrote no total for {kind}"))?;
        Ok((kind.to_owned(), total as f64 / ROUNDS as f64))
    });
    kinds.collect()
}

/// The total of a part of callgrind's output.
fn total(part: &str) -> Option<u64> {
    let line = part.lines().find_map(|line| line.strip_prefix("totals: "));
    line?.trim().parse().ok()
}

fn version(program: &str, advice: &str) -> Result<String, String> {
    let output = Command::new(program)
        .arg("--version")
        .stderr(Stdio::null())
        .output()
        .map_err(|error| format!("{program} cannot be run: {error} ({advice})"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.trim().to_owned())
}

// ---- the baseline

/// Earlier figures, and their compiler.
#[derive(Clone, Debug, PartialEq)]
struct Baseline {
    rustc: String,
    figures: Vec<Figure>,
}

impl Baseline {
    const HEAD: &str = "# Instructions for one request, inside of `respond` and of `Draft::seal`.\n\
                        # Written by `cargo xtask bench instructions --write`; compared without it.\n";
    const COMPILER: &str = "compiler ";

    fn to_text(&self) -> String {
        let mut text = format!("{}{}{}\n", Self::HEAD, Self::COMPILER, self.rustc);
        for Figure {
            kind,
            respond,
            seal,
        } in &self.figures
        {
            let _ = writeln!(text, "{kind:<24} {respond:>8.0} {seal:>6.0}");
        }
        text
    }

    /// Parses a baseline; the error is the number of the invalid line.
    fn parse(text: &str) -> Result<Self, usize> {
        let mut baseline = Self {
            rustc: String::new(),
            figures: Vec::new(),
        };
        for (index, line) in text.lines().enumerate() {
            if line.starts_with('#') {
                continue;
            }
            if let Some(rustc) = line.strip_prefix(Self::COMPILER) {
                rustc.clone_into(&mut baseline.rustc);
                continue;
            }
            let mut words = line.split_whitespace();
            let number = |words: &mut std::str::SplitWhitespace<'_>| {
                let number = words.next().and_then(|word| word.parse().ok());
                number.ok_or(index + 1)
            };
            baseline.figures.push(Figure {
                kind: words.next().ok_or(index + 1)?.to_owned(),
                respond: number(&mut words)?,
                seal: number(&mut words)?,
            });
        }
        Ok(baseline)
    }
}

/// Current and earlier figures of a kind.
#[derive(Clone, Debug)]
struct Change {
    now: Figure,
    /// Sum of both parts in the baseline.
    then: Option<f64>,
}

impl Change {
    fn new(now: Figure, baseline: &Baseline) -> Self {
        let then = baseline.figures.iter().find(|then| then.kind == now.kind);
        let then = then.map(|then| then.respond + then.seal);
        Self { now, then }
    }

    fn sum(&self) -> f64 {
        self.now.respond + self.now.seal
    }

    fn is_worse(&self) -> bool {
        self.then.is_some_and(|then| {
            self.sum() > then * (1.0 + TOLERATED_PART) && self.sum() > then + TOLERATED_COUNT
        })
    }

    fn to_json(&self) -> Value {
        json!({
            "kind": self.now.kind,
            "respond": self.now.respond,
            "seal": self.now.seal,
            "baseline": self.then,
            "worse": self.is_worse(),
        })
    }
}

fn table(changes: &[Change]) -> String {
    let mut text = format!(
        "{:<24} {:>8} {:>6} {:>8} {:>9} {:>8}\n",
        "instructions", "respond", "seal", "sum", "baseline", "change"
    );
    for change in changes {
        let Figure {
            kind,
            respond,
            seal,
        } = &change.now;
        let sum = change.sum();
        let _ = write!(text, "{kind:<24} {respond:>8.0} {seal:>6.0} {sum:>8.0} ");
        let _ = match change.then {
            Some(then) => writeln!(
                text,
                "{then:>9.0} {:>+6.1} %{}",
                100.0 * (sum / then - 1.0),
                if change.is_worse() { "  WORSE" } else { "" }
            ),
            None => writeln!(text, "{:>9}", "new"),
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(kind: &str, respond: f64) -> Figure {
        Figure {
            kind: kind.into(),
            respond,
            seal: 20.0,
        }
    }

    #[test]
    fn a_baseline_is_parsed_as_it_was_written() {
        let baseline = Baseline {
            rustc: "rustc 1.95.0 (abc 2026-01-01)".into(),
            figures: vec![figure("plain", 382.0), figure("sha1", 3950.0)],
        };
        assert_eq!(Baseline::parse(&baseline.to_text()), Ok(baseline));
        assert_eq!(Baseline::parse("compiler x\nplain 1\n"), Err(2));
    }

    #[test]
    fn growth_beyond_the_tolerance_is_worse() {
        let baseline = Baseline {
            rustc: String::new(),
            figures: vec![figure("plain", 80.0), figure("sha1", 9980.0)],
        };
        let worse = |kind, respond| Change::new(figure(kind, respond), &baseline).is_worse();
        assert!(!worse("plain", 85.0) && worse("plain", 86.0));
        assert!(!worse("sha1", 10_180.0) && worse("sha1", 10_181.0));
        assert!(!worse("plain", 1.0) && !worse("new", 1e6));
    }

    #[test]
    fn the_total_of_a_part_is_found() {
        let part = "version: 1\nevents: Ir\nfn=(1) x\n0 5\ntotals: 775000\n";
        assert_eq!(total(part), Some(775_000));
        assert_eq!(total("totals: many"), None);
    }
}
