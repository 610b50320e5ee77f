//! The configuration file `ntp.toml`: from text to checked settings, or to a report of
//! everything that is wrong with it.
//!
//! Every file that upstream ntpd-rs 1.9 accepts is accepted with the same meaning, and what it
//! rejects is rejected; keys of our own come on top. The way through the crate:
//!
//! ```text
//! load, drop_in  which files, their permissions     (the only I/O)
//! layers    several files -> one tree
//!   syntax  text -> tree of values with their spans (recovers, finds all errors)
//!     reader, value   tree -> typed values, key by key; reports to a context, goes on
//!       source, server, … one file for each section
//! check        settings that do not go together
//! unsupported  settings that this build cannot honour, refused by name
//! ```
//!
//! Problems are [`Diagnostic`]s: place, excerpt, and what to write instead. A serde derive
//! would stop at the first, and lose the place of all that is found later; so sections are
//! read by hand, and [`KEYS`], the table that the manual is made from, is held to what they
//! read by a test.
#![forbid(unsafe_code)]

mod address;
mod algorithm;
mod check;
mod clock;
mod config;
mod control;
mod diagnostic;
mod disabled;
mod document;
mod drop_in;
pub mod fuzzing;
mod key_table;
mod keys;
mod keyset;
mod layers;
mod leap;
mod load;
mod nts_ke;
mod observability;
mod outline;
mod paths;
mod poll;
mod reader;
mod refclock;
mod renamed;
mod report;
mod sandbox;
mod server;
mod service;
mod settings;
mod source;
mod state;
mod subnet;
mod suggest;
mod symmetric;
mod synchronization;
mod syntax;
mod threshold;
mod unsupported;
mod value;

pub use address::{Address, AddressError, NTP_PORT, NTS_KE_PORT};
pub use algorithm::AlgorithmConfig;
pub use check::{Finding, FindingKind};
pub use clock::{ClockConfig, ClockKind, TimestampMode};
pub use config::{Config, parse};
pub use control::ControlConfig;
pub use diagnostic::{Diagnostic, Severity, Style};
pub use disabled::Disabled;
pub use document::{Located, Place};
pub use drop_in::folders_of;
pub use keys::{KEYS, KeyDoc, SECTIONS, SectionDoc};
pub use keyset::KeysetConfig;
pub use leap::{LeapConfig, LeapHandling};
pub use load::{DEFAULT_PATH, Loaded, load};
pub use nts_ke::{CertificateConfig, NtsKeConfig};
pub use observability::{LogLevel, ObservabilityConfig};
pub use outline::{Said, keep_places, origin};
pub use poll::{PollOverrides, SourceDefaults};
pub use refclock::{PpsSource, Quality, SockSource};
pub use report::{Invalid, LoadError};
pub use sandbox::{SandboxConfig, SandboxMode};
pub use server::{FilterAction, FilterList, NtpVersion, ServerConfig};
pub use service::{Ready, ServiceConfig};
pub use source::{
    KeyExchange, NtpSource, NtsPoolSource, NtsSource, Opinion, PoolSource, SourceConfig,
    SourceKind, VersionChoice,
};
pub use state::StateConfig;
pub use subnet::{Subnet, SubnetError};
pub use symmetric::KeysConfig;
pub use synchronization::SynchronizationConfig;
pub use threshold::StepThreshold;
