//! Builds the programs under test on first use.
//!
//! A test target of one package cannot depend on the programs of another, so this module runs
//! `cargo build` once per test process, with the profile and target directory of the test itself.
//! Without changes that takes a moment; cargo's lock serialises concurrent builds. With
//! `NTP_E2E_FEATURES=full,aws-lc-rs` the programs have those features instead of the default ones.

use std::collections::HashMap;
use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

/// A program of this workspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// The daemon.
    Daemon,
    /// The command line client.
    Ctl,
    /// The metrics exporter.
    Exporter,
    /// Server with a known clock error and configurable misbehaviour.
    TestServer,
    /// Answers every request with a DENY kiss.
    DemobilizeServer,
    /// Answers too frequent requests with a RATE kiss.
    RateLimitServer,
    /// Serves a time that `adjtimex(2)` does not move, and compares the clock with it.
    TrueClock,
    /// Load generator for NTP servers.
    Load,
}

impl Program {
    /// File name of the program.
    pub fn name(self) -> &'static str {
        match self {
            Self::Daemon => "ntp-daemon",
            Self::Ctl => "ntp-ctl",
            Self::Exporter => "ntp-metrics-exporter",
            Self::TestServer => "test-server",
            Self::DemobilizeServer => "demobilize-server",
            Self::RateLimitServer => "rate-limit-server",
            Self::TrueClock => "true-clock",
            Self::Load => "ntp-load",
        }
    }

    /// Workspace package that the program belongs to.
    fn package(self) -> &'static str {
        match self {
            Self::Daemon | Self::Ctl | Self::Exporter => "ntpd",
            Self::TestServer
            | Self::DemobilizeServer
            | Self::RateLimitServer
            | Self::TrueClock
            | Self::Load => "test-binaries",
        }
    }

    /// Path of the program; builds it on first use.
    ///
    /// # Panics
    /// If the build fails.
    pub fn path(self) -> &'static Path {
        static DAEMON: OnceLock<HashMap<String, PathBuf>> = OnceLock::new();
        static SERVERS: OnceLock<HashMap<String, PathBuf>> = OnceLock::new();
        let package = self.package();
        let built = if package == "ntpd" { &DAEMON } else { &SERVERS };
        match built.get_or_init(|| build(package)).get(self.name()) {
            Some(path) => path,
            None => panic!("package {package} has no program {}", self.name()),
        }
    }
}

/// The directory of the workspace's `Cargo.toml`.
pub fn workspace_root() -> &'static Path {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.ancestors().nth(2).unwrap_or(manifest)
}

/// A `cargo` command in the workspace directory, with the environment of an interactive shell.
///
/// Removes the variables that cargo sets for the running package (`CARGO_PKG_NAME` and the like).
/// Build scripts would inherit them, see different values each time, and half of the dependencies
/// would be rebuilt.
pub fn cargo() -> Command {
    let own = env::var_os("CARGO");
    let mut cargo = Command::new(own.as_deref().unwrap_or(OsStr::new("cargo")));
    for (name, _) in env::vars_os() {
        let name_shown = name.to_string_lossy();
        if ["CARGO_PKG_", "CARGO_MANIFEST_"]
            .iter()
            .any(|prefix| name_shown.starts_with(prefix))
        {
            cargo.env_remove(&name);
        }
    }
    cargo.current_dir(workspace_root());
    cargo
}

/// Builds all programs of `package`. Returns name and path of each.
fn build(package: &str) -> HashMap<String, PathBuf> {
    let mut cargo = cargo();
    cargo
        .args(["build", "--bins", "--package", package])
        .args(["--message-format=json-render-diagnostics"])
        .stdin(Stdio::null());
    if let Some(features) = env::var_os("NTP_E2E_FEATURES").filter(|_| package == "ntpd") {
        let features = ["--features".as_ref(), features.as_os_str()];
        cargo.arg("--no-default-features").args(features);
    }
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    if let Some(directory) = target_directory() {
        cargo.arg("--target-dir").arg(directory);
    }
    let output = match cargo.output() {
        Ok(output) => output,
        Err(error) => panic!("cannot run cargo: {error}"),
    };
    assert!(
        output.status.success(),
        "cannot build the programs of {package}:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    output
        .stdout
        .split(|octet| *octet == b'\n')
        .filter_map(|line| serde_json::from_slice(line).ok())
        .filter_map(|message: Value| {
            let path = PathBuf::from(message["executable"].as_str()?);
            let name = message["target"]["name"].as_str()?.to_owned();
            Some((name, path))
        })
        .collect()
}

/// Target directory of the running program: a test is `TARGET/PROFILE/deps/NAME`, a task
/// `TARGET/PROFILE/NAME`.
fn target_directory() -> Option<PathBuf> {
    let program = env::current_exe().ok()?;
    let place = program.parent()?;
    let profile = if place.ends_with("deps") {
        place.parent()?
    } else {
        place
    };
    profile.parent().map(Path::to_owned)
}
