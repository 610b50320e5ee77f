//! Giving keys to strangers: many short conversations within limits, on a thread of its own.
//!
//! Handshakes are work, and anybody may ask for them. So they have one thread and one asynchronous runtime (`tokio`, current thread),
//! where they delay nobody but each other. What a stranger can use up is limited in four ways, per listening address:
//!
//! | what | by |
//! |---|---|
//! | connections at a time | [`Limits::connections`]; at the limit the oldest unfinished one makes room |
//! | of them from one address (IPv6: /64) | [`Limits::per_network`]; its own oldest makes room |
//! | time of a connection | [`Limits::time`] |
//! | octets that it may send | [`OCTETS`] |
//!
//! An exchange takes an honest client two round trips, so the oldest connection is the one that is least likely to be
//! one. Nothing that a stranger does is logged; it is [counted](Counters).
//!
//! Certificates are read at the start, before privileges are dropped, and again when they are [asked for](Server::reload) or their files change
//! (`certificates`). Addresses, limits and what clients are told can change while it runs ([`Server::follow`]). Connections go on with what they
//! began with.

mod certificates;
mod connection;
mod house;
mod listen;
mod table;

use core::fmt;
use std::io::{self, PipeReader};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ntp_proto::nts::exchange::{COOKIES, ServerPolicy};
use ntp_proto::nts::{Cookie, SessionKeys};
use tokio::sync::mpsc;
use tokio::task::LocalSet;

use crate::certificate::CertificateFacts;
use certificates::Certificates;
use connection::Shared;
use house::{Arrangement, House, Order};

pub use connection::{Counters, OCTETS};

/// An address at which keys are given out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Where to listen.
    pub listen: SocketAddr,
    /// A wildcard of IPv6 leaves IPv4 to another endpoint.
    pub only_ipv6: bool,
    /// What clients get.
    pub policy: ServerPolicy,
    /// Certificates, the first of which is for clients that name nobody, or somebody unknown.
    pub certificates: Vec<CertificatePaths>,
    /// What strangers may use up.
    pub limits: Limits,
}

/// The files of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificatePaths {
    /// PEM: the server's certificate, then its issuers.
    pub chain: PathBuf,
    /// PEM: its private key.
    pub key: PathBuf,
}

/// What strangers may use up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at a time.
    pub connections: usize,
    /// Connections at a time from one address, or one /64 of IPv6.
    pub per_network: usize,
    /// Time for a whole exchange.
    pub time: Duration,
}

/// A certificate that clients are shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InUse {
    /// Its file.
    pub path: PathBuf,
    /// Names and addresses that it is good for.
    pub names: Vec<String>,
    /// Last second at which it and all that stand behind it in the file are valid, since 1970.
    pub expires: Option<u64>,
}

/// Makes cookies.
pub trait SealCookies: Send {
    /// Eight cookies for these keys; nothing if there is no key to seal them with at the moment.
    fn seal(&mut self, keys: &SessionKeys) -> Option<[Cookie; COOKIES]>;
}

/// Something that the operator may want to know. Strangers cannot cause any of these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A certificate is in use from now on.
    Certificate {
        /// Its file.
        path: PathBuf,
        /// What stands in it.
        facts: Option<CertificateFacts>,
    },
    /// A certificate cannot be used; the one before stays.
    BadCertificate(BadCertificate),
    /// No connection can be accepted for the moment; told once until one is again.
    CannotAccept(SocketAddr, String),
}

/// A certificate that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadCertificate {
    /// The file that is to blame, or the certificate's if both are.
    pub path: PathBuf,
    /// What is wrong.
    pub problem: String,
}

impl fmt::Display for BadCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} cannot be used: {}",
            self.path.display(),
            self.problem
        )
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certificate { path, facts } => {
                write!(
                    f,
                    "keys are given out with the certificate {}",
                    path.display()
                )?;
                let Some(facts) = facts else {
                    return Ok(());
                };
                let until = crate::certificate::Date(facts.not_after);
                write!(f, " for {}, valid until {until}", facts.names.join(", "))
            }
            Self::BadCertificate(bad) => write!(
                f,
                "{bad}; going on with the certificate that was read before, which is looked for again when the files change"
            ),
            Self::CannotAccept(address, problem) => {
                write!(
                    f,
                    "no connection can be accepted at {address}: {problem}; trying again"
                )
            }
        }
    }
}

/// Why no keys can be given out.
#[derive(Debug)]
pub enum StartError {
    /// An address cannot be listened at.
    Listen(SocketAddr, io::Error),
    /// There is no certificate to show.
    Certificate(BadCertificate),
    /// The operating system gives no thread, descriptor or runtime.
    System(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen(address, error) => write!(
                f,
                "cannot listen at {address} (TCP) for key exchange: {error} (see listen in [[nts-ke-server]])"
            ),
            Self::Certificate(bad) => write!(f, "{bad} (see [[nts-ke-server]])"),
            Self::System(error) => write!(f, "cannot start key exchange: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

/// Listening sockets and certificates, before anybody is served. There may be none yet.
#[derive(Debug, Default)]
pub struct Bound {
    endpoints: Vec<(Endpoint, TcpListener, Certificates)>,
}

impl Bound {
    /// Takes the addresses and reads the certificates.
    ///
    /// # Errors
    /// If an address is taken or a certificate cannot be used.
    pub fn bind(endpoints: Vec<Endpoint>) -> Result<Self, StartError> {
        let endpoints = endpoints.into_iter().map(open).collect::<Result<_, _>>()?;
        Ok(Self { endpoints })
    }

    /// Whether there is nothing to serve at.
    pub fn is_empty(&self) -> bool {
        self.endpoints.is_empty()
    }

    /// Where it listens, in the order of the endpoints.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.endpoints
            .iter()
            .filter_map(|(_, listener, _)| listener.local_addr().ok())
    }

    /// Gives out keys from now on, with cookies of `seal`. What the operator should know goes to `tell`, on the server's thread, which
    /// calls `begin` first of all: to confine itself, for example.
    ///
    /// # Errors
    /// If the operating system gives no thread or runtime.
    pub fn start(
        self,
        seal: impl SealCookies + 'static,
        tell: impl Fn(&Event) + Send + 'static,
        begin: impl FnOnce() + Send + 'static,
    ) -> Result<Server, StartError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(StartError::System)?;
        let (bell, ringer) = io::pipe().map_err(StartError::System)?;
        let (orders, heard) = mpsc::unbounded_channel();
        let counters = Arc::<Counters>::default();
        let counted = Arc::clone(&counters);
        let in_use = Arc::<Mutex<Vec<InUse>>>::default();
        let shown = Arc::clone(&in_use);
        let mut places = Vec::new();
        let mut begun = Vec::new();
        for (endpoint, listener, certificates) in self.endpoints {
            places.push(Place::of(&endpoint, &listener).map_err(StartError::System)?);
            begun.push(Arrangement::New(endpoint, listener, certificates));
        }
        let thread = thread::Builder::new()
            .name("key exchange".into())
            .spawn(move || {
                let _ringer = ringer;
                begin();
                let shared = Rc::new(Shared::new(Box::new(seal), Box::new(tell), counted));
                let house = House::new(shared, shown);
                LocalSet::new().block_on(&runtime, house.run(begun, heard))
            })
            .map_err(StartError::System)?;
        Ok(Server {
            orders,
            counters,
            in_use,
            places,
            bell,
            thread: Some(thread),
        })
    }
}

/// An endpoint as the owner of the thread knows it.
#[derive(Debug)]
struct Place {
    endpoint: Endpoint,
    /// Another handle of the listening socket.
    listener: TcpListener,
}

impl Place {
    fn change(&mut self, endpoint: Endpoint) -> Result<Arrangement, StartError> {
        let certificates =
            Certificates::load(&endpoint.certificates).map_err(StartError::Certificate)?;
        // Whether a wildcard takes IPv4 too was decided when it was bound.
        self.endpoint = Endpoint {
            only_ipv6: self.endpoint.only_ipv6,
            ..endpoint
        };
        Ok(Arrangement::Change(self.endpoint.clone(), certificates))
    }

    fn of(endpoint: &Endpoint, listener: &TcpListener) -> io::Result<Self> {
        Ok(Self {
            endpoint: endpoint.clone(),
            listener: listener.try_clone()?,
        })
    }
}

/// Keys are given out as long as this lives.
#[derive(Debug)]
pub struct Server {
    /// Hanging up ends the thread.
    orders: mpsc::UnboundedSender<Order>,
    counters: Arc<Counters>,
    in_use: Arc<Mutex<Vec<InUse>>>,
    places: Vec<Place>,
    bell: PipeReader,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Server {
    /// Reads all certificates again.
    pub fn reload(&self) {
        // A thread that has ended is noticed through the descriptor.
        let _ = self.orders.send(Order::Reload);
    }

    /// Gives out keys at these endpoints from now on and at no others. An endpoint is known by its address; one that is there already stays open, and those who
    /// are connected go on as they began. What cannot be done is returned: then an endpoint that was there stays as it was, and one that was not
    /// is left out.
    pub fn follow(&mut self, wanted: Vec<Endpoint>) -> Vec<StartError> {
        let mut problems = Vec::new();
        let mut arrangements = Vec::new();
        let is_wanted = |place: &Place| {
            let mut addresses = wanted.iter().map(|endpoint| endpoint.listen);
            addresses.any(|address| address == place.endpoint.listen)
        };
        // Their addresses must be free before others are taken: a wildcard may take their place.
        for place in self.places.extract_if(.., |place| !is_wanted(place)) {
            // One that is closed already is what is wanted.
            let _ = rustix::net::shutdown(&place.listener, rustix::net::Shutdown::Both);
        }
        for endpoint in wanted {
            let listen = endpoint.listen;
            let mut places = self.places.iter_mut();
            let arranged = match places.find(|place| place.endpoint.listen == listen) {
                Some(place) if place.endpoint == endpoint => Ok(Arrangement::Keep(listen)),
                Some(place) => place.change(endpoint),
                None => self.add(endpoint),
            };
            arrangements.push(arranged.unwrap_or_else(|problem| {
                problems.push(problem);
                Arrangement::Keep(listen)
            }));
        }
        // A thread that has ended is noticed through the descriptor.
        let _ = self.orders.send(Order::Follow(arrangements));
        problems
    }

    fn add(&mut self, endpoint: Endpoint) -> Result<Arrangement, StartError> {
        let (endpoint, listener, certificates) = open(endpoint)?;
        self.places
            .push(Place::of(&endpoint, &listener).map_err(StartError::System)?);
        Ok(Arrangement::New(endpoint, listener, certificates))
    }

    /// Where it listens.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        (self.places.iter()).filter_map(|place| place.listener.local_addr().ok())
    }

    /// What became of the connections so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The certificates that clients are shown.
    pub fn certificates(&self) -> Vec<InUse> {
        let in_use = self.in_use.lock();
        in_use.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Why the thread has ended, once its descriptor is readable; nothing before.
    pub fn ended(&mut self) -> Option<io::Error> {
        let thread = self.thread.take_if(|thread| thread.is_finished())?;
        Some(match thread.join() {
            Ok(Ok(())) => io::Error::other("it ended without a reason"),
            Ok(Err(error)) => error,
            Err(_) => io::Error::other("it failed unexpectedly"),
        })
    }

    /// Ends the thread; connections break.
    pub fn stop(self) {
        let Self { orders, thread, .. } = self;
        drop(orders);
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}

/// Becomes readable when the thread has ended, which it does not by itself.
impl AsFd for Server {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

/// Takes an endpoint's address and reads its certificates.
fn open(endpoint: Endpoint) -> Result<(Endpoint, TcpListener, Certificates), StartError> {
    let listener = listen::listen(endpoint.listen, endpoint.only_ipv6)
        .map_err(|error| StartError::Listen(endpoint.listen, error))?;
    let certificates =
        Certificates::load(&endpoint.certificates).map_err(StartError::Certificate)?;
    Ok((endpoint, listener, certificates))
}
