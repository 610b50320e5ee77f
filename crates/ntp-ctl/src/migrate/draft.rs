//! Draft of a configuration: the converted settings and the lines without an equivalent.
//!
//! The text is written directly, not by a serialiser, because of its comments:
//! above each source what was omitted, and at the end every line without an equivalent, with the
//! reason.

use core::fmt::Write as _;

use super::Line;

/// A section: comments, then keys in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Table {
    comments: Vec<String>,
    keys: Vec<(&'static str, String)>,
}

impl Table {
    /// Sets a key to a value in TOML syntax; replaces an earlier value.
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

    /// Sets an access list, whose other clients are ignored.
    pub(super) fn set_filter(&mut self, key: &'static str, networks: &[String]) {
        let networks: Vec<_> = networks.iter().map(|it| quoted(it)).collect();
        let networks = networks.join(", ");
        self.set(
            key,
            format!("{{ filter = [{networks}], action = \"ignore\" }}"),
        );
    }

    /// Whether a key is set.
    fn has(&self, key: &str) -> bool {
        self.keys.iter().any(|(known, _)| *known == key)
    }

    /// Removes a key and returns its value.
    pub(super) fn take(&mut self, key: &str) -> Option<String> {
        let at = self.keys.iter().position(|(known, _)| *known == key)?;
        Some(self.keys.remove(at).1)
    }

    /// Whether the section is a pool of servers.
    pub(super) fn is_pool(&self) -> bool {
        self.has_mode("\"pool\"")
    }

    /// Whether the section is a source with NTS.
    pub(super) fn is_nts(&self) -> bool {
        self.has_mode("\"nts\"")
    }

    fn has_mode(&self, mode: &str) -> bool {
        let mut keys = self.keys.iter();
        keys.any(|(key, value)| *key == "mode" && value == mode)
    }

    /// Removes a key; returns whether it was set.
    pub(super) fn remove(&mut self, key: &str) -> bool {
        self.take(key).is_some()
    }

    /// Adds a comment above the section.
    pub(super) fn comment(&mut self, text: impl Into<String>) {
        self.comments.push(text.into());
    }

    /// Appends the comments and keys of another section.
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

/// A line that was not converted.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Unconverted {
    line: usize,
    text: String,
    why: String,
}

impl Unconverted {
    fn new(line: usize, text: &str, why: &str) -> Self {
        let (text, why) = (text.to_owned(), why.to_owned());
        Self { line, text, why }
    }
}

/// The whole file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Draft {
    pub(super) sources: Vec<Table>,
    pub(super) servers: Vec<Table>,
    key_exchange: Vec<Table>,
    pub(super) leap: Table,
    /// Line number, text and path of the directive with the file of symmetric keys.
    pub(super) key_file: Option<(usize, String, String)>,
    keys: Table,
    pub(super) synchronization: Table,
    pub(super) algorithm: Table,
    pub(super) observability: Table,
    unsupported: Vec<Unconverted>,
    not_needed: Vec<Unconverted>,
}

impl Draft {
    /// Records a line without an equivalent whose effect is lost, with the reason.
    pub(super) fn unsupported(&mut self, line: &Line<'_>, why: &str) {
        self.unsupported_text(line.number, line.text, why);
    }

    /// As `unsupported`, for part of a line or a line of which only this is kept.
    pub(super) fn unsupported_text(&mut self, number: usize, text: &str, why: &str) {
        self.unsupported.push(Unconverted::new(number, text, why));
    }

    /// Records a line that needs no equivalent, with the reason.
    pub(super) fn not_needed(&mut self, line: &Line<'_>, why: &str) {
        self.not_needed_text(line.number, line.text, why);
    }

    /// As `not_needed`, for part of a line or a line of which only this is kept.
    pub(super) fn not_needed_text(&mut self, number: usize, text: &str, why: &str) {
        self.not_needed.push(Unconverted::new(number, text, why));
    }

    /// Records a line whose directive is in one of two tables, or unknown. A line of a table is
    /// `names => reason`.
    pub(super) fn by_table(&mut self, line: &Line<'_>, not_needed: &str, unsupported: &str) {
        fn why<'t>(table: &'t str, directive: &str) -> Option<&'t str> {
            table.lines().find_map(|row| {
                let (names, why) = row.split_once(" => ")?;
                names
                    .split(' ')
                    .any(|name| name == directive)
                    .then_some(why)
            })
        }
        match why(not_needed, &line.directive) {
            Some(why) => self.not_needed(line, why),
            None => {
                let why = why(unsupported, &line.directive);
                self.unsupported(line, why.unwrap_or("unknown directive"));
            }
        }
    }

    /// Adds a server of NTS keys.
    pub(super) fn add_key_exchange(&mut self, port: u16, certificate: &str, key: &str) {
        let mut table = Table::default();
        table.set_text("listen", &format!("[::]:{port}"));
        table.set_text("certificate-chain-path", certificate);
        table.set_text("private-key-path", key);
        self.key_exchange.push(table);
    }

    /// Number of lines without an equivalent.
    pub(super) fn unsupported_lines(&self) -> usize {
        self.unsupported.len()
    }

    /// Completes what depends on the whole file. Key numbers require a key file, and the key file
    /// is kept only if a source or a server can use it: distributions configure one that often does
    /// not exist.
    pub(super) fn finish(&mut self) {
        match self.key_file.take() {
            None => {
                for source in &mut self.sources {
                    if source.remove("key") {
                        source.comment(
                            "omitted `key`: no key file configured; see [keys] in the manual",
                        );
                    }
                }
            }
            Some((line, text, path)) => {
                let keyed = self.sources.iter().any(|source| source.has("key"));
                if keyed || !self.servers.is_empty() {
                    self.keys
                        .comment("the user ntpd-rs must be able to read this file");
                    self.keys.set_text("path", &path);
                } else {
                    self.not_needed_text(line, &text, "no source uses a key");
                }
            }
        }
        self.observability
            .set_text("observation-path", "/run/ntpd-rs/observe");
        for lines in [&mut self.unsupported, &mut self.not_needed] {
            lines.sort_by_key(|it| it.line);
        }
    }

    /// Formats the draft as `ntp.toml`; `origin` is the name of the converted file.
    pub(super) fn render(&self, origin: &str) -> String {
        let mut out = format!(
            "# Converted from {}. Read the comments, and check with `ntp-ctl validate`.\n",
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
            ("Without an equivalent", &self.unsupported),
            ("Needs no equivalent", &self.not_needed),
        ] {
            if !lines.is_empty() {
                let _ = writeln!(out, "\n# {heading}:");
            }
            for it in lines {
                let _ = writeln!(out, "#\n# line {}: {}", it.line, one_line(&it.text));
                let _ = writeln!(out, "#     {}", one_line(&it.why));
            }
        }
        out
    }
}

/// Replaces control characters, which a TOML comment must not contain.
fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// Formats a TOML basic string.
fn quoted(text: &str) -> String {
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
