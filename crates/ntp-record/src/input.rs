//! Recorded inputs of the engine.
//!
//! Every kind of input can be replayed: a `match` without a wildcard enforces that a new kind is
//! considered here. What must not be recorded (keys, cookies, encrypted contents) is left out, and
//! [replaced by surrogates](crate::surrogate) in the replay.

use std::net::IpAddr;

use ntp_proto::client::Authenticity;
use ntp_proto::engine::{
    Command, Datagram, EngineConfig, ExchangeId, Input, KeyExchangeError, QueryId, SendError,
    SourceConfig, SourceId,
};
use ntp_proto::leap::LeapTable;
use ntp_proto::nts::KeyExchanged;
use ntp_proto::reference_ids::ServerId;
use ntp_proto::wire::{Packet, v5};
use ntp_time::{Adjustment, Applied, Frequency, NtpDuration, Stamp};
use ntp_types::host::{Host, ScopedIp};
use ntp_types::refclock::{ClockSample, SampleRefusal};
use serde::{Deserialize, Serialize};

use crate::version_5;

/// Octets of a reply that are recorded: the header, and fields of version 5.
const HEADER: usize = 48;

/// An [`Input`] as recorded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "in", rename_all = "kebab-case")]
#[expect(missing_docs, reason = "they are those of `Input`")]
pub enum RecordedInput {
    Tick,
    Shutdown,
    Suspended {
        #[serde(with = "ntp_time::exact")]
        duration: NtpDuration,
    },
    Disrupted {
        marker: u64,
    },
    Sent {
        exchange: ExchangeId,
        timestamp: Stamp,
    },
    Failed {
        exchange: ExchangeId,
        error: SendError,
    },
    Reply {
        exchange: ExchangeId,
        timestamp: Stamp,
        reply: RecordedReply,
    },
    Sample {
        source: SourceId,
        sample: Result<ClockSample, SampleRefusal>,
    },
    Resolved {
        query: QueryId,
        result: Result<Vec<ScopedIp>, String>,
    },
    SourceAddress {
        source: SourceId,
        address: IpAddr,
    },
    Addresses {
        addresses: Vec<IpAddr>,
    },
    ServerId {
        /// Its octets.
        id: Option<[u8; ServerId::LEN]>,
    },
    KeyExchange {
        query: QueryId,
        result: Result<RecordedKeyExchange, KeyExchangeError>,
    },
    KeysRevoked {
        query: QueryId,
        error: KeyExchangeError,
    },
    Applied {
        applied: Applied,
        /// Requested step.
        #[serde(with = "ntp_time::exact")]
        step: Option<NtpDuration>,
        /// Requested frequency.
        #[serde(with = "ntp_time::exact")]
        frequency: Option<Frequency>,
    },
    Command {
        command: Box<Command>,
    },
    Config {
        config: Box<EngineConfig>,
    },
    LeapList {
        /// The text of the list.
        list: Option<String>,
    },
}

/// A received datagram as recorded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedReply {
    /// The header, or less if the datagram was shorter. In version 5 also the fields that are no
    /// secret.
    #[serde(with = "hex")]
    pub header: Vec<u8>,
    /// The datagram was longer than the buffer.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub truncated: bool,
    /// Hop limit with which it arrived, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hop_limit: Option<u8>,
    /// The datagram was not a valid packet.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub malformed: bool,
    /// Result of its authentication.
    pub evidence: Authenticity,
}

/// The result of a key exchange as recorded, without the keys and cookies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedKeyExchange {
    /// Address of the key-exchange server.
    pub from: ScopedIp,
    /// Name by which a pool knows the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<String>,
    /// Number of the negotiated AEAD algorithm.
    pub algorithm: u16,
    /// Whether there is a second way to derive the keys.
    pub legacy: bool,
    /// Number of cookies.
    pub cookies: usize,
    /// Negotiated NTP server, if any.
    pub server: Option<String>,
    /// Negotiated port, if any.
    pub port: Option<u16>,
    /// Name of the draft of NTPv5, if that was negotiated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draft: Option<String>,
}

impl RecordedKeyExchange {
    fn new(exchanged: &KeyExchanged) -> Self {
        let result = &exchanged.result;
        Self {
            from: exchanged.from,
            member: exchanged.member.clone(),
            algorithm: result.keys.algorithm().id(),
            legacy: result.legacy_keys.is_some(),
            cookies: result.cookies.len(),
            server: result.server.as_ref().map(Host::to_string),
            port: result.port,
            draft: result.protocol.draft().map(str::to_owned),
        }
    }
}

impl RecordedReply {
    fn new(datagram: &Datagram<'_>, evidence: Authenticity) -> Self {
        let payload = datagram.payload;
        let (header, malformed) = match v5::Packet::parse(payload) {
            Ok(packet) => (version_5::recorded(&packet), false),
            Err(_) => {
                let length = payload.len().min(HEADER);
                (payload[..length].to_vec(), Packet::parse(payload).is_err())
            }
        };
        Self {
            header,
            truncated: datagram.truncated,
            hop_limit: datagram.hop_limit,
            malformed,
            evidence,
        }
    }
}

impl RecordedInput {
    /// Returns the recorded form of an input. `requested` is the adjustment that a `ClockApplied`
    /// answers, `evidence` the result of a datagram's authentication.
    pub fn new(input: &Input<'_>, requested: Option<&Adjustment>, evidence: Authenticity) -> Self {
        match input {
            Input::Datagram(datagram) => Self::Reply {
                exchange: datagram.exchange,
                timestamp: datagram.received,
                reply: RecordedReply::new(datagram, evidence),
            },
            Input::Transmitted { exchange, stamp } => Self::Sent {
                exchange: *exchange,
                timestamp: *stamp,
            },
            Input::SendFailed { exchange, error } => Self::Failed {
                exchange: *exchange,
                error: *error,
            },
            Input::Sample { source, sample } => Self::Sample {
                source: *source,
                sample: *sample,
            },
            Input::Resolved { query, result } => Self::Resolved {
                query: *query,
                result: result
                    .map(<[ScopedIp]>::to_vec)
                    .map_err(|error| error.to_string()),
            },
            Input::KeyExchanged { query, result } => Self::KeyExchange {
                query: *query,
                result: result
                    .map(RecordedKeyExchange::new)
                    .map_err(KeyExchangeError::clone),
            },
            Input::KeysRevoked { query, error } => Self::KeysRevoked {
                query: *query,
                error: (*error).clone(),
            },
            Input::LocalAddress { source, address } => Self::SourceAddress {
                source: *source,
                address: *address,
            },
            Input::LocalAddresses(addresses) => Self::Addresses {
                addresses: addresses.to_vec(),
            },
            Input::ServerId(id) => Self::ServerId {
                id: id.map(ServerId::octets),
            },
            Input::ClockApplied(applied) => Self::Applied {
                applied: *applied,
                step: requested.and_then(|requested| requested.step),
                frequency: requested.and_then(|requested| requested.frequency),
            },
            Input::Suspended(duration) => Self::Suspended {
                duration: *duration,
            },
            Input::Disrupted { marker } => Self::Disrupted { marker: *marker },
            Input::Command(_, command) => Self::Command {
                command: Box::new((*command).clone()),
            },
            Input::Reconfigure(_, config) => Self::Config {
                config: Box::new((*config).clone()),
            },
            Input::LeapList(table) => Self::LeapList {
                list: table.map(LeapTable::to_text),
            },
            Input::Tick => Self::Tick,
            Input::Shutdown => Self::Shutdown,
        }
    }

    /// Describes an operator's command or reload; `None` for other inputs.
    pub fn operator_request(&self) -> Option<String> {
        match self {
            Self::Command { command } => Some(command.to_string()),
            Self::Config { .. } => Some("reload".to_owned()),
            _ => None,
        }
    }

    /// Returns the configured sources in this input.
    pub(crate) fn sources(&self) -> &[SourceConfig] {
        match self {
            Self::Command { command } => match &**command {
                Command::Add(source) | Command::Replace(_, source) => core::slice::from_ref(source),
                _ => &[],
            },
            Self::Config { config } => &config.sources,
            _ => &[],
        }
    }

    /// Returns the configured sources in this input.
    pub(crate) fn sources_mut(&mut self) -> &mut [SourceConfig] {
        match self {
            Self::Command { command } => match &mut **command {
                Command::Add(source) | Command::Replace(_, source) => core::slice::from_mut(source),
                _ => &mut [],
            },
            Self::Config { config } => &mut config.sources,
            _ => &mut [],
        }
    }
}

/// At most [`version_5::LONGEST`] octets, as hexadecimal digits.
mod hex {
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        octets: &[u8],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let digits: String = octets.iter().map(|octet| format!("{octet:02x}")).collect();
        serializer.serialize_str(&digits)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digits = text.chars().map(|digit| Some(digit.to_digit(16)? as u8));
        let digits: Option<Vec<u8>> = digits.collect();
        digits
            .filter(|digits| digits.len() % 2 == 0 && digits.len() <= 2 * super::version_5::LONGEST)
            .map(|digits| {
                digits
                    .chunks(2)
                    .map(|pair| pair[0] << 4 | pair[1])
                    .collect()
            })
            .ok_or_else(|| D::Error::custom("invalid octets"))
    }
}
