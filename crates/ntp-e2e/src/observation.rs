//! Reader of the observation socket.
//!
//! Parses the frame as a third-party reader does: a 64-bit length, JSON of that length, members by
//! name. It shares no code with the daemon, so that an incompatible change of the interface fails
//! here.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

/// Maximum length of a frame, in octets, as upstream's readers have it.
const MAX_FRAME: u64 = 1 << 20;
const LIMIT: Duration = Duration::from_secs(10);

/// The state of a daemon at one moment.
#[derive(Clone, Debug)]
pub struct Observation(Value);

impl Observation {
    /// Reads one frame.
    ///
    /// # Errors
    /// If there is no socket at `path`, or it yields no valid frame.
    pub fn read(path: &Path) -> io::Result<Self> {
        let mut stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(LIMIT))?;
        let mut length = [0; 8];
        stream.read_exact(&mut length)?;
        let length = u64::from_be_bytes(length);
        if length > MAX_FRAME {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "frame longer than 1 MiB",
            ));
        }
        let mut frame = Vec::new();
        stream.read_to_end(&mut frame)?;
        if frame.len() as u64 != length {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "frame and its length differ",
            ));
        }
        Ok(Self(serde_json::from_slice(&frame)?))
    }

    /// Whether the clock is synchronised.
    pub fn is_synchronized(&self) -> bool {
        self.system("synchronized")
            .as_bool()
            .unwrap_or_else(|| self.missing("system.synchronized"))
    }

    /// Stratum of the daemon.
    pub fn stratum(&self) -> u64 {
        self.system("stratum")
            .as_u64()
            .unwrap_or_else(|| self.missing("system.stratum"))
    }

    /// Upper bound of the clock's error, in seconds.
    pub fn error_bound(&self) -> f64 {
        self.system_number("error_bound")
    }

    /// Estimated error, exceeded at most 0.1 % of the time, in seconds.
    pub fn estimated_error(&self) -> f64 {
        self.system_number("estimated_error")
    }

    /// Estimated frequency error of the oscillator, in parts per million.
    pub fn frequency_ppm(&self) -> f64 {
        self.system_number("frequency_ppm")
    }

    /// 1-sigma uncertainty of the frequency error, in parts per million.
    pub fn frequency_uncertainty_ppm(&self) -> f64 {
        self.system_number("frequency_uncertainty_ppm")
    }

    /// Virtual clock minus the machine's clock, in seconds: the true error.
    pub fn true_offset(&self) -> f64 {
        self.system_number("true_offset")
    }

    /// All sources, in no particular order.
    pub fn sources(&self) -> Vec<Source<'_>> {
        match self.0["sources"].as_array() {
            Some(sources) => sources.iter().map(Source).collect(),
            None => self.missing("sources"),
        }
    }

    /// A counter of the first listening address, such as `received_packets`.
    pub fn server_counter(&self, counter: &str) -> u64 {
        self.0["servers"][0]["stats"][counter]
            .as_u64()
            .unwrap_or_else(|| self.missing(counter))
    }

    /// Source with this configured name, `host:port`.
    pub fn source(&self, name: &str) -> Option<Source<'_>> {
        self.sources()
            .into_iter()
            .find(|source| source.name() == name)
    }

    fn system(&self, member: &str) -> &Value {
        &self.0["system"][member]
    }

    fn system_number(&self, member: &str) -> f64 {
        self.system(member)
            .as_f64()
            .unwrap_or_else(|| self.missing(&format!("system.{member}")))
    }

    fn missing(&self, member: &str) -> ! {
        panic!(
            "missing or invalid `{member}` in the observation:\n{:#}",
            self.0
        )
    }
}

/// A source of a daemon.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a>(&'a Value);

impl<'a> Source<'a> {
    /// Configured name, `host:port`.
    pub fn name(self) -> &'a str {
        self.0["name"]
            .as_str()
            .unwrap_or_else(|| self.missing("name"))
    }

    /// Address and port in use.
    pub fn address(self) -> &'a str {
        self.0["address"]
            .as_str()
            .unwrap_or_else(|| self.missing("address"))
    }

    /// Polls since the last reply, 8 at most.
    pub fn unanswered_polls(self) -> u64 {
        self.0["unanswered_polls"]
            .as_u64()
            .unwrap_or_else(|| self.missing("unanswered_polls"))
    }

    /// Poll interval, log2 seconds.
    pub fn poll_interval(self) -> i64 {
        self.0["poll_interval"]
            .as_i64()
            .unwrap_or_else(|| self.missing("poll_interval"))
    }

    /// Offset of our clock from the server's, in seconds.
    pub fn offset(self) -> f64 {
        self.0["offset"]
            .as_f64()
            .unwrap_or_else(|| self.missing("offset"))
    }

    /// Half width of the interval that contains the offset, in seconds. Above 1e6 before the first
    /// measurement.
    pub fn uncertainty(self) -> f64 {
        self.0["uncertainty"]
            .as_f64()
            .unwrap_or_else(|| self.missing("uncertainty"))
    }

    /// Whether the source has been measured.
    pub fn is_measured(self) -> bool {
        self.uncertainty() < 1e6
    }

    /// Requests sent since the association was created.
    pub fn packets_sent(self) -> u64 {
        self.0["packets_sent"]
            .as_u64()
            .unwrap_or_else(|| self.missing("packets_sent"))
    }

    /// Authentication method: `none`, or for example `key 7 (AES128)`.
    pub fn authentication(self) -> &'a str {
        self.0["authentication"]
            .as_str()
            .unwrap_or_else(|| self.missing("authentication"))
    }

    /// Protocol version of the requests, and how it is known.
    pub fn protocol_version(self) -> (u64, &'a str) {
        let version = self.0["protocol_version"].as_u64();
        let origin = self.0["protocol_origin"].as_str();
        version
            .zip(origin)
            .unwrap_or_else(|| self.missing("protocol_version"))
    }

    /// Number of crypto-NAKs received.
    pub fn crypto_naks(self) -> u64 {
        self.0["crypto_naks"]
            .as_u64()
            .unwrap_or_else(|| self.missing("crypto_naks"))
    }

    /// Whether the latest reply was in interleaved mode.
    pub fn is_interleaved(self) -> bool {
        self.0["interleaved"]
            .as_bool()
            .unwrap_or_else(|| self.missing("interleaved"))
    }

    /// Selection state, such as `selected` or `falseticker`.
    pub fn state(self) -> &'a str {
        self.0["state"]
            .as_str()
            .unwrap_or_else(|| self.missing("state"))
    }

    fn missing(self, member: &str) -> ! {
        panic!("missing or invalid `{member}` in the source {:#}", self.0)
    }
}
