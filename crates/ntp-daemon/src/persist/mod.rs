//! State that survives a restart, in the state directory.
//!
//! | file | content | written |
//! |---|---|---|
//! | `clock.toml` | frequency of the oscillator; a time that is past | once known, hourly, at exit |
//! | `keyset` | keys of our clients' cookies (`nts::cookie_keys`) | at each rotation |
//! | `history/YYYY-MM.log` | how accurate the clock was (`crate::history`) | every quarter of an hour, at exit |
//! | `nts-SOURCE` | keys and cookies for a server (`nts::ke_client`) | at exit; deleted once read |
//!
//! [`StateFile`] writes files so that a loss of power does no harm, and handles files that cannot
//! be used. Writing is done by short-lived threads: a disk may take seconds, and timekeeping must
//! not wait.
//!
//! # A time that is past
//! True time only grows, so a moment that the synchronised clock has shown, less its error bound,
//! is a **floor** under every later claim. Two things use it. Certificates are never verified at an
//! earlier time ([`ntp_nts_ke::validity`]). A clock that shows an earlier time at the start is
//! wrong, and [`set_forward`] sets it to the floor at once, as needed by a machine without a
//! battery for its clock that starts other programs meanwhile. The floor is behind by at most an
//! hour and the time without power.
//!
//! The run that saved the floor may have followed wrong servers. So it is saved only after an hour,
//! it does not move a plausible clock further than sources may take back, and two witnesses
//! outweigh it: [`ntp_proto::engine`] compares it with the sources, and replaces it.
//!
//! # What is not kept, and why
//! What was learnt about the paths to the servers (least delay, jitter, falsetickers) is not kept.
//! In the simulator's world of four servers, a start that knows the frequency is off by 11 us in
//! its first minute and by 20 us (rms) in the next four, one that has run for hours by 16 us, and a
//! start that knows nothing by 43 us and 22 us. So after a minute there is a quarter to be gained
//! at most, and an old least delay does harm after a change of route, when all new measurements
//! look late beside it. The reading of the clock is not kept either: the kernel and the battery
//! clock do that.

mod file;
mod forward;
mod history;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use ntp_proto::discipline::FrequencyPrior;
use ntp_proto::engine::PersistedState;
use ntp_time::{Frequency, SystemTime};
use ntp_types::event::Event;

use crate::sandbox::{self, Profile};
use crate::{join, log};
pub(crate) use file::StateFile;
pub(crate) use forward::{certainly_past, is_disputed, set_forward};
pub(crate) use history::{HistoryFiles, WaitingEntries};

/// File name in the state directory.
const FILE: &str = "clock.toml";
/// Size limit in bytes; the file has a few lines.
const MAX_FILE_SIZE: u64 = 65_536;
/// Version of the format.
const VERSION: i64 = 1;

/// Largest credible frequency error of an oscillator; a file with a larger one is damaged.
const CREDIBLE_PPM: f64 = 100_000.0;
/// Credible times in seconds since 1970: from 2020 to 2250, the limit of 64-bit nanoseconds.
const CREDIBLE_TIME: core::ops::Range<i64> = 1_577_836_800..8_835_984_000;

/// The state directory; does nothing if saving is switched off.
#[derive(Debug)]
pub struct Store {
    file: Option<Arc<StateFile>>,
    /// Content of the file, or of the write in progress.
    kept: PersistedState,
    writer: Option<JoinHandle<()>>,
}

impl Store {
    /// Neither reads nor writes.
    pub fn new(directory: Option<PathBuf>) -> Self {
        let loss = "frequency and time will not be known after a restart (see [state] directory)";
        let file = |directory: PathBuf| {
            let path = directory.join(FILE);
            Arc::new(StateFile::new(path, 0o644, MAX_FILE_SIZE, loss))
        };
        Self {
            file: directory.map(file),
            kept: PersistedState::default(),
            writer: None,
        }
    }

    /// Returns the file that is written, if any.
    pub(crate) fn path(&self) -> Option<PathBuf> {
        self.file.as_ref().map(|file| file.path().to_owned())
    }

    /// Loads what earlier runs stored.
    pub fn load(&mut self) -> PersistedState {
        let Some(file) = &self.file else {
            return PersistedState::default();
        };
        let Some(octets) = file.read() else {
            return PersistedState::default();
        };
        match parse(&octets) {
            Ok(kept) => {
                if let Some(prior) = kept.frequency {
                    let frequency = prior.frequency;
                    log::emit(&Event::FrequencyRestored { frequency });
                }
                self.kept = kept;
            }
            Err(problem) => file.set_aside(&problem),
        }
        self.kept
    }

    /// Saves what is new, on another thread. Skipped if the previous write is still in progress.
    pub(crate) fn save(&mut self, new: PersistedState) {
        let Some(file) = &self.file else {
            return;
        };
        self.kept = PersistedState {
            frequency: new.frequency.or(self.kept.frequency),
            // A stored time remains past, even if the clock went back.
            time_floor: if new.replaces_floor {
                new.time_floor
            } else {
                new.time_floor.max(self.kept.time_floor)
            },
            replaces_floor: false,
        };
        let busy = |writer: &JoinHandle<()>| !writer.is_finished();
        if self.writer.as_ref().is_some_and(busy) {
            return;
        }
        let (file, text) = (Arc::clone(file), render(self.kept));
        let write = move || {
            if let Some(directory) = file.path().parent() {
                // An error here shows when the file cannot be written.
                let _ = fs::create_dir_all(directory);
            }
            file.write(text.as_bytes());
        };
        self.writer = sandbox::spawn("state writer", Profile::Files, write).ok();
    }

    /// Removes the saved time from the file and waits until that is done. Returns whether it was.
    pub(crate) fn forget_time(&mut self) -> bool {
        self.finish();
        self.save(PersistedState {
            replaces_floor: true,
            ..PersistedState::default()
        });
        self.finish();
        let Some(file) = &self.file else {
            return true;
        };
        let octets = file.read();
        let kept = octets.and_then(|octets| parse(&octets).ok());
        kept.is_none_or(|kept| kept.time_floor.is_none())
    }

    /// Waits for the last write to finish, within [`join::LIMIT`].
    pub(crate) fn finish(&mut self) {
        join::join_last(self.writer.take());
    }
}

fn render(kept: PersistedState) -> String {
    let mut text = format!("# Written by ntp-daemon; read at its start.\nversion = {VERSION}\n");
    if let Some(prior) = kept.frequency {
        text.push_str(&format!(
            "# How fast the machine's oscillator runs by itself, and how well that is known.\n\
             frequency-ppm = {:.6}\n\
             uncertainty-ppm = {:.6}\n",
            prior.frequency.as_ppm(),
            prior.uncertainty.as_ppm()
        ));
    }
    if let Some(past) = kept.time_floor {
        let seconds = past.as_nanos().div_euclid(1_000_000_000);
        text.push_str(&format!(
            "# It is later than this ({}): seconds since 1970, UTC.\n\
             past-time = {seconds}\n",
            SystemTime::from_nanos(seconds.saturating_mul(1_000_000_000))
        ));
    }
    text
}

fn parse(octets: &[u8]) -> Result<PersistedState, String> {
    let text = str::from_utf8(octets).map_err(|_| "it is not text".to_owned())?;
    let table: toml::Table = text
        .parse()
        .map_err(|error: toml::de::Error| error.message().to_owned())?;
    match table.get("version").and_then(toml::Value::as_integer) {
        Some(VERSION) => {}
        Some(newer) if newer > VERSION => {
            return Err(format!(
                "it is of version {newer}, which a newer ntp-daemon wrote"
            ));
        }
        _ => return Err(format!("it has no `version = {VERSION}`")),
    }
    Ok(PersistedState {
        frequency: frequency(&table)?,
        time_floor: past(&table)?,
        replaces_floor: false,
    })
}

fn frequency(table: &toml::Table) -> Result<Option<FrequencyPrior>, String> {
    let keys = ["frequency-ppm", "uncertainty-ppm"];
    if keys.iter().all(|key| table.get(*key).is_none()) {
        return Ok(None);
    }
    let number = |key: &str| match table.get(key).and_then(toml::Value::as_float) {
        Some(value) if value.is_finite() => Ok(value),
        _ => Err(format!("it has no number `{key}`")),
    };
    let (frequency, uncertainty) = (number(keys[0])?, number(keys[1])?);
    if frequency.abs() > CREDIBLE_PPM || !(0.0..=CREDIBLE_PPM).contains(&uncertainty) {
        return Err("its frequency is not credible".into());
    }
    Ok(Some(FrequencyPrior {
        frequency: Frequency::from_ppm(frequency),
        uncertainty: Frequency::from_ppm(uncertainty),
    }))
}

fn past(table: &toml::Table) -> Result<Option<SystemTime>, String> {
    let Some(value) = table.get("past-time") else {
        return Ok(None);
    };
    match value.as_integer() {
        Some(seconds) if CREDIBLE_TIME.contains(&seconds) => {
            Ok(Some(SystemTime::from_nanos(seconds * 1_000_000_000)))
        }
        _ => Err("its time is not credible".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEPT: PersistedState = PersistedState {
        frequency: None,
        time_floor: Some(SystemTime::from_nanos(1_795_000_000_000_000_000)),
        replaces_floor: false,
    };

    fn prior(ppm: f64) -> FrequencyPrior {
        FrequencyPrior {
            frequency: Frequency::from_ppm(ppm),
            uncertainty: Frequency::from_ppm(0.02),
        }
    }

    fn store(directory: &tempfile::TempDir) -> Store {
        Store::new(Some(directory.path().to_owned()))
    }

    #[test]
    fn saved_state_is_loaded_and_merged() {
        let directory = tempfile::tempdir().unwrap();
        let mut first = store(&directory);
        assert_eq!(first.load(), PersistedState::default());
        // At first only the time is known.
        first.save(KEPT);
        first.finish();
        let mut second = store(&directory);
        assert_eq!(second.load(), KEPT);
        second.save(PersistedState {
            frequency: Some(prior(-12.345_678)),
            ..PersistedState::default()
        });
        second.finish();
        let mut third = store(&directory);
        let loaded = third.load();
        assert_eq!(loaded.time_floor, KEPT.time_floor);
        assert!((loaded.frequency.unwrap().frequency.as_ppm() + 12.345_678).abs() < 1e-6);
        // A clock that went back does not lower the stored time.
        let earlier = Some(SystemTime::from_nanos(1_700_000_000_000_000_000));
        third.save(PersistedState {
            time_floor: earlier,
            ..PersistedState::default()
        });
        third.finish();
        assert_eq!(store(&directory).load(), loaded);
        // Sources that have contradicted it do, and an operator removes it.
        third.save(PersistedState {
            time_floor: earlier,
            replaces_floor: true,
            ..PersistedState::default()
        });
        third.finish();
        let replaced = store(&directory).load();
        assert_eq!(replaced.time_floor, earlier);
        assert_eq!(replaced.frequency, loaded.frequency);
        assert!(third.forget_time());
        let forgotten = store(&directory).load();
        assert_eq!(forgotten.time_floor, None);
        assert_eq!(forgotten.frequency, loaded.frequency);
    }

    #[test]
    fn an_invalid_file_is_set_aside() {
        for damage in [
            b"".as_slice(),
            b"\xff\xfe",
            b"version = 0",
            b"version = 1\nfrequency-ppm = nan\nuncertainty-ppm = 1.0",
            b"version = 1\nfrequency-ppm = 1.0",
            b"\0\0\0",
            b"version = 1\nfrequency-ppm = 1e9\nuncertainty-ppm = 1.0",
            b"version = 1\npast-time = -1",
            b"version = 1\npast-time = 9223372036854775807",
            b"version = 1\npast-time = 8835984000",
            b"version = 1\npast-time = \"yesterday\"",
        ] {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join(FILE);
            fs::write(&path, damage).unwrap();
            assert_eq!(
                store(&directory).load(),
                PersistedState::default(),
                "{damage:?}"
            );
            assert!(!path.exists(), "{damage:?}");
            assert_eq!(
                fs::read(directory.path().join("clock.toml.damaged")).unwrap(),
                damage
            );
        }
    }

    #[test]
    fn a_file_of_a_newer_version_is_reported_as_such() {
        let problem = parse(b"version = 2\nnobody = \"knows\"").unwrap_err();
        assert!(problem.contains("newer"), "{problem}");
        // Additional keys need no new version.
        assert_eq!(
            parse(b"version = 1\nnobody = \"knows\""),
            Ok(PersistedState::default())
        );
    }
}
