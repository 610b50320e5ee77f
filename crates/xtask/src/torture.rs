//! `cargo xtask torture`: long runs of the crash tests of [`ntp_e2e::torture`].

use ntp_e2e::torture::{power, restarts};

/// Arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    test: Test,
}

#[derive(Debug, clap::Subcommand)]
enum Test {
    /// Kill the process with SIGKILL, and restart it.
    Restarts {
        /// Number of restarts.
        #[arg(long, default_value_t = 1000)]
        count: usize,
        /// Daemons at the same time.
        #[arg(long, default_value_t = 8)]
        lanes: usize,
        /// Seed of the random times.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Power off a virtual machine; its disk loses data that was not synced.
    Power {
        /// Number of restarts.
        #[arg(long, default_value_t = 200)]
        count: usize,
        /// Seed of the random times and losses.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
}

/// Runs the test and prints the result.
///
/// # Errors
/// If a requirement is missing; a violated invariant panics with the log of that run.
pub(crate) fn torture(arguments: &Arguments) -> Result<(), String> {
    match arguments.test {
        Test::Restarts { count, lanes, seed } => {
            let counters = restarts::torture(count, lanes, seed);
            println!("{counters:#?}\nevery start succeeded, and all saved state was present");
        }
        Test::Power { count, seed } => {
            if let Some(missing) = ntp_e2e::vm::missing() {
                return Err(format!(
                    "no virtual machines: {missing} (see .ci/install-arenas)"
                ));
            }
            let counters = power::torture(count, seed);
            println!("{counters:#?}\nevery start succeeded, and all synced state was present");
        }
    }
    Ok(())
}
