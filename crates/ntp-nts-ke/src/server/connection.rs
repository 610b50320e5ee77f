//! One endpoint's connections: accepted, served, counted, forgotten.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use ntp_proto::nts::exchange::{ALPN, Decision, Refusal, ServerExchange, WhyRefused};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::certificates::Certificates;
use super::table::{Network, Seat, Table};
use super::{Endpoint, Event, InUse, SealCookies};
use crate::export::session_keys;

/// How many octets a client may send, handshake included. A usual one sends below two thousand, one with keys for a future of
/// quantum computers a thousand more, and its request may have four thousand.
pub const OCTETS: usize = 16_384;

/// Rest after a failure to accept, which is a shortage of the machine.
const SHORTAGE: Duration = Duration::from_millis(100);

/// What became of connections.
#[derive(Debug, Default)]
pub struct Counters {
    /// Connections accepted.
    pub accepted: AtomicU64,
    /// Exchanges that ended with keys.
    pub granted: AtomicU64,
    /// Requests that were answered without keys.
    pub refused: AtomicU64,
    /// Connections whose time was over.
    pub timed_out: AtomicU64,
    /// Connections that had to make room for others.
    pub evicted: AtomicU64,
    /// Connections that broke, or never spoke the protocol.
    pub failed: AtomicU64,
}

impl Counters {
    fn one_more(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// What all endpoints have in common.
pub(super) struct Shared {
    seal: RefCell<Box<dyn SealCookies>>,
    pub(super) tell: Box<dyn Fn(&Event)>,
    counters: Arc<Counters>,
}

impl Shared {
    pub(super) fn new(
        seal: Box<dyn SealCookies>,
        tell: Box<dyn Fn(&Event)>,
        counters: Arc<Counters>,
    ) -> Self {
        Self {
            seal: RefCell::new(seal),
            tell,
            counters,
        }
    }
}

/// An endpoint with everybody in it.
pub(super) struct Hall {
    /// What newcomers find; those inside go on with what they found.
    endpoint: RefCell<Rc<Endpoint>>,
    certificates: RefCell<Certificates>,
    table: RefCell<Table<AbortHandle>>,
    shared: Rc<Shared>,
}

impl Hall {
    pub(super) fn new(
        endpoint: Endpoint,
        certificates: Certificates,
        shared: Rc<Shared>,
    ) -> Rc<Self> {
        let limits = endpoint.limits;
        Rc::new(Self {
            endpoint: RefCell::new(Rc::new(endpoint)),
            certificates: RefCell::new(certificates),
            table: RefCell::new(Table::new(limits.connections, limits.per_network)),
            shared,
        })
    }

    /// Receives newcomers as `endpoint` says from now on.
    pub(super) fn change(&self, endpoint: Endpoint, certificates: Certificates) {
        let limits = endpoint.limits;
        self.table
            .borrow_mut()
            .set_limits(limits.connections, limits.per_network);
        certificates.announce(&*self.shared.tell);
        *self.certificates.borrow_mut() = certificates;
        *self.endpoint.borrow_mut() = Rc::new(endpoint);
    }

    /// Its certificates.
    pub(super) fn in_use(&self) -> Vec<InUse> {
        self.certificates.borrow().in_use().collect()
    }

    fn endpoint(&self) -> Rc<Endpoint> {
        Rc::clone(&self.endpoint.borrow())
    }

    /// Looks at the certificate files, or reads them in any case. Returns whether they were read.
    pub(super) fn reload(&self, asked: bool) -> bool {
        self.certificates
            .borrow_mut()
            .reload(asked, &*self.shared.tell)
    }

    /// Lets everybody in.
    pub(super) async fn accept(self: Rc<Self>, listener: TcpListener) {
        let mut short = false;
        loop {
            match listener.accept().await {
                Ok((socket, peer)) => {
                    short = false;
                    self.admit(socket, peer).await;
                }
                Err(error) if is_of_the_connection(&error) => {}
                // It was shut down, because nobody is to be let in here any more.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => return,
                Err(error) => {
                    if !core::mem::replace(&mut short, true) {
                        let address = self.endpoint().listen;
                        (self.shared.tell)(&Event::CannotAccept(address, error.to_string()));
                    }
                    sleep(SHORTAGE).await;
                }
            }
        }
    }

    async fn admit(self: &Rc<Self>, socket: TcpStream, peer: SocketAddr) {
        let counters = &self.shared.counters;
        Counters::one_more(&counters.accepted);
        let network = Network::from(peer.ip());
        let gone = self.table.borrow_mut().make_room(network);
        if let Some(gone) = gone {
            gone.abort();
            Counters::one_more(&counters.evicted);
            // Its socket is closed when its task is next looked at: before there is another one.
            tokio::task::yield_now().await;
        }
        let seat = self.table.borrow_mut().next_seat();
        let visit = Visit {
            hall: Rc::clone(self),
            seat,
        };
        let task = tokio::task::spawn_local(visit.take_place(socket));
        self.table
            .borrow_mut()
            .sit(seat, network, task.abort_handle());
    }
}

/// Whether an error of `accept` is about one connection that broke before it was accepted.
fn is_of_the_connection(error: &io::Error) -> bool {
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

/// A connection's seat; it is free again when this is dropped, for whatever reason.
struct Visit {
    hall: Rc<Hall>,
    seat: Seat,
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.hall.table.borrow_mut().leave(self.seat);
    }
}

impl Visit {
    async fn take_place(self, socket: TcpStream) {
        let counters = &self.hall.shared.counters;
        let limit = self.hall.endpoint().limits.time;
        let counter = match timeout(limit, self.converse(socket)).await {
            Ok(Ok(())) => return,
            Ok(Err(_)) => &counters.failed,
            Err(_) => &counters.timed_out,
        };
        Counters::one_more(counter);
    }

    async fn converse(&self, socket: TcpStream) -> io::Result<()> {
        socket.set_nodelay(true)?;
        let config = self.hall.certificates.borrow().config();
        let socket = Rationed {
            socket,
            left: OCTETS,
        };
        let mut stream = TlsAcceptor::from(config).accept(socket).await?;
        if stream.get_ref().1.alpn_protocol() != Some(ALPN) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let endpoint = self.hall.endpoint();
        let policy = &endpoint.policy;
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
        let counters = &self.hall.shared.counters;
        let (response, counter) = match decision {
            Decision::Grant(grant) => {
                let keys = session_keys(stream.get_ref().1, grant.algorithm, grant.algorithm)
                    .map_err(io::Error::other)?;
                match self.hall.shared.seal.borrow_mut().seal(&keys) {
                    Some(cookies) => (grant.response(policy, &cookies), &counters.granted),
                    None => {
                        let refusal = Refusal::from(WhyRefused::Internal);
                        (refusal.response, &counters.refused)
                    }
                }
            }
            Decision::Refuse(refusal) => (refusal.response, &counters.refused),
        };
        stream.write_all(&response).await?;
        stream.shutdown().await?;
        Counters::one_more(counter);
        // To close while something unread is on its way would reset the connection, and the response with it.
        while matches!(stream.read(&mut piece).await, Ok(count) if count > 0) {}
        Ok(())
    }
}

/// A socket from which only so much is read.
struct Rationed {
    socket: TcpStream,
    left: usize,
}

impl AsyncRead for Rationed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.left == 0 {
            return Poll::Ready(Err(io::ErrorKind::QuotaExceeded.into()));
        }
        let most = buffer.remaining().min(self.left);
        let mut ration = ReadBuf::new(buffer.initialize_unfilled_to(most));
        std::task::ready!(Pin::new(&mut self.socket).poll_read(cx, &mut ration))?;
        let count = ration.filled().len();
        buffer.advance(count);
        self.left -= count;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Rationed {
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
