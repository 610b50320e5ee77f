//! Master keys that several servers derive from one secret and the time, without communication.
//!
//! # The problem
//! Behind one name or anycast address there are several servers, and a client's cookies must be
//! valid on each of them. Distributing rotating keys would need a channel between them, and a
//! fallback when it is down.
//!
//! # Key derivation
//! All servers have the same secret file. Time is divided into epochs of the rotation interval, and
//! the key of an epoch is
//!
//! ```text
//! HKDF-SHA256(secret, info = label, interval in seconds, epoch)     RFC 5869, 64 octets
//! ```
//!
//! The epoch is the key's number in the cookie. A server holds the keys of the current epoch, of a
//! number of earlier ones, and of the next one, because the clock of another server may be slightly
//! ahead. A server that starts late needs nothing but the secret and the time.
//!
//! # Requirements
//! * Keys are derived only while the clock is synchronised. With a wrong time, a server would issue
//!   cookies of a future or past epoch, which the others could not open. [`Fleet::keyset`] cannot
//!   check this, so the caller must; until then it serves [`Keyset::EMPTY`].
//! * The key of one epoch does not reveal the others, but the secret reveals all, including past
//!   ones: unlike rotated random keys, these do not protect old cookies if the secret leaks later.
//!   A cookie contains only keys that authenticate packets, so what a leak reveals is which old
//!   requests belong to one client. Replace the secret from time to time.

use core::fmt;

use hkdf::Hkdf;
use ntp_time::SystemTime;
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{Keyset, MasterSecret};

/// Domain separation: other uses of the same secret give other keys.
const LABEL: &[u8] = b"ntpd-rs NTS cookie key";

/// A secret shared by several servers, and its rotation. Wiped on drop, never printed.
pub struct Fleet {
    secret: Zeroizing<Vec<u8>>,
    /// Length of an epoch in seconds.
    interval: u32,
    /// Number of epochs for which a cookie stays valid after its own.
    stale: usize,
}

impl Fleet {
    /// Minimum length of the secret in octets.
    pub const MIN_SECRET_LENGTH: usize = 32;
    /// Minimum length of an epoch in seconds: much longer than clock differences and network
    /// delays.
    pub const MIN_INTERVAL: u32 = 60;

    /// A fleet whose keys rotate every `interval` seconds and stay valid for `stale` more epochs.
    ///
    /// # Errors
    ///
    /// [`FleetError`] if the secret or the interval is too short, or too many keys would be kept.
    pub fn new(secret: &[u8], interval: u32, stale: usize) -> Result<Self, FleetError> {
        if secret.len() < Self::MIN_SECRET_LENGTH {
            return Err(FleetError::Secret(secret.len()));
        }
        if interval < Self::MIN_INTERVAL {
            return Err(FleetError::Interval(interval));
        }
        if stale > Keyset::MAX_KEYS - 2 {
            return Err(FleetError::TooManyKeys(stale));
        }
        Ok(Self {
            secret: Zeroizing::new(secret.to_vec()),
            interval,
            stale,
        })
    }

    /// Number of the epoch of a time.
    pub fn epoch(&self, now: SystemTime) -> i64 {
        const NANOS: i64 = 1_000_000_000;
        now.as_nanos()
            .div_euclid(NANOS)
            .div_euclid(self.interval.into())
    }

    /// End of the epoch of `now`: when to call [`keyset`](Self::keyset) again.
    pub fn next_epoch(&self, now: SystemTime) -> SystemTime {
        const NANOS: i64 = 1_000_000_000;
        let seconds = (self.epoch(now) + 1).saturating_mul(self.interval.into());
        SystemTime::from_nanos(seconds.saturating_mul(NANOS))
    }

    /// The keys at `now`, which must be accurate to much less than an epoch: call this only while
    /// the clock is synchronised.
    pub fn keyset(&self, now: SystemTime) -> Keyset {
        let epoch = self.epoch(now);
        // `stale` is limited by `new`.
        let first = epoch - self.stale as i64;
        let secrets = (first..=epoch + 1).filter_map(|epoch| self.derive(epoch));
        // Key numbers wrap after 2^32 epochs.
        Keyset::from_secrets(first as u32, self.stale, secrets)
    }

    fn derive(&self, epoch: i64) -> Option<MasterSecret> {
        let mut octets = Zeroizing::new([0; MasterSecret::LENGTH]);
        let info = [LABEL, &self.interval.to_be_bytes(), &epoch.to_be_bytes()];
        Hkdf::<Sha256>::new(None, &self.secret)
            .expand_multi_info(&info, &mut *octets)
            .ok()?;
        Some(MasterSecret(octets))
    }
}

/// Equal if they derive and keep the same keys. Secrets are compared in constant time.
impl PartialEq for Fleet {
    fn eq(&self, other: &Self) -> bool {
        (self.interval, self.stale) == (other.interval, other.stale)
            && bool::from(self.secret.ct_eq(&other.secret))
    }
}

impl Eq for Fleet {}

/// Shows the rotation only.
impl fmt::Debug for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fleet")
            .field("interval", &self.interval)
            .field("stale", &self.stale)
            .finish_non_exhaustive()
    }
}

/// Why the parameters of a fleet are invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FleetError {
    /// Length of the secret in octets, which is too short.
    #[error(
        "the shared secret has {0} octets; at least {least} are required (for example from `head -c 32 /dev/urandom`)",
        least = Fleet::MIN_SECRET_LENGTH
    )]
    Secret(usize),
    /// Length of an epoch in seconds, which is too short.
    #[error(
        "the rotation interval of shared keys is {0} s; at least {least} s are required",
        least = Fleet::MIN_INTERVAL
    )]
    Interval(u32),
    /// Number of stale keys, which is too large.
    #[error("{0} stale keys are too many; at most {most} are kept", most = Keyset::MAX_KEYS - 2)]
    TooManyKeys(usize),
}

#[cfg(test)]
mod tests {
    use super::super::AeadAlgorithm;
    use super::super::keyset::tests::{opens, session};
    use super::*;

    const INTERVAL: u32 = 3_600;

    fn fleet() -> Fleet {
        Fleet::new(&[7; 32], INTERVAL, 2).unwrap()
    }

    fn at(epochs: f64) -> SystemTime {
        let seconds = 472_222.0 * f64::from(INTERVAL) + epochs * f64::from(INTERVAL);
        SystemTime::from_nanos((seconds * 1e9) as i64)
    }

    #[test]
    fn servers_with_the_same_secret_and_time_accept_each_others_cookies() {
        let keys = session(AeadAlgorithm::AesSivCmac256);
        let cookie = |epochs| {
            fleet()
                .keyset(at(epochs))
                .seal_cookie(&keys, [1; 16])
                .unwrap()
        };
        let opened =
            |made: f64, seen: f64| opens(&fleet().keyset(at(seen)), cookie(made).octets(), &keys);
        for (made, seen, good) in [
            (0.5, 0.6, true),
            // Across one rotation, and two.
            (0.9, 1.1, true),
            (0.9, 2.9, true),
            (0.9, 3.1, false),
            // Made by a server whose clock is ahead.
            (1.01, 0.99, true),
            (2.01, 0.99, false),
        ] {
            assert_eq!(opened(made, seen), good, "made at {made}, seen at {seen}");
        }
    }

    #[test]
    fn a_different_secret_or_interval_gives_different_keys() {
        let keys = session(AeadAlgorithm::AesSivCmac256);
        let cookie = fleet().keyset(at(0.5)).seal_cookie(&keys, [1; 16]).unwrap();
        let other = Fleet::new(&[8; 32], INTERVAL, 2).unwrap();
        assert!(other.keyset(at(0.5)).open_cookie(cookie.octets()).is_none());
        // Chosen so that the epoch numbers are equal.
        let slower = Fleet::new(&[7; 32], 2 * INTERVAL, 2).unwrap();
        let then = SystemTime::from_nanos(2 * at(0.5).as_nanos());
        assert_eq!(slower.epoch(then), fleet().epoch(at(0.5)));
        assert!(slower.keyset(then).open_cookie(cookie.octets()).is_none());
    }

    #[test]
    fn the_derivation_matches_an_independent_implementation() {
        // Calculated with another implementation of HKDF: servers of different versions must agree.
        let secret = fleet().derive(472_222).unwrap();
        let hex: String = secret
            .0
            .iter()
            .map(|octet| format!("{octet:02x}"))
            .collect();
        assert_eq!(hex, FIXED);
    }

    const FIXED: &str = "b9d5b1b775cc438bfffe11cd555e5fee5e1a2e1e3d5ba50e6e41ab3104f29ab04ef2df72604b0bf3d0417361ee1829d4c3ef56cb8cb7778858035f7768959ad1";

    #[test]
    fn an_epoch_ends_where_the_next_one_begins() {
        let fleet = fleet();
        assert_eq!(fleet.next_epoch(at(0.0)), at(1.0));
        assert_eq!(fleet.next_epoch(at(0.999)), at(1.0));
        assert_eq!(fleet.epoch(at(1.0)), fleet.epoch(at(0.0)) + 1);
    }

    #[test]
    fn unsafe_parameters_are_refused() {
        assert_eq!(
            Fleet::new(&[7; 31], INTERVAL, 2).err(),
            Some(FleetError::Secret(31))
        );
        assert_eq!(
            Fleet::new(&[7; 32], 59, 2).err(),
            Some(FleetError::Interval(59))
        );
        assert_eq!(
            Fleet::new(&[7; 32], 60, 1_000).err(),
            Some(FleetError::TooManyKeys(1_000))
        );
        let most = Fleet::new(&[7; 32], 60, Keyset::MAX_KEYS - 2).unwrap();
        assert_eq!(most.keyset(at(0.0)).len(), Keyset::MAX_KEYS);
        assert!(!format!("{:?}", fleet()).contains('7'));
    }
}
