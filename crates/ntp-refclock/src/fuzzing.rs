//! What the fuzz targets check, for each decoder.
#![expect(missing_docs, reason = "built for the fuzz targets only")]

use ntp_time::{NtpDuration, SystemTime};

/// A datagram of any content gives a sample that is neither from the future nor too old.
pub fn sock(datagram: &[u8]) {
    let now = SystemTime::RELEASED;
    let age = NtpDuration::from_seconds(4);
    if let Ok(sample) = crate::sock::decode(datagram, now, age) {
        assert!(sample.at.time <= now && now - sample.at.time <= age);
    }
}
