//! The configuration file `ntp.toml`: from text to checked settings, or to a report of all its
//! problems.
//!
//! Every file that upstream ntpd-rs 1.9 accepts is accepted with the same meaning, and every
//! file that it rejects is rejected, except for additional keys. Data flow:
//!
//! ```text
//! load, drop_in, dhcp  which files, their permissions     (the only I/O)
//! layers    several files -> one tree
//!   syntax   text -> tree of values with their spans (recovers, finds all errors)
//!   renamed  old names of keys, accepted with a warning
//!     reader, value   tree -> typed values, key by key; reports to a context, continues
//!       schema                 declaration of keys: struct, defaults, documentation, reading
//!       source, server, …      one file for each section
//!       key_list               all keys, for the manual and for advice
//! lock         the sources that number pulses, found among all sources
//! check        settings that contradict each other
//! unsupported  settings that this build does not support, refused by name
//! ```
//!
//! Problems are [`Diagnostic`]s: place, excerpt, and the correction. A derived serde
//! deserialiser would stop at the first one and lose the places of problems that are found
//! later. The declarations of sections are also the source of [`KEYS`], from which the manual
//! is generated.
#![forbid(unsafe_code)]

mod access;
mod address;
mod algorithm;
pub mod build;
mod check;
mod clock;
mod clockbound;
mod compat;
mod config;
mod control;
mod dhcp;
mod diagnostic;
mod disabled;
mod document;
mod documentation;
mod drop_in;
mod entry;
mod files;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod key_list;
mod keyset;
mod layers;
mod leap;
mod load;
mod local;
mod lock;
mod nts;
mod nts_ke;
mod observability;
mod outline;
mod path;
mod paths;
pub mod platform;
mod poll;
mod reader;
mod refclock;
mod renamed;
mod report;
mod sandbox;
mod schema;
mod selection_options;
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

pub use access::{AccessDecision, AccessRules};
pub use address::{Address, AddressError, NTP_PORT, NTS_KE_PORT};
pub use algorithm::AlgorithmConfig;
pub use check::{Finding, FindingKind};
pub use clock::{ClockConfig, ClockKind, TimestampMode};
pub use clockbound::ClockBoundConfig;
pub use compat::{ChronyConfig, CompatConfig};
pub use config::{Config, parse};
pub use control::ControlConfig;
pub use dhcp::DhcpFiles;
pub use diagnostic::{Diagnostic, Severity, Style};
pub use disabled::Disabled;
pub use document::{Located, Place};
pub use documentation::{KeyDoc, SECTIONS, SectionDoc};
pub use drop_in::drop_in_directories;
pub use entry::{Entry, keep_places};
pub use key_list::KEYS;
pub use keyset::KeysetConfig;
pub use leap::{LeapConfig, LeapHandling};
pub use load::{DEFAULT_PATH, Loaded, load};
pub use local::LocalConfig;
pub use nts::{NtsConfig, NtsPolicy};
pub use nts_ke::{CertificateConfig, NtsKeConfig};
pub use observability::{LogLevel, ObservabilityConfig};
pub use outline::origin;
pub use poll::{PollOverrides, SourceDefaults, SourceLimits};
pub use refclock::{Quality, RefClockSource};
pub use report::{Invalid, LoadError};
pub use sandbox::{SandboxConfig, SandboxMode};
pub use selection_options::SelectionOptions;
pub use server::{FilterAction, FilterList, NtpVersion, ServerConfig};
pub use service::{Ready, ServiceConfig};
pub use source::{
    KeyExchange, NtpSource, NtsPoolSource, NtsSource, PoolSource, SourceConfig, SourceKind,
    VersionChoice,
};
pub use state::StateConfig;
pub use subnet::{Subnet, SubnetError};
pub use symmetric::KeysConfig;
pub use synchronization::{DhcpSources, OnPanic, SynchronizationConfig};
pub use threshold::StepThreshold;
