//! `cargo xtask accuracy`: accuracy in simulated scenarios, compared with chrony and ntpd-rs.
//!
//! Prints one table per question: a grid of networks (mean queueing delay J) and oscillators
//! (wander W) at a fixed poll interval, at an adaptive one, and at one that sends no more packets
//! than a peer; other scenarios; cold starts. Each figure is pooled over many seeds, with its
//! standard error; the figures of the peers are constants (`peers`). `--svg` plots single runs.

mod examples;
mod measure;
mod peers;
mod plot;
mod refclocks;
mod starts;
mod table;
mod tables;

use std::path::PathBuf;

use tables::TableKind;

/// Arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Runs of each scenario.
    #[arg(long, default_value_t = 24)]
    seeds: u64,
    /// Four runs of each scenario: accurate to ten percent.
    #[arg(long)]
    quick: bool,
    /// Only these tables.
    #[arg(long, value_name = "NAME")]
    table: Vec<TableKind>,
    /// Plot single runs into this directory instead of measuring.
    #[arg(long, value_name = "DIR")]
    svg: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Measures and prints the tables.
pub(crate) fn accuracy(arguments: &Arguments) -> Result<(), String> {
    if let Some(directory) = &arguments.svg {
        return examples::draw(directory);
    }
    let seeds = if arguments.quick {
        4
    } else {
        arguments.seeds.max(1)
    };
    let wanted = if arguments.table.is_empty() {
        TableKind::ALL.to_vec()
    } else {
        arguments.table.clone()
    };
    let mut collected = Vec::new();
    for which in wanted {
        let table = which
            .measure(seeds)
            .map_err(|violation| violation.to_string())?;
        if arguments.json {
            collected.push(table.json());
        } else {
            println!("{table}");
        }
    }
    if arguments.json {
        println!("{:#}", serde_json::Value::Array(collected));
    }
    Ok(())
}
