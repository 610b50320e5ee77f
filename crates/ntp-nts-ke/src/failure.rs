//! Why a key exchange failed.
//!
//! Each class has one cause and one remedy: the message shows whether the name, the certificate,
//! the firewall or the clock has to be fixed.

use core::fmt;
use std::io;
use std::net::SocketAddr;

use ntp_proto::nts::exchange::ResponseError;
use ntp_types::event::{KeyExchangeError, KeyExchangeFailure};
use ntp_udp::PathError;
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
    /// All servers that the SRV records name are in use already.
    #[error("the SRV records name no servers other than those in use")]
    NoOtherTarget,
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
    /// The port does not speak TLS.
    #[error("TLS failed: the server does not speak TLS")]
    NotTls,
    /// The server lacks TLS 1.3 (RFC 8915 section 3).
    #[error("TLS failed: the server does not support TLS 1.3, which NTS requires")]
    TlsVersion,
    /// The TLS handshake failed for another reason.
    #[error("TLS failed: {0}")]
    Tls(String),
    /// The response is invalid, or the server refuses the request.
    #[error("{0}")]
    Response(ResponseError),
}

/// Why the connection to an address failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
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
    /// `bind-device` or `bind-address` of the source cannot be used.
    #[error("was not tried: {0}")]
    Path(String),
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
    /// Returns the reason that events and statuses name.
    pub fn reason(&self) -> KeyExchangeFailure {
        use KeyExchangeFailure as Reason;
        match self {
            Self::Trust(_) => Reason::Local,
            Self::BadHost(_) | Self::Lookup(_) | Self::Timeout(Stage::Lookup) => {
                Reason::NameResolution
            }
            Self::NoOtherTarget => Reason::NoOtherMember,
            Self::Connect(tried) => connection_failure(tried),
            Self::Timeout(Stage::Connect) => Reason::ConnectionTimeout,
            Self::Timeout(Stage::Handshake | Stage::Exchange) => Reason::Timeout,
            Self::Broken(..) => Reason::ConnectionLost,
            Self::Name { .. } => Reason::NameMismatch,
            Self::Expired { .. } => Reason::CertificateExpired,
            Self::NotYetValid { .. } => Reason::CertificateNotYetValid,
            Self::UnknownIssuer(_) | Self::BadSignature(_) => Reason::UnknownAuthority,
            Self::AuthorityAsServer | Self::NoCertificate | Self::Certificate(_) => {
                Reason::CertificateInvalid
            }
            Self::Alpn => Reason::NotNtsKe,
            Self::NotTls => Reason::NotTls,
            Self::TlsVersion => Reason::TlsVersion,
            Self::Tls(_) => Reason::Tls,
            Self::Response(error) if error.is_refusal() => Reason::RefusedByServer,
            Self::Response(_) => Reason::BadResponse,
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
            | Error::PeerIncompatible(_) => Self::TlsVersion,
            Error::InvalidMessage(_) => Self::NotTls,
            other => Self::Tls(other.to_string()),
        }
    }
}

impl From<Failure> for KeyExchangeError {
    fn from(failure: Failure) -> Self {
        Self {
            reason: failure.reason(),
            message: failure.to_string(),
        }
    }
}

/// The reason for several addresses: that of the address that says most about the server. A missing
/// route says least: it is normal for the second address family of a machine that has only one.
fn connection_failure(tried: &[(SocketAddr, ConnectError)]) -> KeyExchangeFailure {
    let has = |wanted| tried.iter().any(|(_, error)| *error == wanted);
    if has(ConnectError::Refused) {
        KeyExchangeFailure::ConnectionRefused
    } else if has(ConnectError::NoAnswer) {
        KeyExchangeFailure::ConnectionTimeout
    } else if tried
        .iter()
        .all(|(_, error)| *error == ConnectError::NoRoute)
    {
        KeyExchangeFailure::NoRoute
    } else {
        KeyExchangeFailure::ConnectionFailed
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

impl From<PathError> for ConnectError {
    fn from(error: PathError) -> Self {
        match error {
            PathError::Other(error) => (&error).into(),
            error => Self::Path(error.to_string()),
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_that_of_the_address_that_says_most_about_the_server() {
        let reason = |errors: &[ConnectError]| {
            let address = SocketAddr::from(([192, 0, 2, 1], 4460));
            let tried = errors.iter().map(|error| (address, error.clone()));
            Failure::Connect(tried.collect()).reason()
        };
        use ConnectError::{NoAnswer, NoRoute, Other, Refused};
        let other = Other(io::ErrorKind::PermissionDenied);
        for (errors, expected) in [
            (&[NoRoute, NoAnswer][..], "connection-timeout"),
            (&[NoAnswer, Refused], "connection-refused"),
            (&[NoRoute, NoRoute], "no-route"),
            (&[NoRoute, other], "connection-failed"),
        ] {
            assert_eq!(reason(errors).name(), expected, "{errors:?}");
        }
    }

    #[test]
    fn an_error_of_the_server_is_a_refusal_and_nonsense_is_not() {
        let reason = |error| Failure::Response(error).reason();
        assert_eq!(
            reason(ResponseError::NoAlgorithm),
            KeyExchangeFailure::RefusedByServer
        );
        assert_eq!(
            reason(ResponseError::NoCookie),
            KeyExchangeFailure::BadResponse
        );
    }
}
