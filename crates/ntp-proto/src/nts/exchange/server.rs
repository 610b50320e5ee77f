//! Server side of a key exchange: evaluates the request and creates the response.
//!
//! The server chooses the algorithm that it prefers among those that the client offers. A request
//! that cannot be granted gets a short error response (RFC 8915 section 4.1.3) and is not logged,
//! because anyone can send one.

use super::{Agreement, COOKIES_PER_RESPONSE, ErrorCode, Export, NTPV4, UniqueRecord};
use crate::nts::record::{MessageBuffer, MessageWriter, REQUEST_LIMIT, RecordKind, TooLong};
use crate::nts::{AeadAlgorithm, Cookie};

/// Configuration of the negotiation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerPolicy {
    /// Offered algorithms, in order of preference.
    pub algorithms: Vec<AeadAlgorithm>,
    /// The NTP server to name in the response; `None` if it is this host.
    pub ntp_server: Option<String>,
    /// The NTP port to name in the response; `None` if it is 123.
    pub ntp_port: Option<u16>,
}

/// A key exchange on the server side.
#[derive(Clone, Debug)]
pub struct ServerExchange {
    buffer: MessageBuffer,
}

/// Decision on a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Granted: export the keys, seal them into cookies, send [`Grant::response`].
    Grant(Grant),
    /// Refused.
    Refuse(Refusal),
}

/// A granted request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The algorithm; its keys are exported as the RFC prescribes.
    pub algorithm: AeadAlgorithm,
    /// The client sent record 1024 for AES-128-GCM-SIV, which must be returned.
    compliant: bool,
}

/// A refused request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The response to send.
    pub response: Vec<u8>,
    /// Why it is refused.
    pub reason: RefusalReason,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalReason {
    /// It is malformed or too long.
    BadRequest,
    /// A critical record is unknown.
    UnknownCritical,
    /// It requests no supported protocol.
    NoProtocol,
    /// It offers no supported algorithm.
    NoAlgorithm,
    /// The server has no cookie keys at the moment.
    Internal,
}

/// The offer of a request.
struct Offer {
    ntpv4: bool,
    algorithms: Vec<AeadAlgorithm>,
    compliant: bool,
}

impl Default for ServerExchange {
    fn default() -> Self {
        Self {
            buffer: MessageBuffer::new(REQUEST_LIMIT),
        }
    }
}

impl ServerExchange {
    /// Appends a piece of the request. Returns the decision once the request is complete, or cannot
    /// become complete.
    pub fn receive(&mut self, policy: &ServerPolicy, piece: &[u8]) -> Option<Decision> {
        match self.buffer.push(piece) {
            Ok(true) => Some(match self.evaluate(policy) {
                Ok(grant) => Decision::Grant(grant),
                Err(reason) => Decision::Refuse(reason.into()),
            }),
            Ok(false) => None,
            Err(TooLong) => Some(Decision::Refuse(RefusalReason::BadRequest.into())),
        }
    }

    fn evaluate(&self, policy: &ServerPolicy) -> Result<Grant, RefusalReason> {
        let offer = self.offer()?;
        if !offer.ntpv4 {
            return Err(RefusalReason::NoProtocol);
        }
        let offers = |algorithm: &&AeadAlgorithm| offer.algorithms.contains(algorithm);
        // Without record 1024, a client may export the keys of this algorithm in another way than
        // the RFC prescribes.
        let sure = |algorithm: &&AeadAlgorithm| {
            offer.compliant || **algorithm != AeadAlgorithm::Aes128GcmSiv
        };
        let ours = || policy.algorithms.iter().filter(offers);
        let algorithm = *ours()
            .find(sure)
            .or_else(|| ours().next())
            .ok_or(RefusalReason::NoAlgorithm)?;
        Ok(Grant {
            algorithm,
            compliant: offer.compliant && algorithm == AeadAlgorithm::Aes128GcmSiv,
        })
    }

    fn offer(&self) -> Result<Offer, RefusalReason> {
        let mut protocols = UniqueRecord::new(RecordKind::NEXT_PROTOCOL);
        let mut algorithms = UniqueRecord::new(RecordKind::AEAD);
        let mut compliant = false;
        let bad = |_| RefusalReason::BadRequest;
        for record in self.buffer.records() {
            match record.kind {
                RecordKind::NEXT_PROTOCOL => {
                    let mut offered = record.numbers().ok_or(RefusalReason::BadRequest)?;
                    protocols
                        .set(offered.any(|number| number == NTPV4))
                        .map_err(bad)?;
                }
                RecordKind::AEAD => {
                    let offered = record.numbers().ok_or(RefusalReason::BadRequest)?;
                    let known = offered.filter_map(AeadAlgorithm::from_id).collect();
                    algorithms.set(known).map_err(bad)?;
                }
                RecordKind::COMPLIANT_GCM_SIV_EXPORT => compliant = true,
                // A client may request a server or port; the response has the configured ones.
                RecordKind::SERVER | RecordKind::PORT => {}
                RecordKind::ERROR | RecordKind::WARNING | RecordKind::COOKIE => {
                    return Err(RefusalReason::BadRequest);
                }
                _ if record.critical => return Err(RefusalReason::UnknownCritical),
                _ => {}
            }
        }
        let ntpv4 = protocols.value.ok_or(RefusalReason::BadRequest)?;
        let algorithms = match algorithms.value {
            Some(algorithms) => algorithms,
            // Mandatory for NTPv4 (RFC 8915 section 4.1.5) only.
            None if ntpv4 => return Err(RefusalReason::BadRequest),
            None => Vec::new(),
        };
        Ok(Offer {
            ntpv4,
            algorithms,
            compliant,
        })
    }
}

impl Grant {
    /// The response with these cookies.
    pub fn response(
        &self,
        policy: &ServerPolicy,
        cookies: &[Cookie; COOKIES_PER_RESPONSE],
    ) -> Vec<u8> {
        let mut message = MessageWriter::default();
        message.critical(RecordKind::NEXT_PROTOCOL, &NTPV4.to_be_bytes());
        message.critical(RecordKind::AEAD, &self.algorithm.id().to_be_bytes());
        if self.compliant {
            message.optional(RecordKind::COMPLIANT_GCM_SIV_EXPORT, &[]);
        }
        if let Some(server) = &policy.ntp_server {
            message.critical(RecordKind::SERVER, server.as_bytes());
        }
        if let Some(port) = policy.ntp_port {
            message.critical(RecordKind::PORT, &port.to_be_bytes());
        }
        for cookie in cookies {
            message.optional(RecordKind::COOKIE, cookie.octets());
        }
        message.finish()
    }

    /// The negotiated algorithm; keys are always exported as the RFC prescribes.
    pub const fn agreement(&self) -> Agreement {
        Agreement {
            algorithm: self.algorithm,
            export: Export::Standard,
        }
    }
}

impl From<RefusalReason> for Refusal {
    fn from(reason: RefusalReason) -> Self {
        let mut message = MessageWriter::default();
        let mut error = |code: ErrorCode| {
            message.critical(RecordKind::ERROR, &code.0.to_be_bytes());
        };
        match reason {
            RefusalReason::BadRequest => error(ErrorCode::BAD_REQUEST),
            RefusalReason::UnknownCritical => error(ErrorCode::UNRECOGNISED_CRITICAL),
            RefusalReason::Internal => error(ErrorCode::INTERNAL),
            RefusalReason::NoProtocol => message.critical(RecordKind::NEXT_PROTOCOL, &[]),
            RefusalReason::NoAlgorithm => {
                message.critical(RecordKind::NEXT_PROTOCOL, &NTPV4.to_be_bytes());
                message.critical(RecordKind::AEAD, &[]);
            }
        }
        Self {
            response: message.finish(),
            reason,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use ntp_types::host::Host;

    use super::super::{ClientExchange, ResponseError};
    use super::*;
    use AeadAlgorithm::{Aes128GcmSiv, AesSivCmac256, AesSivCmac512};

    fn policy() -> ServerPolicy {
        ServerPolicy {
            algorithms: vec![Aes128GcmSiv, AesSivCmac256, AesSivCmac512],
            ntp_server: None,
            ntp_port: None,
        }
    }

    fn decide(request: &[u8]) -> Option<Decision> {
        ServerExchange::default().receive(&policy(), request)
    }

    fn refused(records: &[(u16, &[u8])]) -> Option<RefusalReason> {
        let mut message = MessageWriter::default();
        for (kind, body) in records {
            if *kind & 0x8000 != 0 {
                message.critical(RecordKind(*kind & 0x7fff), body);
            } else {
                message.optional(RecordKind(*kind), body);
            }
        }
        match decide(&message.finish()).expect("the message has an end") {
            Decision::Grant(_) => None,
            Decision::Refuse(refusal) => Some(refusal.reason),
        }
    }

    #[test]
    fn the_algorithm_that_the_server_prefers_is_chosen() {
        let policy = ServerPolicy {
            ntp_server: Some("ntp.example".into()),
            ntp_port: Some(1123),
            ..policy()
        };
        for (offer, chosen) in [
            (
                &[AesSivCmac512, AesSivCmac256, Aes128GcmSiv][..],
                Aes128GcmSiv,
            ),
            (&[AesSivCmac512, AesSivCmac256], AesSivCmac256),
            (&[AesSivCmac512], AesSivCmac512),
        ] {
            let mut client = ClientExchange::new(offer, Ipv4Addr::LOCALHOST.into());
            let mut server = ServerExchange::default();
            let Some(Decision::Grant(grant)) = server.receive(&policy, &client.request()) else {
                panic!("{offer:?}");
            };
            let cookies = core::array::from_fn(|index| {
                Cookie::new(&[u8::try_from(index).unwrap(); 100]).unwrap()
            });
            let response = grant.response(&policy, &cookies);
            let granted = client.receive(&response).unwrap().unwrap();
            assert_eq!(granted.agreement, grant.agreement());
            assert_eq!(granted.agreement.algorithm, chosen);
            assert_eq!(granted.cookies, cookies);
            assert_eq!(granted.server, Some(Host::Name("ntp.example".to_owned())));
            assert_eq!(granted.port, Some(1123));
        }
    }

    #[test]
    fn a_client_without_record_1024_gets_another_algorithm_if_possible() {
        let chosen = |algorithms: &[u8]| {
            let mut message = MessageWriter::default();
            message.critical(RecordKind::NEXT_PROTOCOL, &[0, 0]);
            message.critical(RecordKind::AEAD, algorithms);
            match decide(&message.finish()) {
                Some(Decision::Grant(grant)) => grant.algorithm,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(chosen(&[0, 30, 0, 15]), AesSivCmac256);
        assert_eq!(chosen(&[0, 30]), Aes128GcmSiv);
    }

    #[test]
    fn refused_requests_get_the_matching_error_record() {
        let protocol: (u16, &[u8]) = (0x8001, &[0, 0]);
        let siv: (u16, &[u8]) = (0x8004, &[0, 15]);
        for (records, reason) in [
            (&[protocol, siv][..], None),
            (&[protocol, siv, (77, b"an unknown record")], None),
            (&[(0x8001, &[0x80, 1, 0, 0]), (4, &[0, 99, 0, 15])], None),
            (&[protocol, siv, (6, b"ntp.example"), (7, &[0, 123])], None),
            (&[siv], Some(RefusalReason::BadRequest)),
            (&[protocol], Some(RefusalReason::BadRequest)),
            (&[protocol, protocol, siv], Some(RefusalReason::BadRequest)),
            (&[protocol, siv, siv], Some(RefusalReason::BadRequest)),
            (&[(0x8001, &[0]), siv], Some(RefusalReason::BadRequest)),
            (&[protocol, (4, &[15])], Some(RefusalReason::BadRequest)),
            (
                &[protocol, siv, (5, &[1; 8])],
                Some(RefusalReason::BadRequest),
            ),
            (
                &[protocol, siv, (0x8063, &[])],
                Some(RefusalReason::UnknownCritical),
            ),
            (&[(0x8001, &[0x80, 1])], Some(RefusalReason::NoProtocol)),
            (&[(0x8001, &[]), siv], Some(RefusalReason::NoProtocol)),
            (&[protocol, (4, &[])], Some(RefusalReason::NoAlgorithm)),
            (&[protocol, (4, &[0, 99])], Some(RefusalReason::NoAlgorithm)),
        ] {
            assert_eq!(refused(records), reason, "{records:?}");
        }
        let mut endless = ServerExchange::default();
        let Some(Decision::Refuse(refusal)) = endless.receive(&policy(), &[1; REQUEST_LIMIT])
        else {
            panic!("an endless request is refused");
        };
        assert_eq!(refusal.reason, RefusalReason::BadRequest);
    }

    #[test]
    fn the_client_maps_every_refusal_to_an_error() {
        for (reason, error) in [
            (
                RefusalReason::BadRequest,
                ResponseError::Error(ErrorCode::BAD_REQUEST),
            ),
            (
                RefusalReason::UnknownCritical,
                ResponseError::Error(ErrorCode::UNRECOGNISED_CRITICAL),
            ),
            (
                RefusalReason::Internal,
                ResponseError::Error(ErrorCode::INTERNAL),
            ),
            (RefusalReason::NoProtocol, ResponseError::NoProtocol),
            (RefusalReason::NoAlgorithm, ResponseError::NoAlgorithm),
        ] {
            let mut client = ClientExchange::new(&[AesSivCmac256], Ipv4Addr::LOCALHOST.into());
            assert_eq!(client.receive(&Refusal::from(reason).response), Err(error));
        }
    }
}
