//! Key-exchange client: name resolution, TCP connection, TLS, request, response, keys.
//!
//! It blocks and needs a thread of its own. It ends within its time limit if the resolver does, which
//! the caller provides. Addresses are tried one after the other, with alternating
//! families, each with its share of the remaining time: an address that does not respond leaves
//! time for the next one.
//!
//! [`exchange`] reports all intermediate results, even if it fails: the daemon needs the keys only,
//! `ntp-ctl nts check` the rest.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::Duration;

use ntp_os_clock::monotonic;
use ntp_proto::client::VersionChoice;
use ntp_proto::nts::exchange::{ALPN, ClientExchange, ErrorCode, Export, Granted, ResponseError};
use ntp_proto::nts::{AeadAlgorithm, KeyExchangeResult, NextProtocol};
use ntp_proto::wire::Version;
use ntp_proto::wire::v5::draft;
use ntp_time::{Monotonic, NtpDuration};
use ntp_types::host::{Host, ScopedIp};
use ntp_types::path::NetworkPath;
use ntp_types::source::SrvVerification;
use ntp_udp::{PathError, choose_path};
use rustix::io::Errno;
use rustix::net::sockopt::{self, Timeout};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::version::TLS13;
use rustls::{ClientConfig, ClientConnection};

use crate::export::session_keys;
use crate::failure::{ConnectError, Failure, Stage};
use crate::provider::provider;
use crate::srv::{self, Services, SrvError, Target};
use crate::trust::{Authorities, Trust};
use crate::validity::{LenientVerifier, Presented, TimeBounds};

/// Parameters of a key exchange.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// Name or address of the server; its certificate must be valid for it.
    pub host: &'a str,
    /// TCP port.
    pub port: u16,
    /// Which certificate authorities are trusted.
    pub authorities: Authorities<'a>,
    /// Versions of NTP that are offered.
    pub version: VersionChoice,
    /// Offered algorithms, in order of preference.
    pub algorithms: &'a [AeadAlgorithm],
    /// Path of the connection through this machine. Names are looked up by the system's path.
    pub path: NetworkPath,
    /// Which SRV records of the host are used; `None` if they are not looked up.
    pub srv: Option<SrvVerification>,
    /// Servers that a pool should not return, with the names of [`Report::member`].
    pub denied: &'a [String],
    /// Time at which certificates are verified.
    pub time: TimeBounds,
    /// Time limit of the key exchange.
    pub limit: Duration,
    /// Resolves the host, preferably within the given time. `TimedOut` is a failure of the class
    /// [`Timeout`](Failure::Timeout).
    pub resolve: fn(&Host, Duration) -> io::Result<Vec<ScopedIp>>,
}

/// Report of a key exchange.
#[derive(Debug)]
pub struct Report {
    /// Addresses of the host, in the order in which they are tried.
    pub addresses: Vec<SocketAddr>,
    /// Addresses to which the connection failed, and why.
    pub failed: Vec<(SocketAddr, ConnectError)>,
    /// The server that an SRV record of the host names.
    pub target: Option<Target>,
    /// Name by which a pool knows the NTP server: that of the target, or exactly that of the response.
    pub member: Option<String>,
    /// Address of the connection.
    pub peer: Option<SocketAddr>,
    /// Group of the key exchange of TLS, with the name in the IANA registry.
    pub group: Option<&'static str>,
    /// The server's certificates.
    pub presented: Option<Presented>,
    /// Duration of each stage that was reached.
    pub timings: Vec<(Stage, NtpDuration)>,
    /// The keys, or why the key exchange failed.
    pub outcome: Result<KeyExchangeResult, Failure>,
}

/// What is offered to a server, and what after it if the server refuses that. A server knows one
/// draft of NTPv5, and an offer names one. A server that accepts NTPv4 is not asked again.
///
/// Several protocols in one record, which RFC 8915 section 4.1.2 permits, are too many for some
/// servers (ntpsec 1.2 closes the connection): they are offered NTPv4 alone.
fn offers(version: VersionChoice) -> (Vec<NextProtocol>, Option<Vec<NextProtocol>>) {
    let [newest, older] = draft::NAMES.map(NextProtocol::NtpV5);
    match version {
        VersionChoice::Fixed(Version::V5) => (vec![newest], Some(vec![older])),
        VersionChoice::Auto => (
            vec![newest, NextProtocol::NtpV4],
            Some(vec![NextProtocol::NtpV4]),
        ),
        VersionChoice::Fixed(_) => (vec![NextProtocol::NtpV4], None),
    }
}

/// Performs a key exchange with a server.
pub fn exchange(request: &Request<'_>) -> Report {
    let (first, other) = offers(request.version);
    let report = offer(request, &first);
    match other {
        Some(other) if report.outcome.as_ref().is_err_and(refuses_the_offer) => {
            offer(request, &other)
        }
        _ => report,
    }
}

/// Whether the server may accept another offer.
fn refuses_the_offer(failure: &Failure) -> bool {
    use ErrorCode as Code;
    use ResponseError::{Error, NoProtocol, Truncated};
    matches!(
        failure,
        Failure::Response(
            NoProtocol | Truncated | Error(Code::UNRECOGNISED_CRITICAL | Code::BAD_REQUEST)
        )
    )
}

/// Performs a key exchange for one of `protocols`, in order of preference.
fn offer(request: &Request<'_>, protocols: &[NextProtocol]) -> Report {
    let now = monotonic();
    let mut attempt = Attempt {
        report: Report {
            addresses: Vec::new(),
            failed: Vec::new(),
            target: None,
            member: None,
            peer: None,
            group: None,
            presented: None,
            timings: Vec::new(),
            outcome: Err(Failure::Timeout(Stage::Lookup)),
        },
        protocols: protocols.to_vec(),
        deadline: now + NtpDuration::from(request.limit),
        end: now + NtpDuration::from(request.limit),
        stage: (Stage::Lookup, now),
    };
    let outcome = attempt.run(request);
    attempt.finish_stage();
    attempt.report.outcome = outcome;
    attempt.report
}

/// A key-exchange server.
struct Server {
    host: Host,
    port: u16,
    /// Name for which its certificate must be valid.
    name: ServerName<'static>,
}

struct Attempt {
    report: Report,
    /// Offered protocols.
    protocols: Vec<NextProtocol>,
    /// End of the attempt with the present server.
    deadline: Monotonic,
    /// End of the key exchange.
    end: Monotonic,
    /// The current stage and its start.
    stage: (Stage, Monotonic),
}

impl Attempt {
    fn run(&mut self, request: &Request<'_>) -> Result<KeyExchangeResult, Failure> {
        let bad_host = || Failure::BadHost(request.host.into());
        let host = Host::parse(request.host).map_err(|_| bad_host())?;
        let own_name = server_name(&host).ok_or_else(bad_host)?;
        let trust = Trust::load(request.authorities).map_err(Failure::Trust)?;
        drop(provider());
        // Our own files and libraries do not count for the resolver.
        self.stage.1 = monotonic();
        let services = self.services(&host, request)?;
        if services.targets.is_empty() {
            let server = Server {
                host,
                port: request.port,
                name: own_name,
            };
            return self.run_with(&server, &trust, request);
        }
        let is_denied = |target: &&Target| request.denied.contains(&target.host);
        let targets = services.targets.iter().filter(|it| !is_denied(it));
        let mut left = targets.clone().count();
        let mut failure = Failure::NoOtherTarget;
        for target in targets {
            let host =
                Host::parse(&target.host).map_err(|_| Failure::BadHost(target.host.clone()))?;
            let name = if services.trusted {
                server_name(&host).ok_or_else(|| Failure::BadHost(target.host.clone()))?
            } else {
                own_name.clone()
            };
            let server = Server {
                host,
                port: target.port,
                name,
            };
            let now = monotonic();
            self.deadline =
                share(self.end - now, left - 1).map_or(now, |share| now + NtpDuration::from(share));
            left -= 1;
            self.report.target = Some(target.clone());
            self.enter(Stage::Lookup);
            match self.run_with(&server, &trust, request) {
                Ok(result) => {
                    self.report.member = Some(target.host.clone());
                    return Ok(result);
                }
                Err(next) => failure = next,
            }
        }
        Err(failure)
    }

    /// Looks up the SRV records of the host, if it shall and may have some.
    fn services(&self, host: &Host, request: &Request<'_>) -> Result<Services, Failure> {
        let (Some(verification), Host::Name(name)) = (request.srv, host) else {
            return Ok(Services::default());
        };
        // Half of the time, so that the host itself can be tried.
        let limit = NtpDuration::from(request.limit / 2);
        match srv::look_up(name, verification, &provider(), monotonic() + limit) {
            Err(SrvError::NotAvailable(name)) => {
                Err(Failure::Lookup(SrvError::NotAvailable(name).to_string()))
            }
            // The host itself is verified as without the look-up.
            Err(SrvError::NoAnswer(_) | SrvError::BadName(_)) => Ok(Services::default()),
            Ok(services) => Ok(services),
        }
    }

    /// Performs the key exchange with a server.
    fn run_with(
        &mut self,
        server: &Server,
        trust: &Trust,
        request: &Request<'_>,
    ) -> Result<KeyExchangeResult, Failure> {
        let verifier = Arc::new(LenientVerifier::new(trust, request.time)?);
        self.report.addresses = look_up(server, request)?;

        self.enter(Stage::Connect);
        let (socket, peer) = self.connect(&request.path)?;

        self.enter(Stage::Handshake);
        let mut stream = DeadlineStream {
            socket,
            deadline: self.deadline,
        };
        let tls = ClientConnection::new(Arc::new(config(&verifier)?), server.name.clone())
            .map_err(|problem| Failure::from_handshake(&problem))?;
        let mut tls = Box::new(tls);
        let handshake = self.handshake(&mut tls, &mut stream);
        self.report.presented = verifier.presented();
        handshake.map_err(|problem| problem.into_failure(self.report.presented.as_ref()))?;
        let group = tls.negotiated_key_exchange_group();
        self.report.group = group.and_then(|group| group.name().as_str());
        if tls.alpn_protocol() != Some(ALPN) {
            return Err(Failure::Alpn);
        }

        self.enter(Stage::Exchange);
        let client =
            ClientExchange::new(request.algorithms, peer.ip()).with_protocols(&self.protocols);
        let mut client = match &self.report.target {
            // Others were selected from the records.
            Some(_) => client,
            None => client.deny(request.denied),
        };
        let granted = self
            .negotiate(&mut tls, &mut stream, &mut client)
            .map_err(|problem| problem.into_failure(None))?;
        self.report.member.clone_from(&granted.server_name);
        // Errors are ignored: the keys are complete.
        tls.send_close_notify();
        let _ = tls.write_tls(&mut stream);
        keys(&tls, granted)
    }

    /// Records the duration of the current stage and starts another.
    fn enter(&mut self, stage: Stage) {
        self.stage = (stage, self.finish_stage());
    }

    /// Records the duration of the current stage. Returns the time.
    fn finish_stage(&mut self) -> Monotonic {
        let now = monotonic();
        let (stage, since) = self.stage;
        self.report.timings.push((stage, now - since));
        now
    }

    /// Connects to the first address that accepts.
    fn connect(&mut self, path: &NetworkPath) -> Result<(TcpStream, SocketAddr), Failure> {
        let mut left = self.report.addresses.len();
        for address in self.report.addresses.clone() {
            let share = share(self.deadline - monotonic(), left);
            left -= 1;
            match share.map(|share| connect_by(path, address, share)) {
                Some(Ok(socket)) => {
                    // Otherwise the request would wait for the acknowledgement of the end of the
                    // handshake, which servers delay by 40 ms. If it fails, the exchange is only
                    // slower.
                    let _ = socket.set_nodelay(true);
                    self.report.peer = Some(address);
                    return Ok((socket, address));
                }
                Some(Err(error)) => self.report.failed.push((address, error.into())),
                None => self.report.failed.push((address, ConnectError::NoAnswer)),
            }
        }
        Err(Failure::Connect(self.report.failed.clone()))
    }

    fn handshake(
        &self,
        tls: &mut ClientConnection,
        stream: &mut DeadlineStream,
    ) -> Result<(), StreamError> {
        while tls.is_handshaking() {
            if tls.wants_write() {
                tls.write_tls(stream).map_err(self.io())?;
            } else if tls.read_tls(stream).map_err(self.io())? == 0 {
                return Err(StreamError::Closed(self.stage.0));
            }
            tls.process_new_packets().inspect_err(|_| {
                // Sends the alert, so that the server learns what is wrong.
                let _ = tls.write_tls(stream);
            })?;
        }
        Ok(())
    }

    /// Sends the request and reads the response.
    fn negotiate(
        &self,
        tls: &mut ClientConnection,
        stream: &mut DeadlineStream,
        client: &mut ClientExchange,
    ) -> Result<Granted, StreamError> {
        tls.writer()
            .write_all(&client.request())
            .map_err(self.io())?;
        let mut piece = [0; 2048];
        loop {
            while tls.wants_write() {
                tls.write_tls(stream).map_err(self.io())?;
            }
            match tls.reader().read(&mut piece) {
                Ok(0) => return Err(StreamError::Response(ResponseError::Truncated)),
                Ok(count) => {
                    let piece = piece.get(..count).unwrap_or_default();
                    if let Some(granted) = client.receive(piece).map_err(StreamError::Response)? {
                        return Ok(granted);
                    }
                    continue;
                }
                // The connection was closed without close_notify.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                    return Err(StreamError::Response(ResponseError::Truncated));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(self.io()(error)),
            }
            tls.read_tls(stream).map_err(self.io())?;
            tls.process_new_packets()?;
        }
    }

    /// Classifies an I/O error in the current stage.
    fn io(&self) -> impl Fn(io::Error) -> StreamError + use<> {
        let stage = self.stage.0;
        move |error| match error.kind() {
            ErrorKind::TimedOut | ErrorKind::WouldBlock => StreamError::Timeout(stage),
            ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe => {
                StreamError::Closed(stage)
            }
            _ => StreamError::Io(stage, error),
        }
    }
}

/// Exports the keys of a successful exchange.
fn keys(tls: &ClientConnection, granted: Granted) -> Result<KeyExchangeResult, Failure> {
    let algorithm = granted.agreement.algorithm;
    let export = |named| {
        session_keys(tls, granted.protocol.id(), algorithm, named)
            .map_err(|problem| Failure::Tls(problem.to_string()))
    };
    Ok(KeyExchangeResult {
        protocol: granted.protocol,
        keys: export(algorithm)?,
        legacy_keys: match granted.agreement.export {
            Export::Standard => None,
            Export::Ambiguous => Some(export(AeadAlgorithm::AesSivCmac256)?),
        },
        cookies: granted.cookies,
        server: granted.server,
        port: granted.port,
    })
}

/// Why a stage over the connection failed.
enum StreamError {
    Timeout(Stage),
    Closed(Stage),
    Io(Stage, io::Error),
    Tls(rustls::Error),
    Response(ResponseError),
}

impl From<rustls::Error> for StreamError {
    fn from(error: rustls::Error) -> Self {
        Self::Tls(error)
    }
}

impl StreamError {
    fn into_failure(self, presented: Option<&Presented>) -> Failure {
        match self {
            Self::Timeout(stage) => Failure::Timeout(stage),
            Self::Closed(stage) => {
                Failure::Broken(stage, "the server closed the connection".into())
            }
            Self::Io(stage, error) => Failure::Broken(stage, error.to_string()),
            Self::Tls(problem) => match presented {
                Some(presented) => Failure::from_tls(&problem, &presented.facts()),
                None => Failure::from_handshake(&problem),
            },
            Self::Response(error) => Failure::Response(error),
        }
    }
}

fn config(verifier: &Arc<LenientVerifier>) -> Result<ClientConfig, Failure> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(|problem| Failure::Tls(problem.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(verifier) as _)
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// Returns the name or address for which the certificate must be valid. The interface of a
/// link-local address is not part of it (RFC 4007 section 11.2), nor is the dot after a name.
fn server_name(host: &Host) -> Option<ServerName<'static>> {
    match host {
        Host::Address(address) => Some((*address).into()),
        Host::Name(name) => match name.split_once('%') {
            Some((address, _)) => address.parse::<IpAddr>().ok().map(ServerName::from),
            None => ServerName::try_from(name.trim_end_matches('.').to_owned()).ok(),
        },
    }
}

/// Resolves the host of a server to unique addresses.
fn look_up(server: &Server, request: &Request<'_>) -> Result<Vec<SocketAddr>, Failure> {
    let found =
        (request.resolve)(&server.host, request.limit).map_err(|error| match error.kind() {
            ErrorKind::TimedOut => Failure::Timeout(Stage::Lookup),
            _ => Failure::Lookup(error.to_string()),
        })?;
    let with_port = |address: ScopedIp| address.with_port(server.port);
    Ok(alternate_families(
        found.into_iter().map(with_port).collect(),
    ))
}

/// Alternates the families, starting with that of the first address. The order within a family is
/// the resolver's.
fn alternate_families(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v4 = addresses.first().is_some_and(SocketAddr::is_ipv4);
    let (one, other): (Vec<_>, Vec<_>) =
        (addresses.into_iter()).partition(|address| address.is_ipv4() == first_is_v4);
    let longer = one.len().max(other.len());
    let (mut one, mut other) = (one.into_iter(), other.into_iter());
    (0..longer)
        .flat_map(|_| [one.next(), other.next()])
        .flatten()
        .collect()
}

/// Connects within `limit`, by `path`.
fn connect_by(
    path: &NetworkPath,
    address: SocketAddr,
    limit: Duration,
) -> Result<TcpStream, PathError> {
    let family = if address.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None);
    let socket = socket.map_err(io::Error::from)?;
    choose_path(socket.as_fd(), address, path)?;
    // The limit of sending is also that of connecting: socket(7).
    sockopt::set_socket_timeout(&socket, Timeout::Send, Some(limit)).map_err(io::Error::from)?;
    match rustix::net::connect(&socket, &address) {
        Ok(()) => Ok(TcpStream::from(socket)),
        Err(Errno::INPROGRESS) => Err(io::Error::from(ErrorKind::TimedOut).into()),
        Err(error) => Err(io::Error::from(error).into()),
    }
}

/// Time limit for connecting to one of `left` addresses, which leaves an equal share for TLS.
/// `None` if no time remains.
fn share(remaining: NtpDuration, left: usize) -> Option<Duration> {
    let parts = u32::try_from(left).unwrap_or(u32::MAX).saturating_add(1);
    (remaining > NtpDuration::ZERO)
        .then(|| (remaining.to_std() / parts).max(Duration::from_millis(1)))
}

/// A socket whose reads and writes end by the deadline.
struct DeadlineStream {
    socket: TcpStream,
    deadline: Monotonic,
}

impl DeadlineStream {
    fn remaining(&self) -> io::Result<Option<Duration>> {
        let remaining = self.deadline - monotonic();
        if remaining <= NtpDuration::ZERO {
            return Err(ErrorKind::TimedOut.into());
        }
        Ok(Some(remaining.to_std().max(Duration::from_millis(1))))
    }
}

impl Read for DeadlineStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.set_read_timeout(self.remaining()?)?;
        self.socket.read(buffer)
    }
}

impl Write for DeadlineStream {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.socket.set_write_timeout(self.remaining()?)?;
        self.socket.write(octets)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_alternate_starting_with_that_of_the_first_address() {
        let addresses = |texts: &[&str]| -> Vec<SocketAddr> {
            texts.iter().map(|text| text.parse().unwrap()).collect()
        };
        let resolved = addresses(&["[2001:db8::1]:1", "[2001:db8::2]:1", "192.0.2.1:1"]);
        let expected = addresses(&["[2001:db8::1]:1", "192.0.2.1:1", "[2001:db8::2]:1"]);
        assert_eq!(alternate_families(resolved), expected);
        let only_v4 = addresses(&["192.0.2.1:1", "192.0.2.2:1"]);
        assert_eq!(alternate_families(only_v4.clone()), only_v4);
    }

    #[test]
    fn a_certificate_names_an_address_without_its_interface() {
        let name = |text| server_name(&Host::parse(text).unwrap());
        let address = |text: &str| Some(ServerName::from(text.parse::<IpAddr>().unwrap()));
        assert_eq!(name("fe80::1%eth0"), address("fe80::1"));
        assert_eq!(name("2001:db8::1"), address("2001:db8::1"));
        let dns = ServerName::try_from("ntp.example").ok();
        assert_eq!(
            (name("ntp.example."), name("ntp.example")),
            (dns.clone(), dns)
        );
    }

    #[test]
    fn every_address_and_tls_get_an_equal_share_of_the_time() {
        let seconds = NtpDuration::from_seconds;
        assert_eq!(share(seconds(6), 2), Some(Duration::from_secs(2)));
        assert_eq!(share(seconds(4), 1), Some(Duration::from_secs(2)));
        assert_eq!(share(NtpDuration::ZERO, 1), None);
    }
}
