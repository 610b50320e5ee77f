//! Socket options.

use ntp_types::path::NetworkPath;

/// Which component timestamps packets, as in the configuration (`[clock] timestamp-mode`). What the
/// system does not support is replaced by the next lower mode and reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimestampMode {
    /// The daemon, by reading the clock around its system calls.
    Software,
    /// The kernel for received packets; the daemon for sent ones.
    KernelReceive,
    /// The kernel, in both directions.
    #[default]
    KernelAll,
    /// The network interface, in both directions, and the kernel for packets without an interface
    /// timestamp.
    ///
    /// Such timestamps are readings of the interface's own clock. They are only useful while that
    /// clock is kept at system time and its timestamping has been enabled (both by other means),
    /// and a hardware timestamp must not be compared with a kernel timestamp.
    Hardware,
}

impl TimestampMode {
    /// Returns whether sent packets are timestamped by something other than the daemon.
    pub const fn wants_transmit(self) -> bool {
        matches!(self, Self::KernelAll | Self::Hardware)
    }
}

/// Options of a client socket.
#[derive(Clone, Copy, Debug, Default)]
pub struct SocketOptions {
    /// Our address, the device and the traffic class.
    pub path: NetworkPath,
    /// Which component timestamps packets.
    pub timestamps: TimestampMode,
}
