//! Optional facilities that this system lacks, each reported once, while timekeeping continues.

use core::fmt;
use std::io;

/// An optional facility that a kernel, a container or a simulator may lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Facility {
    /// Receive timestamps by the kernel, of any kind.
    ReceiveStamps,
    /// Receive timestamps finer than a microsecond.
    NanosecondStamps,
    /// Transmit timestamps by the kernel.
    TransmitStamps,
    /// Timestamps by the network interface.
    HardwareStamps,
    /// A socket that keeps the kernel's timestamping enabled between exchanges.
    PermanentStamping,
    /// The address and interface at which a datagram arrived.
    DestinationAddress,
    /// Errors that routers and peers report by ICMP.
    NetworkErrors,
    /// The hop limit with which a datagram arrived.
    HopLimit,
    /// Waiting for the error queue separately from other errors.
    ErrorQueuePriority,
    /// Notification of changed addresses.
    AddressChanges,
    /// The destination address of a request.
    ReplySource,
    /// Binding addresses that the machine does not have yet.
    LateAddresses,
    /// Distribution of clients over workers by their address.
    Steering,
    /// The number of requests that the kernel dropped.
    DropCount,
}

impl Facility {
    /// Returns its stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ReceiveStamps => "receive-stamps",
            Self::NanosecondStamps => "nanosecond-stamps",
            Self::TransmitStamps => "transmit-stamps",
            Self::HardwareStamps => "hardware-stamps",
            Self::PermanentStamping => "permanent-stamping",
            Self::DestinationAddress => "destination-address",
            Self::NetworkErrors => "network-errors",
            Self::HopLimit => "hop-limit",
            Self::ErrorQueuePriority => "error-queue-priority",
            Self::AddressChanges => "address-changes",
            Self::ReplySource => "reply-source",
            Self::LateAddresses => "late-addresses",
            Self::Steering => "steering",
            Self::DropCount => "drop-count",
        }
    }

    /// Returns its name, and the consequence of its absence.
    const fn describe(self) -> (&'static str, &'static str) {
        match self {
            Self::ReceiveStamps => (
                "kernel receive timestamps (SO_TIMESTAMPING, SO_TIMESTAMPNS, SO_TIMESTAMP)",
                "the daemon's own reading is used, which is late when the machine is busy",
            ),
            Self::NanosecondStamps => (
                "kernel receive timestamps in nanoseconds (SO_TIMESTAMPNS)",
                "timestamps are rounded to microseconds",
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
            Self::HopLimit => (
                "the hop limit of datagrams (IP_RECVTTL, IPV6_RECVHOPLIMIT)",
                "replies from another distance than that of the server are not recognised",
            ),
            Self::ErrorQueuePriority => (
                "priority events for the error queue (SO_SELECT_ERR_QUEUE)",
                "it is watched through error events",
            ),
            Self::AddressChanges => (
                "notice of changed network addresses (netlink)",
                "changes are noticed at the next regular check",
            ),
            Self::ReplySource => (
                "the destination address of requests (IP_PKTINFO)",
                "on a machine with several addresses, replies may be sent from another address than the request was sent to",
            ),
            Self::LateAddresses => (
                "listening on an address before it exists (IP_FREEBIND)",
                "the address must exist when the daemon starts",
            ),
            Self::Steering => (
                "spreading clients by address (SO_ATTACH_REUSEPORT_CBPF)",
                "a client that changes its port reaches other workers, each of which limits its rate separately",
            ),
            Self::DropCount => (
                "the number of datagrams that the kernel dropped (SO_RXQ_OVFL)",
                "requests that are lost because the receive buffer is full are not counted",
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
    /// The missing facility.
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
    fn a_shortcoming_names_facility_cause_and_consequence() {
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
