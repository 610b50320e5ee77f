//! `cargo xtask manual`: manual pages and shell completions, from what the programs themselves know.
//!
//! Nothing in them is written twice: pages of programs come from the definition of the command line, which also
//! prints `--help`; the page of the configuration file comes from the table that the parser is tested against.
//! So they cannot be out of date.

mod configuration;
mod program;

use std::fs;
use std::path::{Path, PathBuf};

use clap::Command;
use clap_complete::{Shell, generate_to};
use roff::{Inline, Roff, bold, roman};

/// What the command line says.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Where to write
    #[arg(long, value_name = "DIR", default_value = "target/dist")]
    out: PathBuf,
}

/// A program that has a manual page.
struct Program {
    command: fn() -> Command,
    /// What its exit codes mean.
    codes: &'static [(&'static str, &'static str)],
    /// Other pages that its reader may want.
    see_also: &'static [(&'static str, &'static str)],
}

const PROGRAMS: &[Program] = &[
    Program {
        command: ntp_daemon::cli::command,
        codes: ntp_daemon::exit::CODES,
        see_also: &[("ntp-ctl", "8"), ("ntp.toml", "5")],
    },
    Program {
        command: ntp_ctl::command,
        codes: ntp_ctl::CODES,
        see_also: &[("ntp-daemon", "8"), ("ntp.toml", "5")],
    },
    Program {
        command: ntp_metrics_exporter::command,
        codes: &[],
        see_also: &[("ntp-daemon", "8"), ("ntp-ctl", "8"), ("ntp.toml", "5")],
    },
];

/// Writes everything that `Arguments` ask for.
///
/// # Errors
/// What could not be written.
pub(crate) fn manual(arguments: &Arguments) -> Result<(), String> {
    write_all(&arguments.out)?;
    write(&chapter(), &configuration::guide())?;
    println!(
        "manual pages and completions are in {}",
        arguments.out.display()
    );
    Ok(())
}

/// The guide's chapter about the configuration, which is committed, so that it can be read on the web.
fn chapter() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md")
}

/// Writes pages to `out/man`, completions to `out/completions/SHELL`.
pub(crate) fn write_all(out: &Path) -> Result<(), String> {
    let man = out.join("man");
    make(&man)?;
    for program in PROGRAMS {
        let page = program::page(&mut (program.command)(), program.codes, program.see_also);
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

/// The head of a page.
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

/// The last section of a page.
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

/// Text in which `code` is set in bold, as manual pages do.
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
        for name in ["ntp-daemon", "ntp-ctl"] {
            let page = read(&format!("man/{name}.8"));
            assert!(
                page.contains(".SH SYNOPSIS") && page.contains("\\-\\-config"),
                "{page}"
            );
            assert!(read(&format!("completions/bash/{name}.bash")).contains(name));
            assert!(read(&format!("completions/fish/{name}.fish")).contains(name));
            assert!(read(&format!("completions/zsh/_{name}")).contains(name));
        }
        let keys = read("man/ntp.toml.5");
        for doc in ntp_config::KEYS {
            let key = doc.key.replace('-', "\\-");
            assert!(keys.contains(&key), "{key} is missing");
        }
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
    fn code_in_text_is_bold() {
        assert_eq!(inlines("a `b` c"), [roman("a "), bold("b"), roman(" c")]);
        assert_eq!(inlines("`b`"), [bold("b")]);
    }
}
