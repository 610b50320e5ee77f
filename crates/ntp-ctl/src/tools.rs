//! Commands that need no running daemon: they read files, or run the daemon's code themselves.
//!
//! They are most of this program, and a small build leaves them out (feature `tools`).

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Subcommand;
use ntp_time::SystemTime;

use crate::console::{Console, Failure};
use crate::force_sync::{self, ForceSync};
use crate::format::time;
use crate::migrate::{self, Migrate};
use crate::one_shot::OpenOneShot;
use crate::output_format::Format;
use crate::{replay, report, trial};

#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub(crate) enum Tool {
    /// Replay the recorded inputs of a daemon and compare the decisions
    Replay {
        /// The record: the file of `record-path`, or an older one (`NAME.1`)
        file: PathBuf,

        /// Write a plot of offset, bound and measurements to this file
        #[arg(long, value_name = "FILE")]
        svg: Option<PathBuf>,

        /// Show identical decisions, too
        #[arg(long)]
        all: bool,
    },
    /// Report how accurate the clock was, for auditors, from the history of the daemon
    Report {
        /// First day or time, UTC: 2026-11-01 or 2026-11-01T08:00:00Z [default: the oldest]
        #[arg(long, value_name = "TIME")]
        from: Option<SystemTime>,

        /// End of the time, not included [default: the newest]
        #[arg(long, value_name = "TIME")]
        to: Option<SystemTime>,

        /// Limit of the error bound; the time outside each limit is reported
        #[arg(long = "limit", value_name = "TIME", value_parser = time, default_values = ["100us", "1ms", "50ms"])]
        limits: Vec<Duration>,

        /// Write a plot to this file
        #[arg(long, value_name = "FILE")]
        svg: Option<PathBuf>,

        /// Directory of the history [default: `history` in the state directory]
        #[arg(long, value_name = "PATH")]
        directory: Option<PathBuf>,
    },
    /// Set the clock once from the configured sources, without the daemon; asks for confirmation
    ForceSync(ForceSync),
    /// Convert the configuration of another time daemon to ntp.toml
    ///
    /// Files that it includes and the options of the service in /etc/default or /etc/sysconfig are
    /// converted, too.
    Migrate(Migrate),
    /// Run the daemon beside the time daemon of this machine, and compare their opinions
    ///
    /// The clock is not changed, nothing is served, and nothing is left behind. Ctrl-C ends the
    /// trial with the summary so far.
    Trial(trial::Options),
}

impl Tool {
    pub(crate) const fn is_report(&self) -> bool {
        matches!(self, Self::Report { .. })
    }

    pub(crate) fn run(
        &self,
        config: Option<&Path>,
        format: Format,
        open: OpenOneShot<'_>,
        console: &mut Console<'_>,
    ) -> Result<(), Failure> {
        let json = format == Format::Json;
        match self {
            Self::Migrate(options) => migrate::run(config, options, json, console),
            Self::Trial(options) => trial::run(config, options, json, console),
            Self::Replay { file, svg, all } => {
                replay::run(file, svg.as_deref(), *all, json, console)
            }
            Self::Report {
                from,
                to,
                limits,
                svg,
                directory,
            } => {
                let wanted = report::Wanted {
                    from: *from,
                    to: *to,
                    limits,
                    picture: svg.as_deref(),
                    directory: directory.as_deref(),
                };
                report::run(config, &wanted, format, console)
            }
            Self::ForceSync(options) => force_sync::run(config, options, json, open, console),
        }
    }
}
