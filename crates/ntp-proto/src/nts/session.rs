//! Result of a key exchange for a client.

use ntp_types::host::{Host, ScopedIp};

use super::{Cookie, SessionKeys, exchange::NTPV4};
use crate::wire::Version;
use crate::wire::v5::draft;

/// The protocol that a key exchange negotiated (RFC 8915 section 4.1.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NextProtocol {
    /// NTPv4.
    #[default]
    NtpV4,
    /// NTPv5 under this name of its draft, one of [`draft::NAMES`].
    NtpV5(&'static str),
}

impl NextProtocol {
    /// Number in IANA's registry, or the draft's.
    pub const fn id(self) -> u16 {
        match self {
            Self::NtpV4 => NTPV4,
            Self::NtpV5(_) => draft::NTS_PROTOCOL,
        }
    }

    /// Version of the packets.
    pub const fn version(self) -> Version {
        match self {
            Self::NtpV4 => Version::V4,
            Self::NtpV5(_) => Version::V5,
        }
    }

    /// Name of the draft, for version 5.
    pub const fn draft(self) -> Option<&'static str> {
        match self {
            Self::NtpV4 => None,
            Self::NtpV5(name) => Some(name),
        }
    }
}

/// Result of a successful key exchange (RFC 8915 section 4).
#[derive(Clone, Debug)]
pub struct KeyExchangeResult {
    /// The protocol for which the keys are.
    pub protocol: NextProtocol,
    /// The session's keys, exported in the context that RFC 8915 prescribes.
    pub keys: SessionKeys,
    /// Keys as chrony 4.4 to 4.6.0 derives them; see [`exporter_context`](super::exporter_context).
    /// Set if AES-128-GCM-SIV was negotiated and the server did not confirm (record 1024) that it
    /// derives keys as the RFC prescribes. Used if the server refuses the others.
    pub legacy_keys: Option<SessionKeys>,
    /// Cookies, at least one. More than [`Cookie::MAX_STORED`] are not used.
    pub cookies: Vec<Cookie>,
    /// Address or name of the NTP server, if the exchange named one; otherwise it is the host of
    /// the key exchange.
    pub server: Option<Host>,
    /// UDP port of the NTP server, not 0, if the exchange named one; otherwise 123.
    pub port: Option<u16>,
}

/// A key exchange and its server, as the engine's input.
#[derive(Clone, Debug)]
pub struct KeyExchanged {
    /// Address of the key-exchange server, which is that of the NTP server too if none was named
    /// (RFC 8915 section 4.1.7).
    pub from: ScopedIp,
    /// For a pool, the name by which it knows the NTP server: exactly what its response names, or the
    /// host of the key exchange if that was selected by a record of type SRV.
    pub member: Option<String>,
    /// The result.
    pub result: KeyExchangeResult,
}
