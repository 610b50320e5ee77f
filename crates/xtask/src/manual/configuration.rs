//! The configuration file's manual page and its chapter of the guide, from the table of keys.

use core::fmt::Write as _;

use ntp_config::{KEYS, KeyDoc, SECTIONS};
use roff::{bold, italic, roman};

use super::{head, inlines, see_also};

const INTRODUCTION: &str = "The file is TOML. Every section and every key is optional unless it is marked required. \
A key that is not known is an error, so that a misspelt one cannot go unnoticed; `ntp-ctl validate` \
tells everything that is wrong, with line and advice.";

/// `ntp.toml(5)` in roff.
pub(super) fn page() -> String {
    let mut page = head("ntp.toml", "5", "configuration of the NTP daemon ntpd-rs");
    page.control("SH", ["SYNOPSIS"]);
    page.text([bold("/etc/ntpd-rs/ntp.toml")]);
    page.control("SH", ["DESCRIPTION"]);
    page.text(inlines(INTRODUCTION));
    for section in SECTIONS {
        page.control("SH", [section.heading]);
        page.text(inlines(section.doc));
        for doc in KEYS.iter().filter(|doc| doc.section == section.name) {
            page.control("TP", []);
            let mut line = vec![bold(doc.key), roman(" = ")];
            line.push(italic(plain(doc.kind)));
            page.text(line);
            page.text(inlines(doc.doc));
            let (default, modes) = (default_of(doc), modes_of(doc));
            page.text(inlines(&format!("{default}{modes}")));
        }
    }
    see_also(&mut page, &[("ntp-daemon", "8"), ("ntp-ctl", "8")]);
    page.to_roff()
}

/// The chapter of the guide, in Markdown.
pub(super) fn guide() -> String {
    let mut text = String::from("# Configuration: every key\n\n");
    text.push_str("<!-- Written by `cargo xtask manual` from the table that the parser is tested against: change it there. -->\n\n");
    text.push_str(INTRODUCTION);
    text.push('\n');
    for section in SECTIONS {
        let ours = if section.upstream {
            ""
        } else {
            " (not in ntpd-rs 1.x)"
        };
        let _ = write!(
            text,
            "\n## `{}`\n\n{}{ours}\n\n",
            section.heading, section.doc
        );
        let mut keys = KEYS
            .iter()
            .filter(|doc| doc.section == section.name)
            .peekable();
        if keys.peek().is_none() {
            continue;
        }
        text.push_str("| key | value | default | what it does |\n|---|---|---|---|\n");
        for doc in keys {
            let _ = writeln!(
                text,
                "| `{}` | {} | {} | {}{} |",
                doc.key,
                cell(doc.kind),
                cell(doc.default),
                cell(doc.doc),
                modes_of(doc)
            );
        }
    }
    text
}

/// A table's cell ends at a bar.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn plain(text: &str) -> String {
    text.replace('`', "")
}

fn default_of(doc: &KeyDoc) -> String {
    if doc.default == "required" {
        "Required.".into()
    } else {
        format!("Default: {}.", doc.default)
    }
}

fn modes_of(doc: &KeyDoc) -> String {
    if doc.modes.is_empty() {
        String::new()
    } else {
        let modes: Vec<_> = doc.modes.iter().map(|mode| format!("`{mode}`")).collect();
        format!(" For sources of mode {}.", modes.join(", "))
    }
}
