//! The files of the history: one a month in `history` in the state directory, lines are appended.
//!
//! Appending cannot be atomic as the replacement of a file is, and replacing a month's file every
//! quarter of an hour would wear out a flash card. Instead, a line counts if it ends: what a loss of
//! power left of a line is cut off before the next one is appended, and readers ignore it.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ntp_files::RegularFile;
use ntp_history::{Chain, Entry};
use ntp_time::{NtpDuration, SystemTime};

/// Directory in the state directory.
pub(crate) const DIRECTORY: &str = "history";

/// Size limit of a month's file in octets: sixty times the usual size. Only a clock that another
/// program sets every few seconds makes so many entries.
const MAX_FILE_SIZE: u64 = 32 << 20;

/// How much of the end of a file is read to continue it, in octets: at first enough for a usual
/// entry, because memory that a read once needed stays with the process; at last more than the
/// longest.
const TAILS: [u64; 4] = [4 << 10, 16 << 10, 64 << 10, 256 << 10];

/// Number of entries that wait while the disk does not answer: a day. The oldest are dropped.
const MAX_WAITING: usize = 96;

/// The files of a history.
#[derive(Debug)]
pub(crate) struct HistoryFiles {
    directory: PathBuf,
    days: usize,
    /// The last line; `None` before the files were read.
    chain: Option<Chain>,
}

/// Entries that wait until they are written. Shared with the thread that writes them, which holds
/// the lock for a moment only, whatever the disk does.
#[derive(Clone, Debug, Default)]
pub(crate) struct WaitingEntries(Arc<Mutex<VecDeque<Entry>>>);

impl WaitingEntries {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an entry. If too many wait, the oldest is dropped.
    pub(crate) fn push(&self, entry: Entry) {
        let mut entries = self.lock();
        if entries.len() == MAX_WAITING {
            entries.pop_front();
        }
        entries.push_back(entry);
    }

    fn first(&self) -> Option<Entry> {
        self.lock().front().cloned()
    }

    /// Removes an entry that was the first one, unless it was dropped meanwhile.
    fn remove(&self, entry: &Entry) {
        let mut entries = self.lock();
        if entries.front() == Some(entry) {
            entries.pop_front();
        }
    }
}

impl HistoryFiles {
    /// Neither reads nor writes. Entries are kept for `days`.
    pub(crate) fn new(state_directory: &Path, days: usize) -> Self {
        Self {
            directory: state_directory.join(DIRECTORY),
            days,
            chain: None,
        }
    }

    /// Returns the directory.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Returns number and hash of the last line that was written.
    pub(crate) fn last(&self) -> Option<(u64, String)> {
        let chain = self.chain.as_ref()?;
        Some((chain.last()?, chain.hash().to_string()))
    }

    /// Appends the entries that wait.
    ///
    /// # Errors
    /// Those of the file system; entries that are not in the file wait again.
    pub(crate) fn write(&mut self, waiting: &WaitingEntries) -> io::Result<()> {
        while let Some(entry) = waiting.first() {
            let last = self.last();
            let result = self.append(&entry);
            // It may be in the file and not be synced.
            if self.last() != last {
                waiting.remove(&entry);
            }
            result?;
        }
        Ok(())
    }

    fn append(&mut self, entry: &Entry) -> io::Result<()> {
        let path = self.directory.join(format!("{}.log", month(entry.from)));
        let mut chain = match &self.chain {
            Some(chain) => chain.clone(),
            None => self.last_line()?,
        };
        let is_new = !path.exists();
        let mut file = ntp_files::append(&path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(
                ErrorKind::InvalidInput,
                "not a regular file",
            ));
        }
        if metadata.len() > MAX_FILE_SIZE {
            let problem = format!("it has {} octets, and no more is written", metadata.len());
            return Err(io::Error::new(ErrorKind::FileTooLarge, problem));
        }
        if !is_new {
            cut_torn_line(&path, &file)?;
        }
        let line = chain.append(entry.clone());
        file.write_all(format!("{line}\n").as_bytes())?;
        self.chain = Some(chain);
        file.sync_data()?;
        if is_new {
            ntp_files::sync_directory(&self.directory)?;
            self.remove_old(entry.from);
        }
        Ok(())
    }

    /// Reads the last line of the newest file, from which the chain goes on. A line that was damaged
    /// stays where it is: the report shows it.
    fn last_line(&self) -> io::Result<Chain> {
        fs::create_dir_all(&self.directory)?;
        let mut months = months(&self.directory)?;
        months.sort();
        while let Some((_, path)) = months.pop() {
            for tail in TAILS {
                let tail = read_tail(&path, tail)?;
                let text = String::from_utf8_lossy(&tail);
                let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
                for line in whole.lines().rev() {
                    let mut chain = Chain::default();
                    if chain.read(line).is_ok() {
                        return Ok(chain);
                    }
                }
            }
        }
        Ok(Chain::default())
    }

    /// Removes the files of months that are wholly older than configured. What cannot be removed is
    /// tried again a month later.
    fn remove_old(&self, now: SystemTime) {
        let oldest = month(now - NtpDuration::from_seconds(86_400 * self.days as i64));
        for (month, path) in months(&self.directory).unwrap_or_default() {
            if month < oldest {
                let _ = fs::remove_file(path);
            }
        }
    }
}

/// The month of a time: `2026-11`.
fn month(time: SystemTime) -> String {
    time.to_string().chars().take(7).collect()
}

/// The files of a history, with their months, unsorted.
fn months(directory: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let mut months = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if let Some(month) = ntp_history::month_of(&path) {
            months.push((month.to_owned(), path));
        }
    }
    Ok(months)
}

fn read_tail(path: &Path, length: u64) -> io::Result<Vec<u8>> {
    let mut file = RegularFile::open(path)?.into_file();
    let start = file.metadata()?.len().saturating_sub(length);
    file.seek(SeekFrom::Start(start))?;
    let mut tail = Vec::new();
    file.take(length).read_to_end(&mut tail)?;
    Ok(tail)
}

/// Removes the beginning of a line that has no end.
fn cut_torn_line(path: &Path, file: &File) -> io::Result<()> {
    let mut torn = 0;
    for tail in TAILS {
        let tail = read_tail(path, tail)?;
        torn = tail.iter().rev().take_while(|it| **it != b'\n').count();
        if torn < tail.len() {
            break;
        }
    }
    if torn > 0 {
        file.set_len(file.metadata()?.len().saturating_sub(torn as u64))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use ntp_history::Recorder;
    use ntp_history::recorder::{Accuracy, PERIOD};
    use ntp_proto::engine::Now;
    use ntp_time::Monotonic;

    use super::*;

    const START: SystemTime = SystemTime::from_nanos(1_795_000_500_000_000_000);

    /// Entries of some quarters of an hour, the first of which begins at `START`.
    fn entries(from: i64, count: i64) -> Vec<Entry> {
        let mut recorder = Recorder::new("0.1.0");
        let accuracy = Some(Accuracy {
            bound: NtpDuration::from_micros(80),
            estimated_error: NtpDuration::from_micros(5),
        });
        let quarter = PERIOD.as_nanos();
        let at = |nanos: i64| Now {
            monotonic: Monotonic::from_nanos(nanos),
            system: START + NtpDuration::from_nanos(nanos),
        };
        let mut entries = Vec::new();
        // The daemon wakes up each minute.
        for nanos in (from * quarter..=(from + count) * quarter).step_by(60_000_000_000) {
            entries.extend(recorder.before_round(at(nanos), accuracy));
            recorder.after_round(accuracy);
        }
        entries
    }

    fn write(files: &mut HistoryFiles, entries: Vec<Entry>) -> Option<(u64, String)> {
        let waiting = WaitingEntries::default();
        entries.into_iter().for_each(|entry| waiting.push(entry));
        files.write(&waiting).unwrap();
        files.last()
    }

    fn text(directory: &Path) -> String {
        let mut months = months(&directory.join(DIRECTORY)).unwrap();
        months.sort();
        let read = |(_, path): &(String, PathBuf)| fs::read_to_string(path).unwrap();
        months.iter().map(read).collect()
    }

    fn faults(text: &str) -> usize {
        let mut chain = Chain::default();
        text.lines()
            .filter(|line| chain.read(line).is_err())
            .count()
    }

    #[test]
    fn the_chain_goes_on_after_a_restart_and_over_months() {
        let directory = tempfile::tempdir().unwrap();
        let mut first = HistoryFiles::new(directory.path(), 400);
        write(&mut first, entries(0, 3));
        let mut second = HistoryFiles::new(directory.path(), 400);
        // The next month.
        write(&mut second, entries(96 * 20, 2));
        let (number, hash) = write(&mut second, entries(96 * 21, 1)).unwrap();
        let text = text(directory.path());
        assert_eq!(months(first.directory()).unwrap().len(), 2);
        assert_eq!(faults(&text), 0);
        let lines = text.lines().count() as u64;
        assert_eq!(number + 1, lines);
        assert!(text.lines().last().unwrap().starts_with(&hash));
        // Months that are wholly older than configured are removed with the next new file.
        let mut third = HistoryFiles::new(directory.path(), 20);
        write(&mut third, entries(96 * 60, 1));
        let left = months(third.directory()).unwrap();
        assert_eq!(left.len(), 2, "{left:?}");
    }

    #[test]
    fn a_line_without_an_end_is_cut_off() {
        let directory = tempfile::tempdir().unwrap();
        write(&mut HistoryFiles::new(directory.path(), 400), entries(0, 3));
        let whole = text(directory.path());
        let (_, path) = months(&directory.path().join(DIRECTORY)).unwrap().remove(0);
        let long = "x".repeat(100_000);
        for torn in [1, 30, 64, 100] {
            for more in ["", &long] {
                let begun = &whole[..whole.len() - torn];
                fs::write(&path, format!("{begun}{more}")).unwrap();
                write(&mut HistoryFiles::new(directory.path(), 400), entries(5, 1));
                assert_eq!(faults(&text(directory.path())), 0, "{torn}");
            }
        }
    }

    #[test]
    fn a_change_while_the_daemon_runs_shows() {
        let directory = tempfile::tempdir().unwrap();
        let mut files = HistoryFiles::new(directory.path(), 400);
        write(&mut files, entries(0, 3));
        let (_, path) = months(&directory.path().join(DIRECTORY)).unwrap().remove(0);
        // The last line is removed: a chain that continues what the file has would hide it.
        let whole = text(directory.path());
        let lines: Vec<&str> = whole.lines().collect();
        fs::write(&path, format!("{}\n", lines[..lines.len() - 1].join("\n"))).unwrap();
        write(&mut files, entries(5, 1));
        assert_eq!(faults(&text(directory.path())), 1);
    }

    #[test]
    fn what_cannot_be_written_waits() {
        let directory = tempfile::tempdir().unwrap();
        let mut files = HistoryFiles::new(directory.path(), 400);
        fs::write(directory.path().join(DIRECTORY), "in the way").unwrap();
        let waiting = WaitingEntries::default();
        let all = entries(0, 200);
        all.into_iter().for_each(|entry| waiting.push(entry));
        assert!(files.write(&waiting).is_err());
        assert_eq!(waiting.lock().len(), MAX_WAITING);
        fs::remove_file(directory.path().join(DIRECTORY)).unwrap();
        files.write(&waiting).unwrap();
        assert!(waiting.lock().is_empty());
        assert_eq!(text(directory.path()).lines().count(), MAX_WAITING);
    }
}
