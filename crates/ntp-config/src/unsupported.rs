//! Settings that this build does not support.
//!
//! The parser accepts all settings, so that the whole file is checked. Unsupported ones are then
//! refused by name: a daemon must not silently ignore an authenticated source. Entries are
//! removed from the table as facilities are added.

use crate::clock::TimestampMode;
use crate::config::Config;
use crate::diagnostic::Diagnostic;
use crate::document::Place;
use crate::nts_ke::NtsKeConfig;
use crate::server::{NtpVersion, ServerConfig};
use crate::source::{SourceKind, VersionChoice};

/// A facility that is not in this build.
struct Unsupported {
    /// Its name in the file.
    what: &'static str,
    /// Advice.
    instead: &'static str,
    /// Places where the configuration uses it.
    uses: fn(&Config) -> Vec<Place>,
}

const UNSUPPORTED: &[Unsupported] = &[
    Unsupported {
        what: "`enable-srv-resolution`",
        instead: "remove the key, and configure the address of the key exchange server: without DNSSEC, which is not validated here, an SRV record must not decide whose certificate is accepted",
        uses: |config| {
            sources(
                config,
                |kind| matches!(kind, SourceKind::Nts(nts) if nts.key_exchange.srv_resolution),
            )
        },
    },
    Unsupported {
        what: "source mode `nts-pool`",
        instead: "configure several servers with `mode = \"nts\"`; the pool's key exchange is a draft whose records changed their numbers from one release of ntpd-rs to the next",
        uses: |config| sources(config, |kind| matches!(kind, SourceKind::NtsPool(_))),
    },
    Unsupported {
        what: "source mode `sock`",
        instead: "remove the source",
        uses: |config| sources(config, |kind| matches!(kind, SourceKind::Sock(_))),
    },
    Unsupported {
        what: "source mode `pps`",
        instead: "remove the source",
        uses: |config| sources(config, |kind| matches!(kind, SourceKind::Pps(_))),
    },
    Unsupported {
        what: "`ntp-version = 5`",
        instead: "leave `ntp-version` out to use NTPv4",
        uses: |config| versions(config, VersionChoice::V5),
    },
    Unsupported {
        what: "`ntp-version = \"auto\"`",
        instead: "leave `ntp-version` out to use NTPv4",
        uses: |config| versions(config, VersionChoice::Auto),
    },
    Unsupported {
        what: "`accept-ntp-versions` with 5",
        instead: "leave 5 out of the list",
        uses: |config| {
            servers(config, |server| {
                server.accept_ntp_versions.contains(&NtpVersion::V5)
            })
        },
    },
    Unsupported {
        what: "NTS key exchange for NTPv5",
        instead: "leave 5 out of `accept-ntp-versions`",
        uses: |config| {
            key_exchange(config, |ke| {
                ke.accept_ntp_versions.contains(&NtpVersion::V5)
            })
        },
    },
    Unsupported {
        what: "NTS key exchange for members of a pool (`accepted-pool-authentication-tokens`)",
        instead: "remove the key; the pool's key exchange is a draft whose records changed their numbers from one release of ntpd-rs to the next",
        uses: |config| {
            key_exchange(config, |ke| {
                !ke.accepted_pool_authentication_tokens.is_empty()
            })
        },
    },
    Unsupported {
        what: "disciplining a PTP device (`clock` in `[clock]`)",
        instead: "remove the key to discipline the system clock",
        uses: |config| {
            config
                .clock
                .device
                .iter()
                .map(|device| device.place.clone())
                .collect()
        },
    },
    Unsupported {
        what: "`timestamp-mode = \"hardware\"`",
        instead: "remove the key: the kernel's timestamps are used",
        uses: |config| {
            let mode = &config.clock.timestamp_mode;
            let hardware = mode.value == TimestampMode::Hardware;
            hardware.then(|| mode.place.clone()).into_iter().collect()
        },
    },
];

impl Config {
    /// Returns an error for each configured facility that is not in this build. The daemon must
    /// not start if there is any (exit code 78).
    pub fn unsupported(&self) -> Vec<Diagnostic> {
        let unsupported = UNSUPPORTED.iter().flat_map(|unsupported| {
            let places = (unsupported.uses)(self).into_iter();
            places.map(|place| {
                let message = format!("{} is not supported by this build", unsupported.what);
                Diagnostic::error(place, message).with_help(unsupported.instead)
            })
        });
        let mut refused: Vec<Diagnostic> = unsupported.collect();
        refused.sort_by_key(|diagnostic| diagnostic.place.order());
        refused
    }
}

fn sources(config: &Config, is: fn(&SourceKind) -> bool) -> Vec<Place> {
    let sources = config.sources.iter().filter(|source| is(&source.kind));
    sources.map(|source| source.place.clone()).collect()
}

fn servers(config: &Config, is: fn(&ServerConfig) -> bool) -> Vec<Place> {
    let servers = config.servers.iter().filter(|server| is(server));
    servers.map(|server| server.place.clone()).collect()
}

fn key_exchange(config: &Config, is: fn(&NtsKeConfig) -> bool) -> Vec<Place> {
    let sections = config.nts_ke_servers.iter().filter(|ke| is(ke));
    sections.map(|ke| ke.place.clone()).collect()
}

fn versions(config: &Config, version: VersionChoice) -> Vec<Place> {
    let versions = config.sources.iter().filter_map(|source| source.kind.ntp());
    let matching = versions.filter(|ntp| ntp.version.value == version);
    matching.map(|ntp| ntp.version.place.clone()).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn unsupported_settings_are_refused_by_name_and_line() {
        let text = "\
[[source]]
mode = \"pool\"
address = \"a\"
ntp-version = \"auto\"
[[source]]
mode = \"nts-pool\"
address = \"b\"
[keyset]
stale-key-count = 3
[clock]
timestamp-mode = \"hardware\"
[[server]]
listen = \"[::]:123\"
accept-ntp-versions = [4, 5]
[[server]]
listen = \"[::]:124\"
require-nts = true
";
        let (config, _) = crate::parse(text, "ntp.toml").unwrap();
        let refused = config.unsupported();
        let named: Vec<_> = refused
            .iter()
            .map(|found| (found.place.line().unwrap(), found.message.as_str()))
            .collect();
        let expected = [
            (4, "`ntp-version = \"auto\"` is not supported by this build"),
            (6, "source mode `nts-pool` is not supported by this build"),
            (
                11,
                "`timestamp-mode = \"hardware\"` is not supported by this build",
            ),
            (
                12,
                "`accept-ntp-versions` with 5 is not supported by this build",
            ),
        ];
        assert_eq!(named, expected);
    }
}
