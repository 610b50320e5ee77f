//! Mode `nmea`: a receiver at a serial port, which sends NMEA 0183 sentences.
//!
//! A receiver sends a group of sentences for each second, and then pauses. The time in them is that
//! of the moment at which the group begins, late by a delay that depends on the receiver. So a
//! sample is dated by the first octet after a pause, whichever sentence has the time.
//!
//! RMC has date, time and validity. ZDA has no validity: it is used soon after another sentence that
//! has a fix. GGA and GLL have no date: they are used once another sentence has given one.

use std::io::ErrorKind;
use std::os::fd::{AsFd as _, BorrowedFd};

use ntp_os_clock::device::serial::SerialPort;
use ntp_time::{LeapIndicator, Monotonic, NtpDuration, SystemTime};
use ntp_types::refclock::{NmeaSettings, SampleRefusal};
use ntp_udp::wait::Interest;

use crate::{DeviceError, Driver, Now, Reading, sample};

/// A pause of this length ends a group. Within a group, octets follow each other.
const PAUSE: NtpDuration = NtpDuration::from_millis(200);
/// Longest sentence: 82 octets by the standard; some receivers send more.
const MAX_SENTENCE: usize = 120;
/// How long a fix counts for sentences that do not state one.
const FIX_AGE: NtpDuration = NtpDuration::from_seconds(10);
/// The date is unknown again if no sentence has stated it for so long.
const DATE_AGE: NtpDuration = NtpDuration::from_seconds(3600);
/// Receivers count weeks modulo 1024, and show a date that is as many weeks too early when they are
/// old.
const ROLLOVER_DAYS: i64 = 1024 * 7;
const DAY: i64 = 86_400_000_000_000;
/// Octets that are read at once.
const CHUNK: usize = 1024;

/// A receiver.
#[derive(Debug)]
pub(crate) struct Nmea {
    port: SerialPort,
    receiver: Receiver,
    max_age: NtpDuration,
}

/// What is known from the octets of a receiver.
#[derive(Debug, Default)]
struct Receiver {
    /// The beginning of a sentence; empty outside of one.
    sentence: Vec<u8>,
    /// When the sentence began.
    sentence_start: SystemTime,
    /// When the group began; `None` once it has given a reading.
    group_start: Option<SystemTime>,
    /// The time of day in the group that gave the last reading, nanoseconds.
    group_time: Option<i64>,
    last_octet: Option<Monotonic>,
    last_fix: Option<Monotonic>,
    /// The last time with a date, and when it was received.
    last_date: Option<(i64, Monotonic)>,
    /// Whether a date before the release of this program was reported.
    is_rollover_reported: bool,
    warning: Option<String>,
}

/// A sentence with time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sentence {
    /// Nanoseconds of the day.
    time: i64,
    /// Days since 1970, as the receiver shows them.
    date: Option<i64>,
    /// Whether the receiver has a fix; `None` if the sentence does not say.
    has_fix: Option<bool>,
}

impl Nmea {
    /// Opens the port, for this program alone.
    pub(crate) fn open(
        settings: &NmeaSettings,
        interval: NtpDuration,
    ) -> Result<Self, DeviceError> {
        let path = &settings.path;
        let file = ntp_files::open_device(path, true);
        let file = file.map_err(DeviceError::during("opening the serial port"))?;
        let port = SerialPort::new(file, path.clone(), settings.speed)
            .map_err(|error| DeviceError::Unsuitable(error.to_string()))?;
        Ok(Self {
            port,
            receiver: Receiver::default(),
            max_age: sample::max_age(interval),
        })
    }
}

impl Driver for Nmea {
    fn descriptor(&self) -> Option<(BorrowedFd<'_>, Interest)> {
        Some((self.port.as_fd(), Interest::Readable))
    }

    fn read(&mut self, now: Now, readings: &mut Vec<Reading>) -> Result<(), DeviceError> {
        let mut chunk = [0; CHUNK];
        match self.port.read(&mut chunk) {
            Ok(0) => Err(DeviceError::Gone),
            Ok(length) => {
                let octets = chunk.get(..length).unwrap_or(&[]);
                self.receiver.take(octets, now, self.max_age, readings);
                Ok(())
            }
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
            {
                Ok(())
            }
            Err(error) => Err(DeviceError::during("reading the serial port")(error)),
        }
    }

    fn description(&self) -> String {
        "reading NMEA sentences".to_owned()
    }

    fn take_warning(&mut self) -> Option<String> {
        self.receiver.warning.take()
    }
}

impl Receiver {
    /// Handles octets that have arrived at `now`.
    fn take(&mut self, octets: &[u8], now: Now, max_age: NtpDuration, readings: &mut Vec<Reading>) {
        let last = self.last_octet.replace(now.monotonic);
        if last.is_none_or(|last| now.monotonic - last >= PAUSE) {
            // The beginning of the very first group may have been missed.
            self.group_start = last.map(|_| now.kernel);
            self.group_time = None;
        }
        for &octet in octets {
            match octet {
                b'$' => {
                    self.sentence.clear();
                    self.sentence_start = now.kernel;
                    self.sentence.push(octet);
                }
                b'\r' | b'\n' if !self.sentence.is_empty() => {
                    let sentence = core::mem::take(&mut self.sentence);
                    readings.extend(self.take_sentence(&sentence, now, max_age));
                }
                _ if self.sentence.len() >= MAX_SENTENCE => self.sentence.clear(),
                _ if !self.sentence.is_empty() => self.sentence.push(octet),
                _ => {}
            }
        }
    }

    fn take_sentence(
        &mut self,
        sentence: &[u8],
        now: Now,
        max_age: NtpDuration,
    ) -> Option<Reading> {
        let sentence = match parse(sentence) {
            Ok(sentence) => sentence?,
            Err(reason) => return Some(Err(reason)),
        };
        if sentence.has_fix == Some(true) {
            self.last_fix = Some(now.monotonic);
        }
        // A receiver that never pauses: another time begins another group.
        if self.group_time.is_some_and(|time| time != sentence.time) {
            self.group_start = Some(self.sentence_start);
        }
        let at = self.group_start?;
        if sentence.has_fix == Some(false) {
            return Some(self.finish_group(&sentence, Err(SampleRefusal::Unsynchronized)));
        }
        self.last_fix
            .filter(|fix| now.monotonic - *fix <= FIX_AGE)?;
        let utc = match sentence.date {
            Some(date) => {
                let utc = self.unrolled(date).saturating_mul(DAY) + sentence.time;
                self.last_date = Some((utc, now.monotonic));
                utc
            }
            None => self.dated(sentence.time, now)?,
        };
        let offset = SystemTime::from_nanos(utc) - at;
        let reading = sample::dated(at, offset, LeapIndicator::None, now.kernel, max_age);
        Some(self.finish_group(&sentence, reading))
    }

    fn finish_group(&mut self, sentence: &Sentence, reading: Reading) -> Reading {
        self.group_start = None;
        self.group_time = Some(sentence.time);
        reading
    }

    /// Returns the time that is nearest to the last date, for a sentence without one.
    fn dated(&self, time: i64, now: Now) -> Option<i64> {
        let (last, received) = self.last_date?;
        let age = now.monotonic - received;
        if age > DATE_AGE {
            return None;
        }
        let expected = last.saturating_add(age.as_nanos());
        let day = (expected - time).saturating_add(DAY / 2).div_euclid(DAY);
        Some(day.saturating_mul(DAY).saturating_add(time))
    }

    /// Adds the weeks that the receiver has lost: a date before this program was released is wrong.
    fn unrolled(&mut self, shown: i64) -> i64 {
        let floor = SystemTime::RELEASED.as_nanos().div_euclid(DAY);
        let missing = floor.saturating_sub(shown).max(0);
        let rollovers = missing.saturating_add(ROLLOVER_DAYS - 1) / ROLLOVER_DAYS;
        if rollovers > 0 && !core::mem::replace(&mut self.is_rollover_reported, true) {
            self.warning = Some(format!(
                "the receiver shows a date that is {} weeks too early; they are added",
                rollovers * 1024
            ));
        }
        shown.saturating_add(rollovers.saturating_mul(ROLLOVER_DAYS))
    }
}

/// Decodes a sentence without its end. `None` if it has no time.
fn parse(sentence: &[u8]) -> Result<Option<Sentence>, SampleRefusal> {
    let body = sentence
        .strip_prefix(b"$")
        .ok_or(SampleRefusal::Malformed)?;
    let star = body.iter().rposition(|octet| *octet == b'*');
    let (body, sum) = star
        .and_then(|star| Some((body.get(..star)?, body.get(star + 1..)?)))
        .ok_or(SampleRefusal::Checksum)?;
    let stated = core::str::from_utf8(sum).ok().filter(|sum| sum.len() == 2);
    let stated = stated.and_then(|sum| u8::from_str_radix(sum, 16).ok());
    if stated != Some(body.iter().fold(0, |sum, octet| sum ^ octet)) {
        return Err(SampleRefusal::Checksum);
    }
    let text = core::str::from_utf8(body).map_err(|_| SampleRefusal::Malformed)?;
    let fields: Vec<&str> = text.split(',').collect();
    let field = |index: usize| fields.get(index).copied().unwrap_or_default();
    // Two characters name the satellites, or the receiver is a proprietary one.
    let kind = field(0).get(2..).unwrap_or_default();
    let (time, date, has_fix) = match kind {
        // The mode of later versions of the standard: N is no fix, E an estimate without satellites.
        "RMC" => {
            let estimated = ["N", "E"].contains(&field(12));
            (
                field(1),
                Some(field(9)),
                Some(field(2) == "A" && !estimated),
            )
        }
        "GGA" => (field(1), None, Some(!["", "0", "6"].contains(&field(6)))),
        "GLL" => {
            let estimated = ["N", "E"].contains(&field(7));
            (field(5), None, Some(field(6) == "A" && !estimated))
        }
        "ZDA" => (field(1), None, None),
        _ => return Ok(None),
    };
    // A receiver without a fix may leave out the rest.
    if has_fix == Some(false) && (time.is_empty() || date == Some("")) {
        return Ok(Some(Sentence {
            time: -1,
            date: None,
            has_fix,
        }));
    }
    let date = match (kind, date) {
        ("ZDA", _) => Some(zda_date(field(2), field(3), field(4))?),
        (_, Some(date)) => Some(rmc_date(date)?),
        (_, None) => None,
    };
    Ok(Some(Sentence {
        time: time_of_day(time)?,
        date,
        has_fix,
    }))
}

/// Decodes `hhmmss` with an optional fraction, in nanoseconds of the day. Second 60, which is only
/// there in a leap second, is not used: system time has no name for it.
fn time_of_day(text: &str) -> Result<i64, SampleRefusal> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let [hour, minute, second] = pairs(whole)?;
    if hour > 23 || minute > 59 || second > 59 || fraction.len() > 9 {
        return Err(SampleRefusal::OutOfRange);
    }
    let nanos = match fraction {
        "" => 0,
        digits => number(digits)? * 10_i64.pow(9 - digits.len() as u32),
    };
    Ok(((hour * 60 + minute) * 60 + second) * 1_000_000_000 + nanos)
}

/// Decodes `ddmmyy` as days since 1970.
fn rmc_date(text: &str) -> Result<i64, SampleRefusal> {
    let [day, month, year] = pairs(text)?;
    // Receivers that show a date before 1980 do not exist.
    let century = if year < 80 { 2000 } else { 1900 };
    days(century + year, month, day)
}

fn zda_date(day: &str, month: &str, year: &str) -> Result<i64, SampleRefusal> {
    days(number(year)?, number(month)?, number(day)?)
}

/// Splits six digits into numbers of two.
fn pairs(text: &str) -> Result<[i64; 3], SampleRefusal> {
    let part = |from: usize| text.get(from..from + 2).ok_or(SampleRefusal::Malformed);
    if text.len() != 6 {
        return Err(SampleRefusal::Malformed);
    }
    Ok([number(part(0)?)?, number(part(2)?)?, number(part(4)?)?])
}

fn number(text: &str) -> Result<i64, SampleRefusal> {
    if text.is_empty() || text.len() > 9 || !text.bytes().all(|octet| octet.is_ascii_digit()) {
        return Err(SampleRefusal::Malformed);
    }
    text.parse().map_err(|_| SampleRefusal::Malformed)
}

/// Days from 1970 to a date of the Gregorian calendar, after 1900.
fn days(year: i64, month: i64, day: i64) -> Result<i64, SampleRefusal> {
    if !(1900..=2999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return Err(SampleRefusal::OutOfRange);
    }
    // The year begins in March, so that the leap day is its last one.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let leap_days = year / 4 - year / 100 + year / 400;
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    Ok(year * 365 + leap_days + day_of_year - 719_468)
}

/// Decodes octets of any content, for the fuzz target.
#[cfg(any(test, fuzzing))]
pub(crate) fn decode_any(octets: &[u8], now: Now) -> Vec<Reading> {
    let mut receiver = Receiver::default();
    let mut readings = Vec::new();
    for chunk in octets.chunks(16) {
        receiver.take(
            chunk,
            now,
            sample::max_age(NtpDuration::ZERO),
            &mut readings,
        );
    }
    readings
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-29 12:35:19.
    const UTC: i64 = 1_795_955_719;

    fn now(millis: i64) -> Now {
        Now {
            monotonic: Monotonic::from_nanos(millis * 1_000_000),
            kernel: SystemTime::from_nanos(UTC * 1_000_000_000 + millis * 1_000_000),
        }
    }

    fn sentence(body: &str) -> Vec<u8> {
        let sum = body.bytes().fold(0, |sum, octet| sum ^ octet);
        format!("${body}*{sum:02X}\r\n").into_bytes()
    }

    fn rmc(time: &str, status: &str, date: &str) -> Vec<u8> {
        sentence(&format!(
            "GPRMC,{time},{status},4807.038,N,01131.000,E,022.4,084.4,{date},,,A"
        ))
    }

    /// Feeds groups of sentences, each 150 ms after its second and in two parts.
    fn offsets(groups: &[Vec<u8>]) -> (Vec<Result<i64, SampleRefusal>>, Receiver) {
        let mut receiver = Receiver::default();
        let mut readings = Vec::new();
        let age = NtpDuration::from_seconds(4);
        receiver.take(b"garbage", now(-700), age, &mut readings);
        for (second, group) in (0..).zip(groups) {
            let (first, second_part) = group.split_at(9);
            receiver.take(first, now(second * 1000 + 150), age, &mut readings);
            receiver.take(second_part, now(second * 1000 + 220), age, &mut readings);
        }
        let offsets = readings
            .iter()
            .map(|it| it.map(|sample| sample.offset.as_nanos() / 1_000_000));
        (offsets.collect(), receiver)
    }

    #[test]
    fn a_group_is_dated_by_its_first_octet() {
        let gga = sentence("GPGGA,123519,4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,");
        let group = [gga, rmc("123519", "A", "291126")].concat();
        let next = [
            sentence("GNGGA,123520.00,4807.038,N,01131.000,E,2,08,0.9,545.4,M,46.9,M,,"),
            rmc("123520.00", "A", "291126"),
        ];
        let (offsets, _) = offsets(&[group, next.concat()]);
        assert_eq!(offsets, [Ok(-150), Ok(-150)]);
    }

    #[test]
    fn a_date_without_a_fix_is_not_used() {
        let (found, _) = offsets(&[
            rmc("123519", "V", "291126"),
            sentence("GPZDA,123520,29,11,2026,00,00"),
            rmc("123521", "A", "291126"),
            sentence("GPZDA,123522,29,11,2026,00,00"),
            sentence("GPRMC,123523,A,,,,,,,291126,,,N"),
        ]);
        let refused = Err(SampleRefusal::Unsynchronized);
        assert_eq!(found, [refused, Ok(-150), Ok(-150), refused]);
    }

    #[test]
    fn a_time_without_a_date_takes_the_last_one_across_midnight() {
        let mut receiver = Receiver {
            last_date: Some((3 * DAY - 1_000_000_000, Monotonic::from_nanos(0))),
            ..Receiver::default()
        };
        let at = |seconds: i64| Now {
            monotonic: Monotonic::from_nanos(seconds * 1_000_000_000),
            kernel: SystemTime::from_nanos(0),
        };
        assert_eq!(receiver.dated(0, at(1)), Some(3 * DAY));
        assert_eq!(receiver.dated(DAY - 1, at(1)), Some(3 * DAY - 1));
        receiver.last_date = None;
        assert_eq!(receiver.dated(0, at(1)), None);
    }

    #[test]
    fn lost_weeks_are_added_and_reported_once() {
        let date = days(2026, 11, 29).unwrap() - ROLLOVER_DAYS;
        assert_eq!(date, days(2007, 4, 15).unwrap());
        let group = |time| rmc(time, "A", "150407");
        let (found, mut receiver) = offsets(&[group("123519"), group("123520")]);
        assert_eq!(found, [Ok(-150), Ok(-150)]);
        assert!(receiver.warning.take().unwrap().contains("1024 weeks"));
        assert!(receiver.is_rollover_reported);
    }

    #[test]
    fn damaged_sentences_have_their_reason() {
        use SampleRefusal::{Checksum, Malformed, OutOfRange};
        let damaged = |text: &str| parse(text.as_bytes()).unwrap_err();
        let summed = |body: &str| {
            let sentence = sentence(body);
            parse(&sentence[..sentence.len() - 2])
        };
        assert_eq!(damaged("$GPRMC,123519,A"), Checksum);
        assert_eq!(damaged("$GPRMC,123519,A*00"), Checksum);
        assert_eq!(damaged("$GPRMC*4"), Checksum);
        assert_eq!(summed("GPRMC,12351,A,,,,,,,291126"), Err(Malformed));
        assert_eq!(summed("GPRMC,123519,A,,,,,,,2911é"), Err(Malformed));
        assert_eq!(summed("GPRMC,123560,A,,,,,,,291126"), Err(OutOfRange));
        assert_eq!(summed("GPRMC,123519,A,,,,,,,001126"), Err(OutOfRange));
        assert_eq!(summed("GPZDA,123519,29,13,2026"), Err(OutOfRange));
        assert_eq!(summed("GPGSV,1,1,00"), Ok(None));
        assert_eq!(summed("PUBX,04"), Ok(None));
        assert_eq!(summed(""), Ok(None));
    }

    #[test]
    fn days_are_those_of_the_calendar() {
        for (date, expected) in [
            ((1970, 1, 1), 0),
            ((2000, 2, 29), 11_016),
            ((2000, 3, 1), 11_017),
            ((2100, 3, 1), 47_541),
            ((2026, 11, 29), UTC.div_euclid(86_400)),
        ] {
            assert_eq!(days(date.0, date.1, date.2), Ok(expected), "{date:?}");
        }
    }
}
