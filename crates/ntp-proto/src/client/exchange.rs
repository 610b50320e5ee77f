//! Identity of an exchange and the datagrams received in it.

use ntp_time::Stamp;
use ntp_types::source::SourceId;
use serde::{Deserialize, Serialize};

/// Identifies one request and its socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ExchangeId {
    /// The association.
    pub source: SourceId,
    /// Sequence number of the request, from zero; wraps.
    pub sequence: u32,
}

/// A datagram received on the socket of an exchange. The socket is connected, so the kernel has
/// checked the source address.
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a> {
    /// Exchange that owns the socket.
    pub exchange: ExchangeId,
    /// Content of the datagram.
    pub payload: &'a [u8],
    /// Whether the datagram was longer than the receive buffer.
    pub truncated: bool,
    /// Hop limit with which it arrived (the TTL of IPv4), if the operating system reports it.
    pub hop_limit: Option<u8>,
    /// Receive timestamp.
    pub received: Stamp,
}
