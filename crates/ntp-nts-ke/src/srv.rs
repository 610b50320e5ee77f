//! Key-exchange servers by records of type SRV (RFC 2782): `_ntske._tcp.NAME`.
//!
//! The records of a name give hosts, ports, and an order. std has no such look-up, so this is a stub
//! resolver: one query to the name servers of resolv.conf(5), over UDP, and over TCP if the answer is
//! truncated. It is used for these records only; the addresses of the hosts come from the system.
//!
//! # What may be believed
//! The certificate of a host is verified for the name of the *host*. An attacker who forges the records
//! therefore selects the server and owns a valid certificate for it: without DNSSEC, the look-up
//! undoes what NTS protects against. A stub resolver does not validate; it can only believe a
//! validating name server, which marks its answer (AD bit, RFC 6840 section 5.8). That is worth
//! something if no attacker can change the answer on its way here: the name server is on this machine, or
//! the administrator has vouched for the way by `options trust-ad` in resolv.conf, as for the C
//! library. [`SrvVerification`] decides what happens to answers without that mark.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::time::Duration;

use ntp_os_clock::monotonic;
use ntp_time::{Monotonic, NtpDuration};
use ntp_types::source::SrvVerification;
use rustls::crypto::CryptoProvider;
use simple_dns::rdata::RData;
use simple_dns::{CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, TYPE};

/// The service (RFC 8915 section 7.6) and protocol.
const SERVICE: &str = "_ntske._tcp";

const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Number of name servers that are asked, as in resolv.conf(5).
const MAX_NAME_SERVERS: usize = 3;

/// Time for the answer of one name server. The C library waits for 5 s; a name server on the way to
/// an answer continues, and has it when it is asked again.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Number of times that all name servers are asked.
const ROUNDS: usize = 2;

/// Number of hosts that are used. A pool has more than one exchange can try.
const MAX_TARGETS: usize = 16;

/// Length of the longest answer over UDP without an extension (RFC 1035 section 4.2.1).
const UDP_ANSWER: usize = 512;

/// A host with a key-exchange server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its name, without the dot at the end.
    pub host: String,
    /// Its TCP port.
    pub port: u16,
}

/// The records of a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Priority, weight and target of each record.
    records: Vec<(u16, u16, Target)>,
    /// Whether the name server has validated them.
    validated: bool,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SrvError {
    /// No name server answers.
    #[error("no name server answers the query for SRV records of {0}")]
    NoAnswer(String),
    /// The name is not one of DNS.
    #[error("{0} is no domain name")]
    BadName(String),
    /// A record has the target `.`.
    #[error("{0} has no key-exchange server, as its SRV record states")]
    NotAvailable(String),
}

/// The key-exchange servers of a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Services {
    /// The servers in the order in which they are to be tried. Empty if there are none that may be
    /// used: then the name itself is that of the server.
    pub targets: Vec<Target>,
    /// Whether certificates are verified for the name of the target. Otherwise they are for the name
    /// that was looked up.
    pub trusted: bool,
}

/// Looks up the key-exchange servers of `name`.
///
/// # Errors
/// If no name server answers in time, or the service is declared not to exist.
pub fn look_up(
    name: &str,
    verification: SrvVerification,
    provider: &CryptoProvider,
    deadline: Monotonic,
) -> Result<Services, SrvError> {
    let settings = ntp_files::read_text(Path::new(RESOLV_CONF), ntp_files::MAX_TEXT);
    let resolver = ResolvConf::parse(&settings.unwrap_or_default());
    let answer = resolver.ask(name, &mut || random(provider), deadline)?;
    let trusted = answer.validated || verification == SrvVerification::None;
    if !trusted && verification == SrvVerification::Dnssec {
        return Ok(Services::default());
    }
    let targets = answer.in_order(&mut || random(provider));
    if targets.iter().any(|target| target.host.is_empty()) {
        return Err(SrvError::NotAvailable(name.to_owned()));
    }
    Ok(Services { targets, trusted })
}

/// A random number. Zero if the generator fails, as it never does: the port of the query is random,
/// too, and the records that a forger invents are not validated.
fn random(provider: &CryptoProvider) -> u32 {
    let mut octets = [0; 4];
    let _ = provider.secure_random.fill(&mut octets);
    u32::from_ne_bytes(octets)
}

/// Contents of resolv.conf(5).
#[derive(Clone, Debug, PartialEq, Eq)]
struct ResolvConf {
    servers: Vec<SocketAddr>,
    trust_ad: bool,
}

impl ResolvConf {
    fn parse(text: &str) -> Self {
        let mut servers = Vec::new();
        let mut trust_ad = false;
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("nameserver") => servers.extend(words.next().and_then(name_server)),
                Some("options") => trust_ad |= words.any(|word| word == "trust-ad"),
                _ => {}
            }
        }
        servers.truncate(MAX_NAME_SERVERS);
        if servers.is_empty() {
            servers.push((Ipv4Addr::LOCALHOST, 53).into());
        }
        Self { servers, trust_ad }
    }

    fn ask(
        &self,
        name: &str,
        random: &mut dyn FnMut() -> u32,
        deadline: Monotonic,
    ) -> Result<Answer, SrvError> {
        let full = format!("{SERVICE}.{}", name.trim_end_matches('.'));
        let bad_name = || SrvError::BadName(name.to_owned());
        let question = Name::new(&full).map_err(|_| bad_name())?;
        for server in self
            .servers
            .iter()
            .cycle()
            .take(self.servers.len() * ROUNDS)
        {
            let remaining = deadline - monotonic();
            if remaining <= NtpDuration::ZERO {
                break;
            }
            let limit = remaining.to_std().min(ANSWER_TIMEOUT);
            let id = random().to_be_bytes();
            let id = u16::from_be_bytes([id[0], id[1]]);
            let query = query(id, &question).ok_or_else(bad_name)?;
            let Ok(octets) = exchange(*server, &query, limit) else {
                continue;
            };
            if let Some(mut answer) = parse(&octets, id, &question) {
                answer.validated &= self.trust_ad || server.ip().to_canonical().is_loopback();
                return Ok(answer);
            }
        }
        Err(SrvError::NoAnswer(name.to_owned()))
    }
}

/// An address of resolv.conf, which may have an interface.
fn name_server(text: &str) -> Option<SocketAddr> {
    match text.parse::<IpAddr>() {
        Ok(address) => Some((address, 53).into()),
        Err(_) => format!("[{text}]:53").parse().ok(),
    }
}

/// A query with recursion, and with the AD bit: it asks whether the answer is validated (RFC 6840
/// section 5.7).
fn query(id: u16, name: &Name<'_>) -> Option<Vec<u8>> {
    let mut packet = Packet::new_query(id);
    packet.set_flags(PacketFlag::RECURSION_DESIRED | PacketFlag::AUTHENTIC_DATA);
    let kind = QTYPE::TYPE(TYPE::SRV);
    let class = QCLASS::CLASS(CLASS::IN);
    packet
        .questions
        .push(Question::new(name.clone(), kind, class, false));
    packet.build_bytes_vec().ok()
}

/// Sends a query and returns the answer.
fn exchange(server: SocketAddr, query: &[u8], limit: Duration) -> io::Result<Vec<u8>> {
    let local: SocketAddr = if server.is_ipv4() {
        (Ipv4Addr::UNSPECIFIED, 0).into()
    } else {
        (std::net::Ipv6Addr::UNSPECIFIED, 0).into()
    };
    let end = monotonic() + NtpDuration::from(limit);
    let socket = UdpSocket::bind(local)?;
    socket.connect(server)?;
    socket.send(query)?;
    let mut answer = [0; 4096];
    loop {
        let remaining = end - monotonic();
        if remaining <= NtpDuration::ZERO {
            return Err(ErrorKind::TimedOut.into());
        }
        let wait = remaining.to_std().max(Duration::from_millis(1));
        socket.set_read_timeout(Some(wait))?;
        let length = socket.recv(&mut answer)?;
        let answer = answer.get(..length).unwrap_or_default();
        // Another answer than that to this query is not from this name server.
        if answer.first_chunk::<2>() != query.first_chunk::<2>() {
            continue;
        }
        let truncated = Packet::parse(answer).map_or(length >= UDP_ANSWER, |packet| {
            packet.has_flags(PacketFlag::TRUNCATION)
        });
        return if truncated {
            exchange_over_tcp(server, query, wait)
        } else {
            Ok(answer.to_vec())
        };
    }
}

/// The same over TCP, where each message has its length before it.
fn exchange_over_tcp(server: SocketAddr, query: &[u8], limit: Duration) -> io::Result<Vec<u8>> {
    let mut socket = TcpStream::connect_timeout(&server, limit)?;
    socket.set_read_timeout(Some(limit))?;
    socket.set_write_timeout(Some(limit))?;
    let length = u16::try_from(query.len()).map_err(io::Error::other)?;
    socket.write_all(&[&length.to_be_bytes()[..], query].concat())?;
    let mut length = [0; 2];
    socket.read_exact(&mut length)?;
    let mut answer = vec![0; u16::from_be_bytes(length).into()];
    socket.read_exact(&mut answer)?;
    Ok(answer)
}

/// Parses the answer to a question. `None` if it is another one or an error of the name server; an
/// answer without records means that there are none.
fn parse(octets: &[u8], id: u16, question: &Name<'_>) -> Option<Answer> {
    let packet = Packet::parse(octets).ok()?;
    let asked = packet.questions.first()?;
    let same = packet.id() == id
        && packet.has_flags(PacketFlag::RESPONSE)
        && asked
            .qname
            .to_string()
            .eq_ignore_ascii_case(&question.to_string());
    if !same || !matches!(packet.rcode(), RCODE::NoError | RCODE::NameError) {
        return None;
    }
    let mut answer = Answer {
        records: Vec::new(),
        validated: packet.has_flags(PacketFlag::AUTHENTIC_DATA),
    };
    let mut owner = question.to_string().to_ascii_lowercase();
    for record in &packet.answers {
        let own = record.name.to_string().to_ascii_lowercase() == owner;
        match &record.rdata {
            RData::CNAME(alias) if own => owner = alias.0.to_string().to_ascii_lowercase(),
            RData::SRV(record) if own => {
                let host = record.target.to_string();
                let target = Target {
                    host: host.trim_end_matches('.').to_owned(),
                    port: record.port,
                };
                answer
                    .records
                    .push((record.priority, record.weight, target));
            }
            _ => {}
        }
    }
    Some(answer)
}

impl Answer {
    /// The targets in the order of RFC 2782: by priority, and at random among equal ones, in
    /// proportion to the weights.
    fn in_order(self, random: &mut dyn FnMut() -> u32) -> Vec<Target> {
        let mut priorities = BTreeMap::<u16, Vec<(u16, Target)>>::new();
        for (priority, weight, target) in self.records {
            priorities
                .entry(priority)
                .or_default()
                .push((weight, target));
        }
        let mut ordered = Vec::new();
        for mut records in priorities.into_values() {
            // Records without weight are selected first if the random number is zero.
            records.sort_by_key(|(weight, _)| *weight);
            while !records.is_empty() {
                let sum: u32 = records.iter().map(|(weight, _)| u32::from(*weight)).sum();
                let selected = random() % (sum + 1);
                let mut running = 0;
                let position = records.iter().position(|(weight, _)| {
                    running += u32::from(*weight);
                    running >= selected
                });
                ordered.push(records.remove(position.unwrap_or(0)).1);
            }
        }
        ordered.truncate(MAX_TARGETS);
        ordered
    }
}

/// Entry point for fuzzing.
#[cfg(any(test, fuzzing))]
pub mod fuzzing {
    use super::{MAX_TARGETS, Name, parse};

    /// Reads an answer of any octets, under its own number: there must be no panic, and of the
    /// records each must have one place in the order.
    pub fn check(octets: &[u8]) {
        let Some((id, _)) = octets.split_first_chunk() else {
            return;
        };
        let name = Name::new_unchecked("_ntske._tcp.a.example");
        if let Some(answer) = parse(octets, u16::from_be_bytes(*id), &name) {
            let count = answer.records.len().min(MAX_TARGETS);
            let mut random = || u32::MAX;
            assert_eq!(answer.in_order(&mut random).len(), count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    fn target(host: &str, port: u16) -> Target {
        Target {
            host: host.to_owned(),
            port,
        }
    }

    /// An answer to the query for `_ntske._tcp.a.example`; names are compressed.
    fn answer(flags: u16, records: &[(u16, u16, u16, &str)]) -> Vec<u8> {
        let mut octets = vec![0x12, 0x34];
        octets.extend_from_slice(&flags.to_be_bytes());
        for count in [1, records.len() as u16, 0, 0] {
            octets.extend_from_slice(&count.to_be_bytes());
        }
        octets.extend_from_slice(b"\x06_ntske\x04_tcp\x01a\x07example\x00\x00\x21\x00\x01");
        for (priority, weight, port, host) in records {
            octets.extend_from_slice(&[0xc0, 12, 0, 33, 0, 1, 0, 0, 0, 60]);
            let mut data = Vec::new();
            for number in [priority, weight, port] {
                data.extend_from_slice(&number.to_be_bytes());
            }
            for label in host.split('.').filter(|label| !label.is_empty()) {
                data.push(label.len() as u8);
                data.extend_from_slice(label.as_bytes());
            }
            data.push(0);
            octets.extend_from_slice(&(data.len() as u16).to_be_bytes());
            octets.extend_from_slice(&data);
        }
        octets
    }

    fn question() -> Name<'static> {
        Name::new_unchecked("_ntske._tcp.a.example")
    }

    #[test]
    fn records_have_host_port_and_validation() {
        let octets = answer(
            0x81a0,
            &[(1, 0, 4461, "ke.b.example"), (0, 5, 4460, "c.example")],
        );
        let parsed = parse(&octets, 0x1234, &question()).unwrap();
        assert!(parsed.validated);
        let expected = [target("c.example", 4460), target("ke.b.example", 4461)];
        assert_eq!(parsed.in_order(&mut || 0), expected);
        let plain = parse(&answer(0x8180, &[]), 0x1234, &question()).unwrap();
        assert_eq!(plain, Answer::default());
        assert!(parse(&octets, 0x1235, &question()).is_none());
        // SERVFAIL, as for records whose validation fails, is no answer; NXDOMAIN is one.
        assert!(parse(&answer(0x8182, &[]), 0x1234, &question()).is_none());
        assert!(parse(&answer(0x8183, &[]), 0x1234, &question()).is_some());
        for length in 0..octets.len() {
            fuzzing::check(&octets[..length]);
        }
    }

    #[test]
    fn equal_priorities_are_ordered_by_weight_at_random() {
        let records = [(1, 10, "a"), (1, 90, "b"), (0, 0, "first"), (1, 0, "c")];
        let first_of = |number: u32| {
            let records =
                records.map(|(priority, weight, host)| (priority, weight, target(host, 1)));
            let answer = Answer {
                records: records.to_vec(),
                validated: false,
            };
            let ordered = answer.in_order(&mut || number);
            assert_eq!(ordered.len(), 4);
            assert_eq!(ordered[0].host, "first");
            ordered[1].host.clone()
        };
        let count = |host: &str| (0..101).filter(|number| first_of(*number) == host).count();
        assert_eq!((count("a"), count("b"), count("c")), (10, 90, 1));
    }

    #[test]
    fn name_servers_and_trust_are_those_of_resolv_conf() {
        let text = "# nameserver 192.0.2.9\nsearch example\nnameserver 192.0.2.1\n\
                    nameserver 2001:db8::1\noptions edns0 trust-ad\nnameserver bad\n\
                    nameserver 192.0.2.3\nnameserver 192.0.2.4\n";
        let parsed = ResolvConf::parse(text);
        assert!(parsed.trust_ad);
        let servers: Vec<_> = parsed.servers.iter().map(ToString::to_string).collect();
        assert_eq!(
            servers,
            ["192.0.2.1:53", "[2001:db8::1]:53", "192.0.2.3:53"]
        );
        let none = ResolvConf::parse("");
        assert_eq!(none.servers, ["127.0.0.1:53".parse().unwrap()]);
        assert!(!none.trust_ad);
    }

    #[test]
    fn a_truncated_answer_is_requested_over_tcp_and_a_silent_server_is_skipped() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let udp = UdpSocket::bind(address).unwrap();
        let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
        let with_id = |query: &[u8], mut answer: Vec<u8>| {
            answer[..2].copy_from_slice(&query[..2]);
            answer
        };
        thread::spawn(move || {
            let mut query = [0; 512];
            let (_, from) = udp.recv_from(&mut query).unwrap();
            // Somebody else's answer, then a truncated one.
            udp.send_to(&answer(0x81a0, &[]), from).unwrap();
            udp.send_to(&with_id(&query, answer(0x83a0, &[])), from)
                .unwrap();
            let (mut socket, _) = listener.accept().unwrap();
            let mut length = [0; 2];
            socket.read_exact(&mut length).unwrap();
            let mut query = vec![0; u16::from_be_bytes(length).into()];
            socket.read_exact(&mut query).unwrap();
            let reply = with_id(&query, answer(0x81a0, &[(0, 0, 4460, "b.example")]));
            let length = u16::try_from(reply.len()).unwrap().to_be_bytes();
            socket.write_all(&[&length[..], &reply].concat()).unwrap();
        });
        let resolver = ResolvConf {
            servers: vec![silent.local_addr().unwrap(), address],
            trust_ad: false,
        };
        let deadline = monotonic() + NtpDuration::from_seconds(60);
        let found = resolver.ask("a.example.", &mut || 7, deadline).unwrap();
        assert!(found.validated);
        assert_eq!(found.in_order(&mut || 0), [target("b.example", 4460)]);
    }
}
