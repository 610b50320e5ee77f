//! Results of the rounds, as a table and as JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use serde_json::{Value, json};

use super::figures::Figure;
use super::server::{Kind, Plan};
use super::subject::{Role, Subject};

/// One measurement.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) round: u16,
    /// Processor time of the server per answered request.
    pub(super) micros: f64,
    pub(super) latency_us: f64,
    pub(super) latency_99_us: f64,
    pub(super) loss: f64,
    /// Whether the generator was late.
    pub(super) spoiled: bool,
}

/// Samples by rate, kind and index of the server.
pub(super) type Samples = BTreeMap<(u32, Kind, usize), Vec<Sample>>;

/// Maximum rate of a server.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peak {
    pub(super) rate: u32,
    pub(super) limited_by_generator: bool,
}

/// Results of one server, kind and rate. Spoiled measurements are in `spoiled` only.
struct Row<'a> {
    subject: &'a Subject,
    cost: Option<Figure>,
    to_floor: Option<Figure>,
    to_peer: Option<Figure>,
    to_plain: Option<Figure>,
    latency_us: f64,
    latency_99_us: f64,
    loss: f64,
    good: usize,
    /// Number of spoiled measurements, and their cost.
    spoiled: usize,
    spoiled_cost: Option<Figure>,
}

fn good(samples: &[Sample]) -> impl Iterator<Item = &Sample> {
    samples.iter().filter(|sample| !sample.spoiled)
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    Figure::of(values).map_or(f64::NAN, |figure| figure.median)
}

/// Ratio of the costs of two servers in the same rounds.
fn ratio(samples: &[Sample], others: &[Sample]) -> Option<Figure> {
    Figure::of(good(samples).filter_map(|sample| {
        let other = good(others).find(|other| other.round == sample.round)?;
        Some(sample.micros / other.micros)
    }))
}

fn row<'a>(
    subjects: &'a [Subject],
    samples: &Samples,
    (rate, kind, index): (u32, Kind, usize),
) -> Option<Row<'a>> {
    let own = samples.get(&(rate, kind, index))?;
    let subject = subjects.get(index)?;
    let of = |kind: Kind, role: Role| {
        let these = subjects.iter().enumerate();
        these
            .filter(move |(_, subject)| subject.role == role)
            .filter_map(move |(index, _)| samples.get(&(rate, kind, index)))
    };
    let cost = |samples: &[Sample]| median(good(samples).map(|sample| sample.micros));
    // The cheaper one of the two echo modes.
    let floor = of(Kind::Plain, Role::Echo).min_by(|a, b| cost(a).total_cmp(&cost(b)));
    let peer = match kind {
        Kind::Interleaved => Role::PeerWithLog,
        Kind::Plain | Kind::Keyed | Kind::Siv | Kind::GcmSiv => Role::Peer,
    };
    let peer = of(kind, peer).next();
    let plain = samples.get(&(rate, Kind::Plain, index));
    let plain = plain.filter(|_| kind != Kind::Plain);
    Some(Row {
        subject,
        cost: Figure::of(good(own).map(|sample| sample.micros)),
        to_floor: floor.and_then(|floor| ratio(own, floor)),
        to_peer: peer.and_then(|peer| ratio(own, peer)),
        to_plain: plain.and_then(|plain| ratio(own, plain)),
        latency_us: median(good(own).map(|sample| sample.latency_us)),
        latency_99_us: median(good(own).map(|sample| sample.latency_99_us)),
        loss: median(good(own).map(|sample| sample.loss)),
        good: good(own).count(),
        spoiled: own.iter().filter(|sample| sample.spoiled).count(),
        spoiled_cost: Figure::of(
            own.iter()
                .filter(|sample| sample.spoiled)
                .map(|sample| sample.micros),
        ),
    })
}

pub(super) fn table(
    plan: &Plan,
    subjects: &[Subject],
    samples: &Samples,
    peaks: &[Peak],
) -> String {
    let mut text = format!(
        "{}, {} rounds of {:.1} s; medians, with the 95 % confidence intervals after ratios\n",
        machine(),
        plan.rounds,
        plan.duration.as_secs_f64()
    );
    let mut last = None;
    for place @ (rate, kind, _) in samples.keys() {
        if last.replace((rate, kind)) != Some((rate, kind)) {
            let _ = writeln!(
                text,
                "\n{rate} {} requests per second\n{:<26} {:>8} {:>18} {:>18} {:>18} {:>13} {:>8}  rounds",
                kind.name(),
                "server",
                "us/req",
                "x floor",
                "x chronyd",
                "x own plain",
                "us p50/p99",
                "lost"
            );
        }
        if let Some(row) = row(subjects, samples, *place) {
            let _ = writeln!(text, "{}", line(&row));
        }
    }
    if !peaks.is_empty() {
        let _ = writeln!(
            text,
            "\nmaximum rate of plain requests with less than 0.1 % lost"
        );
    }
    for (subject, peak) in subjects.iter().zip(peaks) {
        let mark = if peak.limited_by_generator {
            "  or more: limited by the generator"
        } else {
            ""
        };
        let _ = writeln!(
            text,
            "{:<26} {:>8} per second{mark}",
            subject.name, peak.rate
        );
    }
    text
}

fn line(row: &Row<'_>) -> String {
    let ratio = |figure: Option<Figure>| match figure {
        Some(Figure { median, low, high }) => format!("{median:.2} ({low:.2}-{high:.2})"),
        None => "-".into(),
    };
    let spoiled = match row.spoiled_cost {
        Some(cost) => format!(", {} spoiled ({:.2} us)", row.spoiled, cost.median),
        None => String::new(),
    };
    format!(
        "{:<26} {:>8.2} {:>18} {:>18} {:>18} {:>13} {:>6.2} %  {}{spoiled}",
        format!("{} {}", row.subject.name, row.subject.version),
        row.cost.map_or(f64::NAN, |cost| cost.median),
        ratio(row.to_floor),
        ratio(row.to_peer),
        ratio(row.to_plain),
        format!("{:.0}/{:.0}", row.latency_us, row.latency_99_us),
        100.0 * row.loss,
        row.good
    )
}

pub(super) fn to_json(
    plan: &Plan,
    subjects: &[Subject],
    samples: &Samples,
    peaks: &[Peak],
) -> Value {
    let figure = |figure: Option<Figure>| match figure {
        Some(Figure { median, low, high }) => {
            json!({ "median": median, "low": low, "high": high })
        }
        None => Value::Null,
    };
    let rows = samples.iter().filter_map(|(place, samples_here)| {
        let row = row(subjects, samples, *place)?;
        let (rate, kind, _) = place;
        let each = samples_here.iter().map(|sample| {
            json!({ "round": sample.round, "us": sample.micros, "spoiled": sample.spoiled })
        });
        Some(json!({
            "server": row.subject.name,
            "version": row.subject.version,
            "kind": kind.name(),
            "rate": rate,
            "us_per_request": figure(row.cost),
            "ratio_to_floor": figure(row.to_floor),
            "ratio_to_chronyd": figure(row.to_peer),
            "ratio_to_own_plain": figure(row.to_plain),
            "latency_us": { "p50": row.latency_us, "p99": row.latency_99_us },
            "loss": row.loss,
            "good": row.good,
            "spoiled": { "count": row.spoiled, "us_per_request": figure(row.spoiled_cost) },
            "samples": each.collect::<Vec<_>>(),
        }))
    });
    let peaks = subjects.iter().zip(peaks).map(|(subject, peak)| {
        json!({
            "server": subject.name,
            "rate": peak.rate,
            "limited_by_generator": peak.limited_by_generator,
        })
    });
    json!({
        "machine": machine(),
        "rounds": plan.rounds,
        "seconds": plan.duration.as_secs_f64(),
        "cost": rows.collect::<Vec<_>>(),
        "peak": peaks.collect::<Vec<_>>(),
    })
}

/// Processor and kernel.
fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let information = read("/proc/cpuinfo");
    let model = information
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .and_then(|rest| rest.split_once(": "))
        .map_or("unknown processor", |(_, model)| model);
    let kernel = read("/proc/sys/kernel/osrelease");
    format!("{model}, Linux {}", kernel.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(round: u16, micros: f64, spoiled: bool) -> Sample {
        Sample {
            round,
            micros,
            latency_us: 20.0,
            latency_99_us: 50.0,
            loss: 0.0,
            spoiled,
        }
    }

    #[test]
    fn ratios_are_of_the_same_round_and_of_good_measurements() {
        let ours = [
            sample(1, 10.0, false),
            // The machine became slow.
            sample(2, 1000.0, true),
            sample(2, 30.0, false),
            sample(3, 7.0, false),
        ];
        let theirs = [
            sample(1, 20.0, false),
            sample(2, 60.0, false),
            sample(3, 1.0, true),
        ];
        let ratio = ratio(&ours, &theirs).unwrap();
        assert_eq!((ratio.low, ratio.median, ratio.high), (0.5, 0.5, 0.5));
    }
}
