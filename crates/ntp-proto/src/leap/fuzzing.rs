//! Properties of every list of leap seconds, as a function that panics if one is violated.
//!
//! Used by the libFuzzer target in `fuzz/`, the replay of the committed corpus, and a property
//! test. A corpus entry is the text of a list.

use ntp_time::{NtpDuration, SystemTime};

use super::LeapTable;

/// Parses `data` as a list, and checks its answers for many times.
///
/// # Panics
/// If a property of [`LeapTable`] is violated: a valid list can be formatted and parses to the same
/// list, has no offset for times for which it is not complete, and has its leap seconds where its
/// offsets change.
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
    // Around each midnight of the formatted list.
    for line in written.lines() {
        let ntp = line.split_whitespace().find_map(|word| word.parse().ok());
        let unix = ntp.map(|ntp: i64| ntp.saturating_sub(super::table::NTP_TO_UNIX));
        let midnight = SystemTime::from_nanos(unix.unwrap_or(0).saturating_mul(1_000_000_000));
        times.extend([midnight - second, midnight, midnight + second]);
    }
    for time in times {
        check_time(&table, time);
    }
}

fn check_time(table: &LeapTable, time: SystemTime) {
    let second = NtpDuration::from_seconds(1);
    if !table.is_valid(time) {
        assert_eq!(table.tai_offset(time), None, "{time}");
    }
    for reach in [NtpDuration::ZERO, second, NtpDuration::MAX] {
        let Some(leap) = table.nearest(time, reach) else {
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
        fn any_list_has_the_properties(
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
