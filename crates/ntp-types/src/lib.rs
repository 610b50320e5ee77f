//! Plain data that several parts of ntpd-rs share. Each fact is one type, defined here once.
//!
//! | module | what it holds |
//! |---|---|
//! | [`status`] | the state of the daemon as any reader may show it |
//! | [`statistics`] | counters of packets, requests and key exchanges |
//! | [`configuration`] | the configuration in force, with the origin of each value |
//! | [`event`] | what happened, with a stable name, a severity and typed fields |
//! | [`escape`] | text from outside, made safe for logs and terminals |
//! | [`path`] | address, network device and traffic class of packets |
//! | [`host`] | names and addresses of hosts |
//! | [`refclock`] | devices of reference clocks, their settings and samples |
//! | [`source`] | how a source is named, addressed, configured and judged |
//! | [`schema`] | descriptions of these types for the Varlink interface file |
//!
//! Whatever leaves the process is made from these types by an adapter, one file for each format: the
//! observation socket's JSON, Prometheus metrics, the Varlink interface, the record, tables. Nothing here
//! decides anything; there is no behaviour beyond conversion and display.
//!
//! # Units and signs
//! Durations are [`NtpDuration`](ntp_time::NtpDuration), frequencies
//! [`Frequency`](ntp_time::Frequency); in JSON they are seconds and parts per million, times are seconds
//! since 1970 (UTC, as the disciplined clock reads). An *offset* is what must be added to our clock: true (or
//! the server's) time minus ours, as in RFC 5905 section 8. It is positive if our clock is behind.
#![forbid(unsafe_code)]

pub mod configuration;
pub mod escape;
pub mod event;
pub mod hop_limit;
pub mod host;
pub mod path;
pub mod refclock;
pub mod schema;
pub mod source;
pub mod statistics;
pub mod status;
