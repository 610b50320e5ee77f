//! One line of the record, written and read.

use std::fmt;
use std::net::IpAddr;

use ntp_proto::client::Protection;
use ntp_proto::engine::{
    Drawn, EngineConfig, Event, ExchangeId, Input, Now, ResolveId, SendError, Severity,
    SourceConfig, SourceId,
};
use ntp_proto::leap::LeapTable;
use ntp_time::{Adjustment, Applied, Monotonic, NtpDuration, Stamp, StampSource, SystemTime};
use serde_json::{Map, Value, json};

use crate::config::{self, duration, frequency, optional, to_duration, to_frequency};

/// The format of the lines; another one is refused.
const FORMAT: u64 = 1;
/// Octets of a reply that are kept: the header.
const HEADER: usize = 48;

/// One line.
#[derive(Clone, Debug, PartialEq)]
pub enum Line {
    /// An engine begins.
    Start {
        /// With this.
        config: Box<EngineConfig>,
        /// Then.
        monotonic: Monotonic,
        /// Then.
        system: SystemTime,
        /// An engine was running already, and what it knew is not in this file.
        midway: bool,
        /// Some source's packets are authenticated, which a replay does not check.
        protected: bool,
        /// The version of the daemon.
        version: String,
    },
    /// It is told something, and draws random numbers.
    Told {
        /// When: monotonic.
        monotonic: Monotonic,
        /// When: the disciplined clock.
        system: SystemTime,
        /// What.
        told: Told,
        /// The numbers.
        drawn: Drawn,
    },
    /// An exchange ended.
    Closed(ExchangeId),
    /// Somebody was told this.
    Event(String),
    /// So many lines are missing.
    Dropped(u64),
}

/// An [`Input`] as it is kept.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "they are those of `Input`")]
pub enum Told {
    Tick,
    Shutdown,
    Suspended(NtpDuration),
    Sent(ExchangeId, Stamp),
    Failed(ExchangeId, SendError),
    /// The header of what arrived.
    Reply(ExchangeId, Stamp, Vec<u8>),
    Resolved(ResolveId, Result<Vec<IpAddr>, String>),
    Addresses(Vec<IpAddr>),
    /// What the clock answered, and what it had been asked for: step and frequency.
    Applied(Applied, Option<NtpDuration>, Option<ntp_time::Frequency>),
    Config(Box<EngineConfig>),
    LeapList(Option<LeapTable>),
    /// Can't be replayed; what kind it was, for people.
    Other(String),
}

/// The text is not a line of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a line of a record, or of one that another version wrote")
    }
}

impl std::error::Error for Malformed {}

impl Told {
    /// What to keep of an input. `wanted` is the adjustment that a `ClockApplied` answers.
    pub fn of(input: &Input<'_>, wanted: Option<&Adjustment>) -> Self {
        match input {
            Input::Datagram(datagram) => {
                let length = datagram.payload.len().min(HEADER);
                let header = datagram.payload[..length].to_vec();
                Self::Reply(datagram.exchange, datagram.received, header)
            }
            Input::Transmitted { exchange, stamp } => Self::Sent(*exchange, *stamp),
            Input::SendFailed { exchange, error } => Self::Failed(*exchange, *error),
            Input::Resolved { query, result } => Self::Resolved(
                *query,
                result.map(<[IpAddr]>::to_vec).map_err(str::to_owned),
            ),
            Input::LocalAddresses(addresses) => Self::Addresses(addresses.to_vec()),
            Input::ClockApplied(applied) => Self::Applied(
                *applied,
                wanted.and_then(|wanted| wanted.step),
                wanted.and_then(|wanted| wanted.frequency),
            ),
            Input::Suspended(by) => Self::Suspended(*by),
            Input::Reconfigure(_, config) => Self::Config(Box::new((*config).clone())),
            Input::LeapList(table) => Self::LeapList(table.cloned()),
            Input::Tick => Self::Tick,
            Input::Shutdown => Self::Shutdown,
            // Named without its parts: there are keys among them.
            other => Self::Other(
                format!("{other:?}")
                    .chars()
                    .take_while(|letter| letter.is_alphanumeric())
                    .collect(),
            ),
        }
    }
}

impl Line {
    /// The first line.
    pub fn start(config: EngineConfig, now: Now, version: &str) -> Self {
        let unprotected = |source: &SourceConfig| source.terms.protection == Protection::None;
        Self::Start {
            protected: !config.sources.iter().all(unprotected),
            config: Box::new(config),
            monotonic: now.monotonic,
            system: now.system,
            midway: false,
            version: version.to_owned(),
        }
    }

    /// The line of an input.
    pub fn told(now: Now, told: Told, drawn: Drawn) -> Self {
        Self::Told {
            monotonic: now.monotonic,
            system: now.system,
            told,
            drawn,
        }
    }

    /// The line of an event, unless it only repeats what the lines before it say.
    pub fn event(event: &Event) -> Option<Self> {
        (event.severity() > Severity::Debug).then(|| Self::Event(event.to_string()))
    }

    /// Its text, without a line end.
    pub fn encode(&self) -> String {
        let value = match self {
            Self::Start {
                config,
                monotonic,
                system,
                midway,
                protected,
                version,
            } => json!({
                "start": FORMAT, "version": version, "m": monotonic.as_nanos(), "s": system.as_nanos(),
                "midway": midway, "protected": protected, "config": config::encode(config),
            }),
            Self::Told {
                monotonic,
                system,
                told,
                drawn,
            } => {
                let mut line = Map::new();
                line.insert("in".into(), Value::Null);
                line.insert("m".into(), monotonic.as_nanos().into());
                line.insert("s".into(), system.as_nanos().into());
                told.encode(&mut line);
                if *drawn != Drawn::default() {
                    line.insert("d".into(), json!([drawn.words, drawn.longs]));
                }
                Value::Object(line)
            }
            Self::Closed(exchange) => json!({ "closed": of_exchange(*exchange) }),
            Self::Event(text) => json!({ "event": text }),
            Self::Dropped(count) => json!({ "dropped": count }),
        };
        value.to_string()
    }

    /// Reads a line.
    ///
    /// # Errors
    /// If it is none.
    pub fn decode(text: &str) -> Result<Self, Malformed> {
        let value: Value = serde_json::from_str(text).map_err(|_| Malformed)?;
        decode(&value).ok_or(Malformed)
    }
}

impl Told {
    fn encode(&self, line: &mut Map<String, Value>) {
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
                set(
                    "error",
                    match error {
                        SendError::NoRoute => "no-route".into(),
                        SendError::Refused => "refused".into(),
                        SendError::Forbidden => "forbidden".into(),
                        SendError::Other(errno) => (*errno).into(),
                    },
                );
                "failed"
            }
            Self::Reply(exchange, stamp, header) => {
                set("x", of_exchange(*exchange));
                set("stamp", of_stamp(*stamp));
                let hex: String = header.iter().map(|octet| format!("{octet:02x}")).collect();
                set("header", hex.into());
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
            Self::Applied(applied, step, wanted) => {
                set("at", applied.at.as_nanos().into());
                set("step", duration(applied.step));
                set("frequency", frequency(applied.frequency));
                set("wanted", json!([step.map(duration), wanted.map(frequency)]));
                "applied"
            }
            Self::Config(config) => {
                set("config", config::encode(config));
                "config"
            }
            Self::LeapList(table) => {
                set("list", table.as_ref().map(LeapTable::to_text).into());
                "leap-list"
            }
            Self::Other(name) => {
                set("kind", name.clone().into());
                "other"
            }
        };
        set("in", kind.into());
    }
}

fn decode(value: &Value) -> Option<Line> {
    if let Some(format) = value.get("start") {
        if format.as_u64()? != FORMAT {
            return None;
        }
        return Some(Line::Start {
            config: Box::new(config::decode(&value["config"])?),
            monotonic: Monotonic::from_nanos(value["m"].as_i64()?),
            system: SystemTime::from_nanos(value["s"].as_i64()?),
            midway: value["midway"].as_bool()?,
            protected: value["protected"].as_bool()?,
            version: value["version"].as_str()?.to_owned(),
        });
    }
    if let Some(exchange) = value.get("closed") {
        return to_exchange(exchange).map(Line::Closed);
    }
    if let Some(text) = value.get("event") {
        return Some(Line::Event(text.as_str()?.to_owned()));
    }
    if let Some(count) = value.get("dropped") {
        return count.as_u64().map(Line::Dropped);
    }
    Some(Line::Told {
        monotonic: Monotonic::from_nanos(value["m"].as_i64()?),
        system: SystemTime::from_nanos(value["s"].as_i64()?),
        told: to_told(value)?,
        drawn: value.get("d").map_or(Some(Drawn::default()), to_drawn)?,
    })
}

fn to_told(value: &Value) -> Option<Told> {
    Some(match value["in"].as_str()? {
        "tick" => Told::Tick,
        "shutdown" => Told::Shutdown,
        "suspended" => Told::Suspended(to_duration(&value["by"])?),
        "sent" => Told::Sent(to_exchange(&value["x"])?, to_stamp(&value["stamp"])?),
        "failed" => {
            let error = match &value["error"] {
                Value::String(word) if word == "no-route" => SendError::NoRoute,
                Value::String(word) if word == "refused" => SendError::Refused,
                Value::String(word) if word == "forbidden" => SendError::Forbidden,
                errno => SendError::Other(i32::try_from(errno.as_i64()?).ok()?),
            };
            Told::Failed(to_exchange(&value["x"])?, error)
        }
        "reply" => Told::Reply(
            to_exchange(&value["x"])?,
            to_stamp(&value["stamp"])?,
            to_octets(value["header"].as_str()?)?,
        ),
        "resolved" => Told::Resolved(
            ResolveId(usize::try_from(value["query"].as_u64()?).ok()?),
            match value.get("error") {
                Some(error) => Err(error.as_str()?.to_owned()),
                None => Ok(to_addresses(&value["addresses"])?),
            },
        ),
        "addresses" => Told::Addresses(to_addresses(&value["addresses"])?),
        "applied" => Told::Applied(
            Applied {
                at: SystemTime::from_nanos(value["at"].as_i64()?),
                step: to_duration(&value["step"])?,
                frequency: to_frequency(&value["frequency"])?,
            },
            optional(&value["wanted"][0], to_duration)?,
            optional(&value["wanted"][1], to_frequency)?,
        ),
        "config" => Told::Config(Box::new(config::decode(&value["config"])?)),
        "leap-list" => Told::LeapList(optional(&value["list"], |text| {
            LeapTable::parse(text.as_str()?).ok()
        })?),
        "other" => Told::Other(value["kind"].as_str()?.to_owned()),
        _ => return None,
    })
}

fn of_exchange(exchange: ExchangeId) -> Value {
    json!([exchange.source.0, exchange.sequence])
}

fn to_exchange(value: &Value) -> Option<ExchangeId> {
    let number = |value: &Value| u32::try_from(value.as_u64()?).ok();
    Some(ExchangeId {
        source: SourceId(number(&value[0])?),
        sequence: number(&value[1])?,
    })
}

fn of_stamp(stamp: Stamp) -> Value {
    let by = match stamp.source {
        StampSource::Daemon => "daemon",
        StampSource::Kernel => "kernel",
        StampSource::Hardware => "hardware",
    };
    json!([stamp.time.as_nanos(), by])
}

fn to_stamp(value: &Value) -> Option<Stamp> {
    Some(Stamp {
        time: SystemTime::from_nanos(value[0].as_i64()?),
        source: match value[1].as_str()? {
            "daemon" => StampSource::Daemon,
            "kernel" => StampSource::Kernel,
            "hardware" => StampSource::Hardware,
            _ => return None,
        },
    })
}

fn of_addresses(addresses: &[IpAddr]) -> Value {
    addresses.iter().map(IpAddr::to_string).collect()
}

fn to_addresses(value: &Value) -> Option<Vec<IpAddr>> {
    let addresses = value.as_array()?.iter();
    addresses
        .map(|address| address.as_str()?.parse().ok())
        .collect()
}

fn to_octets(hex: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = hex
        .chars()
        .map(|digit| digit.to_digit(16).map(|d| d as u8))
        .collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0 && digits.len() <= 2 * HEADER)?;
    Some(
        digits
            .chunks(2)
            .map(|pair| pair[0] << 4 | pair[1])
            .collect(),
    )
}

fn to_drawn(value: &Value) -> Option<Drawn> {
    let words = value[0].as_array()?.iter();
    let longs = value[1].as_array()?.iter();
    Some(Drawn {
        words: words
            .map(|word| u32::try_from(word.as_u64()?).ok())
            .collect::<Option<_>>()?,
        longs: longs.map(Value::as_u64).collect::<Option<_>>()?,
    })
}

#[cfg(test)]
mod tests {
    use ntp_time::Frequency;

    use super::*;

    fn there_and_back(told: Told) {
        let now = Now {
            monotonic: Monotonic::from_nanos(5),
            system: SystemTime::from_nanos(1_795_408_721_029_000_001),
        };
        let drawn = Drawn {
            words: vec![u32::MAX],
            longs: vec![u64::MAX, 0],
        };
        let line = Line::told(now, told, drawn);
        assert_eq!(Line::decode(&line.encode()), Ok(line));
    }

    #[test]
    fn lines_are_read_as_they_were_written_to_the_last_bit() {
        let exchange = ExchangeId {
            source: SourceId(3),
            sequence: u32::MAX,
        };
        let stamp = Stamp {
            time: SystemTime::from_nanos(-1),
            source: StampSource::Kernel,
        };
        let applied = Applied {
            at: stamp.time,
            step: NtpDuration::from_bits(-7),
            frequency: Frequency::from_ratio(0.1 + 0.2),
        };
        there_and_back(Told::Sent(exchange, stamp));
        there_and_back(Told::Failed(exchange, SendError::Other(-5)));
        there_and_back(Told::Reply(exchange, stamp, vec![0, 255, 16]));
        there_and_back(Told::Resolved(ResolveId(9), Err("no such host".to_owned())));
        there_and_back(Told::Addresses(vec!["::1".parse().unwrap()]));
        there_and_back(Told::Applied(
            applied,
            None,
            Some(Frequency::from_ratio(-1e-7 / 3.0)),
        ));
        there_and_back(Told::Suspended(NtpDuration::MAX));
    }

    #[test]
    fn what_is_no_line_is_refused() {
        for text in [
            "",
            "{}",
            "[1]",
            "{\"in\":\"tick\"}",
            "{\"in\":\"reply\",\"m\":1,\"s\":1,\"x\":[0,0],\"stamp\":[0,\"kernel\"],\"header\":\"0\u{e9}\"}",
            "{\"closed\":[0,-1]}",
            "{\"start\":2}",
        ] {
            assert_eq!(Line::decode(text), Err(Malformed), "{text}");
        }
    }
}
