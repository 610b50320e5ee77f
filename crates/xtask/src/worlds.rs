//! `cargo xtask worlds`: thousands of random scenarios with faults and attackers, in which
//! invariants must hold.

use core::ops::Range;

use ntp_sim::{random_receiver_world, random_world, run};

/// Arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Seeds of the scenarios, `FROM..TO`.
    #[arg(long, default_value = "0..10000", value_parser = range)]
    seeds: Range<u64>,
    /// Put reference clocks beside the servers, right and wrong ones.
    #[arg(long)]
    receivers: bool,
}

fn range(text: &str) -> Result<Range<u64>, String> {
    let wrong = || format!("{text:?} is not a range like 0..10000");
    let (from, to) = text.split_once("..").ok_or_else(wrong)?;
    let number = |text: &str| text.parse::<u64>().map_err(|_| wrong());
    let range = number(from)?..number(to)?;
    if range.is_empty() {
        Err(wrong())
    } else {
        Ok(range)
    }
}

/// Simulates all scenarios of the range.
///
/// # Errors
/// Each violated invariant, with the command that reproduces it.
pub(crate) fn worlds(arguments: &Arguments) -> Result<(), String> {
    let first = arguments.seeds.start;
    let count = usize::try_from(arguments.seeds.end - first).map_err(|error| error.to_string())?;
    let (draw, option) = if arguments.receivers {
        (random_receiver_world as fn(u64) -> _, " --receivers")
    } else {
        (random_world as fn(u64) -> _, "")
    };
    let violations = crate::parallel::map(count, |index| {
        let seed = first + index as u64;
        let violation = run(&draw(seed), seed).err()?;
        Some(format!(
            "{violation}\nreproduce: cargo xtask worlds{option} --seeds {seed}..{}",
            seed + 1
        ))
    });
    let violations: Vec<String> = violations.into_iter().flatten().collect();
    println!("{count} scenarios, {} violations", violations.len());
    if violations.is_empty() {
        Ok(())
    } else {
        Err(violations.join("\n\n"))
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
