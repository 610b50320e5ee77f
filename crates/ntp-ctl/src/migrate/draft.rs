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

    /// Sets an access list, which ignores the refused clients.
    pub(super) fn set_access_list(&mut self, key: &'static str, networks: &[String]) {
        let networks: Vec<_> = networks.iter().map(|network| quoted(network)).collect();
        let networks = networks.join(", ");
        self.set(
            key,
            format!("{{ filter = [{networks}], action = \"ignore\" }}"),
        );
    }

    /// Sets the range of poll intervals, in log2 seconds.
    pub(super) fn set_poll_limits(&mut self, min: i32, max: i32) {
        let limits = format!("{{ min = {min}, max = {max} }}");
        self.set("poll-interval-limits", limits);
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

    /// Whether the section is a source of this mode.
    pub(super) fn has_mode(&self, mode: &str) -> bool {
        let mode = quoted(mode);
        let mut keys = self.keys.iter();
        keys.any(|(key, value)| *key == "mode" && *value == mode)
    }

    /// Removes a key; returns whether it was set.
    pub(super) fn remove(&mut self, key: &str) -> bool {
        let before = self.keys.len();
        self.keys.retain(|(known, _)| *known != key);
        self.keys.len() < before
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
    fn new(line: &Line<'_>, why: impl Into<String>) -> Self {
        Self {
            line: line.number,
            text: line.text.to_owned(),
            why: why.into(),
        }
    }
}

/// Directives, with the reason why they are not converted.
pub(super) type Reasons = &'static [(&'static [&'static str], &'static str)];

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
    pub(super) fn unsupported(&mut self, line: &Line<'_>, why: impl Into<String>) {
        self.unsupported.push(Unconverted::new(line, why));
    }

    /// Records a line that needs no equivalent, with the reason.
    pub(super) fn not_needed(&mut self, line: &Line<'_>, why: impl Into<String>) {
        self.not_needed.push(Unconverted::new(line, why));
    }

    /// Records a line that is not converted, with the reason that a table has for its directive.
    pub(super) fn by_reason(&mut self, line: &Line<'_>, not_needed: Reasons, unsupported: Reasons) {
        let why = |known: Reasons| {
            let directive = line.directive.as_str();
            let found = known.iter().find(|(names, _)| names.contains(&directive));
            found.map(|(_, why)| *why)
        };
        match why(not_needed) {
            Some(why) => self.not_needed(line, why),
            None => self.unsupported(line, why(unsupported).unwrap_or("unknown directive")),
        }
    }

    /// Adds a key exchange server, if it has a certificate and a key.
    pub(super) fn add_key_exchange(
        &mut self,
        port: u16,
        certificate: Option<&str>,
        key: Option<&str>,
    ) {
        if let (Some(certificate), Some(key)) = (certificate, key) {
            let mut table = Table::default();
            table.set_text("listen", &format!("[::]:{port}"));
            table.set_text("certificate-chain-path", certificate);
            table.set_text("private-key-path", key);
            self.key_exchange.push(table);
        }
    }

    /// Number of lines without an equivalent.
    pub(super) fn unsupported_lines(&self) -> usize {
        self.unsupported.len()
    }

    /// Completes what depends on the whole file. Key numbers require a key file, and the key file
    /// is kept only if a source or a server can use it: distributions configure one that often does
    /// not exist.
    pub(super) fn finish(&mut self) {
        self.observability
            .set_text("observation-path", "/run/ntpd-rs/observe");
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
                    let why = "no source uses a key".into();
                    self.not_needed.push(Unconverted { line, text, why });
                }
            }
        }
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
