//! Metrics of the running daemon for Prometheus, and a page that shows them to people.
//!
//! # Problem
//! The daemon must not speak HTTP: a web server next to the right to set the clock is an invitation. But its state
//! should be seen where everything else is seen, and an operator should be able to look at it without setting up a monitoring system first.
//!
//! # Idea
//! Another process, of another user, without any right but to read the daemon's observation socket. It asks the daemon
//! when it is asked itself, and every two seconds for the page's history; what it knows it can tell to anyone who may reach its address
//! (by default only this machine).
//!
//! | path | what is there |
//! |---|---|
//! | `/metrics` | OpenMetrics or the classic text, as the scraper prefers; so is every other path if a scraper asks, because upstream's exporter answers everywhere |
//! | `/` | the page, which fetches the next two |
//! | `/api/state` | the daemon's state, or why there is none, as JSON |
//! | `/api/history` | the last half hour or the last day as JSON |
//!
//! | module | what it does |
//! |---|---|
//! | `daemon` | asks the daemon, and says what is wrong if it does not answer |
//! | `process` | what the kernel says about the daemon's process |
//! | `families` | the metrics that are about the exporter and the process |
//! | `chrony` | the same facts under the names of chrony's exporter |
//! | `history` | the bounded past |
//! | `negotiation`, `answer` | which request gets which reply |
//! | `dashboard` | the page |
//! | `connections` | the bounded crowd of clients |
//!
//! # Bounds
//! One thread. At most a fixed number of clients (`connections`), of which the oldest gives way to a newcomer; eight kilobytes of request; five seconds for
//! its head and a minute for a connection. The daemon is asked four times a second at most, however many ask us. The history is two rings of
//! fixed length with at most sixteen sources each, below a megabyte.
//!
//! If the daemon does not answer, a scrape still succeeds: `ntp_up` is 0 and `ntp_exporter_observation` says why, so that "the daemon is
//! down" and "the exporter is down" are two alerts. (Upstream answers with an empty error 500.)
#![forbid(unsafe_code)]

mod answer;
mod chrony;
mod cli;
mod connections;
mod daemon;
mod dashboard;
mod families;
mod history;
mod log;
mod negotiation;
mod process;

use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use ntp_config::Config;
use tokio::net::TcpListener;
use tokio::task::LocalSet;
use tracing::{info, warn};

pub use cli::command;
pub use families::{OBSERVATION, OWN};

use answer::Site;
use cli::Cli;
use daemon::Daemon;

/// Everything went wrong that has no code of its own.
const FAILURE: u8 = 1;
/// EX_SOFTWARE: the log cannot be opened.
const SOFTWARE: u8 = 70;
/// EX_CONFIG: the configuration cannot be used.
const CONFIG: u8 = 78;

/// How long to wait before the address is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// The exporter's whole life.
pub fn main() -> ExitCode {
    let cli = match Cli::read() {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    let config = match ntp_config::load(cli.config.as_deref()) {
        Ok(loaded) => loaded.config,
        Err(problem) => {
            eprintln!("There was an error loading the config: {problem}");
            return ExitCode::from(CONFIG);
        }
    };
    let observability = &config.observability;
    if let Err(problem) = log::start(observability) {
        eprintln!("cannot open the log: {problem} (see [observability] log-path-metrics-exporter)");
        return ExitCode::from(SOFTWARE);
    }
    let Some(path) = observability.observation_path.clone() else {
        eprintln!(
            "The configuration has no `observation-path`, and without it the daemon tells its state to nobody. Add\n\n    \
             [observability]\n    observation-path = \"{}\"\n\nand restart the daemon.",
            ntp_control_api::observation::DEFAULT_PATH
        );
        return ExitCode::from(FAILURE);
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(problem) => {
            eprintln!("cannot start: {problem}");
            return ExitCode::from(FAILURE);
        }
    };
    let site = Rc::new(Site::new(Daemon::at(path), cli.chrony_names));
    LocalSet::new().block_on(&runtime, run(&config, site));
    ExitCode::SUCCESS
}

/// Ends only with the process.
async fn run(config: &Config, site: Rc<Site>) {
    let listener = listen(config).await;
    if let Err(problem) = sd_notify::notify(&[sd_notify::NotifyState::Ready]) {
        warn!("cannot notify the service manager: {problem}");
    }
    tokio::task::spawn_local(answer::keep_history(Rc::clone(&site)));
    connections::serve(listener, site).await;
}

/// Listens at the configured address, as soon as that is possible: it may belong to an interface that is not up yet.
async fn listen(config: &Config) -> TcpListener {
    let address = config.observability.metrics_exporter_listen;
    let mut told = None;
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => {
                let address = listener.local_addr().unwrap_or(address);
                info!("starting ntp-metrics-exporter on http://{address}/");
                return listener;
            }
            Err(problem) => {
                if told.replace(problem.kind()) != Some(problem.kind()) {
                    warn!(
                        "cannot listen on {address}: {problem} (see [observability] metrics-exporter-listen); trying again every {} s",
                        RETRY.as_secs()
                    );
                }
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}
