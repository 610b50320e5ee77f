//! Interfaces between the daemon and other programs: data types, wire formats and clients.
//!
//! The daemon, `ntp-ctl`, the metrics exporter and third-party readers share this crate and nothing
//! else.
//!
//! | module | content |
//! |---|---|
//! | [`observation`] | state of the daemon as data, its JSON and framing, and a client that fetches it |
//! | [`control`] | Varlink: reads state and changes configuration at run time |
//! | [`explain`] | why the clock is or is not steered, and each source used |
//! | [`figure`] | a value with its metric |
//! | [`metrics`] | metric families of the state and their text format for Prometheus |
//!
//! The observation socket is read-only and its format is older than this implementation: members
//! may be added to it, never renamed, retyped or removed. The control socket accepts changes.
//!
//! This crate reads no clock and uses no randomness. Its only I/O is that of the clients, on the
//! socket whose path they are given.
#![forbid(unsafe_code)]

mod connect;
pub mod control;
pub mod explain;
pub mod figure;
pub mod format;
pub mod metrics;
pub mod observation;

pub use connect::{connect_within, is_listening};
