//! The packages, and Debian's base system to install them in: a directory of its own, from the
//! mirror of this machine.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::binaries;

/// Builds a package of the suite, quickly, and returns its path; `kind` is `deb` or `rpm`.
///
/// # Panics
/// If it cannot be built.
pub fn package(kind: &str) -> PathBuf {
    let option = format!("--{kind}");
    // Not `cargo xtask`, which is a release build.
    let xtask = ["run", "--quiet", "--package", "xtask", "--", "dist"];
    run(binaries::cargo()
        .args(xtask)
        .args([&option, "--profile", "dev"]));
    let staged = binaries::workspace_root().join("target/dist").read_dir();
    let staged = staged.expect("packages are staged");
    let mut paths = staged.flatten().map(|entry| entry.path());
    let package = paths.find(|path| path.extension().is_some_and(|extension| extension == kind));
    package.expect("there is a package")
}

/// A Debian root directory, with /proc mounted.
#[derive(Debug)]
pub struct Root(PathBuf);

impl Root {
    /// Installs the base system and `packages` (separated by commas) into a directory.
    ///
    /// # Panics
    /// If that fails.
    pub fn make(directory: &Path, packages: &str) -> Self {
        run(Command::new("debootstrap")
            .arg("--variant=minbase")
            .arg(format!("--include={packages}"))
            .arg("bookworm")
            .arg(directory)
            .args(mirror()));
        run(Command::new("mount")
            .args(["-t", "proc", "proc"])
            .arg(directory.join("proc")));
        Self(directory.to_path_buf())
    }

    /// Runs a shell script inside. Returns whether it succeeded, and its output.
    ///
    /// # Panics
    /// If the script cannot be started.
    pub fn sh(&self, script: &str) -> (bool, String) {
        let output = Command::new("chroot")
            .arg(&self.0)
            .args(["/bin/sh", "-ec", script])
            .env("DEBIAN_FRONTEND", "noninteractive")
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .output()
            .expect("chroot starts");
        (output.status.success(), text(&output))
    }

    /// Runs a shell script that must succeed. Returns its output.
    ///
    /// # Panics
    /// If it fails.
    pub fn must(&self, script: &str) -> String {
        let (succeeded, text) = self.sh(script);
        assert!(succeeded, "{script}\n{text}");
        text
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.join("proc")).status();
    }
}

/// Debian mirror of this machine, if it can be determined.
fn mirror() -> Option<String> {
    let sources = std::fs::read_dir("/etc/apt/sources.list.d").ok()?;
    let texts = sources
        .flatten()
        .filter_map(|entry| std::fs::read_to_string(entry.path()).ok());
    let debian = texts.filter(|text| text.contains("bookworm"));
    debian
        .flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>())
        .find_map(|line| line.strip_prefix("URIs:").map(|uri| uri.trim().to_owned()))
}

/// Both streams of a program.
pub fn text(output: &Output) -> String {
    let both = [output.stdout.as_slice(), &output.stderr].concat();
    String::from_utf8_lossy(&both).into_owned()
}

/// Runs a command that must succeed, and returns its output.
///
/// # Panics
/// If it fails.
pub fn run(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = text(&output);
    assert!(output.status.success(), "{command:?}\n{text}");
    text
}
