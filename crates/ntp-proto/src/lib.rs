//! Protocol and decisions of ntpd-rs, without I/O.
//!
//! | module | contents |
//! |---|---|
//! | [`wire`] | packets: header, extension fields, MAC |
//! | [`client`] | association with one server address: when to poll, which datagrams are replies |
//! | [`discipline`] | clock discipline: estimates the clock from measurements, and steers it |
//! | [`engine`] | all decisions of the daemon, as one state machine: start reading here |
//! | [`server`] | replies to requests |
//! | [`leap`] | leap seconds: sources of information, and how the clock handles one |
//! | [`keys`] | symmetric keys, for client and server |
//! | [`reference_ids`] | identities of servers and the filter that finds loops, of NTPv5 |
//! | [`nts`] | Network Time Security: keys, cookies, authenticated packets |
//!
//! Nothing in this crate reads a clock, draws randomness or touches a socket.
#![forbid(unsafe_code)]

pub mod client;
#[cfg(test)]
mod corpus;
pub mod discipline;
pub mod engine;
pub mod keys;
pub mod leap;
pub mod nts;
pub mod reference_ids;
pub mod server;
pub mod wire;
