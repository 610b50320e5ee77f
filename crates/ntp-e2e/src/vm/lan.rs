//! A network of several machines, and control of running machines.
//!
//! The network is a multicast group of the loopback interface, to which each emulator sends the
//! packets of its guest. Networked guests run by the host's clock, since instruction counting would
//! give each guest its own time. Their measurements are therefore only as good as the host is idle.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicU16, Ordering};

use super::{Guest, Machine};

/// A network of machines; machine `n` has the address 10.9.0.n.
#[derive(Debug)]
pub struct Lan {
    group: String,
}

impl Lan {
    /// A new network, separate from those of other test processes.
    pub fn new() -> Self {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let [a, b, ..] = std::process::id().to_le_bytes();
        let port = 20_000 + NEXT.fetch_add(1, Ordering::Relaxed) % 10_000;
        Self {
            group: format!("239.77.{a}.{b}:{port}"),
        }
    }

    /// Starts `guest` as machine `number`.
    ///
    /// # Panics
    /// If the emulator cannot be started.
    pub fn start(&self, guest: Guest, number: u8) -> Machine {
        let network = format!("socket,id=lan,mcast={},localaddr=127.0.0.1", self.group);
        let card = format!("virtio-net-pci,netdev=lan,mac=52:54:00:09:00:{number:02x}");
        guest
            .preceded_by(&format!("ADDRESS=10.9.0.{number}\nattach_network"))
            .start_with(&["-netdev", &network, "-device", &card])
    }
}

impl Default for Lan {
    fn default() -> Self {
        Self::new()
    }
}

/// Executes a QMP command without arguments (JSON lines, after a greeting and
/// `qmp_capabilities`).
///
/// # Errors
/// If the emulator does not listen or reports an error.
pub(super) fn command(socket: &Path, name: &str) -> io::Result<()> {
    let mut stream = UnixStream::connect(socket)?;
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let mut expect = |what: &str| {
        // Skips events.
        for line in lines.by_ref() {
            let line = line?;
            if line.contains(what) {
                return Ok(());
            }
            if line.contains("\"error\"") {
                return Err(io::Error::other(line));
            }
        }
        Err(io::Error::from(io::ErrorKind::UnexpectedEof))
    };
    expect("\"QMP\"")?;
    for command in ["qmp_capabilities", name] {
        writeln!(stream, "{{\"execute\": \"{command}\"}}")?;
        expect("\"return\"")?;
    }
    Ok(())
}
