//! `cargo xtask dist`: packages for Debian and for rpm distributions.
//!
//! Builds the programs, generates manual pages and completions, and runs cargo-deb and
//! cargo-generate-rpm with the metadata of `crates/ntpd/Cargo.toml`. Both tools are installed below
//! `target/tools` if they are missing, in the versions below.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use ntp_e2e::binaries::{cargo, workspace_root};

/// Arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Only the package for Debian
    #[arg(long)]
    deb: bool,
    /// Only the package for rpm distributions
    #[arg(long, conflicts_with = "deb")]
    rpm: bool,
    /// Cargo profile of the programs; `dev` builds quickly, for tests of the package
    #[arg(long, default_value = "release")]
    profile: String,
}

/// A cargo tool and the version that is known to work.
struct Tool {
    name: &'static str,
    version: &'static str,
}

const DEB: Tool = Tool {
    name: "cargo-deb",
    version: "3.8.0",
};
const RPM: Tool = Tool {
    name: "cargo-generate-rpm",
    version: "0.21.1",
};

/// The programs of the packages.
const PROGRAMS: &[&str] = &["ntp-daemon", "ntp-ctl", "ntp-metrics-exporter"];

/// Directory of manual pages, completions and programs, as in the file lists of the packages.
const STAGE: &str = "target/dist";

/// Builds the packages.
///
/// # Errors
/// The failed step.
pub(crate) fn dist(arguments: &Arguments) -> Result<(), String> {
    let root = workspace_root();
    let target = target();
    let mut build = cargo();
    build.args([
        "build",
        "--locked",
        "--profile",
        &arguments.profile,
        "-p",
        "ntpd",
    ]);
    for program in PROGRAMS {
        build.args(["--bin", program]);
    }
    run(&mut build)?;

    let stage = root.join(STAGE);
    let bin = stage.join("bin");
    fs::create_dir_all(&bin).map_err(|error| format!("{}: {error}", bin.display()))?;
    let built = target.join(if arguments.profile == "dev" {
        "debug"
    } else {
        &arguments.profile
    });
    for program in PROGRAMS {
        let (from, to) = (built.join(program), bin.join(program));
        fs::copy(&from, &to).map_err(|error| format!("{}: {error}", from.display()))?;
        run(Command::new("strip").arg(&to))?;
    }
    crate::manual::write_all(&stage)?;

    if !arguments.rpm {
        let tool = DEB.install(root)?;
        run(Command::new(tool)
            .current_dir(root)
            .args(["deb", "-q", "-p", "ntpd", "--no-build", "--no-strip", "-o"])
            .arg(&stage))?;
    }
    if !arguments.deb {
        let tool = RPM.install(root)?;
        run(Command::new(tool)
            .current_dir(root)
            .args(["generate-rpm", "-p", "crates/ntpd"])
            // Installation scripts, which create the users.
            .args(["--metadata-overwrite", "pkg/rpm/scriptlets.toml", "-o"])
            .arg(&stage))?;
    }
    println!("packages are in {}", stage.display());
    Ok(())
}

impl Tool {
    /// Returns the path of the program; installs it if it is missing or of another version.
    fn install(&self, root: &Path) -> Result<PathBuf, String> {
        let tools = root.join("target/tools");
        let program = tools.join("bin").join(self.name);
        let marker = tools.join(format!("{}-{}", self.name, self.version));
        if !(program.exists() && marker.exists()) {
            run(cargo()
                .args(["install", "--locked", "--root"])
                .arg(&tools)
                .args([self.name, "--version", self.version]))?;
            fs::write(&marker, "").map_err(|error| format!("{}: {error}", marker.display()))?;
        }
        Ok(program)
    }
}

fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| workspace_root().join("target"), PathBuf::from)
}

fn run(command: &mut Command) -> Result<(), String> {
    let shown = format!("{command:?}");
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{shown} failed: {status}")),
        Err(error) => Err(format!("{shown} cannot be started: {error}")),
    }
}
