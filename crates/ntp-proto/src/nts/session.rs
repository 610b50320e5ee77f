//! What a key exchange yields for a client.

use std::net::IpAddr;

use super::{Cookie, SessionKeys};

/// The outcome of a successful key exchange (RFC 8915 section 4).
#[derive(Clone, Debug)]
pub struct KeyExchangeResult {
    /// The session's keys, exported in the context that RFC 8915 prescribes.
    pub keys: SessionKeys,
    /// The keys that chrony 4.4 to 4.6.0 would have derived; see [`exporter_context`](super::exporter_context). Set if AES-128-GCM-SIV was
    /// negotiated and the server did not say (record 1024) that it derives them as the RFC says. They are tried if the
    /// server refuses the others.
    pub legacy_keys: Option<SessionKeys>,
    /// Cookies, at least one. More than [`Cookie::IN_STOCK`] are of no use.
    pub cookies: Vec<Cookie>,
    /// Address or name of the NTP server, if the exchange named one; else it is where the key exchange was.
    pub server: Option<String>,
    /// Its port, if the exchange named one; else 123.
    pub port: Option<u16>,
}

/// A key exchange and where it was, as the engine wants to know it.
#[derive(Clone, Debug)]
pub struct KeyExchanged {
    /// Address of the key-exchange server: the NTP server's too, if none was named (RFC 8915 section 4.1.7).
    pub from: IpAddr,
    /// What it gave.
    pub result: KeyExchangeResult,
}
