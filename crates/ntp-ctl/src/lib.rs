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
mod force_sync;
mod format;
mod layout;
mod manual;
pub mod migrate;
mod nts;
mod query;
mod query_client;
mod reload;
mod replay;
mod report;
mod servers;
mod settings;
mod settings_table;
mod source_details;
mod sources;
mod status;
mod status_text;
mod tracking;
mod trial;
mod validate;
mod waitsync;
mod watch;

use std::ffi::OsString;
use std::io::{self, ErrorKind, IsTerminal};
use std::process::ExitCode;

use ntp_config::Style;
use ntp_nts_ke::trust::Authorities;
use serde_json::{Value, json};

use cli::{Command, Format, Invocation, NtsAction, Options};
use console::{Console, DEFAULT_WIDTH, Escaping, Failure};
pub use exit::CODES;
pub use force_sync::{OneShot, OpenOneShot};

/// Returns the definition of the command line, from which manual page and completions are
/// generated.
pub fn command() -> clap::Command {
    cli::command()
}

/// Runs the program. `open` is for `force-sync`.
pub fn main(open: OpenOneShot<'_>) -> ExitCode {
    let colours = std::env::var_os("NO_COLOR").is_none();
    let is_terminal = io::stdout().is_terminal();
    let size = is_terminal.then(|| ratatui::crossterm::terminal::size().ok());
    let width = size
        .flatten()
        .map_or(DEFAULT_WIDTH, |(columns, _)| columns.into());
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
    open: OpenOneShot<'_>,
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
        Command::Nts {
            action:
                NtsAction::Check {
                    host,
                    ca,
                    no_system_authorities,
                    version,
                    pool,
                    srv,
                    timeout,
                },
        } => {
            let check = nts::Check {
                host,
                authorities: Authorities {
                    system: !no_system_authorities,
                    paths: ca.as_slice(),
                },
                version: *version,
                srv: *srv,
                pool: *pool,
                limit: *timeout,
            };
            nts::run(&check, json, console)
        }
        Command::Migrate(options) => migrate::run(config, options, json, console),
        Command::Trial(options) => trial::run(config, options, json, console),
        Command::Replay { file, svg, all } => {
            replay::run(file, svg.as_deref(), *all, json, console)
        }
        Command::Report {
            from,
            to,
            limits,
            svg,
            directory,
        } => {
            let wanted = report::Wanted {
                from: *from,
                to: *to,
                limits,
                picture: svg.as_deref(),
                directory: directory.as_deref(),
            };
            report::run(config, &wanted, format, console)
        }
        Command::ForceSync(options) => force_sync::run(config, options, json, open, console),
    }
}

#[cfg(test)]
mod tests;
