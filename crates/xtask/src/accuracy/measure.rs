//! Statistics over many runs of a scenario.
//!
//! A scenario is run with the seeds `0..n`. The pooled RMS is the root of the mean square over all
//! runs, not their median: a run that goes wrong counts in full. With s the standard deviation of
//! the mean squares of the runs, the standard error of the pooled RMS r is s / (2 r sqrt n).

use ntp_sim::{Report, Scenario, Violation, run};

/// A figure and its standard error.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figure {
    pub(crate) value: f64,
    pub(crate) error: f64,
}

impl Figure {
    /// The pooled RMS of runs.
    fn pooled(rms: impl Iterator<Item = f64>) -> Self {
        let squares: Vec<f64> = rms.map(|rms| rms * rms).collect();
        let (mean, deviation) = moments(&squares);
        let value = mean.sqrt();
        Self {
            value,
            error: deviation / (2.0 * value * (squares.len() as f64).sqrt()),
        }
    }

    /// The median of runs; for nearly normal values its standard error is 1.25 times that of the mean.
    fn median(values: impl Iterator<Item = f64>) -> Self {
        let values: Vec<f64> = values.collect();
        let (_, deviation) = moments(&values);
        Self {
            value: quantile(&values, 0.5),
            error: 1.25 * deviation / (values.len() as f64).sqrt(),
        }
    }
}

/// All runs of one scenario.
#[derive(Clone, Debug)]
pub(crate) struct Runs(pub(crate) Vec<Report>);

impl Runs {
    pub(crate) fn rms(&self) -> Figure {
        Figure::pooled(self.0.iter().map(|run| run.rms))
    }

    pub(crate) fn frequency(&self) -> Figure {
        Figure::pooled(self.0.iter().map(|run| run.frequency_rms))
    }

    /// The largest error of the median run.
    pub(crate) fn maximum(&self) -> Figure {
        Figure::median(self.0.iter().map(|run| run.maximum))
    }

    /// Mean interval between packets to all servers, in seconds.
    pub(crate) fn interval(&self) -> f64 {
        self.mean(Report::mean_interval)
    }

    pub(crate) fn mean(&self, of: impl Fn(&Report) -> f64) -> f64 {
        self.0.iter().map(of).sum::<f64>() / self.0.len() as f64
    }
}

/// Runs each scenario with the seeds `0..seeds`, on all cores.
///
/// # Errors
/// The first violated invariant.
pub(crate) fn all(worlds: &[Scenario], seeds: u64) -> Result<Vec<Runs>, Violation> {
    let per_world = usize::try_from(seeds).unwrap_or(1).max(1);
    let reports = crate::parallel::map(worlds.len() * per_world, |job| {
        run(&worlds[job / per_world], (job % per_world) as u64)
    });
    let reports: Vec<Report> = reports.into_iter().collect::<Result<_, _>>()?;
    let runs = reports.chunks(per_world).map(|chunk| Runs(chunk.to_vec()));
    Ok(runs.collect())
}

fn moments(values: &[f64]) -> (f64, f64) {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (mean, (squares / (count - 1.0).max(1.0)).sqrt())
}

/// The quantile `share` (0 to 1) of the values.
pub(crate) fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1);
    let (low, part) = ((share * last as f64).floor(), (share * last as f64).fract());
    let at = |index: f64| sorted.get(index as usize).copied().unwrap_or(f64::NAN);
    if part == 0.0 {
        return at(low);
    }
    at(low) * (1.0 - part) + at(low + 1.0) * part
}

/// The geometric mean.
pub(crate) fn geometric_mean(values: &[f64]) -> f64 {
    (values.iter().map(|value| value.ln()).sum::<f64>() / values.len() as f64).exp()
}
