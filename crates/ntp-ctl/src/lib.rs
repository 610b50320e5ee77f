//! `ntp-ctl`: checks configurations, shows the state of the running daemon and changes it.
//!
//! The command line and the output of `status` and `validate` are those of upstream's tool, for
//! scripts that depend on them; additions have lines of their own. Errors that upstream's tool
//! hides (an unknown command ends with exit code 0 there) are reported.
//!
//! Exit codes are in `exit`.
//!
//! Commands write to a `Console` instead of the streams of the process, so that tests can run them
//! in process. A closed pipe on standard output is not a failure.
#![forbid(unsafe_code)]
#![cfg_attr(
    not(feature = "tools"),
    allow(
        dead_code,
        unused_imports,
        reason = "for the commands that a small build lacks"
    )
)]

mod bound;
mod cli;
mod clients;
mod config_save;
mod config_show;
mod connect;
mod console;
mod daemon_command;
mod dhcp;
mod exit;
mod explain_text;
#[cfg(feature = "tools")]
#[cfg(feature = "tools")]
mod force_sync;
mod format;
mod layout;
mod manual;
#[cfg(feature = "tools")]
pub mod migrate;
#[cfg(feature = "nts")]
mod nts;
mod one_shot;
mod output_format;
mod query;
mod query_client;
mod reload;
#[cfg(feature = "tools")]
mod replay;
#[cfg(feature = "tools")]
mod report;
mod servers;
mod settings;
mod settings_table;
mod source_details;
mod sources;
mod status;
mod status_text;
#[cfg(feature = "tools")]
mod tools;
mod tracking;
#[cfg(feature = "tools")]
mod trial;
mod validate;
mod waitsync;
#[cfg(feature = "tools")]
mod watch;

use std::ffi::OsString;
use std::io::{self, ErrorKind, IsTerminal};
use std::process::ExitCode;

use ntp_config::Style;
use serde_json::{Value, json};

use cli::{Command, Invocation, Options};
use console::{Console, DEFAULT_WIDTH, Escaping, Failure};
pub use exit::CODES;
pub use one_shot::{OneShot, OpenOneShot};
use output_format::Format;

/// Returns the definition of the command line, from which manual page and completions are
/// generated.
pub fn command() -> clap::Command {
    cli::command()
}

/// Runs the program. `open` is for `force-sync`.
pub fn main(open: OpenOneShot<'_>) -> ExitCode {
    let colours = std::env::var_os("NO_COLOR").is_none();
    let is_terminal = io::stdout().is_terminal();
    let width = is_terminal.then(terminal_width).flatten();
    let width = width.unwrap_or(DEFAULT_WIDTH);
    let coloured = colours && is_terminal;
    let (mut out, mut err) = (io::stdout().lock(), io::stderr().lock());
    let mut console = Console {
        coloured,
        width: width.max(DEFAULT_WIDTH),
        out: Escaping::new(&mut out, coloured),
        err: Escaping::new(&mut err, false),
        style: if colours && io::stderr().is_terminal() {
            Style::Coloured
        } else {
            Style::Plain
        },
    };
    run(std::env::args_os(), open, &mut console).into()
}

/// Returns the width of the terminal in columns; a build without the tools knows none.
fn terminal_width() -> Option<usize> {
    #[cfg(feature = "tools")]
    if let Ok((columns, _)) = ratatui::crossterm::terminal::size() {
        return Some(columns.into());
    }
    None
}

/// Runs the command of `arguments`, the first of which is the name of the program, and returns the
/// exit code.
fn run(
    arguments: impl IntoIterator<Item = OsString>,
    open: OpenOneShot<'_>,
    console: &mut Console<'_>,
) -> u8 {
    let result = execute(arguments, open, console);
    match result.and_then(|()| console.out.flush().map_err(Failure::Output)) {
        Ok(()) => exit::SUCCESS,
        Err(Failure::Output(error)) if error.kind() == ErrorKind::BrokenPipe => exit::SUCCESS,
        Err(Failure::Output(error)) => {
            console.message(format_args!("Error: Could not write the output: {error}"));
            exit::FAILURE
        }
        Err(Failure::Usage(text)) => {
            console.message(text.trim_end());
            exit::USAGE
        }
        Err(Failure::Diagnostics(text)) => {
            console.rendered(&format!("Error: {text}"));
            exit::FAILURE
        }
        Err(Failure::Error(text) | Failure::Refused(text, ..)) => {
            console.message(format_args!("Error: {text}"));
            exit::FAILURE
        }
        Err(Failure::WithExitCode { exit_code, text } | Failure::Reported { exit_code, text }) => {
            console.message(format_args!("Error: {text}"));
            exit_code
        }
    }
}

fn execute(
    arguments: impl IntoIterator<Item = OsString>,
    open: OpenOneShot<'_>,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let arguments: Vec<_> = arguments.into_iter().collect();
    let invocation = match cli::parse(&arguments, console.width) {
        Err(failure) if cli::asks_for_json(&arguments) => {
            print_json_error(&failure, console)?;
            return Err(failure);
        }
        parsed => parsed?,
    };
    match invocation {
        Invocation::Help(text) => console.out.write_all(text.as_bytes())?,
        // On standard error, as upstream.
        Invocation::Version => console.message(concat!("ntp-ctl ", env!("CARGO_PKG_VERSION"))),
        Invocation::Run(command, options) => {
            let format = options.format();
            let result = run_command(&command, &options, open, console);
            if let Err(failure) = &result
                && format == Format::Json
            {
                print_json_error(failure, console)?;
            }
            result?;
        }
    }
    Ok(())
}

/// Prints the error of a command as JSON.
fn print_json_error(failure: &Failure, console: &mut Console<'_>) -> Result<(), Failure> {
    let (error, reason, parameters) = match failure {
        Failure::Usage(text) => ("Usage", text, &Value::Null),
        Failure::Error(text) | Failure::Diagnostics(text) => ("Failed", text, &Value::Null),
        Failure::WithExitCode { exit_code, text } => match *exit_code {
            exit::TIMED_OUT => ("TimedOut", text, &Value::Null),
            exit::NOT_SYNCHRONIZED => ("NotSynchronized", text, &Value::Null),
            _ => ("Failed", text, &Value::Null),
        },
        Failure::Refused(text, error, parameters) => (*error, text, parameters),
        Failure::Reported { .. } | Failure::Output(_) => return Ok(()),
    };
    console.print_json(&json!({
        "done": false, "error": error, "reason": reason, "parameters": parameters,
    }))
}

fn run_command(
    command: &Command,
    options: &Options,
    #[cfg_attr(not(feature = "tools"), expect(unused_variables))] open: OpenOneShot<'_>,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let config = options.config.as_deref();
    let format = options.format_for(command)?;
    let json = format == Format::Json;
    match command {
        Command::Validate => validate::run(config, json, console),
        Command::Status => status::run(config, format, console),
        Command::Daemon(command) => command.run(config, json, console),
        Command::Query {
            host,
            samples,
            version,
        } => query::run(host, *samples, *version, json, console),
        #[cfg(feature = "nts")]
        Command::Nts { action } => action.run(json, console),
        #[cfg(feature = "tools")]
        Command::Tool(tool) => tool.run(config, format, open, console),
    }
}

#[cfg(test)]
mod tests;
