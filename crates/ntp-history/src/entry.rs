//! A quarter of an hour of a history, its line in the file, and the chain of hashes.
//!
//! ```text
//! <SHA-256 of the rest, 64 hexadecimal digits> {"number":7,"previous":"<hash of the line before>","from":...}
//! ```

use core::fmt;

use ntp_time::{NtpDuration, SystemTime};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::Levels;

/// What happened to a clock in a part of an hour.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The clock at its beginning.
    #[serde(with = "ntp_time::exact")]
    pub from: SystemTime,
    /// Its length by the monotonic clock.
    #[serde(with = "ntp_time::exact")]
    pub length: NtpDuration,
    /// Version of the daemon.
    pub version: String,
    /// Error bound while the clock was synchronised; the total is the synchronised time.
    pub bound: Levels,
    /// Estimated error while the clock was synchronised.
    pub estimated_error: Levels,
    /// Names of the sources that were selected at some time.
    pub sources: Vec<String>,
    /// Events, the oldest first.
    pub events: Vec<Occurrence>,
    /// Number of further events, for which there was no room.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub more_events: u64,
}

/// An event of a history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Occurrence {
    /// When.
    pub at: SystemTime,
    /// Its stable name.
    pub event: String,
    /// Its fields as in the log, `name=value`.
    pub fields: String,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Entry {
    /// The clock at the end.
    pub fn to(&self) -> SystemTime {
        self.from + self.length
    }
}

/// Hash of a line, in hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Hash(String);

impl Hash {
    fn of(text: &str) -> Self {
        let digest = Sha256::digest(text.as_bytes());
        Self(digest.iter().map(|octet| format!("{octet:02x}")).collect())
    }
}

/// The predecessor of the first line of all.
impl Default for Hash {
    fn default() -> Self {
        Self("0".repeat(64))
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A line of a history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// Position in the history, from 0.
    pub number: u64,
    /// Hash of the line before.
    pub previous: Hash,
    /// The entry.
    #[serde(flatten)]
    pub entry: Entry,
}

/// Why a line does not continue a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainFault {
    /// It is not a line of a history.
    Syntax,
    /// Its hash is not that of its text: it was changed.
    Changed,
    /// The line before is missing, or was changed.
    Broken,
}

impl fmt::Display for ChainFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Syntax => "not a line of a history",
            Self::Changed => "changed: its hash is not that of its text",
            Self::Broken => "does not continue the line before, which is missing or was changed",
        })
    }
}

/// The end of a chain of lines, to continue or to check it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// Number of the next line; `None` if any line may begin.
    next: Option<u64>,
    hash: Hash,
}

impl Chain {
    /// Hash of the last line.
    pub fn hash(&self) -> &Hash {
        &self.hash
    }

    /// Number of the last line; `None` if there is none.
    pub fn last(&self) -> Option<u64> {
        self.next?.checked_sub(1)
    }

    /// Returns the line, without its end, that continues the chain with `entry`.
    pub fn append(&mut self, entry: Entry) -> String {
        let line = Line {
            number: self.next.unwrap_or(0),
            previous: self.hash.clone(),
            entry,
        };
        // Serialisation fails for maps whose keys are not text only; there are none.
        let text = serde_json::to_string(&line).unwrap_or_default();
        self.hash = Hash::of(&text);
        self.next = Some(line.number + 1);
        format!("{} {text}", self.hash)
    }

    /// Reads the next line, without its end. Before the first one, any line may begin: older files
    /// are removed.
    ///
    /// # Errors
    /// If it does not continue the chain. With [`ChainFault::Broken`] the line itself is intact and
    /// is returned, too; in any case the chain goes on with this line.
    pub fn read(&mut self, text: &str) -> Result<Line, (ChainFault, Option<Box<Line>>)> {
        let (hash, text) = text.split_once(' ').ok_or((ChainFault::Syntax, None))?;
        let line: Line = serde_json::from_str(text).map_err(|_| (ChainFault::Syntax, None))?;
        let actual = Hash::of(text);
        let expected = self.next.replace(line.number.saturating_add(1));
        let previous = core::mem::replace(&mut self.hash, actual);
        if self.hash.0 != hash {
            return Err((ChainFault::Changed, None));
        }
        let continues =
            expected.is_none_or(|number| number == line.number && previous == line.previous);
        if continues {
            Ok(line)
        } else {
            Err((ChainFault::Broken, Some(Box::new(line))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(minute: i64) -> Entry {
        Entry {
            from: SystemTime::from_nanos(1_800_000_000_000_000_000 + minute * 60_000_000_000),
            length: NtpDuration::from_seconds(60),
            version: "0.1.0".into(),
            bound: Levels::default(),
            estimated_error: Levels::default(),
            sources: vec!["ntp.example:123".into()],
            events: Vec::new(),
            more_events: 0,
        }
    }

    fn check(lines: &[String]) -> Vec<Option<ChainFault>> {
        let mut chain = Chain::default();
        let read = |line: &String| chain.read(line).err().map(|(fault, _)| fault);
        lines.iter().map(read).collect()
    }

    #[test]
    fn any_change_of_a_history_is_detected() {
        let mut chain = Chain::default();
        let lines: Vec<String> = (0..6).map(|minute| chain.append(entry(minute))).collect();
        assert_eq!(check(&lines), [None; 6]);
        // Older files may be gone.
        assert_eq!(check(&lines[2..]), [None; 4]);

        let mut changed = lines.clone();
        changed[3] = changed[3].replace("ntp.example", "evil.example");
        assert_eq!(check(&changed)[3], Some(ChainFault::Changed));
        assert!(check(&changed)[4].is_some());

        // With its own hash made anew, the next line shows it.
        let (_, text) = changed[3].split_once(' ').unwrap();
        changed[3] = format!("{} {text}", Hash::of(text));
        assert_eq!(check(&changed)[3], None);
        assert_eq!(check(&changed)[4], Some(ChainFault::Broken));

        let mut removed = lines.clone();
        removed.remove(2);
        assert_eq!(check(&removed)[2], Some(ChainFault::Broken));

        let mut swapped = lines.clone();
        swapped.swap(1, 4);
        assert!(check(&swapped).iter().flatten().count() >= 2);

        let mut inserted = lines;
        inserted.insert(2, inserted[1].clone());
        assert_eq!(check(&inserted)[2], Some(ChainFault::Broken));
    }

    #[test]
    fn a_chain_is_continued_after_a_restart() {
        let mut first = Chain::default();
        let mut lines = vec![first.append(entry(0)), first.append(entry(1))];
        let mut second = Chain::default();
        second.read(&lines[1]).unwrap();
        lines.push(second.append(entry(2)));
        assert_eq!(check(&lines), [None; 3]);
        assert_eq!(second.last(), Some(2));
    }
}
