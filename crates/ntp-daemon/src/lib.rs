//! The daemon: sockets, clock, files and signals around the [engine](ntp_proto::engine).
//!
//! | module | content |
//! |---|---|
//! | [`runtime`] | the event loop and the driver of the engine |
//! | [`nts`] | cookie keys; key exchange with servers and clients |
//! | [`serve`] | the threads that serve time |
//! | [`convert`], [`listeners`] | convert the configuration file for the engine and the servers |
//! | `resolve` | resolves names, off the main thread |
//! | `leap_list` | the leap second list |
//! | `persist` | the state directory |
//! | `record` | the record of the engine's inputs |
//! | `control` | the control socket: read state and change configuration |
//! | [`status`] | the status of the daemon, for all readers |
//! | [`clockbound`] | the time with its error bound, in shared memory |
//! | [`observation_socket`], [`observation`] | the observation socket, and its JSON |
//! | `chronyc` | the sockets for chronyc |
//! | [`one_shot`] | measures and sets the clock once, without a daemon |
//! | [`sandbox`] | drops privileges once everything is open |
//! | `service_manager` | notifications to systemd |
//! | `history` | the history of the clock's accuracy |
//! | `join` | waits for threads when the daemon ends |
//! | [`log`], [`cli`], [`exit`] | log output, command line, exit codes |
//!
//! It is a library, so that the demo and tests can run the real daemon in their own process.
#![forbid(unsafe_code)]
#![cfg_attr(
    not(feature = "nts"),
    allow(dead_code, unused_imports, reason = "for the key exchange")
)]

mod chronyc;
pub mod cli;
pub mod clockbound;
mod control;
pub mod convert;
pub mod exit;
mod history;
mod join;
mod leap_list;
pub mod listeners;
pub mod log;
#[cfg(not(any(feature = "nts", feature = "without-nts")))]
compile_error!(
    "choose the cryptography of NTS by one of the features `ring` (the default), `aws-lc-rs`, \
     `openssl` and `aws-lc-fips`, or `without-nts`"
);
pub mod nts;
pub mod observation;
pub mod observation_socket;
pub mod one_shot;
mod persist;
mod record;
mod resolve;
pub mod runtime;
pub mod sandbox;
pub mod serve;
mod service_manager;
pub mod status;
mod tasks;

use std::io;
use std::os::fd::BorrowedFd;
use std::process::ExitCode;

use ntp_config::{Config, Loaded, SandboxMode, build};
use ntp_os_clock::{Clock, ClockError, SystemClock, UnsteeredClock, monotonic_source};
use ntp_proto::engine::{EngineConfig, TimePrior};
use ntp_proto::keys::KeyRing;
use ntp_time::SystemTime;
use ntp_types::event::{Event, Prose};
use ntp_udp::signals;

pub use chronyc::ChronycSockets;
use cli::Cli;
use clockbound::ClockBound;
use control::{CommandHandler, Control, ControlListener, StartupContext};
pub use history::History;
pub use leap_list::LeapList;
use log::LogFile;
use nts::CookieKeys;
use observation_socket::ObservationSocket;
pub use persist::Store;
pub use record::Recorder;
use runtime::{DisruptionMonitor, Ending, Failure, Parts, RefClocks, Runtime};
use serve::Bound;
use service_manager::ServiceManager;

/// Runs the daemon until it exits.
pub fn main() -> ExitCode {
    let cli = match Cli::read() {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    let loaded = match ntp_config::load(cli.config.as_deref()) {
        Ok(loaded) => loaded,
        Err(problem) => {
            eprintln!("There was an error loading the config: {problem}");
            return exit::code(exit::CONFIG);
        }
    };
    let unsupported = loaded.config.unsupported();
    if !unsupported.is_empty() {
        for lacking in &unsupported {
            eprintln!("{lacking}\n");
        }
        eprintln!("The configuration is valid, but this build cannot do all of it: see above");
        return exit::code(exit::CONFIG);
    }
    let observability = &loaded.config.observability;
    let level = cli
        .log_level
        .or(observability.log_level)
        .unwrap_or_default();
    let log_file = match log::start(level, observability) {
        Ok(log) => log,
        Err(problem) => {
            let path = observability
                .log_path
                .as_deref()
                .unwrap_or_else(|| "standard output".as_ref());
            eprintln!(
                "cannot open the log {}: {problem} (see [observability] log-path)",
                path.display()
            );
            return exit::code(exit::SOFTWARE);
        }
    };
    let sandbox = cli.sandbox.unwrap_or(loaded.config.sandbox.mode);
    exit::code(run(cli, loaded, sandbox, log_file.as_ref()))
}

fn run(cli: Cli, loaded: Loaded, sandbox: SandboxMode, log_file: Option<&LogFile>) -> u8 {
    log::emit(&Event::DaemonStarting {
        version: env!("CARGO_PKG_VERSION").to_owned(),
    });
    log::emit(&Event::ConfigurationRead {
        path: loaded.path.as_ref().map(|path| path.display().to_string()),
    });
    log::emit_warnings(&loaded);
    sandbox::raise_permitted_capabilities();
    if let Err(problem) = signals::install() {
        return failed(log_file, &format!("cannot catch signals: {problem}"));
    }
    // OpenSSL reads files when it is initialised, and takes a tenth of a second in FIPS mode: not
    // when the thread of timekeeping first states it.
    let _ = nts::provider();
    let [a, b, c, d, ..] = seed();
    let steering_key = u32::from_ne_bytes([a, b, c, d]);
    // With the initial privileges: later the socket could not be created or given to a group.
    let listener = ControlListener::open(&loaded.config.control).unwrap_or_else(|error| {
        log::emit(&Event::ControlSocketFailed { error });
        None
    });
    let confine = |sockets: &[BorrowedFd<'_>]| {
        if !sandbox::is_single_threaded() {
            return Err(io::Error::other("another thread exists already"));
        }
        sandbox::enter(&loaded, sandbox, sockets)
    };
    let mut runtime = match assemble(&loaded.config, &loaded.keys, steering_key, confine) {
        Ok(runtime) => runtime,
        Err(problem) => return failed(log_file, &problem),
    };
    let clock = match convert::clock_facts(runtime.clock()) {
        Ok(clock) => clock,
        Err(problem) => return failed(log_file, &problem),
    };
    let manager = ServiceManager::from_environment(&loaded.config);
    let startup = StartupContext {
        explicit: cli.config,
        level: cli.log_level,
        clock,
        steering_key,
        loaded,
    };
    runtime.set_control(Control::new(listener, CommandHandler::new(startup)));
    runtime.set_service_manager(manager);
    let code = run_until_exit(&mut runtime, log_file);
    let ended = runtime.shut_down();
    sandbox::log_refusals();
    let Err(problem) = ended else { return code };
    failed(log_file, &problem);
    // The first failure decides.
    if code == exit::OK {
        problem.exit_code()
    } else {
        code
    }
}

/// Prints why the daemon ends to standard error, if the log goes to a file. Returns the exit code.
fn fatal(log_file: Option<&LogFile>, event: &Event) -> u8 {
    if log_file.is_some() {
        eprintln!("ntp-daemon: {event}");
    }
    exit::SOFTWARE
}

/// Logs that the daemon ends because of `problem`; see [`fatal`].
fn failed(log_file: Option<&LogFile>, problem: &impl ToString) -> u8 {
    let error = Prose(problem.to_string());
    let event = Event::DaemonFailed { error };
    log::emit(&event);
    fatal(log_file, &event)
}

/// Reopens the log file after log rotation, on a thread.
fn reopen(log_file: &LogFile) {
    if let Some(work) = log_file.reopen()
        && let Err(error) = sandbox::spawn("log file", sandbox::Profile::Files, work)
    {
        log_file.reopen_failed(error);
    }
}

/// Runs until the daemon has to end. Returns the exit code.
fn run_until_exit(runtime: &mut Runtime, log_file: Option<&LogFile>) -> u8 {
    loop {
        match runtime.run(None) {
            Ok(Ending::Halted(step)) => return fatal(log_file, &step.event(true, 0)),
            Ok(Ending::Paused) => {}
            Err(problem) => {
                failed(log_file, &problem);
                return problem.exit_code();
            }
        }
        if signals::take_hangup() {
            if let Some(log_file) = log_file {
                reopen(log_file);
            }
            runtime.reload();
        }
        if signals::terminate_requested() {
            log::emit(&Event::DaemonStopping {});
            return exit::OK;
        }
    }
}

/// Opens everything, calls `confine` with the listening sockets of TCP, which may drop all
/// privileges, and starts the threads.
fn assemble(
    config: &Config,
    keys: &KeyRing,
    steering_key: u32,
    confine: impl FnOnce(&[BorrowedFd<'_>]) -> io::Result<()>,
) -> Result<Runtime, Failure> {
    // First: if another instance is running, nothing of it has been touched yet.
    let bound = if build::SERVER {
        Bound::bind(listeners::listeners(config, keys, steering_key)).map_err(Failure::Serve)?
    } else {
        Bound::default()
    };
    let ke_server = if build::SERVER {
        nts::Bound::bind(nts::endpoints(config)).map_err(Failure::GiveKeys)?
    } else {
        nts::Bound::default()
    };
    for &(address, instead) in ke_server.without_ipv6() {
        log::emit(&Event::ServerWithoutIpv6 { address, instead });
    }
    let mut clock = open_clock(config).map_err(Failure::Clock)?;
    if let Some(shortcoming) = monotonic_source().shortcoming() {
        log::emit_clock_shortcoming(shortcoming);
    }
    let mut store = Store::new(config.state.directory.clone());
    let kept = store.load();
    let time_prior = set_known_time(config, &mut clock, kept.time_floor);
    let facts = convert::clock_facts(&clock).map_err(Failure::Clock)?;
    let engine = EngineConfig {
        time_prior: Some(time_prior),
        ..convert::engine_config(config, keys, kept.frequency, facts)
    };
    let sockets = convert::socket_options(config);
    let disruptions = DisruptionMonitor::open(config);
    let marker = disruptions.marker();
    let mut runtime = Runtime::new(
        engine,
        Parts {
            clock,
            sockets,
            store,
            leap_list: LeapList::new(config.leap.list.clone(), config.leap.list_is_named),
            disruptions,
            ref_clocks: build::REF_CLOCKS.then(|| RefClocks::prepare(config)),
            history: build::RECORDS.then(|| History::open(config)).flatten(),
            clockbound: (build::INTERFACES.then(|| open_clockbound(config, marker))).flatten(),
            observation_socket: (build::INTERFACES.then(|| open_observation_socket(config)))
                .flatten(),
            chronyc: (build::INTERFACES.then(|| ChronycSockets::open(&config.compat.chrony)))
                .flatten(),
            recorder: build::RECORDS.then(|| recorder(config)).flatten(),
            seed: seed(),
        },
    );
    runtime.set_ke_client(nts::KeClient::new(config, time_prior));
    let cookie_keys = open_cookie_keys(config, &runtime)?;
    let sockets: Vec<_> = ke_server.sockets().collect();
    confine(&sockets).map_err(Failure::Sandbox)?;
    runtime.start_recording();
    if let Some(keys) = cookie_keys {
        runtime
            .serve_keys(keys, ke_server, seed())
            .map_err(Failure::GiveKeys)?;
    }
    if !bound.is_empty() {
        runtime.serve(bound, seed).map_err(Failure::Serve)?;
    }
    Ok(runtime)
}

/// Sets the clock forward if it shows a time that is certainly past. Returns what is known of the
/// time; `floor` is the saved time.
fn set_known_time(config: &Config, clock: &mut Clock, floor: Option<SystemTime>) -> TimePrior {
    let shown = clock.now();
    // Without a source another program may steer the clock, unless its time is served.
    let steered = !config.sources.is_empty() || config.serves_local_time();
    let ours = config.state.set_clock_forward && steered;
    let limit = config.synchronization.startup_step_panic_threshold;
    if let Some(past) = persist::certainly_past(shown, floor).filter(|_| ours) {
        persist::set_forward(clock, past, limit);
    }
    TimePrior {
        clock: shown,
        floor,
    }
}

/// Reads or makes the keys of cookies, if clients can have any.
fn open_cookie_keys(config: &Config, runtime: &Runtime) -> Result<Option<CookieKeys>, Failure> {
    if !nts::needs_cookie_keys(config) {
        return Ok(None);
    }
    let fleet = nts::read_fleet(&config.keyset).map_err(Failure::CookieKeys)?;
    let (keyset, now) = (&config.keyset, runtime.now());
    let keys = CookieKeys::new(keyset, fleet, config.keyset_file(), now, seed);
    Ok(Some(keys))
}

/// Opens the segments for ClockBound's clients. Logs if that fails.
fn open_clockbound(config: &Config, marker: Option<u64>) -> Option<ClockBound> {
    let directory = config.clockbound.directory.as_deref()?;
    ClockBound::open(directory, marker)
        .inspect_err(|error| {
            log::emit(&Event::ClockBoundFailed {
                path: directory.display().to_string(),
                error: error.to_string(),
            });
        })
        .ok()
}

/// Opens the observation socket, if one is configured. Logs if that fails.
fn open_observation_socket(config: &Config) -> Option<ObservationSocket> {
    let observability = &config.observability;
    let path = observability.observation_path.as_ref()?;
    ObservationSocket::bind(path, observability.observation_permissions)
        .inspect_err(|problem| {
            log::emit(&Event::ObservationSocketFailed {
                path: path.display().to_string(),
                error: problem.to_string(),
            });
        })
        .ok()
}

/// Prepares the record of the engine's inputs, if one is configured.
fn recorder(config: &Config) -> Option<Recorder> {
    let path = config.observability.record_path.as_deref();
    path.map(Recorder::new)
}

/// Opens the clock of the daemon. Without sources the privilege to set it is not required: the
/// clock is left alone, and a warning says so if it cannot be set.
fn open_clock(config: &Config) -> Result<Clock, ClockError> {
    match open_configured_clock(config) {
        Err(problem) if config.sources.is_empty() => {
            log::emit(&Event::ClockNotSettable {
                error: problem.to_string(),
            });
            Ok(unsteered())
        }
        opened => opened,
    }
}

fn open_configured_clock(config: &Config) -> Result<Clock, ClockError> {
    use ntp_config::ClockKind;
    match config.clock.kind {
        ClockKind::System => SystemClock::open().map(Clock::System),
        ClockKind::None => Ok(unsteered()),
        ClockKind::Virtual { offset, frequency } => Ok(Clock::new_virtual(offset, frequency)),
    }
}

fn unsteered() -> Clock {
    let (clock, shortcoming) = UnsteeredClock::open();
    if let Some(shortcoming) = shortcoming {
        log::emit_clock_shortcoming(shortcoming);
    }
    Clock::None(clock)
}

/// Returns a seed of randomness from the operating system. Without one the process ends: whoever
/// guesses nonces can answer in the name of a server, and whoever guesses the keys of cookies can
/// read them. A clock that is not steered is the smaller damage, and shows.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the one place where randomness enters"
)]
fn seed() -> [u8; 32] {
    let mut seed = [0; 32];
    if let Err(problem) = getrandom::fill(&mut seed) {
        let event = Event::RandomNumbersMissing {
            error: problem.to_string(),
        };
        log::emit(&event);
        // The log may be a file.
        eprintln!("{event}");
        std::process::exit(exit::SOFTWARE.into());
    }
    seed
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::time::Duration;

    use super::*;

    fn serving(text: &str) -> Runtime {
        let (config, _) = ntp_config::parse(text, "ntp.toml").unwrap();
        assemble(&config, &KeyRing::default(), 0, |_| Ok(())).unwrap()
    }

    #[test]
    fn a_failed_worker_ends_the_daemon_with_an_error() {
        let mut runtime = serving(
            "[[server]]\nlisten = \"127.83.2.1:0\"\nworkers = 2\n[clock]\nkind = \"none\"\n",
        );
        runtime.inject_fault();
        // `run_until_exit` would never return if it did not notice.
        assert_eq!(run_until_exit(&mut runtime, None), exit::FAILED);
        assert_eq!(exit::FAILED, 71);
    }

    #[test]
    fn a_daemon_without_servers_can_start_and_stop_serving() {
        let mut runtime = serving("[clock]\nkind = \"none\"\n");
        let listeners = |text: &str| {
            let (config, _) = ntp_config::parse(text, "ntp.toml").unwrap();
            listeners::listeners(&config, &KeyRing::default(), 0)
        };
        // A free port, at an address where no other test looks for one.
        let free = UdpSocket::bind("127.83.2.2:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let one = listeners(&format!("[[server]]\nlisten = \"{free}\"\nworkers = 1\n"));
        assert!(runtime.serve_at(one, &mut seed).is_empty());
        let client = UdpSocket::bind("127.83.2.3:0").unwrap();
        client
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        let mut request = [0; 48];
        request[0] = 0x23;
        client.send_to(&request, free).unwrap();
        assert_eq!(client.recv(&mut [0; 100]).unwrap(), 48);
        assert!(runtime.serve_at(Vec::new(), &mut seed).is_empty());
        UdpSocket::bind(free).expect("the address is not served any more");
    }
}
