//! State of the daemon on the observation socket.
//!
//! The socket (`observation-path`) is a Unix stream socket. The daemon sends one frame to each
//! client and closes the connection; it reads nothing. A frame is a length, 64 bits in
//! network order, and that many bytes of JSON: one [`State`]. See [`write_frame`] and
//! [`read_frame`].
//!
//! The format is that of ntpd-rs 1.9, so that its `ntp-ctl`, its exporter and third-party readers
//! work with this daemon, and ours with theirs. This determines
//!
//! * the members: all of upstream's, with their names, in their order; readers fail on a missing
//!   one;
//! * the encoding of numbers (see [`seconds`] for an oddity);
//! * our additions: [`SystemDetails`], [`SourceDetails`] and [`ServerDetails`], whose members are
//!   flat among the others in the JSON. Readers ignore unknown members. Ours are all optional, because
//!   other daemons do not send them: absent means "unknown", never zero or false.
//!
//! A new figure is one row of the table in `details.rs`: member, value and metric.
//!
//! Signs: an offset is the correction that the local clock needs, true (or the server's) time minus
//! local time, as in RFC 5905 section 8. Positive means that the local clock is behind. The
//! exception is [`SystemDetails::true_offset`], which is not an estimate but an error.

mod client;
mod details;
mod encoding;
mod frame;
mod root_variance;
mod state;

pub use client::{FetchError, fetch};
pub use details::{SELECTED, SOURCE_STATES, STAMP_KINDS, SourceDetails, SystemDetails};
pub use encoding::seconds;
pub use frame::{
    MAX_FRAME, ReadError, WriteError, encode_frame, encode_truncated_frame, read_frame, write_frame,
};
pub use ntp_types::statistics::{Latency, ServerDetails, ServerStatistics};
pub use root_variance::RootVariance;
pub use state::{Leap, Program, Server, Source, State, System};

/// Default path of the socket.
pub const DEFAULT_PATH: &str = "/var/run/ntpd-rs/observe";

#[cfg(test)]
pub(crate) mod tests;
