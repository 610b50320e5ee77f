//! Resolves host names off the timekeeping thread.
//!
//! `getaddrinfo` respects everything that an administrator may have configured and blocks for an
//! unbounded time. Each lookup runs on a short-lived thread of its own, so a name server that does
//! not reply delays no other name, and between lookups the daemon has no such thread. At most eight
//! lookups run at a time; further names are queued. The queue is never longer than the number of
//! configured sources, each of which has at most one outstanding query.
//!
//! A thread signals its end by closing its end of a pipe, which wakes the main loop; the result is
//! the thread's return value. Nothing here waits for a lock or a channel.

use std::collections::VecDeque;
use std::io::{self, PipeReader};
use std::thread::JoinHandle;

use ntp_proto::engine::{Input, QueryId};
use ntp_types::event::Event;
use ntp_types::host::{Host, ScopedIp};
use ntp_udp::resolve;
use ntp_udp::wait::{Interest, PollSet};

use crate::log;
use crate::runtime::driver::{DeferredInput, Driver};
use crate::runtime::failure::Failure;
use crate::runtime::pollable::{Context, Pollable};
use crate::sandbox::{self, Profile};

/// Addresses in the resolver's order, or the reason why there are none.
type Addresses = Result<Vec<ScopedIp>, String>;

/// Result of a query.
pub(crate) type Answer = (QueryId, Addresses);

/// Running and queued lookups.
#[derive(Debug, Default)]
pub(crate) struct Resolver {
    running: Vec<LookUp>,
    queued: VecDeque<(QueryId, String)>,
}

/// Maximum number of concurrent lookups: a name server that does not reply holds each for half a
/// minute, and a thousand names must not be a thousand threads.
const MAX_CONCURRENT: usize = 8;

#[derive(Debug)]
struct LookUp {
    query: QueryId,
    thread: JoinHandle<Addresses>,
    /// Read end of a pipe that hangs up when the thread has finished.
    completion: PipeReader,
    /// Index in the poll set; `usize::MAX` before the first registration.
    place: usize,
}

impl Resolver {
    /// Starts the lookup of `host`, or queues it if [`MAX_CONCURRENT`] lookups are running.
    ///
    /// # Errors
    /// If the operating system has no descriptor or thread left.
    pub(crate) fn request(&mut self, query: QueryId, host: String) -> io::Result<()> {
        if self.running.len() < MAX_CONCURRENT {
            self.running.push(LookUp::start(query, host)?);
        } else {
            self.queued.push_back((query, host));
        }
        Ok(())
    }

    /// Returns a finished result and starts the next queued lookup. Never blocks.
    pub(crate) fn answer(&mut self, set: &PollSet) -> Option<Answer> {
        if self.running.len() < MAX_CONCURRENT
            && let Some((query, host)) = self.queued.pop_front()
        {
            match LookUp::start(query, host) {
                Ok(look_up) => self.running.push(look_up),
                Err(error) => return Some((query, Err(error.to_string()))),
            }
        }
        // The pipe may hang up an instant before the thread has finished; the next wait reports it
        // again.
        let done = self.running.iter().position(|look_up| {
            set.readiness(look_up.place).any() && look_up.thread.is_finished()
        })?;
        let LookUp { query, thread, .. } = self.running.swap_remove(done);
        let addresses = thread
            .join()
            .unwrap_or_else(|_| Err("the look-up failed unexpectedly".into()));
        Some((query, addresses))
    }
}

impl Pollable for Resolver {
    fn register(&mut self, set: &mut PollSet) {
        for look_up in &mut self.running {
            look_up.place = set.push(&look_up.completion, Interest::Readable);
        }
    }

    fn on_ready(&mut self, context: &mut Context<'_>) -> Result<(), Failure> {
        while let Some((query, result)) = self.answer(context.set) {
            let result = result
                .as_ref()
                .map(Vec::as_slice)
                .map_err(ntp_proto::engine::ExternalError::from);
            context.driver.handle(Input::Resolved { query, result })?;
        }
        Ok(())
    }

    fn execute(&mut self, driver: &mut Driver) {
        while let Some((query, host)) = driver.requests.lookups.pop_front() {
            if let Err(error) = self.request(query, host.clone()) {
                log::emit(&Event::LookupNotStarted {
                    host,
                    error: error.to_string(),
                });
                driver.defer(DeferredInput::LookupFailed(query));
            }
        }
    }
}

impl LookUp {
    fn start(query: QueryId, host: String) -> io::Result<Self> {
        let (completion, done) = io::pipe()?;
        let thread = sandbox::spawn("resolver", Profile::Names, move || {
            let addresses = look_up(&host);
            drop(done);
            addresses
        })?;
        Ok(Self {
            query,
            thread,
            completion,
            place: usize::MAX,
        })
    }
}

fn look_up(host: &str) -> Addresses {
    resolve(&Host::Name(host.to_owned())).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_query_gets_its_own_result() {
        let mut resolver = Resolver::default();
        // More than may run at a time.
        let hosts = ["127.0.0.1", "::1"].repeat(MAX_CONCURRENT);
        for (id, host) in (0..).zip(hosts.iter().copied()) {
            resolver.request(QueryId(id), host.into()).unwrap();
        }
        let (mut set, mut answers) = (PollSet::new(), Vec::new());
        while answers.len() < hosts.len() {
            set.clear();
            resolver.register(&mut set);
            set.wait(None).unwrap();
            answers.extend(core::iter::from_fn(|| resolver.answer(&set)));
        }
        answers.sort_by_key(|(query, _)| query.0);
        for ((id, host), answer) in (0..).zip(hosts).zip(answers) {
            assert_eq!(answer, (QueryId(id), Ok(vec![host.parse().unwrap()])));
        }
    }
}
