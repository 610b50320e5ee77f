//! Client side of an NTP association: requests, validation of replies, poll times.
//!
//! An [`Association`] is the client's state for one server address. It builds requests, validates
//! replies ([`sanity`], [`Protection`]), keeps the reach register and decides when to poll next
//! ([`schedule`]). It has no sockets, resolves no names and knows no other servers: those belong to
//! its driver, the engine or a one-shot query. Nothing here imports the engine.

mod association;
mod content;
mod exchange;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod hop_limit;
mod interleaved;
mod loop_guard;
mod matching;
mod negotiation;
mod nts;
mod protection;
mod reach;
mod reply;
mod request;
pub mod sanity;
pub mod schedule;
#[cfg(test)]
mod tests;
mod v5;

pub use association::{Association, AssociationConfig};
pub use content::{MonotonicReceive, PathCorrection, ReplyContent};
pub use exchange::{Datagram, ExchangeId};
pub use negotiation::{Negotiation, VersionChoice};
pub use ntp_types::event::{KissCode, Rejection};
pub use ntp_types::statistics::PacketCounters;
pub use nts::NtsSession;
pub use protection::{Authentication, Authenticity, Protection};
pub use reach::Reach;
pub use reply::{Accepted, Reply};
pub use request::Request;
pub use sanity::{LocalIdentity, reference_id_of};
pub use schedule::Schedule;
