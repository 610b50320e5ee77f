//! One key exchange with a server: name, connection, TLS, request, response, keys.
//!
//! It blocks, on a thread of its own, and ends within its time limit (but for the resolver, which takes as long as it likes). Connections are
//! tried address by address, the families in turn, each with its share of the time that is left: an address that swallows everything
//! does not keep the next one from being tried.
//!
//! [`exchange`] tells everything that it saw on the way, whatever came of it: the daemon needs the keys only, `ntp-ctl nts check` the rest.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ntp_os_clock::monotonic;
use ntp_proto::nts::exchange::{ALPN, ClientExchange, Export, Fault, Granted};
use ntp_proto::nts::{AeadAlgorithm, KeyExchangeResult};
use ntp_time::{Monotonic, NtpDuration};
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::version::TLS13;
use rustls::{ClientConfig, ClientConnection};

use crate::export::session_keys;
use crate::failure::{ConnectError, Failure, Stage};
use crate::provider;
use crate::trust::Trust;
use crate::validity::{Judge, Presented, TimeKnown};

/// What is asked of whom.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// Name or address of the server; its certificate must be for it.
    pub host: &'a str,
    /// TCP port.
    pub port: u16,
    /// PEM file of authorities that are believed besides the system's.
    pub authority: Option<&'a Path>,
    /// Algorithms that are offered, best first.
    pub algorithms: &'a [AeadAlgorithm],
    /// At which time certificates are judged.
    pub time: TimeKnown,
    /// For all of it.
    pub limit: Duration,
}

/// Everything that was seen.
#[derive(Debug)]
pub struct Report {
    /// The addresses of the host, in the order in which they are tried.
    pub addresses: Vec<SocketAddr>,
    /// Those that could not be connected to.
    pub failed: Vec<(SocketAddr, ConnectError)>,
    /// The one that was connected to.
    pub peer: Option<SocketAddr>,
    /// Its certificates.
    pub presented: Option<Presented>,
    /// How long each stage took, as far as they went.
    pub timings: Vec<(Stage, NtpDuration)>,
    /// The keys, or why there are none.
    pub outcome: Result<KeyExchangeResult, Failure>,
}

/// Exchanges keys with a server.
pub fn exchange(request: &Request<'_>) -> Report {
    let now = monotonic();
    let mut attempt = Attempt {
        report: Report {
            addresses: Vec::new(),
            failed: Vec::new(),
            peer: None,
            presented: None,
            timings: Vec::new(),
            outcome: Err(Failure::Timeout(Stage::Lookup)),
        },
        deadline: now + NtpDuration::from(request.limit),
        stage: (Stage::Lookup, now),
    };
    let outcome = attempt.run(request);
    attempt.enter(Stage::Lookup);
    attempt.report.outcome = outcome;
    attempt.report
}

struct Attempt {
    report: Report,
    deadline: Monotonic,
    /// What is done, and since when.
    stage: (Stage, Monotonic),
}

impl Attempt {
    fn run(&mut self, request: &Request<'_>) -> Result<KeyExchangeResult, Failure> {
        let host = request.host.trim_end_matches('.');
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| Failure::BadHost(request.host.into()))?;
        let trust = Trust::load(request.authority).map_err(Failure::Trust)?;
        let judge = Arc::new(Judge::new(&trust, request.time)?);
        // What our own files took is not the resolver's.
        self.stage.1 = monotonic();
        self.report.addresses = look_up(request.host, request.port)?;

        self.enter(Stage::Connect);
        let socket = self.connect()?;

        self.enter(Stage::Handshake);
        let mut stream = Deadlined {
            socket,
            deadline: self.deadline,
        };
        let tls = ClientConnection::new(Arc::new(config(&judge)?), name)
            .map_err(|problem| Failure::of_handshake(&problem))?;
        let mut tls = Box::new(tls);
        let shaken = self.handshake(&mut tls, &mut stream);
        self.report.presented = judge.presented();
        shaken.map_err(|problem| problem.into_failure(self.report.presented.as_ref()))?;
        if tls.alpn_protocol() != Some(ALPN) {
            return Err(Failure::Alpn);
        }

        self.enter(Stage::Exchange);
        let mut client = ClientExchange::new(request.algorithms);
        let granted = self
            .ask(&mut tls, &mut stream, &mut client)
            .map_err(|problem| problem.into_failure(None))?;
        // A courtesy; the keys are here.
        tls.send_close_notify();
        let _ = tls.write_tls(&mut stream);
        keys(&tls, granted)
    }

    /// Notes how long the stage before took, and begins another.
    fn enter(&mut self, stage: Stage) {
        let now = monotonic();
        let (ended, since) = self.stage;
        self.report.timings.push((ended, now - since));
        self.stage = (stage, now);
    }

    fn connect(&mut self) -> Result<TcpStream, Failure> {
        let mut left = self.report.addresses.len();
        for address in self.report.addresses.clone() {
            let share = share(self.deadline - monotonic(), left);
            left -= 1;
            match share.map(|share| TcpStream::connect_timeout(&address, share)) {
                Some(Ok(socket)) => {
                    // The request follows the end of the handshake, and would wait for its acknowledgement otherwise, which
                    // servers put off for 40 ms. Without it, it is only slower.
                    let _ = socket.set_nodelay(true);
                    self.report.peer = Some(address);
                    return Ok(socket);
                }
                Some(Err(error)) => self.report.failed.push((address, (&error).into())),
                None => self.report.failed.push((address, ConnectError::NoAnswer)),
            }
        }
        Err(Failure::Connect(self.report.failed.clone()))
    }

    fn handshake(&self, tls: &mut ClientConnection, stream: &mut Deadlined) -> Result<(), Problem> {
        while tls.is_handshaking() {
            if tls.wants_write() {
                tls.write_tls(stream).map_err(self.io())?;
            } else if tls.read_tls(stream).map_err(self.io())? == 0 {
                return Err(Problem::Closed(self.stage.0));
            }
            tls.process_new_packets().inspect_err(|_| {
                // The server should learn from the alert what was wrong.
                let _ = tls.write_tls(stream);
            })?;
        }
        Ok(())
    }

    fn ask(
        &self,
        tls: &mut ClientConnection,
        stream: &mut Deadlined,
        client: &mut ClientExchange,
    ) -> Result<Granted, Problem> {
        tls.writer()
            .write_all(&client.request())
            .map_err(self.io())?;
        let mut piece = [0; 2048];
        loop {
            while tls.wants_write() {
                tls.write_tls(stream).map_err(self.io())?;
            }
            match tls.reader().read(&mut piece) {
                Ok(0) => return Err(Problem::Fault(Fault::Truncated)),
                Ok(count) => {
                    let piece = piece.get(..count).unwrap_or_default();
                    if let Some(granted) = client.receive(piece).map_err(Problem::Fault)? {
                        return Ok(granted);
                    }
                    continue;
                }
                // Without a proper end, but the end all the same.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                    return Err(Problem::Fault(Fault::Truncated));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(self.io()(error)),
            }
            tls.read_tls(stream).map_err(self.io())?;
            tls.process_new_packets()?;
        }
    }

    fn io(&self) -> impl Fn(io::Error) -> Problem + use<> {
        let stage = self.stage.0;
        move |error| match error.kind() {
            ErrorKind::TimedOut | ErrorKind::WouldBlock => Problem::Timeout(stage),
            ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe => {
                Problem::Closed(stage)
            }
            _ => Problem::Io(stage, error),
        }
    }
}

/// The keys that both sides have now.
fn keys(tls: &ClientConnection, granted: Granted) -> Result<KeyExchangeResult, Failure> {
    let algorithm = granted.agreement.algorithm;
    let export = |named| {
        session_keys(tls, algorithm, named).map_err(|problem| Failure::Tls(problem.to_string()))
    };
    Ok(KeyExchangeResult {
        keys: export(algorithm)?,
        legacy_keys: match granted.agreement.export {
            Export::Standard => None,
            Export::Unsure => Some(export(AeadAlgorithm::AesSivCmac256)?),
        },
        cookies: granted.cookies,
        server: granted.server,
        port: granted.port,
    })
}

/// What went wrong between here and there.
enum Problem {
    Timeout(Stage),
    Closed(Stage),
    Io(Stage, io::Error),
    Tls(rustls::Error),
    Fault(Fault),
}

impl From<rustls::Error> for Problem {
    fn from(error: rustls::Error) -> Self {
        Self::Tls(error)
    }
}

impl Problem {
    fn into_failure(self, presented: Option<&Presented>) -> Failure {
        match self {
            Self::Timeout(stage) => Failure::Timeout(stage),
            Self::Closed(stage) => Failure::Broken(stage, "the server hung up".into()),
            Self::Io(stage, error) => Failure::Broken(stage, error.to_string()),
            Self::Tls(problem) => match presented {
                Some(presented) => Failure::of_tls(&problem, presented),
                None => Failure::of_handshake(&problem),
            },
            Self::Fault(fault) => Failure::Response(fault),
        }
    }
}

fn config(judge: &Arc<Judge>) -> Result<ClientConfig, Failure> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(|problem| Failure::Tls(problem.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(judge) as _)
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    Ok(config)
}

fn look_up(host: &str, port: u16) -> Result<Vec<SocketAddr>, Failure> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let found = (host, port).to_socket_addrs();
    let mut unique = Vec::new();
    for address in found.map_err(|problem| Failure::Lookup(problem.to_string()))? {
        if !unique.contains(&address) {
            unique.push(address);
        }
    }
    if unique.is_empty() {
        return Err(Failure::Lookup("the resolver found none".into()));
    }
    Ok(families_in_turn(unique))
}

/// The resolver's order within each family, its first choice first, then the families in turn.
fn families_in_turn(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
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

/// The time that one of `left` addresses may take out of what is left, so that there is something for TLS too.
fn share(remaining: NtpDuration, left: usize) -> Option<Duration> {
    let parts = u32::try_from(left).unwrap_or(u32::MAX).saturating_add(1);
    (remaining > NtpDuration::ZERO)
        .then(|| (remaining.to_std() / parts).max(Duration::from_millis(1)))
}

/// A socket whose every call ends by the deadline.
struct Deadlined {
    socket: TcpStream,
    deadline: Monotonic,
}

impl Deadlined {
    fn remaining(&self) -> io::Result<Option<Duration>> {
        let remaining = self.deadline - monotonic();
        if remaining <= NtpDuration::ZERO {
            return Err(ErrorKind::TimedOut.into());
        }
        Ok(Some(remaining.to_std().max(Duration::from_millis(1))))
    }
}

impl Read for Deadlined {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.set_read_timeout(self.remaining()?)?;
        self.socket.read(buffer)
    }
}

impl Write for Deadlined {
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
    fn families_take_turns_and_the_resolvers_first_choice_stays_first() {
        let addresses = |texts: &[&str]| -> Vec<SocketAddr> {
            texts.iter().map(|text| text.parse().unwrap()).collect()
        };
        let resolved = addresses(&["[2001:db8::1]:1", "[2001:db8::2]:1", "192.0.2.1:1"]);
        let expected = addresses(&["[2001:db8::1]:1", "192.0.2.1:1", "[2001:db8::2]:1"]);
        assert_eq!(families_in_turn(resolved), expected);
        let only_v4 = addresses(&["192.0.2.1:1", "192.0.2.2:1"]);
        assert_eq!(families_in_turn(only_v4.clone()), only_v4);
    }

    #[test]
    fn every_address_has_its_share_and_something_is_left_for_tls() {
        let seconds = NtpDuration::from_seconds;
        assert_eq!(share(seconds(6), 2), Some(Duration::from_secs(2)));
        assert_eq!(share(seconds(4), 1), Some(Duration::from_secs(2)));
        assert_eq!(share(NtpDuration::ZERO, 1), None);
    }
}
