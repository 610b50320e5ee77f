//! Access rules: a decision for each network, as `[server.access]` has them.

use ntp_config::{AccessDecision, Subnet};
use ntp_proto::server::{Access, AccessRule, Refusal};

use super::draft::{Table, quoted};

/// Decisions by network; the most specific one counts.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    default: AccessDecision,
    networks: Vec<(Subnet, AccessDecision)>,
}

impl Rules {
    pub(super) fn new(default: AccessDecision) -> Self {
        let networks = Vec::new();
        Self { default, networks }
    }

    /// Sets the decision for a network; replaces an earlier one.
    pub(super) fn set(&mut self, network: Subnet, decision: AccessDecision) {
        match self.networks.iter_mut().find(|(it, _)| *it == network) {
            Some((_, old)) => *old = decision,
            None => self.networks.push((network, decision)),
        }
    }

    /// Removes the decisions for parts of a network.
    pub(super) fn remove_parts(&mut self, network: Subnet) {
        self.networks.retain(|(it, _)| {
            *it == network || it.length() < network.length() || !network.contains(it.address())
        });
    }

    /// The decisions as the server makes them. Rules are equal if these are.
    pub(super) fn access(&self) -> Access {
        let networks = self.networks.iter();
        let rules = networks.map(|(network, decision)| AccessRule {
            address: network.address(),
            length: network.length(),
            refusal: refusal(*decision),
        });
        Access::from_rules(refusal(self.default), rules)
    }

    /// Whether a client outside of `excluded` is served.
    pub(super) fn serves_outside(&self, excluded: &[Subnet]) -> bool {
        // All refusals alike, so that one comparison suffices.
        let alike = |decision| match decision {
            AccessDecision::Deny => AccessDecision::Ignore,
            other => other,
        };
        let mut rules = Self::new(alike(self.default));
        for (network, decision) in &self.networks {
            rules.set(*network, alike(*decision));
        }
        for network in excluded {
            rules.set(*network, AccessDecision::Ignore);
            rules.remove_parts(*network);
        }
        rules.access() != Self::new(AccessDecision::Ignore).access()
    }

    /// Refuses a whole address family.
    pub(super) fn without(&self, family: Subnet) -> Self {
        let mut rules = self.clone();
        rules.set(family, AccessDecision::Ignore);
        rules.remove_parts(family);
        rules
    }

    /// Writes the rules into a server's section, if they do not allow all clients.
    pub(super) fn write(&self, server: &mut Table) {
        if self.access() == Access::allow_all() {
            return;
        }
        let of = |family| {
            let mut networks = self.networks.iter();
            networks.find(|(it, _)| *it == family).map(|it| it.1)
        };
        let families = [Subnet::ALL_IPV4, Subnet::ALL_IPV6];
        let [ipv4, ipv6] = families.map(|family| of(family).unwrap_or(self.default));
        // A decision for both families is the default.
        let default = if ipv4 == ipv6 { ipv4 } else { self.default };
        let implied = |network: &Subnet, decision: AccessDecision| {
            families.contains(network) && decision == default
        };
        let mut table = Table::default();
        table.set_text("default", word(default));
        for (network, decision) in &self.networks {
            if implied(network, *decision) {
                continue;
            }
            table.set_text(&quoted(&network.to_string()), word(*decision));
        }
        server.push("[server.access]", table);
    }
}

fn refusal(decision: AccessDecision) -> Option<Refusal> {
    match decision {
        AccessDecision::Allow => None,
        AccessDecision::Ignore => Some(Refusal::Ignore),
        AccessDecision::Deny => Some(Refusal::Deny),
    }
}

fn word(decision: AccessDecision) -> &'static str {
    match decision {
        AccessDecision::Allow => "allow",
        AccessDecision::Ignore => "ignore",
        AccessDecision::Deny => "deny",
    }
}
