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

mod change;
mod cli;
mod clients;
mod config_save;
mod config_show;
mod connect;
mod console;
mod exit;
mod explain;
mod force_sync;
mod format;
mod layout;
pub mod migrate;
mod nts;
mod query;
mod query_client;
mod replay;
mod servers;
mod sources;
mod status;
mod status_text;
mod tracking;
mod validate;
mod waitsync;
mod watch;

use std::ffi::OsString;
use std::io::{self, ErrorKind, IsTerminal};
use std::path::Path;
use std::process::ExitCode;

use ntp_config::Style;
use ntp_types::status::Status;
use serde_json::{Value, json};

use change::Change;
use cli::{Command, ConfigAction, Format, Invocation, NtsAction, Options, SourceAction};
use console::{Console, DEFAULT_WIDTH, Failure};
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
    let mut console = Console {
        coloured: colours && is_terminal,
        width: width.max(DEFAULT_WIDTH),
        out: &mut io::stdout().lock(),
        err: &mut io::stderr().lock(),
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
            exit::FAILURE
        }
        Err(Failure::Error(text) | Failure::Refused(text, ..)) => {
            console.message(format_args!("Error: {text}"));
            exit::FAILURE
        }
        Err(Failure::WithExitCode { exit_code, text }) => {
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
    match cli::parse(arguments)? {
        Invocation::Help(text) => console.out.write_all(text.as_bytes())?,
        // On standard error, as upstream.
        Invocation::Version => console.message(concat!("ntp-ctl ", env!("CARGO_PKG_VERSION"))),
        Invocation::Run(command, options) => {
            let result = run_command(&command, &options, open, console);
            if options.format == Format::Json {
                print_json_error(&result, console)?;
            }
            result?;
        }
    }
    Ok(())
}

/// Prints the error of a command as JSON.
fn print_json_error(
    result: &Result<(), Failure>,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let (reason, error, parameters) = match result {
        Err(
            Failure::Error(text)
            | Failure::WithExitCode {
                exit_code: exit::CONFIG,
                text,
            },
        ) => (text, "Failed", &Value::Null),
        Err(Failure::WithExitCode {
            exit_code: exit::TIMED_OUT,
            text,
        }) => (text, "TimedOut", &Value::Null),
        Err(Failure::Refused(text, error, parameters)) => (text, *error, parameters),
        _ => return Ok(()),
    };
    console.print_json(&json!({
        "done": false, "error": error, "reason": reason, "parameters": parameters,
    }))
}

/// Prints part of the state of the daemon, as JSON or as text.
fn show(
    config: Option<&Path>,
    json: bool,
    console: &mut Console<'_>,
    value: impl FnOnce(&Status) -> Value,
    text: impl FnOnce(&Status) -> String,
) -> Result<(), Failure> {
    let status = connect::status(config)?;
    if json {
        return console.print_json(&value(&status));
    }
    console.print(&text(&status))
}

fn run_command(
    command: &Command,
    options: &Options,
    open: OpenOneShot<'_>,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let config = options.config.as_deref();
    if options.format == Format::Prometheus && *command != Command::Status {
        return Err(Failure::Error(
            "`--format prometheus` is for `status` only".into(),
        ));
    }
    let json = options.json || options.format == Format::Json;
    match command {
        Command::Validate => validate::run(config, console),
        Command::Status => {
            let format = if json { Format::Json } else { options.format };
            status::run(config, format, console)
        }
        Command::Tracking => show(config, json, console, tracking::data, tracking::plain),
        Command::Sources => {
            let (width, coloured) = (console.width, console.coloured);
            let text = |it: &Status| sources::plain(it, width, coloured);
            show(config, json, console, |it| json!(it.sources), text)
        }
        Command::Source { name, action } => {
            source(name.as_deref(), action.as_ref(), config, json, console)
        }
        Command::Servers => show(
            config,
            json,
            console,
            |it| json!(it.servers),
            servers::plain,
        ),
        Command::Clients { limit, server } => {
            clients::run(config, *limit, server.as_deref(), json, console)
        }
        Command::Server { action } => Change::connect(config, json, console)?.server(action),
        Command::Explain => show(config, json, console, explain::data, explain::plain),
        Command::Waitsync { max_error, timeout } => {
            waitsync::run(config, *max_error, *timeout, console)
        }
        Command::Step { force } => Change::connect(config, json, console)?.step(*force),
        Command::LogLevel { level } => Change::connect(config, json, console)?.log_level(level),
        Command::Config { action } => match action {
            ConfigAction::Show { all } => config_show::run(config, *all, json, console),
            ConfigAction::Save => config_save::run(config, json, console),
        },
        Command::Reload => Change::connect(config, json, console)?.reload(),
        Command::Rekey => Change::connect(config, json, console)?.rekey(),
        Command::Dump => Change::connect(config, json, console)?.dump(),
        Command::Watch => watch::run(config),
        Command::Query { host, samples } => query::run(host, *samples, json, console),
        Command::Nts {
            action: NtsAction::Check { host, ca, timeout },
        } => {
            let check = nts::Check {
                host,
                authority: ca.as_deref(),
                limit: *timeout,
            };
            nts::run(&check, json, console)
        }
        Command::Migrate { file, from } => migrate::run(file, *from, console),
        Command::Replay { file, svg, all } => replay::run(file, svg.as_deref(), *all, console),
        Command::ForceSync(options) => force_sync::run(config, options, json, open, console),
    }
}

/// Shows or changes a source.
fn source(
    name: Option<&str>,
    action: Option<&SourceAction>,
    config: Option<&Path>,
    json: bool,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    if let Some(name) = name {
        let status = connect::status(config)?;
        let found = sources::find(&status, name)?;
        if json {
            return console.print_json(&found);
        }
        let texts = found.iter().map(|source| sources::details(&status, source));
        return console.print(&texts.collect::<Vec<_>>().join("\n"));
    }
    match action {
        Some(action) => Change::connect(config, json, console)?.source(action),
        None => Err(Failure::Error(
            "No source given; `ntp-ctl sources` lists them, `ntp-ctl source --help` shows the actions"
                .into(),
        )),
    }
}

#[cfg(test)]
mod tests;
