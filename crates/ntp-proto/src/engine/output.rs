//! What the engine asks of the shell.

use core::fmt;
use std::net::SocketAddr;

use ntp_time::{Adjustment, NtpDuration, SystemTime};

use super::{CommandId, Done, Event, ExchangeId, Host, Refusal, ResolveId, SourceId};
use crate::client::Request;
use crate::discipline::{FrequencyPrior, Panic};
use crate::nts::KeyExchanged;

/// Something for the shell to do.
#[derive(Clone, Debug)]
pub enum Output {
    /// Change the clock now and answer with [`Input::ClockApplied`](super::Input::ClockApplied) before anything else.
    Adjust(Adjustment),
    /// Send a request from a fresh socket, connected to `remote` (RFC 9109), and keep the socket for the reply.
    Transmit {
        /// Names the request and its socket.
        exchange: ExchangeId,
        /// Where to.
        remote: SocketAddr,
        /// What.
        request: Request,
    },
    /// The exchange is over: close its socket.
    Close(ExchangeId),
    /// Look a name up, off the timekeeping thread.
    Resolve {
        /// Names the query in the answer.
        query: ResolveId,
        /// The name.
        host: String,
    },
    /// Do an NTS key exchange (RFC 8915 section 4), off the timekeeping thread, and answer with
    /// [`Input::KeyExchanged`](super::Input::KeyExchanged). It must end some time, with whatever outcome.
    ExchangeKeys {
        /// Names the query in the answer.
        query: ResolveId,
        /// The source's configured name.
        name: String,
        /// The key-exchange server.
        host: Host,
        /// Its TCP port.
        port: u16,
    },
    /// The engine ends, and this session has cookies left: worth keeping over a restart, unseen by others. See
    /// [`StoredSession`](crate::nts::StoredSession).
    PersistSession {
        /// The source's configured name.
        name: String,
        /// To be given as the outcome of its next key exchange.
        session: Box<KeyExchanged>,
    },
    /// Worth keeping over a restart.
    Persist(Kept),
    /// Something happened that a person may want to know.
    Event(Event),
    /// What became of [`Input::Command`](super::Input::Command) or [`Input::Reconfigure`](super::Input::Reconfigure).
    Completed(CommandId, Result<Done, Refusal>),
    /// The daemon must end; the clock has been left as it was.
    Halt(Halt),
}

/// What the next start may know from this run; what is not known is to be left as an earlier run knew it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Kept {
    /// The oscillator's frequency, once it is known.
    pub frequency: Option<FrequencyPrior>,
    /// A time that is past for certain: what the synchronised clock showed, less its bound.
    pub past: Option<SystemTime>,
}

/// Why the daemon must not go on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Halt {
    /// The clock would have to be stepped further than the operator allows.
    Panic {
        /// Which threshold.
        which: Panic,
        /// The correction that would have been needed.
        correction: NtpDuration,
        /// The threshold's value.
        limit: NtpDuration,
        /// The clock's reading, which is believed to be wrong.
        clock: SystemTime,
    },
}

/// Why the engine wants to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A request is due.
    Poll(SourceId),
    /// An open exchange is to be given up.
    ReplyTimeout(SourceId),
    /// A slew has done its work.
    SlewEnd,
    /// The kernel's error figures must be refreshed and the clocks compared.
    Housekeeping,
    /// A name is to be looked up again.
    Resolve(ResolveId),
    /// NTS keys are to be exchanged.
    ExchangeKeys(ResolveId),
    /// The kernel carries out a leap second; until we have looked, our figures are a second off.
    LeapSecond,
}

impl fmt::Display for Halt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Panic {
                which,
                correction,
                limit,
                clock,
            } => {
                let key = which.key();
                write!(
                    f,
                    "the clock says {clock}, the sources say {}: a correction of {correction}, and {key} = {limit} \
                     does not allow it; the clock was not touched. If the sources are right, set it by `ntp-ctl force-sync`, or raise {key} \
                     in [synchronization], and start again",
                    *clock + *correction
                )
            }
        }
    }
}
