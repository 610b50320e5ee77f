//! The table of cold starts.

use ntp_sim::{Scenario, Violation, World};

use super::measure::quantile;
use super::peers::{STARTS, Start};
use super::table::{Cell, Table};

/// Result of a cold start.
struct StartResult {
    /// Seconds until the error stays below 10 ms, 1 ms and 100 us.
    settled: [f64; 3],
    /// RMS error from 2000 to 4000 s, seconds.
    rms: f64,
    /// Packets in the first 16, 300 and 4000 s.
    packets: [u64; 3],
}

fn run(start: &Start, seed: u64) -> Result<StartResult, Violation> {
    let scenario = Scenario::cold_start(start.queue, start.offset, start.frequency, start.known);
    let mut world = World::new(&scenario, seed);
    let mut packets = [0; 3];
    for (packets, end) in packets.iter_mut().zip([16.0, 300.0, 4000.0]) {
        world.run(end)?;
        *packets = world.journal().requests;
    }
    let rms = world.report().rms;
    world.run(scenario.duration)?;
    Ok(StartResult {
        settled: world.report().settled_below,
        rms,
        packets,
    })
}

/// Measures the starts. They are short and vary much: ten times as many runs.
pub(crate) fn table(seeds: u64) -> Result<Table, Violation> {
    let seeds = 10 * seeds;
    let per_start = usize::try_from(seeds).unwrap_or(1).max(1);
    let results = crate::parallel::map(STARTS.len() * per_start, |job| {
        run(&STARTS[job / per_start], (job % per_start) as u64)
    });
    let results: Vec<StartResult> = results.into_iter().collect::<Result<_, _>>()?;
    let rows = STARTS.iter().zip(results.chunks(per_start));
    Ok(Table {
        name: "start",
        title: format!("Cold start: seconds until the error stays below, median of {seeds}"),
        head: vec![
            "start",
            "10 ms",
            "chrony",
            "1 ms",
            "90 %",
            "chrony ",
            "ntpd-rs ",
            "100 us",
            "90 % ",
            "chrony  ",
            "RMS 2-4 ks",
            "chrony   ",
            "packets < 16 s",
            "< 300 s",
            "< 4000 s",
        ],
        rows: rows.map(|(start, results)| row(start, results)).collect(),
        summary: Vec::new(),
    })
}

fn row(start: &Start, results: &[StartResult]) -> Vec<Cell> {
    let over = |of: &dyn Fn(&StartResult) -> f64, share| {
        let values: Vec<f64> = results.iter().map(of).collect();
        quantile(&values, share)
    };
    let seconds = |of: &dyn Fn(&StartResult) -> f64, share| Cell::Seconds(over(of, share));
    let peer = |value| Cell::known(value, Cell::Seconds);
    let known = start.known.map_or(String::new(), |known| {
        format!(", known as {:+.1}", known * 1e6)
    });
    let name = format!(
        "{} s, {:+.0} ppm{known}, J {:e}",
        start.offset,
        start.frequency * 1e6,
        start.queue
    );
    let [ten, one, tenth] = start.settled;
    vec![
        Cell::Text(name),
        seconds(&|result| result.settled[0], 0.5),
        peer(ten.chrony),
        seconds(&|result| result.settled[1], 0.5),
        seconds(&|result| result.settled[1], 0.9),
        peer(one.chrony),
        peer(one.ntpd_rs),
        seconds(&|result| result.settled[2], 0.5),
        seconds(&|result| result.settled[2], 0.9),
        peer(tenth.chrony),
        Cell::Small(over(&|result| result.rms, 0.5)),
        Cell::known(start.rms.chrony, Cell::Small),
        seconds(&|result| result.packets[0] as f64, 1.0),
        seconds(&|result| result.packets[1] as f64, 1.0),
        seconds(&|result| result.packets[2] as f64, 0.5),
    ]
}
