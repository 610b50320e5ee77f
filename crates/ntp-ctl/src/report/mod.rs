//! `ntp-ctl report`: how accurate the clock was, for auditors, from the history of the daemon.
//!
//! It reads files only, so that a copy of a history can be examined on another machine. The exit
//! code is 1 if the history is not as it was written.

mod csv;
mod markdown;
mod plot;

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ntp_history::{Chain, ChainFault, Collector, Report, month_of};
use ntp_time::{NtpDuration, SystemTime};

use crate::console::{Console, Failure};
use crate::exit;
use crate::output_format::Format;

/// Maximum size of a month's file in octets: twice that at which the daemon stops writing it.
const MAX_SIZE: u64 = 64 << 20;

/// What to report.
pub(crate) struct Wanted<'a> {
    pub(crate) from: Option<SystemTime>,
    pub(crate) to: Option<SystemTime>,
    pub(crate) limits: &'a [Duration],
    pub(crate) picture: Option<&'a Path>,
    pub(crate) directory: Option<&'a Path>,
}

pub(crate) fn run(
    config: Option<&Path>,
    wanted: &Wanted<'_>,
    format: Format,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let directory = match wanted.directory {
        Some(directory) => directory.to_owned(),
        None => configured(config)?,
    };
    let report = read(&directory, wanted)?;
    if let Some(picture) = wanted.picture {
        fs::write(picture, plot::svg(&report)).map_err(|error| {
            Failure::Error(format!("Could not write {}: {error}", picture.display()))
        })?;
    }
    match format {
        Format::Json => console.print_json(&report)?,
        Format::Csv => console.out.write_all(csv::text(&report).as_bytes())?,
        _ => console.out.write_all(markdown::text(&report).as_bytes())?,
    }
    if report.integrity.intact {
        return Ok(());
    }
    let faults = report.integrity.faults.len();
    Err(Failure::Reported {
        exit_code: exit::FAILURE,
        text: format!(
            "{}: the history was changed: {faults} lines do not continue the chain",
            directory.display()
        ),
    })
}

fn configured(config: Option<&Path>) -> Result<PathBuf, Failure> {
    let loaded = ntp_config::load(config).map_err(|error| Failure::Error(error.to_string()))?;
    let state = loaded.config.state;
    let directory = state.directory.filter(|_| state.history_days > 0);
    let directory = directory.ok_or_else(|| {
        Failure::Error(
            "The configuration keeps no history: see [state] enabled and history-days, or name a \
             copy with --directory"
                .into(),
        )
    })?;
    Ok(directory.join("history"))
}

fn read(directory: &Path, wanted: &Wanted<'_>) -> Result<Report, Failure> {
    let unreadable = |path: &Path, error: &io::Error| {
        let hint = match error.kind() {
            ErrorKind::NotFound => ". The daemon writes the first entry after a quarter of an hour",
            ErrorKind::PermissionDenied => ". Run it as root, or on a copy with --directory",
            _ => "",
        };
        Failure::Error(format!("Could not read {}: {error}{hint}", path.display()))
    };
    let entries = fs::read_dir(directory).map_err(|error| unreadable(directory, &error))?;
    let paths = entries.flatten().map(|entry| entry.path());
    let mut paths: Vec<PathBuf> = paths.filter(|path| month_of(path).is_some()).collect();
    paths.sort();
    let limits = wanted.limits.iter().map(|&limit| NtpDuration::from(limit));
    let mut collector = Collector::new(wanted.from, wanted.to, limits.collect());
    let mut chain = Chain::default();
    for path in &paths {
        let octets =
            ntp_files::read_input(path, MAX_SIZE).map_err(|error| unreadable(path, &error))?;
        read_file(&octets, path, &mut chain, &mut collector);
    }
    let (last, hash) = (chain.last(), chain.hash().to_string());
    collector.finish(last, hash).ok_or_else(|| {
        Failure::Error(format!(
            "{}: no history of that time (the newest entry may be up to a quarter of an hour old)",
            directory.display()
        ))
    })
}

fn read_file(octets: &[u8], path: &Path, chain: &mut Chain, collector: &mut Collector) {
    // What follows the last line feed was being written.
    let lines = octets.split_inclusive(|octet| *octet == b'\n');
    let whole = lines.filter_map(|line| line.strip_suffix(b"\n"));
    for (number, line) in whole.enumerate() {
        let place = || format!("{}, line {}", path.display(), number + 1);
        let read = match str::from_utf8(line) {
            Ok(text) => chain.read(text),
            Err(_) => Err((ChainFault::Syntax, None)),
        };
        match read {
            Ok(line) => collector.add(line),
            Err((fault, line)) => {
                collector.add_fault(place(), fault);
                if let Some(line) = line {
                    collector.add(*line);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use ntp_history::Recorder;
    use ntp_history::recorder::Accuracy;
    use ntp_proto::engine::Now;
    use ntp_time::Monotonic;
    use ntp_types::event::Event;

    use super::*;

    /// A history of two days: 80 us, for an hour 2 ms, half an hour unsynchronised, a gap of an hour.
    fn history(directory: &Path) -> PathBuf {
        let mut recorder = Recorder::new("0.1.0");
        let mut chain = Chain::default();
        let mut lines = Vec::new();
        let start: SystemTime = "2026-10-31T00:00:00Z".parse().unwrap();
        let accuracy = |micros| {
            Some(Accuracy {
                bound: NtpDuration::from_micros(micros),
                estimated_error: NtpDuration::from_micros(micros / 10),
            })
        };
        // The daemon wakes up each minute.
        for minute in 0..=192 * 15i64 {
            let (at, quarter) = (NtpDuration::from_seconds(60 * minute), minute / 15);
            let now = Now {
                monotonic: Monotonic::from_nanos(at.as_nanos()),
                system: start
                    + at
                    + NtpDuration::from_seconds(if minute > 1515 { 3600 } else { 0 }),
            };
            let state = match quarter {
                10..14 => accuracy(2000),
                20..22 => None,
                _ => accuracy(80),
            };
            recorder.after_round(state);
            lines.extend(recorder.before_round(now, state));
            if minute == 300 {
                let bound = NtpDuration::from_millis(500);
                recorder.record_event(now, &Event::SynchronizationLost { bound });
            }
            recorder.record_source("time.example:123");
        }
        let mut by_month = std::collections::BTreeMap::<String, String>::new();
        for entry in lines {
            let month = entry.from.to_string().chars().take(7).collect();
            *by_month.entry(month).or_default() += &(chain.append(entry) + "\n");
        }
        for (month, text) in by_month {
            fs::write(directory.join(format!("{month}.log")), text).unwrap();
        }
        directory.to_owned()
    }

    fn wanted(directory: &Path) -> Wanted<'_> {
        const LIMITS: &[Duration] = &[Duration::from_micros(100), Duration::from_millis(50)];
        Wanted {
            from: None,
            to: None,
            limits: LIMITS,
            picture: None,
            directory: Some(directory),
        }
    }

    #[test]
    fn the_report_has_the_figures_of_each_day() {
        let directory = tempfile::tempdir().unwrap();
        let report = read(&history(directory.path()), &wanted(directory.path())).unwrap();
        let hours = |time: NtpDuration| time.as_seconds_f64() / 3600.0;
        let first = &report.days[0];
        assert_eq!(first.date, "2026-10-31");
        assert!(
            (hours(first.outside[0].time) - 1.5).abs() < 1e-6,
            "{first:?}"
        );
        assert!(
            (hours(first.outside[1].time) - 0.5).abs() < 1e-6,
            "{first:?}"
        );
        assert_eq!(first.losses, 1);
        assert_eq!(first.largest_bound, Some(NtpDuration::from_millis(2)));
        assert_eq!(report.gaps.len(), 1);
        assert!((hours(report.overall.uncovered) - 1.0).abs() < 1e-6);
        assert!(report.integrity.intact);
        insta::assert_snapshot!(markdown::text(&report));
        insta::assert_snapshot!(csv::text(&report));
        let svg = plot::svg(&report);
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"));
    }

    #[test]
    fn a_time_can_be_selected() {
        let directory = tempfile::tempdir().unwrap();
        let mut wanted = wanted(directory.path());
        history(directory.path());
        wanted.from = Some("2026-11-01".parse().unwrap());
        wanted.to = Some("2026-11-01T06:00:00Z".parse().unwrap());
        let report = read(directory.path(), &wanted).unwrap();
        let covered = report.overall.covered.as_seconds_f64() / 3600.0;
        assert!((covered - 5.0).abs() < 1e-6, "{covered}");
        assert_eq!(report.days.len(), 1);
        wanted.from = Some("2030-01-01".parse().unwrap());
        wanted.to = None;
        assert!(matches!(
            read(directory.path(), &wanted),
            Err(Failure::Error(_))
        ));
    }

    #[test]
    fn a_changed_history_is_reported_with_the_line() {
        let directory = tempfile::tempdir().unwrap();
        history(directory.path());
        let path = directory.path().join("2026-10.log");
        let text = fs::read_to_string(&path).unwrap();
        let (bad, good) = ("[2000000,", "[20000,");
        assert!(text.contains(bad));
        fs::write(&path, text.replacen(bad, good, 1)).unwrap();
        let report = read(directory.path(), &wanted(directory.path())).unwrap();
        assert!(!report.integrity.intact);
        let fault = &report.integrity.faults[0];
        assert!(fault.place.ends_with("2026-10.log, line 10"), "{fault:?}");
    }
}
