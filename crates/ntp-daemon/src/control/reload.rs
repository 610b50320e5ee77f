//! Applies a configuration that was read again at run time.
//!
//! Either all of the new configuration is acceptable, or nothing changes. Sources, servers, key
//! exchange and cookie keys, `[synchronization]` and the log level are applied at once. What is
//! fixed at the start (the clock, sockets, directories) stays unchanged and is reported as not
//! applied, and so is what the sandbox forbids by now: a privileged port, a file elsewhere. The
//! next reload reports both again, because the configuration in force is kept apart from that of
//! the file.
//!
//! A call may also apply the time servers that DHCP names alone.
//!
//! The file wins: a source or server of the file that was changed or removed at run time is
//! restored. One that was added at run time stays, unless the file has one of that name now.

use std::collections::BTreeSet;

use ntp_config::{Config, DhcpFiles, Entry, Loaded, Place, Style};
use ntp_control_api::control::methods::{Error, ReloadReply};
use ntp_proto::engine::{CommandOutcome, EngineConfig, Refusal};

use super::changes::REQUEST;
use super::handler::{CommandHandler, Outcome, name_of};
use super::reader::NewConfiguration;
use crate::nts::NtsFiles;
use crate::runtime::failure::Failure;
use crate::runtime::services::{DaemonContext, NtsReloadError};
use crate::{convert, listeners, log, sandbox};

/// A section that is fixed at the start: its heading, and a function that keeps it.
type Fixed = (&'static str, fn(&mut Config, &Config) -> bool);

/// Each function copies the running value into the new configuration and returns whether it
/// differed.
const FIXED: &[Fixed] = &[
    ("[clock]", |new, old| keep(&mut new.clock, &old.clock)),
    ("[state]", |new, old| keep(&mut new.state, &old.state)),
    ("[control]", |new, old| keep(&mut new.control, &old.control)),
    ("[compat]", |new, old| keep(&mut new.compat, &old.compat)),
    ("[sandbox]", |new, old| keep(&mut new.sandbox, &old.sandbox)),
    ("[service]", |new, old| keep(&mut new.service, &old.service)),
    ("[clockbound]", |new, old| {
        keep(&mut new.clockbound, &old.clockbound)
    }),
    ("[observability]", |new, old| {
        let level = new.observability.log_level;
        let mut wanted = old.observability.clone();
        wanted.log_level = level;
        keep(&mut new.observability, &wanted)
    }),
];

/// Keeps the recorded settings of a fixed section as they were when it came into force, except for
/// the log level.
fn keep_recorded_settings(new: &mut Config, old: &Config, heading: &str) {
    let Some((name, set)) = old.entries.get_key_value(heading.trim_matches(['[', ']'])) else {
        new.entries.remove(heading.trim_matches(['[', ']']));
        return;
    };
    let level = |entry: &Entry| entry.key == "log-level";
    let levels = new.entries.get(name).into_iter().flatten();
    let mut kept: Vec<_> = levels.filter(|it| level(it)).cloned().collect();
    kept.extend(set.iter().filter(|it| !level(it)).cloned());
    new.entries.insert(name, kept);
}

fn keep<T: PartialEq + Clone>(new: &mut T, old: &T) -> bool {
    let differs = new != old;
    new.clone_from(old);
    differs
}

impl CommandHandler {
    /// Applies a configuration.
    ///
    /// # Errors
    /// If the clock can't be controlled any more.
    pub(super) fn apply(
        &mut self,
        daemon: &mut DaemonContext<'_>,
        new: NewConfiguration,
    ) -> Result<Outcome<ReloadReply>, Failure> {
        let NewConfiguration {
            mut loaded,
            warnings,
            nts,
        } = new;
        let mut reply = ReloadReply {
            warnings,
            ..ReloadReply::default()
        };
        let config = &mut loaded.config;
        self.keep_fixed(config, &mut reply);
        self.keep_added(config);
        let sources = convert::engine_config(config, &loaded.keys, None, self.startup.clock);
        if let Err(error) = self.apply_sources(daemon, config, &sources, &mut reply)? {
            return Ok(Err(error));
        }
        if config.synchronization != self.config.synchronization {
            reply.applied.push("[synchronization]".into());
        }
        // The keys of the key file may have changed, too. Without changes this does nothing.
        let listeners = listeners::listeners(config, &loaded.keys, self.startup.steering_key);
        let problems = daemon
            .shared
            .serve_at(daemon.driver, listeners, &mut crate::seed);
        if config.servers != self.config.servers {
            reply.applied.push("[[server]]".into());
        }
        reply
            .not_applied
            .extend(problems.iter().map(ToString::to_string));
        self.reconfigure_nts(daemon, config, nts, &mut reply);
        let level_applied = self.apply_log_level(config, &mut reply);
        self.adopt(loaded, level_applied);
        Ok(Ok(reply))
    }

    /// Applies the time servers that DHCP names, and nothing else: neither what an administrator is
    /// changing in the files, nor what an operator has changed at run time, is touched when a
    /// machine changes its network.
    ///
    /// # Errors
    /// If the clock can't be controlled any more.
    pub(super) fn apply_dhcp(
        &mut self,
        daemon: &mut DaemonContext<'_>,
        mut files: DhcpFiles,
    ) -> Result<Outcome<ReloadReply>, Failure> {
        let warnings = files.warnings.drain(..);
        let mut reply = ReloadReply {
            warnings: warnings.map(|it| it.render(Style::Plain)).collect(),
            ..ReloadReply::default()
        };
        let mut config = self.config.clone();
        config.set_dhcp_sources(files);
        if config.sources == self.config.sources {
            // Another file may name them now.
            self.config = config;
            return Ok(Ok(reply));
        }
        let sources = convert::engine_config(&config, &self.keys, None, self.startup.clock);
        let applied = self.apply_sources(daemon, &config, &sources, &mut reply)?;
        Ok(applied.map(|()| {
            self.config = config;
            reply
        }))
    }

    /// Keeps what is fixed at the start, and reports what differs or cannot be accessed.
    fn keep_fixed(&self, config: &mut Config, reply: &mut ReloadReply) {
        for (heading, keep) in FIXED {
            if keep(config, &self.config) {
                keep_recorded_settings(config, &self.config, heading);
                reply.not_applied.push(format!(
                    "{heading} is read at the start only: restart the daemon"
                ));
            }
        }
        for (key, path) in sandbox::unreachable_paths(config) {
            if key.ends_with("[keyset]") {
                config.keyset.clone_from(&self.config.keyset);
            }
            reply.not_applied.push(format!(
                "{key}: {} is not accessible inside the sandbox: restart the daemon",
                path.display()
            ));
        }
    }

    /// Applies the sources and the rest of the engine's configuration.
    fn apply_sources(
        &self,
        daemon: &mut DaemonContext<'_>,
        config: &Config,
        engine: &EngineConfig,
        reply: &mut ReloadReply,
    ) -> Result<Outcome<()>, Failure> {
        // New sources may request keys at once.
        daemon.shared.ke_client.configure(config);
        match daemon.driver.reconfigure(engine)? {
            Ok(CommandOutcome::Reconfigured {
                added,
                removed,
                changed,
                retried,
            }) => {
                reply.added = added;
                reply.removed = removed;
                reply.changed = changed;
                reply.retried = retried;
            }
            Ok(_) => {}
            Err(refusal) => {
                daemon.shared.ke_client.configure(&self.config);
                return Ok(Err(refusal_error(&refusal)));
            }
        }
        Ok(Ok(()))
    }

    /// Applies the log level, unless the command line sets it. Returns whether it has changed.
    fn apply_log_level(&self, config: &Config, reply: &mut ReloadReply) -> bool {
        let level = config.observability.log_level;
        if self.startup.level.is_some() || level == self.config.observability.log_level {
            return false;
        }
        log::set_level(level.unwrap_or_default());
        reply.applied.push("[observability] log-level".into());
        true
    }

    /// Makes `loaded` the configuration in force.
    fn adopt(&mut self, loaded: Loaded, level_applied: bool) {
        let in_force = &loaded.config;
        let of_file = |place: &Place| place.file() != Some(REQUEST);
        let sources = in_force.sources.iter().filter(|it| of_file(&it.place));
        let servers = in_force.servers.iter().filter(|it| of_file(&it.place));
        let in_file: BTreeSet<_> = sources
            .filter_map(name_of)
            .chain(servers.map(|it| it.address().to_string()))
            .collect();
        // What the files have now belongs to them, and is removed with them.
        self.added.retain(|name| !in_file.contains(name));
        let added = &self.added;
        self.changes
            .reloaded(level_applied, |name| added.contains(name));
        self.config = loaded.config.clone();
        self.keys = loaded.keys.clone();
        self.startup.loaded = loaded;
    }

    /// Applies the key exchange and cookie keys of the new configuration.
    fn reconfigure_nts(
        &self,
        daemon: &mut DaemonContext<'_>,
        config: &mut Config,
        files: NtsFiles,
        reply: &mut ReloadReply,
    ) {
        let now = daemon.driver.now();
        let problems = daemon
            .shared
            .reconfigure_nts(config, files, now, crate::seed);
        for problem in problems {
            if matches!(problem, NtsReloadError::Keyset(_)) {
                config.keyset.clone_from(&self.config.keyset);
            }
            reply.not_applied.push(problem.to_string());
        }
        if config.keyset != self.config.keyset {
            reply.applied.push("[keyset]".into());
        }
        if config.nts_ke_servers != self.config.nts_ke_servers {
            reply.applied.push("[[nts-ke-server]]".into());
        }
    }

    /// Keeps sources and servers that were added at run time, unless the file has them.
    fn keep_added(&self, new: &mut Config) {
        let in_file: Vec<_> = new.sources.iter().filter_map(name_of).collect();
        let added = self.config.sources.iter().filter(|source| {
            let name = name_of(source).filter(|name| !in_file.contains(name));
            name.is_some_and(|name| self.added.contains(&name))
        });
        new.sources.extend(added.cloned());
        let added = self.config.servers.iter().filter(|server| {
            let in_file = new
                .servers
                .iter()
                .any(|it| it.address() == server.address());
            !in_file && self.added.contains(&server.address().to_string())
        });
        let added: Vec<_> = added.cloned().collect();
        new.servers.extend(added);
    }
}

/// Summarises a reload in one line for the log.
pub(super) fn summary(reply: &ReloadReply) -> String {
    let parts = [
        ("sources added", &reply.added),
        ("sources removed", &reply.removed),
        ("sources changed", &reply.changed),
        ("sources tried again", &reply.retried),
        ("applied", &reply.applied),
        ("not applied", &reply.not_applied),
    ];
    let parts = parts.iter().filter(|(_, names)| !names.is_empty());
    let parts: Vec<_> = parts
        .map(|(what, names)| format!("{what}: {}", names.join(", ")))
        .collect();
    if parts.is_empty() {
        "nothing has changed".into()
    } else {
        parts.join("; ")
    }
}

fn refusal_error(refusal: &Refusal) -> Error {
    Error::Refused {
        reason: refusal.to_string(),
    }
}
