//! The observation socket: sends each client one frame with the state of the daemon and closes the
//! connection.
//!
//! Nothing is read from clients. They are served from the main loop without blocking: what a
//! client's socket does not take at once is sent later, for half a second at most. Most frames fit
//! into the socket buffer; with hundreds of sources they do not, and a client that does not read
//! occupies a slot. Such clients must not lock out others: if all slots are taken, the oldest
//! connection is closed. Clients that connect at the same time get the same frame.

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ntp_files::Entry;
use ntp_os_clock::monotonic;
use ntp_time::{Monotonic, NtpDuration};
use ntp_udp::wait::{Interest, PollSet};

use crate::observation;
use crate::runtime::failure::Failure;
use crate::runtime::pollable::Pollable;
use crate::runtime::services::{DaemonContext, Services};
use crate::status::status;

/// Maximum number of concurrent clients. A frame of a thousand sources has 0.7 MB, and each client
/// may hold a frame of its own.
const MAX_CLIENTS: usize = 64;
/// Time limit for sending a frame, as in upstream.
const SEND_TIMEOUT: NtpDuration = NtpDuration::from_millis(500);

#[derive(Debug)]
struct Client {
    stream: UnixStream,
    frame: Arc<[u8]>,
    written: usize,
    deadline: Monotonic,
    place: usize,
}

/// The listening socket and its clients.
#[derive(Debug)]
pub struct ObservationSocket {
    listener: UnixListener,
    path: PathBuf,
    place: usize,
    clients: Vec<Client>,
}

impl ObservationSocket {
    /// Listens at `path`, replaces a socket that an earlier run left there, and sets `permissions`.
    ///
    /// # Errors
    /// If `path` exists and is not a socket, or the operating system refuses.
    pub fn bind(path: &Path, permissions: u32) -> io::Result<Self> {
        match fs::symlink_metadata(path) {
            Ok(found) if found.file_type().is_socket() => fs::remove_file(path)?,
            Ok(_) => {
                return Err(io::Error::new(
                    ErrorKind::AlreadyExists,
                    "something that is not a socket is there",
                ));
            }
            Err(_) => {}
        }
        let listener = UnixListener::bind(path)?;
        listener.set_nonblocking(true)?;
        // The directory may belong to the daemon's user, who could put a link there.
        Entry::open(path)?.set_mode(permissions)?;
        Ok(Self {
            listener,
            path: path.to_owned(),
            place: usize::MAX,
            clients: Vec::new(),
        })
    }

    /// Returns whether a client is waiting to be accepted.
    fn has_connection(&self, set: &PollSet) -> bool {
        set.readiness(self.place).readable
    }

    /// Serves all clients that are ready; `frame` encodes a frame for new clients.
    fn serve(&mut self, set: &PollSet, frame: impl Fn() -> Vec<u8>) {
        let now = monotonic();
        self.clients.retain_mut(|client| {
            let ready = set.readiness(client.place);
            (!ready.any() || client.advance()) && now < client.deadline
        });
        if !self.has_connection(set) {
            return;
        }
        let mut made = None;
        // Bounded, so that a flood of connections cannot keep the loop here.
        for _ in 0..MAX_CLIENTS {
            let Ok((stream, _)) = self.listener.accept() else {
                break;
            };
            if stream.set_nonblocking(true).is_err() {
                continue;
            }
            let frame = made.get_or_insert_with(|| Arc::from(frame()));
            let mut client = Client {
                stream,
                frame: Arc::clone(frame),
                written: 0,
                deadline: now + SEND_TIMEOUT,
                place: usize::MAX,
            };
            if client.advance() {
                if self.clients.len() >= MAX_CLIENTS {
                    self.clients.remove(0);
                }
                self.clients.push(client);
            }
        }
    }
}

impl Pollable<Services> for ObservationSocket {
    fn register(&mut self, set: &mut PollSet) {
        self.place = set.push(&self.listener, Interest::Readable);
        for client in &mut self.clients {
            client.place = set.push(&client.stream, Interest::Writable);
        }
    }

    /// Earliest time limit of a client.
    fn deadline(&self) -> Option<Monotonic> {
        self.clients.iter().map(|client| client.deadline).min()
    }

    fn on_ready(&mut self, daemon: &mut DaemonContext<'_>) -> Result<(), Failure> {
        if self.has_connection(daemon.set) {
            // The clock may have been set since the last wake-up; the figures must not be older.
            daemon.driver.tick()?;
        }
        let (driver, services) = (&*daemon.driver, &*daemon.shared);
        self.serve(daemon.set, || {
            observation::frame(&status(driver, services, None))
        });
        Ok(())
    }
}

impl Client {
    /// Writes what the socket takes. Returns whether anything is left to send.
    fn advance(&mut self) -> bool {
        while self.written < self.frame.len() {
            match self.stream.write(&self.frame[self.written..]) {
                Ok(0) => return false,
                Ok(count) => self.written += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            }
        }
        false
    }
}

impl Drop for ObservationSocket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::time::Duration;

    use super::*;

    fn round(observation_socket: &mut ObservationSocket, frame: &[u8]) {
        let mut set = PollSet::new();
        observation_socket.register(&mut set);
        let _ = set.wait(Some(Duration::from_millis(100)));
        observation_socket.serve(&set, || frame.to_vec());
    }

    #[test]
    fn clients_that_do_not_read_do_not_block_others() {
        let path = std::env::temp_dir().join(format!("ntpd-rs-observe-{}", std::process::id()));
        let mut observation_socket = ObservationSocket::bind(&path, 0o666).unwrap();
        let frame = vec![7u8; 4_000_000];
        // More clients than there are slots never read, ...
        let mut silent = Vec::new();
        for _ in 0..4 {
            silent.extend((0..50).map(|_| UnixStream::connect(&path).unwrap()));
            round(&mut observation_socket, &frame);
        }
        assert_eq!(observation_socket.clients.len(), MAX_CLIENTS);
        // ... and a client that connects then is served at once, not after their time limit.
        let mut reader = UnixStream::connect(&path).unwrap();
        round(&mut observation_socket, &frame);
        reader.set_nonblocking(true).unwrap();
        let mut first = [0];
        reader.read_exact(&mut first).unwrap();
        reader.set_nonblocking(false).unwrap();
        assert_eq!(observation_socket.clients.len(), MAX_CLIENTS);
        let reading = std::thread::spawn(move || {
            let mut all = Vec::new();
            reader.read_to_end(&mut all).map(|_| all)
        });
        while !reading.is_finished() {
            round(&mut observation_socket, &frame);
        }
        assert_eq!(reading.join().unwrap().unwrap(), frame[1..]);
        drop(silent);
        drop(observation_socket);
        assert!(!path.exists());
    }

    #[test]
    fn a_file_at_the_socket_path_is_not_deleted() {
        let path =
            std::env::temp_dir().join(format!("ntpd-rs-observe-file-{}", std::process::id()));
        fs::write(&path, "precious").unwrap();
        assert!(ObservationSocket::bind(&path, 0o666).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
        fs::remove_file(&path).unwrap();
    }
}
