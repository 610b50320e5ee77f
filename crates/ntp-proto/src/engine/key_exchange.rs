//! NTS keys for the sources that want them: asking the shell for a key exchange, and what its outcome changes.
//!
//! When one takes place is decided in `source_set/keys.rs`. The shell does it, off the timekeeping thread, and may answer
//! from a session that an earlier run left (see [`StoredSession`](crate::nts::StoredSession)): the engine cannot tell the difference.

use rand_core::RngCore;

use super::source_set::Exchanged;
use super::{Engine, Event, Now, Output, Removal, ResolveId};
use crate::client::Protection;
use crate::nts::{KeyExchangeResult, KeyExchanged};

impl Engine {
    pub(super) fn exchange_overdue_keys(&mut self, now: Now) {
        if self
            .sources
            .next_keys()
            .is_none_or(|(at, _)| at > now.monotonic)
        {
            return;
        }
        loop {
            let scatter = f64::from(self.rng.next_u32()) / f64::from(u32::MAX);
            let Some((query, name, host, port)) = self.sources.overdue_keys(now.monotonic, scatter)
            else {
                break;
            };
            self.outputs.push_back(Output::ExchangeKeys {
                query,
                name,
                host,
                port,
            });
        }
    }

    pub(super) fn keys_exchanged(
        &mut self,
        now: Now,
        query: ResolveId,
        result: Result<&KeyExchanged, &str>,
    ) {
        let Some(index) = self.sources.asked_by(query) else {
            return;
        };
        let name = self.sources.config_at(index).name.clone();
        let exchanged = self.sources.keys_exchanged(now.monotonic, index, result);
        match (&exchanged, result) {
            (Exchanged::Unasked, _) => return,
            (Exchanged::Failed(retry), _) => {
                let retry = *retry;
                let error = result.err().unwrap_or("the server gave no cookies");
                if self.sources.tells_key_failure(now.monotonic, index, error) {
                    let error = error.to_owned();
                    self.emit(Event::KeyExchangeFailed { name, error, retry });
                }
            }
            (_, Ok(keys)) => self.emit(Event::KeysExchanged {
                name,
                algorithm: keys.result.keys.algorithm(),
                server: self.sources.host_name(index),
            }),
            (_, Err(_)) => {}
        }
        self.take_keys(now, exchanged);
    }

    /// The source's association goes, and its keys with it; it begins anew with another exchange.
    pub(super) fn keys_revoked(&mut self, now: Now, query: ResolveId, reason: &str) {
        let Some(index) = self.sources.asked_by(query) else {
            return;
        };
        let name = self.sources.config_at(index).name.clone();
        let reason = reason.to_owned();
        self.emit(Event::KeysRevoked { name, reason });
        let member = |sources: &super::source_set::SourceSet| {
            let mut members = sources.members.iter();
            members.position(|member| member.configured == index)
        };
        while let Some(position) = member(&self.sources) {
            self.dismiss(position, Removal::Distrusted);
        }
        self.vote_again(now);
        // What the association left is worth as little.
        let _ = self.sources.take_session(index);
        self.sources.want_keys(index, now.monotonic);
        self.fill_sources(now);
    }

    /// Keys that waited for the addresses of their server may be of use now.
    pub(super) fn settle_keys(&mut self, now: Now, index: usize) {
        let exchanged = self.sources.settle(now.monotonic, index);
        self.take_keys(now, exchanged);
    }

    fn take_keys(&mut self, now: Now, exchanged: Exchanged) {
        match exchanged {
            Exchanged::Renewed(position, session) => {
                let association = &mut self.sources.members[position].association;
                let silent = !association.reach().is_reachable();
                association.renew(*session);
                if silent {
                    association.hurry(now.monotonic);
                }
            }
            Exchanged::Moved(position) => self.drop_member(now, position, Removal::Moved),
            Exchanged::Unasked | Exchanged::Failed(_) | Exchanged::Waiting => {}
        }
        self.fill_sources(now);
    }

    /// Wants new keys for the association at `position` if it needs them.
    pub(super) fn look_after_keys(&mut self, now: Now, position: usize) {
        let member = &self.sources.members[position];
        let Some(session) = member.association.protection().nts() else {
            return;
        };
        let (index, silent) = (member.configured, member.association.reach().is_dead());
        if silent || session.wants_keys() || self.sources.keys_are_old(index, now.monotonic) {
            self.sources.want_keys(index, now.monotonic);
        }
    }

    /// At the end: hands out what spares the next run its key exchanges.
    pub(super) fn persist_sessions(&mut self) {
        for member in &self.sources.members {
            let Protection::Nts(session) = member.association.protection() else {
                continue;
            };
            let Some((keys, legacy_keys, cookies)) = session.remains() else {
                continue;
            };
            let remote = member.association.remote();
            let session = KeyExchanged {
                from: remote.ip(),
                result: KeyExchangeResult {
                    keys,
                    legacy_keys,
                    cookies,
                    server: self.sources.named_server(member.configured),
                    port: Some(remote.port()),
                },
            };
            self.outputs.push_back(Output::PersistSession {
                name: self.sources.config(member).name.clone(),
                session: Box::new(session),
            });
        }
    }
}
