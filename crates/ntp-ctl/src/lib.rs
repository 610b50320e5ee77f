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
//!
//! Commands are written against a `Console` instead of the process's streams, so that tests
//! run them in process. A reader that closes its end of a pipe has what it wants: that is no failure.
#![forbid(unsafe_code)]

mod cli;
mod console;
mod force_sync;
mod layout;
mod migrate;
mod replay;
mod status;
mod validate;

use std::ffi::OsString;
use std::io::{self, ErrorKind, IsTerminal};
use std::process::ExitCode;

use ntp_config::Style;

use cli::{Asked, Command};
use console::{Console, Failure};

/// The definition of the command line, from which manual page and completions are made.
pub fn command() -> clap::Command {
    cli::command()
}

/// The whole program.
pub fn main() -> ExitCode {
    let coloured = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let mut console = Console {
        out: &mut io::stdout().lock(),
        err: &mut io::stderr().lock(),
        style: if coloured {
            Style::Coloured
        } else {
            Style::Plain
        },
    };
    if run(std::env::args_os(), &mut console) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Does what the arguments (the first is the program's name) ask for; returns whether it succeeded.
fn run(arguments: impl IntoIterator<Item = OsString>, console: &mut Console<'_>) -> bool {
    let done = obey(arguments, console);
    match done.and_then(|()| console.out.flush().map_err(Failure::Output)) {
        Ok(()) => true,
        Err(Failure::Output(error)) if error.kind() == ErrorKind::BrokenPipe => true,
        Err(Failure::Output(error)) => {
            console.complain(format_args!("Error: Could not write the output: {error}"));
            false
        }
        Err(Failure::Usage(text)) => {
            console.complain(text.trim_end());
            false
        }
        Err(Failure::Told(text)) => {
            console.complain(format_args!("Error: {text}"));
            false
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
        Asked::Run(Command::Validate, options) => {
            validate::run(options.config.as_deref(), console)?;
        }
        Asked::Run(Command::Status, options) => {
            status::run(options.config.as_deref(), options.format, console)?;
        }
        Asked::Run(Command::Migrate { file, from }, _) => migrate::run(&file, from, console)?,
        Asked::Run(Command::Replay { file, svg, all }, _) => {
            replay::run(&file, svg.as_deref(), all, console)?;
        }
        Asked::Run(Command::ForceSync, _) => force_sync::run()?,
    }
    Ok(())
}

#[cfg(test)]
mod tests;
