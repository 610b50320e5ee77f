//! What the fuzz target checks.

use ntp_time::{Monotonic, NtpDuration, SystemTime};

use crate::{Now, Reading};

const AGE: NtpDuration = NtpDuration::from_seconds(4);

const NOW: Now = Now {
    monotonic: Monotonic::from_nanos(0),
    kernel: SystemTime::RELEASED,
};

/// A sample is neither from the future nor too old.
fn check_reading(reading: Reading) {
    if let Ok(sample) = reading {
        let at = sample.at.time;
        assert!(at <= NOW.kernel && NOW.kernel - at <= AGE);
    }
}

/// Feeds octets of any content to all decoders.
pub fn check(octets: &[u8]) {
    check_reading(crate::sock::decode(octets, NOW.kernel, AGE));
    let segment = crate::shm::decode_any(octets, NOW);
    let report = crate::gpsd::decode_any(octets, NOW);
    segment.into_iter().chain(report).for_each(check_reading);
    crate::nmea::decode_any(octets, NOW)
        .into_iter()
        .for_each(check_reading);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_corpus_passes() {
        let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus");
        let entries = std::fs::read_dir(corpus).expect("the corpus");
        let octets = entries.map(|entry| std::fs::read(entry.unwrap().path()).unwrap());
        assert!(octets.inspect(|octets| check(octets)).count() > 4);
    }

    proptest! {
        #[test]
        fn any_octets_pass(octets in proptest::collection::vec(any::<u8>(), 0..200)) {
            check(&octets);
        }

        #[test]
        fn any_fields_of_structures_pass(
            size in proptest::sample::select(vec![32_usize, 40, 80, 88, 96]),
            fields in proptest::collection::vec(prop_oneof![Just(0_u32), Just(1), Just(0x534F_434B), any::<u32>()], 24),
        ) {
            let octets: Vec<u8> = fields.iter().flat_map(|field| field.to_ne_bytes()).collect();
            check(&octets[..size]);
        }
    }
}
