//! The configuration file's manual page and its chapter of the guide, from the table of keys.

use core::fmt::Write as _;

use ntp_config::{KEYS, KeyDoc, SECTIONS};
use roff::{bold, italic, roman};

use super::{head, inlines, see_also};

const INTRODUCTION: &str = "The file is TOML. Every section and every key is optional unless it is marked required. \
A key that is not known is an error, so that a misspelt one cannot go unnoticed; `ntp-ctl validate` \
tells everything that is wrong, with line and advice.";

/// How several files make one configuration: paragraphs, and what they are about.
const FOLDERS: [&str; 5] = [
    "Beside the main file, `/etc/ntpd-rs/ntp.toml`, two folders are read, each in the order of its file names, as far as these end in `.toml` and \
begin with no dot: first `/etc/ntpd-rs/sources.d`, which holds sections `[[source]]` only and is meant for programs (a DHCP client's hook, cloud-init), then \
`/etc/ntpd-rs/ntp.toml.d`, which holds anything and is meant for administrators. For another main file they have its directory, and its name with `.d`. None of the files \
needs to exist; a folder may be a symbolic link.",
    "Of a value that several files give, the last one holds; tables are laid over each other key by key; sections that may be repeated are \
added to those of earlier files. To be rid of a source or a server of an earlier file, name it in `[disabled]`; another of the same name may stand in the same file. A source \
that two files have without that is used as the first has it, with a warning; a server that two files have is an error.",
    "All files are judged together: a problem in any of them is told with its file and line, and the daemon does not start, or does not follow a reload. A file that cannot \
be read is such a problem.",
    "After a change, `ntp-ctl reload` (or SIGHUP, `systemctl reload ntpd-rs`) reads all files again. The daemon reads them as the unprivileged user that it has become, so they \
must be readable for everybody; secrets belong into the files that `[keys]` and the like name.",
    "Folders in a directory that everybody may write to are not read: with `--config /tmp/test.toml` anybody could make `/tmp/sources.d`.",
];

/// `ntp.toml(5)` in roff.
pub(super) fn page() -> String {
    let mut page = head("ntp.toml", "5", "configuration of the NTP daemon ntpd-rs");
    page.control("SH", ["SYNOPSIS"]);
    page.text([bold("/etc/ntpd-rs/ntp.toml")]);
    page.control("br", []);
    page.text([bold("/etc/ntpd-rs/sources.d/*.toml")]);
    page.control("br", []);
    page.text([bold("/etc/ntpd-rs/ntp.toml.d/*.toml")]);
    page.control("SH", ["DESCRIPTION"]);
    page.text(inlines(INTRODUCTION));
    page.control("SH", ["DROP-IN FILES"]);
    for paragraph in FOLDERS {
        page.control("PP", []);
        page.text(inlines(paragraph));
    }
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
    text.push_str("\n\n## Drop-in files\n");
    for paragraph in FOLDERS {
        let _ = writeln!(text, "\n{paragraph}");
    }
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
