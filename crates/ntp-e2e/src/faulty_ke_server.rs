//! A key-exchange server with configurable faults (RFC 8915 section 4).
//!
//! Without a fault it negotiates keys and issues cookies of a fixed keyset, which a daemon on the
//! same host reads from a file. [`KeBehaviour`] selects the fault; it can be repaired while the
//! server runs, to test how a client recovers. The server records the time of each connection, to
//! test the client's back-off.
#![expect(
    clippy::disallowed_methods,
    reason = "a server for tests of real processes runs in real time"
)]

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ntp_proto::nts::exchange::{ALPN, Decision, NTPV4, ServerExchange, ServerPolicy};
use ntp_proto::nts::record::{MessageBuffer, REQUEST_LIMIT, RecordKind};
use ntp_proto::nts::{
    AeadAlgorithm, Direction, EXPORTER_LABEL, Keyset, MasterSecret, SessionKeys, StoredKeyset,
    exporter_context,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::TLS13;
use rustls::{ServerConfig, ServerConnection, Stream};

use crate::certificates::Certificate;

/// Behaviour towards clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeBehaviour {
    /// Follows RFC 8915.
    Correct,
    /// Negotiates TLS without ALPN.
    NoAlpn,
    /// Negotiates another application protocol.
    OtherAlpn,
    /// Rejects TLS 1.3 with a `protocol_version` alert.
    OnlyTls12,
    /// Reads, but never writes.
    Silent,
    /// Completes the TLS handshake, but sends no response.
    SilentInTls,
    /// Closes the connection after the first data.
    Closes,
    /// Closes the connection in the middle of the response.
    ClosesMidResponse,
    /// Sends a response without end.
    EndlessResponse,
    /// Sends these octets as its response.
    Response(Vec<u8>),
    /// Sends a correct response in pieces of this many octets.
    Fragmented(usize),
    /// Is a pool with these members: names the first one that the request does not deny, or the first
    /// one of all.
    Pool(Vec<String>),
    /// Prepends unusable cookies to a correct response.
    ExtraCookies {
        /// Number of unusable cookies.
        count: usize,
        /// Length of each, in octets.
        length: usize,
    },
}

/// Critical bit of a record type.
pub const CRITICAL: u16 = 0x8000;

/// Encodes one record of a response.
pub fn record(kind: u16, body: &[u8]) -> Vec<u8> {
    // Tests do not write longer ones.
    let length = u16::try_from(body.len()).unwrap_or(u16::MAX);
    [&kind.to_be_bytes()[..], &length.to_be_bytes(), body].concat()
}

/// Interval at which the threads check whether to stop.
const STOP_CHECK_INTERVAL: Duration = Duration::from_millis(100);
/// Size of the read buffer, in octets.
const BUFFER: usize = 4096;

/// A running server. Stopped when dropped.
#[derive(Debug)]
pub struct FaultyKeServer {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    behaviour: Mutex<KeBehaviour>,
    certificate: Mutex<Certificate>,
    connections: Mutex<Vec<(IpAddr, Instant)>>,
    policy: ServerPolicy,
    ended: AtomicBool,
}

impl FaultyKeServer {
    /// Serves at `listen` with a certificate. `ntp_port` is the NTP port in its responses, if it is
    /// not 123. To be called in the network namespace of its host.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn start(
        listen: SocketAddr,
        certificate: &Certificate,
        behaviour: KeBehaviour,
        ntp_port: Option<u16>,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(listen)?;
        let address = listener.local_addr()?;
        listener.set_nonblocking(true)?;
        let shared = Arc::new(Shared {
            behaviour: Mutex::new(behaviour),
            certificate: Mutex::new(certificate.clone()),
            connections: Mutex::default(),
            policy: ServerPolicy {
                protocols: vec![NTPV4],
                algorithms: AeadAlgorithm::ALL.to_vec(),
                ntp_server: None,
                ntp_port,
                pool_tokens: Vec::new(),
            },
            ended: AtomicBool::new(false),
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || accepting.accept(&listener));
        Ok(Self { address, shared })
    }

    /// Listening address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Behaves correctly, with `certificate`, from the next connection on.
    pub fn repair(&self, certificate: &Certificate) {
        *lock(&self.shared.behaviour) = KeBehaviour::Correct;
        *lock(&self.shared.certificate) = certificate.clone();
    }

    /// Times at which clients connected from this address.
    pub fn connections_from(&self, from: IpAddr) -> Vec<Instant> {
        let connections = lock(&self.shared.connections);
        let own = connections.iter().filter(|(peer, _)| *peer == from);
        own.map(|(_, at)| *at).collect()
    }
}

impl Drop for FaultyKeServer {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
    }
}

/// Keyset of the cookies. It is fixed, so that an NTP server can be configured in advance.
fn keyset() -> Keyset {
    Keyset::new(MasterSecret::new([0x5a; MasterSecret::LENGTH]))
}

/// File with this keyset, for a daemon's `key-storage-path`.
pub fn keyset_file() -> Vec<u8> {
    let stored = SystemTime::now().duration_since(UNIX_EPOCH);
    let stored = StoredKeyset {
        keyset: keyset(),
        stored: stored.map_or(0, |since| since.as_secs()),
    };
    stored.emit().to_vec()
}

impl Shared {
    fn accept(self: Arc<Self>, listener: &TcpListener) {
        while !self.has_ended() {
            match listener.accept() {
                Ok((socket, peer)) => {
                    let peer = peer.ip().to_canonical();
                    lock(&self.connections).push((peer, Instant::now()));
                    let shared = Arc::clone(&self);
                    // Tests observe the result of a connection at the client.
                    thread::spawn(move || shared.serve(socket));
                }
                Err(_) => thread::sleep(STOP_CHECK_INTERVAL / 4),
            }
        }
    }

    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    fn serve(&self, mut socket: TcpStream) -> io::Result<()> {
        socket.set_nonblocking(false)?;
        socket.set_nodelay(true)?;
        let behaviour = lock(&self.behaviour).clone();
        match behaviour {
            KeBehaviour::Silent => return self.read_to_end(socket),
            KeBehaviour::Closes => {
                // Closing with unread data would reset the connection.
                let _ = socket.read(&mut [0; BUFFER])?;
                return Ok(());
            }
            KeBehaviour::OnlyTls12 => {
                let _ = socket.read(&mut [0; BUFFER])?;
                // A fatal alert, protocol_version (RFC 8446 section 6.2).
                socket.write_all(&[21, 3, 3, 0, 2, 2, 70])?;
                return self.read_to_end(socket);
            }
            _ => {}
        }
        let certificate = lock(&self.certificate).clone();
        let mut tls = connection(&certificate, &behaviour).map_err(io::Error::other)?;
        let mut stream = Stream::new(&mut tls, &mut socket);
        let members: &[String] = match &behaviour {
            KeBehaviour::Pool(members) => members,
            _ => &[],
        };
        let Some(correct) = negotiate(&mut stream, &self.policy, members)? else {
            return Ok(());
        };
        if behaviour == KeBehaviour::SilentInTls {
            return self.read_to_end(socket);
        }
        let response = response(correct, &behaviour);
        let piece = match behaviour {
            KeBehaviour::Fragmented(octets) => octets,
            _ => response.len(),
        };
        for piece in response.chunks(piece.max(1)) {
            stream.write_all(piece)?;
            stream.flush()?;
        }
        match behaviour {
            KeBehaviour::ClosesMidResponse => {}
            KeBehaviour::EndlessResponse => loop {
                stream.write_all(&record(4711, &[0; BUFFER]))?;
            },
            _ => {
                stream.conn.send_close_notify();
                stream.flush()?;
                self.read_to_end(socket)?;
            }
        }
        Ok(())
    }

    /// Reads until the other side closes the connection.
    fn read_to_end(&self, mut socket: TcpStream) -> io::Result<()> {
        socket.set_read_timeout(Some(STOP_CHECK_INTERVAL))?;
        let mut piece = [0; BUFFER];
        while !self.has_ended() {
            match socket.read(&mut piece) {
                Ok(0) => break,
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => break,
                _ => {}
            }
        }
        Ok(())
    }
}

fn connection(
    certificate: &Certificate,
    behaviour: &KeBehaviour,
) -> Result<ServerConnection, Box<dyn std::error::Error + Send + Sync>> {
    let chain =
        CertificateDer::pem_file_iter(&certificate.chain)?.collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_file(&certificate.key)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = match behaviour {
        KeBehaviour::NoAlpn => Vec::new(),
        KeBehaviour::OtherAlpn => vec![b"h2".to_vec()],
        _ => vec![ALPN.to_vec()],
    };
    Ok(ServerConnection::new(Arc::new(config))?)
}

/// The member that a pool names in its response.
fn member(members: &[String], request: &MessageBuffer) -> Option<String> {
    let is_denied = |member: &&String| {
        let mut records = request.records();
        records.any(|it| it.kind == RecordKind::SERVER_DENY && it.body == member.as_bytes())
    };
    let mut others = members.iter().filter(|member| !is_denied(member));
    others.next().or(members.first()).cloned()
}

/// Reads the request. Returns the correct response, or `None` if the request must be refused.
fn negotiate(
    stream: &mut Stream<'_, ServerConnection, TcpStream>,
    policy: &ServerPolicy,
    members: &[String],
) -> io::Result<Option<Vec<u8>>> {
    let mut exchange = ServerExchange::default();
    let mut request = MessageBuffer::new(REQUEST_LIMIT);
    let mut buffer = [0; BUFFER];
    loop {
        let length = stream.read(&mut buffer)?;
        let read = buffer.get(..length).unwrap_or_default();
        // The exchange refuses what is too long.
        let _ = request.push(read);
        match exchange.receive(policy, read) {
            Some(Decision::Grant(grant)) => {
                let keys = export(stream.conn, grant.algorithm).map_err(io::Error::other)?;
                let cookies = core::array::from_fn(|number| {
                    let nonce = [u8::try_from(number).unwrap_or_default(); 16];
                    keyset()
                        .seal_cookie(&keys, nonce)
                        .expect("a keyset with a key")
                });
                let policy = ServerPolicy {
                    ntp_server: member(members, &request),
                    ..policy.clone()
                };
                return Ok(Some(grant.response(&policy, &cookies, false)));
            }
            Some(Decision::Capabilities(_) | Decision::Refuse(_)) => return Ok(None),
            None if length == 0 => return Ok(None),
            None => {}
        }
    }
}

/// Derives the session keys from the TLS session (RFC 8915 section 5.1).
fn export(
    tls: &ServerConnection,
    algorithm: AeadAlgorithm,
) -> Result<SessionKeys, Box<dyn std::error::Error + Send + Sync>> {
    let key = |direction| {
        let context = exporter_context(NTPV4, algorithm, direction);
        let key = vec![0; algorithm.key_length()];
        tls.export_keying_material(key, EXPORTER_LABEL, Some(&context))
    };
    let (c2s, s2c) = (
        key(Direction::ClientToServer)?,
        key(Direction::ServerToClient)?,
    );
    Ok(SessionKeys::new(algorithm, &c2s, &s2c).ok_or("a key of the wrong length")?)
}

fn response(correct: Vec<u8>, behaviour: &KeBehaviour) -> Vec<u8> {
    match behaviour {
        KeBehaviour::Response(octets) => octets.clone(),
        KeBehaviour::EndlessResponse => Vec::new(),
        // In the middle of a cookie.
        KeBehaviour::ClosesMidResponse => correct[..correct.len() / 2].to_vec(),
        KeBehaviour::ExtraCookies { count, length } => {
            let unusable = record(5, &vec![7; *length]);
            [&unusable.repeat(*count), &correct[..]].concat()
        }
        _ => correct,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
