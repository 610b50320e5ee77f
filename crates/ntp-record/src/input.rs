//! Recorded inputs of the engine.
//!
//! Every kind of input can be replayed: a `match` without a wildcard enforces that a new kind is
//! considered here. What must not be recorded (keys, cookies, encrypted contents) is left out, and
//! [replaced by surrogates](crate::surrogate) in the replay.

use std::net::IpAddr;

use ntp_proto::client::Authenticity;
use ntp_proto::engine::{
    ClockSample, Command, EngineConfig, ExchangeId, Input, QueryId, SendError, SourceConfig,
    SourceId,
};
use ntp_proto::leap::LeapTable;
use ntp_proto::nts::{AeadAlgorithm, KeyExchanged};
use ntp_proto::wire::Packet;
use ntp_time::{
    Adjustment, Applied, Frequency, LeapIndicator, NtpDuration, Stamp, StampSource, SystemTime,
};
use serde::{Deserialize, Serialize};

use crate::plain;

/// Octets of a reply that are recorded: the header.
const HEADER: usize = 48;

/// An [`Input`] as recorded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "in", rename_all = "kebab-case")]
#[expect(missing_docs, reason = "they are those of `Input`")]
pub enum RecordedInput {
    Tick,
    Shutdown,
    Suspended {
        #[serde(with = "plain")]
        duration: NtpDuration,
    },
    Sent {
        #[serde(with = "plain")]
        exchange: ExchangeId,
        #[serde(with = "StampCopy")]
        timestamp: Stamp,
    },
    Failed {
        #[serde(with = "plain")]
        exchange: ExchangeId,
        error: SendError,
    },
    Reply {
        #[serde(with = "plain")]
        exchange: ExchangeId,
        #[serde(with = "StampCopy")]
        timestamp: Stamp,
        reply: RecordedReply,
    },
    Sample {
        #[serde(with = "plain")]
        source: SourceId,
        #[serde(with = "ClockSampleCopy")]
        sample: ClockSample,
    },
    Resolved {
        #[serde(with = "plain")]
        query: QueryId,
        result: Result<Vec<IpAddr>, String>,
    },
    Addresses {
        addresses: Vec<IpAddr>,
    },
    KeyExchange {
        #[serde(with = "plain")]
        query: QueryId,
        result: Result<RecordedKeyExchange, String>,
    },
    KeysRevoked {
        #[serde(with = "plain")]
        query: QueryId,
        reason: String,
    },
    Applied {
        #[serde(with = "AppliedCopy")]
        applied: Applied,
        /// Requested step.
        #[serde(with = "plain")]
        step: Option<NtpDuration>,
        /// Requested frequency.
        #[serde(with = "plain")]
        frequency: Option<Frequency>,
    },
    Command {
        #[serde(with = "plain")]
        command: Box<Command>,
    },
    Config {
        #[serde(with = "plain")]
        config: Box<EngineConfig>,
    },
    LeapList {
        #[serde(with = "plain")]
        list: Option<LeapTable>,
    },
}

/// A received datagram as recorded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedReply {
    /// The header, or less if the datagram was shorter.
    #[serde(with = "hex")]
    pub header: Vec<u8>,
    /// The datagram was longer than the buffer.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub truncated: bool,
    /// The datagram was not a valid packet.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub malformed: bool,
    /// Result of its authentication.
    #[serde(with = "EvidenceCopy")]
    pub evidence: Authenticity,
}

/// The result of a key exchange as recorded, without the keys and cookies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedKeyExchange {
    /// Address of the key-exchange server.
    pub from: IpAddr,
    /// Negotiated algorithm.
    #[serde(with = "plain")]
    pub algorithm: AeadAlgorithm,
    /// Whether there is a second way to derive the keys.
    pub legacy: bool,
    /// Number of cookies.
    pub cookies: usize,
    /// Negotiated NTP server, if any.
    pub server: Option<String>,
    /// Negotiated port, if any.
    pub port: Option<u16>,
}

impl RecordedKeyExchange {
    fn new(exchanged: &KeyExchanged) -> Self {
        let result = &exchanged.result;
        Self {
            from: exchanged.from,
            algorithm: result.keys.algorithm(),
            legacy: result.legacy_keys.is_some(),
            cookies: result.cookies.len(),
            server: result.server.clone(),
            port: result.port,
        }
    }
}

impl RecordedInput {
    /// Returns the recorded form of an input. `requested` is the adjustment that a `ClockApplied`
    /// answers, `evidence` the result of a datagram's authentication.
    pub fn new(input: &Input<'_>, requested: Option<&Adjustment>, evidence: Authenticity) -> Self {
        match input {
            Input::Datagram(datagram) => {
                let length = datagram.payload.len().min(HEADER);
                Self::Reply {
                    exchange: datagram.exchange,
                    timestamp: datagram.received,
                    reply: RecordedReply {
                        header: datagram.payload[..length].to_vec(),
                        truncated: datagram.truncated,
                        malformed: Packet::parse(datagram.payload).is_err(),
                        evidence,
                    },
                }
            }
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
                    .map(<[IpAddr]>::to_vec)
                    .map_err(|error| error.to_string()),
            },
            Input::KeyExchanged { query, result } => Self::KeyExchange {
                query: *query,
                result: result
                    .map(RecordedKeyExchange::new)
                    .map_err(|error| error.to_string()),
            },
            Input::KeysRevoked { query, reason } => Self::KeysRevoked {
                query: *query,
                reason: (*reason).to_owned(),
            },
            Input::LocalAddresses(addresses) => Self::Addresses {
                addresses: addresses.to_vec(),
            },
            Input::ClockApplied(applied) => Self::Applied {
                applied: *applied,
                step: requested.and_then(|requested| requested.step),
                frequency: requested.and_then(|requested| requested.frequency),
            },
            Input::Suspended(duration) => Self::Suspended {
                duration: *duration,
            },
            Input::Command(_, command) => Self::Command {
                command: Box::new((*command).clone()),
            },
            Input::Reconfigure(_, config) => Self::Config {
                config: Box::new((*config).clone()),
            },
            Input::LeapList(table) => Self::LeapList {
                list: table.cloned(),
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

#[derive(Serialize, Deserialize)]
#[serde(remote = "Stamp")]
struct StampCopy {
    #[serde(with = "plain")]
    time: SystemTime,
    #[serde(with = "StampSourceCopy")]
    source: StampSource,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "ClockSample")]
struct ClockSampleCopy {
    #[serde(with = "StampCopy")]
    at: Stamp,
    #[serde(with = "plain")]
    offset: NtpDuration,
    leap: LeapIndicator,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "StampSource", rename_all = "kebab-case")]
enum StampSourceCopy {
    Daemon,
    Kernel,
    Hardware,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Applied")]
struct AppliedCopy {
    #[serde(with = "plain")]
    at: SystemTime,
    #[serde(with = "plain")]
    step: NtpDuration,
    #[serde(with = "plain")]
    frequency: Frequency,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Authenticity", rename_all = "kebab-case")]
enum EvidenceCopy {
    NotChecked,
    Authentic { cookies: usize },
    Nak,
    Unauthenticated,
}

/// At most a header of octets, as hexadecimal digits.
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
            .filter(|digits| digits.len() % 2 == 0 && digits.len() <= 2 * super::HEADER)
            .map(|digits| {
                digits
                    .chunks(2)
                    .map(|pair| pair[0] << 4 | pair[1])
                    .collect()
            })
            .ok_or_else(|| D::Error::custom("invalid octets"))
    }
}
