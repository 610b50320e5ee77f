//! Samples of true time at a daemon's socket, as the program behind a satellite receiver sends them.
//!
//! The datagram is the one that chronyd's driver SOCK reads, 40 octets in the machine's byte order:
//! the system clock's time of the sample (`struct timeval`), by how many seconds it is behind, and
//! four integers (pulse, leap second, padding, magic number).
#![expect(clippy::disallowed_methods, reason = "waits for the next sample")]

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::thread;
use std::time::Duration;

use ntp_sim::Rng;

use crate::comparison::Reading;
use crate::true_time::TrueTime;

/// Magic number of a datagram ("SOCK").
const MAGIC: i32 = 0x534f_434b;

/// A receiver.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Receiver {
    /// Time between two samples.
    pub interval: Duration,
    /// Standard deviation of the normal error of a sample, in seconds.
    pub jitter: f64,
    /// Seed of the errors.
    pub seed: u64,
}

impl Receiver {
    /// Sends samples without an end. While no program has the socket, they are lost.
    ///
    /// # Errors
    /// If there is no socket.
    pub fn send(self, truth: &TrueTime, path: &Path) -> io::Result<()> {
        let socket = UnixDatagram::unbound()?;
        let mut numbers = Rng::new(self.seed, 1);
        loop {
            let reading = Reading::take();
            let offset = self.jitter * numbers.normal() - reading.offset(truth).as_seconds_f64();
            let _ = socket.send_to(&datagram(&reading, offset), path);
            thread::sleep(self.interval);
        }
    }
}

fn datagram(reading: &Reading, offset: f64) -> Vec<u8> {
    let micros = reading.system.as_nanos().div_euclid(1000);
    let (seconds, micros) = (micros.div_euclid(1_000_000), micros.rem_euclid(1_000_000));
    let integers = [0, 0, 0, MAGIC].map(i32::to_ne_bytes);
    [
        seconds.to_ne_bytes(),
        micros.to_ne_bytes(),
        offset.to_ne_bytes(),
    ]
    .concat()
    .into_iter()
    .chain(integers.concat())
    .collect()
}

#[cfg(test)]
mod tests {
    use ntp_time::SystemTime;

    use super::*;

    #[test]
    fn a_datagram_has_the_time_of_the_sample_and_the_offset() {
        let reading = Reading {
            raw: 0,
            system: SystemTime::from_nanos(1_000_000_007_250_000_999),
        };
        let octets = datagram(&reading, -2.5);
        assert_eq!(octets.len(), 40);
        assert_eq!(octets[..8], 1_000_000_007_i64.to_ne_bytes());
        assert_eq!(octets[8..16], 250_000_i64.to_ne_bytes());
        assert_eq!(octets[16..24], (-2.5_f64).to_ne_bytes());
        assert_eq!(octets[24..36], [0; 12]);
        assert_eq!(octets[36..], MAGIC.to_ne_bytes());
    }
}
