//! What a file may ask for that this build does not have.
//!
//! The parser accepts the whole language, so that a file is judged in full. What is asked for
//! and lacking is then refused by name: a daemon that silently leaves out an authenticated
//! source does not do what its file says. The table shrinks as facilities arrive.

use crate::clock::TimestampMode;
use crate::config::Config;
use crate::diagnostic::Diagnostic;
use crate::document::Place;
use crate::nts_ke::NtsKeConfig;
use crate::server::{NtpVersion, ServerConfig};
use crate::source::{SourceKind, VersionChoice};

/// A facility that this build lacks.
struct Lacking {
    /// Its name in the file.
    what: &'static str,
    /// What can be done without it.
    instead: &'static str,
    /// Where the configuration asks for it.
    asked: fn(&Config) -> Vec<Place>,
}

const LACKING: &[Lacking] = &[
    Lacking {
        what: "`enable-srv-resolution`",
        instead: "remove the key, and name the key exchange server itself: answers without DNSSEC must not decide whose certificate is good, and nothing here validates it",
        asked: |config| {
            sources(
                config,
                |kind| matches!(kind, SourceKind::Nts(nts) if nts.key_exchange.srv_resolution),
            )
        },
    },
    Lacking {
        what: "source mode `nts-pool`",
        instead: "name several servers with `mode = \"nts\"`; the pool's key exchange is a draft whose records changed their numbers from one release of ntpd-rs to the next",
        asked: |config| sources(config, |kind| matches!(kind, SourceKind::NtsPool(_))),
    },
    Lacking {
        what: "source mode `sock`",
        instead: "remove the source",
        asked: |config| sources(config, |kind| matches!(kind, SourceKind::Sock(_))),
    },
    Lacking {
        what: "source mode `pps`",
        instead: "remove the source",
        asked: |config| sources(config, |kind| matches!(kind, SourceKind::Pps(_))),
    },
    Lacking {
        what: "`ntp-version = 5`",
        instead: "leave `ntp-version` out to use NTPv4",
        asked: |config| versions(config, VersionChoice::V5),
    },
    Lacking {
        what: "`ntp-version = \"auto\"`",
        instead: "leave `ntp-version` out to use NTPv4",
        asked: |config| versions(config, VersionChoice::Auto),
    },
    Lacking {
        what: "`accept-ntp-versions` with 5",
        instead: "leave 5 out of the list",
        asked: |config| {
            servers(config, |server| {
                server.accept_ntp_versions.contains(&NtpVersion::V5)
            })
        },
    },
    Lacking {
        what: "giving out NTS keys for version 5",
        instead: "leave 5 out of `accept-ntp-versions`",
        asked: |config| {
            key_exchange(config, |ke| {
                ke.accept_ntp_versions.contains(&NtpVersion::V5)
            })
        },
    },
    Lacking {
        what: "giving out keys for members of a pool (`accepted-pool-authentication-tokens`)",
        instead: "remove the key; the pool's key exchange is a draft whose records changed their numbers from one release of ntpd-rs to the next",
        asked: |config| {
            key_exchange(config, |ke| {
                !ke.accepted_pool_authentication_tokens.is_empty()
            })
        },
    },
    Lacking {
        what: "correcting a PTP device (`clock` in `[clock]`)",
        instead: "remove the key to correct the system clock",
        asked: |config| {
            config
                .clock
                .device
                .iter()
                .map(|device| device.place.clone())
                .collect()
        },
    },
    Lacking {
        what: "`timestamp-mode = \"hardware\"`",
        instead: "remove the key: the kernel's timestamps are used",
        asked: |config| {
            let mode = &config.clock.timestamp_mode;
            let hardware = mode.value == TimestampMode::Hardware;
            hardware.then(|| mode.place.clone()).into_iter().collect()
        },
    },
];

impl Config {
    /// Everything that is configured and that this build lacks. A daemon must not start if
    /// this is not empty (exit code 78).
    pub fn unsupported(&self) -> Vec<Diagnostic> {
        let lacking = LACKING.iter().flat_map(|lacking| {
            let places = (lacking.asked)(self).into_iter();
            places.map(|place| {
                let message = format!("{} is not supported by this build", lacking.what);
                Diagnostic::error(place, message).with_help(lacking.instead)
            })
        });
        let mut refused: Vec<Diagnostic> = lacking.collect();
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
    let asked = versions.filter(|ntp| ntp.version.value == version);
    asked.map(|ntp| ntp.version.place.clone()).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_is_lacking_is_refused_by_name_and_line_and_nothing_else_is() {
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
