//! Definition of the tables: scenarios, peers and ratios.

use ntp_sim::reference::{QUEUES, ReferenceWorld, WANDERS};
use ntp_sim::server_worlds::ServerWorld;
use ntp_sim::varied::VariedWorld;
use ntp_sim::{Scenario, Violation};

use super::measure::{Figure, Runs, all, geometric_mean};
use super::peers::{Cell as Peers, GRID, Known, OTHER, Pair, SERVERS};
use super::table::{Cell, Table};

/// Duration of a run on the grid, and its excluded start, seconds.
const GRID_DURATION: f64 = 110_000.0;
const GRID_SETTLED: f64 = 10_000.0;
/// The same with an adaptive poll interval.
const FREE_DURATION: f64 = 100_000.0;
const FREE_SETTLED: f64 = 20_000.0;

/// Selects a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum TableKind {
    /// The grid at a poll interval of 64 s.
    Fixed,
    /// The grid with an adaptive poll interval.
    Free,
    /// The grid, sending no more packets than chrony does.
    HeldChrony,
    /// The grid, sending no more packets than ntpd-rs does.
    HeldNtpdRs,
    /// Other scenarios.
    Other,
    /// Servers that wander, drift or lie.
    Servers,
    /// Scenarios without figures of peers.
    Further,
    /// Cold starts.
    Start,
    /// Reference clocks.
    Refclocks,
}

impl TableKind {
    pub(crate) const ALL: [Self; 9] = [
        Self::Fixed,
        Self::Free,
        Self::HeldChrony,
        Self::HeldNtpdRs,
        Self::Other,
        Self::Servers,
        Self::Further,
        Self::Start,
        Self::Refclocks,
    ];

    pub(crate) fn measure(self, seeds: u64) -> Result<Table, Violation> {
        match self {
            Self::Fixed => fixed(seeds),
            Self::Free => free(seeds),
            Self::HeldChrony => held("held-chrony", "chrony", |pair| pair.chrony, seeds),
            Self::HeldNtpdRs => held("held-ntpd-rs", "ntpd-rs", |pair| pair.ntpd_rs, seeds),
            Self::Other => other(seeds),
            Self::Servers => servers(seeds),
            Self::Further => further(seeds),
            Self::Start => super::starts::table(seeds),
            Self::Refclocks => super::refclocks::table(seeds),
        }
    }
}

/// The scenarios of the grid, row by row.
fn grid(change: impl Fn(Scenario, &Peers) -> Scenario) -> Vec<Scenario> {
    let cells = QUEUES.iter().zip(&GRID).flat_map(|(queue, row)| {
        WANDERS
            .iter()
            .zip(row)
            .map(move |(wander, peers)| (Scenario::reference(*queue, *wander), peers))
    });
    cells.map(|(world, peers)| change(world, peers)).collect()
}

/// Row and column headings of a cell of the grid.
fn names(index: usize) -> [Cell; 2] {
    let (row, column) = (index / WANDERS.len(), index % WANDERS.len());
    [
        Cell::Text(format!("{:e}", QUEUES[row])),
        Cell::Text(format!("{:e}", WANDERS[column])),
    ]
}

pub(super) fn measured(figure: Figure) -> Cell {
    Cell::Measured(figure.value, figure.error)
}

/// A peer's figure.
fn known(value: Option<f64>) -> Cell {
    Cell::known(value, Cell::Small)
}

/// Geometric mean and maximum of ratios.
fn summary(what: &str, ratios: &[f64]) -> [(String, f64); 2] {
    let worst = ratios.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    [
        (format!("{what}, geometric mean"), geometric_mean(ratios)),
        (format!("{what}, worst"), worst),
    ]
}

/// Size and coverage of the claimed errors.
pub(super) const CLAIMS_HEAD: [&str; 5] =
    ["bound", "in bound %", "est. error", "in est. %", "est./p99"];

pub(super) fn claims(runs: &Runs) -> [Cell; 5] {
    let (estimate, error) = (
        runs.mean(|run| run.median_estimate),
        runs.mean(|run| run.error_99),
    );
    [
        Cell::Small(runs.mean(|run| run.median_bound)),
        Cell::Share(runs.mean(|run| run.bound_coverage)),
        Cell::Small(estimate),
        Cell::Share(runs.mean(|run| run.estimate_coverage)),
        Cell::Ratio(estimate / error),
    ]
}

fn claims_summary(runs: &[Runs]) -> [(String, f64); 3] {
    let least = |of: fn(&ntp_sim::Report) -> f64| {
        let cells = runs.iter().map(|runs| runs.mean(of));
        100.0 * cells.fold(f64::INFINITY, f64::min)
    };
    let largest = runs
        .iter()
        .map(|runs| runs.mean(|run| run.median_estimate) / runs.mean(|run| run.error_99))
        .fold(0.0, f64::max);
    [
        (
            "coverage of the bound, minimum, %".to_owned(),
            least(|run| run.bound_coverage),
        ),
        (
            "coverage of the estimated error, minimum, %".to_owned(),
            least(|run| run.estimate_coverage),
        ),
        (
            "median estimated error / 99th percentile of the error, maximum".to_owned(),
            largest,
        ),
    ]
}

fn fixed(seeds: u64) -> Result<Table, Violation> {
    let worlds = grid(|world, _| {
        world.modify(|world| {
            world.duration = GRID_DURATION;
            world.settled = GRID_SETTLED;
        })
    });
    let runs = all(&worlds, seeds)?;
    let peers = GRID.as_flattened();
    let (mut to_better, mut to_limit, mut frequency_to_better) = (vec![], vec![], vec![]);
    let mut rows = Vec::new();
    for (index, (runs, peers)) in runs.iter().zip(peers).enumerate() {
        let (rms, frequency) = (runs.rms(), runs.frequency());
        to_better.push(rms.value / peers.fixed.better());
        to_limit.push(rms.value / peers.limit);
        frequency_to_better.push(frequency.value / peers.frequency.better());
        let mut row = names(index).to_vec();
        row.extend([
            measured(rms),
            Cell::Small(peers.fixed.chrony),
            Cell::Small(peers.fixed.ntpd_rs),
            Cell::Small(peers.limit),
            Cell::Ratio(to_better[index]),
            Cell::Ratio(to_limit[index]),
            measured(frequency),
            Cell::Small(peers.frequency.chrony),
            Cell::Small(peers.frequency.ntpd_rs),
            Cell::Ratio(frequency_to_better[index]),
        ]);
        row.extend(claims(runs));
        rows.push(row);
    }
    let mut head = vec![
        "J", "W", "RMS", "chrony", "ntpd-rs", "limit", "/better", "/limit", "freq", "chrony ",
        "ntpd-rs ", "/better ",
    ];
    head.extend(CLAIMS_HEAD);
    let mut all = summary("RMS / better peer", &to_better).to_vec();
    all.extend(summary("RMS / limit", &to_limit));
    all.extend(summary("frequency / better peer", &frequency_to_better));
    all.extend(claims_summary(&runs));
    Ok(Table {
        name: "fixed",
        title: format!("Poll fixed at 64 s, {seeds} runs of {GRID_DURATION} s"),
        head,
        rows,
        summary: all,
    })
}

fn free_poll(world: Scenario, min: i8, max: i8) -> Scenario {
    world.with_poll_limits(min, max).modify(|world| {
        world.duration = FREE_DURATION;
        world.settled = FREE_SETTLED;
    })
}

fn free(seeds: u64) -> Result<Table, Violation> {
    let runs = all(&grid(|world, _| free_poll(world, 4, 10)), seeds)?;
    let peers = GRID.as_flattened();
    let mut to_better = Vec::new();
    let mut rows = Vec::new();
    for (index, (runs, peers)) in runs.iter().zip(peers).enumerate() {
        let rms = runs.rms();
        to_better.push(rms.value / peers.free.better());
        let mut row = names(index).to_vec();
        row.extend([
            measured(rms),
            Cell::Seconds(runs.interval()),
            Cell::Small(peers.free.chrony),
            Cell::Seconds(peers.interval.chrony),
            Cell::Small(peers.free.ntpd_rs),
            Cell::Seconds(peers.interval.ntpd_rs),
            Cell::Ratio(to_better[index]),
            measured(runs.frequency()),
        ]);
        row.extend(claims(runs));
        rows.push(row);
    }
    let mut head = vec![
        "J",
        "W",
        "RMS",
        "every s",
        "chrony",
        "every s ",
        "ntpd-rs",
        "every s  ",
        "/better",
        "freq",
    ];
    head.extend(CLAIMS_HEAD);
    let mut all = summary("RMS / better peer", &to_better).to_vec();
    all.extend(claims_summary(&runs));
    Ok(Table {
        name: "free",
        title: format!("Adaptive poll from 16 to 1024 s, {seeds} runs of {FREE_DURATION} s"),
        head,
        rows,
        summary: all,
    })
}

/// The poll exponent below the mean interval of a peer: the largest power of two that does not
/// exceed `seconds`.
fn poll_below(seconds: f64) -> i8 {
    (seconds.log2().floor() as i8).clamp(4, 9)
}

/// Interpolates at `interval` by a power law through two points.
fn interpolated((short, long): (&Runs, &Runs), interval: f64) -> Figure {
    let (a, b) = (short.rms(), long.rms());
    let share = (interval / short.interval()).ln() / (long.interval() / short.interval()).ln();
    let value = a.value * (b.value / a.value).powf(share);
    let (left, right) = ((1.0 - share) * a.error / a.value, share * b.error / b.value);
    Figure {
        value,
        error: value * left.hypot(right),
    }
}

fn held(
    name: &'static str,
    peer: &str,
    of: fn(&Pair) -> f64,
    seeds: u64,
) -> Result<Table, Violation> {
    let at = |longer: i8| {
        grid(|world, peers| {
            let poll = poll_below(of(&peers.interval)) + longer;
            free_poll(world, poll, poll)
        })
    };
    let (short, long) = (all(&at(0), seeds)?, all(&at(1), seeds)?);
    let mut ratios = Vec::new();
    let mut rows = Vec::new();
    for (index, peers) in GRID.as_flattened().iter().enumerate() {
        let (short, long) = (&short[index], &long[index]);
        // A peer at its minimum interval is compared at the same poll exponent.
        let interval = of(&peers.interval).max(short.interval());
        let rms = interpolated((short, long), interval);
        ratios.push(rms.value / of(&peers.free));
        let mut row = names(index).to_vec();
        row.extend([
            measured(short.rms()),
            Cell::Seconds(short.interval()),
            measured(long.rms()),
            Cell::Seconds(long.interval()),
            measured(rms),
            Cell::Seconds(interval),
            Cell::Small(of(&peers.free)),
            Cell::Ratio(ratios[index]),
            Cell::Ratio(long.rms().value / of(&peers.free)),
        ]);
        rows.push(row);
    }
    Ok(Table {
        name,
        title: format!(
            "As many packets as {peer}, interpolated between two poll exponents, {seeds} runs of {FREE_DURATION} s"
        ),
        head: vec![
            "J",
            "W",
            "shorter",
            "every s",
            "longer",
            "every s ",
            "RMS",
            "at s",
            "peer",
            "/peer",
            "longer/peer",
        ],
        rows,
        summary: summary("RMS / peer", &ratios).to_vec(),
    })
}

fn other(seeds: u64) -> Result<Table, Violation> {
    let worlds = ReferenceWorld::ALL.map(|world| (world.name(), world.scenario()));
    compared("other", "Other scenarios", &worlds, &OTHER, seeds)
}

fn servers(seeds: u64) -> Result<Table, Violation> {
    let worlds = ServerWorld::ALL.map(|world| (world.name(), world.scenario()));
    let title = "Servers that wander, drift or lie";
    compared("servers", title, &worlds, &SERVERS, seeds)
}

/// Scenarios beside the peers' figures, RMS and maximum.
fn compared(
    name: &'static str,
    title: &str,
    worlds: &[(&str, Scenario)],
    peers: &[(Known, Known)],
    seeds: u64,
) -> Result<Table, Violation> {
    let scenarios: Vec<Scenario> = worlds
        .iter()
        .map(|(_, scenario)| scenario.clone())
        .collect();
    let runs = all(&scenarios, seeds)?;
    let (mut ratios, mut maxima) = (vec![], vec![]);
    let mut rows = Vec::new();
    for (((name, _), runs), (rms, maximum)) in worlds.iter().zip(&runs).zip(peers) {
        let (ours, ours_maximum) = (runs.rms(), runs.maximum());
        let ratio = rms.ratio_to_better(ours.value);
        let maximum_ratio = maximum.ratio_to_better(ours_maximum.value);
        ratios.extend(ratio);
        maxima.extend(maximum_ratio);
        let mut row = vec![
            Cell::Text((*name).to_owned()),
            measured(ours),
            known(rms.chrony),
            known(rms.ntpd_rs),
            Cell::known(ratio, Cell::Ratio),
            measured(ours_maximum),
            known(maximum.chrony),
            known(maximum.ntpd_rs),
            Cell::known(maximum_ratio, Cell::Ratio),
            measured(runs.frequency()),
        ];
        row.extend(claims(runs));
        rows.push(row);
    }
    let mut head = vec![
        "world", "RMS", "chrony", "ntpd-rs", "/better", "maximum", "chrony ", "ntpd-rs ",
        "/better ", "freq",
    ];
    head.extend(CLAIMS_HEAD);
    let mut all = summary("RMS / better peer", &ratios).to_vec();
    all.extend(summary("maximum / better peer", &maxima));
    all.extend(claims_summary(&runs));
    Ok(Table {
        name,
        title: format!("{title}, {seeds} runs each"),
        head,
        rows,
        summary: all,
    })
}

fn further(seeds: u64) -> Result<Table, Violation> {
    let worlds: Vec<Scenario> = VariedWorld::ALL
        .iter()
        .map(|further| further.scenario())
        .collect();
    let runs = all(&worlds, seeds)?;
    let rows = VariedWorld::ALL.iter().zip(&runs).map(|(further, runs)| {
        let mut row = vec![
            Cell::Text(further.name().to_owned()),
            measured(runs.rms()),
            measured(runs.maximum()),
            Cell::Seconds(runs.interval()),
            measured(runs.frequency()),
        ];
        row.extend(claims(runs));
        row
    });
    let mut head = vec!["world", "RMS", "maximum", "every s", "freq"];
    head.extend(CLAIMS_HEAD);
    Ok(Table {
        name: "further",
        title: format!(
            "Scenarios without figures of peers, adaptive poll from 16 to 1024 s, {seeds} runs each"
        ),
        head,
        rows: rows.collect(),
        summary: claims_summary(&runs).to_vec(),
    })
}
