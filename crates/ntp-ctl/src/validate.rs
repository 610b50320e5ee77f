//! `ntp-ctl validate`: reports all problems of a configuration and its drop-ins.
//!
//! Three checks, in this order: the syntax and values of the files; the consistency of the settings
//! (upstream's checks, which determine its exit code as well); the support by this build. The last
//! two always run completely.

use std::path::Path;

use ntp_config::{DEFAULT_PATH, Diagnostic, Finding, Severity, load};
use serde_json::{Value, json};

use crate::console::{Console, Failure};
use crate::exit;

pub(crate) fn run(
    config: Option<&Path>,
    json: bool,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let mut report = Report {
        console,
        problems: json.then(Vec::new),
    };
    let result = check(config, &mut report);
    let Report { console, problems } = report;
    let Some(problems) = problems else {
        return result;
    };
    let failure = match result {
        Ok(()) => None,
        Err(Failure::Error(text) | Failure::Diagnostics(text)) => Some((exit::FAILURE, text)),
        Err(Failure::WithExitCode { exit_code, text }) => Some((exit_code, text)),
        Err(other) => return Err(other),
    };
    let reason = failure.as_ref().map(|(_, text)| text);
    console.print_json(&json!({
        "done": reason.is_none(), "reason": reason, "problems": problems,
    }))?;
    match failure {
        Some((exit_code, text)) => Err(Failure::Reported { exit_code, text }),
        None => Ok(()),
    }
}

/// Where problems go: to standard error as text, or into the JSON.
struct Report<'c, 'o> {
    console: &'c mut Console<'o>,
    /// The problems found so far, if the output is JSON.
    problems: Option<Vec<Value>>,
}

impl Report<'_, '_> {
    fn add(&mut self, diagnostic: &Diagnostic) {
        match &mut self.problems {
            Some(problems) => problems.push(data(diagnostic)),
            None => self.console.diagnostic(diagnostic),
        }
    }
}

fn data(diagnostic: &Diagnostic) -> Value {
    let place = &diagnostic.place;
    json!({
        "severity": match diagnostic.severity {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Error => "error",
        },
        "message": diagnostic.message,
        "file": place.file(), "line": place.line(), "column": place.column(),
        "label": diagnostic.label, "help": diagnostic.help,
    })
}

fn check(config: Option<&Path>, report: &mut Report<'_, '_>) -> Result<(), Failure> {
    let loaded = match load(config) {
        Ok(loaded) => loaded,
        Err(error) => {
            for warning in error.warnings() {
                report.add(warning);
            }
            if let Some(problems) = &mut report.problems {
                problems.extend(error.problems().iter().map(data));
            }
            let text = error.render(report.console.style);
            return Err(Failure::Diagnostics(format!(
                "Could not load configuration: {text}"
            )));
        }
    };
    if loaded.path.is_none() && loaded.warnings.is_empty() {
        report.console.message(format_args!(
            "note: no {DEFAULT_PATH}; checking the built-in defaults"
        ));
    }
    let drop_ins = loaded
        .files
        .iter()
        .filter(|file| Some(*file) != loaded.path.as_ref());
    let drop_ins: Vec<_> = drop_ins.map(|file| file.display().to_string()).collect();
    if !drop_ins.is_empty() {
        let drop_ins = drop_ins.join(", ");
        let note = format_args!("note: including {drop_ins}");
        report.console.message(note);
    }
    if let Some(choice) = &loaded.config.platform {
        report
            .console
            .message(format_args!("note: mode platform: {choice}"));
    }
    for warning in &loaded.warnings {
        report.add(warning);
    }
    let findings = loaded.config.check();
    for finding in &findings {
        report.add(&finding.diagnostic);
    }
    let unsupported = loaded.config.unsupported();
    for diagnostic in &unsupported {
        report.add(diagnostic);
    }
    if !unsupported.is_empty() {
        return Err(Failure::Error(
            "The configuration is valid, but this build of ntpd-rs does not support all of it: see above"
                .into(),
        ));
    }
    if !findings.iter().all(Finding::is_acceptable) {
        return Err(Failure::WithExitCode {
            exit_code: exit::INCONSISTENT,
            text: "The configuration can be loaded, but will not work as intended: see above"
                .into(),
        });
    }
    report.console.message("Config looks good");
    Ok(())
}
