//! `cargo xtask worlds`: thousands of random worlds with faults and attackers, and what must hold in all of them.

use core::ops::Range;

use ntp_sim::{random_world, run};

/// What the command line says.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Which worlds, `FROM..TO`.
    #[arg(long, default_value = "0..10000", value_parser = range)]
    seeds: Range<u64>,
}

fn range(text: &str) -> Result<Range<u64>, String> {
    let wrong = || format!("{text:?} is no range like 0..10000");
    let (from, to) = text.split_once("..").ok_or_else(wrong)?;
    let number = |text: &str| text.parse::<u64>().map_err(|_| wrong());
    let range = number(from)?..number(to)?;
    if range.is_empty() {
        Err(wrong())
    } else {
        Ok(range)
    }
}

/// Plays all worlds of the range.
///
/// # Errors
/// Each promise that was broken, with the command that shows it again.
pub(crate) fn worlds(arguments: &Arguments) -> Result<(), String> {
    let first = arguments.seeds.start;
    let count = usize::try_from(arguments.seeds.end - first).map_err(|error| error.to_string())?;
    let broken = crate::parallel::map(count, |index| {
        let seed = first + index as u64;
        let violation = run(&random_world(seed), seed).err()?;
        Some(format!(
            "{violation}\nagain: cargo xtask worlds --seeds {seed}..{}",
            seed + 1
        ))
    });
    let broken: Vec<String> = broken.into_iter().flatten().collect();
    println!("{count} worlds, {} broken", broken.len());
    if broken.is_empty() {
        Ok(())
    } else {
        Err(broken.join("\n\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_checked() {
        assert_eq!(range("3..5"), Ok(3..5));
        for wrong in ["", "3", "5..3", "a..b", "3..3"] {
            assert!(range(wrong).is_err(), "{wrong}");
        }
    }
}
