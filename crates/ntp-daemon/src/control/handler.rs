//! Executes control methods.
//!
//! The handler keeps the configuration in force: that of the files with all changes since. A change
//! of a source or a server is a change of that configuration, which is then applied as after a
//! reload. So everything that the file can express can be changed at run time, and what did not
//! change is not disturbed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use ntp_config::{Config, Loaded, LogLevel, SourceConfig, SourceKind, Style};
use ntp_control_api::control::methods::{
    Access, BurstReply, ConfigurationReply, DumpReply, EmptyReply, Error, INTERFACE, NamesReply,
    RekeyReply, ReloadReply, Request, SetTimeReply, Settings, StatusReply, StepReply,
};
use ntp_os_clock::monotonic;
use ntp_proto::engine::{ClockFacts, Command, CommandOutcome, LogRateLimit, ManualAction, Refusal};
use ntp_proto::keys::KeyRing;
use ntp_time::{NtpDuration, SystemTime};
use ntp_types::event::{Event, Prose};
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::caller::{Caller, Permissions};
use super::changes::{Changes, Kind};
use super::clients;
use super::listener::PendingCall;
use super::reader::Scope;
use super::reload::summary;
use super::settings;
use crate::log;
use crate::runtime::failure::Failure;
use crate::runtime::services::DaemonContext;
use crate::status::{platform, status};
use crate::{convert, listeners};

/// What the daemon was started with.
#[derive(Debug)]
pub(crate) struct StartupContext {
    /// The configuration as it was loaded.
    pub(crate) loaded: Loaded,
    /// Configuration file of the command line.
    pub(crate) explicit: Option<PathBuf>,
    /// Log level of the command line, which overrides the file's.
    pub(crate) level: Option<LogLevel>,
    /// Properties of the clock before any adjustment.
    pub(crate) clock: ClockFacts,
    /// Secret that spreads clients over serving threads.
    pub(crate) steering_key: u32,
}

/// Holds the configuration in force and executes the methods that read and change it.
#[derive(Debug)]
pub(crate) struct CommandHandler {
    pub(super) config: Config,
    pub(super) keys: KeyRing,
    pub(super) startup: StartupContext,
    /// Names of sources, and addresses of servers, that were added at run time.
    pub(super) added: BTreeSet<String>,
    /// Origins of the changes.
    pub(super) changes: Changes,
    /// Rate limit of refusals in the log.
    refusals: LogRateLimit,
}

/// Interval between two log lines about refused calls, which are not limited themselves.
const REFUSALS_SILENCE: NtpDuration = NtpDuration::from_seconds(60);

/// Number of lines of a report on a configuration that are logged.
const LOGGED_LINES: usize = 10;

/// Result of a method, as JSON.
type RawReply = Box<RawValue>;

/// Result of a method, or the error.
pub(super) type Outcome<T> = Result<T, Error>;

impl CommandHandler {
    /// Starts with the configuration that was loaded.
    pub(crate) fn new(startup: StartupContext) -> Self {
        Self {
            config: startup.loaded.config.clone(),
            keys: startup.loaded.keys.clone(),
            startup,
            added: BTreeSet::new(),
            changes: Changes::default(),
            refusals: LogRateLimit::new(REFUSALS_SILENCE),
        }
    }

    /// Returns the error if the caller has no permission.
    pub(super) fn denied(&mut self, call: &PendingCall, permitted: &Permissions) -> Option<Error> {
        let PendingCall {
            caller, request, ..
        } = call;
        if request.access().is_public() || permitted.includes(caller) {
            return None;
        }
        if let Some(suppressed) = self.refusals.admit(monotonic()) {
            log::emit(&Event::ControlCallDenied {
                method: request.name().to_owned(),
                caller: caller.to_event(),
                permitted: permitted.to_string(),
                suppressed,
            });
        }
        Some(Error::PermissionDenied {
            caller: caller.to_string(),
            permitted: permitted.to_string(),
        })
    }

    /// Returns what must be read before the call is answered, if it is a reload.
    pub(super) fn scope(&self, request: &Request) -> Option<Scope> {
        match request {
            Request::Reload(_) => Some(Scope::Configuration(self.startup.explicit.clone())),
            Request::ReloadDhcpSources(_) => Some(self.dhcp_scope()),
            _ => None,
        }
    }

    /// Returns where the time servers are that DHCP names.
    pub(super) fn dhcp_scope(&self) -> Scope {
        let settings = &self.config.synchronization;
        Scope::Dhcp(settings.dhcp_sources_directory.clone())
    }

    /// Returns the files of certificate authorities that a call names, which must be readable before
    /// the call is executed. What is wrong with the call itself is found when it is executed.
    pub(super) fn authorities(
        &self,
        daemon: &DaemonContext<'_>,
        request: &Request,
    ) -> Option<Vec<PathBuf>> {
        let config = match request {
            Request::AddSource(new) => settings::section("source", &new.settings),
            Request::SetSource(other) => {
                let place = self.find_source(daemon, &other.name).ok()?;
                let before = &self.config.sources[place].settings;
                settings::section("source", &settings::merged(before, &other.settings))
            }
            _ => return None,
        };
        let source = config.ok()?.sources.pop()?;
        let paths = source.certificate_authorities().map(Path::to_owned);
        let paths: Vec<_> = paths.collect();
        (!paths.is_empty()).then_some(paths)
    }

    /// Executes a permitted call.
    ///
    /// # Errors
    /// If the clock can't be controlled any more.
    pub(super) fn execute(
        &mut self,
        daemon: &mut DaemonContext<'_>,
        call: &PendingCall,
    ) -> Result<Outcome<RawReply>, Failure> {
        let outcome = self.dispatch(daemon, &call.request, &call.caller)?;
        log_change(&call.caller, &call.request, &outcome);
        Ok(outcome)
    }

    /// Logs the result of a reload after SIGHUP.
    pub(super) fn log_reload(&self, outcome: &Outcome<ReloadReply>) {
        match outcome {
            Ok(reply) => {
                log::emit_warnings(&self.startup.loaded);
                log::emit(&Event::ConfigurationReloaded {
                    added: reply.added.len(),
                    removed: reply.removed.len(),
                    changed: reply.changed.len(),
                    not_applied: reply.not_applied.len(),
                    summary: Prose(summary(reply)),
                });
            }
            Err(problem) => log::emit(&Event::ConfigurationRefused {
                error: one_line(problem),
            }),
        }
    }

    fn dispatch(
        &mut self,
        daemon: &mut DaemonContext<'_>,
        request: &Request,
        caller: &Caller,
    ) -> Result<Outcome<RawReply>, Failure> {
        Ok(match request {
            Request::GetStatus(_) | Request::Monitor(_) => json(Ok(self.status(daemon)?)),
            Request::GetConfiguration(_) => json(Ok(self.configuration())),
            Request::GetClients(which) => json(clients::list(daemon, which)),
            Request::AddSource(new) => self.add_source(daemon, &new.settings, caller)?,
            Request::RemoveSource(which) => self.remove_source(daemon, &which.name, caller)?,
            Request::SetSource(other) => {
                self.set_source(daemon, &other.name, &other.settings, caller)?
            }
            Request::OnlineSource(which) => command(daemon, &Command::Online(which.name.clone()))?,
            Request::OfflineSource(which) => {
                command(daemon, &Command::Offline(which.name.clone()))?
            }
            Request::BurstSource(which) => command(daemon, &Command::Burst(which.name.clone()))?,
            Request::Step(input) => {
                let forced = input.forced.unwrap_or(false);
                command(daemon, &Command::Step { forced })?
            }
            Request::SetTime(input) => {
                let time = SystemTime::from_nanos((input.time * 1e9) as i64);
                let forced = input.forced.unwrap_or(false);
                command(daemon, &Command::SetTime { time, forced })?
            }
            Request::EnableManual(input) => {
                let action = ManualAction::Enable(input.enabled);
                command(daemon, &Command::Manual(action))?
            }
            Request::DeleteManual(input) => {
                let entry = input.entry;
                let entry = entry.map(|it| usize::try_from(it).unwrap_or(usize::MAX));
                command(daemon, &Command::Manual(ManualAction::Delete(entry)))?
            }
            Request::Refresh(_) => command(daemon, &Command::Refresh)?,
            Request::Reselect(_) => command(daemon, &Command::Reselect)?,
            Request::Reset(_) => command(daemon, &Command::Reset)?,
            Request::Shutdown(_) => {
                ntp_udp::signals::request_termination();
                json(Ok(EmptyReply {}))
            }
            Request::AddServer(new) => json(self.add_server(daemon, &new.settings, caller)),
            Request::RemoveServer(which) => json(self.remove_server(daemon, &which.name, caller)),
            Request::SetServer(other) => {
                json(self.set_server(daemon, &other.name, &other.settings, caller))
            }
            Request::SetLogLevel(input) => json(self.set_level(&input.level, caller)),
            // Answered when the files have been read.
            Request::Reload(_) | Request::ReloadDhcpSources(_) => json(Ok(EmptyReply {})),
            Request::Rekey(_) => json(rekey(daemon)),
            Request::Dump(_) => json(dump(daemon)),
        })
    }

    fn status(&self, daemon: &mut DaemonContext<'_>) -> Result<StatusReply, Failure> {
        // The clock may have been set since the last wake-up; the figures must not be older.
        daemon.driver.tick()?;
        let path = self.startup.loaded.path.as_ref();
        let path = path.map(|path| path.display().to_string());
        let mut status = status(daemon.driver, daemon.shared, path);
        status.program.platform = self.config.platform.as_ref().map(platform);
        Ok(StatusReply { status })
    }

    fn configuration(&self) -> ConfigurationReply {
        let shown = |path: &PathBuf| path.display().to_string();
        let loaded = &self.startup.loaded;
        let level = self.startup.level;
        let level = level.map(|level| level.word().to_owned());
        ConfigurationReply {
            path: loaded.path.as_ref().map(shown),
            files: loaded.files.iter().map(shown).collect(),
            sections: self.changes.outline(&self.config, level),
            disabled: self.changes.disabled(&self.config),
        }
    }

    // ---- sources

    fn add_source(
        &mut self,
        daemon: &mut DaemonContext<'_>,
        settings: &Settings,
        caller: &Caller,
    ) -> Result<Outcome<RawReply>, Failure> {
        let place = self.config.sources.len();
        let (config, engine) = match self.with_source(place, settings) {
            Ok(understood) => understood,
            Err(error) => return Ok(Err(error)),
        };
        // The source may request keys at once.
        daemon.shared.ke_client.configure(&config);
        let outcome = command(daemon, &Command::Add(engine))?;
        if outcome.is_ok() {
            if let Some(name) = config.sources.last().and_then(name_of) {
                self.changes
                    .record_changed(Kind::Source, name.clone(), caller);
                self.added.insert(name);
            }
            self.config = config;
        } else {
            daemon.shared.ke_client.configure(&self.config);
        }
        Ok(outcome)
    }

    fn remove_source(
        &mut self,
        daemon: &mut DaemonContext<'_>,
        name: &str,
        caller: &Caller,
    ) -> Result<Outcome<RawReply>, Failure> {
        let place = match self.find_source(daemon, name) {
            Ok(place) => place,
            Err(error) => return Ok(Err(error)),
        };
        let outcome = command(daemon, &Command::Remove(name.to_owned()))?;
        if outcome.is_ok() {
            let gone = self.config.sources.remove(place);
            if let Some(name) = name_of(&gone) {
                self.added.remove(&name);
                self.changes
                    .record_removed(Kind::Source, &name, &gone.place, caller);
            }
            daemon.shared.ke_client.configure(&self.config);
        }
        Ok(outcome)
    }

    fn set_source(
        &mut self,
        daemon: &mut DaemonContext<'_>,
        name: &str,
        changes: &Settings,
        caller: &Caller,
    ) -> Result<Outcome<RawReply>, Failure> {
        let place = match self.find_source(daemon, name) {
            Ok(place) => place,
            Err(error) => return Ok(Err(error)),
        };
        let changed = settings::merged(&self.config.sources[place].settings, changes);
        let (mut config, engine) = match self.with_source(place, &changed) {
            Ok(understood) => understood,
            Err(error) => return Ok(Err(error)),
        };
        let before = &self.config.sources[place];
        daemon.shared.ke_client.configure(&config);
        let outcome = command(daemon, &Command::Replace(name.to_owned(), engine))?;
        if outcome.is_ok() {
            let after = &mut config.sources[place];
            ntp_config::keep_places(&mut after.entries, &before.entries);
            if let (Some(was), Some(is)) = (name_of(before), name_of(after)) {
                self.changes
                    .record_removed(Kind::Source, &was, &before.place, caller);
                self.changes
                    .record_changed(Kind::Source, is.clone(), caller);
                if self.added.remove(&was) {
                    self.added.insert(is);
                }
            }
            self.config = config;
        } else {
            daemon.shared.ke_client.configure(&self.config);
        }
        Ok(outcome)
    }

    /// Returns the configuration with a source of these `settings` at `place`, which is that of a
    /// source or the end of the list, and the source for the engine.
    fn with_source(
        &self,
        place: usize,
        settings: &Settings,
    ) -> Outcome<(Config, ntp_proto::engine::SourceConfig)> {
        let mut new = settings::section("source", settings)?.sources;
        for source in &mut new {
            source.kind.apply_policy(self.config.nts);
        }
        let mut kinds = new.iter().map(|source| &source.kind);
        if kinds.any(|kind| matches!(kind, SourceKind::Platform)) {
            return Err(Error::Refused {
                reason: "what the platform offers is found when the files are read: write `mode = \
                         \"platform\"` into one and run `ntp-ctl reload`, or add the source itself"
                    .into(),
            });
        }
        let mut config = self.config.clone();
        let end = (place + new.len()).min(config.sources.len());
        config.sources.splice(place..end, new);
        // It may name another source (`lock`).
        let source = config.sources.get(place);
        if let Some(SourceKind::RefClock(clock)) = source.map(|source| &source.kind) {
            let lock = config.lock_of(clock);
            lock.map_err(|problem| Error::InvalidConfiguration {
                report: problem.render(Style::Plain),
            })?;
        }
        let engine = source.and_then(|source| convert::source(&config, &self.keys, source));
        let engine = engine.ok_or_else(|| Error::Refused {
            reason: "the key of the source is not in the key file (see [keys] path)".into(),
        })?;
        Ok((config, engine))
    }

    /// Index in the configuration of the source that an operator calls `name`.
    fn find_source(&self, daemon: &DaemonContext<'_>, name: &str) -> Outcome<usize> {
        let name = daemon.driver.source_called(name).map_err(refusal_error)?;
        let mut sources = self.config.sources.iter();
        let place = sources.position(|source| name_of(source).as_deref() == Some(&name));
        place.ok_or_else(|| refusal_error(Refusal::UnknownSource(name)))
    }

    // ---- servers

    fn add_server(
        &mut self,
        daemon: &mut DaemonContext<'_>,
        settings: &Settings,
        caller: &Caller,
    ) -> Outcome<NamesReply> {
        let mut config = self.config.clone();
        let mut new = settings::section("server", settings)?;
        let name = new.servers.first().map(ntp_config::ServerConfig::address);
        let taken = config.servers.iter().any(|old| Some(old.address()) == name);
        if let Some(address) = name.filter(|_| taken) {
            return Err(Error::Refused {
                reason: format!("a [[server]] listens at {address} already"),
            });
        }
        config.servers.append(&mut new.servers);
        self.apply_servers(daemon, config)?;
        if let Some(name) = name {
            let name = name.to_string();
            self.changes
                .record_changed(Kind::Server, name.clone(), caller);
            self.added.insert(name);
        }
        Ok(names(name.map(|name| name.to_string())))
    }

    fn remove_server(
        &mut self,
        daemon: &mut DaemonContext<'_>,
        name: &str,
        caller: &Caller,
    ) -> Outcome<NamesReply> {
        let place = self.find_server(name)?;
        let mut config = self.config.clone();
        let gone = config.servers.remove(place);
        self.apply_servers(daemon, config)?;
        let name = gone.address().to_string();
        self.added.remove(&name);
        self.changes
            .record_removed(Kind::Server, &name, &gone.place, caller);
        Ok(names(Some(gone.address().to_string())))
    }

    fn set_server(
        &mut self,
        daemon: &mut DaemonContext<'_>,
        name: &str,
        changes: &Settings,
        caller: &Caller,
    ) -> Outcome<NamesReply> {
        let place = self.find_server(name)?;
        let mut config = self.config.clone();
        let changed = settings::merged(&config.servers[place].settings, changes);
        let mut new = settings::section("server", &changed)?;
        let Some(mut server) = new.servers.pop() else {
            return Err(unknown_server(name));
        };
        let old = &config.servers[place];
        ntp_config::keep_places(&mut server.entries, &old.entries);
        let (was, old_place) = (old.address().to_string(), old.place.clone());
        let name = server.address().to_string();
        config.servers[place] = server;
        self.apply_servers(daemon, config)?;
        self.changes
            .record_removed(Kind::Server, &was, &old_place, caller);
        self.changes
            .record_changed(Kind::Server, name.clone(), caller);
        if self.added.remove(&was) {
            self.added.insert(name.clone());
        }
        Ok(names(Some(name)))
    }

    fn find_server(&self, name: &str) -> Outcome<usize> {
        let mut servers = self.config.servers.iter();
        let place = servers.position(|server| server.address().to_string() == name);
        place.ok_or_else(|| unknown_server(name))
    }

    /// Applies the servers of `config`, or restores the previous ones.
    fn apply_servers(&mut self, daemon: &mut DaemonContext<'_>, config: Config) -> Outcome<()> {
        let key = self.startup.steering_key;
        let (services, driver) = (&mut *daemon.shared, &mut *daemon.driver);
        let mut serve = |config: &Config, keys: &KeyRing| {
            let listeners = listeners::listeners(config, keys, key);
            services.serve_at(driver, listeners, &mut crate::seed)
        };
        let problems = serve(&config, &self.keys);
        if problems.is_empty() {
            self.config = config;
            return Ok(());
        }
        for problem in serve(&self.config, &self.keys) {
            log::emit(&Event::ServerFailed {
                error: problem.to_string(),
            });
        }
        let reasons: Vec<_> = problems.iter().map(ToString::to_string).collect();
        Err(Error::Failed {
            reason: reasons.join("; "),
        })
    }

    // ---- the daemon itself

    fn set_level(&mut self, level: &str, caller: &Caller) -> Outcome<EmptyReply> {
        let Some(parsed) = LogLevel::from_name(level) else {
            return Err(Error::Refused {
                reason: format!(
                    "unknown log level {level:?} (expected error, warn, info, debug or trace)"
                ),
            });
        };
        log::set_level(parsed);
        self.changes.record_level(level, caller);
        Ok(EmptyReply {})
    }
}

/// Name of a source in the engine.
pub(super) fn name_of(source: &SourceConfig) -> Option<String> {
    source.name()
}

/// Replaces the key for new cookies.
fn rekey(daemon: &mut DaemonContext<'_>) -> Outcome<RekeyReply> {
    let now = daemon.driver.now();
    match daemon.shared.rekey(now) {
        Ok(rekeyed) => Ok(RekeyReply {
            key: rekeyed.key.into(),
            old_cookies_valid_for: rekeyed.good_for.as_seconds_f64(),
            key_file: rekeyed.stored.map(|path| path.display().to_string()),
        }),
        Err(reason) => Err(Error::Refused {
            reason: reason.into(),
        }),
    }
}

/// Saves what was learnt.
fn dump(daemon: &mut DaemonContext<'_>) -> Outcome<DumpReply> {
    let saved = daemon.driver.dump();
    let path = saved.map_err(|reason| Error::Failed { reason })?;
    Ok(DumpReply {
        paths: vec![path.display().to_string()],
    })
}

fn command(
    daemon: &mut DaemonContext<'_>,
    command: &Command,
) -> Result<Outcome<RawReply>, Failure> {
    Ok(match daemon.driver.command(command)? {
        Ok(CommandOutcome::Sources(names)) => json(Ok(NamesReply { names })),
        Ok(CommandOutcome::Burst {
            started,
            skipped: spared,
        }) => json(Ok(BurstReply {
            started: started as u64,
            skipped: spared as u64,
        })),
        Ok(CommandOutcome::Stepped { from, by }) => json(Ok(StepReply {
            clock: from.as_nanos() as f64 * 1e-9,
            correction: by.as_seconds_f64(),
        })),
        Ok(CommandOutcome::TimeSet {
            correction,
            frequency,
            change,
        }) => json(Ok(SetTimeReply {
            correction: correction.as_seconds_f64(),
            frequency: frequency.as_ppm(),
            frequency_change: change.as_ppm(),
        })),
        Ok(CommandOutcome::Done | CommandOutcome::Reconfigured { .. }) => json(Ok(EmptyReply {})),
        Err(refusal) => Err(refusal_error(refusal)),
    })
}

fn refusal_error(refusal: Refusal) -> Error {
    match refusal {
        Refusal::Panic(step) => Error::StepTooLarge {
            clock: step.clock.as_nanos() as f64 * 1e-9,
            correction: step.correction.as_seconds_f64(),
            threshold: step.which.key().to_owned(),
            limit: step.limit.as_seconds_f64(),
        },
        other => Error::Refused {
            reason: other.to_string(),
        },
    }
}

pub(super) fn unknown_server(name: &str) -> Error {
    Error::Refused {
        reason: format!("no [[server]] listens at {name:?}"),
    }
}

fn names(names: Option<String>) -> NamesReply {
    NamesReply {
        names: names.into_iter().collect(),
    }
}

/// Returns the reply to a call that was answered late, and logs the change.
pub(super) fn finish(call: &PendingCall, outcome: Outcome<impl Serialize>) -> Outcome<RawReply> {
    let outcome = json(outcome);
    log_change(&call.caller, &call.request, &outcome);
    outcome
}

/// Converts an error to that of Varlink: its full name and its parameters.
pub(super) fn wire_error(error: &Error) -> (String, Value) {
    (format!("{INTERFACE}.{}", error.name()), error.parameters())
}

fn json<T: Serialize>(outcome: Outcome<T>) -> Outcome<RawReply> {
    let reply = outcome?;
    serde_json::value::to_raw_value(&reply).map_err(|problem| Error::Failed {
        reason: format!("the reply cannot be encoded: {problem}"),
    })
}

/// The error for the log. Of the report on a configuration, which the caller gets in full and `ntp-ctl
/// validate` prints, it has the problems and their places.
fn one_line(error: &Error) -> String {
    let Error::InvalidConfiguration { report } = error else {
        return error.to_string();
    };
    let lines = report.lines().map(str::trim_start);
    let main: Vec<_> = lines
        .filter(|line| line.contains("error: ") || line.starts_with("--> "))
        .take(LOGGED_LINES)
        .collect();
    main.join(" ")
}

/// Logs every change with its author, and every failed change.
fn log_change(caller: &Caller, request: &Request, outcome: &Outcome<RawReply>) {
    if request.access() != Access::Change {
        return;
    }
    let method = request.name().to_owned();
    let parameters = request.parameters().to_string();
    let caller = caller.to_event();
    log::emit(&match outcome {
        Ok(_) => Event::ControlCall {
            method,
            parameters,
            caller,
        },
        Err(error) => Event::ControlCallFailed {
            method,
            parameters,
            caller,
            error: one_line(error),
        },
    });
}
