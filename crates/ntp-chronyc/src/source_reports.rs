//! Reports about one source: `sources`, `sourcestats`, `selectdata`, `authdata`, and its name.

use ntp_types::source::{SelectionOptions, SourceState};
use ntp_types::status::{SourceStatus, Status};

use crate::Daemon;
use crate::field::{Address, Fields, Writer, whole_seconds};
use crate::message::Refusal;
use crate::sources::{Entry, Offsets, entries, find, is_reference_clock, reference_id, state};
use crate::tracking::SKEW_PER_DEVIATION;

/// Modes of sources.
const SERVER: u16 = 0;
const REFERENCE_CLOCK: u16 = 2;
/// What chronyd reports of a source without a measurement.
const UNKNOWN_DEVIATION: f64 = 4.0;
const UNKNOWN_SKEW: f64 = 2000.0;
/// Leap status of a source without a measurement: not synchronised.
const UNKNOWN_LEAP: u8 = 3;
/// Score of a source in chronyd's selection, which has no counterpart here: the neutral one, and
/// that of the selected source.
const SCORE: f64 = 1.0;
/// Longest name, with the zero at its end.
const NAME_LENGTH: usize = 256;

/// Returns the source that the first argument numbers.
fn by_index<'s>(status: &'s Status, mut arguments: Fields<'_>) -> Result<Entry<'s>, Refusal> {
    let index = arguments.u32().ok_or(Refusal::Length)?;
    let index = usize::try_from(index).unwrap_or(usize::MAX);
    entries(status).nth(index).ok_or(Refusal::NoSuchSource)
}

/// Returns the source whose address is the first argument.
pub(crate) fn by_address<'s>(
    status: &'s Status,
    mut arguments: Fields<'_>,
) -> Result<Entry<'s>, Refusal> {
    let address = arguments.address().ok_or(Refusal::Length)?;
    find(status, address).ok_or(Refusal::NoSuchSource)
}

pub(crate) fn number_of_sources(daemon: &mut dyn Daemon, _: Fields<'_>) -> Result<Writer, Refusal> {
    let mut body = Writer::default();
    body.count(entries(daemon.status()).count() as u64);
    Ok(body)
}

pub(crate) fn source_data(
    daemon: &mut dyn Daemon,
    arguments: Fields<'_>,
) -> Result<Writer, Refusal> {
    let status = daemon.status();
    let entry = by_index(status, arguments)?;
    let mut body = Writer::default();
    let Some(source) = entry.in_use() else {
        // Poll interval and stratum 0, not selectable, never measured.
        body.address(entry.address()).zeros(4);
        body.u16(1).u16(SERVER).zeros(4).ago(None);
        return Ok(body);
    };
    let measured = source.measurement;
    let offsets = Offsets::of(status, source).unwrap_or_default();
    let uncertainty = measured.and_then(|it| it.uncertainty);
    let is_clock = is_reference_clock(source);
    body.address(if is_clock {
        // The reference ID takes the place of an address.
        Address::Ip(reference_id(status, source).octets().into())
    } else {
        entry.address()
    })
    .i16(source.poll.as_log2().into())
    .u16(measured.map_or(0, |it| it.stratum.get().into()))
    .u16(state(status, source).0 as u16)
    .u16(if is_clock { REFERENCE_CLOCK } else { SERVER })
    .u16(0)
    .u16(source.reach.into())
    .ago(measured.map(|it| status.program.now - it.at))
    .seconds(offsets.measured)
    .seconds(offsets.adjusted)
    .seconds(uncertainty.unwrap_or_default());
    Ok(body)
}

/// Begins a report with the reference ID and the address.
fn identified(status: &Status, entry: Entry<'_>) -> Writer {
    let mut body = Writer::default();
    let id = entry.in_use().map(|source| reference_id(status, source));
    body.reference_id(id.unwrap_or_default());
    body.address(entry.address());
    body
}

pub(crate) fn source_statistics(
    daemon: &mut dyn Daemon,
    arguments: Fields<'_>,
) -> Result<Writer, Refusal> {
    let status = daemon.status();
    let entry = by_index(status, arguments)?;
    let mut body = identified(status, entry);
    let source = entry.in_use();
    let Some((source, trend)) = source.and_then(|it| Some((it, it.trend?))) else {
        body.zeros(12).float(UNKNOWN_DEVIATION);
        body.float(0.0).float(UNKNOWN_SKEW);
        return Ok(body);
    };
    let offsets = Offsets::of(status, source).unwrap_or_default();
    let bias_uncertainty = source.path.map(|path| path.bias_uncertainty);
    body.count(trend.samples)
        // Runs of residuals with the same sign are not counted.
        .u32(0)
        .u32(whole_seconds(trend.span))
        .seconds(trend.deviation)
        .float((trend.frequency - status.system.frequency).as_ppm())
        .float(trend.frequency_uncertainty.as_ppm() * SKEW_PER_DEVIATION)
        .seconds(offsets.estimated)
        .seconds(bias_uncertainty.unwrap_or_default());
    Ok(body)
}

pub(crate) fn selection(daemon: &mut dyn Daemon, arguments: Fields<'_>) -> Result<Writer, Refusal> {
    let status = daemon.status();
    let entry = by_index(status, arguments)?;
    let mut body = identified(status, entry);
    let Some(source) = entry.in_use() else {
        body.u8(b's').u8(0).u8(UNKNOWN_LEAP).zeros(9).float(SCORE);
        return Ok(body);
    };
    let measured = source.measurement;
    let options = options(source.options);
    let age = measured.map(|it| whole_seconds(status.program.now - it.at));
    let uncertainty = measured.and_then(|it| it.uncertainty).unwrap_or_default();
    let offset = Offsets::of(status, source).unwrap_or_default().measured;
    let leap = measured.map_or(UNKNOWN_LEAP, |it| it.leap.to_bits());
    body.u8(state(status, source).1)
        .u8(source.key.is_some().into())
        .u8(leap)
        .u8(0)
        .u16(options)
        .u16(options | u16::from(source.state == SourceState::Duplicate))
        .u32(age.unwrap_or_default())
        .float(SCORE)
        .seconds(offset - uncertainty)
        .seconds(offset + uncertainty);
    Ok(body)
}

fn options(options: SelectionOptions) -> u16 {
    let bit = |is_set: bool, place: u16| u16::from(is_set) << place;
    bit(options.noselect, 0)
        | bit(options.prefer, 1)
        | bit(options.trust, 2)
        | bit(options.require, 3)
}

/// How packets are authenticated.
const SYMMETRIC: u16 = 1;
const NTS: u16 = 2;

pub(crate) fn authentication(
    daemon: &mut dyn Daemon,
    arguments: Fields<'_>,
) -> Result<Writer, Refusal> {
    let status = daemon.status();
    let entry = by_address(status, arguments)?;
    let source = entry.in_use();
    let key = source.and_then(|source| source.key.as_ref());
    let exchanges = (status.configured.iter())
        .find(|it| match entry {
            Entry::InUse(source) => it.name == source.name,
            Entry::Unresolved(_, source) => it.name == source.name,
        })
        .and_then(|it| it.key_exchange.as_ref());
    let mode = match key {
        Some(key) if key.id.is_some() => SYMMETRIC,
        None if exchanges.is_none() => 0,
        _ => NTS,
    };
    let half = |number: u64| u16::try_from(number).unwrap_or(u16::MAX);
    let mut body = Writer::default();
    body.u16(mode)
        .u16(key.map_or(0, |key| algorithm(&key.algorithm)))
        .u32(key.and_then(|key| key.id).unwrap_or_default())
        .u16(key.map_or(0, |key| half(key.bits)))
        .u16(exchanges.map_or(0, |it| half(it.exchanges)))
        .ago(exchanges.and_then(|it| it.age))
        .u16(half(source.and_then(|it| it.nts_cookies).unwrap_or(0)))
        .u16(half(key.and_then(|key| key.cookie_length).unwrap_or(0)))
        .u16(half(source.map_or(0, naks)));
    Ok(body)
}

fn naks(source: &SourceStatus) -> u64 {
    source.packets.nts_naks + source.packets.crypto_naks
}

/// chrony's number of an algorithm: its own for symmetric keys, that of the IANA registry of AEAD
/// algorithms (RFC 5116) with NTS. 0 if it has none.
fn algorithm(name: &str) -> u16 {
    match name {
        "MD5" => 1,
        "SHA1" => 2,
        "SHA256" => 3,
        "SHA384" => 4,
        "SHA512" => 5,
        "AES128" => 13,
        "AES256" => 14,
        "AES-SIV-CMAC-256" => 15,
        "AES-SIV-CMAC-384" => 16,
        "AES-SIV-CMAC-512" => 17,
        "AES-128-GCM-SIV" => 30,
        "AES-256-GCM-SIV" => 31,
        _ => 0,
    }
}

pub(crate) fn source_name(
    daemon: &mut dyn Daemon,
    arguments: Fields<'_>,
) -> Result<Writer, Refusal> {
    let name = by_address(daemon.status(), arguments)?.name().as_bytes();
    let mut body = Writer::default();
    body.octets(name.get(..NAME_LENGTH - 1).unwrap_or(name));
    Ok(body)
}
