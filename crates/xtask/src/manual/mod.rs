//! `cargo xtask manual`: manual pages and shell completions.
//!
//! They are generated from the definitions of the programs: pages of programs from the definition
//! of the command line, which also prints `--help`; the page of the configuration file from the
//! declarations that the parser uses. What no definition contains is in `texts`.
//!
//! `clap_mangen` is not used: it makes a page of each subcommand, and lists them in the page of
//! the program by name only.

mod configuration;
mod program;
mod texts;

use std::fs;
use std::path::{Path, PathBuf};

use clap::builder::{PossibleValue, PossibleValuesParser};
use clap::{Arg, ArgAction, Command, value_parser};
use clap_complete::{Shell, generate_to};
use roff::{Inline, Roff, bold, roman};

use texts::{Terms, Texts};

/// Arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Where to write
    #[arg(long, value_name = "DIR", default_value = "target/dist")]
    out: PathBuf,
}

/// A program that has a manual page.
struct Program {
    command: fn() -> Command,
    texts: Texts,
    /// Meaning of its exit codes.
    codes: Terms,
    /// Related pages.
    see_also: Terms,
}

const PROGRAMS: &[Program] = &[
    Program {
        command: daemon_command,
        texts: texts::DAEMON,
        codes: ntp_daemon::exit::CODES,
        see_also: &[
            ("ntp-ctl", "8"),
            ("ntp-metrics-exporter", "8"),
            ("ntp.toml", "5"),
        ],
    },
    Program {
        command: ntp_ctl::command,
        texts: texts::CTL,
        codes: ntp_ctl::CODES,
        see_also: &[
            ("ntp-daemon", "8"),
            ("ntp-metrics-exporter", "8"),
            ("ntp.toml", "5"),
        ],
    },
    Program {
        command: ntp_metrics_exporter::command,
        texts: texts::EXPORTER,
        codes: texts::EXPORTER_CODES,
        see_also: &[("ntp-daemon", "8"), ("ntp-ctl", "8"), ("ntp.toml", "5")],
    },
];

/// The daemon's command line in the terms of the other programs.
fn daemon_command() -> Command {
    let arguments = ntp_daemon::cli::OPTIONS.iter().map(|option| {
        let argument = Arg::new(option.long)
            .short(option.short)
            .long(option.long)
            .help(option.help);
        let values = option.values.iter();
        let values = values.map(|(name, help)| PossibleValue::new(*name).help(*help));
        match option.value {
            None => argument.action(ArgAction::SetTrue),
            Some("PATH") => argument
                .value_name("PATH")
                .value_parser(value_parser!(PathBuf)),
            Some(name) => argument
                .value_name(name)
                .value_parser(PossibleValuesParser::new(values)),
        }
    });
    Command::new("ntp-daemon")
        .about(ntp_daemon::cli::ABOUT)
        .disable_help_flag(true)
        .args(arguments)
}

/// Writes the pages, the completions, and the chapter of the guide.
///
/// # Errors
/// The file that could not be written.
pub(crate) fn manual(arguments: &Arguments) -> Result<(), String> {
    write_all(&arguments.out)?;
    write(&chapter(), &configuration::guide())?;
    println!(
        "manual pages and completions are in {}",
        arguments.out.display()
    );
    Ok(())
}

/// Chapter of the guide about the configuration; committed, so that it can be read on the web.
fn chapter() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md")
}

/// Writes pages to `out/man`, completions to `out/completions/SHELL`.
pub(crate) fn write_all(out: &Path) -> Result<(), String> {
    let man = out.join("man");
    make(&man)?;
    for program in PROGRAMS {
        let page = program::page(program);
        let name = (program.command)().get_name().to_owned();
        write(&man.join(format!("{name}.8")), &page)?;
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let directory = out.join("completions").join(shell.to_string());
            make(&directory)?;
            generate_to(shell, &mut (program.command)(), &name, &directory)
                .map_err(|error| format!("completions of {name} for {shell}: {error}"))?;
        }
    }
    write(&man.join("ntp.toml.5"), &configuration::page())
}

fn make(directory: &Path) -> Result<(), String> {
    fs::create_dir_all(directory).map_err(|error| format!("{}: {error}", directory.display()))
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

/// Creates a page with its header.
fn head(name: &str, section: &str, about: &str) -> Roff {
    let mut page = Roff::new();
    let version = format!("ntpd-rs {}", env!("CARGO_PKG_VERSION"));
    page.control(
        "TH",
        [
            name.to_uppercase().as_str(),
            section,
            "",
            &version,
            "ntpd-rs",
        ],
    );
    page.control("SH", ["NAME"]);
    page.text([roman(format!("{name} - {}", about.trim_end_matches('.')))]);
    page
}

/// Adds a section of paragraphs.
fn description(page: &mut Roff, paragraphs: &[&str]) {
    page.control("SH", ["DESCRIPTION"]);
    for paragraph in paragraphs {
        page.control("PP", []);
        page.text(inlines(paragraph));
    }
}

/// Adds a section of terms with their meanings, unless there are none.
fn terms(page: &mut Roff, heading: &str, terms: &[(&str, &str)]) {
    if !terms.is_empty() {
        page.control("SH", [heading]);
    }
    for (term, meaning) in terms {
        page.control("TP", []);
        page.text([bold(*term)]);
        page.text(inlines(meaning));
    }
}

/// Adds a section of examples: for each one its purpose, and its lines as they are typed.
fn examples(page: &mut Roff, examples: &[(&str, &str)]) {
    page.control("SH", ["EXAMPLES"]);
    for (purpose, lines) in examples {
        page.control("PP", []);
        page.text(inlines(purpose));
        page.control("PP", []);
        page.control("RS", ["4"]);
        verbatim(page, lines);
        page.control("RE", []);
    }
}

/// Adds preformatted text.
fn verbatim(page: &mut Roff, text: &str) {
    page.control("nf", []);
    for line in text.lines() {
        page.text([roman(line)]);
    }
    page.control("fi", []);
}

/// Adds the last section of a page.
fn see_also(page: &mut Roff, others: &[(&str, &str)]) {
    page.control("SH", ["SEE ALSO"]);
    let mut line: Vec<Inline> = Vec::new();
    for (name, section) in others {
        if !line.is_empty() {
            line.push(roman(", "));
        }
        line.push(bold(*name));
        line.push(roman(format!("({section})")));
    }
    page.text(line);
}

/// Formats text; `code` is bold, as usual in manual pages.
fn inlines(text: &str) -> Vec<Inline> {
    text.split('`')
        .enumerate()
        .filter(|(_, part)| !part.is_empty())
        .map(|(index, part)| {
            if index % 2 == 1 {
                bold(part)
            } else {
                roman(part)
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_program_and_the_configuration_file_have_a_page_and_completions() {
        let out = tempfile::tempdir().unwrap();
        write_all(out.path()).unwrap();
        let read = |path: &str| fs::read_to_string(out.path().join(path)).unwrap();
        for name in ["ntp-daemon", "ntp-ctl", "ntp-metrics-exporter"] {
            let page = read(&format!("man/{name}.8"));
            for section in [
                "SYNOPSIS",
                "DESCRIPTION",
                "OPTIONS",
                "EXAMPLES",
                "FILES",
                "EXIT STATUS",
                "SEE ALSO",
            ] {
                assert!(has_section(&page, section), "{section} is missing: {page}");
            }
            assert!(page.contains("\\-\\-config"), "{page}");
            assert!(read(&format!("completions/bash/{name}.bash")).contains(name));
            assert!(read(&format!("completions/fish/{name}.fish")).contains(name));
            assert!(read(&format!("completions/zsh/_{name}")).contains(name));
        }
        assert!(has_section(&read("man/ntp-daemon.8"), "SIGNALS"));
        let keys = read("man/ntp.toml.5");
        for section in ["DESCRIPTION", "EXAMPLES", "FILES"] {
            assert!(has_section(&keys, section), "{section} is missing: {keys}");
        }
        for doc in ntp_config::KEYS {
            let key = doc.key.replace('-', "\\-");
            assert!(keys.contains(&key), "{key} is missing");
        }
    }

    fn has_section(page: &str, heading: &str) -> bool {
        let heading = [format!(".SH {heading}"), format!(".SH \"{heading}\"")];
        page.lines().any(|line| heading.iter().any(|it| it == line))
    }

    #[test]
    fn the_chapter_of_the_guide_is_up_to_date() {
        let committed = fs::read_to_string(chapter()).unwrap_or_default();
        assert!(
            committed == configuration::guide(),
            "docs/configuration.md is out of date: run `cargo xtask manual` and commit it"
        );
    }

    #[test]
    fn the_examples_are_valid_configurations() {
        for (purpose, text) in texts::CONFIGURATION_EXAMPLES {
            let parsed = ntp_config::parse(text, "ntp.toml");
            assert!(parsed.is_ok(), "{purpose} {parsed:?}");
        }
    }

    #[test]
    fn code_in_text_is_bold() {
        assert_eq!(inlines("a `b` c"), [roman("a "), bold("b"), roman(" c")]);
        assert_eq!(inlines("`b`"), [bold("b")]);
    }
}
