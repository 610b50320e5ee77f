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
//!
//! # Errors
//! A disk that is full or a directory that is missing need not stay so. What cannot be written is
//! counted, and every [`RETRY_INTERVAL`] a new file is begun, which says how much is missing.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use ntp_os_clock::monotonic;
use ntp_proto::engine::{Engine, EngineConfig, Input, Now, Output};
use ntp_record::{Line, RecordedInput, Redactor, Start, TraceWriter};
use ntp_time::{Adjustment, Monotonic, NtpDuration};
use ntp_types::event::Event;

use crate::sandbox::{self, Profile};
use crate::{join, log};

/// Size in bytes after which a new file is begun.
const FILE_SIZE: u64 = 16 << 20;
/// Number of files, including the current one.
const FILES: usize = 4;
/// Time between two attempts to write after a failure. Somebody has to make room, which takes
/// minutes; an attempt costs little.
const RETRY_INTERVAL: NtpDuration = NtpDuration::from_seconds(60);
/// Capacity of the queue in lines.
const QUEUE: usize = 4096;
/// Permissions of the files: a record names servers and clients.
const MODE: u32 = 0o600;

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
    /// If no thread can be started; nothing is recorded then.
    pub(crate) fn start(&mut self) -> io::Result<()> {
        let Some(queue) = self.receiver.take() else {
            return Ok(());
        };
        let path = self.path.clone();
        let write = move || Files::open(&path, FILE_SIZE).write_all(&queue);
        self.writer = Some(sandbox::spawn("record", Profile::Files, write)?);
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
            // The writer has ended, which it does only if it panics.
            Err(TrySendError::Disconnected(_)) => self.queue = None,
        }
    }
}

impl Drop for Recorder {
    /// Waits until the queue is written, within the time limit of joining a thread. The writer has logged its problem.
    fn drop(&mut self) {
        self.queue = None;
        join::join_last(self.writer.take());
    }
}

/// The writer's side of the record.
#[derive(Debug)]
struct Files {
    path: PathBuf,
    /// The current file; `None` while it cannot be written.
    file: Option<BufWriter<File>>,
    size: u64,
    limit: u64,
    /// What the next file begins with, once an engine has started.
    start: Option<Box<Start>>,
    redactor: Redactor,
    /// Number of lines that are missing because they could not be written.
    missing: u64,
    /// Time of the next attempt to write, after a failure.
    retry: Monotonic,
    /// Whether what is at `path` has no line worth keeping.
    worthless: bool,
}

impl Files {
    /// Begins a file. If that fails, it is logged and tried again later.
    fn open(path: &Path, limit: u64) -> Self {
        let earlier = fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() > 0);
        let mut files = Self {
            path: path.to_owned(),
            file: None,
            size: 0,
            limit,
            start: None,
            redactor: Redactor::default(),
            missing: 0,
            retry: Monotonic::default(),
            worthless: !earlier,
        };
        match files.begin() {
            Ok(()) => files.log_started(),
            Err(error) => files.fail(&error, 0),
        }
        files
    }

    /// Writes until the other end of the queue is dropped.
    fn write_all(&mut self, queue: &Receiver<QueueEntry>) {
        while let Ok(entry) = queue.recv() {
            self.process(entry);
            // Writes everything in the queue, then makes it visible.
            for entry in queue.try_iter().take(QUEUE) {
                self.process(entry);
            }
            let flushed = self.file.as_mut().map_or(Ok(()), BufWriter::flush);
            if let Err(error) = flushed {
                // At least one of the lines that were buffered.
                self.fail(&error, 1);
            }
        }
    }

    fn process(&mut self, entry: QueueEntry) {
        match entry {
            QueueEntry::Line(line) => {
                let begins_file = self.follow(&line);
                if self.file.is_none() {
                    self.missing += 1;
                    if begins_file && self.retry <= monotonic() {
                        self.resume();
                    }
                } else if let Err(error) = self.write(&line, begins_file) {
                    self.fail(&error, 1);
                }
            }
            QueueEntry::InForce(config) => {
                if let Some(start) = &mut self.start {
                    // The clock's frequency is updated with each adjustment.
                    let clock = start.config.clock;
                    start.config = EngineConfig { clock, ..*config };
                }
            }
        }
    }

    /// Follows the state that a file begins with. Returns whether a new file may begin before this
    /// line: between two inputs, and not between an input and the reply to its output.
    fn follow(&mut self, line: &Line) -> bool {
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
                if let RecordedInput::Applied { applied, .. } = input {
                    start.config.clock.frequency = applied.frequency;
                }
                (start.monotonic, start.system) = (*monotonic, *system);
                return !matches!(input, RecordedInput::Applied { .. });
            }
            _ => {}
        }
        false
    }

    fn write(&mut self, line: &Line, begins_file: bool) -> io::Result<()> {
        if begins_file && self.size > self.limit {
            self.file.as_mut().map_or(Ok(()), BufWriter::flush)?;
            self.begin()?;
        }
        self.append(line)
    }

    /// Begins a new file, with what is in force.
    fn begin(&mut self) -> io::Result<()> {
        if !core::mem::replace(&mut self.worthless, true) {
            rotate(&self.path);
        }
        self.file = Some(BufWriter::new(ntp_files::create(&self.path, MODE)?));
        self.size = 0;
        if let Some(start) = &mut self.start {
            start.part = start.part.saturating_add(1);
            let line = Line::Start(start.clone());
            self.append(&line)?;
        }
        Ok(())
    }

    /// Begins a new file after a failure, and says what is missing.
    fn resume(&mut self) {
        let resumed = self.begin().and_then(|()| {
            self.append(&Line::Dropped(self.missing))?;
            self.file.as_mut().map_or(Ok(()), BufWriter::flush)
        });
        match resumed {
            Ok(()) => {
                self.log_started();
                log::emit(&Event::RecordIncomplete {
                    path: self.path.display().to_string(),
                    lines: core::mem::take(&mut self.missing),
                });
            }
            Err(error) => {
                self.worthless = true;
                self.fail(&error, 0);
            }
        }
    }

    /// Stops writing for [`RETRY_INTERVAL`], with `lost` more missing lines; logs the first of
    /// several failures.
    fn fail(&mut self, error: &io::Error, lost: u64) {
        if self.missing == 0 {
            log::emit(&Event::RecordFailed {
                path: self.path.display().to_string(),
                error: error.to_string(),
            });
        }
        self.missing += lost;
        self.retry = monotonic() + RETRY_INTERVAL;
        if let Some(file) = self.file.take() {
            // Without another attempt to write what is buffered.
            let _ = file.into_parts();
        }
    }

    fn log_started(&self) {
        log::emit(&Event::RecordStarted {
            path: self.path.display().to_string(),
        });
    }

    fn append(&mut self, line: &Line) -> io::Result<()> {
        let mut text = line.encode(&mut self.redactor);
        text.push('\n');
        self.size += text.len() as u64;
        let file = self.file.as_mut();
        file.map_or(Ok(()), |file| file.write_all(text.as_bytes()))?;
        self.worthless = false;
        Ok(())
    }
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
    use ntp_time::SystemTime;
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
        let mut files = Files::open(&path, 4000);
        let now = Now {
            monotonic: Monotonic::from_nanos(0),
            system: SystemTime::from_nanos(0),
        };
        let (_, start) = TraceWriter::start(&configuration(), now);
        files.process(QueueEntry::Line(start));
        for line in [member(0), member(1), Line::Removed(SourceId(0))] {
            files.process(QueueEntry::Line(line));
        }
        let changed = EngineConfig {
            warn_on_jump: false,
            ..configuration()
        };
        files.process(QueueEntry::InForce(Box::new(changed)));
        for number in 0..1000 {
            files.process(QueueEntry::Line(tick(number)));
        }
        files.file.as_mut().unwrap().flush().unwrap();
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

    /// Lines of a file.
    fn lines(path: &Path) -> Vec<Line> {
        let text = fs::read_to_string(path).unwrap();
        text.lines()
            .map(|line| Line::decode(line).unwrap())
            .collect()
    }

    #[test]
    fn a_record_goes_on_when_the_disk_has_room_again_and_says_what_is_missing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("record");
        let now = Now {
            monotonic: Monotonic::from_nanos(0),
            system: SystemTime::from_nanos(0),
        };
        let (_, start) = TraceWriter::start(&configuration(), now);
        let mut files = Files::open(&path, 1 << 20);
        files.process(QueueEntry::Line(start));
        files.process(QueueEntry::Line(tick(1)));
        files.file.as_mut().unwrap().flush().unwrap();
        // A disk without room, which the tests of a machine rarely have.
        let full = File::options().write(true).open("/dev/full").unwrap();
        files.file = Some(BufWriter::with_capacity(1, full));
        files.process(QueueEntry::Line(tick(2)));
        assert!(files.file.is_none() && files.retry > monotonic());
        files.process(QueueEntry::Line(tick(3)));
        // The next attempt fails as well, because somebody has put something else there.
        fs::rename(&path, directory.path().join("kept")).unwrap();
        fs::create_dir(&path).unwrap();
        files.worthless = true;
        files.retry = Monotonic::default();
        files.process(QueueEntry::Line(tick(4)));
        assert!(files.file.is_none());
        fs::remove_dir(&path).unwrap();
        fs::rename(directory.path().join("kept"), &path).unwrap();
        files.worthless = false;
        files.retry = Monotonic::default();
        files.process(QueueEntry::Line(tick(5)));
        files.process(QueueEntry::Line(tick(6)));
        files.file.as_mut().unwrap().flush().unwrap();

        let before = lines(&directory.path().join("record.1"));
        assert!(matches!(before[..], [Line::Start(_), Line::Input { .. }]));
        let after = lines(&path);
        let [
            Line::Start(start),
            Line::Dropped(missing),
            Line::Input { .. },
        ] = &after[..]
        else {
            panic!("{after:?}");
        };
        assert_eq!((start.part, *missing), (1, 4));
    }

    #[test]
    fn a_record_begins_when_its_directory_exists() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("later/record");
        let now = Now {
            monotonic: Monotonic::from_nanos(0),
            system: SystemTime::from_nanos(0),
        };
        let (_, start) = TraceWriter::start(&configuration(), now);
        let mut files = Files::open(&path, 1 << 20);
        files.process(QueueEntry::Line(start));
        fs::create_dir(directory.path().join("later")).unwrap();
        files.retry = Monotonic::default();
        files.process(QueueEntry::Line(tick(1)));
        files.file.as_mut().unwrap().flush().unwrap();
        assert!(matches!(
            lines(&path)[..],
            [Line::Start(_), Line::Dropped(_)]
        ));
    }
}
