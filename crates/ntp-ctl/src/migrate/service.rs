//! Options of the daemon's command line, from the environment file of its service.

use super::input::Input;
use super::lines::Line;
use super::table::{Conversion, OptionRow, convert_options};

/// Variables with the options of the command line.
const OPTIONS: &[&str] = &[
    "DAEMON_OPTS",
    "OPTIONS",
    "NTPD_OPTS",
    "NTPD_OPTIONS",
    "ARGS",
];
/// Variables that matter to the other daemon's scripts only.
const SCRIPTS: &[&str] = &["SYNC_IN_CONTAINER", "FAST_STARTUP"];
/// Why an option with the configuration file has no equivalent.
pub(super) const OTHER_FILE: &str = "the daemon reads this file instead: migrate it";
/// Why options of users, groups and files of the process need no equivalent.
pub(super) const OWN_USER: &str = "set in the service unit, which runs ntpd-rs as its own user";

/// Converts the assignments of the environment file.
pub(super) fn convert<C: Conversion>(target: &mut C, input: &Input) {
    for (number, text) in &input.settings {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        let name = name.trim_start_matches("export ").trim();
        let value = value.trim().trim_matches(['"', '\'']);
        let line = Line {
            number: *number,
            text,
            directive: name.to_owned(),
            words: value.split_whitespace().collect(),
        };
        if value.is_empty() {
            continue;
        } else if OPTIONS.contains(&name) {
            let words = separated(&line.words, C::COMMAND_LINE);
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let remarks = convert_options(target, &line, &words, C::COMMAND_LINE);
            target.draft().remarks.append(remarks);
        } else if name == "IGNORE_DHCP" {
            let policy = if value == "yes" { "ignore" } else { "use" };
            target.draft().set_dhcp_sources(policy);
        } else if SCRIPTS.contains(&name) {
            let why = "for the scripts of the other package";
            target.draft().not_needed(&line, why);
        } else {
            let why = "unknown setting of the service";
            target.draft().unsupported(&line, why);
        }
    }
}

/// Separates options of one letter that are written as one word, as getopt(3) does: `-gN`, `-F2`.
fn separated<S>(words: &[&str], table: &[OptionRow<S>]) -> Vec<String> {
    let takes_value = |option: &str| {
        let row = table
            .iter()
            .find(|row| row.0.split(' ').any(|it| it == option));
        row.is_some_and(|row| row.1 > 0)
    };
    let mut separated = Vec::new();
    for word in words {
        let letters = word.strip_prefix('-').filter(|it| !it.starts_with('-'));
        let Some(letters) = letters else {
            separated.push((*word).to_owned());
            continue;
        };
        for (at, letter) in letters.char_indices() {
            let option = format!("-{letter}");
            let value = &letters[at + letter.len_utf8()..];
            let ends = takes_value(&option);
            separated.push(option);
            if ends {
                separated.extend((!value.is_empty()).then(|| value.to_owned()));
                break;
            }
        }
    }
    separated
}
