//! The devices that interfaces read and change: what clients are served with, and where keys come
//! from.

use std::io::ErrorKind;

use ntp_config::{Config, build};
use ntp_proto::engine::Now;
use ntp_types::event::Event;
use ntp_types::path::ListenAddress;
use ntp_types::status::{KeServerStatus, ServerStatus};

use super::driver::Driver;
use super::pollable::{Context, Pollable};
use super::slot::Slot;
use crate::log;
use crate::nts::{
    self, Bound, CookieKeys, KeClient, KeServer, NtsFiles, PreparedEndpoint, Rekeyed, StartError,
};
use crate::serve::{self, ClientTable, Listener, ServeError, Servers};

/// What an interface works on: the driver and the services.
pub(crate) type DaemonContext<'a> = Context<'a, Services>;

/// Servers, cookie keys and key exchange.
#[derive(Debug, Default)]
pub(crate) struct Services {
    /// Key exchange with our servers.
    pub(crate) ke_client: KeClient,
    /// The keys of our clients' cookies, if any of them uses NTS.
    cookie_keys: Slot<CookieKeys, { build::SERVER }>,
    servers: Slot<Servers, { build::SERVER }>,
    ke_server: Slot<KeServer, { build::SERVER }>,
}

/// A part of NTS that a reload could not change.
#[derive(Debug)]
pub(crate) enum NtsReloadError {
    /// The cookie keys.
    Keyset(String),
    /// An address of the key-exchange server.
    KeyExchange(StartError),
}

impl core::fmt::Display for NtsReloadError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Keyset(problem) => write!(f, "[keyset]: {problem}"),
            Self::KeyExchange(StartError::Listen(address, error))
                if error.kind() == ErrorKind::PermissionDenied && address.device.is_none() =>
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

impl Services {
    /// Lists the services as devices. Servers come after the cookie keys, whose changes they
    /// publish.
    pub(super) fn list(&mut self) -> [&mut dyn Pollable; 4] {
        [
            &mut self.ke_client,
            &mut self.cookie_keys,
            &mut self.servers,
            &mut self.ke_server,
        ]
    }

    /// Starts serving time through `bound`. `seed` returns a fresh secret for each call.
    ///
    /// # Errors
    /// If the threads cannot be started.
    pub(super) fn serve(
        &mut self,
        driver: &mut Driver,
        bound: serve::Bound,
        seed: &mut dyn FnMut() -> [u8; 32],
    ) -> Result<(), ServeError> {
        if !build::SERVER {
            return Ok(());
        }
        driver.log_missing(bound.missing().iter().copied());
        let (_, claim) = driver.claim();
        let before = self.addresses();
        self.servers(driver)?.add(bound, claim, seed)?;
        self.log_addresses(&before);
        Ok(())
    }

    /// Logs the addresses that are served now and were not `before`, and the reverse.
    fn log_addresses(&self, before: &[ListenAddress]) {
        let now = self.addresses();
        for &address in before.iter().filter(|it| !now.contains(it)) {
            log::emit(&Event::ServerStopped { address });
        }
        for &address in now.iter().filter(|it| !before.contains(it)) {
            log::emit(&Event::ServerStarted { address });
        }
    }

    /// Serves at exactly these addresses from now on; see [`Servers::reconfigure`]. Returns the
    /// errors; an address with an error does not keep the others from being served.
    pub(crate) fn serve_at(
        &mut self,
        driver: &mut Driver,
        listeners: Vec<Listener>,
        seed: &mut dyn FnMut() -> [u8; 32],
    ) -> Vec<ServeError> {
        if !build::SERVER || (self.servers.get().is_none() && listeners.is_empty()) {
            return Vec::new();
        }
        let (_, claim) = driver.claim();
        let before = self.addresses();
        let servers = match self.servers(driver) {
            Ok(servers) => servers,
            Err(problem) => return vec![problem],
        };
        let (missing, problems) = servers.reconfigure(listeners, claim, seed);
        driver.log_missing(missing);
        self.log_addresses(&before);
        problems
    }

    /// Returns the servers with the current cookie keys.
    fn servers(&mut self, driver: &Driver) -> Result<&mut Servers, ServeError> {
        let make = || Servers::new(&driver.clock().translator());
        let servers = self.servers.get_or_make(make)?;
        if let Some(keys) = self.cookie_keys.get() {
            servers.follow_keyset(keys.shared());
        }
        Ok(servers)
    }

    /// Protects cookies with `keys`, and starts the key-exchange server if `bound` has addresses.
    /// Call it before time is [served](Self::serve).
    ///
    /// # Errors
    /// If the operating system gives no thread.
    pub(super) fn serve_keys(
        &mut self,
        keys: CookieKeys,
        bound: Bound,
        seed: [u8; 32],
    ) -> Result<(), StartError> {
        if !bound.is_empty() {
            let start = || KeServer::start(bound, keys.shared(), seed);
            self.ke_server.get_or_make(start)?;
        }
        self.cookie_keys = Slot::open(|| Some(keys));
        Ok(())
    }

    /// Reloads the certificates of the key-exchange server.
    pub(crate) fn reload_certificates(&self) {
        if let Some(ke_server) = self.ke_server.get() {
            ke_server.reload();
        }
    }

    /// Replaces the key for new cookies.
    ///
    /// # Errors
    /// The reason why there is no new key.
    pub(crate) fn rekey(&mut self, now: Now) -> Result<Rekeyed, &'static str> {
        let keys = self.cookie_keys.get_mut().ok_or(
            "no cookie keys are in use: there is no [[nts-ke-server]], and nothing else needs a keyset",
        )?;
        let rekeyed = keys.rekey(now).ok_or(
            "the cookie keys are derived from the fleet's shared secret and the time; to change them, replace the \
             secret in the file of shared-secret-path on all servers, and reload them",
        )?;
        self.publish_keyset();
        Ok(rekeyed)
    }

    /// Applies the cookie keys and the key-exchange servers of a new configuration, with the files
    /// that it names. Returns what could not be done; the rest is done nevertheless.
    pub(crate) fn reconfigure_nts(
        &mut self,
        config: &Config,
        files: NtsFiles,
        now: Now,
        seed: fn() -> [u8; 32],
    ) -> Vec<NtsReloadError> {
        let mut problems = Vec::new();
        if self.cookie_keys.get().is_none() && !nts::needs_cookie_keys(config) {
            return problems;
        }
        let (keyset, storage) = (&config.keyset, config.keyset_file());
        let fleet = match (self.cookie_keys.get(), files.fleet) {
            // The section was kept as it is.
            (Some(_), _) if files.keyset != *keyset => None,
            (_, Err(problem)) => {
                problems.push(NtsReloadError::Keyset(problem));
                None
            }
            (_, Ok(fleet)) => Some(fleet),
        };
        let changed = match (self.cookie_keys.get_mut(), fleet) {
            (_, None) => false,
            (Some(keys), Some(fleet)) => keys.reconfigure(keyset, fleet, storage, now),
            (None, Some(fleet)) => {
                let keys = CookieKeys::new(keyset, fleet, storage, now, seed);
                self.cookie_keys = Slot::open(|| Some(keys));
                true
            }
        };
        if changed {
            self.publish_keyset();
        }
        let refused = self.reconfigure_ke_server(files.endpoints, seed);
        problems.extend(refused.into_iter().map(NtsReloadError::KeyExchange));
        problems
    }

    fn reconfigure_ke_server(
        &mut self,
        endpoints: Vec<PreparedEndpoint>,
        seed: fn() -> [u8; 32],
    ) -> Vec<StartError> {
        let Some(keys) = self.cookie_keys.get() else {
            return Vec::new();
        };
        if self.ke_server.get().is_none() && endpoints.is_empty() {
            return Vec::new();
        }
        let start = || KeServer::start(Bound::default(), keys.shared(), seed());
        match self.ke_server.get_or_make(start) {
            Ok(ke_server) => ke_server.reconfigure(endpoints),
            Err(problem) => vec![problem],
        }
    }

    /// Gives the servers the current cookie keys.
    fn publish_keyset(&mut self) {
        if let (Some(keys), Some(servers)) = (self.cookie_keys.get(), self.servers.get_mut()) {
            servers.follow_keyset(keys.shared());
        }
    }

    /// Returns the status of the key-exchange server, if there is one.
    pub(crate) fn ke_status(&self) -> Option<KeServerStatus> {
        let keys = self.cookie_keys.get()?;
        self.ke_server.get()?.status(&keys.current())
    }

    /// Returns the expiry of the certificates that the source presented last: seconds since 1970.
    pub(crate) fn certificate_expiry(&self, source: &str) -> Option<u64> {
        self.ke_client.expiry(source)
    }

    /// Returns the group of the last key exchange of the source.
    pub(crate) fn key_exchange_group(&self, source: &str) -> Option<&'static str> {
        self.ke_client.group(source)
    }

    /// Returns the addresses at which time is served.
    pub(super) fn addresses(&self) -> Vec<ListenAddress> {
        let servers = self.servers.get();
        servers.map_or_else(Vec::new, |servers| servers.addresses().collect())
    }

    /// Returns the addresses that are not served before their device exists, if there are any.
    pub(crate) fn waiting(&self) -> Option<Vec<ListenAddress>> {
        let servers = self.servers.get().into_iter().flat_map(Servers::waiting);
        let ke_server = self.ke_server.get().into_iter().flat_map(KeServer::waiting);
        let waiting: Vec<_> = servers.chain(ke_server).collect();
        (!waiting.is_empty()).then_some(waiting)
    }

    /// Returns the status of each address at which time is served.
    pub(crate) fn server_status(&self) -> Vec<ServerStatus> {
        self.servers.get().map(Servers::status).unwrap_or_default()
    }

    /// Returns the clients of one address or of all; `None` if `address` is not served.
    pub(crate) fn clients(&self, address: Option<ListenAddress>) -> Option<ClientTable> {
        match self.servers.get() {
            Some(servers) => servers.clients(address),
            None => address.is_none().then(ClientTable::default),
        }
    }

    /// Stops all threads, so that no client gets the time of a clock that is not steered any more.
    ///
    /// # Errors
    /// The failure of a serving thread.
    pub(super) fn stop(&mut self) -> Result<(), ServeError> {
        let stopped = self.servers.get_mut().map_or(Ok(()), Servers::stop);
        if let Some(ke_server) = self.ke_server.take() {
            ke_server.stop();
        }
        stopped
    }

    /// Waits until the cookie keys are written.
    pub(super) fn finish_saving(&mut self) {
        if let Some(keys) = self.cookie_keys.get_mut() {
            keys.finish();
        }
    }

    /// Makes a worker fail at each address.
    #[cfg(test)]
    pub(super) fn inject_fault(&self) {
        self.servers
            .get()
            .into_iter()
            .for_each(Servers::inject_fault);
    }
}
