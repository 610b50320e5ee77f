//! Mode `platform`: the sources that clouds and hypervisors offer their machines.
//!
//! The firmware states where the machine runs, and the names of the PTP clocks show what the host
//! offers. The decision is a pure function of both ([`decide`]). It never mixes smeared and
//! unsmeared time:
//!
//! | platform | firmware | sources | leap seconds |
//! |---|---|---|---|
//! | Amazon EC2 | vendor `Amazon EC2` | the clock of the network card if there is one, else the link-local servers | the card: in UTC; the servers smear |
//! | Microsoft Azure | vendor `Microsoft Corporation`, product `Virtual Machine`, Azure's chassis tag | the clock of the Hyper-V host | in UTC |
//! | Google Cloud | vendor `Google` or product `Google Compute Engine` | the metadata server only | smeared |
//! | others with a host clock | any | the host's clock beside the configured sources | in UTC |
//!
//! The servers answer only from inside the platform, so a wrong decision yields an unreachable
//! source, not a wrong clock.
//!
//! The sources of the platform are written as a file would have them and read with the others
//! (`Choice::to_toml`). Other sources of the files are used beside them, but not beside smeared
//! ones. If the files do not set `minimum-agreeing-sources`, it is lowered to the number of sources
//! that there are.

use core::fmt;

use ntp_os_clock::device::host_clock::{self, HostClock, HostClockKind};
use ntp_os_clock::device::sysfs::Sysfs;

/// A platform that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Platform {
    /// Amazon EC2.
    Amazon,
    /// Microsoft Azure.
    Azure,
    /// Google Compute Engine.
    Google,
    /// Another hypervisor that offers its clock.
    Hypervisor,
    /// A machine that offers nothing.
    Unknown,
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Amazon => "Amazon EC2",
            Self::Azure => "Microsoft Azure",
            Self::Google => "Google Compute Engine",
            Self::Hypervisor => "virtual machine",
            Self::Unknown => "no known platform",
        })
    }
}

/// A source of a platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlatformSource {
    /// An NTP server.
    Server {
        /// Address or name.
        address: &'static str,
        /// Smallest and largest poll interval, as a power of two in seconds.
        poll: (i8, i8),
    },
    /// The clock of the host.
    HostClock(HostClock),
}

impl fmt::Display for PlatformSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server { address, .. } => write!(f, "server {address}"),
            Self::HostClock(host) => write!(f, "{} ({})", host.kind, host.clock.path().display()),
        }
    }
}

/// What a machine offers, and why it was chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Where the machine runs.
    pub platform: Platform,
    /// The sources, the first of which is the best.
    pub sources: Vec<PlatformSource>,
    /// Whether their time is smeared around leap seconds: then no other source may be added.
    pub is_smeared: bool,
    /// Why these sources were chosen.
    pub reason: &'static str,
    /// Sources of the files that are not used, because the platform's are smeared.
    pub left_out: Vec<String>,
    /// Names of the sources in the configuration that it is part of.
    pub added: Vec<String>,
}

/// Poll intervals of the host's clock, as a power of two in seconds: it costs a system call.
const HOST_CLOCK_POLL: i8 = 0;

impl Choice {
    /// Returns the sections of a configuration file for the sources.
    pub(crate) fn to_toml(&self) -> String {
        self.sources.iter().map(PlatformSource::to_toml).collect()
    }
}

/// What is reported about the choice.
impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { platform, .. } = self;
        write!(
            f,
            "{platform}: {}; {}",
            self.source_names(),
            self.explanation()
        )
    }
}

impl Choice {
    /// Returns the sources, comma-separated, or `none`.
    pub fn source_names(&self) -> String {
        let names: Vec<_> = self.sources.iter().map(ToString::to_string).collect();
        match names.len() {
            0 => "none".to_owned(),
            _ => names.join(", "),
        }
    }

    /// Returns why these sources were chosen, and which others are not used beside them.
    pub fn explanation(&self) -> String {
        if self.left_out.is_empty() {
            return self.reason.to_owned();
        }
        let others = self.left_out.join(", ");
        format!("{}; not used beside smeared time: {others}", self.reason)
    }
}

impl PlatformSource {
    fn to_toml(&self) -> String {
        match self {
            Self::Server {
                address,
                poll: (min, max),
            } => format!(
                "[[source]]\nmode = \"server\"\naddress = \"{address}\"\n\
                 poll-interval-limits = {{ min = {min}, max = {max} }}\n"
            ),
            Self::HostClock(host) => {
                // Only these state their own error.
                let bound = match host.kind {
                    HostClockKind::Ena | HostClockKind::VmClock => "",
                    _ => HOST_CLOCK_BOUND,
                };
                format!(
                    "[[source]]\nmode = \"host-clock\"\npoll-interval = {HOST_CLOCK_POLL}\n{bound}"
                )
            }
        }
    }
}

/// Error of a host's clock that the host does not state: the operator of a data centre keeps hosts
/// within a millisecond by NTP.
const HOST_CLOCK_BOUND: &str = "error-bound = 0.001\n";

/// The link-local servers of Amazon EC2. They share a limit of 1024 packets a second with name
/// service and metadata, which 16 s are far from; Amazon's own images poll at that rate.
const AMAZON: [PlatformSource; 2] = [
    PlatformSource::Server {
        address: "169.254.169.123",
        poll: (4, 4),
    },
    PlatformSource::Server {
        address: "fd00:ec2::123",
        poll: (4, 4),
    },
];

/// The metadata server of Google Compute Engine.
const GOOGLE: PlatformSource = PlatformSource::Server {
    address: "metadata.google.internal",
    poll: (4, 10),
};

/// The chassis tag of all Azure machines; other Hyper-V machines have the same vendor and product.
const AZURE_CHASSIS: &str = "7783-7084-3265-9085-8269-3286-77";

/// Decides by the attributes of a machine which sources its platform offers.
pub fn decide(sysfs: &Sysfs) -> Choice {
    let platform = platform(sysfs);
    let host = host_clock::find(sysfs);
    match platform {
        Platform::Amazon => amazon(host),
        Platform::Google => Choice {
            platform,
            sources: vec![GOOGLE],
            is_smeared: true,
            reason: "Google smears leap seconds, so its server is used alone",
            left_out: Vec::new(),
            added: Vec::new(),
        },
        _ => host_only(platform, host),
    }
}

fn platform(sysfs: &Sysfs) -> Platform {
    let vendor = sysfs.firmware("sys_vendor");
    let product = sysfs.firmware("product_name");
    let board = sysfs.firmware("board_vendor");
    if vendor.starts_with("Amazon EC2") || board.starts_with("Amazon EC2") {
        Platform::Amazon
    } else if vendor == "Google" || product == "Google Compute Engine" {
        Platform::Google
    } else if sysfs.firmware("chassis_asset_tag") == AZURE_CHASSIS {
        Platform::Azure
    } else {
        Platform::Unknown
    }
}

fn amazon(host: Option<HostClock>) -> Choice {
    let card = host.filter(|host| host.kind == HostClockKind::Ena);
    let platform = Platform::Amazon;
    match card {
        Some(card) => Choice {
            platform,
            sources: vec![PlatformSource::HostClock(card)],
            is_smeared: false,
            reason: "the clock of the network card is not smeared, the link-local servers are: \
                     they are not mixed",
            left_out: Vec::new(),
            added: Vec::new(),
        },
        None => Choice {
            platform,
            sources: AMAZON.into(),
            is_smeared: true,
            reason: "the network card has no clock (ena.phc_enable=1 enables it)",
            left_out: Vec::new(),
            added: Vec::new(),
        },
    }
}

fn host_only(platform: Platform, host: Option<HostClock>) -> Choice {
    let (platform, reason) = match (platform, &host) {
        (Platform::Azure, Some(_)) => (platform, "Azure offers the clock of its host"),
        (Platform::Azure, None) => (
            platform,
            "the clock of the Hyper-V host is missing (module hv_utils; confidential machines have \
             none)",
        ),
        (_, Some(_)) => (
            Platform::Hypervisor,
            "the hypervisor offers its clock, whose error is not known: it is one source more",
        ),
        (_, None) => (
            Platform::Unknown,
            "neither the firmware nor a PTP clock is that of a known platform",
        ),
    };
    Choice {
        platform,
        sources: host.map(PlatformSource::HostClock).into_iter().collect(),
        is_smeared: false,
        reason,
        left_out: Vec::new(),
        added: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;

    /// A tree of attributes in a temporary directory.
    struct FakeTree(tempfile::TempDir);

    impl FakeTree {
        fn new(attributes: &[(&str, &str)]) -> Self {
            let directory = tempfile::tempdir().unwrap();
            for (path, text) in attributes {
                let path = directory.path().join(path);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, format!("{text}\n")).unwrap();
            }
            Self(directory)
        }

        fn sysfs(&self) -> Sysfs {
            Sysfs::at(self.0.path())
        }
    }

    const VENDOR: &str = "class/dmi/id/sys_vendor";
    const PRODUCT: &str = "class/dmi/id/product_name";
    const CHASSIS: &str = "class/dmi/id/chassis_asset_tag";
    const CLOCK: &str = "class/ptp/ptp0/clock_name";

    fn choice(attributes: &[(&str, &str)]) -> (Platform, Vec<String>, bool) {
        let choice = decide(&FakeTree::new(attributes).sysfs());
        assert!(!choice.reason.is_empty());
        let sources = choice.sources.iter().map(ToString::to_string).collect();
        (choice.platform, sources, choice.is_smeared)
    }

    #[test]
    fn amazon_offers_its_card_or_its_servers_but_never_both() {
        let servers = vec![
            "server 169.254.169.123".to_owned(),
            "server fd00:ec2::123".to_owned(),
        ];
        assert_eq!(
            choice(&[(VENDOR, "Amazon EC2"), (PRODUCT, "m7i.large")]),
            (Platform::Amazon, servers.clone(), true)
        );
        // KVM's clock is that of the host, whose error is not stated.
        let kvm = choice(&[(VENDOR, "Amazon EC2"), (CLOCK, "KVM virtual PTP")]);
        assert_eq!(kvm, (Platform::Amazon, servers, true));
        let card = choice(&[(VENDOR, "Amazon EC2"), (CLOCK, "ena-ptp-05")]);
        let expected = "clock of the AWS network card (ENA) (/dev/ptp0)".to_owned();
        assert_eq!(card, (Platform::Amazon, vec![expected], false));
    }

    #[test]
    fn azure_offers_the_clock_of_its_host_and_other_hyper_v_machines_too() {
        let host = vec!["clock of the Hyper-V host (/dev/ptp0)".to_owned()];
        let tag = (CHASSIS, AZURE_CHASSIS);
        let vendor = (VENDOR, "Microsoft Corporation");
        let clock = (CLOCK, "hyperv");
        assert_eq!(
            choice(&[vendor, tag, clock]),
            (Platform::Azure, host.clone(), false)
        );
        assert_eq!(choice(&[vendor, tag]), (Platform::Azure, vec![], false));
        assert_eq!(
            choice(&[vendor, clock]),
            (Platform::Hypervisor, host, false)
        );
    }

    #[test]
    fn google_offers_its_metadata_server_only() {
        let server = vec!["server metadata.google.internal".to_owned()];
        for attributes in [
            &[(VENDOR, "Google"), (PRODUCT, "Google Compute Engine")][..],
            &[
                (PRODUCT, "Google Compute Engine"),
                (CLOCK, "KVM virtual PTP"),
            ],
        ] {
            assert_eq!(choice(attributes), (Platform::Google, server.clone(), true));
        }
    }

    #[test]
    fn other_hypervisors_offer_their_clock_if_they_have_one() {
        for (name, expected) in [
            ("KVM virtual PTP", "clock of the KVM host (/dev/ptp0)"),
            ("vmclock0", "clock of the hypervisor (VMClock) (/dev/ptp0)"),
        ] {
            let found = choice(&[(VENDOR, "QEMU"), (CLOCK, name)]);
            assert_eq!(
                found,
                (Platform::Hypervisor, vec![expected.to_owned()], false)
            );
        }
        assert_eq!(
            choice(&[(VENDOR, "QEMU")]),
            (Platform::Unknown, vec![], false)
        );
        assert_eq!(choice(&[]), (Platform::Unknown, vec![], false));
    }

    const POOL: &str = "[[source]]\nmode = \"pool\"\naddress = \"pool.example\"\n";
    const AUTO: &str = "[[source]]\nmode = \"platform\"\n";

    fn loaded(text: &str, attributes: &[(&str, &str)]) -> Config {
        let tree = FakeTree::new(attributes);
        let path = tree.0.path().join("ntp.toml");
        std::fs::write(&path, text).unwrap();
        crate::load::load_on(Some(&path), &tree.sysfs())
            .unwrap()
            .config
    }

    fn names(config: &Config) -> Vec<String> {
        config
            .sources
            .iter()
            .filter_map(crate::SourceConfig::name)
            .collect()
    }

    #[test]
    fn smeared_sources_are_used_alone_and_one_of_them_is_enough() {
        let config = loaded(&[AUTO, POOL].concat(), &[(VENDOR, "Google")]);
        assert_eq!(names(&config), ["metadata.google.internal:123"]);
        assert_eq!(config.synchronization.minimum_agreeing_sources, 1);
        let choice = config.platform.unwrap();
        assert_eq!(choice.left_out, ["pool.example:123"]);
        assert_eq!(choice.added, ["metadata.google.internal:123"]);
        let text = choice.to_string();
        assert!(text.contains("pool.example:123"), "{text}");
    }

    #[test]
    fn a_host_clock_is_one_source_more() {
        let kvm = &[(CLOCK, "KVM virtual PTP")];
        let both = loaded(&[POOL, AUTO].concat(), kvm);
        assert_eq!(names(&both), ["pool.example:123", "host-clock"]);
        assert_eq!(both.synchronization.minimum_agreeing_sources, 3);
        let alone = loaded(AUTO, kvm);
        assert_eq!(names(&alone), ["host-clock"]);
        assert_eq!(alone.synchronization.minimum_agreeing_sources, 1);
        let set = "[synchronization]\nminimum-agreeing-sources = 2\n";
        let set = loaded(&[AUTO, set].concat(), kvm);
        assert_eq!(set.synchronization.minimum_agreeing_sources, 2);
    }

    #[test]
    fn on_an_unknown_machine_the_files_alone_count() {
        let config = loaded(&[AUTO, POOL].concat(), &[]);
        assert_eq!(names(&config), ["pool.example:123"]);
        assert_eq!(config.synchronization.minimum_agreeing_sources, 3);
        assert_eq!(config.platform.unwrap().platform, Platform::Unknown);
        assert_eq!(loaded(POOL, &[(VENDOR, "Google")]).platform, None);
    }
}
