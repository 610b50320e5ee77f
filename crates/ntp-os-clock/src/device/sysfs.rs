//! What this machine is and which clocks it has, as the kernel shows it under `/sys`.
//!
//! The root of the tree is given, so that tests and `ntp-ctl` can look at another machine's.

use std::fs;
use std::path::{Path, PathBuf};

/// Longest attribute that is read. The kernel's are at most a page.
const MAX_ATTRIBUTE: u64 = 4096;

/// Number of clocks that are looked at. Machines have a few; a tree that was made up must not
/// stop the daemon.
const MAX_CLOCKS: usize = 256;

/// A tree with the attributes of a machine.
#[derive(Clone, Debug)]
pub struct Sysfs {
    root: PathBuf,
}

/// A PTP clock of the machine.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PtpClock {
    /// Its number: the `N` of `/dev/ptpN`.
    pub index: u32,
    /// The name that its driver gave it, for example `KVM virtual PTP`.
    pub name: String,
}

impl PtpClock {
    /// Returns the device file.
    pub fn path(&self) -> PathBuf {
        path_of(self.index)
    }
}

/// Returns the device file of the PTP clock with this number.
pub fn path_of(index: u32) -> PathBuf {
    PathBuf::from(format!("/dev/ptp{index}"))
}

impl Default for Sysfs {
    /// The tree of this machine.
    fn default() -> Self {
        Self::at("/sys")
    }
}

impl Sysfs {
    /// Returns the tree at `root`, which stands for `/sys`.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Returns an attribute without white space at its ends, if it exists and is text.
    pub fn attribute(&self, path: impl AsRef<Path>) -> Option<String> {
        let text = ntp_files::read_text(&self.root.join(path), MAX_ATTRIBUTE).ok()?;
        Some(text.trim().to_owned())
    }

    /// Returns the PTP clocks in the order of their numbers.
    pub fn ptp_clocks(&self) -> Vec<PtpClock> {
        let mut clocks: Vec<_> = self
            .ptp_indices("class/ptp")
            .map(|index| PtpClock {
                index,
                name: self.clock_name(index).unwrap_or_default(),
            })
            .collect();
        clocks.sort();
        clocks
    }

    /// Returns the name of the PTP clock with this number.
    pub fn clock_name(&self, index: u32) -> Option<String> {
        self.attribute(format!("class/ptp/ptp{index}/clock_name"))
    }

    /// Returns the number of the PTP clock of a network interface.
    pub fn clock_of_interface(&self, interface: &str) -> Option<u32> {
        // A name with a slash would lead out of the directory.
        let is_name =
            !interface.is_empty() && !interface.contains(['/', '\0']) && interface != "..";
        let directory = is_name.then(|| format!("class/net/{interface}/device/ptp"))?;
        self.ptp_indices(directory).min()
    }

    fn ptp_indices(&self, directory: impl AsRef<Path>) -> impl Iterator<Item = u32> {
        let entries = fs::read_dir(self.root.join(directory));
        let entries = entries.into_iter().flatten().take(MAX_CLOCKS).flatten();
        entries.filter_map(|entry| {
            entry
                .file_name()
                .to_str()?
                .strip_prefix("ptp")?
                .parse()
                .ok()
        })
    }

    /// Returns an identification of the machine by its firmware, for example `sys_vendor`.
    pub fn firmware(&self, field: &str) -> String {
        let text = self.attribute(format!("class/dmi/id/{field}"));
        text.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use super::super::tests::FakeTree;

    #[test]
    fn clocks_are_found_by_number_and_interface() {
        let tree = FakeTree::new(&[
            ("class/ptp/ptp10/clock_name", "ena-ptp-05"),
            ("class/ptp/ptp2/clock_name", "KVM virtual PTP"),
            ("class/net/eth1/device/ptp/ptp10/dev", "250:10"),
            ("class/net/eth0/address", "52:54:00:12:34:56"),
        ]);
        let sysfs = tree.sysfs();
        let clocks = sysfs.ptp_clocks();
        assert_eq!(
            clocks.iter().map(|it| it.index).collect::<Vec<_>>(),
            [2, 10]
        );
        assert_eq!(clocks[1].path(), Path::new("/dev/ptp10"));
        assert_eq!(sysfs.clock_of_interface("eth1"), Some(10));
        for none in ["eth0", "eth2", "", "..", "../../ptp"] {
            assert_eq!(sysfs.clock_of_interface(none), None);
        }
    }

    #[test]
    fn a_machine_without_clocks_has_none() {
        assert_eq!(FakeTree::new(&[]).sysfs().ptp_clocks(), []);
        assert_eq!(Sysfs::at("/nonexistent").firmware("sys_vendor"), "");
    }
}
