//! `ntp-ctl validate`: reports all problems of a configuration and its drop-ins.
//!
//! Three checks, in this order: the syntax and values of the files; the consistency of the settings
//! (upstream's checks, which determine its exit code as well); the support by this build. The last
//! two always run completely.

use std::path::Path;

use ntp_config::{DEFAULT_PATH, Finding, load};

use crate::console::{Console, Failure};

pub(crate) fn run(config: Option<&Path>, console: &mut Console<'_>) -> Result<(), Failure> {
    let loaded = match load(config) {
        Ok(loaded) => loaded,
        Err(error) => {
            for warning in error.warnings() {
                console.diagnostic(warning);
            }
            let report = error.render(console.style);
            return Err(Failure::Error(format!(
                "Could not load configuration: {report}"
            )));
        }
    };
    if loaded.path.is_none() && loaded.warnings.is_empty() {
        console.message(format_args!(
            "note: no {DEFAULT_PATH}; checking the built-in defaults"
        ));
    }
    let drop_ins = loaded
        .files
        .iter()
        .filter(|file| Some(*file) != loaded.path.as_ref());
    let drop_ins: Vec<_> = drop_ins.map(|file| file.display().to_string()).collect();
    if !drop_ins.is_empty() {
        console.message(format_args!("note: including {}", drop_ins.join(", ")));
    }
    for warning in &loaded.warnings {
        console.diagnostic(warning);
    }
    let findings = loaded.config.check();
    for finding in &findings {
        console.diagnostic(&finding.diagnostic);
    }
    let unsupported = loaded.config.unsupported();
    for diagnostic in &unsupported {
        console.diagnostic(diagnostic);
    }
    if !findings.iter().all(Finding::is_acceptable) {
        return Err(Failure::Error(
            "The configuration can be loaded, but will not work as intended: see above".into(),
        ));
    }
    if !unsupported.is_empty() {
        return Err(Failure::Error(
            "The configuration is valid, but this build of ntpd-rs does not support all of it: see above"
                .into(),
        ));
    }
    console.message("Config looks good");
    Ok(())
}
