//! A real gpsd, as Debian ships it, with a fake receiver.
//!
//! gpsd takes a pulse only from a serial port, and reports nothing to time daemons if its receiver
//! is at a pseudo-terminal. So a small library is preloaded (`serial_port.c`), which answers two
//! calls of the kernel in its place: what kind of device the terminal is, and when its DCD line
//! changes. Everything else is gpsd's own: it reads the sentences, numbers the pulses, decides when
//! to report, and writes to real sockets. A virtual machine could have a real pulse instead, but
//! takes minutes and a kernel with drivers that Debian's small one does not have.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::files::{temporary_directory, write_in};
use crate::peers::locate_program;
use crate::process::{self, Process};
use crate::producer::Receiver;

/// Package and program.
const GPSD: (&str, &str) = ("gpsd", "usr/sbin/gpsd");

const SERIAL_PORT: &str = include_str!("serial_port.c");

/// Returns what gpsd lacks to run here, or `None` if it can run.
pub fn missing() -> Option<&'static str> {
    if !rustix::process::geteuid().is_root() {
        return Some("root, for gpsd");
    }
    let found = Command::new(locate_program(GPSD)).arg("-V").output();
    if !found.is_ok_and(|output| output.status.success()) {
        return Some("gpsd");
    }
    let compiler = Command::new("cc").arg("--version").output();
    compiler.is_err().then_some("a C compiler, for gpsd")
}

/// A gpsd that is set up and may be started. Its receiver is plugged in already.
#[derive(Debug)]
pub struct Gpsd {
    _receiver: Receiver,
    files: TempDir,
    /// Name of the serial port.
    name: String,
    address: SocketAddr,
}

impl Gpsd {
    /// Sets up a gpsd with a receiver that has a fix and a pulse.
    ///
    /// # Panics
    /// If the library cannot be compiled, or there is no free port.
    pub fn new() -> Self {
        let files = temporary_directory();
        let receiver = Receiver::plug_in();
        // The number of the terminal is unique on this machine, as the path of the socket must be.
        let number = receiver.port().rsplit('/').next().unwrap_or_default();
        let name = format!("ttyNTP{number}");
        symlink(receiver.port(), files.path().join(&name)).expect("a link");
        compile(&files);
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|free| free.local_addr());
        Self {
            _receiver: receiver,
            files,
            name,
            address: port.expect("a port"),
        }
    }

    /// Address of its JSON interface.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Path of the serial port.
    pub fn device(&self) -> PathBuf {
        self.files.path().join(&self.name)
    }

    /// Path of the socket to which it sends the pulses, if the socket is there when it starts.
    pub fn socket(&self) -> PathBuf {
        Path::new("/run").join(format!("chrony.{}.sock", self.name))
    }

    /// Starts it.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start(&self) -> Process {
        // With shared memory of its own, where it creates segments that it does not remove.
        let mut command = process::command(None, "unshare");
        command
            .args(["--ipc", "env"])
            .arg(format!("LD_PRELOAD={}", library(&self.files).display()))
            .arg(locate_program(GPSD))
            .args(["-N", "-n", "-D", "4", "-S"])
            .arg(self.address.port().to_string())
            .arg(self.device());
        Process::spawn("gpsd", command)
    }
}

impl Default for Gpsd {
    fn default() -> Self {
        Self::new()
    }
}

fn library(files: &TempDir) -> PathBuf {
    files.path().join("serial_port.so")
}

fn compile(files: &TempDir) {
    let source = write_in(files, "serial_port.c", SERIAL_PORT);
    let mut command = process::command(None, "cc");
    command
        .args(["-shared", "-fPIC", "-Wall", "-Werror", "-o"])
        .arg(library(files))
        .arg(source);
    let (code, text) = Process::spawn("cc", command).outcome();
    assert_eq!(code, Some(0), "{text}");
}
