//! One line of the record, written and read.

use std::fmt;
use std::net::SocketAddr;

use ntp_proto::engine::{RngTrace, EngineConfig, SourceId};
use ntp_time::{Monotonic, SystemTime};
use serde_json::{Map, Value, json};

use crate::config;
use crate::json::to_source_id;
use crate::stand_in::Veil;
use crate::told::Told;

/// The format of the lines; another one is refused.
const FORMAT: u64 = 2;

/// One line.
#[derive(Clone, Debug, PartialEq)]
pub enum Line {
    /// A file begins.
    Start(Box<Start>),
    /// The engine is told something, and draws random numbers.
    Told {
        /// When: monotonic.
        monotonic: Monotonic,
        /// When: the disciplined clock.
        system: SystemTime,
        /// What.
        told: Told,
        /// The numbers.
        drawn: RngTrace,
    },
    /// An association began.
    Member(Member),
    /// It ended.
    Gone(SourceId),
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
    pub members: Vec<Member>,
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
pub struct Member {
    /// Its number.
    pub id: SourceId,
    /// The configured source that it serves.
    pub name: String,
    /// Whom it asks.
    pub address: SocketAddr,
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

impl Line {
    /// Its text, without a line end. `veil` is the file's, or the run's.
    pub fn encode(&self, veil: &mut Veil) -> String {
        let value = match self {
            Self::Start(start) => json!({
                "start": FORMAT, "version": start.version, "m": start.monotonic.as_nanos(), "s": start.system.as_nanos(),
                "run": start.run.as_nanos(), "part": start.part,
                "members": start.members.iter().map(of_member).collect::<Vec<_>>(),
                "config": config::encode(&start.config, veil),
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
                told.encode(&mut line, veil);
                if *drawn != RngTrace::default() {
                    line.insert("d".into(), json!([drawn.words, drawn.longs]));
                }
                Value::Object(line)
            }
            Self::Member(member) => json!({ "member": of_member(member) }),
            Self::Gone(id) => json!({ "gone": id.0 }),
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
    pub fn decode(text: &str) -> Result<Self, Malformed> {
        let value: Value = serde_json::from_str(text).map_err(|_| Malformed)?;
        decode(&value).ok_or(Malformed)
    }
}

fn decode(value: &Value) -> Option<Line> {
    if let Some(format) = value.get("start") {
        if format.as_u64()? != FORMAT {
            return None;
        }
        let members = value["members"].as_array()?.iter();
        return Some(Line::Start(Box::new(Start {
            config: config::decode(&value["config"])?,
            monotonic: Monotonic::from_nanos(value["m"].as_i64()?),
            system: SystemTime::from_nanos(value["s"].as_i64()?),
            run: SystemTime::from_nanos(value["run"].as_i64()?),
            part: u32::try_from(value["part"].as_u64()?).ok()?,
            members: members.map(to_member).collect::<Option<_>>()?,
            version: value["version"].as_str()?.to_owned(),
        })));
    }
    if let Some(member) = value.get("member") {
        return to_member(member).map(Line::Member);
    }
    if let Some(id) = value.get("gone") {
        return to_source_id(id).map(Line::Gone);
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
        told: Told::decode(value)?,
        drawn: value.get("d").map_or(Some(RngTrace::default()), to_drawn)?,
    })
}

fn of_member(member: &Member) -> Value {
    json!([member.id.0, member.name, member.address.to_string()])
}

fn to_member(value: &Value) -> Option<Member> {
    Some(Member {
        id: to_source_id(&value[0])?,
        name: value[1].as_str()?.to_owned(),
        address: value[2].as_str()?.parse().ok()?,
    })
}

fn to_drawn(value: &Value) -> Option<RngTrace> {
    let words = value[0].as_array()?.iter();
    let longs = value[1].as_array()?.iter();
    Some(RngTrace {
        words: words
            .map(|word| u32::try_from(word.as_u64()?).ok())
            .collect::<Option<_>>()?,
        longs: longs.map(Value::as_u64).collect::<Option<_>>()?,
    })
}

#[cfg(test)]
mod tests {
    use ntp_proto::client::Authenticity;
    use ntp_proto::engine::{Command, ExchangeId, QueryId, SendError};
    use ntp_proto::nts::AeadAlgorithm;
    use ntp_time::{Applied, Frequency, NtpDuration, Stamp, StampSource};

    use super::*;
    use crate::told::{Granted, Heard};

    fn there_and_back(told: Told) {
        let line = Line::Told {
            monotonic: Monotonic::from_nanos(5),
            system: SystemTime::from_nanos(1_795_408_721_029_000_001),
            told,
            drawn: RngTrace {
                words: vec![u32::MAX],
                longs: vec![u64::MAX, 0],
            },
        };
        assert_eq!(Line::decode(&line.encode(&mut Veil::default())), Ok(line));
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
        for evidence in [
            Authenticity::NotChecked,
            Authenticity::Authentic { cookies: 8 },
            Authenticity::Nak,
            Authenticity::Unauthenticated,
        ] {
            let heard = Heard {
                header: vec![0, 255, 16],
                truncated: true,
                malformed: true,
                evidence,
            };
            there_and_back(Told::Reply(exchange, stamp, heard));
        }
        there_and_back(Told::Resolved(QueryId(9), Err("no such host".to_owned())));
        there_and_back(Told::Addresses(vec!["::1".parse().unwrap()]));
        there_and_back(Told::Keys(QueryId(9), Err("no".to_owned())));
        there_and_back(Told::Keys(
            QueryId(9),
            Ok(Granted {
                from: "::1".parse().unwrap(),
                algorithm: AeadAlgorithm::Aes128GcmSiv,
                legacy: true,
                cookies: 7,
                server: Some("ntp.example".to_owned()),
                port: Some(1),
            }),
        ));
        there_and_back(Told::Revoked(QueryId(9), "expired".to_owned()));
        there_and_back(Told::Applied(
            applied,
            None,
            Some(Frequency::from_ratio(-1e-7 / 3.0)),
        ));
        there_and_back(Told::Suspended(NtpDuration::MAX));
        for command in [
            Command::Remove("a".to_owned()),
            Command::Online(None),
            Command::Offline(Some("b".to_owned())),
            Command::Burst(None),
            Command::Step { forced: true },
        ] {
            there_and_back(Told::Command(Box::new(command)));
        }
    }

    #[test]
    fn what_is_no_line_is_refused() {
        for text in [
            "",
            "{}",
            "[1]",
            "{\"in\":\"tick\"}",
            "{\"in\":\"reply\",\"m\":1,\"s\":1,\"x\":[0,0],\"stamp\":[0,\"kernel\"],\"header\":\"0\u{e9}\"}",
            "{\"in\":\"command\",\"m\":1,\"s\":1,\"command\":{\"explode\":null}}",
            "{\"gone\":-1}",
            "{\"gap\":\"nobody writes this\"}",
            "{\"start\":1}",
        ] {
            assert_eq!(Line::decode(text), Err(Malformed), "{text}");
        }
    }
}
