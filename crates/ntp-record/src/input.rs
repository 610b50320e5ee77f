//! An input of the engine, as it is kept.
//!
//! Every kind of input can be given again: a match without a rest sees to it that a new kind is thought of here. What must not be kept (keys, cookies, whatever only
//! whoever holds them can read) is left out of it on the way in, and [stood in for](crate::surrogate) on the way out.

use std::net::IpAddr;

use ntp_proto::client::Evidence;
use ntp_proto::engine::{
    Command, EngineConfig, ExchangeId, Input, ResolveId, SendError, SourceConfig,
};
use ntp_proto::leap::LeapTable;
use ntp_proto::nts::{AeadAlgorithm, KeyExchanged};
use ntp_proto::wire::Packet;
use ntp_time::{Adjustment, Applied, Frequency, NtpDuration, Stamp, SystemTime};
use serde_json::{Map, Value, json};

use crate::config;
use crate::json::{
    duration, frequency, of_addresses, of_exchange, of_stamp, optional, to_addresses, to_duration,
    to_exchange, to_frequency, to_stamp,
};
use crate::surrogate::Redactor;

/// Octets of a reply that are kept: the header.
const HEADER: usize = 48;

/// An [`Input`] as it is kept.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "they are those of `Input`")]
pub enum RecordedInput {
    Tick,
    Shutdown,
    Suspended(NtpDuration),
    Sent(ExchangeId, Stamp),
    Failed(ExchangeId, SendError),
    Reply(ExchangeId, Stamp, RecordedReply),
    Resolved(ResolveId, Result<Vec<IpAddr>, String>),
    Addresses(Vec<IpAddr>),
    Keys(ResolveId, Result<RecordedKeyExchange, String>),
    Revoked(ResolveId, String),
    /// What the clock answered, and what it had been asked for: step and frequency.
    Applied(Applied, Option<NtpDuration>, Option<Frequency>),
    Command(Box<Command>),
    Config(Box<EngineConfig>),
    LeapList(Option<LeapTable>),
}

/// What matters of a datagram.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordedReply {
    /// Its header, or less if it was shorter.
    pub header: Vec<u8>,
    /// It was longer than the buffer.
    pub truncated: bool,
    /// Whatever it was, it was no packet.
    pub malformed: bool,
    /// What it proved.
    pub evidence: Evidence,
}

/// What matters of a key exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedKeyExchange {
    /// Where it was.
    pub from: IpAddr,
    /// The cipher.
    pub algorithm: AeadAlgorithm,
    /// Whether there is a second way to derive the keys.
    pub legacy: bool,
    /// Cookies.
    pub cookies: usize,
    /// The NTP server, if one was named.
    pub server: Option<String>,
    /// Its port, if one was named.
    pub port: Option<u16>,
}

impl RecordedKeyExchange {
    fn of(exchanged: &KeyExchanged) -> Self {
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
    /// What to keep of an input. `requested` is the adjustment that a `ClockApplied` answers, `evidence` what a datagram proved.
    pub fn of(input: &Input<'_>, requested: Option<&Adjustment>, evidence: Evidence) -> Self {
        match input {
            Input::Datagram(datagram) => {
                let length = datagram.payload.len().min(HEADER);
                let reply = RecordedReply {
                    header: datagram.payload[..length].to_vec(),
                    truncated: datagram.truncated,
                    malformed: Packet::parse(datagram.payload).is_err(),
                    evidence,
                };
                Self::Reply(datagram.exchange, datagram.received, reply)
            }
            Input::Transmitted { exchange, stamp } => Self::Sent(*exchange, *stamp),
            Input::SendFailed { exchange, error } => Self::Failed(*exchange, *error),
            Input::Resolved { query, result } => Self::Resolved(
                *query,
                result.map(<[IpAddr]>::to_vec).map_err(str::to_owned),
            ),
            Input::KeyExchanged { query, result } => Self::Keys(
                *query,
                result.map(RecordedKeyExchange::of).map_err(str::to_owned),
            ),
            Input::KeysRevoked { query, reason } => Self::Revoked(*query, (*reason).to_owned()),
            Input::LocalAddresses(addresses) => Self::Addresses(addresses.to_vec()),
            Input::ClockApplied(applied) => Self::Applied(
                *applied,
                requested.and_then(|requested| requested.step),
                requested.and_then(|requested| requested.frequency),
            ),
            Input::Suspended(by) => Self::Suspended(*by),
            Input::Command(_, command) => Self::Command(Box::new((*command).clone())),
            Input::Reconfigure(_, config) => Self::Config(Box::new((*config).clone())),
            Input::LeapList(table) => Self::LeapList(table.cloned()),
            Input::Tick => Self::Tick,
            Input::Shutdown => Self::Shutdown,
        }
    }

    /// If an operator is behind it: what was asked for, in words.
    pub fn operator_request(&self) -> Option<String> {
        match self {
            Self::Command(command) => Some(command.to_string()),
            Self::Config(_) => Some("reload".to_owned()),
            _ => None,
        }
    }

    /// Adds it to a line.
    pub(crate) fn encode(&self, line: &mut Map<String, Value>, redactor: &mut Redactor) {
        let mut set = |name: &str, value: Value| {
            line.insert(name.to_owned(), value);
        };
        let kind = match self {
            Self::Tick => "tick",
            Self::Shutdown => "shutdown",
            Self::Suspended(by) => {
                set("by", duration(*by));
                "suspended"
            }
            Self::Sent(exchange, stamp) => {
                set("x", of_exchange(*exchange));
                set("stamp", of_stamp(*stamp));
                "sent"
            }
            Self::Failed(exchange, error) => {
                set("x", of_exchange(*exchange));
                set("error", of_send_error(*error));
                "failed"
            }
            Self::Reply(exchange, stamp, reply) => {
                set("x", of_exchange(*exchange));
                set("stamp", of_stamp(*stamp));
                set("header", of_octets(&reply.header));
                if reply.truncated {
                    set("truncated", true.into());
                }
                if reply.malformed {
                    set("malformed", true.into());
                }
                if let Some(proof) = of_evidence(reply.evidence) {
                    set("proof", proof);
                }
                "reply"
            }
            Self::Resolved(query, result) => {
                set("query", query.0.into());
                match result {
                    Ok(addresses) => set("addresses", of_addresses(addresses)),
                    Err(error) => set("error", error.clone().into()),
                }
                "resolved"
            }
            Self::Addresses(addresses) => {
                set("addresses", of_addresses(addresses));
                "addresses"
            }
            Self::Keys(query, result) => {
                set("query", query.0.into());
                match result {
                    Ok(exchange) => set("granted", of_exchange_result(exchange)),
                    Err(error) => set("error", error.clone().into()),
                }
                "keys"
            }
            Self::Revoked(query, reason) => {
                set("query", query.0.into());
                set("reason", reason.clone().into());
                "revoked"
            }
            Self::Applied(applied, step, requested) => {
                set("at", applied.at.as_nanos().into());
                set("step", duration(applied.step));
                set("frequency", frequency(applied.frequency));
                set(
                    "wanted",
                    json!([step.map(duration), requested.map(frequency)]),
                );
                "applied"
            }
            Self::Command(command) => {
                set("command", of_command(command, redactor));
                "command"
            }
            Self::Config(config) => {
                set("config", config::encode(config, redactor));
                "config"
            }
            Self::LeapList(table) => {
                set("list", table.as_ref().map(LeapTable::to_text).into());
                "leap-list"
            }
        };
        set("in", kind.into());
    }

    pub(crate) fn decode(value: &Value) -> Option<Self> {
        let query = || Some(ResolveId(usize::try_from(value["query"].as_u64()?).ok()?));
        let text = |name: &str| value[name].as_str().map(str::to_owned);
        Some(match value["in"].as_str()? {
            "tick" => Self::Tick,
            "shutdown" => Self::Shutdown,
            "suspended" => Self::Suspended(to_duration(&value["by"])?),
            "sent" => Self::Sent(to_exchange(&value["x"])?, to_stamp(&value["stamp"])?),
            "failed" => Self::Failed(to_exchange(&value["x"])?, to_send_error(&value["error"])?),
            "reply" => Self::Reply(
                to_exchange(&value["x"])?,
                to_stamp(&value["stamp"])?,
                RecordedReply {
                    header: to_octets(value["header"].as_str()?)?,
                    truncated: value["truncated"].as_bool().unwrap_or(false),
                    malformed: value["malformed"].as_bool().unwrap_or(false),
                    evidence: to_evidence(&value["proof"])?,
                },
            ),
            "resolved" => Self::Resolved(
                query()?,
                match text("error") {
                    Some(error) => Err(error),
                    None => Ok(to_addresses(&value["addresses"])?),
                },
            ),
            "addresses" => Self::Addresses(to_addresses(&value["addresses"])?),
            "keys" => Self::Keys(
                query()?,
                match text("error") {
                    Some(error) => Err(error),
                    None => Ok(to_exchange_result(&value["granted"])?),
                },
            ),
            "revoked" => Self::Revoked(query()?, text("reason")?),
            "applied" => Self::Applied(
                Applied {
                    at: SystemTime::from_nanos(value["at"].as_i64()?),
                    step: to_duration(&value["step"])?,
                    frequency: to_frequency(&value["frequency"])?,
                },
                optional(&value["wanted"][0], to_duration)?,
                optional(&value["wanted"][1], to_frequency)?,
            ),
            "command" => Self::Command(Box::new(to_command(&value["command"])?)),
            "config" => Self::Config(Box::new(config::decode(&value["config"])?)),
            "leap-list" => Self::LeapList(optional(&value["list"], |text| {
                LeapTable::parse(text.as_str()?).ok()
            })?),
            _ => return None,
        })
    }
}

fn of_send_error(error: SendError) -> Value {
    match error {
        SendError::NoRoute => "no-route".into(),
        SendError::Refused => "refused".into(),
        SendError::Forbidden => "forbidden".into(),
        SendError::Other(errno) => errno.into(),
    }
}

fn to_send_error(value: &Value) -> Option<SendError> {
    Some(match value.as_str() {
        Some("no-route") => SendError::NoRoute,
        Some("refused") => SendError::Refused,
        Some("forbidden") => SendError::Forbidden,
        Some(_) => return None,
        None => SendError::Other(i32::try_from(value.as_i64()?).ok()?),
    })
}

/// The number of cookies if it was authentic: for most replies 0, or 1 with NTS.
fn of_evidence(evidence: Evidence) -> Option<Value> {
    match evidence {
        Evidence::Unasked => None,
        Evidence::Authentic { cookies } => Some(cookies.into()),
        Evidence::Refusal => Some("refusal".into()),
        Evidence::Nothing => Some("nothing".into()),
    }
}

fn to_evidence(value: &Value) -> Option<Evidence> {
    if value.is_null() {
        return Some(Evidence::Unasked);
    }
    Some(match value.as_str() {
        Some("refusal") => Evidence::Refusal,
        Some("nothing") => Evidence::Nothing,
        Some(_) => return None,
        None => Evidence::Authentic {
            cookies: usize::try_from(value.as_u64()?).ok()?,
        },
    })
}

fn of_exchange_result(exchange: &RecordedKeyExchange) -> Value {
    json!({
        "from": exchange.from.to_string(), "algorithm": exchange.algorithm.id(), "legacy": exchange.legacy,
        "cookies": exchange.cookies, "server": exchange.server, "port": exchange.port,
    })
}

fn to_exchange_result(value: &Value) -> Option<RecordedKeyExchange> {
    let number = |value: &Value| u16::try_from(value.as_u64()?).ok();
    Some(RecordedKeyExchange {
        from: value["from"].as_str()?.parse().ok()?,
        algorithm: AeadAlgorithm::from_id(number(&value["algorithm"])?)?,
        legacy: value["legacy"].as_bool()?,
        cookies: usize::try_from(value["cookies"].as_u64()?).ok()?,
        server: optional(&value["server"], |name| Some(name.as_str()?.to_owned()))?,
        port: optional(&value["port"], number)?,
    })
}

fn of_command(command: &Command, redactor: &mut Redactor) -> Value {
    let mut source = |source: &SourceConfig| config::source(source, redactor);
    match command {
        Command::Add(new) => json!({ "add": source(new) }),
        Command::Remove(name) => json!({ "remove": name }),
        Command::Online(name) => json!({ "online": name }),
        Command::Offline(name) => json!({ "offline": name }),
        Command::Burst(name) => json!({ "burst": name }),
        Command::Replace(name, new) => json!({ "replace": [name, source(new)] }),
        Command::Step { forced } => json!({ "step": forced }),
    }
}

fn to_command(value: &Value) -> Option<Command> {
    let text = |value: &Value| Some(value.as_str()?.to_owned());
    let name = |value: &Value| optional(value, text);
    let (kind, value) = value.as_object()?.iter().next()?;
    Some(match kind.as_str() {
        "add" => Command::Add(config::to_source(value)?),
        "remove" => Command::Remove(text(value)?),
        "online" => Command::Online(name(value)?),
        "offline" => Command::Offline(name(value)?),
        "burst" => Command::Burst(name(value)?),
        "replace" => Command::Replace(text(&value[0])?, config::to_source(&value[1])?),
        "step" => Command::Step {
            forced: value.as_bool()?,
        },
        _ => return None,
    })
}

fn of_octets(octets: &[u8]) -> Value {
    let digits: String = octets.iter().map(|octet| format!("{octet:02x}")).collect();
    digits.into()
}

fn to_octets(hex: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = hex
        .chars()
        .map(|digit| digit.to_digit(16).map(|d| d as u8))
        .collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0 && digits.len() <= 2 * HEADER)?;
    let octets = digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]);
    Some(octets.collect())
}
