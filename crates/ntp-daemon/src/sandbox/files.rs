//! Restricts access to files (landlock(7)).
//!
//! The files that the configuration names can be read, the directories of state, sockets and logs
//! can be written, and what libraries need to resolve names and verify certificates can be read.
//! All other files are inaccessible to the process, whatever the permissions of its user. No file
//! can be executed.
//!
//! The rules apply to directories, not to files, because files are replaced by renaming others over
//! them.

use std::path::{Component, Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, RulesetStatus, path_beneath_rules,
};
use ntp_config::{Config, Loaded, SourceKind};
use ntp_os_clock::device::sysfs::Sysfs;
use ntp_types::refclock::RefClockDevice;

/// The newest interface whose rights are handled here; an older kernel handles fewer, which is
/// accepted.
const ABI_USED: ABI = ABI::V5;

/// What name resolution, certificates, time zones and the C library read (nsswitch.conf(5),
/// resolv.conf(5), ld.so(8)).
const LIBRARIES_READ: &[&str] = &[
    "/etc",
    "/usr",
    "/lib",
    "/lib64",
    "/opt",
    "/nix/store",
    "/run/systemd/resolve",
    "/run/resolvconf",
    "/run/NetworkManager",
    "/run/connman",
    "/run/nscd",
    "/run/ld.so.cache",
    "/proc/self",
    "/proc/sys/net",
    "/sys/devices/system/cpu",
    "/sys/fs/cgroup",
    "/dev/urandom",
];

/// Names and error bounds of PTP clocks.
const CLOCK_ATTRIBUTES: [&str; 2] = ["/sys/class", "/sys/devices"];

/// Devices that are written to.
const DEVICES: &[&str] = &["/dev/null"];

/// Whether landlock is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Enforcement {
    /// The rules are in force, as far as this kernel knows such rights.
    Full,
    /// The kernel has no landlock.
    None,
}

/// The directories that stay accessible.
#[derive(Clone, Debug, Default)]
pub struct AllowedPaths {
    read: Vec<PathBuf>,
    write: Vec<PathBuf>,
}

impl AllowedPaths {
    /// Returns the directories that a configuration needs.
    pub(super) fn for_config(loaded: &Loaded) -> Self {
        let config = &loaded.config;
        let mut allowed = Self {
            read: LIBRARIES_READ.iter().map(PathBuf::from).collect(),
            write: DEVICES.iter().map(PathBuf::from).collect(),
        };
        let file = loaded
            .path
            .as_deref()
            .unwrap_or_else(|| Path::new(ntp_config::DEFAULT_PATH));
        allowed.read.extend(directory_of(file));
        // They are in that directory, unless they are links.
        let folders = ntp_config::drop_in_directories(file);
        let linked = folders.iter().filter_map(|it| it.canonicalize().ok());
        allowed.read.extend(linked);
        for (_, path) in config.paths_read() {
            allowed.read.extend(directory_of(path));
        }
        for (_, path) in config.paths_written() {
            allowed.write.extend(directory_of(path));
        }
        allowed
            .write
            .extend(config.devices().map(existing_or_directory));
        allowed.add_clocks(config);
        allowed.write.extend(config.state.directory.clone());
        allowed
    }

    /// Permits the PTP clocks of the machine and their attributes, if the configuration names one by
    /// anything but its path: its number may be another one when it is opened again.
    fn add_clocks(&mut self, config: &Config) {
        let mut clocks = config.sources.iter().filter(|source| {
            let SourceKind::RefClock(clock) = &source.kind else {
                return false;
            };
            matches!(
                clock.reader.device,
                RefClockDevice::Phc(_) | RefClockDevice::VmClock(_) | RefClockDevice::HostClock
            )
        });
        if clocks.next().is_some() {
            self.read.extend(CLOCK_ATTRIBUTES.map(PathBuf::from));
            let clocks = Sysfs::default().ptp_clocks().into_iter();
            self.write.extend(clocks.map(|clock| clock.path()));
        }
    }

    /// Applies the rules to this thread and all threads that it starts.
    pub(super) fn restrict(&self) -> Result<Enforcement, RulesetError> {
        let read = AccessFs::ReadFile | AccessFs::ReadDir;
        let write: BitFlags<AccessFs> = AccessFs::from_all(ABI_USED) & !AccessFs::Execute;
        let status = Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(ABI_USED))?
            .create()?
            .add_rules(path_beneath_rules(&self.read, read))?
            .add_rules(path_beneath_rules(&self.write, write))?
            .restrict_self()?;
        Ok(match status.ruleset {
            RulesetStatus::NotEnforced => Enforcement::None,
            RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced => Enforcement::Full,
        })
    }

    /// Returns whether a file at `path` can be read.
    pub(super) fn covers(&self, path: &Path) -> bool {
        lies_in(path, &self.read) || self.covers_writing(path)
    }

    /// Returns whether a file at `path` can be created and replaced.
    pub(super) fn covers_writing(&self, path: &Path) -> bool {
        lies_in(path, &self.write)
    }
}

fn lies_in(path: &Path, directories: &[PathBuf]) -> bool {
    // A path with `..` cannot be judged by its prefix.
    let climbs = path.components().any(|part| part == Component::ParentDir);
    let lies = |directory: &PathBuf| path.starts_with(directory);
    !climbs && directories.iter().any(lies)
}

/// Returns the device itself, or its directory if it is not there yet: a receiver may be plugged in
/// later, and rules apply to what exists.
fn existing_or_directory(device: &Path) -> PathBuf {
    let directory = || device.parent().map(Path::to_path_buf).unwrap_or_default();
    device.canonicalize().unwrap_or_else(|_| directory())
}

/// Returns the directory in which a file is created, renamed or replaced.
fn directory_of(path: &Path) -> Option<PathBuf> {
    path.parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .map(Path::to_path_buf)
        .or_else(|| std::env::current_dir().ok())
}
