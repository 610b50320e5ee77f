//! Metrics of the running daemon for Prometheus, and a dashboard.
//!
//! # Problem
//! The daemon must not speak HTTP: a web server in the process that can set the clock is an
//! unnecessary risk. Yet its state should be available to monitoring systems, and to an operator
//! without one.
//!
//! # Idea
//! A separate process, with its own user and no right but to read the daemon's observation socket.
//! It reads the state on each request, and every two seconds for the history of the dashboard.
//! Everyone who can reach its address (by default only this machine) can read the state, but not a web
//! page that a browser on such a machine shows (`hosts`).
//!
//! | path | content |
//! |---|---|
//! | `/metrics` | OpenMetrics or the classic text, as the scraper prefers; so is every other path for a scraper, because upstream's exporter ignores the path |
//! | `/` | the dashboard, which fetches `/dashboard.css`, `/dashboard.js` and the next two |
//! | `/api/state` | state of the daemon, or the error, as JSON |
//! | `/api/history` | the last half hour or the last day as JSON |
//!
//! | module | content |
//! |---|---|
//! | `daemon` | reads the state of the daemon and explains errors |
//! | `process` | resources of the daemon's process, from the kernel |
//! | `families` | metrics of the exporter and the process |
//! | `chrony` | metrics under the names of chrony_exporter |
//! | `history` | bounded history |
//! | `hosts` | names under which requests are answered |
//! | `negotiation`, `service` | content negotiation and replies |
//! | `dashboard` | the dashboard |
//! | `connections` | bounded number of connections |
//!
//! # Bounds
//! One thread. A fixed number of connections (`connections`), of which a new one replaces the
//! oldest; eight kilobytes of request; five seconds for its head and a minute for a connection. The
//! daemon is read at most four times a second, whatever the number of requests. The history is two
//! rings of fixed length with at most sixteen sources each, at most 1.3 MB.
//!
//! If the daemon does not reply, a scrape still succeeds: `ntp_up` is 0 and
//! `ntp_exporter_observation` has the reason, so that "daemon down" and "exporter down" are
//! different alerts. (Upstream replies with an empty error 500.)
#![forbid(unsafe_code)]

mod chrony;
mod cli;
mod connections;
mod daemon;
mod dashboard;
mod families;
mod history;
mod hosts;
mod log;
mod negotiation;
mod process;
mod service;

use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use ntp_config::Config;
use tokio::net::TcpListener;
use tokio::task::LocalSet;
use tracing::{info, warn};

pub use cli::command;
pub use families::{OBSERVATION, OWN};

use cli::Cli;
use daemon::Daemon;
use service::Service;

/// Exit code of failures without one of their own.
const FAILURE: u8 = 1;
/// EX_SOFTWARE: the log file cannot be opened.
const SOFTWARE: u8 = 70;
/// EX_CONFIG: invalid configuration.
const CONFIG: u8 = 78;

/// Interval of attempts to listen.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);

/// Runs the exporter.
pub fn main() -> ExitCode {
    let cli = match Cli::from_arguments() {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    let config = match ntp_config::load(cli.config.as_deref()) {
        Ok(loaded) => loaded.config,
        Err(problem) => {
            eprintln!("Could not load configuration: {problem}");
            return ExitCode::from(CONFIG);
        }
    };
    let observability = &config.observability;
    if let Err(problem) = log::start(observability) {
        eprintln!(
            "Could not open the log: {problem} (see `log-path-metrics-exporter` in [observability])"
        );
        return ExitCode::from(SOFTWARE);
    }
    let Some(path) = observability.observation_path.clone() else {
        eprintln!(
            "No `observation-path` in the configuration, so the daemon creates no socket. Add\n\n    \
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
            eprintln!("Could not start: {problem}");
            return ExitCode::from(FAILURE);
        }
    };
    let service = Rc::new(Service::new(
        Daemon::new(path),
        cli.chrony_names,
        &observability.metrics_exporter_hosts,
    ));
    LocalSet::new().block_on(&runtime, run(&config, service));
    ExitCode::SUCCESS
}

/// Serves requests. Does not return.
async fn run(config: &Config, service: Rc<Service>) {
    let listener = listen(config).await;
    if let Err(problem) = sd_notify::notify(&[sd_notify::NotifyState::Ready]) {
        warn!("cannot notify the service manager: {problem}");
    }
    tokio::task::spawn_local(service::record_history(Rc::clone(&service)));
    connections::serve(listener, service).await;
}

/// Listens on the configured address; retries, because its interface may not be up yet.
async fn listen(config: &Config) -> TcpListener {
    let address = config.observability.metrics_exporter_listen;
    let mut logged = None;
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => {
                let address = listener.local_addr().unwrap_or(address);
                info!("starting ntp-metrics-exporter on http://{address}/");
                return listener;
            }
            Err(problem) => {
                if logged.replace(problem.kind()) != Some(problem.kind()) {
                    warn!(
                        "cannot listen on {address}: {problem} (see [observability] metrics-exporter-listen); trying again every {} s",
                        RETRY_INTERVAL.as_secs()
                    );
                }
                tokio::time::sleep(RETRY_INTERVAL).await;
            }
        }
    }
}
