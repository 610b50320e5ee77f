//! How a source is named, addressed, judged and preferred.

use core::fmt;
use core::str::FromStr;
use std::convert::Infallible;
use std::net::SocketAddr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::schema::plain;

/// Identifies a source in use for as long as the process runs; never reused.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct SourceId(pub u32);

impl fmt::Display for SourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Which SRV records of a key-exchange server are used (`srv-verification` in `[[source]]`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SrvVerification {
    /// Those that a validating name server marks as authentic (DNSSEC).
    #[default]
    Dnssec,
    /// All. The certificate of a host from records that are not authentic must be valid for the name
    /// that was looked up.
    Certificate,
    /// All. The certificate must be valid for the host that the records name, although anyone may have
    /// forged them.
    None,
}

/// Where a source's time comes from, for display. No code finds a source by it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SourceAddress {
    /// An NTP server's address and UDP port.
    Socket(SocketAddr),
    /// A device or socket file of a reference clock, for example `/dev/pps0`.
    Device(String),
}

impl SourceAddress {
    /// Returns the address and port of an NTP server, or `None` for a device.
    pub const fn socket(&self) -> Option<SocketAddr> {
        match self {
            Self::Socket(address) => Some(*address),
            Self::Device(_) => None,
        }
    }
}

/// No device.
impl Default for SourceAddress {
    fn default() -> Self {
        Self::Device(String::new())
    }
}

impl fmt::Display for SourceAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(address) => write!(f, "{address}"),
            Self::Device(name) => f.write_str(name),
        }
    }
}

impl FromStr for SourceAddress {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text.parse() {
            Ok(address) => Self::Socket(address),
            Err(_) => Self::Device(text.to_owned()),
        })
    }
}

impl From<SocketAddr> for SourceAddress {
    fn from(address: SocketAddr) -> Self {
        Self::Socket(address)
    }
}

impl Serialize for SourceAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SourceAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let Ok(address) = text.parse();
        Ok(address)
    }
}

/// A source as events and errors name it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceName {
    /// The source in use.
    pub id: SourceId,
    /// The configured name, `host:port` for an NTP server.
    pub name: String,
    /// The address in use.
    pub address: SourceAddress,
}

/// The name, and the address if that says more: `time.example:123 (192.0.2.1:123)`.
impl fmt::Display for SourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.address.to_string();
        if self.name == address {
            f.write_str(&address)
        } else {
            write!(f, "{} ({address})", self.name)
        }
    }
}

/// The result of selection for one source (RFC 5905 section 11.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SourceState {
    /// Part of the majority; its measurements are used.
    Selected,
    /// Part of the majority, but sources with `trust` or `prefer` are used in its place.
    Outranked,
    /// Its correctness interval lies outside that of the majority.
    Falseticker,
    /// A candidate, but the candidates do not agree.
    NoMajority,
    /// Its correctness interval is wider than `maximum-source-uncertainty`.
    TooUncertain,
    /// No measurement yet, or none since the clock was disturbed.
    #[default]
    NoSamples,
    /// No measurement for eight of its poll intervals.
    Stale,
    /// It does not answer: three polls at the start, eight later. If it answers without usable time,
    /// it is unusable.
    Unreachable,
    /// Leads to the same server as another source, which votes for it.
    Duplicate,
    /// Has no vote, because of `fallback` and because enough other sources are usable.
    Standby,
    /// Excluded by `noselect` or by what it reports about itself.
    Unusable,
}

impl SourceState {
    /// All states, in the order in which they are listed to people.
    pub const ALL: [Self; 11] = [
        Self::Selected,
        Self::Outranked,
        Self::Falseticker,
        Self::NoMajority,
        Self::TooUncertain,
        Self::NoSamples,
        Self::Stale,
        Self::Unreachable,
        Self::Duplicate,
        Self::Standby,
        Self::Unusable,
    ];

    /// Returns the name that every interface uses.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Selected => "selected",
            Self::Outranked => "outranked",
            Self::Falseticker => "falseticker",
            Self::NoMajority => "no-majority",
            Self::TooUncertain => "too-uncertain",
            Self::NoSamples => "no-samples",
            Self::Stale => "stale",
            Self::Unreachable => "unreachable",
            Self::Duplicate => "duplicate",
            Self::Standby => "standby",
            Self::Unusable => "unusable",
        }
    }
}

impl fmt::Display for SourceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How the protocol version of a source is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VersionOrigin {
    /// By `ntp-version`.
    #[default]
    Configured,
    /// Negotiated with the server, because `ntp-version` is `auto`.
    Negotiated,
    /// Chosen by the NTS key exchange server.
    KeyExchange,
}

impl VersionOrigin {
    /// Returns the name that every interface uses.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Configured => "configured",
            Self::Negotiated => "negotiated",
            Self::KeyExchange => "key-exchange",
        }
    }
}

impl fmt::Display for VersionOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The operator's restrictions on selection (chrony's source options of the same names).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SelectionOptions {
    /// Used in place of sources without this option, as long as it is part of the majority.
    pub prefer: bool,
    /// While such sources answer, only they vote and are used; others only confirm them.
    pub trust: bool,
    /// Without at least one such source in the majority the clock is not steered.
    pub require: bool,
    /// Measured and shown, never used.
    pub noselect: bool,
    /// Without a vote and not used, until too few sources without this option have been usable for
    /// a while.
    pub fallback: bool,
}

impl SelectionOptions {
    /// Returns the names of the options that are set.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        [
            ("prefer", self.prefer),
            ("trust", self.trust),
            ("require", self.require),
            ("noselect", self.noselect),
            ("fallback", self.fallback),
        ]
        .into_iter()
        .filter_map(|(name, set)| set.then_some(name))
    }
}

/// A list of the options that are set.
impl Serialize for SelectionOptions {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.names())
    }
}

impl<'de> Deserialize<'de> for SelectionOptions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let names = Vec::<String>::deserialize(deserializer)?;
        let set = |option: &str| names.iter().any(|name| name == option);
        Ok(Self {
            prefer: set("prefer"),
            trust: set("trust"),
            require: set("require"),
            noselect: set("noselect"),
            fallback: set("fallback"),
        })
    }
}

plain! {
    "int": SourceId;
    "string": SourceAddress SourceState VersionOrigin;
    "[]string": SelectionOptions;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_have_the_same_name_in_json_and_for_display() {
        for state in SourceState::ALL {
            let json = serde_json::to_string(&state).unwrap();
            assert_eq!(json, format!("\"{state}\""));
            assert_eq!(serde_json::from_str::<SourceState>(&json).unwrap(), state);
        }
    }

    #[test]
    fn an_address_is_a_socket_address_or_a_device() {
        for (text, is_socket) in [
            ("192.0.2.1:123", true),
            ("[2001:db8::1]:123", true),
            ("/dev/pps0", false),
        ] {
            let Ok(address) = text.parse::<SourceAddress>();
            assert_eq!(matches!(address, SourceAddress::Socket(_)), is_socket);
            assert_eq!(address.to_string(), text);
        }
    }

    #[test]
    fn options_are_a_list_of_names_in_json() {
        let options = SelectionOptions {
            trust: true,
            noselect: true,
            ..SelectionOptions::default()
        };
        let json = serde_json::to_string(&options).unwrap();
        assert_eq!(json, r#"["trust","noselect"]"#);
        assert_eq!(
            serde_json::from_str::<SelectionOptions>(&json).unwrap(),
            options
        );
    }
}
