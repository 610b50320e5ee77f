//! `ntp-ctl validate`: everything that is wrong with a configuration and its drop-ins, or that nothing is.
//!
//! Three questions, in this order: is the file acceptable; do its settings go together (upstream's
//! checks, which decide its exit code as well); can this build do all that is asked for. The
//! last two are answered in full, whatever comes first.

use std::path::Path;

use ntp_config::{DEFAULT_PATH, Finding, load};

use crate::console::{Console, Failure};

pub(crate) fn run(config: Option<&Path>, console: &mut Console<'_>) -> Result<(), Failure> {
    let loaded = match load(config) {
        Ok(loaded) => loaded,
        Err(error) => {
            for warning in error.warnings() {
                console.show(warning);
            }
            let report = error.render(console.style);
            return Err(Failure::Told(format!(
                "Could not load configuration: {report}"
            )));
        }
    };
    if loaded.path.is_none() && loaded.warnings.is_empty() {
        console.complain(format_args!(
            "note: there is no {DEFAULT_PATH}: checking the built-in defaults"
        ));
    }
    let beside = loaded
        .files
        .iter()
        .filter(|file| Some(*file) != loaded.path.as_ref());
    let beside: Vec<_> = beside.map(|file| file.display().to_string()).collect();
    if !beside.is_empty() {
        console.complain(format_args!("note: with {}", beside.join(", ")));
    }
    for warning in &loaded.warnings {
        console.show(warning);
    }
    let findings = loaded.config.check();
    for finding in &findings {
        console.show(&finding.diagnostic);
    }
    let lacking = loaded.config.unsupported();
    for diagnostic in &lacking {
        console.show(diagnostic);
    }
    if !findings.iter().all(Finding::is_acceptable) {
        return Err(Failure::Told(
            "The configuration can be loaded, but will not do what it is meant to: see above"
                .into(),
        ));
    }
    if !lacking.is_empty() {
        return Err(Failure::Told(
            "The configuration is valid, but this build of ntpd-rs cannot do all of it: see above"
                .into(),
        ));
    }
    console.complain("Config looks good");
    Ok(())
}
