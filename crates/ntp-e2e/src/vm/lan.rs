//! A network of several machines.
//!
//! The network is a multicast group of the loopback interface, to which each emulator sends the
//! packets of its guest. Networked guests run by the host's clock, since instruction counting would
//! give each guest its own time. Their measurements are therefore only as good as the host is idle.

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
            .with_exact_timer()
            .preceded_by(&format!("ADDRESS=10.9.0.{number}\nattach_network"))
            .start_with(&["-netdev", &network, "-device", &card])
    }
}

impl Default for Lan {
    fn default() -> Self {
        Self::new()
    }
}
