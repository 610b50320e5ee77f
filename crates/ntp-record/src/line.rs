//! Lines of a record and their JSON.

use std::fmt;

use ntp_proto::engine::{EngineConfig, RngTrace, SourceConfig, SourceId};
use ntp_time::{Monotonic, SystemTime};
use ntp_types::source::SourceName;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::input::RecordedInput;
use crate::surrogate::{RecordedKey, Redactor};

/// Version of the format of the lines. Other ones are refused.
const FORMAT: u64 = 4;

/// Version of the program. Records of other ones are refused.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A line of a record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Line {
    /// Start of a file.
    Start(Box<Start>),
    /// An input of the engine, and the random numbers drawn while it was handled.
    Input {
        /// Monotonic time of the input.
        #[serde(rename = "m", with = "ntp_time::exact")]
        monotonic: Monotonic,
        /// Time of the input by the disciplined clock.
        #[serde(rename = "s", with = "ntp_time::exact")]
        system: SystemTime,
        /// The input.
        #[serde(flatten)]
        input: RecordedInput,
        /// The random numbers.
        #[serde(rename = "rng", default, skip_serializing_if = "is_default")]
        rng_trace: RngTrace,
    },
    /// An association was added.
    Association(SourceName),
    /// An association was removed.
    Removed(SourceId),
    /// An event, or the result of an operator's command.
    Event(String),
    /// Number of lines that are missing here, because they could not be written fast enough.
    Dropped(u64),
    /// Lines are missing here, for this reason. Never written: the reader of a file inserts it in
    /// place of unreadable lines.
    #[serde(skip_deserializing)]
    Gap(String),
}

/// Start of a file of a record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Start {
    /// Version of the format.
    format: u64,
    /// Version of the daemon.
    pub version: String,
    /// Monotonic time of the start of the file.
    #[serde(rename = "m", with = "ntp_time::exact")]
    pub monotonic: Monotonic,
    /// Time of the start of the file by the disciplined clock.
    #[serde(rename = "s", with = "ntp_time::exact")]
    pub system: SystemTime,
    /// Start time of the engine by its clock, which identifies the run.
    #[serde(with = "ntp_time::exact")]
    pub run: SystemTime,
    /// Number of files of this run before this one. The engine starts in the first.
    pub part: u32,
    /// Associations at the start of the file.
    pub associations: Vec<SourceName>,
    /// The configuration in force.
    pub config: EngineConfig,
}

impl Start {
    /// Returns the start of the first file of a run, which begins now.
    pub(crate) fn new(config: &EngineConfig, monotonic: Monotonic, system: SystemTime) -> Self {
        Self {
            format: FORMAT,
            version: VERSION.to_owned(),
            monotonic,
            system,
            run: system,
            part: 0,
            associations: Vec::new(),
            config: config.clone(),
        }
    }

    /// Returns whether this file continues the file that starts with `before`.
    pub fn continues(&self, before: &Self) -> bool {
        self.run == before.run && before.part.checked_add(1) == Some(self.part)
    }
}

/// A line with the keys of its sources, in their order.
#[derive(Serialize)]
struct Written<'a> {
    #[serde(flatten)]
    line: &'a Line,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    keys: Vec<Option<RecordedKey>>,
}

#[derive(Deserialize)]
struct Read {
    #[serde(flatten)]
    line: Line,
    #[serde(default)]
    keys: Vec<Option<RecordedKey>>,
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
    /// Encodes the line as JSON, without a line end. `redactor` is that of the file or of the run.
    pub fn encode(&self, redactor: &mut Redactor) -> String {
        let sources = self.sources().iter();
        let mut keys: Vec<_> = sources.map(|source| redactor.key(source)).collect();
        if keys.iter().all(Option::is_none) {
            keys.clear();
        }
        let text = serde_json::to_string(&Written { line: self, keys });
        debug_assert!(text.is_ok(), "every line has a form in JSON");
        text.unwrap_or_default()
    }

    /// Decodes a line.
    ///
    /// # Errors
    /// If the text is not a line, or the start of a record of another version.
    pub fn decode(text: &str) -> Result<Self, InvalidLine> {
        let value: Value = serde_json::from_str(text).map_err(|_| InvalidLine::Syntax)?;
        check_version(&value)?;
        let read: Read = serde_json::from_value(value).map_err(|_| InvalidLine::Syntax)?;
        let mut line = read.line;
        for (source, key) in line.sources_mut().iter_mut().zip(read.keys) {
            if let Some(key) = key {
                source.association.protection = key.surrogate().ok_or(InvalidLine::Syntax)?;
            }
        }
        Ok(line)
    }

    fn sources(&self) -> &[SourceConfig] {
        match self {
            Self::Start(start) => &start.config.sources,
            Self::Input { input, .. } => input.sources(),
            _ => &[],
        }
    }

    fn sources_mut(&mut self) -> &mut [SourceConfig] {
        match self {
            Self::Start(start) => &mut start.config.sources,
            Self::Input { input, .. } => input.sources_mut(),
            _ => &mut [],
        }
    }
}

/// Compares the versions in the start of a file. Before format 3 they were members of the line
/// itself.
fn check_version(line: &Value) -> Result<(), InvalidLine> {
    let Some(start) = line.get("start") else {
        return Ok(());
    };
    let (format, version) = match start.as_u64() {
        Some(format) => (format, &line["version"]),
        None => (start["format"].as_u64().unwrap_or(0), &start["version"]),
    };
    let version = version.as_str().unwrap_or_default();
    if format == FORMAT && version == VERSION {
        return Ok(());
    }
    let version = version.to_owned();
    Err(InvalidLine::OtherVersion { format, version })
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[cfg(test)]
mod tests {
    use ntp_proto::client::Authenticity;
    use ntp_proto::discipline::{DriftAllowance, FrequencyPrior, PanicThreshold, SteeringConfig};
    use ntp_proto::engine::{
        Command, ExchangeId, KeyExchangeError, KeyExchangeFailure, QueryId, SendError,
    };
    use ntp_proto::nts::AeadAlgorithm;
    use ntp_sim::Scenario;
    use ntp_time::{
        Applied, Frequency, NtpDuration, PollInterval, ReferenceId, Stamp, StampSource,
    };

    use super::*;
    use crate::input::{RecordedKeyExchange, RecordedReply};

    fn round_trip(input: RecordedInput) {
        let line = Line::Input {
            monotonic: Monotonic::from_nanos(5),
            system: SystemTime::from_nanos(1_795_408_721_029_000_001),
            input,
            rng_trace: RngTrace {
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
        let timestamp = Stamp {
            time: SystemTime::from_nanos(-1),
            source: StampSource::Kernel,
        };
        let applied = Applied {
            at: timestamp.time,
            step: NtpDuration::from_bits(-7),
            frequency: Frequency::from_ratio(0.1 + 0.2),
        };
        round_trip(RecordedInput::Sent {
            exchange,
            timestamp,
        });
        round_trip(RecordedInput::Failed {
            exchange,
            error: SendError::Other { errno: -5 },
        });
        for evidence in [
            Authenticity::NotChecked,
            Authenticity::Authentic { cookies: 8 },
            Authenticity::Nak,
            Authenticity::Unauthenticated,
        ] {
            let reply = RecordedReply {
                header: vec![0, 255, 16],
                truncated: true,
                hop_limit: Some(57),
                malformed: true,
                evidence,
            };
            round_trip(RecordedInput::Reply {
                exchange,
                timestamp,
                reply,
            });
        }
        round_trip(RecordedInput::Resolved {
            query: QueryId(9),
            result: Err("no such host".to_owned()),
        });
        round_trip(RecordedInput::Addresses {
            addresses: vec!["::1".parse().unwrap()],
        });
        round_trip(RecordedInput::KeyExchange {
            query: QueryId(9),
            result: Err(KeyExchangeError {
                reason: KeyExchangeFailure::NotTls,
                message: "no".to_owned(),
            }),
        });
        round_trip(RecordedInput::KeyExchange {
            query: QueryId(9),
            result: Ok(RecordedKeyExchange {
                from: "::1".parse().unwrap(),
                member: None,
                algorithm: AeadAlgorithm::Aes128GcmSiv.id(),
                legacy: true,
                cookies: 7,
                server: Some("ntp.example".to_owned()),
                draft: None,
                port: Some(1),
            }),
        });
        round_trip(RecordedInput::KeysRevoked {
            query: QueryId(9),
            error: KeyExchangeError {
                reason: KeyExchangeFailure::CertificateExpired,
                message: "expired".to_owned(),
            },
        });
        round_trip(RecordedInput::Applied {
            applied,
            step: None,
            frequency: Some(Frequency::from_ratio(-1e-7 / 3.0)),
        });
        round_trip(RecordedInput::Suspended {
            duration: NtpDuration::MAX,
        });
        round_trip(RecordedInput::Disrupted { marker: u64::MAX });
        for command in [
            Command::Remove("a".to_owned()),
            Command::Online(None),
            Command::Offline(Some("b".to_owned())),
            Command::Burst(None),
            Command::Step { forced: true },
        ] {
            round_trip(RecordedInput::Command {
                command: Box::new(command),
            });
        }
    }

    #[test]
    fn configurations_round_trip_to_the_last_bit() {
        let mut config = Scenario::new("odd").with_servers(1).engine;
        // None of these is exact in seconds or in ppm.
        let duration = NtpDuration::from_bits(i64::MAX - 2);
        let frequency = Frequency::from_ratio(1e-4 / 3.0 + f64::EPSILON);
        let threshold = PanicThreshold {
            forward: Some(duration),
            backward: None,
        };
        config.steering = SteeringConfig {
            step_threshold: Some(duration),
            steps_at_start: u32::MAX,
            stepout_time: duration,
            stepout_polls: u32::MAX,
            startup_panic: threshold,
            single_panic: threshold,
            accumulated_panic: Some(duration),
            slew_maximum: frequency,
            slew_minimum_duration: duration,
            maximum_frequency: frequency,
        };
        config.discipline.maximum_source_uncertainty = duration;
        config.discipline.drift_allowance = DriftAllowance::Fixed(frequency);
        config.discipline.initial_frequency_uncertainty = frequency;
        config.frequency_prior = Some(FrequencyPrior {
            frequency,
            uncertainty: frequency,
        });
        config.meddling_threshold = Some(duration);
        config.local_reference_id = ReferenceId::new([0, 1, 0, 255]);
        config.clock.frequency = frequency;
        config.sources[0].association.limits.max = PollInterval::from_log2(17);
        round_trip(RecordedInput::Config {
            config: Box::new(config),
        });
    }

    #[test]
    fn invalid_lines_are_refused() {
        for text in [
            "",
            "{}",
            "[1]",
            "{\"input\":{\"in\":\"tick\"}}",
            "{\"input\":{\"m\":1,\"s\":1,\"in\":\"reply\",\"exchange\":[0,0],\"timestamp\":{\"time\":0,\"source\":\"kernel\"},\"reply\":{\"header\":\"0\u{e9}\",\"evidence\":\"nothing\"}}}",
            "{\"input\":{\"m\":1,\"s\":1,\"in\":\"suspended\",\"duration\":\"1\"}}",
            "{\"input\":{\"m\":1,\"s\":1,\"in\":\"command\",\"command\":{\"explode\":null}}}",
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
            ("{\"start\":4,\"version\":\"99.0\"}", 4, "99.0"),
            ("{\"start\":99}", 99, ""),
        ] {
            let error = Line::decode(text).unwrap_err();
            let version = version.to_owned();
            assert_eq!(error, InvalidLine::OtherVersion { format, version });
            let text = error.to_string();
            assert!(
                text.contains(VERSION) && text.contains("record format 4"),
                "{text}"
            );
        }
    }
}
