//! Converts the `[[server]]` sections into the configuration of the serving threads.

use std::num::NonZero;
use std::thread;

use ntp_config::{AccessDecision, Config, FilterAction, FilterList, ServerConfig, build};
use ntp_proto::keys::KeyRing;
use ntp_proto::server::{
    Access, AccessList, AccessRule, Networks, Policy, RateLimit, Refusal, Versions,
};
use ntp_proto::wire::Version;
use ntp_time::NtpDuration;
use ntp_udp::ServerOptions;

use crate::convert;
use crate::serve::Listener;

/// Returns the listening addresses. `keys` is the content of the key file; `steering_key` is the
/// secret that spreads clients over threads.
pub fn listeners(config: &Config, keys: &KeyRing, steering_key: u32) -> Vec<Listener> {
    if !build::SERVER {
        return Vec::new();
    }
    let timestamps = convert::socket_options(config).timestamps;
    config
        .servers
        .iter()
        .map(|server| Listener {
            address: server.address(),
            workers: server.workers.unwrap_or_else(processors),
            batching_under_load: server.batching_under_load,
            policy: policy(server, keys),
            options: ServerOptions {
                timestamps,
                only_ipv6: shares_port_with_ipv4(config, server),
                device: server.device,
                dscp: server.dscp,
                steering_key,
            },
        })
        .collect()
}

/// Returns whether an IPv4 wildcard of the same port is configured; the IPv6 wildcard then does not
/// take IPv4 clients.
fn shares_port_with_ipv4(config: &Config, server: &ServerConfig) -> bool {
    config.servers.iter().any(|other| {
        other.listen.is_ipv4()
            && other.listen.ip().is_unspecified()
            && other.listen.port() == server.listen.port()
            && other.device == server.device
    })
}

fn processors() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}

fn policy(server: &ServerConfig, keys: &KeyRing) -> Policy {
    Policy {
        access: access(server),
        versions: server
            .accept_ntp_versions
            .iter()
            // Version 5 is refused earlier; see `Config::unsupported`.
            .filter_map(|version| Version::from_number(version.number()))
            .collect::<Versions>(),
        rate_limit: RateLimit {
            slots: server.rate_limiting_cache_size,
            cutoff: i64::try_from(server.rate_limiting_cutoff_ms)
                .map_or(NtpDuration::MAX, NtpDuration::from_millis),
            burst: server.rate_limiting_burst,
            leak: server.rate_limiting_leak,
            kiss: server.rate_limiting_kiss,
        },
        keys: match &server.keys {
            None => keys.clone(),
            Some(wanted) => keys.filtered(|key| wanted.iter().any(|it| it.value == key.id())),
        },
        require_nts: server.require_nts.map(refusal),
        interleaved_pairs: server.interleaved_cache_size,
        client_list_size: server.client_list_size,
    }
}

fn access(server: &ServerConfig) -> Access {
    let Some(rules) = &server.access else {
        return Access::from_lists(&list(&server.denylist), &list(&server.allowlist));
    };
    let networks = rules.networks.iter();
    let networks = networks.map(|(network, decision)| AccessRule {
        address: network.address(),
        length: network.length(),
        refusal: decision_refusal(*decision),
    });
    Access::from_rules(decision_refusal(rules.default), networks)
}

fn decision_refusal(decision: AccessDecision) -> Option<Refusal> {
    match decision {
        AccessDecision::Allow => None,
        AccessDecision::Ignore => Some(Refusal::Ignore),
        AccessDecision::Deny => Some(Refusal::Deny),
    }
}

fn list(list: &FilterList) -> AccessList {
    let networks = list.filter.iter();
    AccessList {
        networks: Networks::new(networks.map(|network| (network.address(), network.length()))),
        refusal: refusal(list.action),
    }
}

fn refusal(action: FilterAction) -> Refusal {
    match action {
        FilterAction::Ignore => Refusal::Ignore,
        FilterAction::Deny => Refusal::Deny,
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use ntp_proto::keys::KeyFile;

    use super::*;

    fn of(text: &str) -> Vec<Listener> {
        let (config, _) = ntp_config::parse(text, "ntp.toml").unwrap();
        let keys = KeyFile::parse(b"1 SHA1 0123456789\n2 SHA1 0123456789\n").unwrap();
        listeners(&config, &keys.keys, 0)
    }

    #[test]
    fn a_server_accepts_the_configured_keys_only() {
        let held = |keys: &str| {
            let server = format!("[keys]\npath = \"k\"\n[[server]]\nlisten = \"[::]:123\"\n{keys}");
            let policy = of(&server).remove(0).policy;
            policy.keys.iter().map(|key| key.id()).collect::<Vec<_>>()
        };
        assert_eq!(held(""), [1, 2]);
        assert_eq!(held("keys = [2]\n"), [2]);
        assert!(held("keys = []\n").is_empty());
    }

    #[test]
    fn access_lists_limits_and_versions_are_converted() {
        let listeners = of("\
[[server]]
listen = \"0.0.0.0:123\"
denylist = { filter = [\"192.0.2.0/24\"], action = \"deny\" }
allowlist = { filter = [\"10.0.0.0/8\", \"192.0.0.0/8\"], action = \"ignore\" }
rate-limiting-cache-size = 1000
rate-limiting-cutoff-ms = 500
rate-limiting-burst = 8
rate-limiting-leak = 0
rate-limiting-kiss = 4
interleaved-cache-size = 0
client-list-size = 100
accept-ntp-versions = [4]
workers = 3
batching-under-load = false
");
        let [listener] = listeners.as_slice() else {
            panic!("{listeners:?}");
        };
        assert_eq!((listener.workers, listener.batching_under_load), (3, false));
        let policy = &listener.policy;
        let refusal = |text: &str| policy.access.refusal(text.parse::<IpAddr>().unwrap());
        assert_eq!(refusal("192.0.2.1"), Some(Refusal::Deny));
        assert_eq!(refusal("203.0.113.1"), Some(Refusal::Ignore));
        assert_eq!(refusal("10.1.2.3"), None);
        let limit = RateLimit {
            slots: 1000,
            cutoff: NtpDuration::from_millis(500),
            burst: 8,
            leak: None,
            kiss: Some(2),
        };
        assert_eq!(policy.rate_limit, limit);
        assert_eq!(
            (policy.interleaved_pairs, policy.client_list_size),
            (0, 100)
        );
        assert!(policy.versions.contains(Version::V4));
        assert!(!policy.versions.contains(Version::V3));
    }

    #[test]
    fn the_most_specific_network_of_the_access_table_decides() {
        let listeners = of("\
[[server]]
listen = \"[::]:123\"
[server.access]
\"192.0.2.8/32\" = \"allow\"
\"192.0.0.0/16\" = \"deny\"
\"::/0\" = \"ignore\"
default = \"allow\"
");
        let access = &listeners[0].policy.access;
        let refusal = |text: &str| access.refusal(text.parse::<IpAddr>().unwrap());
        assert_eq!(refusal("192.0.2.8"), None);
        assert_eq!(refusal("::ffff:192.0.2.9"), Some(Refusal::Deny));
        assert_eq!(refusal("198.51.100.1"), None);
        assert_eq!(refusal("2001:db8::1"), Some(Refusal::Ignore));
    }

    #[test]
    fn the_wildcard_of_ipv6_serves_ipv4_unless_another_section_does() {
        let only = |text| {
            let all = of(text);
            all.iter()
                .map(|listener| listener.options.only_ipv6)
                .next_back()
        };
        let v6 = "[[server]]\nlisten = \"[::]:123\"\n";
        assert_eq!(only(v6), Some(false));
        let both = format!("[[server]]\nlisten = \"0.0.0.0:123\"\n{v6}");
        assert_eq!(only(&both), Some(true));
        let other_port = format!("[[server]]\nlisten = \"0.0.0.0:124\"\n{v6}");
        assert_eq!(only(&other_port), Some(false));
    }

    #[test]
    fn workers_default_to_the_number_of_processors() {
        assert!(of("[[server]]\nlisten = \"127.0.0.1:123\"\n")[0].workers >= 1);
    }
}
