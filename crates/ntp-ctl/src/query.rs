//! `ntp-ctl query HOST`: asks a server directly, without a daemon.
//!
//! The same code as the daemon's takes the samples: a fresh socket and an unguessable nonce for each request, the kernel's stamps, the same
//! tests of what comes back. So what this command cannot do, the daemon cannot do either, and it says why. Nothing is changed.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::time::Duration;

use ntp_config::Address;
use ntp_os_clock::{monotonic, realtime};
use ntp_proto::client::{Association, LocalIdentity, Reply, Terms};
use ntp_proto::engine::{Datagram, ExchangeId, SourceId};
use ntp_time::{NtpDuration, Stamp, StampSource, Stratum, SystemTime};
use ntp_udp::wait::{Interest, PollSet};
use ntp_udp::{ClientSocket, ErrorQueue, SocketOptions, StampKeeper};
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::SeedableRng;
use serde::Serialize;

use crate::console::{Console, Failure};
use crate::figures::{duration, moment, signed};

/// Between two requests to a server: what servers let pass as a burst.
const SPACING: Duration = Duration::from_secs(2);
/// For an answer.
const PATIENCE: NtpDuration = NtpDuration::from_seconds(3);
/// Longer than any reply.
const BUFFER: usize = 2048;

/// What one request led to.
#[derive(Clone, Debug, Serialize)]
struct Sample {
    /// True time by the server minus ours, seconds.
    offset: f64,
    /// Round trip, seconds.
    delay: f64,
    /// Who stamped the request, and the reply.
    stamps: (&'static str, &'static str),
}

/// All about one server.
#[derive(Clone, Debug, Default, Serialize)]
struct Answer {
    host: String,
    address: String,
    stratum: Option<u8>,
    reference_id: Option<String>,
    leap: Option<String>,
    root_delay: Option<f64>,
    root_dispersion: Option<f64>,
    /// The offset of the sample with the smallest delay, seconds.
    offset: Option<f64>,
    /// Half width of the interval in which that must lie, seconds.
    uncertainty: Option<f64>,
    delay: Option<f64>,
    samples: Vec<Sample>,
    /// What went wrong, one for each request without a usable answer.
    problems: Vec<String>,
}

pub(crate) fn run(
    host: &str,
    samples: u32,
    json: bool,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let address = Address::parse(host, ntp_config::NTP_PORT)
        .map_err(|problem| Failure::Told(format!("{host:?} is no address: {problem}")))?;
    let remote = resolve(&address)?;
    let answer = ask(&address, remote, samples.max(1))?;
    if json {
        console.json(&answer)?;
    } else {
        console.text(&plain(&answer))?;
    }
    if answer.samples.is_empty() {
        return Err(Failure::Told(format!(
            "{address} ({remote}) gave no usable answer. Is its address right, does a firewall let UDP port {} out and the answers in, and \
             does a time server run there?",
            remote.port()
        )));
    }
    Ok(())
}

fn resolve(address: &Address) -> Result<SocketAddr, Failure> {
    if let Ok(literal) = address.host.parse::<IpAddr>() {
        return Ok(SocketAddr::new(literal, address.port));
    }
    let mut found = (address.host.as_str(), address.port)
        .to_socket_addrs()
        .map_err(|error| Failure::Told(format!("cannot resolve {}: {error}", address.host)))?;
    let none = || Failure::Told(format!("{} has no address", address.host));
    found.next().ok_or_else(none)
}

fn ask(address: &Address, remote: SocketAddr, samples: u32) -> Result<Answer, Failure> {
    let options = SocketOptions::default();
    // The kernel switches receive stamping on when the first socket asks for it, which takes it a moment.
    let _keeper = StampKeeper::open(&options).ok();
    pause(Duration::from_millis(50));
    let mut answer = Answer {
        host: address.to_string(),
        address: remote.to_string(),
        ..Answer::default()
    };
    let mut rng = ChaCha12Rng::from_seed(seed()?);
    let mut association = Association::new(remote, Terms::default(), monotonic());
    for sequence in 0..samples {
        if sequence > 0 {
            pause(SPACING);
        }
        let id = ExchangeId {
            source: SourceId(0),
            sequence,
        };
        match exchange(&mut association, id, &options, &mut rng) {
            Ok(Reply::Time(accepted)) => {
                let header = &accepted.header;
                let (left, arrived) = (accepted.sent.time, accepted.received.time);
                let there = header.receive_timestamp - left.to_ntp();
                let back = header.transmit_timestamp - arrived.to_ntp();
                let delay =
                    (arrived - left) - (header.transmit_timestamp - header.receive_timestamp);
                answer.stratum = Some(header.stratum.get());
                answer.reference_id = Some(header.reference_id.to_string());
                answer.leap = Some(format!("{:?}", header.leap).to_lowercase());
                answer.root_delay = Some(header.root_delay.to_duration().as_seconds_f64());
                answer.root_dispersion =
                    Some(header.root_dispersion.to_duration().as_seconds_f64());
                answer.samples.push(Sample {
                    offset: there.midpoint(back).as_seconds_f64(),
                    delay: delay.as_seconds_f64(),
                    stamps: (word(accepted.sent.source), word(accepted.received.source)),
                });
            }
            Ok(Reply::Kiss(kiss)) => {
                answer
                    .problems
                    .push(format!("the server refuses with the kiss code {kiss:?}"));
                break;
            }
            Ok(_) => answer.problems.push("an answer without a time".into()),
            Err(problem) => answer.problems.push(problem),
        }
    }
    let best = answer
        .samples
        .iter()
        .min_by(|a, b| a.delay.total_cmp(&b.delay))
        .cloned();
    if let Some(best) = best {
        let root = answer.root_delay.unwrap_or(0.0) / 2.0 + answer.root_dispersion.unwrap_or(0.0);
        answer.offset = Some(best.offset);
        answer.delay = Some(best.delay);
        answer.uncertainty = Some(best.delay.max(0.0) / 2.0 + root);
    }
    Ok(answer)
}

fn exchange(
    association: &mut Association,
    id: ExchangeId,
    options: &SocketOptions,
    rng: &mut ChaCha12Rng,
) -> Result<Reply, String> {
    association.abandon();
    let remote = association.remote();
    let (socket, _) = ClientSocket::open(remote, options)
        .map_err(|error| format!("cannot open a socket to {remote}: {error}"))?;
    let request = association
        .request(monotonic(), id, rng)
        .ok_or("there is nothing to ask with")?;
    let before = realtime();
    socket
        .send(&request.payload)
        .map_err(|error| format!("cannot send to {remote}: {error}"))?;
    association.transmitted(id, daemon_stamp(before));
    let deadline = monotonic() + PATIENCE;
    let mut buffer = [0; BUFFER];
    let mut rejected = None;
    loop {
        let left = deadline - monotonic();
        if left <= NtpDuration::ZERO {
            let why = rejected.map(|why| format!(" ({why})")).unwrap_or_default();
            return Err(format!(
                "no usable answer within {}{why}",
                duration(PATIENCE.as_seconds_f64())
            ));
        }
        let mut set = PollSet::new();
        set.push(&socket, Interest::ReadableOrStamped);
        set.wait(Some(left.to_std()))
            .map_err(|error| error.to_string())?;
        match socket.take_transmit_stamp() {
            Ok(ErrorQueue::TransmitStamp(stamp)) => association.transmitted(id, stamp),
            Ok(ErrorQueue::Unreachable(error)) => return Err(error.to_string()),
            Ok(ErrorQueue::Empty) | Err(_) => {}
        }
        let datagram = match socket.receive(&mut buffer) {
            Ok(datagram) => datagram,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error.to_string()),
        };
        let received = datagram.stamp.unwrap_or_else(|| daemon_stamp(realtime()));
        let datagram = Datagram {
            exchange: id,
            payload: &buffer[..datagram.len.min(BUFFER)],
            truncated: datagram.truncated,
            received,
        };
        let us = LocalIdentity::default();
        match association.receive(monotonic(), &datagram, &us, Stratum::UNSYNCHRONIZED) {
            Ok(reply) => return Ok(reply),
            Err(rejection) if rejection.blames_server() => return Err(rejection.to_string()),
            Err(rejection) => rejected = Some(rejection),
        }
    }
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

fn plain(answer: &Answer) -> String {
    let mut text = format!("Server          : {} ({})\n", answer.host, answer.address);
    let mut line = |label: &str, value: String| {
        text.push_str(&format!("{label:<16}: {value}\n"));
    };
    for (number, sample) in answer.samples.iter().enumerate() {
        line(
            &format!("Sample {}", number + 1),
            format!(
                "offset {}, delay {} (stamps: {}, {})",
                signed(sample.offset),
                duration(sample.delay),
                sample.stamps.0,
                sample.stamps.1
            ),
        );
    }
    for problem in &answer.problems {
        line("Problem", problem.clone());
    }
    if let (Some(offset), Some(uncertainty), Some(delay)) =
        (answer.offset, answer.uncertainty, answer.delay)
    {
        let now = realtime().as_nanos() as f64 * 1e-9;
        line(
            "Offset",
            format!(
                "{}, ± {} at most if the server is right",
                signed(offset),
                duration(uncertainty)
            ),
        );
        line("Delay", duration(delay));
        line("Its time", moment(now + offset));
        line("Our time", moment(now));
    }
    if let Some(stratum) = answer.stratum {
        line("Stratum", stratum.to_string());
    }
    if let Some(reference) = &answer.reference_id {
        line("Reference", reference.clone());
    }
    if let (Some(delay), Some(dispersion)) = (answer.root_delay, answer.root_dispersion) {
        line("Root delay", duration(delay));
        line("Root dispersion", duration(dispersion));
    }
    if let Some(leap) = &answer.leap {
        line("Leap second", leap.clone());
    }
    text
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
fn pause(time: Duration) {
    std::thread::sleep(time);
}
