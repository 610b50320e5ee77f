//! A disruption of the machine: what the daemon knows about its clock is void.
//!
//! A hypervisor that moves a virtual machine to another host, or continues it from a snapshot,
//! changes a marker in memory (VMClock: `disruption_marker`). The guest then runs on another
//! counter: time has passed unnoticed by all its clocks, and the frequency is that of another
//! crystal. Nothing in the guest shows it. Unlike after a suspend, nothing learnt before may be
//! used, so the discipline starts again with the frequency as a guess. The clock is not
//! synchronised until sources have been measured again.

use ntp_time::NtpDuration;

use super::source::SourceInput;
use super::steer::UNKNOWN_ERROR;
use super::{Engine, Event, Now};
use crate::discipline::{Discipline, FrequencyPrior};

impl Engine {
    /// Drops the history and measures all sources at once.
    pub(super) fn disrupted(&mut self, now: Now, marker: u64) {
        self.emit(Event::MachineDisrupted {
            marker,
            was_synchronized: self.sync.synchronized,
        });
        // Timestamps of open exchanges are those of the other counter.
        self.handle_all(now, SourceInput::ClockStepped);
        self.clock_epoch = self.clock_epoch.wrapping_add(1);
        self.phase_free.restart();
        self.restart_discipline();
        self.time_floor.record_hold(now.monotonic, false);
        if core::mem::take(&mut self.sync.synchronized) {
            self.set_status(now, UNKNOWN_ERROR, UNKNOWN_ERROR);
        }
        self.reacquire(now, NtpDuration::MAX);
        // A source has no burst within a minute of its last one; a machine is often saved soon
        // after it booted. Where a burst began, the next request is due already.
        for source in &mut self.sources.in_use {
            if let Some(ntp) = source.ntp_mut() {
                ntp.association.poll_soon(now.monotonic);
            }
        }
    }

    fn restart_discipline(&mut self) {
        let config = self.config.discipline;
        let known = self.discipline.frequency_prior();
        let prior = known.or(self.config.frequency_prior).map(|known| {
            let uncertainty = config.initial_frequency_uncertainty;
            FrequencyPrior {
                uncertainty,
                ..known
            }
        });
        self.discipline = Discipline::new(config, prior);
        for source in &mut self.sources.in_use {
            source.key = self.discipline.add_source(source.noise_law());
            source.measured = None;
            (self.discipline).set_selection_options(source.key, source.selection);
            (self.discipline).set_eligible(source.key, source.is_eligible());
        }
        self.sources.selection_outdated = true;
    }
}
