//! Outputs of the engine.

use std::net::SocketAddr;

use ntp_time::{Adjustment, SystemTime};
use ntp_types::path::NetworkPath;
use ntp_types::refclock::DeviceConfig;

use super::{
    CommandId, CommandOutcome, Event, ExchangeId, Host, QueryId, Refusal, RefusedStep, SourceId,
};
use crate::client::{Request, VersionChoice};
use crate::discipline::FrequencyPrior;
use crate::nts::KeyExchanged;

/// An action for the shell.
#[derive(Clone, Debug)]
pub enum Output {
    /// Adjust the clock now and pass [`Input::ClockApplied`](super::Input::ClockApplied) before any
    /// other input.
    Adjust(Adjustment),
    /// Send a request from a fresh socket, connected to `remote` (RFC 9109), and keep the socket
    /// for the reply.
    Transmit {
        /// ID of the request and its socket.
        exchange: ExchangeId,
        /// Destination.
        remote: SocketAddr,
        /// Path to it through this machine.
        path: NetworkPath,
        /// The request.
        request: Request,
    },
    /// Close the socket of this exchange.
    Close(ExchangeId),
    /// Open the device of a reference clock and pass its samples as
    /// [`Input::Sample`](super::Input::Sample). Open it again whenever it fails.
    OpenDevice {
        /// The reference clock.
        source: SourceId,
        /// Its device, and how it is read.
        device: DeviceConfig,
    },
    /// Close the device of this reference clock.
    CloseDevice {
        /// The reference clock.
        source: SourceId,
    },
    /// Resolve a name, off the timekeeping thread.
    Resolve {
        /// ID of the query.
        query: QueryId,
        /// The name.
        host: String,
    },
    /// Perform an NTS key exchange (RFC 8915 section 4), off the timekeeping thread, and pass
    /// [`Input::KeyExchanged`](super::Input::KeyExchanged). It must end eventually.
    ExchangeKeys {
        /// ID of the query.
        query: QueryId,
        /// Configured name of the source.
        name: String,
        /// The key-exchange server.
        host: Host,
        /// Its TCP port.
        port: u16,
        /// Version of NTP that the keys are for.
        version: VersionChoice,
        /// For a pool, the servers that it should not name, with the names by which it knows them
        /// ([`KeyExchanged::member`]). `None` if the source is a single server.
        denied: Option<Vec<String>>,
    },
    /// Save an NTS session that has cookies left at shutdown, readable by the daemon only. See
    /// [`StoredSession`](crate::nts::StoredSession).
    PersistSession {
        /// Configured name of the source.
        name: String,
        /// Session to return as result of the next key exchange.
        session: Box<KeyExchanged>,
    },
    /// Save the state that survives a restart.
    Persist(PersistedState),
    /// An event to log.
    Event(Event),
    /// Result of [`Input::Command`](super::Input::Command) or
    /// [`Input::Reconfigure`](super::Input::Reconfigure).
    Completed(CommandId, Result<CommandOutcome, Refusal>),
    /// The daemon must exit (`on-panic`). The step that the clock needs was not made.
    Halt(RefusedStep),
}

/// State that survives a restart. A value of `None` does not replace a saved one.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PersistedState {
    /// Frequency of the oscillator, once known.
    pub frequency: Option<FrequencyPrior>,
    /// Lower limit of the true time: reading of the synchronised clock minus its error bound, once
    /// the sources have held their time for an hour.
    pub time_floor: Option<SystemTime>,
    /// Whether the limit replaces a saved one, even if that is later or there is no new one: the
    /// sources have contradicted it. Otherwise the later one remains.
    pub replaces_floor: bool,
}

/// Reason for the next wake-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A request is due.
    Poll(SourceId),
    /// An open exchange times out.
    ReplyTimeout(SourceId),
    /// A sample of a reference clock counts as missing.
    SampleTimeout(SourceId),
    /// A slew ends.
    SlewEnd,
    /// The error estimates in the kernel are refreshed and the clocks compared.
    Housekeeping,
    /// A name is due for resolution.
    Resolve(QueryId),
    /// A server that denied access is tried again.
    RetryDenied(QueryId),
    /// An NTS key exchange is due.
    ExchangeKeys(QueryId),
    /// The local reference may become active.
    LocalTime,
    /// Sources with `fallback` may take part, or be held back again.
    Fallback,
    /// A leap second takes effect. Until it is detected, the error estimates are off by a second.
    LeapSecond,
}
