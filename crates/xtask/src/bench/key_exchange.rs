//! Cost of a key exchange for the server (RFC 8915 section 4): connection, handshake, request and
//! response.
//!
//! In each round, every server performs a few dozen exchanges, which take less than a second.
//! The compared figure is the processor time of the server for one exchange; the rate beside a
//! generator on the other processor would depend on that too.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::figures::Figure;
use super::load::Generator;
use super::subject::{Role, Subject};

/// Exchanges of one server.
#[derive(Debug)]
pub(super) struct Cost {
    name: &'static str,
    version: String,
    role: Role,
    /// Processor time for one exchange, by round.
    micros: Vec<f64>,
}

/// Exchanges of one server in one round.
const EXCHANGES: u32 = 48;

/// Measures our server and chronyd without client log.
pub(super) fn rounds(
    generator: &Generator<'_>,
    subjects: &[Subject],
    rounds: u16,
) -> Result<Vec<Cost>, String> {
    let mut all = Vec::new();
    for role in [Role::Ours, Role::Peer] {
        // Batching under load does not matter here, so the first of ours suffices.
        if let Some(subject) = subjects.iter().find(|subject| subject.role == role)
            && let Some(address) = subject.key_exchange
        {
            let cost = Cost {
                name: subject.name,
                version: subject.version.clone(),
                role,
                micros: Vec::new(),
            };
            all.push((subject.id(), address, cost));
        }
    }
    for round in 1..=rounds {
        eprintln!("key exchanges, round {round} of {rounds}");
        for (process, address, cost) in &mut all {
            let outcome = generator.exchange_keys(*address, *process, EXCHANGES)?;
            let good = outcome.count("exchanges");
            let used = outcome.process_cpu().filter(|_| good > 0);
            let used = used.ok_or_else(|| format!("{} does not exchange keys", cost.name))?;
            cost.micros.push(used * 1e6 / good as f64);
        }
    }
    Ok(all.into_iter().map(|(_, _, cost)| cost).collect())
}

/// Cost relative to chronyd in the same rounds.
fn to_peer(cost: &Cost, all: &[Cost]) -> Option<Figure> {
    let peer = all.iter().find(|other| other.role == Role::Peer)?;
    Figure::of(
        cost.micros
            .iter()
            .zip(&peer.micros)
            .map(|(own, peer)| own / peer),
    )
}

pub(super) fn table(all: &[Cost]) -> String {
    let mut text = format!(
        "\nkey exchanges\n{:<26} {:>8} {:>18} {:>18}\n",
        "server", "us each", "x chronyd", "a second and core"
    );
    for cost in all {
        let each = Figure::of(cost.micros.iter().copied());
        let each = each.map_or(f64::NAN, |figure| figure.median);
        let ratio = match to_peer(cost, all) {
            Some(Figure { median, low, high }) => format!("{median:.2} ({low:.2}-{high:.2})"),
            None => "-".into(),
        };
        let server = format!("{} {}", cost.name, cost.version);
        let _ = writeln!(
            text,
            "{server:<26} {each:>8.1} {ratio:>18} {:>18.0}",
            1e6 / each
        );
    }
    text
}

pub(super) fn to_json(all: &[Cost]) -> Value {
    let figure = |figure: Option<Figure>| match figure {
        Some(Figure { median, low, high }) => {
            json!({ "median": median, "low": low, "high": high })
        }
        None => Value::Null,
    };
    let each = all.iter().map(|cost| {
        json!({
            "server": cost.name,
            "version": cost.version,
            "us_per_exchange": figure(Figure::of(cost.micros.iter().copied())),
            "ratio_to_chronyd": figure(to_peer(cost, all)),
            "samples": cost.micros,
        })
    });
    each.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exchanges_are_compared_with_those_of_the_same_round() {
        let cost = |name, role, micros: &[f64]| Cost {
            name,
            version: String::new(),
            role,
            micros: micros.to_vec(),
        };
        // The machine became slow in the second round.
        let all = [
            cost("ours", Role::Ours, &[100.0, 1000.0, 110.0]),
            cost("theirs", Role::Peer, &[200.0, 2000.0, 220.0]),
        ];
        let ratio = to_peer(&all[0], &all).unwrap();
        assert_eq!((ratio.low, ratio.median, ratio.high), (0.5, 0.5, 0.5));
    }
}
