//! Checks of a valid file: settings that contradict each other.
//!
//! The daemon logs these findings and starts; `ntp-ctl validate` fails if one of them is not
//! acceptable ([`Finding::is_acceptable`]).

use crate::config::Config;
use crate::diagnostic::Diagnostic;
use crate::document::Place;
use crate::nts_ke::NtsKeConfig;
use crate::server::NtpVersion;
use crate::source::VersionChoice;

/// A consequence of several settings, with advice.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// Kind of the finding.
    pub kind: FindingKind,
    /// Message and place.
    pub diagnostic: Diagnostic,
}

/// Kind of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FindingKind {
    /// No time source: the clock will not be corrected.
    NoSources,
    /// Fewer sources than `minimum-agreeing-sources`: the clock will never be corrected.
    TooFewSources,
    /// A source that uses a draft protocol only.
    DraftVersion,
    /// The key exchange server refers clients to a server without a `[[server]]` section.
    KeysWithoutServer,
}

impl Finding {
    /// Whether `ntp-ctl validate` accepts it.
    pub fn is_acceptable(&self) -> bool {
        self.kind == FindingKind::NoSources
    }

    fn warning(kind: FindingKind, place: &Place, message: String, help: &str) -> Self {
        let diagnostic = Diagnostic::warning(place.clone(), message).with_help(help);
        Self { kind, diagnostic }
    }
}

impl Config {
    /// Returns the settings that contradict each other.
    pub fn check(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        findings.extend(self.check_number_of_sources());
        findings.extend(self.check_versions());
        findings.extend(
            self.nts_ke_servers
                .iter()
                .flat_map(|ke| self.check_key_exchange(ke)),
        );
        findings
    }

    fn check_number_of_sources(&self) -> Option<Finding> {
        let Some(first) = self.sources.first() else {
            let message = "no time sources are configured: the clock will not be corrected";
            return Some(Finding {
                kind: FindingKind::NoSources,
                diagnostic: Diagnostic::note(Place::nowhere(), message),
            });
        };
        let maximum = self.sources.iter().fold(0_usize, |sum, source| {
            sum.saturating_add(source.kind.maximum_voters())
        });
        let needed = self.synchronization.minimum_agreeing_sources;
        (maximum < needed).then(|| {
            Finding::warning(
                FindingKind::TooFewSources,
                &first.place,
                format!(
                    "{maximum} source{} can be reached, but `minimum-agreeing-sources` is {needed}: the clock will never be corrected",
                    if maximum == 1 { "" } else { "s" },
                ),
                "add sources, or lower `minimum-agreeing-sources` in `[synchronization]`",
            )
        })
    }

    fn check_versions(&self) -> impl Iterator<Item = Finding> {
        let versions = self.sources.iter().filter_map(|source| source.kind.ntp());
        let drafts =
            versions.filter(|ntp| ntp.version.value == VersionChoice::Number(NtpVersion::V5));
        drafts.map(|ntp| {
            Finding::warning(
                FindingKind::DraftVersion,
                &ntp.version.place,
                format!(
                    "NTPv5 is a draft: `{}` may stop answering when it changes",
                    ntp.address
                ),
                "write `ntp-version = \"auto\"` to fall back on NTPv4",
            )
        })
    }

    /// Without `ntp-server`, clients use this host, which must serve them.
    fn check_key_exchange(&self, ke: &NtsKeConfig) -> Vec<Finding> {
        if ke.ntp_server.is_some() {
            return Vec::new();
        }
        let port = ke.ntp_port.unwrap_or(crate::NTP_PORT);
        let unanswered = |version: &&NtpVersion| {
            !self.servers.iter().any(|server| {
                server.listen.port() == port && server.accept_ntp_versions.contains(version)
            })
        };
        let unanswered = ke.accept_ntp_versions.iter().filter(unanswered);
        unanswered.map(|version| {
            let number = version.number();
            Finding::warning(
                FindingKind::KeysWithoutServer,
                &ke.place,
                format!("the key exchange server refers clients to NTPv{number} on port {port}, which no `[[server]]` serves"),
                "add such a server, or set `ntp-server` and `ntp-port`",
            )
        }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(text: &str) -> Vec<FindingKind> {
        let (config, _) = crate::parse(text, "test").unwrap();
        config.check().iter().map(|finding| finding.kind).collect()
    }

    #[test]
    fn no_sources_are_acceptable_and_too_few_are_not() {
        assert_eq!(findings(""), [FindingKind::NoSources]);
        assert!(Config::default().check()[0].is_acceptable());
        let one = "[[source]]\nmode = \"server\"\naddress = \"a\"\n";
        assert_eq!(findings(one), [FindingKind::TooFewSources]);
        assert_eq!(findings(&one.repeat(3)), []);
        assert_eq!(
            findings("[[source]]\nmode = \"pool\"\naddress = \"a\"\n"),
            []
        );
        let pulse = "[[source]]\nmode = \"pps\"\npath = \"/dev/pps0\"\nprecision = 1e-7\n";
        let enough = format!("{pulse}[synchronization]\nminimum-agreeing-sources = 1\n");
        assert_eq!(findings(&enough), [FindingKind::TooFewSources]);
        let huge = "[[source]]\nmode = \"pool\"\naddress = \"a\"\ncount = 9223372036854775807\n";
        assert_eq!(findings(&huge.repeat(3)), []);
    }

    #[test]
    fn a_draft_version_is_found_and_auto_is_not() {
        let pool = "[[source]]\nmode = \"pool\"\naddress = \"a\"\nntp-version = ";
        assert_eq!(findings(&format!("{pool}5\n")), [FindingKind::DraftVersion]);
        assert_eq!(findings(&format!("{pool}\"auto\"\n")), []);
    }

    #[test]
    fn keys_need_a_server_on_their_port_that_speaks_their_version() {
        let pool = "[[source]]\nmode = \"pool\"\naddress = \"a\"\n";
        let ke = "[[nts-ke-server]]\nlisten = \"[::]:4460\"\ncertificate-chain-path = \"c\"\nprivate-key-path = \"k\"\n";
        let with = |more: &str| findings(&format!("{pool}{ke}{more}"));
        let without = [FindingKind::KeysWithoutServer];
        assert_eq!(with(""), without);
        assert_eq!(with("ntp-server = \"b\"\n"), []);
        assert_eq!(with("[[server]]\nlisten = \"[::]:123\"\n"), []);
        assert_eq!(
            with("ntp-port = 124\n[[server]]\nlisten = \"[::]:123\"\n"),
            without
        );
        assert_eq!(
            with("accept-ntp-versions = [4, 5]\n[[server]]\nlisten = \"[::]:123\"\n"),
            without
        );
        assert_eq!(
            with("[[server]]\nlisten = \"[::]:123\"\naccept-ntp-versions = [3]\n"),
            without
        );
    }
}
