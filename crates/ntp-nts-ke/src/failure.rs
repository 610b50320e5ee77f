//! Why a key exchange failed.
//!
//! Each class has one cause and one remedy: the message shows whether the name, the certificate,
//! the firewall or the clock has to be fixed.

use core::fmt;
use std::io;
use std::net::SocketAddr;

use ntp_proto::nts::exchange::ResponseError;
use rustls::{AlertDescription, CertificateError, Error};

use crate::certificate::{CertificateFacts, Date};
use crate::trust::TrustError;

/// Why a key exchange failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The host is neither a valid name nor an address.
    #[error("`{0}` is neither a valid name nor an address")]
    BadHost(String),
    /// Name resolution failed, with the resolver's error.
    #[error("name resolution failed: {0}")]
    Lookup(String),
    /// The connection failed to all addresses, for these reasons.
    #[error("connection failed: {}", tried(.0))]
    Connect(Vec<(SocketAddr, ConnectError)>),
    /// The time limit was reached in this stage.
    #[error("timeout during {0}")]
    Timeout(Stage),
    /// The connection was lost in this stage, for this reason.
    #[error("connection lost during {0}: {1}")]
    Broken(Stage, String),
    /// There are no trusted certificate authorities.
    #[error("{0}")]
    Trust(TrustError),
    /// The certificate is not valid for the server's name.
    #[error("certificate {}", validity(.wanted, .names))]
    Name {
        /// Name of the server.
        wanted: String,
        /// Names for which the certificate is valid.
        names: Vec<String>,
    },
    /// A certificate has expired, by our clock.
    #[error(
        "certificate expired on {}; the local clock reads {}: renew the server's certificate, or correct the clock",
        Date(*.not_after),
        Date(*.now)
    )]
    Expired {
        /// Reading of our clock, in seconds since 1970.
        now: u64,
        /// Last second of its validity, since 1970.
        not_after: u64,
    },
    /// A certificate is not valid yet, by our clock.
    #[error(
        "certificate is not valid before {}; the local clock reads {} and is probably wrong: set it, or see certificate-time-leniency",
        Date(*.not_before),
        Date(*.now)
    )]
    NotYetValid {
        /// Reading of our clock, in seconds since 1970.
        now: u64,
        /// First second of its validity, since 1970.
        not_before: u64,
    },
    /// The chain does not lead to a trusted authority; the issuer of its last certificate.
    #[error(
        "certificate is not signed by a trusted authority; the last one of its chain is signed by {0}. To trust that authority, set \
         certificate-authority to its file; otherwise the server omits an intermediate certificate, or the connection is intercepted"
    )]
    UnknownIssuer(String),
    /// The issuer has the name of a trusted authority, given here, but not its key.
    #[error(
        "certificate names {0} as its issuer, but is not signed with a trusted key of that name: certificate-authority is the file of \
         another authority of the same name (an earlier one?), or the connection is intercepted"
    )]
    BadSignature(String),
    /// The server uses the certificate of an authority as its own.
    #[error(
        "certificate is that of an authority, which a server must not use: issue a server certificate with it"
    )]
    AuthorityAsServer,
    /// The server sent no certificate.
    #[error("the server sent no certificate")]
    NoCertificate,
    /// The certificates are invalid for another reason.
    #[error("certificate is invalid: {0}")]
    Certificate(String),
    /// The server speaks TLS, but not NTS key exchange.
    #[error(
        "the server speaks TLS but not NTS key exchange (ALPN ntske/1): another service uses this port"
    )]
    Alpn,
    /// The TLS handshake failed.
    #[error("TLS failed: {0}")]
    Tls(String),
    /// The response is invalid, or the server refuses the request.
    #[error("{0}")]
    Response(ResponseError),
}

/// Why the connection to an address failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// Connection refused.
    #[error("refused the connection: nothing listens on that port")]
    Refused,
    /// No reply within the time limit.
    #[error("does not answer: the host is down, or a firewall drops TCP to that port")]
    NoAnswer,
    /// No route to the address.
    #[error("is unreachable")]
    NoRoute,
    /// Another error.
    #[error("failed: {0}")]
    Other(io::ErrorKind),
}

/// Stage of a key exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Name resolution.
    Lookup,
    /// TCP connection.
    Connect,
    /// TLS handshake.
    Handshake,
    /// Request and response.
    Exchange,
}

impl Failure {
    /// Stable identifier of the class, for programs.
    pub const fn class(&self) -> &'static str {
        match self {
            Self::BadHost(_) | Self::Lookup(_) => "lookup",
            Self::Connect(_) => "connect",
            Self::Timeout(_) => "timeout",
            Self::Broken(..) => "broken",
            Self::Trust(_) => "trust",
            Self::Name { .. } => "name",
            Self::Expired { .. } => "expired",
            Self::NotYetValid { .. } => "not-yet-valid",
            Self::UnknownIssuer(_) | Self::BadSignature(_) => "issuer",
            Self::AuthorityAsServer | Self::NoCertificate | Self::Certificate(_) => "certificate",
            Self::Alpn => "alpn",
            Self::Tls(_) => "tls",
            Self::Response(_) => "response",
        }
    }

    /// Classifies an error of the certificate verification; `presented` is the content of the
    /// server's certificates, its own first.
    pub(crate) fn from_tls(problem: &Error, presented: &[CertificateFacts]) -> Self {
        let Error::InvalidCertificate(problem) = problem else {
            return Self::from_handshake(problem);
        };
        let issuer = || {
            presented
                .last()
                .map_or_else(String::new, |last| last.issuer.clone())
        };
        match problem {
            CertificateError::ExpiredContext { time, not_after } => Self::Expired {
                now: time.as_secs(),
                not_after: not_after.as_secs(),
            },
            CertificateError::NotValidYetContext { time, not_before } => Self::NotYetValid {
                now: time.as_secs(),
                not_before: not_before.as_secs(),
            },
            CertificateError::NotValidForNameContext { expected, .. } => Self::Name {
                wanted: expected.to_str().into_owned(),
                names: presented
                    .first()
                    .map_or_else(Vec::new, |own| own.names.clone()),
            },
            CertificateError::UnknownIssuer => Self::UnknownIssuer(issuer()),
            CertificateError::BadSignature => Self::BadSignature(issuer()),
            CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
                Self::AuthorityAsServer
            }
            other => Self::Certificate(other.to_string()),
        }
    }

    /// Classifies an error of the TLS handshake.
    pub(crate) fn from_handshake(problem: &Error) -> Self {
        match problem {
            Error::AlertReceived(AlertDescription::NoApplicationProtocol)
            | Error::NoApplicationProtocol => Self::Alpn,
            Error::AlertReceived(AlertDescription::ProtocolVersion)
            | Error::PeerIncompatible(_) => {
                Self::Tls("the server does not support TLS 1.3, which NTS requires".into())
            }
            Error::InvalidMessage(_) => Self::Tls("the server does not speak TLS".into()),
            other => Self::Tls(other.to_string()),
        }
    }
}

/// The addresses that were tried, each with its error.
fn tried(addresses: &[(SocketAddr, ConnectError)]) -> String {
    let tried = addresses
        .iter()
        .map(|(address, error)| format!("{address} {error}"));
    tried.collect::<Vec<_>>().join("; ")
}

/// For which names a certificate is valid instead of `wanted`.
fn validity(wanted: &str, names: &[String]) -> String {
    if names.is_empty() {
        return format!("has no subjectAltName and is not valid for {wanted}");
    }
    let names = names.join(", ");
    format!("is not valid for {wanted}, only for {names}")
}

impl From<&io::Error> for ConnectError {
    fn from(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Self::NoAnswer,
            io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::AddrNotAvailable => Self::NoRoute,
            other => Self::Other(other),
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lookup => "name resolution",
            Self::Connect => "TCP connect",
            Self::Handshake => "the TLS handshake",
            Self::Exchange => "the key exchange",
        })
    }
}
