//! Hop limits of received packets: the TTL of IPv4, the hop limit of IPv6.

use core::fmt;

use crate::record;

record! {
    /// A rejected datagram from another distance than authenticated replies: another host sent it, or a device on
    /// the path.
    #[derive(Copy, Eq)]
    HopLimitDifference {
        /// Its hop limit.
        rejected: u8,
        /// That of the last authenticated reply.
        authentic: u8,
    }
}

/// The values, and what follows from them.
impl fmt::Display for HopLimitDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            rejected,
            authentic,
        } = self;
        write!(
            f,
            "hop limit (TTL) {rejected}, but {authentic} in authenticated replies: it comes from another place"
        )
    }
}
