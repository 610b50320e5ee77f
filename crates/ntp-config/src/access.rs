//! `[server.access]`: a decision for each network, of which the most specific one counts.
//!
//! The keys of the table are networks, so a network cannot have two decisions. The order of the
//! lines has no meaning: what chrony and ntpd call "most specific wins" needs none. The key
//! `default` is required, because a table with allowed networks only and one with refused networks
//! only suggest opposite defaults.

use std::collections::HashMap;

use crate::diagnostic::quote;
use crate::documentation::KeyDoc;
use crate::reader::{Context, Section, Value};
use crate::subnet::{self, Subnet};
use crate::value;

const ACCESS: &str = "server.access";

/// Keys of the table, other than networks.
pub(crate) const KEYS: &[KeyDoc] = &[KeyDoc::new(
    ACCESS,
    [
        "default",
        "`allow`, `ignore` or `deny`",
        "required",
        "Decision for clients in none of the networks. Every other key is a network, for example `\"192.0.2.0/24\" = \"allow\"`.",
    ],
)];

/// Decisions by network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessRules {
    /// For clients in none of the networks.
    pub default: AccessDecision,
    /// Each network once; the most specific one that contains a client counts.
    pub networks: Vec<(Subnet, AccessDecision)>,
}

/// What happens with requests of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessDecision {
    /// They are answered.
    Allow,
    /// They get no reply.
    Ignore,
    /// They get a DENY kiss (RFC 5905 section 7.4).
    Deny,
}

const DECISIONS: &[(&str, AccessDecision)] = &[
    ("allow", AccessDecision::Allow),
    ("ignore", AccessDecision::Ignore),
    ("deny", AccessDecision::Deny),
];

/// Reads the table.
pub(crate) fn read(cx: &mut Context, value: &Value<'_>) -> Option<AccessRules> {
    let mut table = Section::open(cx, ACCESS, value)?;
    let default = table.required(cx, "default", decision);
    let mut networks = Vec::new();
    let mut seen: HashMap<Subnet, &str> = HashMap::new();
    let mut valid = true;
    for (name, key, value) in table.other_keys("access") {
        let network = subnet::parse(cx, &key, name);
        let decision = decision(cx, &value);
        let (Some(network), Some(decision)) = (network, decision) else {
            valid = false;
            continue;
        };
        if let Some(first) = seen.insert(network, name) {
            let message = format!(
                "{} is the same network as {}",
                quote(name, '`'),
                quote(first, '`')
            );
            valid = false;
            key.reject::<()>(cx, message);
        }
        networks.push((network, decision));
    }
    table.finish(cx);
    let rules = AccessRules {
        default: default?,
        networks,
    };
    valid.then_some(rules)
}

fn decision(cx: &mut Context, value: &Value<'_>) -> Option<AccessDecision> {
    value::choice(cx, value, DECISIONS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(access: &str) -> Result<AccessRules, String> {
        let text = format!("[[server]]\nlisten = \"[::]:123\"\n{access}\n");
        match crate::parse(&text, "ntp.toml") {
            Ok((mut config, _)) => Ok(config.servers.remove(0).access.unwrap()),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn each_network_has_one_decision() {
        let rules = parse(
            "[server.access]\ndefault = \"ignore\"\n\"192.0.2.7/24\" = \"allow\"\n\"::/0\" = \"deny\"",
        );
        let rules = rules.unwrap();
        assert_eq!(rules.default, AccessDecision::Ignore);
        let networks: Vec<_> = rules
            .networks
            .iter()
            .map(|(it, decision)| (it.to_string(), *decision))
            .collect();
        let expected = [
            ("192.0.2.0/24".to_owned(), AccessDecision::Allow),
            ("::/0".to_owned(), AccessDecision::Deny),
        ];
        assert_eq!(networks, expected);
    }

    #[test]
    fn mistakes_are_reported_by_name() {
        for (access, expected) in [
            (
                "access = { \"192.0.2.0/24\" = \"allow\" }",
                "missing field `default`",
            ),
            ("access = { default = \"alow\" }", "did you mean `allow`"),
            (
                "access = { default = \"allow\", \"192.0.2.1\" = \"deny\" }",
                "192.0.2.1/32",
            ),
            (
                "access = { default = \"allow\", \"::/129\" = \"deny\" }",
                "Invalid subnet mask",
            ),
            (
                "access = { default = \"allow\", \"10.0.0.1/8\" = \"deny\", \"::ffff:10.0.0.0/104\" = \"allow\" }",
                "is the same network as",
            ),
            (
                "denylist = { filter = [], action = \"deny\" }\naccess = { default = \"allow\" }",
                "`denylist` beside `access` has no meaning",
            ),
            ("access = [\"192.0.2.0/24\"]", "expected a table"),
        ] {
            let error = parse(access).unwrap_err();
            assert!(error.contains(expected), "{access}\n{error}");
        }
    }
}
