//! What this system cannot do, said once and by name, while time is kept all the same.

use core::fmt;
use std::io;

/// Something useful that a kernel, a container or a simulator may lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Facility {
    /// Receive stamps by the kernel, of any kind.
    ReceiveStamps,
    /// Receive stamps finer than a microsecond.
    NanosecondStamps,
    /// Transmit stamps by the kernel.
    TransmitStamps,
    /// Stamps by the network interface.
    HardwareStamps,
    /// Keeping the kernel's stamping switched on between exchanges.
    PermanentStamping,
    /// The address and interface at which a datagram arrived.
    DestinationAddress,
    /// Errors that routers and peers report by ICMP.
    NetworkErrors,
    /// Waiting for the error queue apart from other errors.
    ErrorQueuePriority,
    /// Notice of changed addresses.
    AddressChanges,
    /// The address to which a request was sent.
    ReplySource,
    /// Serving addresses that the machine does not have yet.
    LateAddresses,
    /// Spreading clients over workers by their address.
    Steering,
}

impl Facility {
    /// Its name, and what its absence means.
    const fn describe(self) -> (&'static str, &'static str) {
        match self {
            Self::ReceiveStamps => (
                "kernel receive timestamps (SO_TIMESTAMPING, SO_TIMESTAMPNS, SO_TIMESTAMP)",
                "the daemon's own reading is used, which is late when the machine is busy",
            ),
            Self::NanosecondStamps => (
                "kernel receive timestamps in nanoseconds (SO_TIMESTAMPNS)",
                "they are rounded to microseconds",
            ),
            Self::TransmitStamps => (
                "kernel transmit timestamps (SO_TIMESTAMPING)",
                "the daemon's own reading before sending is used",
            ),
            Self::HardwareStamps => (
                "hardware timestamps (SO_TIMESTAMPING)",
                "the kernel's software timestamps are used",
            ),
            Self::PermanentStamping => (
                "a socket that keeps kernel timestamping switched on",
                "the first reply of an exchange may go unstamped",
            ),
            Self::DestinationAddress => (
                "the destination address of datagrams (IP_PKTINFO)",
                "the local address of a source is not known",
            ),
            Self::NetworkErrors => (
                "network errors (IP_RECVERR)",
                "most unreachable servers are noticed by their silence only",
            ),
            Self::ErrorQueuePriority => (
                "priority events for the error queue (SO_SELECT_ERR_QUEUE)",
                "it is watched through error events",
            ),
            Self::AddressChanges => (
                "notice of changed network addresses (netlink)",
                "they are noticed at the next regular look",
            ),
            Self::ReplySource => (
                "the destination address of requests (IP_PKTINFO)",
                "on a machine with several addresses, answers may leave from another than was asked",
            ),
            Self::LateAddresses => (
                "listening on an address before it exists (IP_FREEBIND)",
                "the address must exist when the daemon starts",
            ),
            Self::Steering => (
                "spreading clients by address (SO_ATTACH_REUSEPORT_CBPF)",
                "a client that changes its port meets other workers, so its rate is judged by each alone",
            ),
        }
    }
}

impl fmt::Display for Facility {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.describe().0)
    }
}

/// An optional facility that was refused, and why. The caller reports it once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shortcoming {
    /// What is missing.
    pub facility: Facility,
    /// The operating system's error number.
    pub error: i32,
}

impl Shortcoming {
    pub(crate) fn new(facility: Facility, cause: &io::Error) -> Self {
        Self {
            facility,
            error: cause.raw_os_error().unwrap_or(libc::EIO),
        }
    }
}

impl fmt::Display for Shortcoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, consequence) = self.facility.describe();
        let cause = io::Error::from_raw_os_error(self.error);
        write!(f, "{name} not available ({cause}): {consequence}")
    }
}

impl std::error::Error for Shortcoming {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shortcoming_says_what_is_missing_why_and_what_follows() {
        let refused = io::Error::from_raw_os_error(libc::ENOPROTOOPT);
        let text = Shortcoming::new(Facility::TransmitStamps, &refused).to_string();
        for part in [
            "transmit timestamps",
            "Protocol not available",
            "own reading",
        ] {
            assert!(text.contains(part), "{part} is missing from: {text}");
        }
    }
}
