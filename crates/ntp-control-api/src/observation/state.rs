//! The state as upstream names and encodes it, and its conversion from [`Status`].

use std::net::SocketAddr;

use ntp_time::{LeapIndicator, NtpDuration, NtpTimestamp, PollInterval, ReferenceId};
use ntp_types::path::{InterfaceName, ListenAddress};
use ntp_types::statistics::{ServerDetails, ServerStatistics};
use ntp_types::status::{ServerStatus, SourceStatus, Status};
use serde::{Deserialize, Serialize};

use super::details::{MAX_DISPERSION, MAX_EXPLAINED, SourceDetails, SystemDetails};
use super::{RootVariance, encoding};
use crate::explain;

/// State of the daemon.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// The daemon process.
    pub program: Program,
    /// The system clock and its estimated errors.
    pub system: System,
    /// The time sources in use, in no particular order.
    pub sources: Vec<Source>,
    /// The addresses on which time is served, in no particular order.
    pub servers: Vec<Server>,
}

impl State {
    /// Converts the status of a daemon that was built from the commit `build_commit` of
    /// `build_commit_date`.
    pub fn from_status(status: &Status, build_commit: &str, build_commit_date: &str) -> Self {
        let program = &status.program;
        let mut sources: Vec<_> = status.sources.iter().map(Source::from_status).collect();
        for (source, of) in sources.iter_mut().zip(&status.sources).take(MAX_EXPLAINED) {
            source.details.why = Some(explain::source(status, of));
        }
        Self {
            program: Program {
                version: program.version.clone(),
                build_commit: build_commit.to_owned(),
                build_commit_date: build_commit_date.to_owned(),
                uptime_seconds: program.uptime.as_seconds_f64(),
                now: program.now.to_ntp(),
            },
            system: System::from_status(status),
            sources,
            servers: status.servers.iter().map(Server::from_status).collect(),
        }
    }

    /// Returns the sources in display order: by name, then by identifier.
    pub fn sorted_sources(&self) -> Vec<&Source> {
        let mut sources: Vec<_> = self.sources.iter().collect();
        sources.sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
        sources
    }

    /// Returns the servers by address.
    pub fn sorted_servers(&self) -> Vec<&Server> {
        let mut servers: Vec<_> = self.servers.iter().collect();
        servers.sort_by_key(|server| server.address);
        servers
    }

    /// Returns the root dispersion at the time of the observation.
    pub fn root_dispersion(&self) -> NtpDuration {
        self.system.root_variance.dispersion_at(self.program.now)
    }
}

/// The daemon process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Program {
    /// Version.
    pub version: String,
    /// Commit of the build, `-` if unknown.
    pub build_commit: String,
    /// Date of that commit, `-` if unknown.
    pub build_commit_date: String,
    /// Seconds since the start.
    #[serde(with = "encoding")]
    pub uptime_seconds: f64,
    /// System time at the time of the observation.
    #[serde(with = "encoding")]
    pub now: NtpTimestamp,
}

/// The system clock and its estimated errors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct System {
    /// Number of hops to the primary reference; 16 if there is none.
    pub stratum: u8,
    /// Reference ID; a number in the JSON, its first octet the highest.
    #[serde(with = "encoding")]
    pub reference_id: ReferenceId,
    /// Limit of `accumulated_steps`, if configured.
    #[serde(with = "encoding::optional", default)]
    pub accumulated_steps_threshold: Option<NtpDuration>,
    /// Resolution of the clock.
    #[serde(with = "encoding")]
    pub precision: NtpDuration,
    /// Round-trip delay to the primary reference.
    #[serde(with = "encoding")]
    pub root_delay: NtpDuration,
    /// Growth of the root dispersion.
    #[serde(flatten)]
    pub root_variance: RootVariance,
    /// Leap status.
    pub leap_indicator: Leap,
    /// Sum of the magnitudes of all steps after start-up.
    #[serde(with = "encoding")]
    pub accumulated_steps: NtpDuration,
    /// Additions of this implementation.
    #[serde(flatten)]
    pub details: SystemDetails,
}

impl System {
    fn from_status(status: &Status) -> Self {
        let system = &status.system;
        let root_dispersion = system.root_dispersion.unwrap_or(MAX_DISPERSION);
        Self {
            stratum: system.stratum.get(),
            reference_id: system.reference_id,
            accumulated_steps_threshold: system.accumulated_steps_limit,
            precision: NtpDuration::from_seconds_f64(2f64.powi(system.precision.into())),
            root_delay: system.root_delay,
            root_variance: RootVariance::growing(
                status.program.now.to_ntp(),
                root_dispersion,
                system.dispersion_rate,
            ),
            leap_indicator: system.leap.into(),
            accumulated_steps: system.accumulated_steps,
            details: SystemDetails::from_status(status),
        }
    }
}

/// Leap status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Leap {
    /// No leap second announced.
    NoWarning,
    /// The last minute will have 61 seconds.
    Leap61,
    /// The last minute will have 59 seconds.
    Leap59,
    /// Synchronised, but leap seconds are unknown (NTP version 5).
    Unknown,
    /// Not synchronised.
    Unsynchronized,
}

impl From<LeapIndicator> for Leap {
    fn from(leap: LeapIndicator) -> Self {
        match leap {
            LeapIndicator::None => Self::NoWarning,
            LeapIndicator::Insert => Self::Leap61,
            LeapIndicator::Delete => Self::Leap59,
            LeapIndicator::Unsynchronized => Self::Unsynchronized,
        }
    }
}

/// A time source: an association with one server address, or a device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// Time of the source minus local time; zero before the first measurement.
    #[serde(with = "encoding")]
    pub offset: NtpDuration,
    /// Uncertainty of the offset; [`NtpDuration::MAX`] before the first measurement, like the
    /// next three.
    #[serde(with = "encoding")]
    pub uncertainty: NtpDuration,
    /// Round-trip delay to the source.
    #[serde(with = "encoding")]
    pub delay: NtpDuration,
    /// Root delay of the source.
    #[serde(with = "encoding")]
    pub remote_delay: NtpDuration,
    /// Root dispersion of the source.
    #[serde(with = "encoding")]
    pub remote_uncertainty: NtpDuration,
    /// Time of the last measurement.
    #[serde(with = "encoding")]
    pub last_update: NtpTimestamp,
    /// Polls since the last reply, at most 8.
    pub unanswered_polls: u32,
    /// Poll interval in use.
    #[serde(with = "encoding")]
    pub poll_interval: PollInterval,
    /// Number of NTS cookies available, at most 8; absent if the source does not use NTS.
    pub nts_cookies: Option<u64>,
    /// Configured name, `host:port` for a server.
    pub name: String,
    /// Address in use, `ip:port` for a server, a path for a device.
    pub address: String,
    /// Identifier; distinguishes sources of the same name.
    pub id: u64,
    /// Additions of this implementation.
    #[serde(flatten)]
    pub details: SourceDetails,
}

impl Source {
    fn from_status(source: &SourceStatus) -> Self {
        let measured = source.measurement.as_ref();
        let or_unknown = |known: Option<NtpDuration>| known.unwrap_or(NtpDuration::MAX);
        Self {
            offset: measured.map_or(NtpDuration::ZERO, |measured| measured.offset),
            uncertainty: or_unknown(measured.and_then(|measured| measured.uncertainty)),
            delay: or_unknown(measured.and_then(|measured| measured.delay)),
            remote_delay: or_unknown(measured.map(|measured| measured.root_delay)),
            remote_uncertainty: or_unknown(measured.map(|measured| measured.root_dispersion)),
            last_update: measured.map_or(NtpTimestamp::ZERO, |measured| measured.at.to_ntp()),
            unanswered_polls: source.unanswered,
            poll_interval: source.poll,
            nts_cookies: source.nts_cookies,
            name: source.name.clone(),
            address: source.address.to_string(),
            id: source.id.0.into(),
            details: SourceDetails::from_status(source),
        }
    }
}

/// An address on which time is served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// Address.
    pub address: SocketAddr,
    /// The device to which it is bound; an addition of this implementation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bind_device: Option<InterfaceName>,
    /// Counters.
    pub stats: ServerStatistics,
    /// Additions of this implementation; absent as a whole.
    #[serde(flatten)]
    pub details: Option<ServerDetails>,
}

impl Server {
    /// Returns the address with the device.
    pub fn listen_address(&self) -> ListenAddress {
        ListenAddress {
            socket: self.address,
            device: self.bind_device,
        }
    }

    fn from_status(server: &ServerStatus) -> Self {
        Self {
            address: server.address.socket,
            bind_device: server.address.device,
            stats: server.requests,
            details: Some(server.details),
        }
    }
}
