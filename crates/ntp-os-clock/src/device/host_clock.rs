//! The clock of the hypervisor, whichever this machine has.
//!
//! Hypervisors offer their clock as a PTP clock, whose driver gives it a fixed name. The number of
//! the clock changes between boots, so it is found by the name. All of them show UTC; that of
//! VMClock states its time scale in its page.

use core::fmt;

use super::sysfs::{PtpClock, Sysfs};

/// A kind of clock that a host offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostClockKind {
    /// AWS Nitro: a clock of the network card, which follows the hardware clocks of the data
    /// centre.
    Ena,
    /// VMClock: the page of the hypervisor.
    VmClock,
    /// KVM: the host's system clock.
    Kvm,
    /// Hyper-V and Azure: the host's system clock.
    HyperV,
    /// VMware: the host's system clock.
    Vmware,
}

/// Kinds with the names of their drivers' clocks, the best first: those which state their error
/// before those which do not.
const KINDS: [(HostClockKind, &str); 5] = [
    (HostClockKind::Ena, "ena-ptp-"),
    (HostClockKind::VmClock, "vmclock"),
    (HostClockKind::Kvm, "KVM virtual PTP"),
    (HostClockKind::HyperV, "hyperv"),
    (HostClockKind::Vmware, "ptp_vmw"),
];

impl fmt::Display for HostClockKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ena => "clock of the AWS network card (ENA)",
            Self::VmClock => "clock of the hypervisor (VMClock)",
            Self::Kvm => "clock of the KVM host",
            Self::HyperV => "clock of the Hyper-V host",
            Self::Vmware => "clock of the VMware host",
        })
    }
}

/// A clock that the host of this machine offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostClock {
    /// What it is.
    pub kind: HostClockKind,
    /// How it is read.
    pub clock: PtpClock,
}

/// Returns the best clock that the host of this machine offers.
pub fn find(sysfs: &Sysfs) -> Option<HostClock> {
    let clocks = sysfs.ptp_clocks();
    KINDS.iter().find_map(|(kind, prefix)| {
        let clock = clocks.iter().find(|clock| clock.name.starts_with(prefix))?;
        Some(HostClock {
            kind: *kind,
            clock: clock.clone(),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::FakeTree;
    use super::*;

    #[test]
    fn each_host_is_recognised_by_the_name_of_its_clock() {
        for (name, kind) in [
            ("KVM virtual PTP", HostClockKind::Kvm),
            ("hyperv", HostClockKind::HyperV),
            ("vmclock0", HostClockKind::VmClock),
            ("ena-ptp-05", HostClockKind::Ena),
            ("ptp_vmw", HostClockKind::Vmware),
        ] {
            let tree = FakeTree::new(&[
                ("class/ptp/ptp0/clock_name", "525400123456"),
                ("class/ptp/ptp3/clock_name", name),
            ]);
            let found = find(&tree.sysfs()).unwrap();
            assert_eq!((found.kind, found.clock.index), (kind, 3));
        }
    }

    #[test]
    fn a_clock_that_states_its_error_is_preferred() {
        let tree = FakeTree::new(&[
            ("class/ptp/ptp0/clock_name", "KVM virtual PTP"),
            ("class/ptp/ptp1/clock_name", "vmclock0"),
        ]);
        assert_eq!(find(&tree.sysfs()).unwrap().kind, HostClockKind::VmClock);
    }

    #[test]
    fn a_network_card_is_no_host_clock() {
        let tree = FakeTree::new(&[("class/ptp/ptp0/clock_name", "525400123456")]);
        assert_eq!(find(&tree.sysfs()), None);
    }
}
