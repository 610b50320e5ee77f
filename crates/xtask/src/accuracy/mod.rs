//! `cargo xtask accuracy`: how well we keep time, beside chrony and ntpd-rs in the same worlds.
//!
//! Prints one table per question: a grid of networks (mean queue J) and oscillators (wander W) at a fixed poll interval, with a free one, and
//! with one that sends no more packets than a peer does; other worlds; cold starts. Each figure is pooled over
//! many seeds, with its standard error; the peers' figures are data (`peers`). `--svg` draws what single runs look like.

mod measure;
mod peers;
mod plot;
mod scenes;
mod table;
mod tables;

use std::path::PathBuf;

use tables::Which;

/// What the command line says.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Runs of each world.
    #[arg(long, default_value_t = 24)]
    seeds: u64,
    /// Four runs of each world: good to ten percent.
    #[arg(long)]
    quick: bool,
    /// Only these tables.
    #[arg(long, value_name = "NAME")]
    table: Vec<Which>,
    /// Draw single runs into this directory instead of measuring.
    #[arg(long, value_name = "DIR")]
    svg: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Measures and prints.
pub(crate) fn accuracy(arguments: &Arguments) -> Result<(), String> {
    if let Some(directory) = &arguments.svg {
        return scenes::draw(directory);
    }
    let seeds = if arguments.quick {
        4
    } else {
        arguments.seeds.max(1)
    };
    let wanted = if arguments.table.is_empty() {
        Which::ALL.to_vec()
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
