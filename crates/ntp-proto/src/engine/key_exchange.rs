//! NTS key exchanges: requests them from the shell and applies their results.
//!
//! The times are decided in `source/ntp/key_exchanges.rs`. The shell performs the exchange off the
//! timekeeping thread and may return a session saved by an earlier run (see
//! [`StoredSession`](crate::nts::StoredSession)), which makes no difference to the engine.

use rand_core::RngCore;

use super::source::ntp::key_exchanges::KeyExchangeEffect;
use super::source::pool::Endpoint;
use super::{
    Engine, Event, KeyExchangeError, KeyExchangeFailure, Now, Output, QueryId, RemovalReason,
};
use crate::client::{Protection, VersionChoice};
use crate::nts::{KeyExchangeResult, KeyExchanged};

impl Engine {
    pub(super) fn start_due_key_exchanges(&mut self, now: Now) {
        if self
            .sources
            .next_key_exchange()
            .is_none_or(|(at, _)| at > now.monotonic)
        {
            return;
        }
        loop {
            let scatter = f64::from(self.rng.next_u32()) / f64::from(u32::MAX);
            let Some(request) = self.sources.take_due_key_exchange(now.monotonic, scatter) else {
                break;
            };
            let version = match self.sources.index_of(request.query) {
                Some(index) => self.sources.config_at(index).association.version,
                None => VersionChoice::default(),
            };
            self.outputs.push_back(Output::ExchangeKeys {
                version,
                query: request.query,
                name: request.name,
                host: request.host,
                port: request.port,
                denied: request.denied,
            });
        }
    }

    pub(super) fn key_exchange_finished(
        &mut self,
        now: Now,
        query: QueryId,
        result: Result<&KeyExchanged, &KeyExchangeError>,
    ) {
        let Some(index) = self.sources.index_of(query) else {
            return;
        };
        let config = self.sources.config_at(index);
        let name = config.name.clone();
        let other_version = KeyExchangeError {
            reason: KeyExchangeFailure::RefusedByServer,
            message: "the keys are for another version of NTP than `ntp-version`".to_owned(),
        };
        // A session of an earlier run may be for the version of another configuration.
        let result = match (result, config.association.version) {
            (Ok(keys), VersionChoice::Fixed(version))
                if keys.result.protocol.version() != version =>
            {
                Err(&other_version)
            }
            _ => result,
        };
        let effect = self
            .sources
            .key_exchange_finished(now.monotonic, index, result);
        match (&effect, result) {
            (KeyExchangeEffect::Unexpected, _) => return,
            (KeyExchangeEffect::Failed(error, retry), _) => {
                if self
                    .sources
                    .should_report_key_failure(now.monotonic, index, error.reason)
                {
                    self.emit(Event::KeyExchangeFailed {
                        source: name,
                        reason: error.reason,
                        error: error.message.clone(),
                        retry: *retry,
                    });
                }
            }
            (_, Ok(keys)) => self.emit(Event::KeysExchanged {
                source: name,
                algorithm: keys.result.keys.algorithm().to_string(),
                server: Endpoint::of(keys).host.to_string(),
            }),
            (_, Err(_)) => {}
        }
        self.apply_key_exchange(now, effect);
    }

    /// Ends the association of the source, drops its keys and requests a new key exchange.
    pub(super) fn keys_revoked(&mut self, now: Now, query: QueryId, error: &KeyExchangeError) {
        let Some(index) = self.sources.index_of(query) else {
            return;
        };
        let name = self.sources.config_at(index).name.clone();
        self.emit(Event::KeysRevoked {
            source: name,
            reason: error.reason,
            error: error.message.clone(),
        });
        while let Some(position) = self.sources.in_use_of(index) {
            self.end_source(now, position, RemovalReason::KeysRevoked);
        }
        self.reselect(now);
        // The saved session of the association is revoked as well.
        let _ = self.sources.take_session(index);
        let _ = self.sources.take_pending_member(index);
        self.sources.request_keys(index, now.monotonic);
        self.fill_sources(now);
    }

    /// Applies keys that were waiting for the addresses of their server.
    pub(super) fn apply_stored_keys(&mut self, now: Now, index: usize) {
        let effect = self.sources.apply_stored_session(now.monotonic, index);
        self.apply_key_exchange(now, effect);
    }

    fn apply_key_exchange(&mut self, now: Now, effect: KeyExchangeEffect) {
        match effect {
            KeyExchangeEffect::Renewed(position, session) => {
                if let Some(ntp) = self.sources.in_use[position].ntp_mut() {
                    let silent = !ntp.association.reach().is_reachable();
                    ntp.association.install_session(*session);
                    if silent {
                        ntp.association.poll_soon(now.monotonic);
                    }
                }
            }
            KeyExchangeEffect::Moved(position) => {
                self.drop_source(now, position, RemovalReason::Moved);
            }
            KeyExchangeEffect::Replaced(position) => {
                self.drop_source(now, position, RemovalReason::Replaced);
            }
            KeyExchangeEffect::Unexpected
            | KeyExchangeEffect::Failed(..)
            | KeyExchangeEffect::Waiting => {}
        }
        self.fill_sources(now);
    }

    /// Requests new keys for the association at `position` if it needs them.
    pub(super) fn request_keys_if_needed(&mut self, now: Now, position: usize) {
        if self.sources.needs_keys(position, now.monotonic) {
            let index = self.sources.in_use[position].configured;
            self.sources.request_keys(index, now.monotonic);
        }
    }

    /// Hands out the sessions at shutdown, so that the next run needs no key exchange.
    pub(super) fn persist_sessions(&mut self) {
        for source in &self.sources.in_use {
            let Some(association) = source.ntp().map(|ntp| &ntp.association) else {
                continue;
            };
            let Protection::Nts(session) = association.protection() else {
                continue;
            };
            let Some((keys, legacy_keys, cookies)) = session.persistent_parts() else {
                continue;
            };
            let remote = association.remote();
            let session = KeyExchanged {
                from: remote.into(),
                member: source.member.as_ref().and_then(|it| it.name().cloned()),
                result: KeyExchangeResult {
                    protocol: session.protocol(),
                    keys,
                    legacy_keys,
                    cookies,
                    server: self.sources.server_name(source),
                    port: Some(remote.port()),
                },
            };
            self.outputs.push_back(Output::PersistSession {
                name: self.sources.config(source).name.clone(),
                session: Box::new(session),
            });
        }
    }
}
