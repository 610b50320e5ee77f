//! Properties that hold for any input of `migrate`, as a function that panics otherwise.
//!
//! Three drivers share it: the libFuzzer target in `fuzz/`, the replay of the committed corpus, and
//! a property test. A corpus entry is a configuration of any daemon: each is converted from all
//! four formats.

use std::path::Path;

use super::{Dialect, migrate_text};

/// Maximum length of an input; longer ones are truncated, to save time.
const LIMIT: usize = 4096;

/// Sections that the result can have.
const SECTIONS: &[&str] = &[
    "source",
    "server",
    "nts-ke-server",
    "keys",
    "keyset",
    "synchronization",
    "clock",
    "leap",
    "local",
    "observability",
];

/// Converts `data` from each format.
///
/// # Panics
/// If `ntp-ctl validate` would not accept the result, if it has other sections than those that this
/// command writes, if a line that is not a comment is neither a heading nor a key, or if a second
/// conversion differs.
pub fn check(data: &[u8]) {
    let data = data.get(..LIMIT).unwrap_or(data);
    let text = String::from_utf8_lossy(data);
    let _ = Dialect::detect(Path::new("a.conf"), &text);
    for dialect in [
        Dialect::Chrony,
        Dialect::Ntpd,
        Dialect::Openntpd,
        Dialect::Timesyncd,
    ] {
        let migrated = migrate_text(dialect, &text);
        let toml = &migrated.toml;
        let table: toml::Table = match toml.parse() {
            Ok(table) => table,
            Err(problem) => panic!("{dialect:?}: invalid TOML: {problem}\n{toml}"),
        };
        for section in table.keys() {
            assert!(
                SECTIONS.contains(&section.as_str()),
                "{dialect:?}: unknown section [{section}]:\n{toml}"
            );
        }
        for line in toml.lines() {
            let harmless = line.is_empty() || line.starts_with(['#', '[', '"']);
            let key = line.split(" = ").next().unwrap_or_default();
            let is_key = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            assert!(harmless || key.chars().all(is_key), "{line}\n{toml}");
        }
        check_validates(toml);
        let comments = toml.matches("\n# line").count();
        assert!(comments >= migrated.unsupported, "a line was lost:\n{toml}");
        assert_eq!(migrate_text(dialect, &text), migrated);
    }
}

/// As `ntp-ctl validate` does.
fn check_validates(toml: &str) {
    let config = match ntp_config::parse(toml, "migrated") {
        Ok((config, _)) => config,
        Err(problem) => panic!("invalid configuration: {problem}\n{toml}"),
    };
    for finding in config.check() {
        assert!(finding.is_acceptable(), "{finding:?}\n{toml}");
    }
    assert!(config.unsupported().is_empty(), "{toml}");
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use proptest::prelude::*;

    /// Words of configuration files, because random text has no known directive.
    const WORDS: &[&str] = &[
        "server",
        "pool",
        "peer",
        "servers",
        "listen on",
        "allow",
        "deny",
        "restrict",
        "default",
        "nomodify",
        "ignore",
        "mask",
        "key",
        "keys",
        "keyfile",
        "nts",
        "iburst",
        "minpoll",
        "maxpoll",
        "maxsources",
        "port",
        "ntsport",
        "tos",
        "minsane",
        "tinker",
        "step",
        "panic",
        "makestep",
        "maxchange",
        "maxdistance",
        "leapsecmode",
        "smoothtime",
        "leaponly",
        "NTP=",
        "[Time]",
        "FallbackNTP=",
        "interface",
        "ratelimit",
        "interval",
        "local",
        "stratum",
        "ntsservercert",
        "ntsserverkey",
        "nts enable cert c key k",
        "bindaddress",
        "noselect",
        "disable ntp",
        "limited",
        "all",
        "certset",
        "0",
        "1",
        "-1",
        "99999999999",
        "1e400",
        "NaN",
        "192.0.2.1",
        "10/8",
        "::1",
        "fe80::1%eth0",
        "a.example",
        "\"",
        "\\",
        "#",
        "!",
        "\u{1}",
        "\u{7f}",
        "\u{85}",
        "\u{2028}",
        "=",
        "]",
        "\t",
    ];

    proptest! {
        #[test]
        fn any_sequence_of_known_words_becomes_toml(
            lines in prop::collection::vec(prop::collection::vec(prop::sample::select(WORDS), 0..8), 0..12),
        ) {
            let lines: Vec<String> = lines.iter().map(|words| words.join(" ")).collect();
            super::check(lines.join("\n").as_bytes());
        }

        #[test]
        fn any_octets_become_toml(data in prop::collection::vec(any::<u8>(), 0..300)) {
            super::check(&data);
        }
    }

    #[test]
    fn every_configuration_of_the_corpus_becomes_toml() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/migrate-corpus");
        let mut replayed = 0;
        for entry in fs::read_dir(directory).unwrap() {
            super::check(&fs::read(entry.unwrap().path()).unwrap());
            replayed += 1;
        }
        assert!(replayed >= 4);
    }

    #[test]
    fn control_characters_in_unknown_options_are_replaced() {
        super::check(b"server a \x01\n");
        super::check(b"server a.example key \x7f presend \x1b[31m\n");
    }
}
