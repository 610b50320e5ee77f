//! Serves time, on threads apart from the timekeeping thread.
//!
//! # Communication
//! ```text
//!            main thread                       one worker per listener and processor
//!   engine --claim--> publish --(arc-swap)--> view    -> respond, seal -> socket
//!   observation <---- totals (relaxed atomics) <-------- counters
//!   GetClients <----- table (a lock, see below) <------- client list, if configured
//!   poll(2)    <----- exit notice (a number in a socket pair) <- end of the thread
//! ```
//! Nothing else is shared. No lock is taken on the path of a packet, and a worker has state of its
//! own clients only, which always reach the same worker (see `ntp_udp`'s steering). Clients are
//! entered into the list after a batch has been answered, and only if its lock is free
//! (`client_table`).
//!
//! The crate `ntp_worker` has what a worker does per packet.
//!
//! # Changes
//! Workers load the current view for each batch, so they see a new claim or policy with the next
//! one. [`Servers::publish_policy`] changes the policy of an address, [`Servers::add`] and
//! [`Servers::remove`] change the addresses, and [`Servers::reconfigure`] does all of it to match a
//! new configuration.
//!
//! # Exit
//! A worker that is stopped is joined. If it ends otherwise, by an error or a panic, the main
//! thread is woken and stops the daemon: a server that silently lost half of its threads would look
//! healthy and ignore half of its clients.

mod bound;
mod client_table;
mod endpoint;
pub(crate) mod error;

use std::io::Read;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use arc_swap::ArcSwap;
use ntp_os_clock::Translator;
use ntp_proto::engine::Input;
use ntp_proto::nts::Keyset;
use ntp_proto::reference_ids::{BloomFilter, ServerId};
use ntp_proto::server::{Claim, Policy};
use ntp_udp::wait::{Interest, PollSet};
use ntp_udp::{ServerOptions, Shortcoming};
use rand_chacha::ChaCha12Rng;
use rand_core::SeedableRng;

pub use bound::Bound;
pub use client_table::ClientTable;
pub use error::ServeError;
use ntp_types::event::Event;
use ntp_types::path::ListenAddress;
use ntp_types::status::ServerStatus;

use crate::log;
use crate::runtime::driver::Driver;
use crate::runtime::failure::Failure;
use crate::runtime::pollable::{Context, Pollable};
use bound::Site;
use endpoint::{Endpoint, WorkerContext};

/// A listening address and how it is served.
#[derive(Clone, Debug)]
pub struct Listener {
    /// Address, port and device. The latter is also one of the `options`.
    pub address: ListenAddress,
    /// Number of threads; 0 counts as 1.
    pub workers: usize,
    /// Whether workers may batch requests under load.
    pub batching_under_load: bool,
    /// Access, rate limits and other rules.
    pub policy: Policy,
    /// Options of the sockets.
    pub options: ServerOptions,
}

/// All serving threads. Dropping it stops them.
#[derive(Debug)]
pub struct Servers {
    endpoints: Vec<Endpoint>,
    /// Addresses whose device does not exist.
    waiting: Vec<Listener>,
    keyset: Option<Arc<Keyset>>,
    reference_ids: Option<Arc<BloomFilter>>,
    /// ID by which loops are found, drawn with the first address.
    server_id: Option<ServerId>,
    /// Whether the engine knows that version 5 is served.
    identified: bool,
    /// Where the current keyset is found, if it may change.
    keyset_source: Option<Arc<ArcSwap<Keyset>>>,
    translator: Translator,
    /// Readable when a worker has ended.
    exit_notices: UnixStream,
    /// Where workers write their exit notices.
    report: Arc<UnixStream>,
    next_thread: u32,
    place: usize,
}

impl Servers {
    /// Starts without addresses. Workers will serve the time of the clock of `translator`.
    ///
    /// # Errors
    /// If no socket pair can be created.
    pub fn new(translator: &Translator) -> Result<Self, ServeError> {
        let pair = || {
            let (read, write) = UnixStream::pair()?;
            read.set_nonblocking(true)?;
            write.set_nonblocking(true)?;
            Ok((read, Arc::new(write)))
        };
        let (exit_notices, report) =
            pair().map_err(|error| ServeError::System("socketpair", error))?;
        Ok(Self {
            endpoints: Vec::new(),
            waiting: Vec::new(),
            keyset: None,
            reference_ids: None,
            server_id: None,
            identified: false,
            keyset_source: None,
            translator: translator.clone(),
            exit_notices,
            report,
            next_thread: 0,
            place: usize::MAX,
        })
    }

    /// Serves additional addresses.
    ///
    /// # Errors
    /// If not enough threads can be started. None of the new addresses is served then.
    pub fn add(
        &mut self,
        bound: Bound,
        claim: Claim,
        seed: &mut dyn FnMut() -> [u8; 32],
    ) -> Result<(), ServeError> {
        let server_id = &mut self.server_id;
        server_id.get_or_insert_with(|| ServerId::random(&mut ChaCha12Rng::from_seed(seed())));
        let mut context = WorkerContext {
            claim,
            keyset: self.keyset.clone(),
            reference_ids: self.reference_ids.clone(),
            translator: &self.translator,
            report: &self.report,
            next: &mut self.next_thread,
            seed,
        };
        let open = |(listener, sockets)| Endpoint::open(listener, sockets, &mut context);
        let opened: Result<Vec<_>, _> = bound.endpoints.into_iter().map(open).collect();
        self.endpoints.extend(opened?);
        for listener in &bound.waiting {
            let address = listener.address;
            log::emit(&Event::ServerWaiting { address });
        }
        self.waiting.extend(bound.waiting);
        Ok(())
    }

    /// Addresses that are not served before their device exists.
    pub fn waiting(&self) -> impl Iterator<Item = ListenAddress> {
        self.waiting.iter().map(|listener| listener.address)
    }

    /// Stops the addresses whose device was removed or renamed. Serves these and the waiting ones
    /// if their device exists.
    ///
    /// Called in every round, because a change of an interface begins one. A check of an address
    /// that is served costs one system call, an attempt to bind one that waits three.
    fn follow_devices(&mut self, driver: &mut Driver) {
        let waiting = core::mem::take(&mut self.waiting);
        // All are closed before the first is bound: if two devices have swapped their names, each
        // address needs the port of the other one.
        let lost = self.stop_lost().into_iter().map(|it| (it, false));
        let waiting = waiting.into_iter().map(|it| (it, true));
        let mut unserved: Vec<_> = lost.chain(waiting).collect();
        unserved.sort_by_key(|(listener, _)| Site::of(listener).rank());
        for (listener, waited) in unserved {
            self.open_again(listener, waited, driver);
        }
    }

    /// Stops the addresses whose device was removed or renamed, and returns them.
    fn stop_lost(&mut self) -> Vec<Listener> {
        let lost = self.endpoints.extract_if(.., |it| it.has_lost_device());
        let lost: Vec<_> = lost.collect();
        let stop = |mut endpoint: Endpoint| {
            if let Err(problem) = endpoint.stop() {
                log_failure(&problem);
            }
            endpoint.listener()
        };
        lost.into_iter().map(stop).collect()
    }

    /// Serves an address if its device exists, else lets it wait, which is logged unless it
    /// `waited` before. An address that fails otherwise is not tried again.
    fn open_again(&mut self, listener: Listener, waited: bool, driver: &mut Driver) {
        let address = listener.address;
        let opened = Bound::bind_beside(&self.endpoints, vec![listener]).and_then(|mut bound| {
            if waited {
                self.waiting.append(&mut bound.waiting);
            }
            let opens = !bound.endpoints.is_empty();
            driver.log_missing(bound.missing().iter().copied());
            self.add(bound, driver.claim().1, &mut crate::seed)?;
            if opens {
                log::emit(&Event::ServerStarted { address });
            }
            Ok(())
        });
        if let Err(problem) = opened {
            log_failure(&problem);
            if !waited {
                log::emit(&Event::ServerStopped { address });
            }
        }
    }

    /// Stops serving at `address`, one of [`addresses`](Self::addresses). Returns whether it was
    /// served. Requests that are still in the socket are lost.
    ///
    /// # Errors
    /// The failure of a worker there; the address is not served any more.
    pub fn remove(&mut self, address: ListenAddress) -> Result<bool, ServeError> {
        let waiting = self.waiting.len();
        self.waiting.retain(|listener| listener.address != address);
        if self.waiting.len() != waiting {
            return Ok(true);
        }
        let at = self
            .endpoints
            .iter()
            .position(|endpoint| endpoint.address() == address);
        match at {
            Some(at) => self.endpoints.remove(at).stop().map(|()| true),
            None => Ok(false),
        }
    }

    /// Replaces the policy at `address`. Returns whether it is served.
    ///
    /// Nothing is dropped and no client waits: a worker finishes its batch with the old policy and
    /// starts the next with the new one. State is kept where both agree: the rates and interleaved
    /// stamps of clients are forgotten only if their limit or table changes.
    pub fn publish_policy(&mut self, address: ListenAddress, policy: Policy) -> bool {
        let endpoint = self.endpoints.iter_mut().find(|it| it.address() == address);
        endpoint
            .map(|endpoint| endpoint.publish_policy(policy))
            .is_some()
    }

    /// Matches a new configuration address by address. A removed address is closed, a kept one gets
    /// its new policy without losing a packet, a new one is bound. Threads are restarted only if
    /// their number or the options of their sockets change, or if a new wildcard overlaps with them,
    /// which is bound first (see [`Bound`]).
    ///
    /// Returns missing facilities and errors. An address that cannot be bound does not keep the
    /// others from being served.
    pub fn reconfigure(
        &mut self,
        listeners: Vec<Listener>,
        claim: Claim,
        seed: &mut dyn FnMut() -> [u8; 32],
    ) -> (Vec<Shortcoming>, Vec<ServeError>) {
        let (mut missing, mut problems) = (Vec::new(), Vec::new());
        self.waiting.clear();
        // First, because a new address may need the port of an old one.
        let (kept, gone): (Vec<_>, Vec<_>) = core::mem::take(&mut self.endpoints)
            .into_iter()
            .partition(|endpoint| listeners.iter().any(|listener| endpoint.matches(listener)));
        let added = |listener: &&Listener| !kept.iter().any(|kept| kept.matches(listener));
        let added: Vec<_> = listeners.iter().filter(added).map(Site::of).collect();
        let is_covered = |endpoint: &Endpoint| added.iter().any(|it| it.covers(endpoint.site()));
        let (covered, kept): (Vec<_>, Vec<_>) = kept.into_iter().partition(is_covered);
        self.endpoints = kept;
        let gone = gone.into_iter().chain(covered);
        problems.extend(
            gone.into_iter()
                .filter_map(|mut endpoint| endpoint.stop().err()),
        );
        let mut listeners = listeners;
        listeners.sort_by_key(|listener| Site::of(listener).rank());
        for listener in listeners {
            if let Some(endpoint) = self
                .endpoints
                .iter_mut()
                .find(|endpoint| endpoint.matches(&listener))
            {
                endpoint.publish_policy(listener.policy);
                continue;
            }
            let added = Bound::bind_beside(&self.endpoints, vec![listener]).and_then(|bound| {
                missing.extend_from_slice(bound.missing());
                self.add(bound, claim, seed)
            });
            problems.extend(added.err());
        }
        (missing, problems)
    }

    /// Returns the addresses served, with the ports that the system chose.
    pub fn addresses(&self) -> impl Iterator<Item = ListenAddress> {
        self.endpoints.iter().map(Endpoint::address)
    }

    /// Replaces the claim for all workers. A batch in progress finishes with the old one.
    pub fn publish(&self, claim: Claim) {
        for endpoint in &self.endpoints {
            endpoint.publish(claim);
        }
    }

    /// Replaces the NTS cookie keys at all present and future addresses.
    pub fn publish_keyset(&mut self, keyset: &Arc<Keyset>) {
        self.keyset = Some(Arc::clone(keyset));
        for endpoint in &mut self.endpoints {
            endpoint.publish_keyset(Arc::clone(keyset));
        }
    }

    /// Replaces the reference IDs at all present and future addresses, if they have changed.
    fn publish_reference_ids(&mut self, reference_ids: Option<Arc<BloomFilter>>) {
        let pointer = |ids: &Option<Arc<BloomFilter>>| ids.as_ref().map(Arc::as_ptr);
        if pointer(&self.reference_ids) == pointer(&reference_ids) {
            return;
        }
        self.reference_ids = reference_ids;
        for endpoint in &mut self.endpoints {
            endpoint.publish_reference_ids(self.reference_ids.clone());
        }
    }

    /// Passes our ID to the engine when version 5 begins to be served, and `None` when it ends.
    fn identify(&mut self, driver: &mut Driver) -> Result<(), Failure> {
        let serves = self.endpoints.iter().any(Endpoint::serves_version_5);
        if core::mem::replace(&mut self.identified, serves) != serves {
            driver.handle(Input::ServerId(self.server_id.filter(|_| serves)))?;
        }
        Ok(())
    }

    /// Uses the current NTS cookie keys of `source` from now on, at the end of each round.
    pub(crate) fn follow_keyset(&mut self, source: Arc<ArcSwap<Keyset>>) {
        self.keyset_source = Some(source);
        self.update_keyset();
    }

    fn update_keyset(&mut self) {
        let Some(source) = &self.keyset_source else {
            return;
        };
        let current = source.load_full();
        let same = |known: &Arc<Keyset>| Arc::ptr_eq(known, &current);
        if !self.keyset.as_ref().is_some_and(same) {
            self.publish_keyset(&current);
        }
    }

    /// Returns the status of each address.
    pub fn status(&self) -> Vec<ServerStatus> {
        self.endpoints.iter().map(Endpoint::status).collect()
    }

    /// Returns the clients at `address`, or at all addresses; `None` if `address` is not served.
    pub fn clients(&self, address: Option<ListenAddress>) -> Option<ClientTable> {
        let asked =
            |endpoint: &&Endpoint| address.is_none_or(|address| endpoint.has_address(address));
        let mut endpoints = self.endpoints.iter().filter(asked).peekable();
        if address.is_some() && endpoints.peek().is_none() {
            return None;
        }
        let mut table = ClientTable::default();
        endpoints.for_each(|endpoint| endpoint.copy_clients(&mut table));
        Some(table)
    }

    /// Checks whether a worker has ended; call it after registration and a wait.
    ///
    /// # Errors
    /// The failure of the worker.
    fn check_workers(&mut self, set: &PollSet) -> Result<(), ServeError> {
        if !set.readiness(self.place).any() {
            return Ok(());
        }
        let mut number = [0; 4];
        while (&self.exit_notices).read_exact(&mut number).is_ok() {
            let number = u32::from_ne_bytes(number);
            // The thread has nothing left to do but to end. Workers of removed endpoints belong to
            // no endpoint any more.
            self.endpoints
                .iter_mut()
                .try_for_each(|endpoint| endpoint.join_exited(number))?;
        }
        Ok(())
    }

    /// Stops all workers and waits for them.
    ///
    /// # Errors
    /// The failure of one of them.
    pub fn stop(&mut self) -> Result<(), ServeError> {
        let results: Vec<_> = self.endpoints.iter_mut().map(Endpoint::stop).collect();
        results.into_iter().collect()
    }

    #[cfg(test)]
    pub(crate) fn inject_fault(&self) {
        self.endpoints.iter().for_each(Endpoint::inject_fault);
    }
}

impl Pollable for Servers {
    /// Adds the exit notices of the workers.
    fn register(&mut self, set: &mut PollSet) {
        self.place = set.push(&self.exit_notices, Interest::Readable);
    }

    fn on_ready(&mut self, context: &mut Context<'_>) -> Result<(), Failure> {
        self.check_workers(context.set).map_err(Failure::Serve)?;
        self.identify(context.driver)
    }

    /// Follows the devices of its addresses, and publishes the claim, the reference IDs and the cookie
    /// keys.
    fn after_round(&mut self, context: &mut Context<'_>) {
        self.follow_devices(context.driver);
        let (_, claim) = context.driver.claim();
        self.publish(claim);
        self.publish_reference_ids(context.driver.reference_ids());
        self.update_keyset();
    }
}

fn log_failure(problem: &ServeError) {
    let error = problem.to_string();
    log::emit(&Event::ServerFailed { error });
}

#[cfg(test)]
mod tests;
