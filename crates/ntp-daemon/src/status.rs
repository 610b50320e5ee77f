//! Assembles the status of the daemon: what the engine knows, and what only the daemon knows.

use ntp_config::platform::Choice;
use ntp_os_clock::{Clock, realtime};
use ntp_proto::engine::Now;
use ntp_time::{NtpDuration, SystemTime};
use ntp_types::status::{
    DisciplinedClock, EngineStatus, PlatformStatus, ProgramStatus, SourceStatus, Status,
};

use crate::log;
use crate::nts;
use crate::runtime::driver::Driver;
use crate::runtime::services::Services;

/// Returns the status of the daemon now. `config_path` is its main configuration file.
pub(crate) fn status(driver: &Driver, services: &Services, config_path: Option<String>) -> Status {
    let (now, engine) = driver.status();
    let EngineStatus {
        system,
        mut sources,
        configured,
    } = engine;
    for source in &mut sources {
        let expiry = services.certificate_expiry(&source.name);
        source.certificate_expires = expiry.map(from_unix);
        let group = services.key_exchange_group(&source.name);
        source.key_exchange_group = group.map(str::to_owned);
    }
    Status {
        program: program(driver, now, config_path),
        clock: clock(driver.clock()),
        system,
        sources,
        configured,
        servers: services.server_status(),
        key_exchange: services.ke_status(),
        waiting_servers: services.waiting(),
        events: log::event_counts(),
    }
}

fn program(driver: &Driver, now: Now, config_path: Option<String>) -> ProgramStatus {
    ProgramStatus {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime: now.monotonic - driver.started(),
        now: now.system,
        config_path,
        platform: None,
        provider: nts::provider(),
    }
}

/// Returns what is shown of the platform's choice.
pub(crate) fn platform(choice: &Choice) -> PlatformStatus {
    PlatformStatus {
        name: choice.platform.to_string(),
        sources: choice.added.clone(),
        reason: choice.explanation(),
    }
}

fn clock(clock: &Clock) -> DisciplinedClock {
    DisciplinedClock {
        kind: clock.kind().to_string(),
        true_offset: true_offset(clock),
    }
}

/// Returns how far a virtual clock is ahead of the clock that it is laid over.
pub fn true_offset(clock: &Clock) -> Option<NtpDuration> {
    match clock {
        Clock::Virtual(_) => {
            let base = realtime();
            Some(clock.translate(base) - base)
        }
        Clock::System(_) | Clock::None(_) => None,
    }
}

/// Returns the time of seconds since 1970.
pub(crate) fn from_unix(seconds: u64) -> SystemTime {
    let nanos = i64::try_from(seconds).unwrap_or(i64::MAX);
    SystemTime::from_nanos(nanos.saturating_mul(1_000_000_000))
}

/// Returns the source that the clock is synchronised to.
pub(crate) fn reference_source(status: &EngineStatus) -> Option<&SourceStatus> {
    let id = status.system.reference?;
    status.sources.iter().find(|source| source.id == id)
}
