//! Key exchange without TLS.
//!
//! A server with [`Nts`] both exchanges keys and answers requests that use them. The session keys
//! come from a random stream of their own, the cookies from the server's real keyset. An exchange
//! takes half a second, or fails after that time. The engine cannot see that no certificate was
//! checked.

use std::net::IpAddr;
use std::sync::Arc;

use ntp_proto::nts::{
    AeadAlgorithm, Cookie, KeyExchangeResult, KeyExchanged, Keyset, MasterSecret, NextProtocol,
    SessionKeys,
};

use ntp_types::event::{KeyExchangeError, KeyExchangeFailure};
use ntp_types::host::Host;

use crate::Rng;

/// Duration of an exchange, in seconds.
pub(crate) const DURATION: f64 = 0.5;

/// NTS configuration of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nts {
    /// Selects the master key: servers with the same value can open each other's cookies.
    pub secret: u8,
    /// Whether the server accepts key exchanges.
    pub available: bool,
    /// Negotiated AEAD algorithm.
    pub algorithm: AeadAlgorithm,
    /// NTP server that the exchange names.
    pub server: NegotiatedServer,
}

/// The NTP server that a key exchange names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NegotiatedServer {
    /// None: the server itself.
    Same,
    /// A server by address.
    Address(IpAddr),
    /// A server by name.
    Name(&'static str),
    /// That of a pool with these members: the first one that the request does not deny, or the first
    /// one of all if it denies all.
    Pool(&'static [&'static str]),
}

impl NegotiatedServer {
    /// Returns the server in the response to a request that denies these names.
    fn choose(self, denied: &[String]) -> Option<Host> {
        let name = |name: &str| Some(Host::Name(name.to_owned()));
        match self {
            Self::Same => None,
            Self::Address(address) => Some(Host::Address(address)),
            Self::Name(server) => name(server),
            Self::Pool(members) => {
                let is_denied = |member: &str| denied.iter().any(|denied| denied == member);
                let mut others = members.iter().filter(|member| !is_denied(member));
                others.next().or(members.first()).and_then(|it| name(it))
            }
        }
    }
}

impl Default for Nts {
    fn default() -> Self {
        Self {
            secret: 1,
            available: true,
            algorithm: AeadAlgorithm::AesSivCmac256,
            server: NegotiatedServer::Same,
        }
    }
}

/// Creates an error of the key exchange.
pub(crate) fn error(reason: KeyExchangeFailure, message: &str) -> KeyExchangeError {
    KeyExchangeError {
        reason,
        message: message.to_owned(),
    }
}

impl Nts {
    /// Returns the keyset of its cookies.
    pub(crate) fn keyset(&self) -> Arc<Keyset> {
        Arc::new(Keyset::new(MasterSecret::new([self.secret; 64])))
    }

    /// Returns the result of a key exchange with `from` for `protocol` that denies these members of
    /// a pool.
    pub(crate) fn exchange(
        &self,
        from: IpAddr,
        protocol: NextProtocol,
        denied: &[String],
        rng: &mut Rng,
    ) -> Result<KeyExchanged, KeyExchangeError> {
        if !self.available {
            let refused = KeyExchangeFailure::ConnectionRefused;
            return Err(error(refused, "connection refused"));
        }
        let length = self.algorithm.key_length();
        let mut key = || -> Vec<u8> { (0..length).map(|_| rng.next_u64() as u8).collect() };
        let keys = SessionKeys::new(self.algorithm, &key(), &key())
            .ok_or_else(|| error(KeyExchangeFailure::Local, "keys of a wrong length"))?;
        // Any numbers will do, as long as they differ.
        let first = u128::from(rng.next_u64()) << 64;
        let keyset = self.keyset();
        let cookies = (0..Cookie::MAX_STORED as u128)
            .filter_map(|number| keyset.seal_cookie(&keys, (first + number).to_be_bytes()))
            .collect();
        let server = self.server.choose(denied);
        Ok(KeyExchanged {
            from: from.into(),
            member: match self.server {
                NegotiatedServer::Pool(_) => server.as_ref().map(Host::to_string),
                _ => None,
            },
            result: KeyExchangeResult {
                protocol,
                keys,
                legacy_keys: None,
                cookies,
                server,
                port: None,
            },
        })
    }
}
