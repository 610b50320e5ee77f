//! One line of the record, written and read.

use std::fmt;
use std::net::SocketAddr;

use ntp_proto::engine::{Drawn, EngineConfig, SourceId};
use ntp_time::{Monotonic, SystemTime};
use serde_json::{Map, Value, json};

use crate::config;
use crate::input::RecordedInput;
use crate::json::to_source_id;
use crate::surrogate::Redactor;

/// Version of the format of the lines. Other ones are refused.
const FORMAT: u64 = 3;

/// Version of the program. Records of other ones are refused.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// One line.
#[derive(Clone, Debug, PartialEq)]
pub enum Line {
    /// A file begins.
    Start(Box<Start>),
    /// The engine is told something, and draws random numbers.
    Input {
        /// When: monotonic.
        monotonic: Monotonic,
        /// When: the disciplined clock.
        system: SystemTime,
        /// What.
        input: RecordedInput,
        /// The numbers.
        rng_trace: Drawn,
    },
    /// An association began.
    Association(RecordedAssociation),
    /// It ended.
    Removed(SourceId),
    /// Somebody was told this: an event, or what became of an operator's wish.
    Event(String),
    /// So many lines are missing.
    Dropped(u64),
    /// Lines are missing here, for this reason. Never written: whoever reads a file puts it where there is something that he cannot read.
    Gap(String),
}

/// How a file begins.
#[derive(Clone, Debug, PartialEq)]
pub struct Start {
    /// The configuration in force.
    pub config: EngineConfig,
    /// When.
    pub monotonic: Monotonic,
    /// When, by the disciplined clock.
    pub system: SystemTime,
    /// When the engine began, by the clock of that moment: tells one run from another.
    pub run: SystemTime,
    /// Files of this run before this one. The engine begins in the first.
    pub part: u32,
    /// The associations that there are.
    pub associations: Vec<RecordedAssociation>,
    /// The version of the daemon.
    pub version: String,
}

impl Start {
    /// Whether a file that begins so goes on where the file that begins with `before` ends.
    pub fn continues(&self, before: &Self) -> bool {
        self.run == before.run && before.part.checked_add(1) == Some(self.part)
    }
}

/// An association.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedAssociation {
    /// Its number.
    pub id: SourceId,
    /// The configured source that it serves.
    pub name: String,
    /// Whom it asks.
    pub address: SocketAddr,
}

/// Error of a line that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InvalidLine {
    /// The text is not a line of a record.
    Syntax,
    /// The start of a record of another version of the program or the format.
    OtherVersion {
        /// Version of the format.
        format: u64,
        /// Version of the program; empty if unknown.
        version: String,
    },
}

impl fmt::Display for InvalidLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax => f.write_str("not a line of a record"),
            Self::OtherVersion { format, version } => {
                let version = if version.is_empty() {
                    "an unknown version"
                } else {
                    version
                };
                write!(
                    f,
                    "written by ntp-daemon {version} (record format {format}), but this is {VERSION} (record format {FORMAT}): \
                     a record can only be replayed by the version that wrote it"
                )
            }
        }
    }
}

impl std::error::Error for InvalidLine {}

impl Line {
    /// Its text, without a line end. `redactor` is the file's, or the run's.
    pub fn encode(&self, redactor: &mut Redactor) -> String {
        let value = match self {
            Self::Start(start) => json!({
                "start": FORMAT, "version": start.version, "m": start.monotonic.as_nanos(), "s": start.system.as_nanos(),
                "run": start.run.as_nanos(), "part": start.part,
                "associations": start.associations.iter().map(of_association).collect::<Vec<_>>(),
                "config": config::encode(&start.config, redactor),
            }),
            Self::Input {
                monotonic,
                system,
                input,
                rng_trace,
            } => {
                let mut line = Map::new();
                line.insert("in".into(), Value::Null);
                line.insert("m".into(), monotonic.as_nanos().into());
                line.insert("s".into(), system.as_nanos().into());
                input.encode(&mut line, redactor);
                if *rng_trace != Drawn::default() {
                    line.insert("d".into(), json!([rng_trace.words, rng_trace.longs]));
                }
                Value::Object(line)
            }
            Self::Association(association) => json!({ "association": of_association(association) }),
            Self::Removed(id) => json!({ "removed": id.0 }),
            Self::Event(text) => json!({ "event": text }),
            Self::Dropped(count) => json!({ "dropped": count }),
            Self::Gap(why) => json!({ "gap": why }),
        };
        value.to_string()
    }

    /// Reads a line.
    ///
    /// # Errors
    /// If it is none.
    pub fn decode(text: &str) -> Result<Self, InvalidLine> {
        let value: Value = serde_json::from_str(text).map_err(|_| InvalidLine::Syntax)?;
        if let Some(format) = value["start"].as_u64() {
            let version = value["version"].as_str().unwrap_or_default();
            if format != FORMAT || version != VERSION {
                let version = version.to_owned();
                return Err(InvalidLine::OtherVersion { format, version });
            }
        }
        decode(&value).ok_or(InvalidLine::Syntax)
    }
}

fn decode(value: &Value) -> Option<Line> {
    if value.get("start").is_some() {
        let associations = value["associations"].as_array()?.iter();
        return Some(Line::Start(Box::new(Start {
            config: config::decode(&value["config"])?,
            monotonic: Monotonic::from_nanos(value["m"].as_i64()?),
            system: SystemTime::from_nanos(value["s"].as_i64()?),
            run: SystemTime::from_nanos(value["run"].as_i64()?),
            part: u32::try_from(value["part"].as_u64()?).ok()?,
            associations: associations.map(to_association).collect::<Option<_>>()?,
            version: value["version"].as_str()?.to_owned(),
        })));
    }
    if let Some(association) = value.get("association") {
        return to_association(association).map(Line::Association);
    }
    if let Some(id) = value.get("removed") {
        return to_source_id(id).map(Line::Removed);
    }
    if let Some(text) = value.get("event") {
        return Some(Line::Event(text.as_str()?.to_owned()));
    }
    if let Some(count) = value.get("dropped") {
        return count.as_u64().map(Line::Dropped);
    }
    Some(Line::Input {
        monotonic: Monotonic::from_nanos(value["m"].as_i64()?),
        system: SystemTime::from_nanos(value["s"].as_i64()?),
        input: RecordedInput::decode(value)?,
        rng_trace: value.get("d").map_or(Some(Drawn::default()), to_drawn)?,
    })
}

fn of_association(association: &RecordedAssociation) -> Value {
    json!([
        association.id.0,
        association.name,
        association.address.to_string()
    ])
}

fn to_association(value: &Value) -> Option<RecordedAssociation> {
    Some(RecordedAssociation {
        id: to_source_id(&value[0])?,
        name: value[1].as_str()?.to_owned(),
        address: value[2].as_str()?.parse().ok()?,
    })
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
    use ntp_proto::client::Evidence;
    use ntp_proto::engine::{Command, ExchangeId, ResolveId, SendError};
    use ntp_proto::nts::AeadAlgorithm;
    use ntp_time::{Applied, Frequency, NtpDuration, Stamp, StampSource};

    use super::*;
    use crate::input::{RecordedKeyExchange, RecordedReply};

    fn round_trip(input: RecordedInput) {
        let line = Line::Input {
            monotonic: Monotonic::from_nanos(5),
            system: SystemTime::from_nanos(1_795_408_721_029_000_001),
            input,
            rng_trace: Drawn {
                words: vec![u32::MAX],
                longs: vec![u64::MAX, 0],
            },
        };
        assert_eq!(
            Line::decode(&line.encode(&mut Redactor::default())),
            Ok(line)
        );
    }

    #[test]
    fn lines_round_trip_to_the_last_bit() {
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
        round_trip(RecordedInput::Sent(exchange, stamp));
        round_trip(RecordedInput::Failed(exchange, SendError::Other(-5)));
        for evidence in [
            Evidence::Unasked,
            Evidence::Authentic { cookies: 8 },
            Evidence::Refusal,
            Evidence::Nothing,
        ] {
            let heard = RecordedReply {
                header: vec![0, 255, 16],
                truncated: true,
                malformed: true,
                evidence,
            };
            round_trip(RecordedInput::Reply(exchange, stamp, heard));
        }
        round_trip(RecordedInput::Resolved(
            ResolveId(9),
            Err("no such host".to_owned()),
        ));
        round_trip(RecordedInput::Addresses(vec!["::1".parse().unwrap()]));
        round_trip(RecordedInput::Keys(ResolveId(9), Err("no".to_owned())));
        round_trip(RecordedInput::Keys(
            ResolveId(9),
            Ok(RecordedKeyExchange {
                from: "::1".parse().unwrap(),
                algorithm: AeadAlgorithm::Aes128GcmSiv,
                legacy: true,
                cookies: 7,
                server: Some("ntp.example".to_owned()),
                port: Some(1),
            }),
        ));
        round_trip(RecordedInput::Revoked(ResolveId(9), "expired".to_owned()));
        round_trip(RecordedInput::Applied(
            applied,
            None,
            Some(Frequency::from_ratio(-1e-7 / 3.0)),
        ));
        round_trip(RecordedInput::Suspended(NtpDuration::MAX));
        for command in [
            Command::Remove("a".to_owned()),
            Command::Online(None),
            Command::Offline(Some("b".to_owned())),
            Command::Burst(None),
            Command::Step { forced: true },
        ] {
            round_trip(RecordedInput::Command(Box::new(command)));
        }
    }

    #[test]
    fn invalid_lines_are_refused() {
        for text in [
            "",
            "{}",
            "[1]",
            "{\"in\":\"tick\"}",
            "{\"in\":\"reply\",\"m\":1,\"s\":1,\"x\":[0,0],\"stamp\":[0,\"kernel\"],\"header\":\"0\u{e9}\"}",
            "{\"in\":\"command\",\"m\":1,\"s\":1,\"command\":{\"explode\":null}}",
            "{\"removed\":-1}",
            "{\"gap\":\"never written\"}",
        ] {
            assert_eq!(Line::decode(text), Err(InvalidLine::Syntax), "{text}");
        }
    }

    #[test]
    fn records_of_other_versions_are_refused_with_both_versions() {
        for (text, format, version) in [
            ("{\"start\":2,\"version\":\"0.0.9\"}", 2, "0.0.9"),
            ("{\"start\":3,\"version\":\"99.0\"}", 3, "99.0"),
            ("{\"start\":99}", 99, ""),
        ] {
            let error = Line::decode(text).unwrap_err();
            let version = version.to_owned();
            assert_eq!(error, InvalidLine::OtherVersion { format, version });
            let text = error.to_string();
            assert!(
                text.contains(VERSION) && text.contains("record format 3"),
                "{text}"
            );
        }
    }
}
