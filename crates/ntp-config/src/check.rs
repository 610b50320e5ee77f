//! Checks of a valid file: settings that contradict each other or have less effect than expected.
//!
//! The daemon logs these findings and starts; `ntp-ctl validate` fails if one of them is not
//! acceptable ([`Finding::is_acceptable`]).

use std::collections::HashSet;

use ntp_proto::engine::MAX_POOL_SIZE;
use ntp_types::host::Host;
use ntp_types::path::InterfaceName;

use crate::address::Address;
use crate::config::Config;
use crate::diagnostic::Diagnostic;
use crate::document::Place;
use crate::nts::NtsPolicy;
use crate::nts_ke::NtsKeConfig;
use crate::server::NtpVersion;
use crate::source::{SourceConfig, SourceKind, VersionChoice};

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
    /// Two sources are one server, which has one vote.
    DuplicateSource,
    /// A pool of more servers than are ever used.
    LargePool,
    /// A source that uses a draft protocol only.
    DraftVersion,
    /// A policy for sources without authentication, and no source with it.
    NoAuthentication,
    /// The key exchange server refers clients to a server without a `[[server]]` section.
    KeysWithoutServer,
}

impl Finding {
    /// Whether `ntp-ctl validate` accepts it.
    pub fn is_acceptable(&self) -> bool {
        match self.kind {
            FindingKind::NoSources | FindingKind::DuplicateSource | FindingKind::LargePool => true,
            FindingKind::TooFewSources
            | FindingKind::DraftVersion
            | FindingKind::NoAuthentication
            | FindingKind::KeysWithoutServer => false,
        }
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
        findings.extend(self.check_policy());
        findings.extend(self.check_duplicates());
        findings.extend(self.check_pools());
        findings.extend(self.check_versions());
        findings.extend(
            self.nts_ke_servers
                .iter()
                .flat_map(|ke| self.check_key_exchange(ke)),
        );
        findings
    }

    /// The sources that vote if all are usable: those without `fallback`, if there are any.
    pub(crate) fn regular_sources(&self) -> impl Iterator<Item = &SourceConfig> {
        let is_regular =
            |it: &&SourceConfig| !it.kind.is_fallback() && it.kind.maximum_voters() > 0;
        let any = self.sources.iter().any(|source| is_regular(&source));
        let sources = self.sources.iter();
        sources.filter(move |source| !any || is_regular(source))
    }

    fn check_number_of_sources(&self) -> Option<Finding> {
        let Some(first) = self.sources.first() else {
            let message = "no time sources are configured: the clock will not be corrected";
            return Some(Finding {
                kind: FindingKind::NoSources,
                diagnostic: Diagnostic::note(Place::nowhere(), message),
            });
        };
        let mut servers = HashSet::new();
        let maximum = self.regular_sources().fold(0_usize, |sum, source| {
            let known = Server::of(&source.kind)
                .filter(Server::is_certain)
                .is_some_and(|server| !servers.insert(server));
            let voters = if known {
                0
            } else {
                source.kind.maximum_voters()
            };
            sum.saturating_add(voters)
        });
        let needed = self.synchronization.minimum_agreeing_sources;
        let fallback_remains = self.regular_sources().all(|it| !it.kind.is_fallback())
            && self.sources.iter().any(|it| it.kind.is_fallback());
        let consequence = if fallback_remains {
            "sources with `fallback` will always be used"
        } else {
            "the clock will never be corrected"
        };
        (maximum < needed).then(|| {
            Finding::warning(
                FindingKind::TooFewSources,
                &first.place,
                format!(
                    "{maximum} source{} can be reached, but `minimum-agreeing-sources` is {needed}: {consequence}",
                    if maximum == 1 { "" } else { "s" },
                ),
                "add sources, or lower `minimum-agreeing-sources` in `[synchronization]`",
            )
        })
    }

    fn check_policy(&self) -> Option<Finding> {
        let (prefers, others): (Vec<_>, Vec<_>) =
            (self.sources.iter()).partition(|source| source.kind.is_fallback());
        let first = prefers.first()?;
        let by_policy = self.nts.policy == NtsPolicy::Prefer;
        (by_policy && others.iter().all(|it| it.kind.maximum_voters() == 0)).then(|| {
            Finding::warning(
                FindingKind::NoAuthentication,
                &first.place,
                "`policy = \"prefer\"` in `[nts]`, but no source has authentication: those without it are used".to_owned(),
                "add sources of mode `nts`, or leave `policy` out",
            )
        })
    }

    /// Sources that lead to one server as they are written.
    fn check_duplicates(&self) -> Vec<Finding> {
        let mut servers = HashSet::new();
        let mut findings = Vec::new();
        for source in &self.sources {
            let Some(server) = Server::of(&source.kind) else {
                continue;
            };
            let help = if server.is_certain() {
                "remove one of them, or write the address of another server"
            } else {
                "remove one of them; to use several servers of one name, write `mode = \"pool\"`"
            };
            if !servers.insert(server) {
                let name = source.name().unwrap_or_default();
                findings.push(Finding::warning(
                    FindingKind::DuplicateSource,
                    &source.place,
                    format!("`{name}` is configured before: one server has one vote"),
                    help,
                ));
            }
        }
        findings
    }

    /// Pools whose `count` is larger than what is used.
    fn check_pools(&self) -> impl Iterator<Item = Finding> {
        let large = self.sources.iter().filter_map(|source| {
            let (ntp, count) = match &source.kind {
                SourceKind::Pool(pool) => (&pool.ntp, pool.count),
                SourceKind::NtsPool(pool) => (&pool.ntp, pool.count),
                _ => return None,
            };
            (count > MAX_POOL_SIZE).then_some((source, ntp, count))
        });
        large.map(|(source, ntp, count)| {
            Finding::warning(
                FindingKind::LargePool,
                &source.place,
                format!(
                    "`count = {count}` of `{}`: at most {MAX_POOL_SIZE} servers of a pool are used",
                    ntp.address
                ),
                "write a smaller `count`; four servers are usual",
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

/// A server as a source of mode `server` or `nts` names it.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Server {
    key_exchange: bool,
    host: Host,
    port: u16,
    device: Option<InterfaceName>,
}

impl Server {
    fn of(kind: &SourceKind) -> Option<Self> {
        let (key_exchange, ntp) = match kind {
            SourceKind::Server(ntp) => (false, ntp),
            SourceKind::Nts(nts) => (true, &nts.ntp),
            _ => return None,
        };
        let Address { host, port } = &ntp.address;
        let host = match host {
            Host::Address(address) => Host::Address(*address),
            Host::Name(name) => Host::Name(name.trim_end_matches('.').to_ascii_lowercase()),
        };
        Some(Self {
            key_exchange,
            host,
            port: *port,
            device: ntp.path.device,
        })
    }

    /// Whether two sources that name it have one vote in any case. Two sources with one host name
    /// use two of its addresses, if it has two.
    fn is_certain(&self) -> bool {
        self.key_exchange || matches!(self.host, Host::Address(_))
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
        assert_eq!(
            findings(
                &(one.to_owned() + &one.replace("\"a\"", "\"b\"") + &one.replace("\"a\"", "\"c\""))
            ),
            []
        );
        assert_eq!(
            findings("[[source]]\nmode = \"pool\"\naddress = \"a\"\n"),
            []
        );
        let pulse = "[[source]]\nmode = \"pps\"\npath = \"/dev/pps0\"\nprecision = 1e-7\n";
        let enough = format!("{pulse}[synchronization]\nminimum-agreeing-sources = 1\n");
        assert_eq!(findings(&enough), [FindingKind::TooFewSources]);
        let huge = "[[source]]\nmode = \"pool\"\naddress = \"a\"\ncount = 9223372036854775807\n";
        assert_eq!(findings(&huge.repeat(3)), [FindingKind::LargePool; 3]);
    }

    fn source(mode: &str, address: &str) -> String {
        format!("[[source]]\nmode = \"{mode}\"\naddress = \"{address}\"\n")
    }

    #[test]
    fn sources_with_fallback_count_only_if_there_are_no_others() {
        use FindingKind::TooFewSources;
        let fallback = |address| source("server", address) + "fallback = true\n";
        let three = fallback("a") + &fallback("b") + &fallback("c");
        assert_eq!(findings(&three), []);
        assert_eq!(findings(&(three.clone() + &source("pool", "d"))), []);
        assert_eq!(findings(&(three + &source("server", "d"))), [TooFewSources]);
    }

    #[test]
    fn one_server_that_is_named_twice_is_found_and_has_one_vote() {
        use FindingKind::{DuplicateSource, TooFewSources};
        let one = "[synchronization]\nminimum-agreeing-sources = 1\n";
        let two = "[synchronization]\nminimum-agreeing-sources = 2\n";
        for (mode, first, second, is_certain) in [
            ("server", "192.0.2.1", "192.0.2.1:123", true),
            ("server", "::ffff:192.0.2.1", "192.0.2.1", true),
            ("server", "[2001:db8::1]:123", "2001:db8:0::1", true),
            ("server", "time.example", "Time.Example.", false),
            ("nts", "time.example", "time.example:4460", true),
        ] {
            let sources = source(mode, first) + &source(mode, second);
            assert_eq!(
                findings(&(sources.clone() + one)),
                [DuplicateSource],
                "{first}"
            );
            let expected = [TooFewSources, DuplicateSource];
            let expected = &expected[usize::from(!is_certain)..];
            assert_eq!(findings(&(sources + two)), expected, "{first}");
        }
        for (mode, first, second) in [
            ("server", "192.0.2.1:123", "192.0.2.1:124"),
            ("server", "a.example", "b.example"),
            ("pool", "a.example", "a.example"),
        ] {
            let sources = source(mode, first) + &source(mode, second);
            assert_eq!(findings(&(sources + one)), [], "{first}");
        }
        let mixed = source("server", "a.example") + &source("nts", "a.example") + one;
        assert_eq!(findings(&mixed), []);
    }

    #[test]
    fn a_pool_of_more_servers_than_are_used_is_found() {
        let with = |count| findings(&format!("{}count = {count}\n", source("pool", "a")));
        assert_eq!(with(64), []);
        assert_eq!(with(500), [FindingKind::LargePool]);
        let (config, _) =
            crate::parse(&format!("{}count = 500\n", source("pool", "a")), "test").unwrap();
        let finding = &config.check()[0];
        assert!(finding.is_acceptable());
        let message = finding.diagnostic.to_string();
        assert!(
            message.contains("`count = 500`") && message.contains("64"),
            "{message}"
        );
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
            with("ntp-port = 1124\n[[server]]\nlisten = \"[::]:123\"\n"),
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
