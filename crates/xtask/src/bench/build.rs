//! Builds the measured programs with the release profile, and the small ones.

use std::path::{Path, PathBuf};
use std::process::Command;

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

/// Builds daemon and `ntp-ctl` for machines with little flash memory (`pkg/small`), without the
/// features of a full build and with `features`. Returns the directory of the programs.
pub(super) fn small(features: &str) -> Result<PathBuf, String> {
    let host = Command::new("rustc")
        .args(["--print", "host-tuple"])
        .output();
    let host = host.map_err(|error| format!("rustc cannot be run: {error}"))?;
    let host = String::from_utf8_lossy(&host.stdout).trim().to_owned();
    let status = binaries::cargo()
        .args(["--config", "pkg/small/config.toml", "build", "--quiet"])
        .args(["--profile", "small", "--target", &host, "-p", "ntpd"])
        .args(["--bin", "ntp-daemon", "--bin", "ntp-ctl"])
        .args(["--no-default-features", "--features", features])
        .status()
        .map_err(|error| format!("cargo cannot be run: {error}"))?;
    if !status.success() {
        return Err(format!("the small build with {features} failed"));
    }
    Ok(target_directory()?.join(host).join("small"))
}

/// Sibling of the directory that this program was built in.
fn release_directory() -> Result<PathBuf, String> {
    Ok(target_directory()?.join("release"))
}

fn target_directory() -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let target = own.parent().and_then(Path::parent);
    let target = target.ok_or("this program is not in a target directory")?;
    Ok(target.to_owned())
}
