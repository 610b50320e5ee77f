//! `ntp-ctl`: checks a configuration and shows the state of the running daemon.
//!
//! The command line and the outputs are those of upstream's tool, so that scripts made for it
//! go on working; what it tells beyond stands in lines of its own. Where upstream's tool hides a mistake
//! (an unknown command ends with exit code 0 there), this one does not.
//!
//! | exit code | when |
//! |---|---|
//! | 0 | the command did what was asked; help and version |
//! | 1 | anything else; standard error says what and, where that is known, what to do |
//! | 2 and up | `nts check` only: which part of NTS does not work; its help lists them |
//!
//! Commands are written against a `Console` instead of the process's streams, so that tests
//! run them in process. A reader that closes its end of a pipe has what it wants: that is no failure.
#![forbid(unsafe_code)]

mod asking;
mod change;
mod cli;
mod connect;
mod console;
mod explain;
mod figures;
mod force_sync;
mod layout;
mod migrate;
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

use change::Change;
use cli::{Asked, Command, Format, NtsAction, Options};
use console::{Console, Failure};

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
        Ok(()) => 0,
        Err(Failure::Output(error)) if error.kind() == ErrorKind::BrokenPipe => 0,
        Err(Failure::Output(error)) => {
            console.complain(format_args!("Error: Could not write the output: {error}"));
            1
        }
        Err(Failure::Usage(text)) => {
            console.complain(text.trim_end());
            1
        }
        Err(Failure::Told(text)) => {
            console.complain(format_args!("Error: {text}"));
            1
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
        Asked::Run(command, options) => run_command(&command, &options, console)?,
    }
    Ok(())
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
        } => Change::begin(config, console)?.source(action),
        Command::Source { .. } => Err(Failure::Told(
            "which source? `ntp-ctl sources` lists them; `ntp-ctl source --help` tells what can be done".into(),
        )),
        Command::Servers | Command::Clients => {
            let status = connect::status(config)?;
            if json {
                return console.json(&status.servers);
            }
            let shown = match command {
                Command::Servers => servers::plain(&status),
                _ => servers::clients(&status),
            };
            console.text(&shown)
        }
        Command::Server { action } => Change::begin(config, console)?.server(action),
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
        Command::Step { force } => Change::begin(config, console)?.step(*force),
        Command::LogLevel { level } => Change::begin(config, console)?.log_level(level),
        Command::Reload => Change::begin(config, console)?.reload(),
        Command::Rekey => Change::begin(config, console)?.rekey(),
        Command::Dump => Change::begin(config, console)?.dump(),
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
        Command::ForceSync => force_sync::run(),
    }
}

#[cfg(test)]
mod tests;
