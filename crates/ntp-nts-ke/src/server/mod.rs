//! Key-exchange server: many short TLS connections within limits, on a thread of its own.
//!
//! TLS handshakes are expensive and anyone can request them. They run on one thread with its own
//! asynchronous runtime (`tokio`, current thread), where they delay only each other. The resources
//! of clients are limited in four ways, per listening address:
//!
//! | resource | limit |
//! |---|---|
//! | open connections | [`Limits::connections`]; at the limit a new one closes the oldest |
//! | of these from one address (IPv6: /64) | [`Limits::per_network`]; at the limit a new one closes the oldest |
//! | duration of a connection | [`Limits::time`] |
//! | octets that a client may send | [`MAX_CLIENT_OCTETS`] |
//! | connections that pools keep open | [`Limits::long_lived`]; at the limit a connection ends after its request |
//!
//! An exchange takes an honest client two round trips, so the oldest connection is the least likely
//! one to be honest. Actions of clients are not logged but [counted](Counters).
//!
//! Certificates are read at the start, before privileges are dropped, and again on
//! [request](Server::reload) or when their files change (`certificates`). Addresses, limits and the
//! contents of responses can change at run time ([`Server::set_endpoints`]). Open connections
//! finish with the configuration they started with.

mod certificates;
mod connection;
mod connection_table;
mod endpoints;
mod listen;
mod unusable;

use std::io::{self, PipeReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ntp_proto::nts::exchange::{COOKIES_PER_RESPONSE, ServerPolicy};
use ntp_proto::nts::{Cookie, SessionKeys};
use ntp_types::path::{InterfaceName, ListenAddress};
use ntp_udp::{has_lost_device, lacks_device, lacks_ipv6};
use tokio::sync::mpsc;
use tokio::task::LocalSet;

use crate::certificate::CertificateFacts;
use certificates::Certificates;
use connection::Shared;
use endpoints::{Command, EndpointChange, Endpoints};

pub use connection::{Counters, MAX_CLIENT_OCTETS};

/// Configuration of a listening address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointConfig {
    /// Address and port to listen on.
    pub listen: SocketAddr,
    /// Network interface or VRF whose clients are served; `None` for those of all interfaces.
    pub device: Option<InterfaceName>,
    /// Whether the IPv6 wildcard leaves IPv4 to another endpoint.
    pub only_ipv6: bool,
    /// Negotiation policy.
    pub policy: ServerPolicy,
    /// Certificates; the first one is used for clients that send no server name or an unknown one.
    pub certificates: Vec<CertificatePaths>,
    /// Limits for clients.
    pub limits: Limits,
}

impl EndpointConfig {
    /// What identifies the endpoint.
    pub fn address(&self) -> ListenAddress {
        ListenAddress {
            socket: self.listen,
            device: self.device,
        }
    }

    /// The IPv4 wildcard that the wildcard of both families includes.
    fn ipv4_wildcard(&self) -> Option<ListenAddress> {
        let is_of_both =
            self.listen.is_ipv6() && self.listen.ip().is_unspecified() && !self.only_ipv6;
        is_of_both.then(|| ListenAddress {
            socket: SocketAddr::from((Ipv4Addr::UNSPECIFIED, self.listen.port())),
            ..self.address()
        })
    }

    /// The same with the port that the system chose.
    fn address_of(&self, listener: &TcpListener) -> io::Result<ListenAddress> {
        let socket = listener.local_addr()?;
        Ok(ListenAddress::of_socket(socket, self.device))
    }
}

/// The files of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificatePaths {
    /// PEM: the server's certificate, then its issuers.
    pub chain: PathBuf,
    /// PEM: its private key.
    pub key: PathBuf,
}

/// Limits for clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Maximum number of open connections.
    pub connections: usize,
    /// Maximum number of open connections from one IPv4 address or IPv6 /64.
    pub per_network: usize,
    /// Maximum duration of a key exchange, and of each request of a connection that is kept open.
    pub time: Duration,
    /// Maximum number of connections that pools keep open. They do not count as open connections.
    pub long_lived: usize,
}

/// A certificate that is presented to clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateInUse {
    /// Its file.
    pub path: PathBuf,
    /// Names and addresses for which it is valid.
    pub names: Vec<String>,
    /// Last second at which the whole chain in the file is valid, since 1970.
    pub expires: Option<u64>,
}

/// Seals cookies.
pub trait CookieSealer: Send {
    /// Returns eight cookies for these keys; `None` if there is no master key at the moment.
    fn seal(&mut self, keys: &SessionKeys) -> Option<[Cookie; COOKIES_PER_RESPONSE]>;
}

/// Event for the operator. Clients cannot cause any of these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A certificate is in use.
    Certificate {
        /// Its file.
        path: PathBuf,
        /// Its contents, if it can be parsed.
        facts: Option<CertificateFacts>,
    },
    /// A certificate cannot be used; the previous one stays in use.
    BadCertificate(BadCertificate),
    /// All users of the machine may read or write the file of a private key that was renewed.
    ExposedKey(PathBuf),
    /// Accepting connections fails, with the error; reported once until it succeeds again.
    CannotAccept(ListenAddress, String),
}

/// A certificate that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} cannot be used: {problem}", .path.display())]
pub struct BadCertificate {
    /// The invalid file; that of the certificate if certificate and key do not match.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: String,
}

/// Why an endpoint or the server cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Listening on the address failed.
    #[error(
        "cannot listen on {0} (TCP) for key exchange: {1} (see listen and bind-device in [[nts-ke-server]])"
    )]
    Listen(ListenAddress, io::Error),
    /// A certificate cannot be used.
    #[error("{0} (see [[nts-ke-server]])")]
    Certificate(BadCertificate),
    /// The operating system cannot provide a thread, descriptor or runtime.
    #[error("cannot start key exchange: {0}")]
    System(io::Error),
}

/// An endpoint whose certificates have been read: the only part of opening it that may block, so
/// that a thread of its own can do it.
#[derive(Debug)]
pub struct PreparedEndpoint {
    config: EndpointConfig,
    certificates: Result<Certificates, BadCertificate>,
}

impl PreparedEndpoint {
    /// Reads the certificates. An error is reported when the endpoint is opened or changed.
    pub fn read(config: EndpointConfig) -> Self {
        Self {
            certificates: Certificates::load(&config.certificates),
            config,
        }
    }

    /// Binds the address beside those of `others`; `Err` with this endpoint if its device does not
    /// exist.
    fn open<'a>(
        self,
        others: impl Iterator<Item = (&'a EndpointConfig, &'a TcpListener)>,
    ) -> Result<Result<OpenEndpoint, Self>, StartError> {
        let Some(listener) = listen_beside(&self.config, others)? else {
            return Ok(Err(self));
        };
        let certificates = self.certificates.map_err(StartError::Certificate)?;
        Ok(Ok((self.config, listener, certificates)))
    }
}

/// A listening socket with its configuration and certificates.
type OpenEndpoint = (EndpointConfig, TcpListener, Certificates);

/// An address that is not served because this kernel has no IPv6, and the wildcard that is served
/// in its place.
type WithoutIpv6 = (SocketAddr, Option<SocketAddr>);

/// Listening sockets and certificates of a server that has not been started. There may be none.
#[derive(Debug, Default)]
pub struct Bound {
    endpoints: Vec<OpenEndpoint>,
    /// Those whose device does not exist.
    waiting: Vec<PreparedEndpoint>,
    without_ipv6: Vec<WithoutIpv6>,
}

impl Bound {
    /// Binds the addresses and reads the certificates.
    ///
    /// # Errors
    /// If an address is in use or a certificate cannot be used.
    pub fn bind(mut endpoints: Vec<EndpointConfig>) -> Result<Self, StartError> {
        // Without a socket beside it, a wildcard conflicts with every other program at its port.
        endpoints.sort_by_key(|config| (!config.listen.ip().is_unspecified(), config.only_ipv6));
        let mut bound = Self::default();
        for config in endpoints {
            let others = bound.endpoints.iter().map(|(other, it, _)| (other, it));
            let address = config.listen;
            match PreparedEndpoint::read(config).open(others) {
                Ok(Ok(endpoint)) => {
                    bound.without_ipv6.extend(substitution(&endpoint));
                    bound.endpoints.push(endpoint);
                }
                Ok(Err(waiting)) => bound.waiting.push(waiting),
                Err(StartError::Listen(_, error)) if lacks_ipv6(address, &error) => {
                    bound.without_ipv6.push((address, None));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(bound)
    }

    /// Addresses that are not served because this kernel has no IPv6, each with the wildcard that
    /// is served in its place.
    pub fn without_ipv6(&self) -> &[WithoutIpv6] {
        &self.without_ipv6
    }

    /// Whether there are no endpoints, open or waiting for their device.
    pub fn is_empty(&self) -> bool {
        self.endpoints.is_empty() && self.waiting.is_empty()
    }

    /// The listening sockets.
    pub fn sockets(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.endpoints
            .iter()
            .map(|(_, listener, _)| listener.as_fd())
    }

    /// Bound addresses, in the order of the endpoints.
    pub fn addresses(&self) -> impl Iterator<Item = ListenAddress> {
        self.endpoints
            .iter()
            .filter_map(|(config, listener, _)| config.address_of(listener).ok())
    }

    /// Starts the server's thread, with cookies from `sealer`. Events are passed to `on_event`, on
    /// that thread, which first calls `on_start`, for example to confine itself.
    ///
    /// # Errors
    /// If the operating system cannot provide a thread or runtime.
    pub fn start(
        self,
        sealer: impl CookieSealer + 'static,
        on_event: impl Fn(&Event) + Send + 'static,
        on_start: impl FnOnce() + Send + 'static,
    ) -> Result<Server, StartError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(StartError::System)?;
        let (exit_reader, exit_writer) = io::pipe().map_err(StartError::System)?;
        let (commands, receiver) = mpsc::unbounded_channel();
        let counters = Arc::<Counters>::default();
        let thread_counters = Arc::clone(&counters);
        let in_use = Arc::<Mutex<Vec<CertificateInUse>>>::default();
        let thread_in_use = Arc::clone(&in_use);
        let mut endpoints = Vec::new();
        let mut initial = Vec::new();
        for (config, listener, certificates) in self.endpoints {
            endpoints.push(EndpointHandle::new(&config, &listener).map_err(StartError::System)?);
            initial.push(EndpointChange::Add(config, listener, certificates));
        }
        let thread = thread::Builder::new()
            .name("key exchange".into())
            .spawn(move || {
                // Closed when the thread exits, which makes the other end readable.
                let _exit_writer = exit_writer;
                on_start();
                let (sealer, on_event) = (Box::new(sealer), Box::new(on_event));
                let shared = Rc::new(Shared::new(sealer, on_event, thread_counters));
                let endpoints = Endpoints::new(shared, thread_in_use);
                LocalSet::new().block_on(&runtime, endpoints.run(initial, receiver))
            })
            .map_err(StartError::System)?;
        Ok(Server {
            commands,
            counters,
            in_use,
            endpoints,
            waiting: self.waiting,
            without_ipv6: Vec::new(),
            exit_reader,
            thread: Some(thread),
        })
    }
}

/// An endpoint, on the side of the owner of the thread.
#[derive(Debug)]
struct EndpointHandle {
    config: EndpointConfig,
    /// A duplicate of the listening socket; `None` while the device does not exist to which it was
    /// bound. The thread keeps the certificates then, which might not be readable any more.
    listener: Option<TcpListener>,
}

impl EndpointHandle {
    fn new(config: &EndpointConfig, listener: &TcpListener) -> io::Result<Self> {
        Ok(Self {
            config: config.clone(),
            listener: Some(listener.try_clone()?),
        })
    }

    fn change(&mut self, prepared: PreparedEndpoint) -> Result<EndpointChange, StartError> {
        let PreparedEndpoint {
            config,
            certificates,
        } = prepared;
        let certificates = certificates.map_err(StartError::Certificate)?;
        let only_ipv6 = match self.listener {
            // Whether the wildcard accepts IPv4 was fixed when it was bound.
            Some(_) => self.config.only_ipv6,
            None => config.only_ipv6,
        };
        self.config = EndpointConfig {
            only_ipv6,
            ..config
        };
        Ok(EndpointChange::Change(self.config.clone(), certificates))
    }
}

/// A running key-exchange server. It stops when this is dropped.
#[derive(Debug)]
pub struct Server {
    /// The thread ends when this is dropped.
    commands: mpsc::UnboundedSender<Command>,
    counters: Arc<Counters>,
    in_use: Arc<Mutex<Vec<CertificateInUse>>>,
    endpoints: Vec<EndpointHandle>,
    /// Those whose device does not exist.
    waiting: Vec<PreparedEndpoint>,
    /// Those of the last change.
    without_ipv6: Vec<WithoutIpv6>,
    /// Readable when the thread has ended.
    exit_reader: PipeReader,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Server {
    /// Reads all certificates again.
    pub fn reload(&self) {
        // If the thread has ended, the owner learns it from the descriptor.
        let _ = self.commands.send(Command::Reload);
    }

    /// Serves these endpoints and no others. Endpoints are identified by address: one that already
    /// exists stays open, and open connections finish with the configuration they started with.
    /// Returns what failed; then an existing endpoint stays unchanged, and a new one is not opened.
    pub fn set_endpoints(&mut self, prepared: Vec<PreparedEndpoint>) -> Vec<StartError> {
        let mut errors = Vec::new();
        let mut changes = Vec::new();
        self.waiting.clear();
        self.without_ipv6.clear();
        let is_wanted = |endpoint: &EndpointHandle| {
            let mut addresses = prepared.iter().map(|wanted| wanted.config.address());
            addresses.any(|address| address == endpoint.config.address())
        };
        // Closed first: a new endpoint may need the address, for example as part of a wildcard.
        for endpoint in self.endpoints.extract_if(.., |it| !is_wanted(it)) {
            endpoint.listener.as_ref().into_iter().for_each(shut_down);
        }
        for wanted in prepared {
            let address = wanted.config.address();
            let mut existing = self.endpoints.iter_mut();
            let change = match existing.find(|endpoint| endpoint.config.address() == address) {
                Some(endpoint) if endpoint.config == wanted.config => {
                    Ok(Some(EndpointChange::Keep(address)))
                }
                Some(endpoint) => endpoint.change(wanted).map(Some),
                None => self.add(wanted),
            };
            match change {
                Ok(change) => changes.extend(change),
                Err(StartError::Listen(_, error)) if lacks_ipv6(address.socket, &error) => {
                    self.without_ipv6.push((address.socket, None));
                }
                Err(error) => {
                    errors.push(error);
                    changes.push(EndpointChange::Keep(address));
                }
            }
        }
        // If the thread has ended, the owner learns it from the descriptor.
        let _ = self.commands.send(Command::SetEndpoints(changes));
        errors
    }

    /// Opens an endpoint; `None` if it waits for its device.
    fn add(&mut self, wanted: PreparedEndpoint) -> Result<Option<EndpointChange>, StartError> {
        let endpoint = match wanted.open(self.listeners())? {
            Ok(endpoint) => endpoint,
            Err(waiting) => {
                self.waiting.push(waiting);
                return Ok(None);
            }
        };
        self.without_ipv6.extend(substitution(&endpoint));
        let (config, listener, certificates) = endpoint;
        self.endpoints
            .push(EndpointHandle::new(&config, &listener).map_err(StartError::System)?);
        Ok(Some(EndpointChange::Add(config, listener, certificates)))
    }

    /// Addresses of the last [`set_endpoints`](Self::set_endpoints) that are not served because
    /// this kernel has no IPv6, each with the wildcard that is served in its place.
    pub fn without_ipv6(&self) -> &[WithoutIpv6] {
        &self.without_ipv6
    }

    /// Endpoints that listen, with their sockets.
    fn listeners(&self) -> impl Iterator<Item = (&EndpointConfig, &TcpListener)> {
        let endpoints = self.endpoints.iter();
        endpoints.filter_map(|it| Some((&it.config, it.listener.as_ref()?)))
    }

    /// Addresses that are not served before their device exists.
    pub fn waiting(&self) -> impl Iterator<Item = ListenAddress> {
        let lost = self.endpoints.iter().filter(|it| it.listener.is_none());
        let lost = lost.map(|it| it.config.address());
        lost.chain(self.waiting.iter().map(|it| it.config.address()))
    }

    /// Closes the sockets whose device was removed or renamed. Returns the addresses at which they
    /// listened; the endpoints wait for a device of that name.
    pub fn close_lost(&mut self) -> Vec<ListenAddress> {
        let mut lost = Vec::new();
        for EndpointHandle { config, listener } in &mut self.endpoints {
            let address = config.address();
            if let Some(listener) = listener.take_if(|it| has_lost_device(it.as_fd(), address)) {
                lost.extend(config.address_of(&listener));
                shut_down(&listener);
            }
        }
        lost
    }

    /// Opens those of the waiting endpoints whose device has appeared. Returns what failed; these
    /// are not tried again.
    pub fn open_waiting(&mut self) -> Vec<StartError> {
        let all = 0..self.endpoints.len();
        let mut results: Vec<_> = all.map(|index| self.listen_again(index)).collect();
        let mut is_kept = results.iter().map(Result::is_ok);
        self.endpoints.retain(|_| is_kept.next() != Some(false));
        let waiting = core::mem::take(&mut self.waiting);
        let added = waiting.into_iter().map(|it| self.add(it));
        results.extend(added.filter_map(Result::transpose));
        if results
            .iter()
            .all(|it| matches!(it, Ok(EndpointChange::Keep(_))))
        {
            return Vec::new();
        }
        let mut errors = Vec::new();
        let changes = results.into_iter();
        let changes = changes.filter_map(|it| it.map_err(|error| errors.push(error)).ok());
        let changes = Command::SetEndpoints(changes.collect());
        // If the thread has ended, the owner learns it from the descriptor.
        let _ = self.commands.send(changes);
        errors
    }

    /// Binds an endpoint whose socket was closed, if its device exists.
    fn listen_again(&mut self, index: usize) -> Result<EndpointChange, StartError> {
        let EndpointHandle { config, listener } = &self.endpoints[index];
        let address = config.address();
        let opened = match listener {
            Some(_) => None,
            None => listen_beside(config, self.listeners())?,
        };
        let Some(opened) = opened else {
            return Ok(EndpointChange::Keep(address));
        };
        self.endpoints[index].listener = Some(opened.try_clone().map_err(StartError::System)?);
        Ok(EndpointChange::Listen(address, opened))
    }

    /// Addresses it listens on.
    pub fn addresses(&self) -> impl Iterator<Item = ListenAddress> {
        let listeners = self.listeners();
        listeners.filter_map(|(config, listener)| config.address_of(listener).ok())
    }

    /// Counts of connections by outcome.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The certificates that are presented to clients.
    pub fn certificates(&self) -> Vec<CertificateInUse> {
        let in_use = self.in_use.lock();
        in_use.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Why the thread has ended; `None` while it runs. Its descriptor is readable when it has
    /// ended.
    pub fn exit_error(&mut self) -> Option<io::Error> {
        let thread = self.thread.take_if(|thread| thread.is_finished())?;
        Some(match thread.join() {
            Ok(Ok(())) => io::Error::other("the thread ended unexpectedly"),
            Ok(Err(error)) => error,
            Err(_) => io::Error::other("the thread panicked"),
        })
    }

    /// Tells the thread to close all connections and to end. Returns the thread: it ends soon, unless
    /// it reads a certificate from a file system that does not answer.
    pub fn stop(self) -> Option<JoinHandle<io::Result<()>>> {
        self.thread
    }
}

/// Readable when the thread has ended, which happens only after an error.
impl AsFd for Server {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.exit_reader.as_fd()
    }
}

/// Binds an address beside those of `others`; `None` if it waits for its device. On a kernel without
/// IPv6, the IPv4 wildcard is bound in place of the one of both families.
fn listen_beside<'a>(
    config: &EndpointConfig,
    others: impl Iterator<Item = (&'a EndpointConfig, &'a TcpListener)>,
) -> Result<Option<TcpListener>, StartError> {
    let address = config.address();
    let others: Vec<_> = others.collect();
    let beside = others.iter().filter(|(other, _)| overlap(config, other));
    let beside: Vec<_> = beside.map(|(_, listener)| *listener).collect();
    let listen = |address| listen::listen(address, config.only_ipv6, &beside);
    let listened = match (listen(address), config.ipv4_wildcard()) {
        (Err(error), Some(ipv4)) if lacks_ipv6(address.socket, &error) => listen(ipv4),
        (listened, _) => listened,
    };
    // The device of another endpoint may have been renamed a moment ago: that endpoint will be
    // closed, and this one is tried again then.
    let is_held = |error: &io::Error| {
        let is_lost = |(other, it): &(&EndpointConfig, &TcpListener)| {
            has_lost_device(it.as_fd(), other.address())
        };
        error.kind() == io::ErrorKind::AddrInUse && others.iter().any(is_lost)
    };
    match listened {
        Ok(listener) => Ok(Some(listener)),
        Err(error) if lacks_device(address, &error) || is_held(&error) => Ok(None),
        Err(error) => Err(StartError::Listen(address, error)),
    }
}

/// The IPv4 wildcard that listens in place of the one of both families, if it does.
fn substitution((config, listener, _): &OpenEndpoint) -> Option<WithoutIpv6> {
    let served = listener.local_addr().ok()?;
    (served.is_ipv4() != config.listen.is_ipv4()).then_some((config.listen, Some(served)))
}

/// Ends the thread's accepting of connections.
fn shut_down(listener: &TcpListener) {
    // Fails if the socket is closed already.
    let _ = rustix::net::shutdown(listener, rustix::net::Shutdown::Both);
}

/// Whether both endpoints get connections to one address and port.
fn overlap(one: &EndpointConfig, other: &EndpointConfig) -> bool {
    let covers = |wildcard: &EndpointConfig, other: &EndpointConfig| {
        let (ours, theirs) = (wildcard.listen, other.listen);
        ours.ip().is_unspecified()
            && (ours.is_ipv4() == theirs.is_ipv4() || (ours.is_ipv6() && !wildcard.only_ipv6))
    };
    one.device == other.device
        && one.listen.port() == other.listen.port()
        && one.listen.port() != 0
        && one.listen != other.listen
        && (covers(one, other) || covers(other, one))
}
