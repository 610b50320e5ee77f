//! Key exchanges without TLS: what a key-exchange server would give, made up on the spot.
//!
//! A server with [`Nts`] both exchanges keys and answers requests that use them. The keys come from a stream of chance of their own, the cookies from the
//! server's real keyset. An exchange takes half a second, or fails after that long; the engine cannot tell that no certificate was checked.

use std::net::IpAddr;
use std::sync::Arc;

use ntp_proto::nts::{
    AeadAlgorithm, Cookie, KeyExchangeResult, KeyExchanged, Keyset, MasterSecret, SessionKeys,
};

use crate::Chance;

/// Seconds that an exchange takes.
pub(crate) const DURATION: f64 = 0.5;

/// NTS at a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nts {
    /// Stands for its master key: servers with the same one can open each other's cookies.
    pub secret: u8,
    /// Whether it exchanges keys when asked to.
    pub exchanges: bool,
    /// What its clients agree with it on.
    pub algorithm: AeadAlgorithm,
    /// The NTP server that it names.
    pub names: Named,
}

/// The NTP server that a key exchange names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// None: it is the same one.
    Itself,
    /// One by address.
    Address(IpAddr),
    /// One by name.
    Name(&'static str),
}

impl Default for Nts {
    fn default() -> Self {
        Self {
            secret: 1,
            exchanges: true,
            algorithm: AeadAlgorithm::AesSivCmac256,
            names: Named::Itself,
        }
    }
}

impl Nts {
    /// What its cookies are made with.
    pub(crate) fn keyset(&self) -> Arc<Keyset> {
        Arc::new(Keyset::new(MasterSecret::new([self.secret; 64])))
    }

    /// What a client that connects to `from` gets.
    pub(crate) fn exchange(
        &self,
        from: IpAddr,
        chance: &mut Chance,
    ) -> Result<KeyExchanged, String> {
        if !self.exchanges {
            return Err("connection refused".to_owned());
        }
        let length = self.algorithm.key_length();
        let mut key = || -> Vec<u8> { (0..length).map(|_| chance.bits() as u8).collect() };
        let keys = SessionKeys::new(self.algorithm, &key(), &key())
            .ok_or_else(|| "keys of a wrong length".to_owned())?;
        // Any numbers do, as long as they differ.
        let first = u128::from(chance.bits()) << 64;
        let keyset = self.keyset();
        let cookies = (0..Cookie::MAX_STORED as u128)
            .filter_map(|number| keyset.seal_cookie(&keys, (first + number).to_be_bytes()))
            .collect();
        Ok(KeyExchanged {
            from,
            result: KeyExchangeResult {
                keys,
                legacy_keys: None,
                cookies,
                server: match self.names {
                    Named::Itself => None,
                    Named::Address(address) => Some(address.to_string()),
                    Named::Name(name) => Some(name.to_owned()),
                },
                port: None,
            },
        })
    }
}
