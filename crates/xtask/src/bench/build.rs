//! Builds the measured programs with the release profile.

use std::path::{Path, PathBuf};

use ntp_e2e::binaries;

/// Builds a program of the workspace and returns its path.
pub(super) fn binary(package: &str, name: &str) -> Result<PathBuf, String> {
    cargo(&["-p", package, "--bin", name])?;
    Ok(release_directory()?.join(name))
}

/// Builds an example of the workspace and returns its path.
pub(super) fn example(package: &str, name: &str) -> Result<PathBuf, String> {
    cargo(&["-p", package, "--example", name])?;
    Ok(release_directory()?.join("examples").join(name))
}

fn cargo(arguments: &[&str]) -> Result<(), String> {
    let status = binaries::cargo()
        .args(["build", "--quiet", "--release"])
        .args(arguments)
        .status()
        .map_err(|error| format!("cargo cannot be run: {error}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("cargo build {} failed", arguments.join(" ")))
    }
}

/// Sibling of the directory that this program was built in.
fn release_directory() -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let target = own.parent().and_then(Path::parent);
    let target = target.ok_or("this program is not in a target directory")?;
    Ok(target.join("release"))
}
