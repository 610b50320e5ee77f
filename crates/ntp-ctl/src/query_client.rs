//! Queries a server for the time, without the daemon.
//!
//! The measurement uses the code of the daemon: a new socket and an unpredictable nonce for each
//! request, kernel timestamps, the same checks of replies. A query therefore fails for the same
//! reasons as in the daemon.

use core::fmt;
use std::io;
use std::time::Duration;

use ntp_os_clock::{monotonic, realtime};
use ntp_proto::client::{Accepted, Association, KissCode, LocalIdentity, Rejection, Reply};
use ntp_proto::engine::{Datagram, ExchangeId, SourceId};
use ntp_proto::wire::Version;
use ntp_time::{
    Era, LeapIndicator, NtpDuration, NtpTimestamp, RawStamp, ReferenceId, Stamp, StampSource,
    Stratum, SystemTime, Timescale,
};
use ntp_udp::wait::{Interest, PollSet};
use ntp_udp::{ClientSocket, ErrorQueue, SocketOptions, TimestampingGuard};
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::SeedableRng;
use serde::Serialize;

use crate::console::Failure;
use crate::format::duration;

/// Timeout of a reply.
const REPLY_TIMEOUT: NtpDuration = NtpDuration::from_seconds(3);
/// Size of the receive buffer: longer than any reply.
const BUFFER: usize = 2048;

/// A measurement, with data of the reply.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Measurement {
    /// Server time minus local time.
    pub(crate) offset: NtpDuration,
    /// Round-trip delay.
    pub(crate) delay: NtpDuration,
    /// Half width of the interval around the offset that contains the true one if the server is
    /// right.
    pub(crate) uncertainty: NtpDuration,
    /// Origin of the timestamps of request and reply.
    pub(crate) stamps: (&'static str, &'static str),
    pub(crate) stratum: Stratum,
    pub(crate) reference_id: ReferenceId,
    pub(crate) leap: LeapIndicator,
    pub(crate) root_delay: NtpDuration,
    pub(crate) root_dispersion: NtpDuration,
    /// In log2 seconds.
    pub(crate) precision: i8,
    pub(crate) version: Version,
    /// Timescale of the server's timestamps (version 5).
    pub(crate) timescale: Option<&'static str>,
    /// Era of the server's timestamps (version 5).
    pub(crate) era: Option<u8>,
    /// Epoch of the server's clock without phase corrections (version 5).
    pub(crate) monotonic_epoch: Option<u32>,
}

/// Why a request yielded no measurement.
#[derive(Debug)]
pub(crate) enum QueryError {
    /// The request could not be sent: reason and address.
    NotSent(String),
    /// ICMP or local error: the server is unreachable.
    Unreachable(io::Error),
    /// No valid reply; the most specific reason for rejecting an invalid one.
    NoReply(Option<Rejection>),
    /// Kiss-o'-death.
    Kiss(KissCode),
    /// A valid reply without usable time.
    Unusable(Rejection),
}

impl fmt::Display for QueryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSent(problem) => f.write_str(problem),
            Self::Unreachable(error) => write!(f, "{error}"),
            Self::NoReply(rejected) => {
                let timeout = duration(REPLY_TIMEOUT);
                write!(f, "no usable reply within {timeout}")?;
                rejected.map_or(Ok(()), |reason| write!(f, " ({reason})"))
            }
            Self::Kiss(kiss) => write!(f, "request refused: {kiss}"),
            Self::Unusable(rejection) => write!(f, "{rejection}"),
        }
    }
}

/// Sends requests, one at a time.
pub(crate) struct QueryClient {
    options: SocketOptions,
    rng: ChaCha12Rng,
    sequence: u32,
    _keeper: Option<TimestampingGuard>,
}

impl QueryClient {
    pub(crate) fn new() -> Result<Self, Failure> {
        let options = SocketOptions::default();
        // The kernel enables receive timestamps with the first such socket, after a short delay.
        let keeper = TimestampingGuard::open(&options).ok();
        pause(Duration::from_millis(50));
        Ok(Self {
            options,
            rng: ChaCha12Rng::from_seed(seed()?),
            sequence: 0,
            _keeper: keeper,
        })
    }

    /// Sends one request and waits for its reply.
    pub(crate) fn query(
        &mut self,
        association: &mut Association,
    ) -> Result<Measurement, QueryError> {
        let id = ExchangeId {
            source: SourceId(0),
            sequence: self.sequence,
        };
        self.sequence += 1;
        match self.exchange(association, id)? {
            Reply::Time(accepted) => Ok(measurement(&accepted)),
            Reply::Kiss(kiss) => Err(QueryError::Kiss(kiss)),
            // Occurs in interleaved mode only, which is not requested.
            Reply::Incomplete => Err(QueryError::NoReply(None)),
        }
    }

    fn exchange(
        &mut self,
        association: &mut Association,
        id: ExchangeId,
    ) -> Result<Reply, QueryError> {
        association.abandon();
        let remote = association.remote();
        let not_sent = |problem: String| QueryError::NotSent(format!("{problem} ({remote})"));
        let (socket, _) = ClientSocket::open(remote, &self.options)
            .map_err(|error| not_sent(format!("cannot open a socket: {error}")))?;
        let request = association
            .request(monotonic(), id, &mut self.rng)
            .ok_or_else(|| not_sent("no NTS cookie available".into()))?;
        let before = realtime();
        socket
            .send(&request.payload)
            .map_err(|error| not_sent(format!("cannot send: {error}")))?;
        association.transmitted(id, daemon_stamp(before));
        let deadline = monotonic() + REPLY_TIMEOUT;
        let mut buffer = [0; BUFFER];
        let mut rejected: Option<Rejection> = None;
        loop {
            let left = deadline - monotonic();
            if left <= NtpDuration::ZERO {
                return Err(QueryError::NoReply(rejected));
            }
            let mut set = PollSet::new();
            set.push(&socket, Interest::ReadableOrStamped);
            set.wait(Some(left.to_std()))
                .map_err(QueryError::Unreachable)?;
            match socket.take_transmit_stamp() {
                Ok(ErrorQueue::TransmitStamp(stamp)) => {
                    if let Some(stamp) = stamp.to_stamp() {
                        association.transmitted(id, stamp);
                    }
                }
                Ok(ErrorQueue::Unreachable(error)) => return Err(QueryError::Unreachable(error)),
                Ok(ErrorQueue::Empty) | Err(_) => {}
            }
            let datagram = match socket.receive(&mut buffer) {
                Ok(datagram) => datagram,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => return Err(QueryError::Unreachable(error)),
            };
            let received = datagram.stamp.and_then(RawStamp::to_stamp);
            let received = received.unwrap_or_else(|| daemon_stamp(realtime()));
            let datagram = Datagram {
                exchange: id,
                payload: &buffer[..datagram.len.min(BUFFER)],
                truncated: datagram.truncated,
                hop_limit: datagram.hop_limit,
                received,
            };
            let identity = LocalIdentity::default();
            match association.receive(monotonic(), &datagram, &identity, Stratum::UNSYNCHRONIZED) {
                Ok(reply) => return Ok(reply),
                Err(rejection) if rejection.is_server_fault() => {
                    return Err(QueryError::Unusable(rejection));
                }
                // A rejected reply with the right nonce is more specific than a forged one.
                Err(rejection) if rejection.matches_nonce() || rejected.is_none() => {
                    rejected = Some(rejection);
                }
                Err(_) => {}
            }
        }
    }
}

/// Computes offset and delay (RFC 5905 section 8).
fn measurement(accepted: &Accepted) -> Measurement {
    let content = &accepted.content;
    let (t1, t4) = (accepted.sent.time, accepted.received.time);
    let (t2, t3) = (content.receive_timestamp, content.transmit_timestamp);
    let delay = (t4 - t1) - (t3 - t2);
    let root_delay = content.root_delay;
    let root_dispersion = content.root_dispersion;
    Measurement {
        offset: offset(t1, t2).midpoint(offset(t4, t3)),
        delay,
        uncertainty: delay.max(NtpDuration::ZERO).half() + root_delay.half() + root_dispersion,
        stamps: (word(accepted.sent.source), word(accepted.received.source)),
        stratum: content.stratum,
        reference_id: content.reference_id,
        leap: content.leap,
        root_delay,
        root_dispersion,
        precision: content.precision,
        version: content.version,
        timescale: (content.version == Version::V5).then(|| timescale(content.reference_id)),
        era: content.era.map(Era::number),
        monotonic_epoch: content.monotonic.map(|it| it.epoch),
    }
}

/// The timescale of a reply of version 5. Others than these are refused, and the reference ID marks
/// the smeared one, which version 5 has no other use for.
fn timescale(reference_id: ReferenceId) -> &'static str {
    if reference_id == ReferenceId::SMEARED {
        Timescale::SmearedUtc.name()
    } else {
        Timescale::Utc.name()
    }
}

/// The server's time minus ours. Beyond 68 years, which a timestamp alone cannot tell, the era is
/// that nearest to the release of this program, and the difference saturates.
fn offset(ours: SystemTime, server: NtpTimestamp) -> NtpDuration {
    let difference = SystemTime::RELEASED.nearest(server) - ours;
    if difference.abs() == NtpDuration::MAX {
        return difference;
    }
    server - ours.to_ntp()
}

fn daemon_stamp(time: SystemTime) -> Stamp {
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
    reason = "an interactive program takes its randomness from the operating system"
)]
fn seed() -> Result<[u8; 32], Failure> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|problem| {
        Failure::Error(format!(
            "Random number generator of the system failed: {problem}"
        ))
    })?;
    Ok(seed)
}

#[expect(
    clippy::disallowed_methods,
    reason = "an interactive program waits in real time"
)]
pub(crate) fn pause(time: Duration) {
    std::thread::sleep(time);
}
