//! What the shell tells the engine.

use core::fmt;
use std::net::IpAddr;

use ntp_time::{Applied, Monotonic, NtpDuration, Stamp, SystemTime};

use super::{Command, CommandId, EngineConfig};
use crate::leap::LeapTable;
use crate::nts::KeyExchanged;

/// The only way that time enters the engine: both clocks, read together.
///
/// The shell reads them within microseconds of each other, or again until it has: their difference is
/// how the engine notices that someone else changed the system clock.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// For timers and ages.
    pub monotonic: Monotonic,
    /// The disciplined clock.
    pub system: SystemTime,
}

/// Names an association for as long as the process runs; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId(pub u32);

impl fmt::Display for SourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Names one request, its socket and whatever arrives there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExchangeId {
    /// The association.
    pub source: SourceId,
    /// The request, counted from zero; wraps.
    pub sequence: u32,
}

/// A datagram that arrived on an exchange's socket, which is connected: the kernel has checked its source.
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a> {
    /// Whose socket.
    pub exchange: ExchangeId,
    /// The bytes.
    pub payload: &'a [u8],
    /// Whether the buffer was too small for it.
    pub truncated: bool,
    /// When it arrived.
    pub received: Stamp,
}

/// Why a request could not be sent, or what the network said about it afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendError {
    /// There is no way there from here now: no route, network or host unreachable, or the family is not supported.
    NoRoute,
    /// The host answered that nobody listens (ICMP port unreachable).
    Refused,
    /// The firewall or a policy of this machine forbids it.
    Forbidden,
    /// Anything else, by its `errno`.
    Other(i32),
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRoute => f.write_str("no route to it"),
            Self::Refused => f.write_str("nothing listens on its port"),
            Self::Forbidden => f.write_str("this machine's firewall forbids it"),
            Self::Other(errno) => write!(f, "system error {errno}"),
        }
    }
}

/// Something happened. The engine's answer is in [`Engine::poll_output`](super::Engine::poll_output).
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// A datagram arrived.
    Datagram(Datagram<'a>),
    /// A request left at this time. Comes once from the daemon's own clock, and again if a better stamp shows up.
    Transmitted {
        /// The request.
        exchange: ExchangeId,
        /// When it left.
        stamp: Stamp,
    },
    /// A request could not be sent or was refused on its way.
    SendFailed {
        /// The request.
        exchange: ExchangeId,
        /// What was wrong.
        error: SendError,
    },
    /// The answer to [`Output::Resolve`](super::Output::Resolve).
    Resolved {
        /// The query, as it was asked.
        query: ResolveId,
        /// The addresses in the resolver's order, or what it said.
        result: Result<&'a [IpAddr], &'a str>,
    },
    /// The answer to [`Output::ExchangeKeys`](super::Output::ExchangeKeys).
    KeyExchanged {
        /// The query, as it was asked.
        query: ResolveId,
        /// The keys, or why there are none, in words for an operator.
        result: Result<&'a KeyExchanged, &'a str>,
    },
    /// Keys that were got on credit are worth nothing: what vouched for them did not stand once the time was known.
    KeysRevoked {
        /// The query, as it was asked.
        query: ResolveId,
        /// Why, in words for an operator.
        reason: &'a str,
    },
    /// This machine's addresses, at the start and whenever they changed.
    LocalAddresses(&'a [IpAddr]),
    /// The answer to [`Output::Adjust`](super::Output::Adjust), before any other input.
    ClockApplied(Applied),
    /// The machine was suspended for about this long, or moved to another host.
    Suspended(NtpDuration),
    /// An operator wants something; answered by [`Output::Completed`](super::Output::Completed).
    Command(CommandId, &'a Command),
    /// The configuration is another one; answered likewise. What did not change goes on.
    Reconfigure(CommandId, &'a EngineConfig),
    /// The list of leap seconds is another one, or there is none any more.
    LeapList(Option<&'a LeapTable>),
    /// A timer fired, or nothing happened: the engine looks at what is due.
    Tick,
    /// Stop: end a slew, save what is worth saving. Nothing more is sent.
    Shutdown,
}

/// Names a configured source towards the resolver and the key exchange; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ResolveId(pub usize);
