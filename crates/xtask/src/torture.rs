//! `cargo xtask torture`: the long runs of [`ntp_e2e::torture`].

use ntp_e2e::torture::{power, restarts};

/// What the command line says.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// The process is killed with SIGKILL, and started again.
    Restarts {
        /// How often.
        #[arg(long, default_value_t = 1000)]
        count: usize,
        /// Daemons at a time.
        #[arg(long, default_value_t = 8)]
        lanes: usize,
        /// Decides when.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// A virtual machine loses its power, and its disk what it was not asked to keep.
    Power {
        /// How often.
        #[arg(long, default_value_t = 200)]
        count: usize,
        /// Decides when, and what is lost.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
}

/// Does it, and says what came of it.
///
/// # Errors
/// If this machine lacks something; a broken promise ends the program with the log of that life.
pub(crate) fn torture(arguments: &Arguments) -> Result<(), String> {
    match arguments.what {
        What::Restarts { count, lanes, seed } => {
            let tally = restarts::torture(count, lanes, seed);
            println!("{tally:#?}\nevery start succeeded, and what was promised was there");
        }
        What::Power { count, seed } => {
            if let Some(missing) = ntp_e2e::vm::missing() {
                return Err(format!(
                    "no virtual machines: {missing} (see .ci/install-arenas)"
                ));
            }
            let tally = power::torture(count, seed);
            println!("{tally:#?}\nevery start succeeded, and every promise was kept");
        }
    }
    Ok(())
}
