//! Master keys that several servers derive from one secret and the time, without a word between them.
//!
//! # The problem
//! Behind one name or one anycast address stand several servers, and a client's cookies must open on each of them. Copying rotating keys about
//! needs a channel, an owner and a plan for when that is down.
//!
//! # The idea
//! Every server is given the same secret file. Time is divided into epochs of the rotation interval, and the key of an epoch is
//!
//! ```text
//! HKDF-SHA256(secret, info = label, interval in seconds, epoch)     RFC 5869, 64 octets
//! ```
//!
//! The epoch is the key's number in the cookie. A server holds the keys of the current epoch, of some before it, and of the
//! one to come: another's clock may be a moment ahead. A server that starts late needs nothing but the secret and the time.
//!
//! # What must hold
//! * Keys are derived only while the clock is synchronised. With a wrong time a server would hand out cookies of a
//!   future or long-gone epoch, which the others could not open. [`Fleet::keyset`] cannot know, so the caller must; until
//!   then [`Keyset::EMPTY`] serves nobody.
//! * Knowing one epoch's key tells nothing about the others, but knowing the secret tells all, past ones too: unlike
//!   rotated random keys, these give cookies of the past no protection against a secret that leaks later. A cookie holds only
//!   keys that authenticate packets, so what is lost by that is that old clients could be recognised. Replace the secret from time to time.

use core::fmt;

use hkdf::Hkdf;
use ntp_time::SystemTime;
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{Keyset, MasterSecret};

/// What keys are derived for: no other use of the same secret gives the same keys.
const LABEL: &[u8] = b"ntpd-rs NTS cookie key";

/// A secret that several servers share, and how they rotate. Never printed, wiped when dropped.
pub struct Fleet {
    secret: Zeroizing<Vec<u8>>,
    /// Seconds of an epoch.
    interval: u32,
    /// How many epochs a cookie stays good after its own.
    stale: usize,
}

impl Fleet {
    /// Least octets of a secret.
    pub const SHORTEST_SECRET: usize = 32;
    /// Shortest epoch in seconds: far longer than clocks differ or a packet travels.
    pub const SHORTEST_INTERVAL: u32 = 60;

    /// A fleet whose keys change every `interval` seconds and stay good for `stale` epochs more.
    ///
    /// # Errors
    /// [`BadFleet`] if the secret is too short to be one, the epochs are too short, or too many keys would have to be kept.
    pub fn new(secret: &[u8], interval: u32, stale: usize) -> Result<Self, BadFleet> {
        if secret.len() < Self::SHORTEST_SECRET {
            return Err(BadFleet::Secret(secret.len()));
        }
        if interval < Self::SHORTEST_INTERVAL {
            return Err(BadFleet::Interval(interval));
        }
        if stale > Keyset::MOST - 2 {
            return Err(BadFleet::TooManyKeys(stale));
        }
        Ok(Self {
            secret: Zeroizing::new(secret.to_vec()),
            interval,
            stale,
        })
    }

    /// The epoch of a time.
    pub fn epoch(&self, now: SystemTime) -> i64 {
        const NANOS: i64 = 1_000_000_000;
        now.as_nanos()
            .div_euclid(NANOS)
            .div_euclid(self.interval.into())
    }

    /// When the epoch of `now` ends: the moment to call [`keyset`](Self::keyset) again.
    pub fn next_epoch(&self, now: SystemTime) -> SystemTime {
        const NANOS: i64 = 1_000_000_000;
        let seconds = (self.epoch(now) + 1).saturating_mul(self.interval.into());
        SystemTime::from_nanos(seconds.saturating_mul(NANOS))
    }

    /// The keys for `now`, which must be true to well below an epoch: call this only while the clock is synchronised.
    pub fn keyset(&self, now: SystemTime) -> Keyset {
        let epoch = self.epoch(now);
        // Bounded by `new`.
        let first = epoch - self.stale as i64;
        let secrets = (first..=epoch + 1).filter_map(|epoch| self.derive(epoch));
        // Numbers wrap after 2^32 epochs.
        Keyset::of(first as u32, self.stale, secrets)
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

/// Whether they derive the same keys and keep as many. Secrets are compared in constant time.
impl PartialEq for Fleet {
    fn eq(&self, other: &Self) -> bool {
        (self.interval, self.stale) == (other.interval, other.stale)
            && bool::from(self.secret.ct_eq(&other.secret))
    }
}

impl Eq for Fleet {}

/// Tells the rotation only.
impl fmt::Debug for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fleet")
            .field("interval", &self.interval)
            .field("stale", &self.stale)
            .finish_non_exhaustive()
    }
}

/// Why a fleet cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadFleet {
    /// The secret has so few octets.
    Secret(usize),
    /// An epoch has so few seconds.
    Interval(u32),
    /// So many old keys are to be kept.
    TooManyKeys(usize),
}

impl fmt::Display for BadFleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secret(octets) => write!(
                f,
                "the shared secret has {octets} octets; at least {} are needed, for example from `head -c 32 /dev/urandom`",
                Fleet::SHORTEST_SECRET
            ),
            Self::Interval(seconds) => write!(
                f,
                "keys that servers share cannot change every {seconds} s; at least {} s are needed",
                Fleet::SHORTEST_INTERVAL
            ),
            Self::TooManyKeys(stale) => write!(
                f,
                "{stale} old keys are too many; at most {} are kept",
                Keyset::MOST - 2
            ),
        }
    }
}

impl core::error::Error for BadFleet {}

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
    fn servers_that_share_a_secret_and_the_time_share_cookies() {
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
            // Across a rotation, and two.
            (0.9, 1.1, true),
            (0.9, 2.9, true),
            (0.9, 3.1, false),
            // Made by a clock that is ahead.
            (1.01, 0.99, true),
            (2.01, 0.99, false),
        ] {
            assert_eq!(opened(made, seen), good, "made at {made}, seen at {seen}");
        }
    }

    #[test]
    fn another_secret_or_another_interval_gives_other_keys() {
        let keys = session(AeadAlgorithm::AesSivCmac256);
        let cookie = fleet().keyset(at(0.5)).seal_cookie(&keys, [1; 16]).unwrap();
        let stranger = Fleet::new(&[8; 32], INTERVAL, 2).unwrap();
        assert!(
            stranger
                .keyset(at(0.5))
                .open_cookie(cookie.octets())
                .is_none()
        );
        // Chosen so that the numbers of the epochs agree.
        let slower = Fleet::new(&[7; 32], 2 * INTERVAL, 2).unwrap();
        let then = SystemTime::from_nanos(2 * at(0.5).as_nanos());
        assert_eq!(slower.epoch(then), fleet().epoch(at(0.5)));
        assert!(slower.keyset(then).open_cookie(cookie.octets()).is_none());
    }

    #[test]
    fn the_derivation_is_fixed() {
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
    fn epochs_end_where_the_next_begin() {
        let fleet = fleet();
        assert_eq!(fleet.next_epoch(at(0.0)), at(1.0));
        assert_eq!(fleet.next_epoch(at(0.999)), at(1.0));
        assert_eq!(fleet.epoch(at(1.0)), fleet.epoch(at(0.0)) + 1);
    }

    #[test]
    fn what_would_not_be_safe_is_refused() {
        assert_eq!(
            Fleet::new(&[7; 31], INTERVAL, 2).err(),
            Some(BadFleet::Secret(31))
        );
        assert_eq!(
            Fleet::new(&[7; 32], 59, 2).err(),
            Some(BadFleet::Interval(59))
        );
        assert_eq!(
            Fleet::new(&[7; 32], 60, 1_000).err(),
            Some(BadFleet::TooManyKeys(1_000))
        );
        let most = Fleet::new(&[7; 32], 60, Keyset::MOST - 2).unwrap();
        assert_eq!(most.keyset(at(0.0)).len(), Keyset::MOST);
        assert!(!format!("{:?}", fleet()).contains('7'));
    }
}
