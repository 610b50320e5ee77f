//! Readings of reference clocks: which are used, and which second a pulse marks.
//!
//! A pulse shows when a period begins, not which one. The number comes from the source that the
//! configuration names (`lock`), or from the synchronised clock. It is certain only if the error of
//! that source is small against the period: a pulse that might belong to the next period is
//! refused.

use ntp_time::{FreeTime, NtpDuration};
use ntp_types::event::Event;
use ntp_types::refclock::{ClockFault, ClockSample, SampleRefusal};
use ntp_types::source::SourceId;

use super::source::SourceInput;
use super::{Engine, LastError, Now};

/// Largest error of the number of a pulse, in periods: at half a period the number is arbitrary.
const MAX_NUMBERING_ERROR: f64 = 0.4;

/// How fast our clock may drift away from the newest measurement of the source that numbers the
/// pulses: the largest error of an oscillator that the kernel corrects (500 ppm).
const LOCK_DRIFT: f64 = 500e-6;

/// Number of intervals of that source after which its newest measurement is too old.
const LOCK_INTERVALS: i64 = 8;

/// True time as another source gives it.
struct Numbering {
    /// What the clock is ahead of true time by this source.
    phase: NtpDuration,
    /// Its largest error.
    bound: NtpDuration,
}

impl Engine {
    /// Takes a reading of a reference clock.
    pub(super) fn receive_sample(
        &mut self,
        now: Now,
        source: SourceId,
        reading: Result<ClockSample, SampleRefusal>,
    ) {
        let Some(position) = self.sources.position(source) else {
            return;
        };
        let numbered = reading.and_then(|sample| {
            if sample.is_pulse {
                self.number_pulse(position, sample)
                    .and_then(|sample| self.check_regular(position, sample))
            } else {
                Ok(sample)
            }
        });
        match numbered {
            Ok(sample) => self.pass(now, source, SourceInput::Sample(&sample)),
            Err(reason) => self.refuse_sample(now, position, reason),
        }
    }

    /// Counts and reports a reading that gave no usable sample.
    pub(super) fn refuse_sample(&mut self, now: Now, position: usize, reason: SampleRefusal) {
        let source = &mut self.sources.in_use[position];
        source.last_error = Some(LastError::Sample(reason));
        let Some(clock) = source.ref_clock_mut() else {
            return;
        };
        let half = NtpDuration::from_bits(clock.period().to_bits() / 2);
        if let Some(suppressed) = clock.count_refused(now, reason) {
            let source = self.sources.source_name(&self.sources.in_use[position]);
            self.emit(Event::SampleRefused {
                source,
                reason,
                suppressed,
            });
        }
        // A refused pulse never becomes a falseticker, whose fault is reported.
        if reason == SampleRefusal::HalfPeriod {
            self.report_suspect(now, position, ClockFault::HalfSecond, half);
        }
    }

    /// Reports what a reference clock that became a falseticker probably suffers from.
    pub(super) fn report_fault(&mut self, now: Now, position: usize) {
        let source = &mut self.sources.in_use[position];
        let offset = source.measured.map_or(NtpDuration::ZERO, |it| it.offset);
        let Some(clock) = source.ref_clock_mut() else {
            return;
        };
        let period = clock.is_pulse().then(|| clock.period());
        let Some(fault) = ClockFault::of_offset(offset, period) else {
            return;
        };
        self.report_suspect(now, position, fault, offset);
    }

    fn report_suspect(
        &mut self,
        now: Now,
        position: usize,
        fault: ClockFault,
        offset: NtpDuration,
    ) {
        let clock = self.sources.in_use[position].ref_clock_mut();
        if let Some(suppressed) = clock.and_then(|clock| clock.admit_fault(now)) {
            let source = self.sources.source_name(&self.sources.in_use[position]);
            self.emit(Event::RefclockSuspect {
                source,
                fault,
                offset,
                suppressed,
            });
        }
    }

    /// Returns the sample with an offset that is not modulo the period any more.
    fn number_pulse(
        &self,
        position: usize,
        sample: ClockSample,
    ) -> Result<ClockSample, SampleRefusal> {
        let source = &self.sources.in_use[position];
        let clock = source.ref_clock().ok_or(SampleRefusal::Unnumbered)?;
        let free = self.ledger.free_time(sample.at.time);
        let numbering = match clock.lock() {
            Some(name) => self.numbering_of_source(name, position, free),
            None => self.numbering_of_clock(sample, free),
        };
        let Numbering { phase, bound } = numbering.ok_or(SampleRefusal::Unnumbered)?;
        let expected = free.ahead_of(sample.at.time.to_ntp()) - phase;
        // The correction of a late pulse applies before it is numbered.
        let missing = (expected - sample.offset - clock.correction()).as_seconds_f64();
        let period = clock.period().as_seconds_f64();
        let periods = (missing / period).round();
        let residual = missing - periods * period;
        // By the width of the pulse late: nearer to the other edge than to this one.
        let from_edge = |width: NtpDuration| (residual - width.as_seconds_f64()).abs();
        if clock
            .width()
            .is_some_and(|width| from_edge(width) < residual.abs())
        {
            return Err(SampleRefusal::WrongEdge);
        }
        let residual = residual.abs();
        if residual + bound.as_seconds_f64() > MAX_NUMBERING_ERROR * period {
            // Neither the source nor the pulse can be that wrong by chance.
            let is_certain = residual - bound.as_seconds_f64() > MAX_NUMBERING_ERROR * period;
            return Err(if is_certain {
                SampleRefusal::HalfPeriod
            } else {
                SampleRefusal::Ambiguous
            });
        }
        Ok(ClockSample {
            offset: sample.offset + NtpDuration::from_seconds_f64(periods * period),
            ..sample
        })
    }

    /// Refuses a numbered pulse that is elsewhere in its period than those before it.
    fn check_regular(
        &mut self,
        position: usize,
        sample: ClockSample,
    ) -> Result<ClockSample, SampleRefusal> {
        let free = self.ledger.free_time(sample.at.time);
        let place = free.ahead_of(sample.at.time.to_ntp()) - sample.offset;
        let clock = self.sources.in_use[position].ref_clock_mut();
        match clock.is_none_or(|clock| clock.is_regular(free, place)) {
            true => Ok(sample),
            false => Err(SampleRefusal::Irregular),
        }
    }

    /// The time of the source that the configuration calls `name`, by its newest measurement.
    fn numbering_of_source(&self, name: &str, position: usize, at: FreeTime) -> Option<Numbering> {
        let mut others = self.sources.in_use.iter().enumerate();
        let (_, lock) = others.find(|(index, it)| {
            *index != position && self.sources.config(it).name == name && it.measured.is_some()
        })?;
        let measured = lock.measured.filter(|_| !lock.is_unreachable())?;
        let age = (at - self.ledger.free_time(measured.at)).abs();
        let interval = lock.interval();
        let limit = NtpDuration::from_bits(interval.to_bits().saturating_mul(LOCK_INTERVALS));
        if age > limit {
            return None;
        }
        let drift = NtpDuration::from_seconds_f64(age.as_seconds_f64() * LOCK_DRIFT);
        Some(Numbering {
            phase: -measured.offset - self.ledger.past_correction(measured.at),
            bound: measured.uncertainty? + drift,
        })
    }

    /// The time of our clock, once it has a majority of sources.
    fn numbering_of_clock(&self, sample: ClockSample, at: FreeTime) -> Option<Numbering> {
        let estimate = self.discipline.estimate(at)?;
        let residual = estimate.phase + self.ledger.correction(sample.at.time);
        let figures = self.discipline.error_figures(at, residual)?;
        // The bound is that of the clock, which the estimate may be better than.
        Some(Numbering {
            phase: estimate.phase,
            bound: figures.bound,
        })
    }
}
