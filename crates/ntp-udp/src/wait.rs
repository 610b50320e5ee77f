//! Waiting for several descriptors at once: `poll(2)`.
//!
//! The daemon's main thread is one loop around this call. `poll` rather than `epoll`: the set is a
//! handful of sockets that change with every exchange, so it is rebuilt each time anyway; it needs
//! no descriptor of its own; and simulators that run a real binary by replacing libc functions
//! support it.
//!
//! A call returns early when a signal arrives (see [`signals`](crate::signals)).

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use crate::syscall::Blank as _;

/// Events to wait for on one descriptor. Errors are always reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Data to read, or a connection to accept.
    Readable,
    /// Data to read, or an entry in the error queue (a transmit timestamp).
    ReadableOrStamped,
    /// Space to write.
    Writable,
}

/// Result for one descriptor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    /// Data to read; also set at the end of a stream.
    pub readable: bool,
    /// Space to write.
    pub writable: bool,
    /// The error queue has an entry, or the descriptor an error.
    pub error: bool,
}

impl Readiness {
    /// Returns whether there is any event.
    pub fn any(self) -> bool {
        self.readable || self.writable || self.error
    }
}

/// A set of descriptors to wait for, rebuilt for each wait. Its memory is reused.
#[derive(Debug, Default)]
pub struct PollSet {
    entries: Vec<libc::pollfd>,
}

impl PollSet {
    /// Creates an empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Empties the set.
    pub fn clear(&mut self) {
        self.entries.clear();
    }

    /// Adds a descriptor; returns its index for [`readiness`](Self::readiness).
    pub fn push(&mut self, descriptor: &impl AsRawFd, interest: Interest) -> usize {
        self.push_raw(descriptor.as_raw_fd(), interest)
    }

    fn push_raw(&mut self, fd: RawFd, interest: Interest) -> usize {
        let events = match interest {
            Interest::Readable => libc::POLLIN,
            // Linux reports the error queue as POLLERR without a request; some simulators only as
            // POLLPRI, and only on request.
            Interest::ReadableOrStamped => libc::POLLIN | libc::POLLPRI,
            Interest::Writable => libc::POLLOUT,
        };
        let mut entry = libc::pollfd::BLANK;
        (entry.fd, entry.events) = (fd, events);
        self.entries.push(entry);
        self.entries.len() - 1
    }

    /// Waits until a descriptor is ready, a signal arrives or `timeout` has passed; without a
    /// timeout it waits for ever. Returns whether any descriptor is ready.
    ///
    /// # Errors
    /// Those of `poll(2)` except `EINTR`.
    pub fn wait(&mut self, timeout: Option<Duration>) -> io::Result<bool> {
        // Rounded up: waking a little before a deadline would spin until it is reached.
        let millis = timeout.map_or(-1, |timeout| {
            let millis = timeout.as_nanos().div_ceil(1_000_000);
            libc::c_int::try_from(millis).unwrap_or(libc::c_int::MAX)
        });
        let count = self.entries.len() as libc::nfds_t;
        // SAFETY: `entries` is an exclusively borrowed array of `count` initialised `pollfd`.
        let ready = unsafe { libc::poll(self.entries.as_mut_ptr(), count, millis) };
        if ready >= 0 {
            return Ok(ready > 0);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
        for entry in &mut self.entries {
            entry.revents = 0;
        }
        Ok(false)
    }

    /// Returns the events that the last wait found at `index`.
    pub fn readiness(&self, index: usize) -> Readiness {
        let Some(entry) = self.entries.get(index) else {
            return Readiness::default();
        };
        Readiness {
            readable: entry.revents & (libc::POLLIN | libc::POLLHUP) != 0,
            writable: entry.revents & libc::POLLOUT != 0,
            error: entry.revents & (libc::POLLERR | libc::POLLPRI | libc::POLLNVAL) != 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn ready_descriptors_are_reported() {
        let (mut near, far) = UnixStream::pair().unwrap();
        let (_quiet, other) = UnixStream::pair().unwrap();
        near.write_all(b"x").unwrap();
        let mut set = PollSet::new();
        let other = set.push(&other, Interest::Readable);
        let far = set.push(&far, Interest::Readable);
        assert!(set.wait(Some(Duration::from_secs(10))).unwrap());
        assert!(set.readiness(far).readable);
        assert!(!set.readiness(other).any());
    }

    #[test]
    fn wait_returns_at_the_timeout() {
        let mut set = PollSet::new();
        assert!(!set.wait(Some(Duration::from_nanos(1))).unwrap());
    }
}
