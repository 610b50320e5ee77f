//! What is kept over a restart: the oscillator's frequency.
//!
//! The file is small, human-readable TOML in the state directory. It is written to a temporary name, synced and renamed,
//! so that at every moment either the old or the new one is there in full. Writing is done by a short-lived thread: a disk
//! may take seconds, timekeeping has none to spare. A file that cannot be understood is reported, set aside
//! under another name and started anew; it never stops the daemon.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use ntp_proto::discipline::FrequencyPrior;
use ntp_time::{Frequency, SystemTime};
use tracing::{info, warn};

use crate::sandbox::{self, Profile};

/// File name within the state directory.
const FILE: &str = "clock.toml";

/// No oscillator in a computer is off by more; a file that says so is damaged.
const CREDIBLE_PPM: f64 = 100_000.0;

/// The state directory, or nothing if saving is switched off.
#[derive(Debug)]
pub struct Store {
    directory: Option<PathBuf>,
    writer: Option<JoinHandle<()>>,
    /// Whether the last write failed, and that has been told.
    failing: Arc<AtomicBool>,
}

impl Store {
    /// Nothing is read or written before it is asked for.
    pub fn new(directory: Option<PathBuf>) -> Self {
        Self {
            directory,
            writer: None,
            failing: Arc::default(),
        }
    }

    /// The file that is written, if any.
    pub(crate) fn path(&self) -> Option<PathBuf> {
        self.directory
            .as_ref()
            .map(|directory| directory.join(FILE))
    }

    /// What the run before learned, if it left anything.
    pub fn load(&self) -> Option<FrequencyPrior> {
        let path = self.directory.as_ref()?.join(FILE);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                warn!(
                    "cannot read {}: {error}; starting without a known frequency",
                    path.display()
                );
                return None;
            }
        };
        match parse(&bytes) {
            Ok(prior) => {
                info!("frequency {} known from an earlier run", prior.frequency);
                Some(prior)
            }
            Err(problem) => {
                set_aside(&path, &problem);
                None
            }
        }
    }

    /// When an earlier run last saved something: the true time is not before.
    pub(crate) fn last_saved(&self) -> Option<SystemTime> {
        let path = self.directory.as_ref()?.join(FILE);
        let saved = fs::metadata(path).ok()?.modified().ok()?;
        let since = saved.duration_since(std::time::UNIX_EPOCH).ok()?;
        i64::try_from(since.as_nanos())
            .ok()
            .map(SystemTime::from_nanos)
    }

    /// Saves `prior`, on another thread. If the write before is still going on, this one is left out.
    pub(crate) fn save(&mut self, prior: FrequencyPrior) {
        let Some(directory) = self.directory.clone() else {
            return;
        };
        if self
            .writer
            .as_ref()
            .is_some_and(|writer| !writer.is_finished())
        {
            return;
        }
        let failing = Arc::clone(&self.failing);
        let write = move || match write(&directory, &render(prior)) {
            Ok(()) => failing.store(false, Ordering::Relaxed),
            Err(error) => {
                if !failing.swap(true, Ordering::Relaxed) {
                    warn!(
                        "cannot write {}: {error}; the clock's frequency will not be known after a restart \
                             (see [state] directory)",
                        directory.join(FILE).display()
                    );
                }
            }
        };
        self.writer = sandbox::spawn("state writer", Profile::Files, write).ok();
    }

    /// Waits for the last write.
    pub(crate) fn finish(&mut self) {
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

fn render(prior: FrequencyPrior) -> String {
    format!(
        "# Written by ntp-daemon; read at its start.\n\
         version = 1\n\
         # How fast the machine's oscillator runs by itself, and how well that is known.\n\
         frequency-ppm = {:.6}\n\
         uncertainty-ppm = {:.6}\n",
        prior.frequency.as_ppm(),
        prior.uncertainty.as_ppm()
    )
}

fn parse(bytes: &[u8]) -> Result<FrequencyPrior, String> {
    let text = str::from_utf8(bytes).map_err(|_| "it is not text".to_owned())?;
    let table: toml::Table = text
        .parse()
        .map_err(|error: toml::de::Error| error.message().to_owned())?;
    if table.get("version").and_then(toml::Value::as_integer) != Some(1) {
        return Err("it has no `version = 1`".into());
    }
    let number = |key: &str| match table.get(key).and_then(toml::Value::as_float) {
        Some(value) if value.is_finite() => Ok(value),
        _ => Err(format!("it has no number `{key}`")),
    };
    let (frequency, uncertainty) = (number("frequency-ppm")?, number("uncertainty-ppm")?);
    if frequency.abs() > CREDIBLE_PPM || !(0.0..=CREDIBLE_PPM).contains(&uncertainty) {
        return Err("its frequency is not credible".into());
    }
    Ok(FrequencyPrior {
        frequency: Frequency::from_ppm(frequency),
        uncertainty: Frequency::from_ppm(uncertainty),
    })
}

fn write(directory: &Path, text: &str) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    replace(&directory.join(FILE), text.as_bytes(), 0o644)
}

/// Writes a file so that at every moment either the old or the new one is there in full. The directory must exist; `mode` are the new file's
/// permissions, less what the process's mask takes away.
pub(crate) fn replace(path: &Path, octets: &[u8], mode: u32) -> io::Result<()> {
    let temporary = beside(path, "new");
    // One that a crash left behind may have other permissions.
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&temporary)?;
    file.write_all(octets)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    // The rename itself lives in the directory.
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or_else(|| Path::new(".")))?.sync_all()
}

/// Puts a file that cannot be understood out of the way, and says so.
pub(crate) fn set_aside(path: &Path, problem: &str) {
    let aside = beside(path, "damaged");
    match fs::rename(path, &aside) {
        Ok(()) => warn!(
            "{} is damaged ({problem}); set aside as {}",
            path.display(),
            aside.display()
        ),
        Err(error) => warn!(
            "{} is damaged ({problem}) and cannot be set aside: {error}",
            path.display()
        ),
    }
}

/// `path` with another extension after its own.
fn beside(path: &Path, extension: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(extension);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(name: &str) -> PathBuf {
        let path =
            std::env::temp_dir().join(format!("ntpd-rs-persist-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        path
    }

    #[test]
    fn what_was_saved_is_loaded() {
        let directory = directory("round-trip");
        let prior = FrequencyPrior {
            frequency: Frequency::from_ppm(-12.345_678),
            uncertainty: Frequency::from_ppm(0.02),
        };
        let mut store = Store::new(Some(directory.clone()));
        assert_eq!(store.load(), None);
        store.save(prior);
        store.finish();
        let loaded = store.load().unwrap();
        assert!((loaded.frequency.as_ppm() - prior.frequency.as_ppm()).abs() < 1e-6);
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn a_damaged_file_is_set_aside() {
        for damage in [
            b"".as_slice(),
            b"\xff\xfe",
            b"version = 2",
            b"version = 1\nfrequency-ppm = nan\nuncertainty-ppm = 1.0",
            b"\0\0\0",
            b"version = 1\nfrequency-ppm = 1e9\nuncertainty-ppm = 1.0",
        ] {
            let directory = directory("damaged");
            fs::create_dir_all(&directory).unwrap();
            fs::write(directory.join(FILE), damage).unwrap();
            assert_eq!(
                Store::new(Some(directory.clone())).load(),
                None,
                "{damage:?}"
            );
            assert!(
                !directory.join(FILE).exists() && directory.join("clock.toml.damaged").exists()
            );
            fs::remove_dir_all(directory).unwrap();
        }
    }
}
