//! What must hold for any list of leap seconds at all, as a function that panics when it does not.
//!
//! Three drivers share it: the libFuzzer target in `fuzz/`, the replay of the committed corpus, and a property test. A corpus entry is a
//! list.

use ntp_time::{NtpDuration, SystemTime};

use super::LeapTable;

/// Reads `data` as a list, and asks it about all kinds of times.
///
/// # Panics
/// If a promise of [`LeapTable`] is broken: what is accepted can be written and is read back the same, says nothing about a time for which it is
/// not complete, and has its leap seconds where its offsets change.
pub fn check(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let Ok(table) = LeapTable::parse(&text) else {
        return;
    };
    let written = table.to_text();
    assert_eq!(LeapTable::parse(&written).as_ref(), Ok(&table));

    let second = NtpDuration::from_seconds(1);
    let mut times = vec![
        SystemTime::from_nanos(i64::MIN),
        SystemTime::from_nanos(0),
        SystemTime::from_nanos(i64::MAX),
        table.expires(),
        table.expires() - second,
    ];
    // Around each midnight that the written form names.
    for line in written.lines() {
        let ntp = line.split_whitespace().find_map(|word| word.parse().ok());
        let unix = ntp.map(|ntp: i64| ntp.saturating_sub(super::table::NTP_TO_UNIX));
        let midnight = SystemTime::from_nanos(unix.unwrap_or(0).saturating_mul(1_000_000_000));
        times.extend([midnight - second, midnight, midnight + second]);
    }
    for time in times {
        is_asked_about(&table, time);
    }
}

fn is_asked_about(table: &LeapTable, time: SystemTime) {
    let second = NtpDuration::from_seconds(1);
    if !table.is_valid(time) {
        assert_eq!(table.tai_offset(time), None, "{time}");
    }
    for reach in [NtpDuration::ZERO, second, NtpDuration::MAX] {
        let Some(leap) = table.near(time, reach) else {
            continue;
        };
        assert!((leap.midnight - time).abs() <= reach, "{leap:?} at {time}");
        let offset = |time| table.tai_offset(time);
        if let (Some(before), Some(after)) = (offset(leap.midnight - second), offset(leap.midnight))
        {
            let change = if leap.deleted { -1 } else { 1 };
            assert_eq!(after - before, change, "{leap:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_list_keeps_the_promises(
            start in -10_i64..4_000_000_000,
            steps in prop::collection::vec((1_i64..100_000_000, prop::bool::ANY), 0..8),
            expires in 0_i64..5_000_000_000,
        ) {
            let (mut since, mut offset) = (start, 500);
            let mut text = format!("#@ {expires}\n{since} {offset}\n");
            for (later, inserted) in steps {
                since += later;
                offset += if inserted { 1 } else { -1 };
                text += &format!("{since}\t{offset} # a comment\n");
            }
            super::check(text.as_bytes());
        }
    }
}
