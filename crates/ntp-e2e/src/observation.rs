//! What a daemon says about itself at its observation socket.
//!
//! The frame is read as any third-party reader would: a 64-bit length, that much JSON, and members by name. Nothing of
//! the daemon's own code takes part, so that a change of the interface fails here.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

/// Larger frames are refused by every reader (compatibility with upstream's).
const LARGEST: u64 = 1 << 20;
const LIMIT: Duration = Duration::from_secs(10);

/// The state of a daemon at one moment.
#[derive(Clone, Debug)]
pub struct Observation(Value);

impl Observation {
    /// Reads one frame.
    ///
    /// # Errors
    /// If there is no socket at `path`, or what comes out of it is no frame.
    pub fn read(path: &Path) -> io::Result<Self> {
        let mut stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(LIMIT))?;
        let mut length = [0; 8];
        stream.read_exact(&mut length)?;
        let length = u64::from_be_bytes(length);
        if length > LARGEST {
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

    /// Whether the clock follows its sources.
    pub fn is_synchronized(&self) -> bool {
        self.system("synchronized")
            .as_bool()
            .unwrap_or_else(|| self.misses("system.synchronized"))
    }

    /// Stratum of the daemon itself.
    pub fn stratum(&self) -> u64 {
        self.system("stratum")
            .as_u64()
            .unwrap_or_else(|| self.misses("system.stratum"))
    }

    /// The error that the clock has at most, in seconds.
    pub fn error_bound(&self) -> f64 {
        self.system_number("error_bound")
    }

    /// The error that the clock has at most 99.9 % of the time, in seconds.
    pub fn estimated_error(&self) -> f64 {
        self.system_number("estimated_error")
    }

    /// The oscillator's estimated frequency error in parts per million.
    pub fn frequency_ppm(&self) -> f64 {
        self.system_number("frequency_ppm")
    }

    /// The 1-sigma uncertainty of that.
    pub fn frequency_uncertainty_ppm(&self) -> f64 {
        self.system_number("frequency_uncertainty_ppm")
    }

    /// By how much the virtual clock is ahead of the machine's, in seconds: the true error, which only a test can
    /// know.
    pub fn true_offset(&self) -> f64 {
        self.system_number("true_offset")
    }

    /// All sources, in no particular order.
    pub fn sources(&self) -> Vec<Source<'_>> {
        match self.0["sources"].as_array() {
            Some(sources) => sources.iter().map(Source).collect(),
            None => self.misses("sources"),
        }
    }

    /// A counter of the first address at which it serves, such as `received_packets`.
    pub fn served(&self, counter: &str) -> u64 {
        self.0["servers"][0]["stats"][counter]
            .as_u64()
            .unwrap_or_else(|| self.misses(counter))
    }

    /// The source with this configured name, `host:port`.
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
            .unwrap_or_else(|| self.misses(&format!("system.{member}")))
    }

    fn misses(&self, member: &str) -> ! {
        panic!("no proper `{member}` in the observation:\n{:#}", self.0)
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
            .unwrap_or_else(|| self.misses("name"))
    }

    /// Address and port in use.
    pub fn address(self) -> &'a str {
        self.0["address"]
            .as_str()
            .unwrap_or_else(|| self.misses("address"))
    }

    /// Polls since the last answer, 8 at most.
    pub fn unanswered_polls(self) -> u64 {
        self.0["unanswered_polls"]
            .as_u64()
            .unwrap_or_else(|| self.misses("unanswered_polls"))
    }

    /// Poll interval, log2 seconds.
    pub fn poll_interval(self) -> i64 {
        self.0["poll_interval"]
            .as_i64()
            .unwrap_or_else(|| self.misses("poll_interval"))
    }

    /// Offset of our clock from the server's, in seconds.
    pub fn offset(self) -> f64 {
        self.0["offset"]
            .as_f64()
            .unwrap_or_else(|| self.misses("offset"))
    }

    /// Half width of the interval in which the offset must lie, in seconds. Enormous before the first measurement.
    pub fn uncertainty(self) -> f64 {
        self.0["uncertainty"]
            .as_f64()
            .unwrap_or_else(|| self.misses("uncertainty"))
    }

    /// Whether there was a measurement.
    pub fn is_measured(self) -> bool {
        self.uncertainty() < 1e6
    }

    /// Requests sent since the association began.
    pub fn packets_sent(self) -> u64 {
        self.0["packets_sent"]
            .as_u64()
            .unwrap_or_else(|| self.misses("packets_sent"))
    }

    /// How its packets are authenticated: `none`, or for example `key 7 (AES128)`.
    pub fn authentication(self) -> &'a str {
        self.0["authentication"]
            .as_str()
            .unwrap_or_else(|| self.misses("authentication"))
    }

    /// Replies by which it said that it does not accept our key.
    pub fn crypto_naks(self) -> u64 {
        self.0["crypto_naks"]
            .as_u64()
            .unwrap_or_else(|| self.misses("crypto_naks"))
    }

    /// Whether its newest reply was in interleaved mode.
    pub fn is_interleaved(self) -> bool {
        self.0["interleaved"]
            .as_bool()
            .unwrap_or_else(|| self.misses("interleaved"))
    }

    /// What the daemon thinks of it, in a word such as `selected` or `falseticker`.
    pub fn state(self) -> &'a str {
        self.0["state"]
            .as_str()
            .unwrap_or_else(|| self.misses("state"))
    }

    fn misses(self, member: &str) -> ! {
        panic!("no proper `{member}` in the source {:#}", self.0)
    }
}
