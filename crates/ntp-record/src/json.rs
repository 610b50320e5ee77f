//! How single values stand in the record, so that they come back to the last bit.

use std::net::IpAddr;

use ntp_proto::engine::{ExchangeId, SourceId};
use ntp_time::{Frequency, NtpDuration, Stamp, StampSource, SystemTime};
use serde_json::{Value, json};

pub(crate) fn frequency(frequency: Frequency) -> Value {
    frequency.as_ratio().to_bits().into()
}

pub(crate) fn to_frequency(value: &Value) -> Option<Frequency> {
    let ratio = f64::from_bits(value.as_u64()?);
    ratio.is_finite().then(|| Frequency::from_ratio(ratio))
}

pub(crate) fn duration(duration: NtpDuration) -> Value {
    duration.to_bits().into()
}

pub(crate) fn to_duration(value: &Value) -> Option<NtpDuration> {
    value.as_i64().map(NtpDuration::from_bits)
}

/// `null` is None; what is neither is an error.
pub(crate) fn optional<T>(value: &Value, to: impl Fn(&Value) -> Option<T>) -> Option<Option<T>> {
    if value.is_null() {
        Some(None)
    } else {
        to(value).map(Some)
    }
}

pub(crate) fn of_exchange(exchange: ExchangeId) -> Value {
    json!([exchange.source.0, exchange.sequence])
}

pub(crate) fn to_exchange(value: &Value) -> Option<ExchangeId> {
    Some(ExchangeId {
        source: to_source_id(&value[0])?,
        sequence: u32::try_from(value[1].as_u64()?).ok()?,
    })
}

pub(crate) fn to_source_id(value: &Value) -> Option<SourceId> {
    u32::try_from(value.as_u64()?).ok().map(SourceId)
}

pub(crate) fn of_stamp(stamp: Stamp) -> Value {
    let by = match stamp.source {
        StampSource::Daemon => "daemon",
        StampSource::Kernel => "kernel",
        StampSource::Hardware => "hardware",
    };
    json!([stamp.time.as_nanos(), by])
}

pub(crate) fn to_stamp(value: &Value) -> Option<Stamp> {
    Some(Stamp {
        time: SystemTime::from_nanos(value[0].as_i64()?),
        source: match value[1].as_str()? {
            "daemon" => StampSource::Daemon,
            "kernel" => StampSource::Kernel,
            "hardware" => StampSource::Hardware,
            _ => return None,
        },
    })
}

pub(crate) fn of_addresses(addresses: &[IpAddr]) -> Value {
    addresses.iter().map(IpAddr::to_string).collect()
}

pub(crate) fn to_addresses(value: &Value) -> Option<Vec<IpAddr>> {
    let addresses = value.as_array()?.iter();
    addresses
        .map(|address| address.as_str()?.parse().ok())
        .collect()
}
