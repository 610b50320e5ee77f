//! NTS key exchange (RFC 8915 section 4) over TCP and TLS: the only crate that depends on rustls.
//!
//! The negotiation inside TLS is in [`ntp_proto::nts::exchange`], without I/O. This crate has the
//! sockets, the certificates and the limits.
//!
//! | module | what it does |
//! |---|---|
//! | [`client`] | one key exchange with a server, off the timekeeping thread; start reading here |
//! | [`trust`] | trusted certificate authorities |
//! | [`validity`] | verification of certificates while our own clock may be wrong |
//! | [`certificate`] | contents of a certificate, for display |
//! | [`failure`] | why a key exchange failed, with messages that name the remedy |
//! | [`provider`] | the library that provides the cryptography of TLS |
//! | [`srv`] | key-exchange servers by records of type SRV |
//! | [`server`] | key-exchange server: many connections within limits |
//!
//! TLS is version 1.3 only, as RFC 8915 section 3 requires, with the cryptography of a
//! [`provider`] that is chosen when the program is built. There are no tickets, no resumption and no
//! early data: a client connects once in weeks, and every exchange must yield new keys.
//!
//! The crate reads the monotonic clock for its time limits, and no other clock; the time for the
//! verification of certificates is a parameter.
#![forbid(unsafe_code)]

pub mod certificate;
pub mod client;
mod export;
pub mod failure;
pub mod provider;
pub mod server;
pub mod srv;
pub mod trust;
pub mod validity;

/// TCP port of the key exchange (RFC 8915 section 7.1).
pub const PORT: u16 = 4460;
