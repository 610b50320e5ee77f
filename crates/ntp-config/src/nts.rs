//! `[nts]`: how sources without authentication are used. Not in upstream ntpd-rs.
//!
//! The policy is a rule for the selection options of such sources, and is applied to them when a
//! configuration or a section of it has been read: `only` is `noselect`, `prefer` is `fallback`.

use crate::reader::{Context, Value};
use crate::schema::section;
use crate::value;

section! {
    /// How sources without authentication are used.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct NtsConfig: Default = "nts" [] {
        policy: NtsPolicy = policy => or(NtsPolicy::Ignore),
            "policy" "`\"only\"`, `\"prefer\"` or `\"ignore\"`" "\"ignore\"" "How servers and pools without NTS and without a symmetric key are used. `only`: they are measured and never used, as with `noselect`. `prefer`: they are used after too few other sources have been usable for `fallback-after`, as with `fallback`. `ignore`: they are like all others.";
    }
}

/// How sources without authentication are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NtsPolicy {
    /// They are never used.
    Only,
    /// They are used while too few others are usable.
    Prefer,
    /// They are like all others.
    #[default]
    Ignore,
}

const POLICIES: [(&str, NtsPolicy); 3] = [
    ("only", NtsPolicy::Only),
    ("prefer", NtsPolicy::Prefer),
    ("ignore", NtsPolicy::Ignore),
];

pub(crate) fn policy(cx: &mut Context, value: &Value<'_>) -> Option<NtsPolicy> {
    value::choice(cx, value, &POLICIES)
}

#[cfg(test)]
mod tests {
    use crate::{Config, FindingKind};

    const SOURCES: &str = "[keys]\npath = \"/k\"\n[[source]]\nmode = \"nts\"\naddress = \"a\"\n\
        [[source]]\nmode = \"server\"\naddress = \"b\"\n\
        [[source]]\nmode = \"pool\"\naddress = \"c\"\n\
        [[source]]\nmode = \"server\"\naddress = \"d\"\nkey = 1\n";

    fn config(text: &str) -> Config {
        crate::parse(text, "policy").unwrap().0
    }

    /// Letters of the options that the sources have.
    fn options(text: &str) -> String {
        let config = config(text);
        let letter = |it: &crate::SourceConfig| {
            let options = it.kind.ntp().unwrap().selection;
            match (options.noselect, options.fallback) {
                (true, _) => 'n',
                (_, true) => 'f',
                _ => '-',
            }
        };
        config.sources.iter().map(letter).collect()
    }

    #[test]
    fn the_policy_concerns_sources_without_authentication_and_a_source_can_override_it() {
        assert_eq!(options(SOURCES), "----");
        let with = |policy: &str| format!("{SOURCES}[nts]\npolicy = \"{policy}\"\n");
        assert_eq!(options(&with("ignore")), "----");
        assert_eq!(options(&with("only")), "-nn-");
        assert_eq!(options(&with("prefer")), "-ff-");
        let one = |policy: &str| {
            with(policy).replace(
                "address = \"b\"",
                "address = \"b\"\nnts-policy = \"ignore\"",
            )
        };
        assert_eq!(options(&one("only")), "--n-");
        assert_eq!(options(&one("prefer")), "--f-");
        let own = SOURCES.replace(
            "address = \"c\"",
            "address = \"c\"\nnts-policy = \"prefer\"",
        );
        assert_eq!(options(&own), "--f-");
        for wrong in [
            with("always"),
            SOURCES.replace("\"a\"", "\"a\"\nnts-policy = \"only\""),
        ] {
            assert!(crate::parse(&wrong, "policy").is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_policy_without_a_source_that_has_authentication_is_found() {
        let source = "[[source]]\nmode = \"pool\"\naddress = \"c\"\n[nts]\npolicy = ";
        let findings = |policy: &str| -> Vec<FindingKind> {
            let config = config(&format!("{source}\"{policy}\"\n"));
            config.check().iter().map(|it| it.kind).collect()
        };
        assert_eq!(findings("ignore"), []);
        assert_eq!(findings("only"), [FindingKind::TooFewSources]);
        assert_eq!(findings("prefer"), [FindingKind::NoAuthentication]);
    }
}
