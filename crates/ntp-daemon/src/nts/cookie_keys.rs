//! The keys that protect our clients' cookies (RFC 8915 section 6): where they come from, when they change, who gets them.
//!
//! They are needed as soon as keys are given out here, or cookies that another server made are to be opened. There are two kinds:
//!
//! * **Our own**: drawn at random, replaced after each interval, kept in upstream's file so that cookies outlive a restart.
//! * **A fleet's**: derived from a secret that several servers share, and from the time ([`Fleet`]). Nothing is stored and nothing is sent between the servers.
//!   Time must be right to well below an interval, so there are none before the clock is synchronised, and they
//!   change only while it is; the keys of the intervals around make up for that.
//!
//! Whoever seals or opens cookies holds a reference to the keyset of a moment; a new one is swapped in under their feet.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use arc_swap::ArcSwap;
use ntp_config::KeysetConfig;
use ntp_proto::engine::Now;
use ntp_proto::nts::{Fleet, Keyset, MasterSecret, StoredKeyset};
use ntp_time::{Monotonic, NtpDuration, SystemTime};
use tracing::{info, warn};
use zeroize::Zeroizing;

use crate::persist::StateFile;
use crate::sandbox::{self, Profile};

/// Only the daemon reads the file.
const MODE: u32 = 0o600;

/// The file has some hundred keys at most.
const LARGEST: u64 = 1 << 20;

/// Nobody shares a longer secret; a device given by mistake has no end.
const LONGEST_SECRET: u64 = 65_536;

/// Longest interval that is looked ahead, and that a fleet may have.
const LONGEST: u32 = 10 * 365 * 86_400;

/// Gives 32 octets that nobody can guess.
pub(crate) type Seed = fn() -> [u8; 32];

/// The keys, and when they change.
#[derive(Debug)]
pub struct CookieKeys {
    shared: Arc<ArcSwap<Keyset>>,
    origin: Origin,
    seed: Seed,
    /// They are not yet what the file says.
    unsaved: bool,
    writer: Option<JoinHandle<()>>,
}

#[derive(Debug)]
enum Origin {
    Own {
        stale: usize,
        interval: NtpDuration,
        /// When the next rotation is due.
        due: Monotonic,
        storage: Option<Arc<StateFile>>,
    },
    Fleet {
        fleet: Fleet,
        /// Of the keys in use; none before the clock is synchronised.
        epoch: Option<i64>,
    },
}

/// A key that took another's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rekeyed {
    /// Its number.
    pub key: u32,
    /// For how long cookies of the one before can still be opened, if nobody asks for another key meanwhile.
    pub good_for: NtpDuration,
    /// Where it is stored.
    pub stored: Option<PathBuf>,
}

impl CookieKeys {
    /// The keys of an earlier run (from the file `storage`), new ones, or none yet, as `config` says.
    ///
    /// # Errors
    /// If the fleet's secret cannot be used: a server without it would quietly be none of the fleet.
    pub(crate) fn new(
        config: &KeysetConfig,
        storage: Option<PathBuf>,
        now: Now,
        seed: Seed,
    ) -> Result<Self, String> {
        match &config.shared_secret_path {
            Some(path) => Self::of_fleet(config, &path.value, seed),
            None => Ok(Self::own(config, storage, now, seed)),
        }
    }

    fn own(config: &KeysetConfig, storage: Option<PathBuf>, now: Now, seed: Seed) -> Self {
        let interval = own_interval(config);
        let stale = config.stale_key_count;
        let storage = storage.map(state_file);
        let stored = storage.as_ref().and_then(|file| load(file, stale));
        let (keyset, age) = match stored {
            Some(stored) => {
                let age = NtpDuration::from_seconds(age(stored.stored, now.system));
                (stored.keyset, age.clamp(NtpDuration::ZERO, interval))
            }
            None => (Keyset::new(secret(seed)), NtpDuration::ZERO),
        };
        Self {
            unsaved: age == NtpDuration::ZERO,
            writer: None,
            shared: Arc::new(ArcSwap::from_pointee(keyset)),
            origin: Origin::Own {
                stale,
                interval,
                due: now.monotonic + (interval - age),
                storage,
            },
            seed,
        }
    }

    fn of_fleet(config: &KeysetConfig, path: &Path, seed: Seed) -> Result<Self, String> {
        let fleet = fleet(config, path)?;
        info!(
            "no NTS keys until the clock is synchronised: they follow from the fleet's secret and the time"
        );
        Ok(Self {
            shared: Arc::new(ArcSwap::from_pointee(Keyset::EMPTY)),
            origin: Origin::Fleet { fleet, epoch: None },
            seed,
            unsaved: false,
            writer: None,
        })
    }

    /// The keys of the moment, and of every later moment.
    pub fn shared(&self) -> Arc<ArcSwap<Keyset>> {
        Arc::clone(&self.shared)
    }

    /// The keys of the moment.
    pub fn current(&self) -> Arc<Keyset> {
        self.shared.load_full()
    }

    /// When they are to be looked at, if nothing happens before.
    pub fn due(&self) -> Option<Monotonic> {
        match self.origin {
            Origin::Own { due, .. } => Some(due),
            // Looked at whenever something happens, which is several times a minute once the clock is synchronised.
            Origin::Fleet { .. } => None,
        }
    }

    /// Changes the keys if it is time; returns whether they have changed.
    pub fn attend(&mut self, now: Now, synchronized: bool) -> bool {
        if core::mem::take(&mut self.unsaved) {
            self.store(now.system);
        }
        match &mut self.origin {
            Origin::Own { due, .. } if *due <= now.monotonic => self.rekey(now).is_some(),
            Origin::Own { .. } => false,
            Origin::Fleet { fleet, epoch } => {
                let current = fleet.epoch(now.system);
                if !synchronized || *epoch == Some(current) {
                    return false;
                }
                if epoch.is_none() {
                    info!(
                        "the clock is synchronised: NTS keys are derived from the fleet's secret from now on"
                    );
                }
                *epoch = Some(current);
                self.shared.store(Arc::new(fleet.keyset(now.system)));
                true
            }
        }
    }

    /// Replaces the key that cookies are made with, at once. `None` if it cannot be: a fleet's keys follow from its secret and the time.
    pub fn rekey(&mut self, now: Now) -> Option<Rekeyed> {
        let Origin::Own {
            stale,
            interval,
            due,
            storage,
        } = &mut self.origin
        else {
            return None;
        };
        let rotated = self.shared.load().rotated(secret(self.seed), *stale);
        *due = now.monotonic + *interval;
        // The key before is the newest of those that are kept, and goes with the last of them.
        let rotations = (*stale).min(Keyset::MAX_KEYS - 1);
        let rekeyed = Rekeyed {
            key: rotated.primary_id(),
            good_for: NtpDuration::from_seconds_f64(interval.as_seconds_f64() * rotations as f64),
            stored: storage.as_ref().map(|file| file.path().to_owned()),
        };
        self.shared.store(Arc::new(rotated));
        self.store(now.system);
        Some(rekeyed)
    }

    /// Goes on as a new configuration wants it. Cookies stay good where their keys do: a fleet that gets another secret is another fleet. Returns whether anything is
    /// different now.
    ///
    /// # Errors
    /// If the fleet's secret cannot be used; then nothing changes.
    pub(crate) fn follow(
        &mut self,
        config: &KeysetConfig,
        file: Option<PathBuf>,
        now: Now,
    ) -> Result<bool, String> {
        match (&config.shared_secret_path, &mut self.origin) {
            (Some(path), origin) => {
                let wanted = fleet(config, &path.value)?;
                if matches!(origin, Origin::Fleet { fleet, .. } if *fleet == wanted) {
                    return Ok(false);
                }
                // The keys so far serve until there are others, which may take until the clock is synchronised.
                *origin = Origin::Fleet {
                    fleet: wanted,
                    epoch: None,
                };
            }
            (None, Origin::Own { .. }) => return Ok(self.follow_own(config, file, now)),
            (None, Origin::Fleet { .. }) => {
                let own = Self::own(config, file, now, self.seed);
                self.shared.store(own.shared.load_full());
                (self.unsaved, self.origin) = (own.unsaved, own.origin);
            }
        }
        Ok(true)
    }

    fn follow_own(&mut self, config: &KeysetConfig, file: Option<PathBuf>, now: Now) -> bool {
        let Origin::Own {
            stale,
            interval,
            due,
            storage,
        } = &mut self.origin
        else {
            return false;
        };
        let wanted = own_interval(config);
        let moved = storage.as_ref().map(|file| file.path()) != file.as_deref();
        let changed = moved || *interval != wanted || *stale != config.stale_key_count;
        // The age of the key counts on.
        *due = *due - *interval + wanted;
        *interval = wanted;
        *stale = config.stale_key_count;
        if moved {
            *storage = file.map(state_file);
            self.store(now.system);
        }
        changed
    }

    /// Waits for the last write.
    pub(crate) fn finish(&mut self) {
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }

    /// Writes the keys to their file, on another thread: a disk may take its time. One write follows another.
    fn store(&mut self, now: SystemTime) {
        let Origin::Own {
            storage: Some(file),
            ..
        } = &self.origin
        else {
            return;
        };
        let stored = StoredKeyset {
            keyset: Keyset::clone(&self.shared.load()),
            stored: unix_seconds(now),
        };
        let (file, before) = (Arc::clone(file), self.writer.take());
        let write = move || {
            if let Some(before) = before {
                let _ = before.join();
            }
            file.write(&stored.emit());
        };
        self.writer = sandbox::spawn("keyset writer", Profile::Files, write)
            .inspect_err(|error| warn!("cannot store the keyset: {error}"))
            .ok();
    }
}

fn fleet(config: &KeysetConfig, path: &Path) -> Result<Fleet, String> {
    let cannot = |problem: &dyn core::fmt::Display| {
        format!(
            "the fleet's secret {} cannot be used: {problem} (see shared-secret-path in [keyset])",
            path.display()
        )
    };
    let secret = read_secret(path).map_err(|problem| cannot(&problem))?;
    let interval = u32::try_from(config.key_rotation_interval_seconds)
        .unwrap_or(LONGEST)
        .min(LONGEST);
    Fleet::new(&secret, interval, config.stale_key_count).map_err(|problem| cannot(&problem))
}

fn state_file(path: PathBuf) -> Arc<StateFile> {
    let loss = "clients will have to exchange keys again after a restart (see key-storage-path in [keyset])";
    Arc::new(StateFile::new(path, MODE, LARGEST, loss))
}

/// Between two rotations of keys of our own.
fn own_interval(config: &KeysetConfig) -> NtpDuration {
    let seconds = config
        .key_rotation_interval_seconds
        .clamp(1, LONGEST.into());
    NtpDuration::from_seconds(i64::try_from(seconds).unwrap_or(i64::MAX))
}

fn load(file: &StateFile, stale: usize) -> Option<StoredKeyset> {
    let octets = file.read()?;
    let path = file.path();
    if others_may_read(path) {
        warn!(
            "{} can be read by others, who could open our clients' cookies; run chmod 600 on it",
            path.display()
        );
    }
    match StoredKeyset::parse(&octets, stale) {
        Ok(stored) => Some(stored),
        Err(problem) => {
            file.set_aside(&problem.to_string());
            None
        }
    }
}

fn others_may_read(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(path).is_ok_and(|file| file.mode() & 0o077 != 0)
}

/// A file's octets without the line end that editors leave. Whoever can read it is the fleet, so not everybody may.
fn read_secret(path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    use std::io::Read;
    use std::os::unix::fs::MetadataExt;
    let file = fs::File::open(path).map_err(|error| error.to_string())?;
    let metadata = file.metadata().map_err(|error| error.to_string())?;
    if metadata.mode() & 0o007 != 0 {
        return Err("everybody on this machine may read or write it; run chmod o= on it".into());
    }
    let mut octets = Zeroizing::new(Vec::new());
    file.take(LONGEST_SECRET)
        .read_to_end(&mut octets)
        .map_err(|error| error.to_string())?;
    let end = octets.trim_ascii_end().len();
    octets.truncate(end);
    Ok(octets)
}

fn secret(seed: Seed) -> MasterSecret {
    let mut octets = Zeroizing::new([0; MasterSecret::LENGTH]);
    let (one, other) = octets.split_at_mut(MasterSecret::LENGTH / 2);
    one.copy_from_slice(&seed());
    other.copy_from_slice(&seed());
    MasterSecret::new(*octets)
}

fn unix_seconds(now: SystemTime) -> u64 {
    u64::try_from(now.as_nanos() / 1_000_000_000).unwrap_or(0)
}

fn age(stored: u64, now: SystemTime) -> i64 {
    let age = i128::from(unix_seconds(now)) - i128::from(stored);
    let most = i128::from(LONGEST);
    i64::try_from(age.clamp(0, most)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use ntp_proto::nts::{AeadAlgorithm, SessionKeys};

    use super::*;

    const DAY: i64 = 86_400;

    fn at(seconds: i64) -> Now {
        Now {
            monotonic: Monotonic::from_nanos(seconds * 1_000_000_000),
            system: SystemTime::from_nanos((1_795_000_000 + seconds) * 1_000_000_000),
        }
    }

    fn seed() -> [u8; 32] {
        use std::sync::atomic::{AtomicU8, Ordering};
        static NEXT: AtomicU8 = AtomicU8::new(1);
        [NEXT.fetch_add(1, Ordering::Relaxed); 32]
    }

    fn directory(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("ntpd-rs-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        path
    }

    fn session() -> SessionKeys {
        SessionKeys::new(AeadAlgorithm::AesSivCmac256, &[1; 32], &[2; 32]).unwrap()
    }

    fn opens(keys: &CookieKeys, cookie: &ntp_proto::nts::Cookie) -> bool {
        keys.current().open_cookie(cookie.octets()).is_some()
    }

    #[test]
    fn keys_rotate_on_time_and_stay_good_for_as_long_as_configured() {
        let config = KeysetConfig {
            stale_key_count: 2,
            ..KeysetConfig::default()
        };
        let mut keys = CookieKeys::new(&config, None, at(0), seed).unwrap();
        let cookie = keys.current().seal_cookie(&session(), [0; 16]).unwrap();
        assert_eq!(keys.due(), Some(at(DAY).monotonic));
        assert!(!keys.attend(at(DAY - 1), false));
        for day in 1..=3 {
            assert!(keys.attend(at(day * DAY), false));
            assert_eq!(opens(&keys, &cookie), day <= 2, "day {day}");
        }
        let before = keys.current().seal_cookie(&session(), [1; 16]).unwrap();
        let rekeyed = keys.rekey(at(3 * DAY + 5)).unwrap();
        assert_eq!(rekeyed.key, 4);
        assert_eq!(rekeyed.good_for, NtpDuration::from_seconds(2 * DAY));
        assert!(opens(&keys, &before));
        assert_eq!(keys.due(), Some(at(4 * DAY + 5).monotonic));
    }

    #[test]
    fn cookies_outlive_a_restart_and_the_rotation_is_not_put_off_by_it() {
        let directory = directory("keyset");
        let path = directory.join("keyset");
        let start =
            |now| CookieKeys::new(&KeysetConfig::default(), Some(path.clone()), now, seed).unwrap();
        let mut before = start(at(0));
        assert!(!path.exists(), "no thread is started before it is attended");
        before.attend(at(0), false);
        let cookie = before.current().seal_cookie(&session(), [0; 16]).unwrap();
        before.finish();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let mut after = start(at(1000));
        assert!(opens(&after, &cookie));
        assert_eq!(after.due(), Some(at(DAY).monotonic));
        // A clock that went back does not put it off for longer than an interval.
        let odd = start(at(-50 * DAY));
        assert_eq!(odd.due(), Some(at(-49 * DAY).monotonic));
        assert!(after.attend(at(DAY), false) && opens(&after, &cookie));

        fs::write(&path, b"garbage").unwrap();
        let anew = start(at(0));
        assert!(!opens(&anew, &cookie));
        assert!(directory.join("keyset.damaged").exists());
        let _ = fs::remove_dir_all(directory);
    }

    #[test]
    fn another_configuration_leaves_the_keys_their_age_and_cookies_their_worth() {
        let directory = directory("follow");
        let path = directory.join("keyset");
        let mut keys = CookieKeys::new(&KeysetConfig::default(), None, at(0), seed).unwrap();
        let cookie = keys.current().seal_cookie(&session(), [0; 16]).unwrap();
        let other = KeysetConfig {
            key_rotation_interval_seconds: 3600,
            ..KeysetConfig::default()
        };
        let file = || Some(path.clone());
        assert_eq!(keys.follow(&other, file(), at(100)), Ok(true));
        assert_eq!(keys.follow(&other, file(), at(200)), Ok(false));
        assert_eq!(keys.due(), Some(at(3600).monotonic));
        assert!(opens(&keys, &cookie));
        keys.finish();
        assert!(opens(
            &CookieKeys::new(&other, file(), at(300), seed).unwrap(),
            &cookie
        ));
        // Nothing that is made with the keys so far is worth anything after this.
        let none = KeysetConfig {
            stale_key_count: 0,
            ..other
        };
        assert_eq!(keys.follow(&none, file(), at(400)), Ok(true));
        assert!(
            keys.rekey(at(400)).unwrap().good_for == NtpDuration::ZERO && !opens(&keys, &cookie)
        );
        keys.finish();
        let _ = fs::remove_dir_all(directory);
    }

    #[test]
    fn a_fleet_has_no_keys_before_the_clock_is_synchronised_and_then_the_same_everywhere() {
        let directory = directory("fleet");
        let path = directory.join("secret");
        let config = KeysetConfig {
            key_rotation_interval_seconds: 3600,
            stale_key_count: 2,
            shared_secret_path: Some(ntp_config::Located::from(path.clone())),
            ..KeysetConfig::default()
        };
        let member = || CookieKeys::new(&config, None, at(0), seed);
        assert!(member().unwrap_err().contains("No such file"));
        fs::write(&path, format!("{}\n", "s".repeat(32))).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(member().unwrap_err().contains("chmod o="));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let (mut one, mut late) = (member().unwrap(), member().unwrap());
        assert!(!one.attend(at(0), false) && one.current().is_empty());
        assert!(one.attend(at(0), true) && !one.attend(at(1), true));
        let cookie = one.current().seal_cookie(&session(), [0; 16]).unwrap();
        for hour in 1..=2 {
            assert!(one.attend(at(hour * 3600), true) && opens(&one, &cookie));
        }
        // Another one that was never told anything, and whose clock is a little ahead.
        assert!(late.attend(at(2 * 3600 + 5), true) && opens(&late, &cookie));
        let newest = late.current().seal_cookie(&session(), [1; 16]).unwrap();
        assert!(opens(&one, &newest));
        assert_eq!(
            one.rekey(at(3 * 3600)),
            None,
            "its keys follow from the secret"
        );

        // Read again, the same secret changes nothing; another one makes another fleet, as soon as the time is known.
        assert_eq!(one.follow(&config, None, at(3 * 3600)), Ok(false));
        assert!(opens(&one, &newest));
        fs::write(&path, "t".repeat(32)).unwrap();
        assert_eq!(one.follow(&config, None, at(3 * 3600)), Ok(true));
        assert!(!one.attend(at(3 * 3600), false) && opens(&one, &newest));
        assert!(one.attend(at(3 * 3600), true) && !opens(&one, &newest));

        fs::write(&path, "short").unwrap();
        assert!(member().is_err());
        let _ = fs::remove_dir_all(directory);
    }
}
