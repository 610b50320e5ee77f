//! Serving time: threads that answer, apart from the thread that keeps it.
//!
//! # Who talks to whom
//! ```text
//!            main thread                       one worker per listener and processor
//!   engine --claim--> publish --(arc-swap)--> view    -> respond, seal -> socket
//!   observation <---- tallies (relaxed atomics) <-------- counters
//!   poll(2)     <---- obituary (a number in a socket pair) <- the thread's end, whatever its cause
//! ```
//! Nothing else is shared: no lock is taken on the way of a packet, and a worker remembers its own
//! clients, which always meet the same worker (see `ntp_udp`'s steering).
//!
//! # Ends
//! A worker ends when it is told to, and then it is joined. If it ends otherwise, by an error or a panic, the main thread is
//! woken and stops the daemon: a server that quietly lost half of its threads would look alive and be deaf to half of its
//! clients.

mod departure;
mod lull;
mod tally;
mod worker;

use std::fmt;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use arc_swap::ArcSwap;
use ntp_os_clock::Translator;
use ntp_proto::server::{Claim, Policy, ServerView};
use ntp_udp::wait::{Interest, PollSet};
use ntp_udp::{ServerOptions, ServerSocket, Shortcoming};

use tally::Tally;
pub use tally::Totals;
use worker::{Obituary, Worker};

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
    threads: Vec<Thread>,
    stop: Arc<AtomicBool>,
    /// Readable when a worker has ended.
    obituaries: UnixStream,
    place: usize,
}

/// What the workers at one address share.
#[derive(Debug)]
struct Site {
    address: SocketAddr,
    policy: Arc<Policy>,
    view: Arc<ArcSwap<ServerView>>,
    tallies: Vec<Arc<Tally>>,
}

#[derive(Debug)]
struct Thread {
    address: SocketAddr,
    socket: Arc<ServerSocket>,
    handle: Option<JoinHandle<io::Result<()>>>,
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
        let pair = || {
            let (read, write) = UnixStream::pair()?;
            read.set_nonblocking(true)?;
            write.set_nonblocking(true)?;
            Ok((read, Arc::new(write)))
        };
        let (obituaries, report) =
            pair().map_err(|error| ServeError::System("socketpair", error))?;
        let mut servers = Servers {
            sites: Vec::new(),
            threads: Vec::new(),
            stop: Arc::new(AtomicBool::new(false)),
            obituaries,
            place: usize::MAX,
        };
        for (listener, sockets) in self.sites {
            let address = sockets
                .first()
                .and_then(|socket| socket.local_addr().ok())
                .unwrap_or(listener.address);
            let policy = Arc::new(listener.policy);
            let view = ServerView {
                claim,
                policy: Arc::clone(&policy),
            };
            let mut site = Site {
                address,
                policy,
                view: Arc::new(ArcSwap::from_pointee(view)),
                tallies: Vec::new(),
            };
            let workers = sockets.len();
            for socket in sockets {
                let worker = Worker {
                    socket: Arc::new(socket),
                    view: Arc::clone(&site.view),
                    tally: Arc::default(),
                    translator: translator.clone(),
                    stop: Arc::clone(&servers.stop),
                    workers,
                    rests: listener.rest_under_load,
                    seed: seed(),
                };
                site.tallies.push(Arc::clone(&worker.tally));
                servers.employ(worker, address, &report)?;
            }
            servers.sites.push(site);
        }
        Ok(servers)
    }
}

impl Servers {
    fn employ(
        &mut self,
        worker: Worker,
        address: SocketAddr,
        report: &Arc<UnixStream>,
    ) -> Result<(), ServeError> {
        let number = self.threads.len();
        let socket = Arc::clone(&worker.socket);
        let obituary = Obituary {
            report: Arc::clone(report),
            number: number as u32,
        };
        let handle = thread::Builder::new()
            .name(format!("serve-{number}"))
            .spawn(move || {
                let _obituary = obituary;
                worker.run()
            })
            .map_err(|error| ServeError::System("starting a thread", error))?;
        self.threads.push(Thread {
            address,
            socket,
            handle: Some(handle),
        });
        Ok(())
    }

    /// The addresses served, with the ports that the system chose.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.sites.iter().map(|site| site.address)
    }

    /// Puts a new claim in place of the last one, for all workers. Those at work finish their batch with the old one.
    pub fn publish(&self, claim: Claim) {
        for site in &self.sites {
            if site.view.load().claim == claim {
                continue;
            }
            site.view.store(Arc::new(ServerView {
                claim,
                policy: Arc::clone(&site.policy),
            }));
        }
    }

    /// What became of the datagrams at each address, over all of its workers.
    pub fn totals(&self) -> Vec<(SocketAddr, Totals)> {
        let of = |site: &Site| {
            let mut totals = Totals::default();
            for tally in &site.tallies {
                totals.add(tally);
            }
            (site.address, totals)
        };
        self.sites.iter().map(of).collect()
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
            let thread = self.threads.get_mut(u32::from_ne_bytes(number) as usize);
            // It has nothing left to do but to end.
            thread.map_or(Ok(()), Thread::join)?;
        }
        Ok(())
    }

    /// Stops all workers and waits for them.
    ///
    /// # Errors
    /// How one of them failed.
    pub fn stop(&mut self) -> Result<(), ServeError> {
        self.stop.store(true, Ordering::Release);
        for thread in &self.threads {
            if let Err(error) = thread.socket.end_receiving() {
                return Err(ServeError::System("shutdown", error));
            }
        }
        let results: Vec<_> = self.threads.iter_mut().map(Thread::join).collect();
        results.into_iter().collect()
    }
}

impl Thread {
    fn join(&mut self) -> Result<(), ServeError> {
        match self.handle.take().map(JoinHandle::join) {
            None | Some(Ok(Ok(()))) => Ok(()),
            Some(Ok(Err(error))) => Err(ServeError::Worker(self.address, error)),
            Some(Err(_)) => Err(ServeError::Panic(self.address)),
        }
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        // Whoever wants to know calls it before.
        let _ = self.stop();
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
