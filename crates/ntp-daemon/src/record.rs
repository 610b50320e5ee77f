//! Writes the record (`record-path`), off the timekeeping thread.
//!
//! The main loop passes lines through a bounded queue and never waits. Lines that do not fit are
//! counted, and the count is written in their place. A thread of its own encodes and writes the
//! lines.
//!
//! # Size
//! A file that has grown to [`FILE_SIZE`] is renamed to `NAME.1`, `NAME.1` to `NAME.2` and so on.
//! There are at most [`FILES`] files, 64 MiB in all: some ten days of a client with four servers.
//! Each run of the daemon begins a new file. Each file begins with the configuration in force and
//! the existing associations, so that it is usable without the earlier ones. Files are readable by
//! the daemon's user only.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use ntp_proto::engine::{Engine, EngineConfig, Input, Now, Output};
use ntp_record::{Line, RecordedInput, Redactor, Start, TraceWriter};
use ntp_time::Adjustment;
use ntp_types::event::Event;

use crate::log;
use crate::sandbox::{self, Profile};

/// Size in bytes after which a new file is begun.
const FILE_SIZE: u64 = 16 << 20;
/// Number of files, including the current one.
const FILES: usize = 4;
/// Capacity of the queue in lines.
const QUEUE: usize = 4096;

/// An entry of the queue to the writer.
#[derive(Debug)]
enum QueueEntry {
    /// A line to write.
    Line(Line),
    /// The configuration in force, with which a later file begins.
    InForce(Box<EngineConfig>),
}

/// The main loop's side of the record.
#[derive(Debug)]
pub struct Recorder {
    path: PathBuf,
    trace_writer: TraceWriter,
    queue: Option<SyncSender<QueueEntry>>,
    /// The queue's other end before [`start`](Self::start).
    receiver: Option<Receiver<QueueEntry>>,
    writer: Option<JoinHandle<()>>,
    dropped: u64,
}

impl Recorder {
    /// Prepares a record at `path`. Lines may be passed at once.
    pub fn new(path: &Path) -> Self {
        let (queue, receiver) = sync_channel(QUEUE);
        Self {
            path: path.to_owned(),
            trace_writer: TraceWriter::default(),
            queue: Some(queue),
            receiver: Some(receiver),
            writer: None,
            dropped: 0,
        }
    }

    /// Starts the writing thread. Call it when the process has its final privileges.
    ///
    /// # Errors
    /// If the file cannot be opened or no thread can be started; nothing is recorded then.
    pub(crate) fn start(&mut self) -> io::Result<()> {
        let Some(queue) = self.receiver.take() else {
            return Ok(());
        };
        let mut files = Files::open(&self.path, FILE_SIZE)?;
        let writer = sandbox::spawn("record", Profile::Files, move || {
            if let Err(problem) = files.write_all(&queue) {
                log::emit(&Event::RecordFailed {
                    path: files.path.display().to_string(),
                    error: problem.to_string(),
                });
            }
        })?;
        self.writer = Some(writer);
        log::emit(&Event::RecordStarted {
            path: self.path.display().to_string(),
        });
        Ok(())
    }

    /// Returns the path of the record.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Records the start of an engine.
    pub(crate) fn begin(&mut self, config: &EngineConfig, now: Now) {
        let (trace_writer, line) = TraceWriter::start(config, now);
        self.trace_writer = trace_writer;
        self.enqueue(QueueEntry::Line(line));
    }

    /// Records an input that the engine has handled. `wanted` is the adjustment that it reports on.
    pub(crate) fn record_input(
        &mut self,
        engine: &mut Engine,
        now: Now,
        input: &Input<'_>,
        wanted: Option<&Adjustment>,
    ) {
        let line = self.trace_writer.input(engine, now, input, wanted);
        self.enqueue(QueueEntry::Line(line));
    }

    /// Records an output of the engine.
    pub(crate) fn record_output(&mut self, engine: &Engine, output: &Output) {
        for line in self.trace_writer.output(output).collect::<Vec<_>>() {
            self.enqueue(QueueEntry::Line(line));
        }
        // A command changed the configuration, or the frequency was learnt.
        if matches!(output, Output::Completed(..) | Output::Persist(_)) {
            self.enqueue(QueueEntry::InForce(Box::new(engine.config())));
        }
    }

    /// Puts an entry into the queue, or counts it as dropped.
    fn enqueue(&mut self, entry: QueueEntry) {
        let Some(queue) = &self.queue else { return };
        if self.dropped > 0 {
            match queue.try_send(QueueEntry::Line(Line::Dropped(self.dropped))) {
                Ok(()) => {
                    log::emit(&Event::RecordIncomplete {
                        path: self.path.display().to_string(),
                        lines: self.dropped,
                    });
                    self.dropped = 0;
                }
                Err(_) => {
                    self.dropped += 1;
                    return;
                }
            }
        }
        match queue.try_send(entry) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => self.dropped += 1,
            // The writer has logged why it ended.
            Err(TrySendError::Disconnected(_)) => self.queue = None,
        }
    }
}

impl Drop for Recorder {
    /// Waits until the queue is written.
    fn drop(&mut self) {
        self.queue = None;
        if let Some(writer) = self.writer.take() {
            // The writer has logged its problem.
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
    /// What the next file begins with, once an engine has started.
    start: Option<Box<Start>>,
    redactor: Redactor,
}

impl Files {
    fn open(path: &Path, limit: u64) -> io::Result<Self> {
        if fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() > 0) {
            rotate(path);
        }
        Ok(Self {
            path: path.to_owned(),
            file: BufWriter::new(create(path)?),
            size: 0,
            limit,
            start: None,
            redactor: Redactor::default(),
        })
    }

    fn write_all(&mut self, queue: &Receiver<QueueEntry>) -> io::Result<()> {
        while let Ok(entry) = queue.recv() {
            self.process(entry)?;
            // Writes everything in the queue, then makes it visible.
            for entry in queue.try_iter().take(QUEUE) {
                self.process(entry)?;
            }
            self.file.flush()?;
        }
        Ok(())
    }

    fn process(&mut self, entry: QueueEntry) -> io::Result<()> {
        match entry {
            QueueEntry::Line(line) => self.write(&line),
            QueueEntry::InForce(config) => {
                if let Some(start) = &mut self.start {
                    // The clock's frequency is updated with each adjustment.
                    let clock = start.config.clock;
                    start.config = EngineConfig { clock, ..*config };
                }
                Ok(())
            }
        }
    }

    fn write(&mut self, line: &Line) -> io::Result<()> {
        match (line, &mut self.start) {
            (Line::Start(start), _) => self.start = Some(start.clone()),
            (Line::Association(member), Some(start)) => start.associations.push(member.clone()),
            (Line::Removed(id), Some(start)) => {
                start.associations.retain(|member| member.id != *id);
            }
            (
                Line::Input {
                    input,
                    monotonic,
                    system,
                    ..
                },
                Some(start),
            ) => {
                // A later file begins between two inputs, not between an input and the reply to its
                // output.
                let between = !matches!(input, RecordedInput::Applied { .. });
                if let RecordedInput::Applied { applied, .. } = input {
                    start.config.clock.frequency = applied.frequency;
                }
                (start.monotonic, start.system) = (*monotonic, *system);
                if self.size > self.limit && between {
                    start.part = start.part.saturating_add(1);
                    let line = Line::Start(start.clone());
                    self.file.flush()?;
                    rotate(&self.path);
                    self.file = BufWriter::new(create(&self.path)?);
                    self.size = 0;
                    self.append(&line)?;
                }
            }
            _ => {}
        }
        self.append(line)
    }

    fn append(&mut self, line: &Line) -> io::Result<()> {
        let mut text = line.encode(&mut self.redactor);
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

/// Renames each file to the next number. A file that cannot be renamed is overwritten later, and
/// the size limit still holds.
fn rotate(path: &Path) {
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
    use ntp_proto::engine::{RngTrace, SourceId};
    use ntp_time::{Monotonic, SystemTime};
    use ntp_types::source::SourceName;

    use super::*;

    fn tick(number: i64) -> Line {
        Line::Input {
            monotonic: Monotonic::from_nanos(number),
            system: SystemTime::from_nanos(number),
            input: RecordedInput::Tick,
            rng_trace: RngTrace::default(),
        }
    }

    fn configuration() -> EngineConfig {
        let clock = ntp_os_clock::Clock::new_virtual(
            ntp_time::NtpDuration::ZERO,
            ntp_time::Frequency::ZERO,
        );
        crate::convert::engine_config(
            &ntp_config::Config::default(),
            &ntp_proto::keys::KeyRing::default(),
            None,
            crate::convert::clock_facts(&clock).unwrap(),
        )
    }

    fn member(id: u32) -> Line {
        Line::Association(SourceName {
            id: SourceId(id),
            name: "a".to_owned(),
            address: "192.0.2.1:123".parse().unwrap(),
        })
    }

    #[test]
    fn each_file_of_a_record_is_bounded_and_begins_with_the_configuration_in_force() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("record");
        fs::write(&path, "of an earlier run").unwrap();
        let mut files = Files::open(&path, 4000).unwrap();
        let now = Now {
            monotonic: Monotonic::from_nanos(0),
            system: SystemTime::from_nanos(0),
        };
        let (_, start) = TraceWriter::start(&configuration(), now);
        files.write(&start).unwrap();
        for line in [member(0), member(1), Line::Removed(SourceId(0))] {
            files.write(&line).unwrap();
        }
        let changed = EngineConfig {
            warn_on_jump: false,
            ..configuration()
        };
        files
            .process(QueueEntry::InForce(Box::new(changed)))
            .unwrap();
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
        let mut after: Option<Start> = None;
        for name in names {
            let text = fs::read_to_string(&name).unwrap();
            assert!(text.len() < 6000, "{}", text.len());
            let Ok(Line::Start(start)) = Line::decode(text.lines().next().unwrap()) else {
                panic!("{name:?} begins otherwise");
            };
            assert!(start.part > 0 && !start.config.warn_on_jump, "{name:?}");
            assert_eq!(start.associations.len(), 1);
            assert!(after.is_none_or(|after| after.continues(&start)));
            after = Some(*start);
        }
    }
}
