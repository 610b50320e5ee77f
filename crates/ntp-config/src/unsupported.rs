//! Settings that this build does not support.
//!
//! The parser accepts all settings, so that the whole file is checked. Unsupported ones are then
//! refused by name: a daemon must not silently ignore an authenticated source. The table of refusals
//! also marks these settings in the configuration reference. Keys of parts that only some builds lack
//! ([`crate::build`]) are refused in the same way; their sections and modes already by the parser,
//! whose code for them is not in such a build.

use crate::build;
use crate::clock::TimestampMode;
use crate::config::Config;
use crate::diagnostic::{self, Diagnostic};
use crate::document::Place;
use crate::documentation::KeyDoc;

/// A setting that this build refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Unsupported {
    /// Name of its section.
    section: &'static str,
    key: &'static str,
    /// The refused value; `None` if all values are refused.
    value: Option<&'static str>,
    /// Its name in the error message.
    what: &'static str,
    /// What to do instead.
    advice: &'static str,
}

/// Declares the refusals as constants, and the table of all of them.
macro_rules! unsupported {
    ($($name:ident = $section:literal $key:literal $value:expr, $what:literal, $advice:literal;)*) => {
        $(const $name: Unsupported = Unsupported {
            section: $section, key: $key, value: $value, what: $what, advice: $advice,
        };)*
        const UNSUPPORTED: &[Unsupported] = &[$($name),*];
    };
}

unsupported! {
    PTP_CLOCK = "clock" "clock" None, "disciplining a PTP device (`clock` in `[clock]`)",
        "remove the key to discipline the system clock";
    HARDWARE_TIMESTAMPS = "clock" "timestamp-mode" Some("hardware"), "`timestamp-mode = \"hardware\"`",
        "remove the key: the kernel's timestamps are used";
}

impl Unsupported {
    fn at(&self, place: &Place) -> Diagnostic {
        let message = format!("{} is not supported by this build", self.what);
        Diagnostic::error(place.clone(), message).with_help(self.advice)
    }
}

impl KeyDoc {
    /// Returns a note for the manual if this build refuses the key or some of its values, or an
    /// empty string.
    pub fn not_in_this_build(&self) -> String {
        let has_mode = |mode: &str| {
            !UNSUPPORTED.iter().any(|entry| {
                (entry.section, entry.key, entry.value) == (self.section, "mode", Some(mode))
            })
        };
        let refused = UNSUPPORTED
            .iter()
            .filter(|entry| (entry.section, entry.key) == (self.section, self.key));
        let values: Vec<_> = refused.map(|entry| entry.value).collect();
        let no_mode = !self.modes.is_empty() && !self.modes.iter().any(|mode| has_mode(mode));
        if no_mode || values.contains(&None) {
            return " Not in this build.".to_owned();
        }
        let values: Vec<_> = values
            .iter()
            .flatten()
            .map(|it| format!("`{it}`"))
            .collect();
        match values.len() {
            0 => String::new(),
            _ => format!(" Not in this build: {}.", values.join(", ")),
        }
    }
}

impl Config {
    /// Returns an error for each configured facility that is not in this build. The daemon must
    /// not start if there is any (exit code 78).
    pub fn unsupported(&self) -> Vec<Diagnostic> {
        let mut refused = Vec::new();
        if let Some(device) = &self.clock.device {
            refused.push(PTP_CLOCK.at(&device.place));
        }
        let mode = &self.clock.timestamp_mode;
        if mode.value == TimestampMode::Hardware {
            refused.push(HARDWARE_TIMESTAMPS.at(&mode.place));
        }
        let keys: [(&str, &str, bool); 3] = [
            ("observability", "observation-path", build::INTERFACES),
            ("observability", "record-path", build::RECORDS),
            ("state", "history-days", build::RECORDS),
        ];
        for (section, key, built) in keys {
            let mut entries = self.entries.get(section).into_iter().flatten();
            if let Some(entry) = entries
                .find(|entry| !built && entry.key == key && entry.value != toml::Value::Integer(0))
            {
                let message = format!("`{key}` is not supported by this build");
                refused.push(
                    Diagnostic::error(entry.place.clone(), message).with_help("remove the key"),
                );
            }
        }
        diagnostic::sort(&mut refused);
        refused
    }
}

#[cfg(test)]
mod tests {
    use super::UNSUPPORTED;
    use crate::KEYS;

    #[test]
    fn unsupported_settings_are_refused_by_name_and_line() {
        let text = "\
[[source]]
mode = \"pool\"
address = \"a\"
ntp-version = \"auto\"
[[source]]
mode = \"server\"
address = \"b\"
ntp-version = 5
[keyset]
stale-key-count = 3
[clock]
timestamp-mode = \"hardware\"
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
        let expected = [(
            12,
            "`timestamp-mode = \"hardware\"` is not supported by this build",
        )];
        assert_eq!(named, expected);
    }

    #[test]
    fn the_reference_marks_every_refused_setting() {
        let note = |section: &str, key: &str, mode: Option<&str>| {
            let mut docs = KEYS.iter().filter(|doc| {
                (doc.section, doc.key) == (section, key)
                    && mode.is_none_or(|mode| doc.modes.contains(&mode))
            });
            docs.next().unwrap().not_in_this_build()
        };
        assert_eq!(note("source", "mode", None), "");
        assert_eq!(note("source", "path", Some("nmea")), "");
        assert_eq!(note("source", "path", Some("pps")), "");
        assert_eq!(note("source", "count", Some("pool")), "");
        assert_eq!(note("source", "count", Some("nts-pool")), "");
        assert_eq!(note("clock", "clock", None), " Not in this build.");
        for entry in UNSUPPORTED {
            assert_ne!(note(entry.section, entry.key, None), "", "{entry:?}");
        }
    }

    #[test]
    fn every_setting_of_the_table_is_refused() {
        let files = [
            "[clock]\nclock = \"/dev/ptp0\"\n".to_owned(),
            "[clock]\ntimestamp-mode = \"hardware\"\n".to_owned(),
        ];
        assert_eq!(files.len(), UNSUPPORTED.len());
        for (text, entry) in files.iter().zip(UNSUPPORTED) {
            let (config, _) = crate::parse(text, "ntp.toml").unwrap();
            let refused = config.unsupported();
            assert!(
                refused.iter().any(|it| it.message.starts_with(entry.what)),
                "{text}{refused:?}"
            );
        }
    }
}
