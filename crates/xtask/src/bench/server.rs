//! The rounds, the figures, the table.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use test_binaries::load::process_cpu;

use super::arena::{Arena, CLIENTS, End, SERVER};
use super::subject::{Role, Subject, subjects};
use super::{Plan, build};

/// Part of the requests that may be lost at the peak.
const PEAK_LOSS: f64 = 0.001;
/// Where the search for the peak begins and how fine it is.
const PEAK_START: u32 = 50_000;
const PEAK_STEPS: u32 = 4;
/// How often a server is asked whether it answers yet.
const ATTEMPTS: usize = 50;

/// One measurement.
#[derive(Clone, Debug)]
struct Sample {
    /// Processor time of the server per answered request.
    cost: Duration,
    latency_us: f64,
    loss: f64,
    spoiled: bool,
}

/// Samples by subject and rate.
type Samples = BTreeMap<(usize, u32), Vec<Sample>>;

pub(super) fn bench(plan: &Plan) -> Result<(), String> {
    let files = tempfile::tempdir().map_err(|error| error.to_string())?;
    let subjects = subjects(plan, files.path())?;
    let arena = Arena::new()?;
    let mut samples = Samples::new();
    for round in 1..=plan.rounds {
        for rate in &plan.rates {
            for (index, subject) in subjects.iter().enumerate() {
                eprintln!("round {round}, {rate} a second: {}", subject.name);
                let sample = measure(&arena, plan, subject, *rate)?;
                samples.entry((index, *rate)).or_default().push(sample);
            }
        }
    }
    let mut peaks = Vec::new();
    if plan.peak {
        for subject in &subjects {
            peaks.push(peak(&arena, plan, subject)?);
        }
    }
    let floors = floors(plan, &subjects, &samples);
    if plan.json {
        let json = to_json(plan, &subjects, &samples, &peaks, &floors);
        println!("{json:#}");
    } else {
        print!("{}", table(plan, &subjects, &samples, &peaks, &floors));
    }
    Ok(())
}

fn measure(arena: &Arena, plan: &Plan, subject: &Subject, rate: u32) -> Result<Sample, String> {
    let mut server = subject.start(arena, plan)?;
    let mut answers = false;
    for _ in 0..ATTEMPTS {
        if server.has_ended() {
            return Err(format!("{} did not stay alive", subject.name));
        }
        let answered = load(arena, plan, 10, Duration::from_millis(100))?;
        answers = answered["answered"].as_u64().is_some_and(|count| count > 0);
        if answers {
            break;
        }
    }
    if !answers {
        return Err(format!("{} does not answer", subject.name));
    }
    let cpu = || process_cpu(server.id()).map_err(|error| format!("{}: {error}", subject.name));
    let before = cpu()?;
    let report = load(arena, plan, rate, plan.duration)?;
    let used = cpu()?.saturating_sub(before);
    let answered = report["answered"].as_u64().unwrap_or(0).max(1);
    Ok(Sample {
        cost: Duration::from_secs_f64(used.as_secs_f64() / answered as f64),
        latency_us: report["latency_us"]["p50"].as_f64().unwrap_or(f64::NAN),
        loss: report["loss"].as_f64().unwrap_or(1.0),
        spoiled: report["spoiled"]
            .as_array()
            .is_none_or(|reasons| !reasons.is_empty()),
    })
}

fn load(arena: &Arena, plan: &Plan, rate: u32, duration: Duration) -> Result<Value, String> {
    let output = arena
        .command(
            End::Client,
            plan.load_processor,
            build::binary("test-binaries", "ntp-load")?,
        )
        .arg(format!("{SERVER}:123"))
        .args(["--json", "--patience", "0.2", "--from", CLIENTS])
        .args(["--rate", &rate.to_string()])
        .args(["--duration", &duration.as_secs_f64().to_string()])
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("the load generator cannot be started: {error}"))?;
    serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("the load generator did not report: {error}"))
}

/// The highest rate at which a server loses less than [`PEAK_LOSS`], within a sixteenth; and whether it was the
/// generator that could not go on.
fn peak(arena: &Arena, plan: &Plan, subject: &Subject) -> Result<(u32, bool), String> {
    let (mut good, mut bad) = (0, None);
    let mut rate = PEAK_START;
    let mut limited_by_load = false;
    for _ in 0..PEAK_STEPS * 2 {
        eprintln!("peak, {rate} a second: {}", subject.name);
        let sample = measure(arena, plan, subject, rate)?;
        if sample.loss < PEAK_LOSS {
            good = good.max(rate);
        } else {
            limited_by_load = sample.spoiled;
            bad = Some(rate);
        }
        let next = match bad {
            None => rate * 2,
            Some(bad) => (good + bad) / 2,
        };
        if next.abs_diff(good) < good / 16 || next == 0 {
            break;
        }
        rate = next;
    }
    Ok((good, limited_by_load))
}

// ---- figures

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn micros(sample: &Sample) -> f64 {
    sample.cost.as_secs_f64() * 1e6
}

fn cost(samples: &[Sample]) -> f64 {
    median(samples.iter().map(micros))
}

/// For each rate, what the cheaper way to echo costs, and what chronyd does.
fn floors(plan: &Plan, subjects: &[Subject], samples: &Samples) -> BTreeMap<u32, [f64; 2]> {
    let cheapest = |rate: u32, role: Role| {
        let of_role = subjects.iter().enumerate();
        let of_role = of_role.filter(|(_, subject)| subject.role == role);
        of_role
            .filter_map(|(index, _)| samples.get(&(index, rate)))
            .map(|samples| cost(samples))
            .fold(f64::NAN, f64::min)
    };
    plan.rates
        .iter()
        .map(|rate| {
            let each = [Role::Echo, Role::Peer].map(|role| cheapest(*rate, role));
            (*rate, each)
        })
        .collect()
}

fn table(
    plan: &Plan,
    subjects: &[Subject],
    samples: &Samples,
    peaks: &[(u32, bool)],
    floors: &BTreeMap<u32, [f64; 2]>,
) -> String {
    let mut text = String::new();
    for rate in &plan.rates {
        let _ = writeln!(
            text,
            "\n{rate} requests a second, {} rounds of {:.1} s",
            plan.rounds,
            plan.duration.as_secs_f64()
        );
        let _ = writeln!(
            text,
            "{:<26} {:>8} {:>15} {:>8} {:>10} {:>9} {:>8}",
            "server", "us/req", "range", "x floor", "x chronyd", "latency", "lost"
        );
        for (index, subject) in subjects.iter().enumerate() {
            let Some(samples) = samples.get(&(index, *rate)) else {
                continue;
            };
            let [floor, peer] = floors[rate];
            let least = samples.iter().map(micros).fold(f64::NAN, f64::min);
            let most = samples.iter().map(micros).fold(f64::NAN, f64::max);
            let spoiled = samples.iter().filter(|sample| sample.spoiled).count();
            let mark = if spoiled > 0 {
                format!("  generator late in {spoiled}")
            } else {
                String::new()
            };
            let _ = writeln!(
                text,
                "{:<26} {:>8.2} {:>15} {:>8.2} {:>10.2} {:>6.0} us {:>6.2} %{mark}",
                format!("{} {}", subject.name, subject.version),
                cost(samples),
                format!("{least:.2}..{most:.2}"),
                cost(samples) / floor,
                cost(samples) / peer,
                median(samples.iter().map(|sample| sample.latency_us)),
                100.0 * median(samples.iter().map(|sample| sample.loss)),
            );
        }
    }
    if !peaks.is_empty() {
        let _ = writeln!(text, "\nhighest rate with under 0.1 % lost");
    }
    for (subject, (rate, limited_by_load)) in subjects.iter().zip(peaks) {
        let mark = if *limited_by_load {
            "  or more: the generator was the limit"
        } else {
            ""
        };
        let _ = writeln!(text, "{:<26} {rate:>8} a second{mark}", subject.name);
    }
    text
}

fn to_json(
    plan: &Plan,
    subjects: &[Subject],
    samples: &Samples,
    peaks: &[(u32, bool)],
    floors: &BTreeMap<u32, [f64; 2]>,
) -> Value {
    let mut rows = Vec::new();
    for ((index, rate), samples) in samples {
        let subject = &subjects[*index];
        let [floor, peer] = floors[rate];
        rows.push(json!({
            "server": subject.name,
            "version": subject.version,
            "rate": rate,
            "us_per_request": cost(samples),
            "samples_us": samples.iter().map(micros).collect::<Vec<_>>(),
            "ratio_to_floor": cost(samples) / floor,
            "ratio_to_chronyd": cost(samples) / peer,
            "latency_us": median(samples.iter().map(|sample| sample.latency_us)),
            "loss": median(samples.iter().map(|sample| sample.loss)),
            "spoiled": samples.iter().filter(|sample| sample.spoiled).count(),
        }));
    }
    let peaks = subjects.iter().zip(peaks);
    let peaks = peaks.map(|(subject, (rate, limited_by_load))| {
        json!({ "server": subject.name, "rate": rate, "limited_by_generator": limited_by_load })
    });
    json!({
        "rounds": plan.rounds,
        "seconds": plan.duration.as_secs_f64(),
        "cost": rows,
        "peak": peaks.collect::<Vec<_>>(),
    })
}
