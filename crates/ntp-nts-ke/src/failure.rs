//! Why a key exchange failed, in words that somebody can act on.
//!
//! Each class has one cause and one remedy: who is in charge of the name, of the certificate, of the firewall or of the clock should
//! know from the message that it is them.

use core::fmt;
use std::io;
use std::net::SocketAddr;

use ntp_proto::nts::exchange::Fault;
use rustls::{AlertDescription, CertificateError, Error};

use crate::certificate::Date;
use crate::trust::NoTrust;
use crate::validity::Presented;

/// Why there are no keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The host is no name and no address.
    BadHost(String),
    /// The name has no address; what the resolver says.
    Lookup(String),
    /// No address could be connected to, and why each.
    Connect(Vec<(SocketAddr, ConnectError)>),
    /// The time was over while this was done.
    Timeout(Stage),
    /// The connection broke while this was done, and how.
    Broken(Stage, String),
    /// There is nobody to believe.
    Trust(NoTrust),
    /// The certificate is for other names.
    Name {
        /// Who was asked.
        wanted: String,
        /// Whom it is for.
        names: Vec<String>,
    },
    /// A certificate has expired, by our clock.
    Expired {
        /// What our clock said, in seconds since 1970.
        now: u64,
        /// Its last second.
        not_after: u64,
    },
    /// A certificate is not valid yet, by our clock.
    NotYetValid {
        /// What our clock said, in seconds since 1970.
        now: u64,
        /// Its first second.
        not_before: u64,
    },
    /// No authority that we believe stands behind it; who signed the last one.
    UnknownIssuer(String),
    /// It is signed in the name of an authority that we believe, but not with its key; whose name.
    ForeignSignature(String),
    /// The certificate of an authority is used as a server's own.
    AuthorityAsServer,
    /// There is no certificate to judge.
    NoCertificate,
    /// Something else is wrong with the certificates.
    Certificate(String),
    /// It speaks TLS, but not key exchange.
    Alpn,
    /// It does not speak TLS 1.3, or not well.
    Tls(String),
    /// The response is none.
    Response(Fault),
}

/// Why an address could not be connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectError {
    /// Nobody listens.
    Refused,
    /// Nobody answers.
    NoAnswer,
    /// There is no way there.
    NoRoute,
    /// Something else.
    Other(io::ErrorKind),
}

/// What was done when it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The name was looked up.
    Lookup,
    /// A connection was made.
    Connect,
    /// TLS was negotiated.
    Handshake,
    /// The response was waited for.
    Exchange,
}

impl Failure {
    /// One word for programs.
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
            Self::UnknownIssuer(_) | Self::ForeignSignature(_) => "issuer",
            Self::AuthorityAsServer | Self::NoCertificate | Self::Certificate(_) => "certificate",
            Self::Alpn => "alpn",
            Self::Tls(_) => "tls",
            Self::Response(_) => "response",
        }
    }

    /// Sorts what rustls says; `presented` are the certificates that it is about.
    pub(crate) fn of_tls(problem: &Error, presented: &Presented) -> Self {
        let Error::InvalidCertificate(problem) = problem else {
            return Self::of_handshake(problem);
        };
        let issuer = || {
            let facts = presented.facts();
            facts
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
                names: (presented.facts().into_iter())
                    .next()
                    .map_or_else(Vec::new, |own| own.names),
            },
            CertificateError::UnknownIssuer => Self::UnknownIssuer(issuer()),
            CertificateError::BadSignature => Self::ForeignSignature(issuer()),
            CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
                Self::AuthorityAsServer
            }
            other => Self::Certificate(other.to_string()),
        }
    }

    pub(crate) fn of_handshake(problem: &Error) -> Self {
        match problem {
            Error::AlertReceived(AlertDescription::NoApplicationProtocol)
            | Error::NoApplicationProtocol => Self::Alpn,
            Error::AlertReceived(AlertDescription::ProtocolVersion)
            | Error::PeerIncompatible(_) => {
                Self::Tls("it does not speak TLS 1.3, which key exchange demands".into())
            }
            Error::InvalidMessage(_) => Self::Tls("what it speaks is not TLS".into()),
            other => Self::Tls(other.to_string()),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadHost(host) => write!(f, "`{host}` is neither a name nor an address"),
            Self::Lookup(problem) => write!(f, "its name has no address: {problem}"),
            Self::Connect(tried) => connect(f, tried),
            Self::Timeout(stage) => write!(f, "no answer in time while {stage}"),
            Self::Broken(stage, problem) => write!(f, "the connection broke while {stage}: {problem}"),
            Self::Trust(problem) => write!(f, "{problem}"),
            Self::Name { wanted, names } if names.is_empty() => {
                write!(f, "its certificate names nobody, and so not {wanted} (subjectAltName is missing)")
            }
            Self::Name { wanted, names } => {
                write!(f, "its certificate is not for {wanted} but for {}", names.join(", "))
            }
            Self::Expired { now, not_after } => write!(
                f,
                "its certificate expired on {}, and our clock says {}: the server's certificate must be renewed, or our clock is wrong",
                Date(*not_after),
                Date(*now)
            ),
            Self::NotYetValid { now, not_before } => write!(
                f,
                "its certificate is not valid before {}, and our clock says {}, which is probably wrong: set it, or see certificate-time-leniency",
                Date(*not_before),
                Date(*now)
            ),
            Self::UnknownIssuer(issuer) => write!(
                f,
                "nobody that we believe stands behind its certificate; the last one in its chain is signed by {issuer}. If that is right, name the \
                 authority's file as certificate-authority; if not, the server leaves out an intermediate certificate, or somebody is in between"
            ),
            Self::ForeignSignature(issuer) => write!(
                f,
                "its certificate claims to be signed by {issuer}, but not with a key of that name that we believe: certificate-authority names the file \
                 of another authority of the same name (an earlier one?), or somebody is in between"
            ),
            Self::AuthorityAsServer => f.write_str(
                "its certificate is that of an authority, which must not be a server's own: sign a server certificate with it",
            ),
            Self::NoCertificate => f.write_str("it showed no certificate"),
            Self::Certificate(problem) => write!(f, "its certificate cannot be accepted: {problem}"),
            Self::Alpn => f.write_str(
                "it speaks TLS but no key exchange (ntske/1): another service listens on this port",
            ),
            Self::Tls(problem) => write!(f, "TLS failed: {problem}"),
            Self::Response(fault) => write!(f, "{fault}"),
        }
    }
}

impl std::error::Error for Failure {}

fn connect(f: &mut fmt::Formatter<'_>, tried: &[(SocketAddr, ConnectError)]) -> fmt::Result {
    f.write_str("no connection")?;
    for (place, (address, error)) in tried.iter().enumerate() {
        let before = if place == 0 { ": " } else { "; " };
        write!(f, "{before}{address} {error}")?;
    }
    Ok(())
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

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.write_str("refuses: nothing listens on that port"),
            Self::NoAnswer => {
                f.write_str("does not answer: it is down, or a firewall drops TCP to that port")
            }
            Self::NoRoute => f.write_str("cannot be reached from here"),
            Self::Other(kind) => write!(f, "failed: {kind}"),
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lookup => "its name was looked up",
            Self::Connect => "connecting",
            Self::Handshake => "TLS was negotiated",
            Self::Exchange => "its response was awaited",
        })
    }
}
