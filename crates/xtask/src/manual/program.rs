//! The manual page of a program, from the definition of its command line.

use clap::{Arg, ArgAction, Command};
use roff::{Inline, Roff, bold, italic, roman};

use super::{Program, description, examples, head, inlines, see_also, terms, verbatim};

/// Returns the page in roff.
pub(super) fn page(program: &Program) -> String {
    let command = &mut (program.command)();
    let texts = &program.texts;
    command.build();
    let name = command.get_name().to_owned();
    let about = command
        .get_about()
        .map(ToString::to_string)
        .unwrap_or_default();
    let mut page = head(&name, "8", &about);

    page.control("SH", ["SYNOPSIS"]);
    synopsis(&mut page, command, &name);

    description(&mut page, texts.description);
    page.control("SH", ["OPTIONS"]);
    for argument in shown(command) {
        describe(&mut page, argument);
    }
    if commands(command).next().is_some() {
        page.control("SH", ["COMMANDS"]);
        describe_commands(&mut page, command, &mut Vec::new());
    }
    let after = command.get_after_long_help().or(command.get_after_help());
    if let Some(after) = after {
        page.control("SH", ["NOTES"]);
        verbatim(&mut page, &after.to_string());
    }
    examples(&mut page, texts.examples);
    terms(&mut page, "FILES", texts.files);
    terms(&mut page, "SIGNALS", texts.signals);
    terms(&mut page, "EXIT STATUS", program.codes);
    see_also(&mut page, program.see_also);
    page.to_roff()
}

fn synopsis(page: &mut Roff, command: &Command, name: &str) {
    let mut line = vec![bold(name)];
    for argument in shown(command).filter(|argument| !argument.is_positional()) {
        line.push(roman(" ["));
        line.extend(spelling(argument));
        line.push(roman("]"));
    }
    for argument in command.get_positionals() {
        line.push(roman(" "));
        line.push(italic(argument.get_id().as_str()));
    }
    if commands(command).next().is_some() {
        line.push(roman(" "));
        line.push(italic("COMMAND"));
    }
    page.text(line);
}

/// Lists nested subcommands flat, each with its full name.
fn describe_commands(page: &mut Roff, command: &Command, path: &mut Vec<String>) {
    for inner in commands(command) {
        path.push(inner.get_name().to_owned());
        if commands(inner).next().is_some() {
            describe_commands(page, inner, path);
        } else {
            describe_command(page, inner, &path.join(" "));
        }
        path.pop();
    }
}

fn describe_command(page: &mut Roff, command: &Command, name: &str) {
    page.control("TP", []);
    let mut line = vec![bold(name)];
    for argument in command.get_positionals() {
        line.push(roman(" "));
        line.push(italic(value_name(argument)));
    }
    page.text(line);
    let about = command.get_long_about().or(command.get_about());
    paragraphs(page, &about.map(ToString::to_string).unwrap_or_default());
    let own: Vec<_> = shown(command)
        .filter(|argument| !argument.is_global_set() && argument.get_id() != "help")
        .collect();
    if !own.is_empty() {
        page.control("RS", []);
        for argument in own {
            describe(page, argument);
        }
        page.control("RE", []);
    }
    if let Some(after) = command.get_after_long_help().or(command.get_after_help()) {
        page.control("IP", []);
        verbatim(page, &after.to_string());
    }
}

fn describe(page: &mut Roff, argument: &Arg) {
    page.control("TP", []);
    page.text(spelling(argument));
    let mut text = argument
        .get_long_help()
        .or(argument.get_help())
        .map(ToString::to_string)
        .unwrap_or_default();
    let defaults = argument.get_default_values();
    if !defaults.is_empty() && argument.get_action().takes_values() {
        let defaults: Vec<_> = defaults
            .iter()
            .map(|value| value.to_string_lossy())
            .collect();
        text.push_str(&format!(" [default: {}]", defaults.join(" ")));
    }
    let values = argument.get_possible_values();
    if !values.is_empty() && argument.get_action().takes_values() {
        let values: Vec<_> = values
            .iter()
            .map(clap::builder::PossibleValue::get_name)
            .collect();
        text.push_str(&format!(" [one of: {}]", values.join(", ")));
    }
    paragraphs(page, &text);
}

/// Formats `-c, --config PATH`, or the name of a positional argument.
fn spelling(argument: &Arg) -> Vec<Inline> {
    let mut line = Vec::new();
    if let Some(short) = argument.get_short() {
        line.push(bold(format!("-{short}")));
    }
    if let Some(long) = argument.get_long() {
        if !line.is_empty() {
            line.push(roman(", "));
        }
        line.push(bold(format!("--{long}")));
    }
    if argument.is_positional() {
        line.push(italic(value_name(argument)));
    } else if argument.get_action().takes_values()
        && !matches!(argument.get_action(), ArgAction::Count)
    {
        line.push(roman(" "));
        line.push(italic(value_name(argument)));
    }
    line
}

fn value_name(argument: &Arg) -> String {
    argument
        .get_value_names()
        .and_then(|names| names.first())
        .map_or_else(
            || argument.get_id().as_str().to_uppercase(),
            ToString::to_string,
        )
}

fn shown(command: &Command) -> impl Iterator<Item = &Arg> {
    command
        .get_arguments()
        .filter(|argument| !argument.is_hide_set())
}

fn commands(command: &Command) -> impl Iterator<Item = &Command> {
    command
        .get_subcommands()
        .filter(|inner| !inner.is_hide_set() && inner.get_name() != "help")
}

fn paragraphs(page: &mut Roff, text: &str) {
    for (index, paragraph) in text.split("\n\n").enumerate() {
        if index > 0 {
            page.control("IP", []);
        }
        page.text(inlines(&paragraph.replace('\n', " ")));
    }
}
