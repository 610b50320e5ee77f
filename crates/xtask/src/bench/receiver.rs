//! `cargo xtask bench receiver`: the clock behind a receiver, beside chronyd's.
//!
//! A program sends a sample each second to the daemon's socket, with a normal error of 1 us, on a
//! machine whose oscillator wanders by 1e-9; there are no other sources. It is the world "PPS 1 us
//! alone" of `cargo xtask accuracy --table refclocks`, with real programs and a real kernel
//! (`guests.rs`): both daemons get the same number of samples with the same errors.
//!
//! chronyd passes samples through a median filter, a result for each polling interval (default 16
//! s). It is measured at its default and at shorter intervals, since its best one depends on the
//! oscillator.

use clap::Args;
use ntp_sim::clock_worlds::ClockWorld;

use super::figures::Figure;
use crate::guests::{self, Daemon, Surroundings};
use crate::parallel;

/// Arguments.
#[derive(Debug, Args)]
pub(crate) struct Plan {
    /// Runs of each daemon.
    #[arg(long, default_value_t = 4)]
    seeds: u64,
    /// Intervals of chronyd, as powers of two.
    #[arg(long, value_delimiter = ',', default_value = "4,2,0")]
    polls: Vec<i8>,
}

/// Time that does not count, and time that counts, in seconds.
const SETTLE: u32 = 2_000;
const MEASURED: u32 = 8_000;

/// Runs both daemons and prints their errors.
pub(crate) fn bench(plan: &Plan) -> Result<(), String> {
    guests::required()?;
    println!(
        "A sample each second with an error of 1 us, W 1e-9; RMS error of the clock over {MEASURED} s, median of {} runs; \
         the optimal filter reaches {:.0} ns",
        plan.seeds,
        ClockWorld::Pulse.limit() * 1e9
    );
    let ours = errors(plan, Daemon::Ours, 4);
    print("ntpd-rs", &ours, &ours);
    for &poll in &plan.polls {
        let theirs = errors(plan, Daemon::Chronyd, poll);
        print(&format!("chronyd, poll {poll}"), &theirs, &ours);
    }
    Ok(())
}

fn print(name: &str, errors: &[f64], ours: &[f64]) {
    let ratios = ours.iter().zip(errors).map(|(ours, theirs)| ours / theirs);
    let errors = errors.iter().copied();
    if let Some((error, ratio)) = Figure::of(errors).zip(Figure::of(ratios)) {
        let (error, ratio) = (error.median * 1e9, ratio.median);
        println!("{name:16} {error:6.0} ns   ours / this {ratio:.2}");
    }
}

/// RMS error of the clock for each seed, in seconds.
fn errors(plan: &Plan, daemon: Daemon, poll: i8) -> Vec<f64> {
    let count = usize::try_from(plan.seeds).unwrap_or(usize::MAX);
    parallel::map(count, |seed| {
        let report = surroundings(poll, seed as u64 + 1).run(daemon);
        report.named("watch", "measured").number("rms_offset")
    })
}

fn surroundings(poll: i8, seed: u64) -> Surroundings {
    const SOCKET: &str = "/run/receiver.sock";
    Surroundings {
        ours: format!(
            "[synchronization]\nminimum-agreeing-sources = 1\n\
             [[source]]\nmode = \"sock\"\npath = \"{SOCKET}\"\nprecision = 1e-6\naccuracy = 1e-5\n"
        ),
        chronyd: format!("refclock SOCK {SOCKET} poll {poll} precision 1e-6\n"),
        sources: format!("truth receiver {SOCKET} --jitter 1e-6 --seed {seed} &"),
        course: format!("sleep {SETTLE}\nwatch measured {MEASURED} 1"),
        wander: 1e-9,
        seed,
        hours: f64::from(SETTLE + MEASURED) / 3600.0,
    }
}
