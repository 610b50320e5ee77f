//! The client's side of a key exchange: one request, and whether the response is an answer to it.
//!
//! A response is taken only if it chooses from what was offered (RFC 8915 sections 4.1.2 and 4.1.5). Warnings are treated as errors: no
//! warning is defined so far, and what is not understood is no ground to stand on (section 4.1.4). Cookies beyond eight, and such as would not
//! fit into a request, are left out.

use core::fmt;

use super::{Agreement, ErrorCode, Export, NTPV4, Single};
use crate::nts::record::{Inbox, MessageWriter, RESPONSE_LIMIT, Record, RecordKind, TooLong};
use crate::nts::{AeadAlgorithm, Cookie};

/// A key exchange as the client sees it.
#[derive(Clone, Debug)]
pub struct ClientExchange {
    /// Best first.
    offered: Vec<AeadAlgorithm>,
    inbox: Inbox,
}

/// What a server gave, without the keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    /// The algorithm and how its keys are exported.
    pub agreement: Agreement,
    /// One to eight.
    pub cookies: Vec<Cookie>,
    /// The NTP server to ask, if it is another host than the one that gave the keys: a name or an address.
    pub server: Option<String>,
    /// Its port, if it is not 123.
    pub port: Option<u16>,
}

/// Why a response is none: the server's fault, or its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It ended in the middle.
    Truncated,
    /// It is longer than anyone needs.
    TooLong,
    /// A record must be understood and is not.
    UnknownCritical(RecordKind),
    /// A record's contents are not what its kind demands.
    Malformed(RecordKind),
    /// A record must be there once and is there again.
    Repeated(RecordKind),
    /// A record must be there and is not.
    Missing(RecordKind),
    /// The server says that it could not do it.
    Error(ErrorCode),
    /// The server warns of something that has no meaning so far.
    Warning(u16),
    /// The server has no keys for NTPv4.
    NoProtocol,
    /// The server knows none of the algorithms.
    NoAlgorithm,
    /// The server chose something else than what was offered.
    NotOffered(RecordKind, u16),
    /// There is not a single cookie that can be used.
    NoCookie,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("the server hung up before the end of its response"),
            Self::TooLong => {
                write!(
                    f,
                    "the server's response is longer than {RESPONSE_LIMIT} octets"
                )
            }
            Self::UnknownCritical(kind) => {
                write!(
                    f,
                    "the server demands that {kind} be understood, which it is not"
                )
            }
            Self::Malformed(kind) => write!(f, "the server sent a malformed {kind}"),
            Self::Repeated(kind) => write!(f, "the server sent more than one {kind}"),
            Self::Missing(kind) => write!(f, "the server sent no {kind}"),
            Self::Error(code) => write!(f, "the server refuses: {code}"),
            Self::Warning(number) => write!(f, "the server sent the unknown warning {number}"),
            Self::NoProtocol => f.write_str("the server gives out no keys for NTPv4"),
            Self::NoAlgorithm => f.write_str("the server knows none of our AEAD algorithms"),
            Self::NotOffered(kind, number) => {
                write!(
                    f,
                    "the server's {kind} chooses {number}, which was not offered"
                )
            }
            Self::NoCookie => f.write_str("the server sent no cookie that can be used"),
        }
    }
}

impl core::error::Error for Fault {}

impl ClientExchange {
    /// An exchange that offers `algorithms`, best first.
    pub fn new(algorithms: &[AeadAlgorithm]) -> Self {
        Self {
            offered: algorithms.to_vec(),
            inbox: Inbox::new(RESPONSE_LIMIT),
        }
    }

    /// What to send.
    pub fn request(&self) -> Vec<u8> {
        let mut message = MessageWriter::default();
        message.critical(RecordKind::NEXT_PROTOCOL, &NTPV4.to_be_bytes());
        let numbers: Vec<u8> = (self.offered.iter())
            .flat_map(|algorithm| algorithm.id().to_be_bytes())
            .collect();
        message.critical(RecordKind::AEAD, &numbers);
        if self.offered.contains(&AeadAlgorithm::Aes128GcmSiv) {
            message.optional(RecordKind::COMPLIANT_GCM_SIV_EXPORT, &[]);
        }
        message.finish()
    }

    /// Takes a piece of the response; gives what was granted once it is complete.
    ///
    /// # Errors
    /// If the response is refused; the exchange is over then.
    pub fn receive(&mut self, piece: &[u8]) -> Result<Option<Granted>, Fault> {
        match self.inbox.push(piece) {
            Ok(true) => self.judge().map(Some),
            Ok(false) => Ok(None),
            Err(TooLong) => Err(Fault::TooLong),
        }
    }

    fn judge(&self) -> Result<Granted, Fault> {
        let mut protocol = Single::new(RecordKind::NEXT_PROTOCOL);
        let mut algorithm = Single::new(RecordKind::AEAD);
        let mut server = Single::new(RecordKind::SERVER);
        let mut port = Single::new(RecordKind::PORT);
        let (mut cookies, mut compliant) = (Vec::new(), false);
        for record in self.inbox.records() {
            let malformed = Fault::Malformed(record.kind);
            match record.kind {
                RecordKind::ERROR => {
                    let code = record.number().ok_or(malformed)?;
                    return Err(Fault::Error(ErrorCode(code)));
                }
                RecordKind::WARNING => {
                    return Err(Fault::Warning(record.number().ok_or(malformed)?));
                }
                RecordKind::NEXT_PROTOCOL => {
                    let chosen = choice(&record).ok_or(malformed)?;
                    protocol.set(chosen).map_err(Fault::Repeated)?;
                }
                RecordKind::AEAD => {
                    let chosen = choice(&record).ok_or(malformed)?;
                    algorithm.set(chosen).map_err(Fault::Repeated)?;
                }
                RecordKind::COOKIE => {
                    let room = Cookie::IN_STOCK - cookies.len();
                    cookies.extend(Cookie::new(record.body).into_iter().take(room));
                }
                RecordKind::SERVER => {
                    let host = host(record.body).ok_or(malformed)?;
                    server.set(host).map_err(Fault::Repeated)?;
                }
                RecordKind::PORT => {
                    let number = record.number().filter(|port| *port != 0).ok_or(malformed)?;
                    port.set(number).map_err(Fault::Repeated)?;
                }
                RecordKind::COMPLIANT_GCM_SIV_EXPORT => compliant = true,
                unknown if record.critical => return Err(Fault::UnknownCritical(unknown)),
                _ => {}
            }
        }
        let protocol = protocol.value.ok_or(Fault::Missing(protocol.kind))?;
        match protocol.ok_or(Fault::NoProtocol)? {
            NTPV4 => {}
            other => return Err(Fault::NotOffered(RecordKind::NEXT_PROTOCOL, other)),
        }
        let algorithm = algorithm.value.ok_or(Fault::Missing(algorithm.kind))?;
        let number = algorithm.ok_or(Fault::NoAlgorithm)?;
        let algorithm = AeadAlgorithm::from_id(number)
            .filter(|algorithm| self.offered.contains(algorithm))
            .ok_or(Fault::NotOffered(RecordKind::AEAD, number))?;
        if cookies.is_empty() {
            return Err(Fault::NoCookie);
        }
        let export = match algorithm {
            AeadAlgorithm::Aes128GcmSiv if !compliant => Export::Unsure,
            _ => Export::Standard,
        };
        Ok(Granted {
            agreement: Agreement { algorithm, export },
            cookies,
            server: server.value,
            port: port.value,
        })
    }
}

/// The one number that a server chooses, or its admission that there is none to choose. More than one is no choice.
fn choice(record: &Record<'_>) -> Option<Option<u16>> {
    if record.body.is_empty() {
        return Some(None);
    }
    record.number().map(Some)
}

/// A name or an address that can go to a resolver and into a log as it is.
fn host(body: &[u8]) -> Option<String> {
    let harmless = |octet: &u8| octet.is_ascii_alphanumeric() || b".-_:".contains(octet);
    let plain = (1..=255).contains(&body.len()) && body.iter().all(harmless);
    plain
        .then(|| str::from_utf8(body).ok().map(str::to_owned))
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use AeadAlgorithm::{Aes128GcmSiv, AesSivCmac256};

    const OFFER: &[AeadAlgorithm] = &[Aes128GcmSiv, AesSivCmac256];

    /// A response of these records, critical or not as a server would have them.
    fn told(records: &[(u16, &[u8])]) -> Result<Granted, Fault> {
        let mut message = MessageWriter::default();
        for (kind, body) in records {
            if *kind & 0x8000 != 0 {
                message.critical(RecordKind(*kind & 0x7fff), body);
            } else {
                message.optional(RecordKind(*kind), body);
            }
        }
        let mut exchange = ClientExchange::new(OFFER);
        exchange
            .receive(&message.finish())
            .map(|granted| granted.expect("the message has an end"))
    }

    const PROTOCOL: (u16, &[u8]) = (0x8001, &[0, 0]);
    const SIV: (u16, &[u8]) = (0x8004, &[0, 15]);
    const GCM: (u16, &[u8]) = (4, &[0, 30]);
    const COOKIE: (u16, &[u8]) = (5, &[7; 100]);

    #[test]
    fn the_request_offers_in_order_and_says_how_keys_are_exported() {
        let request = ClientExchange::new(OFFER).request();
        let expected = [
            0x80, 1, 0, 2, 0, 0, //
            0x80, 4, 0, 4, 0, 30, 0, 15, //
            0x04, 0, 0, 0, //
            0x80, 0, 0, 0,
        ];
        assert_eq!(request, expected);
        let without = ClientExchange::new(&[AesSivCmac256]).request();
        assert_eq!(
            without.len(),
            expected.len() - 2 - 4,
            "one algorithm and record 1024 less"
        );
    }

    #[test]
    fn server_port_and_cookies_arrive() {
        let granted = told(&[
            PROTOCOL,
            SIV,
            COOKIE,
            (5, &[8; 64]),
            (6, b"ntp.example"),
            (0x8007, &[4, 0x56]),
            (99, b"what nobody knows"),
        ])
        .unwrap();
        let cookies: Vec<_> = granted.cookies.iter().map(Cookie::octets).collect();
        assert_eq!(cookies, [&[7; 100][..], &[8; 64]]);
        assert_eq!(granted.server.as_deref(), Some("ntp.example"));
        assert_eq!(granted.port, Some(1110));
        assert_eq!(granted.agreement.algorithm, AesSivCmac256);
    }

    #[test]
    fn whether_the_keys_are_chronys_is_known_from_a_record_only() {
        let export = |records: &[_]| told(records).unwrap().agreement.export;
        assert_eq!(export(&[PROTOCOL, SIV, COOKIE]), Export::Standard);
        assert_eq!(export(&[PROTOCOL, GCM, COOKIE]), Export::Unsure);
        assert_eq!(
            export(&[PROTOCOL, GCM, COOKIE, (1024, &[])]),
            Export::Standard
        );
    }

    #[test]
    fn eight_cookies_are_kept_and_none_that_no_request_could_carry() {
        let long = [1; Cookie::LONGEST + 1];
        let empty: (u16, &[u8]) = (5, &[]);
        assert_eq!(
            told(&[PROTOCOL, SIV, (5, &long), empty]),
            Err(Fault::NoCookie)
        );
        let mut records = vec![PROTOCOL, SIV, empty];
        records.extend([COOKIE; 600]);
        assert_eq!(told(&records).unwrap().cookies.len(), Cookie::IN_STOCK);
    }

    #[test]
    fn a_response_that_is_no_answer_is_refused_by_its_fault() {
        let aead = RecordKind::AEAD;
        let next = RecordKind::NEXT_PROTOCOL;
        for (records, fault) in [
            (&[SIV, COOKIE][..], Fault::Missing(next)),
            (&[PROTOCOL, COOKIE], Fault::Missing(aead)),
            (&[PROTOCOL, SIV], Fault::NoCookie),
            (&[(0x8001, &[][..]), SIV, COOKIE], Fault::NoProtocol),
            (&[PROTOCOL, (0x8004, &[]), COOKIE], Fault::NoAlgorithm),
            (
                &[(0x8001, &[0x80, 1]), SIV, COOKIE],
                Fault::NotOffered(next, 0x8001),
            ),
            (
                &[PROTOCOL, (4, &[0, 17]), COOKIE],
                Fault::NotOffered(aead, 17),
            ),
            (
                &[PROTOCOL, (4, &[0, 15, 0, 30]), COOKIE],
                Fault::Malformed(aead),
            ),
            (&[PROTOCOL, SIV, SIV, COOKIE], Fault::Repeated(aead)),
            (&[PROTOCOL, PROTOCOL, SIV, COOKIE], Fault::Repeated(next)),
            (
                &[PROTOCOL, SIV, COOKIE, (0x8063, &[])],
                Fault::UnknownCritical(RecordKind(0x63)),
            ),
            (&[(0x8002, &[0, 1])], Fault::Error(ErrorCode::BAD_REQUEST)),
            (&[(0x8002, &[1])], Fault::Malformed(RecordKind::ERROR)),
            (
                &[PROTOCOL, SIV, COOKIE, (0x8003, &[0, 9])],
                Fault::Warning(9),
            ),
            (
                &[PROTOCOL, SIV, COOKIE, (7, &[0, 0])],
                Fault::Malformed(RecordKind::PORT),
            ),
            (
                &[PROTOCOL, SIV, COOKIE, (6, b"a b")],
                Fault::Malformed(RecordKind::SERVER),
            ),
            (
                &[PROTOCOL, SIV, COOKIE, (6, b"\x1b[2J")],
                Fault::Malformed(RecordKind::SERVER),
            ),
        ] {
            assert_eq!(told(records), Err(fault), "{records:?}");
        }
    }
}
