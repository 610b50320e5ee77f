//! `leap-seconds.list`: all leap seconds that there have been, and the promise that there is no other until a date.
//!
//! # The form
//! Lines of two numbers: NTP seconds at which an offset begins to hold, and TAI - UTC from then on. Comments begin with `#`; three of
//! them have a meaning: `#$` when the file was last changed, `#@` when it expires, `#h` the SHA-1 of all of its numbers as they are
//! written, in five words of hexadecimal whose leading zeroes some editions omit. The bulletin's publishers renew it twice a year;
//! operating systems ship it with their time zones.
//!
//! An expired list is still right about the past, but no longer says what does **not** happen: then it neither
//! announces nor contradicts.

use core::fmt;

use ntp_time::{NtpDuration, SystemTime};
use sha1::{Digest, Sha1};

use super::LeapSecond;

/// Seconds from the NTP epoch (1900) to the Unix epoch (1970).
pub(super) const NTP_TO_UNIX: i64 = 2_208_988_800;

/// Far more than there will be for centuries; a file with more is none.
const MOST_ENTRIES: usize = 1000;

/// Offsets beyond are no TAI - UTC; the kernel's own limit is larger.
const LARGEST_OFFSET: i32 = 1000;

/// A checked list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeapTable {
    /// From when an offset holds, and TAI - UTC in seconds; oldest first, never empty.
    entries: Vec<(SystemTime, i32)>,
    expires: SystemTime,
}

/// What is wrong with a file; the file is to blame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListError {
    /// A line that is not of the form.
    Line(usize),
    /// Entries that are not in order, or that jump by more than a second.
    Order(usize),
    /// There is no entry at all.
    Empty,
    /// It does not say when it expires.
    NoExpiry,
    /// The numbers are not those that the hash is of.
    Hash,
    /// It is larger than any such list.
    TooLong,
}

impl fmt::Display for ListError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line) => write!(f, "line {line} is not of the form 'NTP-SECONDS OFFSET'"),
            Self::Order(line) => write!(
                f,
                "line {line} does not follow from the line before: later, and by one second"
            ),
            Self::Empty => f.write_str("there is no entry in it"),
            Self::NoExpiry => {
                f.write_str("it does not say when it expires (a line '#@ NTP-SECONDS')")
            }
            Self::Hash => f.write_str(
                "its numbers do not match its hash (the line '#h'): it was damaged or edited",
            ),
            Self::TooLong => f.write_str("it is too long for a list of leap seconds"),
        }
    }
}

impl LeapTable {
    /// Reads the text of a file.
    ///
    /// # Errors
    /// See [`ListError`]; nothing of a wrong file is used.
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
                if entries.len() == MOST_ENTRIES {
                    return Err(ListError::TooLong);
                }
                entries.push(entry);
            }
        }
        if entries.is_empty() {
            return Err(ListError::Empty);
        }
        if hash.is_some_and(|hash| hash != digest_words(&digest.finalize())) {
            return Err(ListError::Hash);
        }
        let expires = expires.ok_or(ListError::NoExpiry)?;
        Ok(Self { entries, expires })
    }

    /// The list in its form, without comments and without a hash.
    pub fn to_text(&self) -> String {
        let ntp = |time: &SystemTime| time.as_nanos() / 1_000_000_000 + NTP_TO_UNIX;
        let entries = self.entries.iter();
        let lines = entries.map(|(since, offset)| format!("{} {offset}\n", ntp(since)));
        format!("#@ {}\n", ntp(&self.expires)) + &lines.collect::<String>()
    }

    /// Until when it is complete.
    pub const fn expires(&self) -> SystemTime {
        self.expires
    }

    /// Whether it is complete for that time.
    pub fn is_valid(&self, time: SystemTime) -> bool {
        time < self.expires
    }

    /// TAI - UTC in seconds when the clock reads `time` (after a leap second, if that reading comes twice); None before the first
    /// entry, and once the list has expired.
    pub fn tai_offset(&self, time: SystemTime) -> Option<i32> {
        let held = self.entries.iter().rev().find(|(since, _)| *since <= time);
        held.map(|(_, offset)| *offset)
            .filter(|_| self.is_valid(time))
    }

    /// The leap second whose midnight is nearest to `time`, if one is within `reach`.
    pub fn near(&self, time: SystemTime, reach: NtpDuration) -> Option<LeapSecond> {
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
    (0..=LARGEST_OFFSET)
        .contains(&offset)
        .then_some((ntp_seconds(since)?, offset))
}

fn words(text: &str) -> Option<[u32; 5]> {
    let mut words = [0; 5];
    let mut fields = text.split_whitespace();
    for word in &mut words {
        *word = u32::from_str_radix(fields.next()?, 16).ok()?;
    }
    fields.next().is_none().then_some(words)
}

fn digest_words(digest: &[u8]) -> [u32; 5] {
    let mut words = [0; 5];
    for (word, octets) in words.iter_mut().zip(digest.chunks_exact(4)) {
        *word = octets
            .iter()
            .fold(0, |word, octet| word << 8 | u32::from(*octet));
    }
    words
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Three entries of the real list, with the expiry and the hash of this very text.
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
    fn offsets_hold_from_their_midnight_until_the_list_expires() {
        let table = LeapTable::parse(LIST).unwrap();
        assert_eq!(table.tai_offset(at("2016-12-31")), Some(36));
        assert_eq!(table.tai_offset(at("2017-01-01")), Some(37));
        assert_eq!(table.tai_offset(at("2024-06-27")), Some(37));
        assert!(!table.is_valid(at("2024-06-29")));
        assert_eq!(table.tai_offset(at("2024-06-29")), None);
        assert_eq!(table.tai_offset(SystemTime::from_nanos(0)), None);
    }

    #[test]
    fn what_is_written_is_read_back() {
        let table = LeapTable::parse(LIST).unwrap();
        assert_eq!(LeapTable::parse(&table.to_text()), Ok(table));
    }

    #[test]
    fn a_leap_second_is_found_by_its_day() {
        let table = LeapTable::parse(LIST).unwrap();
        let day = NtpDuration::from_seconds(86_400);
        let leap = table.near(at("2016-12-31"), day).unwrap();
        assert_eq!((leap.midnight, leap.deleted), (at("2017-01-01"), false));
        assert_eq!(
            table.near(at("2015-06-30"), day).map(|leap| leap.deleted),
            Some(false)
        );
        assert_eq!(table.near(at("2024-06-27"), day), None);
    }

    #[test]
    fn a_shrinking_offset_is_a_deleted_second() {
        let table = LeapTable::parse("#@ 3928521600\n3644697600 37\n3692217600 36\n").unwrap();
        let leap = table
            .near(at("2017-01-01"), NtpDuration::from_seconds(1))
            .unwrap();
        assert!(leap.deleted);
    }

    #[test]
    fn the_hash_tells_a_damaged_list() {
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
        let words = digest_words(&digest)
            .map(|word| format!("{word:x}"))
            .join(" ");
        let hashed = format!("{LIST}#h {words}\n");
        assert!(LeapTable::parse(&hashed).is_ok());
        let damaged = hashed.replace("3644697600", "3644697601");
        assert_eq!(LeapTable::parse(&damaged), Err(ListError::Hash));
    }

    #[test]
    fn nothing_of_a_wrong_list_is_used() {
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
        fn no_file_makes_it_panic(text in "(#[@$h]?[ \t0-9a-f]{0,30}\n|[0-9]{0,20}[ \t]-?[0-9]{0,12}\n){0,8}") {
            let _ = LeapTable::parse(&text);
        }
    }
}
