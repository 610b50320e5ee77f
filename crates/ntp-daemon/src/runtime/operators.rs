//! The runtime as the control socket and the signals see it: commands go to the engine in between two waits, and are
//! answered before the next one is given.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::PathBuf;

use ntp_config::Config;
use ntp_nts_ke::server::{Bound, StartError};
use ntp_proto::engine::{Command, CommandId, Done, EngineConfig, Input, Kept, Refusal};
use ntp_time::Monotonic;

use super::reading::now;
use super::{Failure, Runtime};
use crate::nts::{self, CookieKeys, KeServer, KeStats, NtsStatus, Rekeyed};
use crate::serve::{ClientTable, Servers, Totals};

/// Commands are answered before the next one is given, so that one number does for all.
const COMMAND: CommandId = CommandId(0);

/// A part of NTS that stays as it was.
#[derive(Debug)]
pub(crate) enum NtsReloadError {
    /// The keys for cookies.
    Keyset(String),
    /// An address at which keys are given out.
    KeyExchange(StartError),
}

impl core::fmt::Display for NtsReloadError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Keyset(problem) => write!(f, "[keyset]: {problem}"),
            Self::KeyExchange(StartError::Listen(address, error))
                if error.kind() == ErrorKind::PermissionDenied =>
            {
                write!(
                    f,
                    "listen in [[nts-ke-server]]: {address} (TCP) can be bound at the start only: restart the daemon"
                )
            }
            Self::KeyExchange(problem) => write!(f, "[[nts-ke-server]]: {problem}"),
        }
    }
}

impl Runtime {
    /// Reads the certificates again with which keys are given out.
    pub fn reload_certificates(&mut self) {
        if let Some(ke_server) = &mut self.ke_server {
            ke_server.reload();
        }
    }

    /// Makes clients' cookies with a new key from now on.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) fn rekey(&mut self) -> Result<Rekeyed, &'static str> {
        let now = now(&self.clock);
        let keys = self.cookie_keys.as_mut().ok_or(
            "no cookie keys are in use: there is no [[nts-ke-server]], and nothing else needs a keyset",
        )?;
        let rekeyed = keys.rekey(now).ok_or(
            "the cookie keys are derived from the fleet's shared secret and the time; to change them, replace the \
             secret in the file of shared-secret-path on all servers, and reload them",
        )?;
        self.hand_out_cookie_keys();
        Ok(rekeyed)
    }

    /// Makes cookies and gives out keys as a new configuration wants it. What cannot be done is returned; the rest is done all the same.
    pub(crate) fn reconfigure_nts(
        &mut self,
        config: &Config,
        seed: fn() -> [u8; 32],
    ) -> Vec<NtsReloadError> {
        let mut problems = Vec::new();
        let now = now(&self.clock);
        let changed = match &mut self.cookie_keys {
            Some(keys) => keys.reconfigure(&config.keyset, config.keyset_file(), now),
            None if !nts::needs_cookie_keys(config) => return problems,
            none => CookieKeys::new(&config.keyset, config.keyset_file(), now, seed).map(|keys| {
                *none = Some(keys);
                true
            }),
        };
        match changed {
            Ok(true) => self.hand_out_cookie_keys(),
            Ok(false) => {}
            Err(problem) => problems.push(NtsReloadError::Keyset(problem)),
        }
        let endpoints = nts::endpoints(config);
        let Some(keys) = self
            .cookie_keys
            .as_ref()
            .filter(|_| !endpoints.is_empty() || self.ke_server.is_some())
        else {
            return problems;
        };
        let refused = match &mut self.ke_server {
            Some(ke_server) => ke_server.reconfigure(endpoints),
            none => match KeServer::start(Bound::default(), keys.shared(), seed()) {
                Ok(ke_server) => none.insert(ke_server).reconfigure(endpoints),
                Err(problem) => vec![problem],
            },
        };
        problems.extend(refused.into_iter().map(NtsReloadError::KeyExchange));
        problems
    }

    /// Believes the authorities that `config` names for its sources.
    pub(crate) fn configure_ke_client(&mut self, config: &Config) {
        self.ke_client.configure(config);
    }

    /// The ke_server out of NTS keys, if any are.
    pub(crate) fn ke_stats(&self) -> Option<KeStats> {
        let keys = self.cookie_keys.as_ref()?;
        self.ke_server.as_ref()?.stats(&keys.current())
    }

    /// What readers are told about NTS.
    pub(crate) fn nts_status<'a>(&'a self, ke_stats: Option<&'a KeStats>) -> NtsStatus<'a> {
        NtsStatus {
            ke_stats,
            expiries: self.ke_client.expiries(),
        }
    }

    /// Gives the engine an operator's command, and says what became of it.
    ///
    /// # Errors
    /// If the clock can't be controlled any more.
    pub(crate) fn command(&mut self, command: &Command) -> Result<Result<Done, Refusal>, Failure> {
        self.operate(&Input::Command(COMMAND, command))
    }

    /// Gives the engine a new configuration, and says what became of it.
    ///
    /// # Errors
    /// If the clock can't be controlled any more.
    pub(crate) fn reconfigure(
        &mut self,
        config: &EngineConfig,
    ) -> Result<Result<Done, Refusal>, Failure> {
        self.operate(&Input::Reconfigure(COMMAND, config))
    }

    /// Reads the configuration again, as if an operator had asked for it.
    ///
    /// # Errors
    /// If the clock can't be controlled any more.
    pub fn reload(&mut self) -> Result<(), Failure> {
        let Some((listener, mut handler)) = self.control.take() else {
            return Ok(());
        };
        if let Some(manager) = &mut self.manager {
            manager.reloading();
        }
        let result = handler.reload_on_hangup(self);
        if let Some(manager) = &mut self.manager {
            manager.reloaded();
        }
        self.control = Some((listener, handler));
        result
    }

    fn operate(&mut self, input: &Input<'_>) -> Result<Result<Done, Refusal>, Failure> {
        self.completed = None;
        self.handle(*input)?;
        // A halted engine does nothing more; the loop ends the daemon.
        let nothing = Ok(Done::Sources(Vec::new()));
        Ok(self.completed.take().unwrap_or(nothing))
    }

    /// The configured name of the source that an operator calls `name`.
    pub(crate) fn source_called(&self, name: &str) -> Result<String, Refusal> {
        self.engine.source_called(name).map(ToOwned::to_owned)
    }

    /// Lets the engine notice that the clock was set since the last wake-up.
    pub(crate) fn tick(&mut self) -> Result<(), Failure> {
        self.handle(Input::Tick)
    }

    /// What became of the datagrams at each address.
    pub(crate) fn served(&self) -> Vec<(SocketAddr, Totals)> {
        self.servers
            .as_ref()
            .map(Servers::totals)
            .unwrap_or_default()
    }

    /// How many clients are to be remembered at each of these addresses.
    pub(crate) fn client_list_sizes(&self) -> Vec<usize> {
        self.servers
            .as_ref()
            .map(Servers::client_list_sizes)
            .unwrap_or_default()
    }

    /// The clients that are remembered, at one address or at all. `None` if that one is not served.
    pub(crate) fn clients(&self, address: Option<SocketAddr>) -> Option<ClientTable> {
        match &self.servers {
            Some(servers) => servers.clients(address),
            None => address.is_none().then(ClientTable::default),
        }
    }

    /// When the daemon began.
    pub(crate) fn started(&self) -> Monotonic {
        self.started
    }

    /// Saves what has been learnt, now. Returns where, or why not.
    pub(crate) fn dump(&mut self) -> Result<Result<PathBuf, String>, Failure> {
        let kept = self.engine.kept(self.now());
        Ok(match (kept, self.store.path()) {
            (_, None) => Err("no state is saved ([state] enabled = false)".into()),
            (kept, _) if kept == Kept::default() => {
                Err("nothing to save yet: the clock has no majority of sources".into())
            }
            (kept, Some(path)) => {
                self.store.save(kept);
                Ok(path)
            }
        })
    }
}
