//! The server's side of a key exchange: what a request asks for, and what it gets.
//!
//! The server chooses the algorithm by its own preference among what the client offers. A request that cannot be granted is
//! answered all the same (RFC 8915 section 4.1.3), in a few octets and without a word in any log: strangers write requests.

use super::{Agreement, COOKIES, ErrorCode, Export, NTPV4, Single};
use crate::nts::record::{Inbox, MessageWriter, REQUEST_LIMIT, RecordKind, TooLong};
use crate::nts::{AeadAlgorithm, Cookie};

/// What the operator decided about key exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerPolicy {
    /// Algorithms that are given out, best first.
    pub algorithms: Vec<AeadAlgorithm>,
    /// The NTP server that clients are told; nothing if it is this host.
    pub ntp_server: Option<String>,
    /// The port that clients are told; nothing if it is 123.
    pub ntp_port: Option<u16>,
}

/// A key exchange as the server sees it.
#[derive(Clone, Debug)]
pub struct ServerExchange {
    inbox: Inbox,
}

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It gets keys: export them, seal them into cookies, send [`Grant::response`].
    Grant(Grant),
    /// It gets none.
    Refuse(Refusal),
}

/// What was agreed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The algorithm; its keys are exported as the RFC says.
    pub algorithm: AeadAlgorithm,
    /// The client said that it exports keys for AES-128-GCM-SIV as the RFC says, and waits for us to say so too.
    compliant: bool,
}

/// A request without keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What to send.
    pub response: Vec<u8>,
    /// Why.
    pub why: WhyRefused,
}

/// Why a request gets no keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhyRefused {
    /// It is not what RFC 8915 calls a request, or it is too long.
    BadRequest,
    /// It demands that something be understood which is not.
    UnknownCritical,
    /// It asks for no protocol that we speak.
    NoProtocol,
    /// It offers no algorithm that we know.
    NoAlgorithm,
    /// The server has no keys to give at the moment.
    Internal,
}

/// What a request offers.
struct Offer {
    ntpv4: bool,
    algorithms: Vec<AeadAlgorithm>,
    compliant: bool,
}

impl Default for ServerExchange {
    fn default() -> Self {
        Self {
            inbox: Inbox::new(REQUEST_LIMIT),
        }
    }
}

impl ServerExchange {
    /// Takes a piece of the request; says what becomes of it once it is complete, or cannot become complete.
    pub fn receive(&mut self, policy: &ServerPolicy, piece: &[u8]) -> Option<Decision> {
        match self.inbox.push(piece) {
            Ok(true) => Some(match self.judge(policy) {
                Ok(grant) => Decision::Grant(grant),
                Err(why) => Decision::Refuse(why.into()),
            }),
            Ok(false) => None,
            Err(TooLong) => Some(Decision::Refuse(WhyRefused::BadRequest.into())),
        }
    }

    fn judge(&self, policy: &ServerPolicy) -> Result<Grant, WhyRefused> {
        let offer = self.offer()?;
        if !offer.ntpv4 {
            return Err(WhyRefused::NoProtocol);
        }
        let offers = |algorithm: &&AeadAlgorithm| offer.algorithms.contains(algorithm);
        // A client that does not say how it exports keys for it may be one that does not do as the RFC says.
        let sure = |algorithm: &&AeadAlgorithm| {
            offer.compliant || **algorithm != AeadAlgorithm::Aes128GcmSiv
        };
        let ours = || policy.algorithms.iter().filter(offers);
        let algorithm = *ours()
            .find(sure)
            .or_else(|| ours().next())
            .ok_or(WhyRefused::NoAlgorithm)?;
        Ok(Grant {
            algorithm,
            compliant: offer.compliant && algorithm == AeadAlgorithm::Aes128GcmSiv,
        })
    }

    fn offer(&self) -> Result<Offer, WhyRefused> {
        let mut protocols = Single::new(RecordKind::NEXT_PROTOCOL);
        let mut algorithms = Single::new(RecordKind::AEAD);
        let mut compliant = false;
        let bad = |_| WhyRefused::BadRequest;
        for record in self.inbox.records() {
            match record.kind {
                RecordKind::NEXT_PROTOCOL => {
                    let mut offered = record.numbers().ok_or(WhyRefused::BadRequest)?;
                    protocols
                        .set(offered.any(|number| number == NTPV4))
                        .map_err(bad)?;
                }
                RecordKind::AEAD => {
                    let offered = record.numbers().ok_or(WhyRefused::BadRequest)?;
                    let known = offered.filter_map(AeadAlgorithm::from_id).collect();
                    algorithms.set(known).map_err(bad)?;
                }
                RecordKind::COMPLIANT_GCM_SIV_EXPORT => compliant = true,
                // A client may wish for a certain server or port; it is told the configured ones.
                RecordKind::SERVER | RecordKind::PORT => {}
                RecordKind::ERROR | RecordKind::WARNING | RecordKind::COOKIE => {
                    return Err(WhyRefused::BadRequest);
                }
                _ if record.critical => return Err(WhyRefused::UnknownCritical),
                _ => {}
            }
        }
        let ntpv4 = protocols.value.ok_or(WhyRefused::BadRequest)?;
        let algorithms = match algorithms.value {
            Some(algorithms) => algorithms,
            // Required for NTPv4 (RFC 8915 section 4.1.5), not for what we do not know.
            None if ntpv4 => return Err(WhyRefused::BadRequest),
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
    /// The response with these cookies, of which there are eight.
    pub fn response(&self, policy: &ServerPolicy, cookies: &[Cookie; COOKIES]) -> Vec<u8> {
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

    /// How the keys are exported: always as the RFC says.
    pub const fn agreement(&self) -> Agreement {
        Agreement {
            algorithm: self.algorithm,
            export: Export::Standard,
        }
    }
}

impl From<WhyRefused> for Refusal {
    fn from(why: WhyRefused) -> Self {
        let mut message = MessageWriter::default();
        let mut error = |code: ErrorCode| {
            message.critical(RecordKind::ERROR, &code.0.to_be_bytes());
        };
        match why {
            WhyRefused::BadRequest => error(ErrorCode::BAD_REQUEST),
            WhyRefused::UnknownCritical => error(ErrorCode::UNRECOGNISED_CRITICAL),
            WhyRefused::Internal => error(ErrorCode::INTERNAL),
            WhyRefused::NoProtocol => message.critical(RecordKind::NEXT_PROTOCOL, &[]),
            WhyRefused::NoAlgorithm => {
                message.critical(RecordKind::NEXT_PROTOCOL, &NTPV4.to_be_bytes());
                message.critical(RecordKind::AEAD, &[]);
            }
        }
        Self {
            response: message.finish(),
            why,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ClientExchange, Fault};
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

    fn refused(records: &[(u16, &[u8])]) -> Option<WhyRefused> {
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
            Decision::Refuse(refusal) => Some(refusal.why),
        }
    }

    #[test]
    fn what_the_server_prefers_is_chosen_and_the_client_understands_the_response() {
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
            let mut client = ClientExchange::new(offer);
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
            assert_eq!(granted.server.as_deref(), Some("ntp.example"));
            assert_eq!(granted.port, Some(1123));
        }
    }

    #[test]
    fn a_client_that_may_export_as_chrony_did_gets_another_algorithm_if_it_can() {
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
    fn what_cannot_be_granted_is_answered_by_its_reason() {
        let protocol: (u16, &[u8]) = (0x8001, &[0, 0]);
        let siv: (u16, &[u8]) = (0x8004, &[0, 15]);
        for (records, why) in [
            (&[protocol, siv][..], None),
            (&[protocol, siv, (77, b"what nobody knows")], None),
            (&[(0x8001, &[0x80, 1, 0, 0]), (4, &[0, 99, 0, 15])], None),
            (&[protocol, siv, (6, b"ntp.example"), (7, &[0, 123])], None),
            (&[siv], Some(WhyRefused::BadRequest)),
            (&[protocol], Some(WhyRefused::BadRequest)),
            (&[protocol, protocol, siv], Some(WhyRefused::BadRequest)),
            (&[protocol, siv, siv], Some(WhyRefused::BadRequest)),
            (&[(0x8001, &[0]), siv], Some(WhyRefused::BadRequest)),
            (&[protocol, (4, &[15])], Some(WhyRefused::BadRequest)),
            (&[protocol, siv, (5, &[1; 8])], Some(WhyRefused::BadRequest)),
            (
                &[protocol, siv, (0x8063, &[])],
                Some(WhyRefused::UnknownCritical),
            ),
            (&[(0x8001, &[0x80, 1])], Some(WhyRefused::NoProtocol)),
            (&[(0x8001, &[]), siv], Some(WhyRefused::NoProtocol)),
            (&[protocol, (4, &[])], Some(WhyRefused::NoAlgorithm)),
            (&[protocol, (4, &[0, 99])], Some(WhyRefused::NoAlgorithm)),
        ] {
            assert_eq!(refused(records), why, "{records:?}");
        }
        let mut endless = ServerExchange::default();
        let Some(Decision::Refuse(refusal)) = endless.receive(&policy(), &[1; REQUEST_LIMIT])
        else {
            panic!("an endless request is refused");
        };
        assert_eq!(refusal.why, WhyRefused::BadRequest);
    }

    #[test]
    fn a_client_understands_every_refusal() {
        for (why, fault) in [
            (WhyRefused::BadRequest, Fault::Error(ErrorCode::BAD_REQUEST)),
            (
                WhyRefused::UnknownCritical,
                Fault::Error(ErrorCode::UNRECOGNISED_CRITICAL),
            ),
            (WhyRefused::Internal, Fault::Error(ErrorCode::INTERNAL)),
            (WhyRefused::NoProtocol, Fault::NoProtocol),
            (WhyRefused::NoAlgorithm, Fault::NoAlgorithm),
        ] {
            let mut client = ClientExchange::new(&[AesSivCmac256]);
            assert_eq!(client.receive(&Refusal::from(why).response), Err(fault));
        }
    }
}
