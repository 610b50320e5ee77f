//! Asking a server for the time directly, without a daemon.
//!
//! The same code as the daemon's takes the measurement: a fresh socket and an unguessable nonce for each request, the kernel's stamps, the same
//! tests of what comes back. So what fails here fails there, too, and for the same reason.

use core::fmt;
use std::io;
use std::time::Duration;

use ntp_os_clock::{monotonic, realtime};
use ntp_proto::client::{Accepted, Association, Kiss, LocalIdentity, Rejection, Reply};
use ntp_proto::engine::{Datagram, ExchangeId, SourceId};
use ntp_time::{NtpDuration, Stamp, StampSource, Stratum, SystemTime};
use ntp_udp::wait::{Interest, PollSet};
use ntp_udp::{ClientSocket, ErrorQueue, SocketOptions, StampKeeper};
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::SeedableRng;
use serde::Serialize;

use crate::console::Failure;
use crate::figures::duration;

/// For an answer.
const PATIENCE: NtpDuration = NtpDuration::from_seconds(3);
/// Longer than any reply.
const BUFFER: usize = 2048;

/// What a server answered, and how far our clock is from it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Measured {
    /// True time by the server minus ours, seconds.
    pub(crate) offset: f64,
    /// Round trip, seconds.
    pub(crate) delay: f64,
    /// Who stamped the request, and the reply.
    pub(crate) stamps: (&'static str, &'static str),
    pub(crate) stratum: u8,
    pub(crate) reference_id: String,
    pub(crate) leap: String,
    /// Seconds.
    pub(crate) root_delay: f64,
    /// Seconds.
    pub(crate) root_dispersion: f64,
}

impl Measured {
    /// Half width of the interval around the offset in which the truth must lie if the server is right, in seconds.
    pub(crate) fn uncertainty(&self) -> f64 {
        self.delay.max(0.0) / 2.0 + self.root_delay / 2.0 + self.root_dispersion
    }
}

/// Why a request led to no time.
#[derive(Debug)]
pub(crate) enum NoTime {
    /// It could not be sent; where and why.
    NotSent(String),
    /// Somebody on the way, or the machine itself, says that nobody is there.
    Unreachable(io::Error),
    /// Nothing came that counts; why the most telling of what came did not.
    Silence(Option<Rejection>),
    /// The server says that it does not want to answer.
    Kiss(Kiss),
    /// The server's answer is of no use.
    Unusable(Rejection),
}

impl fmt::Display for NoTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSent(problem) => f.write_str(problem),
            Self::Unreachable(error) => write!(f, "{error}"),
            Self::Silence(rejected) => {
                let patience = duration(PATIENCE.as_seconds_f64());
                write!(f, "no usable answer within {patience}")?;
                rejected.map_or(Ok(()), |why| write!(f, " ({why})"))
            }
            Self::Kiss(kiss) => write!(f, "the server refuses with the kiss code {kiss:?}"),
            Self::Unusable(rejection) => write!(f, "{rejection}"),
        }
    }
}

/// Asks.
pub(crate) struct Asker {
    options: SocketOptions,
    rng: ChaCha12Rng,
    sequence: u32,
    _keeper: Option<StampKeeper>,
}

impl Asker {
    pub(crate) fn new() -> Result<Self, Failure> {
        let options = SocketOptions::default();
        // The kernel switches receive stamping on when the first socket asks for it, which takes it a moment.
        let keeper = StampKeeper::open(&options).ok();
        pause(Duration::from_millis(50));
        Ok(Self {
            options,
            rng: ChaCha12Rng::from_seed(seed()?),
            sequence: 0,
            _keeper: keeper,
        })
    }

    /// Sends one request, and waits for its answer.
    pub(crate) fn ask(&mut self, association: &mut Association) -> Result<Measured, NoTime> {
        let id = ExchangeId {
            source: SourceId(0),
            sequence: self.sequence,
        };
        self.sequence += 1;
        match self.exchange(association, id)? {
            Reply::Time(accepted) => Ok(measured(&accepted)),
            Reply::Kiss(kiss) => Err(NoTime::Kiss(kiss)),
            // Only in interleaved mode, which is not asked for.
            Reply::Unfinished => Err(NoTime::Silence(None)),
        }
    }

    fn exchange(&mut self, association: &mut Association, id: ExchangeId) -> Result<Reply, NoTime> {
        association.abandon();
        let remote = association.remote();
        let not_sent = |problem: String| NoTime::NotSent(format!("{problem} ({remote})"));
        let (socket, _) = ClientSocket::open(remote, &self.options)
            .map_err(|error| not_sent(format!("cannot open a socket: {error}")))?;
        let request = association
            .request(monotonic(), id, &mut self.rng)
            .ok_or_else(|| not_sent("there is nothing to ask with".into()))?;
        let before = realtime();
        socket
            .send(&request.payload)
            .map_err(|error| not_sent(format!("cannot send: {error}")))?;
        association.transmitted(id, program_stamp(before));
        let deadline = monotonic() + PATIENCE;
        let mut buffer = [0; BUFFER];
        let mut rejected: Option<Rejection> = None;
        loop {
            let left = deadline - monotonic();
            if left <= NtpDuration::ZERO {
                return Err(NoTime::Silence(rejected));
            }
            let mut set = PollSet::new();
            set.push(&socket, Interest::ReadableOrStamped);
            set.wait(Some(left.to_std())).map_err(NoTime::Unreachable)?;
            match socket.take_transmit_stamp() {
                Ok(ErrorQueue::TransmitStamp(stamp)) => association.transmitted(id, stamp),
                Ok(ErrorQueue::Unreachable(error)) => return Err(NoTime::Unreachable(error)),
                Ok(ErrorQueue::Empty) | Err(_) => {}
            }
            let datagram = match socket.receive(&mut buffer) {
                Ok(datagram) => datagram,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => return Err(NoTime::Unreachable(error)),
            };
            let received = datagram.stamp.unwrap_or_else(|| program_stamp(realtime()));
            let datagram = Datagram {
                exchange: id,
                payload: &buffer[..datagram.len.min(BUFFER)],
                truncated: datagram.truncated,
                received,
            };
            let us = LocalIdentity::default();
            match association.receive(monotonic(), &datagram, &us, Stratum::UNSYNCHRONIZED) {
                Ok(reply) => return Ok(reply),
                Err(rejection) if rejection.blames_server() => {
                    return Err(NoTime::Unusable(rejection));
                }
                // What a stranger sends does not hide what the server said.
                Err(rejection) if rejection.knows_nonce() || rejected.is_none() => {
                    rejected = Some(rejection);
                }
                Err(_) => {}
            }
        }
    }
}

fn measured(accepted: &Accepted) -> Measured {
    let header = &accepted.header;
    let (left, arrived) = (accepted.sent.time, accepted.received.time);
    let there = header.receive_timestamp - left.to_ntp();
    let back = header.transmit_timestamp - arrived.to_ntp();
    let delay = (arrived - left) - (header.transmit_timestamp - header.receive_timestamp);
    Measured {
        offset: there.midpoint(back).as_seconds_f64(),
        delay: delay.as_seconds_f64(),
        stamps: (word(accepted.sent.source), word(accepted.received.source)),
        stratum: header.stratum.get(),
        reference_id: header.reference_id.to_string(),
        leap: format!("{:?}", header.leap).to_lowercase(),
        root_delay: header.root_delay.to_duration().as_seconds_f64(),
        root_dispersion: header.root_dispersion.to_duration().as_seconds_f64(),
    }
}

fn program_stamp(time: SystemTime) -> Stamp {
    Stamp {
        time,
        source: StampSource::Daemon,
    }
}

fn word(source: StampSource) -> &'static str {
    match source {
        StampSource::Daemon => "program",
        StampSource::Kernel => "kernel",
        StampSource::Hardware => "hardware",
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is where a program for people meets the operating system"
)]
fn seed() -> Result<[u8; 32], Failure> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|problem| {
        Failure::Told(format!("the system gives no random numbers: {problem}"))
    })?;
    Ok(seed)
}

#[expect(
    clippy::disallowed_methods,
    reason = "a program for people waits in real time"
)]
pub(crate) fn pause(time: Duration) {
    std::thread::sleep(time);
}
