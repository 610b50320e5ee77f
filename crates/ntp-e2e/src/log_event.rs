//! Events in the daemon's log: tests match names and fields, not the text for people.

use std::collections::BTreeMap;

use ntp_types::event::Event;

/// A line of the daemon's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEvent {
    line: String,
    name: String,
    fields: BTreeMap<String, String>,
}

impl LogEvent {
    /// Parses a line. `None` if it is not an event.
    pub fn parse(line: &str) -> Option<Self> {
        // The text before the fields may contain whatever a server sent.
        let starts = line.match_indices(" event=").map(|(start, _)| start);
        let mut fields = starts.filter_map(|start| fields(&line[start..]));
        let mut fields = fields.find(|fields| Event::NAMES.contains(&fields["event"].as_str()))?;
        Some(Self {
            line: line.to_owned(),
            name: fields.remove("event")?,
            fields,
        })
    }

    /// Asserts that there is an event of this name: a test for the absence of another would always
    /// succeed.
    ///
    /// # Panics
    /// If there is none.
    #[track_caller]
    pub fn assert_declared(name: &str) {
        assert!(Event::NAMES.contains(&name), "no event is called {name}");
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The whole line.
    pub fn line(&self) -> &str {
        &self.line
    }

    /// The level, as the log shows it: `WARN`.
    pub fn level(&self) -> &str {
        self.line.split_whitespace().nth(1).unwrap_or_default()
    }

    /// Value of a field.
    ///
    /// # Panics
    /// If it has no such field.
    #[track_caller]
    pub fn field(&self, name: &str) -> &str {
        match self.fields.get(name) {
            Some(value) => value,
            None => panic!("no field {name} in {}", self.line),
        }
    }

    /// Whether it is an event of this name with these fields.
    pub fn matches(&self, name: &str, fields: &[(&str, &str)]) -> bool {
        let has =
            |(name, value): &(&str, &str)| (self.fields.get(*name)).is_some_and(|own| own == value);
        self.name == name && fields.iter().all(has)
    }
}

/// Parses ` name=value name="quoted value"` up to the end. `None` if anything else is there.
fn fields(text: &str) -> Option<BTreeMap<String, String>> {
    let mut fields = BTreeMap::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (name, after) = rest.strip_prefix(' ')?.split_once('=')?;
        let plain = |character: char| character.is_ascii_alphanumeric() || character == '_';
        if !name.chars().all(plain) {
            return None;
        }
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => unquote(quoted)?,
            None => {
                let end = after.find(' ').unwrap_or(after.len());
                (after[..end].to_owned(), &after[end..])
            }
        };
        fields.insert(name.to_owned(), value);
        rest = after;
    }
    Some(fields)
}

/// Parses text after an opening quotation mark. Returns the value and the text after the closing
/// mark.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((place, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[place + 1..])),
            '\\' => match characters.next()?.1 {
                'n' => value.push('\n'),
                'r' => value.push('\r'),
                't' => value.push('\t'),
                '0' => value.push('\0'),
                'u' => {
                    let digits: String = characters
                        .by_ref()
                        .map(|(_, digit)| digit)
                        .skip_while(|digit| *digit == '{')
                        .take_while(|digit| *digit != '}')
                        .collect();
                    value.push(char::from_u32(u32::from_str_radix(&digits, 16).ok()?)?);
                }
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use ntp_time::NtpDuration;
    use ntp_types::event::Logfmt;

    use super::*;

    #[test]
    fn what_the_daemon_writes_is_read_back() {
        let error = "no \"host\"\n\u{1b} event=clock_stepped step=5 \\ é=";
        let event = Event::ResolveFailed {
            host: "ntp.example".to_owned(),
            error: error.to_owned(),
            retry: NtpDuration::from_seconds(64),
        };
        let line = format!(
            "2026-06-15T12:00:00.000000Z  WARN {event} {}",
            Logfmt(&event)
        );
        let read = LogEvent::parse(&line).expect("an event");
        assert_eq!((read.name(), read.level()), ("resolve_failed", "WARN"));
        assert_eq!(read.field("error"), error);
        assert!(read.matches("resolve_failed", &[("host", "ntp.example")]));
        assert!(!read.matches("resolve_failed", &[("host", "other.example")]));
        assert!(!read.matches("clock_stepped", &[]));
    }

    #[test]
    fn other_lines_are_no_events() {
        assert_eq!(LogEvent::parse("starting"), None);
        assert_eq!(LogEvent::parse("INFO odd event=unheard_of a=b"), None);
        assert_eq!(LogEvent::parse("INFO event=clock_stepped and more"), None);
    }
}
