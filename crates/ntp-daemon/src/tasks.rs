//! Blocking work off the timekeeping thread: a fair queue in front of a bounded number of threads.
//!
//! Name resolution and connections to servers block for a time that others determine, and cannot
//! be cancelled. Each task therefore runs on a short-lived thread of its own, and its owner stops
//! waiting for it at a deadline. The thread remains until its system calls return; a task that is
//! submitted again meanwhile joins it instead of starting another thread.
//!
//! # Fairness
//! A task is *slow* if its last run took longer than [`SLOW`]. Slow tasks wait in a queue of their
//! own and occupy at most half of the threads, so that any number of servers that do not answer
//! leaves room for those that do. Both queues are first in, first out.
//!
//! # Bounds
//! Threads are limited by [`Limits::threads`]. Queues and records are limited by the number of
//! sources, each of which has at most one task.
//!
//! A thread sends its result through a channel and then wakes the main loop with an octet through a
//! pipe: threads that only work on files may not use sockets. The main loop never waits for either.

use std::collections::{BTreeSet, VecDeque};
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use ntp_proto::engine::QueryId;
use ntp_time::{Monotonic, NtpDuration};
use ntp_udp::wait::{Interest, PollSet};
use rustix::fs::{OFlags, fcntl_setfl};

use crate::sandbox::{self, Profile};

/// Duration of a task that waits for a server that does not answer: longer than an answer over any
/// path takes, and shorter than the first timeout of resolvers (5 s).
const SLOW: NtpDuration = NtpDuration::from_seconds(2);

/// Limits of a pool.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Maximum number of threads.
    pub(crate) threads: usize,
    /// Time after which the owner no longer waits for a task that has started.
    pub(crate) timeout: NtpDuration,
}

/// Work for a thread.
pub(crate) struct Task<R> {
    /// The source that the work is for.
    pub(crate) query: QueryId,
    /// What the work is about, for example the name to resolve: a task joins a running one only if
    /// both are equal.
    pub(crate) subject: String,
    /// Name of the thread.
    pub(crate) name: &'static str,
    /// Restrictions of the thread.
    pub(crate) profile: Profile,
    pub(crate) work: Box<dyn FnOnce() -> R + Send>,
}

/// Why a task has no result.
#[derive(Debug)]
pub(crate) enum TaskError {
    /// The operating system gave no thread or descriptor.
    NotStarted(io::Error),
    /// It takes longer than this, in seconds.
    TimedOut(f64),
    /// The thread panicked.
    Panicked,
}

impl core::fmt::Display for TaskError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::NotStarted(error) => write!(f, "the thread cannot be started: {error}"),
            Self::TimedOut(limit) => write!(f, "no answer within {limit:.0} s"),
            Self::Panicked => f.write_str("the thread ended unexpectedly"),
        }
    }
}

/// A task that its owner no longer has to wait for.
#[derive(Debug)]
pub(crate) struct Completed<R> {
    pub(crate) query: QueryId,
    pub(crate) subject: String,
    /// The result, or why there is none.
    pub(crate) result: Result<R, TaskError>,
}

/// Running and queued tasks.
pub(crate) struct TaskPool<R> {
    limits: Limits,
    running: Vec<Running>,
    queued: VecDeque<Task<R>>,
    queued_slow: VecDeque<Task<R>>,
    /// Sources whose last task was slow.
    slow: BTreeSet<QueryId>,
    /// Opened with the first task.
    results: Option<Results<R>>,
    next: u64,
    /// Index in the poll set; `usize::MAX` before the first registration.
    place: usize,
}

impl<R> core::fmt::Debug for TaskPool<R> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("TaskPool")
            .field("running", &self.running)
            .field("queued", &(self.queued.len() + self.queued_slow.len()))
            .finish_non_exhaustive()
    }
}

/// A task with a thread.
#[derive(Debug)]
struct Running {
    /// Identifies the thread in its result.
    number: u64,
    query: QueryId,
    subject: String,
    started: Monotonic,
    deadline: Monotonic,
    /// Whether the owner still waits for the result.
    awaited: bool,
    /// Whether the last run was slow.
    slow: bool,
}

impl Running {
    fn is_slow(&self, now: Monotonic) -> bool {
        self.slow || self.runs_long(now)
    }

    fn runs_long(&self, now: Monotonic) -> bool {
        now - self.started > SLOW
    }
}

/// Where threads leave their results.
struct Results<R> {
    results: Receiver<(u64, Option<R>)>,
    sender: Sender<(u64, Option<R>)>,
    wake: PipeReader,
    waker: Arc<PipeWriter>,
}

/// Sends the result of a thread when it is dropped, also by a panic.
struct Report<R> {
    number: u64,
    result: Option<R>,
    sender: Sender<(u64, Option<R>)>,
    waker: Arc<PipeWriter>,
}

impl<R> Drop for Report<R> {
    fn drop(&mut self) {
        // The pool may be gone. A full pipe wakes the main loop already.
        let _ = self.sender.send((self.number, self.result.take()));
        let _ = (&*self.waker).write(&[0]);
    }
}

impl<R> Results<R> {
    fn open() -> io::Result<Self> {
        let (wake, waker) = io::pipe()?;
        // It is read until it is empty, and more than once for each wait.
        fcntl_setfl(&wake, OFlags::NONBLOCK)?;
        fcntl_setfl(&waker, OFlags::NONBLOCK)?;
        let (sender, results) = channel();
        Ok(Self {
            results,
            sender,
            wake,
            waker: Arc::new(waker),
        })
    }
}

impl<R: Send + 'static> TaskPool<R> {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            running: Vec::new(),
            queued: VecDeque::new(),
            queued_slow: VecDeque::new(),
            slow: BTreeSet::new(),
            results: None,
            next: 0,
            place: usize::MAX,
        }
    }

    /// Queues a task; [`next_completed`](Self::next_completed) starts it.
    pub(crate) fn submit(&mut self, task: Task<R>, now: Monotonic) {
        let timeout = self.limits.timeout;
        let mut same = self.running.iter_mut().filter(|it| it.query == task.query);
        if let Some(running) = same.find(|it| it.subject == task.subject) {
            running.awaited = true;
            running.deadline = now + timeout;
            return;
        }
        // The source has another host now.
        for running in &mut self.running {
            running.awaited &= running.query != task.query;
        }
        if self.slow.contains(&task.query) {
            self.queued_slow.push_back(task);
        } else {
            self.queued.push_back(task);
        }
    }

    /// Returns a result and starts queued tasks. Never blocks.
    pub(crate) fn next_completed(&mut self, set: &PollSet, now: Monotonic) -> Option<Completed<R>> {
        if let Some(results) = &mut self.results
            && set.readiness(self.place).any()
        {
            // Results are sent before the octet, so none is missed.
            let mut octets = [0; 64];
            while matches!(results.wake.read(&mut octets), Ok(1..)) {}
        }
        self.take_result(now)
            .or_else(|| self.take_overdue(now))
            .or_else(|| self.start_queued(now))
    }

    fn take_result(&mut self, now: Monotonic) -> Option<Completed<R>> {
        while let Some(results) = &self.results
            && let Ok((number, result)) = results.results.try_recv()
        {
            let Some(at) = self.running.iter().position(|it| it.number == number) else {
                continue;
            };
            let ended = self.running.swap_remove(at);
            if ended.runs_long(now) {
                self.slow.insert(ended.query);
            } else {
                self.slow.remove(&ended.query);
            }
            if ended.awaited {
                return Some(Completed {
                    query: ended.query,
                    subject: ended.subject,
                    result: result.ok_or(TaskError::Panicked),
                });
            }
        }
        None
    }

    /// Stops waiting for a task that missed its deadline.
    fn take_overdue(&mut self, now: Monotonic) -> Option<Completed<R>> {
        let seconds = self.limits.timeout.as_seconds_f64();
        let mut running = self.running.iter_mut();
        let overdue = running.find(|it| it.awaited && it.deadline <= now)?;
        overdue.awaited = false;
        self.slow.insert(overdue.query);
        Some(Completed {
            query: overdue.query,
            subject: overdue.subject.clone(),
            result: Err(TaskError::TimedOut(seconds)),
        })
    }

    /// Starts queued tasks while there are threads. Returns the error of one that cannot start.
    fn start_queued(&mut self, now: Monotonic) -> Option<Completed<R>> {
        while self.running.len() < self.limits.threads {
            let slow = self.running.iter().filter(|it| it.is_slow(now)).count();
            let task = match self.queued.pop_front() {
                Some(task) => task,
                None if slow < self.limits.threads / 2 => self.queued_slow.pop_front()?,
                None => return None,
            };
            let (query, subject) = (task.query, task.subject.clone());
            if let Err(error) = self.start(task, now) {
                return Some(Completed {
                    query,
                    subject,
                    result: Err(TaskError::NotStarted(error)),
                });
            }
        }
        None
    }

    fn start(&mut self, task: Task<R>, now: Monotonic) -> io::Result<()> {
        let results = match &mut self.results {
            Some(results) => results,
            none => none.insert(Results::open()?),
        };
        let report = Report {
            number: self.next,
            result: None,
            sender: results.sender.clone(),
            waker: Arc::clone(&results.waker),
        };
        let work = task.work;
        sandbox::spawn(task.name, task.profile, move || {
            let mut report = report;
            report.result = Some(work());
        })?;
        self.running.push(Running {
            number: self.next,
            query: task.query,
            subject: task.subject,
            started: now,
            deadline: now + self.limits.timeout,
            awaited: true,
            slow: self.slow.contains(&task.query),
        });
        self.next += 1;
        Ok(())
    }

    /// Adds the pipe that wakes the main loop.
    pub(crate) fn register(&mut self, set: &mut PollSet) {
        if let Some(results) = &self.results {
            self.place = set.push(&results.wake, Interest::Readable);
        }
    }

    /// Time at which [`next_completed`](Self::next_completed) must be called next; `now` if a
    /// queued task can start.
    pub(crate) fn deadline(&self, now: Monotonic) -> Option<Monotonic> {
        let room = self.running.len() < self.limits.threads;
        if room && !self.queued.is_empty() {
            return Some(now);
        }
        let awaited = self.running.iter().filter(|it| it.awaited);
        awaited.map(|it| it.deadline).min()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const LIMITS: Limits = Limits {
        threads: 8,
        timeout: NtpDuration::from_seconds(15),
    };
    const START: Monotonic = Monotonic::from_nanos(0);

    fn task(query: usize, work: impl FnOnce() -> usize + Send + 'static) -> Task<usize> {
        Task {
            query: QueryId(query),
            subject: query.to_string(),
            name: "test",
            profile: Profile::Names,
            work: Box::new(work),
        }
    }

    /// Collects what is completed at `now`, waiting for `count` results of threads.
    fn completed(
        pool: &mut TaskPool<usize>,
        now: Monotonic,
        count: usize,
    ) -> Vec<(usize, Option<usize>)> {
        let (mut set, mut all) = (PollSet::new(), Vec::new());
        loop {
            all.extend(core::iter::from_fn(|| pool.next_completed(&set, now)));
            if all.len() >= count {
                let plain = |it: Completed<usize>| (it.query.0, it.result.ok());
                return all.into_iter().map(plain).collect();
            }
            set.clear();
            pool.register(&mut set);
            set.wait(None).unwrap();
        }
    }

    #[test]
    fn every_task_gets_its_own_result_and_a_panic_is_one() {
        let mut pool = TaskPool::new(LIMITS);
        for query in 0..100 {
            pool.submit(task(query, move || query * 2), START);
        }
        pool.submit(task(100, || panic!("part of the test")), START);
        let mut all = completed(&mut pool, START, 101);
        all.sort_unstable();
        assert_eq!(all.pop(), Some((100, None)));
        let expected: Vec<_> = (0..100).map(|query| (query, Some(query * 2))).collect();
        assert_eq!(all, expected);
        assert!(pool.running.is_empty());
    }

    #[test]
    fn a_thousand_hanging_tasks_leave_room_for_a_thousand_good_ones() {
        // The hanging threads end with the channel.
        let (release, released) = mpsc::channel::<()>();
        let released = Arc::new(std::sync::Mutex::new(released));
        let mut pool = TaskPool::new(LIMITS);
        let hang = |pool: &mut TaskPool<usize>, query, now| {
            let released = Arc::clone(&released);
            let wait = move || {
                released
                    .lock()
                    .map_or(0, |it| usize::from(it.recv().is_ok()))
            };
            pool.submit(task(query, wait), now);
        };
        // The first hanging tasks occupy every thread.
        (0..LIMITS.threads).for_each(|query| hang(&mut pool, query, START));
        assert!(completed(&mut pool, START, 0).is_empty());
        assert_eq!(pool.running.len(), LIMITS.threads);
        // At the deadline, the owner hears of it; asking again starts no second thread.
        let later = START + LIMITS.timeout;
        let overdue = completed(&mut pool, later, LIMITS.threads);
        assert!(overdue.iter().all(|(_, result)| result.is_none()));
        (0..LIMITS.threads).for_each(|query| hang(&mut pool, query, later));
        assert!(completed(&mut pool, later, 0).is_empty());
        assert_eq!(pool.running.len(), LIMITS.threads);
        assert_eq!(pool.deadline(later), Some(later + LIMITS.timeout));
        // Now they are known to be slow: whatever their number, they get half of the threads.
        for _ in 0..LIMITS.threads {
            release.send(()).unwrap();
        }
        completed(&mut pool, later, LIMITS.threads);
        assert_eq!(pool.slow, (0..LIMITS.threads).map(QueryId).collect());
        pool.slow = (0..1000).map(QueryId).collect();
        (0..1000).for_each(|query| hang(&mut pool, query, later));
        for query in 1000..2000 {
            pool.submit(task(query, move || query), later);
        }
        let good = completed(&mut pool, later, 1000);
        assert!(good.iter().all(|(query, result)| *result == Some(*query)));
        completed(&mut pool, later, 0);
        assert_eq!(pool.running.len(), LIMITS.threads / 2);
        drop(release);
    }

    #[test]
    fn a_result_after_the_deadline_or_for_another_host_is_dropped() {
        let (release, released) = mpsc::channel::<()>();
        let mut pool = TaskPool::new(LIMITS);
        pool.submit(task(1, move || usize::from(released.recv().is_ok())), START);
        assert!(completed(&mut pool, START, 0).is_empty());
        let other = Task {
            subject: "another host".to_owned(),
            ..task(1, || 7)
        };
        pool.submit(other, START);
        assert_eq!(completed(&mut pool, START, 1), [(1, Some(7))]);
        release.send(()).unwrap();
        pool.submit(task(2, || 8), START);
        assert_eq!(completed(&mut pool, START, 1), [(2, Some(8))]);
        while !pool.running.is_empty() {
            assert!(completed(&mut pool, START, 0).is_empty());
        }
    }
}
