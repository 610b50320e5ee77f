//! A configuration in the making: what was understood of another daemon's file, and what was not.
//!
//! The draft is written as text by hand, not through a serialiser, because comments are half of its worth:
//! the reader has to see beside each source what was left out, and at the end every line that has no equivalent, and why.

use core::fmt::Write as _;

/// A table of the file: comments above it, then its keys in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Table {
    comments: Vec<String>,
    keys: Vec<(&'static str, String)>,
}

impl Table {
    /// Sets a key to a value that is TOML already. The last setting counts.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "numbers and temporary strings read better without `&`"
    )]
    pub(super) fn set(&mut self, key: &'static str, value: impl ToString) {
        let value = value.to_string();
        match self.keys.iter_mut().find(|(known, _)| *known == key) {
            Some((_, old)) => *old = value,
            None => self.keys.push((key, value)),
        }
    }

    /// Sets a key to a string.
    pub(super) fn set_text(&mut self, key: &'static str, value: &str) {
        self.set(key, quoted(value));
    }

    /// Whether a key is set.
    fn has(&self, key: &str) -> bool {
        self.keys.iter().any(|(known, _)| *known == key)
    }

    /// The value of a key, which is taken out again.
    pub(super) fn take(&mut self, key: &str) -> Option<String> {
        let at = self.keys.iter().position(|(known, _)| *known == key)?;
        Some(self.keys.remove(at).1)
    }

    /// Whether it is a pool of servers.
    pub(super) fn is_pool(&self) -> bool {
        self.keys
            .iter()
            .any(|(key, value)| *key == "mode" && value == "\"pool\"")
    }

    /// Whether it is a source that proves itself by a certificate.
    pub(super) fn is_authenticated_by_certificate(&self) -> bool {
        self.keys
            .iter()
            .any(|(key, value)| *key == "mode" && value == "\"nts\"")
    }

    /// Takes a key out again; true if it was there.
    pub(super) fn remove(&mut self, key: &str) -> bool {
        let before = self.keys.len();
        self.keys.retain(|(known, _)| *known != key);
        self.keys.len() < before
    }

    /// Says something above the table.
    pub(super) fn remark(&mut self, text: impl Into<String>) {
        self.comments.push(text.into());
    }

    /// This table with the comments and keys of another one behind its own.
    pub(super) fn followed_by(mut self, other: Self) -> Self {
        self.comments.extend(other.comments);
        for (key, value) in other.keys {
            self.set(key, value);
        }
        self
    }

    fn write(&self, heading: &str, out: &mut String) {
        if self.keys.is_empty() && self.comments.is_empty() {
            return;
        }
        out.push('\n');
        for comment in &self.comments {
            let _ = writeln!(out, "# {}", one_line(comment));
        }
        let _ = writeln!(out, "{heading}");
        for (key, value) in &self.keys {
            let _ = writeln!(out, "{key} = {value}");
        }
    }
}

/// A line from which nothing came.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Left {
    line: usize,
    text: String,
    why: String,
}

/// The whole file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Draft {
    pub(super) sources: Vec<Table>,
    pub(super) servers: Vec<Table>,
    pub(super) key_exchange: Vec<Table>,
    pub(super) leap: Table,
    /// The file of symmetric keys, and the line that names it.
    pub(super) key_file: Option<(usize, String, String)>,
    keys: Table,
    pub(super) synchronization: Table,
    pub(super) algorithm: Table,
    pub(super) observability: Table,
    left: Vec<Left>,
    needless: Vec<Left>,
}

impl Draft {
    /// Keeps a line for the end of the file that has no equivalent, so that something will be different, with the reason.
    pub(super) fn leave(&mut self, line: usize, text: &str, why: impl Into<String>) {
        self.left.push(Left {
            line,
            text: text.to_owned(),
            why: why.into(),
        });
    }

    /// Keeps a line for the end of the file that needs no equivalent, with the reason.
    pub(super) fn need_not(&mut self, line: usize, text: &str, why: impl Into<String>) {
        self.needless.push(Left {
            line,
            text: text.to_owned(),
            why: why.into(),
        });
    }

    /// How many lines had no equivalent.
    pub(super) fn left(&self) -> usize {
        self.left.len()
    }

    /// Decides what depends on the whole file. Keys are named by number only if there is a file that has them, and the file only where
    /// somebody may use them: distributions name one that often does not exist.
    pub(super) fn settle(&mut self) {
        match self.key_file.take() {
            None => {
                for source in &mut self.sources {
                    if source.remove("key") {
                        source.remark(
                            "left out `key`: no key file is named; see [keys] in the manual",
                        );
                    }
                }
            }
            Some((line, text, path)) => {
                let keyed = self.sources.iter().any(|source| source.has("key"));
                if keyed || !self.servers.is_empty() {
                    self.keys
                        .remark("the user ntpd-rs must be able to read this file");
                    self.keys.set_text("path", &path);
                } else {
                    self.need_not(line, &text, "no source uses a key");
                }
            }
        }
        for lines in [&mut self.left, &mut self.needless] {
            lines.sort_by_key(|left| left.line);
        }
    }

    /// The text of `ntp.toml`; `origin` is the name of the file it was made from.
    pub(super) fn render(&self, origin: &str) -> String {
        let mut out = format!(
            "# Made from {}. Check with `ntp-ctl validate`, and read the remarks.\n",
            one_line(origin)
        );
        for source in &self.sources {
            source.write("[[source]]", &mut out);
        }
        for server in &self.servers {
            server.write("[[server]]", &mut out);
        }
        for server in &self.key_exchange {
            server.write("[[nts-ke-server]]", &mut out);
        }
        self.keys.write("[keys]", &mut out);
        self.synchronization.write("[synchronization]", &mut out);
        self.algorithm
            .write("[synchronization.algorithm]", &mut out);
        self.leap.write("[leap]", &mut out);
        self.observability.write("[observability]", &mut out);
        for (heading, lines) in [
            ("Without an equivalent", &self.left),
            ("Needs no equivalent", &self.needless),
        ] {
            if !lines.is_empty() {
                let _ = writeln!(out, "\n# {heading}:");
            }
            for left in lines {
                let _ = writeln!(out, "#\n# line {}: {}", left.line, one_line(&left.text));
                let _ = writeln!(out, "#     {}", one_line(&left.why));
            }
        }
        out
    }
}

/// A comment ends with its line, and control characters are not allowed in it.
fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// A TOML basic string.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A TOML array of strings.
pub(super) fn list<'a>(items: impl IntoIterator<Item = &'a str>) -> String {
    let items: Vec<_> = items.into_iter().map(quoted).collect();
    format!("[{}]", items.join(", "))
}
