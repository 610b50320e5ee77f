//! Several machines on one wire, and a hand on the switch of each.
//!
//! The wire is a multicast group of the loopback interface, to which each emulator sends what its guest sends. Guests that talk to each
//! other run by the host's clock: one that counts instructions would be alone in its time. What they find is therefore
//! only as good as the host is idle.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicU16, Ordering};

use super::{Guest, Machine};

/// A network of machines: machine `n` has the address 10.9.0.n.
#[derive(Debug)]
pub struct Wire {
    group: String,
}

impl Wire {
    /// A new one, that no other test process and no other wire of this one uses.
    pub fn new() -> Self {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let [a, b, ..] = std::process::id().to_le_bytes();
        let port = 20_000 + NEXT.fetch_add(1, Ordering::Relaxed) % 10_000;
        Self {
            group: format!("239.77.{a}.{b}:{port}"),
        }
    }

    /// Switches `guest` on as machine `number`.
    ///
    /// # Panics
    /// If the emulator cannot be started.
    pub fn start(&self, guest: Guest, number: u8) -> Machine {
        let network = format!("socket,id=wire,mcast={},localaddr=127.0.0.1", self.group);
        let card = format!("virtio-net-pci,netdev=wire,mac=52:54:00:09:00:{number:02x}");
        guest
            .preceded_by(&format!("ADDRESS=10.9.0.{number}\nplug_in"))
            .start_with(&["-netdev", &network, "-device", &card])
    }
}

impl Default for Wire {
    fn default() -> Self {
        Self::new()
    }
}

/// Stops or resumes a machine (QEMU's machine protocol: lines of JSON, after a greeting and an exchange of capabilities).
///
/// # Errors
/// If the emulator does not listen or does not obey.
pub(super) fn command(socket: &Path, name: &str) -> io::Result<()> {
    let mut stream = UnixStream::connect(socket)?;
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let mut expect = |what: &str| {
        // Events come in between.
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
