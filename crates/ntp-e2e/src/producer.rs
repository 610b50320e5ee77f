//! Fake producers of time: a program that repeats, a receiver at a serial port.
//!
//! The machine's clock is true time for them, and the virtual clock of the daemon is wrong.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::pty::{self, OpenptFlags};

use crate::{process, wait};

/// A fake producer on a thread of its own. Stopped when dropped.
#[derive(Debug)]
pub struct Producer {
    is_stopped: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Producer {
    /// Calls `produce` with a running number every `pause`.
    pub fn start(pause: Duration, mut produce: impl FnMut(u32) + Send + 'static) -> Self {
        let is_stopped = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&is_stopped);
        let thread = thread::spawn(move || {
            let mut count = 0;
            while !stop.load(Ordering::Relaxed) {
                produce(count);
                count += 1;
                wait::sleep(pause);
            }
        });
        Self {
            is_stopped,
            thread: Some(thread),
        }
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.is_stopped.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Time since 1970.
///
/// # Panics
/// If the machine's clock is before 1970.
pub fn now() -> Duration {
    let nanos = ntp_os_clock::realtime().as_nanos();
    Duration::from_nanos(u64::try_from(nanos).expect("after 1970"))
}

/// A satellite receiver with a fix at a pseudo-terminal. It is pulled out when dropped.
#[derive(Debug)]
pub struct Receiver {
    port: String,
    _producer: Producer,
}

impl Receiver {
    /// Time from the second to the sentence that names it.
    pub const DELAY: Duration = Duration::from_millis(100);

    /// Plugs in a receiver, which sends a sentence every second.
    ///
    /// # Panics
    /// If there is no pseudo-terminal.
    pub fn plug_in() -> Self {
        let receiver = pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
            .expect("a terminal");
        pty::grantpt(&receiver).expect("granted");
        pty::unlockpt(&receiver).expect("unlocked");
        let port = pty::ptsname(&receiver, Vec::new()).expect("a name");
        let mut second = 0;
        let producer = Producer::start(Duration::from_millis(5), move |_| {
            let now = now();
            if now.as_secs() == second
                || Duration::from_nanos(now.subsec_nanos().into()) < Self::DELAY
            {
                return;
            }
            second = now.as_secs();
            send(&receiver, second);
        });
        Self {
            port: port.into_string().expect("a path"),
            _producer: producer,
        }
    }

    /// Path of the port.
    pub fn port(&self) -> &str {
        &self.port
    }
}

/// Sends the sentence of the time `second`.
fn send(receiver: &OwnedFd, second: u64) {
    let output = process::command(None, "date")
        .args(["-u", "-d", &format!("@{second}"), "+%H%M%S %d%m%y"])
        .output()
        .expect("date runs");
    let text = String::from_utf8(output.stdout).expect("text");
    let (time, date) = text.trim().split_once(' ').expect("two words");
    let body = format!("GPRMC,{time},A,4807.038,N,01131.000,E,0.0,0.0,{date},,,A");
    let sum = body.bytes().fold(0, |sum, octet| sum ^ octet);
    let sentence = format!("${body}*{sum:02X}\r\n");
    // It is lost if no program listens.
    let _ = rustix::io::write(receiver, sentence.as_bytes());
}
