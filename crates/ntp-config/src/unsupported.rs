//! Settings that this build does not support.
//!
//! The parser accepts all settings, so that the whole file is checked. Unsupported ones are then
//! refused by name: a daemon must not silently ignore an authenticated source.

use crate::clock::TimestampMode;
use crate::config::Config;
use crate::diagnostic::Diagnostic;
use crate::document::Place;
use crate::nts_ke::NtsKeConfig;
use crate::server::NtpVersion;
use crate::source::{SourceConfig, SourceKind, VersionChoice};

/// Advice about drafts of upstream.
const POOL_DRAFT: &str =
    "is a draft whose records changed their numbers from one release of ntpd-rs to the next";

impl Config {
    /// Returns an error for each configured facility that is not in this build. The daemon must
    /// not start if there is any (exit code 78).
    pub fn unsupported(&self) -> Vec<Diagnostic> {
        let mut refused = Vec::new();
        self.sources.iter().for_each(|it| source(it, &mut refused));
        self.nts_ke_servers
            .iter()
            .for_each(|it| key_exchange(it, &mut refused));
        for server in &self.servers {
            if server.accept_ntp_versions.contains(&NtpVersion::V5) {
                let advice = "leave 5 out of the list";
                refused.push(refuse(
                    &server.place,
                    "`accept-ntp-versions` with 5",
                    advice,
                ));
            }
        }
        if let Some(device) = &self.clock.device {
            let what = "disciplining a PTP device (`clock` in `[clock]`)";
            let advice = "remove the key to discipline the system clock";
            refused.push(refuse(&device.place, what, advice));
        }
        let mode = &self.clock.timestamp_mode;
        if mode.value == TimestampMode::Hardware {
            let advice = "remove the key: the kernel's timestamps are used";
            refused.push(refuse(
                &mode.place,
                "`timestamp-mode = \"hardware\"`",
                advice,
            ));
        }
        refused.sort_by_key(|diagnostic| diagnostic.place.order());
        refused
    }
}

fn source(source: &SourceConfig, refused: &mut Vec<Diagnostic>) {
    let mode = format!("source mode `{}`", source.kind.mode());
    match &source.kind {
        SourceKind::Nts(nts) if nts.key_exchange.srv_resolution => {
            let advice = "remove the key, and configure the address of the key exchange server: without DNSSEC, which is not validated here, an SRV record must not decide whose certificate is accepted";
            refused.push(refuse(&source.place, "`enable-srv-resolution`", advice));
        }
        SourceKind::NtsPool(_) => {
            let advice = format!(
                "configure several servers with `mode = \"nts\"`; the pool's key exchange {POOL_DRAFT}"
            );
            refused.push(refuse(&source.place, &mode, &advice));
        }
        SourceKind::Sock(_) | SourceKind::Pps(_) => {
            refused.push(refuse(&source.place, &mode, "remove the source"));
        }
        _ => {}
    }
    if let Some(version) = source.kind.ntp().map(|ntp| &ntp.version) {
        let what = match version.value {
            VersionChoice::V4 => return,
            VersionChoice::V5 => "`ntp-version = 5`",
            VersionChoice::Auto => "`ntp-version = \"auto\"`",
        };
        let advice = "leave `ntp-version` out to use NTPv4";
        refused.push(refuse(&version.place, what, advice));
    }
}

fn key_exchange(server: &NtsKeConfig, refused: &mut Vec<Diagnostic>) {
    if server.accept_ntp_versions.contains(&NtpVersion::V5) {
        let advice = "leave 5 out of `accept-ntp-versions`";
        refused.push(refuse(&server.place, "NTS key exchange for NTPv5", advice));
    }
    if !server.accepted_pool_authentication_tokens.is_empty() {
        let what = "NTS key exchange for members of a pool (`accepted-pool-authentication-tokens`)";
        let advice = format!("remove the key; the pool's key exchange {POOL_DRAFT}");
        refused.push(refuse(&server.place, what, &advice));
    }
}

fn refuse(place: &Place, what: &str, advice: &str) -> Diagnostic {
    let message = format!("{what} is not supported by this build");
    Diagnostic::error(place.clone(), message).with_help(advice)
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
