//! Answers the monitoring requests of chronyc(1), and of the programs that speak its protocol
//! themselves: telegraf, netdata, chrony_exporter.
//!
//! The protocol is chrony's command and monitoring protocol, version 6: datagrams over a Unix socket
//! or UDP, a request of at least the length of its reply. This crate is an adapter: it converts a
//! [`Status`] to the layouts of the protocol, reads no socket and no clock, and changes nothing.
//! A command that would change something is refused as chronyd refuses it to an unauthorised user.
//!
//! | module | content |
//! |---|---|
//! | `message` | headers of requests and replies, status codes, which requests are dropped |
//! | `command` | the table of commands: lengths, reply codes, who may use them |
//! | `field` | the types of fields: numbers, floats, addresses, times |
//! | `sources` | the list of sources that indices and addresses refer to; their states |
//! | `tracking`, `source_reports`, `ntp_data`, `server_reports` | the layout of each reply |
//!
//! # Signs
//! chrony has both signs. Figures of one source (`sources`, `sourcestats`, `selectdata`) and the
//! last offset are positive if our clock is ahead; the current correction and `ntpdata` have our sign,
//! what must be added to our clock. docs/monitoring.md lists what has no counterpart here.
#![forbid(unsafe_code)]

mod command;
#[cfg(any(test, fuzzing))]
mod example;
mod field;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod message;
mod ntp_data;
mod server_reports;
mod source_reports;
mod sources;
#[cfg(test)]
mod tests;
mod tracking;

use ntp_types::status::{ClientStatus, Status};

pub use message::MAX_REQUEST;

/// Where a request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A Unix socket, whose permissions decide who may read everything.
    Unix,
    /// UDP, where every user of this machine may send: only what chronyd shows to all of them
    /// (the default of its directive `opencommands`).
    Udp,
}

/// Number of requests, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestCounters {
    /// Answered.
    pub answered: u64,
    /// Not answered because of the rate limit.
    pub dropped: u64,
}

/// The state that is shown.
pub trait Daemon {
    /// Returns the status. Called only for requests whose answer needs it.
    fn status(&mut self) -> &Status;

    /// Returns the clients, one entry for each address. `first` is the index of the first one that
    /// the answer contains: a listing begins with 0 and continues in the same list.
    fn clients(&mut self, first: usize) -> &[ClientStatus];

    /// Returns the counters of requests.
    fn counters(&self) -> RequestCounters;
}

/// Returns the answer to a datagram, or `None` if it gets none: it is no request of version 5 or
/// later. The answer is never longer than the datagram.
pub fn answer(datagram: &[u8], origin: Origin, daemon: &mut dyn Daemon) -> Option<Vec<u8>> {
    let request = message::Request::parse(datagram)?;
    let reply = command::execute(&request, origin, daemon);
    Some(request.reply(reply))
}
