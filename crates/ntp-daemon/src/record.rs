//! Writing the record (`record-path`), off the timekeeping thread.
//!
//! The main loop hands lines over through a bounded queue and never waits: what does not fit is counted, and the count is
//! written where the lines are missing. A thread of its own turns them into text and writes that.
//!
//! # Size
//! A file that has grown to [`FILE_SIZE`] is renamed to `NAME.1`, `NAME.1` to `NAME.2` and so on; there are at most [`FILES`], 64 MiB in all: some ten days of a
//! client with four servers. Each run of the daemon begins a new file, and each file begins with the configuration. Files belong to the daemon's user alone.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use ntp_proto::engine::EngineConfig;
use ntp_record::{Line, Told};
use tracing::{info, warn};

use crate::sandbox::{self, Profile};

/// Octets after which a new file is begun.
const FILE_SIZE: u64 = 16 << 20;
/// Files kept, the present one included.
const FILES: usize = 4;
/// Lines that may wait for the disk.
const QUEUE: usize = 4096;

/// The main loop's end of the record.
#[derive(Debug)]
pub struct Recorder {
    path: PathBuf,
    lines: Option<SyncSender<Line>>,
    /// What was handed over before [`start`](Self::start).
    waiting: Option<Receiver<Line>>,
    writer: Option<JoinHandle<()>>,
    dropped: u64,
}

impl Recorder {
    /// A record to be written at `path`. Lines may be handed over at once.
    pub fn new(path: &Path) -> Self {
        let (lines, waiting) = sync_channel(QUEUE);
        Self {
            path: path.to_owned(),
            lines: Some(lines),
            waiting: Some(waiting),
            writer: None,
            dropped: 0,
        }
    }

    /// Begins to write, on a thread of its own: to be called when the process has the rights that it will keep.
    ///
    /// # Errors
    /// If there can be no file or no thread; nothing is recorded then.
    pub(crate) fn start(&mut self) -> io::Result<()> {
        let Some(queue) = self.waiting.take() else {
            return Ok(());
        };
        let mut files = Files::open(&self.path, FILE_SIZE)?;
        let writer = sandbox::spawn("record", Profile::Files, move || {
            if let Err(problem) = files.write_all(&queue) {
                warn!(
                    "cannot write the record {}: {problem}; nothing more is recorded",
                    files.path.display()
                );
            }
        })?;
        self.writer = Some(writer);
        info!("recording to {}", self.path.display());
        Ok(())
    }

    /// Where it is written.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Hands a line over, or counts it.
    pub(crate) fn note(&mut self, line: Line) {
        let Some(lines) = &self.lines else { return };
        if self.dropped > 0 {
            match lines.try_send(Line::Dropped(self.dropped)) {
                Ok(()) => {
                    warn!(
                        "the record misses {} lines: the disk was too slow",
                        self.dropped
                    );
                    self.dropped = 0;
                }
                Err(_) => {
                    self.dropped += 1;
                    return;
                }
            }
        }
        match lines.try_send(line) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => self.dropped += 1,
            // The writer has said why it ended.
            Err(TrySendError::Disconnected(_)) => self.lines = None,
        }
    }
}

impl Drop for Recorder {
    /// Waits until what was handed over is written.
    fn drop(&mut self) {
        self.lines = None;
        if let Some(writer) = self.writer.take() {
            // It has said what was wrong.
            let _ = writer.join();
        }
    }
}

#[derive(Debug)]
struct Files {
    path: PathBuf,
    file: BufWriter<File>,
    size: u64,
    limit: u64,
    version: String,
    /// What a later file has to begin with.
    config: Option<Box<EngineConfig>>,
    protected: bool,
}

impl Files {
    fn open(path: &Path, limit: u64) -> io::Result<Self> {
        if fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() > 0) {
            make_room(path);
        }
        Ok(Self {
            path: path.to_owned(),
            file: BufWriter::new(create(path)?),
            size: 0,
            limit,
            version: String::new(),
            config: None,
            protected: false,
        })
    }

    fn write_all(&mut self, queue: &Receiver<Line>) -> io::Result<()> {
        while let Ok(line) = queue.recv() {
            self.write(&line)?;
            // Whatever waits goes with it; then everything can be seen.
            for line in queue.try_iter().take(QUEUE) {
                self.write(&line)?;
            }
            self.file.flush()?;
        }
        Ok(())
    }

    fn write(&mut self, line: &Line) -> io::Result<()> {
        match line {
            Line::Start {
                config,
                version,
                protected,
                ..
            } => {
                self.protected = *protected;
                self.config = Some(config.clone());
                self.version.clone_from(version);
            }
            Line::Told {
                told,
                monotonic,
                system,
                ..
            } => {
                match (told, &mut self.config) {
                    (Told::Config(new), config) => *config = Some(new.clone()),
                    (Told::Applied(applied, ..), Some(config)) => {
                        config.clock.frequency = applied.frequency;
                    }
                    _ => {}
                }
                if self.size > self.limit
                    && let Some(config) = self.config.clone()
                {
                    self.file.flush()?;
                    make_room(&self.path);
                    self.file = BufWriter::new(create(&self.path)?);
                    self.size = 0;
                    let start = Line::Start {
                        protected: self.protected,
                        config,
                        monotonic: *monotonic,
                        system: *system,
                        midway: true,
                        version: self.version.clone(),
                    };
                    self.put(&start)?;
                }
            }
            _ => {}
        }
        self.put(line)
    }

    fn put(&mut self, line: &Line) -> io::Result<()> {
        let mut text = line.encode();
        text.push('\n');
        self.size += text.len() as u64;
        self.file.write_all(text.as_bytes())
    }
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
}

/// Renames each file to the next number. What cannot be renamed is overwritten later, and the bound holds all the same.
fn make_room(path: &Path) {
    let numbered = |number: usize| {
        let mut name = path.as_os_str().to_owned();
        if number > 0 {
            name.push(format!(".{number}"));
        }
        PathBuf::from(name)
    };
    for number in (0..FILES - 1).rev() {
        let _ = fs::rename(numbered(number), numbered(number + 1));
    }
}

#[cfg(test)]
mod tests {
    use ntp_proto::engine::{Drawn, Now};
    use ntp_time::{Monotonic, SystemTime};

    use super::*;

    fn tick(number: i64) -> Line {
        let now = Now {
            monotonic: Monotonic::from_nanos(number),
            system: SystemTime::from_nanos(number),
        };
        Line::told(now, Told::Tick, Drawn::default())
    }

    #[test]
    fn a_record_stays_within_its_files_and_each_begins_with_the_configuration() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("record");
        fs::write(&path, "of an earlier run").unwrap();
        let mut files = Files::open(&path, 4000).unwrap();
        let start = Line::Start {
            protected: false,
            config: Box::new(crate::convert::engine_config(
                &ntp_config::Config::default(),
                &ntp_proto::keys::KeyRing::default(),
                None,
                crate::convert::clock_facts(&ntp_os_clock::Clock::new_virtual(
                    ntp_time::NtpDuration::ZERO,
                    ntp_time::Frequency::ZERO,
                ))
                .unwrap(),
            )),
            monotonic: Monotonic::from_nanos(0),
            system: SystemTime::from_nanos(0),
            midway: false,
            version: "1".to_owned(),
        };
        files.write(&start).unwrap();
        for number in 0..1000 {
            files.write(&tick(number)).unwrap();
        }
        files.file.flush().unwrap();
        let mut names: Vec<_> = fs::read_dir(directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        names.sort();
        assert_eq!(names.len(), FILES);
        for name in names {
            let text = fs::read_to_string(&name).unwrap();
            assert!(text.len() < 6000, "{}", text.len());
            let first = Line::decode(text.lines().next().unwrap()).unwrap();
            assert!(
                matches!(first, Line::Start { midway: true, .. }),
                "{name:?}"
            );
        }
    }
}
