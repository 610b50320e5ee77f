//! Settings of a source or server on the command line: `KEY=VALUE` words.

use ntp_control_api::control::methods::Settings;
use serde_json::Value;

use crate::console::Failure;

/// Parses `key=value` words, in addition to `keys`. A dotted key is a key of a table; a value that
/// is not JSON is a string.
pub(crate) fn parse_settings(keys: &[(&str, &str)], words: &[String]) -> Result<Settings, Failure> {
    let mut settings = Settings::new();
    for (key, value) in keys {
        settings.insert((*key).to_owned(), (*value).into());
    }
    for word in words {
        let Some((mut path, value)) = split_setting(word) else {
            return Err(Failure::Usage(format!(
                "error: invalid setting {word:?}: expected KEY=VALUE, for example `prefer=true`\n\
                 or `poll-interval-limits.max=6`"
            )));
        };
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
        let mut table = &mut settings;
        let last = path.pop().unwrap_or_default();
        for part in path {
            let inner = table
                .entry(&*part)
                .or_insert_with(|| Value::Object(Settings::new()));
            let Value::Object(inner) = inner else {
                return Err(Failure::Usage(format!(
                    "error: invalid setting {word:?}: {part:?} is not a table"
                )));
            };
            table = inner;
        }
        table.insert(last, value);
    }
    Ok(settings)
}

/// Splits `KEY=VALUE`; the parts of the key are separated by dots. A part in double quotes may
/// contain dots and equals signs, as in TOML: `access."192.0.2.0/24"`.
fn split_setting(word: &str) -> Option<(Vec<String>, &str)> {
    let mut parts = vec![String::new()];
    let mut quoted = false;
    for (at, c) in word.char_indices() {
        match c {
            '"' => quoted = !quoted,
            '=' if !quoted => return Some((parts, &word[at + 1..])),
            '.' if !quoted => parts.push(String::new()),
            c => parts.last_mut()?.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn key_value_words_are_parsed_as_settings() {
        let words = [
            "prefer=true",
            "poll-interval-limits.min=4",
            "poll-interval-limits.max=6",
            "address=a=b",
            "ignore=[\"192.0.2.1\"]",
            "count=null",
            "access.\"192.0.2.0/24\"=allow",
            "access.default=ignore",
        ];
        let settings = parse_settings(&[], &words.map(ToOwned::to_owned)).unwrap();
        let expected = json!({
            "prefer": true, "poll-interval-limits": { "min": 4, "max": 6 }, "address": "a=b",
            "ignore": ["192.0.2.1"], "count": null,
            "access": { "192.0.2.0/24": "allow", "default": "ignore" },
        });
        assert_eq!(Value::Object(settings), expected);
        for wrong in ["prefer", "prefer=1 prefer.x=2"] {
            let words: Vec<_> = wrong.split(' ').map(ToOwned::to_owned).collect();
            assert!(parse_settings(&[], &words).is_err(), "{wrong}");
        }
    }
}
