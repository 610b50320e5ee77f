//! The keys that protect the cookies of our clients (RFC 8915 section 6): source, rotation and
//! distribution.
//!
//! They are needed if NTS keys are given out here, or if cookies made by another server must be
//! opened. There are two kinds:
//!
//! * **Own keys**: random, rotated at each interval, stored in upstream's file format so that
//!   cookies survive a restart.
//! * **Fleet keys**: derived from a secret that several servers share and from the time
//!   ([`Fleet`]). Nothing is stored, and nothing is exchanged between the servers. The time must be
//!   right to well below an interval, so there are no keys before the clock is synchronised, and
//!   they change only while it is; the keys of the adjacent intervals cover the rest.
//!
//! Threads that seal or open cookies hold a reference to the current keyset; a new one is swapped
//! in atomically.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use arc_swap::ArcSwap;
use ntp_config::KeysetConfig;
use ntp_files::RegularFile;
use ntp_proto::engine::Now;
use ntp_proto::nts::{Fleet, Keyset, MasterSecret, StoredKeyset};
use ntp_time::{Monotonic, NtpDuration, SystemTime};
use ntp_types::event::{Event, Prose};
use zeroize::Zeroizing;

use crate::persist::StateFile;
use crate::runtime::pollable::{Context, Pollable};
use crate::sandbox::{self, Profile};
use crate::{join, log};

/// Permissions: only the daemon reads the file.
const MODE: u32 = 0o600;

/// Size limit in bytes; the file has some hundred keys at most.
const MAX_FILE_SIZE: u64 = 1 << 20;

/// Longest shared secret in bytes; bounds the read if the path is a device by mistake.
const MAX_SECRET_LENGTH: u64 = 65_536;

/// Longest rotation interval in seconds.
const MAX_INTERVAL: u32 = 10 * 365 * 86_400;

/// Returns 32 unpredictable bytes.
pub(crate) type Seed = fn() -> [u8; 32];

/// The current cookie keys and their rotation.
#[derive(Debug)]
pub struct CookieKeys {
    shared: Arc<ArcSwap<Keyset>>,
    source: KeySource,
    seed: Seed,
    /// Whether the file is older than the keys.
    unsaved: bool,
    writer: Option<JoinHandle<()>>,
}

#[derive(Debug)]
enum KeySource {
    Own {
        stale: usize,
        interval: NtpDuration,
        /// Time of the next rotation.
        due: Monotonic,
        storage: Option<Arc<StateFile>>,
    },
    Fleet {
        fleet: Fleet,
        /// Interval of the keys in use; `None` before the clock is synchronised.
        epoch: Option<i64>,
    },
}

/// A key that replaced another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rekeyed {
    /// Number of the key.
    pub key: u32,
    /// How long cookies of the previous key can still be opened, without a further rekey.
    pub good_for: NtpDuration,
    /// File that has the key.
    pub stored: Option<PathBuf>,
}

impl CookieKeys {
    /// Waits for the keys of `fleet`; without one, loads the keys of an earlier run from `storage`,
    /// or makes new ones.
    pub(crate) fn new(
        config: &KeysetConfig,
        fleet: Option<Fleet>,
        storage: Option<PathBuf>,
        now: Now,
        seed: Seed,
    ) -> Self {
        match fleet {
            Some(fleet) => Self::from_fleet(fleet, seed),
            None => Self::own(config, storage, now, seed),
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
            source: KeySource::Own {
                stale,
                interval,
                due: now.monotonic + (interval - age),
                storage,
            },
            seed,
        }
    }

    fn from_fleet(fleet: Fleet, seed: Seed) -> Self {
        log::emit(&Event::KeysetWaiting {});
        Self {
            shared: Arc::new(ArcSwap::from_pointee(Keyset::EMPTY)),
            source: KeySource::Fleet { fleet, epoch: None },
            seed,
            unsaved: false,
            writer: None,
        }
    }

    /// Returns a handle that always has the current keys.
    pub fn shared(&self) -> Arc<ArcSwap<Keyset>> {
        Arc::clone(&self.shared)
    }

    /// Returns the current keys.
    pub fn current(&self) -> Arc<Keyset> {
        self.shared.load_full()
    }

    /// Time of the next rotation, if it is known.
    fn due(&self) -> Option<Monotonic> {
        match self.source {
            KeySource::Own { due, .. } => Some(due),
            // Checked at every wake-up, several times a minute once the clock is synchronised.
            KeySource::Fleet { .. } => None,
        }
    }

    /// Rotates the keys if that is due. Returns whether they have changed.
    fn update(&mut self, now: Now, synchronized: bool) -> bool {
        if core::mem::take(&mut self.unsaved) {
            self.store(now.system);
        }
        match &mut self.source {
            KeySource::Own { due, .. } if *due <= now.monotonic => self.rekey(now).is_some(),
            KeySource::Own { .. } => false,
            KeySource::Fleet { fleet, epoch } => {
                let current = fleet.epoch(now.system);
                if !synchronized || *epoch == Some(current) {
                    return false;
                }
                if epoch.is_none() {
                    log::emit(&Event::KeysetDerived {});
                }
                *epoch = Some(current);
                self.shared.store(Arc::new(fleet.keyset(now.system)));
                true
            }
        }
    }

    /// Replaces the key for new cookies at once. Returns `None` for a fleet, whose keys follow from
    /// its secret and the time.
    pub fn rekey(&mut self, now: Now) -> Option<Rekeyed> {
        let KeySource::Own {
            stale,
            interval,
            due,
            storage,
        } = &mut self.source
        else {
            return None;
        };
        let rotated = self.shared.load().rotated(secret(self.seed), *stale);
        *due = now.monotonic + *interval;
        // The previous key is the newest of the stale ones, and is dropped with the last of them.
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

    /// Applies a new configuration, with its fleet if it has one. Cookies stay valid as long as
    /// their keys do: a fleet with another secret is another fleet. Returns whether anything has
    /// changed.
    pub(crate) fn reconfigure(
        &mut self,
        config: &KeysetConfig,
        fleet: Option<Fleet>,
        file: Option<PathBuf>,
        now: Now,
    ) -> bool {
        match (fleet, &mut self.source) {
            (Some(wanted), source) => {
                if matches!(source, KeySource::Fleet { fleet, .. } if *fleet == wanted) {
                    return false;
                }
                // The previous keys remain in use until there are new ones, which may take until
                // the clock is synchronised.
                *source = KeySource::Fleet {
                    fleet: wanted,
                    epoch: None,
                };
            }
            (None, KeySource::Own { .. }) => return self.reconfigure_own(config, file, now),
            (None, KeySource::Fleet { .. }) => {
                let own = Self::own(config, file, now, self.seed);
                self.shared.store(own.shared.load_full());
                (self.unsaved, self.source) = (own.unsaved, own.source);
            }
        }
        true
    }

    fn reconfigure_own(&mut self, config: &KeysetConfig, file: Option<PathBuf>, now: Now) -> bool {
        let KeySource::Own {
            stale,
            interval,
            due,
            storage,
        } = &mut self.source
        else {
            return false;
        };
        let wanted = own_interval(config);
        let moved = storage.as_ref().map(|file| file.path()) != file.as_deref();
        let changed = moved || *interval != wanted || *stale != config.stale_key_count;
        // The key keeps its age.
        *due = *due - *interval + wanted;
        *interval = wanted;
        *stale = config.stale_key_count;
        if moved {
            *storage = file.map(state_file);
            self.store(now.system);
        }
        changed
    }

    /// Waits for the last write to finish, within [`join::LIMIT`].
    pub(crate) fn finish(&mut self) {
        join::join_last(self.writer.take());
    }

    /// Writes the keys to their file, on another thread because a disk may be slow. Writes are done
    /// one after the other.
    fn store(&mut self, now: SystemTime) {
        let KeySource::Own {
            storage: Some(file),
            ..
        } = &self.source
        else {
            return;
        };
        let stored = StoredKeyset {
            keyset: Keyset::clone(&self.shared.load()),
            stored: unix_seconds(now),
        };
        let (file, before) = (Arc::clone(file), self.writer.take());
        let path = file.path().display().to_string();
        let write = move || {
            if let Some(before) = before {
                let _ = before.join();
            }
            file.write(&stored.emit());
        };
        self.writer = sandbox::spawn("keyset writer", Profile::Files, write)
            .inspect_err(|error| {
                log::emit(&Event::StateWriteFailed {
                    path,
                    error: error.to_string(),
                    consequence: Prose(LOSS.to_owned()),
                });
            })
            .ok();
    }
}

impl Pollable for CookieKeys {
    fn deadline(&self) -> Option<Monotonic> {
        self.due()
    }

    fn after_round(&mut self, context: &mut Context<'_>) {
        let (now, claim) = context.driver.claim();
        self.update(now, claim.is_synchronized(now.system));
    }
}

/// Reads the secret of the fleet, if `config` names one.
///
/// # Errors
/// If it cannot be used: a server without it would silently be none of the fleet.
pub(crate) fn read_fleet(config: &KeysetConfig) -> Result<Option<Fleet>, String> {
    let Some(path) = config.shared_secret_path.as_ref().map(|path| &path.value) else {
        return Ok(None);
    };
    let cannot = |problem: &dyn core::fmt::Display| {
        format!(
            "the fleet's secret {} cannot be used: {problem} (see shared-secret-path in [keyset])",
            path.display()
        )
    };
    let secret = read_secret(path).map_err(|problem| cannot(&problem))?;
    let interval = u32::try_from(config.key_rotation_interval_seconds)
        .unwrap_or(MAX_INTERVAL)
        .min(MAX_INTERVAL);
    let fleet = Fleet::new(&secret, interval, config.stale_key_count);
    fleet.map(Some).map_err(|problem| cannot(&problem))
}

/// Consequence of a failed write.
const LOSS: &str =
    "clients must exchange keys again after a restart (see key-storage-path in [keyset])";

fn state_file(path: PathBuf) -> Arc<StateFile> {
    Arc::new(StateFile::new(path, MODE, MAX_FILE_SIZE, LOSS))
}

/// Interval between two rotations of our own keys.
fn own_interval(config: &KeysetConfig) -> NtpDuration {
    let seconds = config
        .key_rotation_interval_seconds
        .clamp(1, MAX_INTERVAL.into());
    NtpDuration::from_seconds(i64::try_from(seconds).unwrap_or(i64::MAX))
}

fn load(file: &StateFile, stale: usize) -> Option<StoredKeyset> {
    let octets = file.read()?;
    let path = file.path();
    if others_may_read(path) {
        log::emit(&Event::KeysetExposed {
            path: path.display().to_string(),
        });
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

/// Reads a secret without the line end that editors leave. Refuses a file that everybody can read:
/// the secret is what makes a server part of the fleet.
fn read_secret(path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    let file = RegularFile::open(path).map_err(|error| error.to_string())?;
    if file.exposure().is_some() {
        return Err("everybody on this machine may read or write it; run chmod o= on it".into());
    }
    let octets = file.read(MAX_SECRET_LENGTH);
    let mut octets = Zeroizing::new(octets.map_err(|error| error.to_string())?);
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
    let most = i128::from(MAX_INTERVAL);
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

    fn new(config: &KeysetConfig, file: Option<PathBuf>, now: Now) -> Result<CookieKeys, String> {
        let fleet = read_fleet(config)?;
        Ok(CookieKeys::new(config, fleet, file, now, seed))
    }

    fn reconfigure(
        keys: &mut CookieKeys,
        config: &KeysetConfig,
        file: Option<PathBuf>,
        now: Now,
    ) -> Result<bool, String> {
        let fleet = read_fleet(config)?;
        Ok(keys.reconfigure(config, fleet, file, now))
    }

    #[test]
    fn keys_rotate_on_time_and_stay_valid_for_as_long_as_configured() {
        let config = KeysetConfig {
            stale_key_count: 2,
            ..KeysetConfig::default()
        };
        let mut keys = new(&config, None, at(0)).unwrap();
        let cookie = keys.current().seal_cookie(&session(), [0; 16]).unwrap();
        assert_eq!(keys.due(), Some(at(DAY).monotonic));
        assert!(!keys.update(at(DAY - 1), false));
        for day in 1..=3 {
            assert!(keys.update(at(day * DAY), false));
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
    fn cookies_survive_a_restart_which_does_not_delay_the_rotation() {
        let directory = directory("keyset");
        let path = directory.join("keyset");
        let start = |now| new(&KeysetConfig::default(), Some(path.clone()), now).unwrap();
        let mut before = start(at(0));
        assert!(
            !path.exists(),
            "no thread is started before the first update"
        );
        before.update(at(0), false);
        let cookie = before.current().seal_cookie(&session(), [0; 16]).unwrap();
        before.finish();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let mut after = start(at(1000));
        assert!(opens(&after, &cookie));
        assert_eq!(after.due(), Some(at(DAY).monotonic));
        // A clock that went back delays the rotation by one interval at most.
        let odd = start(at(-50 * DAY));
        assert_eq!(odd.due(), Some(at(-49 * DAY).monotonic));
        assert!(after.update(at(DAY), false) && opens(&after, &cookie));

        fs::write(&path, b"garbage").unwrap();
        let new = start(at(0));
        assert!(!opens(&new, &cookie));
        assert!(directory.join("keyset.damaged").exists());
        let _ = fs::remove_dir_all(directory);
    }

    #[test]
    fn a_reconfiguration_keeps_the_age_of_keys_and_the_validity_of_cookies() {
        let directory = directory("follow");
        let path = directory.join("keyset");
        let mut keys = new(&KeysetConfig::default(), None, at(0)).unwrap();
        let cookie = keys.current().seal_cookie(&session(), [0; 16]).unwrap();
        let other = KeysetConfig {
            key_rotation_interval_seconds: 3600,
            ..KeysetConfig::default()
        };
        let file = || Some(path.clone());
        assert_eq!(reconfigure(&mut keys, &other, file(), at(100)), Ok(true));
        assert_eq!(reconfigure(&mut keys, &other, file(), at(200)), Ok(false));
        assert_eq!(keys.due(), Some(at(3600).monotonic));
        assert!(opens(&keys, &cookie));
        keys.finish();
        assert!(opens(&new(&other, file(), at(300)).unwrap(), &cookie));
        // Cookies of the previous keys are invalid after this.
        let none = KeysetConfig {
            stale_key_count: 0,
            ..other
        };
        assert_eq!(reconfigure(&mut keys, &none, file(), at(400)), Ok(true));
        assert!(
            keys.rekey(at(400)).unwrap().good_for == NtpDuration::ZERO && !opens(&keys, &cookie)
        );
        keys.finish();
        let _ = fs::remove_dir_all(directory);
    }

    #[test]
    fn a_fleet_has_no_keys_before_synchronisation_and_equal_keys_afterwards() {
        let directory = directory("fleet");
        let path = directory.join("secret");
        let config = KeysetConfig {
            key_rotation_interval_seconds: 3600,
            stale_key_count: 2,
            shared_secret_path: Some(ntp_config::Located::from(path.clone())),
            ..KeysetConfig::default()
        };
        let member = || new(&config, None, at(0));
        assert!(member().unwrap_err().contains("No such file"));
        fs::write(&path, format!("{}\n", "s".repeat(32))).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(member().unwrap_err().contains("chmod o="));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let (mut one, mut late) = (member().unwrap(), member().unwrap());
        assert!(!one.update(at(0), false) && one.current().is_empty());
        assert!(one.update(at(0), true) && !one.update(at(1), true));
        let cookie = one.current().seal_cookie(&session(), [0; 16]).unwrap();
        for hour in 1..=2 {
            assert!(one.update(at(hour * 3600), true) && opens(&one, &cookie));
        }
        // A second server that received nothing, and whose clock is slightly ahead.
        assert!(late.update(at(2 * 3600 + 5), true) && opens(&late, &cookie));
        let newest = late.current().seal_cookie(&session(), [1; 16]).unwrap();
        assert!(opens(&one, &newest));
        assert_eq!(
            one.rekey(at(3 * 3600)),
            None,
            "its keys follow from the secret"
        );

        // The same secret, read again, changes nothing; another secret makes another fleet as soon
        // as the clock is synchronised.
        assert_eq!(
            reconfigure(&mut one, &config, None, at(3 * 3600)),
            Ok(false)
        );
        assert!(opens(&one, &newest));
        fs::write(&path, "t".repeat(32)).unwrap();
        assert_eq!(reconfigure(&mut one, &config, None, at(3 * 3600)), Ok(true));
        assert!(!one.update(at(3 * 3600), false) && opens(&one, &newest));
        assert!(one.update(at(3 * 3600), true) && !opens(&one, &newest));

        fs::write(&path, "short").unwrap();
        assert!(member().is_err());
        let _ = fs::remove_dir_all(directory);
    }
}
