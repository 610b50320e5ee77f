//! What a call leads to.
//!
//! The desk keeps the configuration that is in force: what the files say, with everything that was changed since. A change of a source or
//! of a server is a change of that configuration, which is then followed as after a reload; so whatever the file can say can be changed at
//! run time, and what did not change goes on.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};

use ntp_config::{Config, Loaded, SourceConfig};
use ntp_control_api::control::methods::{
    BurstReply, ConfigurationReply, EmptyReply, Error, INTERFACE, Access, NamesReply, RekeyReply,
    Request, Settings, StatusReply, StepReply, DumpReply,
};
use ntp_os_clock::monotonic;
use ntp_proto::engine::{ClockFacts, Command, CommandOutcome, Refusal, LogRateLimit};
use ntp_proto::keys::KeyRing;
use ntp_time::NtpDuration;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;
use tracing::{Level, error, info, warn};

use super::caller::{Caller, Permitted};
use super::changes::{Changes, Kind};
use super::clients;
use super::door::Visit;
use super::reload::told;
use super::settings;
use super::status::{self, Beside};
use crate::log::Threshold;
use crate::runtime::{Failure, Runtime};
use crate::{convert, listeners, sandbox};

/// What the daemon was started with.
#[derive(Debug)]
pub struct Standing {
    /// The configuration as it was read.
    pub loaded: Loaded,
    /// The file named on the command line.
    pub explicit: Option<PathBuf>,
    /// The log level named on the command line, which wins over the file's.
    pub level: Option<Level>,
    /// How much is logged.
    pub threshold: Threshold,
    /// The clock as it was found.
    pub clock: ClockFacts,
    /// A secret by which clients are spread over serving threads.
    pub steering_key: u32,
}

/// The configuration in force, and all that changes it.
#[derive(Debug)]
pub struct Desk {
    pub(super) config: Config,
    pub(super) keys: KeyRing,
    pub(super) standing: Standing,
    /// Names of sources, and addresses of servers, that were added at run time.
    pub(super) added: BTreeSet<String>,
    /// Who changed what.
    pub(super) changes: Changes,
    /// Refusals in the log.
    refusals: LogRateLimit,
}

/// Who may not change things may still try as often as they like; the log hears of it once in so long.
const REFUSALS_SILENCE: NtpDuration = NtpDuration::from_seconds(60);

/// What a method gives, as JSON.
type Told = Box<RawValue>;

/// What a method gives, or why it did nothing.
pub(super) type Outcome<T> = Result<T, Error>;

impl Desk {
    /// Begins with what the daemon was started with.
    pub fn new(standing: Standing) -> Self {
        Self {
            config: standing.loaded.config.clone(),
            keys: standing.loaded.keys.clone(),
            standing,
            added: BTreeSet::new(),
            changes: Changes::default(),
            refusals: LogRateLimit::new(REFUSALS_SILENCE),
        }
    }

    /// Does what is asked for, if the caller may ask it.
    ///
    /// # Errors
    /// If the clock can't be controlled any more.
    pub(crate) fn serve(
        &mut self,
        runtime: &mut Runtime,
        visit: &Visit,
        permitted: &Permitted,
    ) -> Result<Result<Told, (String, Value)>, Failure> {
        let Visit {
            caller, request, ..
        } = visit;
        let outcome = if !request.access().is_public() && !permitted.includes(caller) {
            let denied = Error::PermissionDenied {
                caller: caller.to_string(),
                permitted: permitted.to_string(),
            };
            match self.refusals.admit(monotonic()) {
                Some(0) => info!("{} refused: {denied}", request.name()),
                Some(more) => info!(
                    "{} refused: {denied}; so were {more} calls before it",
                    request.name()
                ),
                None => {}
            }
            Err(denied)
        } else {
            let outcome = self.execute(runtime, request, caller)?;
            tell(caller, request, &outcome);
            outcome
        };
        Ok(outcome.map_err(|error| (format!("{INTERFACE}.{}", error.name()), error.parameters())))
    }

    /// SIGHUP: reads the configuration again, and tells the log what came of it.
    ///
    /// # Errors
    /// If the clock can't be controlled any more.
    pub(crate) fn hang_up(&mut self, runtime: &mut Runtime) -> Result<(), Failure> {
        match self.reload(runtime)? {
            Ok(reply) => {
                for warning in &reply.warnings {
                    warn!("{warning}");
                }
                info!("configuration read again (SIGHUP): {}", told(&reply));
            }
            Err(problem) => {
                error!("the configuration cannot be taken over; nothing was changed: {problem}");
            }
        }
        Ok(())
    }

    fn execute(
        &mut self,
        runtime: &mut Runtime,
        request: &Request,
        caller: &Caller,
    ) -> Result<Outcome<Told>, Failure> {
        Ok(match request {
            Request::GetStatus(_) | Request::Monitor(_) => json(Ok(self.status(runtime)?)),
            Request::GetConfiguration(_) => json(Ok(self.configuration())),
            Request::GetClients(which) => json(clients::told(runtime, which)),
            Request::AddSource(new) => self.add_source(runtime, &new.settings, caller)?,
            Request::RemoveSource(which) => self.remove_source(runtime, &which.name, caller)?,
            Request::SetSource(other) => {
                self.set_source(runtime, &other.name, &other.settings, caller)?
            }
            Request::OnlineSource(whom) => command(runtime, &Command::Online(whom.name.clone()))?,
            Request::OfflineSource(whom) => command(runtime, &Command::Offline(whom.name.clone()))?,
            Request::BurstSource(whom) => command(runtime, &Command::Burst(whom.name.clone()))?,
            Request::Step(input) => {
                let forced = input.forced.unwrap_or(false);
                command(runtime, &Command::Step { forced })?
            }
            Request::AddServer(new) => json(self.add_server(runtime, &new.settings, caller)),
            Request::RemoveServer(which) => json(self.remove_server(runtime, &which.name, caller)),
            Request::SetServer(other) => {
                json(self.set_server(runtime, &other.name, &other.settings, caller))
            }
            Request::SetLogLevel(input) => json(self.set_level(&input.level, caller)),
            Request::Reload(_) => {
                runtime.reload_certificates();
                json(self.reload(runtime)?)
            }
            Request::Rekey(_) => json(match runtime.rekey() {
                Ok(rekeyed) => Ok(RekeyReply {
                    key: rekeyed.key.into(),
                    old_cookies_valid_for: rekeyed.good_for.as_seconds_f64(),
                    key_file: rekeyed.stored.map(|path| path.display().to_string()),
                }),
                Err(reason) => Err(Error::Refused {
                    reason: reason.into(),
                }),
            }),
            Request::Dump(_) => json(
                runtime
                    .dump()?
                    .map_err(|reason| Error::Failed { reason })
                    .map(|path| DumpReply {
                        paths: vec![path.display().to_string()],
                    }),
            ),
        })
    }

    fn status(&self, runtime: &mut Runtime) -> Result<StatusReply, Failure> {
        // The clock may have been set since the last wake-up; nobody must be told figures from before.
        runtime.look_at_clock()?;
        let snapshot = runtime.snapshot();
        let given = runtime.given();
        let beside = Beside {
            served: &runtime.served(),
            client_list_sizes: &runtime.client_list_sizes(),
            nts: runtime.nts_figures(given.as_ref()),
            clock: runtime.clock(),
            started: runtime.started(),
            config_path: self
                .standing
                .loaded
                .path
                .as_ref()
                .map(|path| path.display().to_string()),
            needed: self.config.synchronization.minimum_agreeing_sources,
        };
        Ok(StatusReply {
            status: status::status(&snapshot, &beside),
        })
    }

    fn configuration(&self) -> ConfigurationReply {
        let absolute = |path: &PathBuf| {
            let absolute = std::path::absolute(path);
            absolute
                .unwrap_or_else(|_| path.clone())
                .display()
                .to_string()
        };
        let loaded = &self.standing.loaded;
        let level = self.standing.level;
        let level = level.map(|level| level.to_string().to_lowercase());
        ConfigurationReply {
            path: loaded.path.as_ref().map(absolute),
            files: loaded.files.iter().map(absolute).collect(),
            sections: self.changes.outline(&self.config, level),
            disabled: self.changes.disabled(&self.config),
        }
    }

    // ---- sources

    fn add_source(
        &mut self,
        runtime: &mut Runtime,
        settings: &Settings,
        caller: &Caller,
    ) -> Result<Outcome<Told>, Failure> {
        let (source, engine) = match self.source(settings) {
            Ok(understood) => understood,
            Err(error) => return Ok(Err(error)),
        };
        let mut config = self.config.clone();
        config.sources.push(source.clone());
        // It may want keys at once.
        runtime.trust_as(&config);
        let outcome = command(runtime, &Command::Add(engine))?;
        if outcome.is_ok() {
            if let Some(name) = name_of(&source) {
                self.changes.made(Kind::Source, name.clone(), caller);
                self.added.insert(name);
            }
            self.config = config;
        } else {
            runtime.trust_as(&self.config);
        }
        Ok(outcome)
    }

    fn remove_source(
        &mut self,
        runtime: &mut Runtime,
        name: &str,
        caller: &Caller,
    ) -> Result<Outcome<Told>, Failure> {
        let place = match self.find_source(runtime, name) {
            Ok(place) => place,
            Err(error) => return Ok(Err(error)),
        };
        let outcome = command(runtime, &Command::Remove(name.to_owned()))?;
        if outcome.is_ok() {
            let gone = self.config.sources.remove(place);
            if let Some(name) = name_of(&gone) {
                self.added.remove(&name);
                self.changes
                    .unmade(Kind::Source, &name, &gone.place, caller);
            }
            runtime.trust_as(&self.config);
        }
        Ok(outcome)
    }

    fn set_source(
        &mut self,
        runtime: &mut Runtime,
        name: &str,
        changes: &Settings,
        caller: &Caller,
    ) -> Result<Outcome<Told>, Failure> {
        let place = match self.find_source(runtime, name) {
            Ok(place) => place,
            Err(error) => return Ok(Err(error)),
        };
        let changed = settings::laid_over(&self.config.sources[place].settings, changes);
        let (source, engine) = match self.source(&changed) {
            Ok(understood) => understood,
            Err(error) => return Ok(Err(error)),
        };
        let mut config = self.config.clone();
        let before = core::mem::replace(&mut config.sources[place], source);
        runtime.trust_as(&config);
        let outcome = command(runtime, &Command::Replace(name.to_owned(), engine))?;
        if outcome.is_ok() {
            let after = &mut config.sources[place];
            ntp_config::keep_places(&mut after.said, &before.said);
            if let (Some(was), Some(is)) = (name_of(&before), name_of(after)) {
                self.changes
                    .unmade(Kind::Source, &was, &before.place, caller);
                self.changes.made(Kind::Source, is.clone(), caller);
                if self.added.remove(&was) {
                    self.added.insert(is);
                }
            }
            self.config = config;
        } else {
            runtime.trust_as(&self.config);
        }
        Ok(outcome)
    }

    /// What `settings` say, for the file and for the engine.
    fn source(
        &self,
        settings: &Settings,
    ) -> Outcome<(SourceConfig, ntp_proto::engine::SourceConfig)> {
        let mut config = settings::section("source", settings)?;
        config.source_defaults = self.config.source_defaults;
        let engine = convert::sources(&config, &self.keys).pop();
        match (config.sources.pop(), engine) {
            (Some(source), Some(engine)) => {
                source
                    .certificate_authority()
                    .map_or(Ok(()), can_be_believed)?;
                Ok((source, engine))
            }
            _ => Err(Error::Refused {
                reason: "the key that the source names is not in the key file (see [keys] path)"
                    .into(),
            }),
        }
    }

    /// Where in the configuration the source stands that an operator calls `name`.
    fn find_source(&self, runtime: &Runtime, name: &str) -> Outcome<usize> {
        let name = runtime.source_called(name).map_err(refused)?;
        let mut sources = self.config.sources.iter();
        let place = sources.position(|source| name_of(source).as_deref() == Some(&name));
        place.ok_or_else(|| refused(Refusal::UnknownSource(name)))
    }

    // ---- servers

    fn add_server(
        &mut self,
        runtime: &mut Runtime,
        settings: &Settings,
        caller: &Caller,
    ) -> Outcome<NamesReply> {
        let mut config = self.config.clone();
        let mut new = settings::section("server", settings)?;
        let name = new.servers.first().map(|server| server.listen);
        let taken = config.servers.iter().any(|old| Some(old.listen) == name);
        if let Some(address) = name.filter(|_| taken) {
            return Err(Error::Refused {
                reason: format!("time is served at {address} already"),
            });
        }
        config.servers.append(&mut new.servers);
        self.serve_as(runtime, config)?;
        if let Some(name) = name {
            let name = name.to_string();
            self.changes.made(Kind::Server, name.clone(), caller);
            self.added.insert(name);
        }
        Ok(names(name.map(|name| name.to_string())))
    }

    fn remove_server(
        &mut self,
        runtime: &mut Runtime,
        name: &str,
        caller: &Caller,
    ) -> Outcome<NamesReply> {
        let place = self.find_server(name)?;
        let mut config = self.config.clone();
        let gone = config.servers.remove(place);
        self.serve_as(runtime, config)?;
        let name = gone.listen.to_string();
        self.added.remove(&name);
        self.changes
            .unmade(Kind::Server, &name, &gone.place, caller);
        Ok(names(Some(gone.listen.to_string())))
    }

    fn set_server(
        &mut self,
        runtime: &mut Runtime,
        name: &str,
        changes: &Settings,
        caller: &Caller,
    ) -> Outcome<NamesReply> {
        let place = self.find_server(name)?;
        let mut config = self.config.clone();
        let changed = settings::laid_over(&config.servers[place].settings, changes);
        let mut new = settings::section("server", &changed)?;
        let Some(mut server) = new.servers.pop() else {
            return Err(unknown_server(name));
        };
        let old = &config.servers[place];
        ntp_config::keep_places(&mut server.said, &old.said);
        let (was, stood) = (old.listen.to_string(), old.place.clone());
        let name = server.listen.to_string();
        config.servers[place] = server;
        self.serve_as(runtime, config)?;
        self.changes.unmade(Kind::Server, &was, &stood, caller);
        self.changes.made(Kind::Server, name.clone(), caller);
        if self.added.remove(&was) {
            self.added.insert(name.clone());
        }
        Ok(names(Some(name)))
    }

    fn find_server(&self, name: &str) -> Outcome<usize> {
        let mut servers = self.config.servers.iter();
        let place = servers.position(|server| server.listen.to_string() == name);
        place.ok_or_else(|| unknown_server(name))
    }

    /// Serves as `config` says, or goes back to what held before.
    fn serve_as(&mut self, runtime: &mut Runtime, config: Config) -> Outcome<()> {
        let key = self.standing.steering_key;
        let listeners = |config: &Config, keys: &KeyRing| listeners::listeners(config, keys, key);
        let problems = runtime.serve_at(listeners(&config, &self.keys), &mut crate::seed);
        if problems.is_empty() {
            self.config = config;
            return Ok(());
        }
        for problem in runtime.serve_at(listeners(&self.config, &self.keys), &mut crate::seed) {
            warn!("{problem}");
        }
        let reasons: Vec<_> = problems.iter().map(ToString::to_string).collect();
        Err(Error::Failed {
            reason: reasons.join("; "),
        })
    }

    // ---- the daemon itself

    fn set_level(&mut self, level: &str, caller: &Caller) -> Outcome<EmptyReply> {
        let known: Option<Level> = ["trace", "debug", "info", "warn", "error"]
            .contains(&level)
            .then(|| level.parse().ok())
            .flatten();
        let Some(known) = known else {
            return Err(Error::Refused {
                reason: format!("{level:?} is no log level: trace, debug, info, warn or error"),
            });
        };
        self.standing
            .threshold
            .set(known)
            .map_err(|reason| Error::Failed { reason })?;
        self.changes.level(level, caller);
        Ok(EmptyReply {})
    }
}

/// Whether a file of authorities can be read, now that the daemon is confined.
fn can_be_believed(path: &Path) -> Outcome<()> {
    let file = path.display();
    let reason = if !sandbox::can_read(path) {
        format!(
            "certificate-authority: {file} is out of the sandbox's reach: put it below /etc, or into the configuration file and restart the daemon"
        )
    } else if let Err(error) = File::open(path) {
        format!("certificate-authority: the daemon cannot read {file}: {error}")
    } else {
        return Ok(());
    };
    Err(Error::Refused { reason })
}

/// The name under which the engine knows a source.
pub(super) fn name_of(source: &SourceConfig) -> Option<String> {
    source.kind.ntp().map(|ntp| ntp.address.to_string())
}

fn command(runtime: &mut Runtime, command: &Command) -> Result<Outcome<Told>, Failure> {
    Ok(match runtime.command(command)? {
        Ok(CommandOutcome::Sources(names)) => json(Ok(NamesReply { names })),
        Ok(CommandOutcome::Burst { started, skipped: spared }) => json(Ok(BurstReply {
            started: started as u64,
            skipped: spared as u64,
        })),
        Ok(CommandOutcome::Stepped { from, by }) => json(Ok(StepReply {
            clock: from.as_nanos() as f64 * 1e-9,
            correction: by.as_seconds_f64(),
        })),
        Ok(CommandOutcome::Reconfigured { .. }) => json(Ok(EmptyReply {})),
        Err(refusal) => Err(refused(refusal)),
    })
}

fn refused(refusal: Refusal) -> Error {
    match refusal {
        Refusal::Panic {
            which,
            correction,
            limit,
            clock,
        } => Error::StepTooLarge {
            clock: clock.as_nanos() as f64 * 1e-9,
            correction: correction.as_seconds_f64(),
            threshold: which.key().to_owned(),
            limit: limit.as_seconds_f64(),
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

fn json<T: Serialize>(outcome: Outcome<T>) -> Outcome<Told> {
    let told = outcome?;
    serde_json::value::to_raw_value(&told).map_err(|problem| Error::Failed {
        reason: format!("the answer cannot be written: {problem}"),
    })
}

/// Every change is logged with who made it; so is what could not be done.
fn tell(caller: &Caller, request: &Request, outcome: &Outcome<Told>) {
    if request.access() != Access::Change {
        return;
    }
    let parameters = request.parameters();
    match outcome {
        Ok(_) => info!("{} {parameters} by {caller}", request.name()),
        Err(error) => {
            // A report may have many lines, of which the caller gets all.
            let error = error.to_string();
            let first = error.lines().next().unwrap_or_default();
            info!(
                "{} {parameters} by {caller} failed: {first}",
                request.name()
            );
        }
    }
}
