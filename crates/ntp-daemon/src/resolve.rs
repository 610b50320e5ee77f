//! Resolves host names off the timekeeping thread.
//!
//! `getaddrinfo` respects everything that an administrator may have configured and blocks for an
//! unbounded time. Each lookup is a task of a [`TaskPool`], which limits threads and waiting, and
//! keeps names that are not answered from delaying the others.

use ntp_os_clock::monotonic;
use ntp_proto::engine::{ExternalError, Input};
use ntp_time::{Monotonic, NtpDuration};
use ntp_types::event::Event;
use ntp_types::host::{Host, ScopedIp};
use ntp_udp::resolve;
use ntp_udp::wait::PollSet;

use crate::log;
use crate::runtime::driver::Driver;
use crate::runtime::failure::Failure;
use crate::runtime::pollable::{Context, Pollable};
use crate::sandbox::Profile;
use crate::tasks::{Limits, Task, TaskError, TaskPool};

/// * Threads: a name that no server answers holds one for 10 to 30 s, depending on the number of
///   servers in resolv.conf(5), so that a thousand of them delay the first lookup of another name
///   by two minutes at most. A waiting thread costs some 50 KiB and two descriptors.
/// * Timeout: the resolver asks a second server after 5 s and a third after 10 s, whose answer still
///   counts.
const LIMITS: Limits = Limits {
    threads: 256,
    timeout: NtpDuration::from_seconds(15),
};

/// Running and queued lookups. A result is the addresses in the resolver's order, or the reason why
/// there are none.
#[derive(Debug)]
pub(crate) struct Resolver(TaskPool<Result<Vec<ScopedIp>, String>>);

impl Default for Resolver {
    fn default() -> Self {
        Self(TaskPool::new(LIMITS))
    }
}

impl Pollable for Resolver {
    fn register(&mut self, set: &mut PollSet) {
        self.0.register(set);
    }

    fn deadline(&self) -> Option<Monotonic> {
        self.0.deadline(monotonic())
    }

    fn on_ready(&mut self, context: &mut Context<'_>) -> Result<(), Failure> {
        while let Some(completed) = self.0.next_completed(context.set, monotonic()) {
            let query = completed.query;
            let result = completed.result.unwrap_or_else(|error| {
                if let TaskError::NotStarted(error) = &error {
                    log::emit(&Event::LookupNotStarted {
                        host: completed.subject,
                        error: error.to_string(),
                    });
                }
                Err(error.to_string())
            });
            let result = result
                .as_ref()
                .map(Vec::as_slice)
                .map_err(ExternalError::from);
            context.driver.handle(Input::Resolved { query, result })?;
        }
        Ok(())
    }

    fn execute(&mut self, driver: &mut Driver) {
        while let Some((query, name)) = driver.requests.lookups.pop_front() {
            let task = Task {
                query,
                subject: name.clone(),
                name: "resolver",
                profile: Profile::Names,
                work: Box::new(move || {
                    resolve(&Host::Name(name)).map_err(|error| error.to_string())
                }),
            };
            self.0.submit(task, monotonic());
        }
    }
}
