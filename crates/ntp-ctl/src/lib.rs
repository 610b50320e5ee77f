//! `ntp-ctl`: checks a configuration and shows the state of the running daemon.
//!
//! The command line and the outputs are those of upstream's tool, so that scripts made for it
//! go on working; what it tells beyond stands in lines of its own. Where upstream's tool hides a mistake
//! (an unknown command ends with exit code 0 there), this one does not.
//!
//! Exit codes are in `exit`.
//!
//! Commands are written against a `Console` instead of the process's streams, so that tests
//! run them in process. A reader that closes its end of a pipe has what it wants: that is no failure.
#![forbid(unsafe_code)]

mod asking;
mod change;
mod cli;
mod clients;
mod config_save;
mod config_show;
mod connect;
mod console;
mod exit;
mod explain;
mod figures;
mod force_sync;
mod layout;
pub mod migrate;
mod nts;
mod query;
mod replay;
mod servers;
mod sources;
mod status;
mod tracking;
mod validate;
mod waitsync;
mod watch;

use std::ffi::OsString;
use std::io::{self, ErrorKind, IsTerminal};
use std::process::ExitCode;

use ntp_config::Style;
use serde_json::{Value, json};

use change::Change;
use cli::{Asked, Command, ConfigAction, Format, NtsAction, Options};
use console::{Console, Failure};
pub use exit::CODES;

/// The definition of the command line, from which manual page and completions are made.
pub fn command() -> clap::Command {
    cli::command()
}

/// The whole program.
pub fn main() -> ExitCode {
    let coloured = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let plain = std::env::var_os("NO_COLOR").is_some();
    let mut console = Console {
        painted: io::stdout().is_terminal() && !plain,
        out: &mut io::stdout().lock(),
        err: &mut io::stderr().lock(),
        style: if coloured {
            Style::Coloured
        } else {
            Style::Plain
        },
    };
    run(std::env::args_os(), &mut console).into()
}

/// Does what the arguments (the first is the program's name) ask for; returns the exit code.
fn run(arguments: impl IntoIterator<Item = OsString>, console: &mut Console<'_>) -> u8 {
    let done = obey(arguments, console);
    match done.and_then(|()| console.out.flush().map_err(Failure::Output)) {
        Ok(()) => exit::DONE,
        Err(Failure::Output(error)) if error.kind() == ErrorKind::BrokenPipe => exit::DONE,
        Err(Failure::Output(error)) => {
            console.complain(format_args!("Error: Could not write the output: {error}"));
            exit::FAILED
        }
        Err(Failure::Usage(text)) => {
            console.complain(text.trim_end());
            exit::FAILED
        }
        Err(Failure::Told(text) | Failure::Refused(text, ..)) => {
            console.complain(format_args!("Error: {text}"));
            exit::FAILED
        }
        Err(Failure::Judged { exit_code, text }) => {
            console.complain(format_args!("Error: {text}"));
            exit_code
        }
    }
}

fn obey(
    arguments: impl IntoIterator<Item = OsString>,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    match cli::parse(arguments)? {
        Asked::Help(text) => console.out.write_all(text.as_bytes())?,
        // Upstream prints its version there.
        Asked::Version => console.complain(concat!("ntp-ctl ", env!("CARGO_PKG_VERSION"))),
        Asked::Run(command, options) => {
            let done = run_command(&command, &options, console);
            if options.format == Format::Json {
                tell_programs(&done, console)?;
            }
            done?;
        }
    }
    Ok(())
}

/// Programs that asked for JSON get a reason as JSON too.
fn tell_programs(done: &Result<(), Failure>, console: &mut Console<'_>) -> Result<(), Failure> {
    let (reason, error, parameters) = match done {
        Err(
            Failure::Told(text)
            | Failure::Judged {
                exit_code: exit::CONFIG,
                text,
            },
        ) => (text, "Failed", &Value::Null),
        Err(Failure::Judged {
            exit_code: exit::TIMED_OUT,
            text,
        }) => (text, "TimedOut", &Value::Null),
        Err(Failure::Refused(text, error, parameters)) => (text, *error, parameters),
        _ => return Ok(()),
    };
    console.json(&json!({
        "done": false, "error": error, "reason": reason, "parameters": parameters,
    }))
}

fn run_command(
    command: &Command,
    options: &Options,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let config = options.config.as_deref();
    if options.format == Format::Prometheus && *command != Command::Status {
        return Err(Failure::Told(
            "`--format prometheus` goes with `status` only".into(),
        ));
    }
    let json = options.json || options.format == Format::Json;
    match command {
        Command::Validate => validate::run(config, console),
        Command::Status => {
            let format = if json { Format::Json } else { options.format };
            status::run(config, format, console)
        }
        Command::Tracking => {
            let status = connect::status(config)?;
            if json {
                return console.json(&status.system);
            }
            console.text(&tracking::plain(&status))
        }
        Command::Sources => {
            let status = connect::status(config)?;
            if json {
                return console.json(&status.sources);
            }
            console.text(&sources::plain(&status, console.painted))
        }
        Command::Source {
            name: Some(name), ..
        } => {
            let status = connect::status(config)?;
            let found = sources::called(&status, name)?;
            if json {
                return console.json(&found);
            }
            let texts: Vec<_> = found
                .iter()
                .map(|source| sources::everything(&status, source))
                .collect();
            console.text(&texts.join("\n"))
        }
        Command::Source {
            action: Some(action),
            ..
        } => Change::begin(config, json, console)?.source(action),
        Command::Source { .. } => Err(Failure::Told(
            "which source? `ntp-ctl sources` lists them; `ntp-ctl source --help` tells what can be done".into(),
        )),
        Command::Servers => {
            let status = connect::status(config)?;
            if json {
                return console.json(&status.servers);
            }
            console.text(&servers::plain(&status))
        }
        Command::Clients { limit, server } => {
            clients::run(config, *limit, server.as_deref(), json, console)
        }
        Command::Server { action } => Change::begin(config, json, console)?.server(action),
        Command::Explain => {
            let status = connect::status(config)?;
            if json {
                return console.json(&explain::data(&status));
            }
            console.text(&explain::plain(&status))
        }
        Command::Waitsync { max_error, timeout } => {
            waitsync::run(config, *max_error, *timeout, console)
        }
        Command::Step { force } => Change::begin(config, json, console)?.step(*force),
        Command::LogLevel { level } => Change::begin(config, json, console)?.log_level(level),
        Command::Config { action } => match action {
            ConfigAction::Show { all } => config_show::run(config, *all, json, console),
            ConfigAction::Save => config_save::run(config, json, console),
        },
        Command::Reload => Change::begin(config, json, console)?.reload(),
        Command::Rekey => Change::begin(config, json, console)?.rekey(),
        Command::Dump => Change::begin(config, json, console)?.dump(),
        Command::Watch => watch::run(config),
        Command::Query { host, samples } => query::run(host, *samples, json, console),
        Command::Nts {
            action: NtsAction::Check { host, ca, timeout },
        } => {
            let asked = nts::Check {
                host,
                authority: ca.as_deref(),
                limit: *timeout,
            };
            nts::check(&asked, json, console)
        }
        Command::Migrate { file, from } => migrate::run(file, *from, console),
        Command::Replay { file, svg, all } => replay::run(file, svg.as_deref(), *all, console),
        Command::ForceSync(wanted) => force_sync::run(config, wanted, json, console),
    }
}

#[cfg(test)]
mod tests;
