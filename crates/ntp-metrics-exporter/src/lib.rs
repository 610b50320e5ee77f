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
//! | `/` | the dashboard, which fetches `/dashboard.css`, `/plots.js`, `/dashboard.js` and the next two |
//! | `/api/state` | state of the daemon, or the error, as JSON |
//! | `/api/history` | the last half hour or the last day, and what changed, as JSON |
//!
//! | module | content |
//! |---|---|
//! | `daemon` | reads the state of the daemon and explains errors |
//! | `process` | resources of the daemon's process, from the kernel |
//! | `families` | metrics of the exporter and the process |
//! | `chrony` | metrics under the names of chrony_exporter |
//! | `history`, `journal` | bounded history: values over time, and what changed |
//! | `store` | the file that keeps the history across restarts |
//! | `hosts` | names under which requests are answered |
//! | `negotiation`, `service` | content negotiation and replies |
//! | `dashboard` | the dashboard |
//! | `connections` | bounded number of connections |
//!
//! # Bounds
//! One thread. A fixed number of connections (`connections`), of which a new one replaces the
//! oldest; eight kilobytes of request; five seconds for its head and a minute for a connection. The
//! daemon is read at most four times a second, whatever the number of requests. The history is two
//! rings of fixed length with at most sixteen sources each, at most 1.3 MB; its file has at most 4 MiB.
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
mod journal;
mod log;
mod negotiation;
mod process;
mod service;
mod store;

use std::env;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use ntp_config::ObservabilityConfig;
use ntp_udp::signals;
use tokio::net::TcpListener;
use tokio::task::LocalSet;

pub use cli::command;
pub use families::{OBSERVATION, OWN};

use cli::Cli;
use daemon::Daemon;
use service::Service;
use store::Store;

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
    let store = Store::new(history_path(observability));
    if store.is_present()
        && let Err(problem) = signals::install()
    {
        eprintln!("Could not handle signals: {problem}");
        return ExitCode::from(SOFTWARE);
    }
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
        store,
        cli.chrony_names,
        &observability.metrics_exporter_hosts,
    ));
    LocalSet::new().block_on(
        &runtime,
        run(observability.metrics_exporter_listen, service),
    );
    ExitCode::SUCCESS
}

/// Returns the file of the history: as configured, or in the directory that the service manager made
/// (systemd.exec(5), `CacheDirectory=`).
fn history_path(config: &ObservabilityConfig) -> Option<PathBuf> {
    let configured = config.metrics_exporter_history_path.clone();
    configured.or_else(|| {
        let directories = env::var_os("CACHE_DIRECTORY")?;
        // The first of several, which are separated by colons.
        let first = env::split_paths(&directories).next()?;
        first.is_absolute().then(|| first.join("history"))
    })
}

/// Serves requests and records the history. Returns when the process shall end.
async fn run(address: SocketAddr, service: Rc<Service>) {
    tokio::task::spawn_local(serve(address, Rc::clone(&service)));
    service::record_history(service).await;
}

/// Listens and serves requests. Does not return.
async fn serve(address: SocketAddr, service: Rc<Service>) {
    let listener = listen(address).await;
    if let Err(problem) = sd_notify::notify(&[sd_notify::NotifyState::Ready]) {
        log::warn(format_args!("cannot notify the service manager: {problem}"));
    }
    connections::serve(listener, service).await;
}

/// Binds an address, or the IPv4 wildcard in place of the one of both families if this kernel has no
/// IPv6.
async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let unsupported = rustix::io::Errno::AFNOSUPPORT.raw_os_error();
    let error = match TcpListener::bind(address).await {
        Err(error) if error.raw_os_error() == Some(unsupported) => error,
        result => return result,
    };
    if address != SocketAddr::from((Ipv6Addr::UNSPECIFIED, address.port())) {
        return Err(error);
    }
    TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
}

/// Listens on the configured address; retries, because its interface may not be up yet.
async fn listen(address: SocketAddr) -> TcpListener {
    let mut logged = None;
    loop {
        match bind(address).await {
            Ok(listener) => {
                let address = listener.local_addr().unwrap_or(address);
                log::info(format_args!(
                    "starting ntp-metrics-exporter on http://{address}/"
                ));
                return listener;
            }
            Err(problem) => {
                if logged.replace(problem.kind()) != Some(problem.kind()) {
                    log::warn(format_args!(
                        "cannot listen on {address}: {problem} (see [observability] metrics-exporter-listen); trying again every {} s",
                        RETRY_INTERVAL.as_secs()
                    ));
                }
                tokio::time::sleep(RETRY_INTERVAL).await;
            }
        }
    }
}
