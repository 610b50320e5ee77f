//! Looking up names off the timekeeping thread.
//!
//! `getaddrinfo` respects everything that an administrator may have configured, and blocks for as long as it likes.
//! Each look-up is a short-lived thread of its own, so a name server that does not answer holds up nobody else's name,
//! and between look-ups the daemon has no thread for them. Eight are under way at most; further names wait their turn. There are
//! never more of these than configured sources, each of which asks one thing at a time.
//!
//! A thread ends by closing its end of a pipe, which wakes the main loop; its answer is the thread's result. Nothing
//! ever waits for a lock or a channel in here.

use std::collections::VecDeque;
use std::io::{self, PipeReader};
use std::net::{IpAddr, ToSocketAddrs};
use std::thread::JoinHandle;

use ntp_proto::engine::QueryId;
use ntp_udp::wait::{Interest, PollSet};

use crate::sandbox::{self, Profile};

/// The addresses in the resolver's order, or why there are none.
type Addresses = Result<Vec<IpAddr>, String>;

/// An answer to a question.
pub(crate) type Answer = (QueryId, Addresses);

/// The look-ups under way.
#[derive(Debug, Default)]
pub(crate) struct Resolver {
    under_way: Vec<LookUp>,
    waiting: VecDeque<(QueryId, String)>,
}

/// Look-ups at a time: a name server that does not answer holds each for half a minute, and a thousand names must not be a
/// thousand threads.
const AT_A_TIME: usize = 8;

#[derive(Debug)]
struct LookUp {
    query: QueryId,
    thread: JoinHandle<Addresses>,
    /// Hangs up when the thread is done.
    bell: PipeReader,
    /// Where the bell stands in the poll set; nowhere before the first wait.
    place: usize,
}

impl Resolver {
    /// Asks for a name, now or when it is its turn.
    ///
    /// # Errors
    /// If the operating system has no descriptor or thread left.
    pub(crate) fn ask(&mut self, query: QueryId, host: String) -> io::Result<()> {
        if self.under_way.len() < AT_A_TIME {
            self.under_way.push(LookUp::start(query, host)?);
        } else {
            self.waiting.push_back((query, host));
        }
        Ok(())
    }

    /// Adds the bells to a poll set.
    pub(crate) fn watch(&mut self, set: &mut PollSet) {
        for look_up in &mut self.under_way {
            look_up.place = set.push(&look_up.bell, Interest::Readable);
        }
    }

    /// Takes an answer whose bell the wait has heard, and lets the next name have its turn. Never blocks.
    pub(crate) fn answer(&mut self, set: &PollSet) -> Option<Answer> {
        if self.under_way.len() < AT_A_TIME
            && let Some((query, host)) = self.waiting.pop_front()
        {
            match LookUp::start(query, host) {
                Ok(look_up) => self.under_way.push(look_up),
                Err(error) => return Some((query, Err(error.to_string()))),
            }
        }
        // The bell may be heard an instant before the thread has ended; then the next wait hears it again.
        let done = self.under_way.iter().position(|look_up| {
            set.readiness(look_up.place).any() && look_up.thread.is_finished()
        })?;
        let LookUp { query, thread, .. } = self.under_way.swap_remove(done);
        let addresses = thread
            .join()
            .unwrap_or_else(|_| Err("the look-up failed unexpectedly".into()));
        Some((query, addresses))
    }
}

impl LookUp {
    fn start(query: QueryId, host: String) -> io::Result<Self> {
        let (bell, ringer) = io::pipe()?;
        let thread = sandbox::spawn("resolver", Profile::Names, move || {
            let addresses = look_up(&host);
            drop(ringer);
            addresses
        })?;
        Ok(Self {
            query,
            thread,
            bell,
            place: usize::MAX,
        })
    }
}

fn look_up(host: &str) -> Addresses {
    let addresses = (host, 0)
        .to_socket_addrs()
        .map_err(|error| error.to_string())?;
    let mut unique = Vec::new();
    for address in addresses {
        if !unique.contains(&address.ip()) {
            unique.push(address.ip());
        }
    }
    Ok(unique)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_question_gets_its_own_answer() {
        let mut resolver = Resolver::default();
        // More than may be under way at a time.
        let hosts = ["127.0.0.1", "::1"].repeat(AT_A_TIME);
        for (id, host) in (0..).zip(hosts.iter().copied()) {
            resolver.ask(QueryId(id), host.into()).unwrap();
        }
        let (mut set, mut answers) = (PollSet::new(), Vec::new());
        while answers.len() < hosts.len() {
            set.clear();
            resolver.watch(&mut set);
            set.wait(None).unwrap();
            answers.extend(core::iter::from_fn(|| resolver.answer(&set)));
        }
        answers.sort_by_key(|(query, _)| query.0);
        for ((id, host), answer) in (0..).zip(hosts).zip(answers) {
            assert_eq!(answer, (QueryId(id), Ok(vec![host.parse().unwrap()])));
        }
    }
}
