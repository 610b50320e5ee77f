//! Configuration of a test server: its claims and its misbehaviour.

use core::fmt;
use core::str::FromStr;
use core::time::Duration;

use ntp_proto::wire::Mode;
use ntp_time::{LeapIndicator, NtpDuration, NtpShort, ReferenceId, Stratum};

/// Behaviour of a test server. The default is a correct stratum 1 server with a perfect clock.
#[derive(Clone, Debug, PartialEq)]
pub struct Behaviour {
    /// Added to the system clock in every timestamp: the offset that a client must measure.
    pub offset: NtpDuration,
    /// Leap indicator in replies.
    pub leap: LeapIndicator,
    /// Stratum in replies.
    pub stratum: Stratum,
    /// Reference identifier in replies.
    pub reference_id: ReferenceId,
    /// Root delay in replies.
    pub root_delay: NtpShort,
    /// Root dispersion in replies; constant.
    pub root_dispersion: NtpShort,
    /// Requests of one client address at shorter intervals get a `RATE` kiss.
    pub minimum_interval: Option<Duration>,
    /// Deviations, applied in this order.
    pub misbehaviours: Vec<Misbehaviour>,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            offset: NtpDuration::ZERO,
            leap: LeapIndicator::None,
            stratum: Stratum::PRIMARY,
            reference_id: ReferenceId::new(*b"TEST"),
            root_delay: NtpShort::ZERO,
            root_dispersion: NtpShort::from_duration_ceil(NtpDuration::from_micros(100)),
            minimum_interval: None,
            misbehaviours: Vec::new(),
        }
    }
}

impl Behaviour {
    /// Correct behaviour apart from one misbehaviour.
    pub fn with(misbehaviour: Misbehaviour) -> Self {
        Self {
            misbehaviours: vec![misbehaviour],
            ..Self::default()
        }
    }

    /// Behaviour of `demobilize-server`: a `DENY` kiss to every request.
    pub fn demobilizing() -> Self {
        Self::with(Misbehaviour::Kiss(ReferenceId::new(*b"DENY")))
    }

    /// Behaviour of `rate-limit-server`: a `RATE` kiss to too frequent requests.
    pub fn rate_limiting(minimum_interval: Duration) -> Self {
        Self {
            minimum_interval: Some(minimum_interval),
            ..Self::default()
        }
    }
}

/// One way in which a server can be wrong, broken or malicious.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Misbehaviour {
    /// Ignore this fraction of the requests (0 to 1).
    Drop(f64),
    /// Delay a finished reply for this long: a slow return path, so that offset and delay are both
    /// wrong.
    Delay(Duration),
    /// Answer with a kiss-o'-death of this code (RFC 5905 section 7.4).
    Kiss(ReferenceId),
    /// Reply with a wrong origin timestamp, as an off-path attacker who must guess it.
    WrongOrigin,
    /// Reply in this mode.
    WrongMode(Mode),
    /// Reply with this stratum; 0 is a kiss without a code, 16 and above is unsynchronised.
    Stratum(Stratum),
    /// Reply with leap indicator 3 (unsynchronised), but with timestamps.
    Unsynchronized,
    /// Reply with zero receive and transmit timestamps.
    ZeroTimestamps,
    /// Truncate the reply to this many octets.
    Short(usize),
    /// Append this many octets that are neither extension field nor MAC.
    TrailingGarbage(usize),
    /// Append an unknown extension field of this length in octets.
    HugeField(u16),
    /// Send each reply twice.
    Duplicate,
    /// Send the previous reply again before each reply.
    Replay,
    /// Send from another port than the one that received the request.
    OtherPort,
}

impl Misbehaviour {
    /// One of each kind, for tests that go through all of them.
    pub const SAMPLES: [Self; 14] = [
        Self::Drop(1.0),
        Self::Delay(Duration::from_millis(100)),
        Self::Kiss(ReferenceId::new(*b"DENY")),
        Self::WrongOrigin,
        Self::WrongMode(Mode::Broadcast),
        Self::Stratum(Stratum::UNSYNCHRONIZED),
        Self::Unsynchronized,
        Self::ZeroTimestamps,
        Self::Short(47),
        Self::TrailingGarbage(7),
        Self::HugeField(1024),
        Self::Duplicate,
        Self::Replay,
        Self::OtherPort,
    ];

    /// Syntax of [`FromStr`], for help texts and error messages.
    pub const SYNTAX: &'static str = "drop=PROBABILITY, delay=SECONDS, kiss=CODE, wrong-origin, wrong-mode=NUMBER, \
        stratum=NUMBER, unsynchronized, zero-timestamps, short=OCTETS, trailing-garbage=OCTETS, huge-field=OCTETS, \
        duplicate, replay, other-port";
}

impl fmt::Display for Misbehaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Drop(probability) => write!(f, "drop={probability}"),
            Self::Delay(delay) => write!(f, "delay={}", delay.as_secs_f64()),
            Self::Kiss(code) => write!(f, "kiss={code}"),
            Self::WrongOrigin => f.write_str("wrong-origin"),
            Self::WrongMode(mode) => write!(f, "wrong-mode={}", mode.to_bits()),
            Self::Stratum(stratum) => write!(f, "stratum={stratum}"),
            Self::Unsynchronized => f.write_str("unsynchronized"),
            Self::ZeroTimestamps => f.write_str("zero-timestamps"),
            Self::Short(octets) => write!(f, "short={octets}"),
            Self::TrailingGarbage(octets) => write!(f, "trailing-garbage={octets}"),
            Self::HugeField(octets) => write!(f, "huge-field={octets}"),
            Self::Duplicate => f.write_str("duplicate"),
            Self::Replay => f.write_str("replay"),
            Self::OtherPort => f.write_str("other-port"),
        }
    }
}

/// Parses the command-line form of a misbehaviour, for example `kiss=RATE`.
impl FromStr for Misbehaviour {
    type Err = InvalidMisbehaviour;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (text, None),
        };
        Self::from_parts(name, value).ok_or(InvalidMisbehaviour)
    }
}

impl Misbehaviour {
    fn from_parts(name: &str, value: Option<&str>) -> Option<Self> {
        Some(match (name, value) {
            ("drop", Some(value)) => {
                let probability = value.parse().ok()?;
                if !(0.0..=1.0).contains(&probability) {
                    return None;
                }
                Self::Drop(probability)
            }
            ("delay", Some(value)) => {
                Self::Delay(Duration::try_from_secs_f64(value.parse().ok()?).ok()?)
            }
            ("kiss", Some(value)) => Self::Kiss(reference_id(value)?),
            ("wrong-origin", None) => Self::WrongOrigin,
            ("wrong-mode", Some(value)) => {
                let number: u8 = value.parse().ok()?;
                Self::WrongMode(*Mode::ALL.get(usize::from(number))?)
            }
            ("stratum", Some(value)) => Self::Stratum(Stratum::new(value.parse().ok()?)),
            ("unsynchronized", None) => Self::Unsynchronized,
            ("zero-timestamps", None) => Self::ZeroTimestamps,
            ("short", Some(value)) => Self::Short(value.parse().ok()?),
            ("trailing-garbage", Some(value)) => {
                Self::TrailingGarbage(value.parse().ok().filter(|octets| *octets <= MAX_GARBAGE)?)
            }
            ("huge-field", Some(value)) => Self::HugeField(value.parse().ok()?),
            ("duplicate", None) => Self::Duplicate,
            ("replay", None) => Self::Replay,
            ("other-port", None) => Self::OtherPort,
            _ => return None,
        })
    }
}

/// Parses up to four printable characters, padded with zeros (RFC 5905 section 7.3).
pub(crate) fn reference_id(text: &str) -> Option<ReferenceId> {
    let printable = text
        .bytes()
        .all(|byte| byte.is_ascii_graphic() || byte == b' ');
    if text.is_empty() || text.len() > 4 || !printable {
        return None;
    }
    let mut octets = [0; 4];
    for (octet, byte) in octets.iter_mut().zip(text.bytes()) {
        *octet = byte;
    }
    Some(ReferenceId::new(octets))
}

/// More does not fit into a UDP datagram.
const MAX_GARBAGE: usize = 65_000;

/// Error: unknown misbehaviour, or invalid value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidMisbehaviour;

impl fmt::Display for InvalidMisbehaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected one of: {}", Misbehaviour::SYNTAX)
    }
}

impl std::error::Error for InvalidMisbehaviour {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_misbehaviour_has_a_command_line_form() {
        for sample in Misbehaviour::SAMPLES {
            assert_eq!(sample.to_string().parse(), Ok(sample));
            let text = sample.to_string();
            let name = text.split('=').next().unwrap_or_default();
            assert!(Misbehaviour::SYNTAX.contains(name), "{name}");
        }
    }

    #[test]
    fn invalid_texts_are_rejected() {
        for text in [
            "",
            "drop",
            "drop=1.5",
            "drop=NaN",
            "delay=-1",
            "kiss=",
            "kiss=TOOLONG",
            "kiss=h\u{e9}",
            "wrong-mode=8",
            "stratum=256",
            "replay=1",
            "trailing-garbage=1000000000000",
        ] {
            assert_eq!(
                text.parse::<Misbehaviour>(),
                Err(InvalidMisbehaviour),
                "{text}"
            );
        }
    }
}
