//! Requests of a pool to the key-exchange server of one of its members
//! (draft-ietf-ntp-nts-keyexchange-pool).
//!
//! A client exchanges keys with the pool, over TLS. The pool selects a member and requests cookies for
//! the client's keys from it:
//!
//! ```text
//! pool                                               member
//!   Authentication: token                              Next Protocol, AEAD Algorithm: the same
//!   Fixed Key Request: the client's keys          ->   New Cookie, eight times
//!   Next Protocol, AEAD Algorithm: exactly one    <-   NTPv4 Server, NTPv4 Port, if configured
//!   (Keep Alive)                                       (Keep Alive)
//! ```
//!
//! Before that it asks which protocols and algorithms the member supports. With Keep Alive, the
//! connection serves further requests.
//!
//! A peer without an accepted token gets the response of a server that does not know the records:
//! it may neither have cookies for keys that were not exported from its own session, nor hold a
//! connection open.

use core::fmt;

use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroizing;

use super::{RefusalReason, ServerPolicy, UniqueRecord};
use crate::nts::record::{MessageBuffer, MessageWriter, Record, RecordKind};
use crate::nts::{AeadAlgorithm, SessionKeys};

/// Token by which a pool authenticates itself. Wiped on drop, never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct PoolToken(Zeroizing<String>);

impl PoolToken {
    /// Creates a token from its text.
    pub fn new(token: String) -> Self {
        Self(Zeroizing::new(token))
    }

    /// Whether any of `tokens` is `presented`. The duration depends on lengths only.
    fn any_matches(tokens: &[Self], presented: &[u8]) -> bool {
        let matches = |token: &Self| token.0.as_bytes().ct_eq(presented);
        let all = tokens.iter().map(matches);
        all.fold(Choice::from(0), |any, one| any | one).into()
    }
}

impl fmt::Debug for PoolToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PoolToken")
    }
}

/// Records of a request that only pools send.
pub(super) struct PoolRecords<'a> {
    protocols: UniqueRecord<()>,
    algorithms: UniqueRecord<()>,
    fixed_key: UniqueRecord<&'a [u8]>,
    pub(super) keep_alive: bool,
}

impl<'a> PoolRecords<'a> {
    /// Reads the records of a request. `None` if the request is not that of a pool: it has no
    /// accepted token, or no record that needs one.
    pub(super) fn read(
        buffer: &'a MessageBuffer,
        policy: &ServerPolicy,
    ) -> Result<Option<Self>, RefusalReason> {
        let mut token = UniqueRecord::new(RecordKind::AUTHENTICATION);
        let of_kind = |kind| move |record: &Record<'_>| record.kind == kind;
        for record in buffer.records().filter(of_kind(RecordKind::AUTHENTICATION)) {
            if token.set(record.body).is_err() {
                return Err(RefusalReason::BadRequest);
            }
        }
        let accepted = (token.value)
            .is_some_and(|presented| PoolToken::any_matches(&policy.pool_tokens, presented));
        if !accepted {
            return Ok(None);
        }
        let mut records = Self {
            protocols: UniqueRecord::new(RecordKind::SUPPORTED_PROTOCOLS),
            algorithms: UniqueRecord::new(RecordKind::SUPPORTED_ALGORITHMS),
            fixed_key: UniqueRecord::new(RecordKind::FIXED_KEY),
            keep_alive: false,
        };
        for record in buffer.records() {
            let set = match record.kind {
                RecordKind::SUPPORTED_PROTOCOLS => records.protocols.set(empty(&record)?),
                RecordKind::SUPPORTED_ALGORITHMS => records.algorithms.set(empty(&record)?),
                RecordKind::FIXED_KEY => records.fixed_key.set(record.body),
                RecordKind::KEEP_ALIVE => {
                    empty(&record)?;
                    records.keep_alive = true;
                    Ok(())
                }
                _ => Ok(()),
            };
            set.map_err(|_| RefusalReason::BadRequest)?;
        }
        let privileged = records.asks_for_lists() || records.has_fixed_key();
        Ok(privileged.then_some(records))
    }

    fn asks_for_lists(&self) -> bool {
        self.protocols.value.is_some() || self.algorithms.value.is_some()
    }

    /// The question for supported lists, if it is one.
    pub(super) fn capabilities(&self) -> Option<Capabilities> {
        self.asks_for_lists().then_some(Capabilities {
            protocols: self.protocols.value.is_some(),
            algorithms: self.algorithms.value.is_some(),
            keep_alive: self.keep_alive,
        })
    }

    pub(super) const fn has_fixed_key(&self) -> bool {
        self.fixed_key.value.is_some()
    }

    /// The keys of the pool's client for the negotiated algorithm.
    pub(super) fn fixed_keys(
        &self,
        algorithm: AeadAlgorithm,
    ) -> Result<SessionKeys, RefusalReason> {
        let octets = self.fixed_key.value.unwrap_or_default();
        SessionKeys::from_pair(algorithm, octets).ok_or(RefusalReason::BadRequest)
    }
}

/// Checks that the body of a record is empty.
fn empty(record: &Record<'_>) -> Result<(), RefusalReason> {
    record
        .body
        .is_empty()
        .then_some(())
        .ok_or(RefusalReason::BadRequest)
}

/// The question of a pool what this server supports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    protocols: bool,
    algorithms: bool,
    /// Whether the pool asks to keep the connection open.
    pub keep_alive: bool,
}

impl Capabilities {
    /// The response; `keep_alive` is whether the connection stays open.
    pub fn response(&self, policy: &ServerPolicy, keep_alive: bool) -> Vec<u8> {
        let mut message = MessageWriter::default();
        if self.protocols {
            let numbers = policy
                .protocols
                .iter()
                .flat_map(|number| number.to_be_bytes());
            message.critical(
                RecordKind::SUPPORTED_PROTOCOLS,
                &numbers.collect::<Vec<u8>>(),
            );
        }
        if self.algorithms {
            let pair = |algorithm: &AeadAlgorithm| {
                let length = u16::try_from(algorithm.key_length()).unwrap_or(u16::MAX);
                [algorithm.id().to_be_bytes(), length.to_be_bytes()].concat()
            };
            let pairs: Vec<u8> = policy.algorithms.iter().flat_map(pair).collect();
            message.critical(RecordKind::SUPPORTED_ALGORITHMS, &pairs);
        }
        if keep_alive {
            message.optional(RecordKind::KEEP_ALIVE, &[]);
        }
        message.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Decision, ErrorCode, NTPV4, Refusal, ServerExchange};
    use super::*;
    use crate::nts::{Cookie, Direction};

    const TOKEN: (u16, &[u8]) = (14, b"secret");
    const PROTOCOL: (u16, &[u8]) = (0x8001, &[0, 0]);
    const SIV: (u16, &[u8]) = (0x8004, &[0, 15]);
    const KEYS: (u16, &[u8]) = (0x800c, &[7; 64]);
    const KEEP_ALIVE: (u16, &[u8]) = (8, &[]);
    const PROTOCOLS: (u16, &[u8]) = (0x8009, &[]);
    const ALGORITHMS: (u16, &[u8]) = (0x800a, &[]);

    fn policy(tokens: &[&str]) -> ServerPolicy {
        ServerPolicy {
            protocols: vec![NTPV4],
            algorithms: vec![AeadAlgorithm::AesSivCmac256, AeadAlgorithm::AesSivCmac512],
            ntp_server: None,
            ntp_port: None,
            pool_tokens: (tokens.iter())
                .map(|token| PoolToken::new((*token).to_owned()))
                .collect(),
        }
    }

    fn request(records: &[(u16, &[u8])]) -> Vec<u8> {
        let mut octets = Vec::new();
        for (kind, body) in records.iter().chain(&[(0x8000, &[][..])]) {
            octets.extend_from_slice(&kind.to_be_bytes());
            octets.extend_from_slice(&u16::try_from(body.len()).unwrap().to_be_bytes());
            octets.extend_from_slice(body);
        }
        octets
    }

    fn decide(records: &[(u16, &[u8])]) -> Decision {
        let decision =
            ServerExchange::default().receive(&policy(&["other", "secret"]), &request(records));
        decision.expect("the message has an end")
    }

    fn refused(records: &[(u16, &[u8])]) -> RefusalReason {
        match decide(records) {
            Decision::Refuse(refusal) => refusal.reason,
            other => panic!("{records:?}: {other:?}"),
        }
    }

    /// The example of the draft, with today's numbers.
    #[test]
    fn cookies_are_granted_for_the_fixed_keys_of_a_pool() {
        let keys: Vec<u8> = (0..64).collect();
        let octets = [
            &[0x80, 0x0c, 0x00, 0x40][..],
            &keys,
            &[0x80, 0x01, 0x00, 0x02, 0x00, 0x00],
            &[0x80, 0x04, 0x00, 0x02, 0x00, 0x0f],
            &[0x80, 0x00, 0x00, 0x00],
        ]
        .concat();
        let authenticated = [&request(&[TOKEN])[..10], &octets].concat();
        let decide = |tokens: &[&str], octets: &[u8]| {
            ServerExchange::default().receive(&policy(tokens), octets)
        };
        let Some(Decision::Grant(grant)) = decide(&["secret"], &authenticated) else {
            panic!("the request of an authenticated pool is granted");
        };
        let fixed = grant.fixed_keys.as_ref().expect("its keys are used");
        assert_eq!(fixed.algorithm(), AeadAlgorithm::AesSivCmac256);
        assert_eq!(fixed.key(Direction::ClientToServer), &keys[..32]);
        assert_eq!(fixed.key(Direction::ServerToClient), &keys[32..]);
        assert!(!grant.keep_alive);
        let cookies = core::array::from_fn(|_| Cookie::new(&[1; 100]).unwrap());
        let alive = grant.response(&policy(&["secret"]), &cookies, true);
        let short = grant.response(&policy(&["secret"]), &cookies, false);
        assert!(alive.ends_with(&[0, 8, 0, 0, 0x80, 0, 0, 0]));
        assert_eq!(alive.len(), short.len() + 4);

        let unknown = RefusalReason::UnknownCritical;
        for (tokens, octets) in [
            (&["secret"][..], &octets),
            (&[], &octets),
            (&[], &authenticated),
            (&["secreT", "secre", "secret1", ""], &authenticated),
        ] {
            let refusal = Refusal::from(unknown);
            assert_eq!(
                decide(tokens, octets),
                Some(Decision::Refuse(refusal.clone()))
            );
            assert_eq!(
                refusal.response[5],
                ErrorCode::UNRECOGNISED_CRITICAL.0.to_be_bytes()[1]
            );
        }
    }

    /// The example of the draft, with today's numbers.
    #[test]
    fn supported_lists_have_the_octets_of_the_draft() {
        let answer = |records: &[(u16, &[u8])]| match decide(records) {
            Decision::Capabilities(question) => {
                question.response(&policy(&[]), question.keep_alive)
            }
            other => panic!("{other:?}"),
        };
        let both = [
            0x80, 0x09, 0x00, 0x02, 0x00, 0x00, //
            0x80, 0x0a, 0x00, 0x08, 0x00, 0x0f, 0x00, 0x20, 0x00, 0x11, 0x00, 0x40, //
            0x80, 0x00, 0x00, 0x00,
        ];
        assert_eq!(answer(&[TOKEN, PROTOCOLS, ALGORITHMS]), both);
        assert_eq!(answer(&[ALGORITHMS, TOKEN]), both[6..]);
        let alive = answer(&[KEEP_ALIVE, PROTOCOLS, TOKEN]);
        assert_eq!(alive, [&both[..6], &[0, 8, 0, 0], &both[18..]].concat());
    }

    #[test]
    fn malformed_requests_of_pools_are_refused() {
        let bad = RefusalReason::BadRequest;
        for (records, reason) in [
            (&[TOKEN, PROTOCOL, SIV, (0x800c, &[7; 63])][..], bad),
            (&[TOKEN, PROTOCOL, SIV, (0x800c, &[7; 65])], bad),
            (&[TOKEN, PROTOCOL, SIV, (0x800c, &[])], bad),
            (&[TOKEN, PROTOCOL, SIV, (0x800c, &[7; 128])], bad),
            (&[TOKEN, (0x8001, &[0, 0, 0x80, 1]), SIV, KEYS], bad),
            (&[TOKEN, PROTOCOL, (0x8004, &[0, 15, 0, 17]), KEYS], bad),
            (&[TOKEN, PROTOCOL, SIV, KEYS, KEYS], bad),
            (&[TOKEN, TOKEN, PROTOCOL, SIV, KEYS], bad),
            (&[TOKEN, SIV, KEYS], bad),
            (&[TOKEN, PROTOCOL, KEYS], bad),
            (&[TOKEN, PROTOCOLS, PROTOCOL, SIV], bad),
            (&[TOKEN, PROTOCOLS, KEYS], bad),
            (&[TOKEN, PROTOCOLS, PROTOCOLS], bad),
            (&[TOKEN, (0x8009, &[0, 0])], bad),
            (&[TOKEN, PROTOCOLS, (8, &[0])], bad),
            (
                &[TOKEN, (0x8001, &[0x80, 1]), SIV, KEYS],
                RefusalReason::NoProtocol,
            ),
            (
                &[TOKEN, PROTOCOL, (4, &[0, 30]), KEYS],
                RefusalReason::NoAlgorithm(NTPV4),
            ),
            (
                &[TOKEN, PROTOCOLS, (0x8063, &[])],
                RefusalReason::UnknownCritical,
            ),
            (
                &[TOKEN, PROTOCOL, SIV, KEYS, (0x800b, &[])],
                RefusalReason::UnknownCritical,
            ),
            (&[PROTOCOLS], RefusalReason::UnknownCritical),
            (
                &[PROTOCOL, SIV, (0x8008, &[])],
                RefusalReason::UnknownCritical,
            ),
        ] {
            assert_eq!(refused(records), reason, "{records:?}");
        }
    }

    #[test]
    fn only_requests_of_pools_keep_a_connection_open() {
        let keeps = |records: &[(u16, &[u8])]| match decide(records) {
            Decision::Grant(grant) => (grant.keep_alive, grant.fixed_keys.is_some()),
            other => panic!("{other:?}"),
        };
        assert_eq!(
            keeps(&[TOKEN, PROTOCOL, SIV, KEYS, KEEP_ALIVE]),
            (true, true)
        );
        assert_eq!(keeps(&[TOKEN, PROTOCOL, SIV, KEEP_ALIVE]), (false, false));
        assert_eq!(keeps(&[PROTOCOL, SIV, KEEP_ALIVE]), (false, false));
        assert_eq!(
            keeps(&[PROTOCOL, SIV, (13, b"ntp.example")]),
            (false, false)
        );
    }

    #[test]
    fn an_empty_token_is_none() {
        let octets = request(&[PROTOCOL, SIV, KEYS]);
        let decision = ServerExchange::default().receive(&policy(&[""]), &octets);
        assert!(matches!(decision, Some(Decision::Refuse(_))));
    }

    #[test]
    fn tokens_are_not_printed() {
        assert!(!format!("{:?}", policy(&["secret"])).contains("secret"));
    }
}
