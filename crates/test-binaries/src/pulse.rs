//! Pulses at the seconds of true time, given to the kernel by an emulated parallel port.
//!
//! QEMU raises the interrupt of a parallel port that is connected to nothing when the strobe of its
//! control register falls while interrupts are enabled. The kernel's driver `pps_parport` dates that
//! interrupt as a pulse, and does not end it: until the status register is read, QEMU raises it
//! again at each write of the control register. So a guest makes its own pulses, which the kernel handles as those of a
//! receiver.
#![expect(
    clippy::disallowed_methods,
    reason = "waits for the seconds of true time"
)]

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::thread;
use std::time::Duration;

use crate::raw_clock;
use crate::true_time::TrueTime;

/// Status register of the first parallel port of a PC. Reading it ends the interrupt.
const STATUS: u64 = 0x379;
/// Control register of the first parallel port of a PC.
const CONTROL: u64 = 0x37A;
/// Select, initialise and interrupt enable, with the strobe. No interrupt.
const IDLE: u8 = 0x1D;
/// The same without the strobe: raises the interrupt.
const PULSE: u8 = 0x1C;

const SECOND: i64 = 1_000_000_000;

/// The last part of a second is waited for without sleeping, because a sleep ends late. An emulated
/// machine that counts instructions has no other delay.
const SPIN: i64 = 1_000_000;

/// Length of a pulse, as that of common receivers.
const LENGTH: Duration = Duration::from_millis(100);

/// Raises a pulse at each second of true time, without an end.
///
/// # Errors
/// If the registers of the machine (`/dev/port`) cannot be read or written.
pub fn at_each_second(truth: &TrueTime, ports: &Path) -> io::Result<()> {
    let ports = File::options().read(true).write(true).open(ports)?;
    ports.write_all_at(&[IDLE], CONTROL)?;
    let second = |raw| truth.utc(raw).as_nanos().div_euclid(SECOND);
    loop {
        let now = raw_clock();
        let next = second(now) + 1;
        let remaining = next * SECOND - truth.utc(now).as_nanos();
        let sleep = u64::try_from(remaining - SPIN).unwrap_or(0);
        thread::sleep(Duration::from_nanos(sleep));
        while second(raw_clock()) < next {}
        ports.write_all_at(&[PULSE], CONTROL)?;
        // The length of the pulse has no effect, but the next one needs the strobe.
        thread::sleep(LENGTH);
        ports.read_exact_at(&mut [0], STATUS)?;
        ports.write_all_at(&[IDLE], CONTROL)?;
    }
}
