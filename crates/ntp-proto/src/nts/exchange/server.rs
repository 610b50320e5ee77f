//! Server side of a key exchange: evaluates the request and creates the response.
//!
//! The server chooses the algorithm that it prefers among those that the client offers. A request
//! that cannot be granted gets a short error response (RFC 8915 section 4.1.3) and is not logged,
//! because anyone can send one.

use super::pool::{Capabilities, PoolRecords, PoolToken};
use super::{Agreement, COOKIES_PER_RESPONSE, ErrorCode, Export, UniqueRecord};
use crate::nts::record::{MessageBuffer, MessageWriter, REQUEST_LIMIT, RecordKind, TooLong};
use crate::nts::{AeadAlgorithm, Cookie, SessionKeys};
use crate::wire::v5::draft;

/// Configuration of the negotiation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerPolicy {
    /// Offered next protocols (RFC 8915 section 7.7). The first one that a client offers is chosen.
    pub protocols: Vec<u16>,
    /// Offered algorithms, in order of preference.
    pub algorithms: Vec<AeadAlgorithm>,
    /// The NTP server to name in the response; `None` if it is this host.
    pub ntp_server: Option<String>,
    /// The NTP port to name in the response; `None` if it is 123.
    pub ntp_port: Option<u16>,
    /// Tokens of pools that may request cookies for the keys of their clients.
    pub pool_tokens: Vec<PoolToken>,
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
    /// A pool asks what this server supports: send [`Capabilities::response`].
    Capabilities(Capabilities),
    /// Refused.
    Refuse(Refusal),
}

/// A granted request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The next protocol.
    pub protocol: u16,
    /// The algorithm; its keys are exported as the RFC prescribes.
    pub algorithm: AeadAlgorithm,
    /// The keys of a pool's client, which replace the exported ones.
    pub fixed_keys: Option<SessionKeys>,
    /// Whether a pool asks to keep the connection open.
    pub keep_alive: bool,
    /// The client sent record 1024 for AES-128-GCM-SIV, which must be returned.
    compliant: bool,
    /// Name of the draft of NTPv5, if that is the protocol.
    draft: Option<&'static str>,
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
    /// It offers no supported algorithm for this protocol.
    NoAlgorithm(u16),
    /// The server has no cookie keys at the moment.
    Internal,
}

/// Records of a request by which a session is negotiated.
struct Negotiation {
    protocols: Option<Vec<u16>>,
    algorithms: Option<Vec<u16>>,
    compliant: bool,
    draft: Option<StatedDraft>,
}

/// The offer of a request.
struct Offer {
    /// Numbers of protocols, in the order of the client.
    protocols: Vec<u16>,
    /// Numbers of algorithms.
    algorithms: Vec<u16>,
    compliant: bool,
    /// Name of the client's draft of NTPv5, if it states one.
    draft: Option<StatedDraft>,
}

/// The draft of NTPv5 that a client states: its name, or `None` if we do not support it.
type StatedDraft = Option<&'static str>;

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
            Ok(true) => {
                let decision = self.evaluate(policy);
                Some(decision.unwrap_or_else(|reason| Decision::Refuse(reason.into())))
            }
            Ok(false) => None,
            Err(TooLong) => Some(Decision::Refuse(RefusalReason::BadRequest.into())),
        }
    }

    /// Number of octets at the end of the piece that completed the request that follow it: the
    /// beginning of a pool's next request.
    pub const fn rest(&self) -> usize {
        self.buffer.rest()
    }

    fn evaluate(&self, policy: &ServerPolicy) -> Result<Decision, RefusalReason> {
        let pool = PoolRecords::read(&self.buffer, policy)?;
        let records = self.negotiation(pool.is_some())?;
        let Some(pool) = pool else {
            let grant = negotiate(&records.offer(policy)?, policy)?;
            return Ok(Decision::Grant(grant));
        };
        if let Some(question) = pool.capabilities() {
            // It stands alone.
            return if records.is_empty() && !pool.has_fixed_key() {
                Ok(Decision::Capabilities(question))
            } else {
                Err(RefusalReason::BadRequest)
            };
        }
        let offer = records.offer(policy)?;
        if offer.protocols.len() != 1 || offer.algorithms.len() != 1 {
            return Err(RefusalReason::BadRequest);
        }
        let grant = negotiate(&offer, policy)?;
        Ok(Decision::Grant(Grant {
            fixed_keys: Some(pool.fixed_keys(grant.algorithm)?),
            keep_alive: pool.keep_alive,
            // The derivation of the keys is a matter of the pool and its client.
            compliant: false,
            ..grant
        }))
    }

    /// Reads the records of the negotiation, and checks the others. `of_pool` is whether an
    /// authenticated pool sent the request.
    fn negotiation(&self, of_pool: bool) -> Result<Negotiation, RefusalReason> {
        let mut protocols = UniqueRecord::new(RecordKind::NEXT_PROTOCOL);
        let mut algorithms = UniqueRecord::new(RecordKind::AEAD);
        let mut draft = UniqueRecord::new(RecordKind::NTPV5_DRAFT);
        let mut compliant = false;
        let bad = |_| RefusalReason::BadRequest;
        for record in self.buffer.records() {
            match record.kind {
                RecordKind::NEXT_PROTOCOL => {
                    let offered = record.numbers().ok_or(RefusalReason::BadRequest)?;
                    protocols.set(offered.collect()).map_err(bad)?;
                }
                RecordKind::AEAD => {
                    let offered = record.numbers().ok_or(RefusalReason::BadRequest)?;
                    algorithms.set(offered.collect()).map_err(bad)?;
                }
                RecordKind::COMPLIANT_GCM_SIV_EXPORT => compliant = true,
                RecordKind::NTPV5_DRAFT if !record.critical => {
                    draft.set(draft::known_name(record.body)).map_err(bad)?;
                }
                // A client may request a server or port; the response has the configured ones. Only
                // a pool has other servers than those that a client denies.
                RecordKind::SERVER | RecordKind::PORT | RecordKind::SERVER_DENY => {}
                RecordKind::ERROR | RecordKind::WARNING | RecordKind::COOKIE => {
                    return Err(RefusalReason::BadRequest);
                }
                RecordKind::SUPPORTED_PROTOCOLS
                | RecordKind::SUPPORTED_ALGORITHMS
                | RecordKind::FIXED_KEY
                | RecordKind::AUTHENTICATION
                | RecordKind::KEEP_ALIVE
                    if of_pool => {}
                _ if record.critical => return Err(RefusalReason::UnknownCritical),
                _ => {}
            }
        }
        Ok(Negotiation {
            protocols: protocols.value,
            algorithms: algorithms.value,
            compliant,
            draft: draft.value,
        })
    }
}

impl Negotiation {
    const fn is_empty(&self) -> bool {
        self.protocols.is_none() && self.algorithms.is_none()
    }

    fn offer(self, policy: &ServerPolicy) -> Result<Offer, RefusalReason> {
        let protocols = self.protocols.ok_or(RefusalReason::BadRequest)?;
        let supported = |number| policy.protocols.contains(number);
        let algorithms = match self.algorithms {
            Some(algorithms) => algorithms,
            // Mandatory for NTP (RFC 8915 section 4.1.5) only.
            None if protocols.iter().any(supported) => return Err(RefusalReason::BadRequest),
            None => Vec::new(),
        };
        Ok(Offer {
            protocols,
            algorithms,
            compliant: self.compliant,
            draft: self.draft,
        })
    }
}

/// Chooses protocol and algorithm.
fn negotiate(offer: &Offer, policy: &ServerPolicy) -> Result<Grant, RefusalReason> {
    // Keys for NTPv5 without a common draft would be of no use. Clients that do not state theirs
    // exist (upstream ntpd-rs up to 1.9), and speak one that we support.
    let is_version_5 = |number: u16| number == draft::NTS_PROTOCOL;
    let supported = |number: &&u16| {
        let spoken = !is_version_5(**number) || offer.draft != Some(None);
        spoken && policy.protocols.contains(number)
    };
    let protocol = offer.protocols.iter().find(supported);
    let protocol = *protocol.ok_or(RefusalReason::NoProtocol)?;
    let offers = |algorithm: &&AeadAlgorithm| offer.algorithms.contains(&algorithm.id());
    // Without record 1024, a client may export the keys of this algorithm in another way than
    // the RFC prescribes.
    let sure =
        |algorithm: &&AeadAlgorithm| offer.compliant || **algorithm != AeadAlgorithm::Aes128GcmSiv;
    let ours = || policy.algorithms.iter().filter(offers);
    let algorithm = *ours()
        .find(sure)
        .or_else(|| ours().next())
        .ok_or(RefusalReason::NoAlgorithm(protocol))?;
    Ok(Grant {
        protocol,
        algorithm,
        fixed_keys: None,
        keep_alive: false,
        compliant: offer.compliant && algorithm == AeadAlgorithm::Aes128GcmSiv,
        draft: offer.draft.flatten().filter(|_| is_version_5(protocol)),
    })
}

impl Grant {
    /// The response with these cookies. `keep_alive` is whether the connection of a pool stays open.
    pub fn response(
        &self,
        policy: &ServerPolicy,
        cookies: &[Cookie; COOKIES_PER_RESPONSE],
        keep_alive: bool,
    ) -> Vec<u8> {
        let mut message = MessageWriter::default();
        message.critical(RecordKind::NEXT_PROTOCOL, &self.protocol.to_be_bytes());
        if let Some(name) = self.draft {
            message.optional(RecordKind::NTPV5_DRAFT, name.as_bytes());
        }
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
        if keep_alive {
            message.optional(RecordKind::KEEP_ALIVE, &[]);
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
            RefusalReason::NoAlgorithm(protocol) => {
                message.critical(RecordKind::NEXT_PROTOCOL, &protocol.to_be_bytes());
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

    use super::super::{ClientExchange, NTPV4, ResponseError};
    use super::*;
    use AeadAlgorithm::{Aes128GcmSiv, AesSivCmac256, AesSivCmac512};

    fn policy() -> ServerPolicy {
        ServerPolicy {
            protocols: vec![NTPV4],
            algorithms: vec![Aes128GcmSiv, AesSivCmac256, AesSivCmac512],
            ntp_server: None,
            ntp_port: None,
            pool_tokens: Vec::new(),
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
            Decision::Capabilities(_) => panic!("this server has no tokens"),
            Decision::Refuse(refusal) => Some(refusal.reason),
        }
    }

    #[test]
    fn keys_for_version_5_are_granted_unless_the_client_states_another_draft() {
        let version_5 = ServerPolicy {
            protocols: vec![NTPV4, draft::NTS_PROTOCOL],
            ..policy()
        };
        let granted = |policy: &ServerPolicy, records: &[(u16, &[u8])]| {
            let mut message = MessageWriter::default();
            message.critical(RecordKind::NEXT_PROTOCOL, &[0x80, 1, 0, 0]);
            message.critical(RecordKind::AEAD, &[0, 15]);
            for (kind, body) in records {
                message.optional(RecordKind(*kind), body);
            }
            match ServerExchange::default().receive(policy, &message.finish()) {
                Some(Decision::Grant(grant)) => (grant.protocol, grant.draft),
                other => panic!("{other:?}"),
            }
        };
        let older = draft::NAMES[1];
        let names: (u16, &[u8]) = (0x4001, older.as_bytes());
        assert_eq!(granted(&version_5, &[names]), (0x8001, Some(older)));
        assert_eq!(granted(&policy(), &[names]), (NTPV4, None));
        assert_eq!(granted(&version_5, &[]), (0x8001, None));
        let unknown: (u16, &[u8]) = (0x4001, b"draft-ietf-ntp-ntpv5-04");
        assert_eq!(granted(&version_5, &[unknown]), (NTPV4, None));
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
            let response = grant.response(&policy, &cookies, false);
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
            (
                &[protocol, (4, &[])],
                Some(RefusalReason::NoAlgorithm(NTPV4)),
            ),
            (
                &[protocol, (4, &[0, 99])],
                Some(RefusalReason::NoAlgorithm(NTPV4)),
            ),
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
            (
                RefusalReason::NoAlgorithm(NTPV4),
                ResponseError::NoAlgorithm,
            ),
        ] {
            let mut client = ClientExchange::new(&[AesSivCmac256], Ipv4Addr::LOCALHOST.into());
            assert_eq!(client.receive(&Refusal::from(reason).response), Err(error));
        }
    }
}
