//! Accuracy of chrony 4.8 and ntpd-rs 1.9.0, measured on 2026-11-22; `SERVERS` and the flips of 1
//! and 10 ppm are chrony's newest source of 2026-11-29.
//!
//! Both ran with unmodified algorithms inside the clknetsim simulator, in the scenarios of
//! [`ntp_sim::reference`], with three seeds each, of which the median is given; a figure is accurate
//! to 10 or 20 percent. Units are seconds, and seconds per second. The figure of chrony comes
//! first, then that of ntpd-rs.

/// A figure of each peer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pair {
    pub(crate) chrony: f64,
    pub(crate) ntpd_rs: f64,
}

/// A figure of each peer, as far as it was measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    pub(crate) chrony: Option<f64>,
    pub(crate) ntpd_rs: Option<f64>,
}

impl Known {
    const NONE: Self = Self {
        chrony: None,
        ntpd_rs: None,
    };

    const fn of((chrony, ntpd_rs): (f64, f64)) -> Self {
        Self {
            chrony: Some(chrony),
            ntpd_rs: Some(ntpd_rs),
        }
    }

    /// The figure of chrony, where ntpd-rs was not measured.
    const fn chrony(chrony: f64) -> Self {
        Self {
            chrony: Some(chrony),
            ntpd_rs: None,
        }
    }

    /// `ours` divided by the smaller of those that were measured.
    pub(crate) fn ratio_to_better(self, ours: f64) -> Option<f64> {
        let figures = self.chrony.into_iter().chain(self.ntpd_rs);
        Some(ours / figures.reduce(f64::min)?)
    }
}

impl Pair {
    const fn of((chrony, ntpd_rs): (f64, f64)) -> Self {
        Self { chrony, ntpd_rs }
    }

    /// The smaller of the two.
    pub(crate) fn better(self) -> f64 {
        self.chrony.min(self.ntpd_rs)
    }
}

/// A cell of the grid: rows are queues, columns wanders, as in [`ntp_sim::reference`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cell {
    /// RMS error at a poll interval of 64 s.
    pub(crate) fixed: Pair,
    /// RMS frequency error in the same runs.
    pub(crate) frequency: Pair,
    /// RMS error of a Kalman filter that knows queue, wander and distance: a lower bound.
    pub(crate) limit: f64,
    /// RMS error with an adaptive poll interval between 16 and 1024 s,
    pub(crate) free: Pair,
    /// and the resulting mean interval between packets, seconds.
    pub(crate) interval: Pair,
}

const fn cell(
    fixed: (f64, f64),
    limit: f64,
    frequency: (f64, f64),
    free: (f64, f64),
    interval: (f64, f64),
) -> Cell {
    Cell {
        fixed: Pair::of(fixed),
        frequency: Pair::of(frequency),
        limit,
        free: Pair::of(free),
        interval: Pair::of(interval),
    }
}

/// The grid, row by row.
#[rustfmt::skip]
pub(crate) const GRID: [[Cell; 4]; 5] = [
    [
        cell((5.5e-7, 7.4e-7), 2.8e-7, (6.6e-9, 2.2e-8), (2.00e-6, 5.33e-7), (255.0, 16.0)),
        cell((1.40e-6, 1.00e-6), 6.8e-7, (2.7e-8, 3.6e-8), (2.38e-6, 6.31e-7), (62.0, 16.0)),
        cell((1.11e-5, 2.89e-6), 2.3e-6, (2.1e-7, 2.0e-7), (2.13e-6, 1.21e-6), (17.0, 16.0)),
        cell((1.12e-4, 2.40e-5), 2.0e-5, (2.2e-6, 2.0e-6), (1.36e-5, 3.98e-6), (16.0, 16.0)),
    ],
    [
        cell((2.52e-6, 6.1e-6), 1.28e-6, (1.3e-8, 1.7e-7), (1.11e-5, 4.98e-6), (776.0, 32.0)),
        cell((5.04e-6, 6.9e-6), 2.8e-6, (7.2e-8, 1.8e-7), (1.67e-5, 4.95e-6), (265.0, 33.0)),
        cell((1.37e-5, 1.04e-5), 6.8e-6, (2.7e-7, 3.1e-7), (2.03e-5, 8.22e-6), (58.0, 32.0)),
        cell((1.12e-4, 2.98e-5), 2.35e-5, (2.3e-6, 1.9e-6), (1.87e-5, 1.22e-5), (17.0, 16.0)),
    ],
    [
        cell((1.13e-5, 3.74e-5), 6.1e-6, (2.3e-8, 4.9e-7), (4.65e-5, 4.79e-5), (746.0, 122.0)),
        cell((2.25e-5, 3.69e-5), 1.28e-5, (1.2e-7, 5.1e-7), (1.03e-4, 4.83e-5), (576.0, 123.0)),
        cell((5.76e-5, 6.49e-5), 2.8e-5, (6.2e-7, 8.5e-7), (1.20e-4, 7.74e-5), (155.0, 123.0)),
        cell((1.48e-4, 1.19e-4), 6.85e-5, (2.6e-6, 3.0e-6), (1.17e-4, 8.53e-5), (34.0, 33.0)),
    ],
    [
        cell((9.5e-5, 1.67e-4), 3.0e-5, (1.9e-7, 1.7e-6), (2.42e-4, 4.00e-4), (776.0, 355.0)),
        cell((1.06e-4, 2.63e-4), 6.1e-5, (3.3e-7, 1.9e-6), (5.06e-4, 3.78e-4), (776.0, 357.0)),
        cell((2.47e-4, 3.04e-4), 1.28e-4, (1.3e-6, 2.5e-6), (9.08e-4, 7.86e-4), (657.0, 363.0)),
        cell((5.61e-4, 7.05e-4), 2.8e-4, (6.4e-6, 8.2e-6), (1.16e-3, 1.07e-3), (151.0, 162.0)),
    ],
    [
        cell((8.2e-4, 1.13e-3), 1.5e-4, (2.5e-6, 5.7e-6), (9.09e-4, 1.39e-3), (776.0, 514.0)),
        cell((8.7e-4, 1.11e-3), 3.05e-4, (3.2e-6, 7.6e-6), (2.37e-3, 4.10e-3), (776.0, 517.0)),
        cell((9.6e-4, 1.76e-3), 6.1e-4, (2.3e-6, 6.8e-6), (4.90e-3, 4.65e-3), (746.0, 514.0)),
        cell((2.32e-3, 6.05e-3), 1.28e-3, (1.4e-5, 1.9e-5), (9.85e-3, 1.16e-2), (510.0, 509.0)),
    ],
];

/// RMS and maximum error in the other scenarios, in the order of [`ntp_sim::reference::ReferenceWorld::ALL`].
pub(crate) const OTHER: [(Known, Known); 15] = [
    (Known::of((1.8e-5, 4.5e-4)), Known::of((6.4e-5, 8.4e-4))),
    (Known::of((3.9e-5, 6.4e-5)), Known::of((1.6e-4, 4.9e-4))),
    (Known::of((1.5e-5, 3.6e-5)), Known::of((8.3e-5, 1.2e-4))),
    (Known::chrony(2.45e-5), Known::NONE),
    (Known::of((3.5e-5, 5.2e-5)), Known::of((6.0e-4, 4.4e-4))),
    (Known::chrony(1.41e-4), Known::chrony(1.58e-3)),
    (Known::of((2.4e-5, 7.5e-5)), Known::of((7.4e-5, 3.1e-4))),
    (Known::of((1.9e-5, 3.6e-5)), Known::of((6.5e-5, 1.6e-4))),
    (Known::of((5.8e-4, 3.7e-5)), Known::of((1.6e-3, 1.1e-4))),
    (Known::of((2.5e-5, 3.6e-5)), Known::of((1.0e-4, 1.2e-4))),
    (Known::of((1.3e-7, 2.4e-7)), Known::of((8.9e-7, 9.6e-7))),
    (Known::of((1.1e-6, 1.4e-6)), Known::of((9.6e-6, 4.8e-6))),
    (Known::of((4.9e-4, 5.7e-4)), Known::of((1.7e-3, 2.0e-3))),
    (Known::of((6.2e-5, 1.1e-4)), Known::of((1.6e-4, 3.7e-4))),
    (Known::of((6.2e-5, 1.1e-4)), Known::of((1.8e-4, 3.8e-4))),
];

/// RMS and maximum error of chrony with servers that are not constant, in the order of
/// [`ntp_sim::server_worlds::ServerWorld::ALL`], as far as they were measured.
pub(crate) const SERVERS: [(Known, Known); 14] = [
    (Known::chrony(2.9e-5), Known::chrony(8.2e-5)),
    (Known::chrony(4.5e-5), Known::chrony(1.1e-4)),
    (Known::chrony(2.0e-5), Known::chrony(5.3e-5)),
    (Known::NONE, Known::NONE),
    (Known::NONE, Known::chrony(1.2e-3)),
    (Known::NONE, Known::NONE),
    (Known::NONE, Known::NONE),
    (Known::NONE, Known::NONE),
    (Known::NONE, Known::NONE),
    (Known::NONE, Known::NONE),
    (Known::NONE, Known::NONE),
    (Known::NONE, Known::NONE),
    (Known::NONE, Known::NONE),
    (Known::NONE, Known::NONE),
];

/// A cold start: the scenario, and seconds until the error stays below 10 ms, 1 ms and 100 us.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Start {
    /// Mean queue, seconds.
    pub(crate) queue: f64,
    /// Initial offset, seconds.
    pub(crate) offset: f64,
    /// Frequency error of the oscillator, s/s.
    pub(crate) frequency: f64,
    /// Frequency that an earlier run saved.
    pub(crate) known: Option<f64>,
    /// Seconds until the error stays below 10 ms, 1 ms and 100 us.
    pub(crate) settled: [Known; 3],
    /// RMS error from 2000 to 4000 s, seconds.
    pub(crate) rms: Known,
}

const fn start(queue: f64, offset: f64, frequency: f64, ten: (f64, f64), one: (f64, f64)) -> Start {
    Start {
        queue,
        offset,
        frequency,
        known: None,
        settled: [Known::of(ten), Known::of(one), Known::NONE],
        rms: Known::NONE,
    }
}

const fn known_start(frequency: f64, known: f64) -> Start {
    Start {
        queue: 1e-3,
        offset: 0.1,
        frequency,
        known: Some(known),
        settled: [Known::NONE; 3],
        rms: Known::NONE,
    }
}

/// The cold starts; the peers were not measured with a frequency file.
pub(crate) const STARTS: [Start; 8] = [
    Start {
        settled: [
            Known::of((6.0, 132.0)),
            Known::of((6.0, 152.0)),
            Known::chrony(75.0),
        ],
        rms: Known::chrony(2.8e-5),
        ..start(1e-4, 0.1, 100e-6, (6.0, 132.0), (6.0, 152.0))
    },
    start(1e-3, 0.1, 100e-6, (6.0, 132.0), (75.0, 156.0)),
    start(1e-4, 0.1, -30e-6, (6.0, 116.0), (6.0, 133.0)),
    start(1e-4, 10.0, 100e-6, (5.0, 132.0), (5.0, 152.0)),
    Start {
        settled: [Known::NONE, Known::chrony(6.0), Known::NONE],
        ..start(1e-4, 0.1, 500e-6, (0.0, 0.0), (0.0, 0.0))
    },
    known_start(100e-6, 99.9e-6),
    known_start(100e-6, 95e-6),
    known_start(100e-6, -100e-6),
];
