//! The client side of an NTP association: what to ask, when to ask, whom to believe.
//!
//! An [`Association`] is our relation with one server address. It builds requests, judges
//! replies ([`sanity`], [`Protection`]), keeps the reach register and decides when to poll next ([`schedule`]).
//! It knows nothing of sockets, names or of other servers: those belong to the
//! [engine](crate::engine), which feeds it and turns accepted replies into measurements.

mod association;
pub mod fuzzing;
mod interleaved;
mod kiss;
mod nts;
mod protection;
mod reach;
pub mod sanity;
pub mod schedule;
#[cfg(test)]
mod tests;

pub use association::{Accepted, Association, Counters, Reply, Request, Terms};
pub use kiss::Kiss;
pub use nts::NtsSession;
pub use protection::{Authentication, Evidence, Protection};
pub use reach::Reach;
pub use sanity::{LocalIdentity, Rejection, reference_id_of};
pub use schedule::Schedule;
