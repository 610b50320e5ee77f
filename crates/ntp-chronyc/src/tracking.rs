//! `tracking`: the state of the clock.

use ntp_time::{LeapIndicator, NtpDuration, ReferenceId};
use ntp_types::status::SystemStatus;

use crate::Daemon;
use crate::field::{Address, Fields, Writer};
use crate::message::Refusal;
use crate::sources;

/// chrony's skew is a limit that the error of a frequency exceeds in 0.1 % of cases, ours one
/// standard deviation: the quantile of the normal distribution.
pub(crate) const SKEW_PER_DEVIATION: f64 = 3.290_527;

/// Root delay and root dispersion of a clock that is not synchronised, as chronyd has them.
const UNKNOWN: NtpDuration = NtpDuration::from_seconds(1);

pub(crate) fn tracking(daemon: &mut dyn Daemon, _: Fields<'_>) -> Result<Writer, Refusal> {
    let status = daemon.status();
    let system = &status.system;
    let reference = (status.sources.iter()).find(|source| Some(source.id) == system.reference);
    let address = reference.and_then(sources::ip);
    let trend = reference.and_then(|source| source.trend);
    let residual = trend.map_or(0.0, |trend| (trend.frequency - system.frequency).as_ppm());
    let origin = TimeOrigin::of(system);
    let mut body = Writer::default();
    body.reference_id(origin.id)
        .address(address.map_or(Address::None, Address::Ip))
        .u16(origin.stratum)
        .u16(system.leap.to_bits().into())
        .time(system.reference_time.filter(|_| origin.is_known))
        // Current correction.
        .seconds(system.offset.unwrap_or_default())
        .seconds(-system.last_offset.unwrap_or_default())
        .seconds(system.rms_offset.unwrap_or_default())
        .float(system.frequency.as_ppm())
        .float(residual)
        .float(system.frequency_uncertainty.as_ppm() * SKEW_PER_DEVIATION)
        .seconds(origin.delay)
        .seconds(origin.dispersion)
        .seconds(system.update_interval.unwrap_or_default());
    Ok(body)
}

/// What is claimed about the origin of the time.
struct TimeOrigin {
    is_known: bool,
    id: ReferenceId,
    stratum: u16,
    delay: NtpDuration,
    dispersion: NtpDuration,
}

impl TimeOrigin {
    fn of(system: &SystemStatus) -> Self {
        if system.leap == LeapIndicator::Unsynchronized {
            return Self {
                is_known: false,
                id: ReferenceId::default(),
                stratum: 0,
                delay: UNKNOWN,
                dispersion: UNKNOWN,
            };
        }
        Self {
            is_known: true,
            id: system.reference_id,
            stratum: system.stratum.get().into(),
            delay: system.root_delay,
            dispersion: system.root_dispersion.unwrap_or(UNKNOWN),
        }
    }
}
