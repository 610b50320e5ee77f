//! A daemon with every kind of source, for the tests and the fuzz target.

use std::net::SocketAddr;

use ntp_time::{
    Frequency, LeapIndicator, NtpDuration, PollInterval, ReferenceId, StampSource, Stratum,
    SystemTime,
};
use ntp_types::refclock::RefClockStatus;
use ntp_types::source::{SelectionOptions, SourceId, SourceState};
use ntp_types::statistics::{KeStatistics, PacketCounters, ServerDetails, ServerStatistics};
use ntp_types::status::{
    ClientStatus, ConfiguredSource, KeServerStatus, KeyExchangeStatus, KeyStatus,
    MeasurementStatus, PathStatus, ServerStatus, SourceStatus, Status, TrendStatus,
};

use crate::{Daemon, RequestCounters};

/// The time of the status: 2023-11-14 22:13:20 UTC and a half second.
const NOW: SystemTime = SystemTime::from_nanos(1_700_000_000_500_000_000);

/// The daemon.
#[derive(Debug)]
pub(crate) struct Example {
    pub(crate) status: Status,
    pub(crate) clients: Vec<ClientStatus>,
}

impl Daemon for Example {
    fn status(&mut self) -> &Status {
        &self.status
    }

    fn clients(&mut self, _: usize) -> &[ClientStatus] {
        &self.clients
    }

    fn counters(&self) -> RequestCounters {
        RequestCounters {
            answered: 5,
            dropped: 6,
        }
    }
}

impl Example {
    /// Synchronised to the first of three sources; a fourth has no address yet.
    pub(crate) fn new() -> Self {
        let mut status = Status {
            sources: vec![server(), nts_server(), clock()],
            configured: configured(),
            servers: vec![serving()],
            key_exchange: Some(KeServerStatus {
                connections: KeStatistics {
                    connections: 9,
                    evicted: 2,
                    ..KeStatistics::default()
                },
                ..KeServerStatus::default()
            }),
            ..Status::default()
        };
        status.program.now = NOW;
        let system = &mut status.system;
        system.synchronized = true;
        system.leap = LeapIndicator::Insert;
        system.stratum = Stratum::new(2);
        system.reference_id = ReferenceId::new([192, 0, 2, 1]);
        system.reference = Some(SourceId(1));
        system.reference_time = Some(SystemTime::from_nanos(1_700_000_000_000_000_007));
        system.precision = -20;
        system.offset = Some(NtpDuration::from_seconds_f64(0.25));
        system.last_offset = Some(NtpDuration::from_seconds_f64(0.125));
        system.rms_offset = Some(NtpDuration::from_seconds_f64(0.5));
        system.update_interval = Some(NtpDuration::from_seconds(16));
        system.frequency = Frequency::from_ppm(-12.5);
        system.frequency_uncertainty = Frequency::from_ppm(0.0);
        system.root_delay = NtpDuration::from_seconds_f64(0.0625);
        system.root_dispersion = Some(NtpDuration::from_seconds_f64(0.03125));
        let clients = (0..10).map(client).collect();
        Self { status, clients }
    }
}

fn server() -> SourceStatus {
    SourceStatus {
        id: SourceId(1),
        name: "ntp.example:123".into(),
        address: SocketAddr::from(([192, 0, 2, 1], 123)).into(),
        local_address: Some([198, 51, 100, 7].into()),
        state: SourceState::Selected,
        online: true,
        interleaved: true,
        key: Some(KeyStatus {
            id: Some(7),
            algorithm: "AES128".into(),
            bits: 128,
            cookie_length: None,
        }),
        options: SelectionOptions {
            prefer: true,
            require: true,
            ..SelectionOptions::default()
        },
        poll: PollInterval::from_log2(6),
        reach: 0o377,
        measurement: Some(MeasurementStatus {
            at: SystemTime::from_nanos(1_699_999_990_000_000_000),
            offset: NtpDuration::from_seconds_f64(0.5),
            uncertainty: Some(NtpDuration::from_seconds_f64(0.0625)),
            delay: Some(NtpDuration::from_seconds_f64(0.03125)),
            root_delay: NtpDuration::from_seconds_f64(0.25),
            root_dispersion: NtpDuration::from_seconds_f64(0.125),
            stratum: Stratum::new(1),
            reference_id: ReferenceId::new(*b"GPS\0"),
            leap: LeapIndicator::None,
            version: Some(4),
            precision: Some(-20),
            reference_time: Some(SystemTime::from_nanos(1_699_999_980_000_000_009)),
            response_time: Some(NtpDuration::from_seconds_f64(0.015_625)),
            transmit_stamp: Some(StampSource::Kernel),
            receive_stamp: StampSource::Hardware,
        }),
        path: Some(PathStatus {
            // Our clock is ahead by -0.25 s by the estimate, by -0.375 s by the measurement.
            residual: NtpDuration::from_seconds_f64(0.125),
            bias: NtpDuration::from_seconds_f64(0.0625),
            bias_uncertainty: NtpDuration::from_seconds_f64(0.03125),
            combined: true,
            ..PathStatus::default()
        }),
        trend: Some(TrendStatus {
            samples: 9,
            span: NtpDuration::from_seconds(512),
            frequency: Frequency::from_ppm(-12.0),
            frequency_uncertainty: Frequency::from_ppm(0.0),
            deviation: NtpDuration::from_seconds_f64(0.015_625),
        }),
        packets: PacketCounters {
            sent: 100,
            received: 90,
            accepted: 80,
            crypto_naks: 3,
            ..PacketCounters::default()
        },
        ..SourceStatus::default()
    }
}

/// A server with NTS that was never reached.
fn nts_server() -> SourceStatus {
    SourceStatus {
        id: SourceId(2),
        name: "[2001:db8::1]:4460".into(),
        address: "[2001:db8::1]:123".parse().unwrap_or_default(),
        state: SourceState::Unreachable,
        key: Some(KeyStatus {
            id: None,
            algorithm: "AES-SIV-CMAC-256".into(),
            bits: 256,
            cookie_length: Some(100),
        }),
        nts_cookies: Some(8),
        ..SourceStatus::default()
    }
}

fn clock() -> SourceStatus {
    SourceStatus {
        id: SourceId(3),
        name: "/dev/pps0".into(),
        state: SourceState::NoSamples,
        online: true,
        reference_clock: Some(RefClockStatus {
            driver: "pps".into(),
            ..RefClockStatus::default()
        }),
        ..SourceStatus::default()
    }
}

fn configured() -> Vec<ConfiguredSource> {
    let source = |name: &str, present, key_exchange| ConfiguredSource {
        name: name.into(),
        present,
        online: true,
        key_exchange,
        ..ConfiguredSource::default()
    };
    let exchanges = KeyExchangeStatus {
        exchanges: 2,
        age: Some(NtpDuration::from_seconds(3600)),
        ..KeyExchangeStatus::default()
    };
    vec![
        source("ntp.example:123", 1, None),
        source("[2001:db8::1]:4460", 1, Some(exchanges)),
        source("/dev/pps0", 1, None),
        source("absent.example:123", 0, None),
    ]
}

fn serving() -> ServerStatus {
    ServerStatus {
        requests: ServerStatistics {
            received: 0x1_0000_0001,
            rate_limited: 10,
            nts_accepted: 4,
            ..ServerStatistics::default()
        },
        details: ServerDetails {
            authenticated: 3,
            interleaved: 8,
            rate_kisses: 7,
            ..ServerDetails::default()
        },
        client_list_size: 64,
        ..ServerStatus::default()
    }
}

fn client(number: u64) -> ClientStatus {
    ClientStatus {
        address: format!("203.0.113.{number}"),
        requests: 100 - number,
        rate_limited: 1,
        interval: (number == 0).then(|| NtpDuration::from_seconds(64)),
        last_seen: NOW - NtpDuration::from_seconds(5),
        ..ClientStatus::default()
    }
}
