//! Contents of a guest: Debian's kernel, busybox, our programs, chronyd, and their libraries.
//!
//! The kernel is that of Debian's package for virtual machines, with the modules that the scenarios
//! use. Programs are linked against the C library of this machine, so the archive contains the
//! libraries that `ldd` lists. The archive is built once per test process and kept in memory.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::cpio::Archive;
use crate::binaries::{Program, workspace_root};
use crate::peers;

/// Kernel modules, in load order.
const MODULES: [&str; 11] = [
    "virtio_ring",
    "virtio",
    "virtio_pci_legacy_dev",
    "virtio_pci_modern_dev",
    "virtio_pci",
    "failover",
    "net_failover",
    "virtio_net",
    "virtio_blk",
    "veth",
    "sch_netem",
];

/// Tools of this machine that busybox lacks or has in part (netem, namespaces).
const TOOLS: [&str; 2] = ["/sbin/tc", "/sbin/ip"];

/// The system emulator.
pub(super) const QEMU: &str = "qemu-system-x86_64";

/// Returns why virtual machines cannot run here, or `None` if they can.
pub fn missing() -> Option<String> {
    if !cfg!(target_arch = "x86_64") {
        return Some("guests run this machine's programs, which must be for x86-64".into());
    }
    for program in [Path::new(QEMU), &busybox()] {
        if let Err(error) = Command::new(program).arg("--help").output() {
            return Some(format!("{} cannot be run: {error}", program.display()));
        }
    }
    let files = MODULES.iter().map(|name| module(name));
    let tools = TOOLS.iter().map(PathBuf::from);
    files
        .chain([kernel()])
        .chain(tools)
        .find(|file| !file.exists())
        .map(|file| format!("{} is not there", file.display()))
}

/// The kernel's image.
pub(super) fn kernel() -> PathBuf {
    arena("linux").join("vmlinuz")
}

/// The archive with the files that all scenarios share.
///
/// # Panics
/// If a file cannot be read.
pub(super) fn base() -> &'static [u8] {
    static BASE: OnceLock<Vec<u8>> = OnceLock::new();
    BASE.get_or_init(build)
}

fn build() -> Vec<u8> {
    let mut archive = Archive::default();
    for directory in [
        "/dev",
        "/proc",
        "/sys",
        "/tmp",
        "/run/chrony",
        "/var/lib/ntpd-rs",
    ] {
        archive.directory(directory);
    }
    archive.file("/init", 0o755, include_bytes!("init.sh"));
    archive.file("/etc/passwd", 0o644, b"root:x:0:0:root:/:/bin/sh\n");
    archive.file("/etc/group", 0o644, b"root:x:0:\n");
    archive.file("/bin/busybox", 0o755, &read(&busybox()));
    archive.file(
        "/modules/order",
        0o644,
        (MODULES.join("\n") + "\n").as_bytes(),
    );
    for name in MODULES {
        archive.file(&format!("/modules/{name}.ko"), 0o644, &read(&module(name)));
    }
    let mut programs: Vec<PathBuf> = [Program::Daemon, Program::Ctl, Program::TrueClock]
        .map(|program| program.path().to_owned())
        .into();
    programs.extend(TOOLS.map(PathBuf::from));
    programs.push(peers::chronyd_path());
    let mut libraries = BTreeSet::new();
    for program in &programs {
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        archive.file(&format!("/programs/{name}"), 0o755, &stripped(program));
        libraries.extend(libraries_of(program));
    }
    for library in libraries {
        archive.file(&library, 0o755, &read(Path::new(&library)));
    }
    archive.finish()
}

/// The program without debug information, or unchanged if there is no `strip`.
fn stripped(program: &Path) -> Vec<u8> {
    // Not through a pipe: strip seeks in its output.
    let Ok(place) = tempfile::NamedTempFile::new() else {
        return read(program);
    };
    let status = Command::new("strip")
        .arg("-o")
        .arg(place.path())
        .arg(program)
        .status();
    if status.is_ok_and(|status| status.success()) {
        read(place.path())
    } else {
        read(program)
    }
}

/// Shared libraries and loader of a program.
fn libraries_of(program: &Path) -> Vec<String> {
    let output = match Command::new("ldd").arg(program).output() {
        Ok(output) => String::from_utf8_lossy(&output.stdout).into_owned(),
        Err(error) => panic!("cannot run ldd: {error}"),
    };
    output
        .lines()
        .filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')))
        .map(str::to_owned)
        .collect()
}

fn read(path: &Path) -> Vec<u8> {
    match fs::read(path) {
        Ok(octets) => octets,
        Err(error) => panic!("cannot read {}: {error}", path.display()),
    }
}

fn busybox() -> PathBuf {
    arena("busybox-static").join("bin/busybox")
}

fn module(name: &str) -> PathBuf {
    arena("linux").join(format!("{name}.ko"))
}

fn arena(package: &str) -> PathBuf {
    workspace_root().join("target/arena").join(package)
}
