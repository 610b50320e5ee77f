//! The list of all keys, for the manual and for advice in error messages.
//!
//! It refers to all sections. The code that reads sections therefore gets the list from the
//! context ([`crate::reader::Context`]) and does not import this module.

use crate::access;
use crate::algorithm::{self, AlgorithmConfig};
use crate::build;
use crate::clock::ClockKeys;
use crate::clockbound::ClockBoundConfig;
use crate::compat::{ChronyConfig, CompatConfig};
use crate::control::ControlConfig;
use crate::disabled::Disabled;
use crate::documentation::{KeyDoc, KeyName, Keys};
use crate::keyset::KeysetConfig;
use crate::leap::LeapConfig;
use crate::local::LocalConfig;
use crate::nts::NtsConfig;
use crate::nts_ke::{CertificateConfig, NtsKeConfig};
use crate::observability::ObservabilityConfig;
use crate::path::SourcePath;
use crate::poll::{DefaultLimits, PollOverrides, SourceDefaults, SourceLimits};
use crate::refclock::{
    CommonKeys, GpsdKeys, NmeaKeys, PhcKeys, PpsKeys, PulseKeys, ShmKeys, SockKeys, VarianceKey,
    VmClockKeys,
};
use crate::sandbox::SandboxConfig;
use crate::schema::Table;
use crate::selection_options::SelectionOptions;
use crate::server::{self, ServerConfig};
use crate::service::ServiceConfig;
use crate::source::{
    self, KeyExchange, KeyExchangeAddress, NtpSource, NtsPoolSource, PolicyKey, PoolSource,
    ProtocolVersion, ServerAddress, SymmetricKey,
};
use crate::state::StateConfig;
use crate::symmetric::KeysConfig;
use crate::synchronization::SynchronizationConfig;
use crate::threshold;

/// The declarations of keys, in the order of the manual.
#[rustfmt::skip]
const DECLARED: &[&[KeyDoc]] = &[
    &[source::MODE], ServerAddress::KEYS, KeyExchangeAddress::KEYS,
    ProtocolVersion::KEYS, NtpSource::KEYS, SourcePath::KEYS,
    PollOverrides::KEYS, SelectionOptions::KEYS, SymmetricKey::KEYS, PolicyKey::KEYS, PoolSource::KEYS,
    NtsPoolSource::KEYS, KeyExchange::KEYS, SockKeys::KEYS, ShmKeys::KEYS, PpsKeys::KEYS,
    PulseKeys::KEYS, PhcKeys::KEYS, NmeaKeys::KEYS, GpsdKeys::KEYS, VmClockKeys::KEYS,
    CommonKeys::KEYS, VarianceKey::KEYS,
    SourceLimits::KEYS, SourceDefaults::KEYS, DefaultLimits::KEYS, ServerConfig::KEYS,
    server::FILTER_KEYS, access::KEYS, NtsKeConfig::KEYS, CertificateConfig::KEYS, KeysConfig::KEYS,
    KeysetConfig::KEYS, NtsConfig::KEYS, SynchronizationConfig::KEYS, threshold::KEYS, AlgorithmConfig::KEYS,
    algorithm::WITHOUT_EFFECT, ObservabilityConfig::KEYS, ControlConfig::KEYS,
    CompatConfig::KEYS, ChronyConfig::KEYS, ClockKeys::KEYS,
    LocalConfig::KEYS, LeapConfig::KEYS, StateConfig::KEYS, SandboxConfig::KEYS, ServiceConfig::KEYS,
    ClockBoundConfig::KEYS, Disabled::KEYS,
];

/// Every key that the file can hold.
pub const KEYS: &[KeyDoc] = &concat::<{ count() }>();

/// Their names, for the code that reads sections.
pub(crate) const DOCUMENTED: Keys = Keys {
    names: &names::<{ count() }>(),
    docs: if build::DIAGNOSTICS { Some(KEYS) } else { None },
};

const fn names<const COUNT: usize>() -> [KeyName; COUNT] {
    let mut names = [KeyName::of(&source::MODE); COUNT];
    let mut index = 0;
    while index < COUNT {
        names[index] = KeyName::of(&KEYS[index]);
        index += 1;
    }
    names
}

const fn count() -> usize {
    let (mut group, mut count) = (0, 0);
    while group < DECLARED.len() {
        count += DECLARED[group].len();
        group += 1;
    }
    count
}

const fn concat<const COUNT: usize>() -> [KeyDoc; COUNT] {
    let mut keys = [source::MODE; COUNT];
    let (mut group, mut next) = (0, 0);
    while group < DECLARED.len() {
        let mut index = 0;
        while index < DECLARED[group].len() {
            keys[next] = DECLARED[group][index];
            next += 1;
            index += 1;
        }
        group += 1;
    }
    keys
}
