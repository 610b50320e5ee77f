//! Draft of a configuration: the converted settings, and remarks on everything else.
//!
//! The text is written directly, not by a serialiser, because of its comments: above a section what
//! to know about it, and at the end every line or option without an equivalent, with the reason.
//!
//! What does not pass the parser of the configuration file becomes a remark too, so that the result
//! is always valid: each section of a list is checked as a whole, other sections key by key.

use core::fmt::Write as _;

use ntp_config::Config;

use super::input::Input;
use super::lines::Line;

/// A section: comments, keys in order, then tables that belong to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Table {
    comments: Vec<String>,
    keys: Vec<(String, String)>,
    inner: Vec<(&'static str, Self)>,
}

impl Table {
    /// Sets a key to a value in TOML syntax; replaces an earlier value.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "numbers and temporary strings read better without `&`"
    )]
    pub(super) fn set(&mut self, key: &str, value: impl ToString) {
        let value = value.to_string();
        match self.keys.iter_mut().find(|(known, _)| *known == key) {
            Some((_, old)) => *old = value,
            None => self.keys.push((key.to_owned(), value)),
        }
    }

    /// Sets a key to a string.
    pub(super) fn set_text(&mut self, key: &str, value: &str) {
        self.set(key, quoted(value));
    }

    /// The value of a key.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        let found = self.keys.iter().find(|(known, _)| *known == key);
        found.map(|(_, value)| value.as_str())
    }

    /// Removes a key; returns whether it was set.
    fn remove(&mut self, key: &str) -> bool {
        let before = self.keys.len();
        self.keys.retain(|(known, _)| *known != key);
        self.keys.len() < before
    }

    /// Whether the section is a source of this mode.
    pub(super) fn has_mode(&self, mode: &str) -> bool {
        self.get("mode") == Some(&quoted(mode))
    }

    /// Adds a comment above the section.
    pub(super) fn comment(&mut self, text: impl Into<String>) {
        self.comments.push(text.into());
    }

    /// Adds a table of the section, with its header.
    pub(super) fn push(&mut self, heading: &'static str, table: Self) {
        self.inner.push((heading, table));
    }

    /// Formats the section with its header.
    pub(super) fn to_section(&self, heading: &str) -> String {
        let mut text = String::new();
        self.write(heading, &mut text);
        text
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
        for (heading, table) in &self.inner {
            table.write(heading, out);
        }
    }
}

/// A line or option that is not converted.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Remark {
    /// Whether its effect is lost.
    lost: bool,
    lines: Vec<usize>,
    text: String,
    why: String,
}

/// Lines and options that are not converted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Remarks(Vec<Remark>);

impl Remarks {
    /// Records a text of a line whose effect is lost, with the reason.
    pub(super) fn unsupported(&mut self, line: usize, text: &str, why: &str) {
        self.add(true, line, text, why);
    }

    /// Records a text of a line that needs no equivalent, with the reason.
    pub(super) fn not_needed(&mut self, line: usize, text: &str, why: &str) {
        self.add(false, line, text, why);
    }

    fn add(&mut self, lost: bool, line: usize, text: &str, why: &str) {
        let same = |it: &&mut Remark| it.lost == lost && it.text == text && it.why == why;
        match self.0.iter_mut().find(same) {
            Some(remark) if remark.lines.contains(&line) => {}
            Some(remark) => remark.lines.push(line),
            None => self.0.push(Remark {
                lost,
                lines: vec![line],
                text: text.to_owned(),
                why: why.to_owned(),
            }),
        }
    }

    pub(super) fn append(&mut self, other: Self) {
        for remark in other.0 {
            for line in remark.lines {
                self.add(remark.lost, line, &remark.text, &remark.why);
            }
        }
    }

    fn write(&self, lost: bool, heading: &str, input: &Input, out: &mut String) {
        let mut remarks: Vec<_> = self.0.iter().filter(|it| it.lost == lost).collect();
        remarks.sort_by_key(|it| it.lines.first().copied());
        if !remarks.is_empty() {
            let _ = writeln!(out, "\n# {heading}:");
        }
        for it in remarks {
            let places = input.places(&it.lines);
            let _ = writeln!(out, "#\n# {}: {}", one_line(&places), one_line(&it.text));
            let _ = writeln!(out, "#     {}", one_line(&it.why));
        }
    }
}

/// A section of a list, and the line that it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Element {
    heading: &'static str,
    line: usize,
    text: String,
    table: Table,
}

/// Headers of the sections that exist once, in the order of the result.
const SECTIONS: &[&str] = &[
    "[keys]",
    "[keyset]",
    "[nts]",
    "[synchronization]",
    "[synchronization.algorithm]",
    "[clock]",
    LOCAL,
    "[leap]",
    "[observability]",
];

/// Header of the local reference.
pub(super) const LOCAL: &str = "[local]";
/// Header of a source.
pub(super) const SOURCE: &str = "[[source]]";
/// Header of a server.
pub(super) const SERVER: &str = "[[server]]";
/// Header of a key-exchange server.
pub(super) const KEY_EXCHANGE: &str = "[[nts-ke-server]]";

/// The whole file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Draft {
    elements: Vec<Element>,
    /// In the order of [`SECTIONS`].
    sections: [Table; SECTIONS.len()],
    /// Line number, text and path of the directive with the file of symmetric keys.
    key_file: Option<(usize, String, String)>,
    /// File with the frequency of the oscillator.
    pub(super) drift_file: Option<String>,
    pub(super) remarks: Remarks,
}

impl Draft {
    /// Records a line without an equivalent whose effect is lost, with the reason.
    pub(super) fn unsupported(&mut self, line: &Line<'_>, why: &str) {
        self.remarks.unsupported(line.number, line.text, why);
    }

    /// Records a line that needs no equivalent, with the reason.
    pub(super) fn not_needed(&mut self, line: &Line<'_>, why: &str) {
        self.remarks.not_needed(line.number, line.text, why);
    }

    fn section(&mut self, heading: &str) -> &mut Table {
        let at = SECTIONS.iter().position(|known| *known == heading);
        &mut self.sections[at.unwrap_or_default()]
    }

    /// Sets a key of a section that exists once to a value in TOML syntax; a value that the
    /// parser rejects becomes a remark on the line.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "numbers and temporary strings read better without `&`"
    )]
    pub(super) fn set(&mut self, line: &Line<'_>, heading: &str, key: &str, value: impl ToString) {
        let value = value.to_string();
        match problem(&format!("{heading}\n{key} = {value}\n")) {
            None => self.section(heading).set(key, value),
            Some(why) => self.unsupported(line, &why),
        }
    }

    /// As [`Self::set`], for a string.
    pub(super) fn set_text(&mut self, line: &Line<'_>, heading: &str, key: &str, value: &str) {
        self.set(line, heading, key, quoted(value));
    }

    /// Sets `minimum-agreeing-sources`.
    pub(super) fn set_minimum(&mut self, minimum: u32) {
        let section = self.section("[synchronization]");
        section.set("minimum-agreeing-sources", minimum);
    }

    /// Sets what the servers that DHCP names are used for.
    pub(super) fn set_dhcp_sources(&mut self, policy: &str) {
        let section = self.section("[synchronization]");
        section.set_text("dhcp-sources", policy);
    }

    /// Sets which clock is steered.
    pub(super) fn set_clock_kind(&mut self, kind: &str) {
        self.section("[clock]").set_text("kind", kind);
    }

    /// Adds a comment above a section that exists once.
    pub(super) fn comment(&mut self, heading: &str, text: impl Into<String>) {
        self.section(heading).comment(text);
    }

    /// Makes the sources that have authorities of their own trust no others.
    pub(super) fn trust_own_authorities_only(&mut self, line: usize, text: &str) {
        let (mut with, mut without) = (false, false);
        for source in self.tables(SOURCE) {
            if source.get("certificate-authority").is_some() {
                source.set("system-authorities", false);
                with = true;
            } else {
                without |= source.get("mode") == Some(&quoted("nts"));
            }
        }
        if without {
            let why = "a source without certificate-authority trusts those of the system";
            self.remarks.unsupported(line, text, why);
        } else if !with {
            let why = "no source with `nts` verifies certificates";
            self.remarks.not_needed(line, text, why);
        }
    }

    /// Sets the file of symmetric keys.
    pub(super) fn set_key_file(&mut self, line: &Line<'_>, path: &str) {
        self.key_file = Some((line.number, line.text.into(), path.to_owned()));
    }

    /// Adds a section of a list, which comes from `line`.
    pub(super) fn push(&mut self, heading: &'static str, line: (usize, &str), table: Table) {
        let (line, text) = (line.0, line.1.to_owned());
        self.elements.push(Element {
            heading,
            line,
            text,
            table,
        });
    }

    /// The sections of a list.
    pub(super) fn tables(&mut self, heading: &'static str) -> impl Iterator<Item = &mut Table> {
        let elements = self.elements.iter_mut();
        let of_list = elements.filter(move |element| element.heading == heading);
        of_list.map(|element| &mut element.table)
    }

    /// Number of remarks on lost effects.
    pub(super) fn lost(&self) -> usize {
        self.remarks.0.iter().filter(|it| it.lost).count()
    }

    /// Completes what depends on the whole file.
    pub(super) fn finish(&mut self, input: &Input) {
        for note in &input.notes {
            self.remarks
                .add(note.lost, note.line, &note.text, &note.why);
        }
        self.remove_invalid_elements();
        self.remove_duplicates(input);
        self.finish_keys(input);
        self.finish_key_exchange();
        self.finish_minimum();
        self.section("[observability]")
            .set_text("observation-path", "/run/ntpd-rs/observe");
    }

    /// Sections that are not valid become remarks.
    fn remove_invalid_elements(&mut self) {
        let remarks = &mut self.remarks;
        self.elements.retain(|it| {
            let problem = problem(&it.table.to_section(it.heading));
            if let Some(why) = &problem {
                remarks.unsupported(it.line, &it.text, why);
            }
            problem.is_none()
        });
    }

    /// Of equal sections, and of servers of one address, the first one is kept.
    fn remove_duplicates(&mut self, input: &Input) {
        let mut kept: Vec<Element> = Vec::new();
        for element in self.elements.drain(..) {
            let same = |it: &&Element| {
                let listen = element.table.get("listen");
                let same_address = listen.is_some() && listen == it.table.get("listen");
                it.heading == element.heading && (same_address || it.table == element.table)
            };
            match kept.iter().find(same) {
                Some(first) if first.table == element.table => self.remarks.not_needed(
                    element.line,
                    &element.text,
                    &format!("the same as {}", input.place(first.line)),
                ),
                Some(first) => self.remarks.unsupported(
                    element.line,
                    &element.text,
                    &format!("the address is that of {}", input.place(first.line)),
                ),
                None => kept.push(element),
            }
        }
        self.elements = kept;
    }

    /// Key numbers require a key file, and the key file is kept only if a source or a server can
    /// use it: distributions configure one that often does not exist.
    fn finish_keys(&mut self, input: &Input) {
        let Some((line, text, path)) = &self.key_file else {
            for element in &mut self.elements {
                if element.heading == SOURCE && element.table.remove("key") {
                    let why = "no key file configured; see [keys] in the manual";
                    self.remarks.unsupported(element.line, "key", why);
                }
            }
            return;
        };
        let uses = |it: &Element| it.heading == SERVER || it.table.get("key").is_some();
        if self.elements.iter().any(uses) {
            let path = path.clone();
            let section = self.section("[keys]");
            if input.key_copy.is_none() {
                section.comment("the user ntpd-rs must be able to read this file");
            }
            section.set_text("path", input.key_copy.as_ref().unwrap_or(&path));
        } else {
            self.remarks.not_needed(*line, text, "no source uses a key");
            self.key_file = None;
        }
    }

    /// The file of symmetric keys that the configuration uses.
    pub(super) fn key_file(&self) -> Option<&str> {
        self.key_file.as_ref().map(|(.., path)| path.as_str())
    }

    /// Servers of keys are kept only if a server answers their clients.
    fn finish_key_exchange(&mut self) {
        let servers = self.elements.iter().filter(|it| it.heading == SERVER);
        let listening = servers.filter_map(|it| it.table.get("listen"));
        let listening: Vec<String> = listening.map(str::to_owned).collect();
        let remarks = &mut self.remarks;
        self.elements.retain(|it| {
            let port = it.table.get("ntp-port").unwrap_or("123");
            let answered = |listen: &String| listen.ends_with(&format!(":{port}\""));
            let useless = it.heading == KEY_EXCHANGE
                && it.table.get("ntp-server").is_none()
                && !listening.iter().any(answered);
            if useless {
                let why = "no server for the clients of this key exchange";
                remarks.unsupported(it.line, &it.text, why);
            }
            !useless
        });
    }

    /// More sources than there are cannot agree.
    fn finish_minimum(&mut self) {
        let Ok((config, _)) = ntp_config::parse(&self.text(), "migrated") else {
            return;
        };
        let sources = config.sources.iter();
        let most: usize = sources.map(|source| source.kind.maximum_voters()).sum();
        let minimum = config.synchronization.minimum_agreeing_sources;
        if !config.sources.is_empty() && minimum > most {
            let section = self.section("[synchronization]");
            section.comment(format!(
                "{minimum} sources had to agree, and at most {most} can: the clock was never set"
            ));
            section.set("minimum-agreeing-sources", most);
        }
    }

    /// The sections, without remarks.
    fn text(&self) -> String {
        let mut out = String::new();
        for heading in [SOURCE, SERVER, KEY_EXCHANGE] {
            for element in self.elements.iter().filter(|it| it.heading == heading) {
                element.table.write(heading, &mut out);
            }
        }
        for (heading, section) in SECTIONS.iter().zip(&self.sections) {
            section.write(heading, &mut out);
        }
        out
    }

    /// Formats the draft as `ntp.toml`.
    pub(super) fn render(&self, input: &Input) -> String {
        let mut out = String::new();
        for file in &input.files {
            let _ = writeln!(out, "# Converted from {}.", one_line(file));
        }
        out.push_str("# Read the comments, and check with `ntp-ctl validate`.\n");
        out.push_str(&self.text());
        self.remarks
            .write(true, "Without an equivalent", input, &mut out);
        self.remarks
            .write(false, "Needs no equivalent", input, &mut out);
        out
    }
}

/// Why the daemon would not accept a configuration; `None` if it does.
pub(super) fn problem(text: &str) -> Option<String> {
    let first = |config: Config| config.unsupported().into_iter().next();
    // A key needs a key file.
    let text = format!("{text}\n[keys]\npath = \"keys\"\n");
    match ntp_config::parse(&text, "migrated") {
        Ok((config, _)) => first(config).map(|it| it.message),
        Err(error) => {
            let first = error.problems().first();
            Some(first.map_or_else(|| error.to_string(), |it| it.message.clone()))
        }
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
