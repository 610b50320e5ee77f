//! The observation socket: whoever connects is sent the daemon's state as one frame, then the connection is closed.
//!
//! Nothing is ever read. It is served from the main loop without blocking it: what a client's
//! socket does not take at once waits for room, for half a second at most. Most frames fit into a socket; where there are hundreds of sources they do
//! not, and whoever connects and reads nothing takes a place. Such a crowd must not keep others from theirs: if all places are taken, the client that has
//! had one for longest goes. Those who come at the same time get the same frame.

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ntp_os_clock::monotonic;
use ntp_time::{Monotonic, NtpDuration};
use ntp_udp::wait::{Interest, PollSet};

/// Clients served at once. A frame of a thousand sources has 0.7 MB, and each may have one of its own.
const CLIENTS: usize = 64;
/// Time that a client has for its frame. Upstream's number.
const PATIENCE: NtpDuration = NtpDuration::from_millis(500);

#[derive(Debug)]
struct Client {
    stream: UnixStream,
    frame: Arc<[u8]>,
    written: usize,
    deadline: Monotonic,
    place: usize,
}

/// The listening socket and those who are being served.
#[derive(Debug)]
pub struct Observer {
    listener: UnixListener,
    path: PathBuf,
    place: usize,
    clients: Vec<Client>,
}

impl Observer {
    /// Listens at `path`, in place of a socket that an earlier run left there, and gives it `permissions`.
    ///
    /// # Errors
    /// If something that is not a socket is in the way, or the operating system refuses.
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
        fs::set_permissions(path, fs::Permissions::from_mode(permissions))?;
        Ok(Self {
            listener,
            path: path.to_owned(),
            place: usize::MAX,
            clients: Vec::new(),
        })
    }

    /// Adds the listener and all clients to a poll set.
    pub(crate) fn watch(&mut self, set: &mut PollSet) {
        self.place = set.push(&self.listener, Interest::Readable);
        for client in &mut self.clients {
            client.place = set.push(&client.stream, Interest::Writable);
        }
    }

    /// Whether somebody has connected.
    pub(crate) fn has_visitor(&self, set: &PollSet) -> bool {
        set.readiness(self.place).readable
    }

    /// When the most patient wait for a client ends.
    pub(crate) fn deadline(&self) -> Option<Monotonic> {
        self.clients.iter().map(|client| client.deadline).min()
    }

    /// Serves whoever is ready; `frame` makes a frame for a new client.
    pub(crate) fn attend(&mut self, set: &PollSet, frame: impl Fn() -> Vec<u8>) {
        let now = monotonic();
        self.clients.retain_mut(|client| {
            let ready = set.readiness(client.place);
            (!ready.any() || client.advance()) && now < client.deadline
        });
        if !self.has_visitor(set) {
            return;
        }
        let mut made = None;
        // A bounded number, lest a flood of connections keep the loop here.
        for _ in 0..CLIENTS {
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
                deadline: now + PATIENCE,
                place: usize::MAX,
            };
            if client.advance() {
                if self.clients.len() >= CLIENTS {
                    self.clients.remove(0);
                }
                self.clients.push(client);
            }
        }
    }
}

impl Client {
    /// Writes what the socket takes. Returns whether there is more.
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

impl Drop for Observer {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::time::Duration;

    use super::*;

    fn round(observer: &mut Observer, frame: &[u8]) {
        let mut set = PollSet::new();
        observer.watch(&mut set);
        let _ = set.wait(Some(Duration::from_millis(100)));
        observer.attend(&set, || frame.to_vec());
    }

    #[test]
    fn everyone_gets_a_frame_and_the_silent_hold_nobody_up() {
        let path = std::env::temp_dir().join(format!("ntpd-rs-observe-{}", std::process::id()));
        let mut observer = Observer::bind(&path, 0o666).unwrap();
        let frame = vec![7u8; 4_000_000];
        // More than there is room for never read, ...
        let mut silent = Vec::new();
        for _ in 0..4 {
            silent.extend((0..50).map(|_| UnixStream::connect(&path).unwrap()));
            round(&mut observer, &frame);
        }
        assert_eq!(observer.clients.len(), CLIENTS);
        // ... and somebody who comes then is served at once, not when their time is up.
        let mut reader = UnixStream::connect(&path).unwrap();
        round(&mut observer, &frame);
        reader.set_nonblocking(true).unwrap();
        let mut first = [0];
        reader.read_exact(&mut first).unwrap();
        reader.set_nonblocking(false).unwrap();
        assert_eq!(observer.clients.len(), CLIENTS);
        let reading = std::thread::spawn(move || {
            let mut all = Vec::new();
            reader.read_to_end(&mut all).map(|_| all)
        });
        while !reading.is_finished() {
            round(&mut observer, &frame);
        }
        assert_eq!(reading.join().unwrap().unwrap(), frame[1..]);
        drop(silent);
        drop(observer);
        assert!(!path.exists());
    }

    #[test]
    fn a_file_in_the_way_is_not_deleted() {
        let path =
            std::env::temp_dir().join(format!("ntpd-rs-observe-file-{}", std::process::id()));
        fs::write(&path, "precious").unwrap();
        assert!(Observer::bind(&path, 0o666).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
        fs::remove_file(&path).unwrap();
    }
}
