//! Processor time of a client in a day.
//!
//! Most of a day a client sleeps, so two clients are measured: one that measures its sources once a
//! second shows the cost of a measurement, all system calls included, and one that hardly measures
//! shows the cost of a second. How many measurements a day has follows from the simulator: four
//! servers 10 ms away, with queues of 1 ms, an oscillator that wanders by 1e-9 and a free poll
//! interval.

#![expect(
    clippy::disallowed_methods,
    reason = "a measurement on the real machine, in real time"
)]

use std::net::Ipv4Addr;
use std::time::Duration;

use ntp_sim::reference::ReferenceWorld;
use ntp_sim::run;

use super::process::{Process, Programs, free_ports, source};

/// Number of sources of a client.
const SOURCES: usize = 4;
/// Time after the start that does not count: burst, key files and worker threads.
const START: Duration = Duration::from_secs(40);
/// Time that counts: long enough for a wake-up of each kind.
const MEASURED: Duration = Duration::from_secs(120);
/// Seconds in a day.
const DAY: f64 = 86_400.0;

impl Programs<'_> {
    /// Processor time of a client of four sources in a day, in milliseconds.
    pub(super) fn processor_time_of_a_day(&self) -> Result<f64, String> {
        let ports = free_ports(SOURCES)?;
        let listen = |port: &u16| format!("[[server]]\nlisten = \"127.0.0.1:{port}\"\n");
        let listening: String = ports.iter().map(listen).collect();
        let serving = format!("{listening}[synchronization]\nlocal-stratum = 1\n");
        let _server = self.start("day-server", &serving, "none")?;
        let client = |name, poll: i8| {
            let limits = format!("poll-interval-limits = {{ min = {poll}, max = {poll} }}\n");
            let of = |port: &u16| source((Ipv4Addr::LOCALHOST, *port).into()) + &limits;
            self.start(name, &ports.iter().map(of).collect::<String>(), "virtual")
        };
        let (busy, idle) = (client("busy", 0)?, client("idle", 10)?);
        std::thread::sleep(START);
        let before = [&busy, &idle].map(Process::processor_milliseconds);
        std::thread::sleep(MEASURED);
        let after = [&busy, &idle].map(Process::processor_milliseconds);
        let [[busy_before, idle_before], [busy_after, idle_after]] =
            [before, after].map(|times| times.map(|time| time.unwrap_or(f64::NAN)));
        let seconds = MEASURED.as_secs_f64();
        let idle = (idle_after - idle_before) / seconds;
        let measurement = ((busy_after - busy_before) / seconds - idle) / SOURCES as f64;
        Ok(DAY * idle + measurements_of_a_day()? * measurement)
    }
}

/// Number of measurements of all sources in a day, once the interval is as long as it gets.
fn measurements_of_a_day() -> Result<f64, String> {
    let world = ReferenceWorld::FourServers.scenario();
    let world = world.with_poll_limits(4, 10);
    let report = run(&world, 1).map_err(|violation| violation.to_string())?;
    Ok(DAY * report.requests as f64 / report.seconds as f64)
}
