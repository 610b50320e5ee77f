//! Client side of a key exchange: creates the request and validates the response.
//!
//! A response is accepted only if it chooses from what was offered (RFC 8915 sections 4.1.2 and
//! 4.1.5). Warnings are treated as errors: none is defined so far, and an unknown warning must not
//! be relied on (section 4.1.4). Cookies beyond eight, and those that do not fit in a request, are
//! dropped.
//!
//! # The NTP server that a response names
//! The client sends datagrams wherever the key-exchange server directs it, so a response is refused
//! that names what cannot be an NTP server for this client: an address that no server has, a
//! loopback address unless the key-exchange server has one too, an interface of this machine
//! (RFC 8915 section 4.1.7 has none), or a privileged port other than 123. On those ports
//! run the services of the named host, such as SSH, DNS and SNMP, which a client must not be made
//! to disturb; an NTP server with the privilege for one of them has the privilege for 123. Other
//! ports are in use for NTS, and a datagram of an exchange that is not answered there is repeated at
//! the poll interval only.

use std::net::IpAddr;

use ntp_types::host::{Host, HostError};

use super::{Agreement, ErrorCode, Export, UniqueRecord};
use crate::nts::record::{
    MessageBuffer, MessageWriter, PREFIX, REQUEST_LIMIT, RESPONSE_LIMIT, Record, RecordKind,
    TooLong,
};
use crate::nts::{AeadAlgorithm, Cookie, NextProtocol};

/// A key exchange on the client side.
#[derive(Clone, Debug)]
pub struct ClientExchange {
    /// In order of preference.
    protocols: Vec<NextProtocol>,
    /// In order of preference.
    offered: Vec<AeadAlgorithm>,
    /// Address of the key-exchange server.
    peer: IpAddr,
    /// Servers that a pool should not name.
    denied: Vec<String>,
    buffer: MessageBuffer,
}

/// A valid response, without the keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    /// The protocol of the packets.
    pub protocol: NextProtocol,
    /// The algorithm and how its keys are exported.
    pub agreement: Agreement,
    /// One to eight cookies.
    pub cookies: Vec<Cookie>,
    /// The NTP server, if it is not the host of the key exchange: a name or an address.
    pub server: Option<Host>,
    /// The same, exactly as the response names it.
    pub server_name: Option<String>,
    /// Port of the NTP server, if it is not 123.
    pub port: Option<u16>,
}

/// Why a response is refused: it is invalid, or the server refuses the request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResponseError {
    /// It is incomplete.
    #[error("the server closed the connection before the end of its response")]
    Truncated,
    /// It is longer than the limit.
    #[error("the server's response is longer than {RESPONSE_LIMIT} octets")]
    TooLong,
    /// A critical record is unknown.
    #[error("the server sent an unknown critical {0}")]
    UnknownCritical(RecordKind),
    /// The contents of a record are invalid for its type.
    #[error("the server sent a malformed {0}")]
    Malformed(RecordKind),
    /// A record that must be unique is repeated.
    #[error("the server sent more than one {0}")]
    Repeated(RecordKind),
    /// A mandatory record is missing.
    #[error("the server sent no {0}")]
    Missing(RecordKind),
    /// The server reports an error.
    #[error("the server replied with an error: {0}")]
    Error(ErrorCode),
    /// The server sent a warning, and none is defined so far.
    #[error("the server sent the unknown warning {0}")]
    Warning(u16),
    /// The server supports none of the offered versions of NTP.
    #[error("the server does not offer keys for this version of NTP")]
    NoProtocol,
    /// The server supports none of the offered algorithms.
    #[error("the server supports none of our AEAD algorithms")]
    NoAlgorithm,
    /// The server chose a value that was not offered.
    #[error("the server chose {1} in its {0}, which was not offered")]
    NotOffered(RecordKind, u16),
    /// There is no usable cookie.
    #[error("the server sent no usable cookie")]
    NoCookie,
    /// The named NTP server cannot be one.
    #[error("the server names {0:?} as NTP server: {1}")]
    UnusableServer(String, HostError),
    /// The server is another machine and names an address of this one.
    #[error("the server names {0} as NTP server: loopback address, which is this machine")]
    LoopbackServer(IpAddr),
    /// The port is that of another service.
    #[error(
        "the server names port {0} for NTP: ports below 1024 other than 123 belong to other services"
    )]
    UnusablePort(u16),
}

impl ResponseError {
    /// Returns whether the response is valid, but grants no keys.
    pub const fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::Error(_) | Self::Warning(_) | Self::NoProtocol | Self::NoAlgorithm
        )
    }
}

/// Whether a key exchange may name `port` as that of the NTP server.
pub const fn is_ntp_port(port: u16) -> bool {
    port == 123 || port >= 1024
}

impl ClientExchange {
    /// An exchange with the key-exchange server at `peer` that offers `algorithms`, in order of
    /// preference.
    pub fn new(algorithms: &[AeadAlgorithm], peer: IpAddr) -> Self {
        Self {
            protocols: vec![NextProtocol::NtpV4],
            offered: algorithms.to_vec(),
            peer,
            denied: Vec::new(),
            buffer: MessageBuffer::new(RESPONSE_LIMIT),
        }
    }

    /// Offers these protocols in place of NTPv4 alone, in order of preference. Of several drafts of
    /// NTPv5 the first is offered.
    #[must_use]
    pub fn with_protocols(self, protocols: &[NextProtocol]) -> Self {
        Self {
            protocols: protocols.to_vec(),
            ..self
        }
    }

    /// Asks a pool for other servers than these, each with exactly the name that the pool gave it.
    /// Those that do not fit into a request are left out.
    pub fn deny(mut self, servers: &[String]) -> Self {
        self.denied = servers.to_vec();
        self
    }

    /// The request to send.
    pub fn request(&self) -> Vec<u8> {
        let mut message = MessageWriter::default();
        let protocols: Vec<u8> = (self.protocols.iter())
            .flat_map(|protocol| protocol.id().to_be_bytes())
            .collect();
        message.critical(RecordKind::NEXT_PROTOCOL, &protocols);
        if let Some(name) = self.protocols.iter().find_map(|protocol| protocol.draft()) {
            message.optional(RecordKind::NTPV5_DRAFT, name.as_bytes());
        }
        let numbers: Vec<u8> = (self.offered.iter())
            .flat_map(|algorithm| algorithm.id().to_be_bytes())
            .collect();
        message.critical(RecordKind::AEAD, &numbers);
        if self.offered.contains(&AeadAlgorithm::Aes128GcmSiv) {
            message.optional(RecordKind::COMPLIANT_GCM_SIV_EXPORT, &[]);
        }
        for server in &self.denied {
            if message.length() + server.len() + 2 * PREFIX <= REQUEST_LIMIT {
                message.optional(RecordKind::SERVER_DENY, server.as_bytes());
            }
        }
        message.finish()
    }

    /// Appends a piece of the response. Returns the result once it is complete.
    ///
    /// # Errors
    ///
    /// [`ResponseError`] if the response is refused; the exchange has failed then.
    pub fn receive(&mut self, piece: &[u8]) -> Result<Option<Granted>, ResponseError> {
        match self.buffer.push(piece) {
            Ok(true) => self.evaluate().map(Some),
            Ok(false) => Ok(None),
            Err(TooLong) => Err(ResponseError::TooLong),
        }
    }

    fn evaluate(&self) -> Result<Granted, ResponseError> {
        let mut protocol = UniqueRecord::new(RecordKind::NEXT_PROTOCOL);
        let mut algorithm = UniqueRecord::new(RecordKind::AEAD);
        let mut server = UniqueRecord::new(RecordKind::SERVER);
        let mut port = UniqueRecord::new(RecordKind::PORT);
        let mut draft = UniqueRecord::new(RecordKind::NTPV5_DRAFT);
        let (mut cookies, mut compliant) = (Vec::new(), false);
        for record in self.buffer.records() {
            let malformed = ResponseError::Malformed(record.kind);
            match record.kind {
                RecordKind::ERROR | RecordKind::WARNING => return Err(refusal(&record)),
                RecordKind::NEXT_PROTOCOL => {
                    let chosen = choice(&record).ok_or(malformed)?;
                    protocol.set(chosen).map_err(ResponseError::Repeated)?;
                }
                RecordKind::AEAD => {
                    let chosen = choice(&record).ok_or(malformed)?;
                    algorithm.set(chosen).map_err(ResponseError::Repeated)?;
                }
                RecordKind::COOKIE => {
                    let room = Cookie::MAX_STORED - cookies.len();
                    cookies.extend(Cookie::new(record.body).into_iter().take(room));
                }
                RecordKind::SERVER => {
                    let text = str::from_utf8(record.body).map_err(|_| malformed)?;
                    let host = self.ntp_server(text)?;
                    server
                        .set((host, text.to_owned()))
                        .map_err(ResponseError::Repeated)?;
                }
                RecordKind::PORT => {
                    let number = record.number().ok_or(malformed)?;
                    if !is_ntp_port(number) {
                        return Err(ResponseError::UnusablePort(number));
                    }
                    port.set(number).map_err(ResponseError::Repeated)?;
                }
                RecordKind::COMPLIANT_GCM_SIV_EXPORT => compliant = true,
                RecordKind::NTPV5_DRAFT if !record.critical => {
                    draft.set(record.body).map_err(ResponseError::Repeated)?;
                }
                // Only a pool gets these.
                RecordKind::SUPPORTED_PROTOCOLS
                | RecordKind::SUPPORTED_ALGORITHMS
                | RecordKind::FIXED_KEY
                | RecordKind::SERVER_DENY => return Err(malformed),
                unknown if record.critical => return Err(ResponseError::UnknownCritical(unknown)),
                _ => {}
            }
        }
        let protocol = self.chosen_protocol(&protocol, draft.value)?;
        let algorithm = self.chosen_algorithm(&algorithm)?;
        if cookies.is_empty() {
            return Err(ResponseError::NoCookie);
        }
        let export = match algorithm {
            AeadAlgorithm::Aes128GcmSiv if !compliant => Export::Ambiguous,
            _ => Export::Standard,
        };
        let (server, server_name) = server.value.unzip();
        Ok(Granted {
            protocol,
            agreement: Agreement { algorithm, export },
            cookies,
            server,
            server_name,
            port: port.value,
        })
    }

    /// Checks that the server chose one of the offered protocols; `draft` is the draft of NTPv5 that
    /// it names.
    fn chosen_protocol(
        &self,
        protocol: &UniqueRecord<Option<u16>>,
        draft: Option<&[u8]>,
    ) -> Result<NextProtocol, ResponseError> {
        let missing = ResponseError::Missing(protocol.kind);
        let number = protocol.value.ok_or(missing)?;
        let number = number.ok_or(ResponseError::NoProtocol)?;
        let mut offered = self.protocols.iter().copied();
        let chosen = offered
            .find(|protocol| protocol.id() == number)
            .ok_or(ResponseError::NotOffered(protocol.kind, number))?;
        match (chosen.draft(), draft) {
            (Some(ours), Some(theirs)) if ours.as_bytes() != theirs => {
                Err(ResponseError::Malformed(RecordKind::NTPV5_DRAFT))
            }
            _ => Ok(chosen),
        }
    }

    /// Checks that the server chose one of the offered algorithms.
    fn chosen_algorithm(
        &self,
        algorithm: &UniqueRecord<Option<u16>>,
    ) -> Result<AeadAlgorithm, ResponseError> {
        let missing = ResponseError::Missing(algorithm.kind);
        let number = algorithm.value.ok_or(missing)?;
        let number = number.ok_or(ResponseError::NoAlgorithm)?;
        AeadAlgorithm::from_id(number)
            .filter(|algorithm| self.offered.contains(algorithm))
            .ok_or(ResponseError::NotOffered(RecordKind::AEAD, number))
    }

    /// Checks the NTP server that the response names.
    fn ntp_server(&self, text: &str) -> Result<Host, ResponseError> {
        let unusable = |error| ResponseError::UnusableServer(text.to_owned(), error);
        if text.contains('%') {
            return Err(unusable(HostError::UnexpectedInterface));
        }
        let host = Host::parse(text).map_err(unusable)?;
        match host {
            Host::Address(address) if address.is_loopback() && !self.peer.is_loopback() => {
                Err(ResponseError::LoopbackServer(address))
            }
            host => Ok(host),
        }
    }
}

/// The error or warning with which a server refuses.
fn refusal(record: &Record<'_>) -> ResponseError {
    match record.number() {
        Some(code) if record.kind == RecordKind::ERROR => ResponseError::Error(ErrorCode(code)),
        Some(code) => ResponseError::Warning(code),
        None => ResponseError::Malformed(record.kind),
    }
}

/// The number that a server chose, or `Some(None)` if it chose none. `None` if the record is
/// invalid.
fn choice(record: &Record<'_>) -> Option<Option<u16>> {
    if record.body.is_empty() {
        return Some(None);
    }
    record.number().map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::v5::draft;
    use AeadAlgorithm::{Aes128GcmSiv, AesSivCmac256};

    const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const OFFER: &[AeadAlgorithm] = &[Aes128GcmSiv, AesSivCmac256];

    /// A message of these records; the highest bit of a type is the critical bit.
    fn message(records: &[(u16, &[u8])]) -> Vec<u8> {
        let mut message = MessageWriter::default();
        for (kind, body) in records {
            if *kind & 0x8000 != 0 {
                message.critical(RecordKind(*kind & 0x7fff), body);
            } else {
                message.optional(RecordKind(*kind), body);
            }
        }
        message.finish()
    }

    /// Parses a response of these records.
    fn receive(records: &[(u16, &[u8])]) -> Result<Granted, ResponseError> {
        let mut exchange = ClientExchange::new(OFFER, PEER);
        exchange
            .receive(&message(records))
            .map(|granted| granted.expect("the message has an end"))
    }

    const PROTOCOL: (u16, &[u8]) = (0x8001, &[0, 0]);
    const SIV: (u16, &[u8]) = (0x8004, &[0, 15]);
    const GCM: (u16, &[u8]) = (4, &[0, 30]);
    const COOKIE: (u16, &[u8]) = (5, &[7; 100]);

    #[test]
    fn the_request_has_algorithms_in_order_and_record_1024() {
        let request = ClientExchange::new(OFFER, PEER).request();
        let expected = [
            0x80, 1, 0, 2, 0, 0, //
            0x80, 4, 0, 4, 0, 30, 0, 15, //
            0x04, 0, 0, 0, //
            0x80, 0, 0, 0,
        ];
        assert_eq!(request, expected);
        let without = ClientExchange::new(&[AesSivCmac256], PEER).request();
        assert_eq!(
            without.len(),
            expected.len() - 2 - 4,
            "one algorithm and record 1024 less"
        );
    }

    /// A client that offers NTPv5 and NTPv4, and what it makes of these records.
    fn receive_for_5(records: &[(u16, &[u8])]) -> Result<NextProtocol, ResponseError> {
        let offered = [NextProtocol::NtpV5(draft::NAMES[0]), NextProtocol::NtpV4];
        let mut exchange = ClientExchange::new(OFFER, PEER).with_protocols(&offered);
        let granted = exchange.receive(&message(records))?;
        Ok(granted.expect("the message has an end").protocol)
    }

    #[test]
    fn version_5_is_offered_with_its_draft_and_the_server_chooses() {
        let name = draft::NAMES[0];
        let offered = [NextProtocol::NtpV5(name), NextProtocol::NtpV4];
        let exchange = ClientExchange::new(&[AesSivCmac256], PEER).with_protocols(&offered);
        let expected = [
            &[0x80, 1, 0, 4, 0x80, 1, 0, 0][..],
            &[0x40, 1, 0, name.len() as u8],
            name.as_bytes(),
            &[0x80, 4, 0, 2, 0, 15, 0x80, 0, 0, 0],
        ];
        assert_eq!(exchange.request(), expected.concat());

        let version_5: (u16, &[u8]) = (0x8001, &[0x80, 1]);
        let same: (u16, &[u8]) = (0x4001, name.as_bytes());
        let other: (u16, &[u8]) = (0x4001, draft::NAMES[1].as_bytes());
        let accepted = Ok(NextProtocol::NtpV5(name));
        assert_eq!(receive_for_5(&[version_5, same, SIV, COOKIE]), accepted);
        assert_eq!(receive_for_5(&[version_5, SIV, COOKIE]), accepted);
        assert_eq!(
            receive_for_5(&[PROTOCOL, SIV, COOKIE]),
            Ok(NextProtocol::NtpV4)
        );
        let malformed = Err(ResponseError::Malformed(RecordKind::NTPV5_DRAFT));
        assert_eq!(receive_for_5(&[version_5, other, SIV, COOKIE]), malformed);
        // The record of an old draft of pools has the same number.
        let critical: (u16, &[u8]) = (0xc001, &[0, 15]);
        let unknown = Err(ResponseError::UnknownCritical(RecordKind(0x4001)));
        assert_eq!(receive_for_5(&[version_5, critical, SIV, COOKIE]), unknown);
    }

    #[test]
    fn a_request_denies_servers_by_their_exact_names_as_far_as_they_fit() {
        let plain = ClientExchange::new(&[AesSivCmac256], PEER);
        let deny = |names: &[String]| plain.clone().deny(names).request();
        let names = ["b.example".to_owned(), "2001:DB8::1".to_owned()];
        let expected = [
            &plain.request()[..12],
            b"\x00\x0d\x00\x09b.example\x00\x0d\x00\x0b2001:DB8::1\x80\x00\x00\x00",
        ];
        assert_eq!(deny(&names), expected.concat());
        let many: Vec<_> = (0..100).map(|number| format!("{number:060}")).collect();
        let request = deny(&many);
        assert!((REQUEST_LIMIT - 64..=REQUEST_LIMIT).contains(&request.len()));
        let granted = receive(&[PROTOCOL, SIV, COOKIE, (6, b"2001:DB8::1")]).unwrap();
        assert_eq!(granted.server_name.as_deref(), Some("2001:DB8::1"));
    }

    #[test]
    fn server_port_and_cookies_are_read_from_the_response() {
        let granted = receive(&[
            PROTOCOL,
            SIV,
            COOKIE,
            (5, &[8; 64]),
            (6, b"ntp.example"),
            (0x8007, &[4, 0x56]),
            (99, b"an unknown record"),
        ])
        .unwrap();
        let cookies: Vec<_> = granted.cookies.iter().map(Cookie::octets).collect();
        assert_eq!(cookies, [&[7; 100][..], &[8; 64]]);
        assert_eq!(granted.server, Some(Host::Name("ntp.example".to_owned())));
        assert_eq!(granted.port, Some(1110));
        assert_eq!(granted.agreement.algorithm, AesSivCmac256);
    }

    #[test]
    fn key_export_is_ambiguous_without_record_1024() {
        let export = |records: &[_]| receive(records).unwrap().agreement.export;
        assert_eq!(export(&[PROTOCOL, SIV, COOKIE]), Export::Standard);
        assert_eq!(export(&[PROTOCOL, GCM, COOKIE]), Export::Ambiguous);
        assert_eq!(
            export(&[PROTOCOL, GCM, COOKIE, (1024, &[])]),
            Export::Standard
        );
    }

    #[test]
    fn at_most_eight_cookies_of_valid_length_are_kept() {
        let long = [1; Cookie::MAX_LENGTH + 1];
        let empty: (u16, &[u8]) = (5, &[]);
        assert_eq!(
            receive(&[PROTOCOL, SIV, (5, &long), empty]),
            Err(ResponseError::NoCookie)
        );
        let mut records = vec![PROTOCOL, SIV, empty];
        records.extend([COOKIE; 600]);
        assert_eq!(receive(&records).unwrap().cookies.len(), Cookie::MAX_STORED);
    }

    #[test]
    fn an_invalid_response_is_refused_with_its_error() {
        let aead = RecordKind::AEAD;
        let next = RecordKind::NEXT_PROTOCOL;
        for (records, error) in [
            (&[SIV, COOKIE][..], ResponseError::Missing(next)),
            (&[PROTOCOL, COOKIE], ResponseError::Missing(aead)),
            (&[PROTOCOL, SIV], ResponseError::NoCookie),
            (&[(0x8001, &[][..]), SIV, COOKIE], ResponseError::NoProtocol),
            (
                &[PROTOCOL, (0x8004, &[]), COOKIE],
                ResponseError::NoAlgorithm,
            ),
            (
                &[(0x8001, &[0x80, 1]), SIV, COOKIE],
                ResponseError::NotOffered(next, 0x8001),
            ),
            (
                &[PROTOCOL, (4, &[0, 17]), COOKIE],
                ResponseError::NotOffered(aead, 17),
            ),
            (
                &[PROTOCOL, (4, &[0, 15, 0, 30]), COOKIE],
                ResponseError::Malformed(aead),
            ),
            (&[PROTOCOL, SIV, SIV, COOKIE], ResponseError::Repeated(aead)),
            (
                &[PROTOCOL, PROTOCOL, SIV, COOKIE],
                ResponseError::Repeated(next),
            ),
            (
                &[PROTOCOL, SIV, COOKIE, (0x8063, &[])],
                ResponseError::UnknownCritical(RecordKind(0x63)),
            ),
            (
                &[(0x8002, &[0, 1])],
                ResponseError::Error(ErrorCode::BAD_REQUEST),
            ),
            (
                &[(0x8002, &[1])],
                ResponseError::Malformed(RecordKind::ERROR),
            ),
            (
                &[PROTOCOL, SIV, COOKIE, (0x8003, &[0, 9])],
                ResponseError::Warning(9),
            ),
            (
                &[PROTOCOL, SIV, COOKIE, (7, &[0])],
                ResponseError::Malformed(RecordKind::PORT),
            ),
            (
                &[PROTOCOL, SIV, COOKIE, (6, b"\xff\xfe")],
                ResponseError::Malformed(RecordKind::SERVER),
            ),
        ] {
            assert_eq!(receive(records), Err(error), "{records:?}");
        }
    }

    #[test]
    fn a_server_that_no_client_can_use_is_refused() {
        for (server, error) in [
            ("", HostError::Empty),
            ("a b", HostError::Character(' ')),
            ("\x1b[2J", HostError::Character('\x1b')),
            ("0.0.0.0", HostError::Unspecified),
            ("::", HostError::Unspecified),
            ("::ffff:0.0.0.0", HostError::Unspecified),
            ("224.0.1.1", HostError::Multicast),
            ("ff02::101", HostError::Multicast),
            ("255.255.255.255", HostError::Broadcast),
            ("192.0.2.300", HostError::Ipv4),
            ("fe80::1", HostError::MissingInterface),
            ("fe80::1%eth0", HostError::UnexpectedInterface),
        ] {
            let records = [PROTOCOL, SIV, COOKIE, (6, server.as_bytes())];
            let error = ResponseError::UnusableServer(server.to_owned(), error);
            assert!(!error.to_string().contains('\x1b'));
            assert_eq!(receive(&records), Err(error));
        }
        for port in [0, 1, 22, 53, 122, 124, 161, 1023] {
            let number = u16::to_be_bytes(port);
            let error = ResponseError::UnusablePort(port);
            let refused = receive(&[PROTOCOL, SIV, COOKIE, (7, &number)]);
            assert_eq!(refused, Err(error));
        }
        for port in [123, 1024, 4123, 65_535] {
            let number = u16::to_be_bytes(port);
            let granted = receive(&[PROTOCOL, SIV, COOKIE, (7, &number)]).unwrap();
            assert_eq!(granted.port, Some(port));
        }
    }

    #[test]
    fn only_a_server_on_this_machine_may_name_a_loopback_address() {
        let mut message = MessageWriter::default();
        for (kind, body) in [PROTOCOL, SIV, COOKIE, (6, b"127.0.0.1")] {
            message.optional(RecordKind(kind & 0x7fff), body);
        }
        let message = message.finish();
        let from = |peer: &str| {
            let mut exchange = ClientExchange::new(OFFER, peer.parse().unwrap());
            exchange.receive(&message).map(|granted| granted.is_some())
        };
        let loopback = "127.0.0.1".parse().unwrap();
        let refused = Err(ResponseError::LoopbackServer(loopback));
        assert_eq!(from("192.0.2.1"), refused);
        assert_eq!(from("127.0.0.2"), Ok(true));
        assert_eq!(from("::1"), Ok(true));
    }
}
