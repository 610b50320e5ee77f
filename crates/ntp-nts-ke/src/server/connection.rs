//! An endpoint and its connections: accepts, serves and counts them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use ntp_proto::nts::SessionKeys;
use ntp_proto::nts::exchange::{
    ALPN, Decision, Grant, Refusal, RefusalReason, ServerExchange, ServerPolicy,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tokio::time::error::Elapsed;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::certificates::Certificates;
use super::connection_table::{ConnectionId, ConnectionTable, Network};
use super::{CertificateInUse, CookieSealer, EndpointConfig, Event};
use crate::export::session_keys;

/// Number of octets that a client may send, including the handshake. A usual client sends less than
/// two thousand, one with post-quantum key shares a thousand more, and its request may have four
/// thousand.
pub const MAX_CLIENT_OCTETS: usize = 16_384;

/// Delay after a failure to accept, which is caused by a lack of resources.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);

/// Time after which a connection that a pool keeps open is closed if it is not used. A pool that has
/// clients uses it more often; one that does not answer any more must not hold a place.
const IDLE_LIMIT: Duration = Duration::from_secs(3600);

/// Counts of connections by outcome; those that pools keep open have an outcome for each request.
#[derive(Debug, Default)]
pub struct Counters {
    /// Connections accepted.
    pub accepted: AtomicU64,
    /// Key exchanges that succeeded.
    pub granted: AtomicU64,
    /// Requests of pools for what this server supports.
    pub pool_queries: AtomicU64,
    /// Requests that were refused with an error response.
    pub refused: AtomicU64,
    /// Connections that exceeded the time limit.
    pub timed_out: AtomicU64,
    /// Connections that were closed in favour of new ones.
    pub evicted: AtomicU64,
    /// Connections that were lost, or did not follow the protocol.
    pub failed: AtomicU64,
}

impl Counters {
    fn increment(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// State shared by all endpoints.
pub(super) struct Shared {
    sealer: RefCell<Box<dyn CookieSealer>>,
    pub(super) on_event: Box<dyn Fn(&Event)>,
    counters: Arc<Counters>,
}

impl Shared {
    pub(super) fn new(
        sealer: Box<dyn CookieSealer>,
        on_event: Box<dyn Fn(&Event)>,
        counters: Arc<Counters>,
    ) -> Self {
        Self {
            sealer: RefCell::new(sealer),
            on_event,
            counters,
        }
    }
}

/// An endpoint with its open connections.
pub(super) struct Endpoint {
    /// Used for new connections; open ones finish with the configuration they started with.
    config: RefCell<Rc<EndpointConfig>>,
    certificates: RefCell<Certificates>,
    connections: RefCell<ConnectionTable<AbortHandle>>,
    /// Connections that pools keep open, which no new connection evicts.
    long_lived: RefCell<BTreeMap<ConnectionId, AbortHandle>>,
    shared: Rc<Shared>,
}

impl Endpoint {
    pub(super) fn new(
        config: EndpointConfig,
        certificates: Certificates,
        shared: Rc<Shared>,
    ) -> Rc<Self> {
        let limits = config.limits;
        Rc::new(Self {
            config: RefCell::new(Rc::new(config)),
            certificates: RefCell::new(certificates),
            connections: RefCell::new(ConnectionTable::new(limits.connections, limits.per_network)),
            long_lived: RefCell::default(),
            shared,
        })
    }

    /// Closes the connections that pools keep open; the others finish.
    pub(super) fn close(&self) {
        for task in self.long_lived.borrow().values() {
            task.abort();
        }
    }

    /// Applies a new configuration to new connections.
    pub(super) fn change(&self, config: EndpointConfig, certificates: Certificates) {
        let limits = config.limits;
        self.connections
            .borrow_mut()
            .set_limits(limits.connections, limits.per_network);
        certificates.report(&*self.shared.on_event);
        *self.certificates.borrow_mut() = certificates;
        // A pool connects again, and is authenticated again.
        self.close();
        *self.config.borrow_mut() = Rc::new(config);
    }

    /// Certificates in use.
    pub(super) fn in_use(&self) -> Vec<CertificateInUse> {
        self.certificates.borrow().in_use().collect()
    }

    fn config(&self) -> Rc<EndpointConfig> {
        Rc::clone(&self.config.borrow())
    }

    /// Reads the certificate files if they have changed or `requested` is set. Returns whether they
    /// were read.
    pub(super) fn reload(&self, requested: bool) -> bool {
        self.certificates
            .borrow_mut()
            .reload(requested, &*self.shared.on_event)
    }

    /// Accepts connections until the listening socket is shut down.
    pub(super) async fn accept(self: Rc<Self>, listener: TcpListener) {
        let mut failing = false;
        loop {
            match listener.accept().await {
                Ok((socket, peer)) => {
                    failing = false;
                    self.start(socket, peer).await;
                }
                Err(error) if is_connection_error(&error) => {}
                // The endpoint was closed.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => return,
                Err(error) => {
                    if !core::mem::replace(&mut failing, true) {
                        let address = self.config().address();
                        (self.shared.on_event)(&Event::CannotAccept(address, error.to_string()));
                    }
                    sleep(ACCEPT_RETRY_DELAY).await;
                }
            }
        }
    }

    /// Starts a task for a new connection.
    async fn start(self: &Rc<Self>, socket: TcpStream, peer: SocketAddr) {
        let counters = &self.shared.counters;
        Counters::increment(&counters.accepted);
        let network = Network::from(peer.ip());
        let evicted = self.connections.borrow_mut().evict_for(network);
        if let Some(evicted) = evicted {
            evicted.abort();
            Counters::increment(&counters.evicted);
            // Its socket is closed when its task is polled next: before another one is opened.
            tokio::task::yield_now().await;
        }
        let id = self.connections.borrow_mut().next_id();
        let connection = Connection {
            endpoint: Rc::clone(self),
            id,
            long_lived: false,
        };
        let task = tokio::task::spawn_local(connection.run(socket));
        self.connections
            .borrow_mut()
            .insert(id, network, task.abort_handle());
    }
}

/// Whether an error of `accept` concerns one connection that failed before it was accepted.
fn is_connection_error(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::NetworkDown
    )
}

/// A connection in the table; removed from it on drop, for whatever reason.
struct Connection {
    endpoint: Rc<Endpoint>,
    id: ConnectionId,
    /// Whether a pool keeps it open.
    long_lived: bool,
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.long_lived {
            self.endpoint.long_lived.borrow_mut().remove(&self.id);
        } else {
            self.endpoint.connections.borrow_mut().remove(self.id);
        }
    }
}

type Stream = TlsStream<LimitedSocket>;

impl Connection {
    /// Serves the connection within the time limits and counts the outcome.
    async fn run(mut self, socket: TcpStream) {
        let limit = self.endpoint.config().limits.time;
        let served = timeout(limit, self.serve(socket)).await;
        let Some(Some((mut stream, mut ahead))) = self.outcome(served) else {
            return;
        };
        // A pool keeps the connection open.
        while let Ok(true) = timeout(IDLE_LIMIT, readable(&mut stream, &mut ahead)).await {
            stream.get_mut().0.left = MAX_CLIENT_OCTETS;
            let served = timeout(limit, self.serve_request(&mut stream, &mut ahead)).await;
            if self.outcome(served) != Some(true) {
                return;
            }
        }
        // Errors do not matter: the pool closed the connection, or it is closed now.
        let _ = timeout(limit, stream.shutdown()).await;
    }

    /// Counts a failure. Returns the result of a success.
    fn outcome<T>(&self, served: Result<io::Result<T>, Elapsed>) -> Option<T> {
        let counters = &self.endpoint.shared.counters;
        let counter = match served {
            Ok(Ok(result)) => return Some(result),
            Ok(Err(_)) => &counters.failed,
            Err(_) => &counters.timed_out,
        };
        Counters::increment(counter);
        None
    }

    /// One key exchange: TLS handshake, request, response. Returns the connection, with octets that
    /// were read ahead, if it is kept open.
    async fn serve(&mut self, socket: TcpStream) -> io::Result<Option<(Stream, Vec<u8>)>> {
        socket.set_nodelay(true)?;
        let config = self.endpoint.certificates.borrow().config();
        let socket = LimitedSocket {
            socket,
            left: MAX_CLIENT_OCTETS,
        };
        let mut stream = TlsAcceptor::from(config).accept(socket).await?;
        if stream.get_ref().1.alpn_protocol() != Some(ALPN) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let mut ahead = Vec::new();
        let open = self.serve_request(&mut stream, &mut ahead).await?;
        Ok(open.then_some((stream, ahead)))
    }

    /// Reads a request and sends the response. `ahead` has the octets that were read ahead of the
    /// request, and then those that were read behind it. Returns whether the connection stays open;
    /// otherwise it was shut down.
    async fn serve_request(
        &mut self,
        stream: &mut Stream,
        ahead: &mut Vec<u8>,
    ) -> io::Result<bool> {
        let endpoint = Rc::clone(&self.endpoint);
        let config = endpoint.config();
        let decision = read_request(stream, ahead, &config.policy).await?;
        let Reply {
            octets,
            open,
            counter,
        } = self.reply(&endpoint, &config.policy, stream, decision)?;
        stream.write_all(&octets).await?;
        if open {
            stream.flush().await?;
            Counters::increment(counter);
            return Ok(true);
        }
        stream.shutdown().await?;
        Counters::increment(counter);
        // Closing with unread data would reset the connection, and the response could be lost.
        let mut piece = [0; 1024];
        while matches!(stream.read(&mut piece).await, Ok(count) if count > 0) {}
        Ok(false)
    }

    /// Carries out the decision on a request.
    fn reply<'a>(
        &mut self,
        endpoint: &'a Endpoint,
        policy: &ServerPolicy,
        stream: &Stream,
        decision: Decision,
    ) -> io::Result<Reply<'a>> {
        let counters = &endpoint.shared.counters;
        let refuse = |refusal: Refusal| Reply {
            octets: refusal.response,
            open: false,
            counter: &counters.refused,
        };
        Ok(match decision {
            // The session of a connection that is kept open must not be used for exported keys.
            Decision::Grant(grant) if self.long_lived && grant.fixed_keys.is_none() => {
                refuse(RefusalReason::BadRequest.into())
            }
            Decision::Grant(grant) => {
                let keys = match &grant.fixed_keys {
                    Some(keys) => keys.clone(),
                    None => exported_keys(stream, &grant)?,
                };
                match endpoint.shared.sealer.borrow_mut().seal(&keys) {
                    Some(cookies) => {
                        let open = grant.keep_alive && self.keep_open();
                        Reply {
                            octets: grant.response(policy, &cookies, open),
                            open,
                            counter: &counters.granted,
                        }
                    }
                    None => refuse(RefusalReason::Internal.into()),
                }
            }
            Decision::Capabilities(question) => {
                let open = question.keep_alive && self.keep_open();
                Reply {
                    octets: question.response(policy, open),
                    open,
                    counter: &counters.pool_queries,
                }
            }
            Decision::Refuse(refusal) => refuse(refusal),
        })
    }

    /// Moves the connection to those that are kept open, unless there are too many. Returns whether
    /// it is one of them.
    fn keep_open(&mut self) -> bool {
        let endpoint = &self.endpoint;
        let mut long_lived = endpoint.long_lived.borrow_mut();
        if !self.long_lived && long_lived.len() < endpoint.config().limits.long_lived {
            let moved = endpoint.connections.borrow_mut().remove(self.id);
            if let Some(task) = moved {
                long_lived.insert(self.id, task);
                self.long_lived = true;
            }
        }
        self.long_lived
    }
}

/// The reply to a request.
struct Reply<'a> {
    octets: Vec<u8>,
    /// Whether the connection stays open after it.
    open: bool,
    counter: &'a AtomicU64,
}

/// Reads a request of at most [`MAX_CLIENT_OCTETS`], beginning with the octets in `ahead`.
async fn read_request(
    stream: &mut Stream,
    ahead: &mut Vec<u8>,
    policy: &ServerPolicy,
) -> io::Result<Decision> {
    let mut exchange = ServerExchange::default();
    let mut buffer = [0; 1024];
    let mut piece = core::mem::take(ahead);
    loop {
        if let Some(decision) = exchange.receive(policy, &piece) {
            let whole = piece.len() - exchange.rest();
            *ahead = piece.split_off(whole);
            return Ok(decision);
        }
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        piece.clear();
        piece.extend_from_slice(buffer.get(..count).unwrap_or_default());
    }
}

/// Waits for the beginning of a request. `false` if the connection ended.
async fn readable(stream: &mut Stream, ahead: &mut Vec<u8>) -> bool {
    if !ahead.is_empty() {
        return true;
    }
    let mut first = [0];
    let read = matches!(stream.read(&mut first).await, Ok(1));
    if read {
        ahead.extend_from_slice(&first);
    }
    read
}

/// Exports the keys of a client from its session.
fn exported_keys(stream: &Stream, grant: &Grant) -> io::Result<SessionKeys> {
    let (protocol, algorithm) = (grant.protocol, grant.algorithm);
    session_keys(stream.get_ref().1, protocol, algorithm, algorithm).map_err(io::Error::other)
}

/// A socket from which a limited number of octets can be read.
struct LimitedSocket {
    socket: TcpStream,
    left: usize,
}

impl AsyncRead for LimitedSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.left == 0 {
            return Poll::Ready(Err(io::ErrorKind::QuotaExceeded.into()));
        }
        let most = buffer.remaining().min(self.left);
        let mut limited = ReadBuf::new(buffer.initialize_unfilled_to(most));
        std::task::ready!(Pin::new(&mut self.socket).poll_read(cx, &mut limited))?;
        let count = limited.filled().len();
        buffer.advance(count);
        self.left -= count;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for LimitedSocket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, octets)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }
}
