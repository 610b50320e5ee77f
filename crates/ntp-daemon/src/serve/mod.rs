//! Serving time: threads that answer, apart from the thread that keeps it.
//!
//! # Who talks to whom
//! ```text
//!            main thread                       one worker per listener and processor
//!   engine --claim--> publish --(arc-swap)--> view    -> respond, seal -> socket
//!   observation <---- tallies (relaxed atomics) <-------- counters
//!   GetClients <----- register (a lock, see below) <----- who asked, if `client-list-size` says so
//!   poll(2)     <---- obituary (a number in a socket pair) <- the thread's end, whatever its cause
//! ```
//! Nothing else is shared: no lock is taken on the way of a packet, and a worker remembers its own
//! clients, which always meet the same worker (see `ntp_udp`'s steering). Whom they served is entered when a batch has been
//! answered, and only if that lock is free (`register`).
//!
//! What a worker does for each packet is in the crate `ntp_worker`.
//!
//! # Changes
//! What may change is swapped under the workers' feet, not told to them: they look at a view for each batch, and see a new claim or new
//! rules with the next one. [`Servers::publish_policy`] changes the rules of an address, [`Servers::add`] and [`Servers::remove`] the addresses, and
//! [`Servers::follow`] does all of it to fit a new configuration.
//!
//! # Ends
//! A worker ends when it is told to, and then it is joined. If it ends otherwise, by an error or a panic, the main thread is
//! woken and stops the daemon: a server that quietly lost half of its threads would look alive and be deaf to half of its
//! clients.

mod register;
mod site;

use std::fmt;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use ntp_os_clock::Translator;
use ntp_proto::nts::Keyset;
use ntp_proto::server::{Claim, Policy};
use ntp_udp::wait::{Interest, PollSet};
use ntp_udp::{ServerOptions, ServerSocket, Shortcoming};

pub use ntp_worker::Totals;
pub use register::Register;

use site::{Opening, Site};

/// An address to serve at.
#[derive(Clone, Debug)]
pub struct Listener {
    /// Address and port.
    pub address: SocketAddr,
    /// Threads that serve there; 0 counts as 1.
    pub workers: usize,
    /// Whether they may gather requests while there are very many.
    pub rest_under_load: bool,
    /// Whom to serve, and how.
    pub policy: Policy,
    /// How the sockets are opened.
    pub options: ServerOptions,
}

/// All threads that serve. They end with it.
#[derive(Debug)]
pub struct Servers {
    sites: Vec<Site>,
    keyset: Option<Arc<Keyset>>,
    translator: Translator,
    /// Readable when a worker has ended.
    obituaries: UnixStream,
    /// Where workers write to that.
    report: Arc<UnixStream>,
    next_thread: u32,
    place: usize,
}

/// Why there is no server, or no more.
#[derive(Debug)]
pub enum ServeError {
    /// The address cannot be listened on.
    Bind(SocketAddr, io::Error),
    /// The operating system refused something else.
    System(&'static str, io::Error),
    /// A worker gave up.
    Worker(SocketAddr, io::Error),
    /// A worker panicked, which is a mistake in this program.
    Panic(SocketAddr),
}

/// Sockets at all addresses, and nobody who serves there yet.
///
/// Binding comes first of all when a daemon starts: if another one runs, it finds out here, before it has touched anything of the
/// other's.
#[derive(Debug, Default)]
pub struct Bound {
    sites: Vec<(Listener, Vec<ServerSocket>)>,
    missing: Vec<Shortcoming>,
}

impl Bound {
    /// Binds all sockets.
    ///
    /// # Errors
    /// If one of the addresses cannot be had.
    pub fn bind(listeners: Vec<Listener>) -> Result<Self, ServeError> {
        let mut bound = Self::default();
        for listener in listeners {
            let workers = listener.workers.max(1);
            let (sockets, lacking) =
                ServerSocket::bind_group(listener.address, workers, &listener.options)
                    .map_err(|error| ServeError::Bind(listener.address, error))?;
            bound.missing.extend(lacking);
            bound.sites.push((listener, sockets));
        }
        Ok(bound)
    }

    /// Whether there is nothing to serve at.
    pub fn is_empty(&self) -> bool {
        self.sites.is_empty()
    }

    /// What this system lacks for serving well.
    pub fn missing(&self) -> &[Shortcoming] {
        &self.missing
    }

    /// Starts all threads, which serve `claim` until the first [`publish`](Servers::publish). `seed` gives a fresh secret for
    /// each call.
    ///
    /// # Errors
    /// If there can't be so many threads. Nothing is left running then.
    pub fn start(
        self,
        claim: Claim,
        translator: &Translator,
        mut seed: impl FnMut() -> [u8; 32],
    ) -> Result<Servers, ServeError> {
        let mut servers = Servers::none(translator)?;
        servers.add(self, claim, &mut seed)?;
        Ok(servers)
    }
}

impl Servers {
    /// Nobody yet. Workers will serve the time of the clock that `translator` belongs to.
    ///
    /// # Errors
    /// If there is no socket pair to be had.
    pub fn none(translator: &Translator) -> Result<Self, ServeError> {
        let pair = || {
            let (read, write) = UnixStream::pair()?;
            read.set_nonblocking(true)?;
            write.set_nonblocking(true)?;
            Ok((read, Arc::new(write)))
        };
        let (obituaries, report) =
            pair().map_err(|error| ServeError::System("socketpair", error))?;
        Ok(Self {
            sites: Vec::new(),
            keyset: None,
            translator: translator.clone(),
            obituaries,
            report,
            next_thread: 0,
            place: usize::MAX,
        })
    }

    /// Serves at more addresses, beside those that are served already.
    ///
    /// # Errors
    /// If there can't be so many threads. None of the new addresses is served then.
    pub fn add(
        &mut self,
        bound: Bound,
        claim: Claim,
        seed: &mut dyn FnMut() -> [u8; 32],
    ) -> Result<(), ServeError> {
        let mut opening = Opening {
            claim,
            keyset: self.keyset.clone(),
            translator: &self.translator,
            report: &self.report,
            next: &mut self.next_thread,
            seed,
        };
        let open = |(listener, sockets)| Site::open(listener, sockets, &mut opening);
        let opened: Result<Vec<_>, _> = bound.sites.into_iter().map(open).collect();
        self.sites.extend(opened?);
        Ok(())
    }

    /// Stops serving at `address`, one of [`addresses`](Self::addresses). Returns whether it was served. Requests that no worker has taken
    /// yet are lost.
    ///
    /// # Errors
    /// How a worker there failed before; the address is not served any more.
    pub fn remove(&mut self, address: SocketAddr) -> Result<bool, ServeError> {
        let at = self.sites.iter().position(|site| site.address() == address);
        match at {
            Some(at) => self.sites.remove(at).stop().map(|()| true),
            None => Ok(false),
        }
    }

    /// Puts new rules in place of the old ones at `address`. Returns whether it is served.
    ///
    /// Nothing is dropped and nobody waits: a worker finishes its batch by the old rules and takes up the next by the new ones. What is the same in both
    /// keeps its memory: clients' rates and interleaved stamps are forgotten only where their limit or table changes.
    pub fn publish_policy(&mut self, address: SocketAddr, policy: Policy) -> bool {
        let site = self.sites.iter_mut().find(|it| it.address() == address);
        site.map(|site| site.publish_policy(policy)).is_some()
    }

    /// Becomes what a new configuration says, address by address: an address that goes is given up, one that stays gets its new policy
    /// without losing a packet, one that comes is bound. Threads are started anew only where their number or their sockets' options
    /// change.
    ///
    /// Returns what this system lacks, and what went wrong: an address that cannot be had does not keep the others from being served.
    pub fn follow(
        &mut self,
        listeners: Vec<Listener>,
        claim: Claim,
        seed: &mut dyn FnMut() -> [u8; 32],
    ) -> (Vec<Shortcoming>, Vec<ServeError>) {
        let (mut missing, mut problems) = (Vec::new(), Vec::new());
        // First, because a new address may need the port of an old one.
        let (kept, gone): (Vec<_>, Vec<_>) = core::mem::take(&mut self.sites)
            .into_iter()
            .partition(|site| listeners.iter().any(|listener| site.suits(listener)));
        self.sites = kept;
        problems.extend(gone.into_iter().filter_map(|mut site| site.stop().err()));
        for listener in listeners {
            if let Some(site) = self.sites.iter_mut().find(|site| site.suits(&listener)) {
                site.publish_policy(listener.policy);
                continue;
            }
            let added = Bound::bind(vec![listener]).and_then(|bound| {
                missing.extend_from_slice(bound.missing());
                self.add(bound, claim, seed)
            });
            problems.extend(added.err());
        }
        (missing, problems)
    }

    /// The addresses served, with the ports that the system chose.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.sites.iter().map(Site::address)
    }

    /// Puts a new claim in place of the last one, for all workers. Those at work finish their batch with the old one.
    pub fn publish(&self, claim: Claim) {
        for site in &self.sites {
            site.publish(claim);
        }
    }

    /// Opens and makes NTS cookies with these keys from now on, at all addresses, those included that come later.
    pub fn publish_keyset(&mut self, keyset: &Arc<Keyset>) {
        self.keyset = Some(Arc::clone(keyset));
        for site in &mut self.sites {
            site.publish_keyset(Arc::clone(keyset));
        }
    }

    /// What became of the datagrams at each address, over all of its workers.
    pub fn totals(&self) -> Vec<(SocketAddr, Totals)> {
        let of = |site: &Site| (site.address(), site.totals());
        self.sites.iter().map(of).collect()
    }

    /// How many clients are to be remembered at each address, in the order of [`totals`](Self::totals).
    pub fn client_list_sizes(&self) -> Vec<usize> {
        self.sites.iter().map(Site::client_list_size).collect()
    }

    /// The clients that are remembered at `address`, or at all addresses. `None` if that one is not served.
    pub fn clients(&self, address: Option<SocketAddr>) -> Option<Register> {
        let asked = |site: &&Site| address.is_none_or(|address| site.is_called(address));
        let mut sites = self.sites.iter().filter(asked).peekable();
        if address.is_some() && sites.peek().is_none() {
            return None;
        }
        let mut register = Register::default();
        sites.for_each(|site| site.tell_clients(&mut register));
        Some(register)
    }

    /// Wakes the poll set when a worker has ended.
    pub(crate) fn watch(&mut self, set: &mut PollSet) {
        self.place = set.push(&self.obituaries, Interest::Readable);
    }

    /// Looks whether a worker has ended; after [`watch`](Self::watch) and a wait.
    ///
    /// # Errors
    /// Why it has.
    pub(crate) fn attend(&mut self, set: &PollSet) -> Result<(), ServeError> {
        if !set.readiness(self.place).any() {
            return Ok(());
        }
        let mut number = [0; 4];
        while (&self.obituaries).read_exact(&mut number).is_ok() {
            let number = u32::from_ne_bytes(number);
            // It has nothing left to do but to end. Who was sent away belongs to no site any more.
            self.sites
                .iter_mut()
                .try_for_each(|site| site.bury(number))?;
        }
        Ok(())
    }

    /// Stops all workers and waits for them.
    ///
    /// # Errors
    /// How one of them failed.
    pub fn stop(&mut self) -> Result<(), ServeError> {
        let results: Vec<_> = self.sites.iter_mut().map(Site::stop).collect();
        results.into_iter().collect()
    }

    #[cfg(test)]
    pub(crate) fn sabotage(&self) {
        self.sites.iter().for_each(Site::sabotage);
    }
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind(address, error) => {
                write!(f, "cannot serve at {address}: {error}")?;
                match error.kind() {
                    io::ErrorKind::AddrInUse => {
                        write!(f, " (is another time server running?)")
                    }
                    io::ErrorKind::PermissionDenied => {
                        write!(f, " (ports below 1024 need CAP_NET_BIND_SERVICE)")
                    }
                    _ => Ok(()),
                }
            }
            Self::System(call, error) => write!(f, "cannot serve: {call} failed: {error}"),
            Self::Worker(address, error) => {
                write!(f, "a thread serving at {address} failed: {error}")
            }
            Self::Panic(address) => write!(
                f,
                "a thread serving at {address} panicked, which is a mistake in this program"
            ),
        }
    }
}

impl std::error::Error for ServeError {}

#[cfg(test)]
mod tests;
