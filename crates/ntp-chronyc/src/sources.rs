//! The sources that indices and addresses refer to, and what chrony calls their states.

use std::net::IpAddr;

use ntp_time::{NtpDuration, ReferenceId};
use ntp_types::source::{SourceAddress, SourceState};
use ntp_types::status::{ConfiguredSource, SourceStatus, Status};

use crate::field::Address;

/// A source.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Entry<'a> {
    /// A source in use.
    InUse(&'a SourceStatus),
    /// A configured source without an address, by its place in the configuration from one on.
    Unresolved(u32, &'a ConfiguredSource),
}

/// Returns the sources in use, then those without an address.
pub(crate) fn entries(status: &Status) -> impl Iterator<Item = Entry<'_>> {
    let in_use = status.sources.iter().map(Entry::InUse);
    let configured = (1..).zip(&status.configured);
    let unresolved = configured.filter(|(_, source)| source.present == 0);
    in_use.chain(unresolved.map(|(number, source)| Entry::Unresolved(number, source)))
}

/// Finds an NTP source by its address, as `ntpdata`, `authdata` and the names of sources need it.
pub(crate) fn find(status: &Status, address: Address) -> Option<Entry<'_>> {
    entries(status).find(|entry| entry.address() == address && address != Address::None)
}

impl<'a> Entry<'a> {
    /// The source in use.
    pub(crate) fn in_use(self) -> Option<&'a SourceStatus> {
        match self {
            Self::InUse(source) => Some(source),
            Self::Unresolved(..) => None,
        }
    }

    /// Address of the server, none for a reference clock.
    pub(crate) fn address(self) -> Address {
        match self {
            Self::InUse(source) => ip(source).map_or(Address::None, Address::Ip),
            Self::Unresolved(number, _) => Address::Number(number),
        }
    }

    /// Name in the configuration, without the port.
    pub(crate) fn name(self) -> &'a str {
        let name = match self {
            Self::InUse(source) => &source.name,
            Self::Unresolved(_, source) => &source.name,
        };
        let host = name
            .rsplit_once(':')
            .map_or(name.as_str(), |(host, _)| host);
        host.trim_matches(['[', ']'])
    }
}

/// Address of the server; `None` for a reference clock.
pub(crate) fn ip(source: &SourceStatus) -> Option<IpAddr> {
    let address = source.address.socket()?;
    Some(address.ip().to_canonical())
}

/// Reference ID of a source: of a server that of its clients, of a reference clock its own.
///
/// The hash of an IPv6 address is known of the source only that the clock is synchronised to; others have zero.
pub(crate) fn reference_id(status: &Status, source: &SourceStatus) -> ReferenceId {
    match (ip(source), &source.reference_clock) {
        (Some(IpAddr::V4(address)), _) => ReferenceId::new(address.octets()),
        (Some(IpAddr::V6(_)), _) if status.system.reference == Some(source.id) => {
            status.system.reference_id
        }
        (None, Some(clock)) => source.measurement.map_or_else(
            || driver_id(&clock.driver),
            |measured| measured.reference_id,
        ),
        _ => ReferenceId::default(),
    }
}

/// The reference ID of a clock without a measurement: the name of its driver, in capitals.
fn driver_id(driver: &str) -> ReferenceId {
    let mut id = [0; 4];
    for (octet, letter) in id.iter_mut().zip(driver.bytes()) {
        *octet = letter.to_ascii_uppercase();
    }
    ReferenceId::new(id)
}

/// Offsets of our clock from a source; positive if ours is ahead.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Offsets {
    /// As measured.
    pub(crate) measured: NtpDuration,
    /// The same measurement, corrected by the slews since then.
    pub(crate) adjusted: NtpDuration,
    /// By all its measurements.
    pub(crate) estimated: NtpDuration,
}

impl Offsets {
    /// Returns the offsets from a source, if it was measured.
    pub(crate) fn of(status: &Status, source: &SourceStatus) -> Option<Self> {
        let measured = -source.measurement?.offset;
        let (Some(offset), Some(path)) = (status.system.offset, source.path) else {
            return Some(Self {
                measured,
                adjusted: measured,
                estimated: measured,
            });
        };
        // `residual` and `bias` are errors of our clock's phase, which has the sign of chrony.
        let adjusted = -offset - path.residual;
        let is_modelled = path.combined && source.state == SourceState::Selected;
        Some(Self {
            measured,
            adjusted,
            estimated: if is_modelled {
                path.bias - offset
            } else {
                adjusted
            },
        })
    }
}

/// State of a source in `sources`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub(crate) enum State {
    /// `*`
    Best = 0,
    /// `?`
    NotSelectable = 1,
    /// `x`
    Falseticker = 2,
    /// `+`
    Combined = 4,
    /// `-`
    NotCombined = 5,
}

/// Returns the state of a source, and its letter in `selectdata`.
pub(crate) fn state(status: &Status, source: &SourceStatus) -> (State, u8) {
    let is_combined = source.path.is_none_or(|path| path.combined);
    match source.state {
        SourceState::Selected if status.system.reference == Some(source.id) => (State::Best, b'*'),
        SourceState::Selected if is_combined => (State::Combined, b'+'),
        SourceState::Selected => (State::NotCombined, b'D'),
        SourceState::Outranked => (State::NotCombined, b'P'),
        // Without a majority chronyd calls all of them falsetickers.
        SourceState::Falseticker | SourceState::NoMajority => (State::Falseticker, b'x'),
        SourceState::TooUncertain => (State::NotSelectable, b'd'),
        // Of a server that never answered, chronyd shows that it is not synchronised.
        SourceState::NoSamples | SourceState::Stale | SourceState::Unreachable
            if source.measurement.is_none() =>
        {
            (State::NotSelectable, b's')
        }
        SourceState::NoSamples => (State::NotSelectable, b'M'),
        SourceState::Stale | SourceState::Unreachable => (State::NotSelectable, b'S'),
        SourceState::Unusable if !source.options.noselect => (State::NotSelectable, b's'),
        SourceState::Unusable | SourceState::Duplicate | SourceState::Standby => {
            (State::NotSelectable, b'N')
        }
    }
}

/// Whether a source is a reference clock.
pub(crate) fn is_reference_clock(source: &SourceStatus) -> bool {
    matches!(source.address, SourceAddress::Device(_))
}
