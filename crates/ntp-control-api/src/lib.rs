//! What the daemon tells other programs, and in which form.
//!
//! The daemon, `ntp-ctl`, the metrics exporter and third-party readers meet in this crate; none
//! of them knows another's code.
//!
//! | module | what it holds |
//! |---|---|
//! | [`observation`] | the state of the daemon as data, its JSON form, the frame it travels in, and a client that fetches it |
//! | [`control`] | Varlink: reading, and changing the daemon at run time |
//! | [`metrics`] | the metric families that are made from it, and their text form for Prometheus |
//!
//! The observation socket is read-only and its form is older than this implementation: members
//! may be added to it, never renamed, retyped or removed. The daemon's mind is changed through the control socket.
//!
//! No clock is read here and nothing is drawn at random. The only I/O is the clients', on the
//! socket whose path they are given.
#![forbid(unsafe_code)]

pub mod control;
pub mod metrics;
pub mod observation;
