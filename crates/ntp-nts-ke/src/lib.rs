//! Key exchange for NTS (RFC 8915 section 4) over real sockets: the only crate that names rustls.
//!
//! What is said inside TLS is decided in [`ntp_proto::nts::exchange`], without I/O. Here are the sockets, the certificates and the limits.
//!
//! | module | what it does |
//! |---|---|
//! | [`client`] | one key exchange with a server, off the timekeeping thread; begin reading here |
//! | [`trust`] | whose certificates are believed |
//! | [`validity`] | at which time certificates are judged while our own clock may be wrong |
//! | [`certificate`] | what a certificate says, for people |
//! | [`failure`] | why an exchange failed, in words that somebody can act on |
//! | [`server`] | many key exchanges with strangers, within limits |
//!
//! TLS is version 1.3 only, as RFC 8915 section 3 demands, with the cryptography of ring. There are no tickets, no resumption and no early data: a client
//! comes once in weeks, and every exchange must yield new keys.
//!
//! A shell like the daemon: it reads the monotonic clock to keep its time limits, and nothing else of time; the time at which certificates are judged is given.
#![forbid(unsafe_code)]

pub mod certificate;
pub mod client;
mod export;
pub mod failure;
pub mod server;
pub mod trust;
pub mod validity;

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

/// The one port of key exchange (RFC 8915 section 7.1).
pub const PORT: u16 = 4460;

/// The cryptography of both sides.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
