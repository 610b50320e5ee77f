//! An endpoint and its connections: accepts, serves and counts them.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use ntp_proto::nts::exchange::{ALPN, Decision, Refusal, RefusalReason, ServerExchange};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

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

/// Counts of connections by outcome.
#[derive(Debug, Default)]
pub struct Counters {
    /// Connections accepted.
    pub accepted: AtomicU64,
    /// Key exchanges that succeeded.
    pub granted: AtomicU64,
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
            shared,
        })
    }

    /// Applies a new configuration to new connections.
    pub(super) fn change(&self, config: EndpointConfig, certificates: Certificates) {
        let limits = config.limits;
        self.connections
            .borrow_mut()
            .set_limits(limits.connections, limits.per_network);
        certificates.report(&*self.shared.on_event);
        *self.certificates.borrow_mut() = certificates;
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
                        let address = self.config().listen;
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
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.endpoint.connections.borrow_mut().remove(self.id);
    }
}

impl Connection {
    /// Serves the connection within the time limit and counts the outcome.
    async fn run(self, socket: TcpStream) {
        let counters = &self.endpoint.shared.counters;
        let limit = self.endpoint.config().limits.time;
        let counter = match timeout(limit, self.serve(socket)).await {
            Ok(Ok(())) => return,
            Ok(Err(_)) => &counters.failed,
            Err(_) => &counters.timed_out,
        };
        Counters::increment(counter);
    }

    /// One key exchange: TLS handshake, request, response.
    async fn serve(&self, socket: TcpStream) -> io::Result<()> {
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
        let endpoint_config = self.endpoint.config();
        let policy = &endpoint_config.policy;
        let mut exchange = ServerExchange::default();
        let mut piece = [0; 1024];
        let decision = loop {
            let count = stream.read(&mut piece).await?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let piece = piece.get(..count).unwrap_or_default();
            if let Some(decision) = exchange.receive(policy, piece) {
                break decision;
            }
        };
        let counters = &self.endpoint.shared.counters;
        let (response, counter) = match decision {
            Decision::Grant(grant) => {
                let keys = session_keys(stream.get_ref().1, grant.algorithm, grant.algorithm)
                    .map_err(io::Error::other)?;
                match self.endpoint.shared.sealer.borrow_mut().seal(&keys) {
                    Some(cookies) => (grant.response(policy, &cookies), &counters.granted),
                    None => {
                        let refusal = Refusal::from(RefusalReason::Internal);
                        (refusal.response, &counters.refused)
                    }
                }
            }
            Decision::Refuse(refusal) => (refusal.response, &counters.refused),
        };
        stream.write_all(&response).await?;
        stream.shutdown().await?;
        Counters::increment(counter);
        // Closing with unread data would reset the connection, and the response could be lost.
        while matches!(stream.read(&mut piece).await, Ok(count) if count > 0) {}
        Ok(())
    }
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
