//! `leap-seconds.list`: all past leap seconds, and a date until which the list is complete.
//!
//! # Format
//! Lines of two numbers: NTP seconds from which an offset applies, and TAI - UTC in seconds.
//! Comments begin with `#`; three of them have a meaning: `#$` is when the file was last changed,
//! `#@` when it expires, `#h` the SHA-1 of all of its numbers as they are written, in five words of
//! hexadecimal whose leading zeroes some editions omit. The file is published twice a year;
//! operating systems ship it with their time zones.
//!
//! An expired list is still right about the past, but no longer shows that a leap second does
//! **not** happen: then it neither announces nor contradicts.

use ntp_time::{NtpDuration, SystemTime};
use sha1::{Digest, Sha1};

use super::LeapSecond;

/// Seconds from the NTP epoch (1900) to the Unix epoch (1970).
pub(super) const NTP_TO_UNIX: i64 = 2_208_988_800;

/// Largest number of entries: more than there will be for centuries.
const MAX_ENTRIES: usize = 1000;

/// Largest plausible TAI - UTC in seconds; the kernel's own limit is larger.
const MAX_OFFSET: i32 = 1000;

/// A valid list of leap seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeapTable {
    /// Time from which an offset applies, and TAI - UTC in seconds; oldest first, never empty.
    entries: Vec<(SystemTime, i32)>,
    expires: SystemTime,
}

/// Defect of a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListError {
    /// A line has the wrong format.
    #[error("line {0}: expected 'NTP-SECONDS OFFSET'")]
    Line(usize),
    /// An entry is not later than the one before, or does not differ from it by one second.
    #[error("line {0}: must be later than the line before, and differ from it by one second")]
    Order(usize),
    /// It has no entries.
    #[error("no entries")]
    Empty,
    /// It has no expiry time.
    #[error("no expiry time (line '#@ NTP-SECONDS')")]
    NoExpiry,
    /// The numbers do not match the hash.
    #[error("numbers do not match the hash (line '#h'): damaged or edited")]
    Hash,
    /// It has too many entries.
    #[error("too long for a list of leap seconds")]
    TooLong,
}

impl LeapTable {
    /// Parses the text of a file.
    ///
    /// # Errors
    /// Any [`ListError`]; an invalid file is rejected as a whole.
    pub fn parse(text: &str) -> Result<Self, ListError> {
        let mut entries: Vec<(SystemTime, i32)> = Vec::new();
        let mut expires = None;
        let mut hash = None;
        let mut digest = Sha1::new();
        for (number, line) in (1..).zip(text.lines()) {
            if let Some(rest) = line.strip_prefix("#$") {
                digest.update(rest.trim());
            } else if let Some(rest) = line.strip_prefix("#@") {
                digest.update(rest.trim());
                expires = Some(ntp_seconds(rest.trim()).ok_or(ListError::Line(number))?);
            } else if let Some(rest) = line.strip_prefix("#h") {
                hash = Some(words(rest).ok_or(ListError::Line(number))?);
            } else {
                let data = line.split('#').next().unwrap_or_default();
                let mut fields = data.split_whitespace();
                let (Some(since), offset) = (fields.next(), fields.next()) else {
                    continue;
                };
                let offset = offset.ok_or(ListError::Line(number))?;
                digest.update(since);
                digest.update(offset);
                let entry = entry(since, offset).filter(|_| fields.next().is_none());
                let entry = entry.ok_or(ListError::Line(number))?;
                if let Some(last) = entries.last()
                    && (entry.0 <= last.0 || (entry.1 - last.1).abs() != 1)
                {
                    return Err(ListError::Order(number));
                }
                if entries.len() == MAX_ENTRIES {
                    return Err(ListError::TooLong);
                }
                entries.push(entry);
            }
        }
        if entries.is_empty() {
            return Err(ListError::Empty);
        }
        if hash.is_some_and(|hash| hash.as_flattened() != &*digest.finalize()) {
            return Err(ListError::Hash);
        }
        let expires = expires.ok_or(ListError::NoExpiry)?;
        Ok(Self { entries, expires })
    }

    /// Formats the list, without comments and without a hash.
    pub fn to_text(&self) -> String {
        let ntp = |time: &SystemTime| time.as_nanos() / 1_000_000_000 + NTP_TO_UNIX;
        let entries = self.entries.iter();
        let lines = entries.map(|(since, offset)| format!("{} {offset}\n", ntp(since)));
        format!("#@ {}\n", ntp(&self.expires)) + &lines.collect::<String>()
    }

    /// Time until which the list is complete.
    pub const fn expires(&self) -> SystemTime {
        self.expires
    }

    /// Whether the list is complete for `time`.
    pub fn is_valid(&self, time: SystemTime) -> bool {
        time < self.expires
    }

    /// TAI - UTC in seconds when the clock reads `time` (after a leap second, if that reading comes
    /// twice). Returns `None` before the first entry, and after the list has expired.
    pub fn tai_offset(&self, time: SystemTime) -> Option<i32> {
        let held = self.entries.iter().rev().find(|(since, _)| *since <= time);
        held.map(|(_, offset)| *offset)
            .filter(|_| self.is_valid(time))
    }

    /// Leap second whose midnight is nearest to `time`, if it is within `reach`.
    pub fn nearest(&self, time: SystemTime, reach: NtpDuration) -> Option<LeapSecond> {
        let jumps = self.entries.windows(2).filter_map(|pair| match pair {
            [(_, before), (midnight, after)] => Some(LeapSecond {
                midnight: *midnight,
                deleted: after < before,
            }),
            _ => None,
        });
        jumps
            .filter(|leap| (leap.midnight - time).abs() <= reach)
            .min_by_key(|leap| (leap.midnight - time).abs())
    }
}

fn ntp_seconds(text: &str) -> Option<SystemTime> {
    let seconds = text.split_whitespace().next()?.parse::<i64>().ok()?;
    let unix = seconds.checked_sub(NTP_TO_UNIX)?;
    unix.checked_mul(1_000_000_000).map(SystemTime::from_nanos)
}

fn entry(since: &str, offset: &str) -> Option<(SystemTime, i32)> {
    let offset = offset.parse().ok()?;
    (0..=MAX_OFFSET)
        .contains(&offset)
        .then_some((ntp_seconds(since)?, offset))
}

/// Five words of hexadecimal.
fn words(text: &str) -> Option<[[u8; 4]; 5]> {
    let words = text.split_whitespace().map(|word| {
        let word = u32::from_str_radix(word, 16).ok();
        word.map(u32::to_be_bytes)
    });
    words.collect::<Option<Vec<_>>>()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Three entries of the real list, with an expiry time.
    const LIST: &str = "\
# Comments, and empty lines

#$\t3676924800
#@\t3928521600
3550089600\t35\t# 1 Jul 2012
3644697600      36      # 1 Jul 2015
3692217600\t37
";

    fn at(text: &str) -> SystemTime {
        let days = match text {
            "2015-06-30" => 16_616,
            "2016-12-31" => 17_166,
            "2017-01-01" => 17_167,
            "2024-06-27" => 19_901,
            "2024-06-29" => 19_903,
            other => panic!("{other}"),
        };
        let time = SystemTime::from_nanos(days * 86_400_000_000_000);
        assert!(time.to_string().starts_with(text), "{time}");
        time
    }

    #[test]
    fn offsets_apply_from_their_midnight_until_the_list_expires() {
        let table = LeapTable::parse(LIST).unwrap();
        assert_eq!(table.tai_offset(at("2016-12-31")), Some(36));
        assert_eq!(table.tai_offset(at("2017-01-01")), Some(37));
        assert_eq!(table.tai_offset(at("2024-06-27")), Some(37));
        assert!(!table.is_valid(at("2024-06-29")));
        assert_eq!(table.tai_offset(at("2024-06-29")), None);
        assert_eq!(table.tai_offset(SystemTime::from_nanos(0)), None);
    }

    #[test]
    fn a_formatted_list_parses_to_the_same_list() {
        let table = LeapTable::parse(LIST).unwrap();
        assert_eq!(LeapTable::parse(&table.to_text()), Ok(table));
    }

    #[test]
    fn the_nearest_leap_second_is_found() {
        let table = LeapTable::parse(LIST).unwrap();
        let day = NtpDuration::from_seconds(86_400);
        let leap = table.nearest(at("2016-12-31"), day).unwrap();
        assert_eq!((leap.midnight, leap.deleted), (at("2017-01-01"), false));
        assert_eq!(
            table
                .nearest(at("2015-06-30"), day)
                .map(|leap| leap.deleted),
            Some(false)
        );
        assert_eq!(table.nearest(at("2024-06-27"), day), None);
    }

    #[test]
    fn a_decreasing_offset_is_a_deleted_second() {
        let table = LeapTable::parse("#@ 3928521600\n3644697600 37\n3692217600 36\n").unwrap();
        let leap = table
            .nearest(at("2017-01-01"), NtpDuration::from_seconds(1))
            .unwrap();
        assert!(leap.deleted);
    }

    #[test]
    fn a_damaged_list_does_not_match_its_hash() {
        // Of the numbers, with nothing between them.
        let numbers = [
            "3676924800",
            "3928521600",
            "3550089600",
            "35",
            "3644697600",
            "36",
            "3692217600",
            "37",
        ];
        let digest = Sha1::digest(numbers.concat());
        // Without leading zeroes.
        let words = digest
            .as_chunks()
            .0
            .iter()
            .map(|word| u32::from_be_bytes(*word));
        let words: Vec<_> = words.map(|word| format!("{word:x}")).collect();
        let words = words.join(" ");
        let hashed = format!("{LIST}#h {words}\n");
        assert!(LeapTable::parse(&hashed).is_ok());
        let damaged = hashed.replace("3644697600", "3644697601");
        assert_eq!(LeapTable::parse(&damaged), Err(ListError::Hash));
    }

    #[test]
    fn invalid_lists_are_rejected() {
        for (text, error) in [
            ("", ListError::Empty),
            ("3692217600 37\n", ListError::NoExpiry),
            ("#@ soon\n3692217600 37\n", ListError::Line(1)),
            ("#@ 3928521600\n3692217600\n", ListError::Line(2)),
            ("#@ 3928521600\n3692217600 -1\n", ListError::Line(2)),
            ("#@ 3928521600\n3692217600 37 38\n", ListError::Line(2)),
            (
                "#@ 3928521600\n3692217600 37\n3644697600 36\n",
                ListError::Order(3),
            ),
            (
                "#@ 3928521600\n3644697600 35\n3692217600 37\n",
                ListError::Order(3),
            ),
        ] {
            assert_eq!(LeapTable::parse(text), Err(error), "{text}");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in "(#[@$h]?[ \t0-9a-f]{0,30}\n|[0-9]{0,20}[ \t]-?[0-9]{0,12}\n){0,8}") {
            let _ = LeapTable::parse(&text);
        }
    }
}
