//! Inputs of the engine.

use core::fmt;
use std::net::IpAddr;

use ntp_time::{Applied, Monotonic, NtpDuration, Stamp, SystemTime};
use ntp_types::host::ScopedIp;
use ntp_types::refclock::{ClockSample, SampleRefusal};
use serde::{Deserialize, Serialize};

use super::{Command, CommandId, EngineConfig, KeyExchangeError, SendError, SourceId};
use crate::client::{Datagram, ExchangeId};
use crate::leap::LeapTable;
use crate::nts::KeyExchanged;
use crate::reference_ids::ServerId;

/// Readings of both clocks, taken together. The only way in which time enters the engine.
///
/// The shell reads both within microseconds of each other and repeats the reading otherwise: by
/// their difference the engine detects that another program changed the system clock.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Monotonic clock, for timers and ages.
    pub monotonic: Monotonic,
    /// System clock, which the engine disciplines.
    pub system: SystemTime,
}

/// Reason for a failure outside the engine, as text: the system resolver reports no typed errors that
/// this crate could name. The engine only passes the text on to operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExternalError<'a>(pub &'a str);

impl<'a> From<&'a String> for ExternalError<'a> {
    fn from(text: &'a String) -> Self {
        Self(text)
    }
}

impl fmt::Display for ExternalError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// An input of the engine. Its effects are returned by
/// [`Engine::poll_output`](super::Engine::poll_output).
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// A datagram was received.
    Datagram(Datagram<'a>),
    /// A request was sent. Passed first with the daemon's own clock reading, and again if a better
    /// timestamp becomes available.
    Transmitted {
        /// The request.
        exchange: ExchangeId,
        /// Transmit timestamp.
        stamp: Stamp,
    },
    /// A request could not be sent, or caused an ICMP error.
    SendFailed {
        /// The request.
        exchange: ExchangeId,
        /// The error.
        error: SendError,
    },
    /// Result of [`Output::Resolve`](super::Output::Resolve).
    Resolved {
        /// ID of the query.
        query: QueryId,
        /// Addresses in the order of the resolver, or its error.
        result: Result<&'a [ScopedIp], ExternalError<'a>>,
    },
    /// Result of [`Output::ExchangeKeys`](super::Output::ExchangeKeys).
    KeyExchanged {
        /// ID of the query.
        query: QueryId,
        /// Keys and cookies, or the error of the key-exchange client.
        result: Result<&'a KeyExchanged, &'a KeyExchangeError>,
    },
    /// Keys accepted under clock leniency failed re-verification once the time was known.
    KeysRevoked {
        /// ID of the query.
        query: QueryId,
        /// Result of the certificate verification.
        error: &'a KeyExchangeError,
    },
    /// A sample of a reference clock whose device is [open](super::Output::OpenDevice).
    Sample {
        /// The reference clock.
        source: SourceId,
        /// The sample, or why a reading gave none.
        sample: Result<ClockSample, SampleRefusal>,
    },
    /// ID under which our server is found in loops, drawn at random; `None` if it does not serve
    /// version 5. Passed at start-up if there is such a server, and after every change.
    ServerId(Option<ServerId>),
    /// Our address in the exchanges with a source, before the first one and after every change.
    LocalAddress {
        /// The source.
        source: SourceId,
        /// Our address.
        address: IpAddr,
    },
    /// Addresses of this machine, at start-up and after every change.
    LocalAddresses(&'a [IpAddr]),
    /// Result of [`Output::Adjust`](super::Output::Adjust). Must precede any other input.
    ClockApplied(Applied),
    /// The machine was suspended for about this long.
    Suspended(NtpDuration),
    /// The virtual machine was moved to another host or continued from a snapshot.
    Disrupted {
        /// The hypervisor's new marker.
        marker: u64,
    },
    /// A command of an operator, answered by [`Output::Completed`](super::Output::Completed).
    Command(CommandId, &'a Command),
    /// A new configuration, answered likewise. Unchanged sources are kept.
    Reconfigure(CommandId, &'a EngineConfig),
    /// A new list of leap seconds, or none.
    LeapList(Option<&'a LeapTable>),
    /// A timer expired; the engine runs whatever is due.
    Tick,
    /// Shut down: end the slew and hand out the persistent state. Nothing is sent afterwards.
    Shutdown,
}

/// Identifies a configured source in queries to the resolver and to the key-exchange client. Not
/// reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct QueryId(pub usize);
