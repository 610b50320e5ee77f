//! Packet timestamps and their origin.

use serde::{Deserialize, Serialize};

use crate::SystemTime;

/// Origin of a timestamp; the closer to the wire, the smaller its noise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StampSource {
    /// The daemon, which reads the clock around its system call.
    Daemon,
    /// The kernel's network stack.
    Kernel,
    /// The network interface.
    Hardware,
}

/// Timestamp of a packet's transmission or arrival, in system time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// The reading.
    #[serde(with = "crate::exact")]
    pub time: SystemTime,
    /// Origin of the reading.
    pub source: StampSource,
}
