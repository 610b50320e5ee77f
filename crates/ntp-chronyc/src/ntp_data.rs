//! `ntpdata`: the newest measurement of a server, and counters of packets.

use std::net::SocketAddr;

use ntp_time::{NtpDuration, StampSource};
use ntp_types::status::{MeasurementStatus, SourceStatus};

use crate::Daemon;
use crate::field::{Address, Fields, Writer};
use crate::message::Refusal;
use crate::source_reports::by_address;

/// Mode of replies: server.
const SERVER: u8 = 4;
/// Flags: all ten tests of a reply have passed.
const TESTS_PASSED: u16 = 0x3FF;
const INTERLEAVED: u16 = 0x4000;
const AUTHENTICATED: u16 = 0x8000;
/// Length of what describes a measurement: from the leap status to the sources of timestamps.
const MEASUREMENT_LENGTH: usize = 54;

/// Both forms begin alike. The one since chrony 4.6 has counters of timestamps by their source at its
/// end, which are not kept.
pub(crate) fn ntp_data(daemon: &mut dyn Daemon, arguments: Fields<'_>) -> Result<Writer, Refusal> {
    let status = daemon.status();
    let entry = by_address(status, arguments)?;
    let mut body = Writer::default();
    body.address(entry.address());
    let Some(source) = entry.in_use() else {
        return Ok(body);
    };
    let local = source.local_address.map(|it| it.to_canonical());
    body.address(local.map_or(Address::None, Address::Ip));
    let socket = source.address.socket();
    body.u16(socket.as_ref().map_or(0, SocketAddr::port));
    match &source.measurement {
        Some(measured) => measurement(&mut body, source, measured, status.system.precision),
        None => {
            body.zeros(MEASUREMENT_LENGTH);
        }
    }
    let packets = &source.packets;
    body.counter(packets.sent)
        .counter(packets.received)
        // Valid, and good: accepted replies pass all tests, there is no second set of tests.
        .counter(packets.accepted)
        .counter(packets.accepted);
    Ok(body)
}

fn measurement(
    body: &mut Writer,
    source: &SourceStatus,
    measured: &MeasurementStatus,
    our_precision: i8,
) {
    let precision = measured.precision.unwrap_or_default();
    let zero = NtpDuration::ZERO;
    let mut flags = TESTS_PASSED;
    if source.interleaved {
        flags |= INTERLEAVED;
    }
    if source.key.is_some() {
        flags |= AUTHENTICATED;
    }
    body.u8(measured.leap.to_bits())
        .u8(measured.version.unwrap_or_default())
        .u8(SERVER)
        .u8(measured.stratum.get())
        .i8(source.poll.as_log2())
        .i8(precision)
        .seconds(measured.root_delay)
        .seconds(measured.root_dispersion)
        .reference_id(measured.reference_id)
        .time(measured.reference_time)
        .seconds(measured.offset)
        .seconds(measured.delay.unwrap_or(zero))
        // Dispersion: the resolutions of both clocks.
        .float(2f64.powi(precision.into()) + 2f64.powi(our_precision.into()))
        .seconds(measured.response_time.unwrap_or(zero))
        // The asymmetry of jitter is not estimated.
        .float(0.0)
        .u16(flags)
        .u8(measured.transmit_stamp.map_or(0, stamp_letter))
        .u8(stamp_letter(measured.receive_stamp));
}

fn stamp_letter(source: StampSource) -> u8 {
    match source {
        StampSource::Daemon => b'D',
        StampSource::Kernel => b'K',
        StampSource::Hardware => b'H',
    }
}
