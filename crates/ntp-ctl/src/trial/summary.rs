//! The opinions of two daemons of one clock: samples, their summary and the verdict.
//!
//! An offset is what is to be added to the clock (true time minus the clock), as everywhere. Two
//! opinions contradict each other if they differ by more than both error bounds together. They are
//! not taken at the same moment, and the other daemon may correct the clock in between; so the
//! verdict needs more than a tenth of contradictions.

use std::fmt;

use ntp_time::NtpDuration;
use ntp_types::status::Status;
use serde_json::{Value, json};

use crate::exit;
use crate::format::{duration, signed};

/// The opinion of a daemon of the clock.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Opinion {
    /// True time minus the clock.
    pub(super) offset: NtpDuration,
    /// Bound of the error of the offset; unknown for some daemons.
    pub(super) bound: Option<NtpDuration>,
}

/// Both opinions at one time.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    /// Since the start.
    at: NtpDuration,
    ours: Option<Opinion>,
    theirs: Option<Result<Opinion, String>>,
    /// Sources that agree, and all candidates.
    sources: (u64, usize),
}

impl Sample {
    /// A sample of our status, and of the other daemon if there is one.
    pub(super) fn new(
        at: NtpDuration,
        status: &Status,
        theirs: Option<Result<Opinion, String>>,
    ) -> Self {
        let system = &status.system;
        let ours = system.offset.filter(|_| system.synchronized);
        Self {
            at,
            ours: ours.map(|offset| Opinion {
                offset,
                // The bound of the clock's error has the offset in it.
                bound: system.error_bound.map(|bound| bound - offset.abs()),
            }),
            theirs,
            sources: (system.agreeing, status.sources.len()),
        }
    }

    /// Our offset minus the other one.
    fn difference(&self) -> Option<NtpDuration> {
        let theirs = self.theirs.as_ref()?.as_ref().ok()?;
        Some(self.ours?.offset - theirs.offset)
    }

    /// Whether the difference exceeds both bounds together.
    fn is_contradiction(&self) -> bool {
        let bound = |opinion: Option<&Opinion>| opinion.and_then(|it| it.bound).unwrap_or_default();
        let theirs = self.theirs.as_ref().and_then(|it| it.as_ref().ok());
        let both = bound(self.ours.as_ref()) + bound(theirs);
        self.difference().is_some_and(|it| it.abs() > both)
    }

    /// Heading of the table of samples.
    pub(super) fn heading() -> String {
        format!(
            "{:>8} {:>11} {:>10} {:>11} {:>10} {:>11}  {}",
            "time", "offset", "bound", "other", "bound", "difference", "sources"
        )
    }

    /// A row of the table.
    pub(super) fn line(&self) -> String {
        let cells = |opinion: Option<&Opinion>| match opinion {
            Some(it) => (
                signed(it.offset),
                it.bound.map_or_else(|| "-".into(), duration),
            ),
            None => ("-".to_owned(), "-".to_owned()),
        };
        let theirs = self.theirs.as_ref().and_then(|it| it.as_ref().ok());
        let ((our_offset, our_bound), (offset, bound)) = (cells(self.ours.as_ref()), cells(theirs));
        let seconds = self.at.as_seconds_f64().round() as u64;
        let time = format!(
            "{}:{:02}:{:02}",
            seconds / 3600,
            seconds / 60 % 60,
            seconds % 60
        );
        let difference = self.difference().map_or_else(|| "-".into(), signed);
        let why = match &self.theirs {
            Some(Err(why)) => format!("  ({why})"),
            _ => String::new(),
        };
        format!(
            "{time:>8} {our_offset:>11} {our_bound:>10} {offset:>11} {bound:>10} {difference:>11}  {} of {}{}{why}",
            self.sources.0,
            self.sources.1,
            if self.is_contradiction() { " !" } else { "" },
        )
    }
}

/// All samples of a trial.
#[derive(Clone, Debug, Default)]
pub(super) struct Summary(Vec<Sample>);

impl Summary {
    pub(super) fn add(&mut self, sample: Sample) {
        self.0.push(sample);
    }

    fn compared(&self) -> impl Iterator<Item = (&Sample, NtpDuration)> {
        self.0.iter().filter_map(|it| Some((it, it.difference()?)))
    }

    fn contradictions(&self) -> usize {
        self.0.iter().filter(|it| it.is_contradiction()).count()
    }

    /// Mean and largest absolute value.
    fn statistics(values: impl Iterator<Item = NtpDuration>) -> Option<(NtpDuration, NtpDuration)> {
        let values: Vec<f64> = values.map(NtpDuration::as_seconds_f64).collect();
        let largest = values.iter().map(|it| it.abs()).reduce(f64::max)?;
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let duration = NtpDuration::from_seconds_f64;
        Some((duration(mean), duration(largest)))
    }

    /// Rows of the summary: label, mean and largest absolute value.
    fn rows(&self) -> [(&'static str, Option<(NtpDuration, NtpDuration)>); 3] {
        let ours = self.0.iter().filter_map(|it| Some(it.ours?.offset));
        let theirs = self
            .0
            .iter()
            .filter_map(|it| Some(it.theirs.as_ref()?.as_ref().ok()?.offset));
        let differences = self.compared().map(|(_, difference)| difference);
        [
            ("offset, ours", Self::statistics(ours)),
            ("offset, other", Self::statistics(theirs)),
            ("difference", Self::statistics(differences)),
        ]
    }

    /// The summary for people.
    pub(super) fn text(&self) -> String {
        let mut text = format!(
            "{} samples, {} compared, {} differ by more than both bounds\n",
            self.0.len(),
            self.compared().count(),
            self.contradictions()
        );
        text += &format!("{:<14} {:>12} {:>12}\n", "", "mean", "largest");
        for (label, statistics) in self.rows() {
            let (mean, largest) = match statistics {
                Some((mean, largest)) => (signed(mean), duration(largest)),
                None => ("-".to_owned(), "-".to_owned()),
            };
            text += &format!("{label:<14} {mean:>12} {largest:>12}\n");
        }
        text
    }

    /// The summary and all samples for programs; times in seconds.
    pub(super) fn data(&self) -> Value {
        let opinion = |it: &Opinion| json!({ "offset": it.offset, "bound": it.bound });
        let samples: Vec<Value> = self
            .0
            .iter()
            .map(|it| {
                let theirs = it.theirs.as_ref().map(|it| match it {
                    Ok(it) => opinion(it),
                    Err(why) => json!({ "unknown": why }),
                });
                json!({
                    "seconds": it.at,
                    "ours": it.ours.as_ref().map(opinion),
                    "other": theirs,
                    "difference": it.difference(),
                    "agreeing": it.sources.0,
                })
            })
            .collect();
        json!({
            "compared": self.compared().count(),
            "contradictions": self.contradictions(),
            "samples": samples,
        })
    }

    /// The verdict, with our state at the end; `beside` if another daemon runs.
    pub(super) fn verdict(&self, status: &Status, beside: bool) -> Verdict {
        let compared = self.compared().count();
        let last = self.0.iter().rev().find_map(|it| match &it.theirs {
            Some(Err(why)) => Some(why.clone()),
            _ => None,
        });
        if !status.system.synchronized {
            Verdict::NotSynchronized
        } else if self.contradictions() * 10 > compared {
            Verdict::Contradiction
        } else if compared > 0 {
            Verdict::Agreement
        } else if beside {
            Verdict::Unread(last.unwrap_or_else(|| "no sample".into()))
        } else {
            Verdict::Alone
        }
    }
}

/// Result of a trial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Both opinions agree within their bounds.
    Agreement,
    /// They do not.
    Contradiction,
    /// No majority of our sources agrees.
    NotSynchronized,
    /// The opinion of the other daemon is unknown, for this reason.
    Unread(String),
    /// No other daemon runs.
    Alone,
}

impl Verdict {
    /// The name for programs.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Agreement => "agreement",
            Self::Contradiction => "contradiction",
            Self::NotSynchronized => "not-synchronized",
            Self::Unread(_) => "other-unknown",
            Self::Alone => "alone",
        }
    }

    pub(super) const fn exit_code(&self) -> u8 {
        match self {
            Self::Agreement | Self::Unread(_) | Self::Alone => exit::SUCCESS,
            Self::Contradiction => exit::CONTRADICTION,
            Self::NotSynchronized => exit::NOT_SYNCHRONIZED,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agreement => f.write_str("both daemons agree within their error bounds"),
            Self::Contradiction => f.write_str(
                "the daemons contradict each other: compare their sources (`chronyc sources`, `ntpq -p`) before a change",
            ),
            Self::NotSynchronized => {
                f.write_str("ntpd-rs would not steer the clock with this configuration; see above")
            }
            Self::Unread(why) => write!(
                f,
                "ntpd-rs is synchronised; the opinion of the other daemon is unknown ({why})"
            ),
            Self::Alone => f.write_str("ntpd-rs is synchronised; no other daemon to compare with"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(number: i64) -> NtpDuration {
        NtpDuration::from_micros(number)
    }

    fn sample(ours: i64, theirs: i64) -> Sample {
        let mut status = Status::default();
        status.system.synchronized = true;
        status.system.offset = Some(micros(ours));
        status.system.error_bound = Some(micros(ours.abs() + 100));
        let theirs = Opinion {
            offset: micros(theirs),
            bound: Some(micros(50)),
        };
        Sample::new(NtpDuration::from_seconds(3661), &status, Some(Ok(theirs)))
    }

    #[test]
    fn opinions_contradict_each_other_beyond_both_bounds() {
        let mut status = Status::default();
        let mut summary = Summary::default();
        (0..18).for_each(|_| summary.add(sample(100, -40)));
        summary.add(sample(200, -50));
        assert_eq!(summary.verdict(&status, true), Verdict::NotSynchronized);
        status.system.synchronized = true;
        assert_eq!(summary.verdict(&status, true), Verdict::Agreement);
        summary.add(sample(-200, 50));
        summary.add(sample(-200, 50));
        assert_eq!(summary.verdict(&status, true), Verdict::Contradiction);
        assert_eq!(Summary::default().verdict(&status, false), Verdict::Alone);
        let mut unread = Summary::default();
        unread.add(Sample::new(
            micros(1),
            &status,
            Some(Err("no answer".into())),
        ));
        let verdict = unread.verdict(&status, true);
        assert_eq!(verdict, Verdict::Unread("no answer".into()));
        assert_eq!(verdict.exit_code(), 0);
    }

    #[test]
    fn rows_fit_80_columns_and_mark_contradictions() {
        let heading = Sample::heading();
        assert!(heading.chars().count() <= 80, "{heading}");
        let line = sample(-123_456, 123_456).line();
        assert!(line.chars().count() <= 80, "{line}");
        assert!(
            line.trim_start().starts_with("1:01:01 ") && line.ends_with(" !"),
            "{line}"
        );
    }
}
