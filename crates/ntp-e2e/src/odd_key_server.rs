//! A key-exchange server that does on demand what no good one does (RFC 8915 section 4).
//!
//! It is a good one as long as nothing else is asked of it: it agrees on keys and gives cookies of a keyset, which a daemon beside it reads from a
//! file. What it does wrong is its [`Conduct`], which can be changed while it runs, so that a client can be watched while it recovers.
//! It notes when each connection came: that is the client's back-off.
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
use ntp_proto::nts::{
    AeadAlgorithm, Direction, EXPORTER_LABEL, Keyset, MasterSecret, SessionKeys, StoredKeyset,
    exporter_context,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::TLS13;
use rustls::{ServerConfig, ServerConnection, Stream};

use crate::certificates::Certificate;

/// What it does with its clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Conduct {
    /// What it should.
    Good,
    /// It agrees on TLS without a word about what is to be spoken in it.
    NoAlpn,
    /// It speaks something else in TLS.
    OtherAlpn,
    /// It knows no TLS above 1.2, and says so.
    OnlyTls12,
    /// It reads, and never says anything.
    Silent,
    /// It agrees on TLS, and says no more.
    SilentInTls,
    /// It hangs up as soon as something was said to it.
    HangsUp,
    /// It hangs up in the middle of its response.
    HangsUpInTheMiddle,
    /// Its response has no end.
    Endless,
    /// It responds with these octets, whatever it was asked.
    Says(Vec<u8>),
    /// Its response comes in pieces of so many octets, each on its own.
    InPieces(usize),
    /// So many cookies stand in its response, none of any use but for the good ones at the end.
    Cookies {
        /// How many useless ones.
        count: usize,
        /// Octets of each.
        length: usize,
    },
}

/// A record with the critical bit.
pub const CRITICAL: u16 = 0x8000;

/// One record of a response.
pub fn record(kind: u16, body: &[u8]) -> Vec<u8> {
    // Tests write no longer ones.
    let length = u16::try_from(body.len()).unwrap_or(u16::MAX);
    [&kind.to_be_bytes()[..], &length.to_be_bytes(), body].concat()
}

/// How often a thread looks whether it should end.
const LOOK_UP: Duration = Duration::from_millis(100);
/// Enough to see that somebody wants to be heard.
const PIECE: usize = 4096;

/// A running server. It ends when dropped.
#[derive(Debug)]
pub struct OddKeyServer {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    conduct: Mutex<Conduct>,
    certificate: Mutex<Certificate>,
    connected: Mutex<Vec<(IpAddr, Instant)>>,
    policy: ServerPolicy,
    ended: AtomicBool,
}

impl OddKeyServer {
    /// Serves at `listen` with a certificate, and names the NTP port, if it is not the usual one. To be called inside of the host that it is to
    /// be on.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn start(
        listen: SocketAddr,
        certificate: &Certificate,
        conduct: Conduct,
        ntp_port: Option<u16>,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(listen)?;
        let address = listener.local_addr()?;
        listener.set_nonblocking(true)?;
        let shared = Arc::new(Shared {
            conduct: Mutex::new(conduct),
            certificate: Mutex::new(certificate.clone()),
            connected: Mutex::default(),
            policy: ServerPolicy {
                algorithms: AeadAlgorithm::ALL.to_vec(),
                ntp_server: None,
                ntp_port,
            },
            ended: AtomicBool::new(false),
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || accepting.accept(&listener));
        Ok(Self { address, shared })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Behaves from the next connection on.
    pub fn mend(&self, certificate: &Certificate) {
        *lock(&self.shared.conduct) = Conduct::Good;
        *lock(&self.shared.certificate) = certificate.clone();
    }

    /// When a client came from this address, again and again.
    pub fn connected(&self, from: IpAddr) -> Vec<Instant> {
        let connected = lock(&self.shared.connected);
        let own = connected.iter().filter(|(peer, _)| *peer == from);
        own.map(|(_, at)| *at).collect()
    }
}

impl Drop for OddKeyServer {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
    }
}

/// The keys of its cookies. They are the same for all, so that an NTP server may be told in advance.
fn keyset() -> Keyset {
    Keyset::new(MasterSecret::new([0x5a; MasterSecret::LENGTH]))
}

/// The file from which a daemon learns these keys (`key-storage-path`).
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
                    lock(&self.connected).push((peer, Instant::now()));
                    let shared = Arc::clone(&self);
                    // What becomes of a connection is the client's to tell.
                    thread::spawn(move || shared.serve(socket));
                }
                Err(_) => thread::sleep(LOOK_UP / 4),
            }
        }
    }

    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    fn serve(&self, mut socket: TcpStream) -> io::Result<()> {
        socket.set_nonblocking(false)?;
        socket.set_nodelay(true)?;
        let conduct = lock(&self.conduct).clone();
        match conduct {
            Conduct::Silent => return self.listen_to(socket),
            Conduct::HangsUp => {
                // With something unread it would be a reset.
                let _ = socket.read(&mut [0; PIECE])?;
                return Ok(());
            }
            Conduct::OnlyTls12 => {
                let _ = socket.read(&mut [0; PIECE])?;
                // A fatal alert, protocol_version (RFC 8446 section 6.2).
                socket.write_all(&[21, 3, 3, 0, 2, 2, 70])?;
                return self.listen_to(socket);
            }
            _ => {}
        }
        let certificate = lock(&self.certificate).clone();
        let mut tls = connection(&certificate, &conduct).map_err(io::Error::other)?;
        let mut stream = Stream::new(&mut tls, &mut socket);
        let Some(keys) = agree(&mut stream, &self.policy)? else {
            return Ok(());
        };
        if conduct == Conduct::SilentInTls {
            return self.listen_to(socket);
        }
        let response = response(&keys, &conduct);
        let piece = match conduct {
            Conduct::InPieces(octets) => octets,
            _ => response.len(),
        };
        for piece in response.chunks(piece.max(1)) {
            stream.write_all(piece)?;
            stream.flush()?;
        }
        match conduct {
            Conduct::HangsUpInTheMiddle => {}
            Conduct::Endless => loop {
                stream.write_all(&record(4711, &[0; PIECE]))?;
            },
            _ => {
                stream.conn.send_close_notify();
                stream.flush()?;
                self.listen_to(socket)?;
            }
        }
        Ok(())
    }

    /// Reads until the other side hangs up.
    fn listen_to(&self, mut socket: TcpStream) -> io::Result<()> {
        socket.set_read_timeout(Some(LOOK_UP))?;
        let mut piece = [0; PIECE];
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
    conduct: &Conduct,
) -> Result<ServerConnection, Box<dyn std::error::Error + Send + Sync>> {
    let chain =
        CertificateDer::pem_file_iter(&certificate.chain)?.collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_file(&certificate.key)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = match conduct {
        Conduct::NoAlpn => Vec::new(),
        Conduct::OtherAlpn => vec![b"h2".to_vec()],
        _ => vec![ALPN.to_vec()],
    };
    Ok(ServerConnection::new(Arc::new(config))?)
}

/// Reads the request. `None` if it is none that keys can be given for.
fn agree(
    stream: &mut Stream<'_, ServerConnection, TcpStream>,
    policy: &ServerPolicy,
) -> io::Result<Option<Agreed>> {
    let mut exchange = ServerExchange::default();
    let mut piece = [0; PIECE];
    loop {
        let length = stream.read(&mut piece)?;
        let read = piece.get(..length).unwrap_or_default();
        match exchange.receive(policy, read) {
            Some(Decision::Grant(grant)) => {
                let keys = export(stream.conn, grant.algorithm).map_err(io::Error::other)?;
                let cookies = core::array::from_fn(|number| {
                    let nonce = [u8::try_from(number).unwrap_or_default(); 16];
                    keyset().seal_cookie(&keys, nonce).expect("there is a key")
                });
                return Ok(Some(Agreed {
                    response: grant.response(policy, &cookies),
                }));
            }
            Some(Decision::Refuse(_)) => return Ok(None),
            None if length == 0 => return Ok(None),
            None => {}
        }
    }
}

/// What a good server would respond.
struct Agreed {
    response: Vec<u8>,
}

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
    Ok(SessionKeys::new(algorithm, &c2s, &s2c).ok_or("a key of a wrong length")?)
}

fn response(agreed: &Agreed, conduct: &Conduct) -> Vec<u8> {
    let good = &agreed.response;
    match conduct {
        Conduct::Says(octets) => octets.clone(),
        Conduct::Endless => Vec::new(),
        // In the middle of a cookie.
        Conduct::HangsUpInTheMiddle => good.get(..good.len() / 2).unwrap_or_default().to_vec(),
        Conduct::Cookies { count, length } => {
            let useless = record(5, &vec![7; *length]);
            [&useless.repeat(*count), &good[..]].concat()
        }
        _ => good.clone(),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
