//! What people see of a daemon with sources of each kind, as snapshots.
//!
//! A change of the layout is not a failure by itself: look at the difference and accept it
//! (`INSTA_UPDATE=always cargo test -p ntp-ctl tables`).

use ntp_time::{
    Frequency, LeapIndicator, NtpDuration, PollInterval, ReferenceId, StampSource, Stratum,
    SystemTime,
};
use ntp_types::hop_limit::HopLimitDifference;
use ntp_types::refclock::{RefClockStatus, RefusalCount};
use ntp_types::source::{SourceAddress, SourceId, SourceState};
use ntp_types::statistics::{PacketCounters, ServerStatistics};
use ntp_types::status::{
    ConfiguredSource, KeyStatus, MeasurementStatus, PathStatus, ServerStatus, SourceStatus, Status,
    SystemStatus, TrendStatus,
};

use crate::console::DEFAULT_WIDTH;
use crate::sources::{self, View};
use crate::{servers, source_details, tracking};

fn microseconds(value: i64) -> NtpDuration {
    NtpDuration::from_micros(value)
}

fn seconds(value: i64) -> NtpDuration {
    NtpDuration::from_seconds(value)
}

/// Returns the time of day on the day of the snapshots.
fn at(second: i64) -> SystemTime {
    SystemTime::from_nanos(1_800_000_000_000_000_000) + seconds(second)
}

/// Returns a source that was measured 20 seconds ago; `offset` in microseconds.
fn source(id: u32, name: &str, state: SourceState, offset: i64) -> SourceStatus {
    SourceStatus {
        id: SourceId(id),
        name: name.into(),
        address: format!("192.0.2.{id}:123").parse().unwrap(),
        state,
        online: true,
        authentication: "none".into(),
        poll: PollInterval::from_log2(6),
        poll_min: PollInterval::from_log2(4),
        poll_max: PollInterval::from_log2(10),
        next_poll: Some(seconds(44)),
        reach: 0o377,
        measurement: Some(MeasurementStatus {
            at: at(-20),
            offset: microseconds(offset),
            uncertainty: Some(microseconds(40)),
            delay: Some(microseconds(12_345)),
            root_delay: microseconds(1_500),
            root_dispersion: microseconds(800),
            stratum: Stratum::new(2),
            reference_id: ReferenceId::new([192, 0, 2, 200]),
            leap: LeapIndicator::None,
            version: Some(4),
            precision: Some(-24),
            transmit_stamp: Some(StampSource::Kernel),
            receive_stamp: StampSource::Kernel,
            ..MeasurementStatus::default()
        }),
        path: Some(PathStatus {
            base_delay: microseconds(12_300),
            typical_excess: microseconds(45),
            jitter: microseconds(12),
            bias: microseconds(offset / 2),
            bias_uncertainty: microseconds(110),
            residual: microseconds(15),
            combined: true,
            weight: Some(0.25),
            consecutive_outliers: 0,
        }),
        trend: Some(TrendStatus {
            samples: 32,
            span: seconds(2_048),
            frequency: Frequency::from_ppm(-12.345),
            frequency_uncertainty: Frequency::from_ppm(0.021),
            deviation: microseconds(17),
        }),
        packets: PacketCounters {
            sent: 40,
            received: 39,
            accepted: 39,
            ..PacketCounters::default()
        },
        ..SourceStatus::default()
    }
}

/// Returns a pulse of a receiver.
fn pulse() -> SourceStatus {
    let mut it = source(4, "gps", SourceState::Selected, -1);
    it.address = SourceAddress::Device("/dev/pps0".into());
    if let Some(measurement) = &mut it.measurement {
        measurement.delay = None;
        measurement.version = None;
        measurement.transmit_stamp = None;
    }
    it.path = None;
    it.reference_clock = Some(RefClockStatus {
        driver: "pps".into(),
        period: Some(seconds(1)),
        accepted: 1_000,
        refused: vec![RefusalCount {
            reason: "not_numbered".into(),
            text: "no source numbers the second".into(),
            count: 3,
        }],
    });
    it
}

/// Returns a source with NTS that lost most of its cookies.
fn authenticated() -> SourceStatus {
    SourceStatus {
        authentication: "NTS".into(),
        interleaved: true,
        key: Some(KeyStatus {
            id: None,
            algorithm: "AES-SIV-CMAC-256".into(),
            bits: 256,
            cookie_length: Some(100),
        }),
        nts_cookies: Some(2),
        hop_limit: Some(64),
        rejected_hop_limit: Some(HopLimitDifference {
            rejected: 57,
            authentic: 64,
        }),
        certificate_expires: Some(at(40 * 86_400)),
        key_exchange_group: Some("X25519MLKEM768".into()),
        ..source(1, "time.example.org", SourceState::Selected, 120)
    }
}

fn unreachable() -> SourceStatus {
    SourceStatus {
        reach: 0,
        unanswered: 12,
        measurement: None,
        path: None,
        trend: None,
        last_error: Some("port unreachable".into()),
        ..source(3, "ntp3.example.org", SourceState::Unreachable, 0)
    }
}

fn system() -> SystemStatus {
    SystemStatus {
        synchronized: true,
        leap: LeapIndicator::None,
        stratum: Stratum::new(1),
        reference_id: ReferenceId::new(*b"PPS\0"),
        reference: Some(SourceId(4)),
        reference_time: Some(at(-1)),
        precision: -25,
        offset: Some(microseconds(3)),
        last_offset: Some(microseconds(-2)),
        rms_offset: Some(microseconds(5)),
        update_interval: Some(seconds(16)),
        frequency: Frequency::from_ppm(-12.345),
        frequency_uncertainty: Frequency::from_ppm(0.004),
        estimated_error: Some(microseconds(4)),
        error_bound: Some(microseconds(310)),
        root_dispersion: Some(microseconds(12)),
        dispersion_rate: Frequency::from_ppm(1.0),
        agreeing: 3,
        candidates: 4,
        required: 3,
        majority: true,
        tai_offset: Some(37),
        ..SystemStatus::default()
    }
}

fn status() -> Status {
    let mut status = Status {
        system: system(),
        sources: vec![
            authenticated(),
            source(2, "ntp2.example.org", SourceState::Falseticker, 250_000),
            unreachable(),
            pulse(),
        ],
        servers: vec![ServerStatus {
            address: "[::]:123".parse().unwrap(),
            requests: ServerStatistics {
                received: 12_345,
                accepted: 12_000,
                denied: 300,
                ignored: 40,
                rate_limited: 5,
                ..ServerStatistics::default()
            },
            client_list_size: 1_000,
            ..ServerStatus::default()
        }],
        ..Status::default()
    };
    status.configured = (status.sources.iter())
        .map(|it| ConfiguredSource {
            name: it.name.clone(),
            wanted: 1,
            present: 1,
            online: true,
            ..ConfiguredSource::default()
        })
        .collect();
    status.program.version = "1.2.3".into();
    status.program.uptime = seconds(90_061);
    status.program.now = at(0);
    status.clock.kind = "system".into();
    status
}

#[test]
fn tables_of_sources() {
    let status = status();
    for width in [DEFAULT_WIDTH, 160] {
        insta::assert_snapshot!(sources::plain(&status, width, false));
        for view in [View::Statistics, View::Selection, View::Authentication] {
            insta::assert_snapshot!(sources::view(view, &status, width, false));
        }
    }
    insta::assert_snapshot!(sources::activity_text(&status));
}

#[test]
fn details_of_sources() {
    let status = status();
    for source in &status.sources {
        insta::assert_snapshot!(source_details::plain(&status, source));
    }
}

#[test]
fn tables_of_clock_and_servers() {
    let status = status();
    insta::assert_snapshot!(tracking::plain(&status));
    insta::assert_snapshot!(servers::plain(&status, DEFAULT_WIDTH));
}
