//! Work of a thread that the event loop waits for.
//!
//! What may block (files, key exchanges) runs on a short-lived thread. The thread signals its end by
//! closing its end of a pipe, which wakes the event loop; the result is the thread's return value.
//! Nothing here waits for a lock or a channel.

use std::io::{self, PipeReader};
use std::thread::{self, JoinHandle};

use ntp_udp::wait::{Interest, PollSet};

use crate::sandbox::{self, Profile};

/// A running thread, and its result when it has ended.
#[derive(Debug)]
pub(crate) struct Background<T> {
    thread: JoinHandle<T>,
    /// Read end of a pipe that hangs up when the thread has finished.
    completion: PipeReader,
    /// Index in the poll set; `usize::MAX` before the first registration.
    place: usize,
}

impl<T: Send + 'static> Background<T> {
    /// Starts `work` on a thread that is restricted to `profile`.
    ///
    /// # Errors
    /// If the operating system has no descriptor or thread left.
    pub(crate) fn start(
        name: &'static str,
        profile: Profile,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<Self> {
        let (completion, done) = io::pipe()?;
        let thread = sandbox::spawn(name, profile, move || {
            let result = work();
            drop(done);
            result
        })?;
        Ok(Self {
            thread,
            completion,
            place: usize::MAX,
        })
    }

    /// Adds the pipe to a poll set.
    pub(crate) fn register(&mut self, set: &mut PollSet) {
        self.place = set.push(&self.completion, Interest::Readable);
    }

    /// Returns whether the last wait found that the thread has ended, so that
    /// [`finish`](Self::finish) does not block.
    pub(crate) fn has_ended(&self, set: &PollSet) -> bool {
        // The pipe may hang up an instant before the thread has finished; the next wait reports it
        // again.
        set.readiness(self.place).any() && self.thread.is_finished()
    }

    /// Returns the result; an error if the thread panicked. Waits for the end of the thread.
    pub(crate) fn finish(self) -> thread::Result<T> {
        self.thread.join()
    }
}
