//! Looking up names off the timekeeping thread.
//!
//! `getaddrinfo` respects everything that an administrator may have configured, and blocks for as long as it likes.
//! One helper thread does it, started with the first name: a configuration of literal addresses never
//! has it. Questions and answers are bounded by the number of configured sources, each of which asks one thing
//! at a time. A byte through a pipe wakes the main loop.

use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use ntp_proto::engine::ResolveId;
use ntp_udp::wait::{Interest, PollSet};

/// An answer: the addresses in the resolver's order, or why there are none.
pub(crate) type Answer = (ResolveId, Result<Vec<IpAddr>, String>);

/// The helper thread and the ways to and from it.
#[derive(Debug)]
pub(crate) struct Resolver {
    questions: Sender<(ResolveId, String)>,
    answers: Receiver<Answer>,
    bell: PipeReader,
    /// Where the bell stands in the poll set.
    place: usize,
}

impl Resolver {
    /// Starts the thread.
    ///
    /// # Errors
    /// If the operating system has no descriptor or thread left.
    pub(crate) fn start() -> io::Result<Self> {
        let (questions, incoming) = channel::<(ResolveId, String)>();
        let (outgoing, answers) = channel();
        let (bell, ringer) = io::pipe()?;
        thread::Builder::new()
            .name("resolver".into())
            .spawn(move || {
                for (query, host) in incoming {
                    if outgoing.send((query, look_up(&host))).is_err() || ring(&ringer).is_err() {
                        break;
                    }
                }
            })?;
        Ok(Self {
            questions,
            answers,
            bell,
            place: usize::MAX,
        })
    }

    /// Asks for a name. Returns whether there is anybody to ask.
    pub(crate) fn ask(&self, query: ResolveId, host: String) -> bool {
        self.questions.send((query, host)).is_ok()
    }

    /// Adds the bell to a poll set.
    pub(crate) fn watch(&mut self, set: &mut PollSet) {
        self.place = set.push(&self.bell, Interest::Readable);
    }

    /// Whether the wait found answers.
    pub(crate) fn is_ready(&self, set: &PollSet) -> bool {
        set.readiness(self.place).readable
    }

    /// Takes the answers there are. To be called when the bell [is ready](Self::is_ready).
    pub(crate) fn answers(&mut self) -> Vec<Answer> {
        // Never blocks: the caller has seen the pipe readable. One byte may stand for several answers.
        let mut rings = [0; 64];
        let _ = self.bell.read(&mut rings);
        self.answers.try_iter().collect()
    }
}

fn ring(mut bell: &PipeWriter) -> io::Result<()> {
    bell.write_all(&[1])
}

fn look_up(host: &str) -> Result<Vec<IpAddr>, String> {
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
    fn answers_come_with_a_bell() {
        let mut resolver = Resolver::start().unwrap();
        assert!(resolver.ask(ResolveId(7), "127.0.0.1".into()));
        let mut set = PollSet::new();
        resolver.watch(&mut set);
        while !set.wait(None).unwrap() {}
        assert!(resolver.is_ready(&set));
        let answers = resolver.answers();
        assert_eq!(
            answers,
            [(ResolveId(7), Ok(vec!["127.0.0.1".parse().unwrap()]))]
        );
    }
}
