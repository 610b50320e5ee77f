//! Connects to a Unix socket without waiting for ever.
//!
//! `connect` waits for a place in the queue of the listener. If the listener accepts no connection
//! (it was stopped by a signal, it hangs), the queue fills, and the wait has no end.

use std::io::{self, ErrorKind};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

/// Connects to the socket at `path` within `limit`, which must not be zero.
///
/// # Errors
/// Those of connect(2); [`ErrorKind::TimedOut`] if the listener accepts no connections.
pub fn connect_within(path: &Path, limit: Duration) -> io::Result<UnixStream> {
    let address = SocketAddrUnix::new(path)?;
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    // For a Unix socket this is the limit of connect(2), too (socket(7)).
    set_socket_timeout(&socket, Timeout::Send, Some(limit))?;
    match connect(&socket, &address) {
        Ok(()) => {}
        Err(Errno::AGAIN) => {
            let message = "nothing accepts connections there";
            return Err(io::Error::new(ErrorKind::TimedOut, message));
        }
        Err(error) => return Err(error.into()),
    }
    set_socket_timeout(&socket, Timeout::Send, None)?;
    Ok(UnixStream::from(socket))
}

/// Returns whether a process listens at the socket `path`, whether it accepts connections or not.
/// Does not wait.
pub fn is_listening(path: &Path) -> bool {
    let connected = SocketAddrUnix::new(path).and_then(|address| {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        connect(&socket, &address)
    });
    matches!(connected, Ok(()) | Err(Errno::AGAIN))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    /// A socket whose queue is full: the connections must be kept.
    fn full(path: &Path) -> (UnixListener, Vec<UnixStream>) {
        let listener = UnixListener::bind(path).unwrap();
        // The default of std is more than the limit of the kernel in small containers.
        rustix::net::listen(&listener, 1).unwrap();
        let limit = Duration::from_millis(20);
        let mut waiting = Vec::new();
        let error = loop {
            match connect_within(path, limit) {
                Ok(stream) => waiting.push(stream),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        (listener, waiting)
    }

    fn directory(name: &str) -> std::path::PathBuf {
        let name = format!("ntp-control-api-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = std::fs::remove_file(&path);
        path
    }

    #[test]
    fn a_listener_that_accepts_nothing_is_a_timeout_and_still_a_listener() {
        let path = directory("full");
        let (listener, waiting) = full(&path);
        assert!(is_listening(&path));
        for client in [
            super::super::control::client::Client::connect(&path, Duration::from_millis(20))
                .map(drop)
                .unwrap_err(),
            match super::super::observation::fetch(&path, Duration::from_millis(20)) {
                Err(super::super::observation::FetchError::Connect(error)) => error,
                other => panic!("{other:?}"),
            },
        ] {
            assert_eq!(client.kind(), ErrorKind::TimedOut);
        }
        drop((listener, waiting));
        assert!(!is_listening(&path));
        std::fs::remove_file(&path).unwrap();
        assert!(!is_listening(&path));
        let error = connect_within(&path, Duration::from_secs(1)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }
}
