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

    /// Returns the result of a key exchange with `from`.
    pub(crate) fn exchange(
        &self,
        from: IpAddr,
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
        Ok(KeyExchanged {
            from: from.into(),
            result: KeyExchangeResult {
                protocol: NextProtocol::NtpV4,
                keys,
                legacy_keys: None,
                cookies,
                server: match self.server {
                    NegotiatedServer::Same => None,
                    NegotiatedServer::Address(address) => Some(Host::Address(address)),
                    NegotiatedServer::Name(name) => Some(Host::Name(name.to_owned())),
                },
                port: None,
            },
        })
    }
}
