//! The daemon's command line.
//!
//! It has four options and no commands, so `lexopt` reads it: the library of the other programs is
//! 0.14 MB of code, in a process that runs for years.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use lexopt::Arg::{Long, Short, Value};
use ntp_config::{LogLevel, SandboxMode};

use crate::exit;

/// What the daemon is, in one line.
pub const ABOUT: &str = "Keeps the clock of this machine synchronised by NTP";

/// An option, as help and manual page describe it.
#[derive(Clone, Copy, Debug)]
pub struct CliOption {
    /// The letter of its short form.
    pub short: Option<char>,
    /// The word of its long form.
    pub long: &'static str,
    /// Name of its value, if it has one.
    pub value: Option<&'static str>,
    /// Its description.
    pub help: &'static str,
    /// The possible values with their meanings; empty if others are possible.
    pub values: &'static [(&'static str, &'static str)],
}

/// Log levels, named as in the file.
const LEVELS: &[(&str, &str)] = &[
    ("trace", "Everything"),
    ("debug", "Each measurement and slew"),
    ("info", "Normal operation"),
    ("warn", "Problems that do not stop the daemon"),
    ("error", "Problems that need an operator"),
];
/// Sandbox modes, named as in the file.
const SANDBOXES: &[(&str, &str)] = &[
    ("off", "Restrict nothing"),
    (
        "warn",
        "Refuse nothing, log to the kernel's log what would be refused",
    ),
    ("enforce", "Refuse what is not needed"),
];
/// The options.
pub const OPTIONS: &[CliOption] = &[
    CliOption {
        short: Some('c'),
        long: "config",
        value: Some("PATH"),
        help: "Configuration file [default: /etc/ntpd-rs/ntp.toml]",
        values: &[],
    },
    CliOption {
        short: Some('l'),
        long: "log-level",
        value: Some("LEVEL"),
        help: "Log level; overrides `log-level` in the file",
        values: LEVELS,
    },
    CliOption {
        short: None,
        long: "sandbox",
        value: Some("MODE"),
        help: "Whether unneeded file access and system calls are refused; overrides `[sandbox] mode`",
        values: SANDBOXES,
    },
    CliOption {
        short: Some('v'),
        long: "version",
        value: None,
        help: "Print the version",
        values: &[],
    },
    CliOption {
        short: Some('h'),
        long: "help",
        value: None,
        help: "Print help",
        values: &[],
    },
];

/// The settings of the command line; each overrides that of the file.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Cli {
    /// Absolute path of the configuration file.
    pub config: Option<PathBuf>,
    /// The least severe level that is logged.
    pub log_level: Option<LogLevel>,
    /// Whether unneeded file access and system calls are refused.
    pub sandbox: Option<SandboxMode>,
}

/// What a command line asks for.
#[derive(Debug, PartialEq, Eq)]
enum Request {
    Run(Cli),
    Help,
    Version,
}

impl Cli {
    /// Reads the command line, or returns the exit code with which the process ends at once: 0
    /// after help and version, 1 after an error message.
    ///
    /// # Errors
    /// The exit code, after everything has been printed.
    pub fn read() -> Result<Self, ExitCode> {
        match parse(std::env::args_os().skip(1)) {
            Ok(Request::Run(cli)) => Ok(cli),
            Ok(Request::Help) => {
                // If this cannot be printed, nothing can.
                let _ = io::stdout().write_all(help().as_bytes());
                Err(exit::code(exit::OK))
            }
            Ok(Request::Version) => {
                // Upstream prints versions to standard error, and scripts look there.
                eprintln!("ntp-daemon {}", env!("CARGO_PKG_VERSION"));
                Err(exit::code(exit::OK))
            }
            Err(error) => {
                eprintln!("error: {error}\n\nFor more information, try '--help'.");
                Err(exit::code(exit::FAILURE))
            }
        }
    }
}

/// Parses the arguments behind the name of the program.
fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Request, String> {
    let mut cli = Cli::default();
    let mut parser = lexopt::Parser::from_args(arguments);
    while let Some(argument) = parser.next().map_err(|error| error.to_string())? {
        let (known, spelling) = match argument {
            Value(text) => {
                return Err(format!(
                    "unexpected argument {text:?}: there are options only"
                ));
            }
            Short(letter) => (
                OPTIONS.iter().find(|it| it.short == Some(letter)),
                format!("-{}", letter.escape_default()),
            ),
            Long(word) => (
                OPTIONS.iter().find(|it| it.long == word),
                format!("--{}", word.escape_default()),
            ),
        };
        let Some(option) = known else {
            let names: Vec<_> = OPTIONS.iter().map(|it| format!("--{}", it.long)).collect();
            return Err(format!(
                "unknown option {spelling}; there are {}",
                names.join(", ")
            ));
        };
        if option.value.is_none() {
            if parser.optional_value().is_some() {
                return Err(format!("--{} has no value", option.long));
            }
            return Ok(match option.long {
                "help" => Request::Help,
                _ => Request::Version,
            });
        }
        let value = parser.value().map_err(|error| error.to_string())?;
        let repeated = match option.long {
            "config" => {
                // The daemon reports the origin of each value to programs with other working directories.
                let path = std::path::absolute(&value).unwrap_or_else(|_| value.into());
                cli.config.replace(path).is_some()
            }
            "log-level" => {
                let level = chosen(option, &value, LogLevel::WORDS)?;
                cli.log_level.replace(level).is_some()
            }
            _ => {
                let mode = chosen(option, &value, SandboxMode::WORDS)?;
                cli.sandbox.replace(mode).is_some()
            }
        };
        if repeated {
            return Err(format!("--{} is given twice", option.long));
        }
    }
    Ok(Request::Run(cli))
}

/// Returns the value that `text` names.
fn chosen<T: Copy>(
    option: &CliOption,
    text: &OsStr,
    words: &[(&'static str, T)],
) -> Result<T, String> {
    let found = words.iter().find(|(word, _)| text == *word);
    found.map(|&(_, value)| value).ok_or_else(|| {
        let words: Vec<_> = words.iter().map(|(word, _)| *word).collect();
        format!(
            "invalid value {text:?} of --{}; there are {}",
            option.long,
            words.join(", ")
        )
    })
}

/// Returns the help text.
fn help() -> String {
    let mut text = format!("{ABOUT}\n\nUsage: ntp-daemon [OPTIONS]\n\nOptions:\n");
    for option in OPTIONS {
        let short = option
            .short
            .map_or_else(|| "    ".to_owned(), |letter| format!("-{letter}, "));
        let value = option
            .value
            .map_or_else(String::new, |name| format!(" <{name}>"));
        let _ = write!(
            text,
            "  {short}--{}{value}\n          {}\n",
            option.long, option.help
        );
        for (name, meaning) in option.values {
            let _ = writeln!(text, "          - {:<8} {meaning}", format!("{name}:"));
        }
        text.push('\n');
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Request, String> {
        super::parse(words.iter().map(OsString::from))
    }

    fn settings(words: &[&str]) -> Cli {
        match parse(words) {
            Ok(Request::Run(cli)) => cli,
            other => panic!("{words:?}: {other:?}"),
        }
    }

    #[test]
    fn a_relative_path_of_the_configuration_becomes_absolute() {
        let expected = std::env::current_dir().unwrap().join("ntp.toml");
        assert_eq!(settings(&["-c", "./ntp.toml"]).config, Some(expected));
    }

    #[test]
    fn options_may_be_joined_with_their_values() {
        for words in [
            &["-c/tmp/ntp.toml", "-ldebug", "--sandbox=warn"][..],
            &[
                "--config=/tmp/ntp.toml",
                "--log-level",
                "debug",
                "--sandbox",
                "warn",
            ],
            &["-c=/tmp/ntp.toml", "-l=debug", "--sandbox", "warn"],
        ] {
            let expected = Cli {
                config: Some("/tmp/ntp.toml".into()),
                log_level: Some(LogLevel::Debug),
                sandbox: Some(SandboxMode::Warn),
            };
            assert_eq!(settings(words), expected);
        }
    }

    #[test]
    fn each_documented_option_and_value_is_accepted() {
        for option in OPTIONS {
            let long = format!("--{}", option.long);
            let values: Vec<_> = option.values.iter().map(|(name, _)| *name).collect();
            match option.value {
                None => assert!(!matches!(parse(&[&long]), Ok(Request::Run(_)) | Err(_))),
                Some(_) if values.is_empty() => {
                    settings(&[&long, "/tmp/x"]);
                }
                Some(_) => values.iter().for_each(|value| {
                    settings(&[&long, value]);
                }),
            }
        }
    }

    #[test]
    fn wrong_arguments_are_refused() {
        for words in [
            &["--confg", "x"][..],
            &["extra"],
            &["-x"],
            &["--config"],
            &["--log-level", "loud"],
            &["--sandbox=on"],
            &["--version=2"],
            &["-c", "a", "--config", "b"],
            &["-v\u{1b}[31m"],
        ] {
            let error = parse(words).err();
            let error = error.unwrap_or_else(|| panic!("{words:?} is accepted"));
            assert!(!error.contains(char::is_control), "{error:?}");
        }
    }
}
