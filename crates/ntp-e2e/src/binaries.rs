//! The programs under test, built when first asked for.
//!
//! A test target of one package cannot depend on the programs of another, so cargo is asked to build them once for
//! each test process, with the profile and into the directory of the test itself. If nothing has changed that takes
//! a moment, and cargo's own lock orders those who ask at the same time.

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
    /// Serves with a known error, and misbehaves on demand.
    TestServer,
    /// Denies service to all.
    DemobilizeServer,
    /// Denies service to those who ask too often.
    RateLimitServer,
    /// Serves a truth that nobody can steer, and compares the clock with it.
    TrueClock,
    /// Puts a server under load.
    Load,
}

impl Program {
    /// What it is called.
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

    /// Its package in this workspace.
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

    /// Where it is, freshly built.
    ///
    /// # Panics
    /// If it cannot be built.
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

/// Cargo, in the workspace, with the environment that it has when a person runs it.
///
/// What it tells a program that it runs about that program's package (`CARGO_PKG_NAME` and the like) would go on to the build scripts of all
/// others. One that looks at it finds something else each time, and half of the dependencies are built anew.
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

/// Builds all programs of `package`, and returns name and path of each.
fn build(package: &str) -> HashMap<String, PathBuf> {
    let mut cargo = cargo();
    cargo
        .args(["build", "--bins", "--package", package])
        .args(["--message-format=json-render-diagnostics"])
        .stdin(Stdio::null());
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

/// The directory that this very program was built into: a test is `TARGET/PROFILE/deps/NAME`, a task `TARGET/PROFILE/NAME`.
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
