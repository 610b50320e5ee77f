//! Contents of a guest: Debian's kernel, busybox, our programs, chronyd, and their libraries.
//!
//! A [`Platform`] is an emulator, a kernel and its modules. Programs are linked against the C
//! library of this machine, so the archive contains the libraries that `ldd` lists. The archive is
//! built once per test process and kept in memory.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::cpio::Archive;
use crate::binaries::{Program, workspace_root};
use crate::{peers, process};

/// Emulated hardware: an emulator, a kernel for it, and the kernel's modules.
#[derive(Debug)]
pub(super) struct Platform {
    /// Directory of the kernel and its modules below `target/arena`.
    kernel: &'static str,
    /// Kernel modules with their parameters, in load order.
    modules: &'static [&'static str],
    /// Machine and devices, as options of the emulator.
    options: &'static [&'static str],
    /// Directory of an unpacked emulator below `target/arena`; `None` for the installed one.
    emulator: Option<&'static str>,
}

/// Debian's kernel for virtual machines, under Debian's emulator.
pub(super) static VIRTIO: Platform = Platform {
    kernel: "linux",
    modules: &[
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
        "vrf",
        "sch_netem",
    ],
    options: &["-machine", "pc"],
    emulator: None,
};

/// Devices with clocks: a network card with a PTP clock, a parallel port whose interrupt the kernel
/// dates as a pulse, and the page of a hypervisor (VMClock). They need a newer emulator and kernel
/// than Debian 12 has; both are in its backports.
pub(super) static CLOCKS: Platform = Platform {
    kernel: "linux-devices",
    modules: &[
        // Before the card with a clock, so that the network's interface is eth0 here, too.
        "failover",
        "net_failover",
        "virtio_net",
        "i2c-algo-bit",
        "dca",
        "igb",
        "parport",
        "parport_pc",
        // Without waiting for the other edge, which the emulated port does not have.
        "pps_parport clear_wait=0",
        "ptp_vmclock",
    ],
    options: &[
        "-machine",
        "q35",
        "-parallel",
        "null",
        "-device",
        "vmclock",
        // igb needs a port of its own, and a network, even if nothing else is on it.
        "-device",
        "pcie-root-port,id=card-port,chassis=1,slot=1",
        "-netdev",
        "hubport,id=alone,hubid=0",
        "-device",
        "igb,bus=card-port,netdev=alone,romfile=",
    ],
    emulator: Some("qemu"),
};

/// Point-to-point links, which Debian's kernel for virtual machines lacks.
pub(super) static PPP: Platform = Platform {
    kernel: "linux-devices",
    modules: &["slhc", "ppp_generic", "ppp_async"],
    options: &["-machine", "pc"],
    emulator: None,
};

impl Platform {
    /// A command that runs the emulator.
    pub(super) fn emulator(&self) -> Command {
        let Some(package) = self.emulator else {
            return process::command(None, QEMU);
        };
        let files = arena(package).join("usr");
        let mut command = process::command(None, files.join("bin").join(QEMU));
        for data in ["share/qemu", "share/seabios"] {
            command.arg("-L").arg(files.join(data));
        }
        command
    }

    /// Options of the machine and its devices.
    pub(super) fn options(&self) -> &'static [&'static str] {
        self.options
    }

    /// The kernel's image.
    pub(super) fn kernel(&self) -> PathBuf {
        arena(self.kernel).join("vmlinuz")
    }

    fn module(&self, name: &str) -> PathBuf {
        arena(self.kernel).join(format!("{name}.ko"))
    }

    /// Names of the modules, in load order.
    fn module_names(&self) -> impl Iterator<Item = &'static str> {
        let lines = self.modules.iter();
        lines.filter_map(|line| line.split_whitespace().next())
    }

    /// Files that the platform needs.
    fn files(&self) -> impl Iterator<Item = PathBuf> {
        let modules = self.module_names().map(|name| self.module(name));
        modules.chain([self.kernel()])
    }

    /// An archive of the modules.
    pub(super) fn archive(&self) -> Vec<u8> {
        let mut archive = Archive::default();
        let order = self.modules.join("\n") + "\n";
        archive.file("/modules/order", 0o644, order.as_bytes());
        for name in self.module_names() {
            let contents = read(&self.module(name));
            archive.file(&format!("/modules/{name}.ko"), 0o644, &contents);
        }
        archive.finish()
    }
}

/// Tools of this machine that busybox lacks or has in part (netem, namespaces).
const TOOLS: [&str; 2] = ["/sbin/tc", "/sbin/ip"];

/// The package of pppd below `target/arena`.
const PPP_PACKAGE: &str = "ppp";

/// The system emulator.
const QEMU: &str = "qemu-system-x86_64";

/// Returns why virtual machines cannot run here, or `None` if they can.
pub fn missing() -> Option<String> {
    if !cfg!(target_arch = "x86_64") {
        return Some("guests run this machine's programs, which must be for x86-64".into());
    }
    if let Err(error) = Command::new(busybox()).arg("--help").output() {
        return Some(format!("{} cannot be run: {error}", busybox().display()));
    }
    let tools = TOOLS.iter().map(PathBuf::from);
    absent(tools).or_else(|| missing_on(&VIRTIO))
}

/// Returns why virtual machines with devices that have clocks cannot run here, or `None` if they
/// can.
pub fn clocks_missing() -> Option<String> {
    missing()
        .or_else(|| absent([phc_ctl()]))
        .or_else(|| missing_on(&CLOCKS))
}

/// Returns why virtual machines with point-to-point links cannot run here, or `None` if they can.
pub fn ppp_missing() -> Option<String> {
    missing()
        .or_else(|| absent([arena(PPP_PACKAGE).join("usr/sbin/pppd")]))
        .or_else(|| missing_on(&PPP))
}

fn missing_on(platform: &Platform) -> Option<String> {
    match platform.emulator().arg("--version").output() {
        Ok(output) if output.status.success() => absent(platform.files()),
        Ok(output) => Some(format!(
            "the emulator fails: {}",
            String::from_utf8_lossy(&output.stderr)
        )),
        Err(error) => Some(format!("the emulator cannot be run: {error}")),
    }
}

fn absent(files: impl IntoIterator<Item = PathBuf>) -> Option<String> {
    let mut files = files.into_iter();
    let absent = files.find(|file| !file.exists())?;
    Some(format!("{} is not there", absent.display()))
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
    let mut programs: Vec<PathBuf> = [Program::Daemon, Program::Ctl, Program::TrueClock]
        .map(|program| program.path().to_owned())
        .into();
    programs.extend(TOOLS.map(PathBuf::from));
    programs.push(peers::chronyd_path());
    programs.extend([phc_ctl()].into_iter().filter(|program| program.exists()));
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

/// Adds pppd with its configuration, and what its scripts need: `sh` and `run-parts` as in Debian.
pub(super) fn add_ppp(archive: &mut Archive) {
    let package = arena(PPP_PACKAGE);
    for directory in ["etc", "usr/bin"] {
        add_tree(archive, &package, Path::new(directory));
    }
    for (source, place) in [
        (package.join("usr/sbin/pppd"), "/usr/sbin/pppd"),
        ("/bin/dash".into(), "/usr/bin/dash"),
        ("/bin/run-parts".into(), "/usr/bin/run-parts"),
    ] {
        archive.file(place, 0o755, &stripped(&source));
        for library in libraries_of(&source) {
            archive.file(&library, 0o755, &read(Path::new(&library)));
        }
    }
}

/// Adds the files below `root` that are in `directory`.
fn add_tree(archive: &mut Archive, root: &Path, directory: &Path) {
    archive.directory(&directory.to_string_lossy());
    let entries = match fs::read_dir(root.join(directory)) {
        Ok(entries) => entries.flatten(),
        Err(error) => panic!("cannot read {}: {error}", directory.display()),
    };
    for entry in entries {
        let place = directory.join(entry.file_name());
        match entry.metadata() {
            Ok(kind) if kind.is_dir() => add_tree(archive, root, &place),
            Ok(kind) => {
                let mode = kind.permissions().mode() & 0o777;
                archive.file(&place.to_string_lossy(), mode, &read(&entry.path()));
            }
            Err(error) => panic!("cannot read {}: {error}", place.display()),
        }
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

/// Sets and compares PTP clocks (package linuxptp).
fn phc_ctl() -> PathBuf {
    arena("linuxptp").join("usr/sbin/phc_ctl")
}

fn arena(package: &str) -> PathBuf {
    workspace_root().join("target/arena").join(package)
}
