//! The protocol and every decision of ntpd-rs, without I/O.
//!
//! | module | what it knows |
//! |---|---|
//! | [`wire`] | packets: header, extension fields, MAC |
//! | [`client`] | one server address: when to ask, which datagrams are answers |
//! | [`discipline`] | what measurements say about the clock, and how to steer it |
//! | [`engine`] | all of the daemon's decisions, as one state machine: begin reading here |
//! | [`server`] | answering requests |
//! | [`leap`] | leap seconds: what is known of them, and what a clock does about one |
//! | [`keys`] | symmetric keys, for both sides |
//! | [`nts`] | Network Time Security: keys, cookies, sealed packets |
//!
//! Nothing in this crate reads a clock, draws randomness or touches a socket.
#![forbid(unsafe_code)]

pub mod client;
pub mod discipline;
pub mod engine;
pub mod keys;
pub mod leap;
pub mod nts;
pub mod server;
pub mod wire;
