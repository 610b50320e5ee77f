//! Packet timestamps and who took them.

use crate::SystemTime;

/// Who took a timestamp; the closer to the wire, the smaller its noise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StampSource {
    /// The daemon read the clock around its system call.
    Daemon,
    /// The kernel's network stack.
    Kernel,
    /// The network interface.
    Hardware,
}

/// When a packet left or arrived, in system time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The reading.
    pub time: SystemTime,
    /// Who took it.
    pub source: StampSource,
}
